"""The command line as a user types it; where the process itself is tested, in one of its own."""

import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from unittest import mock

import pytest
from rasterio.errors import RasterioIOError
from tests.helpers.command_line import run
from tests.helpers.cubes import make_cube, season_cube

from deepcrop import cli
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.simulation import Region, simulate


def run_process(*arguments):
    """Run the command line in a process of its own, as a user does."""
    return subprocess.run(
        [sys.executable, "-m", "deepcrop", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def fails(result, *words):
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr
    return result.stderr


def test_help_names_every_command_with_an_example():
    overview = run_process("--help").stdout
    for command in ("simulate", "ingest", "map", "score", "demo"):
        assert command in overview
        assert f"deepcrop {command}" in run(command, "--help").stdout


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (RasterioIOError("no room for sos20.tif"), "file system: no room for sos20.tif"),
        (PermissionError(13, "Permission denied", "maps"), "maps: Permission denied"),
    ],
)
def test_errors_of_the_file_system_say_what_and_what_is_kept(monkeypatch, capsys, error, words):
    error.add_note("What is done is kept.")
    monkeypatch.setattr(cli, "app", mock.Mock(side_effect=error))
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err == f"Error: {words}\nWhat is done is kept.\n"


@pytest.mark.slow
def test_simulate_map_and_score(tmp_path):
    region, maps = tmp_path / "region.zarr", tmp_path / "maps"
    made = run("simulate", region, "--size", "48x40", "--seed", "3")
    assert made.returncode == 0, made.stderr
    mapped = run("map", region, "--year", "2018", "--method", "curve", "--out", maps)
    assert mapped.returncode == 0, mapped.stderr
    assert "SOS20" in mapped.stdout
    assert "mapping tiles" in mapped.stderr  # progress goes to stderr
    assert json.loads((maps / "summary.json").read_text())["simulated"] is True
    scored = run("score", maps, region, "--out", tmp_path / "accuracy.csv")
    assert scored.returncode == 0, scored.stderr
    assert "SIMULATED DATA" in scored.stdout
    again = run("score", maps, region, "--out", tmp_path / "accuracy.csv")
    fails(again, "accuracy.csv exists", "--overwrite")
    again = fails(run("map", region, "--year", "2018", "--out", maps), "exists", "--overwrite")
    assert len(again) < 400
    replaced = run("map", region, "--year", "2018", "--out", maps, "--overwrite")
    assert replaced.returncode == 0, replaced.stderr


@pytest.mark.slow
def test_map_by_the_network(tmp_path):
    pytest.importorskip("torch")
    from tests.helpers.weights_files import tiny, write_weights

    region, maps = tmp_path / "region.zarr", tmp_path / "maps"
    simulate(Region(rows=20, cols=24, optical_scenes=6, sar_scenes=4), region)
    weights = write_weights(tmp_path / "w.safetensors", tiny(), {"title": "random numbers"})
    wanted = ["map", region, "--year", "2018", "--out", maps, "--method", "deepcrop"]
    fails(run(*wanted, "--weights", tmp_path / "none.safetensors"), "none.safetensors", "not exist")
    fails(run(*wanted[:-1], "curve", "--weights", weights), "choose method 'deepcrop'")
    mapped = run(*wanted, "--weights", weights, "--no-radar")
    assert mapped.returncode == 0, mapped.stderr
    for word in ("PEAK", "optical 6", "optical_usable"):
        assert word in mapped.stdout
    summary = json.loads((maps / "summary.json").read_text())
    assert summary["source"]["weights"]["title"] == "random numbers"
    assert summary["source"]["sensors"] == ["optical"]
    assert (maps / "peak_season2_probability.qml").exists()


def test_a_missing_band_is_named(tmp_path):
    cube = make_cube()
    save_cube(cube, tmp_path / "cube.zarr")
    shutil.rmtree(tmp_path / "cube.zarr" / "optical" / "nir")
    result = run("map", tmp_path / "cube.zarr", "--year", "2018", "--out", tmp_path / "maps")
    fails(result, "cube.zarr", "'nir' is missing", "blue")
    assert not (tmp_path / "maps").exists()


