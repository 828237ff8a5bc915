"""The config of a training, from a file, a recipe and the command line."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from sepgconv.cli.config_file import ConfigFile

if TYPE_CHECKING:
    from sepgconv.tasks import TrainingConfig


def training_config(
    read: ConfigFile, recipe: str | None, given: Mapping[str, Any], model_config: dict[str, Any]
) -> "TrainingConfig":
    """Return the config of a training: the command line comes before the recipe it names, and that before the file.

    Raises:
        ValueError: a name or a value is wrong, or the network is missing.
    """
    from sepgconv._messages import unknown_name
    from sepgconv.tasks import RECIPES, TrainingConfig

    if recipe is not None and recipe not in RECIPES:
        raise ValueError(unknown_name("recipe", recipe, RECIPES))
    of_recipe = {} if recipe is None else {"recipe": recipe, **RECIPES[recipe]}
    # In a file that somebody wrote, a recipe stands for its values; the config of a run has all values, and a label.
    named = "default" if read.of_run else read.config.get("recipe", "default")
    if named not in RECIPES:
        raise ValueError(unknown_name("recipe", str(named), RECIPES))
    values: dict[str, Any] = {"data": "rotated_digits", **RECIPES[named], **read.config, **of_recipe}
    wanted = {name: value for name, value in given.items() if value is not None}
    options = {
        "model_config": model_config,
        **{name: wanted.pop(name, {}) for name in ("data_options", "task_options")},
    }
    for name, more in options.items():
        if more:
            values[name] = {**values.get(name, {}), **more}
    return TrainingConfig.from_dict({**values, **wanted})


def task_options(class_weights: str | None) -> dict[str, Any] | None:
    """Return the options of the task that the command line gives; None where it gives none.

    Raises:
        ValueError: the weights are no numbers.
    """
    if class_weights is None or class_weights == "balanced":
        return None if class_weights is None else {"class_weights": class_weights}
    try:
        return {"class_weights": [float(weight) for weight in class_weights.split(",")]}
    except ValueError as error:
        raise ValueError(
            f"--class-weights must be balanced, or numbers and commas, as in 1,1,3; got {class_weights!r}"
        ) from error


def changed(config: "TrainingConfig", read: ConfigFile) -> list[str]:
    """Return the options in which a config is not that of its file."""
    from sepgconv.tasks import TrainingConfig

    kept = vars(TrainingConfig.from_dict(read.config)) if read.config else {}
    return [name for name, value in vars(config).items() if kept and kept[name] != value]
