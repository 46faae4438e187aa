"""Options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from rich.console import Console

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what deepcrop wrote under this name before.")
]


def plain_console() -> Console:
    """Console that prints texts as they are.

    Titles of cubes and names of crops come from files of others: in rich's usual console ``[red]``
    would vanish from them, ``[/]`` would be an error and ``:smile:`` another character.
    """
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)
