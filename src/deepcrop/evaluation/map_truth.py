"""Score maps of a simulated region against its true dates."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import numpy as np
import rasterio

from deepcrop import grid, stages
from deepcrop.cube import contract
from deepcrop.cube.io import open_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.evaluation.scores import summarize_errors
from deepcrop.phenology.season_matching import match_seasons
from deepcrop.products.write import DAY_LAYERS
from deepcrop.storage.files import write_csv

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import xarray as xr
    from numpy.typing import NDArray

ALL_CROPS = "all crops"
"""Group of all pixels that have a true season."""

_SPAN = stages.DAY_MAX - stages.DAY_MIN  # largest possible error in days


@dataclass(frozen=True)
class StageScore:
    """Score of one stage over one group of pixels.

    Attributes
    ----------
    group, stage : str
        Crop, or `ALL_CROPS`, and stage.
    true_dates : int
        True dates in the group: pixels times seasons.
    detected, mae, bias, median : float
        As in `deepcrop.evaluation.scores.ErrorSummary`. A true date is detected where the map gives
        a date of the same season.
    unmatched : float
        Share of the mapped dates that belong to no true season (of roads and water, all of them;
        of a field cut more than twice, also those of the cuts that the truth does not keep).
    """

    group: str
    stage: str
    true_dates: int
    detected: float
    unmatched: float
    mae: float
    bias: float
    median: float


def score_map(map_dir: Path, cube_path: Path, match: bool = True) -> list[StageScore]:
    """Score a map of a simulated region against the region's truth.

    Parameters
    ----------
    map_dir : Path
        Directory with the files of one method, made by ``deepcrop map``.
    cube_path : Path
        The simulated region, with its ``/truth``.
    match : bool
        Whether seasons are compared that overlap in time, whatever their slots. False compares the
        main season of the map, as it is in ``sos20.tif`` and the like, with the true main season.

    Returns
    -------
    list of StageScore
        For all crops together, then by crop.

    Raises
    ------
    DeepCropError
        If the cube has no truth, or grids or years differ.
    """
    cube = open_cube(cube_path)
    if "truth" not in cube.children:
        raise CubeError(f"{cube_path} has no 'truth' group; only simulated regions have one.")
    truth = cube["truth"].to_dataset()
    if "sos20" not in truth:
        raise CubeError(f"{cube_path}: group 'truth' has no season dates.")
    check_fractions(map_dir)
    crop_type = cube["landcover"].to_dataset()["crop_type"]
    names = dict(
        zip(crop_type.attrs["flag_values"], crop_type.attrs["flag_meanings"].split(), strict=True)
    )
    codes = np.array(list(names))
    # Counted tile by tile, so that a region of any size can be scored: pixels by crop, stage and
    # error, and by crop and stage the true and the mapped dates.
    errors = np.zeros((len(names), len(stages.STAGES), 2 * _SPAN + 1), np.int64)
    true = np.zeros(errors.shape[:2], np.int64)
    mapped = np.zeros(errors.shape[:2], np.int64)
    for tile in grid.tiles((truth.sizes["y"], truth.sizes["x"]), contract.CHUNK):
        rows, cols = tile.core
        true_days = _truth_block(truth, rows, cols)
        map_days = _map_block(map_dir, rows, cols, truth)
        # A map may call the second season of the truth its main one. That is no error of a date:
        # seasons are compared that overlap in time, whatever their slots.
        matched = match_seasons(true_days, map_days) if match else map_days
        crop = np.searchsorted(codes, crop_type.isel(y=rows, x=cols).values.reshape(-1))
        for slot in range(stages.SLOTS if match else 1):
            for k in range(len(stages.STAGES)):
                known = true_days[slot, k] != stages.NO_DAY
                np.add.at(true[:, k], crop[known], 1)
                np.add.at(mapped[:, k], crop[map_days[slot, k] != stages.NO_DAY], 1)
                both = known & (matched[slot, k] != stages.NO_DAY)
                error = matched[slot, k, both].astype(np.int32) - true_days[slot, k, both]
                np.add.at(errors[:, k], (crop[both], error + _SPAN), 1)
    return list(_scores(list(names.values()), true, mapped, errors))


def _truth_block(truth: xr.Dataset, rows: slice, cols: slice) -> NDArray[np.int16]:
    block = truth.isel(y=rows, x=cols)
    return np.stack([block[name].values.reshape(stages.SLOTS, -1) for name in stages.STAGES], 1)


def check_fractions(map_dir: Path) -> None:
    """Refuse a map that was not dated at the fractions of the truth."""
    if (map_dir / "peak.tif").is_file():
        missing = [name for name in stages.STAGES if not (map_dir / f"{name}.tif").is_file()]
        if missing:
            raise DeepCropError(
                f"{map_dir} has no {', '.join(missing)}: it was made with other fractions. The "
                "truth of a simulated region is dated at 20 % and 50 %; map it with 0.2 and 0.5 "
                "among the fractions."
            )


def _day_layers(map_dir: Path) -> tuple[str, ...]:
    """Names of the dates that are compared: a map may have one season (--seasons 1)."""
    return DAY_LAYERS if any(map_dir.glob("*_season2.tif")) else DAY_LAYERS[: len(stages.STAGES)]


def _in_slots(days: list[NDArray[np.int16]]) -> NDArray[np.int16]:
    """Stack dates (slots, stages, pixels); slots that the map does not have are empty."""
    missing = [np.full_like(days[0], stages.NO_DAY)] * (len(DAY_LAYERS) - len(days))
    return np.stack([*days, *missing]).reshape(stages.SLOTS, len(stages.STAGES), -1)


def _map_block(map_dir: Path, rows: slice, cols: slice, truth: xr.Dataset) -> NDArray[np.int16]:
    window = ((rows.start, rows.stop), (cols.start, cols.stop))
    year = int(truth.attrs["year"])
    box = grid.grid_of(truth)
    blocks = []
    for name in _day_layers(map_dir):
        path = map_dir / f"{name}.tif"
        if not path.is_file():
            raise DeepCropError(
                f"{path} does not exist; expected a map by 'deepcrop map', or one method's folder "
                "in it."
            )
        with rasterio.open(path) as layer:
            if layer.shape != box.shape or not layer.transform.almost_equals(box.affine, 1e-3):
                raise DeepCropError(f"{path} lies on another grid than the region's truth.")
            if layer.tags().get("year", str(year)) != str(year):
                raise DeepCropError(
                    f"{path} is a map of {layer.tags()['year']}, the truth is of {year}."
                )
            if layer.tags().get("year_start", stages.YEAR_START) != stages.YEAR_START:
                raise DeepCropError(
                    f"{path} is a map of {stages.TargetYear(year, layer.tags()['year_start'])}, "
                    f"and the truth is of the calendar year {year}: their seasons differ. Map "
                    "a year that starts on 1 January to score."
                )
            blocks.append(layer.read(1, window=window).reshape(-1))
    return _in_slots(blocks)


def _scores(
    names: list[str], true: NDArray[np.int64], mapped: NDArray[np.int64], errors: NDArray[np.int64]
) -> Iterator[StageScore]:
    """Sum the counts of each group of crops, and summarise the errors."""
    groups = {ALL_CROPS: np.arange(len(names))}
    # A crop without any mapped date is left out: buildings and water, mostly.
    groups |= {name: np.array([k]) for k, name in enumerate(names) if mapped[k].any()}
    # NaN stands for the true dates that were not detected.
    values = np.append(np.arange(-_SPAN, _SPAN + 1), np.nan)
    for group, members in groups.items():
        for k, stage in enumerate(stages.STAGES):
            counts = errors[members, k].sum(axis=0)
            detected = int(counts.sum())
            missed = int(true[members, k].sum()) - detected
            summary = summarize_errors(values, np.append(counts, missed))
            all_mapped = int(mapped[members, k].sum())
            yield StageScore(
                group=group,
                stage=stage,
                true_dates=summary.references,
                detected=summary.detected,
                unmatched=1 - detected / all_mapped if all_mapped else 0.0,
                mae=summary.mae,
                bias=summary.bias,
                median=summary.median,
            )


def write_scores(scores: list[StageScore], path: Path) -> None:
    """Write scores as CSV, days with one decimal."""
    rows = (
        [row.group, row.stage, row.true_dates, f"{row.detected:.3f}", f"{row.unmatched:.3f}",
         *(f"{days:.1f}" for days in (row.mae, row.bias, row.median))]
        for row in scores
    )  # fmt: skip
    write_csv(path, [field.name for field in fields(StageScore)], rows, line_end="\r\n")
