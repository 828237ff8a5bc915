"""A network in a folder: `config.json` says how it is built, `model.safetensors` holds its weights."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from sepgconv._files import write_together
from sepgconv.models.network import Network
from sepgconv.models.registry import create_model

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1


def save(model: nn.Module, folder: str | Path) -> Path:
    """Write a network that `create_model` built into a folder, whole or not at all.

    Two files cannot be renamed at once: if the machine stops between the two, `load` refuses the pair instead of giving
    the wrong network.

    Args:
        model: the network.
        folder: made if missing; an earlier network in it is replaced.

    Returns:
        The folder.

    Raises:
        ValueError: the network does not come from `create_model`, or was changed since, so that it could not be built
            again.
        OSError: the folder cannot be written, as on a full disk; what was there before is kept.
    """
    if not isinstance(model, Network) or not model.name:
        raise ValueError(
            f"save: {type(model).__name__} was not built by sepgconv.create_model; keep its state_dict with "
            f"safetensors.torch.save_file instead"
        )
    state = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    differing = _difference(_blank(model.name, model.config), state)
    if differing:
        raise ValueError(f"save: the network was changed since create_model built it: {differing}")
    folder = Path(folder)
    # The config travels in the header of the weights too, so that a pair that does not belong together is noticed.
    text = json.dumps({"format": FORMAT, "name": model.name, "config": model.config}, indent=2)
    weights = to_safetensors(state, metadata={"sepgconv": text})
    write_together({folder / WEIGHTS: weights, folder / CONFIG: f"{text}\n".encode()})
    return folder


def load(folder: str | Path) -> Network:
    """Read back what `save` wrote; neither file can execute code, and no random number is drawn.

    Args:
        folder: holds `config.json` and `model.safetensors`.

    Returns:
        The network on the CPU, in evaluation mode, in the precision it was saved in.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: a file is damaged, of a newer format, or the two do not belong together.
    """
    folder = Path(folder)
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} holds no {file}; expected a folder written by sepgconv.save")
    try:
        described: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        written = described["format"]
        if isinstance(written, int) and not isinstance(written, bool) and written > FORMAT:
            raise _NewerFormatError(
                f"{folder / CONFIG} has format {written}, this version reads {FORMAT}; update sepgconv"
            )
        if written != FORMAT or isinstance(written, bool):
            raise ValueError(f"format {written!r} is unknown")
        model = _blank(described["name"], described["config"])
    except _NewerFormatError:
        raise
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{folder / CONFIG} is damaged or was not written by sepgconv.save ({error})") from error
    try:
        with safetensors.safe_open(folder / WEIGHTS, framework="pt") as file:
            header = (file.metadata() or {}).get("sepgconv")
        state = load_file(folder / WEIGHTS)
        belongs = header is None or json.loads(header) == described
    except (safetensors.SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged ({error}); fetch or train it again") from error
    if not belongs:
        raise ValueError(f"{folder}: {CONFIG} and {WEIGHTS} were not written together; save or fetch the network again")
    differing = _difference(model, state)
    if differing:
        raise ValueError(f"{folder}: {WEIGHTS} does not belong to {CONFIG}: {differing}")
    model.load_state_dict(state, assign=True)
    return model.eval()


class _NewerFormatError(ValueError):
    pass


def _blank(name: str, config: dict[str, Any]) -> Network:
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        return create_model(name, **config)


def _difference(model: Network, state: Mapping[str, Tensor]) -> str:
    """Say how tensors differ from those of a network in name, shape or kind; nothing where they do not."""
    expected, found = _kinds(model.state_dict()), _kinds(state)
    wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if not wrong:
        return ""
    first = f"{wrong[0]}: expected {expected.get(wrong[0], 'none')}, found {found.get(wrong[0], 'none')}"
    return f"{len(wrong)} tensors differ, first {first}"


def _kinds(state: Mapping[str, Tensor]) -> dict[str, str]:
    return {
        key: f"{'a floating-point' if value.is_floating_point() else 'an integer'} tensor of shape {tuple(value.shape)}"
        for key, value in state.items()
    }
