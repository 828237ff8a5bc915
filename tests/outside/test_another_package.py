"""A package that is not ours extends the library through public names, and everything works on what it adds.

It runs in a process of its own: what it registers must not reach the other tests.
"""

import os
import runpy
import sys
import warnings
from pathlib import Path

import pytest

import sepgconv
from sepgconv.cli import main
from sepgconv.data import list_datasets
from sepgconv.tasks import list_tasks
from tests.forks import ended, fork

HERE = Path(__file__).parent
STEPS = ("names", "basis", "kinds", "published", "counted", "certified", "compiled", "plain", "storage", "onnx")
STEPS += ("trained", "commands")


def use(folder):
    """Run the program of a user of that package; what is deprecated is an error in the package."""
    warnings.filterwarnings("error", category=DeprecationWarning, module=r"another_package\Z")
    sys.path.insert(0, str(HERE))
    sys.argv = ["program.py", folder]
    runpy.run_path(str(HERE / "program.py"), run_name="__main__")


@pytest.mark.slow
def test_all_that_it_adds_is_used_by_all_tools(tmp_path):
    said = tmp_path / "out", tmp_path / "err"
    process = fork(use, str(tmp_path), stdout=said[0], stderr=said[1], environment=os.environ | {"COLUMNS": "120"})
    status = ended(process, 280)
    out, err = (file.read_text() for file in said)
    assert status == 0, err
    lines = out.splitlines()
    assert [line.partition(":")[0] for line in lines if line.endswith(": done")] == list(STEPS)
    shown = [" ".join(line.split()) for line in lines]
    assert any(line.startswith("test deviation 0.") for line in shown), out
    assert any(line.startswith("validation hits") and line.endswith("%") for line in shown), out
    assert any('"brightness": ' in line for line in shown), out


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
    assert "unknown task 'brightness'; did you mean 'regression'? (valid: classification, " in captured.err
