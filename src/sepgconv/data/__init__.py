"""Data sets, in memory or on the disk, their preprocessing, and augmentation of whole batches."""

from sepgconv.data.augmentation import Augmentation, Moved, augmentation, list_augmentations
from sepgconv.data.column import Column
from sepgconv.data.dataset import Dataset, Split
from sepgconv.data.division import DividedImage, Division
from sepgconv.data.image_file import read_image
from sepgconv.data.labelled import LabelledImages
from sepgconv.data.options import DataOptions
from sepgconv.data.origin import Origin
from sepgconv.data.preprocessing import build_preprocessing
from sepgconv.data.registry import (
    describe_dataset,
    list_datasets,
    load_dataset,
    load_labelled_images,
    register_dataset,
)
from sepgconv.data.split_rule import SplitRule
from sepgconv.data.subset import take_images

__all__ = [
    "Augmentation",
    "Column",
    "DataOptions",
    "Dataset",
    "DividedImage",
    "Division",
    "LabelledImages",
    "Moved",
    "Origin",
    "Split",
    "SplitRule",
    "augmentation",
    "build_preprocessing",
    "describe_dataset",
    "list_augmentations",
    "list_datasets",
    "load_dataset",
    "load_labelled_images",
    "read_image",
    "register_dataset",
    "take_images",
]
