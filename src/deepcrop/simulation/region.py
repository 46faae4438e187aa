"""Simulate a region block by block as an observation cube, with its true season dates."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from deepcrop import grid, stages
from deepcrop._version import __version__
from deepcrop.cube import contract
from deepcrop.cube import io as cube_io
from deepcrop.cube.chunks import LAYOUT, finish_layout, forget_damaged, seal
from deepcrop.cube.contract import CLEAR_CLASSES, OPTICAL_BANDS, SAR_BANDS, describe
from deepcrop.cube.io import create_store
from deepcrop.errors import DeepCropError
from deepcrop.grid import areas
from deepcrop.simulation import (
    camera,
    canopy,
    crops,
    field_mosaic,
    optical,
    overpasses,
    radar,
    random_fields,
    surface,
    truth,
)
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import staging

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

_PSF_SIDE = 0.12  # point spread: weight of each neighbour in a 10 m pixel of Sentinel-2
MAX_CLOUD = 0.9
"""Maximum cloud cover of the scenes that are kept."""

OPTICAL_ATTRS = {
    "source": "deepcrop simulation of Sentinel-2 L2A",
    "offset": "none: reflectance is simulated as such",
    "mask": f"scene classes {CLEAR_CLASSES} kept",
    "simulated": 1,
}
SAR_ATTRS = {
    "source": "deepcrop simulation of Sentinel-1 IW GRDH",
    "radiometry": "sigma0",
    "simulated": 1,
}
"""Attributes of the groups of a simulated cube."""


@dataclass(frozen=True)
class Region:
    """Region to simulate.

    Attributes
    ----------
    rows, cols : int
        Size in 10 m pixels.
    year : int
        Target year of the truth.
    seed : int
        Seed of all random numbers.
    latitude, longitude : float
        Centre, degrees; determines crops, calendar, UTM zone, sun and climate.
    start, end : str
        First and last day of observations, ISO dates; by default 1 September of the year before
        to the end of February of the year after, so that winter crops are covered whole.
    optical_scenes : int or None
        Maximum number of optical scenes; the clearest are kept. By default all scenes with at most
        90 % cloud.
    sar_scenes : int or None
        Number of radar scenes of one relative orbit, evenly spread. By default all scenes of both
        orbits.
    sar_revisit : int
        Days between passes of one relative orbit: 12 (one satellite) or 6 (two).
    field_size_ha : float
        Median field size in hectares.
    cameras : int
        Number of cameras.
    """

    rows: int = 300
    cols: int = 400
    year: int = 2018
    seed: int = 1
    latitude: float = 41.6
    longitude: float = -93.6
    start: str | None = None
    end: str | None = None
    optical_scenes: int | None = None
    sar_scenes: int | None = None
    sar_revisit: int = 12
    field_size_ha: float = 6.0
    cameras: int = 5

    def days(self) -> tuple[int, int]:
        """Return the first and the last day number of the observations.

        Examples
        --------
        >>> Region(year=2018).days()
        (-122, 423)
        """
        first = _date(self.start or f"{self.year - 1}-09-01")
        last = _date(self.end or f"{self.year + 1}-02-28")
        lo, hi = (int(d) for d in stages.to_days([first, last], self.year))
        if not canopy.FIRST_DAY + 30 <= lo < hi <= canopy.LAST_DAY - 30:
            limits = stages.to_dates([canopy.FIRST_DAY + 30, canopy.LAST_DAY - 30], self.year)
            raise DeepCropError(
                f"Period {first} to {last} cannot be simulated for target year {self.year}: it "
                f"must run forward and lie between {limits[0]} and {limits[1]}."
            )
        return lo, hi

    def geobox(self) -> GeoBox:
        """Grid of the region in its UTM zone, snapped to 10 m."""
        return areas.around(self.latitude, self.longitude, self.rows, self.cols)


def _date(text: str) -> np.datetime64:
    try:
        return np.datetime64(date.fromisoformat(text), "D")
    except ValueError:
        raise DeepCropError(f"{text!r} is no date; expected one like 2018-09-01.") from None


def check_region(region: Region) -> None:
    """Raise `DeepCropError` where a region cannot be simulated."""
    crops.continent(region.latitude, region.longitude)
    if not 1700 <= region.year <= 2200:
        raise DeepCropError(f"Target year {region.year} is out of range; expected 1700 to 2200.")
    region.days()
    if min(region.rows, region.cols) < 2 * camera.VIEW_CELLS + 2:
        raise DeepCropError(
            f"A region of {region.rows} x {region.cols} pixels is too small; the least is "
            f"{2 * camera.VIEW_CELLS + 2} on a side."
        )
    limit = int(mosaic_limit())
    if max(region.rows, region.cols) > limit:
        raise DeepCropError(f"A region may have at most {limit} pixels on a side.")
    if region.sar_revisit not in (6, 12):
        raise DeepCropError(f"SAR revisit is {region.sar_revisit} days; expected 6 or 12.")
    if not region.field_size_ha >= 0.1:
        raise DeepCropError(f"Field size is {region.field_size_ha:g} ha; expected 0.1 or more.")
    for name in ("optical_scenes", "sar_scenes", "cameras"):
        count = getattr(region, name)
        if count is not None and count < (name != "cameras"):
            raise DeepCropError(f"{name} is {count}; expected 1 or more, or leave it out.")


def mosaic_limit() -> float:
    """Maximum side of a region, pixels: larger field numbers would not fit in 32 bits."""
    return field_mosaic.MAX_DISTRICTS * field_mosaic.DISTRICT / grid.RESOLUTION


@dataclass(frozen=True)
class Plan:
    """Overpasses and weather of a region, common to all blocks.

    Attributes
    ----------
    place : str
        "north_america" or "europe".
    optical, sar : list of OpticalOverpass, RadarOverpass
        Overpasses, in order of time.
    moisture : ndarray of float32
        Soil moisture on each day of `canopy.DAYS`, percent.
    """

    place: str
    optical: list[overpasses.OpticalOverpass]
    sar: list[overpasses.RadarOverpass]
    moisture: NDArray[np.float32]


def _plan(region: Region) -> Plan:
    place = crops.continent(region.latitude, region.longitude)
    first, last = region.days()
    rain = radar.rain(region.seed, canopy.DAYS, place)
    passes = overpasses.optical_overpasses(
        region.seed, first, last, rain, canopy.FIRST_DAY, place, region.latitude, region.longitude
    )
    kept = overpasses.clearest(passes, region.rows, region.cols, region.optical_scenes, MAX_CLOUD)
    sar = overpasses.radar_overpasses(
        region.seed, first, last, region.sar_revisit, region.longitude
    )
    if region.sar_scenes is not None:
        sar = [scene for scene in sar if scene.orbit == 1]
        if len(sar) < region.sar_scenes:
            raise DeepCropError(
                f"One relative orbit passes {len(sar)} times in the period; "
                f"{region.sar_scenes} SAR scenes cannot be kept."
            )
        sar = [sar[k] for k in np.linspace(0, len(sar) - 1, region.sar_scenes).round().astype(int)]
    if region.optical_scenes is not None and len(kept) < region.optical_scenes:
        raise DeepCropError(
            f"There are {len(kept)} optical passes in the period; {region.optical_scenes} scenes "
            "cannot be kept."
        )
    if not kept or not sar:
        raise DeepCropError("No scene falls into the period; make it longer.")
    return Plan(place, kept, sar, radar.soil_moisture(rain, canopy.DAYS))


def simulate(region: Region, out: str | Path, overwrite: bool = False) -> None:
    """Simulate a region and write it as a Zarr store that follows the cube contract.

    Beside ``/optical``, ``/sar`` and ``/landcover`` the store has ``/truth`` (season dates per
    pixel) and ``/camera`` (3-day GCC of a few cameras). Memory depends on a block of 256 x 256
    pixels and the number of scenes. An interrupted run continues where it stopped.

    Parameters
    ----------
    region : Region
        Region to simulate.
    out : str or Path
        Zarr store to write.
    overwrite : bool
        Replace an existing one.

    Raises
    ------
    DeepCropError
        If the region cannot be simulated or ``out`` exists.
    """
    out = Path(out)
    check_region(region)
    plan = _plan(region)
    blocks = list(grid.tiles((region.rows, region.cols), contract.CHUNK))
    with staging(out, {"simulate": asdict(region)}, overwrite) as stage, progress_bar() as bar:
        groups = ("optical", "sar", "landcover", "truth")
        forget_damaged(stage, stage.path, [(_item(b), g, *b.core) for b in blocks for g in groups])
        if LAYOUT not in stage.done:
            _create(region, plan, stage.path)
            finish_layout(stage, stage.path)
        task = bar.add_task("simulating blocks", total=len(blocks))
        for tile in blocks:
            if _item(tile) not in stage.done:
                _write_block(region, plan, stage.path, tile)
                stage.finish(_item(tile))
            bar.advance(task)
        seal(stage.path)


def _item(tile: grid.Tile) -> str:
    return f"block {tile.index}"


def _create(region: Region, plan: Plan, path: Path) -> None:
    """Write everything except the blocks: coordinates, attributes, cameras."""
    box = region.geobox()
    shape = (region.rows, region.cols)
    attrs = {
        "title": f"simulated region, seed {region.seed}",
        "simulated": 1,
        "software": f"deepcrop {__version__}",
        "simulation": {k: v for k, v in asdict(region).items() if v is not None},
    }
    create_store(path, attrs)

    def empty(names: tuple[str, ...], n: int, dtype: type) -> dict[str, Any]:
        values = np.broadcast_to(dtype(0), (n, *shape))
        return {name: (("time", "y", "x"), values, describe(name)) for name in names}

    optical_group = xr.Dataset(
        empty(OPTICAL_BANDS, len(plan.optical), np.float32)
        | empty(("scl",), len(plan.optical), np.uint8),
        coords=overpass_coords(plan.optical, overpasses.S2_ORBITS, region.year),
        attrs=OPTICAL_ATTRS,
    )
    sar_group = xr.Dataset(
        empty(SAR_BANDS, len(plan.sar), np.float32),
        coords=overpass_coords(plan.sar, overpasses.S1_ORBITS, region.year),
        attrs=SAR_ATTRS,
    )
    flags = [0, *crops.CLASS_NAMES]
    landcover = xr.Dataset(
        {
            "crop_type": (
                ("y", "x"),
                np.broadcast_to(np.uint16(0), shape),
                {
                    "long_name": "crop type",
                    "flag_values": flags,
                    "flag_meanings": " ".join(["unknown", *crops.CLASS_NAMES.values()]),
                },
            ),
            "field_id": (
                ("y", "x"),
                np.broadcast_to(np.uint32(0), shape),
                {"long_name": "field number"},
            ),
        },
        attrs={"source": "deepcrop simulation", "simulated": 1},
    )
    for name, data in {
        "optical": optical_group,
        "sar": sar_group,
        "landcover": landcover,
        "truth": truth.template(*shape, region.year),
    }.items():
        cube_io.create_group(path, name, grid.assign_grid(data, box))
    if region.cameras:
        cube_io.write_group(path, "camera", place_cameras(region, plan.place))


def overpass_coords(
    passes: Sequence[overpasses.OpticalOverpass] | Sequence[overpasses.RadarOverpass],
    orbits: tuple[int, int],
    year: int,
) -> dict[str, Any]:
    """Make the coordinates ``time`` and ``relative_orbit`` of the overpasses of one sensor."""
    numbers = np.array([orbits[scene.orbit] for scene in passes], np.int16)
    return {"time": overpasses.times(passes, year), "relative_orbit": ("time", numbers)}


def _write_block(region: Region, plan: Plan, path: Path, tile: grid.Tile) -> None:
    """Simulate one block and write it into the store."""
    rows, cols = tile.core
    row0, col0 = rows.start - 1, cols.start - 1  # one pixel of halo for the point spread
    shape = (tile.shape[0] + 2, tile.shape[1] + 2)
    land = surface.make(
        region.seed, row0, col0, shape, region.field_size_ha, plan.place, region.latitude
    )
    inner = (slice(1, -1), slice(1, -1))

    def swath(scene: overpasses.OpticalOverpass) -> NDArray[np.bool_]:
        return overpasses.in_swath(scene, rows.start, cols.start, tile.shape, region.cols)

    # Incidence rises across the swath: eastwards on the ascending orbit, westwards on the other.
    across = 0.0007 * (col0 + np.arange(shape[1]) - region.cols / 2)
    inner_land = surface.crop_to(land, inner)
    write = cube_io.write_block
    write(path, "optical", optical_images(plan, land, rows.start, cols.start, swath), rows, cols)
    write(path, "sar", radar_images(plan, land, rows.start, cols.start, across), rows, cols)
    ids: dict[str, NDArray[Any]] = {"crop_type": inner_land.codes(), "field_id": inner_land.number}
    write(path, "landcover", ids, rows, cols)
    write(path, "truth", truth.truth_layers(inner_land, region.year, region.latitude), rows, cols)


def optical_images(
    plan: Plan,
    land: surface.Surface,
    row0: int,
    col0: int,
    swath: Callable[[overpasses.OpticalOverpass], NDArray[np.bool_]],
) -> dict[str, NDArray[Any]]:
    """Simulate the Sentinel-2 images of a block: bands and ``scl``, (time, rows, cols).

    Parameters
    ----------
    plan : Plan
        Overpasses and soil moisture.
    land : Surface
        The block, with one pixel of halo on each side.
    row0, col0 : int
        First cell of the block, without halo.
    swath : callable
        Returns the pixels of the block that lie in the swath of an overpass.
    """
    rows, cols = land.which.shape[0] - 2, land.which.shape[1] - 2
    images: dict[str, NDArray[Any]] = {
        name: np.empty((len(plan.optical), rows, cols), np.float32) for name in OPTICAL_BANDS
    }
    images["scl"] = np.empty((len(plan.optical), rows, cols), np.uint8)
    for t, scene in enumerate(plan.optical):
        wetness = _wetness(plan, scene.day)
        ground = surface.reflectance(land, scene.day, wetness, scene.cos_sun)
        ground = radar.smooth3(ground, _PSF_SIDE)
        product, scl = overpasses.atmosphere(scene, ground, row0, col0, swath(scene))
        clear = np.isin(scl, CLEAR_CLASSES)
        for band, name in enumerate(optical.BANDS):
            images[name][t] = np.where(clear, product[band], np.nan)
        images["scl"][t] = scl
    return images


def radar_images(
    plan: Plan, land: surface.Surface, row0: int, col0: int, across: NDArray[np.floating]
) -> dict[str, NDArray[Any]]:
    """Simulate the Sentinel-1 images of a block: ``vv`` and ``vh`` in dB, (time, rows, cols).

    ``across`` is added to the incidence angle, degrees per column of ``land`` (subtracted on the
    descending orbit); the other parameters are those of `optical_images`.
    """
    inner = (slice(None), slice(1, -1), slice(1, -1))
    shape = (land.which.shape[0] - 2, land.which.shape[1] - 2)
    images = {name: np.empty((len(plan.sar), *shape), np.float32) for name in SAR_BANDS}
    for t, scene in enumerate(plan.sar):
        moisture = float(plan.moisture[scene.day - canopy.FIRST_DAY])
        incidence = scene.incidence + (across if scene.orbit else -across)
        power = surface.backscatter(land, scene.day, moisture, incidence, scene.wind)[inner]
        for p, name in enumerate(SAR_BANDS):
            grain = radar.speckle(random_fields.stream(scene.stream, name), row0, col0, shape)
            images[name][t] = 10 * np.log10(power[p] * grain) + np.float32(scene.gain)
    return images


def _wetness(plan: Plan, day: int) -> float:
    """Wetness of the soil surface, 0 … 1, from the soil moisture."""
    return float(np.clip((plan.moisture[day - canopy.FIRST_DAY] - 8) / 30, 0, 1))


def place_cameras(region: Region, place: str) -> xr.Dataset:
    """Place cameras at random so that each looks at one crop field; simulate their 3-day GCC."""
    first, last = region.days()
    reach = camera.VIEW_CELLS
    span = slice(first - canopy.FIRST_DAY, last - canopy.FIRST_DAY + 1)
    series, places = [], []
    box = region.geobox()
    for index in range(region.cameras):
        seed = camera.stream(region.seed, index)
        rng = np.random.default_rng(seed)
        best = None
        for _ in range(40):
            row = int(rng.integers(reach, region.rows - reach))
            col = int(rng.integers(reach, region.cols - reach))
            azimuth = float(rng.uniform(0, 360))
            size = (2 * reach + 1, 2 * reach + 1)
            land = surface.make(
                region.seed, row - reach, col - reach, size,
                region.field_size_ha, place, region.latitude,
            )  # fmt: skip
            weights = camera.view_weights(azimuth)
            in_view = {f: weights[land.which == f].sum() for f in np.unique(land.which)}
            main = max(in_view, key=lambda f: in_view[f])
            # Roads, water and woodland are no crop fields.
            is_crop = main >= 0 and crops.CROPS[land.fields[main].main_crop()].kind != "tree"
            purity = in_view[main] if is_crop else 0.0
            if best is None or purity > best[0]:
                best = (purity, row, col, azimuth, land, main)
            if purity > 0.9:
                break
        assert best is not None
        purity, row, col, azimuth, land, main = best
        curves = surface.greenness(land)[span]
        series.append(camera.observe(seed, canopy.DAYS[span], curves, azimuth))
        x, y = float(box.coords["x"].values[col]), float(box.coords["y"].values[row])
        number = int(land.number[land.which == main].flat[0]) if main >= 0 else 0
        places.append(
            {"x": x, "y": y, "row": row, "col": col, "azimuth": azimuth, "field_id": number}
        )
    return camera.as_dataset(series, places, region.year)
