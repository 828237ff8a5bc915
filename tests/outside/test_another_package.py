"""A package that is not ours extends the library through public names, and everything works on what it adds.

It runs in a process of its own: what it registers must not reach the other tests.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sepgconv
from sepgconv.cli import main
from sepgconv.data import list_datasets
from sepgconv.tasks import list_tasks

HERE = Path(__file__).parent
STEPS = ("names", "basis", "kinds", "published", "counted", "certified", "compiled", "plain", "storage", "onnx")
STEPS += ("trained", "commands")


def run(*arguments):
    paths = [str(HERE), str(Path(sepgconv.__file__).parents[1])]
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths), "COLUMNS": "120"},
        check=False,
    )


@pytest.mark.slow
def test_all_that_it_adds_is_used_by_all_tools(tmp_path):
    done = run("-W", "error::DeprecationWarning:another_package", HERE / "program.py", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.partition(":")[0] for line in lines if line.endswith(": done")] == list(STEPS)
    shown = [" ".join(line.split()) for line in lines]
    assert any(line.startswith("test deviation 0.") for line in shown), done.stdout
    assert any(line.startswith("validation hits") and line.endswith("%") for line in shown), done.stdout
    assert any('"brightness": ' in line for line in shown), done.stdout


def test_nothing_of_it_is_there_without_it(tmp_path, monkeypatch, capsys):
    """The negative control: these names are known because the package registers them, and not otherwise."""
    assert "another_package" not in sys.modules
    assert "updown" not in [group.name for group in sepgconv.symmetry.list_groups()]
    assert "ring_net" not in sepgconv.list_models()
    assert "light" not in list_datasets()
    assert "brightness" not in list_tasks()
    words = ("train", "z2cnn", "--task", "brightness", "--out", str(tmp_path / "run"))
    monkeypatch.setattr(sys, "argv", ["sepgconv", *words])
    with pytest.raises(SystemExit) as stop:
        main()
    captured = capsys.readouterr()
    assert (stop.value.code, captured.out) == (1, "")
    assert "unknown task 'brightness' (valid: classification, " in captured.err
