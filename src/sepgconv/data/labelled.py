"""Labelled images as they were found, in parts or undivided: cut into a Dataset to learn from, or judged as they are.

Both ask the same of classes: they are matched by name, never by position.
"""

import dataclasses
import functools
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int, Shaped
from numpy import ndarray
from torch import Tensor, nn

from sepgconv._messages import one_of
from sepgconv.data.bit_depth import DARK
from sepgconv.data.column import Column, Entries, chunks, convert, take
from sepgconv.data.dataset import Dataset, Split
from sepgconv.data.division import DividedImage, Division
from sepgconv.data.leaks import Images, warn_of_leaks
from sepgconv.data.origin import Origin
from sepgconv.data.part_names import PARTS, Part, PartOrAll
from sepgconv.data.preprocessing import FITTED, Identity
from sepgconv.data.reading import Fit
from sepgconv.data.split_rule import SplitRule, classes_present, rarest, strata_of
from sepgconv.data.target_text import target_texts


@dataclass(frozen=True, eq=False)
class Labelled:
    """Images with their labels, in memory or not.

    Attributes:
        images: (n, channels, height, width), uint8 0..255 or float32 in [0, 1].
        labels: (n, ...), as those of a `Split`.
        origins: where each image is from; () where that is not known.
    """

    images: Shaped[Tensor, "n c h w"] | Column
    labels: Shaped[Tensor, "n ..."] | Column
    origins: tuple[Origin, ...] = ()

    def taken(self, indices: Int[ndarray, " k"]) -> "Labelled":
        """Return some of the images."""
        chosen = torch.from_numpy(indices)
        origins = tuple(self.origins[index] for index in indices) if self.origins else ()
        return Labelled(take(self.images, chosen), take(self.labels, chosen), origins)

    @property
    def groups(self) -> Shaped[ndarray, " n"] | None:
        """What each image must not be separated from; None where there are no groups."""
        grouped = any(origin.group for origin in self.origins)
        return np.array([origin.group for origin in self.origins]) if grouped else None

    def split(self, preprocessing: nn.Module | None = None) -> Split:
        """Return the images in [0, 1], or what a preprocessing makes of these."""
        images: Entries = self.images
        if not images.dtype.is_floating_point:
            images = convert(images, unit_range, dtype=torch.float32)
        if preprocessing is not None and not isinstance(preprocessing, Identity):
            images = convert(images, preprocessing, dtype=torch.float32)
        return Split(images, self.labels)

    def classes(self) -> list[int]:
        """Return the labels that occur, in ascending order."""
        found: set[int] = set()
        for labels in chunks(self.labels):
            found |= set(labels.unique().tolist())
        return sorted(found)

    def strata(self) -> Int[ndarray, " n"]:
        """Return what a split balances, as `strata_of` says; it is the same where masks are not in memory."""
        if isinstance(self.labels, Tensor):
            return strata_of(self.labels.numpy())
        known = self.classes()
        return rarest(np.concatenate([classes_present(labels.numpy(), known) for labels in chunks(self.labels)]))

    def __len__(self) -> int:
        return len(self.labels)


