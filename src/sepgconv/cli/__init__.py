"""The command line `sepgconv`: one file per command. `main` is its entry point and needs the extra "train"."""

import os
import sys
import warnings

__all__ = ["main"]


def main() -> None:
    """Run the command line; a user's mistake ends it with one sentence on standard error and exit status 1.

    Where status 1 is an answer, as that of `certify`, a mistake ends it with 2.

    Ctrl-C ends it with status 130. Set SEPGCONV_DEBUG=1 to see the traceback of an error instead of the sentence.
    """
    from sepgconv._allocator import tune_allocator
    from sepgconv._messages import require
    from sepgconv.cli.errors import NoAnswerError

    tune_allocator()
    warnings.formatwarning = _one_line
    try:
        require("typer", extra="train", purpose="the command line")
        from sepgconv.cli.app import app

        app()
    except KeyboardInterrupt as stop:
        print(f"\nStopped. {stop}".rstrip(), file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError, ImportError, RuntimeError) as error:
        if os.environ.get("SEPGCONV_DEBUG"):
            raise
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(2 if isinstance(error, NoAnswerError) else 1)


def _one_line(message: Warning | str, *place: object, **line: object) -> str:
    """Format a warning for people who did not write the code it comes from."""
    return f"Warning: {message}\n"
