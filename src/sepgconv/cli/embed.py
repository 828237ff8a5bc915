"""`sepgconv embed`: the features of a trained network for images, for other programs to learn from."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sepgconv._numbers import count, plural
from sepgconv._terminal import show
from sepgconv.cli import options
from sepgconv.cli.csv_file import RowFile
from sepgconv.cli.image_arguments import named_images
from sepgconv.cli.progress import progress
from sepgconv.cli.runs import read_run

if TYPE_CHECKING:
    from torch import Tensor


def embed(
    run: options.RunFolder,
    images: options.Images = None,
    out: Annotated[
        Path, typer.Option(help="The file: NAME.npz, with the arrays features and paths, or NAME.csv.")
    ] = Path("features.npz"),
    names_from: options.NamesFrom = None,
    checkpoint: options.Checkpoint = None,
    batch_size: options.FileBatch = None,
    device: options.Device = "cpu",
) -> None:
    """Write the features of images: the numbers that the last layer of a run's network reads, a row for each image.

    Those of our networks do not change when an image is rotated by an element of the network's group. Images are given
    as to `sepgconv predict`, and the exit status is as there.
    """
    from sepgconv.tasks import embed as features_of
    from sepgconv.tasks.embedding import write_features
    from sepgconv.tasks.prediction import PREDICTION_BATCH

    if out.suffix.lower() not in (".npz", ".csv"):
        raise ValueError(f"--out must end with .npz or .csv, got {out}")
    loaded = read_run(run, checkpoint)
    found = named_images(images, names_from)
    left_out, written = len(found.left_out), 0
    table = RowFile(out, resume=False) if out.suffix.lower() == ".csv" else None
    names: list[str] = []
    features: list[Tensor] = []
    with contextlib.nullcontext() if table is None else table.opened(), progress(len(found.paths), "image") as bar:
        for batch in features_of(loaded, found.paths, batch_size=batch_size or PREDICTION_BATCH, device=device):
            for path, why in batch.left_out.items():
                left_out += 1
                bar.say(f"Left out: {path}: {why}")
            bar.advance(len(batch.paths))
            if batch.outputs is None:
                continue
            read = [str(path) for path in batch.paths if path not in batch.left_out]
            written += len(read)
            if table is None:
                names += read
                features.append(batch.outputs)
            else:
                rows = zip(read, batch.outputs.tolist(), strict=True)
                table.add(
                    {"image": name, **{f"feature {i}": f"{value:.7g}" for i, value in enumerate(row)}}
                    for name, row in rows
                )
    if written:
        if table is None:
            write_features(out, names, features)
        show(f"Written: {out}: features of {plural(written, 'image')}")
    if left_out:
        total = plural(len(found.paths) + len(found.left_out), "image")
        raise ValueError(f"{count(left_out)} of {total} left out, for the reasons above")
