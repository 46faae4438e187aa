"""From an observation cube to season maps, tile by tile, on one computer or a Dask cluster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import shapely
import xarray as xr
import zarr
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from deepcrop import grid, layers, observations, parcels, products
from deepcrop.cluster import cluster, make_tiles_on
from deepcrop.cogs import crs_name, windows
from deepcrop.errors import DeepCropError
from deepcrop.layers import DIFFERENCE
from deepcrop.map_curve import curve_settings
from deepcrop.staging import Staging, leftover, progress_bar, staging
from deepcrop.tiles import TRIES, WANTED, Recipe, make_tiles, plans_of
from deepcrop.tiling import Plan

MANIFEST = "manifest.jsonl"
"""In a finished map: a line for each tile, in the order of rows."""

_WORK = "work.zarr"
_FIELDS = "fields"


@dataclass(frozen=True)
class MapResult:
    """Where a map lies, and its ``summary.json``."""

    path: Path
    summary: dict[str, Any]


def map_region(
    cube_path: str | Path,
    year: int,
    out: str | Path,
    overwrite: bool = False,
    index: str = "ndvi",
    smoother: str = "whittaker",
    *,
    method: str = "curve",
    weights: str | Path | None = None,
    radar: bool = True,
    device: str = "cpu",
    precision: str = "float32",
    mask: str | Path | None = None,
    parcels_path: str | Path | None = None,
    fields: bool = False,
    resume: bool = False,
    address: str | None = None,
    workers: int | None = None,
) -> MapResult:
    """Map the season dates of a target year.

    Writes Cloud-Optimized GeoTIFFs, styles, pictures, STAC and a summary
    (:mod:`deepcrop.products`), and a manifest with a line for each tile. Memory is set by a tile of
    256 x 256 pixels and the number of scenes. An interrupted run goes on where it stopped; ``out``
    appears when all is written.

    Parameters
    ----------
    cube_path : str or Path
        Observation cube, Zarr or NetCDF.
    year : int
        Target year.
    out : str or Path
        Directory to make.
    overwrite : bool
        Replace an existing ``out``.
    index : str
        Greenness to read, one of `INDICES`: ``"ndvi"`` or ``"gcc"`` (the paper's GCC_s).
    smoother : str
        One of :func:`deepcrop.phenology.season_dates`; ``"savgol"`` is the paper's.
    method : str
        ``"curve"`` (with ``index`` and ``smoother``), ``"deepcrop"``, the network (with
        ``weights``, ``radar``, ``device`` and ``precision``), or ``"both"``, with their difference.
    weights : path, optional
        File of weights; by default those that come with the package.
    radar : bool
        Whether the network gets the radar.
    device : str
        Where the network runs: ``"cpu"`` or ``"cuda"``.
    precision : str
        Numbers of the network: ``"float32"``, ``"bfloat16"`` or ``"float16"``.
    mask : path, optional
        Raster; only pixels where it has data that is not 0 are mapped.
    parcels_path : path, optional
        Polygons; only pixels within are mapped, and dates are given for each (``fields.csv``,
        ``fields.parquet``).
    fields : bool
        Give dates for each field of the cube's ``field_id``.
    resume : bool
        Insist on going on with an interrupted run; an error if there is none.
    address : str, optional
        Scheduler of a Dask cluster to map on.
    workers : int, optional
        Processes of a Dask cluster to start on this computer.

    Raises
    ------
    CubeError
        If the cube cannot be read, has no images that the method reads, or none near the year, or
        its radar is not what the network expects.
    DeepCropError
        If ``out`` exists and may not be replaced, an option is unknown or of the other method, the
        weights, mask or parcels cannot be read, or tiles failed (all others are kept).
    """
    cube_path, out = Path(cube_path), Path(out)
    check_options(method, index, smoother, weights, radar, device, precision)
    if out.resolve() == cube_path.resolve() or out.resolve() in cube_path.resolve().parents:
        raise DeepCropError(f"{out} is or holds the cube itself; choose another name for the maps.")
    cube = observations.open_cube(cube_path)
    recipe = make_recipe(
        cube_path, year, method, index, smoother, weights, radar, device, precision
    )
    plans = plans_of(recipe)
    box = observations.grid_of(cube)
    land = Land(cube, cube_path, mask, parcels_path, fields)
    settings = {
        "map": recipe.cube,
        "made": _fingerprint(cube_path),
        "method": method,
        "year": year,
        **{key: value for plan in plans.values() for key, value in plan.settings.items()},
        **land.settings,
    }
    if resume and not leftover(out, settings):
        raise DeepCropError(
            f"There is no interrupted run of these settings to resume for {out}; leave out "
            "--resume to begin."
        )
    with staging(out, settings, overwrite) as stage:
        work = stage.path / _WORK
        if "layout" not in stage.done:
            _lay_out(work, plans, year, box)
            land.lay_out(work)
            stage.finish("layout")
        _make(stage, recipe, work, box, address, workers)
        lines = _manifest(stage.path)
        with ExitStack() as opened:
            maps = {group: opened.enter_context(_open(work, group)) for group in _groups(plans)}
            info = _info(cube, cube_path, year, plans, lines, land.settings)
            crops = _crop_type(cube)
            wanted = None
            if (work / WANTED).exists():
                wanted = opened.enter_context(_open(work, WANTED))[WANTED]
            summary = products.write_products(maps, stage.path, info, crops, wanted)
            land.write(work, stage.path, maps, info, crops)
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (stage.path / MANIFEST).write_text(text)
        shutil.rmtree(work)
    return MapResult(out, summary)


def check_options(
    method: str,
    index: str,
    smoother: str,
    weights: str | Path | None,
    radar: bool,
    device: str = "cpu",
    precision: str = "float32",
) -> None:
    """Refuse options of `map_region` that are unknown or of the other method."""
    methods = (*layers.METHODS, "both")
    if method not in methods:
        raise DeepCropError(f"Method {method!r} is unknown; expected {', '.join(methods)}.")
    of_network = (weights, radar, device, precision) != (None, True, "cpu", "float32")
    if method == "curve" and of_network:
        raise DeepCropError(
            "Weights, --no-radar, device and precision are of the network; add --method deepcrop."
        )
    if method == "deepcrop" and (index, smoother) != ("ndvi", "whittaker"):
        raise DeepCropError("Index and smoother are of the curve; add --method curve.")
    if method != "deepcrop":
        curve_settings(index, smoother)


def make_recipe(
    cube_path: Path,
    year: int,
    method: str,
    index: str = "ndvi",
    smoother: str = "whittaker",
    weights: str | Path | None = None,
    radar: bool = True,
    device: str = "cpu",
    precision: str = "float32",
) -> Recipe:
    """Put the options of `map_region` together, with absolute paths."""
    file = None if weights is None else str(Path(weights).resolve())
    files = [cube_path, *([Path(weights)] if weights is not None else [])]
    made = " ".join(_fingerprint(path) for path in files if path.exists())
    cube = str(cube_path.resolve())
    return Recipe(cube, year, method, index, smoother, file, radar, device, precision, made)


def _groups(plans: dict[str, Plan]) -> list[str]:
    return [*plans, *([DIFFERENCE] if len(plans) > 1 else [])]


def _lay_out(work: Path, plans: dict[str, Plan], year: int, box: GeoBox) -> None:
    """Make the work store: a group for each method, a chunk for each tile."""
    shutil.rmtree(work, ignore_errors=True)
    observations.create_store(work, {})
    for method in _groups(plans):
        described = layers.describe(method, year)
        form = xr.Dataset(
            {
                layer.name: (("y", "x"), np.broadcast_to(layer.dtype.type(0), box.shape))
                for layer in described
            }
        )
        empty = {layer.name: layer.nodata or 0 for layer in described}
        observations.create_group(work, method, grid.assign_grid(form, box), empty)


def _open(work: Path, group: str) -> xr.Dataset:
    return xr.open_zarr(work, group=group, consolidated=False, chunks=None, decode_coords="all")


def _make(
    stage: Staging,
    recipe: Recipe,
    work: Path,
    box: GeoBox,
    address: str | None,
    workers: int | None,
) -> None:
    """Make the tiles that are not there yet; those that fail are named when all others are done."""
    cores = [tile.core for tile in grid.tiles((box.shape[0], box.shape[1]), observations.CHUNK)]
    missing = [core for core in cores if _item(core) not in stage.done]
    if not missing:
        return
    with ExitStack() as opened:
        bar = opened.enter_context(progress_bar())
        task = bar.add_task("mapping tiles", total=len(cores), completed=len(cores) - len(missing))

        def done(line: dict[str, Any]) -> None:
            with (stage.path / MANIFEST).open("a") as manifest:
                manifest.write("\n" + json.dumps(line))  # newline first: the last may be cut
            stage.finish(_item((slice(*line["rows"]), slice(*line["cols"]))))
            bar.advance(task)

        store = str(work.resolve())
        if address is not None or workers is not None:
            client = opened.enter_context(cluster(address, workers))
            failures = make_tiles_on(client, recipe, store, missing, done)
        else:
            failures = make_tiles(recipe, store, missing, done)
    if failures:
        raise DeepCropError(
            f"{len(failures)} of {len(cores)} tiles failed {TRIES} times each:\n"
            + "\n".join(f"  {failure}" for failure in failures)
            + f"\nAll others are kept in {stage.path}: mend the cause, and the same command makes "
            "only what is missing."
        )


def _item(core: tuple[slice, slice]) -> str:
    return f"tile {core[0].start} {core[1].start}"


def _manifest(folder: Path) -> list[dict[str, Any]]:
    """Lines of the tiles made so far, in the order of rows; of a tile made twice the last."""
    lines = {}
    for text in (folder / MANIFEST).read_text().splitlines():
        try:
            line = json.loads(text)
        except ValueError:  # cut by a kill, or empty
            continue
        lines[line["rows"][0], line["cols"][0]] = line
    return [lines[place] for place in sorted(lines)]


class Land:
    """Where to map, and the fields to give dates for.

    Parameters
    ----------
    cube : DataTree
    cube_path : Path
        Where it lies, for messages.
    mask, parcels_path, fields
        As of `map_region`.

    Raises
    ------
    DeepCropError
        If the mask is missing, the parcels cannot be read, or the cube has no fields.
    """

    def __init__(
        self,
        cube: xr.DataTree,
        cube_path: Path,
        mask: str | Path | None,
        parcels_path: str | Path | None,
        fields: bool,
    ) -> None:
        self.box = observations.grid_of(cube)
        self.mask = None if mask is None else Path(mask)
        self.file = None if parcels_path is None else Path(parcels_path)
        self.parcels = None if self.file is None else parcels.read_parcels(self.file, self.box)
        if fields and self.file is not None:
            raise DeepCropError("Give either parcels or fields: parcels are given dates as well.")
        landcover = cube["landcover"].to_dataset() if "landcover" in cube.children else {}
        if fields:
            parcels.check_installed()
            if "field_id" not in landcover:
                raise DeepCropError(f"{cube_path} has no 'field_id'; give fields with --parcels.")
        self.own = landcover["field_id"] if fields else None
        if self.mask is not None and not self.mask.exists():
            raise DeepCropError(f"Mask {self.mask} does not exist.")

    @property
    def settings(self) -> dict[str, Any]:
        """What a result depends on, in JSON types."""
        named = {"mask": self.mask, "parcels": self.file}
        told: dict[str, Any] = {
            name: {"file": path.name, "made": _fingerprint(path)}
            for name, path in named.items()
            if path is not None
        }
        return told | ({"fields": "field_id of the cube"} if self.own is not None else {})

    @property
    def limited(self) -> bool:
        """Whether not all pixels are wanted."""
        return self.mask is not None or self.parcels is not None

    def lay_out(self, work: Path) -> None:
        """Put the pixels that are wanted, and the numbers of their fields, into the work store."""
        numbered = self.parcels is not None or self.own is not None
        if not self.limited and not numbered:
            return
        fields = self._array(work, _FIELDS, np.dtype(np.uint32)) if numbered else None
        wanted = self._array(work, WANTED, np.dtype(np.uint8)) if self.limited else None
        for window, numbers, there in self._windows():
            if wanted is not None:
                wanted[window] = there
            if fields is not None:
                fields[window] = np.where(there, numbers, 0)

    def count(self) -> tuple[int, int]:
        """Pixels that are wanted, and tiles with any."""
        rows, cols = self.box.shape
        side = observations.CHUNK
        if not self.limited:
            return rows * cols, -(-rows // side) * -(-cols // side)
        pixels = tiles = 0
        for _, _, there in self._windows():
            down, across = (np.arange(0, length, side) for length in there.shape)
            each = np.add.reduceat(np.add.reduceat(there, down, axis=0, dtype=int), across, axis=1)
            pixels, tiles = pixels + int(each.sum()), tiles + int((each > 0).sum())
        return pixels, tiles

    def _windows(
        self,
    ) -> Iterator[tuple[tuple[slice, slice], NDArray[np.uint32], NDArray[np.bool_]]]:
        """Give each window of the grid with the numbers of fields (0: none) and the pixels wanted.

        Raises
        ------
        DeepCropError
            If the mask cannot be read; at the end, if no pixel was wanted.
        """
        masks = None if self.mask is None else parcels.read_mask(self.mask, self.box)
        some = False
        for rows, cols in windows(self.box):
            shape = rows.stop - rows.start, cols.stop - cols.start
            numbers, there = np.zeros(shape, np.uint32), np.ones(shape, bool)
            if self.parcels is not None:
                numbers = self.parcels.numbers(self.box, rows, cols)
                there = numbers > 0
            elif self.own is not None:
                numbers = self.own[rows, cols].values
            if masks is not None:
                there &= next(masks)[1]
            some |= bool(there.any())
            yield (rows, cols), numbers, there
        if not some:
            raise self._nothing()

    def _nothing(self) -> DeepCropError:
        crs, within = crs_name(self.box), []
        if self.mask is not None:
            with rasterio.open(self.mask) as raster:
                words = f"{tuple(raster.bounds)} in {raster.crs}"
            within.append(f"mask {self.mask} ({words}) has data that is not 0")
        if self.parcels is not None:
            bounds = tuple(shapely.total_bounds(self.parcels.shapes).tolist())
            within.append(f"a parcel of {self.file} ({bounds} in {crs}) holds its centre")
        return DeepCropError(
            f"The map ({tuple(self.box.boundingbox.bbox)} in {crs}) has no pixel where "
            f"{' and '.join(within)}; nothing would be mapped."
        )

    def _array(self, work: Path, name: str, dtype: np.dtype) -> zarr.Array:
        form = xr.Dataset({name: (("y", "x"), np.broadcast_to(dtype.type(0), self.box.shape))})
        observations.create_group(work, name, grid.assign_grid(form, self.box))
        return zarr.open_array(work / name / name, mode="r+")

    def write(
        self,
        work: Path,
        out: Path,
        maps: dict[str, xr.Dataset],
        info: products.MapInfo,
        crops: xr.DataArray | None,
    ) -> None:
        """Write what the map says of each field."""
        if self.parcels is None and self.own is None:
            return
        every = None if self.parcels is None else np.arange(1, len(self.parcels.shapes) + 1)
        with _open(work, _FIELDS) as group:
            table = parcels.field_table(maps, group[_FIELDS], info.year, crops, every)
        if self.parcels is not None:
            shapes = self.parcels.shapes
            table |= {f"parcel_{name}": values for name, values in self.parcels.columns.items()}
        elif self.own is not None:
            shapes = parcels.field_shapes(self.own, table["field"])
        about = f"{info.title}: crop season dates {info.year}"
        parcels.write_fields(out, table, shapes, self.box, about, info.simulated)


def _fingerprint(path: Path) -> str:
    """Tell one writing of a file from the next, so that two never share a half-made map."""
    stat = (path / "zarr.json" if path.is_dir() else path).stat()
    return f"{stat.st_mtime_ns} {stat.st_size}"


def _crop_type(cube: xr.DataTree) -> xr.DataArray | None:
    if "landcover" not in cube.children:
        return None
    return cube["landcover"].to_dataset()["crop_type"]


def _info(
    cube: xr.DataTree,
    path: Path,
    year: int,
    plans: dict[str, Plan],
    lines: list[dict[str, Any]],
    land: dict[str, Any],
) -> products.MapInfo:
    read = {
        name: (f"{method} {name}", images)
        for method, plan in plans.items()
        for name, images in plan.images.items()
        if name not in plan.counted
    }
    times = np.concatenate([images.data["time"].values for _, images in read.values()])
    scenes: dict[str, int] = {}
    seen: dict[str, list[dict[str, Any]]] = {}
    left_out = sum(line["left_out"] for line in lines)
    size = sum(line["pixels"] for line in lines) - left_out
    for name, (key, images) in read.items():
        pixels = [line["valid"][key] for line in lines if line["valid"]]
        counts = np.sum(pixels, axis=0) if pixels else np.zeros(images.days.size)
        scenes |= {name: images.days.size, f"{name}_usable": int((counts > 0).sum())}
        seen[name] = [
            {"date": str(time)[:10], "share": round(float(count) / size, 4)}
            for time, count in zip(images.data["time"].values, counts, strict=True)
        ]
    attrs = {
        name: observations.plain(cube[name].attrs)
        for name in (*read, "landcover")
        if name in cube.children
    }
    settings = {key: value for plan in plans.values() for key, value in plan.settings.items()}
    return products.MapInfo(
        year=year,
        simulated=observations.is_simulated(cube),
        title=str(cube.attrs.get("title", path.stem)),
        start=times.min(),
        end=times.max(),
        scenes=scenes,
        seen=seen,
        source={"cube": path.name, **attrs, **settings, **land},
        left_out=left_out,
    )
