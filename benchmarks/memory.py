"""Memory of a step: bytes kept for the backward pass, and how far the process grows."""

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn

_CLEAR, _STATUS = Path("/proc/self/clear_refs"), Path("/proc/self/status")


def bytes_kept(forward: Callable[[], Tensor], module: nn.Module) -> int:
    """Return the bytes of the distinct storages that a forward pass keeps for its backward pass.

    What the module holds anyway (parameters, buffers, tables in attributes) is not counted; its input is. A view keeps
    its whole storage.

    Args:
        forward: runs the forward pass and returns its result, whose graph is then released.
        module: whose own tensors do not count.
    """
    owned = {tensor.untyped_storage().data_ptr() for tensor in _own_tensors(module)}
    kept: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in owned:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor  # holds the storage, so no other one takes its address while the graph lives

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    total = sum(kept.values())
    del result
    return total


def _own_tensors(module: nn.Module) -> list[Tensor]:
    found = [*module.parameters(), *module.buffers()]
    for part in module.modules():
        found += [value for value in vars(part).values() if isinstance(value, Tensor)]
    return found


def peak_growth(run: Callable[[], object]) -> int | None:
    """Return by how many bytes the resident memory of this process rises above its present level while `run` runs.

    None where the kernel does not tell (not Linux).
    """
    if not _CLEAR.exists():
        return None
    _CLEAR.write_text("5", encoding="ascii")  # resets the high-water mark
    before = _status_bytes("VmRSS")
    run()
    return max(0, _status_bytes("VmHWM") - before)


def _status_bytes(name: str) -> int:
    for line in _STATUS.read_text(encoding="ascii", errors="replace").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise ValueError(f"{_STATUS} has no line {name}")
