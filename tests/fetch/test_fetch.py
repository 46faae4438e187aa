"""Fetching over loopback HTTP, from a simulated region served as real archives are."""

import copy
import csv
import shutil
from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import rasterio
from tests.archive import region
from tests.archive.phenocam import serve as serve_phenocam
from tests.archive.phenocam import write_simulated
from tests.archive.server import Server
from tests.archive.stac import forget_tokens, serve_region

from deepcrop.cli.cubes import _report
from deepcrop.cube import io as cube_io
from deepcrop.cube.contract import OPTICAL_BANDS, SAR_BANDS, grid_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import DeepCropError
from deepcrop.fetch import plan as fetch_plan
from deepcrop.fetch import read as fetch_read
from deepcrop.fetch.camera_sites import fetch_sites, site_names
from deepcrop.fetch.estimate import estimate
from deepcrop.fetch.manifest import missing_scenes, read_manifest
from deepcrop.fetch.plan import FetchRequest
from deepcrop.fetch.run import fetch, is_fetched
from deepcrop.mapping.lazy import map_seasons
from deepcrop.mapping.region import map_region
from deepcrop.simulation import Region, simulate
from deepcrop.sources import open_archive
from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import HttpClient
from deepcrop.sources.phenocam import service as phenocam
from deepcrop.sources.phenocam.summary_files import read_series
from deepcrop.storage.staging import staging

ROWS, COLS = 72, 80


pytestmark = pytest.mark.slow  # the simulated region they share is served in half a minute


@pytest.fixture(scope="module")
def simulated(tmp_path_factory):
    """A simulated year, and the same with its mask at 20 m: what an archive can give back."""
    path = tmp_path_factory.mktemp("simulated") / "region.zarr"
    simulate(Region(rows=ROWS, cols=COLS, optical_scenes=42, sar_scenes=28, cameras=2), path)
    cube = region.coarsen_mask(open_cube(path))
    coarse = path.with_name("coarse.zarr")
    save_cube(cube, coarse)
    return coarse


@pytest.fixture(scope="module")
def bed(simulated, tmp_path_factory):
    folder, series = (tmp_path_factory.mktemp(name) for name in ("files", "series"))
    write_simulated(simulated.with_name("region.zarr"), series)
    with Server() as server:
        bed = serve_region(server, folder, open_cube(simulated))
        bed.phenocam = serve_phenocam(server, series)
        yield bed


@pytest.fixture
def environment(bed, monkeypatch, tmp_path):
    """Point the clients at the loopback; they try as often as ever, but sooner."""
    forget_tokens()
    bed.server.faults.clear()
    bed.server.log.clear()
    names = bed.environment() | {
        "DEEPCROP_PC": bed.pc,
        "DEEPCROP_EARTH_SEARCH": bed.es,
        "DEEPCROP_PHENOCAM": bed.phenocam,
        "XDG_CONFIG_HOME": str(tmp_path / "config"),  # no cache of an earlier test
    }
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(
        fetch_plan,
        "open_archive",
        lambda *of, **how: replace(open_archive(*of, **how), pause=0.001),
    )
    monkeypatch.setattr(phenocam, "INTERVAL", 0.0)


@pytest.fixture
def small_tiles(monkeypatch):
    monkeypatch.setattr(fetch_plan, "TILE", 48)


def request_for(simulated, start=date(2017, 9, 1), end=date(2019, 2, 28), **options):
    box = grid_of(open_cube(simulated))
    return FetchRequest(box, start, end, **options)


def spring(simulated, **options):
    """A request of a few scenes."""
    return request_for(simulated, date(2018, 4, 20), date(2018, 6, 10), **options)


