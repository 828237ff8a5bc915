"""Paths that must be ordinary files: reading a pipe or a device might never end."""

import stat
from pathlib import Path

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def why_unreadable(path: Path) -> str | None:
    """Return why a path cannot be opened as a file, as in "is a pipe, not a file"; None where it is one.

    It is not opened; a file that may not be read, or is damaged, is still a file.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return f"is a link to {path.readlink()}, which is not there" if path.is_symlink() else "is not there"
    except OSError as error:
        return reason(error)
    if stat.S_ISREG(mode):
        return None
    return f"is {next((kind for matches, kind in _KINDS if matches(mode)), 'no file')}, not a file"


def reason(error: OSError) -> str:
    """Return what an operating system's error says, without number and path: "permission denied"."""
    text = error.strerror or str(error) or type(error).__name__
    return text[:1].lower() + text[1:]
