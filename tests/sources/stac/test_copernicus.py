"""The Copernicus Data Space: JPEG 2000 files in an S3 storage, read with the user's keys."""

import re
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pytest
from tests.archive import ground_range, region
from tests.archive.server import Server
from tests.archive.stac import serve_region

from deepcrop import grid
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS
from deepcrop.cube.io import open_cube
from deepcrop.simulation import Region, simulate
from deepcrop.sources.archive import ArchiveError, Scene, SceneError
from deepcrop.sources.http import Refused
from deepcrop.sources.stac.access import presign
from deepcrop.sources.stac.cog_reader import PIECE
from deepcrop.sources.stac.ground_range import has_geoid
from deepcrop.sources.stac.known_archives import copernicus

YEAR = date(2018, 1, 1), date(2018, 12, 31)
FAST = {"tries": 2, "pause": 0.01}
DN = 1e-4


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """Two scenes and a folder for their files."""
    folder = tmp_path_factory.mktemp("bed")
    what = Region(40, 36, optical_scenes=2, sar_scenes=1, start="2018-06-05", end="2018-08-31")
    simulate(replace(what, cameras=1), folder / "cube.zarr")
    return region.coarsen_mask(open_cube(folder / "cube.zarr")).load(), folder


@pytest.fixture
def bed(simulated, monkeypatch):
    """Both scenes with the offset of baseline 05.10, served as the Data Space serves them."""
    cube, folder = simulated
    with Server() as server:
        bed = serve_region(server, folder / "files", cube, ("cdse-05.10",))
        for name, value in (bed.environment() | {"DEEPCROP_CDSE": bed.cdse}).items():
            monkeypatch.setenv(name, value)
        yield bed


@pytest.fixture
def box(simulated):
    return grid.grid_of(simulated[0]["optical"].to_dataset())


def test_signature_is_that_of_the_published_example():
    """Amazon S3 API Reference, "Authenticating Requests: Using Query Parameters"."""
    signed = presign(
        "https://examplebucket.s3.amazonaws.com/test.txt",
        "AKIAIOSFODNN7EXAMPLE",
        "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        "us-east-1",
        datetime(2013, 5, 24, tzinfo=UTC),
        timedelta(days=1),
    )
    signature = "aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    assert signed.endswith(f"&X-Amz-Signature={signature}")


def test_pixels_are_those_of_the_scene(simulated, bed, box):
    truth = simulated[0]["optical"].to_dataset()
    archive = copernicus(**FAST)
    found = archive.search(box, *YEAR, "optical")
    assert [scene.time for scene in found] == list(truth["time"].values)
    for k, scene in enumerate(found):
        assert scene.relative_orbit == truth["relative_orbit"].values[k]
        again = Scene.from_json(scene.to_json())  # as another process finds it in the plan
        begin = bed.server.sent.copy()
        bands = archive.read(again, box)
        assert archive.size(scene, box) == pytest.approx((bed.server.sent - begin).total(), rel=0.1)
        np.testing.assert_array_equal(bands["scl"], truth["scl"].values[k])
        for name in OPTICAL_BANDS:
            np.testing.assert_allclose(bands[name], truth[name].values[k], atol=1.01 * DN)
        assert archive.measure(scene, box) == archive.size(scene, box) > 0
    # In a file as large as a real one, blocks before those of the area are skipped one by one.
    expected = archive.size(again, box) + 60 * PIECE
    again.source["products"][0]["item"]["assets"]["blue"]["proj:shape"] = [10980, 10980]
    assert archive.size(again, box) == expected
    attrs = archive.attrs("optical", found)
    assert attrs["offset"] == "-1000 applied (baseline 05.10)"
    assert attrs["source"] == "Copernicus Data Space"
    # Only the files at full resolution are read, and no secret is in the plan.
    files = {request.path.rpartition("_")[2] for request in bed.server.asked(r"\.jp2")}
    assert files == {"10m.jp2", "20m.jp2"}
    assert "X-Amz" not in str([scene.to_json() for scene in found])


def test_offset_follows_the_baseline_and_not_the_catalogue(simulated, bed, box):
    """The catalogue states -0.1 for all products; nothing was added before baseline 04.00."""
    truth = simulated[0]["optical"].to_dataset()
    for item in bed.apis["cdse"].items.pop("sentinel-2-l2a"):
        assert item["assets"]["B04_10m"]["raster:offset"] == -0.1
    (item,) = bed.publish("cdse-02.14", [0])
    assert item["assets"]["B04_10m"]["raster:offset"] == -0.1
    archive = copernicus(**FAST)
    (scene,) = archive.search(box, *YEAR, "optical")
    assert scene.notes["offset"] == "none to apply (baseline 02.14)"
    red = archive.read(scene, box)["red"]
    np.testing.assert_allclose(red, truth["red"].values[0], atol=1.01 * DN)
    item["properties"]["processing:version"] = "05.10"
    (scene,) = archive.search(box, *YEAR, "optical")
    with pytest.raises(SceneError, match=r"baseline 02.14, but processing:version is 05.10"):
        archive.read(scene, box)


