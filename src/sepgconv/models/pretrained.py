"""Trained weights of networks by name: those that come with the package, and those that others register."""

import fnmatch
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from sepgconv._messages import unknown_name
from sepgconv.models.network import Network
from sepgconv.models.sealed import HEADER, SealedTensors, read_sealed

RECORD = "record"  # in the metadata: the record of the run that the weights come from, as JSON
CLASSIFIER = "classifier."
# Options that trained weights leave open: none of them changes what the weights mean.
OPEN = ("num_classes", "dropout", "execution", "recompute")

SHIPPED = Path(__file__).parent / "weights"  # <network>/<tag>.safetensors
_REGISTERED: dict[str, dict[str, Path]] = {}


def list_pretrained(pattern: str = "*") -> tuple[str, ...]:
    """Return which trained weights there are, as "network.tag".

    Args:
        pattern: only those of networks whose name it matches, with *, ? and [] as in file names.

    Example:
        >>> list_pretrained("z2*")  # none
        ()
    """
    names = sorted({*_REGISTERED, *(path.name for path in SHIPPED.glob("*/"))})
    return tuple(f"{name}.{tag}" for name in names if fnmatch.fnmatchcase(name, pattern) for tag in _files(name))


def register_pretrained(name: str, tag: str, file: str | Path) -> None:
    """Make trained weights known: `create_model(name, pretrained=tag)` then takes them.

    Args:
        name: of the network, as in `create_model(name)`.
        tag: what these weights are called, a word as "seed1".
        file: a `model.safetensors` that `sepgconv.save` wrote, of a network of this name. It is read when a network is
            made.

    Raises:
        ValueError: the tag is no word, or stands for other weights already.
        FileNotFoundError: there is no such file.

    Example:
        >>> import tempfile, torch
        >>> from pathlib import Path
        >>> from sepgconv import create_model, save
        >>> from sepgconv.models import register_pretrained
        >>> folder = Path(tempfile.mkdtemp())
        >>> trained = create_model("z2cnn", width=2)
        >>> register_pretrained("z2cnn", "mine", save(trained, folder) / "model.safetensors")
        >>> again = create_model("z2cnn", pretrained="mine")
        >>> torch.equal(again.classifier.weight, trained.classifier.weight)
        True
        >>> from sepgconv.models import pretrained
        >>> _ = pretrained._REGISTERED.pop("z2cnn")  # so that this example leaves nothing behind
    """
    if not isinstance(tag, str) or not tag or not all(letter.isalnum() or letter in "_-" for letter in tag):
        raise ValueError(f"register_pretrained: the tag must be of letters, digits, _ and -, got {tag!r}")
    path = Path(file).absolute()
    if not path.is_file():
        raise FileNotFoundError(f"register_pretrained: there is no file {file}")
    if _files(name).get(tag, path) != path:
        raise ValueError(f"register_pretrained: {name} has other weights of the tag {tag!r}; choose another one")
    _REGISTERED.setdefault(name, {})[tag] = path


def pretrained_record(name: str, tag: str | bool = True) -> Mapping[str, Any]:
    """Return the record of the run that trained weights come from: config, versions, seed, error and so on.

    Args:
        name: of the network.
        tag: of the weights; True for the first.

    Raises:
        ValueError: no such weights, or they have no record.

    Example:
        >>> pretrained_record("z2cnn")
        Traceback (most recent call last):
        ...
        ValueError: z2cnn has no trained weights; networks that have some: ...
    """
    found, path = _read(name, tag)
    if RECORD not in found.metadata:
        raise ValueError(f"{path} has no record of a run")
    return json.loads(found.metadata[RECORD])


def pretrained_config(name: str, tag: str | bool, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of a network that takes trained weights.

    Args:
        name: of the network.
        tag: of the weights; True for the first.
        given: options by the caller; those that do not change what the weights mean may be others.

    Raises:
        ValueError: no such weights, an option that they do not fit, or a damaged file.
    """
    found, path = _read(name, tag)
    described = json.loads(found.metadata.get(HEADER, "{}"))
    if described.get("name") != name:
        raise ValueError(f"{path} holds weights of {described.get('name', 'an unknown network')}, not of {name}")
    kept: dict[str, Any] = described["config"]
    for key, value in given.items():
        plain = list(value) if isinstance(value, tuple) else value
        if key not in OPEN and key in kept and kept[key] != plain:
            raise ValueError(
                f"{name}: the trained weights are of {key}={kept[key]!r}, not {value!r}; leave {key} out, or "
                "pretrained (options that may differ: " + ", ".join(OPEN) + ")"
            )
    return {**kept, **given}


def load_pretrained(model: Network, name: str, tag: str | bool) -> None:
    """Load trained weights into a network; a classifier of another number of classes keeps its random ones.

    Raises:
        ValueError: no such weights, or they do not fit.
    """
    found, path = _read(name, tag)
    state: dict[str, Tensor] = dict(found.state)
    own = model.state_dict()
    if any(state[key].shape != own[key].shape for key in state if key.startswith(CLASSIFIER) and key in own) or (
        model.num_classes == 0
    ):
        kept = {key: value for key, value in own.items() if key.startswith(CLASSIFIER)}
        state = {key: value for key, value in state.items() if not key.startswith(CLASSIFIER)} | kept
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit {name}: {error}") from error


def _files(name: str) -> dict[str, Path]:
    shipped = {path.stem: path for path in sorted((SHIPPED / name).glob("*.safetensors"))}
    return {**shipped, **_REGISTERED.get(name, {})}


def _read(name: str, tag: str | bool) -> tuple[SealedTensors, Path]:
    files = _files(name)
    if not files:
        others = sorted({found.rsplit(".", 1)[0] for found in list_pretrained()})
        raise ValueError(f"{name} has no trained weights; networks that have some: {', '.join(others) or 'none'}")
    if tag is True:
        tag = next(iter(files))
    if tag not in files:
        raise ValueError(unknown_name(f"tag of trained weights of {name}", str(tag), files))
    path = files[str(tag)]
    try:
        return read_sealed(path), path
    except ValueError as error:
        raise ValueError(f"{path} is damaged ({error}); install the package or fetch the file again") from error
