"""The files of a finished run: written, checked, and written anew from the checkpoint if they are damaged."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sepgconv._files import file_digest, write_atomically
from sepgconv.data import Dataset, build_preprocessing
from sepgconv.data.reading import Fit, check_fit
from sepgconv.models import rebuild_model, save
from sepgconv.models.sealed import read_sealed, to_sealed_bytes
from sepgconv.models.storage import read_model
from sepgconv.tasks.curves import draw_curves
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.history import MetricsRow, format_history, read_history
from sepgconv.tasks.record import KeptRecord, RunRecord
from sepgconv.tasks.registry import get_task

_NAME, _BIT_DEPTH, _FIT = "name", "bit_depth", "fit"  # in the header of the preprocessing
_SPLIT = "split"  # in config.json


def write_results(
    files: RunFolder, record: RunRecord, model: nn.Module, dataset: Dataset, history: Sequence[MetricsRow]
) -> None:
    """Write all that a finished run leaves; the record comes last and has the digests of the others.

    Raises:
        OSError: a file could not be written.
    """
    write_preprocessing(files, dataset)
    save(model, files.model)
    _write_history(files, record, history)
    record.write(files.record, files=_digests(files))


def split_noted(dataset: Dataset) -> dict[str, Any]:
    """Return what config.json says of how the data set is divided; nothing where its files are not known."""
    if dataset.division is None:
        return {}
    return {_SPLIT: {"rule": dataset.division.rule, "sha256": dataset.division.digest()}}


def write_split(files: RunFolder, dataset: Dataset) -> None:
    """Write which file of the data set is in which part; nothing where its files are not known.

    Raises:
        OSError: the file could not be written.
    """
    if dataset.division is not None:
        write_atomically(files.split, dataset.division.to_csv())


def write_preprocessing(files: RunFolder, dataset: Dataset) -> None:
    """Write the preprocessing of the images of a run.

    Raises:
        OSError: it could not be written.
    """
    state = {name: value.contiguous() for name, value in dataset.preprocessing.state_dict().items()}
    metadata = {_NAME: str(dataset.preprocessing.name)}
    if dataset.bit_depth is not None:
        metadata[_BIT_DEPTH] = str(dataset.bit_depth)
    if dataset.fit is not None:
        metadata[_FIT] = dataset.fit
    write_atomically(files.preprocessing, to_sealed_bytes(state, metadata))


def _write_history(files: RunFolder, record: RunRecord, history: Sequence[MetricsRow]) -> None:
    content = format_history(history)
    if not files.history.is_file() or files.history.read_bytes() != content:
        write_atomically(files.history, content)
    title = f"{record.model}, width {record.width}, on {record.data}"
    task = get_task(record.task)
    test = record.figures[f"test_{task.metrics[0].name}"]
    draw_curves(files.curves, history, task=task, title=title, test=test, chosen=record.chosen_epoch)


def _digests(files: RunFolder) -> dict[str, str]:
    paths = files.results | ({files.split.name: files.split} if files.split.is_file() else {})
    return {name: file_digest(path) for name, path in paths.items()}


@dataclass(frozen=True, eq=False)
class KeptPreprocessing:
    """The preprocessing of the images that a run keeps.

    Attributes:
        module: from raw images in [0, 1] to what the network was trained on, in evaluation mode.
        bit_depth: bits that files of 16 bits a pixel used among the images; None where there were none.
        sealed: whether the file had a digest; older versions wrote none.
        fit: how images of another size were brought to theirs (`sepgconv.data.read_image`); None: they came in one
            size, or the run is of a version that only cropped.
    """

    module: nn.Module
    bit_depth: int | None
    sealed: bool
    fit: Fit | None = None


def read_preprocessing(path: Path) -> KeptPreprocessing:
    """Return what a run's file of its preprocessing holds.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    found = read_sealed(path)
    if _NAME not in found.metadata:
        raise ValueError("it does not say which preprocessing it is")
    depth = found.metadata.get(_BIT_DEPTH)
    return KeptPreprocessing(
        build_preprocessing(found.metadata[_NAME], found.state).eval(),
        None if depth is None else int(depth),
        found.sealed,
        None if _FIT not in found.metadata else check_fit(found.metadata[_FIT]),
    )


