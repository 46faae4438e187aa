import math

import numpy as np
import pytest
import xarray as xr
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pyproj import Transformer

from deepcrop import grid
from deepcrop.errors import CubeError, DeepCropError

UTM = "EPSG:32631"
BOX = grid.make_grid((500000, 5600000, 500300, 5600200), UTM)  # 20 rows, 30 columns


def empty_on(box):
    return grid.assign_grid(xr.Dataset(), box)


def on_axes(x, y, crs=UTM):
    data = xr.Dataset(coords={"x": np.asarray(x, float), "y": np.asarray(y, float)})
    return data.odc.assign_crs(crs) if crs else data


# make_grid


def test_golden_grid():
    assert BOX.shape == (20, 30)
    assert BOX.boundingbox.bbox == (500000, 5600000, 500300, 5600200)
    assert (BOX.resolution.x, BOX.resolution.y) == (10, -10)
    assert BOX.crs == UTM
    assert grid.make_grid((500000, 5600000, 500300, 5600200), 32631) == BOX


def test_bounds_are_snapped_outwards():
    box = grid.make_grid((500001, 5600009, 500011, 5600011), UTM)
    assert box.boundingbox.bbox == (500000, 5600000, 500020, 5600020)


def test_float_noise_adds_no_pixel():
    noise = 1e-7
    box = grid.make_grid((500000 - noise, 5600000 - noise, 500300 + noise, 5600200 + noise), UTM)
    assert box == BOX


@settings(deadline=None)
@given(
    st.floats(-1e6, 1e6),
    st.floats(0, 9e6),
    st.floats(1e-9, 1e5),
    st.floats(1e-9, 1e5),
    st.sampled_from([10.0, 20.0, 0.5, 30.0]),
)
def test_a_grid_covers_its_bounds_snapped_and_smallest(left, bottom, width, height, resolution):
    right, top = left + width, bottom + height
    assume(left < right and bottom < top)
    box = grid.make_grid((left, bottom, right, top), UTM, resolution)
    found = box.boundingbox
    slack = 2e-6 * resolution
    assert found.left <= left + slack
    assert found.right >= right - slack
    assert found.bottom <= bottom + slack
    assert found.top >= top - slack
    assert found.left > left - resolution - slack
    assert found.right < right + resolution + slack
    assert found.bottom > bottom - resolution - slack
    assert found.top < top + resolution + slack
    assert all(edge % resolution == 0 for edge in found.bbox)
    assert min(box.shape) >= 1
    assert grid.make_grid(found.bbox, UTM, resolution) == box


@pytest.mark.parametrize(
    "bounds",
    [(10, 0, 0, 10), (0, 10, 10, 0), (0, 0, 0, 10), (0, 0, math.nan, 10), (0, 0, math.inf, 10)],
)
def test_empty_bounds_are_refused(bounds):
    with pytest.raises(DeepCropError, match="empty"):
        grid.make_grid(bounds, UTM)


@pytest.mark.parametrize("crs", ["EPSG:4326", 4326, "EPSG:2263"])  # degrees; feet
def test_a_grid_needs_metres(crs):
    with pytest.raises(DeepCropError, match=r"not projected in metres.*UTM"):
        grid.make_grid((0, 0, 10, 10), crs)


@pytest.mark.parametrize("crs", ["EPSG:999999", "no such system", 999999])
def test_an_unknown_reference_system_is_named(crs):
    with pytest.raises(DeepCropError, match=str(crs)):
        grid.make_grid((0, 0, 10, 10), crs)


@pytest.mark.parametrize("resolution", [0, -10, math.nan])
def test_a_pixel_size_must_be_positive(resolution):
    with pytest.raises(DeepCropError, match="Pixel size"):
        grid.make_grid((0, 0, 10, 10), UTM, resolution)


# grid_of, assign_grid