def test_missing_keys_are_named_before_the_search(bed, box, monkeypatch):
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(ArchiveError, match=r"AWS_SECRET_ACCESS_KEY is not set.*s3keysmanager"):
        copernicus(**FAST).search(box, *YEAR, "optical")
    assert not bed.server.log
    assert len(copernicus(**FAST).search(box, *YEAR, "optical", readable=False)) == 2


@pytest.mark.parametrize("wrong", ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"])
def test_refused_keys_are_explained_once_and_not_shown(bed, box, monkeypatch, wrong, caplog):
    monkeypatch.setenv(wrong, "oldkey123")
    archive = copernicus(**FAST)
    scene = archive.search(box, *YEAR, "optical")[0]
    with pytest.raises(Refused, match=r"SCL_20m .*403.*expired.*s3keysmanager") as refused:
        archive.read(scene, box)
    assert "oldkey123" not in str(refused.value)
    assert "oldkey123" not in caplog.text
    assert len(bed.server.asked(r"\.jp2")) < 5  # it is not asked again and again


def test_only_the_storage_gets_a_signature(bed, box):
    archive = copernicus(**FAST)
    scene = archive.search(box, *YEAR, "optical")[0]
    for href in (f"{bed.server.url}/steal.jp2", "/etc/hosts", "s3:///x"):
        scene.source["products"][0]["item"]["assets"]["scl"]["href"] = href
        with pytest.raises(SceneError, match=re.escape("is no file of an S3 storage")):
            archive.read(scene, box)
    assert not bed.server.asked("steal")


# --- radar ----------------------------------------------------------------------------------------


@pytest.fixture
def geoid(tmp_path):
    """PROJ with a grid of the geoid."""
    with ground_range.geoid(tmp_path):
        yield


@pytest.mark.slow  # loads the libraries of the extra "safe"
def test_radar_is_calibrated_and_placed_on_the_ground(simulated, bed, box, geoid):
    bed.publish("cdse-grd", [0])
    truth = simulated[0]["sar"].to_dataset()
    archive = copernicus(**FAST)
    (scene,) = archive.search(box, *YEAR, "sar")
    assert scene.time == truth["time"].values[0]
    assert scene.relative_orbit == truth["relative_orbit"].values[0]
    begin, sent = len(bed.server.log), bed.server.sent.copy()
    bands = archive.read(Scene.from_json(scene.to_json()), box)
    images_and_tables = sum(
        size for path, size in (bed.server.sent - sent).items() if path.endswith((".tiff", ".xml"))
    )
    assert archive.measure(scene, box) == pytest.approx(images_and_tables, rel=0.1)
    for name in SAR_BANDS:
        error = np.abs(bands[name] - truth[name].values[0])
        assert np.isfinite(bands[name]).mean() > 0.95
        assert np.nanmedian(error) < 0.1, name
    assert len(bed.server.asked(r"\.xml")) == 6
    asked = [r for r in bed.server.log[begin:] if r.path.endswith((".tiff", ".xml"))]
    assert len(asked) <= archive.requests(scene) == 2 * 3 + 6  # small files have no third
    archive.read(scene, box)  # another tile: tables and heights are there
    assert len(bed.server.asked(r"\.xml")) == 6
    assert len([r for r in bed.server.log[begin:] if "CopDEM" in r.path and r.query]) <= 3
    attrs = archive.attrs("sar", [scene])
    assert attrs["radiometry"] == "sigma0"
    assert "EGM2008" in attrs["dem"]
    assert "X-Amz" not in str(scene.to_json())


@pytest.mark.skipif(has_geoid("EPSG:32631"), reason="PROJ of this machine has the grid")
def test_radar_without_the_grid_of_the_geoid_is_refused_before_the_search(bed, box):
    begin = len(bed.server.log)
    with pytest.raises(ArchiveError, match=r"PROJ lacks its grid us_nga_egm08_25\.tif.*projsync"):
        copernicus(**FAST).search(box, *YEAR, "sar")
    assert len(bed.server.log) == begin


@pytest.mark.slow
def test_radar_that_lacks_a_table_or_heights_is_named(bed, box, geoid):
    bed.publish("cdse-grd", [0])
    (scene,) = copernicus(**FAST).search(box, *YEAR, "sar")
    bed.server.fail("noise-", "404")
    with pytest.raises(SceneError, match=r"noise-s1.*-vv-.*no such file"):
        copernicus(**FAST).read(scene, box)
    asset = scene.source["products"][0]["item"]["assets"]["vv"]
    asset["href"] = "s3://eodata/x/y.tiff"
    with pytest.raises(SceneError, match="no measurement of a product in SAFE format"):
        copernicus(**FAST).read(scene, box)
    bed.apis["cdse"].items.pop(ground_range.DEM)
    with pytest.raises(ArchiveError, match=r"has no heights of the area"):
        copernicus(**FAST).read(scene, box)
