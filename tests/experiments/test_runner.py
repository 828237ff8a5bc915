import dataclasses
from concurrent.futures import Future
from threading import Timer

import pytest
import torch

from experiments import EXPERIMENTS, Job, Outcome, append_record, choose, plan, run, run_job
from experiments.estimate import GPU_MACS_PER_SECOND, MACS_PER_SECOND, PASSES, estimate, work
from experiments.runner import missing
from experiments.store import read_table
from sepgconv.tasks.environment import device_name

TABLE1, FIGURE3 = EXPERIMENTS["table1"], EXPERIMENTS["figure3"]


class Immediately:
    """Runs every job when it is queued; those queued later can still be cancelled while `hold` is on."""

    def __init__(self, work, hold=()):
        self.work, self.hold, self.futures = work, hold, []

    def submit(self, job):
        future = Future()
        self.futures.append(future)
        if job.cell.seed not in self.hold:
            try:
                future.set_result(self.work(job))
            except (OSError, SystemExit) as error:
                future.set_exception(error)
        return future


def jobs_of(cells, tmp_path):
    return [Job(cell=cell, table="table1", results=tmp_path) for cell in cells]


def test_choosing_by_seed_and_label():
    assert len(choose(TABLE1, seeds=(1, 2))) == 14
    assert {cell.label for cell in choose(TABLE1, seeds=(3,), only=["gc_p4cnn"])} == {
        "gc_p4cnn-w10-rotmnist-seed3",
        "gc_p4cnn-w30-rotmnist-seed3",
    }
    assert len(choose(TABLE1, only=["p4cnn-w10-*seed1", "z2cnn-w20-rotmnist-seed1"])) == 2
    with pytest.raises(ValueError, match=r"no cell of table1 matches nothing; the labels are z2cnn-w20-rotmnist-seed1"):
        choose(TABLE1, only=["nothing"])


def test_on_a_substitute_its_own_rows_are_run():
    table2 = EXPERIMENTS["table2"]
    cells = choose(table2, seeds=(1,), data="cifar10-lossless-subset")
    assert len(cells) == 8
    assert all((cell.images, cell.data) == (None, "cifar10-lossless-subset") for cell in cells)  # too few for a fifth
    assert len(choose(table2, seeds=(1,), data="cifar10-jpeg75")) == 12


def test_digits_do_not_replace_other_pictures():
    beyond = choose(EXPERIMENTS["beyond"], data="rotmnist-official")
    assert {cell.data for cell in beyond} == {"rotmnist-official", "noise"}
    assert "cifar10-jpeg75" not in {cell.data for cell in choose(TABLE1, data="rotated_digits")}
    for name, data, usual in (("table2", "rotmnist-official", "cifar10"), ("table1", "cifar10-jpeg75", "rotmnist")):
        with pytest.raises(ValueError, match=f"no cell of {name} can be run on {data}; its data are {usual}$"):
            choose(EXPERIMENTS[name], data=data)
    assert {cell.data for cell in choose(TABLE1, data="pictures/of/mine")} == {"pictures/of/mine"}


def test_cells_that_a_trial_makes_equal_are_run_once():
    cells = choose(FIGURE3, seeds=(1,), images=100)
    assert len({cell.fingerprint for cell in cells}) == len(cells) == 27


def test_a_row_may_have_seeds_of_its_own():
    beyond = EXPERIMENTS["beyond"]
    row, from_table1 = [row for row in beyond.rows if row.seeds and row.cell.model == "z2cnn"]
    assert from_table1.cell in {other.cell for other in TABLE1.rows}  # so its record is taken from there
    cells = [cell for cell in beyond.cells() if cell.row_key == row.cell.row_key]
    assert [cell.seed for cell in cells] == [1]
    assert [cell.seed for cell in beyond.cells()] == sorted(cell.seed for cell in beyond.cells())
    assert any(cell.row_key == row.cell.row_key for cell in beyond.cells((2,)))  # who names a seed gets it


def test_a_trial_is_another_cell():
    (trial,) = choose(TABLE1, seeds=(1,), only=["gc_p4cnn-w30"], images=100, epochs=2, data="rotated_digits")
    assert (trial.images, trial.config.epochs, trial.data) == (100, 2, "rotated_digits")
    assert trial.row_key not in {row.cell.row_key for row in TABLE1.rows}


