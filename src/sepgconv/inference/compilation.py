"""compile_for_inference: a copy of a network that gives the same answers with less work."""

import copy
import itertools
from collections.abc import Iterator, Sequence
from functools import singledispatch

import torch
from torch import Tensor, nn

from sepgconv.functional import compose_kernel, filter_action, pixel_action, pose_action
from sepgconv.functional.geometry import Pair
from sepgconv.functional.kernels import dense_bank, map_filters, planar_bank
from sepgconv.functional.mixing import WHOLE, block_weights, dense_weight, fourier_tables
from sepgconv.functional.terms import fold_terms
from sepgconv.groups import Butterflies
from sepgconv.inference.layers import FrozenConv2d, FrozenNorm2d
from sepgconv.nn import (
    DepthwiseGroupConv2d,
    GroupBatchNorm2d,
    GroupConv2d,
    LiftingConv2d,
    SeparableGroupConv2d,
    Sequential,
    TwoStepGroupConv2d,
)
from sepgconv.nn._base import GroupConvLayer

_Step = tuple[nn.Module, str, nn.Module]  # parent, name, module
_CHAINS = (nn.Sequential, Sequential, TwoStepGroupConv2d)


@torch.no_grad()
def compile_for_inference(model: nn.Module, *, input_shape: tuple[int, ...] | None = None) -> nn.Module:
    """Return a copy of a network for inference: the same answers, to rounding, with less work.

    Filter banks are composed or laid out once instead of at every call; batch norm is folded into the convolution
    before it, where the two follow each other in a `Sequential`, and to a scale and a shift elsewhere; ReLU runs in
    place. Layers that are not of the library stay as they are. The model itself does not change; the copy is in
    evaluation mode and has no parameters to train. It works under `torch.compile` and `torch.export` as well.

    Args:
        model: any module with layers of the library.
        input_shape: (channels, height, width) of the pictures for which separable layers with execution "auto" choose
            how to run; without it they choose for maps of 32 x 32. Other sizes give the same numbers. Sharing "g"
            always runs composed.

    Raises:
        ValueError: batch norm without running statistics, which cannot be fixed.
    """
    frozen = copy.deepcopy(model).eval().requires_grad_(False)
    uses: dict[nn.Module, int] = {}
    for _, module in frozen.named_modules(remove_duplicate=False):
        uses[module] = uses.get(module, 0) + 1
    sizes = {} if input_shape is None else _map_sizes(frozen, input_shape)
    _freeze(frozen, uses, sizes)
    return freeze(frozen, sizes.get(frozen, (32, 32)))  # the model may be a layer itself


def _map_sizes(model: nn.Module, input_shape: tuple[int, ...]) -> dict[nn.Module, Pair]:
    """Send one empty picture through a network and note (height, width) of what comes into each separable layer."""
    sizes: dict[nn.Module, Pair] = {}

    def note(module: nn.Module, arguments: tuple[Tensor, ...]) -> None:
        sizes[module] = (int(arguments[0].shape[-2]), int(arguments[0].shape[-1]))

    handles = [m.register_forward_pre_hook(note) for m in model.modules() if isinstance(m, SeparableGroupConv2d)]
    try:
        like = next(model.parameters())
        model(torch.zeros(1, *input_shape[-3:], device=like.device, dtype=like.dtype))
    finally:
        for handle in handles:
            handle.remove()
    return sizes


def _freeze(root: nn.Module, uses: dict[nn.Module, int], sizes: dict[nn.Module, Pair]) -> None:
    """Replace the layers below a module."""
    once = {module for module, count in uses.items() if count == 1}
    replaced: dict[nn.Module, nn.Module] = {}
    for parent in list(root.modules()):
        for name, child in _children(parent):
            if child not in replaced:
                replaced[child] = freeze(child, sizes.get(child, (32, 32)))
            if replaced[child] is not child:
                setattr(parent, name, replaced[child])
                if child in once:
                    once.add(replaced[child])
    for (_, _, first), (parent, name, second) in _neighbours(root):
        if isinstance(first, FrozenConv2d) and isinstance(second, FrozenNorm2d) and {first, second} <= once:
            first.scale_output(second.slope, second.offset)
            setattr(parent, name, nn.Identity())
    for (_, _, first), (parent, name, second) in _neighbours(root):
        if isinstance(first, FrozenConv2d | FrozenNorm2d) and type(second) is nn.ReLU and first in once:
            first.relu = True
            setattr(parent, name, nn.Identity())


