"""On a real Ray cluster of one worker on this machine, in a process of its own; and what Ray is asked for."""

import os
import sys
from concurrent.futures import Future
from pathlib import Path
from threading import Timer
from time import sleep

import pytest

from experiments import Cell, Job, Outcome, read_records, run
from experiments.executors import ray as ray_module
from tests.forks import ended, fork


def two_cells(results):
    """Run two cells on a cluster of one worker; print how they ended."""
    cells = [
        Cell(
            model="z2cnn",
            model_config={"width": 2},
            data="rotated_digits",
            images=40,
            seed=seed,
            overrides={"epochs": 1, "batch_size": 16},
        )
        for seed in (1, 2)
    ]
    jobs = [Job(cell=cell, table="table1", results=results, threads=1, accelerator="cpu") for cell in cells]
    with ray_module.RayExecutor(address=None, workers=1, threads=1, gpus=0.0) as pool:
        outcomes = run(jobs, [1.0, 1.0], pool, progress=False)
    print(*(outcomes[job].ending for job in jobs))


@pytest.mark.slow
def test_cells_run_as_tasks_of_a_cluster(tmp_path):
    pytest.importorskip("ray")
    # Its workers are new processes and find `experiments` by the path alone.
    path = os.pathsep.join([str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])])
    process = fork(
        two_cells,
        tmp_path / "results",
        stdout=tmp_path / "out",
        stderr=tmp_path / "err",
        environment={**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0"},
    )
    assert ended(process, 200) == 0, (tmp_path / "err").read_text()
    assert (tmp_path / "out").read_text().splitlines()[-1] == "finished finished"
    assert len(read_records(tmp_path / "results" / "table1.jsonl").records) == 2


class FakeTask:
    """Stands in for a task of Ray and for the reference to its result, which comes when the test says so."""

    def __init__(self):
        self.results = []

    def remote(self, job):
        self.results.append(Future())
        return self

    def future(self):
        return self.results[-1]


def test_what_ray_may_have_begun_is_not_cancelled(monkeypatch, trial, job):
    monkeypatch.setattr(ray_module, "require", lambda *args, **kwargs: FakeRay())
    pool = ray_module.RayExecutor(address=None, workers=1, threads=1, gpus=0.0)
    pool._task = FakeTask()
    jobs = [job(trial(seed=seed)) for seed in (1, 2, 3)]

    def end():
        first, second, third = pool._task.results
        first.set_result(Outcome(ending="no data", problem="which files"))
        sleep(0.2)  # the others run on, on machines that have the files
        second.set_result(Outcome(ending="finished"))
        third.set_exception(RuntimeError("the machine is gone"))

    Timer(0.2, end).start()
    outcomes = run(jobs, [1.0] * 3, pool, progress=False)
    assert [outcomes[each].ending for each in jobs] == ["no data", "finished", "failed"]


class FakeRay:
    """Notes what Ray is asked for."""

    def __init__(self):
        self.asked = {}

    def init(self, **options):
        self.asked["init"] = options

    def remote(self, function):
        self.asked["function"] = function
        return self

    def options(self, **options):
        self.asked["task"] = options
        return self

    def shutdown(self):
        self.asked["shutdown"] = True


def test_what_ray_is_asked_for(monkeypatch):
    fake = FakeRay()
    monkeypatch.setattr(ray_module, "require", lambda *args, **kwargs: fake)
    with ray_module.RayExecutor(address=None, workers=2, threads=3, gpus=0.0):
        pass
    assert fake.asked["init"]["num_cpus"] == 6
    assert fake.asked["init"]["address"] == "local"  # not a cluster that happens to be there
    assert fake.asked["task"] == {"num_cpus": 3, "num_gpus": 0.0, "max_retries": 2}
    assert fake.asked["shutdown"]
    with ray_module.RayExecutor(address="ray://host:10001", workers=2, threads=1, gpus=0.25):
        assert fake.asked["init"] == {"address": "ray://host:10001", "log_to_driver": False}  # it knows its own size
        assert fake.asked["task"]["num_gpus"] == 0.25


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"--executor ray needs 'ray'.+pip install 'sepgconv\[cluster\]'"):
        ray_module.RayExecutor(address=None, workers=1, threads=1, gpus=0.0)
