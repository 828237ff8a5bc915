"""The conditions of a run besides its config, and how they have changed when it is resumed."""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any, TypedDict

import torch

from sepgconv.data import Dataset
from sepgconv.tasks.environment import PACKAGE, device_name, versions

# The parts of this package that no number of a training depends on. All other parts count.
APART = ("analysis", "cli", "convert", "inference", "interop")
_VERSIONS = ("sepgconv", "torch")  # of what else a training's numbers come from


class Conditions(TypedDict):
    """What may change the numbers of a run.

    Attributes:
        threads: torch's, in each process.
        processes: how many train together.
        device: model name of the processor or GPU.
        code: SHA-256 of the package's code.
        data: SHA-256 of images, labels and class names.
    """

    threads: int
    processes: int
    device: str
    code: str
    data: str


_WORDS: Mapping[str, str] = {
    "threads": "threads was {}, is {}",
    "processes": "the number of processes (devices) was {}, is {}",
    "device": "the device was {}, is {}",
    "code": "the code of this package is another (SHA-256 was {:.12}, is {:.12})",
    "data": "images, labels or bit depth of the data are others (SHA-256 was {:.12}, is {:.12})",
}


@functools.cache
def code_digest() -> str:
    """Return the SHA-256 of the code of this package that a training's numbers come from."""
    found = hashlib.sha256()
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE)
        if name.parts[0] not in APART:
            content = path.read_bytes()
            found.update(f"{name.as_posix()} {len(content)}\n".encode() + content)
    return found.hexdigest()


def conditions_of(trainer: Any, dataset: Dataset) -> Conditions:
    """Return what a trainer of Lightning's is about to train with in this process, and on what."""
    return Conditions(
        threads=torch.get_num_threads(),
        processes=trainer.world_size,
        device=device_name(trainer.strategy.root_device),
        code=code_digest(),
        data=dataset.digest(),
    )


def changes(begun: Mapping[str, Any], now: Conditions) -> list[str]:
    """Return a sentence for each difference that may change the numbers of a run; what is not known gives none.

    Args:
        begun: what config.json holds.
        now: of this process.
    """
    then, used = _known(begun, "conditions"), _known(begun, "versions")
    found = [
        f"the version of {name} was {used[name]}, is {is_now}"
        for name, is_now in versions().items()
        if name in _VERSIONS and used.get(name, is_now) != is_now
    ]
    found += [
        _WORDS[name].format(then[name], is_now) for name, is_now in now.items() if then.get(name, is_now) != is_now
    ]
    return found


def unknown(begun: Mapping[str, Any]) -> list[str]:
    """Return the names of what config.json does not say, because an older version wrote it."""
    said = {**_known(begun, "conditions"), **{f"version of {name}": 1 for name in _known(begun, "versions")}}
    return [name for name in (*_WORDS, *(f"version of {name}" for name in _VERSIONS)) if name not in said]


def known_data(begun: Mapping[str, Any]) -> str | None:
    """Return the SHA-256 of the data set that config.json says; None where an older version wrote it."""
    return _known(begun, "conditions").get("data")


def _known(begun: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = begun.get(part)
    return found if isinstance(found, dict) else {}
