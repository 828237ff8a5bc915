"""`sepgconv evaluate`: the metrics of a finished run on a data set."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from sepgconv._numbers import count, error_percent
from sepgconv._terminal import show
from sepgconv.cli import options
from sepgconv.cli.csv_file import write_csv
from sepgconv.cli.data_of_runs import load_images_to_judge
from sepgconv.cli.output import print_table
from sepgconv.cli.runs import read_run

if TYPE_CHECKING:
    from sepgconv.data import LabelledImages, Split
    from sepgconv.tasks import Confusion, Judgement, Run, Task

LISTED, CROSSED = 20, 12  # most classes with a row each, and with a cell for each pair
_WORST = 10  # classes and mistakes that are shown of more


def evaluate(
    run: options.RunFolder,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="A data set by name, or a path; a folder that is not divided into parts is taken whole. "
            "Default: the run's own.",
        ),
    ] = None,
    data_dir: options.DataDir = None,
    part: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(help="Which images. Default: test, or all where they are not divided."),
    ] = None,
    csv_to: Annotated[
        Path | None, typer.Option("--csv", metavar="FILE", help="Write the confusion matrix to this file, as CSV.")
    ] = None,
    png_to: Annotated[
        Path | None, typer.Option("--png", metavar="FILE", help="Draw the confusion matrix into this file.")
    ] = None,
    json_to: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all figures to this file, as JSON.")
    ] = None,
    answers_to: Annotated[
        Path | None,
        typer.Option("--answers", metavar="FILE", help="Write path, label and answer of every image to this CSV file."),
    ] = None,
    checkpoint: options.Checkpoint = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Images at once. Default: 256.")] = None,
    device: options.Device = "cpu",
) -> None:
    """Print how well a run does its task on a data set, and how many predictions change when the images are rotated.

    For classification also how well each class is known, and which classes are taken for which: precision is the share
    of its answers that are right, recall the share of its images that are found, F1 their harmonic mean.
    """
    from sepgconv.tasks import judge
    from sepgconv.tasks.evaluation import EVALUATION_BATCH

    loaded = read_run(run, checkpoint)
    found, split = load_images_to_judge(run, loaded, data, data_dir, part)
    task = loaded.task
    judgement = judge(loaded, split, batch_size=batch_size or EVALUATION_BATCH, device=device)
    confusion = judgement.confusion
    if confusion is None and (option := "--csv" if csv_to else "--png" if png_to else None):
        raise ValueError(f"the task {task.name!r} has no confusion matrix; leave out {option}")
    which = "all images" if found.part == "all" else f"{found.part} part"
    findings = task.findings(loaded.model.cpu(), split.images)
    rows = [
        ("images", f"{count(len(split))} ({which} of {found.name})"),
        *(
            (metric.name, metric.text(judgement.metrics[metric.name]))
            for metric in (*task.metrics, *task.further_metrics)
        ),
        *findings.items(),
    ]
    print_table(f"{loaded.record.model} from {run}", ("", "value"), rows, left=2)
    if confusion is not None:
        _print_classes(confusion)
        _print_confusion(confusion)
    elif judgement.of_classes:
        _print_figures_of_classes(judgement, task)
    if csv_to is not None and confusion is not None:
        write_csv(csv_to, ("true class", *confusion.classes), _matrix(confusion))
    if png_to is not None and confusion is not None:
        from sepgconv.cli.confusion_plot import draw_confusion

        draw_confusion(confusion, png_to, title=f"{loaded.record.model}: {which} of {found.name}")
    if answers_to is not None:
        _write_answers(answers_to, loaded, found, split, judgement)
    if json_to is not None:
        about = {"run": str(run), "epochs": loaded.record.epochs, "data": found.name, "part": found.part}
        _write_json(json_to, {**about, "images": len(split)}, judgement)
    for path in (csv_to, png_to, answers_to, json_to):
        if path is not None:
            show(f"Written: {path}")


def _print_classes(confusion: "Confusion") -> None:
    figures = [row for row in confusion.by_class if row.images or row.answers]
    title = "Classes"
    if len(figures) > LISTED:
        figures = sorted(figures, key=lambda row: row.f1 or 0.0)[:_WORST]
        title = f"The {_WORST} of {count(len(confusion.by_class))} classes that are known worst (--json has all)"
    rows = [
        (row.name, count(row.images), *(error_percent(value) for value in (row.precision, row.recall, row.f1)))
        for row in figures
    ]
    print_table(title, ("class", "images", "precision", "recall", "F1"), rows)


def _print_figures_of_classes(judgement: "Judgement", task: "Task") -> None:
    metrics = {metric.name: metric for metric in task.metrics}
    names = list(next(iter(judgement.of_classes.values())))
    rows = [
        (name, *(metrics[kind].text(found[name]) for kind, found in judgement.of_classes.items())) for name in names
    ]
    print_table("Classes", ("class", *judgement.of_classes), rows)


def _print_confusion(confusion: "Confusion") -> None:
    if len(confusion.classes) <= CROSSED:
        rows = [(str(name), *(count(int(cell)) for cell in cells)) for name, *cells in _matrix(confusion)]
        print_table("Confusion matrix", ("true class, by answer", *confusion.classes), rows)
    elif mistakes := confusion.mistakes():
        rows = [(true, answer, count(number)) for true, answer, number in mistakes[:_WORST]]
        print_table("The most frequent mistakes (--csv has all)", ("true class", "answer", "images"), rows, left=2)


def _matrix(confusion: "Confusion") -> list[tuple[str | int, ...]]:
    return [(name, *row) for name, row in zip(confusion.classes, confusion.matrix.tolist(), strict=True)]


def _write_answers(path: Path, run: "Run", found: "LabelledImages", split: "Split", judgement: "Judgement") -> None:
    names = [origin.path for origin in found.origins] or list(map(str, range(len(split))))
    given: Any = split.labels[:] if split.labels.ndim <= 2 else None  # a mask is no text
    labels = [None] * len(split) if given is None else given.tolist()
    rows = [
        (name, _label(label, run.classes), *answer.values())
        for name, label, answer in zip(names, labels, judgement.answers, strict=True)
    ]
    write_csv(path, ("path", "label", *judgement.answers[0]), rows)


def _label(label: Any, classes: Sequence[str]) -> str:
    if isinstance(label, list):
        return " ".join(map(str, label))
    return "" if label is None else classes[label] if isinstance(label, int) and classes else str(label)


def _write_json(path: Path, about: dict[str, Any], judgement: "Judgement") -> None:
    from sepgconv._files import write_atomically

    metrics = {name: None if math.isnan(value) else value for name, value in judgement.metrics.items()}
    values: dict[str, Any] = {**about, "metrics": metrics}
    if judgement.of_classes:
        values["of_classes"] = {name: dict(found) for name, found in judgement.of_classes.items()}
    if (confusion := judgement.confusion) is not None:
        values["classes"] = [
            {"name": row.name, "images": row.images, "answers": row.answers}
            | {"precision": row.precision, "recall": row.recall, "f1": row.f1}
            for row in confusion.by_class
        ]
        values["confusion"] = confusion.matrix.tolist()
    write_atomically(path, f"{json.dumps(values, indent=2, allow_nan=False)}\n".encode())
