"""`sepgconv evaluate`: the error of a finished run on a data set."""

from typing import Annotated, Literal

import typer

from sepgconv._numbers import count, error_percent
from sepgconv.cli import options
from sepgconv.cli.data_of_runs import load_images_to_judge
from sepgconv.cli.output import print_table


def evaluate(
    run: options.RunFolder,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            help="A data set by name, or a path; a folder that is not divided into parts is judged whole. "
            "Default: the run's own.",
        ),
    ] = None,
    data_dir: options.DataDir = None,
    part: Annotated[
        Literal["train", "validation", "test"] | None,
        typer.Option(help="Which images. Default: test, or all where they are not divided."),
    ] = None,
) -> None:
    """Print the error of a run on a data set, and how its answers change when the images are turned."""
    from sepgconv.analysis import answer_changes
    from sepgconv.tasks import evaluate as error_of
    from sepgconv.tasks import load_run

    loaded = load_run(run)
    found, split = load_images_to_judge(run, loaded, data, data_dir, part)
    which = "all images" if found.part == "all" else f"{found.part} part"
    rows = [
        ("images", f"{count(len(split))} ({which} of {found.name})"),
        ("error", error_percent(error_of(loaded, split))),
        (
            "answers that change when turned by 90, 180 or 270 degrees",
            error_percent(answer_changes(loaded.model, split.images)),
        ),
    ]
    print_table(f"{loaded.record.model} from {run}", ("", "value"), rows, left=2)
