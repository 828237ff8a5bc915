"""`sepgconv predict`: what a trained network predicts for images."""

import contextlib
import json
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from sepgconv._numbers import count, plural
from sepgconv._terminal import show, show_data
from sepgconv.cli import options
from sepgconv.cli.csv_file import DECIMALS, RowFile, cell
from sepgconv.cli.image_arguments import named_images
from sepgconv.cli.output import print_table
from sepgconv.cli.progress import progress
from sepgconv.cli.runs import read_run

if TYPE_CHECKING:
    from torch import Tensor

    from sepgconv.tasks import Prediction, Task

BLOCK = 500  # rows of a printed table; then it begins anew, so that rows need not be kept
_ALIKE = 0.01  # two probabilities that one network may give for one image, in batches of other sizes

_Row = Mapping[str, str | float]


def predict(
    run: options.RunFolder,
    images: options.Images = None,
    names_from: options.NamesFrom = None,
    csv_to: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the answers to this file instead of a table.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image instead of a table.")
    ] = False,
    top_k: Annotated[int, typer.Option("--top-k", min=1, help="How many classes to name, the best first.")] = 1,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Give the probability of every class, too.")
    ] = False,
    masks_to: Annotated[
        Path | None,
        typer.Option(
            "--masks",
            metavar="FOLDER",
            help="Write the images that a task answers with, as masks, as PNG: in the size of the run's images, and of "
            "images of another size the part that the network saw.",
        ),
    ] = None,
    checkpoint: options.Checkpoint = None,
    batch_size: options.FileBatch = None,
    device: options.Device = "cpu",
    resume: Annotated[
        bool, typer.Option("--resume", help="With --csv: go on after the images that are in the file.")
    ] = False,
) -> None:
    """Print what a run predicts for images: for classification the class, and its probability.

    IMAGES are files, folders with all folders below them, or patterns in quotes, as 'scans/**/*.png'. They are read
    when their turn comes: memory does not grow with their number.

    Exit status 0: every image has an answer. 1: some were left out, each named on standard error with the reason, or
    nothing could be done, for the reason given there. 2: a wrong option. 130: stopped by Ctrl-C.
    """
    from sepgconv.tasks import predict as predictions
    from sepgconv.tasks.prediction import PREDICTION_BATCH

    if resume and csv_to is None:
        raise ValueError("--resume goes on with a file of answers; give it with --csv FILE")
    if as_json and csv_to is not None:
        raise ValueError("--json prints the answers and --csv writes them; leave out one of the two")
    loaded = read_run(run, checkpoint)
    found = named_images(images, names_from)
    size = batch_size or PREDICTION_BATCH

    draw_to = None if masks_to is None else _writer_of_masks(loaded.task, found.paths, masks_to)

    def answers(
        paths: Iterable[Path], draw_to: "Callable[[Sequence[Path], Tensor], object] | None" = None
    ) -> "Iterator[Prediction]":
        return predictions(
            loaded,
            paths,
            top=top_k,
            probabilities=probabilities,
            batch_size=size,
            device=device,
            draw_to=draw_to,
        )

    paths = found.paths
    if csv_to is not None:
        file = RowFile(csv_to, resume=resume)
        _check_same_answers(file, answers)
        there = {row[0] for row in file.rows}
        paths = [path for path in paths if str(path) not in there]
        writer: _Writer = _CsvRows(file)
    else:
        writer = _JsonLines() if as_json else _Tables(f"{loaded.record.model} from {run}")
    left_out = len(found.left_out)
    with writer.opened(), progress(len(paths), "image") as bar:
        stream = answers(paths, draw_to)
        while batch := list(islice(stream, size)):
            for prediction in batch:
                if prediction.answer is None:
                    left_out += 1
                    bar.say(f"Left out: {prediction.path}: {prediction.left_out}")
            with bar.hidden():
                writer.add([_row(prediction) for prediction in batch if prediction.answer is not None])
            bar.advance(len(batch))
    if left_out:
        total = plural(len(found.paths) + len(found.left_out), "image")
        raise ValueError(f"{count(left_out)} of {total} left out, for the reasons above")


