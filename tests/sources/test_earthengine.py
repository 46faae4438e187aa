"""Google Earth Engine over loopback HTTP, with the earthengine library itself as the client."""

import random
import re
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import xarray as xr
from affine import Affine
from odc.geo.geobox import GeoBox
from rasterio.warp import Resampling, reproject
from tests.archive import earthengine as google
from tests.archive.server import Server

from deepcrop import grid
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, build
from deepcrop.cube.io import open_cube
from deepcrop.grid.buffers import grow
from deepcrop.sources import open_archive
from deepcrop.sources.archive import ArchiveError, Scene, SceneError
from deepcrop.sources.earthengine.archive import SENTINEL_1, EarthEngine

ee = pytest.importorskip("ee")

SPRING = date(2018, 5, 1), date(2018, 6, 10)
DN, CENTIBEL = 1.01e-4, 0.01


@pytest.fixture(scope="module")
def cube(region_path) -> xr.DataTree:
    """A spring of 96 x 128 pixels, one corner of every scene without data."""
    region, groups = open_cube(region_path), {}
    for sensor in ("optical", "sar"):
        data = group(region, sensor).sel(time=slice(*map(str, SPRING))).load()
        for name, values in data.data_vars.items():
            values.values[:, :9, :7] = 0 if name == "scl" else np.nan
        groups[sensor] = data
    return xr.DataTree.from_dict(groups)


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def bed(server, cube):
    yield google.serve(server, cube)
    ee.data.reset()


def connect(bed, **options) -> EarthEngine:
    return EarthEngine("test-project", address=bed.url, **options)


def group(cube, sensor) -> xr.Dataset:
    return cube[sensor].to_dataset()


def box_of(cube) -> GeoBox:
    return grid.grid_of(group(cube, "optical"))


def moved(box, rows, cols, shape=None) -> GeoBox:
    """The grid moved by whole pixels, and perhaps of another shape."""
    a, _, c, _, e, f = box.affine[:6]
    return GeoBox(shape or box.shape, Affine(a, 0, c + a * cols, 0, e, f + e * rows), box.crs)


# Listing


