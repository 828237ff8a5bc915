"""Whether two networks have the same outputs: the largest difference, and how much of it rounding explains."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree
from torch.utils._python_dispatch import TorchDispatchMode

from sepgconv._modules import converted, copy_network

# Largest difference of two outputs, relative to the largest output, that rounding explains. A network adds up some
# hundreds of products per layer, over tens of layers, in another order. tests/test_tolerances.py measures the networks
# of the registry: 2e-15, 2e-6, 4e-3 and 2e-2 in the median; see `explained` for those that round more.
ROUNDING = {torch.float64: 1e-10, torch.float32: 1e-4, torch.float16: 1e-2, torch.bfloat16: 0.05}
WIDE = frozenset({torch.float64, torch.float32})
COARSE_ROUNDING = ROUNDING[torch.bfloat16]  # where half precision is mixed in, and nothing says which
TF32_ROUNDING = 0.01  # what convolutions on a GPU round single precision to, where torch lets them


def output_of(model: Callable[[Tensor], Any], x: Tensor) -> Any:
    """Return the output of a model on a copy of x, without gradients.

    Its random numbers are the same every time, and those of the process go on as if nothing had run.
    """
    devices = range(torch.cuda.device_count()) if x.is_cuda else []
    with torch.no_grad(), torch.random.fork_rng(devices):
        torch.manual_seed(0)
        return model(x.clone())


@dataclass(frozen=True)
class Pair:
    """What must have the same outputs as a network.

    Attributes:
        run: takes a tensor.
        network: in evaluation mode.
        rounding: the largest difference that is allowed; by default that of `explained`.
    """

    run: Callable[[Tensor], Any]
    network: nn.Module
    rounding: float | None = None


def precisions(network: nn.Module) -> set[torch.dtype]:
    """Return the types of the floating-point tensors of a network."""
    return {t.dtype for t in (*network.parameters(), *network.buffers()) if t.is_floating_point()}


def widened(network: nn.Module) -> nn.Module:
    """Return a network with weights in half precision as a copy in float32; others as they are.

    Half precision rounds so much that faults cannot be seen; the copy computes the same function to seven digits.
    """
    if precisions(network) <= WIDE:
        return network
    return converted(copy_network(network, "comparison"), torch.float32)


def largest_difference(found: Any, expected: Any) -> float:
    """Return the largest difference of two outputs, relative to the largest number expected.

    Args:
        found: a tensor, or tensors in tuples, lists and dictionaries.
        expected: the same.

    Returns:
        0 for the same outputs; infinity where the two do not have the same form or shape, or one is not a number.
    """
    (ours, form), (theirs, expected_form) = pytree.tree_flatten(found), pytree.tree_flatten(expected)
    if form != expected_form:
        return float("inf")
    worst = 0.0
    for ours_part, theirs_part in zip(ours, theirs, strict=True):
        if not isinstance(theirs_part, Tensor):
            worst = max(worst, 0.0 if ours_part == theirs_part else float("inf"))
            continue
        if not isinstance(ours_part, Tensor) or ours_part.shape != theirs_part.shape:
            return float("inf")
        a, b = ours_part.detach().cpu().double(), theirs_part.detach().cpu().double()
        difference = float((a - b).abs().max()) / max(float(b.abs().max()), torch.finfo(torch.float64).tiny)
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def first_to_differ(paths: Iterable[str], made: Callable[[str], nn.Module], x: Tensor, allowed: float) -> str | None:
    """Return the first of some layers whose replacement alone changes the output of a network; None for none.

    Args:
        paths: of the layers.
        made: gives the network with the layer at a path replaced; with none for "".
        x: what the network takes.
        allowed: the largest difference that counts as none.
    """
    expected = output_of(made(""), x)
    for path in paths:
        try:
            difference = largest_difference(output_of(made(path), x), expected)
        except Exception:  # noqa: BLE001 (the user's code may raise anything)
            return path
        if not difference <= allowed:
            return path
    return None


def rounding(dtype: torch.dtype, device: torch.device | None = None) -> float:
    """Return the largest difference that is still rounding.

    Args:
        dtype: precision of the networks.
        device: where they run, for what torch allows there.

    Raises:
        ValueError: there is no such figure for the dtype.
    """
    if dtype == torch.float32 and device is not None and device.type == "cuda" and torch.backends.cudnn.allow_tf32:
        return TF32_ROUNDING
    if dtype not in ROUNDING:
        known = ", ".join(str(each).removeprefix("torch.") for each in ROUNDING)
        raise ValueError(f"how much {dtype} rounds is not known, so two networks cannot be compared in it; use {known}")
    return ROUNDING[dtype]


class _Dtypes(TorchDispatchMode):
    """Notes the types of numbers that are computed."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[torch.dtype] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operation."""
        result = func(*args, **(kwargs or {}))
        self.seen |= {part.dtype for part in pytree.tree_leaves(result) if isinstance(part, Tensor)}
        return result


def coarse(network: nn.Module, x: Tensor) -> bool:
    """Return whether a network computes in half precision on x, for any dtype of its weights, as under autocast."""
    with _Dtypes() as dtypes:
        output_of(network, x)
    return not dtypes.seen.isdisjoint({torch.float16, torch.bfloat16})


@torch.no_grad()
def explained(network: nn.Module, x: Tensor) -> float:
    """Return the largest difference from a network's output on x that rounding explains.

    In half precision, rounding may change the output of a deep network by more than `ROUNDING`. A second network may be
    off by as much in the other direction, so three times the measured change is allowed.

    Raises:
        ValueError: how much the dtype of x rounds is not known.
    """
    allowed = rounding(x.dtype, x.device)
    if x.dtype in WIDE:
        return allowed
    wide = widened(network)
    if wide is network:
        return allowed
    try:
        own = largest_difference(wide(x.float()), network(x.clone()))
    except (RuntimeError, ValueError, TypeError):  # code that fixes its own precision
        return allowed
    return max(allowed, 3 * own) if own < 1 else allowed
