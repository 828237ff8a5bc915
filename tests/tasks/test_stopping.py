import errno
import os
import signal
import threading

import pytest
import torch

from sepgconv.tasks import CheckpointError, DivergedError, TrainingConfig, train
from sepgconv.tasks.checkpoint import AtomicCheckpointIO
from sepgconv.tasks.module import TrainingModule


@pytest.fixture
def start(tmp_path, config, bars):
    """Train in a folder; return the folder's files afterwards, by name."""

    def run(**options):
        return train(config, folder=tmp_path / "run", data=bars, progress=False, threads=1, **options)

    return run


@pytest.fixture
def checkpoint(tmp_path):
    return tmp_path / "run" / "checkpoints" / "last.ckpt"


def in_batch(monkeypatch, epoch, batch, action):
    """Let something happen in a batch, both counted from 0."""
    step = TrainingModule.training_step

    def training_step(self, data, batch_idx):
        if (self.current_epoch, batch_idx) == (epoch, batch):
            action(self)
        return step(self, data, batch_idx)

    monkeypatch.setattr(TrainingModule, "training_step", training_step)


def check_what_is_left(start, checkpoint, message, undisturbed, read_weights, monkeypatch):
    """Two epochs are kept and named, nothing is half-written, and the run resumes as if never stopped."""
    assert str(checkpoint) in message
    assert "(epoch 2 of 4)" in message
    assert ("lower learning" if "finite" in message or "the loss" in message else "resume=True (--resume)") in message
    folder = checkpoint.parent.parent
    assert torch.load(checkpoint, weights_only=True)["callbacks"]["EpochKeeper"]["epoch"] == 2
    assert not list(folder.rglob("*.part"))
    assert not (folder / "record.json").exists()
    monkeypatch.undo()
    start(resume=True)
    assert read_weights(folder) == undisturbed.weights


def test_a_loss_that_is_not_finite_stops_the_run(start, checkpoint, monkeypatch, undisturbed, read_weights):
    real, kept = TrainingConfig.learning_rate, []

    def learning_rate(self, epoch):
        if epoch == 2:
            kept.append(checkpoint.read_bytes())
        return 1e38 if epoch == 2 else real(self, epoch)

    monkeypatch.setattr(TrainingConfig, "learning_rate", learning_rate)
    with pytest.raises(
        DivergedError, match=r"^the loss is (nan|inf) in epoch 3, batch 2 \(learning rate 1e\+38\)"
    ) as e:
        start()
    assert checkpoint.read_bytes() == kept[0]
    check_what_is_left(start, checkpoint, str(e.value), undisturbed, read_weights, monkeypatch)


@pytest.mark.parametrize("spoil", ["parameters", "buffers"])
def test_weights_that_the_last_step_spoils_are_not_kept(
    start, checkpoint, monkeypatch, undisturbed, read_weights, spoil
):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        if (self.current_epoch, batch_idx) == (2, 2):
            # Validation must not stumble over it first: what is spoilt here does not reach the loss.
            for value in getattr(self.model, spoil)():
                if value.is_floating_point():
                    value.data.view(-1)[0] = torch.inf
                    break

    monkeypatch.setattr(TrainingModule, "on_train_batch_end", on_train_batch_end)
    with pytest.raises(
        DivergedError, match=r"^a weight is no longer finite at the end of epoch 3; training stopped"
    ) as e:
        start()
    check_what_is_left(start, checkpoint, str(e.value), undisturbed, read_weights, monkeypatch)


def fill_the_disk(monkeypatch, name, *, when):
    """From a moment on, whatever is written to files of a name ends in the error of a full disk."""
    real = os.fsync

    def fsync(descriptor):
        if os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")).startswith(f".{name}.") and when():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds the name of an open file as Linux does")
@pytest.mark.parametrize("name", ["last.ckpt", "metrics.csv"])
def test_a_full_disk_keeps_the_last_good_checkpoint(start, checkpoint, monkeypatch, undisturbed, read_weights, name):
    two_epochs = []
    in_batch(monkeypatch, 2, 0, lambda _: two_epochs.append(checkpoint.read_bytes()))
    fill_the_disk(monkeypatch, name, when=lambda: bool(two_epochs))
    with pytest.raises(CheckpointError, match=r"^could not write epoch 3 to .+run: No space left on device; ") as e:
        start()
    assert checkpoint.read_bytes() == two_epochs[0]
    check_what_is_left(start, checkpoint, str(e.value), undisturbed, read_weights, monkeypatch)


