"""A part of a data set's images to learn from, for error against the number of images."""

import dataclasses

import numpy as np
import torch

from sepgconv.data.dataset import Dataset, Split
from sepgconv.data.part_names import Part
from sepgconv.data.splitting import Indices, permutation

_STREAM = 3  # apart from other uses of the same seed


def take_images(dataset: Dataset, images: int, seed: int) -> Dataset:
    """Return the data set with fewer images to learn from, drawn at random; the test images stay.

    Train and validation keep their proportion. With one seed, a smaller choice lies within a larger one. The
    preprocessing stays as it was fitted.

    Args:
        dataset: the whole.
        images: how many to keep, train and validation together.
        seed: of the choice.

    Raises:
        ValueError: more images than there are, or too few for both parts.

    Example:
        >>> from sepgconv.data import load_dataset
        >>> few = take_images(load_dataset("rotated_digits"), 60, seed=1)
        >>> len(few.train), len(few.validation), len(few.test)
        (50, 10, 597)
    """
    train, validation = len(dataset.train), len(dataset.validation)
    kept_validation = round(images * validation / (train + validation))
    kept_train = images - kept_validation
    if kept_train > train or kept_train < 1 or kept_validation < 1:
        raise ValueError(
            f"{dataset.name} has {train} + {validation} images for training and validation; {images} cannot be taken"
        )
    generator = np.random.default_rng([seed, _STREAM])
    chosen: dict[Part, Indices] = {"train": permutation(train, generator)[:kept_train]}
    chosen["validation"] = permutation(validation, generator)[:kept_validation]
    division = dataset.division
    return dataclasses.replace(
        dataset,
        train=_taken(dataset.train, chosen["train"]),
        validation=_taken(dataset.validation, chosen["validation"]),
        division=None
        if division is None
        else division.taken(chosen, f"{images} to learn from, drawn with seed {seed}"),
    )


def _taken(split: Split, indices: Indices) -> Split:
    return split.take(torch.from_numpy(indices))
