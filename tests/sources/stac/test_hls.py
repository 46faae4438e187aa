"""HLS v2.0: two collections with other names of bands, a mask in bits, and its own 30 m grid."""

from datetime import date

import numpy as np
import pytest
from tests.archive.hls import NASA_COLLECTIONS, Hls
from tests.archive.server import Server
from tests.archive.stac import forget_tokens

from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch.plan import FetchRequest
from deepcrop.fetch.run import fetch
from deepcrop.grid import areas, crop, grid_of, make_grid
from deepcrop.sources import open_archive, pixel_size
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.stac.known_archives import hls, hls_nasa

SUMMER = date(2021, 6, 1), date(2021, 7, 31)
FAST = {"tries": 2, "pause": 0.01}
NUMBERS = {"blue": 301, "green": 502, "red": -20, "nir": 3204}
"""Digital numbers of the first pixel; dark surfaces have small negative ones."""


@pytest.fixture
def bed(tmp_path, monkeypatch):
    with Server() as server:
        bed = Hls(server, tmp_path / "files")
        for name, value in bed.environment().items():
            monkeypatch.setenv(name, value)
        forget_tokens()
        yield bed
    forget_tokens()


def bands_of(kind, box, fmask=None):
    """Bands whose numbers differ from pixel to pixel, and a mask that is clear."""
    steps = np.arange(box.shape[0] * box.shape[1], dtype=np.int16).reshape(box.shape)
    names = {"blue": "B02", "green": "B03", "red": "B04"}
    names["nir"] = "B05" if kind == "L30" else "B8A"
    bands = {names[band]: steps + np.int16(first) for band, first in NUMBERS.items()}
    if kind == "S30":
        bands["B05"] = np.full(box.shape, 9999, np.int16)  # red edge, never to be read
    return bands | {"Fmask": np.zeros(box.shape, np.uint8) if fmask is None else fmask}


@pytest.mark.parametrize("kind", ["L30", "S30"])
def test_bands_are_those_of_the_satellite(bed, kind):
    box = make_grid((450_000, 4_605_000, 450_240, 4_605_180), "EPSG:32615", 30.0)
    bed.publish(kind, "2021-06-05T17:01:09", box, bands_of(kind, box))
    archive = hls(**FAST)
    (scene,) = archive.search(box, *SUMMER, "optical")
    assert str(scene.time).startswith("2021-06-05T17:01:09.123")
    part = crop(box, (slice(1, 5), slice(2, 8)))
    found = archive.read(scene, part)
    assert list(found) == list(NUMBERS)  # no scene classes: it has none
    steps = np.arange(48).reshape(6, 8)[1:5, 2:8]
    for band, first in NUMBERS.items():
        np.testing.assert_allclose(found[band], (first + steps) * 1e-4, atol=1e-7)
    read = {request.path.split(".")[-2] for request in bed.server.asked(r"\.tif$")}
    assert read == {"B02", "B03", "B04", "B05" if kind == "L30" else "B8A", "Fmask"}


def test_bits_of_fmask_and_missing_data_are_masked(bed):
    box = make_grid((450_000, 4_605_000, 450_300, 4_605_060), "EPSG:32615", 30.0)
    fmask = np.zeros(box.shape, np.uint8)
    fmask[0, :9] = [0, 1, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5, 0b11000000, 255]
    bands = bands_of("S30", box, fmask)
    bands["B04"][1, 0] = -9999
    bed.publish("S30", "2021-06-05T17:01:09", box, bands)
    archive = hls(**FAST)
    (scene,) = archive.search(box, *SUMMER, "optical")
    clear = np.isfinite(archive.read(scene, box)["nir"])
    # Bit 0 is not used; water (5) and much aerosol (6, 7) stay.
    assert clear[0].tolist() == [True, True, False, False, False, False, True, True, False, True]
    assert clear[1].tolist() == [False] + [True] * 9
    attrs = archive.attrs("optical", [scene])
    assert attrs["mask"] == "bits 1, 2, 3, 4 of fmask masked"
    assert "HLSS30.002" in attrs["attribution"]


