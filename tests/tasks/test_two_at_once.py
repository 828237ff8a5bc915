"""Two trainings in one folder: the second is refused, whatever it was about to do."""

import dataclasses
import shutil
from pathlib import Path

import pytest

from sepgconv._files import read_json
from sepgconv.tasks import RunRecord, load_run, read_history, train
from sepgconv.tasks.folder import RunFolder
from tests.forks import ended, fork
from tests.tasks import worker


def test_the_second_is_refused_in_one_sentence(tmp_path, config, bars, undisturbed):
    folder = tmp_path / "run"
    with RunFolder(folder).locked():
        with pytest.raises(BlockingIOError, match=r"another process trains in .+run at this moment"):
            train(config, folder=folder, data=bars, progress=False)
    assert not folder.exists()
    stopped = Path(shutil.copytree(undisturbed.folder, tmp_path / "stopped"))
    (stopped / "record.json").unlink()
    with RunFolder(stopped).locked():
        with pytest.raises(BlockingIOError, match="another process trains in"):
            train(config, folder=stopped, data=bars, progress=False, resume=True, threads=1)
        assert load_run(undisturbed.folder)
    train(config, folder=stopped, data=bars, progress=False, resume=True, threads=1)


def test_a_run_may_be_read_while_its_folder_is_locked(undisturbed):
    with RunFolder(undisturbed.folder).locked():
        assert load_run(undisturbed.folder).record.epochs == 4
        assert len(read_history(undisturbed.folder / "metrics.csv")) == 4


def test_what_a_killed_training_left_locks_nobody_out(tmp_path, config, bars):
    (tmp_path / ".lock").touch()
    train(dataclasses.replace(config, epochs=1), folder=tmp_path, data=bars, progress=False)
    assert not (tmp_path / ".lock").exists()


def test_of_processes_that_begin_at_once_one_trains(tmp_path, config):
    """They mixed config, weights and rows in three of eight cases."""
    folder, said = tmp_path / "run", [tmp_path / f"said-{seed}" for seed in (1, 2)]
    processes = [
        fork(worker.train_once, {**config.to_dict(), "seed": seed}, str(folder), stderr=file)
        for seed, file in zip((1, 2), said, strict=True)
    ]
    statuses = [ended(process) for process in processes]
    assert sorted(statuses) == [0, 1], [file.read_text() for file in said]
    refused = said[statuses.index(1)].read_text().splitlines()[-1]
    assert "another process trains in" in refused or "already holds a run" in refused
    seed = 1 + statuses.index(0)
    assert read_json(folder / "config.json")["config"]["seed"] == seed
    assert RunRecord.read(folder / "record.json").seed == seed
    assert load_run(folder).record.seed == seed
    assert [row["epoch"] for row in read_history(folder / "metrics.csv")] == [1, 2, 3, 4]
    assert not (folder / ".lock").exists()