@pytest.mark.slow
def test_a_scene_that_fails_is_named_and_the_others_finish(
    simulated, bed, environment, tmp_path, small_tiles
):
    """A truncated file; asked for before any other test, for GDAL remembers what it has read."""
    request = request_for(simulated, date(2018, 7, 1), date(2018, 8, 8), sensors=("optical",))
    times = open_cube(simulated)["optical"]["time"].values
    times = times[(times > np.datetime64("2018-07-01")) & (times < np.datetime64("2018-08-08"))]
    stamp = str(times[1].astype("datetime64[s]")).replace("-", "").replace(":", "")
    bed.server.fail(rf"{stamp}_B04", "truncate", times=10**6)
    result = fetch(request, tmp_path / "cube.zarr")
    (failure,) = result.failures
    assert failure.scene.time == times[1]
    assert failure.state == "failed"
    assert "B04" in failure.reason
    with result.manifest.open() as file:
        assert [row["state"] for row in csv.DictReader(file)].count("failed") == 1
    (line,) = missing_scenes(result.path)
    assert line == f"cube.zarr: {failure.scene.name} failed: {failure.reason}"
    cube = open_cube(result.path)
    assert cube["optical"].attrs["failed_scenes"] == [failure.scene.name]
    assert set(cube["optical"]["time"].values) == set(np.delete(times, 1))
    truth = open_cube(simulated)["optical"].to_dataset()
    truth = truth.sel(time=cube["optical"]["time"])
    np.testing.assert_allclose(cube["optical"]["red"], truth["red"], rtol=0, atol=1.01e-4)


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "why"), [("403", "refused"), ("503", "busy or broken")])
def test_what_the_archive_never_gives_is_named_and_the_others_finish(
    simulated, bed, environment, tmp_path, kind, why
):
    times = open_cube(simulated)["optical"]["time"].values
    second = times[times > np.datetime64("2018-04-20")][1]
    stamp = str(second.astype("datetime64[s]")).replace("-", "").replace(":", "")
    bed.server.fail(rf"{stamp}_SCL", kind, times=10**6)
    result = fetch(spring(simulated, sensors=("optical",)), tmp_path / "cube.zarr")
    (failure,) = result.failures
    assert failure.scene.time == second
    assert why in failure.reason
    assert not bed.signed(tmp_path)


@pytest.mark.slow
def test_an_archive_that_gives_nothing_more_ends_the_run_and_keeps_what_is_there(
    simulated, bed, environment, tmp_path, monkeypatch
):
    request = request_for(simulated, date(2018, 5, 20), date(2018, 6, 5), sensors=("optical",))
    out, keep = tmp_path / "cube.zarr", fetch_read.write_unit

    def keep_and_break(*arguments):
        keep(*arguments)
        bed.server.fail(r"\.tif", "503", times=10**6)

    monkeypatch.setattr(fetch_read, "write_unit", keep_and_break)
    with pytest.raises(ArchiveError, match="busy or broken"):
        fetch(request, out, threads=1)
    monkeypatch.setattr(fetch_read, "write_unit", keep)
    assert not out.exists()
    (kept,) = (tmp_path / "cube.zarr.part" / "fetched").glob("*.npz")
    bed.server.faults.clear()
    written = []
    monkeypatch.setattr(
        fetch_read, "write_unit", lambda *of: (written.append(of[0].name), keep(*of))
    )
    assert not fetch(request, out).failures
    assert len(written) >= 2
    assert kept.name not in written


def test_where_all_has_failed_the_next_run_tries_again(simulated, bed, environment, tmp_path):
    request, out = spring(simulated, sensors=("optical",)), tmp_path / "cube.zarr"
    bed.server.fail(r"SCL", "404", times=10**6)
    with pytest.raises(DeepCropError, match=r"None of the .* optical scenes .*no such file"):
        fetch(request, out)
    bed.server.faults.clear()
    assert not fetch(request, out).failures


def test_an_odd_product_is_named_in_the_manifest_and_at_the_end_also_when_resumed(
    simulated, bed, environment, tmp_path, capsys
):
    request, out = spring(simulated, sensors=("optical",)), tmp_path / "cube.zarr"
    published = bed.apis["pc"].items["sentinel-2-l2a"]
    may = next(item for item in published if item["properties"]["datetime"][:7] == "2018-05")
    odd = copy.deepcopy(may) | {"id": "odd one"}
    odd["assets"]["B04"]["href"] = None
    published.append(odd)
    try:
        bed.server.fail(r"SCL", "404", times=10**6)
        with pytest.raises(DeepCropError, match="None of the"):
            fetch(request, out)
    finally:
        published.remove(odd)
    bed.server.faults.clear()
    result = fetch(request, out)
    (reason,) = result.left_out
    assert "'odd one' is left out" in reason
    (row,) = [row for row in read_manifest(out) if row["state"] == "left out"]
    assert row["reason"] == reason
    _report(result)
    assert f"1 left out\n  {reason}\n" in capsys.readouterr().out
    assert not missing_scenes(out)


