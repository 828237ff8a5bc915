"""How redundant the filters of a network are along the poses of its group, layer by layer."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor, nn

from sepgconv._arguments import checked_input_shape
from sepgconv._modules import settled_copy, unwrap
from sepgconv._nan_check import raise_if_not_finite
from sepgconv._numbers import count, percent, plural
from sepgconv._table import Printed, Table
from sepgconv.analysis.cost.counting import cost
from sepgconv.analysis.redundancy.kernel_symmetry import chance_invariance, kernel_invariance, map_agreement
from sepgconv.analysis.redundancy.layer import LayerRedundancy
from sepgconv.analysis.redundancy.measured_maps import measured_agreement
from sepgconv.analysis.redundancy.pose_components import pose_components
from sepgconv.analysis.redundancy.pose_correlation import pose_correlation
from sepgconv.analysis.redundancy.separability import separability
from sepgconv.analysis.redundancy.separation import SeparationOption, rank_options, separation_options, within_budget
from sepgconv.analysis.redundancy.table import ranked_table
from sepgconv.conv import SEPARABLE, SHARINGS
from sepgconv.conv.geometry import planar_size
from sepgconv.nn import GroupConv2d, GroupConvLayer
from sepgconv.symmetry import FiniteGroup, KernelBasis, PixelBasis, element_names
from sepgconv.symmetry import group as get_group

Convolution = GroupConvLayer | nn.Conv2d


@dataclass(frozen=True, eq=False, slots=True, repr=False)
class RedundancyReport(Printed):
    """What was found in the filters of a network. It prints as the summary and table of `sepgconv analyse`.

    Attributes:
        network: its class, or its name where it comes from `create_model`.
        parameters: numbers learned in the whole network.
        nominal_macs: multiply-accumulates for one image, None where its size is not known.
        layers: a part for each convolution, in the order of the network.

    Example:
        >>> from sepgconv.analysis import redundancy
        >>> from sepgconv.nn import GroupConv2d
        >>> report = redundancy(GroupConv2d(2, 8, 3, "p4"))
        >>> best = report.ranked(rank=1)[0]
        >>> best.parameters_saved > 0, len(report.within(1.0)), report.within(0.0)
        (True, 1, ())
    """

    network: str
    parameters: int
    nominal_macs: int | None
    layers: tuple[LayerRedundancy, ...]

    @property
    def group_layers(self) -> tuple[LayerRedundancy, ...]:
        """The layers with a pose axis to look along: group and separable convolutions."""
        return tuple(layer for layer in self.layers if layer.role != "planar")

    @property
    def options(self) -> tuple[SeparationOption, ...]:
        """Every way of separating a layer that saves parameters."""
        return tuple(option for layer in self.layers for option in layer.options)

    def ranked(self, rank: int | None = None) -> tuple[SeparationOption, ...]:
        """Return the options, the best first: by parameters saved for each percent of energy lost.

        Args:
            rank: only options of that rank; None: all.
        """
        return rank_options(self.options, rank=rank)

    def within(self, budget: float) -> tuple[SeparationOption, ...]:
        """Return for each layer the option with the fewest parameters that loses no more than a share of its energy.

        Args:
            budget: from 0 to 1; layers that no option can separate so are left out.

        Raises:
            ValueError: the budget is no such share.
        """
        return within_budget(self.options, budget)

    @property
    def summary(self) -> str:
        """What a reader should know first, in one or two sentences; also that there is nothing to look at."""
        if not self.group_layers:
            return self._nothing_to_see()
        group = [layer for layer in self.group_layers if layer.option("gc", 1) is not None]
        if not group:
            separable = sum(layer.role == "separable" for layer in self.group_layers)
            return (
                f"{self.network} has {plural(len(self.group_layers), 'convolution')} on a group. {count(separable)} "
                f"{'is' if separable == 1 else 'are'} separable already; none would be smaller if it were separated."
            )
        best = max(group, key=_kept)
        saved = sum(option.parameters_saved for option in self.options if (option.sharing, option.rank) == ("gc", 1))
        least, most = percent(_kept(min(group, key=_kept))), percent(_kept(best))
        return (
            f"{self.network} has {plural(len(group), 'group convolution')}. One spatial kernel per filter (gc, rank 1) "
            f"would keep {most if least == most else f'{least} to {most}'} of {'its' if len(group) == 1 else 'their'} "
            f"energy{'' if len(group) == 1 else f', most in {best.name}'}, and save {count(saved)} of the network's "
            f"{count(self.parameters)} parameters "
            f"({percent(saved / self.parameters)})."
        )

    def _nothing_to_see(self) -> str:
        trivial = [layer for layer in self.layers if layer.kind in ("GroupConv2d", "SeparableGroupConv2d")]
        what = (
            f"{self.network} has no group convolution: its {plural(len(self.layers), 'convolution')} "
            f"{'has' if len(self.layers) == 1 else 'have'} no pose axis along which filters could be alike"
            if self.layers
            else f"{self.network} has no convolution whose filters could be looked at"
        )
        if trivial:
            what += " (p1 is the group without rotations and mirrors)"
        return f"{what}. Analyse a network with layers of sepgconv.nn on a larger group, such as p4."

    def _printed_parts(self) -> Sequence[Table | str]:
        table = ranked_table(self)
        return (self.summary,) if table is None else (self.summary, table)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings in types that JSON keeps; see `LayerRedundancy.to_dict`."""
        return {
            "network": self.network,
            "summary": self.summary,
            "parameters": self.parameters,
            "nominal_macs": self.nominal_macs,
            "ranked": [asdict(option) for option in self.ranked()],
            "layers": [layer.to_dict() for layer in self.layers],
        }


