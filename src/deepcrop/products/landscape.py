"""Statistics of a landscape as in the paper: by method, by crop, by latitude.

Detected shares (its section 4.3), dates by crop (Fig. 22: only pixels that both methods date) and
differences of the methods by latitude, for all pixels and crop by crop.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from deepcrop.products.histograms import BANDS, Groups, by_crop, first_value, summarise_spread
from deepcrop.products.layers import DIFFERENCE, METHODS, USUAL, Content, Layer, describe
from deepcrop.stages import to_dates
from deepcrop.storage.files import write_csv, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Counts = dict[tuple[str, str], NDArray[np.int64]]
"""Pixels (groups, values) of each layer, by method and name."""


def statistics(
    counts: Counts, shared: Counts, groups: Groups, year: int, content: Content = USUAL
) -> list[dict[str, Any]]:
    """Statistics of the main season, a row for each group of pixels, method and layer.

    Parameters
    ----------
    counts : dict of ndarray (groups, values)
        By method and layer.
    shared : dict of ndarray
        The same of the pixels that both methods date.
    groups : Groups
    year : int
    content : Content
        What layers the map has.

    Returns
    -------
    list of dict
        ``pixels_of``: "all", or "both" for the pixels that both methods date (their difference is
        of these by its nature); ``crop``: a name, or "all"; ``south``, ``north``: the band of
        latitude, None for all; ``method``; ``layer``; then ``pixels`` of the group, how many of
        them are ``known`` and their ``share``, quantiles ``p05`` … ``p95``, ``mean`` (days), and
        ``median_date`` of dates.
    """
    methods = [*METHODS, DIFFERENCE] if shared else METHODS
    described = {
        (method, layer.name): layer
        for method in methods
        for layer in describe(method, year, content)
        if (method, layer.name) in counts
        and layer.season == 1
        and layer.kind in ("day", "length", "difference")
    }
    rows: list[dict[str, Any]] = []
    for pixels_of, every in (("all", counts), ("both", shared)):
        for (method, name), layer in described.items():
            if (method, name) in every:
                crops_by_latitude = method == DIFFERENCE
                for crop, band, one in _groups(groups, every[method, name], crops_by_latitude):
                    place = {"crop": crop, "south": None, "north": None}
                    if band is not None:
                        edges = np.round(groups.latitudes[band : band + 2], 5).tolist()
                        place |= {"south": edges[0], "north": edges[1]}
                    about = {"pixels_of": pixels_of, **place, "method": method, "layer": name}
                    rows.append(about | _row(layer, one, year))
    return rows


def _groups(
    groups: Groups, counts: NDArray[np.int64], crops_by_latitude: bool
) -> Iterator[tuple[str, int | None, NDArray[np.int64]]]:
    """All pixels, each crop, each band of latitude, and if asked for each crop in each band."""
    yield "all", None, counts.sum(axis=0)
    for name, one in by_crop(groups, counts).items():
        yield name, None, one
    bands = counts.reshape(len(groups.codes), BANDS, -1)
    for band in range(BANDS):
        yield "all", band, bands[:, band].sum(axis=0)
    if crops_by_latitude:
        for band in range(BANDS):
            alone = np.zeros_like(bands)
            alone[:, band] = bands[:, band]
            for name, one in by_crop(groups, alone).items():
                if one.sum():
                    yield name, band, one


def _row(layer: Layer, histogram: NDArray[np.int64], year: int) -> dict[str, Any]:
    row = summarise_spread(histogram, first_value(layer))
    dated = layer.kind == "day" and row["median"] is not None
    return row | {"median_date": str(to_dates(row["median"], year)) if dated else None}


def write(out: Path, rows: list[dict[str, Any]], simulated: bool) -> None:
    """Write ``landscape.csv`` and ``landscape.json``."""
    columns = list(rows[0])
    cells = ([row[name] for name in columns] for row in rows)
    write_csv(out / "landscape.csv", columns, cells, simulated=simulated)
    content: Mapping[str, Any] = {"simulated": simulated, "rows": rows}
    write_json(out / "landscape.json", content)
