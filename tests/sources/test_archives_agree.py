"""One simulated scene through every archive, and what goes wrong in archives, through `fetch`."""

import csv
from collections.abc import Iterator
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import rasterio
import xarray as xr
from shapely.affinity import translate
from shapely.geometry import MultiPolygon, Polygon, mapping
from shapely.geometry import box as rectangle
from tests.archive import earthengine, ground_range, region
from tests.archive.server import Server
from tests.archive.stac import Bed, Tokens, forget_tokens, serve_region
from tests.helpers.site_years import accepted, labels, season

from deepcrop import grid
from deepcrop.cameras.site_years import site_years
from deepcrop.cube.contract import CLEAR_CLASSES, OPTICAL_BANDS, SAR_BANDS, nir_of
from deepcrop.cube.io import open_cube
from deepcrop.fetch.plan import FetchRequest
from deepcrop.fetch.run import Fetched, fetch
from deepcrop.grid import areas
from deepcrop.simulation import Region, simulate
from deepcrop.studies import paper_cubes
from deepcrop.studies.paper_settings import PaperExperiment

pytestmark = pytest.mark.slow  # reads a region from every archive


ROWS, COLS = 48, 64
PERIOD = date(2018, 5, 1), date(2018, 6, 30)
DN = 1e-4
PLACES = {"iowa": (41.6, -93.6), "two zones": (41.6, -96.0)}
"""Middle of a UTM zone, and the line between zones 14 and 15."""


@pytest.fixture(scope="module")
def simulated(tmp_path_factory) -> dict[str, xr.DataTree]:
    """Two months at each of `PLACES`, with the mask at 20 m: what an archive can give back."""
    cubes = {}
    for name, (latitude, longitude) in PLACES.items():
        path = tmp_path_factory.mktemp("simulated") / "region.zarr"
        start, end = map(str, PERIOD)
        size = {"rows": ROWS, "cols": COLS, "latitude": latitude, "longitude": longitude}
        scenes = {"start": start, "end": end, "optical_scenes": 5, "sar_scenes": 3}
        simulate(Region(**size, **scenes), path)
        cubes[name] = region.coarsen_mask(open_cube(path)).load()
    return cubes


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def point_to(monkeypatch, bed: Bed) -> None:
    """Send the clients of this process to a test-bed."""
    forget_tokens()
    addresses = {
        "DEEPCROP_PC": bed.pc,
        "DEEPCROP_CDSE": bed.cdse,
        "DEEPCROP_EARTH_SEARCH": bed.es,
    }
    for name, value in (bed.environment() | addresses).items():
        monkeypatch.setenv(name, value)


def grid_of(cube: xr.DataTree):
    return grid.grid_of(cube["optical"].to_dataset())


def optical_of(result: Fetched) -> xr.Dataset:
    assert not result.failures
    return open_cube(result.path)["optical"].to_dataset().load()


def fetch_optical(cube: xr.DataTree, out, **options) -> Fetched:
    return fetch(FetchRequest(grid_of(cube), *PERIOD, sensors=("optical",), **options), out)


def assert_same_reflectance(ours: xr.Dataset, theirs: xr.Dataset, what: str = "") -> None:
    """Within one digital number, and no data at the same pixels."""
    assert (ours["time"].values == theirs["time"].values).all(), what
    for name in OPTICAL_BANDS:
        np.testing.assert_allclose(
            ours[name], theirs[name], rtol=0, atol=1.01 * DN, err_msg=f"{what} {name}"
        )


def products_of(result: Fetched) -> list[dict[str, str]]:
    """Lines of the manifest."""
    with result.manifest.open() as file:
        return list(csv.DictReader(file))


# One scene, all archives ------------------------------------------------------------------------


@pytest.fixture(scope="module")
def archives(simulated, tmp_path_factory) -> Iterator[dict[str, Fetched]]:
    """The same scenes, fetched from each archive."""
    ee = pytest.importorskip("ee")
    cube, out = simulated["iowa"], tmp_path_factory.mktemp("archives")
    flavours = ("pc-05.10", "pc-rtc", "cdse-05.10", "cdse-grd", "es-c1", "es-legacy")
    with (
        Server() as old,
        Server() as new,
        pytest.MonkeyPatch.context() as monkeypatch,
        ground_range.geoid(out),
    ):
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
        monkeypatch.setenv("DEEPCROP_EARTH_ENGINE", earthengine.serve(new, cube).url)
        # A server has one flavour of the Planetary Computer, for blobs have true addresses.
        point_to(monkeypatch, serve_region(old, out / "files", cube, ("pc-03.01",)))
        found = {"pc, baseline 03.01": fetch_optical(cube, out / "old.zarr")}
        point_to(monkeypatch, serve_region(new, out / "files", cube, flavours))
        for archive in ("pc", "cdse", "earth-search", "earth-search-v0", "ee"):
            sensors = ("optical", "sar") if archive in ("pc", "cdse", "ee") else ("optical",)
            request = FetchRequest(
                grid_of(cube), *PERIOD, archive=archive, sensors=sensors, keep=CLEAR_CLASSES
            )
            found[archive] = fetch(request, out / f"{archive}.zarr")
    yield found
    ee.data.reset()
    forget_tokens()


