"""compile_for_inference: a copy of a network that gives the same outputs with less work."""

import itertools
from collections.abc import Iterator
from functools import singledispatch
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sepgconv._arguments import checked_input_shape
from sepgconv._comparison import COARSE_ROUNDING, coarse, explained, first_to_differ, largest_difference, output_of
from sepgconv._customised import (
    custom_behaviour,
    customised_layers,
    layer_named,
    overridden_code,
    raise_if_global_hooks,
)
from sepgconv._hooks import watch_calls
from sepgconv._modules import copy_network, settled_copy
from sepgconv.conv.geometry import Pair
from sepgconv.inference.layers import FrozenConv2d, FrozenNorm2d, FrozenVector
from sepgconv.inference.probes import default_shape, example_input, takes_feature_maps
from sepgconv.nn import (
    ConvNormAct,
    ConvNormActSequential,
    DepthwiseSeparableGroupConv2d,
    GroupBatchNorm2d,
    GroupConvLayer,
    GroupToVector,
    LayerScale,
    NormActConv,
    ReLU,
    Sequential,
)
from sepgconv.ops.vectors import vector_filters

_Step = tuple[nn.Module, str, nn.Module]  # parent, name, module
_CALLER = "compile_for_inference"
_CHAINS = (nn.Sequential, Sequential, DepthwiseSeparableGroupConv2d, ConvNormAct, NormActConv, ConvNormActSequential)


@torch.no_grad()
def compile_for_inference(model: nn.Module, *, input_shape: tuple[int, ...] | None = None) -> nn.Module:
    """Return a copy of a network for inference: the same outputs, to rounding, with less work.

    Filters are computed once instead of at every call; batch norm is folded into the convolution before it, where the
    two follow each other in a `Sequential`, and to a scale and a shift elsewhere; ReLU runs in place. Layers that are
    not of the library stay as they are, and so do those that do more than their class: with hooks, with a `forward`
    that was put in its place, of a subclass with code of its own. Weights that are computed (pruned, normed,
    parametrised) are taken as the next call in evaluation mode would compute them. The model itself does not change;
    the copy is in evaluation mode and has no parameters to train. It works under `torch.compile` and `torch.export` as
    well. What `torch.compile`, `DistributedDataParallel`, `DataParallel` and `AveragedModel` wrap is taken out of them.

    The copy and the network are run on two random images, and their outputs must agree: on images of `input_shape`;
    without it on 32 x 32, if the network takes these.

    Args:
        model: any module with layers of the library.
        input_shape: (channels, height, width) of the images for which separable layers with execution "auto" choose
            how to run; without it they choose for maps of 32 x 32. Other sizes give the same numbers. Sharing "g"
            always runs composed.

    Raises:
        ValueError: batch norm without running statistics, which cannot be fixed; a network that cannot be copied; hooks
            on all modules; code of the network that gives other outputs with the new layers.

    Example:
        >>> import sepgconv, torch
        >>> layer = sepgconv.nn.ConvNormAct(8, 16, 3, "p4").eval()
        >>> fast = sepgconv.compile_for_inference(layer)
        >>> x = torch.rand(2, 8, 4, 9, 9)
        >>> torch.allclose(fast(x), layer(x), atol=1e-5), len(list(fast.parameters()))
        (True, 0)
    """
    raise_if_global_hooks(_CALLER)
    reference = copy_network(model, _CALLER).eval()  # weights computed at every call, as in the network itself
    frozen = settled_copy(reference, _CALLER)
    x, expected = _output(reference, input_shape)
    sizes = {} if input_shape is None else _map_sizes(frozen, x)
    uses: dict[nn.Module, int] = {}
    for _, module in frozen.named_modules(remove_duplicate=False):
        uses[module] = uses.get(module, 0) + 1
    _freeze(frozen, uses, sizes)
    frozen = _form(frozen, sizes.get(frozen, (32, 32)))  # the model may be a layer itself
    if expected is not None:
        _compare(frozen, reference, x, expected)
    return frozen


def _output(model: nn.Module, input_shape: tuple[int, ...] | None) -> tuple[Tensor, Any]:
    """Return inputs and the network's outputs: of a given shape; else of the one that it may take, and None if not."""
    if input_shape is not None:
        maps = takes_feature_maps(model)
        shape = checked_input_shape(input_shape, _CALLER, feature_maps=maps, batch=not maps)
        x = example_input(model, shape)
        return x, output_of(model, x)
    x = torch.empty(0)
    try:
        x = example_input(model, default_shape(model))
        return x, output_of(model, x)
    except Exception:  # noqa: BLE001 (whatever the user's code raises: it takes other inputs)
        return x, None


def _compare(frozen: nn.Module, model: nn.Module, x: Tensor, expected: Any) -> None:
    """Raise if a copy does not give the outputs of the network.

    Raises:
        ValueError: it does not run, or its outputs differ by more than rounding explains.
    """
    try:
        found = output_of(frozen, x)
    except Exception as error:
        raise ValueError(
            f"{_CALLER}: the compiled network would not run ({type(error).__name__}: {error}); {_reason(model, x)}"
        ) from error
    difference = largest_difference(found, expected)
    within = difference <= explained(model, x) or (difference <= COARSE_ROUNDING and coarse(model, x))
    if not within and _is_finite(expected):
        raise ValueError(
            f"{_CALLER}: the compiled network would differ by {difference:.1e} of the largest output from the network; "
            f"{_reason(model, x)}"
        )


