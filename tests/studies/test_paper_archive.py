"""The paper's experiment on an archive: cameras to tables over HTTP, on the loopback.

The cameras are real PhenoCam files, items and files of the archive have the real formats, and their
pixels are simulated from the cameras' curves. Nothing of the path is replaced; only trainings and
pauses are short.
"""

import contextlib
import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from tests.archive import cropland, earthengine, ground_range, phenocam
from tests.archive.server import Server
from tests.archive.stac import Bed, Tokens, forget_tokens, serve_region
from tests.helpers import command_line
from tests.helpers.short_experiment import shorten

from deepcrop.cameras.site_years import read_network
from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import open_cube
from deepcrop.studies.paper_experiment import usable
from deepcrop.studies.paper_samples import camera_network, load_sample_set, prepare_real_pixels
from deepcrop.studies.paper_settings import PaperExperiment
from deepcrop.training import simulated_cameras

pytestmark = pytest.mark.slow  # two runs of the experiment, one of them whole

ROOT = Path(__file__).parents[2]
SITES = ("mead2", "silverton", "bouldincorn")  # to test, and to train: one of them held out
EMPTY = "harvardfarmsouth"  # the archive has no scene there
LOOKS = {"silverton": "N", "bouldincorn": "WNW", EMPTY: "NE", "mead2": "down"}
YEAR = 2018

SCRIPT = """
import pytest
from tests.helpers.short_experiment import shorten
shorten(pytest.MonkeyPatch())
from deepcrop.cli import main
main()
"""


@dataclass
class Served:
    """What the loopback serves: the server, the environment that points to it, lost scenes."""

    server: Server
    environment: dict[str, str]
    bed: Bed
    damaged: str


@pytest.fixture(scope="module")
def series(tmp_path_factory, real_data):
    """The cameras' files, as the PhenoCam service has them."""
    folder = tmp_path_factory.mktemp("series")
    for site in (*SITES, EMPTY):
        name = f"{site}_AG_1000_3day.csv"
        (folder / name).write_bytes((real_data / "phenocam/series" / name).read_bytes())
    return folder


@pytest.fixture(scope="module")
def cubes(series, real_data):
    """What there is to see at each site."""
    files = sorted(series.glob("*.csv"))
    years = read_network(files, real_data / "phenocam/sites.csv")
    here = {year.site: year for year in years if year.year == YEAR}
    return {site: thin(simulated_cameras.simulate(here[site])) for site in SITES}


@pytest.fixture(scope="module")
def served(tmp_path_factory, series, cubes):
    folder = tmp_path_factory.mktemp("served")
    forget_tokens()
    with Server() as server:
        bed = None
        for number, (site, cube) in enumerate(cubes.items()):
            # An empty search: there is no radar at silverton.
            flavours = ("pc-03.01" if site == "silverton" else "pc-05.10",)
            flavours += () if site == "silverton" else ("pc-rtc",)
            scenes = folder / site
            if bed is None:
                # A token ends early, whatever its service says of its lifetime.
                bed = serve_region(
                    server, scenes, cube, flavours, tokens=Tokens(uses=150), page=100
                )
                here = bed
            else:
                scenes.mkdir()
                here = Bed(server, scenes, cube, bed.tokens, bed.apis, bed.sas, bed.storage, bed.s3)
                for flavour in flavours:
                    group = "sar" if flavour == "pc-rtc" else "optical"
                    here.publish(flavour, range(cube[group].sizes["time"]))
            raster = cropland.write_raster(folder / f"{site}.tif", grid_of(cube), seed=number)
            cropland.publish(here, raster, years=(YEAR,))
        first = min(
            bed.apis["pc"].items["sentinel-2-l2a"], key=lambda item: item["properties"]["datetime"]
        )
        damaged = re.search(r"/(\w+_B04_10m\.tif)", first["assets"]["B04"]["href"])[1]
        environment = os.environ | bed.environment() | {
            "DEEPCROP_PC": bed.pc,
            "DEEPCROP_PHENOCAM": phenocam.serve(server, series, orientation=LOOKS),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }  # fmt: skip
        yield Served(server, environment, bed, damaged)


