"""The best epoch, the end before the last one, and runs that go on when they were finished."""

import dataclasses
import math
import shutil

import pytest
import torch

from sepgconv.data import Split
from sepgconv.tasks import Metric, RunRecord, evaluate, extend, load_run, read_history, train
from sepgconv.tasks.best import best_epoch, is_over
from sepgconv.tasks.checkpoint import completed_epochs
from sepgconv.tasks.folder import RunFolder

ERROR, SCORE = Metric(name="error"), Metric(name="score", higher_is_better=True)


def test_the_best_epoch_is_the_first_with_the_best_figure():
    rows = [{"epoch": i, "validation_error": e, "validation_score": -e} for i, e in enumerate((5.0, 3.0, 3.0, 4.0), 1)]
    assert best_epoch(rows, ERROR) == best_epoch(rows, SCORE) == 2
    assert best_epoch([{"epoch": 1, "train_error": 1.0}], ERROR) == 0
    assert best_epoch([], ERROR) == 0


def test_the_training_is_over_after_so_many_epochs_that_are_not_better(config):
    patient = dataclasses.replace(config, early_stopping=2)
    rows = [{"epoch": i, "validation_error": e} for i, e in enumerate((5.0, 3.0, 3.0, 4.0, 1.0), 1)]
    assert [is_over(patient, rows[:n], ERROR) for n in range(6)] == [False, False, False, False, True, False]
    assert not any(is_over(config, rows[:n], ERROR) for n in range(6))
    extended = dataclasses.replace(patient, extended_at=(4,))
    assert [is_over(extended, [*rows[:4], {**rows[3], "epoch": e}], ERROR) for e in (5, 6)] == [False, True]


@pytest.fixture(scope="module")
def choosy(config):
    """It is at its best early, since it is then made to forget; and ends two epochs after."""
    return dataclasses.replace(
        config, keep_best=True, early_stopping=3, epochs=12, augmentation="none", schedule="step", milestones=()
    )


@pytest.fixture(scope="module")
def chosen(choosy, bars, tmp_path_factory):
    folder = tmp_path_factory.mktemp("chosen") / "run"
    return folder, train(choosy, folder=folder, data=bars, progress=False, threads=1, accelerator="cpu")


def test_the_run_keeps_and_judges_the_network_of_the_best_epoch(chosen, bars):
    folder, record = chosen
    history = read_history(folder / "metrics.csv")
    errors = [row["validation_error"] for row in history]
    best = 1 + errors.index(min(errors))
    assert (record.epochs, record.chosen_epoch) == (len(history), best)
    assert record.epochs == min(12, best + 3)
    assert record.epochs < 12, "the training must end early, or nothing is tested"
    assert record.validation_error == errors[best - 1]
    run = load_run(folder)
    assert evaluate(run, bars.test) == record.test_error
    assert completed_epochs(RunFolder(folder).best) == best
    best_state, last_state = (load_run(folder, checkpoint=which).model.state_dict() for which in ("best", "last"))
    assert all(torch.equal(value, best_state[name]) for name, value in run.model.state_dict().items())
    assert not all(torch.equal(value, best_state[name]) for name, value in last_state.items())
    assert RunRecord.read(folder / "record.json") == record


def test_a_lost_network_is_written_anew_from_the_best_checkpoint(chosen, choosy, bars, tmp_path):
    run = shutil.copytree(chosen[0], tmp_path / "run")
    kept = (run / "model" / "model.safetensors").read_bytes()
    (run / "model" / "model.safetensors").unlink()
    train(choosy, folder=run, data=bars, resume=True, progress=False, threads=1)
    assert (run / "model" / "model.safetensors").read_bytes() == kept


@pytest.mark.parametrize("lost", ["record", "record and best.ckpt"])
def test_a_kill_after_the_end_or_before_the_best_checkpoint_changes_nothing(lost, chosen, choosy, bars, tmp_path):
    """The training has ended early, and does not go on; a best checkpoint of the last epoch comes from last.ckpt."""
    run = shutil.copytree(chosen[0], tmp_path / "run")
    (run / "record.json").unlink()
    if lost == "record":
        record = train(choosy, folder=run, data=bars, resume=True, progress=False, threads=1)
        same = dataclasses.replace(chosen[1], commit=None, peak_memory_bytes=None)
        assert dataclasses.replace(record, commit=None, peak_memory_bytes=None) == same
        return
    (run / "checkpoints" / "best.ckpt").unlink()
    with pytest.raises((FileNotFoundError, ValueError), match=r"best\.ckpt"):
        train(choosy, folder=run, data=bars, resume=True, progress=False, threads=1)


def test_without_a_validation_part_there_is_no_best_epoch(config):
    for change in ({"keep_best": True}, {"early_stopping": 3}):
        with pytest.raises(ValueError, match="asks the validation part for the best epoch"):
            dataclasses.replace(config, hold_out=False, **change)


def test_the_schedule_begins_anew_where_a_run_is_extended(config):
    longer = dataclasses.replace(config, schedule="cosine", lr=0.5, epochs=6, extended_at=(4,))
    first = [0.25 * (1 + math.cos(math.pi * epoch / 4)) for epoch in range(4)]
    assert [longer.learning_rate(epoch) for epoch in range(6)] == pytest.approx([*first, 0.5, 0.25])
    steps = dataclasses.replace(config, epochs=6, extended_at=(4,))
    assert [steps.learning_rate(epoch) for epoch in range(6)] == pytest.approx([0.01] * 2 + [0.001] * 4)


def test_an_extension_goes_on_from_the_last_epoch_and_one_that_fails_leaves_the_run(
    undisturbed, config, bars, tmp_path
):
    run = shutil.copytree(undisturbed.folder, tmp_path / "run")
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file() and "tensorboard" not in str(path)}
    few = dataclasses.replace(bars, test=Split(bars.test.images[:9], bars.test.labels[:9]))
    with pytest.raises(ValueError, match="test was 21, is 9"):
        extend(run, 2, data=few, progress=False, threads=1)
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(ValueError, match="epochs must be a whole number above 0"):
        extend(run, 0)
    record = extend(run, 2, data=bars, progress=False, threads=1)
    rows, former = read_history(run / "metrics.csv"), read_history(undisturbed.folder / "metrics.csv")
    assert rows[:4] == former
    assert [row["epoch"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert (record.epochs, record.config["extended_at"]) == (6, [4])
    assert RunRecord.read(run / "record-epoch4.json") == RunRecord.read(undisturbed.folder / "record.json")
    (run / "record.json").unlink()
    with pytest.raises(FileNotFoundError, match="is not finished; resume it"):
        extend(run, 2, data=bars)