def test_search_lists_every_pass_once_over_all_pages(bed, server, cube):
    bed.page_size = 3
    scenes = connect(bed).search(box_of(cube), *SPRING, "optical")
    optical = group(cube, "optical")
    np.testing.assert_array_equal([s.time for s in scenes], optical["time"])
    assert [s.relative_orbit for s in scenes] == optical["relative_orbit"].values.tolist()
    # Two tiles a pass: neither the older processing nor the image far away is among them.
    assert all(len(s.products) == 2 for s in scenes)
    assert {s.notes["processing_baseline"] for s in scenes} == {"02.14"}
    assert all("none applied" in s.notes["offset"] for s in scenes)
    assert all(0 <= s.cloud_cover <= 90 for s in scenes)
    assert len(server.asked("listAssets")) == -(-(2 * len(scenes) + 1) // 3)
    assert Scene.from_json(scenes[0].to_json()) == scenes[0]


def test_probability_of_cloud_is_what_cloud_score_leaves(bed, monkeypatch):
    monkeypatch.setenv("DEEPCROP_EARTH_ENGINE", bed.url)
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    assert open_archive("ee").clear == open_archive("ee", cloud_probability=40).clear == 0.6
    assert open_archive("ee", cloud_probability=25).clear == 0.75


def test_radar_is_of_mode_iw_with_both_polarisations_and_slices_are_one_scene(bed, server, cube):
    scenes = connect(bed, orbits="all").search(box_of(cube), *SPRING, "sar")
    np.testing.assert_array_equal([s.time for s in scenes], group(cube, "sar")["time"])
    names = [name for s in scenes for name in s.products]
    assert len(names) == 2 * len(scenes)
    assert all(name.startswith("S1A_IW_GRDH_1SDV") for name in names)
    assert {s.notes["pass"] for s in scenes} == {"ascending", "descending"}
    assert 'properties.instrumentMode = "IW"' in server.asked("listAssets")[0].one("filter")


def test_one_relative_orbit_unless_all_are_wanted(bed, cube):
    box, orbits = box_of(cube), group(cube, "sar")["relative_orbit"].values.tolist()

    def found(choice):
        return [s.relative_orbit for s in connect(bed, orbits=choice).search(box, *SPRING, "sar")]

    counts = {orbit: orbits.count(orbit) for orbit in set(orbits)}
    often, seldom = sorted(counts, key=lambda orbit: (-counts[orbit], orbit))
    assert found("all") == orbits
    assert found("best") == [often] * counts[often]
    assert found(seldom) == [seldom] * counts[seldom]
    assert found(7) == []
    # Covered means area: without its northern slices the same orbit covers half as much.
    for name, image in list(bed.images.items()):
        north = image.box.affine.f == box.affine.f
        if north and image.properties.get("relativeOrbitNumber_start") == often:
            del bed.images[name]
    assert found("best") == [seldom] * counts[seldom]
    with pytest.raises(ArchiveError, match="'most'"):
        connect(bed, orbits="most")


def test_days_are_inclusive_and_cloud_is_left_to_the_server(bed, server, cube):
    archive, box = connect(bed), box_of(cube)
    scenes = archive.search(box, *SPRING, "optical")
    day = scenes[3].time.astype("datetime64[D]").item()
    assert scenes[3] in archive.search(box, day, day, "optical")
    assert archive.search(box, date(2017, 1, 1), date(2017, 2, 1), "optical") == []
    for image in scenes[3].source["images"]:
        one = bed.images[image["asset"]]
        cloudy = one.properties | {"CLOUDY_PIXEL_PERCENTAGE": 83.5}
        bed.images[image["asset"]] = replace(one, properties=cloudy)
    assert archive.search(box, day, day, "optical")[0].cloud_cover == 83.5
    assert connect(bed, max_cloud=80).search(box, day, day, "optical") == []
    query = server.asked("listAssets")[-1].one("filter")
    assert "properties.CLOUDY_PIXEL_PERCENTAGE <= 80" in query
    with pytest.raises(ArchiveError, match="thermal"):
        archive.search(box, *SPRING, "thermal")


def test_a_pass_over_midnight_utc_is_one_scene_of_the_solar_day(bed, cube):
    first = connect(bed).search(box_of(cube), *SPRING, "sar")[0]
    times = ["2018-05-20T23:59:50Z", "2018-05-21T00:00:15Z"]
    for name, time in zip(first.products, times, strict=True):
        asset = f"{google.SENTINEL_1}/{name}"
        bed.images[asset] = replace(bed.images[asset], start=time)
    scenes = connect(bed).search(box_of(cube), date(2018, 5, 20), date(2018, 5, 21), "sar")
    assert set(first.products) in [set(s.products) for s in scenes]
    assert str(scenes[0].time)[:19] == "2018-05-20T23:59:50"


def test_an_area_on_the_date_line_is_requested_pause_in_two_parts(bed, server):
    box = grid.make_grid((270000, 5600000, 310000, 5610000), "EPSG:32601")
    assert connect(bed).search(box, *SPRING, "optical") == []
    query = server.asked("listAssets")[-1].one("filter")
    assert "MultiPolygon" in query
    longitudes = [float(n) for n in query.replace("[", " ").replace(",", " ").split() if "9." in n]
    assert max(np.abs(longitudes)) <= 180


# Pixels


def test_optical_pixels_are_those_of_the_cube(bed, cube):
    archive, box, optical = connect(bed), box_of(cube), group(cube, "optical")
    scenes = archive.search(box, *SPRING, "optical")
    for t, scene in enumerate(scenes):
        pixels = archive.read(scene, box)
        expected = optical.isel(time=t)
        assert set(pixels) == {"blue", "green", "red", "nir", "scl"}
        np.testing.assert_array_equal(pixels["scl"], expected["scl"])
        for name in OPTICAL_BANDS:
            assert pixels[name].dtype == np.float32
            np.testing.assert_allclose(pixels[name], expected[name], rtol=0, atol=DN)
        assert np.isnan(pixels["blue"][:9, :7]).all()
    # Two tiles, each in full; with the scene classes, Cloud Score+ is not read.
    assert archive.size(scenes[0], box) == 2 * 96 * 128 * 17
    assert archive.size(scenes[0], grid.crop(box, np.s_[5:90, 10:40])) == 85 * 30 * 17
    assert replace(archive, keep=(4,)).size(scenes[0], box) == 2 * 96 * 128 * 9
    assert archive.requests(scenes[0]) == 4


@pytest.mark.parametrize("fill", [0.0, -3.4e38, np.nan])
def test_radar_pixels_are_those_of_the_cube(server, cube, fill):
    archive, box = connect(google.serve(server, cube, missing=fill), orbits="all"), box_of(cube)
    for t, scene in enumerate(archive.search(box, *SPRING, "sar")[:4]):
        pixels = archive.read(scene, box)
        for name in SAR_BANDS:
            expected = group(cube, "sar")[name].isel(time=t)
            assert pixels[name].dtype == np.float32
            np.testing.assert_allclose(pixels[name], expected, rtol=0, atol=CENTIBEL)
            assert np.isnan(pixels[name][:9, :7]).all()
    ee.data.reset()


def test_what_is_read_makes_a_valid_cube(bed, cube):
    archive, box = connect(bed), box_of(cube)
    made = {}
    for sensor in ("optical", "sar"):
        scenes = archive.search(box, *SPRING, sensor)[:2]
        pixels = [archive.read(scene, box) for scene in scenes]
        data = {n: (("time", "y", "x"), np.stack([p[n] for p in pixels])) for n in pixels[0]}
        made[sensor] = grid.assign_grid(
            xr.Dataset(data, {"time": [s.time for s in scenes]}, archive.attrs(sensor, scenes)), box
        )
    build(**made)
    assert "Cloud Score+" in made["optical"].attrs["mask"]
    assert made["optical"].attrs["processing_baseline"] == "02.14"
    assert made["sar"].attrs["radiometry"] == "sigma0"


def test_a_grid_that_reaches_out_of_the_images_has_no_data_there(bed, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "optical")[0]
    pixels, expected = archive.read(scene, moved(box, 20, -15)), group(cube, "optical").isel(time=0)
    np.testing.assert_allclose(pixels["nir"][:76, 15:], expected["nir"][20:, :113], rtol=0, atol=DN)
    for outside in (np.s_[76:], np.s_[:, :15]):
        assert np.isnan(pixels["nir"][outside]).all()
        assert (pixels["scl"][outside] == 0).all()


def test_a_grid_in_another_zone_takes_the_nearest_pixel(bed, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "sar")[0]
    expected = group(cube, "sar")["vv"].sel(time=scene.time).values
    left, bottom, right, top = grid.make_grid(
        _bounds_in("EPSG:32614", box), "EPSG:32614"
    ).boundingbox.bbox
    other = grid.make_grid((left + 200, bottom + 200, right - 200, top - 200), "EPSG:32614")
    pixels = archive.read(scene, other)["vv"]
    nearest = np.full(other.shape, np.nan, np.float32)
    reproject(
        expected,
        nearest,
        src_transform=box.affine,
        src_crs=f"EPSG:{box.crs.epsg}",
        dst_transform=other.affine,
        dst_crs="EPSG:32614",
        resampling=Resampling.nearest,
        dst_nodata=np.nan,
    )
    same = np.isclose(pixels, nearest, rtol=0, atol=CENTIBEL, equal_nan=True)
    assert np.isfinite(pixels).sum() > 500
    assert same.mean() > 0.99  # GDAL interpolates coordinates, to an eighth of a pixel


def _bounds_in(crs, box):
    from pyproj import Transformer

    return Transformer.from_crs(str(box.crs), crs, always_xy=True).transform_bounds(
        *box.boundingbox.bbox
    )


def test_where_products_overlap_the_newest_counts(bed, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "optical")[0]
    before = archive.read(scene, box)["red"]
    name = next(i["asset"] for i in scene.source["images"] if i["asset"].endswith("T15TVG"))
    west = bed.images[name]

    def darker(band):
        return west.read(band) // (1 if band == "SCL" else 2)

    older = west.properties | {"GENERATION_TIME": west.properties["GENERATION_TIME"] - 1000}
    bed.images[name] = replace(west, properties=older, read=darker)
    after = archive.read(archive.search(box, *SPRING, "optical")[0], box)["red"]
    alone = west.box.shape[1] - 8  # the tiles share eight columns
    assert np.isfinite(before[:, alone : alone + 8]).any()
    np.testing.assert_array_equal(after[:, alone:], before[:, alone:])
    np.testing.assert_allclose(after[:, :alone], before[:, :alone] / 2, atol=DN)


def test_radar_without_data_leaves_its_pixel_to_the_older_slice(bed, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "sar")[0]
    expected = group(cube, "sar").sel(time=scene.time)
    names = [image["asset"] for image in scene.source["images"]]
    newest, half = bed.images[names[0]], box.shape[0] // 2
    own = slice(0, half) if newest.box.affine.f == box.affine.f else slice(half, None)

    def whole(band):
        """Fill the other slice: zeros in VH, and in VV the noise of a swath's edge."""
        values = np.full(box.shape, 0.0 if band == "VH" else -45.0)
        values[own] = newest.read(band)
        return values

    bed.images[names[0]] = replace(newest, box=box, read=whole)
    for image in scene.source["images"]:
        image["bounds"] = [-180, -90, 180, 90]
    pixels = archive.read(scene, box)
    for name in SAR_BANDS:
        np.testing.assert_allclose(pixels[name], expected[name], rtol=0, atol=CENTIBEL)


def test_footprints_beyond_the_date_line_are_on_the_same_earth(bed, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "sar")[0]
    images = [
        {"asset": image["asset"], "bounds": [west + 360, south, east + 360, north]}
        for image in scene.source["images"]
        for west, south, east, north in [image["bounds"]]
    ]
    around = archive.read(replace(scene, source={"images": images}), box)
    np.testing.assert_array_equal(around["vv"], archive.read(scene, box)["vv"])


def test_a_large_grid_is_requested_pause_in_parts(bed, server, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "sar")[0]
    large = moved(box, -1000, -10, shape=(1100, 140))
    pixels = archive.read(scene, large)["vh"]
    expected = group(cube, "sar")["vh"].sel(time=scene.time)
    np.testing.assert_allclose(pixels[1000:1096, 10:138], expected, rtol=0, atol=CENTIBEL)
    assert np.isfinite(pixels).sum() == np.isfinite(expected).sum()
    sizes = [r.json()["grid"]["dimensions"] for r in server.asked("getPixels")]
    # The northern part meets the northern slice only, the southern part both.
    assert sorted(size["height"] for size in sizes) == [76, 76, 1024]


def test_the_server_has_the_limits_of_the_service(bed, cube):
    connect(bed)
    asset = next(name for name in bed.images if name.startswith(google.SENTINEL_1))
    place = {
        "dimensions": {"width": 2000, "height": 2000},
        "affineTransform": {"scaleX": 10, "scaleY": -10, "translateX": 0, "translateY": 0},
        "crsCode": "EPSG:32615",
    }
    request = {"assetId": asset, "fileFormat": "NUMPY_NDARRAY", "bandIds": ["VV", "VH"]}
    with pytest.raises(ee.EEException, match=r"64000000 bytes.* 50331648 bytes"):
        ee.data.getPixels(request | {"grid": place})
    with pytest.raises(ee.EEException, match="Band pattern 'HH'"):
        ee.data.getPixels(request | {"grid": place, "bandIds": ["HH"]})


def test_cloud_score_decides_unless_scene_classes_are_given(bed, server, cube):
    box, optical = box_of(cube), group(cube, "optical")
    cloudy = int(np.argmax(np.isnan(optical["blue"].values).mean((1, 2))))
    scene = connect(bed).search(box, *SPRING, "optical")[cloudy]
    scl, blue = optical["scl"].values[cloudy], optical["blue"].values[cloudy]
    lenient = connect(bed, clear=0.2).read(scene, box)["blue"]
    np.testing.assert_array_equal(np.isnan(lenient), scl == 0)
    np.testing.assert_allclose(lenient[np.isnan(blue) & (scl > 0)], google.CLOUD_DN / 1e4)
    strict = connect(bed, clear=0.95).read(scene, box)["blue"]
    assert np.isnan(strict).all()
    asked = len(server.asked("CLOUD_SCORE"))
    archive = connect(bed, keep=(4, 5, 6, 7))
    np.testing.assert_allclose(archive.read(scene, box)["blue"], blue, rtol=0, atol=DN)
    assert len(server.asked("CLOUD_SCORE")) == asked
    assert "(4, 5, 6, 7)" in archive.attrs("optical", [scene])["mask"]
    with pytest.raises(ArchiveError, match="60"):
        connect(bed, clear=60)


@pytest.mark.parametrize("keep", [None, (4, 5, 6, 7)])
def test_pixels_near_cloud_are_masked_up_to_the_buffer(bed, cube, keep):
    """Also near cloud beyond the edge of the grid that is read."""
    box, optical = box_of(cube), group(cube, "optical")
    masked = np.isnan(optical["blue"].values) & np.isin(optical["scl"].values, (3, 8, 9, 10))
    k = int(np.argmin(np.abs(masked.mean((1, 2)) - 0.3)))
    scl, clear = optical["scl"].values[k], np.isfinite(optical["blue"].values[k])
    cloud = ~clear & (scl > 0) & (True if keep is None else np.isin(scl, (3, 8, 9, 10)))
    near = grow(cloud, 4.5)
    assert (near & clear).any()
    archive = connect(bed, keep=keep, cloud_buffer=45)
    scene = archive.search(box, *SPRING, "optical")[k]
    whole = archive.read(scene, box)
    np.testing.assert_array_equal(np.isfinite(whole["red"]), clear & ~near)
    np.testing.assert_array_equal(whole["scl"], scl)
    rows, cols = np.argwhere(near & clear)[0]  # a tile whose edge cuts between it and its cloud
    for window in ((slice(0, rows + 1), slice(0, cols + 1)), (slice(rows, 96), slice(cols, 128))):
        part = archive.read(scene, grid.crop(box, window))
        np.testing.assert_array_equal(part["red"], whole["red"][window])
    assert "; masked up to 45 m from" in archive.attrs("optical", [scene])["mask"]


def test_zero_in_a_band_is_no_data_in_that_band_only(bed, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "optical")[0]
    before = archive.read(scene, box)
    row, col = np.argwhere(np.isfinite(before["nir"][:, :50]))[0]  # the western tile alone
    asset = next(i["asset"] for i in scene.source["images"] if i["asset"].endswith("T15TVG"))
    image = bed.images[asset]

    def dark(band):
        values = image.read(band)
        if band == "B8":
            values[row, col] = 0
        return values

    bed.images[asset] = replace(image, read=dark)
    after = archive.read(scene, box)
    assert np.isnan(after["nir"][row, col])
    assert after["red"][row, col] == before["red"][row, col]
    assert np.isnan(after["nir"]).sum() == np.isnan(before["nir"]).sum() + 1


def test_several_threads_read_the_same_as_one(bed, cube):
    archive, box = connect(bed), box_of(cube)
    scenes = archive.search(box, *SPRING, "sar")
    one = [archive.read(scene, box)["vv"] for scene in scenes]
    with ThreadPoolExecutor(4) as pool:
        many = list(pool.map(lambda scene: archive.read(scene, box)["vv"], scenes))
    np.testing.assert_array_equal(one, many)


# Faults


@pytest.fixture
def short_pauses():
    """The library waits ``random() * 2**n`` seconds before it tries again: make these short."""
    state = random.getstate()
    random.seed(_patient_seed())
    yield
    random.setstate(state)


def _patient_seed() -> int:
    for seed in range(100_000):
        numbers = random.Random(seed)
        if sum(numbers.random() * 2**n for n in (1, 2, 3)) < 0.5:
            return seed
    raise AssertionError("no such seed")


@pytest.mark.parametrize("kind", ["429", "503", "500", "drop"])
def test_a_burst_of_faults_is_waited_out(bed, server, cube, kind, short_pauses):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "sar")[0]
    server.fail("getPixels", kind, times=3)
    np.testing.assert_allclose(
        archive.read(scene, box)["vv"],
        group(cube, "sar")["vv"].sel(time=scene.time),
        rtol=0,
        atol=CENTIBEL,
    )


