"""On a real Ray cluster of two workers on this machine, in a process of its own."""

import json
import os
import subprocess
import sys
from concurrent.futures import Future
from pathlib import Path
from threading import Timer
from time import sleep

import pytest

from experiments import Outcome, read_records, run
from experiments.executors import ray as ray_module

SCRIPT = """
import json, pathlib, sys
from experiments import Cell, Job, run
from experiments.executors.ray import RayExecutor

if __name__ == "__main__":
    def cell(seed, **fields):
        return Cell(
            model="z2cnn", model_config={"width": 2}, data="rotated_digits", images=40, seed=seed,
            overrides={"epochs": 2, "batch_size": 16}, **fields,
        )

    results = pathlib.Path(sys.argv[1])
    cells = [cell(1), cell(2), cell(3)]
    jobs = [Job(cell=c, table="table1", results=results, threads=1, accelerator="cpu") for c in cells]
    with RayExecutor(address=None, workers=2, threads=1, gpus=0.0) as pool:
        outcomes = run(jobs, [1.0] * 3, pool, progress=False)
    print(json.dumps([outcomes[job].ending for job in jobs]))
"""


@pytest.mark.slow
def test_cells_run_as_tasks_of_a_cluster(tmp_path):
    pytest.importorskip("ray")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    # A script in another folder finds `experiments` as one in the checkout does, and so do the workers.
    places = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, script, tmp_path / "results"],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == ["finished"] * 3
    assert len(read_records(tmp_path / "results" / "table1.jsonl").records) == 3


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
