"""Messages of the library in the words of the command line: `--resume`, where a Python program writes resume=True."""

import re
from collections.abc import Iterable
from typing import Any

_BOTH = re.compile(r"\b\w+=\S+ \((--[\w-]+)\)")  # "resume=True (--resume)", as the library writes it for both readers
# Not in quotes, paths, or what is longer: that may be what the user typed.
_WORD = re.compile(r"(?<![\w/\\'\"`.=-])([a-z]+(?:_[a-z]+)*)(=([^\s,;:()]+))?(?![\w/\\'\"`])")


def in_options(sentence: str, options: Iterable[str]) -> str:
    """Return a sentence in which Python's arguments are the options of the command line.

    Args:
        sentence: of an error.
        options: names of all options, as "--image-size".

    Example:
        >>> in_options("continue with resume=True (--resume)", ())
        'continue with --resume'
        >>> in_options("cannot train with devices=foo: give a smaller image_size", ("--devices", "--image-size"))
        'cannot train with --devices foo: give a smaller --image-size'
    """
    known = set(options)

    def replace(match: re.Match[str]) -> str:
        option = f"--{match[1].replace('_', '-')}"
        if option not in known or ("_" not in match[1] and match[2] is None):
            return match[0]
        return option if match[3] in (None, "True") else f"{option} {match[3]}"

    # The list of valid names at the end is that of a file, too.
    said, begun, names = _BOTH.sub(r"\1", sentence).partition(" (valid: ")
    return _WORD.sub(replace, said) + begun + names


def option_names(application: Any) -> set[str]:
    """Return the names of the options of all commands of a typer application."""
    import typer.main

    command: Any = typer.main.get_command(application)
    commands = [command, *getattr(command, "commands", {}).values()]
    return {name for each in commands for parameter in each.params for name in parameter.opts if name.startswith("--")}