def test_only_missing_cells_are_left(tmp_path, record):
    cells = TABLE1.cells((1,))
    for cell in cells[:3]:
        append_record(tmp_path / "table1.jsonl", record(cell))
    planned = plan(cells, "table1", tmp_path)
    assert [entry.cell for entry in missing(planned)] == list(cells[3:])
    assert [entry.seconds for entry in planned[:3]] == [60.0] * 3


def test_a_record_of_another_table_counts_and_is_not_copied(tmp_path, record):
    cell = next(c for c in FIGURE3.cells((1,)) if c.fingerprint in {d.fingerprint for d in TABLE1.cells()})
    append_record(tmp_path / "table1.jsonl", record(cell))
    assert plan([cell], "figure3", tmp_path)[0].record == record(cell)
    ran = run_job(Job(cell=cell, table="figure3", results=tmp_path))  # as if another process had just finished it
    assert (ran.ending, ran.error) == ("finished", 2.0)
    assert not (tmp_path / "figure3.jsonl").exists()
    assert any("1 of 45 cells." in table.notes for table in FIGURE3.report(read_table(tmp_path, "figure3")).tables)
    (tmp_path / "table1.jsonl").unlink()  # whoever takes a record away gets the cell run again
    assert plan([cell], "figure3", tmp_path)[0].record is None


def test_a_run_on_a_kind_of_images_is_one_on_the_data_that_it_is_a_kind_of(tmp_path, record):
    cell = TABLE1.cells((1,))[0]
    official, generated = (dataclasses.replace(cell, data=f"rotmnist-{kind}") for kind in ("official", "generated"))
    append_record(tmp_path / "table1.jsonl", record(cell))  # found the generated images
    states = [entry.record is not None for entry in plan([cell, official, generated], "table1", tmp_path)]
    assert states == [True, False, True]
    (tmp_path / "table1.jsonl").unlink()
    append_record(tmp_path / "table1.jsonl", record(official))
    states = [entry.record is not None for entry in plan([cell, official, generated], "table1", tmp_path)]
    assert states == [True, True, False]


def test_a_record_without_the_measures_is_not_enough(tmp_path, record):
    cell = EXPERIMENTS["figure2"].cells((1,))[0]
    append_record(tmp_path / "table1.jsonl", record(cell))  # the same training, as Table 1 has it
    assert plan([cell], "figure2", tmp_path)[0].record is None
    measures = {"redundancy": {"layers": []}}
    append_record(tmp_path / "figure2.jsonl", record(cell, measures=measures))  # as it was before there were two
    assert plan([cell], "figure2", tmp_path)[0].record is None
    measures |= {"standardised_redundancy": {"layers": []}}
    append_record(tmp_path / "figure2.jsonl", record(cell, measures=measures))
    assert plan([cell], "figure2", tmp_path)[0].record is not None


def test_one_cell_that_fails_does_not_stop_the_others(tmp_path):
    def work(job):
        if job.cell.model == "p4cnn":
            raise OSError("the machine is gone")
        if job.cell.model == "z2cnn":
            raise SystemExit("asked to stop")
        return Outcome(ending="finished")

    jobs = jobs_of(TABLE1.cells((1,)), tmp_path)
    outcomes = run(jobs, [1.0] * 7, Immediately(work), progress=False)
    assert [outcome.ending for outcome in outcomes.values()].count("finished") == 5
    failed = sorted(outcome.problem for outcome in outcomes.values() if outcome.ending == "failed")
    assert failed == ["OSError: the machine is gone", "SystemExit: asked to stop"]


def test_a_damaged_history_does_not_stop_the_bar(tmp_path):
    jobs = jobs_of(TABLE1.cells((1,))[:2], tmp_path)
    jobs[1].folder.mkdir(parents=True)
    (jobs[1].folder / "metrics.csv").write_text("epoch,train_loss\nhalf,a\n")
    pool = Immediately(lambda job: Outcome(ending="finished"), hold=(1,))
    submit = pool.submit

    def one_after_the_other(job):
        future = submit(job)
        Timer(0.1 + 0.1 * (job is jobs[1]), future.set_result, [Outcome(ending="finished")]).start()
        return future

    pool.submit = one_after_the_other
    assert all(outcome.ending == "finished" for outcome in run(jobs, [1.0] * 2, pool, progress=False).values())


