"""The run that a command works with: its result, or, where it was stopped, one of its checkpoints."""

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from sepgconv._terminal import say

if TYPE_CHECKING:
    from sepgconv.tasks import Run


def read_run(folder: Path, checkpoint: Literal["last", "best"] | None = None) -> "Run":
    """Read a run; of one that is not finished, its best or else its last checkpoint, which standard error says.

    Args:
        folder: the run's.
        checkpoint: take the network of this checkpoint instead.

    Raises:
        FileNotFoundError: the folder is none of a run, or there is no such checkpoint.
        ValueError: a file in it is damaged.
    """
    from sepgconv.tasks import load_run
    from sepgconv.tasks.folder import RunFolder

    files = RunFolder(folder)
    stopped = files.setup.is_file() and not files.record.is_file()
    if checkpoint is None and stopped:
        checkpoint = "best" if files.best.is_file() else "last" if files.checkpoint.is_file() else None
    if checkpoint is None:
        return load_run(folder)
    run = load_run(folder, checkpoint=checkpoint)
    state = "is not finished" if stopped else "is finished"
    say(
        f"The run in {folder} {state}: its {checkpoint} checkpoint is taken, of epoch {run.record.epochs} of "
        f"{run.record.config.get('epochs')}."
    )
    return run