@settings(deadline=None)
@given(st.integers(2, 50), st.integers(2, 50), st.integers(-100, 90000), st.integers(0, 900000))
def test_grid_survives_xarray(rows, cols, col0, row0):
    left, bottom = 10 * col0, 10 * row0
    box = grid.make_grid((left, bottom, left + 10 * cols, bottom + 10 * rows), UTM)
    data = empty_on(box)
    assert grid.grid_of(data) == box
    assert data.x[0] == left + 5  # pixel centres
    assert data.y[-1] == bottom + 5
    assert data.x.attrs["units"] == data.y.attrs["units"] == "m"


def test_grid_of_a_window_is_the_window_of_the_grid():
    data = empty_on(BOX).isel(y=slice(3, 7), x=slice(5, 15))
    assert grid.grid_of(data) == grid.make_grid((500050, 5600130, 500150, 5600170), UTM)


def test_float_noise_in_coordinates_does_not_change_the_grid():
    noise = 1e-8 * np.sin(np.arange(30))
    data = on_axes(np.arange(500005, 500300, 10) + noise, np.arange(5600195, 5600000, -10))
    assert grid.grid_of(data) == BOX


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (xr.Dataset(), "'x' is missing"),
        (on_axes([5, 15], [15, 5]).drop_vars("y"), "'y' is missing"),
        (on_axes([5], [15, 5]), "'x' has fewer than 2"),
        (on_axes([5, 15], []), "'y' has fewer than 2"),
        (on_axes([5, 15, 26], [15, 5]), "evenly spaced"),
        (on_axes([5, 15, np.nan], [15, 5]), "evenly spaced"),
        (on_axes([5, 15], [5, 15]), "north-up"),
        (on_axes([15, 5], [15, 5]), "north-up"),
        (on_axes([5, 5], [5, 5]), "north-up"),
        (on_axes([5, 15], [25, 5]), "square; found 10 by 20"),
        (on_axes([5, 15], [15, 5], crs=None), "spatial_ref"),
        (on_axes([5, 15], [15, 5], crs="EPSG:4326"), "not projected in metres"),
        (
            xr.Dataset(coords={"x": (("a", "b"), np.eye(2)), "y": ("y", [15.0, 5.0])}),
            "'x' must be one-dimensional",
        ),
        (xr.Dataset(coords={"x": ["a", "b"], "y": [15.0, 5.0]}), "numbers"),
    ],
)
def test_a_bad_grid_is_refused_with_its_reason(data, message):
    with pytest.raises(CubeError, match=message):
        grid.grid_of(data)


# cell_of


@settings(deadline=None)
@given(st.integers(0, 19), st.integers(0, 29), st.floats(0, 0.999), st.floats(0, 0.999))
def test_a_cell_owns_its_inside_and_its_left_and_top_edges(row, col, right, down):
    x, y = 500000 + 10 * (col + right), 5600200 - 10 * (row + down)
    assert grid.cell_of(BOX, x, y, UTM) == (row, col)


@settings(deadline=None)
@given(st.integers(0, 10000), st.integers(0, 10000), st.integers(10000, 90000))
def test_edges_are_exact_everywhere(row, col, col0):
    left, top = 10 * col0, 5000000
    box = grid.make_grid((left, top - 200000, left + 200000, top), UTM)
    assert grid.cell_of(box, left + 10 * col, top - 10 * row, UTM) == (row, col)


@settings(deadline=None)
@given(st.integers(0, 19), st.integers(0, 29))
def test_the_centre_of_a_pixel_in_degrees_is_in_the_pixel(row, col):
    data = empty_on(BOX)
    lon, lat = Transformer.from_crs(UTM, "EPSG:4326", always_xy=True).transform(
        float(data.x[col]), float(data.y[row])
    )
    assert grid.cell_of(BOX, lon, lat) == (row, col)


@pytest.mark.parametrize(
    ("x", "y"),
    [(499999.9, 5600100), (500300, 5600100), (500100, 5600000), (500100, 5600200.1)],
)
def test_a_coordinate_outside_is_refused(x, y):
    with pytest.raises(DeepCropError, match="outside the grid"):
        grid.cell_of(BOX, x, y, UTM)


@pytest.mark.parametrize(("lon", "lat"), [(3, 120), (math.nan, 50), (math.inf, 50)])
def test_a_coordinate_that_is_nowhere_is_refused(lon, lat):
    with pytest.raises(DeepCropError, match="has no place"):
        grid.cell_of(BOX, lon, lat)


