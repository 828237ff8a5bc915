"""What people call the parts of a data set: one table, for folders and for arrays."""

import re
from typing import Literal, TypeAlias

Part: TypeAlias = Literal["train", "validation", "test"]
PartOrAll: TypeAlias = Part | Literal["all"]  # "all": what is not divided

PARTS: tuple[Part, ...] = ("train", "validation", "test")
_SYNONYMS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "development": "validation",
    "test": "test",
    "testing": "test",
}
_ENDINGS = re.compile(r"(set|data|images|imgs)$")


def part_of(name: str) -> Part | None:
    """Return the part that a name stands for, or None.

    Upper and lower case, spaces and signs do not count, nor does "set", "data" or "images" at the end: `Train`,
    `training_set` and `train-images` are all the training part.
    """
    plain = re.sub(r"[\W_]+", "", name.lower())
    return _SYNONYMS.get(plain) or _SYNONYMS.get(_ENDINGS.sub("", plain))
