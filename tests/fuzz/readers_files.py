"""Readers of files, arrays and documents, each with valid material to damage."""

from __future__ import annotations

import contextlib
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from hypothesis import strategies as st
from tests.fuzz.harness import Reader
from tests.fuzz.mutations import (
    ODD_VALUES,
    damaged_bytes,
    damaged_document,
    damaged_json,
    damaged_text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

EXPERIMENT = """
network: default
seed: 3
simulated_tiles: 40
repeats: 1
phases:
  - name: tiles
    simulated_tiles: 1
    batch: 12
    training: &t
      {steps: 300, learning_rate: 0.001, augmentation: {max_scenes: 32}}
  - name: cameras
    cameras: 0.5
    simulated_tiles: 0.5
    training: *t
"""
ARCHIVE = """
url: https://stac.example.org/v1
collections: [hls-s30]
assets: {blue: B02, green: B03, red: B04, nir: B8A, mask: Fmask}
scale: 0.0001
offset: 0
type: int16
nodata: -9999
masked_bits: [1, 2, 3, 4]
mask_nodata: 255
pixel: 30
token: EXAMPLE_TOKEN
"""
SPEC = r"""
name: region
grid: {crs: "EPSG:32631", bounds: [500000, 5599800, 500300, 5600000]}
time: {start: 2018-01-01, end: 2018-12-31}
optical:
  source: my files
  files: "optical.nc"
  bands: {blue: B02, green: B03, red: B04, nir: B08}
  scale: 0.0001
  offset: 0
  offset_decision: none, numbers have no offset
  nodata: 0
  time: t
  masks:
    - {files: optical.nc, variable: SCL, keep: [4, 5, 6], nodata: 0, store_as: scl}
landcover:
  files: crops.tif
  variable: "1"
  nodata: 0
  classes: {1: maize, 2: wheat}
"""


def text_reader(
    name: str, suffix: str, read: Callable[[Path], Any], *valid: str, **more: Any
) -> Reader:
    """A reader of one text file."""

    @contextlib.contextmanager
    def prepare(folder: Path) -> Iterator[Any]:
        path = folder / f"input{suffix}"

        def read_content(content: bytes) -> Any:
            path.write_bytes(content)
            return read(path)

        for text in valid:
            read_content(text.encode())  # the valid file is read
        yield damaged_text(*valid), read_content

    return Reader(name, prepare, **more)


def file_reader(
    name: str, make: Callable[[Path], Path], read: Callable[[Path], Any], **more: Any
) -> Reader:
    """A reader of one binary file, which ``make`` writes."""

    @contextlib.contextmanager
    def prepare(folder: Path) -> Iterator[Any]:
        path = make(folder)
        valid = path.read_bytes()
        read(path)

        def read_content(content: bytes) -> Any:
            path.write_bytes(content)
            return read(path)

        yield damaged_bytes(valid), read_content

    return Reader(name, prepare, **more)


# YAML -------------------------------------------------------------------------------------------


def _experiment(path: Path) -> Any:
    from deepcrop.training.experiment import read_experiment

    return read_experiment(path)


def _archive(path: Path) -> Any:
    from deepcrop.sources.stac.own_archive import own_archive

    return own_archive(path)


def _spec(path: Path) -> Any:
    from deepcrop.ingest.spec_file import load_spec

    return load_spec(path)


# Tables -----------------------------------------------------------------------------------------


def _camera_series(path: Path) -> Any:
    from deepcrop.sources.phenocam.summary_files import read_series

    return read_series(path)


def _camera_text() -> str:
    from tests.helpers.camera_files import HEADER, HEADING, row

    top = HEADER.format(site="field", period=3, roi=1000, latitude=41.16)
    rows = [row(str(np.datetime64("2019-01-01") + k)) for k in range(9)]
    return top + "\n".join([HEADING, *rows, row("2019-01-10", "NA", "NA")]) + "\n"


def _crop_table(path: Path) -> Any:
    from deepcrop.cameras.crop_table import read_crops

    return read_crops(path)


def _points(path: Path) -> Any:
    from deepcrop.mapping.points import read_points

    return read_points(path)


def _crop_classes(path: Path) -> Any:
    from deepcrop.sources.cropland import read_classes

    return read_classes(path)


def _area(path: Path) -> Any:
    from deepcrop.grid.areas import area_of

    return area_of(str(path))


AREA = json.dumps(
    {
        "type": "FeatureCollection",
        "features": [
            {
                "type": "Feature",
                "properties": {},
                "geometry": {
                    "type": "Polygon",
                    "coordinates": [[[3.0, 50.5], [3.01, 50.5], [3.01, 50.51], [3.0, 50.5]]],
                },
            }
        ],
    },
    indent=1,
)


@contextlib.contextmanager
def _scene_manifest(folder: Path) -> Iterator[Any]:
    """The CSV beside a fetched cube."""
    from deepcrop.fetch.manifest import manifest_path, read_manifest

    cube = folder / "region.zarr"
    valid = (
        "sensor,time,relative_orbit,cloud_cover,state,reason,products,notes\r\n"
        'optical,2018-05-02T10:50:00,22,3.5,failed,"no file, today",S2A_1 S2A_2,offset: none\r\n'
        "sar,2018-05-03T17:24:05,,,fetched,,S1A_1,\r\n"
    )

    def read(content: bytes) -> Any:
        manifest_path(cube).write_bytes(content)
        return read_manifest(cube)

    yield damaged_text(valid), read


@contextlib.contextmanager
def _series_table(folder: Path) -> Iterator[Any]:
    """A CSV of dates and greenness that a user reads with pandas, for `deepcrop.extract`."""
    from deepcrop import extract
    from deepcrop.errors import DeepCropError

    days = np.arange(0, 800, 8)
    dates = np.datetime64("2018-01-01") + days
    ndvi = 0.2 + 0.5 * np.exp(-((((days % 365) - 190) / 40.0) ** 2))
    lines = [f"{d},{v:.4f}" for d, v in zip(dates, ndvi, strict=True)]
    valid = "date,ndvi\n" + "\n".join(lines) + "\n"
    path = folder / "series.csv"

    def read(content: bytes) -> Any:
        path.write_bytes(content)
        try:
            table = pd.read_csv(path)
            dates = pd.to_datetime(table.iloc[:, 0], format="ISO8601", errors="coerce")
            series = pd.Series(table.iloc[:, 1].to_numpy(), pd.DatetimeIndex(dates))
        except Exception as error:  # pandas raises what it likes, before deepcrop is asked
            raise DeepCropError(f"pandas: {error}") from None
        return extract(series)

    read(valid.encode())  # the first use compiles the kernels
    yield damaged_text(valid), read


# Arrays -----------------------------------------------------------------------------------------


@contextlib.contextmanager
def _season_arrays(folder: Path) -> Iterator[Any]:
    from deepcrop.phenology import SavGol, SeasonRule, Whittaker, season_dates

    numbers = st.one_of(
        st.floats(-1, 1), st.sampled_from([v for v in ODD_VALUES if isinstance(v, int | float)])
    )

    @st.composite
    def inputs(draw: st.DrawFn) -> dict[str, Any]:
        pixels, times = draw(st.integers(0, 20)), draw(st.integers(0, 60))
        rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        days = np.sort(rng.uniform(0, 700, times))
        values = 0.3 + 0.3 * np.sin(days / 58) + rng.normal(0, 0.02, (pixels, times))
        given: dict[str, Any] = {"values": values, "days": days}
        if draw(st.booleans()):
            given["weights"] = rng.uniform(0, 1, (pixels, times))
        for _ in range(draw(st.integers(0, 3))):
            name = draw(st.sampled_from(sorted(given)))
            array = np.array(given[name], float) if name in ("values", "days", "weights") else None
            if array is not None and array.size and draw(st.integers(0, 3)):
                with contextlib.suppress(OverflowError, ValueError):
                    array.flat[draw(st.integers(0, array.size - 1))] = draw(numbers)
                given[name] = array
            else:
                given[name] = draw(st.sampled_from(ODD_VALUES))
                break
        option = draw(st.sampled_from(("none", "smoother", "settings", "rule", "fractions", "odd")))
        if option == "smoother":
            given["smoother"] = draw(
                st.sampled_from(("savgol", "whittaker", "double_logistic", "asymmetric_gaussian"))
            )
        elif option == "settings":
            kind = draw(st.sampled_from((SavGol, Whittaker)))
            name = draw(st.sampled_from(("step", "spike", "envelope_passes")))
            given["smoother"] = kind(**{name: draw(st.sampled_from((*ODD_VALUES[:12], 1e-9, 7)))})
        elif option == "rule":
            name = draw(st.sampled_from(("min_amplitude", "max_gap", "min_observations")))
            given["rule"] = SeasonRule(**{name: draw(st.sampled_from(ODD_VALUES))})
        elif option == "fractions":
            given["fractions"] = draw(st.lists(numbers, max_size=5))
        elif option == "odd":
            name = draw(st.sampled_from(("smoother", "preset", "fractions", "rule")))
            given[name] = draw(st.sampled_from(ODD_VALUES))
        return given

    def read(given: dict[str, Any]) -> Any:
        given = dict(given)
        return season_dates(given.pop("values"), given.pop("days"), **given)

    days = np.arange(0, 400, 5.0)
    for smoother in ("savgol", "whittaker", "double_logistic", "asymmetric_gaussian"):
        ndvi = 0.2 + 0.5 * np.exp(-(((days - 190) / 40) ** 2))[None]
        for weights in (None, np.ones_like(ndvi)):  # the first use compiles the kernels
            read({"values": ndvi, "days": days, "weights": weights, "smoother": smoother})
    yield inputs(), read


# Sentinel-1 -------------------------------------------------------------------------------------


@contextlib.contextmanager
def _safe(folder: Path) -> Iterator[Any]:
    from tests.helpers import safe_products

    from deepcrop.sources.archive import SceneError
    from deepcrop.sources.safe.geometry import read_geometry
    from deepcrop.sources.safe.product import (
        noise_removed,
        open_product,
        read_calibration,
        read_noise,
    )
    from deepcrop.sources.sentinel1 import AnnotationError, angles_from_annotation

    safe = safe_products.make_safe(folder, safe_products.constant(300))
    orbit = safe_products.write_orbit(folder)
    files = [*sorted(safe.rglob("*.xml")), safe / "manifest.safe", orbit]
    files = [path for path in files if "vh" not in path.name]
    valid = {path: path.read_bytes() for path in files}

    def read(given: tuple[int, bytes]) -> Any:
        path = files[given[0]]
        path.write_bytes(given[1])
        try:
            product = open_product(safe)
            read_calibration(product, "vv")
            read_noise(product, "vv")
            noise_removed(product, "vv")
            if path.parent.name == "annotation":
                try:
                    angles_from_annotation(given[1].decode("utf-8", "replace"))
                except AnnotationError as error:  # the archive takes approximate angles then
                    raise SceneError(str(error)) from None
            return read_geometry(product, "vv", orbit if path == orbit else None)
        finally:
            path.write_bytes(valid[path])

    read((0, valid[files[0]]))  # imports the libraries
    yield (
        st.integers(0, len(files) - 1).flatmap(
            lambda k: damaged_text(valid[files[k]].decode()).map(lambda content: (k, content))
        ),
        read,
    )


# Rasters ----------------------------------------------------------------------------------------


def _crop_raster_file(folder: Path) -> Path:
    from tests.helpers.parcel_files import raster

    return raster(folder / "crops.tif", np.arange(600).reshape(20, 30) % 5)


def _box() -> Any:
    from deepcrop import grid

    return grid.make_grid((500000, 5600000, 500300, 5600200), "EPSG:32631")


def _crop_raster(path: Path) -> Any:
    from deepcrop.sources.cropland import read_raster

    return read_raster(path, _box())


@contextlib.contextmanager
def _raw_files(folder: Path) -> Iterator[Any]:
    """NetCDF, Zarr and GeoTIFF files of a specification, as `deepcrop ingest` reads them."""
    from tests.fuzz.raw_files import write_raw_files

    from deepcrop.ingest.run import ingest

    kinds = write_raw_files(folder)

    def read(given: tuple[int, bytes]) -> Any:
        spec, path, valid = kinds[given[0]]
        path.write_bytes(given[1])
        out = folder / "out.zarr"
        try:
            return ingest(spec, out, overwrite=True)
        finally:
            path.write_bytes(valid)
            for left in folder.glob("out.zarr*"):
                shutil.rmtree(left) if left.is_dir() else left.unlink()

    yield (
        st.integers(0, len(kinds) - 1).flatmap(
            lambda k: damaged_bytes(kinds[k][2]).map(lambda content: (k, content))
        ),
        read,
    )


# Cubes and results ------------------------------------------------------------------------------


@contextlib.contextmanager
def _cube(folder: Path) -> Iterator[Any]:
    from tests.helpers.cubes import make_cube

    from deepcrop.cube.io import open_cube, save_cube

    cube = folder / "cube.zarr"
    save_cube(make_cube(), cube)
    files = sorted(path for path in cube.rglob("*") if path.is_file())
    documents = [path for path in files if path.name == "zarr.json"]
    valid = {path: path.read_bytes() for path in files}

    def read(given: tuple[Path, bytes]) -> Any:
        path, content = given
        path.write_bytes(content)
        try:
            open_cube(cube)
        finally:
            path.write_bytes(valid[path])

    yield (
        st.one_of(
            st.sampled_from(documents).flatmap(
                lambda p: damaged_json(json.loads(valid[p])).map(lambda content: (p, content))
            ),
            st.sampled_from(files).flatmap(
                lambda p: damaged_bytes(valid[p]).map(lambda content: (p, content))
            ),
        ),
        read,
    )


@contextlib.contextmanager
def _result(folder: Path) -> Iterator[Any]:
    """`item.json` and `summary.json`, read for the viewer and the tables of the report."""
    from tests.fuzz.raw_files import write_result

    from deepcrop.products.results import open_result
    from deepcrop.report import map_report
    from deepcrop.viewer.viewed_map import ViewedMap

    maps = write_result(folder)
    files = [maps / "item.json", maps / "summary.json"]
    valid = {path: path.read_bytes() for path in files}

    def read(given: tuple[Path, bytes]) -> Any:
        path, content = given
        path.write_bytes(content)
        try:
            ViewedMap(maps, None).describe()
            result = open_result(maps)
            list(map_report._facts(result))
            for season in (1, 2):
                map_report._stage_table(result, season)
            for part in (map_report._methods, map_report._provenance, map_report._citations):
                part(result)
        finally:
            path.write_bytes(valid[path])

    yield (
        st.sampled_from(files).flatmap(
            lambda p: damaged_json(json.loads(valid[p])).map(lambda content: (p, content))
        ),
        read,
    )


@contextlib.contextmanager
def _journal(folder: Path) -> Iterator[Any]:
    """The journal of a directory under construction."""
    from deepcrop.storage.staging import staging

    target, settings = folder / "out", {"content": "fuzz", "n": 1}
    with contextlib.suppress(ZeroDivisionError), staging(target, settings) as stage:
        stage.finish("a")
        stage.finish("b")
        raise ZeroDivisionError
    journal = next(iter((folder / "out.part").glob("*.jsonl")))
    valid, name = journal.read_bytes(), journal.name

    def read(content: bytes) -> Any:
        part = folder / "out.part"
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(target, ignore_errors=True)
        part.mkdir()
        (part / name).write_bytes(content)
        with staging(target, settings) as stage:
            return stage.done

    yield damaged_bytes(valid), read


@contextlib.contextmanager
def _weights(folder: Path) -> Iterator[Any]:
    from safetensors import safe_open
    from safetensors.torch import save_file
    from tests.helpers.weights_files import tiny, write_weights

    from deepcrop.network import load

    path = write_weights(folder / "w.safetensors", tiny())
    valid = path.read_bytes()
    with safe_open(path, "pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    document = {name: json.loads(about[name]) for name in ("config", "inputs", "card")}
    header = len(valid) - sum(t.numel() * t.element_size() for t in tensors.values())

    def read(given: bytes | dict[str, Any]) -> Any:
        if isinstance(given, bytes):
            path.write_bytes(given)
        else:
            texts = {key: json.dumps(value) for key, value in given.items()}
            with contextlib.suppress(OverflowError, UnicodeError):  # keys no file can hold
                save_file(tensors, path, about | texts)
        return load(path)

    yield (
        st.one_of(
            damaged_bytes(valid),
            damaged_bytes(valid[:header]).map(lambda head: head + valid[header:]),
            damaged_document(document).filter(lambda d: isinstance(d, dict)),
        ),
        read,
    )


@contextlib.contextmanager
def _parcels(folder: Path) -> Iterator[Any]:
    import pyogrio
    from tests.helpers.parcel_files import NORTH, SOUTH, geojson

    from deepcrop.mapping.parcels import read_parcels

    first = geojson(folder / "fields.geojson")
    gpkg = folder / "fields.gpkg"
    import shapely

    pyogrio.raw.write(
        gpkg,
        geometry=shapely.to_wkb(np.array([NORTH, SOUTH])),
        field_data=[np.array(["a", "b"], object)],
        fields=["farm"],
        geometry_type="Polygon",
        crs="EPSG:32631",
    )
    valid = {path: path.read_bytes() for path in (first, gpkg)}
    box = _box()

    def read(given: tuple[Path, bytes]) -> Any:
        given[0].write_bytes(given[1])
        return read_parcels(given[0], box)

    yield (
        st.one_of(
            damaged_json(json.loads(valid[first])).map(lambda content: (first, content)),
            damaged_bytes(valid[gpkg]).map(lambda content: (gpkg, content)),
        ),
        read,
    )


FILE_READERS = (
    text_reader("ingest specification", ".yaml", _spec, SPEC, share=20),
    text_reader("experiment", ".yaml", _experiment, EXPERIMENT, share=20),
    text_reader("own archive", ".yaml", _archive, ARCHIVE, sample=40),
    text_reader("camera series", ".csv", _camera_series, _camera_text(), share=20),
    text_reader(
        "crop table", ".csv", _crop_table, "site,year,ct\nmead2,2018,maize\nmead3,2019,soybean\n"
    ),
    text_reader(
        "crop classes", ".csv", _crop_classes, "code,name,colour\n1,maize,#FFD300\n5,soy,\n"
    ),
    text_reader("points", ".csv", _points, "name,lon,lat\na,5.1,51.2\n# b\nc,5.2,51.3\n"),
    text_reader("area", ".geojson", _area, AREA, sample=40),
    Reader("scene manifest", _scene_manifest),
    Reader("series table", _series_table),
    Reader("season_dates", _season_arrays, share=30),
    Reader("safe", _safe, share=20, sample=40),
    file_reader("crop raster", _crop_raster_file, _crop_raster),
    Reader("raw files", _raw_files),
    Reader("cube", _cube, share=15),
    Reader("result", _result, share=20),
    Reader("journal", _journal),
    Reader("weights", _weights, share=15),
    Reader("parcels", _parcels, share=15),
)