def test_a_full_disk_that_only_tensorboard_notices(start, checkpoint, monkeypatch, undisturbed, read_weights):
    from torch.utils.tensorboard import SummaryWriter

    add_scalar = SummaryWriter.add_scalar

    def full(self, name, value, step):
        if step == 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        add_scalar(self, name, value, step)

    monkeypatch.setattr(SummaryWriter, "add_scalar", full)
    with pytest.raises(CheckpointError, match=r"^could not write epoch 3 to .+run: No space left on device; ") as e:
        start()
    check_what_is_left(start, checkpoint, str(e.value), undisturbed, read_weights, monkeypatch)


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds the name of an open file as Linux does")
def test_a_disk_that_is_full_in_the_first_epoch(start, checkpoint, monkeypatch):
    fill_the_disk(monkeypatch, "last.ckpt", when=lambda: True)
    with pytest.raises(CheckpointError, match="no epoch was complete, so there is no checkpoint yet; continue with"):
        start()
    assert os.listdir(checkpoint.parent) == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="finds the name of an open file as Linux does")
def test_a_disk_that_is_full_at_the_results(start, checkpoint, monkeypatch, undisturbed, read_weights):
    fill_the_disk(monkeypatch, "curves.png", when=lambda: True)
    with pytest.raises(CheckpointError, match=r"could not write the results .+ No space left .+ \(epoch 4 of 4\)"):
        start()
    monkeypatch.undo()
    start(resume=True)
    assert read_weights(checkpoint.parent.parent) == undisturbed.weights


def test_ctrl_c_stops_and_says_how_to_go_on(start, checkpoint, monkeypatch, undisturbed, read_weights, capfd):
    handler = signal.getsignal(signal.SIGINT)
    in_batch(monkeypatch, 2, 1, lambda _: os.kill(os.getpid(), signal.SIGINT))
    with pytest.raises(KeyboardInterrupt, match=r"^training stopped: ") as e:
        start()
    assert signal.getsignal(signal.SIGINT) is handler  # Ctrl-C works again
    assert capfd.readouterr() == ("", "")
    check_what_is_left(start, checkpoint, str(e.value), undisturbed, read_weights, monkeypatch)


def test_ctrl_c_while_the_checkpoint_is_written(start, checkpoint, monkeypatch, undisturbed, read_weights):
    real, reached = os.fsync, []

    def fsync(descriptor):
        if reached:
            reached.clear()
            os.kill(os.getpid(), signal.SIGINT)
        real(descriptor)

    in_batch(monkeypatch, 2, 2, reached.append)
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyboardInterrupt) as e:
        start()
    check_what_is_left(start, checkpoint, str(e.value), undisturbed, read_weights, monkeypatch)


def test_ctrl_c_when_the_checkpoint_was_just_written(start, checkpoint, monkeypatch, undisturbed, read_weights):
    """It is on the disk and not yet counted."""
    real = AtomicCheckpointIO.save_checkpoint

    def save_checkpoint(self, state, path, storage_options=None):
        real(self, state, path, storage_options)
        if state["epoch"] == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(AtomicCheckpointIO, "save_checkpoint", save_checkpoint)
    with pytest.raises(KeyboardInterrupt) as e:
        start()
    check_what_is_left(start, checkpoint, str(e.value), undisturbed, read_weights, monkeypatch)


def test_ctrl_c_after_the_last_epoch(start, checkpoint, monkeypatch, undisturbed, read_weights):
    from sepgconv.tasks import run

    def tally_answers(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "tally_answers", tally_answers)
    with pytest.raises(KeyboardInterrupt, match=r"^training is complete, its results are not: .+ \(epoch 4 of 4\)"):
        start()
    monkeypatch.undo()
    start(resume=True)
    assert read_weights(checkpoint.parent.parent) == undisturbed.weights


def test_sigterm_stops_and_says_how_to_go_on(start, checkpoint, monkeypatch, undisturbed, read_weights):
    in_batch(monkeypatch, 2, 1, lambda _: os.kill(os.getpid(), signal.SIGTERM))
    with pytest.raises(SystemExit) as e:
        start()
    check_what_is_left(start, checkpoint, str(e.value), undisturbed, read_weights, monkeypatch)


def test_any_other_error_comes_through_as_it_is(start, checkpoint, monkeypatch):
    error = RuntimeError("of the user's own code")

    def fail(_):
        raise error

    in_batch(monkeypatch, 2, 1, fail)
    with pytest.raises(RuntimeError) as e:
        start()
    assert e.value is error
    assert checkpoint.is_file()


def test_a_run_outside_the_main_thread(start):
    results = []
    thread = threading.Thread(target=lambda: results.append(start()))
    thread.start()
    thread.join()
    assert results[0].epochs == 4
