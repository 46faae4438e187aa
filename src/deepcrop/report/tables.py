"""Tables of results, and how they are written as Markdown, as CSV and in HTML pages."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

MISSING = "–"
"""Text of a number that does not exist (NaN)."""


class Spread(NamedTuple):
    """A mean and its standard deviation, for example over seeds."""

    mean: float
    deviation: float


Cell = str | int | float | Spread


@dataclass(frozen=True)
class Table:
    """A table of results.

    Attributes
    ----------
    title : str
        Printed above the table.
    columns : sequence of str
        Headings.
    rows : sequence of sequence of str, int, float or Spread
        Cells. Text is printed as it is; numbers are rounded when they are written.
    note : str
        Explanation printed below the table.
    name : str
        Stem of its file names, where the table is written to files of its own.
    text_columns : int
        Number of columns at the left that hold text. An HTML page aligns the others right.

    Examples
    --------
    >>> table = Table("Errors, days", ("method", "MAE"), [("curve", 8.52), ("network", math.nan)])
    >>> print(table.to_markdown())
    **Errors, days**
    <BLANKLINE>
    | method | MAE |
    | --- | --: |
    | curve | 8.5 |
    | network | – |
    <BLANKLINE>
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""
    name: str = ""
    text_columns: int = 1

    def texts(self) -> list[list[str]]:
        """Format all cells for readers: numbers with one decimal."""
        return [[cell_text(cell) for cell in row] for row in self.rows]

    def to_markdown(self, data: str = "") -> str:
        """Format the table as Markdown, with its title in bold above it.

        Parameters
        ----------
        data : str
            What the table was computed from, added to the title.
        """
        title = f"**{self.title}: {data}**" if data else f"**{self.title}**"
        if not self.rows:
            body = "Nothing to show."
        else:
            # Only numbers are aligned right; a cell that is text already may hold more than one.
            rule = ["---" if isinstance(cell, str) else "--:" for cell in self.rows[0]]
            body = "\n".join(
                f"| {' | '.join(row)} |" for row in (self.columns, rule, *self.texts())
            )
        return "\n\n".join(part for part in (title, body, self.note) if part) + "\n"

    def to_csv(self, data: str) -> list[list[str]]:
        """Format the table as rows of a CSV file, the headings first.

        The first column repeats ``data``, what the table was computed from, so that a row that is
        copied elsewhere keeps it. A column with a `Spread` becomes two: mean and ``sd``.
        """
        spread = [
            any(isinstance(row[k], Spread) for row in self.rows) for k in range(len(self.columns))
        ]
        head = ["data"]
        for name, has_spread in zip(self.columns, spread, strict=True):
            head += [name, f"{name} sd"] if has_spread else [name]
        lines = [head]
        for row in self.rows:
            line = [data]
            for cell, has_spread in zip(row, spread, strict=True):
                pair = cell if isinstance(cell, Spread) else (cell, math.nan)
                line += [_csv_text(number) for number in pair[: 1 + has_spread]]
            lines.append(line)
        return lines


def cell_text(cell: Cell) -> str:
    """Format a cell for readers: one decimal, and a dash for NaN.

    Examples
    --------
    >>> cell_text(Spread(4.76, 0.21)), cell_text(3), cell_text(math.nan)
    ('4.8 ± 0.2', '3', '–')
    """
    if isinstance(cell, Spread):
        mean = cell_text(cell.mean)
        return f"{mean} ± {cell.deviation:.1f}" if math.isfinite(cell.deviation) else mean
    if isinstance(cell, float):
        return f"{cell:.1f}" if math.isfinite(cell) else MISSING
    return str(cell)


def percent_text(share: float) -> str:
    """Format a share in whole percent, and a dash for NaN.

    Examples
    --------
    >>> percent_text(0.843)
    '84 %'
    """
    return f"{100 * share:.0f} %" if math.isfinite(share) else MISSING


def _csv_text(cell: str | int | float) -> str:
    if isinstance(cell, float):
        return f"{cell:.3f}" if math.isfinite(cell) else ""
    return str(cell)
