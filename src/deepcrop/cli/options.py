"""Options that several commands share."""

from __future__ import annotations

import re
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from deepcrop.errors import DeepCropError

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
    """Read ``2017-2024``."""
    match = re.fullmatch(r"(\d{4})-(\d{4})", text)
    if match is None or match[1] >= match[2]:
        raise DeepCropError(
            f"--years {text!r} is no range of years; expected the first and the last, for example "
            "2017-2024. A single year is mapped with --year."
        )
    return tuple(range(int(match[1]), int(match[2]) + 1))


def year_range(text: str) -> tuple[int, int]:
    """Read ``2018`` or ``2017-2019``: first and last year."""
    parts = text.split("-")
    try:
        first, last = int(parts[0]), int(parts[-1])
    except ValueError:
        first, last = 0, -1
    if len(parts) > 2 or not 2015 <= first <= last <= date.today().year:
        raise DeepCropError(
            f"--years {text}: expected a year or a range such as 2018 or 2017-2019, from 2015 (the "
            f"first images of Sentinel-2) to {date.today().year}."
        )
    return first, last
