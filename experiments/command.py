"""`python -m experiments`: run the paper's tables and figures, and render them from their records."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from sepgconv._terminal import say, show
from sepgconv.cli import options
from sepgconv.cli.application import add_command
from sepgconv.cli.output import print_table

if TYPE_CHECKING:
    from experiments import Cell, Experiment
    from experiments.executors.local import LocalExecutor
    from experiments.executors.ray import RayExecutor
    from experiments.runner import Planned

MEMORY_OF_A_WORKER = 2 * 2**30  # bytes: the images, a network's maps and torch itself


app = typer.Typer(
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def experiments(
    what: Annotated[
        str,
        typer.Argument(help="table1, table2, figure1 to 3, beyond, ranks, record, all; or render.", show_default=False),
    ],
    results: Annotated[Path, typer.Option(help="Folder of the records, <name>.jsonl.")] = Path("results"),
    data_dir: options.DataDir = None,
    seeds: Annotated[str | None, typer.Option(help="Instead of the table's own, as in 1,2 or 1-5.")] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(help="Only cells whose label contains this, or matches it with * and ?; may be given again."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List the cells and how long they may take; run none.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Cells at a time. Default: one for each core or GPU. A cluster at --address knows its own."
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Threads of each; their number changes the last digits. Default: the cores, divided; on Ray one.",
        ),
    ] = None,
    executor: Annotated[
        Literal["local", "ray"], typer.Option(help="Processes of this machine, or a Ray cluster.")
    ] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster. Default: one is started here.")] = None,
    gpus: Annotated[
        float, typer.Option(min=0, help="GPUs of each cell on Ray; a fraction lets several share one.")
    ] = 0.0,
    images: Annotated[
        int | None, typer.Option(min=1, help="A trial: train on so many images. Its records are kept apart.")
    ] = None,
    longest: Annotated[
        float | None, typer.Option(help="Leave out cells that may take more minutes than this, by the estimate.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="A trial: train so many epochs. Its records are kept apart.")
    ] = None,
    data: Annotated[str | None, typer.Option(help="Another data set, as rotmnist-official for table1.")] = None,
    docs: Annotated[Path, typer.Option(help="render: folder for pages and pictures.")] = Path("docs/results"),
    readme: Annotated[Path, typer.Option(help="render: the README that holds the table.")] = Path("README.md"),
) -> None:
    """Run what is missing of a table or figure of the paper and print it beside the paper's numbers.

    Each finished cell is a line of results/<name>.jsonl. Running again does only what is missing; a cell that was
    broken off goes on from its checkpoint (in results/.work). `render` makes the pages from the records.
    """
    from experiments import EXPERIMENTS, Job, choose, find_experiment, plan, run
    from experiments.render.files import render
    from experiments.runner import NothingChosenError, damage, missing
    from experiments.store import read_table

    if what == "render":
        if not results.is_dir():
            raise ValueError(
                f"{results} is no folder of records, so there is nothing to render; name it with --results"
            )
        _warn(damage(results, tuple(EXPERIMENTS)))
        for path in render(results, docs, readme if readme.exists() else None):
            show(path)
        return
    if address is not None and executor != "ray":
        raise ValueError(f"--address {address} is for --executor ray; add that, or leave the address out")
    if gpus and executor != "ray":
        raise ValueError(f"--gpus {gpus:g} is for --executor ray; other workers take a GPU each, as many as there are")
    experiments = list(EXPERIMENTS.values()) if what == "all" else [find_experiment(what)]
    numbers = None if seeds is None else parse_seeds(seeds)
    # All are chosen before the first is run, which may take hours.
    chosen: dict[str, tuple[Cell, ...]] = {}
    for experiment in experiments:
        try:
            chosen[experiment.name] = choose(
                experiment, seeds=numbers, only=only or (), images=images, epochs=epochs, data=data
            )
        except NothingChosenError:
            if what != "all":
                raise
    if not chosen:
        raise ValueError(f"no cell matches {', '.join(only or [str(data)])}; --dry-run lists them")
    _warn(damage(results, tuple(EXPERIMENTS)))  # of all: a lost record of another table may be run again here
    files = None if data_dir is None else data_dir.absolute()
    problems: list[str] = []
    for name, cells in chosen.items():
        experiment = EXPERIMENTS[name]
        planned = plan(cells, experiment.name, results)
        left = [p for p in missing(planned) if longest is None or p.seconds <= 60 * longest]
        # Few cells get no more threads each than many: the last digits of a training depend on how many it has.
        count = workers or _workers()
        # On Ray they are processors that a task asks for, of machines that need not be like this one.
        each = threads or (1 if executor == "ray" else max(1, _cores() // count))
        if dry_run:
            _print_plan(experiment, planned, left, min(count, max(1, len(left))))
            continue
        jobs = [
            Job(cell=p.cell, table=experiment.name, results=results.absolute(), data_dir=files, threads=each)
            for p in left
        ]
        if jobs:
            try:
                with _executor(executor, min(count, len(jobs)), each, address, gpus) as pool:
                    outcomes = run(jobs, [p.seconds for p in left], pool)
            except KeyboardInterrupt:
                raise KeyboardInterrupt(
                    f"The records in {results} are complete lines, the cells that ran have their checkpoints; the same "
                    "command goes on from there."
                ) from None
            known = read_table(results, experiment.name)  # another process may have finished some
            problems += [
                f"{job.cell.label}: {outcome.problem or outcome.ending}"
                for job, outcome in outcomes.items()
                if _bad(outcome.ending) and known.find(job.cell) is None
            ]
        _print_report(experiment, results)
    if problems:
        shown = "; ".join(_once(problems))
        number = "1 cell was" if len(problems) == 1 else f"{len(problems)} cells were"
        raise RuntimeError(f"{number} not run: {shown}")


def parse_seeds(text: str) -> tuple[int, ...]:
    """Return the seeds that "1,2", "1-5" or "1-3,7" name.

    Raises:
        ValueError: it is none of these.
    """
    found: list[int] = []
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"--seeds must be whole numbers, as in 1,2 or 1-5; got {text!r}")
        found.extend(range(int(first), int(last if dash else first) + 1))
    if not found:
        raise ValueError(f"--seeds names no seed: {text!r}")
    return tuple(dict.fromkeys(found))


def _executor(kind: str, workers: int, threads: int, address: str | None, gpus: float) -> "LocalExecutor | RayExecutor":
    if kind == "ray":
        from experiments.executors.ray import RayExecutor

        return RayExecutor(address=address, workers=workers, threads=threads, gpus=gpus)
    import torch

    from experiments.executors.local import LocalExecutor

    return LocalExecutor(workers, devices=torch.cuda.device_count())


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _workers() -> int:
    """Return how many cells to run at a time: one for each GPU, else for each core, as far as the memory goes."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.device_count()
    # One a core, each with one thread: two cells of gc-P4CNN, w 30, 600 images, took 129 s so and 159 s one after the
    # other with two threads (two cores, AMD EPYC).
    if not hasattr(os, "sysconf"):
        return _cores()
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(_cores(), memory // MEMORY_OF_A_WORKER))


def _print_plan(experiment: "Experiment", planned: "list[Planned]", to_run: "list[Planned]", workers: int) -> None:
    rows = [(p.cell.label, p.record["status"] if p.record else "missing", _duration(p.seconds)) for p in planned]
    left = [p.seconds for p in to_run]
    title = f"{experiment.name}: {sum(p.record is not None for p in planned)} of {len(planned)} cells"
    print_table(title, ("cell", "state", "time, or an estimate"), rows, left=2)
    if left:
        # No shorter than its longest cell, however many workers there are.
        total = max(sum(left) / workers, max(left))
        show(
            f"{len(left)} cells to run, {_duration(sum(left))} of work; "
            f"about {_duration(total)} with {workers} at a time"
        )


def _print_report(experiment: "Experiment", results: Path) -> None:
    from experiments import read_records
    from experiments.comparison import other_records
    from experiments.store import read_table

    reading = read_table(results, experiment.name)
    others = other_records(experiment, read_records(results / f"{experiment.name}.jsonl"))
    for table in (*experiment.report(reading).tables, *([others] if others else [])):
        print_table(table.title, table.columns, table.rows, left=table.left)
        for note in table.notes:
            show(f"- {note}")
        show("")


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


def _bad(ending: str) -> bool:
    return ending in ("failed", "no data", "elsewhere")


def _once(problems: Iterable[str]) -> list[str]:
    """Return the problems, those with the same words after the cell's label only once."""
    words = {problem.partition(": ")[2]: problem for problem in problems}
    return list(words.values())


def _warn(sentences: Iterable[str]) -> None:
    for sentence in sentences:
        say(f"Warning: {sentence}")


add_command(app, experiments)
