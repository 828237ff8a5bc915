"""The record of a finished run: what was trained, where, for how long, and how well it does."""

import dataclasses
import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from sepgconv._files import read_sealed_json, unseal, write_json
from sepgconv._messages import unknown_name
from sepgconv.tasks.config import DEFAULT_TASK, TrainingConfig
from sepgconv.tasks.registry import get_task
from sepgconv.tasks.schema import check_fields, check_value
from sepgconv.tasks.task import Task

RECORD = "record.json"
PARTS = ("test", "validation", "train")  # of a data set, in the order of the file
FILES = "files"  # the key under which the digests of the run's other files stand
_NEWER = ("chosen_epoch", "origin", "task_state")
WITHOUT_DIGEST = "was written by an older version, which kept no digests: not all damage to it can be noticed"


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """What one finished run leaves behind; everything that a table or a figure needs.

    Each of its `figures` is an attribute and a key of its file, too: `record.test_error`, `record.validation_error` and
    `record.train_error` where the task is classification.

    Attributes:
        model: the network's name.
        width: its width, one number or one for each stage; None where it has none.
        data: the data set's own name, which says where it comes from, as in "rotmnist-generated".
        seed: the run's.
        epochs: how many were trained.
        figures: the task's metrics of the last epoch's weights, each by the name of its part and its own: on the test
            images, which are read once; on the validation images, None when they were trained on; on the images trained
            on, without augmentation.
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
        classes: names of the classes, in the order of the scores; none where the task knows no classes.
        image_shape: (channels, height, width) of an image.
        images: how many were used, by part: "train", "validation", "test".
        skipped: files of the data set that could not be read.
        config: the `TrainingConfig`, as a dict.
        model_config: the network's complete config.
        chosen_epoch: the epoch whose weights were kept and judged, where the config asks for the best one
            (`TrainingConfig.keep_best`); None: the last one.
        origin: where the weights came from that the run began with (`sepgconv.tasks.pretrained`); None: it drew them.
        task_state: what predictions need of the targets that were trained on (`Task.state`), as their mean; none for
            most tasks.
        changes: what was otherwise when the run was resumed by force, and may have changed its numbers, a sentence
            each; none for a run that went through as it began.

    Raises:
        ValueError: a figure out of its range, an image shape that is none, or classes that the task cannot learn.

    Example:
        >>> import tempfile
        >>> from sepgconv.data import load_dataset, take_images
        >>> from sepgconv.tasks import TrainingConfig, train
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2}, epochs=1)
        >>> digits = take_images(load_dataset("rotated_digits"), 40, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     record = train(config, folder=folder, data=digits, progress=False, accelerator="cpu")
        >>> record.task, list(record.figures), record.figures["test_error"] == record.test_error
        ('classification', ['test_error', 'validation_error', 'train_error'], True)
    """

    model: str
    width: int | list[int] | None
    data: str
    seed: int
    epochs: int
    figures: dict[str, float | None]
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
    chosen_epoch: int | None = None
    origin: dict[str, Any] | None = None
    task_state: dict[str, Any] = field(default_factory=lambda: {})

    def __post_init__(self) -> None:
        if len(self.image_shape) != 3 or min(self.image_shape) < 1:
            raise ValueError(f"image_shape must be channels, height and width, got {self.image_shape}")
        task = self.fitted_task()
        task.head(self.classes)  # raises where it cannot be learned with these classes
        for metric in task.metrics:
            for part in PARTS:
                value = self.figures[f"{part}_{metric.name}"]
                if value is not None and not metric.least <= value <= metric.most:
                    raise ValueError(
                        f"{part}_{metric.name} must be from {metric.least:g} to {metric.most:g}, got {value}"
                    )

    def __getattr__(self, name: str) -> Any:
        figures: Mapping[str, float | None] = self.__dict__.get("figures", {})
        if name in figures:
            return figures[name]
        raise AttributeError(f"the run's record has no {name!r}; its figures are {', '.join(figures) or 'not known'}")

    @property
    def task(self) -> str:
        """Name of what the network was trained for."""
        return self.config.get("task", DEFAULT_TASK)

    def fitted_task(self) -> Task:
        """Return the task with its options and with what it took from the targets that were trained on.

        Raises:
            ValueError: it is not registered, or has other options or another state.
        """
        return get_task(self.task, self.config.get("task_options")).restored(self.task_state)

    def to_dict(self) -> dict[str, Any]:
        """Return every field in types that JSON keeps; each of the figures is a key of its own.

        Fields that older versions did not have are left out where they say nothing.
        """
        values: dict[str, Any] = {}
        for name, value in dataclasses.asdict(self).items():
            if name not in _NEWER or value:
                values |= value if name == "figures" else {name: value}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunRecord":
        """Return the record that `to_dict`, its JSON or a run's record.json describes.

        Raises:
            ValueError: a field is unknown, missing or of another type, or the digest is not that of the values.
        """
        plain, _ = unseal(values)
        plain.pop(FILES, None)
        task, what = get_task(_task_of(plain)), "the run's record"
        kinds = figure_kinds(task)
        names = [name for f in dataclasses.fields(cls) for name in (kinds if f.name == "figures" else [f.name])]
        for key in plain:
            if key not in names:
                raise ValueError(unknown_name("field of a run's record", key, names))
        figures = {name: plain.pop(name) for name in kinds if name in plain}
        check_fields({**plain, "figures": {}}, cls, what)
        if missing := [name for name in kinds if name not in figures]:
            raise ValueError(f"{what} lacks {', '.join(missing)}")
        for name, value in figures.items():
            check_value(value, kinds[name], name, what)
        try:
            TrainingConfig.from_dict(plain["config"])
        except ValueError as error:
            raise ValueError(f"{what} has no config of a training: {error}") from error
        return cls(**plain, figures=figures)

    def to_json(self) -> str:
        """Return the record as one line of JSON, for a file that has one on each line."""
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


def figure_kinds(task: Task) -> dict[str, Any]:
    """Return the annotation of each figure that records of a task have, by name and in the order of their files."""
    return {
        f"{part}_{metric.name}": float | None if part == "validation" else float
        for metric in task.metrics
        for part in PARTS
    }


def _task_of(values: Mapping[str, Any]) -> str:
    config = values.get("config")
    return config.get("task", DEFAULT_TASK) if isinstance(config, dict) else DEFAULT_TASK


def width_of(model_config: Mapping[str, Any]) -> Any:
    """Return the width in a network's config as records hold it: one number, or one for each stage; None for none."""
    return model_config.get("width", model_config.get("widths"))


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
