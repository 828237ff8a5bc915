"""separate: a trained network whose group convolutions are replaced by the nearest separable ones."""

import contextlib
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from sepgconv._comparison import COARSE_ROUNDING, coarse, first_to_differ, largest_difference, output_of, rounding
from sepgconv._customised import (
    changed_since_built,
    customised_layers,
    layer_named,
    raise_if_customised,
    raise_if_global_hooks,
)
from sepgconv._messages import one_of
from sepgconv._modules import copy_network, settled_copy
from sepgconv._nan_check import raise_if_not_finite
from sepgconv._numbers import count, percent
from sepgconv._table import Printed, Table
from sepgconv.analysis import Separability, separability
from sepgconv.analysis.redundancy.separation import separation_options, within_budget
from sepgconv.conv import SHARINGS
from sepgconv.conv.kinds import Sharing
from sepgconv.functional import separate_kernel
from sepgconv.inference.probes import default_shape, example_input
from sepgconv.models import Network, create_model, separable_name
from sepgconv.nn import GroupConv2d, SeparableGroupConv2d

_CALLER = "separate"


@dataclass(frozen=True, slots=True)
class SeparatedLayer:
    """What one group convolution has become.

    Attributes:
        name: its path in the network.
        rank: number of separable terms; 0 if it stays a group convolution.
        energy_lost: share of the energy of its filters that is lost, in [0, 1].
        parameters_before: number of its parameters.
        parameters_after: number of parameters of what takes its place.

    Examples:
        >>> from sepgconv.convert import SeparatedLayer
        >>> layer = SeparatedLayer("features.1", rank=2, energy_lost=0.1, parameters_before=720, parameters_after=232)
        >>> layer.parameters_before / layer.parameters_after > 3
        True
    """

    name: str
    rank: int
    energy_lost: float
    parameters_before: int
    parameters_after: int


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class Separation(Printed):
    """A network with separable convolutions in place of group convolutions. It prints as a row for each of these.

    Attributes:
        model: the network; the one it was made from does not change.
        sharing: "gc" or "g".
        layers: what every group convolution with more than one pixel has become, in order.

    Examples:
        >>> from sepgconv.convert import separate
        >>> from sepgconv.nn import GroupConv2d
        >>> separation = separate(GroupConv2d(2, 2, 3, "p4"), "gc", rank=1)
        >>> type(separation.model).__name__, separation.ranks
        ('SeparableGroupConv2d', (1,))
    """

    model: nn.Module
    sharing: Sharing
    layers: tuple[SeparatedLayer, ...]

    @property
    def ranks(self) -> tuple[int, ...]:
        """The rank of every layer, 0 where it stays a group convolution."""
        return tuple(layer.rank for layer in self.layers)

    def _printed_parts(self) -> Sequence[Table | str]:
        return (separation_table(self),)


def separation_table(separation: Separation) -> Table:
    """Return a row for each group convolution: its rank, what is lost, and the parameters before and after."""
    rows = [
        (
            layer.name,
            str(layer.rank) if layer.rank else "stays",
            percent(layer.energy_lost, decimals=2),
            f"{count(layer.parameters_before)} → {count(layer.parameters_after)}",
        )
        for layer in separation.layers
    ]
    return Table(
        f"Group convolutions, sharing {separation.sharing}", ("layer", "rank", "energy lost", "parameters"), rows
    )


