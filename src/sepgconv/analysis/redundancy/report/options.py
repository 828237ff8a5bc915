"""What separating would save and cost: the ranked table, the ranks of a layer, what fits into a budget."""

from collections.abc import Iterable, Sequence

from sepgconv._numbers import count, large, tenths
from sepgconv.analysis.redundancy import LayerRedundancy, RedundancyReport, SeparationOption
from sepgconv.analysis.redundancy.report.block import Block, Table

BUDGETS = (0.01, 0.05, 0.1, 0.2, 0.35, 0.5)


def option_columns(*, macs: bool) -> list[str]:
    """Return the headings that belong to `option_row`, without the first."""
    return ["energy lost", "parameters saved", "parameters", *(["MACs saved", "MACs"] if macs else [])]


def option_row(option: SeparationOption, *, macs: bool) -> list[str]:
    """Return what an option loses and saves, for people.

    Args:
        option: the option.
        macs: whether the table has columns for multiply-accumulates.
    """
    row = [
        tenths(option.energy_lost),
        tenths(option.parameters_saved / option.parameters_before),
        f"{count(option.parameters_before)} → {count(option.parameters_after)}",
    ]
    if macs and option.macs_before is not None and option.macs_after is not None:
        row += [
            tenths(1 - option.macs_after / option.macs_before),
            f"{large(option.macs_before)} → {large(option.macs_after)}",
        ]
    return row


def ranked_block(report: RedundancyReport) -> Block | None:
    """Return the ranked table of the layers at rank 1, and what fits into a budget.

    Returns:
        None where no layer would be smaller if it were separated.
    """
    ranked = report.ranked(rank=1)
    if not ranked:
        return None
    macs = report.nominal_macs is not None
    table = Table(
        "Every group convolution as the paper's layer (rank 1), the best first",
        ["layer", "sharing", *option_columns(macs=macs)],
        [[option.layer, option.sharing, *option_row(option, macs=macs)] for option in ranked],
        text_columns=2,
    )
    text = (
        "Ranked by parameters saved for each percent of energy lost. gc: one spatial kernel per filter; g: one per "
        "pair of channels. Lost energy is a distance between filters, not an error: what it costs in accuracy shows "
        "only when the separated network is tried, before and after fine-tuning.",
        *(
            ("MACs are multiply-accumulates for one picture, by the formulas of section 3.4 of the paper.",)
            if macs
            else ()
        ),
    )
    return Block("What separating a layer would save and cost", text, (), (table, _budgets(report)))


def ranks_table(layer: LayerRedundancy) -> Table | None:
    """Return every option of a layer."""
    if not layer.options:
        return None
    macs = layer.nominal_macs is not None
    return Table(
        "Separated at each rank that saves parameters",
        ["sharing and rank", *option_columns(macs=macs)],
        [[f"{option.sharing}, rank {option.rank}", *option_row(option, macs=macs)] for option in layer.options],
    )


def _budgets(report: RedundancyReport) -> Table:
    rows: list[Sequence[str]] = []
    for budget in BUDGETS:
        chosen = report.within(budget)
        saved = sum(option.parameters_saved for option in chosen)
        row = [f"{100 * budget:.0f} %", _named(chosen)]
        row += [tenths(saved / max(1, report.parameters)), count(report.parameters - saved)]
        if report.nominal_macs is not None:
            fewer = sum(option.macs_saved or 0 for option in chosen)
            row += [tenths(fewer / max(1, report.nominal_macs)), large(report.nominal_macs - fewer)]
        rows.append(row)
    columns = ["budget", "separated", "parameters saved", "parameters"]
    if report.nominal_macs is not None:
        columns += ["MACs saved", "MACs"]
    return Table(
        "The smallest network when no layer may lose more than a budget of its energy", columns, rows, text_columns=2
    )


def _named(options: Iterable[SeparationOption]) -> str:
    kinds: dict[str, int] = {}
    for option in options:
        kind = f"{option.sharing} rank {option.rank}"
        kinds[kind] = kinds.get(kind, 0) + 1
    return ", ".join(f"{number} × {kind}" for kind, number in sorted(kinds.items())) or "none"
