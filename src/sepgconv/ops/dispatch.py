"""Who runs what: the one place that chooses the execution of a convolution, its implementation, and what is kept.

Each choice is a function of the work that the spec counts, the costs of a machine, and a small `Context`; each has a
reason that can be printed (`sepgconv.explain`). No other file asks where a tensor is, whether code is compiled, or for
the transforms of `torch.func`.

Executions are algorithms: "separable", "fourier", "composed" for separable convolutions, "direct" for the others.
Implementations are who runs them: "torch" (operations that torch differentiates), "chunks" (a few images at a
time, with a backward pass of its own), "operator" (the same as one node of compiled code), "checkpoint" (torch's
recomputation around "torch").
"""

import math
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Literal

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from sepgconv._messages import one_of
from sepgconv.conv.cost import BUILT_IN, CostModel
from sepgconv.conv.spec import ConvSpec
from sepgconv.ops.choices import Choice, Context, GcDecision, Rule

Execution = Literal["auto", "separable", "fourier", "composed"]
EXECUTIONS: tuple[Execution, ...] = ("auto", "separable", "fourier", "composed")

# Numbers in maps from which on operators pay in compiled code without gradients (gc-P4CNN, 1 to 128 images).
MIN_OPERATOR_NUMEL = 2**21
# Bytes of the largest map of a chunk. Measured on two cores with 32 MiB of shared cache: at 1 MiB the many small
# operations, from 4 MiB on the memory takes longer.
CHUNK_BYTES = 2 * 2**20
# Choices that a spec keeps at most.
MAX_CHOICES = 1024
# Pixels along each axis of maps whose size is not known when the execution is chosen.
TYPICAL_SIDE = 32

_cost_model: ContextVar[CostModel] = ContextVar("_cost_model", default=BUILT_IN)


@contextmanager
def using(model: CostModel) -> Generator[None]:
    """Within the block, choose executions by the costs of another machine.

    This holds for the thread (or asyncio task) of the block. Code that `torch.compile` traces takes the built-in costs.
    """
    token = _cost_model.set(model)
    try:
        yield
    finally:
        _cost_model.reset(token)


def _in_chunks(c: Context, keeps_little: bool) -> bool:
    # Mixed precision casts operation by operation, and transforms need torch's own operations.
    return keeps_little and c.plain and not c.compiling and not c.transformed


def _as_operator(c: Context, keeps_little: bool) -> bool:
    # An exported program may not hold operators of ours. Without gradients the compiler's own code is faster for maps
    # that fit into the cache.
    compiles = c.compiling and not c.exporting and not c.transformed and c.plain and c.device == "cpu"
    return keeps_little and compiles and (c.grad or c.large)


def _norm_in_chunks(c: Context, joins: bool) -> bool:
    return joins and c.device == "cpu" and c.plain and not c.compiling and not c.transformed


def _norm_as_operator(c: Context, joins: bool) -> bool:
    return joins and c.device == "cpu" and c.plain and c.compiling and not c.exporting and not c.transformed


def _joint_in_chunks(c: Context, keeps_little: bool) -> bool:
    return c.device == "cpu" and _in_chunks(c, keeps_little)


def _fixed_as_operator(c: Context, keeps_little: bool) -> bool:
    return not c.grad and _as_operator(c, keeps_little)


def _pool_in_chunks(c: Context, keeps_little: bool) -> bool:
    return c.needs_grad and c.device == "cpu" and _in_chunks(c, keeps_little)


def _filters_by_columns(c: Context, keeps_little: bool) -> bool:
    return c.grad and c.device == "cpu" and _in_chunks(c, keeps_little)


def _otherwise(c: Context, keeps_little: bool) -> bool:
    return True


_PLAIN = "float32 or float64 throughout, outside of mixed precision"
_EAGER = "code that is not compiled, no transform of torch.func"
_COMPILED = "code compiled by torch.compile for a CPU; without gradients, maps of 2^21 numbers or more"
_TORCH = Rule("torch", _otherwise, "nothing")

