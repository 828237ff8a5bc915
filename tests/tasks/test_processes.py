"""One process is one process, whatever its number; several start, stop and end together, and none waits for ever."""

import os
import signal
import subprocess
import time

import pytest
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from sepgconv.tasks import LostProcessError, devices, is_main_process, read_history, train
from sepgconv.tasks.processes import together
from tests.covering import each
from tests.forks import command, fork
from tests.forks import ended as exit_status
from tests.tasks import worker

NUMBERS = {"RANK": "3", "LOCAL_RANK": "1", "SLURM_PROCID": "1", "SLURM_NTASKS": "8", "JSM_NAMESPACE_RANK": "1"}
TIME = 90  # seconds for processes to begin on a busy machine
SOON = 60  # seconds for processes to end on one


def words_of(npz, folder, *words):
    settings = ["--data", npz, "--width", 2, "--threads", 1, "--accelerator", "cpu", "--out", folder]
    return ["train", "gc_p4cnn", *map(str, [*settings, *words])]


def environment(**more):
    return {key: value for key, value in os.environ.items() if key not in (*NUMBERS, "WORLD_SIZE")} | more


def test_a_number_of_a_process_switches_no_log_off(tmp_path, config, bars, monkeypatch):
    """As Lightning takes it from the environment when it is imported."""
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    train(config, folder=tmp_path / "run", data=bars, progress=False, threads=1)
    assert [row["epoch"] for row in read_history(tmp_path / "run" / "metrics.csv")] == [1, 2, 3, 4]
    assert [file for file in (tmp_path / "run" / "tensorboard").iterdir() if "tfevents" in file.name]
    assert is_main_process()


def test_tasks_of_a_sweep_are_runs_of_their_own(npz, tmp_path):
    """As `srun -n 2` starts them, at once."""
    processes = {}
    for number in (0, 1):
        variables = environment(**{**NUMBERS, **dict.fromkeys(("SLURM_PROCID", "LOCAL_RANK", "RANK"), str(number))})
        processes[number] = fork(
            worker.call_of_rank,
            number,
            *words_of(npz, tmp_path / f"run-{number}", "--seed", 1 + number, "--epochs", 2),
            stdout=tmp_path / f"out-{number}",
            stderr=tmp_path / f"err-{number}",
            environment=variables,
        )
    for number, process in processes.items():
        assert exit_status(process) == 0, (tmp_path / f"err-{number}").read_text()
        assert f"gc_p4cnn, seed {1 + number}" in (tmp_path / f"out-{number}").read_text()
        assert "epoch 2/2" in (tmp_path / f"err-{number}").read_text()
        assert len(read_history(tmp_path / f"run-{number}" / "metrics.csv")) == 2


@pytest.mark.parametrize(("name", "value"), [("RANK", "x"), ("SLURM_PROCID", ""), ("LOCAL_RANK", "-1")])
def test_a_number_that_is_none_is_named(tmp_path, config, bars, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=rf"environment variable {name} must be the number .+ it is '{value}'"):
        train(config, folder=tmp_path / "run", data=bars, progress=False)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("rank", ["0", "1"])
def test_half_of_what_a_launcher_sets_is_refused(tmp_path, config, bars, monkeypatch, rank):
    """Each process would listen or call at a port that no other knows."""
    monkeypatch.setenv("LOCAL_RANK", rank)
    monkeypatch.delenv("MASTER_PORT", raising=False)
    with pytest.raises(ValueError, match=f"LOCAL_RANK={rank} says that another program starts the 2 processes"):
        train(config, folder=tmp_path / "run", data=bars, progress=False, devices=2, accelerator="cpu")
    assert not (tmp_path / "run").exists()


@each("wanted", [9999999, "9999999", 5, 0, -1, "-1", "0", "abc", "1.5", "0,1", "", "4x", [0, 1]])
def test_devices_that_there_are_not_are_refused_before_anything_starts(wanted, monkeypatch):
    monkeypatch.setattr(devices, "_cores", lambda: 4)
    with pytest.raises(ValueError, match=r"^cannot train with devices=.* a number of processes from 1 to 4 \(this"):
        devices.checked_devices(wanted, "cpu", 1)


