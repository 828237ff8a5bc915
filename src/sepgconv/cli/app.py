"""The typer application: every command, registered once."""

import contextlib
import functools
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Annotated, Any, get_args, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup

from sepgconv import __version__
from sepgconv._terminal import show
from sepgconv._text import visible
from sepgconv.cli.analyse import analyse
from sepgconv.cli.certify import certify
from sepgconv.cli.demo import demo
from sepgconv.cli.errors import StoppedError
from sepgconv.cli.evaluate import evaluate
from sepgconv.cli.export import export
from sepgconv.cli.info import info
from sepgconv.cli.listings import data, models
from sepgconv.cli.paper import paper
from sepgconv.cli.predict import predict
from sepgconv.cli.separate import separate
from sepgconv.cli.train import train


class Commands(TyperGroup):
    """The commands; what typer says of words that were typed shows them and does not obey them."""

    def make_context(self, *arguments: Any, **options: Any) -> Any:
        """Read the words before the command."""
        with _shown_as_typed():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: Any) -> Any:
        """Read the words of the command, and run it."""
        with _shown_as_typed():
            return super().invoke(ctx)


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


app = typer.Typer(
    name="sepgconv",
    cls=Commands,
    help="Separable group-equivariant convolutions: networks that know that a turned picture is the same picture.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> bool:
    if wanted:
        show(f"sepgconv {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction] (typer calls it)
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Separable group-equivariant convolutions: networks that know that a turned picture is the same picture."""


class Command(TyperCommand):
    """A command to which an empty text is no path: pathlib would take it for the working folder."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            ValueError: a file or folder is given as an empty text.
        """
        given, _, _ = self.make_parser(ctx).parse_args(args=list(args))
        for name in _PATHS[str(self.name)]:
            value = given.get(name)
            if value == "" or (isinstance(value, list | tuple) and "" in value):
                raise ValueError(f"{name} must name a file or folder, it is empty")
        return super().parse_args(ctx, args)


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """Pass on what the command has to say on Ctrl-C, as where to go on; typer itself would stop in silence."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as stop:
            raise StoppedError(str(stop)) from None

    return run


def _paths(command: Callable[..., None]) -> tuple[str, ...]:
    """Return the names of a command's parameters that are paths."""
    hints = get_type_hints(command)
    return tuple(name for name, hint in hints.items() if hint is Path or Path in get_args(hint))


_PATHS: dict[str, tuple[str, ...]] = {}  # by the names of the commands

for command in (demo, train, evaluate, predict, analyse, separate, certify, export, info, models, data, paper):
    _PATHS[command.__name__] = _paths(command)
    app.command(cls=Command)(_stoppable(command))
