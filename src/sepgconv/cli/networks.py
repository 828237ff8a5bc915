"""The network that a command works on: by name, from a run folder, or from a folder of `sepgconv.save`."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from sepgconv.models import Network
    from sepgconv.tasks import Run, RunRecord

SEPARATION = "separation.json"  # in a run of `sepgconv separate`: what its network was made from

RunOrModel = Annotated[
    Path,
    typer.Argument(
        help="The folder of a finished run of `sepgconv train`, or one that sepgconv.save wrote.", show_default=False
    ),
]


@dataclass(frozen=True, slots=True)
class FoundNetwork:
    """A network and where it comes from.

    Attributes:
        model: in evaluation mode, on the CPU.
        image_shape: (channels, height, width) of its images: those of the run, or what it was designed for.
        record: the run's; None where it comes from no run.
        title: what to call it.
        run: the run; None where it comes from no run.
    """

    model: "Network"
    image_shape: tuple[int, int, int]
    record: "RunRecord | None"
    title: str
    run: "Run | None" = None


def find_network(name_or_folder: str, config: dict[str, Any], seed: int) -> FoundNetwork:
    """Return the network that a name or folder stands for.

    Args:
        name_or_folder: a name of `sepgconv.list_models()`, which gives random weights; the folder of a finished run, or
            one that `sepgconv.save` wrote.
        config: options of a network by name; none for a folder, whose network is as it is.
        seed: of the random weights.

    Raises:
        ValueError: no such name and no such folder, options for a folder, or a damaged file.
        FileNotFoundError: a run that is not finished, or a folder that holds neither.
    """
    import torch

    from sepgconv.models import create_model, list_models, model_entry

    folder = Path(name_or_folder)
    if name_or_folder in list_models() or not folder.exists():
        try:
            model_entry(name_or_folder)
        except ValueError as error:
            raise ValueError(f"{error}; or give the folder of a run or of a saved network") from error
        torch.manual_seed(seed)
        return _designed(create_model(name_or_folder, **config).eval(), f"{name_or_folder} with random weights")
    if config:
        raise ValueError(
            f"the network in {folder} is as it is; leave out {', '.join(config)}, or give a network by name"
        )
    return read_network(folder)


def read_network(folder: Path, checkpoint: Literal["last", "best"] | None = None) -> FoundNetwork:
    """Read the network of a run, as `read_run` does, or of a folder that `sepgconv.save` wrote.

    Args:
        folder: either.
        checkpoint: take the network of this checkpoint of the run.

    Raises:
        FileNotFoundError: it is neither, or the run has no such checkpoint.
        ValueError: a file in it is damaged.
    """
    from sepgconv.cli.runs import read_run
    from sepgconv.models import load
    from sepgconv.models.storage import CONFIG, WEIGHTS

    if (folder / WEIGHTS).is_file():
        model = load(folder)
        return _designed(model, f"{model.name} from {folder}")
    if not (folder / CONFIG).is_file():
        what = "is a file" if folder.is_file() else "holds no network" if folder.is_dir() else "is no folder"
        raise FileNotFoundError(
            f"{folder} {what}; expected the folder of a finished `sepgconv train`, or one that sepgconv.save wrote "
            f"({CONFIG} and {WEIGHTS})"
        )
    run = read_run(folder, checkpoint)
    channels, height, width = run.record.image_shape
    return FoundNetwork(run.model, (channels, height, width), run.record, f"{run.record.model} from {folder}", run)


def _designed(model: "Network", title: str) -> FoundNetwork:
    return FoundNetwork(model, (model.in_channels, model.input_size, model.input_size), None, title)
