"""DataOptions: what a user says of files of their own beyond where they lie; a run keeps it."""

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, cast

from sepgconv._messages import one_of, unknown_name
from sepgconv.data.reading import Pages, Range, Reading, check_fit
from sepgconv.data.split_rule import SplitRule

Targets: TypeAlias = Literal["classes", "labels", "numbers"]
_TARGETS: tuple[Targets, ...] = ("classes", "labels", "numbers")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    r"""How a user's own files are read and divided; everything has a default. A run keeps what differs from it.

    Attributes:
        path_column: of a CSV or TSV file, the column with the paths of the images. Default: found by its name.
        label_columns: the columns with the labels, several for several labels or numbers of an image. Default: found.
        split_column: the column that says train, validation or test. Default: found, or none.
        group_column: the column that says what belongs together, as a patient or a slide. Default: found, or none.
        targets: what the labels are: "classes", one of each image; "labels", any number of each; "numbers". Default:
            decided by the values.
        group_pattern: of a folder, a regular expression that finds the group in the path of every image; its first
            bracket, or else all that it matches, as in r"patient(\d+)". Default: no groups.
        pages: whether the pages of TIFFs are "channels" or "images". Default: files of several pages are not read.
        value_range: values that become 0 and 1, of TIFFs of floats or of signed or 32-bit numbers. Default: floats
            must be from 0 to 1.
        fit: how images of another size, and their masks, are brought to it: "crop", "resize" or "pad", see
            `read_image`. Default: "crop".
        images_key: of an HDF5 file, the array with the images. Default: found by its name.
        labels_key: the array with the labels. Default: found by its name.
        masks: masks of a folder of images: the name of the folder beside `images`, or what a mask's name has after
            that of its image, as in "_mask". Default: a folder `masks`, `labels` or the like beside one of images.
        mask_values: the value in mask files of each class, in the order of the classes. Default: those that occur.
        foreground: whether every value above 0 is foreground, as in masks of instances. Default: no.
        validation: share of the images that validates. Default: 0.15.
        test: share that tests. Default: 0.15.
        folds: deal undivided images into so many folds, one of which tests. Default: no folds.
        fold: which one tests, counted from 1. Default: 1.
        split_seed: fixes the split. Default: that of all versions.

    Raises:
        ValueError: a value that an option does not take.

    Example:
        >>> options = DataOptions(group_column="patient", folds=5, fold=2)
        >>> options.to_dict()
        {'group_column': 'patient', 'folds': 5, 'fold': 2}
        >>> DataOptions.from_dict(options.to_dict()) == options
        True
    """

    path_column: str | None = None
    label_columns: tuple[str, ...] = ()
    split_column: str | None = None
    group_column: str | None = None
    targets: Targets | None = None
    group_pattern: str | None = None
    pages: Pages | None = None
    value_range: Range | None = None
    fit: str = "crop"
    images_key: str | None = None
    labels_key: str | None = None
    masks: str | None = None
    mask_values: tuple[int, ...] = ()
    foreground: bool = False
    validation: int | float = 0.15
    test: int | float = 0.15
    folds: int | None = None
    fold: int = 1
    split_seed: int = SplitRule.seed

    def __post_init__(self) -> None:
        if self.targets is not None:
            one_of("kind of targets", self.targets, _TARGETS)
        if self.group_pattern is not None:
            try:
                re.compile(self.group_pattern)
            except re.error as error:
                raise ValueError(
                    f"group_pattern must be a regular expression, got {self.group_pattern!r}: {error}"
                ) from error
        if len(set(self.mask_values)) != len(self.mask_values) or len(self.mask_values) == 1:
            raise ValueError(f"mask_values must be two or more distinct numbers, got {self.mask_values}")
        if self.foreground and self.mask_values:
            raise ValueError("foreground makes every value of a mask above 0 one class; leave out mask_values")
        _ = self.reading, self.split_rule  # they check their own values

    def group_in(self, path: str, title: str) -> str:
        """Return the group that `group_pattern` finds in a path; "" without a pattern.

        Args:
            path: of an image, from the folder of the data set.
            title: the folder, for the message.

        Raises:
            ValueError: the pattern matches nothing in it.
        """
        if self.group_pattern is None:
            return ""
        found = re.search(self.group_pattern, path)
        group = None if found is None else found.group(1 if found.re.groups else 0)
        if not group:
            raise ValueError(
                f"{title}: the pattern of the groups {self.group_pattern!r} matches nothing in {path}; it is searched "
                "for in the path of every image, from this folder"
            )
        return group

    @property
    def reading(self) -> Reading:
        """How image files are read."""
        return Reading(pages=self.pages, value_range=self.value_range, fit=check_fit(self.fit))

    @property
    def split_rule(self) -> SplitRule:
        """How undivided images are divided."""
        return SplitRule(
            validation=self.validation, test=self.test, folds=self.folds, fold=self.fold, seed=self.split_seed
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the options that are not the default, in types that JSON keeps."""
        return {
            field.name: list(cast("tuple[Any, ...]", value)) if isinstance(value, tuple) else value
            for field in dataclasses.fields(self)
            if (value := getattr(self, field.name)) != field.default
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "DataOptions":
        """Return the options that `to_dict` or a JSON file describes.

        Raises:
            ValueError: an unknown option (the nearest is named), or a value that it does not take.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        given: dict[str, Any] = {}
        for name, value in values.items():
            if name not in names:
                raise ValueError(unknown_name("data option", name, names))
            given[name] = tuple(cast("list[Any]", value)) if isinstance(value, list) else value
        try:
            return cls(**given)
        except TypeError as error:
            raise ValueError(f"the data options {dict(values)} cannot be used: {error}") from error
