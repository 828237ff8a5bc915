"""`sepgconv demo`: an ordinary and a group-equivariant network, side by side on rotated digits."""

import shutil
from pathlib import Path
from typing import Annotated

import typer

from sepgconv._numbers import count, error_percent, large
from sepgconv._terminal import show
from sepgconv.cli.output import print_table

EPOCHS = 12
CONTENDERS = (("z2cnn", 20), ("gc_p4cnn", 30))


def demo(
    out: Annotated[
        Path, typer.Option(help="Folder for the two runs and the image; an earlier demo is replaced.")
    ] = Path("demo"),
    epochs: Annotated[int, typer.Option(help="Epochs of each training.")] = EPOCHS,
    seed: Annotated[int, typer.Option(help="Fixes initial weights and order of the images.")] = 1,
    threads: Annotated[int | None, typer.Option(help="Processor threads. Default: torch's choice.")] = None,
) -> None:
    """Train z2cnn and gc_p4cnn, of the same size, on rotated handwritten digits: offline, under three minutes."""
    from sepgconv.analysis import answer_changes
    from sepgconv.cli.demo_image import draw_rotated_digit
    from sepgconv.data import load_dataset
    from sepgconv.tasks import TrainingConfig, load_run, train

    digits = load_dataset("rotated_digits")
    runs: dict[str, Path] = {}
    rows: list[tuple[str, ...]] = []
    for model, width in CONTENDERS:
        folder = runs[model] = out / model
        _remove_earlier_run(folder)
        show(f"Training {model} (width {width}) on {len(digits.train):,} rotated digits, {epochs} epochs ...")
        config = TrainingConfig(
            model=model, data="rotated_digits", model_config={"width": width}, epochs=epochs, seed=seed
        )
        record = train(config, folder=folder, data=digits, threads=threads)
        rows.append(
            (
                f"{model} (width {width})",
                count(record.parameters),
                large(record.nominal_macs),
                error_percent(record.test_error),
                error_percent(answer_changes(load_run(folder).model, digits.test.images[:])),
                f"{record.seconds:.0f} s",
            )
        )
    print_table(
        f"{len(digits.test):,} test digits at random angles, seed {seed}",
        ("network", "parameters", "MACs", "test error", "predictions changed by quarter turns", "training"),
        rows,
    )
    image = out / "rotated_digit.png"
    draw_rotated_digit({name: load_run(folder).model for name, folder in runs.items()}, digits.test.images[0], image)
    show(f"A digit and the same digit rotated, with their feature maps: {image}")


def _remove_earlier_run(folder: Path) -> None:
    if not folder.exists():
        return
    if not (folder / "config.json").is_file():
        raise FileExistsError(f"{folder} is in the way and was not made by a demo; choose another folder with --out")
    shutil.rmtree(folder)
