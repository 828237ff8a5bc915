"""The command line `sepgconv`: one file per command. `main` is its entry point and needs the extra "train"."""

import os
import sys
from collections.abc import Callable

__all__ = ["main", "run"]


def main() -> None:
    """Run the command line `sepgconv`, as `run` does."""

    def application() -> Callable[[], object]:
        from sepgconv.cli.app import app

        return app

    run(application)


def run(application: Callable[[], Callable[[], object]]) -> None:
    """Run a command line; a user's mistake ends it with one sentence on standard error and exit status 1.

    Where status 1 is a result, as in `certify`, a mistake ends the command with 2.

    Ctrl-C ends it with status 130. Set SEPGCONV_DEBUG=1 to see the traceback of an error instead of the sentence.

    Args:
        application: returns the typer application; only called when typer is there.
    """
    from sepgconv._allocator import tune_allocator
    from sepgconv._terminal import guarded, say

    tune_allocator()
    with guarded():
        try:
            status = _run(application)
        except (ValueError, OSError, ImportError, RuntimeError, MemoryError) as error:
            if os.environ.get("SEPGCONV_DEBUG"):
                raise
            say(f"Error: {_in_options(_sentence(error), application)}")
            status = _status(error)
        sys.exit(status)


def _run(application: Callable[[], Callable[[], object]]) -> int:
    from sepgconv._messages import require
    from sepgconv._terminal import say
    from sepgconv.cli.errors import StoppedError

    try:
        require("typer", extra="train", purpose="the command line")
        application()()
    except (KeyboardInterrupt, StoppedError) as stop:
        say("")  # the terminal has written ^C
        say(f"Stopped. {stop}".rstrip())
        return 130
    except SystemExit as end:  # a sentence, as on SIGTERM, may hold names; Python would print it as it is
        if end.code is None or isinstance(end.code, int):
            return end.code or 0
        say(end.code)
        return 1
    return 0


def _in_options(sentence: str, application: Callable[[], Callable[[], object]]) -> str:
    try:
        from sepgconv.cli.wording import in_options, option_names

        return in_options(sentence, option_names(application()))
    except ImportError:  # typer itself is missing
        return sentence


def _status(error: BaseException) -> int:
    from sepgconv.cli.errors import NoAnswerError

    return 2 if isinstance(error, NoAnswerError) else 1


def _sentence(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return f"out of memory{f': {error}' if str(error) else ''}; smaller batches, images or files need less"
    if isinstance(error, RecursionError):
        return f"something is nested too deeply ({error})"
    return str(error) or type(error).__name__
