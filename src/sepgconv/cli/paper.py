"""`sepgconv paper`: says where the tables and figures of the paper went."""

from typing import Annotated, NoReturn

import typer


def paper(words: Annotated[list[str] | None, typer.Argument()] = None) -> NoReturn:
    """Say where the tables and figures of the paper went."""
    raise ValueError(
        "the tables and figures of the paper are no part of the installed package any more; in a checkout of the "
        f"repository run `python -m experiments {' '.join(words or ['table1'])}`, with the same options"
    )
