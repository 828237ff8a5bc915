"""Which cells are missing, and running them: each once, in parallel, with one progress bar."""

import dataclasses
import fnmatch
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.text import Text

from experiments.cells import SEPARATED, Cell
from experiments.estimate import estimate
from experiments.experiment import Experiment
from experiments.record import Record
from experiments.separated import group_cell
from experiments.store import Reading, read_records, read_table
from experiments.work import Job, Outcome, run_folder
from sepgconv._terminal import standard_error
from sepgconv._text import visible
from sepgconv.data.registry import check_name
from sepgconv.tasks import read_history
from sepgconv.tasks.folder import RunFolder

TICK = 1.0  # seconds between looks at the running cells
FAMILIES = ("rotmnist", "cifar10")  # how the names of data sets begin that can stand for one another


class NothingChosenError(ValueError):
    """No cell of an experiment is what was asked for."""


@runtime_checkable
class Executor(Protocol):
    """Runs jobs somewhere."""

    def submit(self, job: Job) -> "Future[Outcome]":
        """Queue a job."""
        ...


@dataclass(frozen=True)
class Planned:
    """A cell of an experiment, and how it stands.

    Attributes:
        cell: the cell.
        record: its record; None where it is missing.
        seconds: what it took, or may take.
    """

    cell: Cell
    record: Record | None
    seconds: float


def choose(
    experiment: Experiment,
    *,
    seeds: tuple[int, ...] | None = None,
    only: Sequence[str] = (),
    images: int | None = None,
    epochs: int | None = None,
    data: str | None = None,
) -> tuple[Cell, ...]:
    """Return the cells of an experiment that are asked for.

    Args:
        experiment: the table or figure.
        seeds: instead of its own.
        only: patterns; a cell stays if its label contains one or matches one with * and ?. Default: all stay.
        images: train on so many images only: a trial, whose records are kept apart from the real ones.
        epochs: train so many epochs only; the same.
        data: another data set, for the cells on one of its kind: one of digits does not replace CIFAR-10. A data set of
            the user's own replaces any.

    Raises:
        NothingChosenError: nothing is left.
        ValueError: an unknown data set; a trial has no sense, as one of 0 epochs.
    """
    if data is not None:
        check_name(data)
    if substitutes := tuple(row for row in experiment.substitutes if row.cell.data == data):
        experiment = dataclasses.replace(experiment, rows=substitutes)
    fitting = [cell for cell in experiment.cells(seeds) if data is None or _can_be_on(data, cell)]
    if not fitting:
        usual = ", ".join(sorted({row.cell.data for row in experiment.rows}))
        raise NothingChosenError(f"no cell of {experiment.name} can be run on {data}; its data are {usual}")
    altered = [_altered(cell, images, epochs, data) for cell in fitting]
    cells = list({cell.fingerprint: cell for cell in altered}.values())  # two may have differed in their images only
    chosen = tuple(cell for cell in cells if not only or any(_matches(cell.label, pattern) for pattern in only))
    if not chosen:
        labels = ", ".join(cell.label for cell in cells[: len(experiment.rows)])
        raise NothingChosenError(
            f"no cell of {experiment.name} matches {', '.join(only)}; the labels are {labels} and so on"
        )
    return chosen


def plan(cells: Sequence[Cell], table: str, results: Path) -> list[Planned]:
    """Return how each cell stands; a record in another table's file counts, too. Nothing is written."""
    reading = read_table(results, table)
    everything = tuple(reading.records.values())
    found = [(cell, reading.find(cell)) for cell in cells]
    trained = {cell.fingerprint for cell, record in found if record is None}
    planned: list[Planned] = []
    for cell, record in found:
        seconds = record["seconds"] if record else estimate(cell, everything)
        if (
            record is None
            and cell.initialisation == SEPARATED
            and (base := group_cell(cell)).fingerprint not in trained
        ):
            # The first to need the network that is separated trains it, too, unless its run is still there.
            trained.add(base.fingerprint)
            if not RunFolder(run_folder(base, results)).record.is_file():
                seconds += estimate(base, everything)
        planned.append(Planned(cell, record, seconds))
    return planned