def impatient(bed, **options) -> EarthEngine:
    archive = connect(bed, **options)
    ee.data.setMaxRetries(0)
    return archive


def test_a_quota_that_stays_used_up_is_named(bed, cube):
    archive, box = impatient(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "sar")[0]
    bed.refusals["getPixels|listAssets"] = (429, "Quota exceeded for quota metric 'Requests'.")
    for request in (
        lambda: archive.read(scene, box),
        lambda: archive.search(box, *SPRING, "sar"),
    ):
        with pytest.raises(ArchiveError, match=r"'Requests'.*fewer threads"):
            request()


@pytest.mark.parametrize(
    ("status", "message", "words"),
    [
        (403, "Caller does not have required permission to use project test-project.", "Register"),
        (503, "The service is currently unavailable.", "Try again later"),
    ],
)
def test_an_archive_that_refuses_is_not_blamed_on_the_scene(bed, cube, status, message, words):
    archive, box = impatient(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "sar")[0]
    bed.refusals["getPixels"] = (status, message)
    with pytest.raises(ArchiveError, match=rf"{message}.*{words}"):
        archive.read(scene, box)


def test_a_scene_that_fails_is_named_and_the_others_are_fine(bed, cube):
    archive, box = impatient(bed), box_of(cube)
    broken, fine = archive.search(box, *SPRING, "sar")[:2]
    bed.refusals[broken.products[0]] = (500, "An internal error has occurred.")
    with pytest.raises(SceneError, match=rf"{broken.products[0]}: An internal error .*500"):
        archive.read(broken, box)
    assert np.isfinite(archive.read(fine, box)["vv"]).any()


