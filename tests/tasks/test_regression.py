"""Numbers, vectors and angles: units, metrics, and targets that turn with the image."""

import json
import math

import pytest
import torch
from sklearn.metrics import mean_absolute_error, r2_score
from torch import nn

from sepgconv.data import Dataset, Split, augmentation, build_preprocessing
from sepgconv.functional import act
from sepgconv.symmetry import vector_matrices
from sepgconv.tasks import (
    Orientation,
    Regression,
    RunRecord,
    TrainingConfig,
    VectorRegression,
    evaluate,
    get_task,
    load_run,
    train,
)
from sepgconv.tasks.tally import Tally
from tests.covering import each


@each("columns", [1, 3])
@each("criterion", ["mse", "smooth-l1"])
def test_metrics_are_in_the_users_units_and_the_loss_is_standardised(columns, criterion):
    generator = torch.Generator().manual_seed(1)
    targets = 5000 + 20 * torch.randn(50, columns, generator=generator)
    targets = targets[:, 0] if columns == 1 else targets
    task = get_task("regression", {"criterion": criterion}).fit(targets)
    table = targets.reshape(50, columns)
    small = (table - table.mean(0)) / table.std(0, correction=0)
    outputs = small + torch.randn(50, columns, generator=generator) / 2
    error = nn.functional.mse_loss if criterion == "mse" else nn.functional.smooth_l1_loss
    torch.testing.assert_close(task.loss(outputs, targets), 50 * error(outputs, small), rtol=1e-3, atol=1e-3)
    answers = torch.tensor([list(row.values()) for row in task.describe(outputs, ())])
    tally = Tally(task)
    for batch, truth in zip(outputs.split(8), targets.split(8), strict=True):
        tally.add(batch, truth)
    found = tally.measure()
    assert found["mae"] == pytest.approx(mean_absolute_error(table, answers), rel=1e-4)
    assert found["r2"] == pytest.approx(r2_score(table, answers), abs=1e-3)
    assert 0 < found["r2"] < 0.95
    again = get_task("regression").restored(json.loads(json.dumps(task.state())))
    assert again.describe(outputs, ()) == task.describe(outputs, ())
    assert get_task("regression").mean == ()  # the shared task did not change


def test_targets_that_are_all_alike():
    task = Regression().fit(torch.full((4,), 7.0))
    assert task.state() == {"mean": [7.0], "scale": [1.0]}
    right, wrong = (task.measure(task.count(torch.full((4, 1), x), torch.full((4,), 7.0))) for x in (0.0, 1.0))
    assert right == {"mae": 0.0, "r2": 1.0}
    assert wrong == {"mae": 1.0, "r2": 0.0}


@each(
    "task, targets, outputs, message",
    [
        ("regression", torch.zeros(3, dtype=torch.int64), 0, r"expected float32 targets of shape \(n,\) or \(n, k\)"),
        ("regression", torch.zeros(3, 2), 3, "the targets have 2 numbers for each image, but there are 3 outputs"),
        ("vector", torch.zeros(3), 0, r"expected float32 vectors \(x, y\) of shape \(n, 2\) or \(n, k, 2\)"),
        ("vector", torch.zeros(3, 3, 2), 4, "the targets have 6 numbers for each image, but there are 4 outputs"),
        ("orientation", torch.zeros(3, 2), 0, "expected float32 angles in degrees of shape"),
        ("orientation", torch.zeros(3), 4, "the network must give two numbers, a vector, got 4 outputs"),
    ],
)
def test_targets_of_another_kind(task, targets, outputs, message):
    with pytest.raises(ValueError, match=message):
        get_task(task).check(targets, outputs)


