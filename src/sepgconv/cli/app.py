"""The typer application: every command, registered once."""

from typing import Annotated

import typer

from sepgconv import __version__
from sepgconv._terminal import show
from sepgconv.cli.analyse import analyse
from sepgconv.cli.application import Commands, add_command
from sepgconv.cli.certify import certify
from sepgconv.cli.demo import demo
from sepgconv.cli.embed import embed
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
    cls=Commands,
    help="Separable group-equivariant convolutions: networks that know that a rotated image shows the same thing.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
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
    """Separable group-equivariant convolutions: networks that know that a rotated image shows the same thing."""


for command in (demo, train, evaluate, predict, embed, analyse, separate, certify, export, info, models, data):
    add_command(app, command)
add_command(app, paper, hidden=True, context_settings={"ignore_unknown_options": True})
