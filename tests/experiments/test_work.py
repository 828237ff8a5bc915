import dataclasses
import json

import pytest
from filelock import FileLock

from experiments import read_records, run_job
from experiments import work as work_module
from experiments.statistics import origin
from experiments.work import can_resume
from sepgconv._files import write_json
from sepgconv.tasks import DivergedError, train
from tests.runs import stopped_before


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    import pooch

    def refuse(*args, **kwargs):
        raise AssertionError("a download was attempted")

    monkeypatch.setattr(pooch, "retrieve", refuse)


def test_a_cell_leaves_a_line_with_the_full_record(trial, job):
    cell = trial(model="p4cnn", measures=("redundancy",))
    assert run_job(job(cell)).ending == "finished"
    (line,) = job(cell).file.read_text().splitlines()
    record = json.loads(line)
    for name in ("model", "width", "seed", "data", "epochs", "test_error", "parameters", "seconds", "device", "commit"):
        assert name in record
    assert (record["model"], record["width"], record["epochs"], record["data"]) == ("p4cnn", 2, 2, "rotated_digits")
    assert record["images"] == {"train": 40, "test": 597}
    assert {"nominal_macs", "executed_macs", "versions", "config", "threads"} <= set(record)
    layers = record["measures"]["redundancy"]["layers"]
    assert [len(layer["after"]) for layer in layers] == [4] * 6  # all but the input layer, all 2 x 2 sets
    assert all(layer["before"] != layer["after"] for layer in layers)


def test_a_finished_cell_is_not_run_again(trial, job, record, monkeypatch):
    cell = trial()
    from experiments import append_record

    append_record(job(cell).file, record(cell))
    monkeypatch.setattr(work_module, "train", lambda *args, **kwargs: pytest.fail("it was run again"))
    assert run_job(job(cell)).ending == "finished"


def test_the_same_cell_gives_the_same_error_in_another_folder(trial, job, tmp_path):
    cell = trial()
    first = job(cell)
    second = dataclasses.replace(first, results=tmp_path / "clone")
    assert run_job(first).ending == run_job(second).ending == "finished"
    errors = [read_records(j.file).find(cell)["test_error"] for j in (first, second)]
    assert errors[0] == errors[1]


def test_a_cell_that_another_process_claims_is_left_to_it(trial, job):
    cell = trial()
    lock = job(cell).folder.with_name(f"{job(cell).folder.name}.lock")
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock):
        assert run_job(job(cell)).ending == "elsewhere"
        assert not job(cell).file.exists()
    assert run_job(job(cell)).ending == "finished"


def test_a_cell_that_diverges_is_recorded_as_that_and_not_run_again(trial, job, monkeypatch):
    cell = trial(overrides={"lr": 1e30})
    assert run_job(job(cell)).ending == "diverged"
    record = read_records(job(cell).file).find(cell)
    assert (record["status"], record["test_error"]) == ("diverged", None)
    assert "loss is" in record["problem"] or "no longer finite" in record["problem"]
    assert record["parameters"] > 0
    monkeypatch.setattr(work_module, "train", lambda *args, **kwargs: pytest.fail("it was run again"))
    assert run_job(job(cell)).ending == "diverged"


def test_missing_data_are_named_with_the_files_and_the_place(trial, job, tmp_path):
    cell = trial(data="cifar10-jpeg75", model="resnet44", model_config={"widths": [2, 2, 2]})
    outcome = run_job(job(cell, data_dir=tmp_path / "empty"))
    assert outcome.ending == "no data"
    assert "cifar10_jpeg75.npz" in outcome.problem
    assert str(tmp_path / "empty") in outcome.problem
    assert not job(cell).file.exists()


def test_what_goes_wrong_with_a_cell_is_its_outcome(trial, job):
    outcome = run_job(job(trial(images=10**6)))
    assert outcome.ending == "failed"
    assert "1000000 cannot be taken" in outcome.problem


@pytest.fixture
def stopped(trial, job):
    """A job that was broken off in its second epoch."""
    this = job(trial(overrides={"epochs": 3}))
    with stopped_before(1):
        outcome = run_job(this)
    assert (outcome.ending, outcome.problem) == ("failed", "RuntimeError: stop here")
    return this


def test_a_cell_that_was_broken_off_goes_on_from_its_checkpoint(stopped, monkeypatch):
    from sepgconv.tasks.module import TrainingModule

    start, epochs = TrainingModule.on_train_epoch_start, []

    def note(self):
        epochs.append(self.current_epoch)
        start(self)

    monkeypatch.setattr(TrainingModule, "on_train_epoch_start", note)
    assert run_job(stopped).ending == "finished"
    assert epochs == [1, 2]


def test_a_damaged_checkpoint_is_put_aside_and_the_cell_begins_anew(stopped):
    checkpoint = stopped.folder / "checkpoints" / "last.ckpt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:100])
    assert run_job(stopped).ending == "finished"
    (aside,) = stopped.folder.parent.glob("*.aside-*")
    assert (aside / "checkpoints" / "last.ckpt").stat().st_size == 100


def test_a_run_that_another_version_finished_begins_anew(trial, job):
    this = job(trial())
    assert run_job(this).ending == "finished"
    assert can_resume(this.folder, this.cell.config, "rotated_digits")
    path = this.folder / "record.json"
    write_json(path, json.loads(path.read_text().replace('"sepgconv": "0.1.0"', '"sepgconv": "0.0.1"')))
    assert not can_resume(this.folder, this.cell.config, "rotated_digits")
    assert not this.folder.exists()


