"""What each issue of a map says of a date: for the region, for each crop and for each field."""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.products.layers import NO_STATUS, STATUS
from deepcrop.report.map_figures import read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from deepcrop.products.results import Result, ResultLayer

MOST = 6
"""Crops and fields that are drawn, the largest ones."""


@dataclass(frozen=True)
class IssueNumbers:
    """What an issue says of one date of a group of pixels.

    Attributes
    ----------
    day, low, high : float
        Medians over the dated pixels of the date and of the ends of its 90 % interval, as day
        numbers; NaN where none is dated.
    shares : dict of str to float
        Shares of the pixels that were seen, by the words of their status.
    """

    day: float
    low: float
    high: float
    shares: dict[str, float]

    @property
    def observed(self) -> bool:
        """Whether most of the dates are observed, none the fewer than forecast."""
        return self.shares.get("observed", 0) >= self.shares.get("forecast", 0)


def of_pixels(
    results: Sequence[Result], method: str, stage: str, pixels: NDArray[np.bool_] | None = None
) -> list[IssueNumbers]:
    """Numbers of each issue, of the main season, from the rasters at the size of a figure."""
    found = []
    for result in results:
        day, low, high, status = (
            read(layer, result)
            for layer in (
                _layer(result, method, "day", stage, None),
                _layer(result, method, "bound", stage, "low"),
                _layer(result, method, "bound", stage, "high"),
                _layer(result, method, "status", stage, "status"),
            )
        )
        chosen = slice(None) if pixels is None else pixels
        codes = status[chosen]
        seen = max(int((np.isfinite(codes) & (codes != NO_STATUS)).sum()), 1)
        shares = {words: float((codes == code).sum() / seen) for code, words in STATUS.items()}
        medians = [_median(values[chosen]) for values in (day, low, high)]
        found.append(IssueNumbers(medians[0], medians[1], medians[2], shares))
    return found


def _layer(result: Result, method: str, kind: str, stage: str, part: str | None) -> ResultLayer:
    return next(
        layer
        for layer in result.find(method=method, kind=kind, stage=stage, season=1)
        if layer.part == part
    )


def _median(values: NDArray[np.float64]) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else math.nan


def crop_pixels(result: Result) -> dict[str, NDArray[np.bool_]]:
    """Find the pixels of each of the largest crops; none where no crops are known."""
    layers = result.find(kind="class")
    if not layers:
        return {}
    codes = read(layers[0], result)
    pixels = {
        one.name.replace("_", " "): codes == one.value for one in layers[0].classes if one.value
    }
    largest = sorted(pixels, key=lambda name: -int(pixels[name].sum()))[:MOST]
    return {name: pixels[name] for name in largest if pixels[name].any()}


def of_fields(results: Sequence[Result], method: str, stage: str) -> dict[str, list[IssueNumbers]]:
    """Numbers of the largest fields, from the table of fields of each issue.

    The interval of a field is the middle half of its pixels' dates, half of the spread on either
    side of the median. Empty where an issue has no table of fields.
    """
    tables = []
    for result in results:
        path = result.path / "fields.csv"
        if not path.is_file():
            return {}
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(line for line in file if not line.startswith("#"))
            tables.append({row["field"]: row for row in rows})
    shared = set.intersection(*(set(table) for table in tables))
    last = tables[-1]
    largest = sorted(shared, key=lambda field: (-_number(last[field]["pixels"]), field))[:MOST]
    name = stage if len(results[-1].methods) == 1 else f"{method}_{stage}"
    return {field: [_of_row(table[field], name) for table in tables] for field in largest}


def _of_row(row: dict[str, str], name: str) -> IssueNumbers:
    day, spread = _number(row.get(f"{name}_median")), _number(row.get(f"{name}_spread"))
    shares = {words: _number(row.get(f"{name}_{words}")) for words in ("observed", "forecast")}
    known = {words: share for words, share in shares.items() if not math.isnan(share)}
    return IssueNumbers(day, day - spread / 2, day + spread / 2, known)


def _number(text: str | None) -> float:
    return float(text) if text else math.nan
