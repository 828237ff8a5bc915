"""`sepgconv predict`: what a trained network predicts for images."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sepgconv._terminal import show_data
from sepgconv.cli import options
from sepgconv.cli.output import print_table


def predict(
    run: options.RunFolder,
    images: Annotated[list[Path], typer.Argument(help="Image files.", show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per image instead of a table.")
    ] = False,
) -> None:
    """Print what a run predicts for images: for classification the class, and its probability.

    An image that cannot be read is named and left out; the exit status is then 1.
    """
    import torch

    from sepgconv.data import read_image
    from sepgconv.tasks import load_run

    loaded = load_run(run)
    height, width = loaded.record.image_shape[1:]
    shape = (loaded.record.image_shape[0], height, width)
    task = loaded.task
    answers: list[tuple[Path, dict[str, str | float]]] = []
    unreadable: list[str] = []
    for path in images:
        try:
            image = read_image(path, shape, bit_depth=loaded.bit_depth)
        except (OSError, ValueError) as error:
            unreadable.append(str(error))
            continue
        with torch.inference_mode():
            outputs = loaded.model(loaded.preprocessing(image[None]))
        answers.append((path, task.describe(outputs, loaded.classes)[0]))
    if as_json:
        for path, answer in answers:
            rounded = {name: round(value, 6) if isinstance(value, float) else value for name, value in answer.items()}
            show_data(json.dumps({"image": str(path), **rounded}))
    elif answers:
        rows = [(str(path), *map(_cell, answer.values())) for path, answer in answers]
        texts = sum(isinstance(value, str) for value in answers[0][1].values())
        print_table(f"{loaded.record.model} from {run}", ("image", *answers[0][1]), rows, left=1 + texts)
    if unreadable:
        raise ValueError(f"{len(unreadable)} of {len(images)} images left out: {'; '.join(unreadable)}")


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:.3f}"
