"""`python -m experiments` as a user types it, on trials of a second each; cells run in this process."""

import functools
import importlib
import json
import sys

import pytest
import torch

from experiments import EXPERIMENTS, append_record, read_records
from experiments.__main__ import main
from experiments.command import parse_seeds
from sepgconv import create_model
from tests.covering import each

PAGES = importlib.import_module("experiments.render.files")  # its package has a function of the name
TRIAL = ("--data", "rotated_digits", "--images", 60, "--epochs", 1, "--seeds", 1, "--only", "gc_p4cnn-w10")


@pytest.fixture
def paper(monkeypatch, capsys, tmp_path):
    """Call `python -m experiments`; return exit status, standard output and standard error."""

    class Here:
        """Runs each job when it is queued, in this process: processes of their own have their own tests."""

        def __init__(self, workers, devices=0):
            pass

        def submit(self, job):
            from concurrent.futures import Future

            from experiments import run_job

            future = Future()
            future.set_result(run_job(job))
            return future

        def __enter__(self):
            return self

        def __exit__(self, *error):
            pass

    monkeypatch.setattr("experiments.executors.local.LocalExecutor", Here)
    monkeypatch.setenv("COLUMNS", "160")

    def call(*words):
        place = () if "--results" in words else ("--results", tmp_path / "results")
        monkeypatch.setattr(sys, "argv", ["experiments", *map(str, (*words, *place))])
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        return int(stop.value.code or 0), captured.out, captured.err

    return call


@pytest.fixture
def not_counted(monkeypatch):
    """Build the networks of all cells, without weights, and do not count what they multiply, which takes long."""

    def built(model, options):
        with torch.device("meta"):
            create_model(model, **json.loads(options))
        return 10**7

    monkeypatch.setattr("experiments.estimate._executed_macs", functools.cache(built))


def test_dry_run_lists_cells_and_time_and_writes_nothing(paper, tmp_path):
    status, out, _ = paper("table1", "--dry-run")
    assert status == 0
    assert "table1: 0 of 35 cells" in out
    assert out.count("missing") == 35
    assert "35 cells to run" in out
    assert not (tmp_path / "results").exists()


def test_dry_run_of_everything_shows_what_is_missing(paper, tmp_path, record, not_counted):
    append_record(tmp_path / "results" / "table1.jsonl", record(EXPERIMENTS["table1"].cells()[0]))
    status, out, _ = paper("all", "--dry-run")
    assert status == 0
    for name, experiment in EXPERIMENTS.items():
        assert f"{name}: " in out
        assert f"of {len(experiment.cells())} cells" in out
    assert "table1: 1 of 35 cells" in out


def test_all_runs_what_matches_as_it_is_run(paper, not_counted):
    """`--only` sees the labels of the altered cells, and tables without one are passed over."""
    words = ("all", "--dry-run", "--seeds", 1)
    status, out, err = paper(*words, "--data", "rotmnist-official", "--only", "z2cnn-w20-rotmnist-official")
    assert (status, err) == (0, "")
    assert [line.split(":")[0] for line in out.splitlines() if " cells" in line and "to run" not in line] == [
        "table1", "figure3", "beyond",
    ]  # fmt: skip
    assert "noise" not in out
    assert "cifar10" not in out
    status, _, err = paper(*words, "--images", 100, "--only", "rotmnist-seed1")
    assert (status, "no cell matches rotmnist-seed1" in err) == (1, True)


def test_a_trial_runs_resumes_and_is_kept_apart(paper, tmp_path):
    status, out, err = paper("table1", *TRIAL)
    assert status == 0, err
    assert "0 of 35 cells." in out  # the table is of the real cells
    assert "Other configs and trials, in no mean" in out
    file = tmp_path / "results" / "table1.jsonl"
    before = file.read_bytes()
    status, out, _ = paper("table1", *TRIAL, "--dry-run")
    assert "table1: 1 of 1 cells" in out
    assert paper("table1", *TRIAL)[0] == 0
    assert file.read_bytes() == before


def test_a_finished_table_prints_itself_and_runs_nothing(paper, tmp_path, record, monkeypatch):
    for cell in EXPERIMENTS["table1"].cells():
        append_record(tmp_path / "results" / "table1.jsonl", record(cell))
    monkeypatch.setattr("experiments.work.run_job", lambda job: pytest.fail("it was run"))
    status, out, _ = paper("table1")
    assert status == 0
    assert "35 of 35 cells." in out
    assert "1.74 ± 0.070" in out
    assert "2.00 ± 0.000" in out


