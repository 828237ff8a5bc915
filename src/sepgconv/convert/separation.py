"""separate: a trained network whose group convolutions are replaced by the nearest separable ones."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import nn

from sepgconv._messages import one_of
from sepgconv._numbers import percent
from sepgconv.analysis import Separability, separability
from sepgconv.analysis.finite import refuse_not_finite
from sepgconv.analysis.separation import separation_options, within_budget
from sepgconv.functional import separate_kernel
from sepgconv.functional.kernels import SHARINGS, Sharing
from sepgconv.models import Network, create_model, separable_name
from sepgconv.nn import GroupConv2d, SeparableGroupConv2d


@dataclass(frozen=True, slots=True)
class SeparatedLayer:
    """What became of one group convolution.

    Attributes:
        name: its path in the network.
        rank: number of separable terms; 0 where it stays a group convolution.
        energy_lost: share of the energy of its filters that is lost, in [0, 1].
        parameters_before: numbers learned in it.
        parameters_after: of what takes its place.
    """

    name: str
    rank: int
    energy_lost: float
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True, eq=False, slots=True)
class Separation:
    """A network with separable convolutions in place of group convolutions.

    Attributes:
        model: the network; the one it was made from is as it was.
        sharing: "gc" or "g".
        layers: what became of every group convolution with more than one pixel, in order.
    """

    model: nn.Module
    sharing: Sharing
    layers: tuple[SeparatedLayer, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        """The rank of every layer, 0 where it stays a group convolution."""
        return tuple(layer.rank for layer in self.layers)


@torch.no_grad()
def separate(
    model: nn.Module, sharing: Sharing = "gc", *, rank: int | None = None, budget: float | None = None
) -> Separation:
    """Replace group convolutions by the nearest separable ones (arXiv:2106.04914, section 3.3).

    The factors come from the singular value decomposition of the trained filters. What is lost is made good by training
    on; see `sepgconv separate`, which does both.

    Args:
        model: any module with group convolutions. A network of the registry becomes its separable counterpart, as
            "p4cnn" becomes "gc_p4cnn" with a `rank` for every convolution, and can be saved and trained as such.
        sharing: "gc" or "g".
        rank: with `budget`, the most terms that a layer may get; without, the terms that every layer gets, or its full
            rank where that is less.
        budget: share of the energy of a layer's filters that may be lost, from 0 to 1. A layer gets as few terms as it
            allows, and stays as it is where that would need more terms than `rank`, or more parameters than it has.

    Returns:
        The new network, in the same mode, on the same device, and what became of every layer. Convolutions of one pixel
        stay as they are.

    Raises:
        ValueError: neither rank nor budget, or one out of range; no group convolution; weights that are not finite; a
            budget that no layer meets; a network of the registry without separable counterpart.
    """
    one_of("sharing", sharing, SHARINGS)
    if rank is None and budget is None:
        raise ValueError("separate: give a rank, a budget, or both")
    if rank is not None and rank < 1:
        raise ValueError(f"separate: rank must be 1 or more, got {rank}")
    layers = _group_convolutions(model)
    if not layers:
        raise ValueError(
            f"separate: {type(model).__name__} has no group convolution of more than one pixel, so there is nothing to "
            f"separate; such layers are sepgconv.nn.GroupConv2d"
        )
    refuse_not_finite(model, "separate")
    # A name without counterpart is refused before anything is computed.
    name = separable_name(model.name, sharing) if isinstance(model, Network) and model.name else None
    energies = {path: separability(layer.weight, sharing) for path, layer in layers.items()}
    if budget is None:
        most = rank or 1
        ranks = {path: min(most, len(energy.lost)) for path, energy in energies.items()}
    else:
        ranks = _within_budget(layers, energies, rank, budget)
    separated, done = copy.deepcopy(model), list[SeparatedLayer]()
    for path, layer in layers.items():
        terms = ranks.get(path, 0)
        after = _separated(layer, sharing, terms) if terms else layer
        lost = energies[path].lost_at(terms) if terms else 0.0
        done.append(SeparatedLayer(path, terms, lost, _count(layer), _count(after)))
        if terms:
            separated = _replace(separated, path, after)
    if name is not None and isinstance(model, Network):
        separated = _registered(model, name, separated, [layer.rank for layer in done])
    return Separation(separated, sharing, tuple(done))


def _group_convolutions(model: nn.Module) -> dict[str, GroupConv2d]:
    found = {name: module for name, module in model.named_modules() if type(module) is GroupConv2d}
    return {name: layer for name, layer in found.items() if layer.kernel_size != (1, 1)}


def _within_budget(
    layers: Mapping[str, GroupConv2d], energies: Mapping[str, Separability], rank: int | None, budget: float
) -> dict[str, int]:
    """Return the rank of every layer that meets the budget with fewer parameters than it has."""
    options = [
        option
        for path, layer in layers.items()
        for option in separation_options(path, layer, [energies[path]], None)
        if rank is None or option.rank <= rank
    ]
    chosen = {option.layer: option.rank for option in within_budget(options, budget)}
    if chosen:
        return chosen
    up_to = "" if rank is None else f" up to rank {rank}"
    if not options:
        raise ValueError(f"separate: no layer has fewer parameters when separated{up_to}")
    best = min(options, key=lambda option: option.energy_lost)
    raise ValueError(
        f"separate: no layer can be separated{up_to} within a budget of {percent(budget)}; the one that loses least is "
        f"{best.layer or 'the layer'}, {percent(best.energy_lost)} at rank {best.rank}. Allow a larger budget"
        + ("." if rank is None else " or more terms.")
    )


def _separated(layer: GroupConv2d, sharing: Sharing, rank: int) -> SeparableGroupConv2d:
    weight = layer.weight
    separable = SeparableGroupConv2d(
        layer.in_channels,
        layer.out_channels,
        layer.kernel_size,
        layer.group,
        sharing=sharing,
        rank=rank,
        stride=layer.stride,
        padding=layer.padding,
        dilation=layer.dilation,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
        device=weight.device,
        dtype=weight.dtype,
    )
    pointwise, depthwise = separate_kernel(weight, sharing, rank)
    # A single term has no axis of its own in the layer.
    separable.pointwise.copy_(pointwise.view_as(separable.pointwise))
    separable.depthwise.copy_(depthwise.view_as(separable.depthwise))
    separable.requires_grad_(weight.requires_grad)
    if layer.bias is not None and separable.bias is not None:
        separable.bias.copy_(layer.bias)
        separable.bias.requires_grad_(layer.bias.requires_grad)
    return separable.train(layer.training)


def _replace(model: nn.Module, path: str, layer: nn.Module) -> nn.Module:
    """Put a layer at a path, and wherever else the module of that path is used; return the model."""
    old = model.get_submodule(path)
    if old is model:
        return layer
    for parent in model.modules():
        for name, child in list(parent._modules.items()):  # pyright: ignore[reportPrivateUsage] (named_children dedups)
            if child is old:
                setattr(parent, name, layer)
    return model


def _registered(model: Network, name: str, separated: nn.Module, ranks: Sequence[int]) -> Network:
    """Return the network of a name with the weights of a separated one."""
    config = {key: value for key, value in model.config.items() if key != "rank"}
    network = create_model(name, **config, rank=list(ranks))
    like = next(model.parameters())
    network.to(like.device, like.dtype).load_state_dict(separated.state_dict())
    return network.train(model.training)


def _count(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())
