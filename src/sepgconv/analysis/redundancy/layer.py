"""LayerRedundancy: what was found in the filters of one convolution, and the same as JSON."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from sepgconv._numbers import count, percent
from sepgconv._table import Printed, Table
from sepgconv.analysis.redundancy.pose_correlation import PoseCorrelation
from sepgconv.analysis.redundancy.separability import Separability
from sepgconv.analysis.redundancy.separation import SeparationOption
from sepgconv.analysis.redundancy.spread import Spread, spread
from sepgconv.analysis.redundancy.table import ranks_table

Role = Literal["group", "separable", "planar"]

IDENTICAL_AT = (
    0.95  # an agreement of maps from which on they count as identical: a third of them differs at most, as norms go
)


@dataclass(frozen=True, eq=False, slots=True, kw_only=True, repr=False)
class LayerRedundancy(Printed):
    """What was found in the filters of one convolution. It prints as a sentence and a table.

    Tensors are float64, on the CPU, NaN where not defined.

    Attributes:
        name: path of the module in the network.
        kind: its class.
        role: "group": a group convolution; "separable": its comparison, seen as the filter bank it composes; "planar":
            kernels without a pose axis (ordinary, lifting and depthwise convolutions, and all on the group p1).
        group: name of the group; for an ordinary convolution, of that whose elements its kernels were moved by; None
            where none can move them.
        elements: what each element does to an image, in words.
        bank: the filters, (out, in, |G|, k, k), or (out, in, 1, k, k) without a pose axis.
        parameters: numbers learned in the layer.
        nominal_macs: multiply-accumulates for one image by the paper's formulas, None where its size is not known.
        components: share of variance of each principal component along the poses, (out * in, |G|); None without poses.
        energies: singular spectrum and lost energy: for "gc" and "g", or for "gc" alone without poses.
        invariance: of kernels under each element, (out, in, |G|); None where no group can move them.
        chance: the invariance of random kernels, (|G|,); None likewise.
        correlation: of kernels between poses; None without poses.
        agreement: of each channel's maps over the poses, by its filter, (out, |G|); None where the layer's maps have
            no poses.
        measured: the same, measured on images; None where none were given or the layer did not run.
        options: what separating the layer would save and cost; empty where it is no group convolution.

    Example:
        >>> from sepgconv.analysis import redundancy
        >>> from sepgconv.nn import GroupConv2d
        >>> layer = redundancy(GroupConv2d(2, 8, 3, "p4")).layers[0]
        >>> layer.role, layer.group, tuple(layer.bank.shape), tuple(layer.components.shape)
        ('group', 'p4', (8, 2, 4, 3, 3), (16, 4))
    """

    name: str
    kind: str
    role: Role
    group: str | None
    elements: tuple[str, ...]
    bank: Tensor
    parameters: int
    nominal_macs: int | None
    components: Tensor | None
    energies: tuple[Separability, ...]
    invariance: Tensor | None
    chance: Tensor | None
    correlation: PoseCorrelation | None
    agreement: Tensor | None
    measured: Tensor | None
    options: tuple[SeparationOption, ...]

    @property
    def component_spread(self) -> tuple[Spread | None, ...]:
        """Mean, median and quartiles over filters of each component's share."""
        return () if self.components is None else tuple(spread(shares) for shares in self.components.unbind(1))

    @property
    def invariance_spread(self) -> tuple[Spread | None, ...]:
        """Mean, median and quartiles over filters of the invariance under each element."""
        return () if self.invariance is None else tuple(spread(values) for values in self.invariance.unbind(2))

    @property
    def identical_maps(self) -> tuple[int, ...]:
        """Output channels whose maps are the same at every pose, by their filters (see `IDENTICAL_AT`)."""
        return _identical(self.agreement)

    @property
    def measured_identical_maps(self) -> tuple[int, ...] | None:
        """The same by the measured maps, or None where nothing was measured."""
        return None if self.measured is None else _identical(self.measured)

    def energy(self, sharing: str) -> Separability | None:
        """Return spectrum and lost energy of a sharing, or None where the layer has no such factorisation."""
        return next((energy for energy in self.energies if energy.sharing == sharing), None)

    def option(self, sharing: str, rank: int) -> SeparationOption | None:
        """Return what separating the layer so would save and cost, or None where it would save nothing."""
        return next((o for o in self.options if (o.sharing, o.rank) == (sharing, rank)), None)

    @property
    def summary(self) -> str:
        """One or two sentences on what a spatial kernel per filter would keep and save."""
        energy = self.energy("gc")
        kept = 1 - energy.lost_at(1) if energy is not None else 1.0
        place = self.name or self.kind
        if self.bank[0, 0, 0].numel() == 1:
            return f"{place}: its kernels are single pixels, so there is no spatial kernel to share."
        if self.bank[0, :, :, 0, 0].numel() == 1:
            return f"{place}: each filter is a single kernel, so there is nothing to share."
        if self.role == "separable":
            return f"{place}: is separable already; one spatial kernel per filter keeps {percent(kept)} of its energy."
        if self.role == "planar" and not self.options:
            return f"{place}: one spatial kernel per filter would keep {percent(kept)} of its energy."
        said = f"{place}: one spatial kernel per filter keeps {percent(kept)} of its energy; "
        option = self.option("gc", 1)
        if option is None:
            return f"{said}separating it would save nothing."
        share = percent(option.parameters_saved / option.parameters_before)
        said += f"separating it saves {share} of its parameters ({count(option.parameters_before)} to "
        return f"{said}{count(option.parameters_after)})."

    def _printed_parts(self) -> Sequence[Table | str]:
        table = ranks_table(self)
        return (self.summary,) if table is None else (self.summary, table)

    def to_dict(self) -> dict[str, Any]:
        """Return the findings in types that JSON keeps, numbers to six digits; what is not defined is None.

        The weights are left out, and of correlations those of every single filter.
        """
        correlation = self.correlation
        return {
            "name": self.name,
            "kind": self.kind,
            "role": self.role,
            "group": self.group,
            "elements": list(self.elements),
            "filters": list(self.bank.shape),
            "parameters": self.parameters,
            "nominal_macs": self.nominal_macs,
            "components": _spreads_and_values(self.component_spread, self.components),
            "energies": {
                energy.sharing: {
                    "lost": _plain(energy.lost),
                    "lost_per_filter": _plain(energy.lost_per_filter),
                    "singular_values": _plain(energy.singular_values),
                }
                for energy in self.energies
            },
            "invariance": _spreads_and_values(self.invariance_spread, self.invariance),
            "invariance_by_chance": _plain(self.chance),
            "correlation": None
            if correlation is None
            else {
                "mean": _plain(correlation.mean),
                "mean_absolute": _plain(correlation.mean_absolute),
                "positive": correlation.positive,
                "negative": correlation.negative,
            },
            "maps": {
                "agreement": _plain(self.agreement),
                "measured": _plain(self.measured),
                "identical": list(self.identical_maps),
                "measured_identical": None
                if self.measured_identical_maps is None
                else list(self.measured_identical_maps),
            },
            "options": [asdict(option) for option in self.options],
        }


def _identical(agreement: Tensor | None) -> tuple[int, ...]:
    if agreement is None:
        return ()
    least = agreement.amin(1)  # NaN stays: a channel that is silent says nothing
    return tuple(int(channel) for channel in torch.nonzero(least >= IDENTICAL_AT).flatten())


def _spreads_and_values(spreads: tuple[Spread | None, ...], values: Tensor | None) -> dict[str, Any] | None:
    if values is None:
        return None
    return {"spread": [None if s is None else asdict(s) for s in spreads], "per_filter": _plain(values)}


def _plain(values: Tensor | None) -> Any:
    return None if values is None else _without_nan(values.tolist())


def _without_nan(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nan(entry) for entry in value]
    return float(f"{value:.6g}") if math.isfinite(value) else None