def test_an_unknown_reference_system_of_a_coordinate_is_named():
    with pytest.raises(DeepCropError, match="EPSG:999999"):
        grid.cell_of(BOX, 3, 50, "EPSG:999999")


# patch_at


@settings(deadline=None)
@given(st.integers(9, 11), st.integers(9, 21))
def test_cell_9_9_of_a_patch_is_the_camera(row, col):
    cells = np.arange(20 * 30).reshape(20, 30)
    patch = cells[grid.patch_at(BOX, row, col)]
    assert patch.shape == (18, 18)
    assert patch[9, 9] == cells[row, col]


@pytest.mark.parametrize(("row", "col"), [(8, 9), (9, 8), (12, 9), (9, 22), (-1, 9)])
def test_a_patch_over_the_edge_is_refused(row, col):
    with pytest.raises(DeepCropError, match=r"over the edge.*9 cells above and left and 8 below"):
        grid.patch_at(BOX, row, col)


# tiles


@settings(deadline=None)
@given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.integers(1, 50),
    st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
def test_tiles_cover_every_cell_once_and_see_their_halo(shape, size, halo):
    array = np.arange(1, 1 + math.prod(shape)).reshape(shape)
    padded = np.pad(array, (halo, halo))
    written = np.zeros(shape, int)
    for tile in grid.tiles(shape, size, halo):
        written[tile.core] += 1
        window = array[tile.window]
        np.testing.assert_array_equal(window[tile.inner], array[tile.core])
        assert tile.shape == array[tile.core].shape
        assert min(pad for side in tile.pad for pad in side) >= 0
        rows, cols = (slice(c.start, c.stop + sum(halo)) for c in tile.core)
        np.testing.assert_array_equal(np.pad(window, tile.pad), padded[rows, cols])
    assert (written == 1).all()


def test_golden_tiles():
    found = list(grid.tiles((20, 30), 16, grid.PATCH_HALO))
    assert [tile.index for tile in found] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    last = found[-1]
    assert last.core == (slice(16, 20), slice(16, 30))
    assert last.window == (slice(7, 20), slice(7, 30))
    assert last.pad == ((0, 8), (0, 8))
    assert last.shape == (4, 14)
    assert last.inner == (slice(9, 13), slice(9, 23))


def test_a_tile_with_the_patch_halo_sees_the_patch_of_each_core_cell():
    (tile,) = grid.tiles((1, 1), 1, grid.PATCH_HALO)
    window = np.pad(np.zeros((1, 1)), tile.pad, constant_values=1)
    assert window.shape == (18, 18)
    assert window[9, 9] == 0


def test_the_inside_of_an_image_is_the_cells_that_have_a_patch():
    image = np.arange(2 * 20 * 21).reshape(2, 20, 21)
    found = grid.inner(image)
    assert found.shape == (2, 3, 4)
    assert (found == image[:, 9:12, 9:13]).all()
    assert grid.inner(image[:, :18, :18]).tolist() == image[:, 9:10, 9:10].tolist()


@pytest.mark.parametrize("size", [0, -4])
def test_a_tile_has_a_size(size):
    with pytest.raises(DeepCropError, match="tile"):
        list(grid.tiles((4, 4), size))


def test_corners_as_coordinates_are_refused_where_the_file_shows_them():
    box = grid.make_grid((500000, 5600000, 500200, 5600100), 32631)
    data = grid.assign_grid(xr.Dataset(), box)
    data["spatial_ref"].attrs["GeoTransform"] = "499900 10 0 5600300 0 -10"  # of the whole
    assert grid.grid_of(data) == box
    corners = data.assign_coords(x=data.x - 5, y=data.y + 5)
    with pytest.raises(CubeError, match=r"are corners of pixels.*add half a pixel"):
        grid.grid_of(corners)
    data["spatial_ref"].attrs["GeoTransform"] = "499900 20 0 5600300 0 -20"  # of another raster
    assert grid.grid_of(data) == box
