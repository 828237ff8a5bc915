import dataclasses
import json
import math

import pytest
import torch

from sepgconv.tasks import RECIPES, TrainingConfig
from sepgconv.tasks.config import NEWER
from tests.covering import each

SOME = {"model": "gc_p4cnn", "data": "rotmnist"}


def test_the_defaults_are_those_of_the_docstring():
    """Records hold what differs from them: another default would make another run of an old config."""
    defaults = {f.name: f.default for f in dataclasses.fields(TrainingConfig) if f.default is not dataclasses.MISSING}
    assert defaults == {
        "task": "classification", "recipe": "default", "initialisation": "sepgconv", "optimizer": "adam", "lr": 0.01,
        "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 64, "epochs": 40, "schedule": "cosine", "milestones": (),
        "gamma": 0.1, "augmentation": "none", "sampling": "shuffle", "label_smoothing": 0.0, "seed": 1,
        "hold_out": True, "keep_best": False, "early_stopping": 0, "extended_at": (), "freeze": (), "lr_backbone": None,
    }  # fmt: skip


def test_the_paper_recipe_is_that_of_table_1():
    config = TrainingConfig.from_recipe("paper", **SOME)
    assert (config.optimizer, config.lr, config.weight_decay, config.batch_size) == ("adam", 0.01, 1e-5, 256)
    assert (config.epochs, config.augmentation, config.hold_out, config.recipe) == (50, "none", False, "paper")
    assert config.initialisation == "published"
    rates = [config.learning_rate(epoch) for epoch in range(50)]
    assert rates == pytest.approx([0.01] * 40 + [0.001] * 10)


@pytest.mark.parametrize(("recipe", "augmentation"), [("paper-cifar10", "none"), ("paper-cifar10+", "crop-flip")])
def test_the_cifar_recipes_are_those_of_table_2(recipe, augmentation):
    config = TrainingConfig.from_recipe(recipe, **SOME)
    assert (config.optimizer, config.momentum, config.weight_decay, config.batch_size) == ("sgd", 0.9, 1e-5, 128)
    assert (config.epochs, config.augmentation, config.hold_out) == (300, augmentation, False)
    assert config.initialisation == "published"
    rates = [config.learning_rate(epoch) for epoch in range(300)]
    assert rates == pytest.approx([0.05] * 50 + [0.005] * 50 + [0.0005] * 50 + [0.00005] * 150)


def test_milestones_beyond_the_last_epoch_never_come():
    config = TrainingConfig.from_recipe("paper", **SOME, epochs=3)
    assert [config.learning_rate(epoch) for epoch in range(3)] == [0.01] * 3


def test_cosine_falls_from_lr_towards_zero():
    config = TrainingConfig(**SOME, lr=0.5, epochs=4, schedule="cosine")
    expected = [0.5, 0.25 * (1 + math.sqrt(0.5)), 0.25, 0.25 * (1 - math.sqrt(0.5))]
    assert [config.learning_rate(epoch) for epoch in range(4)] == pytest.approx(expected)


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_survives_json(recipe):
    config = TrainingConfig.from_recipe(recipe, **SOME, model_config={"widths": (1, 2)})
    again = TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict())))
    assert again == config
    # What is newer stands in a config only where it is not the default, so that older ones compare equal.
    assert {*config.to_dict(), *NEWER} == {f.name for f in dataclasses.fields(TrainingConfig)}


def test_what_is_newer_is_kept_where_it_is_not_the_default():
    config = TrainingConfig(**SOME, label_smoothing=0.1, freeze=("features",), extended_at=(3,))
    assert config.to_dict()["label_smoothing"] == 0.1
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


def test_one_cycle_rises_and_falls_within_epochs():
    """As OneCycleLR of torch, which ends at a small rate where this one ends at zero."""
    config = TrainingConfig(**SOME, lr=0.5, epochs=10, schedule="one-cycle")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.5, total_steps=1001, cycle_momentum=False)
    for step in range(1000):
        assert config.learning_rate(step / 100) == pytest.approx(schedule.get_last_lr()[0], abs=2e-3), step
        optimizer.step()
        schedule.step()
    assert config.learning_rate(3) == pytest.approx(0.5)
    assert config.learning_rate(10) == pytest.approx(0)


def test_overrides_replace_the_recipe_and_none_leaves_it():
    config = TrainingConfig.from_recipe("paper", **SOME, lr=0.5, epochs=None)
    assert (config.lr, config.epochs) == (0.5, 50)


def test_an_unknown_initialisation_is_refused_and_the_known_ones_named():
    assert TrainingConfig(**SOME).initialisation == "sepgconv"
    with pytest.raises(ValueError, match=r"initialisation 'he'.*sepgconv, published"):
        TrainingConfig(**SOME, initialisation="he")


def test_the_model_config_is_a_copy():
    given = {"width": 30}
    config = TrainingConfig(**SOME, model_config=given)
    given["width"] = 10
    assert config.model_config == {"width": 30}


def test_an_unknown_key_is_refused_and_the_nearest_named():
    with pytest.raises(ValueError, match=r"unknown training option 'batchsize'; did you mean 'batch_size'"):
        TrainingConfig.from_dict({**SOME, "batchsize": 3})
    with pytest.raises(ValueError, match=r"unknown training option 'epoch'; did you mean 'epochs'"):
        TrainingConfig.from_recipe("paper", **SOME, epoch=3)


def test_an_unknown_recipe_is_refused_and_the_nearest_named():
    with pytest.raises(ValueError, match=r"unknown recipe 'papr'; did you mean 'paper'"):
        TrainingConfig.from_recipe("papr", **SOME)


def test_a_missing_key_is_named():
    with pytest.raises(ValueError, match="needs data; it has: model"):
        TrainingConfig.from_dict({"model": "z2cnn"})


BAD = {
    "model": [7, ""],
    "data": [None, ""],
    "model_config": [[1], {"a": {1, 2}}, {"a": math.nan}],
    "optimizer": ["adamax"],
    "lr": [0, -1.0, math.inf, math.nan, "fast", True],
    "momentum": [-0.1, 1.0],
    "weight_decay": [-1e-5],
    "batch_size": [1, 2.5, True, "64"],
    "epochs": [0, 1.5],
    "schedule": ["linear"],
    "milestones": [[3, 2], [0], 5, [1.5]],
    "gamma": [0],
    "label_smoothing": [-0.1, 1.0, "some"],
    "seed": [-1, 0.5, 2**63],
    "hold_out": [1, "no"],
}


@each(("key", "value"), [(key, value) for key, values in BAD.items() for value in values])
def test_a_bad_value_is_refused_in_one_sentence(key, value):
    with pytest.raises(ValueError, match=rf"^{key} must be .+, got ") as caught:
        TrainingConfig.from_dict({**SOME, key: value})
    assert "\n" not in str(caught.value)


def test_an_unknown_augmentation_is_refused_and_the_nearest_named():
    with pytest.raises(ValueError, match="unknown augmentation 'crop_flip'; did you mean 'crop-flip'"):
        TrainingConfig(**SOME, augmentation="crop_flip")


def test_the_constructor_checks_too():
    with pytest.raises(ValueError, match="lr must be a number above 0"):
        TrainingConfig(**SOME, lr=-1.0)
