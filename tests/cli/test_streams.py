"""Standard streams that are closed or full, memory that runs out: a program that goes on, or one sentence."""

import contextlib
import io
import os
import subprocess
import sys

import numpy as np
import pytest

from sepgconv.cli import main

COMMAND = [sys.executable, "-m", "sepgconv"]
FULL = "/dev/full"


def shell(words, redirections):
    """Run the command line under a shell that redirects its streams."""
    line = f'exec "$@" {redirections}'
    return subprocess.run(
        ["sh", "-c", line, "sh", *COMMAND, *map(str, words)], timeout=120, capture_output=True, check=False
    )


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(FULL), reason="has no /dev/full")
@pytest.mark.parametrize("redirections", ["2>&-", f"2>{FULL}", ">&- 2>&- <&-"])
def test_training_needs_nobody_who_reads(tmp_path, redirections):
    generator = np.random.default_rng(0)
    labels = np.arange(24) % 2
    images = generator.integers(0, 255, (24, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "p.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    words = ("train", "p4cnn", "--width", 2, "--data", tmp_path / "p.npz", "--epochs", 2, "--threads", 1)
    done = shell([*words, "--out", tmp_path / "run"], redirections)
    assert done.returncode == 0, done
    assert (tmp_path / "run" / "record.json").is_file()
    assert len((tmp_path / "run" / "metrics.csv").read_text().splitlines()) == 3
    assert (b"test error" in done.stdout) == (">&- 2>&-" not in redirections)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists(FULL), reason="has no /dev/full")
@pytest.mark.parametrize(("words", "status"), [(("models",), 1), (("certify", "p4cnn", "--width", 2), 2), (("-h",), 1)])
def test_a_full_disk_under_the_answer_is_said(words, status):
    done = shell(words, f">{FULL}")
    assert (done.returncode, done.stderr) == (
        status,
        b"Error: standard output cannot be written: No space left on device\n",
    )


@pytest.mark.slow
def test_a_reader_that_has_gone_ends_quietly():
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