def test_a_damaged_line_is_named_and_its_cell_runs_again(paper, tmp_path):
    assert paper("table1", *TRIAL)[0] == 0
    file = tmp_path / "results" / "table1.jsonl"
    file.write_bytes(file.read_bytes()[:-100])
    status, _, err = paper("table1", *TRIAL)
    assert status == 0
    assert f"{file}, line 1 is damaged" in err
    assert len(read_records(file).records) == 1


def test_a_damaged_line_of_another_table_is_named_too(paper, tmp_path):
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "table1.jsonl").write_text('{"half')
    status, _, err = paper("figure3", "--dry-run", "--seeds", 1)
    assert status == 0
    assert "table1.jsonl, line 1 is damaged" in err


def test_a_cell_that_another_process_finished_meanwhile_is_no_problem(paper, tmp_path, record, monkeypatch):
    from experiments import Outcome

    def elsewhere(job, *, write):
        if write:
            append_record(job.file, record(job.cell, data="rotated_digits"))
        return Outcome(ending="elsewhere", problem="another process is at it")

    monkeypatch.setattr("experiments.run_job", lambda job: elsewhere(job, write=False))
    status, _, err = paper("table1", *TRIAL)
    assert (status, "1 cell was not run" in err) == (1, True)
    monkeypatch.setattr("experiments.run_job", lambda job: elsewhere(job, write=True))
    assert paper("table1", *TRIAL)[0] == 0


def test_missing_data_are_one_sentence_and_exit_status_1(paper, tmp_path):
    words = ("--data", "cifar10-jpeg75", "--data-dir", tmp_path, "--only", "C10", "--seeds", 1, "--epochs", 1)
    status, _, err = paper("table2", *words[:4], "--only", "resnet44", *words[6:])
    assert status == 1
    assert "cifar10_jpeg75.npz" in err
    assert "Traceback" not in err


def test_long_cells_can_be_left_out(paper):
    _, out, _ = paper("figure3", "--dry-run", "--seeds", 1, "--longest", 5)
    assert "39 cells to run" not in out
    (sentence,) = [line for line in out.splitlines() if "cells to run" in line]
    assert 5 < int(sentence.split()[0]) < 20


@each(
    ("words", "sentence"),
    [
        (("tabel1",), "did you mean 'table1'"),
        (("table1", "--only", "nothing"), "no cell of table1 matches nothing"),
        (("table1", "--seeds", "one"), "--seeds must be whole numbers"),
        (("table1", "--epochs", "0"), "epochs must be a whole number above 0"),
        (("table1", "--data", "rotmnist-offical", "--dry-run"), "did you mean 'rotmnist-official'"),
        (("table2", "--data", "rotmnist-official"), "no cell of table2 can be run on rotmnist-official"),
        (("all", "--only", "nothing"), "no cell matches nothing"),
        (("all", "--epochs", "0"), "epochs must be a whole number above 0"),
        (("table1", "--workers", "0"), "--workers"),
        (("table1", "--executor", "slurm"), "slurm"),
        (("table1", "--address", "auto"), "--address auto is for --executor ray"),
        (("table1", "--gpus", "0.5"), "--gpus 0.5 is for --executor ray"),
    ],
)
def test_a_mistake_is_a_sentence(words, sentence, paper, tmp_path):
    status, _, err = paper(*words)
    assert status != 0
    assert sentence in err
    assert "Traceback" not in err
    assert not (tmp_path / "results").exists()


def test_render_writes_the_pages(paper, tmp_path, monkeypatch):
    monkeypatch.setattr(PAGES, "png", lambda picture: b"drawn")
    status, _, err = paper("render", "--docs", tmp_path / "docs", "--readme", tmp_path / "none.md")
    assert status == 1
    assert "no folder of records" in err
    assert not (tmp_path / "docs").exists()
    (tmp_path / "results").mkdir()
    status, out, _ = paper("render", "--docs", tmp_path / "docs", "--readme", tmp_path / "none.md")
    assert status == 0
    assert (tmp_path / "docs" / "table1.md").is_file()
    assert str(tmp_path / "docs" / "figure3a.png") in out


@pytest.mark.parametrize(("text", "found"), [("1,2", (1, 2)), ("1-3", (1, 2, 3)), ("1-2, 7,2", (1, 2, 7)), ("0", (0,))])
def test_seeds(text, found):
    assert parse_seeds(text) == found


@each("text", ["", "a", "1-", "-1", "3-1", "1.5"])
def test_what_are_no_seeds(text):
    with pytest.raises(ValueError, match="--seeds"):
        parse_seeds(text)


def test_an_empty_name_is_no_path(paper):
    status, out, err = paper("table1", "--results", "")
    assert (status, out) == (1, "")
    assert err == "Error: results must name a file or folder, it is empty\n"