def thin(cube):
    """Keep half of the clear optical scenes of the target year, and a few of all; less radar."""
    optical = cube["optical"].to_dataset()
    clear = np.isfinite(optical["blue"].values).mean((1, 2)) > 0.9
    inside = optical["time"].dt.year.values == YEAR
    kept = np.union1d(np.flatnonzero(clear & inside)[::2], np.arange(0, len(clear), 15))
    cube["optical"] = xr.DataTree(optical.isel(time=kept))
    cube["sar"] = xr.DataTree(cube["sar"].to_dataset().isel(time=slice(None, None, 16)))
    return cube


def words(folder, archive="pc", sites=(*SITES, EMPTY)):
    return f"""reproduce --archive {archive} --data {folder}/data --out {folder}/out --seeds 1
        --methods transformer-only --sites {",".join(sites)} --years {YEAR}""".split()


def faults(served):
    """Put in what goes wrong; tokens that end early are there all the time."""
    served.server.faults.clear()
    served.server.fail("/roilists/", "429", after=1)
    served.server.fail("/api/stac/v1/search", "429", times=2)
    served.server.fail("iw-vv.xml", "429", times=3)
    served.server.fail(r"_B08_10m\.tif", "503", times=2)
    served.server.fail(served.damaged, "truncate", times=10_000)


def run(served, folder, *more):
    """Run the command as `run_words`."""
    return run_words(served.environment, *words(folder), *more)


def run_words(environment, *words):
    """Run the command in this process, which spares seconds of imports; return what it prints."""
    forget_tokens()  # another process would have none
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        shorten(patch)
        done = command_line.run(*words)
    print(done.stdout + done.stderr)
    assert done.returncode == 0
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def whole(served, tmp_path_factory):
    """A dry run, and a run from cameras to tables; returns folder, texts, requests and bytes."""
    folder = tmp_path_factory.mktemp("whole")
    served.server.faults.clear()
    listed = run(served, folder, "--dry-run")
    faults(served)
    log, sent = len(served.server.log), served.server.sent.copy()
    text = run(served, folder)
    requests = served.server.log[log:]
    served.server.faults.clear()
    return folder, listed, text, requests, served.server.sent - sent


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def pixels(path):
    return re.search(r"\.tiff?$", path) and "cdls" not in path


def counts(path):
    """Whether a path is of pixels, or of tables that reading them needs."""
    return path.endswith((".tif", ".tiff", ".jp2", ".xml", ":getPixels")) and "cdl" not in path


def test_tables_for_every_site_that_has_data_and_a_list_for_the_rest(whole, served):
    folder, _, text, *_ = whole
    out = folder / "out"
    used = {row["method"]: row["site-years"] for row in rows(out / "tables" / "methods.csv")}
    assert used["NDVI curve"] == used["Deep-CroP, transformer only"] == "1"
    (left,) = rows(out / "left_out_field.csv")
    assert left["site_year"] == f"{EMPTY}_AG_1000_{YEAR}"
    assert "pc has no optical scene of the area from 2017-07-04 to 2019-07-03" in left["why"]
    sites = {row["site"]: row for row in rows(out / "sites.csv")}
    assert sites["mead2"]["on_mast_because"] == "the service says 'down'"
    assert sites["bouldincorn"]["direction"] == "292.5"
    assert sites["silverton"]["cube"].startswith("without sar: the archive has no sar scene")
    assert "mead2: the viewing direction is unknown" in text
    crops = {row["site_year"][:4]: row for row in rows(out / "crops.csv")}
    assert all(crops[site[:4]]["source"] == "CDL" for site in SITES)
    assert "no CDL of 2018 in this area" in crops[EMPTY[:4]]["why"]
    old = rows(out / "old_baselines.csv")
    assert {(row["site"], row["processing_baseline"]) for row in old} == {("silverton", "03.01")}
    report = (out / "report.md").read_text()
    for words in (
        "direction of mead2 is unknown", "Without radar: silverton", f"{len(old)} scenes are in",
    ):  # fmt: skip
        assert words in report
    # The scene whose file is cut short is named, and nothing else is lost.
    lost = {
        site: [row for row in rows(folder / f"data/phenocam/{site}.scenes.csv") if row["reason"]]
        for site in SITES
    }
    assert sum(map(len, lost.values())) == 1
    assert "damaged or cut short" in next(iter(filter(None, lost.values())))[0]["reason"]
    assert not served.bed.signed(folder)  # no file holds a token
    assert "sar" in open_cube(folder / "data/phenocam/mead2.zarr").children


