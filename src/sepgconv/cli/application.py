"""What all command lines of the project share: text is shown as it was typed, Ctrl-C says how to continue."""

import contextlib
import functools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, ClassVar, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from sepgconv._text import visible
from sepgconv.cli.errors import StoppedError


class _ShownAsTyped:
    """Shows what the user typed in messages of typer as it is, without reading markup in it."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the words before the command."""
        with _shown_as_typed():
            return super().make_context(*arguments, **options)  # pyright: ignore[reportAttributeAccessIssue] (a mixin)

    def invoke(self, ctx: Any) -> Any:
        """Read the words of the command, and run it."""
        with _shown_as_typed():
            return super().invoke(ctx)  # pyright: ignore[reportAttributeAccessIssue] (a mixin)


class Commands(_ShownAsTyped, TyperGroup):
    """Several commands."""


class Command(_ShownAsTyped, TyperCommand):
    """A command to which an empty text is no path: pathlib would take it for the working folder."""

    paths: ClassVar[tuple[str, ...]] = ()

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            ValueError: a file or folder is given as an empty text.
        """
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for name in self.paths:
            value = given.get(name)
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                raise ValueError(f"{name} must name a file or folder, it is empty")
        return super().parse_args(ctx, args)


def add_command(app: typer.Typer, command: Callable[..., None], **settings: Any) -> None:
    """Register a command: text is shown as typed, paths are not empty, Ctrl-C says how to continue.

    Args:
        app: where.
        command: the function.
        settings: further ones of `typer.Typer.command`.
    """
    hints = get_type_hints(command)
    named = tuple(name for name, hint in hints.items() if _holds_path(hint))
    kind = type("Command", (Command,), {"paths": named})
    app.command(cls=kind, **settings)(_stoppable(command))


def _holds_path(hint: Any) -> bool:
    return hint is Path or any(_holds_path(part) for part in get_args(hint))


@contextlib.contextmanager
def _shown_as_typed() -> Generator[None, None, None]:
    try:
        yield
    except Exception as error:
        # Found by what they can do: from one version of typer to the next these classes are click's or its own. Help
        # comes as such an error, too, and has its lines from us.
        if hasattr(error, "format_message") and type(error).__name__ != "NoArgsIsHelpError":
            words: Any = error
            message = visible(words.format_message())
            words.format_message = lambda: message
        raise


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """Print the message of the command on Ctrl-C, such as how to continue; typer would print nothing."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as stop:
            raise StoppedError(str(stop)) from None

    return run
