"""Masks that reach beyond clouds, and that follow the probability of cloud."""

from datetime import date

import numpy as np
import pytest
import yaml
from tests.archive.hls import BANDS, Hls
from tests.archive.server import Server

from deepcrop.fetch.plan import FetchRequest
from deepcrop.grid import crop, make_grid
from deepcrop.grid.buffers import grow
from deepcrop.sources import open_archive
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.stac.optical import Mask

SUMMER = date(2021, 6, 1), date(2021, 7, 31)
BOX = make_grid((450_000, 4_605_000, 450_360, 4_605_270), "EPSG:32615", 30.0)
ROWS, COLS = 9, 12
CLOUDS = ((4, 6), (0, 0))


@pytest.fixture
def archive(tmp_path, monkeypatch):
    """Open an archive of one scene, with two pixels of cloud, and a probability that rises east."""
    monkeypatch.setitem(BANDS, "S30", (*BANDS["S30"], "CLD"))
    with Server() as server:
        bed = Hls(server, tmp_path / "files", f"{server.url}/files")
        bands = {n: np.full((ROWS, COLS), 1000, np.int16) for n in ("B02", "B03", "B04", "B8A")}
        fmask = np.zeros((ROWS, COLS), np.uint8)
        for cell in CLOUDS:
            fmask[cell] = 2
        rising = np.broadcast_to(np.arange(COLS, dtype=np.uint8) * 5, (ROWS, COLS))
        bed.publish("S30", "2021-06-05T17:01:09", BOX, bands | {"Fmask": fmask, "CLD": rising})
        assets = {"blue": "B02", "green": "B03", "red": "B04", "nir": "B8A", "mask": "Fmask"}
        path = tmp_path / "my.yaml"
        content = {
            "url": bed.api.url, "collections": ["hls2-s30"], "assets": assets | {"cloud": "CLD"},
            "scale": 0.0001, "offset": 0, "type": "int16", "nodata": -9999,
            "masked_bits": [1, 2, 3, 4], "mask_nodata": 255, "pixel": 30,
        }  # fmt: skip
        path.write_text(yaml.safe_dump(content))

        def start(**options):
            opened = open_archive(str(path), **options)
            (scene,) = opened.search(BOX, *SUMMER, "optical")
            return opened, scene

        yield start


def near(metres):
    """Pixels whose centre is this near to that of a cloud."""
    rows, cols = np.indices((ROWS, COLS))
    return np.logical_or.reduce(
        [np.hypot(rows - row, cols - col) * 30 <= metres for row, col in CLOUDS]
    )


@pytest.mark.parametrize("metres", [0, 30, 65])
def test_buffer_is_a_distance_in_metres(archive, metres):
    opened, scene = archive(cloud_buffer=metres)
    found = opened.read(scene, BOX)
    np.testing.assert_array_equal(np.isnan(found["nir"]), near(metres))
    said = "; masked up to 65 m from cloud and shadow" in opened.attrs("optical", [scene])["mask"]
    assert said == (metres == 65)


def test_cloud_beyond_the_edge_of_a_tile_acts_on_it(archive):
    opened, scene = archive(cloud_buffer=100)
    whole = opened.read(scene, BOX)["red"]
    for window in ((slice(0, 4), slice(0, 6)), (slice(4, 9), slice(7, 12))):
        np.testing.assert_array_equal(opened.read(scene, crop(BOX, window))["red"], whole[window])
        assert np.isnan(whole[window]).any()


def test_pixels_above_a_probability_of_cloud_are_masked(archive):
    opened, scene = archive(cloud_probability=20)
    found = np.isnan(opened.read(scene, BOX)["nir"])
    np.testing.assert_array_equal(found, near(0) | (np.arange(COLS) * 5 > 20))
    assert opened.attrs("optical", [scene])["mask"].endswith("probability of cloud is above 20 %")


@pytest.mark.parametrize("radius", [0.0, 0.9, 1.0, 1.5, 2.2, 3.0, 40.0])
def test_growth_is_a_disc(radius):
    cells = np.random.default_rng(3).random((7, 11)) < 0.04
    rows, cols = np.indices(cells.shape)
    expected = np.zeros_like(cells)
    for row, col in np.argwhere(cells):
        expected |= np.hypot(rows - row, cols - col) <= radius
    np.testing.assert_array_equal(grow(cells, radius), expected)


def test_only_cloud_and_shadow_have_a_buffer():
    """Snow, dark areas and what has no data have none; nor have classes that are kept."""
    mask = Mask(classes=(4, 5, 6, 7), clouds=(3, 8, 9, 10), buffer=10)
    line = np.array([[11, 4, 4, 0, 4, 4, 2, 4, 4, 9, 4, 4]], np.uint8)
    assert np.flatnonzero(mask.near_cloud(line, 10.0)).tolist() == [8, 9, 10]
    kept = Mask(classes=(4, 9), clouds=(3, 8, 9, 10), buffer=10)
    assert not kept.near_cloud(line, 10.0).any()


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("pc", {"cloud_probability": 40}, r"\(pc\) has no probability of cloud; earth-search"),
        ("earth-search-v0", {"cloud_probability": 40}, r"\(earth-search-v0\) has no probability"),
        ("earth-search", {"cloud_probability": 100}, "0 to less than 100"),
        ("earth-search", {"cloud_buffer": -1}, "expected 0 to 1000 m"),
        ("ee", {"cloud_buffer": 1001}, "expected 0 to 1000 m"),
        ("ee", {"cloud_probability": 40, "keep": (4,)}, "one of the two"),
    ],
)
def test_masks_that_an_archive_does_not_have_are_refused(name, options, words):
    with pytest.raises(ArchiveError, match=words):
        open_archive(name, **options)


def test_the_request_says_how_clouds_were_masked():
    usual = FetchRequest(BOX, *SUMMER).to_json()
    assert not any("cloud_" in key for key in usual)  # as in cubes of before
    wide = FetchRequest(BOX, *SUMMER, cloud_buffer=60, cloud_probability=30).to_json()
    assert (wide["cloud_buffer"], wide["cloud_probability"]) == (60, 30)
