"""How Lightning's checkpoints reach the disk and come back: whole files only, and no code in them is ever run."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins.io import CheckpointIO

from sepgconv._files import write_atomically


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
        torch.save(checkpoint, buffer)
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
            ValueError: the file is damaged or holds something else than tensors and plain values.
        """
        try:
            return torch.load(path, map_location=map_location, weights_only=True)
        except FileNotFoundError:
            raise
        except Exception as error:  # torch.load raises whatever the broken part of the file leads to
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(
                f"{path} is not a readable checkpoint ({reason}); the run cannot resume without it: "
                "train it again in another folder (--out)"
            ) from error

    def remove_checkpoint(self, path: str | Path) -> None:
        """Remove a checkpoint.

        Args:
            path: the file; it need not exist.
        """
        Path(path).unlink(missing_ok=True)


def completed_epochs(path: Path) -> int:
    """Return the epoch of a checkpoint, counted from 1; 0 when there is none yet.

    Raises:
        ValueError: the file is damaged.
    """
    if not path.is_file():
        return 0
    # Lightning counts from 0 and names the epoch that just ended.
    return AtomicCheckpointIO().load_checkpoint(path)["epoch"] + 1