def _writer_of_masks(task: "Task", paths: Sequence[Path], folder: Path) -> "Callable[[Sequence[Path], Tensor], object]":
    """Return a function that writes what a task draws, under the names of the images without their common folder.

    Raises:
        ValueError: the task draws nothing.
    """
    from sepgconv.tasks import Task, write_images

    if type(task).draw is Task.draw:
        raise ValueError(f"the task {task.name!r} answers with no images; leave out --masks")
    common = Path(os.path.commonpath([path.absolute().parent for path in paths])) if paths else Path()
    names = {path: path.absolute().relative_to(common) for path in paths}
    stems = Counter(name.with_suffix("") for name in names.values())

    def write(batch: Sequence[Path], outputs: "Tensor") -> None:
        # Images that differ in the ending alone keep it.
        short = [names[path].with_suffix("") for path in batch]
        wanted = [str(name if stems[name] == 1 else names[path]) for path, name in zip(batch, short, strict=True)]
        write_images(task, outputs, wanted, folder)

    return write


def _row(prediction: "Prediction") -> _Row:
    rounded = {
        name: round(value, DECIMALS) if isinstance(value, float) else value
        for name, value in (prediction.answer or {}).items()
    }
    return {"image": str(prediction.path), **rounded}


class _Writer(Protocol):
    def opened(self) -> contextlib.AbstractContextManager[None]: ...

    def add(self, rows: Sequence[_Row]) -> None: ...


class _JsonLines:
    def opened(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    def add(self, rows: Sequence[_Row]) -> None:
        for row in rows:
            show_data(json.dumps(row))


class _Tables:
    def __init__(self, title: str) -> None:
        self._title = title
        self._rows: list[_Row] = []

    @contextlib.contextmanager
    def opened(self) -> Generator[None, None, None]:
        yield
        self._print()

    def add(self, rows: Sequence[_Row]) -> None:
        self._rows += rows
        if len(self._rows) >= BLOCK:
            self._print()

    def _print(self) -> None:
        if self._rows:
            texts = len(list(takewhile(lambda value: isinstance(value, str), self._rows[0].values())))
            cells = [tuple(map(_printed, row.values())) for row in self._rows]
            print_table(self._title, tuple(self._rows[0]), cells, left=texts)
            self._rows.clear()


class _CsvRows:
    def __init__(self, file: RowFile) -> None:
        self._file = file

    @contextlib.contextmanager
    def opened(self) -> Generator[None, None, None]:
        try:
            with self._file.opened():
                yield
        except KeyboardInterrupt:
            answered = plural(len(self._file.rows) + self._file.added, "answer")
            raise KeyboardInterrupt(f"{self._file.part} has {answered}; go on with --resume") from None
        if self._file.columns:
            show(f"Written: {self._file.path}: {plural(len(self._file.rows) + self._file.added, 'answer')}")

    def add(self, rows: Sequence[_Row]) -> None:
        self._file.add(rows)


def _check_same_answers(file: RowFile, answers: "Callable[[list[Path]], Iterator[Prediction]]") -> None:
    """Raise if the answers in a file are not those of this run, by the first image in it that can be read."""
    for row in file.rows:
        (prediction,) = answers([Path(row[0])])
        if prediction.answer is None:
            continue
        now = _row(prediction)
        file.check_columns(now)
        if not all(_alike(was, is_now) for was, is_now in zip(row, now.values(), strict=True)):
            raise ValueError(
                f"{file.path} has other answers than this run gives: for {row[0]} it has {', '.join(row[1:])}, the run "
                f"gives {', '.join(map(cell, list(now.values())[1:]))}; leave out --resume to begin it anew"
            )
        return


def _alike(was: str, is_now: str | float) -> bool:
    if isinstance(is_now, str):
        return was == is_now
    try:
        return abs(float(was) - is_now) < _ALIKE
    except ValueError:
        return False


def _printed(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"
