"""Options that several commands share."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from deepcrop.report.tables import Table

Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what deepcrop wrote under this name before.")
]


OverwriteCsv = Annotated[bool, typer.Option("--overwrite", help="Replace an existing CSV.")]


def plain_console() -> Console:
    """Console that prints texts as they are.

    Titles of cubes and names of crops come from files of others: in rich's usual console ``[red]``
    would vanish from them, ``[/]`` would be an error and ``:smile:`` another character.
    """
    from rich.console import Console

    return Console(markup=False, emoji=False, highlight=False)


def print_table(table: Table, last: str) -> None:
    """Print a table of simulated data; a line follows rows whose second column is ``last``."""
    from rich.table import Table as Grid

    grid = Grid(title=f"SIMULATED DATA. {table.title}", title_justify="left")
    for k, heading in enumerate(table.columns):
        grid.add_column(heading, justify="left" if k < table.text_columns else "right")
    for row in table.texts():
        grid.add_row(*row, end_section=row[1] == last)
    plain_console().print(grid)
    typer.echo(table.note)


def parse_fractions(text: str) -> tuple[float, ...]:
    """Read ``0.15,0.5,0.9``."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        raise DeepCropError(
            f"--fractions {text!r} is no list of numbers; expected for example 0.15,0.5,0.9."
        ) from None


def parse_season_rule(text: str) -> dict[str, float]:
    """Read ``min_amplitude=0.1,prominence=0.2``."""
    rule: dict[str, float] = {}
    for part in text.split(","):
        name, _, number = part.partition("=")
        try:
            rule[name.strip()] = int(number) if number.isdigit() else float(number)
        except ValueError:
            raise DeepCropError(
                f"--season-rule: {part!r} is no setting with a number; expected for example "
                "min_amplitude=0.1,prominence=0.2."
            ) from None
    return rule


def parse_years(text: str) -> tuple[int, ...]:
    """Read a range of years, ``2017-2024``."""
    years = _years(text)
    if len(years) < 2:
        raise DeepCropError(
            f"--years {text!r} is no range of years; expected the first and the last, for example "
            "2017-2024. A single year is mapped with --year."
        )
    return years


def archive_years(text: str) -> tuple[int, ...]:
    """Read years of which there are images, ``2018`` or ``2017-2019``."""
    years = _years(text)
    if not years or not 2015 <= years[0] <= years[-1] <= date.today().year:
        raise DeepCropError(
            f"--years {text}: expected a year or a range such as 2018 or 2017-2019, from 2015 (the "
            f"first images of Sentinel-2) to {date.today().year}."
        )
    return years


def _years(text: str) -> tuple[int, ...]:
    """All years of ``2018`` or ``2017-2019``; empty if the text is neither."""
    match = re.fullmatch(r"(\d{4})(?:-(\d{4}))?", text.strip())
    return tuple(range(int(match[1]), int(match[2] or match[1]) + 1)) if match else ()


def refuse_existing(out: Path, overwrite: bool) -> None:
    """Reject a file that exists, unless it is to be replaced."""
    if out.exists() and not overwrite:
        raise DeepCropError(f"{out} exists. Choose another name, or add --overwrite.")
