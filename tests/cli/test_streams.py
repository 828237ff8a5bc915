"""Standard streams that are closed or full, memory that runs out: a program that goes on, or one sentence."""

import contextlib
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from sepgconv.cli import main
from tests.forks import CLOSED, command, ended, fork

FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="has no /dev/full")


def train(folder):
    """The words of a short training in a folder."""
    generator = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = generator.integers(0, 255, (24, 28, 28)).astype(np.uint8)
    np.savez(folder / "p.npz", x_train=images, y_train=labels, x_test=images ^ 1, y_test=labels)
    words = ("train", "p4cnn", "--width", 2, "--data", folder / "p.npz", "--epochs", 2, "--threads", 1)
    return [*words, "--out", folder / "run"]


def check_run(folder):
    assert (folder / "record.json").is_file()
    assert len((folder / "metrics.csv").read_text().splitlines()) == 3


@needs_full
@pytest.mark.parametrize("stderr", [CLOSED, FULL])
def test_training_needs_nobody_who_reads(tmp_path, stderr):
    process = fork(command, *train(tmp_path), stdout=tmp_path / "said", stderr=stderr)
    assert ended(process) == 0
    check_run(tmp_path / "run")
    assert "test error" in (tmp_path / "said").read_text()


@pytest.mark.slow
def test_training_begins_without_any_stream(tmp_path):
    """In a new process: the first files that it opens while it imports would get the numbers of the streams."""
    line = [sys.executable, "-m", "sepgconv", *map(str, train(tmp_path))]
    done = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&- <&-', "sh", *line], timeout=120, check=False)
    assert done.returncode == 0
    check_run(tmp_path / "run")


@needs_full
@pytest.mark.parametrize(("words", "status"), [(("models",), 1), (("certify", "p4cnn", "--width", 2), 2), (("-h",), 1)])
def test_a_full_disk_under_the_answer_is_said(tmp_path, words, status):
    process = fork(command, *words, stdout=FULL, stderr=tmp_path / "said")
    assert (ended(process), (tmp_path / "said").read_text()) == (
        status,
        "Error: standard output cannot be written: No space left on device\n",
    )


def test_a_reader_that_has_gone_ends_quietly():
    """To the end: what Python itself does with the stream when it ends would change the exit status."""
    line = f"{sys.executable} -m sepgconv models; echo $? >&2"
    done = subprocess.run(["sh", "-c", f"({line}) | true"], timeout=120, capture_output=True, check=False)
    assert (done.stdout, done.stderr) == (b"", b"0\n")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (MemoryError("Unable to allocate 931. TiB for an array"), "Error: out of memory: Unable to allocate 931. TiB"),
        (MemoryError(), "Error: out of memory; smaller batches"),
        (RecursionError("maximum recursion depth exceeded"), "Error: something is nested too deeply (maximum"),
        (RuntimeError(), "Error: RuntimeError\n"),
        (ValueError("a\x1b[31m"), "Error: a\\x1b[31m\n"),
        (SystemExit("stopped \x1b[31m"), "stopped \\x1b[31m\n"),
    ],
)
def test_what_goes_wrong_is_one_sentence(monkeypatch, error, sentence):
    import sepgconv

    def fail():
        raise error

    monkeypatch.setattr(sepgconv, "list_models", fail)
    monkeypatch.setattr(sys, "argv", ["sepgconv", "models"])
    err = io.StringIO()
    with contextlib.redirect_stderr(err), pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 1
    assert err.getvalue().startswith(sentence)
    assert err.getvalue().count("\n") == 1


def test_certify_without_memory_gives_no_answer(monkeypatch, capsys):
    from sepgconv import analysis

    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(analysis, "certify", fail)
    monkeypatch.setattr(sys, "argv", ["sepgconv", "certify", "p4cnn", "--width", "2"])
    with pytest.raises(SystemExit) as stop:
        main()
    assert stop.value.code == 2  # 1 would say: not exact
    assert "out of memory" in capsys.readouterr().err
