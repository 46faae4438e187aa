import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import rasterio
from tests.archive import region
from tests.archive.server import Server
from tests.archive.stac import Tokens, forget_tokens, serve_region

from deepcrop import grid
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS
from deepcrop.cube.io import open_cube
from deepcrop.simulation import Region, simulate
from deepcrop.sources.archive import ArchiveError, Scene, SceneError
from deepcrop.sources.sentinel2 import OffsetWarning
from deepcrop.sources.stac.known_archives import (
    earth_search,
    earth_search_legacy,
    planetary_computer,
)

YEAR = date(2018, 1, 1), date(2018, 12, 31)
FAST = {"tries": 4, "pause": 0.01}
DN = 0.0001


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A small simulated cube and a folder for its files."""
    folder = tmp_path_factory.mktemp("bed")
    what = Region(40, 36, optical_scenes=3, sar_scenes=2, start="2018-06-05", end="2018-08-31")
    simulate(replace(what, cameras=1), folder / "cube.zarr")
    return open_cube(folder / "cube.zarr"), folder / "files"


@pytest.fixture(scope="module")
def expected(simulated):
    """What should come back."""
    cube = region.coarsen_mask(simulated[0])
    return {name: cube[name].to_dataset().load() for name in ("optical", "sar")}


@pytest.fixture(scope="module")
def box(expected):
    return grid.grid_of(expected["optical"])


@pytest.fixture
def serve(simulated, monkeypatch):
    """Start the test-bed with the flavours that a test needs."""
    with Server() as server:

        def start(*flavours, **options):
            bed = serve_region(server, simulated[1], simulated[0], flavours, **options)
            for name, value in bed.environment().items():
                monkeypatch.setenv(name, value)
            monkeypatch.delenv("GDAL_DISABLE_READDIR_ON_OPEN")  # the reader sees to that
            forget_tokens()
            return bed

        yield start
    forget_tokens()


def scenes(archive, box, sensor="optical"):
    return archive.search(box, *YEAR, sensor)


def assert_optical(found, expected, k, tolerance=1.001 * DN):
    for name in (*OPTICAL_BANDS, "scl"):
        values, truth = found[name], expected["optical"][name].values[k]
        assert values.dtype == truth.dtype
        if name == "scl":
            np.testing.assert_array_equal(values, truth)
        else:
            np.testing.assert_array_equal(np.isnan(values), np.isnan(truth))
            np.testing.assert_allclose(values, truth, atol=tolerance)


def reads(archive, box, expected, sensor="optical"):
    found = scenes(archive, box, sensor)
    times = expected[sensor]["time"].values
    np.testing.assert_array_equal([scene.time for scene in found], times)
    return found, [archive.read(scene, box) for scene in found]


# The same from every archive


@pytest.mark.slow
@pytest.mark.parametrize(
    ("flavour", "archive", "offset"),
    [
        ("pc-03.01", "pc", "none to apply (baseline 03.01)"),
        ("pc-05.10", "pc", "-1000 applied (baseline 05.10)"),
        ("es-c1", "es", "-1000 applied (raster:bands)"),
        ("es-legacy", "legacy", "already applied by the archive (flag and pixels agree)"),
        ("es-legacy-raw", "legacy", "-1000 applied (flag and pixels agree)"),
        ("es-legacy-03.01", "legacy", "none to apply (baseline 03.01)"),
        ("es-v0", "v0", "already applied by the archive (flag and pixels agree)"),
        ("es-v0-03.01", "v0", "none to apply (baseline 03.01)"),
    ],
)
def test_one_scene_has_one_reflectance(serve, box, expected, flavour, archive, offset):
    bed = serve(flavour)
    old = {"address": bed.es_v0, "collections": {"optical": ("sentinel-s2-l2a-cogs",)}}
    reader = {
        "pc": lambda: planetary_computer(bed.pc, **FAST),
        "es": lambda: earth_search(bed.es, **FAST),
        "legacy": lambda: earth_search_legacy(bed.es, **FAST),
        "v0": lambda: replace(earth_search_legacy(**FAST), **old),
    }[archive]()
    found, read = reads(reader, box, expected)
    for k, bands in enumerate(read):
        assert_optical(bands, expected, k)
        assert found[k].notes["offset"] == offset
        assert found[k].relative_orbit == expected["optical"]["relative_orbit"].values[k]
    attrs = reader.attrs("optical", found)
    assert attrs["offset"] == offset
    assert attrs["processing_baseline"] == found[0].notes["processing_baseline"]
    assert attrs["mask"] == "scene classes 4, 5, 6, 7 kept"
    assert attrs["attribution"] == "contains modified Copernicus Sentinel data 2018"


@pytest.mark.parametrize("flavour", ["es-legacy-lies-applied", "es-legacy-lies-not-applied"])
def test_lies_about_the_offset_are_found_out(serve, box, expected, flavour):
    archive = earth_search_legacy(serve(flavour).es, **FAST)
    with pytest.warns(OffsetWarning) as warned:
        found, read = reads(archive, box, expected)
    assert sum(issubclass(w.category, OffsetWarning) for w in warned) == 3
    for k, bands in enumerate(read):
        assert_optical(bands, expected, k)
        assert "pixels, against the flag" in found[k].notes["offset"]


def test_radar_is_sigma0(serve, box, expected):
    archive = planetary_computer(serve("pc-rtc").pc, orbits="all", **FAST)
    found, read = reads(archive, box, expected, "sar")
    for k, bands in enumerate(read):
        for name in SAR_BANDS:
            np.testing.assert_allclose(bands[name], expected["sar"][name].values[k], atol=0.02)
        assert found[k].notes["incidence"].startswith("annotation of S1")
    assert archive.attrs("sar", found)["radiometry"] == "sigma0"


def test_one_search_finds_the_products_behind_all_radar_items(serve, box, tmp_path):
    bed = serve("pc-rtc")
    archive = planetary_computer(bed.pc, orbits="all", **FAST)
    found = archive.search(box, *YEAR, "sar", saved=tmp_path / "saved.jsonl")
    assert not bed.server.asked("/items/")
    grd = [r for r in bed.server.asked("/search") if "sentinel-1-grd" in r.body.decode()]
    assert len(grd) == 1
    assert set(grd[0].json()["ids"]) == {s.products[0].removesuffix("_rtc") for s in found}
    annotations = len(bed.server.asked("iw-vv.xml"))
    assert annotations == len(found)
    # A stopped search goes on where it was: the last line may be cut short.
    text = (tmp_path / "saved.jsonl").read_text()
    (tmp_path / "saved.jsonl").write_text(text[: len(text) - 20])
    again = archive.search(box, *YEAR, "sar", saved=tmp_path / "saved.jsonl")
    assert [scene.to_json() for scene in again] == [scene.to_json() for scene in found]
    assert len(bed.server.asked("iw-vv.xml")) == annotations + 1
    before = len(bed.server.log)
    listed = archive.search(box, *YEAR, "sar", readable=False)
    assert [scene.products for scene in listed] == [scene.products for scene in found]
    assert not [r for r in bed.server.log[before:] if "iw-vv" in r.path or b"grd" in r.body]
    with pytest.raises(SceneError, match="only listed"):
        archive.read(listed[0], box)


@pytest.mark.parametrize(
    ("missing", "status", "times", "why"),
    [
        ("the item", 404, 1, "the archive has none"),
        ("annotation/iw-vv.xml", 404, 1, "the archive has none"),
        ("annotation/iw-vv.xml", 403, 3, "the archive refuses it"),
    ],
)
def test_radar_without_annotation_says_that_it_is_approximate(
    serve, simulated, box, expected, missing, status, times, why
):
    bed = serve("pc-rtc")
    archive = planetary_computer(bed.pc, orbits="all", **FAST)
    only = bed.apis["pc"].items["sentinel-1-rtc"][0]["id"].removesuffix("_rtc")
    if missing == "the item":
        items = bed.apis["pc"].items["sentinel-1-grd"]
        items[:] = [item for item in items if item["id"] != only]
    else:
        bed.server.fail(f"{only}.*{missing}", str(status), times)
    found, read = reads(archive, box, expected, "sar")
    notes = "".join(scene.notes["incidence"] for scene in found)
    assert "approximate, from the footprint" in notes
    assert why in notes
    assert "sig=" not in notes
    attrs = archive.attrs("sar", found)
    assert attrs["radiometry"] == "sigma0 from gamma0, approximate"
    assert "approximate for 1 of 2" in attrs["incidence"]
    for k, bands in enumerate(read):
        error = np.abs(bands["vv"] - expected["sar"]["vv"].values[k]).max()
        assert error < (1.5 if "approximate" in found[k].notes["incidence"] else 0.02)


# Scenes


def test_a_scene_is_read_from_what_was_written_down(serve, box, expected):
    bed = serve("pc-05.10", "pc-rtc")
    archive = planetary_computer(bed.pc, **FAST)
    for sensor in ("optical", "sar"):
        scene = scenes(archive, box, sensor)[0]
        text = json.dumps(scene.to_json())
        assert "sig=" not in text
        again = Scene.from_json(json.loads(text))
        assert again.time == scene.time
        before, after = archive.read(scene, box), planetary_computer(bed.pc).read(again, box)
        for name, values in before.items():
            np.testing.assert_array_equal(after[name], values)


def test_tiles_of_a_scene_are_parts_of_the_whole(serve, box):
    archive = planetary_computer(serve("pc-05.10", "pc-rtc").pc, **FAST)
    for sensor in ("optical", "sar"):
        scene = scenes(archive, box, sensor)[0]
        whole = archive.read(scene, box)
        with ThreadPoolExecutor(4) as pool:
            parts = pool.map(
                lambda rows, s=scene: archive.read(s, box[rows, 3:30]),
                [slice(k, k + 10) for k in range(0, 40, 10)],
            )
            for k, part in enumerate(parts):
                for name, values in part.items():
                    truth = whole[name][10 * k : 10 * k + 10, 3:30]
                    np.testing.assert_allclose(values, truth, atol=1e-4)


def test_power_of_zero_is_no_data_before_it_is_interpolated(serve, simulated, box):
    """Outside of the swath some products hold zeros: beside them power stays what it is."""
    paths = [region.radar_path(simulated[1], name, 0) for name in ("vv", "vh")]
    bed = serve("pc-rtc")
    before = {path: path.read_bytes() for path in paths}
    try:
        for path in paths:
            with rasterio.open(path) as file:
                power, profile = file.read(1), file.profile
                window = file.window(*box.extent.boundingbox)
            middle = round(window.col_off + window.width / 2)
            power[:, :middle], power[:, middle:] = 0.0, 0.1
            with rasterio.open(path, "w", **profile) as file:
                file.write(power, 1)
        archive = planetary_computer(bed.pc, orbits="all", **FAST)
        scene = scenes(archive, box, "sar")[0]
        zone = 32616 if box.crs.epsg == 32615 else 32615
        other = grid.make_grid(box.extent.to_crs(f"EPSG:{zone}").boundingbox.bbox, zone)
        for on in (box, other):
            vv = archive.read(scene, on)["vv"]
            seen = np.isfinite(vv)
            assert 0.2 < seen.mean() < 0.8
            assert np.ptp(vv[seen]) < 0.1  # the incidence angle alone; half a zero is 3 dB
    finally:
        for path, content in before.items():
            path.write_bytes(content)


def test_files_beside_the_grid_are_not_requested_pause(serve, box):
    bed = serve("pc-05.10", "pc-rtc")
    archive = planetary_computer(bed.pc, **FAST)
    left, bottom, right, top = box.boundingbox.bbox
    beside = grid.make_grid((left + 50_000, bottom, right + 50_000, top), 32615)
    for sensor in ("optical", "sar"):
        scene = scenes(archive, box, sensor)[0]
        bands = archive.read(scene, beside)
        assert not bed.server.asked("tiff?$")
        for name, values in bands.items():
            assert not values.any() if name == "scl" else np.isnan(values).all()
        if sensor == "optical":
            assert archive.size(scene, beside) == 0
    assert archive.search(beside, *YEAR, "optical") == []


def test_reprocessed_products_replace_the_old(serve, box, expected):
    bed = serve("pc-03.01")
    bed.publish("pc-05.10", [1])
    archive = planetary_computer(bed.pc, **FAST)
    found, read = reads(archive, box, expected)
    assert [scene.notes["processing_baseline"] for scene in found] == ["03.01", "05.10", "03.01"]
    assert [len(scene.products) for scene in found] == [1, 1, 1]
    for k, bands in enumerate(read):
        assert_optical(bands, expected, k)
    attrs = archive.attrs("optical", found)
    assert attrs["processing_baseline"] == "03.01; 05.10"
    assert "none to apply" in attrs["offset"]
    assert "-1000 applied" in attrs["offset"]


def test_a_scene_on_the_grid_of_another_zone(serve, box, expected):
    """Two tiles of one pass, of different zones and baselines: the one on our grid comes first."""
    bed = serve()
    bed.publish("pc-05.10", [0], zone=1)
    archive = planetary_computer(bed.pc, **FAST)
    (moved,) = scenes(archive, box)
    values = archive.read(moved, box)
    truth = expected["optical"]
    assert (np.isnan(values["nir"]) == np.isnan(truth["nir"].values[0])).mean() > 0.8
    difference = values["nir"] - truth["nir"].values[0]
    assert np.nanmedian(np.abs(difference)) < 0.02
    assert abs(np.nanmean(difference)) < 0.01
    bed.publish("pc-03.01", [0])
    (both,) = scenes(archive, box)
    assert len(both.products) == 2
    assert both.notes["offset"].count("baseline") == 2
    values = archive.read(both, box)
    ours = truth["scl"].values[0] != 0  # the other tile may fill what ours does not have
    np.testing.assert_array_equal(values["scl"][ours], truth["scl"].values[0][ours])
    np.testing.assert_allclose(values["nir"][ours], truth["nir"].values[0][ours], atol=1.001 * DN)


def test_no_data_is_not_mixed_into_its_neighbours(serve, simulated, box):
    """In another zone pixels are interpolated; at the edge of the data they stay what they are."""
    bed = serve()
    bed.publish("pc-05.10", [0], zone=1)
    archive = planetary_computer(bed.pc, keep=tuple(range(1, 12)), **FAST)
    (scene,) = scenes(archive, box)
    around = grid.make_grid(box.extent.buffer(300).boundingbox.bbox, str(box.crs))
    bands = archive.read(scene, around)
    seen = np.isfinite(bands["nir"])
    assert 0 < seen.mean() < 1
    path = region.optical_path(simulated[1], "B08", 0, 1000, 1)
    with rasterio.open(path) as file:
        stored = file.read(1)
    assert bands["nir"][seen].min() >= (stored[stored > 0].min() - 1000) * DN - 1e-6


@pytest.mark.parametrize("knows", [True, False])
def test_cloud_filter_is_the_same_with_and_without_the_server(serve, box, knows):
    bed = serve("es-c1", conforms_to_query=knows)
    for item, cover in zip(
        bed.apis["es"].items["sentinel-2-c1-l2a"], (70.0, 20.0, 60.0), strict=True
    ):
        item["properties"]["eo:cloud_cover"] = cover
    found = scenes(earth_search(bed.es, max_cloud=60, **FAST), box)
    assert [scene.cloud_cover for scene in found] == [20, 60]
    (asked,) = bed.server.asked("/search")
    assert ("query" in asked.json()) == knows


def test_keep_decides_what_is_masked(serve, box, expected):
    bed = serve("es-c1")
    scl = expected["optical"]["scl"].values[0]
    for keep in ((4,), (5,), tuple(range(1, 12)), ()):
        archive = earth_search(bed.es, keep=keep, **FAST)
        bands = archive.read(scenes(archive, box)[0], box)
        np.testing.assert_array_equal(np.isfinite(bands["red"]), np.isin(scl, keep))
        np.testing.assert_array_equal(bands["scl"], scl)


def test_masked_areas_cost_no_more_than_their_classes(serve, box):
    bed = serve("es-c1")
    archive = earth_search(bed.es, keep=(), **FAST)
    scene = scenes(archive, box)[0]
    before = len(bed.server.log)
    archive.read(scene, box)
    assert {r.path.rsplit("/")[-1] for r in bed.server.log[before:]} == {"SCL.tif"}


# Faults


def test_a_busy_archive_is_read_to_the_end(serve, box, expected):
    bed = serve("pc-05.10", "pc-rtc", page=2)
    archive = planetary_computer(bed.pc, orbits="all", tries=6, pause=0.01)
    for pattern in ("/api/stac/v1$", "/search", "/token/", "_B04_10m", "iw-vv.xml"):
        bed.server.fail(pattern, "503", times=2)
    bed.server.fail("_B03_10m", "429", times=4)
    bed.server.fail("_B08_10m", "drop", times=3)
    bed.server.fail("iw-vh.rtc", "drop", times=2)
    bed.server.fail("iw-vv.rtc", "500", times=2)
    _, read = reads(archive, box, expected)
    for k, bands in enumerate(read):
        assert_optical(bands, expected, k)
    assert len(bed.server.asked("/search")) > 3  # two pages
    _, read = reads(archive, box, expected, "sar")
    for k, bands in enumerate(read):
        np.testing.assert_allclose(bands["vh"], expected["sar"]["vh"].values[k], atol=0.02)
    assert not any(fault.times for fault in bed.server.faults)


def test_tokens_that_expire_amid_a_run(serve, box, expected):
    bed = serve("pc-05.10", tokens=Tokens(lifetime=3600))
    archive = planetary_computer(bed.pc, **FAST)
    for k, scene in enumerate(scenes(archive, box)):
        bed.tokens.revoke()
        assert_optical(archive.read(scene, box), expected, k)
    assert len(bed.server.asked("/token/")) == 3


@pytest.mark.parametrize(("fault", "why"), [("truncate", "cut short"), ("404", "no such file")])
def test_a_broken_file_costs_its_scene_only(serve, box, expected, fault, why):
    bed = serve("es-c1")
    archive = earth_search(bed.es, tries=2, pause=0.01)
    found = scenes(archive, box)
    bed.server.fail(f"{found[1].products[0]}/B08.tif", fault, times=999)
    with pytest.raises(SceneError, match=rf"{found[1].products[0]}, asset nir .*{why}"):
        archive.read(found[1], box)
    assert_optical(archive.read(found[2], box), expected, 2)


@pytest.mark.parametrize("broken", ["metadata", "file"])
def test_a_product_without_a_decision_costs_its_scene_only(serve, box, expected, broken):
    bed = serve("pc-05.10" if broken == "metadata" else "es-legacy-raw")
    if broken == "metadata":
        archive = planetary_computer(bed.pc, **FAST)
        item = bed.apis["pc"].items["sentinel-2-l2a"][1]
        del item["properties"]["s2:processing_baseline"]
        name, why = item["id"], "s2:processing_baseline"
    else:
        archive = earth_search_legacy(bed.es, **FAST)
        name = bed.apis["es"].items["sentinel-2-l2a"][1]["id"]
        bed.server.fail(f"{name}/B02.tif", "404", times=99)
        why = "no such file"
    found = scenes(archive, box)
    assert found[1].notes["offset"] == "unknown"
    with pytest.raises(SceneError, match=rf"{name}.*{why}"):
        archive.read(found[1], box)
    assert_optical(archive.read(found[0], box), expected, 0)


def test_an_archive_that_is_gone(serve, box):
    with Server() as server:
        url = server.url
    with pytest.raises(ArchiveError, match=f"{url} is not reached"):
        scenes(earth_search(url, tries=2, pause=0.01), box)
    bed = serve("es-c1")
    archive = earth_search(bed.es, tries=2, pause=0.01)
    scene = scenes(archive, box)[0]
    bed.server.fail("/storage/", "503", times=999)
    with pytest.raises(ArchiveError, match="status 503"):
        archive.read(scene, box)


def test_what_an_archive_does_not_have(box):
    with pytest.raises(ArchiveError, match=r"\(earth-search\) has no Sentinel-1.*\(pc\)"):
        scenes(earth_search(), box, "sar")
    with pytest.raises(ArchiveError, match="'camera'; expected optical or sar"):
        scenes(planetary_computer(), box, "camera")


def test_addresses(monkeypatch):
    monkeypatch.delenv("DEEPCROP_PC", raising=False)
    assert planetary_computer().address == "https://planetarycomputer.microsoft.com/api/stac/v1"
    monkeypatch.setenv("DEEPCROP_PC", "http://127.0.0.1/pc/")
    monkeypatch.setenv("DEEPCROP_EARTH_SEARCH", "http://127.0.0.1/es")
    assert planetary_computer().address == "http://127.0.0.1/pc"
    assert earth_search().address == earth_search_legacy().address == "http://127.0.0.1/es"
    assert earth_search("http://127.0.0.1/x").address == "http://127.0.0.1/x"
    assert [a().name for a in (planetary_computer, earth_search, earth_search_legacy)] == [
        "pc", "earth-search", "earth-search-v0",
    ]  # fmt: skip


# Size


def test_size_follows_the_area_and_what_is_stated(serve, box):
    bed = serve("es-legacy-03.01", "es-c1")
    around, tile = box.pad(256).boundingbox, bed.tile.box.boundingbox
    width = min(around.right, tile.right) - max(around.left, tile.left)
    height = min(around.top, tile.top) - max(around.bottom, tile.bottom)
    legacy = earth_search_legacy(bed.es, **FAST)
    scene = scenes(legacy, box)[0]
    expected = width * height / 100 * (4 * 1.6 + 0.015)
    assert legacy.size(scene, box) == pytest.approx(expected, rel=0.01)
    assert legacy.size(scene, box[:10, :10]) < legacy.size(scene, box)
    es = earth_search(bed.es, **FAST)
    scene = scenes(es, box)[0]
    stated = sum(a["file:size"] for a in scene.source["products"][0]["item"]["assets"].values())
    share = width * height / ((tile.right - tile.left) * (tile.top - tile.bottom))
    assert es.size(scene, box) == pytest.approx(stated * share, rel=0.01)


def test_one_relative_orbit_unless_all_are_wanted(serve, box):
    bed = serve("pc-rtc")
    every = bed.apis["pc"].items["sentinel-1-rtc"]
    for item, orbit in zip(every, (85, 12), strict=True):
        item["properties"]["sat:relative_orbit"] = orbit
    chosen = {"all": [85, 12], "best": [12], 85: [85], 12: [12], 7: []}
    for orbits, wanted in chosen.items():
        archive = planetary_computer(bed.pc, orbits=orbits, **FAST)
        assert [scene.relative_orbit for scene in scenes(archive, box, "sar")] == wanted
    bounds = box.extent.to_crs("EPSG:4326").boundingbox
    middle = (bounds.left + bounds.right) / 2
    half = [(-100, 30), (middle, 30), (middle, 50), (-100, 50), (-100, 30)]
    every[1]["geometry"] = {"type": "Polygon", "coordinates": [half]}
    archive = planetary_computer(bed.pc, **FAST)
    assert [scene.relative_orbit for scene in scenes(archive, box, "sar")] == [85]
