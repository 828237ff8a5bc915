import dataclasses
import json
import os
import shutil
import signal
import time

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from sepgconv._files import write_json
from sepgconv.data import Split
from sepgconv.tasks import RunRecord, read_history, train
from sepgconv.tasks.module import TrainingModule
from tests.forks import ended, fork
from tests.tasks import worker

MOMENTS = {"config.json": 0, "batch": 2, "last.ckpt": 2, "record.json": 4}  # complete epochs


@pytest.fixture(scope="module")
def killed(tmp_path_factory, config):
    """Folders of trainings, by the moment in which each was killed as nothing can catch, in a process of its own."""
    root = tmp_path_factory.mktemp("killed")
    folders = {moment: root / moment / "run" for moment in MOMENTS}
    come = {moment: root / f"{moment} has come" for moment in MOMENTS}
    processes = [
        fork(worker.train_and_hang, config.to_dict(), str(folders[moment]), moment, str(come[moment]))
        for moment in MOMENTS
    ]
    try:
        deadline = time.monotonic() + 200
        while not all(here.exists() for here in come.values()):
            assert all(process.is_alive() for process in processes), "a training ended before its moment came"
            assert time.monotonic() < deadline, "a moment did not come"
            time.sleep(0.02)
    finally:
        for process in processes:
            process.kill()
    assert [ended(process) for process in processes] == [-signal.SIGKILL] * len(MOMENTS)
    return folders


@pytest.mark.parametrize(("moment", "complete_epochs"), MOMENTS.items())
def test_a_killed_run_resumes_to_the_same_weights_bit_for_bit(
    moment, complete_epochs, killed, config, bars, undisturbed, read_weights, capfd
):
    folder = killed[moment]
    assert not (folder / "record.json").exists()
    assert (folder / "checkpoints" / "last.ckpt").exists() == (complete_epochs > 0)
    for events in folder.glob("tensorboard/events.*"):
        while time.time() < int(events.name.split(".")[3]) + 1:
            time.sleep(0.05)  # TensorBoard orders its files by the second in their names
    if moment == "config.json":
        with pytest.raises(FileNotFoundError, match=r"holds no run to resume .+ start it without resume"):
            train(config, folder=folder, data=bars, resume=True)
        train(config, folder=folder, data=bars, threads=1)
    else:
        with pytest.raises(FileExistsError, match="already holds a run"):
            train(config, folder=folder, data=bars)
        train(config, folder=folder, data=bars, resume=True, threads=1)
        assert f"resuming after epoch {complete_epochs} of 4" in capfd.readouterr().err
    assert read_weights(folder) == undisturbed.weights
    assert what_lasts(folder) == what_lasts(undisturbed.folder)
    assert steps_on_tensorboard(folder) == [1, 2, 3, 4]
    left = [path.name for path in folder.rglob("*") if path.is_file() and "tensorboard" not in str(path)]
    assert sorted(left) == sorted(
        path.name for path in undisturbed.folder.rglob("*") if path.is_file() and "tensorboard" not in str(path)
    )


def steps_on_tensorboard(folder):
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return [event.step for event in events.Scalars("train_loss")]


def what_lasts(folder):
    """History and record, without time, memory, and the commit, which other work in the checkout changes."""
    passing = ("seconds", "cpu_seconds", "peak_memory_bytes", "commit")
    rows = [*read_history(folder / "metrics.csv"), RunRecord.read(folder / "record.json").to_dict()]
    return [{key: value for key, value in row.items() if key not in passing} for row in rows]


@pytest.mark.parametrize("complete", [1, 3])
def test_a_resumed_run_trains_the_epochs_that_are_left_and_no_other(
    complete, tmp_path, config, bars, undisturbed, stop_after, read_weights, monkeypatch
):
    """Beginning anew would end in the same weights, and take longer."""
    folder, trained = tmp_path / "run", []
    stop_after(complete, folder)
    start = TrainingModule.on_train_epoch_start
    monkeypatch.setattr(
        TrainingModule, "on_train_epoch_start", lambda self: trained.append(self.current_epoch) or start(self)
    )
    train(config, folder=folder, data=bars, resume=True, progress=False, threads=1)
    assert trained == list(range(complete, config.epochs))
    assert read_weights(folder) == undisturbed.weights


