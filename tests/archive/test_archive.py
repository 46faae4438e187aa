"""The test-bed itself: that what it serves has the form, and the pixels, that it claims."""

import json
import re
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import numpy as np
import odc.stac
import planetary_computer
import pystac
import pystac_client
import pytest
import rasterio
import requests
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import from_bounds
from scipy.interpolate import LinearNDInterpolator
from tests.archive import region, stac
from tests.archive.server import Server

from deepcrop import grid
from deepcrop.cube.contract import OPTICAL_BANDS, build, check
from deepcrop.cube.io import open_cube
from deepcrop.simulation import Region, simulate

pytestmark = pytest.mark.slow  # serves a region from every archive


SCENES = 3  # of each sensor

REAL_ITEMS = {
    "pc-05.10": ("planetary_computer_sentinel-2-l2a.json", "sentinel-2-l2a"),
    "pc-rtc": ("planetary_computer_sentinel-1-rtc.json", "sentinel-1-rtc"),
    "pc-grd": ("planetary_computer_sentinel-1-grd.json", "sentinel-1-grd"),
    "es-c1": ("earth_search_sentinel-2-c1-l2a.json", "sentinel-2-c1-l2a"),
    "es-v0": ("earth_search_sentinel-2-l2a_v0_2022.json", "sentinel-s2-l2a-cogs"),
    "es-v0-03.01": ("earth_search_sentinel-2-l2a_v0_2022b.json", "sentinel-s2-l2a-cogs"),
}


