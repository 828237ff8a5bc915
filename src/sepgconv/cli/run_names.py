"""The name of a run's folder: what the run is, and every option that is not its recipe's."""

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sepgconv.tasks import TrainingConfig

_LONGEST = 120  # letters; file systems allow 255 bytes
_SHORT = {"epochs": "e", "batch_size": "b", "lr": "lr", "image_size": "", "hold_out": "hold-out-"}
_NAMED = ("model", "model_config", "data", "recipe", "seed", "extended_at")  # in the name anyhow, or no one's choice


def run_name(config: "TrainingConfig", **further: object) -> str:
    """Return the name of the folder of a run; runs that differ in an option have different names.

    Args:
        config: the run's.
        further: options that are no part of the config; those that are None are left out.

    Example:
        >>> from sepgconv.tasks import TrainingConfig
        >>> config = TrainingConfig(model="gc_p4cnn", model_config={"width": 8, "group": "pm"}, data="rotmnist", lr=0.1)
        >>> run_name(config, precision="bf16-mixed")
        'gc_p4cnn-w8-pm-rotmnist-default-lr0.1-precision=bf16-mixed-seed1'
    """
    from sepgconv.tasks import RECIPES, TrainingConfig

    recipe = RECIPES.get(config.recipe, {})
    usual = TrainingConfig.from_dict({"model": config.model, "data": config.data, **recipe})
    values = {name: value for name, value in vars(config).items() if value != getattr(usual, name)}
    options: Mapping[str, Any] = {**values, **{name: value for name, value in further.items() if value is not None}}
    words = [
        config.model,
        *(_model_option(name, value) for name, value in config.model_config.items()),
        Path(config.data).stem,
        config.recipe,
        *(_option(name, value) for name, value in options.items() if name not in _NAMED),
        f"seed{config.seed}",
    ]
    name = re.sub(r"[^\w.+=,-]", "_", "-".join(words))
    if len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(name.encode(errors="surrogateescape")).hexdigest()[:8]
    return f"{name[:_LONGEST]}-{digest}-seed{config.seed}"


def _model_option(name: str, value: object) -> str:
    text = _text(value)
    return f"w{text}" if name in ("width", "widths") else text if name == "group" else f"{name}={text}"


def _option(name: str, value: object) -> str:
    return f"{_SHORT.get(name, f'{name}=')}{_text(value)}"


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return "-".join(map(_text, value))
    if isinstance(value, dict):
        return "-".join(f"{key}={_text(entry)}" for key, entry in value.items())
    return f"{value:g}" if isinstance(value, float) else str(value)
