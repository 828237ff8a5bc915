"""What the commands share: timings that are short, one drawing of curves for all, and a small network."""

import pytest

import sepgconv
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
