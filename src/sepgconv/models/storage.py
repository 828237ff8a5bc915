"""A network in a folder: `config.json` says how it is built, `model.safetensors` holds its weights."""

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from sepgconv._comparison import output_of
from sepgconv._customised import changed_since_built, modifying_hooks
from sepgconv._files import write_together
from sepgconv._modules import copy_network, unwrap
from sepgconv.models.network import Network
from sepgconv.models.registry import rebuild_model
from sepgconv.models.sealed import HEADER, read_sealed, to_sealed_bytes

CONFIG, WEIGHTS = "config.json", "model.safetensors"
FORMAT = 1


def save(model: nn.Module, folder: str | Path) -> Path:
    """Write a network that `create_model` built into a folder, whole or not at all.

    Weights are all that the files keep besides the config: hooks that only look, as loggers register them, are not
    kept; anything else that would change the outputs of the network that is read back raises an error.

    Two files cannot be renamed at once: if the machine stops between the two, `load` raises an error instead of giving
    the wrong network.

    Args:
        model: the network, or what `torch.compile`, `DistributedDataParallel`, `DataParallel` or `AveragedModel` made
            of it.
        folder: made if missing; an earlier network in it is replaced.

    Returns:
        The folder.

    Raises:
        ValueError: the network does not come from `create_model`, or was changed since, so that it could not be built
            again: other modules, settings or code, hooks that change something, weights that are computed.
        OSError: the folder cannot be written, as on a full disk; what was there before is kept.

    Example:
        >>> import tempfile
        >>> from sepgconv import create_model, load, save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = sorted(path.name for path in save(create_model("gc_p4cnn", width=2), folder).iterdir())
        ...     again = load(folder)
        >>> files, again.name, again.config["width"]
        (['config.json', 'model.safetensors'], 'gc_p4cnn', 2)
    """
    model = unwrap(model, "save")
    if not isinstance(model, Network) or not model.name:
        raise ValueError(
            f"save: {type(model).__name__} was not built by sepgconv.create_model; keep its state_dict with "
            f"safetensors.torch.save_file instead"
        )
    state = {key: value.detach().contiguous() for key, value in model.state_dict().items()}
    blank = _blank(model.name, model.config)
    differing = _difference(blank, state) or changed_since_built(model, blank, lambda: _modifying_hooks(model))
    if differing:
        raise ValueError(f"save: the network was changed since create_model built it: {differing}")
    folder = Path(folder)
    # The config travels in the header of the weights too, so that a pair that does not belong together is noticed.
    text = json.dumps({"format": FORMAT, "name": model.name, "config": model.config}, indent=2)
    weights = to_sealed_bytes(state, {HEADER: text})
    write_together({folder / WEIGHTS: weights, folder / CONFIG: f"{text}\n".encode()})
    return folder


def load(folder: str | Path) -> Network:
    """Read back what `save` wrote; neither file can execute code, and no random number is drawn.

    The digest of all that the files hold is compared. Older versions wrote none: such a network is read with a warning.

    Args:
        folder: holds `config.json` and `model.safetensors`.

    Returns:
        The network on the CPU, in evaluation mode, in the precision it was saved in.

    Raises:
        FileNotFoundError: one of the two files is missing.
        OSError: one cannot be read, as without the permission to.
        ValueError: a file is damaged, of a newer format, or the two do not belong together; the network is of a family
            that nobody has registered.

    Example:
        >>> import tempfile
        >>> from sepgconv import create_model, load, save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     model = load(save(create_model("z2cnn", width=2), folder))
        >>> model.name, model.training
        ('z2cnn', False)
    """
    model, sealed = read_model(Path(folder))
    if not sealed:
        warnings.warn(
            f"{Path(folder) / WEIGHTS} was written by an older version, which kept no digest: damage to its numbers "
            "cannot be noticed; sepgconv.save of what was read adds one",
            stacklevel=2,
        )
    return model


def read_model(folder: Path) -> tuple[Network, bool]:
    """Return the network that `load` reads, and whether its digest was compared or it is of another tool.

    Raises:
        OSError, ValueError: as `load`.
    """
    for file in (CONFIG, WEIGHTS):
        if not (folder / file).is_file():
            raise FileNotFoundError(f"{folder} holds no {file}; expected a folder written by sepgconv.save")
    try:
        described: dict[str, Any] = json.loads((folder / CONFIG).read_bytes())
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
        weights = read_sealed(folder / WEIGHTS)
        header = weights.metadata.get(HEADER)
        belongs = header is None or json.loads(header) == described
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{folder / WEIGHTS} is damaged ({error}); fetch or train it again") from error
    if not belongs:
        blame = f" ({WEIGHTS} is intact, so {CONFIG} is damaged or of another network)" if weights.sealed else ""
        raise ValueError(
            f"{folder}: {CONFIG} and {WEIGHTS} were not written together{blame}; save or fetch the network again"
        )
    differing = _difference(model, weights.state)
    if differing:
        raise ValueError(f"{folder}: {WEIGHTS} does not belong to {CONFIG}: {differing}")
    model.load_state_dict(weights.state, assign=True)
    return model.eval(), weights.sealed or header is None


class _NewerFormatError(ValueError):
    pass


def _modifying_hooks(model: Network) -> Mapping[nn.Module, str]:
    """Return the modules of a network whose hooks change inputs or outputs, each with its hook in words."""
    twin = copy_network(model, "save").eval()
    like = next(parameter for parameter in twin.parameters())
    x = torch.zeros(1, model.in_channels, model.input_size, model.input_size, device=like.device, dtype=like.dtype)
    found = modifying_hooks(twin, lambda: output_of(twin, x))
    paths = {module: path for path, module in twin.named_modules()}
    return {model.get_submodule(paths[module]): words for module, words in found.items()}


def _blank(name: str, config: dict[str, Any]) -> Network:
    """Build a network without memory for its weights."""
    with torch.device("meta"):
        return rebuild_model(name, config)


def _difference(model: Network, state: Mapping[str, Tensor]) -> str:
    """Return how tensors differ from those of a network in name, shape or kind; "" if they do not."""
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
