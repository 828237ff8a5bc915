"""A network in a folder: `config.json` says how it is built, `model.safetensors` holds its weights."""

import json
import os
from pathlib import Path
from typing import Any

import safetensors
from safetensors.torch import load_file, save_file
from torch import nn

from sepgconv.models.network import Network
from sepgconv.models.registry import create_model

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1


def save(model: nn.Module, folder: str | Path) -> Path:
    """Write a network that `create_model` built into a folder, whole or not at all.

    Args:
        model: the network.
        folder: made if missing; an earlier network in it is replaced.

    Returns:
        The folder.

    Raises:
        ValueError: the network does not come from `create_model`, so that it could not be built again.
        OSError: the folder cannot be written; what was there before is kept.
    """
    if not isinstance(model, Network) or not model.name:
        raise ValueError(
            f"save: {type(model).__name__} was not built by sepgconv.create_model; keep its state_dict with "
            f"safetensors.torch.save_file instead"
        )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Two files cannot be renamed at once, so the config travels in the header of the weights too and is compared on
    # loading.
    text = json.dumps({"format": FORMAT, "name": model.name, "config": model.config}, indent=2)
    state = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    weights, settings = folder / f".{WEIGHTS}.{os.getpid()}", folder / f".{CONFIG}.{os.getpid()}"
    try:
        save_file(state, weights, metadata={"sepgconv": text})
        settings.write_text(text + "\n")
        os.replace(weights, folder / WEIGHTS)
        os.replace(settings, folder / CONFIG)
    finally:
        weights.unlink(missing_ok=True)
        settings.unlink(missing_ok=True)
    return folder


def load(folder: str | Path) -> Network:
    """Read back what `save` wrote; neither file can execute code.

    Args:
        folder: holds `config.json` and `model.safetensors`.

    Returns:
        The network on the CPU, in evaluation mode.

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: a file is damaged, of a newer format, or the two do not belong together.
    """
    folder = Path(folder)
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} holds no {file}; expected a folder written by sepgconv.save")
    try:
        described: dict[str, Any] = json.loads((folder / CONFIG).read_text())
        name, config = described["name"], dict(described["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{folder / CONFIG} is damaged or was not written by sepgconv.save ({error})") from error
    if described.get("format") != FORMAT:
        raise ValueError(
            f"{folder / CONFIG} has format {described.get('format')!r}, this version reads {FORMAT}; update sepgconv"
        )
    try:
        with safetensors.safe_open(folder / WEIGHTS, framework="pt") as file:
            header = (file.metadata() or {}).get("sepgconv")
        state = load_file(folder / WEIGHTS)
    except (safetensors.SafetensorError, OSError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged ({error}); fetch or train it again") from error
    if header is not None and json.loads(header) != described:
        raise ValueError(f"{folder}: {CONFIG} and {WEIGHTS} were not written together; save or fetch the network again")
    model = create_model(name, **config)
    expected = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in state.items()}
    if expected != found:
        wrong = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        raise ValueError(
            f"{folder}: {WEIGHTS} does not belong to {CONFIG}; {len(wrong)} tensors differ, first {wrong[0]}: expected "
            f"{expected.get(wrong[0])}, found {found.get(wrong[0])}"
        )
    floating = {value.dtype for value in state.values() if value.is_floating_point()}
    if len(floating) == 1:
        model.to(floating.pop())
    model.load_state_dict(state)
    return model.eval()
