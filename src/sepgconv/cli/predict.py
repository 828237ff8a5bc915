"""`sepgconv predict`: the class of pictures."""

import json
from pathlib import Path
from typing import Annotated

import typer

from sepgconv._terminal import show_data
from sepgconv.cli import options
from sepgconv.cli.output import print_table


def predict(
    run: options.RunFolder,
    images: Annotated[list[Path], typer.Argument(help="Picture files.", show_default=False)],
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one JSON object per picture instead of a table.")
    ] = False,
) -> None:
    """Print the class that a run gives to pictures, and how sure it is.

    A picture that cannot be read is named and left out; the exit status is then 1.
    """
    import torch

    from sepgconv.data import read_image
    from sepgconv.tasks import load_run

    loaded = load_run(run)
    height, width = loaded.record.image_shape[1:]
    shape = (loaded.record.image_shape[0], height, width)
    answers: list[tuple[Path, str, float]] = []
    unreadable: list[str] = []
    for path in images:
        try:
            picture = read_image(path, shape, bit_depth=loaded.bit_depth)
        except (OSError, ValueError) as error:
            unreadable.append(str(error))
            continue
        with torch.inference_mode():
            probabilities = loaded.model(loaded.preprocessing(picture[None])).softmax(1)[0]
        best = int(probabilities.argmax())
        answers.append((path, loaded.classes[best], float(probabilities[best])))
    if as_json:
        for path, name, probability in answers:
            show_data(json.dumps({"image": str(path), "class": name, "probability": round(probability, 6)}))
    elif answers:
        rows = [(str(path), name, f"{probability:.3f}") for path, name, probability in answers]
        print_table(f"{loaded.record.model} from {run}", ("picture", "class", "probability"), rows, left=2)
    if unreadable:
        raise ValueError(f"{len(unreadable)} of {len(images)} pictures left out: {'; '.join(unreadable)}")
