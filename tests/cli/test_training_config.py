"""The config of a training: which of file, recipe and command line has the last word."""

import json
from pathlib import Path

import pytest

from sepgconv.cli.config_file import ConfigFile, read_config_file
from sepgconv.cli.training_config import training_config
from sepgconv.tasks import RECIPES, TrainingConfig


def test_options_are_merged_with_those_of_the_file():
    """What the command line adds drops nothing that the file says, as how patients are kept together."""
    begun = {
        "model": "z2cnn",
        "data_options": {"group_pattern": "p([0-9]+)", "fit": "pad"},
        "task_options": {"class_weights": "balanced"},
        "model_config": {"width": 4},
    }
    given = {"data_options": {"split_seed": 3}, "task_options": None}
    found = training_config(ConfigFile(begun), None, given, {"num_classes": 2})
    assert found.data_options == {"group_pattern": "p([0-9]+)", "fit": "pad", "split_seed": 3}
    assert found.task_options == {"class_weights": "balanced"}
    assert found.model_config == {"width": 4, "num_classes": 2}


def test_a_recipe_in_a_file_stands_for_its_values():
    written = ConfigFile({"model": "z2cnn", "recipe": "paper", "epochs": 1})
    found = training_config(written, None, {}, {})
    assert (found.recipe, found.epochs, found.batch_size) == ("paper", 1, RECIPES["paper"]["batch_size"])
    assert found.hold_out is False
    # The config of a run has all its values, and a recipe that may be of another version.
    of_run = ConfigFile({"model": "z2cnn", "recipe": "of old", "epochs": 1}, of_run=True)
    assert training_config(of_run, None, {}, {}).batch_size == TrainingConfig(model="z2cnn", data="x.npz").batch_size
    with pytest.raises(ValueError, match=r"unknown recipe 'papr'.*'paper'"):
        training_config(ConfigFile({"model": "z2cnn", "recipe": "papr"}), None, {}, {})


@pytest.mark.parametrize(("kept", "expected"), [({"preprocessing": "mean-std"}, "mean-std"), (None, "identity")])
def test_the_preprocessing_of_a_run_is_taken_over(tmp_path: Path, kept, expected: str):
    """A run of a version that noted none had pixels as they were."""
    setup = {"config": {"model": "z2cnn", "data": "seen/"}, "precision": "32-true"}
    (tmp_path / "config.json").write_text(json.dumps(setup if kept is None else {**setup, "reading": kept}))
    found = read_config_file(tmp_path / "config.json")
    assert (found.preprocessing, found.of_run) == (expected, True)
    (tmp_path / "own.yaml").write_text("model: z2cnn\npreprocessing: identity\n")
    assert read_config_file(tmp_path / "own.yaml").preprocessing == "identity"
