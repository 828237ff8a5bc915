"""Tasks in a trainer of the user's own, with their own networks and data loaders; the metrics to log."""

import copy
import warnings

import pytest
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from sepgconv.data import Split, load_dataset, take_images
from sepgconv.nn import GroupToVector, LiftingConv2d
from sepgconv.tasks import (
    EquivarianceError,
    ImageDataModule,
    InvarianceRate,
    Regression,
    Segmentation,
    TaskModule,
    list_tasks,
    measure,
)
from tests.covering import each, named

QUIET = {
    "accelerator": "cpu",
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
}


def trainer(epochs=1, **options):
    return Trainer(max_epochs=epochs, **{**QUIET, **options})


@pytest.fixture(autouse=True)
def _lightning_speaks_of_itself():
    """Of workers, and of small data."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*does not have many workers.*")
        warnings.filterwarnings("ignore", ".*number of training batches.*")
        warnings.filterwarnings("ignore", ".*but have no `val_dataloader`.*")
        warnings.filterwarnings("ignore", r".*LeafSpec.*", FutureWarning)
        yield


def flat(outputs, side=8):
    return nn.Sequential(nn.Flatten(), nn.Linear(side * side, outputs))


# For each task: network, targets of 12 images.
CASES = {
    "classification": (lambda: flat(3), lambda: torch.arange(12) % 3),
    "multi-label": (lambda: flat(2), lambda: (torch.rand(12, 2) < 0.5).float()),
    "regression": (lambda: flat(2), lambda: torch.randn(12, 2)),
    "vector": (
        lambda: nn.Sequential(LiftingConv2d(1, 2, 3, "p4"), GroupToVector(2, 1, "p4")),
        lambda: torch.randn(12, 2),
    ),
    "orientation": (lambda: flat(2), lambda: torch.rand(12) * 360),
    "segmentation": (lambda: nn.Conv2d(1, 2, 3, padding=1), lambda: torch.randint(2, (12, 8, 8))),
}


def test_every_task_is_a_case():
    assert set(CASES) == set(list_tasks())


@each("task", list(CASES))
def test_every_task_trains_in_an_ordinary_trainer(task):
    build, targets = CASES[task]
    data = TensorDataset(torch.rand(12, 1, 8, 8), targets())
    module = TaskModule(build(), task, lr=0.01, augmentation="poses,flip")
    before = copy.deepcopy(module.model.state_dict())
    runner = trainer()
    runner.fit(module, DataLoader(data, 5, shuffle=True), DataLoader(data, 5))
    logged = {name: float(value) for name, value in runner.callback_metrics.items()}
    judged = measure(module.model, Split(*data.tensors), task=task)
    assert {"train_loss", "val_loss"} <= set(logged)
    for metric in module.task.metrics:
        assert logged[f"val_{metric.name}"] == pytest.approx(judged[metric.name], rel=1e-4, abs=1e-5)
    assert any(not torch.equal(before[name], value) for name, value in module.model.state_dict().items())
    found = runner.test(module, DataLoader(data, 5), verbose=False)[0]
    assert {f"test_{name}" for name in judged} <= set(found)
    rows = [row for batch in runner.predict(module, DataLoader(data, 5)) for row in batch]
    assert len(rows) == 12
    assert all(isinstance(value, str | float) for row in rows for value in row.values())


def test_units_and_the_task_survive_a_checkpoint(tmp_path):
    targets = 300 + 20 * torch.randn(12)
    data = TensorDataset(torch.rand(12, 1, 8, 8), targets)
    module = TaskModule(flat(1), Regression().fit(targets))
    runner = trainer()
    runner.fit(module, DataLoader(data, 4))
    runner.save_checkpoint(tmp_path / "one.ckpt")
    again = TaskModule.load_from_checkpoint(tmp_path / "one.ckpt", model=flat(1), task="regression")
    batch = next(iter(DataLoader(data, 4)))
    assert again.eval().predict_step(batch, 0) == module.eval().predict_step(batch, 0)
    assert 200 < again.predict_step(batch, 0)[0]["value"] < 400
    (tmp_path / "one.ckpt").unlink()


def test_a_data_set_of_the_library_in_an_ordinary_trainer():
    digits = take_images(load_dataset("rotated_digits"), 60, seed=1)
    data = ImageDataModule(digits, batch_size=16)
    assert (data.classes, data.image_shape) == (digits.classes, (1, 28, 28))
    seen = torch.cat([labels for _, labels in data.train_dataloader()])
    assert sorted(seen.tolist()) == sorted(digits.train.labels.tolist())
    assert not torch.equal(seen, digits.train.labels)
    assert torch.equal(torch.cat([labels for _, labels in data.val_dataloader()]), digits.validation.labels)
    torch.manual_seed(0)
    module = TaskModule(flat(10, 28), classes=digits.classes, lr=0.02, weight_decay=0.0)
    runner = trainer(8)
    runner.fit(module, data)
    assert measure(module.model, digits.train)["error"] < 20  # it learns
    (rows, *_) = runner.predict(module, data)
    assert rows[0]["class"] in digits.classes


@each(
    "options, message",
    [
        ({"task": "clasification"}, "unknown task 'clasification'; did you mean 'classification'"),
        ({"optimizer": "lion"}, "unknown optimizer 'lion'"),
        ({"schedule": "step"}, "unknown schedule 'step'"),
        ({"lr": 0}, "lr must be a number above 0, got 0"),
        ({"augmentation": "turns"}, "unknown augmentation 'turns'; did you mean"),
        ({"task": Segmentation(), "task_options": {"instances": True}}, "task_options are of a task by name"),
    ],
)
def test_arguments_out_of_range(options, message, unchecked):
    with pytest.raises(ValueError, match=message):
        TaskModule(flat(2), **options)
    with pytest.raises(ValueError, match="batch_size must be 1 or more"):
        ImageDataModule("rotated_digits", batch_size=0)


def test_targets_of_another_task_say_so_in_validation():
    module = TaskModule(flat(2), "classification")
    with pytest.raises(ValueError, match="classification: expected int64 labels"):
        module.validation_step((torch.rand(4, 1, 8, 8), torch.rand(4)), 0)


class Logged(LightningModule):
    """A module of a user's own that logs the metrics."""

    def __init__(self, model):
        super().__init__()
        self.model, self.error, self.rate = model, EquivarianceError("p4"), InvarianceRate("p4", images=3)

    def training_step(self, batch, batch_idx):
        return nn.functional.cross_entropy(self.model(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.error.update(self.model, batch[0])
        self.rate.update(self.model, batch[0])
        self.log("val_equivariance", self.error)
        self.log("val_invariance", self.rate)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_metrics_are_logged_by_a_module_of_the_users_own():
    data = DataLoader(TensorDataset(torch.rand(12, 1, 8, 8), torch.arange(12) % 3), 4)
    exact = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1, 3))
    for model, invariant in ((exact, True), (flat(3), False)):
        module = Logged(model)
        assert list(module.state_dict()) == [f"model.{name}" for name in model.state_dict()]
        runner = trainer()
        runner.fit(module, data, data)
        error, rate = (float(runner.callback_metrics[f"val_{name}"]) for name in ("equivariance", "invariance"))
        with named(invariant=invariant):
            assert (error < 1e-6, rate == 1.0) == (invariant, invariant)
        assert model.training  # put back as it was


