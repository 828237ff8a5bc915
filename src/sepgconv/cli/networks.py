"""Networks from disk, for commands that take a run or a saved network."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from torch import nn

    from sepgconv.training import RunRecord

RunOrModel = Annotated[
    Path,
    typer.Argument(
        help="The folder of a finished run of `sepgconv train`, or one that sepgconv.save wrote.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True)
class StoredNetwork:
    """A network read from disk.

    Attributes:
        model: in evaluation mode, on the CPU.
        image_shape: (channels, height, width) of its pictures: those of the run, or what it was designed for.
        record: the run's; None for a folder of `sepgconv.save`.
    """

    model: "nn.Module"
    image_shape: tuple[int, int, int]
    record: "RunRecord | None"


def read_network(folder: Path) -> StoredNetwork:
    """Read the network of a finished run, or of a folder that `sepgconv.save` wrote.

    Raises:
        FileNotFoundError: it is neither, or the run is not finished.
        ValueError: a file in it is damaged.
    """
    from sepgconv.models import load
    from sepgconv.models.storage import CONFIG, WEIGHTS
    from sepgconv.training import load_run

    if (folder / WEIGHTS).is_file():
        model = load(folder)
        return StoredNetwork(model, (model.in_channels, model.typical, model.typical), None)
    if not (folder / CONFIG).is_file():
        what = "is a file" if folder.is_file() else "holds no network" if folder.is_dir() else "is no folder"
        raise FileNotFoundError(
            f"{folder} {what}; expected the folder of a finished `sepgconv train`, or one that sepgconv.save wrote "
            f"({CONFIG} and {WEIGHTS})"
        )
    run = load_run(folder)
    channels, height, width = run.record.image_shape
    return StoredNetwork(run.model, (channels, height, width), run.record)
