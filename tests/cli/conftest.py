"""What the commands share: how they are called, one finished run, short timings, one drawing, a small network."""

import sys
import warnings
from pathlib import Path

import pytest

import sepgconv
from sepgconv.cli import main
from tests.class_folders import write
from tests.networks import SMALL, register_small
from tests.runs import one_drawing  # noqa: F401 (a fixture)


@pytest.fixture(autouse=True)
def _short_timings(monkeypatch):
    """Commands print milliseconds; the fewest calls are enough to see that they do."""
    monkeypatch.setattr("sepgconv.cli.timing.SECONDS", 0.01)


@pytest.fixture(scope="module")
def small():
    """The name of a network of three convolutions, which the package knows while the tests of a module run."""
    register_small(sepgconv)
    yield SMALL
    del sepgconv.models.MODELS[SMALL]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Call the command line; return its exit status, standard output and standard error, warnings included."""

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sepgconv", *map(str, words)])
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always", UserWarning)
            with pytest.raises(SystemExit) as stop:
                main()
        captured = capsys.readouterr()
        said = "".join(f"Warning: {warning.message}\n" for warning in told)
        return int(stop.value.code or 0), captured.out, said + captured.err

    return run


@pytest.fixture(scope="session")
def classes(tmp_path_factory) -> Path:
    """A folder of two classes of 12 images each, dark and light; its name holds a blank and brackets."""
    return write(tmp_path_factory.mktemp("data") / "two [classes]", {"dark": 0, "light": 150})


@pytest.fixture(scope="session")
def finished(classes, tmp_path_factory) -> Path:
    """The folder of a finished run on the two classes, which it tells apart; nothing may be written into it."""
    from sepgconv.tasks import TrainingConfig, train

    folder = tmp_path_factory.mktemp("runs") / "finished"
    config = TrainingConfig(
        model="z2cnn", model_config={"width": 4}, data=str(classes), epochs=16, batch_size=8, lr=0.02
    )
    train(config, folder=folder, progress=False, threads=1, accelerator="cpu")
    return folder
