"""The typer application: every command, registered once."""

import functools
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer

from sepgconv import __version__
from sepgconv.cli.analyse import analyse
from sepgconv.cli.certify import certify
from sepgconv.cli.demo import demo
from sepgconv.cli.evaluate import evaluate
from sepgconv.cli.export import export
from sepgconv.cli.info import info
from sepgconv.cli.listings import data, models
from sepgconv.cli.paper import paper
from sepgconv.cli.predict import predict
from sepgconv.cli.separate import separate
from sepgconv.cli.train import train

app = typer.Typer(
    name="sepgconv",
    help="Separable group-equivariant convolutions: networks that know that a turned picture is the same picture.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _print_version(wanted: bool) -> bool:
    if wanted:
        print(f"sepgconv {__version__}")
        raise typer.Exit
    return wanted


@app.callback()
def _options(  # pyright: ignore[reportUnusedFunction] (typer calls it)
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and stop.")
    ] = False,
) -> None:
    """Separable group-equivariant convolutions: networks that know that a turned picture is the same picture."""


def _stoppable(command: Callable[..., None]) -> Callable[..., None]:
    """Say on Ctrl-C what the command has to say of it, as where to go on; typer itself would stop in silence."""

    @functools.wraps(command)
    def run(*arguments: Any, **options: Any) -> None:
        try:
            command(*arguments, **options)
        except KeyboardInterrupt as stop:
            print(f"\nStopped. {stop}".rstrip(), file=sys.stderr)
            raise typer.Exit(130) from None

    return run


for command in (demo, train, evaluate, predict, analyse, separate, certify, export, info, models, data, paper):
    app.command()(_stoppable(command))
