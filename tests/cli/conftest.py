"""What the commands share: timings that are short, because no test asks how fast a network is."""

import pytest


@pytest.fixture(autouse=True)
def _short_timings(monkeypatch):
    """Commands print milliseconds; the fewest calls are enough to see that they do."""
    monkeypatch.setattr("sepgconv.cli.timing.SECONDS", 0.01)