def faults(files: RunFolder, kept: KeptRecord) -> list[str]:
    """Return the names of a finished run's files that are missing or not what its record says.

    A record of an older version says nothing of them: they are read, and what can be read is taken for right.

    Raises:
        OSError: a file is there and cannot be read.
    """
    if kept.files:
        split = {files.split.name: files.split} if files.split.name in kept.files else {}
        return [
            name
            for name, path in (files.results | split).items()
            if not path.is_file() or file_digest(path) != kept.files.get(name)
        ]
    readers: dict[str, Callable[[], object]] = {
        "metrics.csv": lambda: _whole_history(files, kept.record),
        "curves.png": lambda: files.curves.read_bytes()[:4].index(b"\x89PNG"),
        "preprocessing.safetensors": lambda: read_preprocessing(files.preprocessing),
        "model": lambda: read_model(files.model),
    }
    found: list[str] = []
    for name, read in readers.items():
        try:
            read()
        except (FileNotFoundError, ValueError):
            found.append(name)
    return found


def _whole_history(files: RunFolder, record: RunRecord) -> list[MetricsRow]:
    rows = read_history(files.history)
    if len(rows) != record.epochs:
        raise ValueError(f"{len(rows)} rows of {record.epochs} epochs")
    return rows


def mend(files: RunFolder, kept: KeptRecord, wrong: Sequence[str], data: Callable[[], Dataset]) -> None:
    """Write the results of a finished run anew from its checkpoint; its record stays what it is.

    Args:
        files: the run's.
        kept: what its record.json holds.
        wrong: what `faults` found.
        data: loads the data set, which the preprocessing comes from; called where that is missing.

    Raises:
        OSError: a file could not be read or written.
        ValueError: the checkpoint is damaged, missing, or not that of the last epoch; or the data set, where it is
            needed, is another than the run was trained with.
    """
    from sepgconv.tasks.checkpoint import read_keeper_state, read_weights

    record, lost = kept.record, f"the run in {files.root} is finished, but {', '.join(wrong)} is missing or damaged"
    state = read_keeper_state(files.checkpoint)
    if state is None or state["epoch"] != record.epochs:
        has = "there is no checkpoint" if state is None else f"the checkpoint is of epoch {state['epoch']}"
        raise ValueError(f"{lost}, and {has}, not of epoch {record.epochs}; train it again in another folder (--out)")
    source = files.checkpoint if record.chosen_epoch is None else files.best
    if not source.is_file():
        raise ValueError(f"{lost}, and so is {source}; train it again in another folder (--out)")
    kept_rows = state.get("history")
    history = recover_history(files.history, record.epochs, None) if kept_rows is None else kept_rows
    with torch.device("meta"):  # no random number is drawn
        model = rebuild_model(record.model, record.model_config)
    try:
        model.load_state_dict(read_weights(source), assign=True)
    except RuntimeError as error:
        raise ValueError(f"{lost}, and the weights in {source} are of another network") from error
    if from_data := [name for name in (files.preprocessing.name, files.split.name) if name in wrong]:
        dataset = data()
        if (digest := files.data_digest) is not None and digest != dataset.digest():
            raise ValueError(
                f"{lost}, and the data are others than those it was trained with, so {' and '.join(from_data)} cannot "
                "be written anew from them; put the former back, or train it again in another folder (--out)"
            )
        write_preprocessing(files, dataset)
        write_split(files, dataset)
    save(model, files.model)
    _write_history(files, record, history)
    if (digests := _digests(files)) != kept.files or not kept.sealed:
        record.write(files.record, files=digests)


def recover_history(path: Path, epoch: int, rows: Sequence[MetricsRow] | None) -> list[MetricsRow]:
    """Return the rows of the epochs that a checkpoint has, and make the file hold them.

    Args:
        path: the file, metrics.csv.
        epoch: the checkpoint's, counted from 1.
        rows: what the checkpoint keeps; None where an older version wrote it, and then the file is all there is.

    Raises:
        OSError: the file cannot be read or written.
    """
    content = path.read_bytes() if path.is_file() else b""
    if rows is not None:
        kept = format_history(rows)
        # A row that a kill left beyond the checkpoint is overwritten by its epoch.
        if not content.startswith(kept):
            write_atomically(path, kept)
            warnings.warn(f"{path} was missing or damaged; it is written anew from the checkpoint", stacklevel=2)
        return list(rows)
    try:
        found = read_history(path)[:epoch]
        problem = f"it has {len(found)} rows"
    except ValueError as error:
        found, problem = [], str(error)
    if len(found) < epoch:
        warnings.warn(
            f"{path} is damaged ({problem}, the checkpoint is of epoch {epoch}), and the checkpoint is of an older "
            f"version, which kept no history: the figures of epochs {len(found) + 1} to {epoch} are lost",
            stacklevel=2,
        )
        lost: list[MetricsRow] = [{"epoch": number} for number in range(len(found) + 1, epoch + 1)]
        found += lost
    return found