# The first rule that holds is taken. What "keeps little" means stands beside each operator.
IMPLEMENTATIONS: dict[str, tuple[Rule, ...]] = {
    # Keeps little: recomputes, or records no gradients.
    "gc_conv": (
        Rule("chunks", _in_chunks, f"recomputation, or no gradients; {_PLAIN}; {_EAGER}"),
        Rule("operator", _as_operator, f"recomputation, or no gradients; {_PLAIN}; {_COMPILED}"),
        _TORCH,
    ),
    # The same after batch norm and ReLU.
    "norm_act_gc_conv": (
        Rule("chunks", _joint_in_chunks, f"recomputation on a CPU; {_PLAIN}, the norm too; {_EAGER}"),
        _TORCH,
    ),
    "planar_conv": (_TORCH,),
    # Keeps little: always. Grouped only: left to itself, the compiler has grouped convolutions differentiated in
    # another layout, with copies.
    "grouped_conv": (Rule("operator", _as_operator, f"{_PLAIN}; {_COMPILED}"), _TORCH),
    # Keeps little: always. Steerable filters of more than three columns only (`planar_conv.takes_columns`).
    "depthwise_conv": (
        Rule("columns", _filters_by_columns, f"gradients, on a CPU; {_PLAIN}; {_EAGER}"),
        Rule("operator", _as_operator, f"{_PLAIN}; {_COMPILED}"),
        _TORCH,
    ),
    # Keeps little: several poses, whose statistics are joined. On GPUs torch's own kernels are good.
    "batch_norm": (
        Rule("chunks", _norm_in_chunks, f"a CPU and several poses; {_PLAIN}; {_EAGER}"),
        Rule("operator", _norm_as_operator, f"a CPU and several poses; {_PLAIN}; code compiled by torch.compile"),
        _TORCH,
    ),
    # Keeps little: no gradients. The compiler's own kernel reads the parameters one by one, twice as slow.
    "fixed_norm": (Rule("operator", _fixed_as_operator, f"no gradients; {_PLAIN}; {_COMPILED}"), _TORCH),
    # Keeps little: always.
    "max_pool": (
        Rule("chunks", _pool_in_chunks, f"maps that need gradients, on a CPU; {_PLAIN}; {_EAGER}"),
        Rule("operator", _as_operator, f"{_PLAIN}; {_COMPILED}"),
        _TORCH,
    ),
}

_record: ContextVar[Callable[[Choice], None] | None] = ContextVar("_record", default=None)


@contextmanager
def recording(report: Callable[[Choice], None]) -> Generator[None]:
    """Within the block, report every choice of this thread when it is made, but none that `torch.compile` traces.

    Example:
        >>> import torch, sepgconv
        >>> choices = []
        >>> with recording(choices.append):
        ...     y = sepgconv.nn.LiftingConv2d(1, 4, 3, "p4")(torch.rand(1, 1, 9, 9))
        >>> [(choice.operator, choice.implementation) for choice in choices]
        [('planar_conv', 'torch')]
    """
    token = _record.set(report)
    try:
        yield
    finally:
        _record.reset(token)


def _recorder() -> Callable[[Choice], None] | None:
    return None if torch.compiler.is_dynamo_compiling() else _record.get()  # the compiler reads no context variables


def context(x: Tensor, *others: Tensor | None) -> Context:
    """Return the context of an operator: maps first, then what goes with them."""
    compiling, grad, device, dtype = torch.compiler.is_compiling(), torch.is_grad_enabled(), x.device.type, x.dtype
    exporting = compiling and torch.compiler.is_exporting()
    # What is cut into chunks has a size. Sizes are asked for where they count only: a program that is traced would be
    # bound to the answer.
    traced = exporting or (not compiling and isinstance(x, FakeTensor))
    plain = dtype in (torch.float32, torch.float64) and not traced and not casts(device) and x.numel() > 0
    for other in others:
        plain = plain and (other is None or other.dtype == dtype)
    large = plain and compiling and not grad and x.numel() >= MIN_OPERATOR_NUMEL
    return Context(device, plain, grad, x.requires_grad, compiling, exporting, is_transformed(), large)


def casts(device: torch.device | str) -> bool:
    """Return whether mixed precision (`torch.autocast`) is on for a device or a type of device."""
    device = _type(device)
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def _type(device: torch.device | str) -> str:
    return device if isinstance(device, str) else device.type