@pytest.mark.slow
def test_a_fetched_cube_is_the_simulated_one_and_gives_the_same_map(
    simulated, environment, tmp_path
):
    result = fetch(request_for(simulated), tmp_path / "fetched.zarr", title="test")
    assert not result.failures
    truth, cube = open_cube(simulated), open_cube(result.path)
    assert grid_of(cube) == grid_of(truth)
    for group, names, tolerance in (
        ("optical", OPTICAL_BANDS, 1.01e-4),
        ("sar", SAR_BANDS, 0.0201),
    ):
        ours, theirs = cube[group].to_dataset(), truth[group].to_dataset()
        seen = np.isfinite(theirs[names[0]]).any(("y", "x")).values
        theirs = theirs.isel(time=seen)
        assert (ours["time"].values == theirs["time"].values).all()
        assert (ours["relative_orbit"].values == theirs["relative_orbit"].values).all()
        for name in names:
            np.testing.assert_allclose(
                ours[name].values, theirs[name].values, rtol=0, atol=tolerance, err_msg=name
            )
    assert cube["sar"].attrs["radiometry"] == "sigma0"
    assert cube["optical"].attrs["archive"] == "pc"

    map_region(result.path, 2018, tmp_path / "maps")
    direct = map_seasons(truth, 2018)
    for stage in ("sos20", "sos50", "eos50", "eos20"):
        with rasterio.open(tmp_path / "maps" / f"{stage}.tif") as file:
            fetched = file.read(1)
        expected = direct[stage].fillna(32767).values
        assert (fetched == expected).mean() > 0.99, stage
        assert (fetched != 32767).mean() > 0.3  # there is something to compare


def test_the_manifest_names_every_scene(simulated, environment, tmp_path):
    result = fetch(spring(simulated), tmp_path / "cube.zarr")
    with result.manifest.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["sensor"] for row in rows].count("optical") >= 3
    assert {row["state"] for row in rows} <= {"fetched", "empty"}
    assert all(row["products"].startswith(("S2", "S1")) for row in rows)
    assert "05.10" in rows[0]["notes"]
    assert not any("sig=" in value for row in rows for value in row.values())
    assert rows == read_manifest(result.path)
    assert not missing_scenes(result.path)


@pytest.mark.slow
def test_bursts_of_refusals_and_cut_connections_are_survived(simulated, bed, environment, tmp_path):
    request = spring(simulated, sensors=("optical",))
    whole = fetch(request, tmp_path / "whole.zarr")
    forget_tokens()  # or GDAL would remember what it has read under the same addresses
    bed.server.fail(r"/search", "503", times=2)
    bed.server.fail(r"B0[23].*", "429", times=3)
    bed.server.fail(r"B08", "drop", times=2)
    result = fetch(request, tmp_path / "cube.zarr")
    assert not result.failures
    assert not any(fault.times for fault in bed.server.faults)
    left, right = (open_cube(r.path)["optical"].to_dataset() for r in (whole, result))
    assert left.equals(right)


def test_an_archive_that_stops_serving_ends_the_run_and_keeps_what_is_there(
    simulated, bed, environment, tmp_path, monkeypatch
):
    out = tmp_path / "cube.zarr"
    request = spring(simulated, sensors=("optical",))
    with Server() as dead:
        gone = dead.url
    monkeypatch.setenv("DEEPCROP_PC", f"{gone}/api/stac/v1")
    with pytest.raises(ArchiveError, match=gone):
        fetch(request, out)
    assert not out.exists()
    monkeypatch.setenv("DEEPCROP_PC", bed.pc)
    assert fetch(request, out).path == out


@pytest.mark.slow
def test_earth_search_gives_the_same_reflectance_and_has_no_radar(simulated, environment, tmp_path):
    pc = fetch(spring(simulated, sensors=("optical",)), tmp_path / "pc.zarr")
    options = {"archive": "earth-search", "sensors": ("optical",)}
    es = fetch(spring(simulated, **options), tmp_path / "es.zarr")
    left, right = (open_cube(r.path)["optical"].to_dataset() for r in (pc, es))
    for name in OPTICAL_BANDS:
        np.testing.assert_allclose(left[name], right[name], rtol=0, atol=1e-4)
    with pytest.raises(ArchiveError, match="pc"):
        fetch(spring(simulated, archive="earth-search"), tmp_path / "sar.zarr")


