"""How Lightning's checkpoints reach the disk and come back: whole files only, and no code in them is ever run."""

import io
import zipfile
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

import torch
from lightning.pytorch.plugins.io import CheckpointIO
from torch import Tensor
from torch.serialization import get_crc32_options, set_crc32_options

from sepgconv._files import write_atomically
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.schema import check_fields


class AtomicCheckpointIO(CheckpointIO):
    """Checkpoints of tensors and plain values, each replacing the last one only when it is complete."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a checkpoint; the one that `path` held before stays until this one is on the disk.

        Args:
            checkpoint: what Lightning wants kept.
            path: the file.
            storage_options: not used; part of Lightning's interface.

        Raises:
            OSError: it could not be written; the old file is untouched.
        """
        # Serialised in memory first: torch's writer turns a full disk into a RuntimeError without the reason.
        buffer = io.BytesIO()
        checksums = get_crc32_options()
        set_crc32_options(True)  # a program may have switched them off, and without them no damage could be noticed
        try:
            torch.save(checkpoint, buffer)
        finally:
            set_crc32_options(checksums)
        write_atomically(Path(path), buffer.getbuffer())

    def load_checkpoint(
        self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Read a checkpoint.

        Args:
            path: the file.
            map_location: device of the tensors. Default: the CPU; Lightning moves them on.
            weights_only: not used; always True, so that a file from elsewhere cannot run code.

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be read.
            ValueError: the file is damaged, holds something else than tensors and plain values, or no checkpoint.
        """
        content = Path(path).read_bytes()
        try:
            # torch.load does not compare the checksums that torch.save wrote.
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if (damaged := archive.testzip()) is not None:
                    raise ValueError(f"the checksum of {damaged} in it is wrong")
            checkpoint = torch.load(io.BytesIO(content), map_location=map_location, weights_only=True)
            if not isinstance(checkpoint, dict):
                raise ValueError(f"it holds a {type(checkpoint).__name__}, no checkpoint")
            _check(cast("dict[str, Any]", checkpoint))
        except Exception as error:  # zipfile and torch.load may raise anything on a broken file
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"{path} is not a readable checkpoint ({reason}); the run cannot resume without it: "
                "train it again in another folder (--out)"
            ) from error
        return cast("dict[str, Any]", checkpoint)

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint.

        Args:
            path: the file; it need not exist.
        """
        Path(path).unlink(missing_ok=True)


class KeeperState(TypedDict):
    """What the checkpoint keeps of the `EpochKeeper`.

    Attributes:
        epoch: of the checkpoint, counted from 1.
        seconds: wall time until then.
        cpu_seconds: processor time until then.
        peak_memory_bytes: the most memory used until then; None where it cannot be measured.
        history: a row for each epoch until then; older versions kept none.
        run: the random number of the run that it is of (`RunFolder.identity`); the same.
    """

    epoch: int
    seconds: float
    cpu_seconds: float
    peak_memory_bytes: int | None
    history: NotRequired[list[dict[str, int | float]]]
    run: NotRequired[str]


class _Callbacks(TypedDict):
    EpochKeeper: KeeperState


class _EpochProgress(TypedDict):
    current: dict[str, int]
    total: dict[str, int]


class _FitLoop(TypedDict):
    epoch_progress: _EpochProgress


class _Loops(TypedDict):
    fit_loop: _FitLoop


class _Checkpoint(TypedDict):
    epoch: int
    global_step: int
    state_dict: dict[str, Tensor]
    optimizer_states: list[dict[str, Any]]
    loops: _Loops
    callbacks: dict[str, Any]


def _check(checkpoint: dict[str, Any]) -> None:
    check_fields(checkpoint, _Checkpoint, "the checkpoint")
    check_fields(checkpoint["callbacks"], _Callbacks, "the checkpoint's part of this package")
    state: KeeperState = checkpoint["callbacks"]["EpochKeeper"]
    # Lightning counts from 0 and names the epoch that just ended.
    if state["epoch"] != checkpoint["epoch"] + 1 or state["epoch"] < 1:
        raise ValueError(f"it is of epoch {checkpoint['epoch']}, its part of this package of epoch {state['epoch']}")
    # Without it Lightning would begin to count anew, with the weights that are there.
    if checkpoint["loops"]["fit_loop"]["epoch_progress"]["current"].get("ready") != state["epoch"]:
        raise ValueError(f"its loops are not at the end of epoch {state['epoch']}")
    rows = state.get("history")
    if rows is not None and [row.get("epoch") for row in rows] != list(range(1, state["epoch"] + 1)):
        raise ValueError("its history has not one row for each epoch")


def completed_epochs(path: Path) -> int:
    """Return the epoch of a checkpoint, counted from 1; 0 when there is none yet.

    Raises:
        OSError: it cannot be read.
        ValueError: the file is damaged.
    """
    return state["epoch"] if (state := read_keeper_state(path)) is not None else 0


def own_epochs(folder: RunFolder) -> int:
    """Return the epoch of a run's checkpoint, as `completed_epochs`; the run must have been begun.

    Raises:
        OSError: it cannot be read.
        ValueError: the file is damaged, or of another run.
    """
    state = read_keeper_state(folder.checkpoint)
    if state is None:
        return 0
    if state.get("run") != folder.identity:
        raise ValueError(
            f"{folder.checkpoint} is of another run than {folder.setup}; put the run's own back, or train it again in "
            "another folder (--out)"
        )
    return state["epoch"]


def read_keeper_state(path: Path) -> KeeperState | None:
    """Return what a checkpoint keeps of the `EpochKeeper`; None when there is no checkpoint yet.

    Raises:
        OSError: it cannot be read.
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return None
    return AtomicCheckpointIO().load_checkpoint(path)["callbacks"]["EpochKeeper"]


def read_weights(path: Path) -> dict[str, Tensor]:
    """Return the weights and statistics that a checkpoint keeps of the network, as its `state_dict`.

    Raises:
        OSError: it cannot be read.
        ValueError: the file is damaged.
    """
    state: dict[str, Tensor] = AtomicCheckpointIO().load_checkpoint(path)["state_dict"]
    return {name.removeprefix(_NETWORK): value for name, value in state.items() if name.startswith(_NETWORK)}


_NETWORK = "model."  # where the `TrainingModule` has it