@pytest.fixture(scope="module")
def region_store(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("region") / "region.zarr"
    made = Region(rows=49, cols=58, seed=4, start="2018-06-12", end="2018-06-24", cameras=1)
    simulate(made, path)
    return path


@pytest.fixture(scope="module")
def cube(region_store) -> xr.DataTree:
    cube = open_cube(region_store)
    assert cube["optical"].sizes["time"] == cube["sar"].sizes["time"] == SCENES
    return cube


@pytest.fixture(scope="module")
def reference(cube) -> xr.DataTree:
    return region.coarsen_mask(cube)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files of the cube, shared by all servers."""
    return tmp_path_factory.mktemp("files")


@pytest.fixture
def serve(cube, folder, monkeypatch):
    """Call with what `stac.serve_region` takes after the cube; the environment is set."""
    with Server() as server:

        def start(*flavours: str, folder: Path = folder, **options) -> stac.Bed:
            bed = stac.serve_region(server, folder, cube, flavours, **options)
            for name, value in bed.environment().items():
                monkeypatch.setenv(name, value)
            stac.forget_tokens()
            return bed

        yield start
    stac.forget_tokens()


def on_region(bed: stac.Bed, href: str, again: str = "") -> np.ndarray:
    """Pixels of a 10 m file on the region, read over HTTP."""
    with rasterio.open(f"/vsicurl/{planetary_computer.sign(href)}{again}") as source:
        bounds = grid.grid_of(bed.cube["optical"].to_dataset()).boundingbox.bbox
        return source.read(1, window=from_bounds(*bounds, source.transform))


def centres(box: GeoBox) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.meshgrid(box.coords["x"].values, box.coords["y"].values)
    return x, y


def digital(reflectance: np.ndarray) -> np.ndarray:
    """Reflectance in units of 0.0001."""
    return np.rint(reflectance.astype(float) * 1e4)


# Form -------------------------------------------------------------------------------------------


def form(value, at: str = "") -> set[str]:
    """Names and types of all there is in a JSON value, such as ``properties.gsd: number``."""
    if isinstance(value, dict):
        return {f"{at}: object"}.union(*(form(v, f"{at}.{key}") for key, v in value.items()))
    if isinstance(value, list):
        return {f"{at}: list"}.union(*(form(v, f"{at}[]") for v in value))
    return {f"{at}: {'number' if type(value) in (int, float) else type(value).__name__}"}


@pytest.mark.parametrize("flavour", REAL_ITEMS)
def test_an_item_has_the_form_of_the_real_one(serve, real_data, flavour):
    name, collection = REAL_ITEMS[flavour]
    real = json.loads((real_data / "stac" / name).read_text())
    real = real[0] if isinstance(real, list) else real
    bed = serve("pc-rtc" if flavour == "pc-grd" else flavour)
    made = next(api.items[collection][0] for api in bed.apis.values() if collection in api.items)
    if flavour == "es-c1":  # the real one is Digital Earth Africa's copy
        del real["properties"]["odc:region_code"], real["links"]
        made = {key: value for key, value in made.items() if key != "links"}
    assert form(made) == form(real)
    assert made["stac_version"] == real["stac_version"]
    for key, asset in real["assets"].items():
        for fixed in set(asset) & {"type", "title", "roles", "gsd", "raster:bands"}:
            assert made["assets"][key][fixed] == asset[fixed], (key, fixed)
        if "blob.core" in asset["href"]:
            ours, theirs = urlsplit(made["assets"][key]["href"]), urlsplit(asset["href"])
            assert ours.netloc == theirs.netloc
            assert pattern(ours.path) == pattern(theirs.path)
    assert pattern(made["id"]) == pattern(real["id"])


def pattern(name: str) -> str:
    """A name with numbers and capitals, which differ from product to product, as x."""
    return re.sub(r"[A-Z0-9]+", "x", name)


def test_bands_are_described_as_in_the_real_items(serve, real_data):
    bed = serve("pc-05.10", "es-c1")
    for archive, collection, flavour in (
        ("pc", "sentinel-2-l2a", "pc-05.10"),
        ("es", "sentinel-2-c1-l2a", "es-c1"),
    ):
        real = json.loads((real_data / "stac" / REAL_ITEMS[flavour][0]).read_text())
        real = real[0] if isinstance(real, list) else real
        made = bed.apis[archive].items[collection][0]
        for key, asset in real["assets"].items():
            assert made["assets"][key].get("eo:bands") == asset.get("eo:bands"), key


def test_names_follow_from_the_place_and_the_pass_as_in_real_items(real_data):
    folder = real_data / "stac"
    for item in json.loads((folder / "planetary_computer_sentinel-2-l2a.json").read_text()):
        properties = item["properties"]
        affine = Affine(*item["assets"]["B02"]["proj:transform"])
        box = GeoBox((10980, 10980), affine, f"EPSG:{properties['proj:epsg']}")
        assert region.tile_around(box).name == properties["s2:mgrs_tile"]
        flown = passed(properties["datetime"], properties["sat:relative_orbit"], "S2")
        assert flown.platform == item["id"][:3]
        assert f"_{flown.absolute_orbit:06d}_" in properties["s2:datatake_id"]
    for name in ("planetary_computer_sentinel-1-rtc", "planetary_computer_sentinel-1-grd"):
        for item in json.loads((folder / f"{name}.json").read_text()):
            properties = item["properties"]
            flown = passed(properties["datetime"], properties["sat:relative_orbit"], "S1")
            assert flown.absolute_orbit == properties["sat:absolute_orbit"]
            assert flown.platform == item["id"][:3]


def passed(time: str, orbit: int, mission: str) -> region.Pass:
    return region.pass_at(np.datetime64(time.rstrip("Z"), "ns"), orbit, mission)


@pytest.mark.parametrize("flavour", stac.FLAVOURS)
def test_items_are_valid_and_name_their_scene(serve, cube, flavour):
    bed = serve(flavour)
    for api in bed.apis.values():
        for collection, several in api.items.items():
            for item in several:
                made = pystac.Item.from_dict(item)
                assert made.collection_id == collection
                assert made.bbox == list(shapely_bounds(item))
    radar = {"pc-rtc": ("pc", "sentinel-1-rtc"), "cdse-grd": ("cdse", "sentinel-1-grd")}
    if flavour in radar:
        archive, collection = radar[flavour]
        items = bed.apis[archive].items[collection]
        times = [item["properties"]["start_datetime"] for item in items]
        expected = cube["sar"]["time"].values
    else:
        (several,) = [s for api in bed.apis.values() for s in api.items.values()]
        times = [item["properties"]["datetime"] for item in several]
        expected = cube["optical"]["time"].values
    found = [np.datetime64(t.replace(" ", "T").removesuffix("+00:00").rstrip("Z")) for t in times]
    assert found == list(expected)


def shapely_bounds(item: dict) -> tuple:
    lon, lat = zip(*item["geometry"]["coordinates"][0], strict=True)
    return min(lon), min(lat), max(lon), max(lat)


# Mask -------------------------------------------------------------------------------------------


def test_a_20_m_pixel_is_what_the_worst_of_its_four_is():
    # The region begins on an odd column, so 20 m pixels begin with its second.
    box = grid.make_grid((500010, 5600000, 500060, 5600040), "EPSG:32631")
    scl = np.array(
        [
            [4, 4, 5, 4, 9],
            [8, 4, 6, 3, 4],
            [4, 0, 9, 4, 4],
            [4, 4, 4, 4, 4],
        ],
        np.uint8,
    )
    expected = np.array(
        [
            [8, 6, 6, 9, 9],
            [8, 6, 6, 9, 9],
            [4, 0, 0, 4, 4],
            [4, 0, 0, 4, 4],
        ],
        np.uint8,
    )
    times = np.array(["2018-05-01"], "datetime64[ns]")
    bands = {
        name: (("time", "y", "x"), np.full((1, 4, 5), 0.1, np.float32)) for name in OPTICAL_BANDS
    }
    data = xr.Dataset(bands | {"scl": (("time", "y", "x"), scl[None])}, {"time": times})
    data.attrs = {"source": "numbers", "offset": "none"}
    made = build(grid.assign_grid(data, box))
    coarse = region.coarsen_mask(made)
    check(coarse)
    np.testing.assert_array_equal(coarse["optical"]["scl"].values[0], expected)
    masked = np.isnan(coarse["optical"]["nir"].values[0])
    np.testing.assert_array_equal(masked, ~np.isin(expected, (4, 5, 6, 7)))
    again = region.coarsen_mask(coarse)
    xr.testing.assert_identical(again["optical"].to_dataset(), coarse["optical"].to_dataset())


# Pixels -----------------------------------------------------------------------------------------


# Files of the Copernicus Data Space need S3 keys; tests of sources/stac read them.
@pytest.mark.parametrize(
    "flavour", [name for name, made in stac.OPTICAL_FLAVOURS.items() if made.archive != "cdse"]
)
def test_optical_files_hold_the_cube(serve, reference, flavour):
    bed = serve(flavour)
    made = stac.OPTICAL_FLAVOURS[flavour]
    (items,) = [s for api in bed.apis.values() for s in api.items.values()]
    names = {**region.BANDS, "SCL": "scl"}
    optical = reference["optical"]
    assert 0.2 < np.isfinite(optical["nir"].values).mean() < 0.9
    x, y = centres(grid.grid_of(optical.to_dataset()))
    for k, item in enumerate(items):
        assets = item["assets"]
        classes = optical["scl"].values[k]
        for band, name in region.BANDS.items():
            href = assets[names[band] if made.archive == "es" else band]["href"]
            numbers = on_region(bed, href)
            assert numbers.dtype == np.uint16
            expected = optical[name].values[k]
            clear = np.isfinite(expected)
            np.testing.assert_array_equal(
                numbers[clear].astype(float) - made.offset,
                np.rint(expected[clear] * np.float64(1e4)),
            )
            assert (numbers[classes == 0] == 0).all()
            masked = ~clear & (classes != 0)
            assert (numbers[masked] == region.CLOUD_DN + made.offset).all()
        href = assets["scl" if made.archive == "es" else "SCL"]["href"]
        with rasterio.open(planetary_computer.sign(href)) as source:
            assert source.res == (20, 20)
            columns, rows = ~source.transform * (x, y)
            found = source.read(1)[rows.astype(int), columns.astype(int)]
        np.testing.assert_array_equal(found, classes)


def test_radar_files_are_gamma0_by_the_angles_of_the_annotation(serve, cube):
    bed = serve("pc-rtc")
    box = grid.grid_of(cube["sar"].to_dataset())
    x, y = centres(box)
    for k, item in enumerate(bed.apis["pc"].items["sentinel-1-rtc"]):
        (link,) = [link for link in item["links"] if link["rel"] == "derived_from"]
        source = httpx.get(link["href"]).json()
        annotation = source["assets"]["schema-product-vv"]["href"]
        assert httpx.get(annotation).status_code == 403
        text = httpx.get(planetary_computer.sign(annotation)).text
        points = ElementTree.fromstring(text).findall(".//geolocationGridPoint")
        lon, lat, theta = (
            [float(point.findtext(name)) for point in points]
            for name in ("longitude", "latitude", "incidenceAngle")
        )
        to_grid = Transformer.from_crs("EPSG:4326", str(box.crs), always_xy=True)
        place = np.stack(to_grid.transform(lon, lat), axis=1)
        cosine = np.cos(np.radians(LinearNDInterpolator(place, theta)(x, y)))
        for name in ("vv", "vh"):
            gamma = on_region(bed, item["assets"][name]["href"])
            assert gamma.dtype == np.float32
            decibels = 10 * np.log10(gamma * cosine)
            np.testing.assert_allclose(decibels, cube["sar"][name].values[k], atol=1e-3)
            assert (10 * np.log10(gamma) - cube["sar"][name].values[k] > 0.5).all()


def test_the_swath_is_like_a_real_one(serve, cube, real_data):
    (path,) = (real_data / "sentinel1_safe").glob("*20210401*/annotation/s1b-iw-grd-vv-*.xml")
    real = ElementTree.parse(path).getroot()
    box = grid.grid_of(cube["sar"].to_dataset())
    for orbit, rising_to_east in ((161, True), (88, False)):
        flown = passed("2018-05-01T00:00", orbit, "S1")
        swath = region.swath_over(box, orbit)
        made = ElementTree.fromstring(region.annotation(swath, flown, "vv"))
        for part in ("adsHeader", "geolocationGrid/geolocationGridPointList/geolocationGridPoint"):
            names = [[element.tag for element in root.find(part)] for root in (made, real)]
            assert names[0] == names[1]
        for part in ("generalAnnotation/productInformation", "imageAnnotation/imageInformation"):
            assert {e.tag for e in made.find(part)} <= {e.tag for e in real.find(part)}
        for name, tolerance in (("incidenceAngle", 0.5), ("elevationAngle", 0.5)):
            near, far = (
                [float(p.findtext(name)) for p in root.iter("geolocationGridPoint")][0:21:20]
                for root in (made, real)
            )
            np.testing.assert_allclose(near, far, atol=tolerance)
        for name in ("line", "pixel"):
            ours, theirs = (
                [int(p.findtext(name)) for p in root.iter("geolocationGridPoint")]
                for root in (made, real)
            )
            assert ours == theirs
        angles = swath.incidence(box)
        step = np.diff(angles, axis=1).mean()
        assert (step > 0) == rising_to_east
        assert 4e-4 < abs(step) < 8e-4  # degrees a pixel, as the simulation has about 7e-4


def test_files_are_cogs_read_by_ranges(serve, tmp_path, monkeypatch):
    monkeypatch.setattr(region, "LEAST", 1098)
    bed = serve("es-c1", folder=tmp_path)
    href = bed.apis["es"].items["sentinel-2-c1-l2a"][0]["assets"]["nir"]["href"]
    on_region(bed, href)
    gets = [r for r in bed.server.asked(r"B08\.tif$") if r.method == "GET"]
    assert gets
    assert all(re.fullmatch(r"bytes=\d+-\d+", r.headers["range"]) for r in gets)
    with rasterio.open(href) as source:
        assert source.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert source.block_shapes == [(512, 512)]
        assert source.overviews(1)
        assert source.nodata == 0
        assert tuple(source.shape) == bed.tile.box.shape


def test_odc_stac_reads_both_archives_alike(serve, reference):
    bed = serve("pc-05.10", "es-c1")
    box = grid.grid_of(reference["optical"].to_dataset())
    loaded = []
    for archive, collection, band in (
        ("pc", "sentinel-2-l2a", "B04"),
        ("es", "sentinel-2-c1-l2a", "red"),
    ):
        items = [pystac.Item.from_dict(i) for i in bed.apis[archive].items[collection]]
        sign = planetary_computer.sign
        data = odc.stac.load(
            items, bands=[band], geobox=box, groupby="id", patch_url=sign, dtype="uint16", nodata=0
        )
        loaded.append(data[band].values)
    np.testing.assert_array_equal(*loaded)
    expected = reference["optical"]["red"].values
    clear = np.isfinite(expected)
    np.testing.assert_array_equal(loaded[0][clear], digital(expected[clear]) + 1000)


# Searching --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize(
    ("archive", "collection"), [("pc", "sentinel-2-l2a"), ("es", "sentinel-2-c1-l2a")]
)
def test_searches_come_in_pages(serve, cube, archive, collection, method):
    bed = serve("pc-05.10", "es-c1", page=2)
    client = pystac_client.Client.open(bed.apis[archive].url)
    bounds = bed.apis[archive].items[collection][0]["bbox"]
    search = client.search(
        collections=[collection], bbox=bounds, datetime="2018", limit=100, method=method
    )
    pages = [len(page) for page in search.pages_as_dicts() for page in [page["features"]]]
    assert pages == [2, SCENES - 2]
    items = list(search.items())
    assert len({item.id for item in items}) == SCENES
    times = [item.datetime for item in items]
    assert times == sorted(times, reverse=True)  # the newest first, as archives do
    one = next(search.items_as_dicts())
    (address,) = [link["href"] for link in one["links"] if link["rel"] == "self"]
    assert address == f"{bed.apis[archive].url}/collections/{collection}/items/{one['id']}"
    assert httpx.get(address).json() == one


def test_what_a_search_can_ask_for(serve, cube):
    bed = serve("pc-05.10", "pc-rtc")
    client = pystac_client.Client.open(bed.pc)
    assert {c.id for c in client.get_collections()} == set(bed.apis["pc"].items)
    several = bed.apis["pc"].items["sentinel-2-l2a"]
    west, south, east, north = several[0]["bbox"]

    def found(**wanted) -> int:
        return len(list(client.search(collections=["sentinel-2-l2a"], **wanted).items()))

    day = several[1]["properties"]["datetime"][:10]
    assert found() == SCENES
    assert found(ids=[several[0]["id"]]) == 1
    assert found(datetime=day) == 1
    assert found(datetime=f"{day}/..") == 2
    assert found(datetime=f"../{day}") == 2
    assert found(bbox=[east + 1, south, east + 2, north]) == 0
    assert found(bbox=[170, south, west + 0.01, north]) == SCENES  # across the date line
    assert found(bbox=[170, south, west - 0.01, north]) == 0
    point = {"type": "Point", "coordinates": [(west + east) / 2, (south + north) / 2]}
    assert found(intersects=point) == SCENES
    assert (
        len(list(client.search(collections=["sentinel-1-rtc"], datetime="2018").items())) == SCENES
    )
    assert httpx.get(f"{bed.pc}/collections/landsat").status_code == 404
    assert httpx.get(f"{bed.pc}/collections/sentinel-2-l2a/items/none").status_code == 404


def test_a_query_is_heeded_only_where_the_api_conforms(serve):
    for conforms in (True, False):
        bed = serve("es-c1", prefix=f"/{conforms}", conforms_to_query=conforms)
        client = pystac_client.Client.open(bed.es)
        assert client.conforms_to("QUERY") == conforms
        covers = [
            item["properties"]["eo:cloud_cover"]
            for item in bed.apis["es"].items["sentinel-2-c1-l2a"]
        ]
        limit = max(covers)
        body = {"collections": ["sentinel-2-c1-l2a"], "query": {"eo:cloud_cover": {"lt": limit}}}
        found = httpx.post(f"{bed.es}/search", json=body).json()["features"]
        assert 0 < sum(cover < limit for cover in covers) < SCENES
        assert len(found) == (sum(cover < limit for cover in covers) if conforms else SCENES)


# Tokens -----------------------------------------------------------------------------------------


def test_a_blob_wants_a_token_of_its_container(serve):
    bed = serve("pc-05.10", "pc-rtc")
    href = bed.apis["pc"].items["sentinel-2-l2a"][0]["assets"]["B04"]["href"]
    assert href.startswith("http://sentinel2l2a01.blob.core.windows.net/sentinel2-l2/15/T/")
    assert httpx.get(href).status_code == 403
    for path in ("sentinel2l2a01/sentinel2-l2", "sentinel-2-l2a"):
        answer = httpx.get(f"{bed.sas}/{path}").json()
        assert set(answer) == {"msft:expiry", "token"}
        assert httpx.head(f"{href}?{answer['token']}").status_code == 200
    wrong = httpx.get(f"{bed.sas}/sentinel-1-rtc").json()["token"]
    assert httpx.head(f"{href}?{wrong}").status_code == 403
    assert httpx.get(f"{bed.sas}/landsat").status_code == 404
    signed = httpx.get(bed.sas.replace("/token", "/sign"), params={"href": href}).json()
    assert set(signed) == {"msft:expiry", "href"}
    assert httpx.head(signed["href"]).status_code == 200
    bed.tokens.revoke()
    assert httpx.head(signed["href"]).status_code == 403


def test_a_token_ends_after_its_uses_or_its_time(serve):
    bed = serve("pc-05.10", tokens=stac.Tokens(uses=2))
    href = bed.apis["pc"].items["sentinel-2-l2a"][0]["assets"]["B04"]["href"]
    signed = planetary_computer.sign(href)
    assert [httpx.head(signed).status_code for _ in range(3)] == [200, 200, 403]
    assert planetary_computer.sign(href) == signed  # it does not know
    stac.forget_tokens()
    assert httpx.head(planetary_computer.sign(href)).status_code == 200
    bed.tokens.uses, bed.tokens.lifetime = None, -1
    stac.forget_tokens()
    assert httpx.head(planetary_computer.sign(href)).status_code == 403
    assert len(bed.server.asked("/token/")) == 3


def test_a_busy_token_service_is_asked_again(serve):
    bed = serve("pc-05.10")
    bed.server.fail("/token/", "503", times=1)
    href = bed.apis["pc"].items["sentinel-2-l2a"][0]["assets"]["B04"]["href"]
    assert requests.head(planetary_computer.sign(href)).status_code == 200


# What goes wrong --------------------------------------------------------------------------------


def test_a_reprocessed_product_is_a_second_item_of_the_same_datatake(serve):
    bed = serve("pc-03.01")
    bed.publish("pc-05.10", [0])
    several = bed.apis["pc"].items["sentinel-2-l2a"]
    time = several[0]["properties"]["datetime"]
    old, new = (item for item in several if item["properties"]["datetime"] == time)
    assert old["properties"]["s2:processing_baseline"] == "03.01"
    assert new["properties"]["s2:processing_baseline"] == "05.10"
    assert old["id"] != new["id"]
    assert old["id"].rsplit("_", 1)[0] == new["id"].rsplit("_", 1)[0]
    assert old["properties"]["s2:generation_time"] < new["properties"]["s2:generation_time"]
    datatakes = {i["properties"]["s2:datatake_id"].split("_N")[0] for i in (old, new)}
    assert len(datatakes) == 1
    difference = on_region(bed, new["assets"]["B04"]["href"]).astype(int) - on_region(
        bed, old["assets"]["B04"]["href"]
    )
    assert set(np.unique(difference)) <= {0, 1000}
    legacy = [bed.publish("es-legacy", [0])[0]["id"] for _ in range(2)]
    assert [name.split("_")[-2] for name in legacy] == ["0", "1"]


def test_a_scene_can_lie_on_the_grid_of_the_next_zone(serve, reference):
    bed = serve()
    (item,) = bed.publish("es-c1", [1], zone=1)
    assert item["properties"]["proj:epsg"] == bed.tile.epsg + 1 == 32616
    assert item["id"].split("_")[1].startswith("T16T")
    box = grid.grid_of(reference["optical"].to_dataset())
    data = odc.stac.load([pystac.Item.from_dict(item)], bands=["nir"], geobox=box)
    back = data["nir"].values[0]
    expected = reference["optical"]["nir"].values[1]
    clear = np.isfinite(expected)
    # Nearest there and nearest back: a pixel comes from itself or from a neighbour.
    same = (back[clear] == digital(expected[clear]) + 1000).mean()
    assert same > 0.5
    around = np.nanmedian(np.abs(back[clear] / 1e4 - 0.1 - expected[clear]))
    assert around < 0.01


@pytest.mark.parametrize("kind", ["truncate", "drop", "503"])
def test_faults_reach_gdal(serve, kind):
    bed = serve("es-c1")
    asset = bed.apis["es"].items["sentinel-2-c1-l2a"][0]["assets"]["blue"]
    bed.server.fail("B02", kind, times=100)
    with pytest.raises(rasterio.errors.RasterioError):
        on_region(bed, asset["href"])
    bed.server.faults.clear()
    on_region(bed, asset["href"], "#again")  # GDAL remembers what failed


# By hand ----------------------------------------------------------------------------------------


def test_the_bed_runs_by_hand(region_store):
    command = [sys.executable, "-m", "tests.archive", "--region", str(region_store)]
    root = Path(__file__).parents[2]
    # A shell's background jobs ignore Ctrl-C, and so would their children.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        signal.signal(signal.SIGINT, before)
        try:
            told = ""
            while "Ctrl-C" not in told:
                line = process.stdout.readline()
                assert line, told
                told += line
            variables = dict(re.findall(r"export (\w+)=(\S+)", told))
            assert httpx.get(variables["DEEPCROP_PC"]).json()["type"] == "Catalog"
            assert httpx.get(variables["DEEPCROP_EARTH_SEARCH"]).json()["type"] == "Catalog"
            assert "results" in httpx.get(variables["DEEPCROP_PHENOCAM"] + "cameras/").json()
            assert "token" in httpx.get(variables["PC_SDK_SAS_URL"] + "/sentinel-2-l2a").json()
            crops = {"collections": ["usda-cdl"], "datetime": "2018-06-01T00:00:00Z"}
            found = httpx.post(variables["DEEPCROP_PC"] + "/search", json=crops).json()
            assert found["features"]
        finally:
            process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