def test_few_requests_beyond_the_pixels(whole):
    folder, _, _, requests, _ = whole
    scenes = sum(len(rows(folder / f"data/phenocam/{site}.scenes.csv")) for site in SITES)
    beyond = [r.path for r in requests if not pixels(r.path) and "phenocam" not in r.path]
    beyond = [path for path in beyond if "cdl" not in path]
    assert scenes > 40
    assert len(beyond) <= 2 * scenes
    assert not [path for path in beyond if "/items/" in path]


def test_the_dry_run_foresees_the_volume(whole):
    _, listed, _, _, sent = whole
    lines = {line.split()[0]: line.split() for line in listed.splitlines() if line.strip()}
    assert set(lines) >= {*SITES, EMPTY, "all"}
    assert "no optical scene" in " ".join(lines[EMPTY])
    foreseen = float(lines["all"][4])
    counted = sum(size for path, size in sent.items() if counts(path)) / 1e9
    assert foreseen == pytest.approx(counted, rel=0.2)


def test_killed_and_resumed_to_the_same_bytes(whole, served, tmp_path, monkeypatch):
    """Cameras and one cube are there already; the run is killed while it fetches the next.

    That an interrupted download of cameras is finished is in ``test_paper_cameras.py``.
    """
    folder, *_ = whole
    there = (
        "cameras.json", "cdl.json", "series", "ACKNOWLEDGEMENT.txt", "mead2.zarr",
        "mead2.scenes.csv",
    )  # fmt: skip
    (tmp_path / "data/phenocam").mkdir(parents=True)
    for name in there:
        source, target = folder / "data/phenocam" / name, tmp_path / "data/phenocam" / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    forget_tokens()
    faults(served)
    begin = len(served.server.log)
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, *words(tmp_path)], env=served.environment, cwd=ROOT,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        while len(served.server.log) < begin + 60 or not served.server.asked(r"_B03_10m\.tif"):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "data/phenocam/silverton.zarr").exists()
    run(served, tmp_path)
    again = served.server.log[begin:]
    assert not [r for r in again if "phenocam" in r.path or "cdl" in r.path.lower()]
    made, whole_run = contents(tmp_path), contents(folder)
    assert set(made) == set(whole_run)
    assert [name for name in made if made[name] != whole_run[name]] == []
    # Tomorrow's run reuses all of it: no request at all.
    for name, value in served.environment.items():
        monkeypatch.setenv(name, value)
    settings = PaperExperiment(
        "pc", tmp_path / "data", tmp_path / "out", sites=",".join((*SITES, EMPTY)), years=(YEAR,)
    )
    begin = len(served.server.log)
    years = usable(camera_network(settings))
    assert prepare_real_pixels(settings, years, ["field"])
    assert {fact["site"] for fact in load_sample_set(settings, years, "field").facts} == set(SITES)
    assert served.server.log[begin:] == []