def _reason(model: nn.Module, x: Tensor) -> str:
    """Return why a network gives other outputs, as a half-sentence that names a layer where one is at fault."""
    suspects = customised_layers(model, freeze.registry.keys())
    if suspects:
        return suspects

    def made(path: str) -> nn.Module:
        twin = settled_copy(model, _CALLER)
        parent, _, name = path.rpartition(".")
        if path:
            setattr(twin.get_submodule(parent), name, _form(twin.get_submodule(path), (32, 32)))
        return twin

    paths = [path for path, module in model.named_modules() if path and _has_rule(module)]
    path = first_to_differ(paths, made, x, explained(model, x))
    layer = "its layers" if path is None else layer_named(path, model.get_submodule(path))
    return f"its code uses {layer} for more than its output"


def _is_finite(output: Any) -> bool:
    return all(bool(part.isfinite().all()) for part in tree_leaves(output) if isinstance(part, Tensor))


def _map_sizes(model: nn.Module, x: Tensor) -> dict[nn.Module, Pair]:
    """Send images through a network and note (height, width) of what comes into each separable layer."""
    sizes: dict[nn.Module, Pair] = {}

    def note(module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        maps = arguments[0] if arguments else next(iter(keywords.values()))
        sizes[module] = (int(maps.shape[-2]), int(maps.shape[-1]))

    with watch_calls(((m, m) for m in model.modules() if isinstance(m, GroupConvLayer)), before=note):
        output_of(model, x)
    return sizes


def _freeze(root: nn.Module, uses: dict[nn.Module, int], sizes: dict[nn.Module, Pair]) -> None:
    """Replace the layers below a module."""
    once = {module for module, count in uses.items() if count == 1}
    replaced: dict[nn.Module, nn.Module] = {}
    for parent in list(root.modules()):
        for name, child in _children(parent):
            if child not in replaced:
                replaced[child] = _form(child, sizes.get(child, (32, 32)))
            if replaced[child] is not child:
                setattr(parent, name, replaced[child])
                if child in once:
                    once.add(replaced[child])
    for (_, _, first), (parent, name, second) in _neighbours(root):
        if isinstance(first, FrozenConv2d) and isinstance(second, FrozenNorm2d) and {first, second} <= once:
            first.scale_output(second.slope, second.offset)
            setattr(parent, name, nn.Identity())
    for (_, _, first), (parent, name, second) in _neighbours(root):
        if isinstance(first, FrozenConv2d | FrozenNorm2d) and _is_only(second, nn.ReLU, ReLU) and first in once:
            first.relu = True
            setattr(parent, name, nn.Identity())


def _has_rule(module: nn.Module) -> bool:
    return freeze.dispatch(type(module)) is not freeze.dispatch(object)


def _form(module: nn.Module, size: Pair) -> nn.Module:
    """Return the frozen form of a layer; the layer itself where it does more than the class that has the rule."""
    # What stays in training mode after `eval()`, as some adapt a batch norm to its inputs, cannot be fixed.
    if _has_rule(module) and not module.training and custom_behaviour(module, freeze.registry.keys()) is None:
        return freeze(module, size)
    return module


def _is_only(module: nn.Module, *kinds: type[nn.Module]) -> bool:
    """Return whether a module is of one of these classes itself, without hooks and replaced methods."""
    return type(module) in kinds and custom_behaviour(module) is None


def _neighbours(root: nn.Module) -> list[tuple[_Step, _Step]]:
    """Return the pairs of steps that follow each other in a chain, but for those that do nothing; each once."""
    chains = [module for module in root.modules() if type(module) in _CHAINS and overridden_code(module) is None]
    pairs: list[tuple[_Step, _Step]] = []
    for chain in chains:
        if not _is_step(chain, chains):
            pairs += itertools.pairwise(step for step in _flat(chain) if not _is_only(step[2], nn.Identity))
    return pairs


def _children(module: nn.Module) -> list[tuple[str, nn.Module]]:
    """Return the direct children; unlike in `named_children`, one that is there twice comes twice."""
    return [(name, child) for name, child in module._modules.items() if child is not None]  # pyright: ignore[reportPrivateUsage]


def _is_step(module: nn.Module, chains: list[nn.Module]) -> bool:
    """Return whether a chain is itself a step of another one, which then goes through it."""
    return _is_only(module, *_CHAINS) and any(module is child for chain in chains for child in chain.children())


def _flat(chain: nn.Module) -> Iterator[_Step]:
    """Walk through the steps of a chain, and of chains in it, as (parent, name, step)."""
    for name, child in _children(chain):
        if _is_only(child, *_CHAINS):
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

    Example:
        >>> from sepgconv.nn import LiftingConv2d
        >>> type(freeze(LiftingConv2d(1, 2, 3, "p4"), (8, 8))).__name__
        'FrozenConv2d'
    """
    return module


@freeze.register
def _(module: GroupConvLayer, size: Pair) -> nn.Module:
    # With sharing "g", maps for every pair of channels would lie between the two steps.
    execution = "composed" if module.spec.kind.name == "g" else module.selected_execution(*size)
    lowered = module.spec.kind.lower(module.spec, module.weights(), module.bias, execution)
    return FrozenConv2d(f"{type(module).__name__}({module.extra_repr()})", module.spec, lowered)


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


@freeze.register
def _(module: LayerScale, size: Pair) -> nn.Module:
    return FrozenNorm2d(module.weight.detach(), torch.zeros_like(module.weight))


@freeze.register
def _(module: GroupToVector, size: Pair) -> nn.Module:
    filters = vector_filters(module.weight.detach(), module.group, module.frequency)
    description = f"GroupToVector({module.extra_repr()})"
    return FrozenVector(description, filters.contiguous(), module.in_channels, module.group)