def test_every_archive_gives_the_same_reflectance(simulated, archives):
    """To one digital number, whether or not 1000 was added to the numbers that are served."""
    assert len(archives) == 6
    truth = simulated["iowa"]["optical"].to_dataset()
    every = {name: optical_of(result) for name, result in archives.items()}
    for name, ours in every.items():
        assert_same_reflectance(ours, truth, name)
        np.testing.assert_array_equal(ours["scl"], truth["scl"], err_msg=name)
        for other, theirs in every.items():
            assert_same_reflectance(ours, theirs, f"{name}, {other}")
    assert np.isfinite(truth["red"]).mean() > 0.3  # there is something to compare
    assert [every[name].attrs["offset"].split(" (")[0] for name in archives] == [
        "none to apply",
        "-1000 applied",
        "-1000 applied",
        "-1000 applied",
        "already applied by the archive",
        "none applied: HARMONIZED images have the +1000 of baseline 04.00 already removed",
    ]


def test_gamma0_of_planetary_computer_is_sigma0_of_earth_engine(simulated, archives):
    pc, ee = (open_cube(archives[name].path)["sar"].to_dataset() for name in ("pc", "ee"))
    truth = simulated["iowa"]["sar"].to_dataset()
    assert pc.attrs["radiometry"] == ee.attrs["radiometry"] == "sigma0"
    assert (pc["time"].values == ee["time"].values).all()
    assert (pc["relative_orbit"].values == ee["relative_orbit"].values).all()
    for name in SAR_BANDS:
        assert np.isfinite(truth[name]).mean() > 0.9
        np.testing.assert_allclose(pc[name], ee[name], rtol=0, atol=0.03, err_msg=name)
        np.testing.assert_allclose(ee[name], truth[name], rtol=0, atol=0.03, err_msg=name)


def test_radar_of_the_copernicus_data_space_is_that_of_planetary_computer(archives):
    """From ground-range images in radar geometry, which are resampled; see `ground_range`."""
    pc, cdse = (open_cube(archives[name].path)["sar"].to_dataset() for name in ("pc", "cdse"))
    assert not archives["cdse"].failures
    assert cdse.attrs["radiometry"] == "sigma0"
    assert (pc["time"].values == cdse["time"].values).all()
    assert (pc["relative_orbit"].values == cdse["relative_orbit"].values).all()
    for name in SAR_BANDS:
        difference = (cdse[name] - pc[name]).values
        assert np.isfinite(difference).mean() > 0.9
        assert np.nanmedian(np.abs(difference)) < 0.08, name
        assert np.nanpercentile(np.abs(difference), 99) < 0.5, name
        assert abs(np.nanmean(difference)) < 0.05, name


@pytest.mark.parametrize("archive", ["pc", "ee"])
def test_b07_as_near_infrared(simulated, server, tmp_path, monkeypatch, archive):
    """The archives serve the green band under the name of B07, which tells it from B08."""
    cube = simulated["iowa"]
    if archive == "pc":
        monkeypatch.setitem(region.BANDS, "B07", "green")
        point_to(monkeypatch, serve_region(server, tmp_path / "files", cube, ("pc-05.10",)))
    else:
        pytest.importorskip("ee")
        monkeypatch.setitem(earthengine._BANDS, "B7", "green")
        monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
        monkeypatch.setenv("DEEPCROP_EARTH_ENGINE", earthengine.serve(server, cube).url)
    result = fetch_optical(
        cube, tmp_path / "b07.zarr", archive=archive, nir="B07", keep=CLEAR_CLASSES
    )
    found, truth = optical_of(result), cube["optical"].to_dataset()
    np.testing.assert_allclose(found["nir"], truth["green"], rtol=0, atol=1.01 * DN)
    np.testing.assert_allclose(found["red"], truth["red"], rtol=0, atol=1.01 * DN)
    assert found.attrs["nir"] == nir_of(open_cube(result.path)) == "B07"