@pytest.mark.parametrize(("wanted", "given"), [(1, 1), ("4", 4), ("auto", 1), (2, 2)])
def test_devices_that_there_are(wanted, given, monkeypatch):
    monkeypatch.setattr(devices, "_cores", lambda: 4)
    assert devices.checked_devices(wanted, "cpu", 1) == given


def test_two_processes_may_always_be_tried(monkeypatch):
    monkeypatch.setattr(devices, "_cores", lambda: 1)
    assert devices.checked_devices(2, "cpu", 1) == 2


def test_machines_are_counted_from_one():
    with pytest.raises(ValueError, match="num_nodes=0"):
        devices.checked_devices(1, "cpu", 0)


class Pair(Trainer):
    """A trainer of two processes that others have started."""

    world_size, strategy = 2, None

    def __init__(self):
        pass


@pytest.mark.parametrize(
    "words",
    [
        "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.0.1]:1",
        "Application timeout caused pair closure (gloo)",
    ],
)
def test_a_lost_connection_is_said_in_a_sentence(words):
    with pytest.raises(LostProcessError, match=r"another process of this training has ended, .+ stopped: what is left"):
        with together(Pair(), lambda: "what is left"):
            raise RuntimeError(words)


def test_other_errors_of_several_processes_come_through_as_they_are():
    error = RuntimeError("mat1 and mat2 shapes cannot be multiplied")
    with pytest.raises(RuntimeError) as raised, together(Pair(), lambda: ""):
        raise error
    assert raised.value is error


def children(number):
    """The numbers of the processes that a process started, as a text."""
    return subprocess.run(["pgrep", "-P", str(number)], capture_output=True, text=True, check=True).stdout


def ended(number):
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return True
    return False


def wait_for(condition, seconds, what):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds, what
        time.sleep(0.02)


@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
@pytest.mark.parametrize(
    ("number", "ranks", "begun"),
    [
        (signal.SIGTERM, (0,), "fork"),
        (signal.SIGTERM, (1,), "fork"),
        (signal.SIGTERM, (0, 1), "fork"),
        (signal.SIGKILL, (1,), "fork"),
        # As a user's: only then the second is a child of the first, and looks whether that is there.
        pytest.param(signal.SIGKILL, (0,), "new", marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "name", str(value)),
)
def test_two_processes_end_together(npz, tmp_path, number, ranks, begun):
    folder, said = tmp_path / "run", tmp_path / "said"
    words = (command, *words_of(npz, folder, "--epochs", 5000, "--batch-size", 8, "--devices", 2))
    call = (worker.in_forks, said, *words) if begun == "fork" else words
    first, second = fork(*call, stderr=said, environment=environment()), None
    try:
        wait_for((folder / "checkpoints" / "last.ckpt").is_file, TIME, "no epoch is complete")
        second = int(said.with_suffix(".second").read_text() if begun == "fork" else children(first.pid))
        for rank in ranks:
            os.kill((first.pid, second)[rank], number)
        status = exit_status(first, SOON)
        wait_for(lambda: ended(second), SOON, "the second process hangs")
    finally:
        first.kill()
        if second is not None and not ended(second):
            os.kill(second, signal.SIGKILL)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL and 0 in ranks else 1)
    lines = [line for line in said.read_text().splitlines() if not line.startswith("epoch ")]
    begun_with = next(at for at, line in enumerate(lines) if line.startswith("Network: "))  # what it trains on
    lines = lines[begun_with + 1 :]
    left = [line for line in lines if "the last good checkpoint is" in line and f"the folder {folder}" in line]
    assert left
    assert lines == left, "nothing but the sentences"
    if number == signal.SIGKILL:
        assert left[0].startswith("Error: another process of this training has ended")
        assert len(left) == 1


def test_processes_that_torchrun_starts_are_one_run(npz, tmp_path):
    out, err = tmp_path / "out", tmp_path / "err"
    words = words_of(npz, tmp_path / "run", "--epochs", 1, "--devices", 2, "--quiet")
    process = fork(worker.as_torchrun_does, out, *words, stderr=err, environment=environment())
    assert exit_status(process, TIME) == 0, err.read_text()
    assert out.read_text().count("gc_p4cnn, seed 1") == 1
    assert len(read_history(tmp_path / "run" / "metrics.csv")) == 1