def run(
    jobs: Sequence[Job], seconds: Sequence[float], executor: Executor, *, progress: bool = True
) -> dict[Job, Outcome]:
    """Run jobs and return how each ended; one that fails does not stop the others.

    Where a data set is missing, the queued jobs on it are not begun.

    Args:
        jobs: in the order they should begin.
        seconds: what each may take; the bar is drawn to that scale.
        executor: where they run.
        progress: draw the bar, on standard error.
    """
    shares = dict(zip(jobs, seconds, strict=True))
    bar = Progress(
        TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:.0f} %"),
        TimeElapsedColumn(), TimeRemainingColumn(), console=Console(file=standard_error()), disable=not progress,
    )  # fmt: skip
    outcomes: dict[Job, Outcome] = {}
    with bar:
        task = bar.add_task("", total=max(sum(shares.values()), 1e-9))
        futures = {executor.submit(job): job for job in jobs}
        waiting = set(futures)
        while waiting:
            ended, waiting = wait(waiting, timeout=TICK, return_when=FIRST_COMPLETED)
            for future in ended:
                job = futures[future]
                outcomes[job] = _outcome(future)
                if outcomes[job].ending == "no data":
                    for other in _cancelled(job.cell.data, futures, waiting):
                        waiting.remove(other)
                        outcomes[futures[other]] = Outcome(ending="no data")
                if progress:
                    bar.console.print(Text(visible(_sentence(job, outcomes[job]))))
            running = {job: _share_done(job) for job in shares if job not in outcomes}
            begun = [job.cell.label for job, share in running.items() if share]
            done = sum(share for job, share in shares.items() if job in outcomes)
            done += sum(shares[job] * share for job, share in running.items())
            bar.update(
                task,
                completed=done,
                description=visible(f"{len(outcomes)} of {len(jobs)} cells  {', '.join(begun[:2])}"),
            )
    return outcomes


def _can_be_on(data: str, cell: Cell) -> bool:
    of_data, of_cell = (next((f for f in FAMILIES if name.startswith(f)), None) for name in (data, cell.data))
    return of_data in (None, of_cell) or cell.task == "equivariance"


def _altered(cell: Cell, images: int | None, epochs: int | None, data: str | None) -> Cell:
    if cell.task == "equivariance":
        return cell
    overrides = {**cell.overrides, **({} if epochs is None else {"epochs": epochs})}
    return dataclasses.replace(cell, images=images or cell.images, overrides=overrides, data=data or cell.data)


def _matches(label: str, pattern: str) -> bool:
    return pattern in label or fnmatch.fnmatchcase(label, pattern)


def _outcome(future: "Future[Outcome]") -> Outcome:
    try:
        return future.result()
    except (Exception, SystemExit) as error:  # noqa: BLE001 (its process or machine is lost; the others go on)
        return Outcome(
            ending="failed", problem=f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        )


def _sentence(job: Job, outcome: Outcome) -> str:
    error = "" if outcome.error is None else f", test error {outcome.error:.2f} %"
    return f"{job.cell.label}: {outcome.ending}{error}{outcome.problem and f': {outcome.problem}'}"


def _cancelled(
    data: str, futures: "dict[Future[Outcome], Job]", waiting: "set[Future[Outcome]]"
) -> "list[Future[Outcome]]":
    """Cancel the queued jobs on a data set and return those that had not begun."""
    return [future for future in waiting if futures[future].cell.data == data and future.cancel()]


def _share_done(job: Job) -> float:
    """Return which part of a cell's epochs is complete, also from earlier attempts."""
    if job.cell.task == "equivariance":
        return 0.0
    try:
        history = read_history(RunFolder(job.folder).history)
        return history[-1]["epoch"] / job.cell.config.epochs if history else 0.0
    except (OSError, ValueError, KeyError):  # the bar is no reason to stop; the cell itself will say what is wrong
        return 0.0


def missing(planned: Sequence[Planned]) -> list[Planned]:
    """Return the cells without a record."""
    return [entry for entry in planned if entry.record is None]


def damage(results: Path, tables: Sequence[str]) -> list[str]:
    """Return a sentence for each damaged line in the tables' files, and one if damage to some could not be noticed."""
    readings: list[Reading] = [read_records(results / f"{table}.jsonl") for table in tables]
    found = [sentence for reading in readings for sentence in reading.damaged]
    if unsealed := sum(reading.unsealed for reading in readings):
        found.append(
            f"{unsealed} record{'s' if unsealed > 1 else ''} in {results} of an older version, which kept no digests: "
            "not all damage to them can be noticed"
        )
    return found
