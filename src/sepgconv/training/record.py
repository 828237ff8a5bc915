"""The record of a finished run: what was trained, where, how long, and how well."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sepgconv._files import read_json, write_json
from sepgconv._messages import unknown_name


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

    def to_dict(self) -> dict[str, Any]:
        """Return every field in types that JSON keeps."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "RunRecord":
        """Return the record that `to_dict` or its JSON describes.

        Raises:
            ValueError: a field is unknown or missing.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        for key in values:
            if key not in names:
                raise ValueError(unknown_name("field of a run's record", key, names))
        if missing := [name for name in names if name not in values]:
            raise ValueError(f"the run's record lacks {', '.join(missing)}")
        return cls(**values)

    def to_json(self) -> str:
        """Return the record as one line of JSON, for a file with a record a line."""
        return json.dumps(self.to_dict(), allow_nan=False)

    def write(self, path: Path) -> None:
        """Write the record as indented JSON, whole or not at all.

        Raises:
            OSError: it could not be written.
        """
        write_json(path, self.to_dict())

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read a record.

        Raises:
            FileNotFoundError: there is none.
            ValueError: the file is damaged, or not a record.
        """
        try:
            return cls.from_dict(read_json(path))
        except ValueError as error:
            raise ValueError(f"{path} is not a run's record: {error}") from error