def test_where_data_are_missing_the_queued_cells_on_them_are_not_begun(tmp_path):
    def work(job):
        return Outcome(ending="no data", problem="which files")

    cells = [cell for cell in TABLE1.cells((1, 2)) if cell.model == "p4cnn"]
    other = dataclasses.replace(cells[0], data="rotated_digits", seed=2)
    pool = Immediately(work, hold=(2,))
    jobs = jobs_of([*cells, other], tmp_path)
    original = pool.submit

    def submit(job):
        future = original(job)
        if job.cell.data == "rotated_digits":
            future.set_result(Outcome(ending="finished"))
        return future

    pool.submit = submit
    outcomes = run(jobs, [1.0] * 3, pool, progress=False)
    assert [outcomes[job].ending for job in jobs] == ["no data", "no data", "finished"]
    assert [outcomes[job].problem for job in jobs] == ["which files", "", ""]


def test_the_bar_counts_cells_and_epochs(tmp_path, capsys):
    jobs = jobs_of(TABLE1.cells((1,)), tmp_path)
    run(jobs, [1.0] * 7, Immediately(lambda job: Outcome(ending="failed", problem="no luck")))
    err = capsys.readouterr().err
    assert "7 of 7 cells" in err
    assert "100 %" in err
    assert "gc_p4cnn-w30-rotmnist-seed1: failed: no luck" in err


def test_estimates_come_from_the_nearest_records(record):
    small, large = (c for c in TABLE1.cells((1,)) if c.model == "gc_p4cnn")
    guess = PASSES * 12_000 * 50 * 16_500_000 / MACS_PER_SECOND
    assert estimate(large, []) == pytest.approx(guess, rel=0.02)
    other = record(small, seconds=100.0, executed_macs=2_186_180)  # another width
    assert estimate(large, [other]) == pytest.approx(100 * work(large) / work(small), rel=0.01)
    same = [record(dataclasses.replace(large, seed=seed), seconds=seconds) for seed, seconds in ((2, 50.0), (3, 70.0))]
    assert estimate(large, [other, *same]) == 60.0
    assert estimate(large, [record(small, None, status="diverged", seconds=1.0)]) == pytest.approx(guess, rel=0.02)


def test_estimates_leave_out_what_a_run_waited_for_the_processor(record):
    (cell,) = choose(TABLE1, seeds=(1,), only=["gc_p4cnn-w30"])
    here = device_name(torch.device("cpu"))
    for device, cpu_seconds, expected in ((here, 40.0, 40.0), (here, 300.0, 100.0), ("a GPU", 40.0, 100.0)):
        same = record(cell, seconds=100.0, cpu_seconds=cpu_seconds, device=device)
        assert estimate(cell, [same]) == expected


def test_estimates_on_a_gpu_take_nothing_from_processors(record, monkeypatch):
    (cell,) = choose(TABLE1, seeds=(1,), only=["gc_p4cnn-w30"])
    on_cpu = record(cell, seconds=1000.0)
    assert estimate(cell, [on_cpu]) == 1000.0
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: "a GPU")
    assert estimate(cell, [on_cpu]) == work(cell) / GPU_MACS_PER_SECOND
    assert estimate(cell, [on_cpu, record(cell, seconds=10.0, device="a GPU")]) == 10.0


def test_estimates_know_images_epochs_and_held_out_images():
    (cell,) = choose(TABLE1, seeds=(1,), only=["gc_p4cnn-w30"])
    assert work(dataclasses.replace(cell, images=1200)) == pytest.approx(work(cell) / 10)
    assert work(dataclasses.replace(cell, overrides={"epochs": 5})) == pytest.approx(work(cell) / 10)
    assert work(dataclasses.replace(cell, overrides={"hold_out": True})) == pytest.approx(work(cell) * 10 / 12)