def few(cube, radar):
    """About twenty optical scenes, and the first radar scenes."""
    step = max(1, cube["optical"].sizes["time"] // 20)
    some = {"optical": slice(None, None, step), "sar": slice(radar)}
    groups = {name: cube[name].to_dataset().isel(time=part) for name, part in some.items()}
    return xr.DataTree.from_dict(groups)


@contextlib.contextmanager
def copernicus(folder, cubes):
    """The Copernicus Data Space: JPEG 2000, radar at mead2 in radar geometry, keys."""
    pytest.importorskip("sarsen")
    with Server() as server, ground_range.geoid(folder):
        bed = None
        for site, cube in cubes.items():
            if bed is None:
                bed = here = serve_region(server, folder / site, cube, ())
            else:
                here = replace(bed, folder=folder / site, cube=cube)
                here.folder.mkdir()
            here.publish("cdse-05.10", range(cube["optical"].sizes["time"]))
            if site == "mead2":
                here.publish("cdse-grd", range(cube["sar"].sizes["time"]))
        yield server, bed.environment() | {"DEEPCROP_CDSE": bed.cdse}, bed.keys.secret


@contextlib.contextmanager
def engine(_folder, cubes):
    """Earth Engine, radar at mead2 only."""
    ee = pytest.importorskip("ee")
    with Server() as server:
        beds = [earthengine.serve(server, cube) for cube in cubes.values()]
        bed = beds[0]  # answers; of mead2
        for other in beds[1:]:
            assert not set(other.images) & set(bed.images)
            optical = {
                name: image
                for name, image in other.images.items()
                if not name.startswith(earthengine.SENTINEL_1)
            }
            bed.images |= optical
        project = {"DEEPCROP_EARTH_ENGINE": bed.url, "GOOGLE_CLOUD_PROJECT": "test-project"}
        yield server, project, "Bearer"
        ee.data.reset()


@pytest.mark.parametrize(
    ("archive", "start", "radar"),
    [("cdse", copernicus, "Copernicus Data Space"), ("ee", engine, "Google Earth Engine")],
)
def test_cameras_to_tables_from_other_archives(series, cubes, tmp_path, archive, start, radar):
    """Crop types come from CropScape; tables hold what every site with data gave."""
    (tmp_path / "served").mkdir()
    with start(tmp_path / "served", {site: few(cube, 2) for site, cube in cubes.items()}) as bed:
        server, environment, secret = bed
        raster = cropland.write_raster(tmp_path / "cdl.tif", grid_of(cubes["mead2"]))
        cropland.serve(server, raster, years=(YEAR,))
        cameras = phenocam.serve(server, series, orientation=LOOKS)
        environment |= {
            "DEEPCROP_PHENOCAM": cameras, "DEEPCROP_CROPSCAPE": f"{server.url}/cropscape",
        }  # fmt: skip
        folder = tmp_path / "run"
        listed = run_words(environment, *words(folder, archive, SITES), "--dry-run")
        begin = server.sent.copy()
        text = run_words(environment, *words(folder, archive, SITES))
        sent = server.sent - begin
    foreseen = float(next(x for x in listed.splitlines() if x.startswith("all")).split()[4])
    counted = sum(size for path, size in sent.items() if counts(path)) / 1e9
    assert foreseen == pytest.approx(counted, rel=0.2)
    out = folder / "out"
    assert "without sar" in listed
    used = {row["method"]: row["site-years"] for row in rows(out / "tables" / "methods.csv")}
    assert used["NDVI curve"] == used["Deep-CroP, transformer only"] == "1"
    assert rows(out / "left_out_field.csv") == []
    sites = {row["site"]: row["cube"] for row in rows(out / "sites.csv")}
    assert sites.pop("mead2") == ""
    assert all(note.startswith("without sar: the archive has no sar") for note in sites.values())
    cube = open_cube(folder / "data/phenocam/mead2.zarr")
    assert radar in cube["optical"].attrs["source"]
    assert radar in cube["sar"].attrs["source"]
    assert cube["sar"].attrs["radiometry"] == "sigma0"
    crops = {row["site_year"].split("_")[0]: row for row in rows(out / "crops.csv")}
    assert crops["mead2"]["cdl"]
    assert f"Archive: {archive}" in (out / "report.md").read_text()
    assert f"all tables and figures: {out}" in text
    held = [path for path in folder.rglob("*") if path.is_file()]
    assert not [path for path in held if secret.encode() in path.read_bytes()]


def contents(folder):
    """All files but logs and the times in them."""
    left_out = re.compile(r"/cache/|log\.|report\.|\.png$|weights\.safetensors|_lock|\.lock$")
    return {
        name: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not left_out.search(name := "/" + str(path.relative_to(folder)))
    }
