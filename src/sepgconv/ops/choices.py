"""What a choice of `dispatch` depends on, and what is known of it afterwards: values without behaviour."""

from collections.abc import Callable
from typing import NamedTuple

import torch


class Context(NamedTuple):
    """What a choice depends on besides the work.

    Attributes:
        device: the type of device, as "cpu".
        plain: whether all tensors are of one real type, float32 or float64, outside of mixed
            precision, not empty, and of a known size.
        grad: whether gradients are recorded.
        needs_grad: whether the maps themselves need a gradient.
        compiling: whether `torch.compile` or `torch.export` traces the code.
        exporting: whether it is `torch.export`.
        transformed: whether the transforms of `torch.func` or forward-mode derivatives are active.
        large: whether the maps have at least `MIN_OPERATOR_NUMEL` numbers.

    Example:
        >>> import torch
        >>> from sepgconv.ops.dispatch import context
        >>> found = context(torch.rand(1, 2, 4, 5, 5))
        >>> found.device, found.plain, found.compiling
        ('cpu', True, False)
    """

    device: str
    plain: bool
    grad: bool
    needs_grad: bool
    compiling: bool
    exporting: bool
    transformed: bool
    large: bool


class Rule(NamedTuple):
    """A row of the table of implementations: who runs an operator where the condition holds.

    Attributes:
        implementation: who runs it.
        holds: the condition, on (context, whether only the input is to be kept or nothing is).
        needs: the condition in words.
    """

    implementation: str
    holds: Callable[[Context, bool], bool]
    needs: str


class Choice(NamedTuple):
    """What was chosen, for `sepgconv.explain`.

    Attributes:
        operator: what runs, as "gc_conv".
        execution: the algorithm, or "" where there is one only.
        implementation: who runs it.
        costs: of each execution that was compared, in multiplications of a dense product.
        keeps_little: whether little is kept for the backward pass.
        context: what the choice depended on.

    Example:
        >>> import sepgconv, torch
        >>> layer = sepgconv.nn.SeparableGroupConv2d(8, 16, 3, "p4", execution="separable").eval()
        >>> choices = []
        >>> with torch.no_grad(), recording(choices.append):
        ...     _ = layer(torch.rand(1, 8, 4, 9, 9))
        >>> choices[0].operator, choices[0].execution, choices[0].implementation
        ('gc_conv', 'separable', 'chunks')
    """

    operator: str
    execution: str
    implementation: str
    costs: dict[str, float]
    keeps_little: bool
    context: Context


class GcDecision(NamedTuple):
    """How a gc-separable convolution runs.

    Attributes:
        implementation: who runs it, "chunks", "operator", "checkpoint" or "torch".
        joint: whether batch norm and ReLU before it run in the same step.
        dtype: of the maps that are mixed.
        traced: see `traces_layout`.
    """

    implementation: str
    joint: bool
    dtype: torch.dtype
    traced: bool
