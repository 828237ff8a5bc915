"""A finished run trained further: `extend`."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from sepgconv._files import write_json
from sepgconv.data import Dataset
from sepgconv.tasks.config import TrainingConfig
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.record import RunRecord, read_record
from sepgconv.tasks.run import train


def extend(
    folder: str | Path, epochs: int, *, data: Dataset | None = None, data_dir: str | Path | None = None, **options: Any
) -> RunRecord:
    """Train a finished run for some epochs more, in its folder; the record says so.

    The schedule of the learning rate begins anew with the first of them, as a warm restart does (Loshchilov & Hutter,
    SGDR, ICLR 2017); the schedule "step" goes on as it was. The config then has the epoch in `extended_at`. The former
    record stays beside the new one, as `record-epoch40.json`. If no further epoch is completed, the run stays as it
    was; an extension that was stopped later is resumed like any run.

    Args:
        folder: the run's.
        epochs: how many more.
        data: the data set itself. Default: the config's is loaded.
        data_dir: where its files are; see `sepgconv.data.load_dataset`.
        options: those of `train`, as `devices`, `progress` and `force`.

    Raises:
        ValueError: no number of epochs, the data are others than those of the run, or a file of it is damaged.
        FileNotFoundError: there is no finished run.

    Example:
        >>> import tempfile
        >>> from sepgconv.data import load_dataset, take_images
        >>> from sepgconv.tasks import TrainingConfig, read_history, train
        >>> config = TrainingConfig(model="z2cnn", data="rotated_digits", model_config={"width": 2}, epochs=1)
        >>> digits = take_images(load_dataset("rotated_digits"), 40, seed=1)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     _ = train(config, folder=folder, data=digits, progress=False, accelerator="cpu")
        ...     record = extend(folder, 2, data=digits, progress=False, accelerator="cpu")
        >>> record.epochs, record.config["extended_at"]
        (3, [1])
    """
    if not isinstance(epochs, int) or epochs < 1:
        raise ValueError(f"epochs must be a whole number above 0, got {epochs!r}")
    files = RunFolder(Path(folder))
    begun = files.read_setup()
    if not files.record.is_file():
        raise FileNotFoundError(f"the run in {folder} is not finished; resume it with resume=True (--resume) first")
    done = read_record(files.record).record.epochs
    config = TrainingConfig.from_dict(begun["config"])
    longer = dataclasses.replace(config, epochs=done + epochs, extended_at=(*config.extended_at, done))
    former = files.root / f"record-epoch{done}.json"
    with files.locked():
        # In this order: a run without record is one that can be resumed, whichever of the two configs it has.
        os.replace(files.record, former)
        write_json(files.setup, {**begun, "config": longer.to_dict()})
    options = {"precision": begun.get("precision", "32-true"), **options}
    try:
        return train(longer, folder=folder, data=data, data_dir=data_dir, resume=True, **options)
    except BaseException:
        from sepgconv.tasks.checkpoint import completed_epochs  # Lightning, which `train` has imported

        if completed_epochs(files.checkpoint) == done and not files.record.is_file():
            write_json(files.setup, begun)
            os.replace(former, files.record)
        raise