def redundancy(
    model: nn.Module,
    *,
    inputs: Tensor | None = None,
    input_shape: tuple[int, ...] | None = None,
    group: FiniteGroup | str | None = None,
) -> RedundancyReport:
    """Return what repeats along the poses in the filters of every convolution of a network, and what that would save.

    For each group convolution, and as comparison for each separable one (its composed bank): principal components along
    the poses (arXiv:2106.04914, section 3.2), singular spectrum and lost energy of both factorisations (section 3.3),
    invariance of kernels, correlation between poses, and the channels whose maps are identical at every pose. Kernels
    without a pose axis, those of `nn.Conv2d` among them, are looked at for symmetry and low rank only.

    Args:
        model: any module; it is not changed.
        inputs: a batch of images (n, channels, height, width) that the network takes: feature maps are then measured,
            too.
        input_shape: (channels, height, width) of an image, for multiply-accumulates. Default: that of `inputs`, else
            they are None.
        group: whose elements move the kernels of layers that have no group of their own; it keeps the pixel grid.
            Default: the largest such group in the network, or p4m where there is none.

    Returns:
        The findings. A network without group convolutions is no error: `summary` says so.

    Raises:
        ValueError: weights that are not finite (the layer is named), an unknown group or one that takes pixels between
            pixels, or inputs that are no images or too small.

    Example:
        >>> import sepgconv, torch
        >>> network = sepgconv.create_model("p4cnn", width=2)
        >>> report = sepgconv.analysis.redundancy(network, input_shape=(1, 28, 28))
        >>> len(report.layers), len(report.group_layers)
        (7, 6)
        >>> sepgconv.analysis.redundancy(torch.nn.Conv2d(1, 2, 3)).summary.split(":")[0]
        'Conv2d has no group convolution'
    """
    model = unwrap(model, "redundancy")
    raise_if_not_finite(model, "redundancy")
    settled = settled_copy(model, "redundancy")  # with the weights that the network computes with
    found = dict(_convolutions(settled))
    groups = {name: layer.group for name, layer in found.items() if not isinstance(layer, nn.Conv2d)}
    if group is not None and not get_group(group).keeps_grid:
        raise ValueError(
            f"redundancy: {get_group(group).name} takes pixels between pixels, so it cannot move the kernels of "
            f"ordinary layers; name a group that keeps the pixel grid, as group='p4m'"
        )
    # Kernels without a group of their own have a number for every pixel, so only such groups can move them.
    moving = [each for each in groups.values() if each.keeps_grid]
    largest = max(moving, key=lambda each: each.order, default=get_group("p1"))
    planar = get_group(group) if group is not None else largest if largest.order > 1 else get_group("p4m")
    with_poses = {name: each for name, each in groups.items() if each.order > 1}
    measured = {} if inputs is None else measured_agreement(settled, with_poses, inputs)
    shape = input_shape if input_shape is not None or inputs is None else tuple(inputs.shape[1:])
    shape = None if shape is None else checked_input_shape(shape, "redundancy")
    costs = None if shape is None else cost(model, shape)
    macs: dict[str, int] = {} if costs is None else {row.name: row.nominal_macs for row in costs.layers}
    layers = tuple(
        _look(
            name,
            layer,
            with_poses.get(name),
            planar,
            macs=macs.get(name),
            measured=None if name not in measured else measured[name].cpu(),
        )
        for name, layer in found.items()
    )
    total = sum(p.numel() for p in model.parameters())
    network = getattr(model, "name", "") or type(model).__name__
    return RedundancyReport(str(network), total, None if costs is None else costs.nominal_macs, layers)


