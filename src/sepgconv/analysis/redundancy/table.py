"""What separating would save and cost, as tables: the ranking of the layers, the ranks of a layer, the budgets."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from sepgconv._numbers import count, large, percent
from sepgconv._table import Table
from sepgconv.analysis.redundancy.separation import SeparationOption

if TYPE_CHECKING:
    from sepgconv.analysis.redundancy.layer import LayerRedundancy
    from sepgconv.analysis.redundancy.network import RedundancyReport

BUDGETS = (0.01, 0.05, 0.1, 0.2, 0.35, 0.5)


def ranked_table(report: "RedundancyReport") -> Table | None:
    """Return what separating each layer at rank 1 would save and cost, the best first; None where nothing would."""
    ranked = report.ranked(rank=1)
    if not ranked:
        return None
    macs = report.nominal_macs is not None
    return Table(
        "What separating a layer would save and cost (rank 1), the best first",
        ("layer", "sharing", *_columns(macs=macs)),
        [(option.layer, option.sharing, *_row(option, macs=macs)) for option in ranked],
        left=2,
    )


def ranks_table(layer: "LayerRedundancy") -> Table | None:
    """Return every option of a layer; None where it has none."""
    if not layer.options:
        return None
    macs = layer.nominal_macs is not None
    return Table(
        "Separated at each rank that saves parameters",
        ("sharing and rank", *_columns(macs=macs)),
        [(f"{option.sharing}, rank {option.rank}", *_row(option, macs=macs)) for option in layer.options],
    )


def budgets_table(report: "RedundancyReport") -> Table:
    """Return the smallest network for each of some budgets of lost energy."""
    rows: list[Sequence[str]] = []
    for budget in BUDGETS:
        chosen = report.within(budget)
        saved = sum(option.parameters_saved for option in chosen)
        row = [percent(budget, decimals=0), _named(chosen)]
        row += [percent(saved / max(1, report.parameters), decimals=1), count(report.parameters - saved)]
        if report.nominal_macs is not None:
            fewer = sum(option.macs_saved or 0 for option in chosen)
            row += [percent(fewer / max(1, report.nominal_macs), decimals=1), large(report.nominal_macs - fewer)]
        rows.append(row)
    columns = ["budget", "separated", "parameters saved", "parameters"]
    if report.nominal_macs is not None:
        columns += ["MACs saved", "MACs"]
    return Table("The smallest network when no layer may lose more than a budget of its energy", columns, rows, left=2)


def _columns(*, macs: bool) -> tuple[str, ...]:
    return "energy lost", "parameters saved", "parameters", *(("MACs saved", "MACs") if macs else ())


def _row(option: SeparationOption, *, macs: bool) -> tuple[str, ...]:
    row = (
        percent(option.energy_lost, decimals=1),
        percent(option.parameters_saved / option.parameters_before, decimals=1),
        f"{count(option.parameters_before)} → {count(option.parameters_after)}",
    )
    if not macs:
        return row
    if option.macs_before is None or option.macs_after is None:
        return *row, "–", "–"
    saved = percent(1 - option.macs_after / option.macs_before, decimals=1)
    return *row, saved, f"{large(option.macs_before)} → {large(option.macs_after)}"


def _named(options: Iterable[SeparationOption]) -> str:
    kinds: dict[str, int] = {}
    for option in options:
        kind = f"{option.sharing} rank {option.rank}"
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{number} × {kind}" for kind, number in sorted(kinds.items())) or "none"