def test_cubes_around_cameras_from_earth_engine(simulated, server, tmp_path, monkeypatch):
    """As `deepcrop reproduce --archive ee` fetches them; Google's sign-in is not tested."""
    ee = pytest.importorskip("ee")
    cube = simulated["iowa"]
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("DEEPCROP_EARTH_ENGINE", earthengine.serve(server, cube).url)
    middle = grid_of(cube).geographic_extent.centroid.coords[0]
    (year,) = site_years([labels(tmp_path, "here", accepted(2018, season(1, 120)))])
    year = replace(year, longitude=middle[0], latitude=middle[1])
    experiment = PaperExperiment("ee", tmp_path, tmp_path / "out", years=(2018,))
    (tmp_path / "phenocam").mkdir()
    estimate, _ = paper_cubes.dry_run(experiment, [year])
    assert (estimate.optical, estimate.radar, estimate.note) == (5, 3, "")
    assert estimate.gigabytes > 0
    assert paper_cubes.fetch_cubes(experiment, [year]) == {}
    made = open_cube(tmp_path / "phenocam" / "here.zarr")
    assert set(made.children) >= {"optical", "sar"}
    assert made["sar"].attrs["radiometry"] == "sigma0"
    assert "Cloud Score+" in made["optical"].attrs["mask"]
    assert made["optical"].sizes["time"] == 5
    ee.data.reset()


# What goes wrong in archives --------------------------------------------------------------------


def test_tokens_that_expire_in_the_middle(simulated, server, tmp_path, monkeypatch):
    """Each is good for 8 requests, though the service promises an hour."""
    cube, tokens = simulated["iowa"], Tokens(uses=8)
    bed = serve_region(server, tmp_path / "files", cube, ("pc-05.10", "pc-rtc"), tokens=tokens)
    point_to(monkeypatch, bed)
    result = fetch(FetchRequest(grid_of(cube), *PERIOD), tmp_path / "cube.zarr")
    assert_same_reflectance(optical_of(result), cube["optical"].to_dataset())
    assert len(tokens.issued) > 3
    assert bed.signed(tmp_path) == []


def test_a_scene_on_the_grid_of_another_zone_is_brought_onto_ours(
    simulated, server, tmp_path, monkeypatch
):
    cube = simulated["iowa"]
    bed = serve_region(server, tmp_path / "files", cube, ())
    bed.publish("pc-05.10", [0, 1, 3, 4])
    bed.publish("pc-05.10", [2], zone=1)
    point_to(monkeypatch, bed)
    ours = optical_of(fetch_optical(cube, tmp_path / "cube.zarr"))
    truth = cube["optical"].to_dataset()
    on_grid = [0, 1, 3, 4]
    assert_same_reflectance(ours.isel(time=on_grid), truth.isel(time=on_grid))
    moved, true = ours.isel(time=2), truth.isel(time=2)
    assert (np.isnan(moved["nir"]) == np.isnan(true["nir"])).mean() > 0.8
    assert np.nanmedian(np.abs(moved["nir"] - true["nir"])) < 0.02
    assert abs(np.nanmean(moved["nir"] - true["nir"])) < 0.01


def test_of_a_scene_processed_twice_the_newer_is_used_and_once(
    simulated, server, tmp_path, monkeypatch
):
    cube = simulated["iowa"]
    bed = serve_region(server, tmp_path / "files", cube, ("pc-03.01",))
    old = [item["id"] for item in bed.apis["pc"].items["sentinel-2-l2a"]]
    new = [item["id"] for item in bed.publish("pc-05.11", [1, 3])]
    point_to(monkeypatch, bed)
    result = fetch_optical(cube, tmp_path / "cube.zarr")
    assert_same_reflectance(optical_of(result), cube["optical"].to_dataset())
    rows = products_of(result)
    expected = sorted(old)
    expected[1], expected[3] = new
    assert [row["products"] for row in rows] == expected
    assert ["-1000 applied" in row["notes"] for row in rows] == [False, True, False, True, False]
    replaced = [path for path in (r.path for r in server.log) if "N0301" in path and ".tif" in path]
    assert len({path.split("/")[-1].split("_")[1] for path in replaced}) == 3


