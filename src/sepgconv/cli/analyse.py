"""`sepgconv analyse`: how redundant the filters of a trained network are, as a page and a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepgconv._terminal import show
from sepgconv.cli import options
from sepgconv.cli.data_of_runs import load_data_of
from sepgconv.cli.networks import SEPARATION, FoundNetwork, RunOrModel, read_network
from sepgconv.cli.output import draw_table

if TYPE_CHECKING:
    from torch import Tensor

    from sepgconv.analysis import RedundancyReport

INITIAL, NONE = "initial", "none"


def analyse(
    run: RunOrModel,
    out: Annotated[Path, typer.Option(help="The page: one HTML file, written over an earlier one.")] = Path(
        "report.html"
    ),
    before: Annotated[
        str | None,
        typer.Option(
            help="What to compare with: a run, a saved network, 'initial' (the weights the run began with) or 'none'. "
            "Default: initial, where RUN is a run that began with weights drawn at random."
        ),
    ] = None,
    as_json: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write all numbers to this file, too.")
    ] = None,
    images: Annotated[
        int,
        typer.Option(
            "--images",
            "--pictures",
            min=0,
            help="Measure feature maps on so many test images of the run's data set, too.",
        ),
    ] = 0,
    data_dir: options.DataDir = None,
) -> None:
    """Look at the filters of a trained network: how much repeats along the poses, and what separating would save.

    Prints the ranked table; the page shows images of the filters, distributions, curves and every layer.
    """
    import json

    from sepgconv._files import write_atomically
    from sepgconv.analysis import redundancy, render_redundancy
    from sepgconv.analysis.redundancy.table import ranked_table

    _check_output_files(out, as_json)
    network = read_network(run)
    inputs = _images(network, images, data_dir, run) if images else None
    report = redundancy(network.model, input_shape=network.image_shape, inputs=inputs)
    page = render_redundancy(report, before=_before(before, network, run))
    # Everything is made before anything is written.
    files = {out: page.encode()}
    if as_json is not None:
        files[as_json] = (json.dumps(report.to_dict(), allow_nan=False) + "\n").encode()
    for path in files:  # a folder that cannot be made raises before the first file is written
        path.parent.mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        write_atomically(path, content)
    show(report.summary)
    if (table := ranked_table(report)) is not None:
        draw_table(table)
    for path in files:
        show(f"Written: {path}")


def _check_output_files(out: Path, as_json: Path | None) -> None:
    for path, option in ((out, "--out"), (as_json, "--json")):
        if path is not None and path.is_dir():
            raise IsADirectoryError(f"{option} must be a file, {path} is a folder; give a name in it, as {path}/report")
    if as_json is not None and out.absolute() == as_json.absolute():
        raise ValueError(f"--out and --json are both {out}; give them two names")


def _before(wanted: str | None, network: FoundNetwork, run: Path) -> "RedundancyReport | None":
    from sepgconv.analysis import redundancy
    from sepgconv.tasks import network_before_training
    from sepgconv.tasks.folder import RunFolder

    drawn = network.record is not None and not ((run / SEPARATION).is_file() or RunFolder(run).prepared)
    if wanted == NONE or (wanted is None and not drawn):
        return None
    if wanted not in (None, INITIAL):
        return redundancy(read_network(Path(wanted)).model)
    if network.record is None:
        raise ValueError(f"--before initial needs a run; {run} is a saved network, which does not say how it began")
    if not drawn:
        raise ValueError(f"{run} began with the weights of another run; compare with that one, --before RUN")
    return redundancy(network_before_training(network.record))


def _images(network: FoundNetwork, count: int, data_dir: Path | None, run: Path) -> "Tensor":
    if network.record is None:
        raise ValueError(f"--images needs a run, which says its data set; {run} is a saved network")
    return load_data_of(run, network.record, data_dir).test.images[:count]
