import pytest
from tests.test_mapping import season_cube
from typer.testing import CliRunner

from deepcrop import observations
from deepcrop.cli import app
from deepcrop.estimates import estimate


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    observations.save_cube(season_cube(), path)
    return path


def test_what_a_map_will_take(cube):
    expected = estimate(cube, 2018, "curve", "ndvi", "whittaker", None, True, None)
    assert (expected.pixels, expected.tiles, expected.layers) == (600, 1, 37)
    assert expected.read == 600 * 98 * 2 * 2
    assert 1e8 < expected.memory < 4e9
    assert 0 < expected.seconds < 600


def test_a_dry_run_writes_nothing(cube, tmp_path):
    out = tmp_path / "maps"
    arguments = ["map", cube, "--year", 2018, "--out", out, "--dry-run", "--workers", 3]
    result = CliRunner().invoke(app, [str(a) for a in arguments])
    assert result.exit_code == 0, result.output
    for words in ("600 pixels in 1 tiles", "memory", "GB", "on 3 cores", "nothing was written"):
        assert words in result.output
    assert not list(tmp_path.iterdir())