def test_a_missing_cloud_score_is_named_with_a_way_out(bed, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "optical")[0]
    del bed.images[f"{google.CLOUD_SCORE}/{scene.products[0]}"]
    with pytest.raises(SceneError, match=rf"{scene.products[0]}.*not found.*keep 4,5,6,7"):
        archive.read(scene, box)


def test_damaged_pixels_and_lists(bed, server, cube):
    archive, box = connect(bed), box_of(cube)
    scene = archive.search(box, *SPRING, "sar")[0]
    server.fail("getPixels", "truncate")
    with pytest.raises(SceneError, match=rf"{scene.products[0]}.*damaged"):
        archive.read(scene, box)
    server.fail("listAssets", "truncate")
    with pytest.raises(ArchiveError, match=r"S1_GRD: Unexpected response") as error:
        archive.search(box, *SPRING, "sar")
    assert len(str(error.value)) < 400


def test_an_image_described_in_another_way_is_named_and_left_out(bed, cube, caplog):
    asset = next(name for name in bed.images if name.startswith(google.SENTINEL_2))
    image = bed.images[asset]
    less = {k: v for k, v in image.properties.items() if k != "SENSING_ORBIT_NUMBER"}
    bed.images[asset] = replace(image, properties=less)
    scenes = connect(bed).search(box_of(cube), *SPRING, "optical")
    assert re.search(rf"{asset}.*SENSING_ORBIT_NUMBER.*left out", caplog.text)
    assert scenes
    assert asset.rpartition("/")[2] not in {name for scene in scenes for name in scene.products}


