"""Layers on a full disk: an error, never a file that lacks something."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from tests.helpers.full_disk import largest_file

from deepcrop import grid
from deepcrop.products import cog
from deepcrop.products.cog import windows, write_cog
from deepcrop.products.layers import describe

BOX = grid.make_grid((500000, 5600000, 506000, 5606000), "EPSG:32631")
LAYER = next(layer for layer in describe("curve", 2018) if layer.name == "sos50")
VALUES = np.random.default_rng(0).integers(-30000, 30000, BOX.shape).astype(LAYER.dtype)


def write(path):
    blocks = (((rows, cols), VALUES[rows, cols]) for rows, cols in windows(BOX))
    write_cog(path, LAYER, BOX, {}, blocks)


@pytest.mark.parametrize("kib", [100, 800, 1140, 1180, 1600])
def test_a_disk_that_fills_up_at_any_moment_is_an_error(tmp_path, kib):
    """The file needs 890 KiB, and 1670 KiB while it has no compression and gets its overviews."""
    with (
        largest_file(kib * 1024),
        pytest.raises(OSError, match=r"^x\.tif cannot be written"),
    ):
        write(tmp_path / "x.tif")


@pytest.mark.parametrize("harm", ["values", "cut"])
def test_a_file_that_lacks_something_is_an_error(tmp_path, monkeypatch, harm):
    """As GDAL left it without a word where the last write on a full disk failed."""
    real = rasterio.shutil.copy

    def copy(plain, path, **options):
        if harm == "values":
            with rasterio.open(plain, "r+") as dataset:
                dataset.write(np.zeros((9, 9), LAYER.dtype), 1, window=((580, 589), (580, 589)))
        real(plain, path, **options)
        if harm == "cut":
            path.write_bytes(path.read_bytes()[:-1000])

    monkeypatch.setattr(cog.rasterio.shutil, "copy", copy)
    with pytest.raises(OSError, match=r"^x\.tif (does not hold what|cannot be written)"):
        write(tmp_path / "x.tif")
    assert [path.name for path in tmp_path.iterdir()] == ["x.tif"]


def test_the_values_are_those_of_the_blocks(tmp_path):
    write(tmp_path / "x.tif")
    with rasterio.open(tmp_path / "x.tif") as dataset:
        np.testing.assert_array_equal(dataset.read(1), VALUES)
        assert dataset.transform == Affine(10, 0, 500000, 0, -10, 5606000)
        assert dataset.overviews(1) == [2]


@pytest.mark.parametrize(
    ("rows", "cols", "levels"), [(512, 512, 0), (514, 40, 1), (1040, 1500, 2), (40, 2064, 3)]
)
def test_overviews_take_every_second_pixel(tmp_path, rows, cols, levels):
    profile = {"driver": "GTiff", "height": rows, "width": cols, "count": 1, "dtype": "int16",
               "nodata": 100, "crs": "EPSG:32631", "transform": Affine(10, 0, 5e5, 0, -10, 5e6),
               "tiled": True}  # fmt: skip
    values = np.random.default_rng(1).integers(0, 120, (rows, cols)).astype(np.int16)
    path = tmp_path / "x.tif"
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values, 1)
    cog._add_overviews(path, has_values=True)
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2, 4, 8][:levels]
        tags = dataset.tags(1)
    assert float(tags["STATISTICS_MEAN"]) == pytest.approx(values[values != 100].mean())
    for level in range(levels):
        with rasterio.open(path, overview_level=level) as dataset:
            every = 2 ** (level + 1)
            np.testing.assert_array_equal(dataset.read(1), values[::every, ::every])


def test_a_layer_without_a_value_says_so_in_its_statistics(tmp_path):
    nothing = np.full(BOX.shape, LAYER.nodata, LAYER.dtype)
    write_cog(tmp_path / "x.tif", LAYER, BOX, {}, iter([((slice(0, 600), slice(0, 600)), nothing)]))
    with rasterio.open(tmp_path / "x.tif") as dataset:
        assert dataset.tags(1) == {"STATISTICS_VALID_PERCENT": "0"}


def test_statistics_that_fail_although_there_are_values_are_an_error(tmp_path, monkeypatch):
    """As if the file had lost its values before GDAL read them again."""
    real = cog._add_overviews

    def lost(plain, *args):
        with rasterio.open(plain, "r+") as dataset:
            dataset.write(np.full((1, *BOX.shape), LAYER.nodata, LAYER.dtype))
        real(plain, *args)

    monkeypatch.setattr(cog, "_add_overviews", lost)
    with pytest.raises(OSError, match=r"^x\.tif cannot be written \(no statistics"):
        write(tmp_path / "x.tif")
    assert not list(tmp_path.iterdir())
