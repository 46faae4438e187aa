"""An archive that the user describes in YAML."""

import re
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yaml
from tests.archive.hls import Hls
from tests.archive.server import Server

from deepcrop.cube.io import open_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch.plan import FetchRequest
from deepcrop.fetch.run import fetch
from deepcrop.grid import areas
from deepcrop.sources import open_archive, pixel_size
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.http import Refused
from deepcrop.sources.stac.own_archive import own_archive

SUMMER = date(2021, 6, 1), date(2021, 7, 31)
FAST = {"tries": 2, "pause": 0.01}
DOCS = Path(__file__).parents[3] / "docs" / "fetch.md"
SENTINEL2 = {
    "url": "https://stac.example.org/v1",
    "collections": ["s2"],
    "assets": {"blue": "B02", "green": "B03", "red": "B04", "nir": "B08", "scl": "SCL"},
    "scale": "item",
}
BOX = areas.area_of("-93.602,41.598,-93.598,41.600", 30.0).box


def documented():
    """The description in docs/fetch.md."""
    (block,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)
    return yaml.safe_load(block)


def write(folder, **changes):
    """Write the documented description, changed; None removes a key."""
    content = {k: v for k, v in (documented() | changes).items() if v is not None}
    path = folder / "my.yaml"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return str(path)


@pytest.fixture
def bed(tmp_path):
    """A scene of HLS, whose numbers are 1000 to 4000, behind an API for holders of a token."""
    with Server() as server:
        bed = Hls(server, tmp_path / "files", f"{server.url}/files")
        numbers = {"B02": 1000, "B03": 2000, "B04": 3000, "B8A": 4000}
        bands = {name: np.full(BOX.shape, value, np.int16) for name, value in numbers.items()}
        fmask = np.zeros(BOX.shape, np.uint8)
        fmask[0] = 2  # cloud
        bed.publish("S30", "2021-06-05T17:01:09", BOX, bands | {"Fmask": fmask})
        yield bed


def test_documented_description_is_fetched(bed, tmp_path, monkeypatch):
    monkeypatch.setenv("EXAMPLE_TOKEN", "abc.DEF-123")
    path = write(tmp_path, url=bed.api.url, collections=["hls2-s30"])
    assert pixel_size(path) == 30
    request = FetchRequest(BOX, *SUMMER, archive=path, sensors=("optical",))
    result = fetch(request, tmp_path / "own.zarr")
    cube = open_cube(result.path)
    optical = cube["optical"].to_dataset()
    np.testing.assert_allclose(optical["nir"][0, 1:], 0.4, atol=1e-6)
    assert np.isnan(optical["nir"][0, 0]).all()
    assert optical.attrs["offset"] == "none to apply (my.yaml)"
    assert optical.attrs["mask"] == "bits 1, 2, 3, 4 of mask masked"
    assert optical.attrs["attribution"] == "Example Institute, CC BY 4.0"
    assert cube.attrs["request"]["archive"]["collections"] == ["hls2-s30"]
    # The token goes to the API and the files, and is recorded nowhere.
    sent = {request.headers.get("authorization") for request in bed.server.log}
    assert sent == {"Bearer abc.DEF-123"}
    written = b"".join(p.read_bytes() for p in result.path.rglob("*") if p.is_file())
    assert b"abc.DEF" not in written


def test_token_is_for_its_hosts_only(bed, tmp_path, monkeypatch):
    monkeypatch.setenv("EXAMPLE_TOKEN", "abc")
    path = write(tmp_path, url=bed.api.url, collections=["hls2-s30"])
    archive = own_archive(path, **FAST)
    (scene,) = archive.search(BOX, *SUMMER, "optical")
    with Server() as other:
        assets = scene.source["products"][0]["item"]["assets"]
        assets["mask"]["href"] = f"{other.url}/Fmask.tif"
        other.fail("Fmask", "401", times=99)
        with pytest.raises(Refused, match=r"Fmask.*401.*EXAMPLE_TOKEN to 127.*token_hosts"):
            archive.read(scene, BOX)
        assert other.log
        assert not any("authorization" in request.headers for request in other.log)