def is_transformed(grad: Tensor | None = None) -> bool:
    """Return whether tensors may be batched or dual: under `torch.func`, at a dual level, or by a batch of gradients.

    Args:
        grad: the gradient that came in, in a backward pass.
    """
    # All are private, but there is no public way to see them.
    functorch: Any = torch._C._functorch  # pyright: ignore
    return (
        torch._C._are_functorch_transforms_active()  # pyright: ignore (the one of them that the compiler reads right)
        or torch.autograd.forward_ad._current_level >= 0  # pyright: ignore[reportPrivateUsage]
        or (grad is not None and (functorch.is_batchedtensor(grad) or functorch.is_legacy_batchedtensor(grad)))
    )


def implementation(
    operator: str,
    c: Context,
    keeps_little: bool = True,
    *,
    execution: str = "",
    costs: dict[str, float] | None = None,
    checkpoint: bool = False,
) -> str:
    """Return who runs an operator: the first row of `IMPLEMENTATIONS` that holds.

    Args:
        operator: a key of the table.
        c: its context.
        keeps_little: what the table says beside the operator.
        execution: the algorithm that was chosen before, for the record.
        costs: of the executions that were compared, for the record.
        checkpoint: whether torch's recomputation is put around "torch".
    """
    chosen = "torch"
    for rule in IMPLEMENTATIONS[operator]:
        if rule.holds(c, keeps_little):
            chosen = rule.implementation
            break
    if checkpoint and chosen == "torch":
        chosen = "checkpoint"
    if (record := _recorder()) is not None:
        record(Choice(operator, execution, chosen, costs or {}, keeps_little, c))
    return chosen


def choose_execution(
    spec: ConvSpec,
    sides: tuple[int, ...],
    execution: str = "auto",
    device: torch.device | str = "cpu",
    *,
    model: CostModel | None = None,
    caller: str = "choose_execution",
) -> tuple[str, dict[str, float]]:
    """Choose how to run a convolution; an explicit request is obeyed.

    "auto" takes the execution with the smallest cost, the first where they are equal. It depends on the spec, the sides
    and the device alone. Fourier is considered on the CPU only: on GPUs dense products are all but free and the
    transforms are passes over memory.

    Returns:
        The execution, and the costs that were compared; none where there was no choice.

    Raises:
        ValueError: maps that are too small; an unknown execution, or one that the spec does not have.
    """
    if model is None:
        model = BUILT_IN if torch.compiler.is_dynamo_compiling() else _cost_model.get()
    device = _type(device)
    if torch.compiler.is_compiling() or not all(type(side) is int for side in sides):
        return _choose(spec, sides, execution, device, model, caller)
    key = (sides, execution, device, model)
    found = spec.choices.get(key)
    if found is None:
        if len(spec.choices) >= MAX_CHOICES:  # images of ever other sizes
            spec.choices.clear()
        found = spec.choices[key] = _choose(spec, sides, execution, device, model, caller)
    return found


def _choose(
    spec: ConvSpec, sides: tuple[int, ...], execution: str, device: str, model: CostModel, caller: str
) -> tuple[str, dict[str, float]]:
    spec.geometry.check_size(sides, caller)
    if execution != "auto":
        return requested(spec, execution), {}
    best, least = "", math.inf
    costs: dict[str, float] = {}
    for name, work in spec.kind.work(spec, _known_sizes(spec, sides)).items():
        if name == "fourier" and device not in ("cpu", "meta"):
            continue
        costs[name] = model.cost(work)
        if costs[name] < least:
            best, least = name, costs[name]
    return best, costs


def _known_sizes(spec: ConvSpec, sides: tuple[int, ...]) -> tuple[int, ...]:
    """Return sizes as numbers: `TYPICAL_SIDE` where a program is traced for any size, which it then takes.

    The compiler's own symbols stay: it notes for which sizes a choice holds, and asks again for others.
    """
    if torch.compiler.is_dynamo_compiling():
        return sides
    return spec.at_least(tuple(TYPICAL_SIDE if isinstance(side, torch.SymInt) else int(side) for side in sides))


