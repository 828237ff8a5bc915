"""Cells that begin as a trained group network, separated."""

import dataclasses

import pytest
import torch

from experiments import plan, read_records, run_job
from experiments.cells import SEPARATED, with_seed
from experiments.estimate import estimate
from experiments.ranks import FULL, ROWS, SCRATCH_ROWS, SEPARATED_ROWS
from experiments.separated import group_cell
from experiments.work import run_folder
from sepgconv.convert import separate
from sepgconv.tasks import DivergedError, load_run


def test_a_cell_trains_the_group_network_first_and_begins_as_it_separated(trial, job, monkeypatch):
    def shortly(cell):
        return dataclasses.replace(group_cell(cell), overrides={"epochs": 2, "batch_size": 16})

    monkeypatch.setattr("experiments.work.group_cell", shortly)
    cell = trial(
        model="g_p4cnn",
        model_config={"width": 2, "rank": 4},
        initialisation=SEPARATED,
        measures=("initial_error",),
        overrides={"epochs": 1},
    )
    outcome = run_job(job(cell))
    assert outcome.ending == "finished", outcome.problem
    assert group_cell(cell).config.epochs == 50
    base = job(shortly(cell))
    trained = load_run(base.folder)
    assert (trained.record.model, trained.record.epochs) == ("p4cnn", 2)
    record = read_records(job(cell).file).find(cell)
    # At full rank it is the trained network itself.
    assert record["measures"]["initial_error"]["error"] == pytest.approx(trained.record.test_error, abs=0.2)
    assert record["epochs"] == 1
    before = base.folder.stat().st_mtime_ns
    other = dataclasses.replace(cell, model_config={"width": 2, "rank": 1})
    assert run_job(job(other)).ending == "finished"
    assert base.folder.stat().st_mtime_ns == before  # it is trained once
    separated = separate(trained.model, "g", rank=1).model
    assert sum(p.numel() for p in separated.parameters()) == read_records(job(other).file).find(other)["parameters"]


def test_what_is_no_separable_network_cannot_begin_so(trial, job):
    outcome = run_job(job(trial(model="p4cnn", initialisation=SEPARATED)))
    assert outcome.ending == "failed"
    assert "p4cnn is no separable network" in outcome.problem


def test_the_rows_pair_the_same_networks():
    for key, row in SEPARATED_ROWS.items():
        scratch = SCRATCH_ROWS[key].cell
        assert (row.cell.model, row.cell.model_config) == (scratch.model, scratch.model_config)
        assert group_cell(row.cell) == FULL.cell
    assert len(ROWS) == 17


def test_ranks_decide_parameters():
    from sepgconv import create_model

    counts = [
        sum(p.numel() for p in create_model(row.cell.model, **row.cell.model_config).parameters())
        for row in SEPARATED_ROWS.values()
    ]
    assert counts[:2] == [3_420, 6_430]
    assert torch.tensor(counts[:4]).diff().min() > 0


def test_the_estimate_has_the_network_that_is_separated_once_and_only_if_it_is_not_there(tmp_path):
    cells = [with_seed(SEPARATED_ROWS["gc", rank].cell, 2) for rank in (1, 2)]
    first, second = (entry.seconds for entry in plan(cells, "ranks", tmp_path))
    alone = [estimate(cell, []) for cell in (*cells, group_cell(cells[0]))]
    assert first == pytest.approx(alone[0] + alone[2])
    assert second == pytest.approx(alone[1])
    planned = plan([group_cell(cells[0]), *cells], "ranks", tmp_path)
    assert [entry.seconds for entry in planned] == pytest.approx([alone[2], *alone[:2]])
    assert not (tmp_path / ".work").exists()  # nothing is written
    folder = run_folder(group_cell(cells[0]), tmp_path)
    folder.mkdir(parents=True)
    (folder / "record.json").write_text("{}")
    assert [entry.seconds for entry in plan(cells, "ranks", tmp_path)] == pytest.approx(alone[:2])


def test_a_network_to_be_separated_that_diverges_is_recorded(trial, job, monkeypatch):
    from experiments import work

    def diverge(config, **kwargs):
        raise DivergedError(f"the loss of {config.model} is nan")

    monkeypatch.setattr(work, "train", diverge)
    cell = trial(model="g_p4cnn", initialisation=SEPARATED)
    assert run_job(job(cell)).ending == "diverged"
    record = read_records(job(cell).file).find(cell)
    assert record["problem"] == "the loss of p4cnn is nan"
