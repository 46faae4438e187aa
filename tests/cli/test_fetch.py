"""`deepcrop fetch` and `deepcrop doctor` as typed by a user, in this process."""

import csv
import json
import signal
import socket
import subprocess
import sys
import threading
from datetime import date

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from tests.archive import cropland, phenocam, region
from tests.archive.server import Server
from tests.archive.stac import forget_tokens, serve_region

from deepcrop import cli, grid
from deepcrop._version import __version__
from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import open_cube
from deepcrop.grid import areas
from deepcrop.simulation import Region, simulate
from deepcrop.sources.phenocam import service as phenocam_source
from deepcrop.sources.phenocam.summary_files import read_series

AREA = "--area=-93.6,41.6,-93.59,41.61"

pytestmark = pytest.mark.slow


@pytest.fixture
def deepcrop(monkeypatch, capsys, tmp_path):
    """Run a command line; gives the exit status, and what was printed to stdout and stderr."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))  # no cache of an earlier test
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["deepcrop", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            cli.main()
        return end.value.code, *capsys.readouterr()

    return run


# Options ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ([], ["--area", "--sites"]),
        ([AREA, "--sites", "arscolesnorth"], ["--area", "--sites"]),
        ([AREA, "--years", "soon"], ["--years soon", "2017-2019"]),
        ([AREA, "--years", ""], ["expected a year"]),
        ([AREA, "--years", "2018-"], ["--years 2018-"]),
        ([AREA, "--years", "2019-2017"], ["--years 2019-2017"]),
        ([AREA, "--years", "2016-2017-2018"], ["2016-2017-2018"]),
        ([AREA, "--years", "2014"], ["from 2015"]),
        ([AREA, "--years", str(date.today().year + 1)], [f"to {date.today().year}"]),
        ([AREA, "--keep", "4,five"], ["--keep 4,five", "0 to 11"]),
        ([AREA, "--keep", "4,12"], ["--keep 4,12"]),
        ([AREA, "--keep", "4,"], ["--keep 4,"]),
        ([AREA, "--keep", ""], ["expected scene classes"]),
        ([AREA, "--crops", "usda"], ["'usda'", "cropscape, pc"]),
        (
            [AREA, "--archive", "nasa"],
            ["'nasa'", "pc, cdse, earth-search, earth-search-v0, hls, hls-nasa, ee"],
        ),
        ([AREA, "--sensors", "thermal"], ["thermal", "optical and sar"]),
        ([AREA, "--sensors", ""], ["optical and sar"]),
        ([AREA, "--orbits", "worst"], ["'worst'", "best, all or a number"]),
        ([AREA, "--threads", "0"], ["--threads"]),
        ([AREA, "--max-cloud", "few"], ["--max-cloud"]),
        (["--area", "iowa"], ["'iowa'", "GeoJSON"]),
        (["--area=-93.6,41.6,-93.7,41.7"], ["west < east"]),
        (["--sites", " , "], ["No site"]),
    ],
)
def test_options_that_make_no_sense(deepcrop, tmp_path, options, words):
    code, stdout, stderr = deepcrop("fetch", "cube.zarr", "--years", "2018", *options)
    assert code == 2
    for word in words:
        assert word in stderr
    assert stdout == ""
    assert list((tmp_path / "work").iterdir()) == []


def test_years_are_requested_pause(deepcrop):
    code, _, stderr = deepcrop("fetch", "cube.zarr", AREA)
    assert code == 2
    assert "--years" in stderr


def test_what_is_there_is_not_replaced_unasked(deepcrop, tmp_path):
    (tmp_path / "work" / "cube.zarr").mkdir()
    code, _, stderr = deepcrop("fetch", "cube.zarr", AREA, "--years", "2018")
    assert code == 2
    assert "cube.zarr" in stderr
    (tmp_path / "work" / "sites").write_text("")
    code, _, stderr = deepcrop("fetch", "sites", "--sites", "iowa", "--years", "2018")
    assert code == 2
    assert "sites is a file" in stderr
    code, _, stderr = deepcrop("fetch", "cube.nc", AREA, "--years", "2018")
    assert code == 2
    assert "Zarr store" in stderr


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"crop,place\nmaize,field\n", "'site'"),
        (b"\n# none yet\n", "No site"),
        (b"\xff\xfe\0", "list of sites"),
    ],
)
def test_lists_of_sites_that_cannot_be_used(deepcrop, tmp_path, text, words):
    path = tmp_path / "sites.csv"
    path.write_bytes(text)
    code, _, stderr = deepcrop("fetch", "cubes", "--sites", path, "--years", "2018")
    assert code == 2
    assert words in stderr


# Through the archives ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A simulated region, and the raster of its crops, with all archives that serve them."""
    folder = tmp_path_factory.mktemp("served")
    path = folder / "region.zarr"
    period = {"start": "2018-05-01", "end": "2018-06-30"}
    simulate(Region(rows=64, cols=72, optical_scenes=3, sar_scenes=2, cameras=2, **period), path)
    cube = open_cube(path)
    raster = cropland.write_raster(folder / "cdl.tif", grid_of(cube))
    looks = phenocam.write_simulated(path, folder / "cameras")
    with Server() as server:
        bed = serve_region(server, folder / "files", cube, ("pc-05.10", "pc-rtc"))
        cropland.serve(server, raster, years=(2018,))
        cropland.publish(bed, raster, years=(2018,))
        variables = bed.environment() | {
            "DEEPCROP_PC": bed.pc,
            "DEEPCROP_CROPSCAPE": f"{server.url}/cropscape",
            "DEEPCROP_PHENOCAM": phenocam.serve(server, folder / "cameras", orientation=looks),
        }
        yield cube, raster, variables, bed