def requested(spec: ConvSpec, execution: str) -> str:
    """Return an execution that was asked for.

    Raises:
        ValueError: it is unknown, or "fourier" where the mixing is no convolution on the group over all channels.
    """
    one_of("execution", execution, EXECUTIONS)
    if execution == "fourier" and spec.kind.name != "gc":
        raise ValueError(
            f'execution="fourier" needs sharing="gc", got sharing={spec.kind.name!r}; use execution="composed" or '
            f'"separable"'
        )
    if execution == "separable" and spec.kind.name == "g" and spec.groups > 1:
        raise ValueError(
            f'execution="separable" with sharing="g" needs groups=1, got groups={spec.groups}; use execution="composed"'
        )
    if execution == "fourier" and spec.groups > 1:
        raise ValueError(
            f'execution="fourier" mixes all channels and needs groups=1, got groups={spec.groups}; use '
            f'execution="composed" or "separable"'
        )
    return execution


def decide_gc(
    spec: ConvSpec,
    x: Tensor,
    weights: tuple[Tensor | None, ...],
    execution: str,
    costs: dict[str, float],
    recompute: bool | None,
    joint: bool,
) -> GcDecision:
    """Decide who runs a gc-separable convolution, and what is kept for its backward pass.

    Args:
        spec: the convolution.
        x: the maps.
        weights: filters, bias and kernels of the mixing.
        execution: the algorithm.
        costs: those that were compared.
        recompute: whether to keep only the input; None: where it costs little, in the irreps.
        joint: whether batch norm and ReLU stand before it and could run in the same step.
    """
    c = context(x, *weights)
    wanted = (execution == "fourier") if recompute is None else recompute
    recomputes = wanted and c.grad and (c.compiling or not c.transformed)
    little = recomputes or not c.grad
    if joint and spec.groups == 1:
        chosen = implementation("norm_act_gc_conv", c, little, execution=execution, costs=costs)
        if chosen == "chunks":
            return GcDecision(chosen, True, x.dtype, False)
    around = recomputes and not c.compiling
    chosen = implementation("gc_conv", c, little, execution=execution, costs=costs, checkpoint=around)
    # Sums of poses go with weights of one half precision only.
    half = x.dtype in (torch.float16, torch.bfloat16) and casts(c.device)
    dtype = torch.get_autocast_dtype(c.device) if half else x.dtype
    return GcDecision(chosen, False, dtype, c.compiling and not c.transformed)


def checkpoints(x: Tensor, recompute: bool | None) -> bool:
    """Return whether torch's recomputation is put around a step, which compiled code decides by itself."""
    eager = torch.is_grad_enabled() and not torch.compiler.is_compiling() and not is_transformed()
    return recompute is True and eager


def note(operator: str, execution: str, costs: dict[str, float], x: Tensor) -> None:
    """Note an operator of which torch has the only implementation, for the record."""
    if (record := _recorder()) is not None:
        record(Choice(operator, execution, "torch", costs, True, context(x)))


def differentiates_again(grad: Tensor) -> bool:
    """Return whether a backward pass is itself differentiated, or batched, so that it needs torch's own operations."""
    return torch.is_grad_enabled() or is_transformed(grad)


def is_compiling() -> bool:
    """Return whether `torch.compile` or `torch.export` traces the code, and so makes one step of several by itself."""
    return torch.compiler.is_compiling()


def traces_layout() -> bool:
    """Return whether maps are folded by steps that the compiler makes fast code of."""
    return torch.compiler.is_compiling() and not is_transformed()


def chunks(x: Tensor, *, widest: int) -> list[slice]:
    """Cut the batch of x (batch, maps, *sides) into chunks of nearly equal size; a GPU takes it whole.

    Args:
        x: the maps that come in.
        widest: the largest number of maps over the pixels of x that the operations hold at once.
    """
    batch = x.shape[0]
    if x.device.type != "cpu" or batch < 2:
        return [slice(0, batch)]
    image = x.element_size() * widest * math.prod(x.shape[2:])
    count = min(batch, max(1, math.ceil(batch * image / CHUNK_BYTES)))
    step = math.ceil(batch / count)
    return [slice(start, min(start + step, batch)) for start in range(0, batch, step)]
