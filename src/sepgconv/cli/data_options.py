"""The options of `sepgconv train` that say how files of your own are read and divided."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

_PANEL = "Your own images"


def _option(help: str) -> Any:
    return typer.Option(help=help, rich_help_panel=_PANEL)


PathColumn = Annotated[str | None, _option("Of a CSV: the column with the paths of the images. Default: found.")]
LabelColumn = Annotated[
    list[str] | None,
    _option("The column with the labels; several times for several labels or numbers of an image. Default: found."),
]
SplitColumn = Annotated[str | None, _option("The column that says train, validation or test. Default: found, or none.")]
GroupColumn = Annotated[
    str | None, _option("The column of what is not divided, as a patient or a slide. Default: found, or none.")
]
Targets = Annotated[
    str | None, _option("What labels are: classes (one of each image), labels (any number), numbers. Default: found.")
]
GroupPattern = Annotated[
    str | None,
    _option("Of a folder: a regular expression that finds in the path of an image what is not divided, as '^[^_]+'."),
]
Pages = Annotated[str | None, _option("What the pages of TIFFs are: channels or images.")]
ValueRange = Annotated[
    str | None,
    _option("LOW,HIGH: values that become 0 and 1, of TIFFs of floats or signed numbers. Default: floats from 0 to 1."),
]
Fit = Annotated[
    str | None,
    _option(
        "How images of another size are brought to it: crop (scaled, cut in the centre), resize (stretched) or pad "
        "(black around). Default: crop."
    ),
]
ImagesKey = Annotated[str | None, _option("Of an HDF5 file: the array with the images. Default: found.")]
LabelsKey = Annotated[str | None, _option("The array with the labels. Default: found.")]
Masks = Annotated[
    str | None, _option("Masks of images: the folder beside `images`, or the suffix, as _mask. Default: found.")
]
MaskValues = Annotated[str | None, _option("The value in masks of each class, as 0,1,2. Default: those that occur.")]
Foreground = Annotated[
    bool, typer.Option("--foreground", help="Every value of a mask above 0 is one class.", rich_help_panel=_PANEL)
]
Validation = Annotated[float | None, _option("Share of the images that validates. Default: 0.15.")]
Test = Annotated[float | None, _option("Share of the images that tests. Default: 0.15.")]
Folds = Annotated[int | None, _option("Deal the images into so many folds, one of which tests.")]
Fold = Annotated[int | None, _option("Which fold tests, counted from 1. Default: 1.")]
SplitSeed = Annotated[int | None, _option("Fixes the split. Default: the same for everybody.")]


def data_options(**given: Any) -> dict[str, Any]:
    """Return the options that were given, as `sepgconv.data.DataOptions.from_dict` takes them.

    Args:
        given: every option by its name; None, False and [] where it was not given.

    Raises:
        ValueError: a list that holds no numbers.
    """
    options = {name: value for name, value in given.items() if value is not None and value is not False and value != []}
    for name, option, number in (("value_range", "--value-range", float), ("mask_values", "--mask-values", int)):
        if name in options:
            options[name] = _numbers(options[name], option, number)
    return options


def _numbers(text: str, option: str, number: type[float] | type[int]) -> Sequence[float | int]:
    try:
        found = [number(part) for part in text.split(",")]
    except ValueError as error:
        raise ValueError(f"{option} must be numbers and commas, as in 0,4095; got {text!r}") from error
    if option == "--value-range" and len(found) != 2:
        raise ValueError(f"{option} must be two numbers, as in 0,4095; got {text!r}")
    return found