def test_a_missing_cube_and_a_half_written_one_are_told_apart(tmp_path):
    missing = ["map", tmp_path / "no.zarr", "--year", "2018", "--out", tmp_path / "m"]
    fails(run_process(*missing), "not exist")
    (tmp_path / "half.zarr.part").mkdir()
    result = run("map", tmp_path / "half.zarr", "--year", "2018", "--out", tmp_path / "m")
    fails(result, "unfinished", "goes on")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["simulate", "r.zarr", "--size", "big"], ["--size big", "400x300"]),
        (["simulate", "r.zarr", "--size", "4x4"], ["too small"]),
        (["simulate", "r.zarr", "--centre", "north"], ["--centre north"]),
        (["simulate", "r.zarr", "--centre", "0,0"], ["Latitude 0"]),
        (["simulate", "r.zarr", "--start", "soon"], ["'soon' is no date"]),
        (["simulate", "nowhere/r.zarr"], ["nowhere does not exist"]),
        (["map", "r.zarr", "--year", "2018", "--out", "m", "--method", "guess"], ["guess"]),
        (["map", "r.zarr", "--out", "m"], ["--year"]),
        (["simulate", "r.nc"], ["Zarr store"]),
        (["simulate", "r.zarr", "--year", "1500"], ["1500", "1700 to 2200"]),
        (["ingest", "no.yaml", "--out", "r.zarr"], ["no.yaml"]),
    ],
)
def test_bad_input_meets_a_clear_error(tmp_path, arguments, words):
    fails(run(*arguments, cwd=tmp_path), *words)
    assert not list(tmp_path.iterdir())


def test_ctrl_c_within_compiled_code_is_no_traceback(monkeypatch, capsys):
    def stopped():
        raise SystemError from KeyboardInterrupt()

    monkeypatch.setattr(cli, "app", stopped)
    with pytest.raises(SystemExit, match="130"):
        cli.main()
    assert capsys.readouterr().err == ""


@pytest.mark.slow
def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(tmp_path):
    period = ["--start", "2018-05-01", "--end", "2018-06-30"]
    arguments = ["simulate", tmp_path / "region.zarr", "--size", "1300x24", *period]
    # A test run in the background ignores Ctrl-C, and what it starts would inherit that.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    process = subprocess.Popen(
        [sys.executable, "-m", "deepcrop", *map(str, arguments)],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "100"},
    )
    signal.signal(signal.SIGINT, before)
    journal = tmp_path / "region.zarr.part" / "journal.jsonl"
    for _ in range(6000):
        if journal.exists() and "block" in journal.read_text():
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode != 0
    assert "the same command goes on" in errors, errors
    assert "Traceback" not in errors
    done = journal.read_text().count("block")
    assert done >= 1
    assert not (tmp_path / "region.zarr").exists()

    resumed = run(*arguments)
    assert resumed.returncode == 0, resumed.stderr
    whole = run("simulate", tmp_path / "whole.zarr", *arguments[2:])
    assert whole.returncode == 0, whole.stderr
    a = open_cube(tmp_path / "region.zarr")
    b = open_cube(tmp_path / "whole.zarr")
    for group in ("optical", "sar", "truth", "landcover"):
        assert a[group].to_dataset().identical(b[group].to_dataset())


def test_a_cube_without_observations_near_the_year(tmp_path):
    save_cube(season_cube(), tmp_path / "cube.zarr")
    result = run("map", tmp_path / "cube.zarr", "--year", "2035", "--out", tmp_path / "m")
    fails(result, "2035", "another year")


def test_messages_of_the_library_are_shown_once(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["deepcrop", "--version"])
    for _ in range(2):
        with pytest.raises(SystemExit):
            cli.main()
    logging.getLogger("deepcrop.studies.paper_experiment").info("training %d of %d", 1, 2)
    assert capsys.readouterr().err == "training 1 of 2\n"


@pytest.mark.parametrize("arguments", [["--help"], ["map", "--help"], ["reproduce", "--help"]])
def test_help_loads_none_of_the_heavy_libraries(arguments):
    code = (
        "import sys\n"
        "from deepcrop.cli import app\n"
        f"app({arguments!r}, standalone_mode=False)\n"
        "heavy = {'dask', 'matplotlib', 'numba', 'numpy', 'pandas', 'rasterio', 'torch'}\n"
        "assert not heavy & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Usage" in done.stdout