def test_what_it_takes_is_said_before(simulated, environment):
    expected = estimate(spring(simulated))
    assert len(expected.scenes["optical"]) >= 3
    assert len(expected.scenes["sar"]) >= 2
    assert 0 < expected.moved < 1e9
    pixels = ROWS * COLS
    counts = [len(expected.scenes[sensor]) for sensor in ("optical", "sar")]
    assert expected.disk == 2 * pixels * (9 * counts[0] + 4 * counts[1])
    assert 0 < expected.seconds < 300


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"sensors": ()}, "expected optical and sar"),
        ({"sensors": ("thermal",)}, "thermal"),
        ({"archive": "nasa"}, "earth-search"),
        ({"orbits": "worst"}, "worst"),
    ],
)
def test_requests_that_make_no_sense(simulated, environment, tmp_path, options, words):
    with pytest.raises(DeepCropError, match=words):
        fetch(spring(simulated, **options), tmp_path / "cube.zarr")


def test_no_scene_in_the_period(simulated, environment, tmp_path):
    nothing = request_for(simulated, date(2016, 1, 1), date(2016, 2, 1))
    with pytest.raises(DeepCropError, match="no optical scene"):
        fetch(nothing, tmp_path / "cube.zarr")
    with pytest.raises(DeepCropError, match="backwards"):
        fetch(request_for(simulated, date(2016, 3, 1), date(2016, 2, 1)), tmp_path / "cube.zarr")


def test_camera_sites_get_a_cube_each_and_their_series(simulated, bed, environment, tmp_path):
    """Cubes of 64 x 64 pixels around the cameras, their series, and what must be said."""
    with phenocam.connect(tmp_path / "cache") as network:
        names = [camera.site for camera in network.cameras()]
        assert len(names) == 2
        listed = tmp_path / "sites.csv"
        listed.write_text("site,crop\n" + "".join(f"{name},maize\n" for name in names) + "no,x\n")
        assert site_names(str(listed), network, tmp_path) == [*names, "no"]
        assert site_names(" , ".join(names), network, tmp_path) == names

        def request(box):
            return FetchRequest(box, date(2018, 5, 1), date(2018, 6, 1), sensors=("optical",))

        out = tmp_path / "sites"
        done = fetch_sites([*names, "no"], network, request, out)
        assert [bool(site.reason) for site in done] == [False, False, True]
        assert "no site 'no'" in done[-1].reason
        for site in done[:2]:
            cube = open_cube(out / f"{site.site}.zarr")
            assert grid_of(cube).shape == (64, 64)
            assert read_series(site.series[0]).site == site.site
            assert site.site in (out / "ACKNOWLEDGEMENT.txt").read_text()
        bed.server.log.clear()
        again = fetch_sites(names, network, request, out)  # nothing left to do
        assert [site.cube for site in again] == [None, None]
        assert not bed.server.asked("sentinel2")