@pytest.fixture
def archives(served, monkeypatch):
    cube, raster, variables, bed = served
    forget_tokens()
    bed.server.log.clear()
    bed.server.faults.clear()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(phenocam_source, "INTERVAL", 0.0)
    yield cube, raster, bed
    forget_tokens()


def area_of(cube):
    west, south, east, north = grid_of(cube).geographic_extent.boundingbox.bbox  # in degrees
    return f"--area={west + 1e-4},{south + 1e-4},{east - 1e-4},{north - 1e-4}"


def assert_crops_of(path, raster):
    """The crop types of a cube are those of the raster under its pixels' centres."""
    landcover = open_cube(path)["landcover"].to_dataset()
    box = grid.grid_of(landcover)
    x, y = np.meshgrid(landcover["x"], landcover["y"])
    with rasterio.open(raster) as file:
        to_raster = Transformer.from_crs(str(box.crs), file.crs, always_xy=True)
        places = zip(*(v.ravel() for v in to_raster.transform(x, y)), strict=True)
        expected = np.array([code for (code,) in file.sample(places)]).reshape(box.shape)
    same = landcover["crop_type"].values == expected
    assert same.mean() > 0.995  # the rest lie on the line between two fields
    assert len(np.unique(expected)) > 2
    return landcover


def test_sites_with_their_crops(deepcrop, archives, tmp_path, monkeypatch):
    _, raster, bed = archives
    monkeypatch.setattr(phenocam_source, "INTERVAL", 1.0)  # as it is; other tests are impatient
    listed = tmp_path / "sites.csv"
    listed.write_text("site,crop\nsimulated1,maize\nnowhere,rice\n")
    options = ["--years", "2018", "--sensors", "optical", "--crops", "cropscape"]
    code, stdout, stderr = deepcrop("fetch", "sites", "--sites", listed, *options)
    assert code == 2
    assert "Error: 1 missing; all else is there" in stderr
    assert "nowhere" in stderr
    assert "1 of 2 sites" in stdout
    assert "ACKNOWLEDGEMENT.txt" in stdout
    out = tmp_path / "work" / "sites"
    assert "simulated1" in (out / "ACKNOWLEDGEMENT.txt").read_text()
    (series,) = (out / "series").glob("*.csv")
    assert read_series(series).site == "simulated1"
    cube = open_cube(out / "simulated1.zarr")
    assert "sar" not in cube
    assert cube["optical"].sizes["time"] == 3
    landcover = assert_crops_of(out / "simulated1.zarr", raster)
    assert landcover.attrs["year"] == 2018
    assert "corn" in landcover["crop_type"].attrs["flag_meanings"].lower()
    assert grid.grid_of(landcover) == grid_of(cube)
    assert grid.grid_of(landcover).shape == (areas.SITE_CELLS, areas.SITE_CELLS)
    assert bed.server.asked("GetCDLFile")
    times = [request.time for request in bed.server.asked("/phenocam/")]
    assert len(times) >= 4  # both cameras, the regions, a series
    assert min(np.diff(times)) > 0.95
    assert (out / "simulated1.scenes.csv").is_file()