@torch.no_grad()
def test_metrics_are_those_of_the_definition():
    torch.manual_seed(1)
    model, images = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3, padding=1)), torch.randn(6, 2, 5, 5)
    statistics = model[0].running_mean.clone()
    error = EquivarianceError("pm", images=100)
    for part in images.split(4):
        error.update(model, part)
    assert torch.equal(model[0].running_mean, statistics)
    model.eval()
    moved, expected = model(images.flip(-1)), model(images).flip(-1)
    assert float(error.compute()) == pytest.approx(float((moved - expected).norm() / expected.norm()), rel=1e-5)
    head = nn.Sequential(LiftingConv2d(2, 4, 3, "p4"), GroupToVector(4, 1, "p4"))
    error = EquivarianceError("p4")
    error.update(head, images)
    assert float(error.compute()) < 1e-5  # it knows how vectors turn
    scores = flat(3, 5)
    images = torch.randn(20, 1, 5, 5)
    rate = InvarianceRate("p4", elements=(1, 2), images=7)
    rate.update(scores, images)
    answers = [scores(torch.rot90(images[:7], k, (-2, -1))).argmax(1) for k in (0, 1, 2)]
    expected = sum(bool(a == b == c) for a, b, c in zip(*answers, strict=True)) / 7
    assert float(rate.compute()) == pytest.approx(expected)
    assert 0 < expected < 1


@each(
    "build, message",
    [
        (lambda: InvarianceRate("p4", elements=(4,)), "p4 has the elements 0..3, got 4"),
        (lambda: EquivarianceError("C5"), "C5 has no element but the identity that keeps the pixel grid"),
        (lambda: EquivarianceError("p4", images=0), "images must be 1 or more"),
        (lambda: InvarianceRate("p4").update(nn.ReLU(), torch.rand(1, 1, 4, 4)), "expected scores of shape"),
    ],
)
def test_metrics_that_cannot_be(build, message):
    with pytest.raises(ValueError, match=message):
        build()