@pytest.mark.parametrize(
    ("token", "words"), [("", "EXAMPLE_TOKEN, which is not set"), ("a\nX: b", "no token has")]
)
def test_token_that_cannot_be_sent(bed, tmp_path, monkeypatch, token, words):
    monkeypatch.setenv("EXAMPLE_TOKEN", token)
    archive = own_archive(write(tmp_path, url=bed.api.url), **FAST)
    with pytest.raises(ArchiveError, match=words):
        archive.search(BOX, *SUMMER, "optical")
    assert not bed.server.log


def test_scale_and_offset_of_the_items(bed, tmp_path):
    """As STAC 1.1 writes them; a product that states none is refused when it is read."""
    (item,) = bed.api.items["hls2-s30"]
    for band in ("B02", "B03", "B04", "B8A"):
        item["assets"][band] |= {"raster:scale": 0.0001, "raster:offset": -0.1}
    changes = {"scale": "item", "offset": None, "token": None}
    path = write(tmp_path, url=bed.api.url, collections=["hls2-s30"], **changes)
    archive = own_archive(path, **FAST)
    (scene,) = archive.search(BOX, *SUMMER, "optical")
    assert scene.notes["offset"] == "-1000 applied (raster:bands)"
    np.testing.assert_allclose(archive.read(scene, BOX)["nir"][1:], 0.3, atol=1e-6)
    del item["assets"]["B04"]["raster:offset"]
    (scene,) = archive.search(BOX, *SUMMER, "optical")
    with pytest.raises(DeepCropError, match="'red' states no scale and offset"):
        archive.read(scene, BOX)


def test_scene_classes_are_those_of_sentinel2(tmp_path):
    path = tmp_path / "s2.yml"
    path.write_text(yaml.safe_dump(SENTINEL2))
    archive = open_archive(str(path))
    assert str(archive.mask) == "scene classes 4, 5, 6, 7 kept"
    assert str(open_archive(str(path), keep=(4,)).mask) == "scene classes 4 kept"
    with pytest.raises(ArchiveError, match=r"s2.yml\) has no Sentinel-1.*--sensors optical"):
        archive.search(BOX, *SUMMER, "sar")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"url": "ftp://x"}, "url: "),
        ({"collections": []}, "collections: "),
        ({"offset": None}, "'offset' is missing"),
        ({"scale": "item"}, "leave it out"),
        ({"scale": 20}, "scale"),
        ({"nodata": -40000}, "'nodata' is -40000, which no int16 holds"),
        ({"masked_bits": None}, "one of 'clear' and 'masked_bits'"),
        ({"clear": [0]}, "one of 'clear' and 'masked_bits'"),
        ({"masked_bits": [8]}, "masked_bits.0"),
        ({"assets": SENTINEL2["assets"]}, "scene classes .* have no bits"),
        ({"assets": {"blue": "B02"}}, "assets.green: Field required"),
        ({"pixel": 20}, "pixel: Input should be 10 or 30"),
        ({"format": "VRT"}, "format: "),
        ({"cloud": 3}, "cloud: Extra inputs are not permitted"),
    ],
)
def test_descriptions_that_contradict_themselves_are_refused(tmp_path, changes, words):
    with pytest.raises(DeepCropError, match=rf"my\.yaml does not describe an archive: .*{words}"):
        open_archive(write(tmp_path, **changes))


def test_files_that_are_no_description(tmp_path):
    with pytest.raises(DeepCropError, match=r"no\.yaml: No such file.*description of an archive"):
        pixel_size(str(tmp_path / "no.yaml"))
    (tmp_path / "list.yaml").write_text("url: [")
    with pytest.raises(DeepCropError, match=r"list\.yaml is not valid YAML: line 1"):
        pixel_size(str(tmp_path / "list.yaml"))
    (tmp_path / "empty.yaml").write_text("")
    with pytest.raises(DeepCropError, match=r"empty\.yaml does not describe an archive: file: "):
        pixel_size(str(tmp_path / "empty.yaml"))
