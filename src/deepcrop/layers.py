"""What layers a map has, by method: names, titles, units, types."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from deepcrop.labels import CALENDAR
from deepcrop.stages import NO_DAY, SLOTS, STAGE_TITLES, STAGES

SEASONS = tuple(range(1, SLOTS + 1))

TITLES = STAGE_TITLES | {"peak": "peak of season"}
"""Of all dates that a map can have."""

NO_PERCENT = 255
"""Stands for "nothing known" in layers of percent."""

PARTS = {
    "low": "5 % quantile of the date",
    "high": "95 % quantile of the date",
    "probability": "probability of the event",
}
"""What the network says of each date beside the date itself."""

_COUNTS: dict[str, dict[str, tuple[str, type[np.unsignedinteger]]]] = {
    "curve": {
        "n_cycles": ("seasons whose peak lies in {year}", np.uint8),
        "n_obs": ("usable optical observations", np.uint16),
    },
    "deepcrop": {
        "n_obs_optical": ("usable optical observations", np.uint16),
        "n_obs_sar": ("usable radar observations", np.uint16),
    },
}

METHODS = tuple(_COUNTS)
"""Names of the methods that make maps."""


@dataclass(frozen=True)
class Layer:
    """One map layer: what it is called and how its numbers are to be read.

    Attributes
    ----------
    name, title, unit : str
    dtype : dtype
    nodata : int or None
        Stands for "nothing known".
    kind : str
        "day" (a date), "bound" (an end of its interval), "percent", "count" or "class".
    stage : str or None
        Of a season; counts have none.
    season : int or None
        1 for the main season.
    part : str or None
        One of `PARTS`.
    """

    name: str
    title: str
    unit: str
    dtype: np.dtype
    nodata: int | None
    kind: str
    stage: str | None = None
    season: int | None = None
    part: str | None = None


CROP_TYPE = Layer("crop_type", "crop type", "1", np.dtype(np.uint16), 0, "class")
"""The crop raster of a cube, copied into its maps."""


def layer_name(stage: str, season: int, part: str = "") -> str:
    """Name of a layer: the stage alone for season 1, the main season; one of `PARTS` follows."""
    name = stage if season == 1 else f"{stage}_season{season}"
    return f"{name}_{part}" if part else name


DAY_LAYERS = tuple(layer_name(stage, season) for season in SEASONS for stage in STAGES)
"""Names of the dates that maps of every method have, season by season."""


def describe(method: str, year: int) -> list[Layer]:
    """All layers of a map by one of `METHODS`, in their order."""
    described = []
    days, int16, uint8 = f"days since {year:04d}-01-01", np.dtype(np.int16), np.dtype(np.uint8)
    for season in SEASONS:
        for stage in STAGES if method == "curve" else CALENDAR:
            title = f"{TITLES[stage]}, season {season}"
            described.append(
                Layer(layer_name(stage, season), title, days, int16, NO_DAY, "day", stage, season)
            )
            if method == "curve":
                continue
            for part, words in PARTS.items():
                name, of_part = layer_name(stage, season, part), f"{title}: {words}"
                described.append(
                    Layer(name, of_part, "%", uint8, NO_PERCENT, "percent", stage, season, part)
                    if part == "probability"
                    else Layer(name, of_part, days, int16, NO_DAY, "bound", stage, season, part)
                )
    for name, (title, dtype) in _COUNTS[method].items():
        described.append(Layer(name, title.format(year=year), "1", np.dtype(dtype), None, "count"))
    return described