@pytest.mark.parametrize("crops", ["pc", "raster"])
def test_an_area_with_its_crops(deepcrop, archives, tmp_path, crops):
    cube, raster, bed = archives
    chosen = raster if crops == "raster" else crops
    options = ["--years", "2018", "--crops", chosen, "--keep", "4,5", "--threads", "2"]
    code, stdout, stderr = deepcrop("fetch", "area.zarr", area_of(cube), *options)
    assert code == 0, stderr
    assert "area.zarr: 3 optical fetched, 2 sar fetched" in stdout
    assert "2 PhenoCam sites in the area; their series: area.cameras" in stdout
    assert bool(bed.server.asked("landcoverdata|usda-cdl")) == (crops == "pc")
    out = tmp_path / "work"
    assert_crops_of(out / "area.zarr", raster)
    fetched = open_cube(out / "area.zarr")
    optical = fetched["optical"].to_dataset()
    assert fetched.attrs["title"] == "area"
    assert "4, 5 kept" in optical.attrs["mask"]
    kept = np.isin(optical["scl"], (4, 5))
    assert kept.any()
    assert (np.isfinite(optical["red"]) == kept).all()
    with (out / "area.scenes.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 5

    bed.server.log.clear()
    code, stdout, stderr = deepcrop("fetch", "area.zarr", area_of(cube), *options)
    assert code == 0, stderr
    assert "area.zarr is there already" in stdout
    code, _, stderr = deepcrop("fetch", "area.zarr", area_of(cube), "--years", "2018")
    assert code == 2
    assert "another request" in stderr
    assert "--overwrite" in stderr
    assert not bed.server.asked(r"\.tif|search")


def test_a_year_without_crop_types_fails_before_anything_is_read(deepcrop, archives, tmp_path):
    cube, _, bed = archives
    options = ["--years", "2017-2019", "--crops", "cropscape"]
    code, _, stderr = deepcrop("fetch", "area.zarr", area_of(cube), *options)
    assert code == 2
    assert "2019" in stderr
    assert not bed.server.asked(r"\.tif")
    assert not (tmp_path / "work" / "area.zarr").exists()


def test_a_dry_run_writes_nothing(deepcrop, archives, tmp_path):
    cube, _, _ = archives
    code, stdout, stderr = deepcrop(
        "fetch", "area.zarr", area_of(cube), "--years", "2018", "--dry-run"
    )
    assert code == 0, stderr
    assert "3 optical, 2 sar scenes" in stdout
    for time in (*cube["optical"]["time"].values, *cube["sar"]["time"].values):
        assert str(time.astype("datetime64[m]")) in stdout
    assert "GB to read" in stdout
    assert "(from one tile read now)" in stdout
    assert list((tmp_path / "work").iterdir()) == []


def test_killed_in_the_middle_it_fetches_only_what_is_missing(
    deepcrop, archives, tmp_path, monkeypatch
):
    cube, _, bed = archives
    server, answer = bed.server, bed.server.answer
    third = str(cube["optical"]["time"].values[2].astype("datetime64[s]"))
    third = third.replace("-", "").replace(":", "")
    reached, go_on = threading.Event(), threading.Event()

    def hold(request):
        if third in request.path and request.path.endswith(".tif"):
            reached.set()
            go_on.wait(60)
        return answer(request)

    arguments = ["fetch", "area.zarr", area_of(cube), "--years", "2018", "--threads", "1"]
    monkeypatch.setattr(server, "answer", hold)
    with subprocess.Popen(
        [sys.executable, "-m", "deepcrop", *arguments],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        came = reached.wait(60)
        process.send_signal(signal.SIGKILL)
        assert came, process.communicate()
    go_on.set()
    monkeypatch.setattr(server, "answer", answer)

    part = tmp_path / "work" / "area.zarr.part"
    assert {path.name for path in (part / "fetched").glob("*.npz")} == {
        "optical-0000-0-0.npz", "optical-0001-0-0.npz"
    }  # fmt: skip
    plan = (part / "plan.json").read_text()
    assert "blob.core.windows.net" in plan
    assert bed.tokens.issued
    assert bed.signed(tmp_path) == []
    server.log.clear()
    code, stdout, stderr = deepcrop(*arguments)
    assert code == 0, stderr
    assert "area.zarr: 3 optical fetched, 2 sar fetched" in stdout
    assert not server.asked(r"/search$")  # the plan of the first run holds
    done = [
        product.split("_")[2] for scene in json.loads(plan)["optical"][:2]
        for product in scene["products"]
    ]  # fmt: skip
    again = [request.path for request in server.log]
    assert [path for path in again if third in path]
    assert not [path for path in again for stamp in done if stamp in path]
    fetched = open_cube(tmp_path / "work" / "area.zarr")
    truth = region.coarsen_mask(cube)
    for sensor, name, tolerance in (("optical", "nir", 1.01e-4), ("sar", "vh", 0.0201)):
        np.testing.assert_allclose(
            fetched[sensor][name], truth[sensor][name], rtol=0, atol=tolerance
        )
    assert {path.name for path in (tmp_path / "work").iterdir()} == {
        "area.zarr", "area.scenes.csv", "area.cameras"
    }  # fmt: skip
    assert not (tmp_path / "work" / "area.zarr" / "plan.json").exists()
    assert bed.signed(tmp_path) == []


def test_a_scene_that_is_missing_is_named_by_every_run(deepcrop, archives, tmp_path):
    cube, _, bed = archives
    stamp = str(cube["optical"]["time"].values[1].astype("datetime64[s]"))
    bed.server.fail(stamp.replace("-", "").replace(":", "") + "_B08", "404", times=10**6)
    options = ["--years", "2018", "--sensors", "optical"]
    told = set()
    for _ in range(2):
        code, stdout, stderr = deepcrop("fetch", "area.zarr", area_of(cube), *options)
        assert code == 2
        assert "1 missing; all else is there" in stderr
        assert f"area.zarr: optical {stamp} orbit" in stderr
        told.add(stderr.splitlines()[-1])
    assert "area.zarr is there already" in stdout
    (line,) = told
    assert "failed" in line
    assert "no such file" in line
    (tmp_path / "work" / "area.scenes.csv").unlink()
    code, _, stderr = deepcrop("fetch", "area.zarr", area_of(cube), *options)
    assert code == 2
    assert f"area.zarr: optical {stamp} orbit" in stderr
    sites = ["fetch", "sites", "--sites", "simulated0", *options]
    for _ in range(2):
        code, stdout, stderr = deepcrop(*sites)
        assert code == 2
        assert "1 of 1 sites" in stdout
        assert f"simulated0.zarr: optical {stamp} orbit" in stderr


def test_a_dry_run_of_sites_counts_them_all(deepcrop, archives, tmp_path):
    options = ["--years", "2018", "--dry-run"]
    code, stdout, stderr = deepcrop("fetch", "sites", "--sites", "simulated0,simulated1", *options)
    assert code == 0, stderr
    assert "3 optical, 2 sar scenes a site, 2 sites" in stdout
    assert "64 x 64 pixels" in stdout
    assert list((tmp_path / "work").iterdir()) == []


# The doctor -------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", ["soon", "0", "-1"])
def test_the_doctors_patience_is_a_time(deepcrop, timeout):
    code, stdout, stderr = deepcrop("doctor", "--timeout", timeout)
    assert code == 2
    assert "--timeout" in stderr
    assert stdout == ""


def test_the_doctor_fails_where_an_archive_does_not_answer(deepcrop, archives, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("DEEPCROP_EARTH_SEARCH", closed)
    monkeypatch.setenv("DEEPCROP_EARTH_ENGINE", closed)
    code, stdout, _ = deepcrop("doctor", ".", "--timeout", "5")
    assert code == 1
    findings, _, versions = stdout.partition("\n\n")
    states = {line.split(": ")[0][9:]: line.split()[0] for line in findings.splitlines()}
    assert states["PhenoCam"] == "ok"
    assert "failed" in {state for what, state in states.items() if "Earth Search" in what}
    assert versions.startswith("versions, for bug reports:\n")
    assert f"\ndeepcrop: {__version__}\n" in versions