def test_seconds_and_memory_add_up_over_a_resume(stopped, config, bars):
    before = torch.load(stopped / "checkpoints" / "last.ckpt", weights_only=True)
    state = before["callbacks"]["EpochKeeper"]
    state |= {"seconds": 1000.0, "cpu_seconds": 500.0, "peak_memory_bytes": 10**15}
    torch.save(before, stopped / "checkpoints" / "last.ckpt")
    record = train(config, folder=stopped, data=bars, resume=True, progress=False, threads=1)
    assert 1000 < record.seconds < 1300
    assert 500 < record.cpu_seconds < 800
    assert record.peak_memory_bytes == 10**15


def test_another_config_is_refused_and_every_difference_named(stopped, config, bars):
    other = dataclasses.replace(config, lr=0.5, epochs=9, model_config={"width": 4})
    files = {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match="was started otherwise") as caught:
        train(other, folder=stopped, data=bars, resume=True, progress=False)
    for difference in ("lr was 0.01, is 0.5", "epochs was 4, is 9", "width was 3, is 4"):
        assert difference in str(caught.value)
    assert "gamma" not in str(caught.value)
    assert {path: path.read_bytes() for path in stopped.rglob("*") if path.is_file()} == files


def test_a_run_begun_before_an_option_existed_can_go_on(stopped, config, bars):
    setup = json.loads((stopped / "config.json").read_text())
    assert setup["config"].pop("initialisation") == "sepgconv"
    write_json(stopped / "config.json", setup)
    other = dataclasses.replace(config, initialisation="published")
    with pytest.raises(ValueError, match="initialisation was 'sepgconv', is 'published'"):
        train(other, folder=stopped, data=bars, resume=True, progress=False)
    assert train(config, folder=stopped, data=bars, resume=True, progress=False).epochs == 4


def test_another_precision_is_refused(stopped, config, bars):
    with pytest.raises(ValueError, match="precision was '32-true', is 'bf16-mixed'"):
        train(config, folder=stopped, data=bars, resume=True, precision="bf16-mixed", progress=False)


def test_other_data_are_refused(stopped, config, bars):
    for change, message in {
        "data was 'npz:bars', is 'npz:others'": {"name": "npz:others"},
        "train was 41, is 40": {"train": Split(bars.train.images[:40], bars.train.labels[:40])},
        r"classes was \['0', '1', '2'\], is \['a', 'b', 'c'\]": {"classes": ("a", "b", "c")},
    }.items():
        with pytest.raises(ValueError, match=change):
            train(config, folder=stopped, data=dataclasses.replace(bars, **message), resume=True, progress=False)


def test_a_finished_run_gives_its_record_and_says_so(undisturbed, config, bars, capfd):
    files = {path: path.read_bytes() for path in undisturbed.folder.rglob("*") if path.is_file()}
    record = train(config, folder=undisturbed.folder, data=bars, resume=True)
    assert record == RunRecord.read(undisturbed.folder / "record.json")
    assert "is finished, there is nothing to resume" in capfd.readouterr().err
    assert {path: path.read_bytes() for path in undisturbed.folder.rglob("*") if path.is_file()} == files
    with pytest.raises(ValueError, match="seed was 1, is 5"):
        train(dataclasses.replace(config, seed=5), folder=undisturbed.folder, data=bars, resume=True)


def test_nothing_to_resume_is_said(tmp_path, config, bars):
    with pytest.raises(FileNotFoundError, match=r"holds no run to resume \(no config\.json\)"):
        train(config, folder=tmp_path / "nowhere", data=bars, resume=True)
    assert not (tmp_path / "nowhere").exists()


class Trap:
    """Executed when it is unpickled."""

    def __reduce__(self):
        return os.mkdir, ("executed",)


def test_a_checkpoint_executes_nothing_and_a_damaged_one_is_named(stopped, config, bars, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    checkpoint = stopped / "checkpoints" / "last.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    torch.save({**content, "trap": Trap()}, checkpoint)
    for damage in (None, lambda path: path.write_bytes(path.read_bytes()[:1000]), lambda path: path.write_bytes(b"")):
        if damage:
            damage(checkpoint)
        with pytest.raises(ValueError, match=r"last\.ckpt is not a readable checkpoint"):
            train(config, folder=stopped, data=bars, resume=True, progress=False)
    assert not (tmp_path / "executed").exists()


def test_the_folder_can_be_moved_before_it_is_resumed(stopped, tmp_path, config, bars, undisturbed, read_weights):
    shutil.move(stopped, tmp_path / "elsewhere")
    train(config, folder=tmp_path / "elsewhere", data=bars, resume=True, progress=False, threads=1)
    assert read_weights(tmp_path / "elsewhere") == undisturbed.weights