@pytest.mark.slow
def test_killed_while_the_cube_is_put_together_no_date_moves(
    simulated, bed, environment, tmp_path, small_tiles, monkeypatch
):
    """A scene that failed at first stays out, though it could be read by the second run."""
    request = request_for(simulated, date(2018, 9, 1), date(2018, 10, 30), sensors=("optical",))
    times = open_cube(simulated)["optical"]["time"].values
    times = times[(times > np.datetime64("2018-09-01")) & (times < np.datetime64("2018-10-30"))]
    stamp = str(times[1].astype("datetime64[s]")).replace("-", "").replace(":", "")
    bed.server.fail(rf"{stamp}_B03", "truncate", times=10**6)
    out = tmp_path / "cube.zarr"
    write, written = cube_io.write_block, []

    def killed(*arguments):
        written.append(arguments)
        if len(written) == 6:
            raise KeyboardInterrupt
        write(*arguments)

    monkeypatch.setattr(cube_io, "write_block", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(request, out)
    monkeypatch.setattr(cube_io, "write_block", write)
    bed.server.faults.clear()
    result = fetch(request, out)
    assert [outcome.scene.time for outcome in result.failures] == [times[1]]
    cube = open_cube(out)["optical"].to_dataset()
    truth = open_cube(simulated)["optical"].to_dataset().sel(time=cube["time"])
    assert times[1] not in cube["time"].values
    for name in OPTICAL_BANDS:
        np.testing.assert_allclose(cube[name], truth[name], rtol=0, atol=1.01e-4)


def test_killed_at_the_very_end_nothing_is_lost(simulated, bed, environment, tmp_path, monkeypatch):
    request = spring(simulated, sensors=("optical",))
    out = tmp_path / "cube.zarr"
    remove = shutil.rmtree

    def killed(path, *arguments, **options):
        remove(path, *arguments, **options)
        if path.name == "fetched":
            raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        fetch(request, out)
    monkeypatch.setattr(shutil, "rmtree", remove)
    bed.server.log.clear()
    fetch(request, out)
    assert not bed.server.log  # nothing was asked for again
    assert len(read_manifest(out)) >= 3
    assert is_fetched(out, request)
    with pytest.raises(DeepCropError, match="another request"):
        is_fetched(out, spring(simulated))


def test_another_run_of_the_same_command_waits_outside(simulated, environment, tmp_path):
    out = tmp_path / "cube.zarr"
    with staging(out, {"content": "test"}), pytest.raises(DeepCropError, match="Another run"):
        fetch(spring(simulated), out)


@pytest.mark.slow
def test_the_papers_sites_by_the_networks_own_metadata(real_data, tmp_path):
    """The network's real series, served over HTTP; its rule of pace is left out."""
    with Server() as server, HttpClient(tmp_path / "cache") as web:
        network = phenocam.PhenoCam(web, serve_phenocam(server, real_data / "phenocam" / "series"))
        names = site_names("paper", network, tmp_path)
    assert len(names) == 60
    five = {"cafcookwestltar01", "mead2", "mead3", "NEON.D06.KONA.DP1.00042", "usof6"}
    assert five <= set(names)


def test_a_unit_of_impossible_values_costs_its_scene(tmp_path):
    """A fill value that nobody declared: the scene is named, and not kept."""
    good = {name: np.full((20, 20), -12, np.float32) for name in ("vv", "vh")}
    bad = {"vv": good["vv"], "vh": np.where(np.eye(20) > 0, np.float32(-9999), good["vh"])}
    with pytest.raises(SceneError, match=r"band vh: 5 % .*-9999 looks like the fill value"):
        fetch_read.write_unit(tmp_path / "unit.npz", bad)
    assert not (tmp_path / "unit.npz").exists()
    good["vv"][3, 3] = 66.0
    fetch_read.write_unit(tmp_path / "unit.npz", good)
    with np.load(tmp_path / "unit.npz") as kept:
        assert (int(kept["seen"]), kept["vv"][3, 3], kept["vv"][0, 0]) == (399, -32768, -1200)


def test_a_refused_sensor_costs_the_cube_this_sensor_only(simulated, bed, environment, tmp_path):
    half_a_year = date(2018, 3, 1), date(2018, 8, 31)
    few = {"orbits": "all", "max_cloud": 20}
    request = request_for(simulated, *half_a_year, may_lack=("sar",), **few)
    bed.server.fail("/token/sentinel1", "403", times=10**6)
    result = fetch(request, tmp_path / "cube.zarr")
    cube = open_cube(result.path)
    assert set(cube.children) == {"optical"}
    why = cube.attrs["missing_sensors"]["sar"]
    assert "gives no token" in why
    assert "sig=" not in why
    states = [row["state"] for row in read_manifest(result.path) if row["sensor"] == "sar"]
    assert len(states) > 8
    assert set(states) == {"failed"}
    # After eight refusals in a row nothing is asked any more; each scene would be tried twice.
    assert len(bed.server.asked("/token/sentinel1euwestrtc")) < 2 * len(states)
    assert is_fetched(result.path, request)
    with pytest.raises(DeepCropError, match="gives no token"):
        fetch(spring(simulated), tmp_path / "both.zarr")
    with pytest.raises(DeepCropError, match="at least one sensor"):
        fetch(spring(simulated, sensors=("sar",), may_lack=("sar",)), tmp_path / "none.zarr")


def test_a_sensor_without_scenes_may_be_missing(simulated, bed, environment, tmp_path):
    request = spring(simulated, orbits=7, may_lack=("sar",))
    cube = open_cube(fetch(request, tmp_path / "cube.zarr").path)
    assert "no sar scene of the area" in cube.attrs["missing_sensors"]["sar"]
    assert "relative orbit 7" in cube.attrs["missing_sensors"]["sar"]
