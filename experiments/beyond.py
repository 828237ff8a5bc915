"""Beyond the paper: its initialisation, its down-sampling and head, and the executions, each against ours."""

import dataclasses
import statistics
from collections.abc import Sequence

from experiments.cells import Cell
from experiments.comparison import NOT_RUN, compare
from experiments.experiment import Experiment, Row
from experiments.record import DIVERGED
from experiments.report import Report, Table
from experiments.statistics import error, seeds, titled
from experiments.store import Reading
from experiments.table1 import ROWS as TABLE1_ROWS
from experiments.table2 import FIFTH
from sepgconv._text import Markdown
from sepgconv.ops.dispatch import EXECUTIONS

SEEDS = (1, 2, 3)
GOAL = 3.0  # percent
_RESNET = "gc_p4m_resnet44"
_EXACT = {"downsampling": "exact", "head": "invariant"}

# How the weights begin; all runs are ours.
OURS, AUTHORS = "our initialisation", "the authors' initialisation"

# Epochs to a goal need images that are not trained on, so the validation part is held out: 10,000 images to learn from.
INITIALISATION_ROWS = tuple(
    Row(
        title=f"gc-P4CNN, w {width}, {title}",
        cell=Cell(
            model="gc_p4cnn",
            model_config={"width": width},
            overrides={"hold_out": True},
            initialisation=name,
            measures=("convergence",),
        ),
    )
    for width in (10, 30)
    for title, name in ((OURS, "sepgconv"), (AUTHORS, "published"))
)

# The same with all 12,000 images: Table 1 once more with the weights as our layers draw them, and its own cells, which
# are taken from there. One seed of each.
FULL_INITIALISATION_ROWS = tuple(
    Row(title=f"{row.title}, {title}", cell=cell, seeds=(1,), published=published)
    for row in TABLE1_ROWS
    for title, cell, published in (
        (OURS, dataclasses.replace(row.cell, initialisation="sepgconv"), ""),
        (AUTHORS, row.cell, row.published),
    )
)

EQUIVARIANCE_ROWS = tuple(
    Row(
        title=f"down-sampling {downsampling}, head {head}",
        cell=Cell(
            model=_RESNET,
            model_config={"downsampling": downsampling, "head": head},
            data="noise",
            initialisation="sepgconv",
            task="equivariance",
        ),
    )
    for downsampling in ("paper", "exact")
    for head in ("paper", "invariant")
)

EXACTNESS_ROWS = tuple(
    Row(
        title=f"gc-p4m-ResNet44, 10,000 images, {title}",
        cell=Cell(
            model=_RESNET, model_config=config, data="cifar10", recipe="paper-cifar10", images=FIFTH,
            measures=("equivariance",),
        ),
    )
    for title, config in (("as in the paper", {}), ("exact down-sampling, invariant head", _EXACT))
)  # fmt: skip

# At width 10: the noise between seeds is the yardstick, and the cost of composed filters grows with the width squared.
EXECUTION_ROWS = tuple(
    Row(
        title=f"gc-P4CNN, w 10, {execution}",
        cell=Cell(model="gc_p4cnn", model_config={"width": 10, "execution": execution}),
    )
    for execution in EXECUTIONS
    if execution != "auto"
)

ROWS = (
    *EQUIVARIANCE_ROWS,
    *INITIALISATION_ROWS,
    *FULL_INITIALISATION_ROWS,
    *EXECUTION_ROWS,
    *EXACTNESS_ROWS,
)


def report(reading: Reading) -> Report:
    """Return the three comparisons."""
    return Report(
        title="Beyond the paper",
        parts=(
            Markdown("## Initialisation"),
            _initialisation(reading),
            _table("The runs", INITIALISATION_ROWS, reading, ("10,000 images to learn from, 2,000 held out.",)),
            _table(
                "The networks of Table 1 with either initialisation, all 12,000 images",
                FULL_INITIALISATION_ROWS,
                reading,
            ),
            Markdown("## Exact down-sampling and head"),
            _equivariance(reading),
            _table("Accuracy, original CIFAR-10 images", EXACTNESS_ROWS, reading),
            Markdown("## Executions"),
            _table(
                "The same network trained in each execution: outputs agree to rounding, so errors should agree within "
                "the noise of seeds",
                EXECUTION_ROWS,
                reading,
            ),
        ),
    )


def _table(title: str, rows: Sequence[Row], reading: Reading, notes: tuple[str, ...] = ()) -> Table:
    return compare(title, rows, SEEDS, reading, notes).table


def _initialisation(reading: Reading) -> Table:
    lines: list[tuple[str, ...]] = []
    for row in INITIALISATION_ROWS:
        found = titled(row.title, reading.of_row(row.cell))
        for title, runs in found.items():
            curves = [record["measures"]["convergence"]["validation_error"] for record in runs.finished]
            needed = [epochs_to(GOAL, curve) for curve in curves]
            reached = [epochs for epochs in needed if epochs is not None]
            epochs = ", ".join("never" if epochs is None else str(epochs) for epochs in needed)
            mean = f"{statistics.fmean(reached):.1f}" if len(reached) == len(needed) else "-"
            lines.append((title, seeds(runs), epochs, mean, error(runs)))
        if not found:
            state = DIVERGED if reading.of_row(row.cell) else NOT_RUN
            lines.append((row.title, state, state, "-", state))
    return Table(
        title=f"Epochs until the error on the 2,000 held-out images is {GOAL:g} % or less",
        columns=("network", "seeds", "epochs, by seed", "mean", "final test error %"),
        rows=tuple(lines),
    )


def epochs_to(goal: float, errors: Sequence[float]) -> int | None:
    """Return the first epoch, counted from 1, whose error is at most the goal; None where there is none."""
    return next((epoch for epoch, error in enumerate(errors, 1) if error <= goal), None)


def _equivariance(reading: Reading) -> Table:
    lines: list[tuple[str, ...]] = []
    for row in EQUIVARIANCE_ROWS:
        found = [record["measures"]["equivariance"]["error"] for record in reading.of_row(row.cell)]
        values = f"{min(found):.1e} to {max(found):.1e}" if found else NOT_RUN
        lines.append((row.title, values, str(len(found))))
    return Table(
        title="gc-p4m-ResNet44 on 32 x 32: largest relative change of the output when the picture is moved",
        columns=("network", "smallest to largest over seeds", "seeds"),
        rows=tuple(lines),
        notes=(
            "Untrained networks in float64, two pictures of noise, all elements of p4m: nothing but rounding is 1e-13.",
        ),
    )


EXPERIMENT = Experiment(name="beyond", rows=ROWS, seeds=SEEDS, report=report)
