"""The record of a finished run: what was trained, where, how long, and how well."""

import dataclasses
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from sepgconv._files import read_sealed_json, unseal, write_json
from sepgconv._messages import unknown_name
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.schema import check_fields

RECORD = "record.json"
FILES = "files"  # the key under which the digests of the run's other files stand
WITHOUT_DIGEST = "was written by an older version, which kept no digests: not all damage to it can be noticed"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What one finished run leaves behind; everything that a table or a figure needs.

    Attributes:
        model: the network's name.
        width: its width, one number or one for each stage; None where it has none.
        data: the data set's own name, which says where it comes from, as in "rotmnist-generated".
        seed: the run's.
        epochs: how many were trained.
        test_error: of the last epoch's weights on the test images, in percent; read once.
        validation_error: of the same weights in percent; None when the validation part was trained on.
        train_error: of the same weights on the images trained on, without augmentation, in percent.
        parameters: trainable numbers in the network.
        nominal_macs: multiply-accumulates for one image, by the paper's formulas.
        executed_macs: the same, as the layers really run.
        seconds: wall time of the epochs, validation and checkpoints included, over all resumes.
        cpu_seconds: processor time of the same, of all threads of the first process. On a busy machine it says more.
        peak_memory_bytes: the most memory used in training: torch's on a GPU, the first process's on a CPU; or None.
        device: model name of the processor or GPU.
        processes: how many trained together.
        threads: torch's threads in each.
        precision: Lightning's name for it, as in "32-true".
        commit: of the checkout the package ran from, "+dirty" when it was changed; None for an installed copy.
        versions: of this package, Python and the libraries that matter.
        classes: names of the classes, in the order of the scores.
        image_shape: (channels, height, width) of an image.
        images: how many were used, by part: "train", "validation", "test".
        skipped: files of the data set that could not be read.
        config: the `TrainingConfig`, as a dict.
        model_config: the network's complete config.
        changes: what was otherwise when the run was resumed by force, and may have changed its numbers, a sentence
            each; none for a run that went through as it began.
    """

    model: str
    width: int | list[int] | None
    data: str
    seed: int
    epochs: int
    test_error: float
    validation_error: float | None
    train_error: float
    parameters: int
    nominal_macs: int
    executed_macs: int
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int | None
    device: str
    processes: int
    threads: int
    precision: str
    commit: str | None
    versions: dict[str, str]
    classes: list[str]
    image_shape: list[int]
    images: dict[str, int]
    skipped: int
    config: dict[str, Any]
    model_config: dict[str, Any]
    changes: list[str] = field(default_factory=lambda: [])

    def __post_init__(self) -> None:
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape must be channels, height and width, got {self.image_shape}")
        if not self.classes:
            raise ValueError("classes must name one class or more")
        for name in ("train_error", "validation_error", "test_error"):
            error: float | None = getattr(self, name)
            if error is not None and not 0 <= error <= 100:
                raise ValueError(f"{name} must be from 0 to 100, got {error}")

    def to_dict(self) -> dict[str, Any]:
        """Return every field in types that JSON keeps."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunRecord":
        """Return the record that `to_dict`, its JSON or a run's record.json describes.

        Raises:
            ValueError: a field is unknown, missing or of another type, or the digest is not that of the values.
        """
        plain, _ = unseal(values)
        plain.pop(FILES, None)
        names = [f.name for f in dataclasses.fields(cls)]
        for key in plain:
            if key not in names:
                raise ValueError(unknown_name("field of a run's record", key, names))
        check_fields(plain, cls, "the run's record")
        try:
            TrainingConfig.from_dict(plain["config"])
        except ValueError as error:
            raise ValueError(f"the run's record has no config of a training: {error}") from error
        return cls(**plain)

    def to_json(self) -> str:
        """Return the record as one line of JSON, for a file with a record a line."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def write(self, path: Path, *, files: Mapping[str, str] | None = None) -> None:
        """Write the record and its digest as indented JSON, whole or not at all.

        Args:
            path: where to.
            files: the SHA-256 of the files that belong to it, by their names from the record's folder. Default: none.

        Raises:
            OSError: it could not be written.
        """
        write_json(path, {**self.to_dict(), FILES: dict(files or {})})

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read a record. One of an older version has no digest to compare, and is read with a warning.

        Raises:
            FileNotFoundError: there is none.
            OSError: it cannot be read.
            ValueError: the file is damaged, or not a record.
        """
        kept = read_record(path)
        if not kept.sealed:
            warnings.warn(f"{path} {WITHOUT_DIGEST}", stacklevel=2)
        return kept.record


@dataclass(frozen=True)
class KeptRecord:
    """What a record.json holds.

    Attributes:
        record: the record.
        files: the SHA-256 of the run's other files, by their names from the folder; older versions kept none.
        sealed: whether it had a digest of its own; the same.
    """

    record: RunRecord
    files: Mapping[str, str]
    sealed: bool


def read_record(path: Path) -> KeptRecord:
    """Read a record and what else stands in its file, without a warning for an older one.

    Raises:
        OSError, ValueError: as `RunRecord.read`.
    """
    try:
        values, sealed = read_sealed_json(path)
        check_fields(values, _Files, "the file")
        return KeptRecord(RunRecord.from_dict(values), values.get(FILES, {}), sealed)
    except ValueError as error:
        raise ValueError(f"{path} is not a run's record: {error}") from error


def recorded_digest(path: Path) -> str | None:
    """Return the SHA-256 that the record beside a file has of it; None where no record has one."""
    record = path.with_name(RECORD)
    try:
        return read_record(record).files.get(path.name)
    except FileNotFoundError:
        return None


class _Files(TypedDict):
    files: NotRequired[dict[str, str]]