@pytest.mark.parametrize(
    "change",
    [
        lambda setup: setup["versions"].update(sepgconv="0.0.1"),
        lambda setup: setup["data"].update(data="rotmnist-official"),
        lambda setup: setup.pop("data"),
    ],
    ids=["version", "data", "unknown data"],
)
def test_a_run_begun_with_another_version_or_on_other_images_begins_anew(change, stopped):
    """As when the official images are found after a training on generated ones was broken off."""
    setup = json.loads((stopped.folder / "config.json").read_text())
    assert setup["versions"]["sepgconv"] == "0.1.0"
    change(setup)
    write_json(stopped.folder / "config.json", setup)
    assert run_job(stopped).ending == "finished"
    assert len(list(stopped.folder.parent.glob("*.aside-*"))) == 1


def test_a_run_that_does_not_say_its_version_is_of_the_first(stopped):
    setup = json.loads((stopped.folder / "config.json").read_text())
    del setup["versions"]
    write_json(stopped.folder / "config.json", setup)
    assert can_resume(stopped.folder, stopped.cell.config, "rotated_digits")


def test_measures_of_a_finished_run_name_their_own_commit(trial, job, monkeypatch):
    assert run_job(job(trial(model="p4cnn"))).ending == "finished"  # as a table that measures nothing runs it
    monkeypatch.setattr(work_module, "git_commit", lambda: "another")
    cell = trial(model="p4cnn", measures=("redundancy",))
    assert run_job(job(cell, table="later")).ending == "finished"
    record = read_records(job(cell, table="later").file).find(cell)
    assert record["measures_commit"] == "another" != record["commit"]
    assert read_records(job(cell).file).find(trial(model="p4cnn"))["measures_commit"] is None
    assert f"commit {record['commit'][:12]}" in origin([record])[1]
    assert origin([record], [record])[1].endswith("of what was measured afterwards another.")
    assert "another" not in origin([record])[1]  # where only the error is shown


def test_a_run_begun_with_another_config_is_put_aside(stopped, monkeypatch):
    """As when a name in the config means something else than it did."""
    monkeypatch.undo()
    setup = json.loads((stopped.folder / "config.json").read_text())
    setup["config"]["lr"] = 0.5
    write_json(stopped.folder / "config.json", setup)
    assert run_job(stopped).ending == "finished"
    assert len(list(stopped.folder.parent.glob("*.aside-*"))) == 1


def test_convergence_and_equivariance_are_measured(trial, job):
    cell = trial(
        model="gc_p4cnn",
        overrides={"hold_out": True},
        initialisation="published",
        measures=("convergence", "equivariance"),
    )
    assert run_job(job(cell)).ending == "finished"
    measures = read_records(job(cell).file).find(cell)["measures"]
    assert len(measures["convergence"]["validation_error"]) == 2
    assert 0 <= measures["equivariance"]["error"] < 1e-9


def test_the_initialisation_reaches_the_training(trial, job, monkeypatch):
    """With a rate of almost zero, the weights stay what they were drawn as."""
    import torch

    from sepgconv.tasks import load_run

    weights = {}
    for name in ("sepgconv", "published"):
        this = job(trial(model="gc_p4cnn", overrides={"lr": 1e-12, "epochs": 1}, initialisation=name))
        assert run_job(this).ending == "finished"
        model = load_run(this.folder).model
        weights[name] = next(p for key, p in model.named_parameters() if "pointwise" in key)
    assert weights["published"].abs().max() <= 1 / (2 * 9) ** 0.5 + 1e-6
    assert not torch.equal(weights["sepgconv"], weights["published"])


def test_an_untrained_measurement(trial, job):
    cell = trial(
        model="gc_p4m_resnet44",
        model_config={"widths": [2, 2, 2], "downsampling": "exact", "head": "invariant"},
        data="noise",
        images=None,
        task="equivariance",
    )
    broken = dataclasses.replace(cell, model_config={"widths": [2, 2, 2]})
    for each in (cell, broken):
        assert run_job(job(each)).ending == "finished"
    exact, paper = (read_records(job(each).file).find(each) for each in (cell, broken))
    assert exact["measures"]["equivariance"]["error"] < 1e-9 < 1e-3 < paper["measures"]["equivariance"]["error"]
    assert exact["test_error"] is None


def test_controlled_cells_run_and_resume(trial, job, monkeypatch):
    cell = trial(
        model="controlled_p4cnn",
        model_config={"width": 2, "filters": "equal", "precision": "float64"},
        task="controlled",
    )
    assert run_job(job(cell)).ending == "finished"
    record = read_records(job(cell).file).find(cell)
    assert record["epochs"] == 2
    assert 0 <= record["test_error"] <= 100
    lost = dataclasses.replace(cell, overrides={**cell.overrides, "lr": 1e300})
    assert run_job(job(lost)).ending == "diverged"


def test_train_prepares_the_network(tmp_path, trial):
    seen = []
    config = trial().config
    train(config, folder=tmp_path / "run", progress=False, threads=1, prepare=seen.append)
    assert len(seen) == 1


def test_the_error_that_counts_as_diverged_is_the_trainings(trial, job, monkeypatch):
    def diverge(*args, **kwargs):
        raise DivergedError("the loss is inf")

    monkeypatch.setattr(work_module, "train", diverge)
    assert run_job(job(trial())).ending == "diverged"

    def fail(*args, **kwargs):
        raise RuntimeError("something else")

    monkeypatch.setattr(work_module, "train", fail)
    assert run_job(job(trial(seed=2))).ending == "failed"