@torch.no_grad()
def separate(
    model: nn.Module, sharing: Sharing = "gc", *, rank: int | None = None, budget: float | None = None
) -> Separation:
    """Replace group convolutions by the nearest separable ones (arXiv:2106.04914, section 3.3).

    The factors come from the singular value decomposition of the trained filters. Further training makes up for what is
    lost; `sepgconv separate` does both.

    Computed filters (pruned, normed, parametrised) are separated as the network uses them now; layers that are not
    replaced keep what computes theirs. If every replaced layer gets its full rank, the outputs of the result are
    compared with those of the network on random images; below full rank the result must run.

    Args:
        model: any module with group convolutions. A network of the registry becomes its separable counterpart, as
            "p4cnn" becomes "gc_p4cnn" with a `rank` for every convolution, and can be saved and trained as such.
        sharing: "gc" or "g".
        rank: with `budget`, the most terms that a layer may get; without, the terms that every layer gets, or its full
            rank if that is less.
        budget: share of the energy of a layer's filters that may be lost, from 0 to 1. A layer gets as few terms as it
            allows, and stays as it is if that would need more terms than `rank`, or more parameters than it has.

    Returns:
        The new network, in the same mode and on the same device, and what every layer has become. Convolutions of one
        pixel stay as they are.

    Raises:
        ValueError: neither rank nor budget is given, or one is out of range; there is no group convolution; weights are
            not finite; no layer meets the budget; a network of the registry has no separable counterpart; a layer to be
            replaced, or any layer of a network of the registry, has a hook or code of its own, which would be lost; the
            network cannot be copied or, at full rank, the outputs differ.

    Examples:
        >>> import torch
        >>> from torch import nn
        >>> from sepgconv.convert import separate
        >>> from sepgconv.nn import GroupConv2d
        >>> network = nn.Sequential(GroupConv2d(2, 3, 3, "p4"), nn.ReLU(), GroupConv2d(3, 2, 1, "p4"))
        >>> separation = separate(network, "gc", rank=9)
        >>> type(separation.model[0]).__name__, type(separation.model[2]).__name__  # a kernel of one pixel stays
        ('SeparableGroupConv2d', 'GroupConv2d')
        >>> maps = torch.rand(1, 2, 4, 7, 7)
        >>> torch.allclose(separation.model(maps), network(maps), atol=1e-4)  # at full rank
        True
    """
    one_of("sharing", sharing, SHARINGS)
    if rank is None and budget is None:
        raise ValueError("separate: give a rank, a budget, or both")
    if rank is not None and rank < 1:
        raise ValueError(f"separate: rank must be 1 or more, got {rank}")
    raise_if_global_hooks(_CALLER)
    network = copy_network(model, _CALLER)
    settled = settled_copy(network, _CALLER)  # in which every `weight` is the one that the network uses
    layers = _group_convolutions(settled)
    if not layers:
        raise ValueError(
            f"separate: {type(network).__name__} has no group convolution of more than one pixel, so there is nothing "
            f"to separate; such layers are sepgconv.nn.GroupConv2d"
        )
    raise_if_not_finite(network, _CALLER)
    # A name without counterpart is an error before anything is computed.
    name = separable_name(network.name, sharing) if isinstance(network, Network) and network.name else None
    energies = {path: separability(layer.weight, sharing, basis=layer.spec.basis) for path, layer in layers.items()}
    if budget is None:
        most = rank or 1
        ranks = {path: min(most, len(energy.lost)) for path, energy in energies.items()}
    else:
        ranks = _within_budget(layers, energies, rank, budget)
    advice = "put what it does into a module beside it, or take it out and put it into the result"
    raise_if_customised(_CALLER, [(path, layers[path]) for path in ranks], advice)
    with torch.random.fork_rng(_devices(network)):  # new layers draw weights, which are replaced at once
        separation = _put_together(network, layers, energies, ranks, sharing, name)
    whole = all(ranks[path] == len(energies[path].lost) for path in ranks)
    _compare(network, separation.model, list(ranks), whole=whole)
    return separation


def _devices(model: nn.Module) -> list[torch.device]:
    return list({parameter.device for parameter in model.parameters() if parameter.is_cuda})


def _put_together(
    network: nn.Module,
    layers: Mapping[str, GroupConv2d],
    energies: Mapping[str, Separability],
    ranks: Mapping[str, int],
    sharing: Sharing,
    name: str | None,
) -> Separation:
    """Build the separated network.

    Args:
        network: a copy of the user's.
        layers: its group convolutions with the weights that count.
        energies: of their filters.
        ranks: of those to be replaced.
        sharing: "gc" or "g".
        name: that the result has in the registry, if it has one.
    """
    instead, done = dict[int, nn.Module](), list[SeparatedLayer]()
    for path, layer in layers.items():
        terms, before = ranks.get(path, 0), network.get_submodule(path)
        after = _separated(layer, before, sharing, terms) if terms else before
        lost = energies[path].lost_at(terms) if terms else 0.0
        done.append(SeparatedLayer(path, terms, lost, _count(before), _count(after)))
        if terms:
            instead[id(before)] = after
    # Wherever the network holds a layer, in a list of its own too, the copy holds what takes its place.
    separated = copy_network(network, _CALLER, instead=instead)
    if name is not None and isinstance(network, Network):
        separated = _registered(network, name, separated, [layer.rank for layer in done])
    return Separation(separated, sharing, tuple(done))


def _group_convolutions(model: nn.Module) -> dict[str, GroupConv2d]:
    found = {name: module for name, module in model.named_modules() if isinstance(module, GroupConv2d)}
    return {name: layer for name, layer in found.items() if layer.kernel_size != (1, 1)}


