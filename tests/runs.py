"""What tests do to runs of whatever purpose."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sepgconv._files import file_digest, write_atomically
from sepgconv.tasks.folder import RunFolder
from sepgconv.tasks.record import read_record

_drawing: list[bytes] = []  # of curves, the first that was made


@pytest.fixture(scope="module", autouse=True)
def one_drawing() -> Iterator[None]:
    """Draw the curves of one run, which takes as long as two epochs, and give all others the same."""
    from sepgconv.tasks import results

    draw = results.draw_curves

    def copy(path: Path, *arguments: object, **options: object) -> None:
        if not _drawing:
            draw(path, *arguments, **options)
            _drawing.append(path.read_bytes())
        write_atomically(path, _drawing[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(results, "draw_curves", copy)
        yield


@contextmanager
def stopped_before(epoch: int) -> Iterator[None]:
    """Within the block, a training breaks off when the epoch with this number, counted from 0, begins."""
    from sepgconv.tasks.module import TrainingModule

    start = TrainingModule.on_train_epoch_start

    def stop(self: TrainingModule) -> None:
        if self.current_epoch == epoch:
            raise RuntimeError("stop here")
        start(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TrainingModule, "on_train_epoch_start", stop)
        yield


def sealed_anew(run: Path) -> Path:
    """Return a finished run whose record has the digests of its files as they are now, which a test changed."""
    files = RunFolder(run)
    digests = {name: file_digest(path) for name, path in files.results.items()}
    read_record(files.record).record.write(files.record, files=digests)
    return run