def _neighbours(root: nn.Module) -> list[tuple[_Step, _Step]]:
    """Return the pairs of steps that follow each other in a chain, but for those that do nothing; each once."""
    chains = [module for module in root.modules() if type(module) in _CHAINS]
    pairs: list[tuple[_Step, _Step]] = []
    for chain in chains:
        if not _is_step(chain, chains):
            pairs += itertools.pairwise(step for step in _flat(chain) if not isinstance(step[2], nn.Identity))
    return pairs


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the direct children, one that is there twice twice, which `named_children` does not."""
    return [(name, child) for name, child in module._modules.items() if child is not None]  # pyright: ignore[reportPrivateUsage]


def _is_step(module: nn.Module, chains: list[nn.Module]) -> bool:
    """Tell whether a chain is itself a step of another one, which then goes through it."""
    return any(module is child for chain in chains for child in chain.children())


def _flat(chain: nn.Module) -> Iterator[_Step]:
    """Walk through the steps of a chain, and of chains in it, as (parent, name, step)."""
    for name, child in _children(chain):
        if type(child) in _CHAINS:
            yield from _flat(child)
        else:
            yield chain, name, child


@singledispatch
def freeze(module: nn.Module, size: Pair) -> nn.Module:
    """Return the frozen form of one layer, or the module itself where there is none.

    A function single-dispatched on the class of the module: register a rule for a layer of your own with
    `@freeze.register`.

    Args:
        module: the layer, in evaluation mode.
        size: (height, width) of the maps it will see, for the choice of the execution.
    """
    return module


@freeze.register
def _(module: LiftingConv2d, size: Pair) -> nn.Module:
    return _frozen(module, planar_bank(module.weight, _pixels(module)))


@freeze.register
def _(module: GroupConv2d, size: Pair) -> nn.Module:
    return _frozen(module, dense_bank(module.weight, _filters(module)))


@freeze.register
def _(module: DepthwiseGroupConv2d, size: Pair) -> nn.Module:
    filters = planar_bank(module.weight, _pixels(module)).unsqueeze(1)
    return _frozen(module, filters, channel_groups=len(filters))


@freeze.register
def _(module: SeparableGroupConv2d, size: Pair) -> nn.Module:
    group, device = module.group, module.pointwise.device
    chosen = module.selected_execution(*size) if module.sharing == "gc" else "composed"
    if chosen == "composed":
        weight = compose_kernel(module.pointwise, module.depthwise, module.sharing)
        return _frozen(module, dense_bank(weight, _filters(module)))
    pointwise = fold_terms(module.pointwise)
    if chosen == "fourier":
        mixing = block_weights(pointwise, fourier_tables(group, device=device)), group.butterflies
    else:
        mixing = [dense_weight(pointwise, pose_action(group, device=device))], WHOLE
    filters = map_filters(module.depthwise, _pixels(module))
    return _frozen(module, filters, mixing=mixing, channel_groups=len(filters))


def _pixels(module: GroupConvLayer) -> Tensor:
    return pixel_action(module.group, module.kernel_size, device=next(module.parameters()).device)


def _filters(module: GroupConvLayer) -> Tensor:
    return filter_action(module.group, module.kernel_size, device=next(module.parameters()).device)


def _frozen(
    module: GroupConvLayer,
    filters: Tensor,
    *,
    mixing: tuple[Sequence[Tensor], Butterflies] | None = None,
    channel_groups: int = 1,
) -> FrozenConv2d:
    order, bias = module.group.order, module.bias
    return FrozenConv2d(
        f"{type(module).__name__}({module.extra_repr()})",
        order,
        module.geometry,
        filters,
        None if bias is None else bias.repeat(order),
        mixing=mixing,
        channel_groups=channel_groups,
    )


@freeze.register
def _(module: GroupBatchNorm2d, size: Pair) -> nn.Module:
    if module.running_mean is None or module.running_var is None:
        raise ValueError(
            "compile_for_inference: a GroupBatchNorm2d without running statistics normalises by each batch and cannot "
            "be fixed; build it with track_running_stats=True"
        )
    slope = (module.running_var + module.eps).rsqrt()
    offset = torch.zeros_like(slope)
    if module.affine:
        slope, offset = slope * module.weight, module.bias
    return FrozenNorm2d(slope, offset - module.running_mean * slope)