def _compare(network: nn.Module, separated: nn.Module, paths: Sequence[str], *, whole: bool) -> None:
    """Raise if a separated network does not run or, at full rank, its outputs are not those of the original.

    On images for its first layer; if the original does not run on these, layer by layer.

    Raises:
        ValueError: it does not run; its output has another shape or, at full rank, differs by more than rounding.
    """
    before, after = copy_network(network, _CALLER).eval(), copy_network(separated, _CALLER).eval()
    pairs: list[tuple[str, nn.Module, nn.Module, Tensor]] = []
    with contextlib.suppress(Exception):  # the user's code may raise anything: it takes other inputs
        x = example_input(before, default_shape(before))
        output_of(before, x)
        pairs.append(("the network", before, after, x))
    if not pairs:
        for path in paths:
            layer = before.get_submodule(path)
            x = example_input(layer, default_shape(layer))
            pairs.append((layer_named(path, layer), layer, after.get_submodule(path), x))
    for place, ours, theirs, x in pairs:
        # The factors are rounded as the weights are, in any precision of the network.
        allowed = min(10 * rounding(x.dtype, x.device), COARSE_ROUNDING) if whole else math.inf
        try:
            found, expected = output_of(theirs, x), output_of(ours, x)
        except Exception as error:
            raise ValueError(
                f"separate: {place} would not run separated ({type(error).__name__}: {error}); "
                f"{_reason(before, after, paths, x, allowed)}"
            ) from error
        if _shapes(found) != _shapes(expected):
            reason = _reason(before, after, paths, x, sys.float_info.max)
            raise ValueError(f"separate: {place} would have an output of another shape; {reason}")
        difference = largest_difference(found, expected)
        within = difference <= allowed or (difference <= COARSE_ROUNDING and coarse(ours, x))
        if whole and not within:
            raise ValueError(
                f"separate: at full rank {place} would still differ by {difference:.1e} of the largest output; "
                f"{_reason(before, after, paths, x, allowed)}"
            )


def _shapes(output: Any) -> list[Any]:
    return [part.shape if isinstance(part, Tensor) else part for part in tree_leaves(output)]


def _reason(before: nn.Module, after: nn.Module, paths: Sequence[str], x: Tensor, allowed: float) -> str:
    """Return why the outputs differ, as a clause that names a layer if one is the cause."""
    suspects = customised_layers(before)
    if suspects:
        return suspects

    def made(path: str) -> nn.Module:
        instead = {id(before.get_submodule(path)): after.get_submodule(path)} if path else {}
        return copy_network(before, _CALLER, instead=instead)

    try:
        path = first_to_differ(paths, made, x, allowed)
    except Exception:  # noqa: BLE001 (a network that takes other inputs)
        path = None
    layer = "its group convolutions" if path is None else layer_named(path, before.get_submodule(path))
    return f"its code uses more of {layer} than its output"


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


def _separated(layer: GroupConv2d, before: nn.Module, sharing: Sharing, rank: int) -> SeparableGroupConv2d:
    """Return the nearest separable layer.

    Args:
        layer: with the weight that counts.
        before: the same layer as it is trained, for its mode and for what is frozen.
        sharing: "gc" or "g".
        rank: number of terms.
    """
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
        groups=layer.groups,
        bias=layer.bias is not None,
        padding_mode=layer.padding_mode,
        device=weight.device,
        dtype=weight.dtype,
        basis=layer.spec.basis,
    )
    pointwise, depthwise = separate_kernel(weight, sharing, rank, basis=layer.spec.basis)
    # A single term has no axis of its own in the layer.
    separable.pointwise.copy_(pointwise.view_as(separable.pointwise))
    separable.depthwise.copy_(depthwise.view_as(separable.depthwise))
    separable.requires_grad_(_is_trained(before, "weight"))
    if layer.bias is not None and separable.bias is not None:
        separable.bias.copy_(layer.bias)
        separable.bias.requires_grad_(_is_trained(before, "bias"))
    return separable.train(before.training)


def _is_trained(layer: nn.Module, name: str) -> bool:
    """Return whether a parameter, or what one is computed from, is trained."""
    sources = (name, f"{name}_orig", f"{name}_g", f"{name}_v")  # a plain one; pruned or normed; normed; normed
    return any(
        parameter.requires_grad and (path in sources or path.startswith(f"parametrizations.{name}."))
        for path, parameter in layer.named_parameters()
    )


def _registered(model: Network, name: str, separated: nn.Module, ranks: Sequence[int]) -> Network:
    """Return the network of a name with the weights of a separated one.

    Raises:
        ValueError: it has something that the network of that name has not, and that would be lost.
    """
    config = {key: value for key, value in model.config.items() if key != "rank"}
    network = create_model(name, **config, rank=list(ranks))
    lost = changed_since_built(separated, network)
    if lost:
        raise ValueError(f"separate: {lost}, which {name} has not; take it out first, and put it into the result")
    like = next(model.parameters())
    network.to(like.device, like.dtype).load_state_dict(separated.state_dict())
    trained = dict(separated.named_parameters())
    for path, parameter in network.named_parameters():
        parameter.requires_grad_(trained[path].requires_grad)
    for path, module in network.named_modules():
        module.training = separated.get_submodule(path).training
    return network


def _count(layer: nn.Module) -> int:
    return sum(parameter.numel() for parameter in layer.parameters())
