"""What classification can besides the error: metrics of all scores, weights of classes, balanced sampling."""

import collections
import dataclasses

import pytest
import torch
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch.nn import functional as F

from sepgconv.data import Dataset, Split, build_preprocessing
from sepgconv.models.storage import WEIGHTS
from sepgconv.tasks import Classification, TrainingConfig, get_task, load_run, measure, train
from sepgconv.tasks.batches import balanced_order, epoch_order
from sepgconv.tasks.module import EpochBatches
from sepgconv.tasks.tally import Tally
from tests.covering import each, named
from tests.runs import stopped_before

SOME = {"model": "z2cnn", "data": "rotated_digits"}


@pytest.fixture
def answers():
    generator = torch.Generator().manual_seed(3)
    labels = torch.randint(4, (60,), generator=generator)
    labels[labels == 3] = 0  # a class without images
    scores = torch.randn(60, 4, generator=generator) + 1.5 * F.one_hot(labels, 4)
    return scores, labels


def test_the_metrics_of_all_scores_are_those_of_scikit_learn(answers):
    scores, labels = answers
    found = Classification().measure_all(scores, labels)
    chances = scores.double().softmax(1).numpy()
    present = sorted(set(labels.tolist()))
    areas = [roc_auc_score((labels == label).numpy(), chances[:, label]) for label in present]
    assert found["auc"] == pytest.approx(sum(areas) / len(areas), abs=1e-6)
    assert found["accuracy"] == pytest.approx(100 * float((scores.argmax(1) == labels).double().mean()))
    known = labels < 3
    expected = sum(float((scores[labels == k].argmax(1) == k).double().mean()) for k in present) / len(present)
    assert found["balanced_accuracy"] == pytest.approx(100 * expected)
    if bool((scores.argmax(1) < 3).all()):
        assert found["balanced_accuracy"] == pytest.approx(
            100 * balanced_accuracy_score(labels[known], scores.argmax(1)[known])
        )
    assert found != Classification().measure_all(scores.roll(1, 0), labels)  # the negative control
    alike = Classification().measure_all(scores, torch.zeros_like(labels))["auc"]
    assert alike != alike  # no rest to compare with: not a number, and printed as a dash
    assert Classification.further_metrics[-1].text(alike) == "-"


def test_batches_do_not_change_the_metrics(answers):
    scores, labels = answers
    task = get_task("classification")
    metrics = (*task.metrics, *task.further_metrics)
    found = []
    for size in (60, 7):
        tally = Tally(task, metrics)
        for batch, truth in zip(scores.split(size), labels.split(size), strict=True):
            tally.add(batch, truth)
        found.append(tally.measure())
    assert found[0] == found[1]
    assert list(found[0]) == ["error", "accuracy", "balanced_accuracy", "auc"]
    assert list(Tally(task)._task.measure(torch.tensor([1, 2]))) == ["error"]


def test_processes_share_what_the_metrics_need(answers, monkeypatch):
    """Two processes with unequal shares get the metrics of all images; what the other one has is put in here."""
    scores, _ = answers
    task = get_task("multi-label")
    targets = (scores.roll(1, 0) > 0).float()
    whole, mine, other = Tally(task), Tally(task), Tally(task)
    whole.add(scores, targets)
    mine.add(scores[:40], targets[:40])
    other.add(scores[40:], targets[40:])
    expected = whole.measure()

    def gather(found, kept):
        found[:] = [kept, other._kept]

    for name, value in (("is_initialized", lambda: True), ("get_world_size", lambda: 2), ("all_gather_object", gather)):
        monkeypatch.setattr(torch.distributed, name, value)
    assert mine.measure(reduce=lambda counts: counts + other.counts()) == expected
    monkeypatch.undo()
    assert mine.measure() != expected


def test_weights_of_classes_count_in_the_loss_that_is_lowered_and_in_no_other(answers):
    scores, labels = answers
    balanced = get_task("classification", {"class_weights": "balanced"}).fit(labels)
    counts = labels.bincount(minlength=3)
    weights = len(labels) / (3 * counts)
    losses = F.cross_entropy(scores, labels, reduction="none")
    torch.testing.assert_close(balanced.training_loss(scores, labels, 0.0), (losses * weights[labels]).sum())
    torch.testing.assert_close(balanced.loss(scores, labels), losses.sum())
    given = get_task("classification", {"class_weights": [1, 2, 3, 4]}).fit(labels)
    torch.testing.assert_close(given.training_loss(scores, labels, 0.0), (losses * (1 + labels)).sum())
    assert not torch.isclose(given.training_loss(scores, labels, 0.0), losses.sum())
    assert get_task("classification").fit(labels).weights is None  # the shared task did not change
    with pytest.raises(ValueError, match="class_weights has 2 weights, but the network knows 4 classes"):
        get_task("classification", {"class_weights": [1, 2]}).training_loss(scores, labels, 0.0)


