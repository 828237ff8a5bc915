"""How undivided images are divided: the rule, and its words."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Integer, Shaped
from numpy import ndarray

from sepgconv.data.part_names import PARTS, Part
from sepgconv.data.splitting import Indices, group_cut, group_folds, stratified_cut, stratified_folds

_BINS, _IN_A_BIN = 10, 10  # of targets that are numbers: at most so many, of at least so many images


@dataclass(frozen=True, kw_only=True)
class SplitRule:
    """How images that come undivided are divided into training, validation and test part.

    Every part gets every class in proportion; where images have groups (patients, slides), all images of a group go
    into one part, and the proportions are as near as that allows. A part that the data set brings is left as it is.

    Attributes:
        validation: share of the images that are learned from or chosen by which validates. Default: 0.15.
        test: share that tests. Default: 0.15.
        folds: deal the images into so many folds instead; one of them tests, and `validation` is cut off the others.
            Default: no folds.
        fold: which fold tests, counted from 1. Default: 1.
        seed: fixes the choice. Default: the seed of all splits of earlier versions.

    Raises:
        ValueError: shares that are not above 0 or leave nothing to learn from, fewer than 2 folds, or no such fold.

    Example:
        >>> import numpy as np
        >>> labels, patients = np.arange(40) % 2, np.arange(40) // 4
        >>> parts = SplitRule().divide(labels, patients, ("validation", "test"))
        >>> {part: len(indices) for part, indices in parts.items()}
        {'train': 28, 'validation': 8, 'test': 4}
        >>> sorted(set(patients[parts["test"]]) & set(patients[parts["train"]]))
        []
        >>> SplitRule(folds=5, fold=2).described(groups="patient")
        'fold 2 of 5, 15 % of the rest for validation, by patient, seed 20210919'
    """

    validation: int | float = 0.15
    test: int | float = 0.15
    folds: int | None = None
    fold: int = 1
    seed: int = 20210919

    def __post_init__(self) -> None:
        if not (self.validation > 0 and self.test > 0 and self.validation + self.test < 1):
            raise ValueError(
                "the shares for validation and test must be above 0 and leave images to learn from, got "
                f"{self.validation:g} and {self.test:g}"
            )
        if self.folds is not None and self.folds < 2:
            raise ValueError(f"folds must be 2 or more, got {self.folds}")
        if self.folds is None and self.fold != 1:
            raise ValueError(f"fold={self.fold} needs folds, the number of folds (--folds)")
        if not 1 <= self.fold <= (self.folds or 1):
            raise ValueError(f"fold must be from 1 to {self.folds}, got {self.fold}")
        if self.seed < 0:
            raise ValueError(f"the seed of a split must be 0 or more, got {self.seed}")

    def divide(
        self, strata: Int[ndarray, " n"], groups: Shaped[ndarray, " n"] | None, missing: Sequence[Part]
    ) -> dict[Part, Indices]:
        """Cut the missing parts off.

        Args:
            strata: the class of every image, or what else is to be balanced.
            groups: the group of every image, or None.
            missing: the parts to cut off, of "validation" and "test"; folds need both.

        Returns:
            Ascending indices of "train" and of the missing parts.

        Raises:
            ValueError: folds of images that are divided already, or fewer groups than parts.
        """
        if self.folds is not None and set(missing) != set(PARTS[1:]):
            raise ValueError("the images are divided already, folds are for undivided ones")
        if not missing:
            return {"train": np.arange(len(strata))}
        if self.folds is None:
            return self._cut(strata, groups, missing)
        if groups is None:
            folds = stratified_folds(strata, self.folds, self.seed)
        else:
            folds = group_folds(strata, groups, self.folds, self.seed)
        test = folds[self.fold - 1]
        rest = np.setdiff1d(np.arange(len(strata)), test)
        inner = self._cut(strata[rest], None if groups is None else groups[rest], ("validation",))
        return {**{part: rest[chosen] for part, chosen in inner.items()}, "test": test}

    def _cut(
        self, strata: Int[ndarray, " n"], groups: Shaped[ndarray, " n"] | None, missing: Sequence[Part]
    ) -> dict[Part, Indices]:
        fractions = [self.validation if part == "validation" else self.test for part in missing]
        if groups is None:
            parts = stratified_cut(strata, fractions, self.seed)
        else:
            parts = group_cut(strata, groups, fractions, self.seed)
        return dict(zip(("train", *missing), parts, strict=True))

    def described(self, *, missing: Sequence[Part] = PARTS[1:], groups: str | None = None) -> str:
        """Return the rule in words, as a run keeps it.

        Args:
            missing: the parts that are cut off. Default: validation and test.
            groups: what the groups are called. Default: there are none.
        """
        if not missing:
            return "as the data set is divided"
        validation = f"{100 * self.validation:g} %"
        if self.folds is not None:
            said = f"fold {self.fold} of {self.folds}, {validation} of the rest for validation"
        else:
            shares = {"validation": validation, "test": f"{100 * self.test:g} %"}
            said = " and ".join(f"{shares[part]} for {part}" for part in missing)
        return f"{said}, {'of every class' if groups is None else f'by {groups}'}, seed {self.seed}"


def strata_of(targets: Shaped[ndarray, "n ..."]) -> Int[ndarray, " n"]:
    """Return what a split balances: the class of each image; of numbers, their tenth; of labels, the rarest one.

    Of masks it is the rarest class that the image has a pixel of.

    Args:
        targets: int64 (n,) classes, or (n, height, width) masks; floats (n,) or (n, k) numbers, of which the first
            counts; floats (n, k), 0 or 1, labels.
    """
    if targets.ndim == 1 and targets.dtype.kind in "iu":
        return targets
    if targets.dtype.kind in "iu":
        return rarest(classes_present(targets, np.unique(targets).tolist()))
    rows = targets.reshape(len(targets), -1)
    if rows.shape[1] > 1 and np.isin(rows, (0, 1)).all():
        return rarest(rows == 1)
    ranks = np.argsort(np.argsort(rows[:, 0], kind="stable"), kind="stable")
    return ranks * max(1, min(_BINS, len(ranks) // _IN_A_BIN)) // len(ranks)


def classes_present(masks: Integer[ndarray, "n h w"], classes: Sequence[int]) -> Bool[ndarray, "n k"]:
    """Return which classes the masks have a pixel of."""
    flat = masks.reshape(len(masks), -1)
    return np.column_stack([(flat == label).any(1) for label in classes])


def rarest(present: Bool[ndarray, "n k"]) -> Int[ndarray, " n"]:
    """Return of each image the label that fewest images have; k for an image without any."""
    rarity = np.where(present, present.sum(0), np.inf)
    return np.where(present.any(1), rarity.argmin(1), present.shape[1])
