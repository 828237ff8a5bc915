"""Several classes for each image, against scikit-learn."""

import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score
from torch.nn import functional as F

from sepgconv.data import Dataset, Split, build_preprocessing
from sepgconv.tasks import MultiLabel, RunRecord, TrainingConfig, evaluate, get_task, load_run, read_history, train
from sepgconv.tasks.tally import Tally
from tests.covering import each


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(5)
    targets = (torch.rand(40, 3, generator=generator) < 0.4).float()
    return torch.randn(40, 3, generator=generator) + 2 * targets - 1, targets


def test_loss_and_metrics_are_those_of_the_definition(answers):
    outputs, targets = answers
    task = get_task("multi-label")
    torch.testing.assert_close(task.loss(outputs, targets), 40 * F.binary_cross_entropy_with_logits(outputs, targets))
    smoothed = 40 * F.binary_cross_entropy_with_logits(outputs, 0.9 * targets + 0.05)
    torch.testing.assert_close(task.training_loss(outputs, targets, 0.1), smoothed)
    tally = Tally(task)
    for batch, truth in zip(outputs.split(9), targets.split(9), strict=True):
        tally.add(batch, truth)
    found, predicted = tally.measure(), outputs > 0
    assert list(found) == ["map", "f1", "exact"]
    assert found["map"] == pytest.approx(100 * average_precision_score(targets, outputs, average="macro"), abs=1e-4)
    assert found["f1"] == pytest.approx(100 * f1_score(targets, predicted, average="macro"))
    assert found["exact"] == pytest.approx(100 * float((predicted == targets).all(1).float().mean()))
    assert 0 < found["exact"] < 100
    other = Tally(task)
    other.add(outputs.roll(1, 0), targets)
    assert other.measure()["map"] < found["map"]  # the negative control


def test_a_class_that_no_image_has_is_left_out(answers):
    outputs, targets = answers
    targets[:, 1] = 0
    found = MultiLabel().measure_all(outputs, targets)["map"]
    kept = [average_precision_score(targets[:, k], outputs[:, k]) for k in (0, 2)]
    assert found == pytest.approx(50 * sum(kept), abs=1e-4)
    assert MultiLabel().measure_all(outputs, torch.zeros_like(targets)) == {"map": 0.0}


def test_answers_are_the_names_above_the_threshold_the_likeliest_first():
    outputs = torch.tensor([[0.5, 2.0, -3.0], [-1.0, -1.0, -1.0]])
    rows = MultiLabel().describe(outputs, ("mite, large", "fly", "ant"))
    assert rows == [
        {"classes": "fly; mite, large", "probabilities": "0.881; 0.622"},
        {"classes": "-", "probabilities": "-"},
    ]
    assert MultiLabel(threshold=0.7).describe(outputs, ("a", "b", "c"))[0]["classes"] == "b"


@each(
    "targets, message",
    [
        (torch.zeros(4), r"expected float32 targets of shape \(n, classes\), got torch.float32 \(4,\)"),
        (torch.zeros(4, 3, dtype=torch.int64), "expected float32 targets"),
        (torch.full((4, 3), 0.5), "targets must be 0 or 1 .*, got 0.5"),
        (torch.zeros(4, 2), "the network knows 3 classes, but the targets have 2 columns"),
    ],
)
def test_targets_of_another_kind(targets, message):
    with pytest.raises(ValueError, match=message):
        MultiLabel().check(targets, 3)


def test_a_threshold_that_is_none(unchecked):
    for threshold in (0, 1, True, "0.5"):
        with pytest.raises(ValueError, match="threshold must be a number between 0 and 1"):
            MultiLabel(threshold=threshold)


def test_a_run_records_its_metrics_and_names_its_columns(tmp_path):
    generator = torch.Generator().manual_seed(0)
    targets = (torch.rand(24, 2, generator=generator) < 0.5).float()
    images = torch.rand(24, 1, 28, 28, generator=generator) / 4
    images[..., :14] += targets[:, :1, None, None] / 2
    images[..., 14:] += targets[:, 1:, None, None] / 2
    split = Split(images, targets)
    data = Dataset("halves", ("left", "right"), split, split, split, build_preprocessing("identity", {}))
    config = TrainingConfig(
        task="multi-label", model="z2cnn", data="halves", model_config={"width": 2}, epochs=1, batch_size=12
    )
    record = train(config, folder=tmp_path / "run", data=data, progress=False, threads=1, accelerator="cpu")
    assert list(record.figures) == [
        f"{part}_{name}" for name in ("map", "f1", "exact") for part in ("test", "validation", "train")
    ]
    assert RunRecord.read(tmp_path / "run" / "record.json") == record
    (row,) = read_history(tmp_path / "run" / "metrics.csv")
    assert row["validation_map"] == record.validation_map
    run = load_run(tmp_path / "run")
    assert evaluate(run, data.test) == record.test_map
    with pytest.raises(ValueError, match="3 classes; labels of classes are int64, numbers are float32 and have no"):
        Dataset("halves", ("a", "b", "c"), split, split, split, build_preprocessing("identity", {}))
