"""The images that commands use after a run: those of its data set, or others."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sepgconv.data import Dataset, LabelledImages, Split
    from sepgconv.data.part_names import Part
    from sepgconv.tasks import Run, RunRecord


def load_data_of(folder: Path, record: "RunRecord", data_dir: Path | None) -> "Dataset":
    """Load the data set that a run was trained on; images of one's own get the size and preprocessing of the run's.

    Args:
        folder: the run's.
        record: the run's.
        data_dir: where the files are; see `sepgconv.data.load_dataset`.

    Warns:
        UserWarning: it has other numbers of images than when the run was trained, or other images.
    """
    from sepgconv.data import load_dataset
    from sepgconv.data.registry import is_own
    from sepgconv.tasks.evaluation import options_of
    from sepgconv.tasks.folder import RunFolder
    from sepgconv.tasks.results import read_preprocessing

    name = str(record.config["data"])
    height, width = record.image_shape[1:]
    if is_own(name):
        # Your own images come in any form; they are brought to that of the run.
        kept = read_preprocessing(RunFolder(folder).preprocessing)
        options = options_of(record, kept.fit)
        size = height if height == width else None
        dataset = load_dataset(name, data_dir=data_dir, image_size=size, options=options, preprocessing=kept.module)
    else:
        dataset = load_dataset(name, data_dir=data_dir)
    found, recorded = _counts(dataset), dict(record.images)
    if "validation" not in recorded:  # the run learned from it, too
        found = {"train": found["train"] + found["validation"], "test": found["test"]}
    if not is_own(name):
        return dataset  # known files, and preprocessing that may round otherwise on another machine
    if found != recorded:
        warnings.warn(
            f"{dataset.name} has {_listed(found)} images, the run was trained with {_listed(recorded)}; if files were "
            "added or removed since, images that it learned from may be in other parts now",
            stacklevel=2,
        )
    elif (digest := RunFolder(folder).data_digest) is not None and digest != dataset.digest():
        warnings.warn(
            f"{dataset.name} has as many images as when the run was trained, but images, labels or bit depth are "
            "others; images that it learned from may be in other parts now",
            stacklevel=2,
        )
    return dataset


def load_images_to_judge(
    folder: Path, run: "Run", data: str | None, data_dir: Path | None, part: "Part | None"
) -> tuple["LabelledImages", "Split"]:
    """Load the images on which a run is evaluated, and preprocess them for its network.

    Args:
        folder: the run's.
        run: the run.
        data: a data set by name, or a path. What is not divided into parts is taken whole. Default: the run's own.
        data_dir: where the files are; see `sepgconv.data.load_dataset`.
        part: which part. Default: the test part.

    Returns:
        The images as they were loaded, and preprocessed for the network.
    """
    import torch

    from sepgconv.data import Split, load_labelled_images
    from sepgconv.data.column import convert
    from sepgconv.data.labelled import LabelledParts
    from sepgconv.data.registry import is_own

    if data is None:
        found = LabelledParts.of(load_data_of(folder, run.record, data_dir)).to_judge(run.classes, part)
        return found, found.split
    channels, height, width = run.record.image_shape
    found = load_labelled_images(
        data,
        classes=run.classes,
        image_shape=(channels, height, width),
        part=part,
        data_dir=data_dir,
        bit_depth=run.bit_depth,
        options=run.data_options,
    )
    if not is_own(data):
        return found, found.split
    if found.part == "all" and found.name == run.record.data:
        warnings.warn(
            f"{data} has the name of the data that the run was trained on; it is judged whole, with the images that "
            "were learned from; leave out --data to judge the run's own test part",
            stacklevel=2,
        )
    images = convert(found.split.images, run.preprocessing, dtype=torch.float32)
    return found, Split(images, found.split.labels)


def _counts(dataset: "Dataset") -> dict[str, int]:
    return {"train": len(dataset.train), "validation": len(dataset.validation), "test": len(dataset.test)}


def _listed(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {part}" for part, count in counts.items())