def test_an_area_over_two_zones_takes_each_part_from_where_it_is(
    simulated, server, tmp_path, monkeypatch
):
    """Of one pass the tile on our grid has the west only, the tile of the next zone all of it."""
    cube = simulated["two zones"]
    truth, box = cube["optical"].to_dataset(), grid_of(cube)
    west, _, east, _ = box.geographic_extent.boundingbox.bbox
    assert west < -96 < east
    assert box.crs.epsg == 32615
    bed = serve_region(server, tmp_path / "files", cube, ())
    neighbour = bed.publish("pc-05.11", range(5), zone=-1)  # newer, and yet second
    half = keep_west(bed, scene=2)
    bed.publish("pc-05.10", [0, 2, 4])
    assert {item["properties"]["proj:epsg"] for item in neighbour} == {32614}
    point_to(monkeypatch, bed)
    result = fetch_optical(cube, tmp_path / "cube.zarr")
    ours = optical_of(result)
    assert [len(row["products"].split()) for row in products_of(result)] == [2, 1, 2, 1, 2]
    whole = [0, 4]  # on our grid: as they are
    assert_same_reflectance(ours.isel(time=whole), truth.isel(time=whole))
    assert_same_reflectance(
        ours.isel(time=[2], x=slice(0, half)), truth.isel(time=[2], x=slice(0, half))
    )
    for moved, true in (
        (ours.isel(time=[1, 3]), truth.isel(time=[1, 3])),
        (ours.isel(time=2, x=slice(half, None)), truth.isel(time=2, x=slice(half, None))),
    ):
        assert np.isfinite(true["nir"]).mean() > 0.2
        assert (np.isnan(moved["nir"]) == np.isnan(true["nir"])).mean() > 0.8
        assert np.nanmedian(np.abs(moved["nir"] - true["nir"])) < 0.02


def keep_west(bed: Bed, scene: int) -> int:
    """Take the data out of the east of a scene's files; returns the region's columns that stay."""
    region.write_optical(bed.cube, bed.folder, bed.tile, 1000)
    left = bed.tile.bounds[0]
    half = COLS // 2
    edge = grid_of(bed.cube).affine.c + 10 * half
    assert (edge - left) % 20 == 0, "between pixels of 20 m"
    for band in (*region.BANDS, "SCL"):
        path = region.optical_path(bed.folder, band, scene, 0 if band == "SCL" else 1000)
        box = bed.tile.at(20 if band == "SCL" else 10)
        with rasterio.open(path) as file:
            values = file.read(1)
        values[:, round((edge - left) / box.resolution.x) :] = 0
        region._write(path, values, box, 0)
    return half


@pytest.fixture
def date_line(simulated) -> tuple[xr.DataTree, areas.Area]:
    """The scenes of Iowa moved to the date line, and the area as a user names it."""
    area = areas.area_of("179.996,52,-179.996,52.003")
    rows, cols = area.box.shape
    assert rows <= ROWS
    assert cols <= COLS
    groups = {}
    for sensor in ("optical", "sar"):
        data = simulated["iowa"][sensor].to_dataset().drop_vars("spatial_ref")
        data = data.isel(y=slice(rows), x=slice(cols)).drop_vars(("x", "y"))
        groups[sensor] = grid.assign_grid(data, area.box)
    return region.coarsen_mask(xr.DataTree.from_dict(groups)), area


def cut_at_date_line(item: dict, sides: str = "both") -> None:
    """Write the footprint of an item as GeoJSON wants it: cut in two, west greater than east.

    A footprint may have one of the sides only: the swath ends there.
    """
    (ring,) = item["geometry"]["coordinates"]
    whole = Polygon([(longitude % 360, latitude) for longitude, latitude in ring])
    east, west = whole & rectangle(0, -90, 180, 90), whole & rectangle(180, -90, 360, 90)
    west = translate(west, -360)
    assert not east.is_empty
    assert not west.is_empty
    parts = {"both": MultiPolygon([east, west]), "east": east, "west": west}
    edges = {"both": (east.bounds[0], west.bounds[2]), "east": east.bounds[::2]}
    left, right = edges.get(sides, west.bounds[::2])
    item["geometry"] = mapping(parts[sides])
    item["bbox"] = [left, whole.bounds[1], right, whole.bounds[3]]


def test_an_area_over_the_date_line(date_line, server, tmp_path, monkeypatch):
    cube, area = date_line
    bed = serve_region(server, tmp_path / "files", cube, ("pc-05.10", "pc-rtc"))
    for items in bed.apis["pc"].items.values():
        cut_at_date_line(items[0], "east")
        cut_at_date_line(items[1], "west")
        for item in items[2:]:
            cut_at_date_line(item)
    point_to(monkeypatch, bed)
    result = fetch(FetchRequest(area.box, *PERIOD), tmp_path / "cube.zarr")
    assert_same_reflectance(optical_of(result), cube["optical"].to_dataset())
    ours, truth = (tree["sar"].to_dataset() for tree in (open_cube(result.path), cube))
    for name in SAR_BANDS:
        np.testing.assert_allclose(ours[name], truth[name], rtol=0, atol=0.03, err_msg=name)
