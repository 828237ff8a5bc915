"""What it would save and cost to write a group convolution with separable terms."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

from sepgconv.analysis.redundancy.separability import Separability
from sepgconv.conv import SEPARABLE
from sepgconv.conv.kinds import Sharing
from sepgconv.nn import GroupConv2d


@dataclass(frozen=True, slots=True)
class SeparationOption:
    """One way of separating one layer.

    Attributes:
        layer: path of the group convolution in the network.
        sharing: "gc" or "g".
        rank: number of separable terms; 1 is the layer of arXiv:2106.04914.
        energy_lost: share of the energy of the layer's filters that is lost, in [0, 1].
        parameters_before: of the layer as it is, bias included.
        parameters_after: of the separable layer.
        macs_before: nominal multiply-accumulates for one image, None where the size of the maps is not known.
        macs_after: those of the separable layer.

    Example:
        >>> from sepgconv.analysis import redundancy
        >>> from sepgconv.nn import GroupConv2d
        >>> option = redundancy(GroupConv2d(2, 8, 3, "p4", bias=False)).layers[0].option("gc", 1)
        >>> option.parameters_before, option.parameters_after, option.parameters_saved
        (576, 136, 440)
    """

    layer: str
    sharing: Sharing
    rank: int
    energy_lost: float
    parameters_before: int
    parameters_after: int
    macs_before: int | None
    macs_after: int | None

    @property
    def parameters_saved(self) -> int:
        """How many parameters fewer; negative where separating costs some."""
        return self.parameters_before - self.parameters_after

    @property
    def macs_saved(self) -> int | None:
        """How many multiply-accumulates fewer, or None."""
        if self.macs_before is None or self.macs_after is None:
            return None
        return self.macs_before - self.macs_after

    @property
    def merit(self) -> float:
        """Parameters saved for each percent of energy lost; what loses nothing counts as losing 0.0001 %."""
        return self.parameters_saved / (100 * max(self.energy_lost, 1e-6))


def separation_options(
    name: str, layer: GroupConv2d, energies: Iterable[Separability], macs: int | None
) -> tuple[SeparationOption, ...]:
    """Return every way to separate a layer that needs fewer parameters than it has.

    Args:
        name: the layer's path.
        layer: the group convolution.
        energies: of its filters, for each sharing to be tried.
        macs: its nominal multiply-accumulates for one image, if known.
    """
    options: list[SeparationOption] = []
    before = sum(p.numel() for p in layer.parameters())
    for energy in energies:
        for rank in range(1, len(energy.lost) + 1):
            separable = replace(layer.spec, kind=SEPARABLE[energy.sharing], rank=rank)
            weights = sum(math.prod(shape) for _, shape in separable.shapes)
            full, factored = (spec.kind.macs_per_output(spec) for spec in (layer.spec, separable))
            options.append(
                SeparationOption(
                    layer=name,
                    sharing=energy.sharing,
                    rank=rank,
                    energy_lost=energy.lost_at(rank),
                    parameters_before=before,
                    parameters_after=before - layer.weight.numel() + weights,
                    macs_before=macs,
                    macs_after=None if macs is None else macs // full * factored,
                )
            )
    return tuple(option for option in options if option.parameters_saved > 0)


def rank_options(options: Iterable[SeparationOption], *, rank: int | None = None) -> tuple[SeparationOption, ...]:
    """Return options, the best first: by parameters saved for each percent of energy lost.

    Args:
        options: of any layers.
        rank: only options of that rank; None: all.
    """
    chosen = [option for option in options if rank is None or option.rank == rank]
    return tuple(sorted(chosen, key=lambda option: (-option.merit, option.layer, option.sharing, option.rank)))


def within_budget(options: Iterable[SeparationOption], budget: float) -> tuple[SeparationOption, ...]:
    """Return for each layer the option with the fewest parameters that loses no more than a share of its energy.

    Args:
        options: of any layers; a layer of which none is within the budget stays as it is and is left out.
        budget: share of a layer's energy, from 0 to 1.

    Raises:
        ValueError: the budget is no such share.
    """
    if not 0 <= budget <= 1:
        raise ValueError(f"within_budget: the budget is a share of a layer's energy, from 0 to 1; got {budget}")
    best: dict[str, SeparationOption] = {}
    for option in options:
        found = best.get(option.layer)
        # A thousandth of a percent more: rounding must not turn away a filter that is separable.
        if option.energy_lost <= budget + 1e-5 and (found is None or option.parameters_after < found.parameters_after):
            best[option.layer] = option
    return tuple(best.values())
