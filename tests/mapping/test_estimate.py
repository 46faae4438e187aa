import itertools
from types import SimpleNamespace

import numpy as np
import pytest
from tests.helpers.cubes import season_cube
from tests.helpers.parcel_files import NORTH, geojson, raster
from typer.testing import CliRunner

from deepcrop.cli import app
from deepcrop.cube import contract
from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.mapping import estimate as mapping_estimate
from deepcrop.mapping.dask_cluster import ClusterOptions
from deepcrop.mapping.estimate import estimate
from deepcrop.mapping.options import resolve_options


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    save_cube(season_cube(), path)
    return path


@pytest.fixture
def _clock(monkeypatch):
    """Every look at the clock is a second after the last; four cores; a gigabyte in use."""
    seconds = itertools.count()
    clock = SimpleNamespace(monotonic=lambda: float(next(seconds)))
    monkeypatch.setattr(mapping_estimate, "time", clock)
    monkeypatch.setattr(mapping_estimate, "cores", lambda: 4)
    monkeypatch.setattr(mapping_estimate, "_resident", lambda: 10**9)


READ = 98 * 2 * 2  # bytes a pixel on disk: 98 scenes of two bands
PIXEL = 73  # bytes of the 37 layers
WRITING = 37 * 600 * 4e-8 + 14 * 0.25  # seconds on a core, of which 14 pictures


@pytest.mark.usefixtures("_clock")
def test_what_a_map_will_take(cube):
    expected = estimate(cube, 2018, resolve_options())
    assert (expected.pixels, expected.tiles, expected.layers) == (600, 1, 37)
    assert (expected.selected, expected.selected_tiles, expected.processes) == (600, 1, 4)
    assert expected.read == 600 * READ
    # Three tiles are held, as float32, with their coordinates.
    held = 10**9 + 3 * 600 * READ * 2 + 400 * 1024**2
    assert held < expected.memory < held + 5000
    # A block of 256 x 256 pixels; what is finished is small beside it.
    assert expected.disk == pytest.approx(256**2 * PIXEL, rel=0.03)
    # Reading a tile took a second, computing 600 pixels another.
    assert expected.seconds == pytest.approx(1 + 1 + WRITING / 4)
    # Eight workers, twice the cores: each computes and reads its share; this computer writes.
    expected = estimate(cube, 2018, resolve_options(), ClusterOptions(workers=8))
    assert expected.seconds == pytest.approx(1 / 8 + 1 / 2 + WRITING / 4)


@pytest.mark.usefixtures("_clock")
def test_masks_and_parcels_count(cube, tmp_path, monkeypatch):
    wanted = np.zeros((20, 30))
    wanted[3:9, 2:12] = 1
    mask = raster(tmp_path / "mask.tif", wanted)
    farms = geojson(tmp_path / "farms.geojson", [NORTH])  # columns 0 to 9
    assert estimate(cube, 2018, resolve_options(mask=mask)).selected == 60
    monkeypatch.setattr(contract, "CHUNK", 8)
    expected = estimate(cube, 2018, resolve_options(mask=mask, parcels=farms))
    assert (expected.pixels, expected.tiles) == (600, 3 * 4)
    assert (expected.selected, expected.selected_tiles) == (48, 4)
    assert expected.read == 4 * 64 * READ
    # Twelve blocks of selected pixels, a page each, and four of layers; the products.
    assert 12 * 4096 + 4 * 8192 < expected.disk < 12 * 4096 + 4 * 8192 + 80_000
    # Four tiles are read; the part that is made has 20 x 22 pixels here.
    assert expected.seconds == pytest.approx(4 + 48 / 440 + WRITING / 4)
    assert "the table of fields" in expected.missing
    assert "600 pixels in 12 tiles, 37 layers; selected are 48 in 4 tiles" in str(expected)


def test_what_cannot_be_told_from_here_is_not_told(cube):
    pytest.importorskip("distributed")
    expected = estimate(cube, 2018, resolve_options(), ClusterOptions("tcp://10.0.0.1:8786"))
    assert expected.seconds is None
    assert "time     unknown\n" in str(expected)
    assert "the time on the workers of tcp://10.0.0.1:8786, which was not asked" in str(expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"device": "cuda"}, "choose method 'deepcrop'"),
        ({"method": "deepcrop", "device": "abacus"}, "'abacus' cannot be used"),
        ({"method": "deepcrop", "precision": "float8"}, "'float8' is unknown"),
        ({"mask": "none.tif"}, r"none\.tif does not exist"),
        ({"parcels": "none.gpkg"}, r"none\.gpkg do not exist"),
        ({"fields": True}, "has no 'field_id'"),
        ({"workers": 0}, "workers is 0; expected 1 or more"),
    ],
)
def test_a_dry_run_refuses_what_the_run_refuses(cube, options, words):
    cluster_options = ClusterOptions(workers=options.get("workers"))
    options = {name: value for name, value in options.items() if name != "workers"}
    with pytest.raises(DeepCropError, match=words):
        estimate(cube, 2018, resolve_options(**options), cluster_options)


def test_a_dry_run_refuses_a_mask_that_leaves_nothing(cube, tmp_path):
    far = raster(tmp_path / "far.tif", np.ones((20, 30)), left=700000)
    with pytest.raises(DeepCropError, match="has no pixel where mask"):
        estimate(cube, 2018, resolve_options(mask=far))


def test_a_dry_run_writes_nothing(cube, tmp_path):
    out = tmp_path / "maps"
    arguments = ["map", cube, "--year", 2018, "--out", out, "--dry-run", "--workers", 3]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    for words in (
        "600 pixels in 1 tiles",
        "memory",
        "disk     up to 0.00 GB",
        "GB",
        "on 3 cores",
        "nothing was written",
    ):
        assert words in result.output
    assert not list(tmp_path.iterdir())