def unit_range(pixels: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Return pixels 0..255 as float32 in [0, 1]."""
    return pixels.float() / 255


@dataclass(frozen=True, eq=False)
class LabelledImages:
    """Images to judge a network by.

    Attributes:
        name: of the data set.
        part: which part of it they are; "all" where it is not divided.
        split: the images, with the labels of the classes that were asked for.
        skipped: files that could not be read and were left out.
        origins: where each image is from; () where that is not known.

    Example:
        >>> from sepgconv.data import load_labelled_images
        >>> found = load_labelled_images("rotated_digits", classes=tuple("0123456789"), image_shape=(1, 28, 28))
        >>> found.name, found.part
        ('rotated_digits', 'test')
    """

    name: str
    part: PartOrAll
    split: Split
    skipped: tuple[str, ...] = ()
    origins: tuple[Origin, ...] = ()


@dataclass(frozen=True, eq=False)
class LabelledParts:
    """What a folder or a file holds.

    Attributes:
        name: of the data set.
        title: what errors call it: its path.
        classes: names of the classes.
        parts: the images of every part; only "all" where it is not divided.
        skipped: files that could not be read.
        bit_depth: bits that images of 16 bits use; None: there are none.
        fixed: whether the classes were given as a list, and stay even where one has no images.
        fit: how images of another size were brought to theirs; None: they came in one size.
        grouped_by: what the groups are called, as in "patient"; None where there are none.
    """

    name: str
    title: str
    classes: tuple[str, ...]
    parts: Mapping[PartOrAll, Labelled]
    skipped: tuple[str, ...] = ()
    bit_depth: int | None = None
    fixed: bool = False
    fit: Fit | None = None
    grouped_by: str | None = None

    @classmethod
    def of(cls, dataset: Dataset) -> "LabelledParts":
        """Return the parts of a data set."""
        splits: dict[PartOrAll, Split] = {
            "train": dataset.train,
            "validation": dataset.validation,
            "test": dataset.test,
        }
        known = () if dataset.division is None else dataset.division.images
        parts: dict[PartOrAll, Labelled] = {
            part: Labelled(split.images, split.labels, tuple(image.origin for image in known if image.part == part))
            for part, split in splits.items()
        }
        return cls(
            dataset.name,
            dataset.name,
            dataset.classes,
            parts,
            dataset.skipped,
            dataset.bit_depth,
            fixed=True,
            fit=dataset.fit,
        )

    def to_dataset(self, rule: SplitRule | None = None, preprocessing: str | nn.Module = "identity") -> Dataset:
        """Return train, validation and test part; parts that are missing are cut off.

        A class without images is left out, with a warning, unless `fixed`.

        Args:
            rule: how. Default: 70 / 15 / 15 % of every class, or of all groups; 15 % of the training part for
                validation where that alone is missing.
            preprocessing: of the images: "identity"; "mean-std", fitted to the training part; or a module.

        Raises:
            ValueError: no training or no test part, a class in one of the others only, or too few images or groups.

        Warns:
            UserWarning: a class that a part has no images of; one image or one group in several parts.
        """
        rule = SplitRule() if rule is None else rule
        check_parts(self.parts, self.title)
        whole = self._learnable()
        learned = whole.parts["all" if "all" in whole.parts else "train"]
        missing: list[Part] = [part for part in PARTS[1:] if part not in whole.parts]
        try:
            chosen = rule.divide(learned.strata(), learned.groups, missing)
        except ValueError as error:
            raise ValueError(f"{self.title}: {error}") from error
        if not all(map(len, chosen.values())):
            raise ValueError(
                f"{self.title}: {len(learned.labels)} readable images are too few; at least one class needs "
                f"{1 + len(missing)} to train on and to cut {len(missing)} parts from"
            )
        parts: dict[Part, Labelled] = {
            part: learned.taken(chosen[part]) if part in chosen else whole.parts[part] for part in PARTS
        }
        for part, found in parts.items():
            if not len(found.labels):
                raise ValueError(f"{self.title}: {part} has no readable image")
            several = not whole.classes or learned.labels.dtype.is_floating_point
            absent = set() if several else set(learned.classes()) - set(found.classes())
            if absent:
                names = ", ".join(whole.classes[label] for label in sorted(absent))
                warnings.warn(f"{self.title}: the {part} part has no images of {names}", stacklevel=3)
        _warn_if_dark(parts.values(), self.title)
        division = whole._division(parts, rule.described(missing=missing, groups=self.grouped_by))
        images: dict[Part, Images] = {part: (found.images, found.origins) for part, found in parts.items()}
        warn_of_leaks(images, division, self.title)
        if isinstance(preprocessing, str):
            module = FITTED[one_of("preprocessing", preprocessing, tuple(FITTED))](parts["train"].images)
        else:
            module = preprocessing
        train, validation, test = (found.split(module) for found in parts.values())
        return Dataset(
            self.name,
            whole.classes,
            train,
            validation,
            test,
            module,
            self.skipped,
            bit_depth=self.bit_depth,
            fit=self.fit,
            division=division,
        )

    def _division(self, parts: Mapping[Part, Labelled], rule: str) -> Division | None:
        if not all(found.origins for found in parts.values()):
            return None
        images = [
            DividedImage(origin.path, part, text, origin.group, origin.page)
            for part, found in parts.items()
            for origin, text in zip(found.origins, target_texts(found.labels, self.classes), strict=True)
        ]
        return Division(self.name, rule, tuple(images), self.grouped_by)

    def to_judge(self, classes: Sequence[str], part: Part | None = None) -> LabelledImages:
        """Return one part, or all of what is not divided, with labels by the names of other classes.

        Args:
            classes: of the network that is judged, in the order of its scores. Classes are matched by name; some of
                them may have no images here.
            part: which. Default: the test part, all of what is not divided, or the only part there is.

        Raises:
            ValueError: no such part, no images in it, or images of other classes.
        """
        found = part_to_judge(self.parts, part, self.title)
        labelled = self.parts[found]
        if not len(labelled.labels):
            raise ValueError(f"{self.title}: {found} has no readable image")
        if labelled.labels.dtype.is_floating_point:  # numbers, which have no classes, or several labels of an image
            if set(self.classes) != set(classes):
                raise ValueError(
                    f"{self.title} has the labels {', '.join(self.classes)}; the network knows {', '.join(classes)}"
                )
            order = torch.tensor([self.classes.index(name) for name in classes])
            labels = labelled.labels
            if classes:
                labels = convert(labels, functools.partial(_columns, order), dtype=labels.dtype)
            ordered = dataclasses.replace(labelled, labels=labels)
            return LabelledImages(self.name, found, ordered.split(), self.skipped, labelled.origins)
        present = self._present(found)
        if unknown := [name for name in present if name not in classes]:
            raise ValueError(
                f"{self.title} has images of the classes {', '.join(unknown)}; the network knows {', '.join(classes)}"
            )
        if not self.fixed and (empty := [name for name in self.classes if name not in present]):
            warnings.warn(f"{self.title}: no images of {', '.join(empty)} to judge by", stacklevel=2)
        _warn_if_dark([labelled], self.title)
        split = Labelled(labelled.images, self._relabelled(labelled.labels, classes)).split()
        return LabelledImages(self.name, found, split, self.skipped, labelled.origins)

    def _present(self, part: PartOrAll) -> list[str]:
        return [self.classes[label] for label in self.parts[part].classes()]

    def _relabelled(self, labels: Entries, classes: Sequence[str]) -> Entries:
        order = torch.tensor([classes.index(name) if name in classes else -1 for name in self.classes])
        return convert(labels, functools.partial(_look_up, order), dtype=torch.int64)

    def _learnable(self) -> "LabelledParts":
        """Leave out classes without images, unless they are fixed; raise if the rest cannot be learned."""
        if any(found.labels.dtype.is_floating_point for found in self.parts.values()):
            return self  # numbers, or several labels of an image: nothing here is a class of its own
        check_class_names({part: self._present(part) for part in self.parts}, self.title)
        learned = self._present("all" if "all" in self.parts else "train")
        if len(learned) < 2:
            raise ValueError(f"{self.title}: {_only(learned)}; expected readable images of two or more classes")
        empty = [name for name in self.classes if name not in learned]
        if empty:
            what = "stays a class that is never seen" if self.fixed else "is left out of the classes"
            warnings.warn(f"{self.title}: no images of {', '.join(empty)}, which {what}", stacklevel=4)
        if not empty or self.fixed:
            return self
        parts: dict[PartOrAll, Labelled] = {
            part: dataclasses.replace(found, labels=self._relabelled(found.labels, learned))
            for part, found in self.parts.items()
        }
        return dataclasses.replace(self, classes=tuple(learned), parts=parts)


def part_to_judge(parts: Collection[PartOrAll], wanted: Part | None, title: str) -> PartOrAll:
    """Return which part is judged: the wanted one, else test, all of what is not divided, or the only part there is.

    Raises:
        ValueError: there is no such part, or several and none of them is called test.
    """
    if wanted is not None and wanted in parts:
        return wanted
    if wanted is None and "test" in parts:
        return "test"
    if wanted is None and len(parts) == 1:
        return next(iter(parts))
    if "all" in parts:
        raise ValueError(
            f"{title} is not divided into parts and has no {wanted} part; it can be judged as a whole only"
        )
    raise ValueError(f"{title} has no {wanted or 'test'} part, only {' and '.join(parts)}; name one of them")


def check_parts(parts: Mapping[PartOrAll, object], title: str) -> None:
    """Raise if a divided data set lacks its training part or its test part.

    Raises:
        ValueError: the message says which part is missing.
    """
    missing = [part for part in ("train", "test") if part not in parts and "all" not in parts]
    if missing:
        raise ValueError(
            f"{title}: has {' and '.join(parts)} but no {' and no '.join(missing)}; add it, or give undivided images "
            "to have them split"
        )


def check_class_names(present: Mapping[PartOrAll, Sequence[str]], title: str) -> None:
    """Raise if another part has classes that the training part does not have.

    Raises:
        ValueError: the message names the classes and the part.
    """
    for part, names in present.items():
        if unknown := [name for name in names if name not in present.get("train", names)]:
            raise ValueError(f"{title}: {part} has classes that train does not have: {', '.join(unknown)}")


def _columns(order: Int[Tensor, " k"], labels: Shaped[Tensor, "n c"]) -> Shaped[Tensor, "n k"]:
    return labels[:, order]


def _look_up(table: Int[Tensor, " k"], labels: Int[Tensor, "..."]) -> Int[Tensor, "..."]:
    return table[labels]


def _only(names: Sequence[str]) -> str:
    return f"only one class, {names[0]}" if names else "no images to train on"


def _warn_if_dark(parts: Iterable[Labelled], title: str) -> None:
    """Warn of images that are nearly black, as those of 12 bits in a file of 16 are."""
    brightest = 0.0
    for found in parts:
        scale = 1 if found.images.dtype.is_floating_point else 255
        for images in chunks(found.images):
            brightest = max(brightest, float(images.max()) / scale)
            if brightest >= DARK:
                return
    if 0 < brightest:
        warnings.warn(
            f"{title}: the brightest pixel of all images is {brightest:.3f} of white; are their values scaled "
            "otherwise?",
            stacklevel=3,
        )
