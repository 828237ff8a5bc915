"""Arguments that several commands share, and how they become a network's config."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from sepgconv.symmetry.registry import group_names


def complete_model(begun: str) -> list[str]:
    """Return the networks whose names begin so, for the shell."""
    from sepgconv.models import list_models

    return [name for name in list_models() if name.startswith(begun)]


def complete_data(begun: str) -> list[str]:
    """Return the data sets whose names begin so, for the shell."""
    from sepgconv.data import list_datasets

    return [name for name in list_datasets() if name.startswith(begun)]


Model = Annotated[
    str,
    typer.Argument(
        help="A network by name; `sepgconv models` lists them.", show_default=False, autocompletion=complete_model
    ),
]
RunFolder = Annotated[
    Path, typer.Argument(help="The folder of a finished run of `sepgconv train`.", show_default=False)
]
Images = Annotated[
    list[Path] | None,
    typer.Argument(help="Image files, folders, patterns in quotes; - for names on standard input.", show_default=False),
]
NamesFrom = Annotated[
    Path | None,
    typer.Option("--from", metavar="FILE", help="Take names from this file, one on each line; - is standard input."),
]
FileBatch = Annotated[int | None, typer.Option("--batch-size", min=1, help="Images at once. Default: 32.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1 or mps.")]
Checkpoint = Annotated[
    Literal["last", "best"] | None,
    typer.Option(
        help="Take the network of this checkpoint. Default: the run's result; of a stopped run best, or last."
    ),
]
Data = Annotated[
    str | None,
    typer.Option(
        "--data",
        help="A data set by name (`sepgconv data` lists them), or the path of a class folder or .npz file. Default: "
        "rotated_digits.",
        autocompletion=complete_data,
    ),
]
DataDir = Annotated[
    Path | None, typer.Option(help="Where the data set's files are. Default: $SEPGCONV_DATA, else the user cache.")
]
ImageSize = Annotated[int | None, typer.Option(help="Side in pixels to which images of a folder are brought.")]
Preprocessing = Annotated[
    str | None,
    typer.Option(
        help="Of your own images: mean-std (mean and deviation of the training images) or identity (pixels in [0, 1]). "
        "Default: mean-std for a folder, identity for an .npz file."
    ),
]
InMemory = Annotated[
    bool | None,
    typer.Option(
        "--in-memory/--on-disk",
        help="Read all images of a folder into memory, or leave them on the disk. Default: in memory up to 1 GiB.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(help="Folder for decoded images of a folder that stays on the disk. Default: in the user cache."),
]
NoCache = Annotated[bool, typer.Option("--no-cache", help="Decode images whenever they are needed, and keep none.")]
Workers = Annotated[
    int | None,
    typer.Option(min=0, help="Processes that read images ahead, where these stay on the disk. Default: up to 4."),
]
Width = Annotated[int | None, typer.Option(help="Channels of every convolution (Rotated MNIST networks).")]
Widths = Annotated[str | None, typer.Option(help="Channels of the three stages (ResNets), as in 28,56,112.")]
GROUP_NAMES = ", ".join(group_names())
Group = Annotated[str | None, typer.Option(help=f"The symmetry: {GROUP_NAMES}.")]
ModelOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--option",
        "-o",
        metavar="KEY=VALUE",
        help="Another option of the network, as in -o head=invariant.",
    ),
]


def model_config(width: int | None, widths: str | None, group: str | None, options: list[str] | None) -> dict[str, Any]:
    """Collect what the command line says of a network into the options of `sepgconv.create_model`.

    Raises:
        ValueError: `widths` are no numbers, or an option is not KEY=VALUE.
    """
    config: dict[str, Any] = {}
    if width is not None:
        config["width"] = width
    if widths is not None:
        try:
            config["widths"] = [int(channels) for channels in widths.split(",")]
        except ValueError as error:
            raise ValueError(f"--widths must be whole numbers and commas, as in 28,56,112; got {widths!r}") from error
    if group is not None:
        config["group"] = group
    for option in options or ():
        key, equals, value = option.partition("=")
        if not (key and equals):
            raise ValueError(f"--option must be KEY=VALUE, as in head=invariant; got {option!r}")
        config[key] = _value(value)
    return config


def _value(text: str) -> int | list[int] | str:
    """Read a number, several with commas, as in rank=0,2,2, or a word."""
    if text.isdecimal():
        return int(text)
    parts = text.split(",")
    return [int(part) for part in parts] if all(part.isdecimal() for part in parts) else text
