import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.optim import SGD, Adam

from sepgconv.data import Split
from sepgconv.tasks import TrainingConfig, get_task
from sepgconv.tasks.module import EpochBatches, TrainingModule

SOME = {"model": "z2cnn", "data": "rotated_digits"}


def test_the_optimisers_are_those_of_the_config():
    model = nn.Linear(2, 2)
    adam = TrainingModule(model, TrainingConfig(**SOME, lr=0.3, weight_decay=0.2)).configure_optimizers()
    assert isinstance(adam, Adam)
    assert (adam.defaults["lr"], adam.defaults["weight_decay"]) == (0.3, 0.2)
    sgd = TrainingModule(
        model, TrainingConfig(**SOME, optimizer="sgd", lr=0.3, momentum=0.4, weight_decay=0.2)
    ).configure_optimizers()
    assert isinstance(sgd, SGD)
    assert (sgd.defaults["lr"], sgd.defaults["momentum"], sgd.defaults["weight_decay"]) == (0.3, 0.4, 0.2)


class Strategy:
    @staticmethod
    def reduce_boolean_decision(decision, all):
        return decision

    @staticmethod
    def reduce(value, reduce_op):
        return value


class Trainer:
    """What the classifier asks of a trainer."""

    strategy = Strategy()
    current_epoch = 3
    training = True
    progress_bar_callback: object | None = None

    def __init__(self, world_size=1):
        self.world_size = world_size


def classifier(world_size=1):
    model = TrainingModule(nn.Linear(2, 3), TrainingConfig(**SOME, epochs=4))
    model._trainer = Trainer(world_size)
    model.log = lambda *args, **options: None
    return model


def test_the_loss_is_the_mean_cross_entropy_and_the_error_in_percent(monkeypatch):
    monkeypatch.setattr(TrainingModule, "trainer", property(lambda self: self._trainer))
    model = classifier()
    images = torch.randn(8, 2)
    scores = model(images)
    labels = scores.argmax(1)
    labels[:3] = (labels[:3] + 1) % 3
    expected = F.cross_entropy(scores, labels)
    torch.testing.assert_close(model.training_step((images, labels, 8), 0), expected)
    figures = model.figures()
    assert figures == {"train_loss": pytest.approx(expected.item()), "train_error": 37.5}
    # Batches of unequal size count by their images, and validation apart.
    model.training_step((images[:2], labels[:2], 2), 1)
    model.validation_step((images[3:], labels[3:], 5), 0)
    assert model.figures()["train_error"] == 50.0
    assert (model.figures()["validation_error"]) == 0.0


def test_the_loss_is_logged_for_a_bar_and_not_without(monkeypatch):
    """Every number that is logged for a bar makes the processor wait for the device."""
    monkeypatch.setattr(TrainingModule, "trainer", property(lambda self: self._trainer))
    model, logged = classifier(), []
    model.log = lambda name, *args, **options: logged.append((name, options["prog_bar"]))
    batch = (torch.randn(4, 2), torch.tensor([0, 1, 2, 0]), 4)
    model.training_step(batch, 0)
    assert logged == []
    monkeypatch.setattr(model._trainer, "progress_bar_callback", object())
    model.training_step(batch, 1)
    assert logged == [("loss", True)]


def test_the_mean_over_unequal_shares_is_the_mean_over_the_images(monkeypatch):
    monkeypatch.setattr(TrainingModule, "trainer", property(lambda self: self._trainer))
    model = classifier(world_size=2)
    images, labels = torch.randn(5, 2), torch.tensor([0, 1, 2, 0, 1])
    shares = [model.training_step((images[rank::2], labels[rank::2], 5), 0) for rank in range(2)]
    torch.testing.assert_close(sum(shares) / 2, F.cross_entropy(model(images), labels))


def test_training_images_are_augmented_and_no_others(monkeypatch):
    split = Split(torch.ones(4, 1, 2, 2), torch.zeros(4, dtype=torch.int64))
    batches = EpochBatches(split, split, TrainingConfig(**SOME), nn.Threshold(2.0, 7.0))
    batches.trainer = Trainer()
    batch = (split.images, split.labels, 4)
    images, labels, size = batches.on_after_batch_transfer(batch, 0)
    assert torch.equal(images, torch.full((4, 1, 2, 2), 7.0))
    assert (labels is split.labels, size) == (True, 4)
    monkeypatch.setattr(batches.trainer, "training", False)
    assert batches.on_after_batch_transfer(batch, 0)[0] is split.images


def test_validation_judges_the_statistics_of_the_first_process(monkeypatch):
    from sepgconv.tasks import module

    shared = []
    monkeypatch.setattr(module, "share_buffers", shared.append)
    model = classifier()
    model.on_validation_start()
    assert shared == [model.model]


def test_a_loss_that_is_not_finite_in_another_process_stops_this_one(monkeypatch):
    from sepgconv.tasks import DivergedError

    monkeypatch.setattr(TrainingModule, "trainer", property(lambda self: self._trainer))
    monkeypatch.setattr(Strategy, "reduce_boolean_decision", staticmethod(lambda decision, all: False))
    with pytest.raises(DivergedError, match="the loss is not finite in another process in epoch 4, batch 1"):
        classifier().training_step((torch.randn(2, 2), torch.tensor([0, 1]), 4), 0)


def test_label_smoothing_spreads_a_share_of_every_target():
    """From the definition: the share goes to all classes alike; validation knows nothing of it."""
    task = get_task("classification")
    scores, labels = torch.randn(5, 3, dtype=torch.float64), torch.tensor([0, 2, 1, 1, 0])
    targets = 0.9 * torch.nn.functional.one_hot(labels, 3) + 0.1 / 3
    expected = -(targets * scores.log_softmax(1)).sum()
    torch.testing.assert_close(task.training_loss(scores, labels, 0.1), expected)
    torch.testing.assert_close(task.training_loss(scores, labels, 0.0), task.loss(scores, labels))
    assert not torch.isclose(task.training_loss(scores, labels, 0.1), task.loss(scores, labels))
