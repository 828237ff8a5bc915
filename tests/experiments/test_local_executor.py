"""Processes that die: their cells go on from the checkpoint, the others go on, and no claim outlives its process."""

import os
import signal
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import pytest
from filelock import FileLock, Timeout

from experiments import Outcome, read_records, run, run_job
from experiments.executors import local
from experiments.executors.local import LocalExecutor
from tests.forks import CONTEXT, ended, fork, start_server


def forks(method):
    """Stand in for `multiprocessing.get_context`: workers that are new processes have to import everything."""
    assert method == "spawn", "a worker must not have what its parent computed"
    start_server()
    return CONTEXT


# Imported by name in the worker processes. The second epoch of seed 1 kills its process, once; that of seed 2
# does so with the signal that a process may answer.
DYING = """
import os, signal
from experiments import run_job
from sepgconv.tasks.module import TrainingModule

start = TrainingModule.on_train_epoch_start

def work(job):
    def begin(self):
        with (job.results / f"epochs-{job.cell.seed}").open("a") as file:
            file.write(str(self.current_epoch))
        number = {1: signal.SIGKILL, 2: signal.SIGTERM}.get(job.cell.seed)
        died = job.results / f"died-{job.cell.seed}"
        if number and self.current_epoch == 1 and not died.exists():
            died.touch()
            os.kill(os.getpid(), number)
        start(self)

    job.results.mkdir(exist_ok=True)
    TrainingModule.on_train_epoch_start = begin
    return run_job(job)
"""


def test_a_cell_whose_process_dies_goes_on_from_its_checkpoint_and_the_others_go_on(tmp_path, monkeypatch, trial, job):
    (tmp_path / "dying_worker.py").write_text(DYING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(local.multiprocessing, "get_context", forks)
    import dying_worker

    jobs = [job(trial(seed=seed, overrides={"epochs": 3})) for seed in (1, 2, 3)]
    with LocalExecutor(1, work=dying_worker.work) as pool:
        outcomes = run(jobs, [1.0] * 3, pool, progress=False)
    assert [outcomes[each].ending for each in jobs] == ["finished"] * 3
    assert all((tmp_path / "results" / f"died-{seed}").exists() for seed in (1, 2))
    epochs = [(tmp_path / "results" / f"epochs-{seed}").read_text() for seed in (1, 2, 3)]
    assert epochs == ["0112", "0112", "012"]
    assert len(read_records(jobs[0].file).records) == 3


class _DeadPool:
    """Stands in for a pool whose process dies whenever it gets a job."""

    begun = 0

    def __init__(self, *args, **kwargs):
        type(self).begun += 1

    def submit(self, function, *arguments):
        if arguments:
            raise BrokenProcessPool

        class Started:
            def result(self):
                return 2**22 + 1  # no process has such a number

        return Started()

    def shutdown(self, **kwargs):
        pass


def test_a_cell_whose_process_always_dies_is_given_up_and_named(monkeypatch, trial, job):
    monkeypatch.setattr(local, "ProcessPoolExecutor", _DeadPool)
    this = job(trial())
    with LocalExecutor(1) as pool:
        outcome = pool.submit(this).result(timeout=30)
    assert outcome.ending == "failed"
    assert "its process died 3 times" in outcome.problem
    assert str(this.folder) in outcome.problem
    assert _DeadPool.begun == 3


COMMAND = ("table1", "--only", "z2cnn-w20", "--seeds", "1", "--data", "rotated_digits", "--images", "60")


def experiments_in_forks(*words):
    """Call `python -m experiments` with workers that are forks, too."""
    from experiments.__main__ import main

    local.multiprocessing.get_context = forks
    sys.argv = ["experiments", *words]
    main()


@pytest.fixture
def running(tmp_path):
    """The command line in a process of its own, in the middle of a cell with many epochs; what it says; the cell."""
    results, said = tmp_path / "results", tmp_path / "said"
    words = [*COMMAND, "--epochs", "1000", "--results", str(results), "--workers", "1", "--threads", "1"]
    process = fork(experiments_in_forks, *words, stderr=said)
    try:
        deadline = time.monotonic() + 60
        while not (found := list(results.glob(".work/*/checkpoints/last.ckpt"))):
            assert process.is_alive(), said.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield process, said, found[0].parents[1]
    finally:
        process.kill()
        process.join()


def is_claimed(folder):
    try:
        with FileLock(folder.with_name(f"{folder.name}.lock"), timeout=0):
            return False
    except Timeout:
        return True


def wait_until_free(folder):
    deadline = time.monotonic() + 20
    while is_claimed(folder) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_claimed(folder)


def test_ctrl_c_stops_the_cells_and_says_how_to_go_on(running):
    process, said, folder = running
    assert is_claimed(folder)
    os.kill(process.pid, signal.SIGINT)
    assert ended(process, 60) == 130, said.read_text()
    err = said.read_text()
    assert "Stopped." in err
    assert "the same command goes on from there" in err
    assert "Traceback" not in err
    assert wait_until_free(folder)


def test_workers_end_with_the_command_that_is_killed(running):
    process, _, folder = running
    assert is_claimed(folder)
    process.kill()
    assert wait_until_free(folder)


def test_a_worker_has_one_gpu_and_leaves_ctrl_c_to_its_parent(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    handler = signal.getsignal(signal.SIGINT)
    try:
        local._begin("3")
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "3"
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, handler)
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    devices = [worker._device for worker in LocalExecutor(4, devices=2)._workers]
    assert devices == ["0", "1", "0", "1"]
    assert [worker._device for worker in LocalExecutor(2)._workers] == [None, None]


def test_workers_stay_on_the_gpus_that_the_user_allows(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,MIG-7")
    assert [worker._device for worker in LocalExecutor(3, devices=2)._workers] == ["2", "MIG-7", "2"]


def test_what_was_queued_when_the_executor_ends_is_not_begun(trial, job):
    with LocalExecutor(1) as pool:
        pool._stopped.set()
        assert pool.submit(job(trial())).result(timeout=30) == Outcome(ending="failed", problem="stopped")
    assert run_job is pool._work
