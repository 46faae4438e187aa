"""A finished map of known numbers, as `open_result` gives it, without the mapping."""

import numpy as np
import rasterio

from deepcrop import grid
from deepcrop.figures.style import STATUS_COLOURS
from deepcrop.products.layers import (
    FORECAST,
    NO_EVENT,
    NOT_YET_KNOWN,
    OBSERVED,
    STATUS,
    layer_name,
)
from deepcrop.products.results import Result, ResultClass, ResultLayer
from deepcrop.stages import NO_DAY, STAGES, to_dates

ROWS, COLS = 24, 36
DAYS = {"sos20": 110, "sos50": 120, "eos50": 250, "eos20": 260}
"""By the curve, in the left half of the map; 30 days later in the right half. The network's are 4
days earlier; it dates the first row too, which the curve does not."""


def small_result(
    folder, methods=("curve", "deepcrop"), simulated=True, crops=True, until=None, left=500000
):
    """Two fields, maize on the left and soybean on the right, a row without dates of the curve.

    With `until`, starts are observed; ends are forecast on the left, and on the right not known.
    """
    box = grid.make_grid((left, 4600000, left + 10 * COLS, 4600000 + 10 * ROWS), "EPSG:32615")
    layers = {}

    def add(name, values, method, kind, nodata, stage=None, season=None, part=None, **more):
        key = f"{method}/{name}" if method and len(methods) > 1 else name
        path = folder / f"{key}.tif"
        path.parent.mkdir(parents=True, exist_ok=True)
        profile = {"driver": "GTiff", "height": ROWS, "width": COLS, "count": 1}
        profile |= {"dtype": values.dtype.name, "crs": "EPSG:32615"}
        with rasterio.open(path, "w", transform=box.affine, nodata=nodata, **profile) as file:
            file.write(values, 1)
        more = {"flags": {}, "classes": ()} | more
        layers[key] = ResultLayer(
            key, path, method, kind, stage, season, part, f"title of {name}", "d", values.dtype,
            nodata, **more,
        )  # fmt: skip

    maps = {}
    later = np.where(np.arange(COLS) < COLS // 2, 0, 30)
    for method in methods:
        statistics = {}
        for season in (1, 2):
            for stage in STAGES:
                days = np.full((ROWS, COLS), NO_DAY, np.int16)
                if season == 1:
                    days[:] = DAYS[stage] + later - 4 * (method == "deepcrop")
                    days[0] = NO_DAY if method == "curve" else days[0]
                name = layer_name(stage, season)
                if until:
                    status = np.full((ROWS, COLS), OBSERVED if season == 1 else NO_EVENT, np.uint8)
                    if season == 1 and stage.startswith("eos"):
                        status[:] = np.where(later == 0, FORECAST, NOT_YET_KNOWN)
                        days[:, later > 0] = NO_DAY
                    status[days == NO_DAY] = np.where(
                        status[days == NO_DAY] == NO_EVENT, NO_EVENT, NOT_YET_KNOWN
                    )
                    classes = tuple(
                        ResultClass(code, words, STATUS_COLOURS[words])
                        for code, words in STATUS.items()
                    )
                    add(f"{name}_status", status, method, "status", 255, stage, season, "status",
                        classes=classes)  # fmt: skip
                add(name, days, method, "day", NO_DAY, stage, season)
                statistics[name] = _statistics(days)
                if method == "deepcrop":
                    for part, off in (("low", -6), ("high", 6)):
                        ends = np.where(days == NO_DAY, NO_DAY, days + off).astype(np.int16)
                        add(f"{name}_{part}", ends, method, "bound", NO_DAY, stage, season, part)
                    sure = np.full((ROWS, COLS), 90, np.uint8)
                    add(f"{name}_probability", sure, method, "percent", 255, stage, season,
                        "probability")  # fmt: skip
        add("n_obs_optical", np.full((ROWS, COLS), 17, np.uint16), method, "count", None)
        flags = np.zeros((ROWS, COLS), np.uint8)
        flags[0] = 1
        add("qflag", flags, method, "flags", None, flags={1: "no date", 2: "few observations"})
        crop = {
            "pixels": ROWS * COLS // 2,
            "layers": {name: one for name, one in statistics.items() if "season" not in name},
        }
        maps[method] = {
            "layers": statistics,
            "counts": {},
            "crops": {"maize": crop, "soybean": crop} if crops else {},
        }
        if method == "deepcrop":
            maps[method]["out_of_order"] = {"season1": {"pixels": 9, "share": 0.25}}
    if len(methods) > 1:
        for stage in STAGES:
            days = np.full((ROWS, COLS), -4, np.int16)
            days[0] = NO_DAY
            add(stage, days, "difference", "difference", NO_DAY, stage, 1)
    if crops:
        codes = np.full((ROWS, COLS), 5, np.uint16)
        codes[:, : COLS // 2] = 1
        classes = (ResultClass(1, "maize", "#ffcc00"), ResultClass(5, "soybean"))
        add("crop_type", codes, None, "class", 0, classes=classes)
    summary = {
        "title": "two <fields>",
        "year": 2018,
        "software": "deepcrop 9",
        "scenes": {"optical": 3, "optical_usable": 2},
        "observations": {"start": "2018-01-03T10:00:00Z", "end": "2018-12-30T10:00:00Z"},
        "maps": maps,
        **({"until": until} if until else {}),
        "source": {"cube": "fields.zarr", "optical": {"source": "made up"}, "smoother": {"x": 1}},
    }
    return Result(
        folder, 2018, "two <fields>", simulated, box, tuple(methods), layers, summary
    )  # fmt: skip


def _statistics(days):
    known = days[days != NO_DAY]
    found = {"detected": int(known.size), "detected_share": known.size / days.size}
    for name, share in (("median", 50), ("p05", 5), ("p95", 95)):
        day = float(np.percentile(known, share)) if known.size else None
        found |= {
            f"{name}_day": day,
            f"{name}_date": None if day is None else str(to_dates(day, 2018)),
        }
    return found
