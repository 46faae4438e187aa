"""`deepcrop safe`: simulated Sentinel-1 products on disk become the radar of a cube."""

import numpy as np
import pytest
from pyproj import Transformer
from tests.helpers.command_line import run
from tests.helpers.safe_products import CRS, constant, make_dem, make_safe, write_orbit

from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import open_cube, save_cube

pytest.importorskip("sarsen")
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

PLACE = (600101, 5650101, 600299, 5650249)


@pytest.fixture
def products(tmp_path):
    """Two passes of one orbit, an area within them, a DEM and an orbit file."""
    early = make_safe(tmp_path, constant(100))
    make_dem(tmp_path / "dem.tif")
    (tmp_path / "orbits").mkdir()
    write_orbit(tmp_path / "orbits")
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    corners = [to_degrees.transform(*PLACE[k : k + 2]) for k in (0, 2)]
    area = ",".join(f"{value:.6f}" for corner in corners for value in corner)
    return early, (f"--area={area}", "--dem", tmp_path / "dem.tif", "--geoid", 0)


def test_products_become_a_cube_and_join_another(products, tmp_path):
    product, where = products
    done = run(
        "safe", product, *where, "--orbits", tmp_path / "orbits", "--out", tmp_path / "r.zarr"
    )
    assert done.returncode == 0, done.stderr
    assert "1 passes of 1 products" in done.stdout
    assert f"{product.name}: range and azimuth noise vectors" in done.stdout
    cube = open_cube(tmp_path / "r.zarr")
    radar = cube["sar"].to_dataset()
    assert radar.attrs["radiometry"] == "sigma0"
    assert np.isfinite(radar["vv"].values).all()
    rows, cols = grid_of(cube).shape  # 150 m x 200 m and more, for the tilt of degrees
    assert 15 <= rows <= 18
    assert 20 <= cols <= 23

    optical = optical_on(radar)
    save_cube(optical, tmp_path / "optical.zarr")
    joined = run(
        "safe",
        product,
        "--cube",
        tmp_path / "optical.zarr",
        *where[1:],
        "--out",
        tmp_path / "b.zarr",
    )
    assert joined.returncode == 0, joined.stderr
    both = open_cube(tmp_path / "b.zarr")
    assert set(both.children) == {"optical", "sar"}
    assert grid_of(both) == grid_of(cube)
    assert both.attrs["title"] == "a field"
    np.testing.assert_allclose(both["optical"]["red"], 0.1, atol=1e-6)
    again = run(
        "safe", product, "--cube", tmp_path / "b.zarr", *where[1:], "--out", tmp_path / "c.zarr"
    )
    assert "b.zarr has radar already" in again.stderr


def optical_on(radar):
    """A cube of one optical date on the grid of a radar group."""
    from deepcrop.cube.contract import build

    red = (
        radar["vv"]
        .copy(data=np.full(radar["vv"].shape, 0.1, np.float32))
        .drop_vars("relative_orbit")
    )
    red.attrs = {}
    data = red.to_dataset(name="red").assign(blue=red, green=red, nir=red * 3)
    data.attrs = {"source": "made up", "offset": "none"}
    return build(optical=data, attrs={"title": "a field"})


def test_what_safe_refuses(products, tmp_path):
    product, where = products
    (tmp_path / "empty").mkdir()
    out = ("--out", tmp_path / "r.zarr")
    for words, expected in (
        ((*where[1:], *out), "Give one of --area and --cube"),
        ((*where, *out, "--orbits", tmp_path / "empty"), "empty holds no orbit files"),
        ((*where, "--out", tmp_path / "orbits"), "orbits exists. Choose another name"),
    ):
        done = run("safe", product, *words)
        assert done.returncode == 2
        assert expected in done.stderr
