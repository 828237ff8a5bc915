"""What separating would save and cost: the ranked table, and what fits into a budget."""

from sepgconv.analysis.redundancy import RedundancyReport
from sepgconv.analysis.redundancy.report.block import Block
from sepgconv.analysis.redundancy.table import budgets_table, ranked_table


def ranked_block(report: RedundancyReport) -> Block | None:
    """Return the ranked table of the layers at rank 1, and what fits into a budget.

    Returns:
        None where no layer would be smaller if it were separated.
    """
    table = ranked_table(report)
    if table is None:
        return None
    text = (
        "Ranked by parameters saved for each percent of energy lost. gc: one spatial kernel per filter; g: one per "
        "pair of channels. Lost energy is a distance between filters, not an error: what it costs in accuracy shows "
        "only when the separated network is tried, before and after fine-tuning.",
        *(
            ("MACs are multiply-accumulates for one image, by the formulas of section 3.4 of the paper.",)
            if report.nominal_macs is not None
            else ()
        ),
    )
    return Block("Separating the layers", text, (), (table, budgets_table(report)))