@each(
    "options, message",
    [
        ({"class_weights": "equal"}, "class_weights must be 'balanced', a number above 0 for each class, or None"),
        ({"class_weights": [1, 0]}, "class_weights must be 'balanced'"),
        ({"class_weights": []}, "class_weights must be 'balanced'"),
        ({"class_weight": "balanced"}, "unknown option of the task classification 'class_weight'; did you mean"),
        ({"weights": [1.0]}, "unknown option of the task classification 'weights'"),  # found, not given
        (3, "task_options must be a mapping"),
    ],
)
def test_options_that_a_task_does_not_have(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        TrainingConfig(**SOME, task_options=options)


def test_options_are_in_no_file_unless_they_are_given():
    assert not {"task_options", "sampling"} & set(TrainingConfig(**SOME).to_dict())
    config = TrainingConfig(**SOME, task_options={"class_weights": [1, 2]}, sampling="balanced")
    assert TrainingConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="sampling must be 'shuffle' or 'balanced', got 'even'"):
        TrainingConfig(**SOME, sampling="even")


def test_balanced_epochs_have_every_class_equally_often():
    labels = torch.tensor([0] * 50 + [2] * 9 + [5] * 2)
    for epoch in range(3):
        order = balanced_order(labels, seed=1, epoch=epoch)
        with named(epoch=epoch):
            assert len(order) == len(labels)
            counts = collections.Counter(labels[order].tolist())
            assert set(counts) == {0, 2, 5}
            assert max(counts.values()) - min(counts.values()) <= 1
            for label in counts:
                times = collections.Counter(order[labels[order] == label].tolist())
                every = [times[i] for i in (labels == label).nonzero()[:, 0].tolist()]
                assert max(every) - min(every) <= 1  # no image comes again before the others have
            assert torch.equal(order, balanced_order(labels, seed=1, epoch=epoch))
    assert not torch.equal(balanced_order(labels, 1, 0), balanced_order(labels, 1, 1))
    assert not torch.equal(balanced_order(labels, 1, 0), balanced_order(labels, 2, 0))


def test_batches_take_the_order_of_the_sampling():
    labels = torch.tensor([0, 0, 0, 0, 0, 1])
    split = Split(torch.rand(6, 1, 2, 2), labels)

    class Trainer:
        current_epoch, global_rank, world_size = 2, 0, 1

    seen = {}
    for sampling, order in (("shuffle", epoch_order(6, 1, 2)), ("balanced", balanced_order(labels, 1, 2))):
        batches = EpochBatches(split, None, TrainingConfig(**SOME, sampling=sampling), torch.nn.Identity())
        batches.trainer = Trainer()
        found = torch.cat([targets for _, targets, _ in batches.train_dataloader()])
        assert torch.equal(found, labels[order])
        seen[sampling] = int(found.sum())
    assert seen == {"shuffle": 1, "balanced": 3}
    with pytest.raises(ValueError, match="the task 'regression' has no class for each image to balance"):
        EpochBatches(
            Split(split.images, torch.rand(6)),
            None,
            TrainingConfig(**SOME, task="regression", sampling="balanced"),
            torch.nn.Identity(),
        )


@pytest.fixture(scope="module")
def uneven():
    """Two classes, one of them rare: 12 x 12 images, lit on the left or on the right."""
    labels = torch.tensor([0] * 20 + [1] * 4)
    images = torch.rand(24, 1, 28, 28, generator=torch.Generator().manual_seed(0)) / 2
    for image, label in zip(images, labels.tolist(), strict=True):
        image[..., 14 * label : 14 * label + 14] += 0.5
    split = Split(images, labels)
    return Dataset("uneven", ("left", "right"), split, split, split, build_preprocessing("identity", {}))


def test_a_balanced_and_weighted_run_resumes_bit_for_bit(uneven, tmp_path):
    config = TrainingConfig(
        model="z2cnn",
        data="uneven",
        model_config={"width": 2},
        epochs=2,
        batch_size=8,
        sampling="balanced",
        task_options={"class_weights": "balanced"},
    )
    options = {"data": uneven, "progress": False, "threads": 1, "accelerator": "cpu"}
    whole = train(config, folder=tmp_path / "whole", **options)
    with stopped_before(1), pytest.raises(RuntimeError, match="stop here"):
        train(config, folder=tmp_path / "stopped", **options)
    with pytest.raises(ValueError, match="sampling was 'balanced', is 'shuffle'"):
        train(dataclasses.replace(config, sampling="shuffle"), folder=tmp_path / "stopped", resume=True, **options)
    resumed = train(config, folder=tmp_path / "stopped", resume=True, **options)
    weights = [(tmp_path / run / "model" / WEIGHTS).read_bytes() for run in ("whole", "stopped")]
    assert weights[0] == weights[1]
    assert resumed.figures == whole.figures
    plain = train(
        dataclasses.replace(config, sampling="shuffle", task_options={}), folder=tmp_path / "plain", **options
    )
    assert (tmp_path / "plain" / "model" / WEIGHTS).read_bytes() != weights[0]  # the negative control
    assert plain.figures.keys() == whole.figures.keys()
    run = load_run(tmp_path / "whole")
    assert run.task.class_weights == "balanced"
    found = measure(run, uneven.test)
    assert found["error"] == whole.test_error
    assert found["accuracy"] == pytest.approx(100 - whole.test_error)
