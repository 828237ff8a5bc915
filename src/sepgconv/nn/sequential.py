"""Sequential: torch's, but neighbours that have a faster common step take it."""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from sepgconv.nn.normalization import GroupBatchNorm2d
from sepgconv.nn.pooling import MaxPool2d
from sepgconv.nn.separable import SeparableGroupConv2d


class Sequential(nn.Sequential):
    """`torch.nn.Sequential` in which batch norm and ReLU run as one step with what follows, where that saves memory.

    The same modules, names, `state_dict` and numbers (to rounding). In training only one map is kept for the backward
    pass, the input, of `GroupBatchNorm2d`, `nn.ReLU` and a `SeparableGroupConv2d` that recomputes, and of the first two
    before a `MaxPool2d`. Neighbours are found across nested `Sequential`s too, torch's or ours. A module with hooks, or
    of a subclass, always runs by itself. Under `torch.compile`, batch norm and ReLU always run as one, because the
    compiler would write a slow ReLU.

    Args:
        args: modules, or one ordered dictionary of them, as for `torch.nn.Sequential`.
    """

    def forward(self, input: Any) -> Any:
        """Run the modules one after the other."""
        if _hooks_of_all():
            return super().forward(input)
        steps = list(_flat(self))
        at = 0
        while at < len(steps):
            norm, relu, following = [*steps[at : at + 3], None, None][:3]
            if (
                type(norm) is GroupBatchNorm2d
                and type(relu) is nn.ReLU
                and not (_is_watched(norm) or _is_watched(relu))
            ):
                if torch.compiler.is_compiling() or type(following) is MaxPool2d:
                    input, at = norm.normalize(input, norm.begin(input), relu=True), at + 2
                    continue
                if isinstance(following, SeparableGroupConv2d) and norm.training and _runs_by_the_book(following):
                    input, at = following(input, pre_norm_act=norm.begin(input)), at + 3
                    continue
            input, at = steps[at](input), at + 1
        return input


def _runs_by_the_book(convolution: SeparableGroupConv2d) -> bool:
    return type(convolution) is SeparableGroupConv2d and not _is_watched(convolution)


def _flat(chain: nn.Sequential) -> Iterator[nn.Module]:
    for child in chain:  # a module that is in it twice runs twice
        if isinstance(child, nn.Sequential) and type(child) in (nn.Sequential, Sequential) and not _is_watched(child):
            yield from _flat(child)
        else:
            yield child


def _is_watched(module: nn.Module) -> bool:
    """Tell whether a module has hooks, or a `forward` of its own, as tools give it that wrap modules."""
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in hooks) or "forward" in vars(module)


def _hooks_of_all() -> bool:
    kinds = (
        "_global_forward_hooks",
        "_global_forward_pre_hooks",
        "_global_backward_hooks",
        "_global_backward_pre_hooks",
    )
    return any(getattr(torch.nn.modules.module, kind) for kind in kinds)
