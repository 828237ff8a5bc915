"""The table that most experiments report: our rows beside the paper's values."""

from collections.abc import Sequence
from dataclasses import dataclass

from experiments import statistics
from experiments.experiment import Experiment, Row
from experiments.record import DIVERGED, Record
from experiments.report import Table
from experiments.statistics import SeedRuns, origin, runs_by_data, whole
from experiments.store import Reading
from sepgconv._numbers import plural

COLUMNS = (
    "network", "data", "seeds", "parameters", "MACs, nominal / executed (M)", "test error %", "paper %",
    "seconds a run (CPU)",
)  # fmt: skip
NOT_RUN = "not run"
# On these, a number of ours may stand beside the paper's: the same images, or the same task on images made alike.
COMPARABLE_DATA = ("rotmnist", "rotmnist-official", "rotmnist-generated", "cifar10")


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A table of rows, and the records that it is made from."""

    table: Table
    records: tuple[Record, ...]


def compare(
    title: str, rows: Sequence[Row], seeds: Sequence[int], reading: Reading, notes: Sequence[str] = ()
) -> Comparison:
    """Return the table of an experiment: one line for each row and data set, "not run" where there is no record.

    Args:
        title: of the table.
        rows: in order.
        seeds: with which each should be run that has none of its own; records with others count too, and are shown.
        reading: the records.
        notes: sentences below the table, beside those on where the records come from.
    """
    lines: list[tuple[str, ...]] = []
    used: list[Record] = []
    measured: list[Record] = []
    for row in rows:
        found = runs_by_data(reading.of_row(row.cell))
        if not found:
            lines.append((row.title, row.cell.data, NOT_RUN, "-", "-", NOT_RUN, _published(row, row.cell.data), "-"))
        for runs in found:
            lines.append(_line(row, runs))
            used.extend(runs.records)
            measured.extend(runs.records if row.cell.measures else ())
    everything = (
        *_counts(rows, seeds, reading),
        *origin(used, measured),
        *notes,
        *_problems(used),
        *kept_apart(reading),
    )
    return Comparison(
        table=Table(title=title, columns=COLUMNS, rows=tuple(lines), left=3, notes=everything), records=tuple(used)
    )


def _counts(rows: Sequence[Row], seeds: Sequence[int], reading: Reading) -> tuple[str, ...]:
    """Return sentences on how many cells have a record; where there are several kinds of images, for each."""
    wanted = sum(len(row.cells(seeds)) for row in rows)
    found: dict[str, list[Record]] = {}
    for row in rows:
        ours = {cell.seed for cell in row.cells(seeds)}
        for record in reading.of_row(row.cell):
            if record["seed"] in ours:
                found.setdefault(record["data"], []).append(record)
    sentences: list[str] = []
    for data, records in sorted(found.items()):
        lost = sum(record["status"] == DIVERGED for record in records)
        which = f"{data}: " if len(found) > 1 else ""
        sentences.append(f"{which}{len(records)} of {wanted} cells{f', {lost} of them diverged' if lost else ''}.")
    return tuple(sentences) or (f"0 of {wanted} cells.",)


def kept_apart(reading: Reading) -> tuple[str, ...]:
    """Return sentences on which records and lines do not count, and why."""
    notes: list[str] = []
    if reading.apart:
        versions = sorted({str(record["versions"].get("sepgconv")) for record in reading.apart})
        notes.append(
            f"Kept apart, in no mean: {plural(len(reading.apart), 'record')} of version {', '.join(versions)}."
        )
    if reading.damaged:
        number = len(reading.damaged)
        notes.append(f"{plural(number, 'damaged line')} {'was' if number == 1 else 'were'} left out.")
    return tuple(notes)


def other_records(experiment: Experiment, reading: Reading) -> Table | None:
    """Return a table of the records in an experiment's file that are of none of its rows, such as trials; or None."""
    known = {key for row in (*experiment.rows, *experiment.substitutes) for key in row.cell.equivalent_keys}
    found = [record for record in reading.records.values() if record["row"] not in known]
    if not found:
        return None
    lines = [
        (
            str(record["model"]),
            str(record["width"]),
            str(record["data"]),
            str((record.get("images") or {}).get("train", "-")),
            str(record["epochs"]),
            str(record["cell"].get("initialisation", "-")),
            str(record["seed"]),
            record["status"] if record["test_error"] is None else f"{record['test_error']:.2f}",
        )
        for record in found
    ]
    columns = ("network", "width", "data", "images", "epochs", "initialisation", "seed", "test error %")
    return Table(title="Other configs and trials, in no mean", columns=columns, rows=tuple(sorted(lines)), left=3)


def _line(row: Row, runs: SeedRuns) -> tuple[str, ...]:
    return (
        row.title,
        runs.data,
        statistics.seeds(runs),
        whole(runs.common_value("parameters")),
        statistics.macs(runs),
        statistics.error(runs),
        _published(row, runs.data),
        statistics.seconds(runs),
    )


def _published(row: Row, data: str) -> str:
    if not row.published:
        return "-"
    return row.published if data in COMPARABLE_DATA else "other images"


def _problems(records: Sequence[Record]) -> list[str]:
    return [
        f"Diverged: {record['model']} w {record['width']}, seed {record['seed']}: {record.get('problem', '')}"
        for record in records
        if record["status"] == "diverged"
    ]
