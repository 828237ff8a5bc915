"""`sepgconv evaluate`: the metrics of a finished run on a data set."""

from typing import Annotated, Literal

import typer

from sepgconv._numbers import count
from sepgconv.cli import options
from sepgconv.cli.data_of_runs import load_images_to_judge
from sepgconv.cli.output import print_table


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
) -> None:
    """Print how well a run does its task on a data set, and how many predictions change when the images are rotated."""
    from sepgconv.tasks import load_run, measure

    loaded = load_run(run)
    found, split = load_images_to_judge(run, loaded, data, data_dir, part)
    which = "all images" if found.part == "all" else f"{found.part} part"
    task, values = loaded.task, measure(loaded, split)
    rows = [
        ("images", f"{count(len(split))} ({which} of {found.name})"),
        *((metric.name, metric.text(values[metric.name])) for metric in (*task.metrics, *task.further_metrics)),
        *task.findings(loaded.model, split.images).items(),
    ]
    print_table(f"{loaded.record.model} from {run}", ("", "value"), rows, left=2)