def test_southern_tiles_lie_on_the_grid_of_the_area(bed):
    """Their files have the northern zone; 10 000 km are no multiple of 30 m."""
    area = areas.area_of("147.10,-35.10,147.103,-35.098", 30.0)
    assert str(area.box.crs) == "EPSG:32755"
    assert (area.box.affine.f - 10_000_000) % 30 == 0
    bed.publish("L30", "2021-06-05T00:01:09", area.box, bands_of("L30", area.box))
    archive = hls(**FAST)
    (scene,) = archive.search(area.box, *SUMMER, "optical")
    steps = np.arange(np.prod(area.box.shape)).reshape(area.box.shape)
    found = archive.read(scene, area.box)
    np.testing.assert_allclose(found["nir"], (NUMBERS["nir"] + steps) * 1e-4, atol=1e-7)


def test_fetched_cube_has_both_satellites_on_30_m(bed, tmp_path):
    area = areas.area_of("-93.602,41.598,-93.598,41.600", 30.0)
    bed.publish("L30", "2021-06-05T17:01:09", area.box, bands_of("L30", area.box))
    bed.publish("S30", "2021-06-08T17:11:09", area.box, bands_of("S30", area.box))
    request = FetchRequest(area.box, *SUMMER, archive="hls", sensors=("optical",))
    result = fetch(request, tmp_path / "hls.zarr")
    assert [outcome.state for outcome in result.outcomes] == ["fetched", "fetched"]
    optical = open_cube(result.path)["optical"].to_dataset()
    assert float(grid_of(optical).resolution.x) == 30
    assert "scl" not in optical
    assert optical.attrs["collection"] == "hls2-l30, hls2-s30"
    assert optical.attrs["offset"] == "none to apply (HLS)"
    np.testing.assert_allclose(optical["nir"][0], optical["nir"][1], atol=1e-7)


def test_what_does_not_fit_is_refused(tmp_path):
    ten = areas.area_of("-93.602,41.598,-93.598,41.600").box
    request = FetchRequest(ten, *SUMMER, archive="hls", sensors=("optical",))
    with pytest.raises(DeepCropError, match=r"pixels of 10 m; hls has 30 m"):
        fetch(request, tmp_path / "hls.zarr")
    with pytest.raises(ArchiveError, match=r"no scene classes .*bits 1, 2, 3, 4 of fmask"):
        open_archive("hls", keep=(4, 5))
    with pytest.raises(ArchiveError, match=r"\(hls\) has no Sentinel-1.*--sensors optical"):
        hls(**FAST).search(ten, *SUMMER, "sar")


def test_hls_of_nasa_is_read_with_a_token(tmp_path, monkeypatch):
    box = make_grid((450_000, 4_605_000, 450_240, 4_605_180), "EPSG:32615", 30.0)
    with Server() as server:
        storage = f"{server.url}/lp-prod-protected"
        bed = Hls(server, tmp_path / "files", storage, NASA_COLLECTIONS)
        for kind, day in (("L30", 5), ("S30", 7)):
            item = bed.publish(kind, f"2018-06-{day:02d}T17:01:09", box, bands_of(kind, box))
            for name in [key for key in item["properties"] if key.startswith("proj:")]:
                del item["properties"][name]  # NASA's items do not have them
        monkeypatch.setenv("DEEPCROP_NASA", bed.api.url)
        monkeypatch.delenv("EARTHDATA_TOKEN", raising=False)
        summer = date(2018, 6, 1), date(2018, 7, 31)
        with pytest.raises(ArchiveError, match=r"hls-nasa.*EARTHDATA_TOKEN, which is not set"):
            hls_nasa(**FAST).search(box, *summer, "optical")
        monkeypatch.setenv("EARTHDATA_TOKEN", "abc.DEF-1")
        archive = hls_nasa(**FAST)
        scenes = archive.search(box, *summer, "optical")
        assert [str(scene.time)[:10] for scene in scenes] == ["2018-06-05", "2018-06-07"]
        for scene in scenes:
            np.testing.assert_allclose(
                archive.read(scene, box)["nir"][0, 0], NUMBERS["nir"] * 1e-4, atol=1e-7
            )
        files = server.asked(r"\.tif$")
        assert {request.headers.get("authorization") for request in files} == {"Bearer abc.DEF-1"}
        assert "abc.DEF-1" not in str([scene.to_json() for scene in scenes])
    assert pixel_size("hls-nasa") == 30.0
