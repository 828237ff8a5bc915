"""Training configs from files: YAML that people write, and the config.json that every run writes."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

_SCIENTIFIC = re.compile(r"[+-]?\d+[eE][+-]?\d+")
_AXES = 3  # of the shape of an image


@dataclass(frozen=True)
class ConfigFile:
    """What a file says of a training.

    Attributes:
        config: fields of a `sepgconv.tasks.TrainingConfig`, as they stand there.
        precision: Lightning's name; None where the file does not say.
        image_size: height and width of the user's own images; the same.
        preprocessing: of the user's own images; the same.
        of_run: whether it is the config.json of a run, which has every value.
    """

    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    precision: str | None = None
    image_size: int | None = None
    preprocessing: str | None = None
    of_run: bool = False


def read_config_file(path: Path) -> ConfigFile:
    """Read a config: a mapping of options, or the config.json of a run.

    Args:
        path: a file of YAML, of which JSON is a part. Nothing in it is executed.

    Raises:
        FileNotFoundError: there is none.
        OSError: it cannot be read.
        ValueError: it is no YAML, or no mapping of names to values.
    """
    from sepgconv._messages import require

    yaml = require("yaml", extra="train", purpose="reading a config file")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; give the file, as {path / 'config.json'}")
    try:
        text = path.read_text(encoding="utf-8")
        try:
            found = json.loads(text)
        except ValueError:
            found = _with_numbers(yaml.safe_load(text))
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is no YAML or JSON: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict) or not all(isinstance(key, str) for key in cast("dict[Any, Any]", found)):
        raise ValueError(f"{path} must hold options with their values, as in `model: gc_p4cnn`, one on each line")
    values = cast("dict[str, Any]", found)
    if not isinstance(values.get("config"), dict):
        precision = values.pop("precision", None)
        size, preprocessing = values.pop("image_size", None), values.pop("preprocessing", None)
        return ConfigFile(values, precision, size, preprocessing)
    return ConfigFile(values["config"], values.get("precision"), _image_size(values), _preprocessing(values), True)


def _with_numbers(value: Any) -> Any:
    """Return values of YAML in which 1e-3 is a number: YAML 1.1 takes it for a word, because it has no point."""
    if isinstance(value, dict):
        return {key: _with_numbers(entry) for key, entry in cast("dict[Any, Any]", value).items()}
    if isinstance(value, list):
        return [_with_numbers(entry) for entry in cast("list[Any]", value)]
    return float(value) if isinstance(value, str) and _SCIENTIFIC.fullmatch(value) else value


def _preprocessing(setup: Mapping[str, Any]) -> str | None:
    """Return the preprocessing of a run's own images, which older versions left as they were."""
    from sepgconv.data.registry import is_own

    if not is_own(str(setup["config"].get("data", ""))):
        return None
    return str(setup.get("reading", {}).get("preprocessing", "identity"))


def _image_size(setup: Mapping[str, Any]) -> int | None:
    """Return the size to which a run's own images were brought; None of a data set that has a size."""
    from sepgconv.data.registry import is_own

    about = setup.get("data")
    if not isinstance(about, dict) or not is_own(str(setup["config"].get("data", ""))):
        return None
    shape = cast("dict[str, Any]", about).get("image_shape", [])
    return shape[1] if len(shape) == _AXES and shape[1] == shape[2] else None