@each(
    "task, options, message",
    [
        ("regression", {"criterion": "l1"}, r"unknown criterion 'l1'.*valid: mse, smooth-l1"),
        ("regression", {"standardise": 1}, "standardise must be True or False"),
        ("orientation", {"axial": "yes"}, "axial must be True or False"),
    ],
)
def test_options_out_of_range(task, options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        get_task(task, options)
    with pytest.raises(ValueError, match="expected the mean and the scale of each column"):
        Regression().restored({"mean": [1.0], "scale": [0.0]})


def pointer(degrees, side=33):
    """Images of a wedge from the middle that points at an angle, counter-clockwise from the right."""
    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    angles = torch.as_tensor(degrees)[:, None, None] * math.pi / 180
    along = x * angles.cos() - y * angles.sin()
    across = x * angles.sin() + y * angles.cos()
    return (torch.exp(-((along - 7) ** 2) / 18 - across**2 / 4)).unsqueeze(1)


def centre(images):
    """The vector from the middle to the centre of brightness, (x, y) with y up."""
    side = images.shape[-1]
    y, x = torch.meshgrid(*[torch.arange(side) - (side - 1) / 2] * 2, indexing="ij")
    mass = images.sum((1, 2, 3))
    return torch.stack(((images * x).sum((1, 2, 3)) / mass, -(images * y).sum((1, 2, 3)) / mass), 1)


def apart(degrees, others):
    """The largest difference of two angles."""
    difference = (degrees - others).remainder(360)
    return float(difference.minimum(360 - difference).max())


@each("name", ["none", "turn", "fine-turn", "quarter-turn", "poses", "flip", "poses,turn,flip"])
def test_targets_turn_with_the_images(name):
    """What the images show after augmentation, measured in them, is what the moved targets say."""
    degrees = torch.linspace(0, 350, 24)
    images, module = pointer(degrees), augmentation(name)
    vectors = centre(images)
    assert apart(torch.atan2(vectors[:, 1], vectors[:, 0]).rad2deg(), degrees) < 0.5
    torch.manual_seed(2)
    moved, turned = VectorRegression().augment(module, images, vectors)
    torch.testing.assert_close(turned, centre(moved), rtol=0, atol=0.15)
    torch.manual_seed(2)
    moved, angles = Orientation().augment(module, images, degrees)
    seen = centre(moved)
    shown = torch.atan2(seen[:, 1], seen[:, 0]).rad2deg()
    assert apart(shown, angles) < 2
    if name != "none":
        assert not torch.allclose(turned, vectors)
        assert apart(shown, degrees) > 10  # the negative control: targets that stay are wrong
    both = VectorRegression().augment(module, images, torch.stack((vectors, 2 * vectors), 1))[1]
    assert both.shape == (24, 2, 2)
    torch.testing.assert_close(both[:, 1], 2 * both[:, 0])


@each("name", ["p4", "p4m", "C8", "D6"])
def test_targets_turn_as_the_matrices_of_a_group_say(name):
    """One convention for augmentation, `act` and `GroupToVector`."""
    matrices = torch.from_numpy(vector_matrices(name)).float()
    images = pointer(torch.tensor([20.0, 130.0]))
    for g in range(len(matrices)):
        torch.testing.assert_close(centre(act(name, g, images)), centre(images) @ matrices[g].T, rtol=0, atol=0.1)


def test_an_image_module_of_the_users_own_cannot_turn_targets():
    with pytest.raises(ValueError, match="Threshold moves images only; targets that move with them need"):
        Orientation().augment(nn.Threshold(0.5, 2.0), torch.rand(2, 1, 4, 4), torch.zeros(2))


def test_axes_are_the_same_from_both_ends():
    axial, plain = Orientation(axial=True), Orientation()
    outputs = torch.tensor([[math.cos(2 * t), math.sin(2 * t)] for t in (0.3, 2.0)])
    targets = torch.tensor([0.3 + math.pi, 2.0]).rad2deg()
    assert axial.measure(axial.count(outputs, targets))["deviation"] < 1e-3
    assert float(axial.loss(outputs, targets)) < 1e-6
    assert plain.measure(plain.count(outputs, targets))["deviation"] > 10
    for task, most in ((axial, 90), (plain, 180)):
        found = [task.measure(task.count(torch.randn(1, 2), torch.rand(1) * 360))["deviation"] for _ in range(200)]
        assert most * 0.9 < max(found) <= most
    assert torch.equal(plain.loss(outputs[:, None], targets), plain.loss(outputs, targets))  # of GroupToVector


@pytest.fixture(scope="module")
def weights():
    """How bright an image is, in grams."""
    targets = 200 + 100 * torch.linspace(0, 1, 24)
    images = torch.ones(24, 1, 28, 28) * ((targets - 200) / 100)[:, None, None, None]
    split = Split(images, targets)
    return Dataset("scales", (), split, split, split, build_preprocessing("identity", {}))


def test_a_run_keeps_the_units_of_its_targets(weights, tmp_path):
    config = TrainingConfig(
        task="regression", model="z2cnn", data="scales", model_config={"width": 2}, epochs=2, batch_size=12
    )
    options = {"data": weights, "progress": False, "threads": 1, "accelerator": "cpu"}
    record = train(config, folder=tmp_path / "run", **options)
    assert record.model_config["num_classes"] == 1
    assert record.task_state["mean"] == pytest.approx([250.0])
    assert RunRecord.read(tmp_path / "run" / "record.json") == record
    run = load_run(tmp_path / "run")
    answers = run.task.describe(run.model(weights.test.images), run.classes)
    deviations = [abs(row["value"] - target) for row, target in zip(answers, weights.test.labels.tolist(), strict=True)]
    assert sum(deviations) / 24 == pytest.approx(record.test_mae, rel=1e-4)
    assert evaluate(run, weights.test) == pytest.approx(record.test_mae)
    assert record.test_mae < 60  # of 0 to 100 grams: without its units it would be about 250
    assert train(config, folder=tmp_path / "run", resume=True, **options) == record


def test_a_classification_has_no_state_in_its_file(undisturbed):
    assert "task_state" not in json.loads((undisturbed.folder / "record.json").read_text())


def test_angles_may_be_a_column_as_tables_have_them():
    task, angles, outputs = get_task("orientation"), torch.tensor([10.0, 350.0, 90.0]), torch.randn(3, 2)
    column = angles[:, None]
    task.check(column, 2)
    assert torch.equal(task.count(outputs, column), task.count(outputs, angles))
    assert torch.equal(task.loss(outputs, column), task.loss(outputs, angles))
    images = torch.rand(3, 1, 8, 8)
    found = []
    for targets in (angles, column):
        torch.manual_seed(1)
        found.append(task.augment(augmentation("poses"), images, targets)[1])
    assert found[1].shape == (3, 1)
    assert torch.equal(found[0], found[1][:, 0])
