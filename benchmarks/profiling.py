"""Where the time of a step goes: torch's operators, timed one by one and sorted by what kind of work they do.

torch's own profiler is not used: with shapes it keeps a small block of memory for every tensor of the step, between
which a tuned allocator cannot join the large ones, and a step takes two to three times as long as without.
"""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

Work = Literal[
    "convolutions k x k, dense",
    "depthwise convolutions",
    "1 x 1 convolutions and matrix products",
    "passes over maps (norm, ReLU, pool, copies)",
    "small tensors and views",
    "Python, autograd, dispatch: the rest",
]
LONGEST = 0.4  # seconds of steps, plain and once more timed by operator
FEWEST, MOST = 3, 100  # steps
LARGE = 2**16  # numbers; what has fewer costs its call, not its memory
KEPT = 0.01  # operators with a smaller share of the step are summed up

_PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "mkl_linear")
_FORWARD, _BACKWARD = ("convolution", "mkldnn_convolution", "_convolution"), "convolution_backward"
Shape = Sequence[int]


class _Stopwatch(TorchDispatchMode):
    """Calls and seconds of every operator, forward and backward, by kind of work and name."""

    def __init__(self) -> None:
        super().__init__()
        self.found: dict[tuple[Work, str], list[float]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        start = time.perf_counter()
        result = func(*args, **(kwargs or {}))
        seconds = time.perf_counter() - start
        name = func.overloadpacket.__name__
        work: Work = "small tensors and views" if func.is_view else work_of(name, list(_shapes(args)))
        row = self.found.setdefault((work, name), [0.0, 0.0])
        row[0] += 1
        row[1] += seconds
        return result


def _shapes(arguments: Sequence[Any]) -> Iterator[Shape]:
    """Return the shapes of all tensors among the arguments, in lists too."""
    for argument in arguments:
        if isinstance(argument, Tensor):
            yield argument.shape
        elif isinstance(argument, list | tuple):
            yield from _shapes(argument)  # pyright: ignore[reportUnknownArgumentType] (of anything)


def profile_step(step: Callable[[], object]) -> list[dict[str, Any]]:
    """Return operators with their kind of work, calls and seconds per step, the small ones of a kind in a sum.

    What the step takes without being watched beyond its operators is the work of Python, autograd and dispatch.

    Args:
        step: does one step, warmed up.
    """
    start = time.perf_counter()
    step()
    steps = max(FEWEST, min(MOST, int(LONGEST / (time.perf_counter() - start))))
    start = time.perf_counter()
    for _ in range(steps):
        step()
    whole = (time.perf_counter() - start) / steps
    with _Stopwatch() as watch:
        for _ in range(steps):
            step()
    found = {key: (calls / steps, seconds / steps) for key, (calls, seconds) in watch.found.items()}
    rest = max(0.0, whole - sum(seconds for _, seconds in found.values()))
    rows = [{"work": "Python, autograd, dispatch: the rest", "operator": "", "calls": 0.0, "seconds": rest}]
    return [*_without_small_ones(found, KEPT * whole), *rows]


def _without_small_ones(
    found: Mapping[tuple[Work, str], tuple[float, float]], least: float
) -> Iterator[dict[str, Any]]:
    others: dict[Work, tuple[float, float]] = {}
    for (work, operator), (calls, seconds) in sorted(found.items(), key=lambda item: -item[1][1]):
        if seconds >= least:
            yield {"work": work, "operator": operator, "calls": round(calls, 2), "seconds": seconds}
        else:
            before = others.get(work, (0.0, 0.0))
            others[work] = (before[0] + calls, before[1] + seconds)
    for work, (calls, seconds) in others.items():
        yield {"work": work, "operator": "others", "calls": round(calls, 2), "seconds": seconds}


def work_of(operator: str, shapes: Sequence[Shape]) -> Work:
    """Return what kind of work an operator does on tensors of these shapes."""
    if operator in _PRODUCTS:
        return "1 x 1 convolutions and matrix products"
    if operator in _FORWARD:
        return _convolution(*shapes[:2])
    if operator == _BACKWARD:
        return _convolution(*shapes[1:3])
    if any(math.prod(shape) >= LARGE for shape in shapes):
        return "passes over maps (norm, ReLU, pool, copies)"
    return "small tensors and views"


def _convolution(read: Shape, weight: Shape) -> Work:
    if math.prod(weight[2:]) == 1:
        return "1 x 1 convolutions and matrix products"
    if weight[1] == 1 and read[-len(weight) + 1] > 1:  # one filter on one map is dense
        return "depthwise convolutions"
    return "convolutions k x k, dense"
