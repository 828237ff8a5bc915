"""`sepgconv evaluate`: the error of a finished run on a data set."""

from typing import Annotated, Literal

import typer

from sepgconv.cli import options
from sepgconv.cli.data_of_runs import load_data_of
from sepgconv.cli.output import count, percent, print_table


def evaluate(
    run: options.RunFolder,
    data: Annotated[
        str | None, typer.Option("--data", help="A data set by name, or a path. Default: the run's own.")
    ] = None,
    data_dir: options.DataDir = None,
    part: Annotated[Literal["train", "validation", "test"], typer.Option(help="Which pictures.")] = "test",
) -> None:
    """Print the error of a run on a data set, and how its answers change when the pictures are turned."""
    from sepgconv.analysis import answer_changes
    from sepgconv.training import evaluate as error_of
    from sepgconv.training import load_run

    loaded = load_run(run)
    dataset = load_data_of(loaded.record, data_dir, name=data)
    if dataset.classes != loaded.classes:
        raise ValueError(
            f"{dataset.name} has the classes {', '.join(dataset.classes)}; "
            f"the run in {run} knows {', '.join(loaded.classes)}"
        )
    split = {"train": dataset.train, "validation": dataset.validation, "test": dataset.test}[part]
    rows = [
        ("pictures", f"{count(len(split))} ({part} part of {dataset.name})"),
        ("error", percent(error_of(loaded, split))),
        (
            "answers that change when turned by 90, 180 or 270 degrees",
            percent(answer_changes(loaded.model, split.images)),
        ),
    ]
    print_table(f"{loaded.record.model} from {run}", ("", "value"), rows, left=2)
