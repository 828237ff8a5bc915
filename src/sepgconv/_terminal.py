"""Printing: the one place that writes text from outside, whose control characters a terminal must not execute.

Standard error is for people, who may not be there: nothing stops if it is closed, its disk is full or its reader has
gone. Standard output carries the result: there only a reader that has gone is no error; any other failure is an
OSError. Imports `_text` alone.
"""

import contextlib
import io
import os
import sys
import warnings
from collections.abc import Generator, Iterable
from typing import Any, TextIO, cast

from sepgconv._text import visible


def say(sentence: object) -> None:
    """Print a line on standard error; where that is closed, full or gone, nothing happens."""
    stream = _Stream(sys.stderr, forgiving=True)
    stream.write(f"{visible(sentence)}\n")
    stream.flush()


def show(line: object) -> None:
    """Print a line on standard output.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    print(visible(line), flush=True)


def show_data(text: str) -> None:
    """Print a text for programs, such as JSON, on standard output, exactly as it is.

    Raises:
        OSError: it cannot be written, as on a full disk.
    """
    print(text, flush=True)


def watched() -> bool:
    """Return whether standard error is a terminal, where a bar can be drawn."""
    return bool(_Stream(sys.stderr, forgiving=True).isatty())


def standard_error() -> Any:
    """Return standard error as a text stream that never fails, for libraries that write on it themselves."""
    return _Stream(sys.stderr, forgiving=True)


@contextlib.contextmanager
def guarded() -> Generator[None, None, None]:
    """Within the block, make the standard streams of this process safe to write to on every system.

    Output to closed ones is dropped. Characters that an encoding lacks are written out. Standard error never fails. A
    reader of standard output that has gone, as after `| head`, is not written to any more. Warnings are one line each.

    Raises:
        OSError: what is left in standard output cannot be written.
    """
    _open_closed_descriptors()
    before = sys.stdin, sys.stdout, sys.stderr, warnings.formatwarning
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(OSError, ValueError):
                stream.reconfigure(errors="backslashreplace")
    sys.stdin = sys.stdin or io.StringIO()
    output = _Stream(sys.stdout, forgiving=False)
    sys.stdout = cast(TextIO, output)
    sys.stderr = standard_error()
    warnings.formatwarning = one_line
    try:
        yield
        output.flush()
    finally:
        sys.stdin, sys.stdout, sys.stderr, warnings.formatwarning = before


def _open_closed_descriptors() -> None:
    # Else the first files that are opened get the numbers 0 to 2, and what a library of C prints goes into them.
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free


def one_line(message: Warning | str, *place: object, **line: object) -> str:
    """Format a warning for people who did not write the code it comes from."""
    return f"Warning: {visible(message)}\n"


class _Stream:
    # Not a subclass of TextIOBase: all else is the stream's own, such as its encoding, which rich looks at.
    def __init__(self, stream: Any, *, forgiving: bool) -> None:
        self._gone = stream is None
        self._stream: Any = io.StringIO() if stream is None else stream
        self._forgiving = forgiving

    def write(self, text: str) -> int:
        if not self._gone:
            with self._failures():
                self._stream.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        if not self._gone:
            with self._failures():
                self._stream.flush()

    def isatty(self) -> bool:
        with contextlib.suppress(OSError, ValueError):
            return not self._gone and bool(self._stream.isatty())
        return False

    @contextlib.contextmanager
    def _failures(self) -> Generator[None, None, None]:
        try:
            yield
        except BrokenPipeError:
            self._leave()
        except OSError as error:
            self._leave()
            if not self._forgiving:
                raise OSError(f"standard output cannot be written: {error.strerror or error}") from error

    def _leave(self) -> None:
        # What the stream still holds would fail again when Python ends, and change the exit status: it goes nowhere.
        self._gone = True
        with contextlib.suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            try:
                os.dup2(nowhere, self._stream.fileno())
            finally:
                os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