def test_no_server_and_no_earth_engine_at_the_address(bed, server):
    ee.data.setMaxRetries(0)
    with pytest.raises(ArchiveError, match="/elsewhere"):
        EarthEngine("p", address=f"{server.url}/elsewhere")
    with Server() as gone:
        pass
    with pytest.raises(ArchiveError, match=rf"{gone.url}: no answer"):
        EarthEngine("p", address=gone.url)


# Accounts


@pytest.fixture
def no_account(monkeypatch, tmp_path):
    """An account on this machine that has never heard of Google."""
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "GCLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")


def test_missing_credentials_and_how_to_get_them(no_account):
    with pytest.raises(ArchiveError) as error:
        EarthEngine("test-project")
    for words in ("earthengine authenticate", "Register a project", "GOOGLE_CLOUD_PROJECT"):
        assert words in str(error.value)


def test_address_and_project_come_from_the_environment(no_account, bed, server, cube, monkeypatch):
    monkeypatch.setenv("DEEPCROP_EARTH_ENGINE", bed.url + "/")
    with pytest.raises(ArchiveError, match="needs a Google Cloud project"):
        open_archive("ee")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "project-of-the-environment")
    open_archive("ee").search(box_of(cube), *SPRING, "sar")
    headers = server.asked("listAssets")[-1].headers
    assert headers["x-goog-user-project"] == "project-of-the-environment"
    assert headers["user-agent"].startswith("deepcrop/")


def test_googles_credentials_go_to_google_only(bed, server, cube, monkeypatch, tmp_path):
    known = tmp_path / ".config" / "earthengine" / "credentials"
    known.parent.mkdir(parents=True)
    known.write_text('{"refresh_token": "do-not-tell", "project": "test-project"}')
    monkeypatch.setenv("HOME", str(tmp_path))
    connect(bed).search(box_of(cube), *SPRING, "sar")
    assert not any("authorization" in request.headers for request in server.log)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ee", None)
    with pytest.raises(ArchiveError, match=r"pip install deepcrop\[earthengine\]"):
        EarthEngine("test-project")


def test_the_library_as_its_users_start_it_gets_along_with_the_server(bed):
    """`ee.Initialize` with anonymous credentials and another address, without our client."""
    from google.auth.credentials import AnonymousCredentials

    ee.Initialize(AnonymousCredentials(), url=bed.url, project="simulated")
    listed = ee.data.listImages({"parent": "projects/earthengine-public/assets/" + SENTINEL_1})
    assert {image["id"] for image in listed["images"]} == {
        name for name in bed.images if name.startswith(SENTINEL_1)
    }