def _look(
    name: str, layer: Convolution, group: FiniteGroup | None, planar: FiniteGroup, *, macs: int | None, measured: Any
) -> LayerRedundancy:
    filters = _filters(layer).cpu()
    bank = filters if filters.ndim == 5 else filters.unsqueeze(2)
    poses = group is not None and filters.ndim == 5
    weight, basis = _weight(layer, filters, group, planar)
    by = None if basis is None else basis.group
    # Without poses "g" has nothing to share: each of its matrices is a single kernel.
    with_poses = weight if filters.ndim == 5 else weight.unsqueeze(2)
    sharings = SHARINGS if poses else SHARINGS[:1]
    energies = tuple(separability(with_poses, sharing, basis=basis) for sharing in sharings)
    options = ()
    if isinstance(layer, GroupConv2d) and poses:
        options = separation_options(name, layer, energies, macs)
    return LayerRedundancy(
        name=name,
        kind=next(each.__name__ for each in type(layer).__mro__ if not each.__name__.startswith("_")),
        role="planar" if not poses else "separable" if _is_separable(layer) else "group",
        group=None if by is None else by.name,
        elements=() if by is None else element_names(by),
        bank=bank,
        parameters=sum(p.numel() for p in layer.parameters()),
        nominal_macs=macs,
        components=pose_components(bank) if poses else None,
        energies=energies,
        invariance=None if basis is None else kernel_invariance(weight, basis),
        chance=None if basis is None else chance_invariance(basis),
        correlation=pose_correlation(bank) if poses else None,
        agreement=None if basis is None or group is None else map_agreement(weight, basis),
        measured=measured,
        options=options,
    )


def _weight(
    layer: Convolution, filters: Tensor, group: FiniteGroup | None, planar: FiniteGroup
) -> tuple[Tensor, KernelBasis | None]:
    """Return what the elements move, and the basis by which they do.

    The weights of a layer that has a group; else the pixels of its filters, and None where the group cannot move them.
    """
    if group is not None and isinstance(layer, GroupConvLayer):
        return layer.spec.kind.bank(layer.spec, layer.weights()).detach().double().cpu(), layer.spec.basis
    size = planar_size(filters)
    return filters, None if size[0] != size[1] and planar.exchanges_axes else PixelBasis(planar, size)


def _convolutions(model: nn.Module) -> Iterator[tuple[str, Convolution]]:
    for name, module in model.named_modules():
        if isinstance(module, Convolution):
            yield name, module


def _is_separable(layer: Convolution) -> bool:
    return isinstance(layer, GroupConvLayer) and layer.spec.kind in SEPARABLE.values()


def _filters(layer: Convolution) -> Tensor:
    """Return (out, in, |G|, k, k), or (out, in, k, k) for kernels without a pose axis; a copy, in float64."""
    weight = layer.filter_bank() if isinstance(layer, GroupConvLayer) else layer.weight
    return weight.detach().double().clone()


def _kept(layer: LayerRedundancy) -> float:
    energy = layer.energy("gc")
    return 0.0 if energy is None else 1 - energy.lost_at(1)
