"""A progress bar on standard error, where that is a terminal; lines can be printed while it is drawn."""

import contextlib
from collections.abc import Generator
from typing import Any

from sepgconv._terminal import say, standard_error, watched


class Progress:
    """How far a command is.

    Args:
        bar: of tqdm.
    """

    def __init__(self, bar: Any) -> None:
        self._bar = bar

    def advance(self, count: int = 1) -> None:
        """Note that further things are done."""
        self._bar.update(count)

    def say(self, sentence: str) -> None:
        """Print a line on standard error, above the bar."""
        with self.hidden():
            say(sentence)

    @contextlib.contextmanager
    def hidden(self) -> Generator[None, None, None]:
        """Take the bar away while something else is printed."""
        self._bar.clear()
        yield
        self._bar.refresh()


@contextlib.contextmanager
def progress(total: int, thing: str) -> Generator[Progress, None, None]:
    """Draw a bar while the block runs; it disappears afterwards.

    Args:
        total: how many things there are.
        thing: the word for one.
    """
    from tqdm import tqdm

    with tqdm(
        total=total, unit=f" {thing}", file=standard_error(), disable=not watched(), leave=False, dynamic_ncols=True
    ) as bar:
        yield Progress(bar)
