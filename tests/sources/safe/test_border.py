"""Border noise of simulated images whose border is known pixel by pixel."""

import numpy as np
import pytest
import rasterio
from tests.helpers.safe_products import (
    BOX,
    LINES,
    NOISE,
    PIXELS,
    constant,
    make_dem,
    make_safe,
)

from deepcrop.sources.safe import border
from deepcrop.sources.safe.border import Border, border_widths, find_border

NO_DATA = [np.nan] * 4


def test_border_by_hand():
    rows = [
        [*NO_DATA, -9, -8, 3, 2, 4] + [2.0] * 30,  # to the first pixel above the noise
        [*NO_DATA, -9, 5, -9, -9, -9] + [2.0] * 30,  # a bright pixel alone is not the signal
        [2.0, -9, 3, 2, 4] + [2.0] * 34,  # speckle is not the border
        [-1.0] * 39,
    ]
    # The bright pixel's window has 4 dark ones, 5 - 3 * 9, and 12 of 2: its sum is positive.
    rows[1][5] = 1.0
    assert border_widths(np.array(rows)).tolist() == [6, 9, 0, 39 - border.WINDOW + 1]


def test_each_edge_has_its_border():
    power = np.full((60, 80), 2.0)
    power[:5] = power[-3:] = -1
    power[:, :7] = power[:, -9:] = -1
    power[10, :20] = np.nan  # a line that starts later
    found = find_border(lambda rows, cols: power[rows, cols], power.shape)
    expected = ~(power > 0)
    assert (found.outside(np.arange(60), np.arange(80)) == expected).all()
    window = found.outside(np.arange(4, 12), np.arange(70, 80))
    assert (window == expected[4:12, 70:80]).all()


def test_only_so_far_from_the_edge():
    """Water in the middle of an image stays, whatever its power."""
    power = np.full((40, 3 * border.REACH), 2.0)
    power[:, border.REACH + 50 :] = -1
    power[:, -500:] = 2.0
    found = find_border(lambda rows, cols: power[rows, cols], power.shape)
    assert not found.outside(np.arange(40), np.arange(border.REACH)).any()
    assert isinstance(found, Border)


def test_of_a_window_only_edges_near_it_are_read(monkeypatch):
    """An archive sends what is read: a window in the middle of an image needs no edge of it."""
    monkeypatch.setattr(border, "REACH", 30)
    power = np.full((200, 300), 2.0)
    power[:, :7] = power[-3:] = -1
    read = []

    def windows(rows, cols):
        read.append((rows, cols))
        return power[rows, cols]

    middle = find_border(windows, power.shape, slice(100, 120), slice(100, 140))
    assert read == []
    assert not middle.outside(np.arange(100, 120), np.arange(100, 140)).any()
    corner = find_border(windows, power.shape, slice(180, 200), slice(0, 20))
    assert [window for window in read if window[0].start < 100 and window[1].start > 20] == []
    expected = ~(power[180:200, :20] > 0)
    assert (corner.outside(np.arange(180, 200), np.arange(20)) == expected).all()


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize(("share", "masked"), [(0.2, 0.99), (0.5, 0.95), (0.8, 0.4)])
def test_noise_in_the_border_of_a_real_image(real_data, share, masked):
    """Noise is put in place of the zeros of a product of 2018; its mean is a share of the limit."""
    path = real_data / "sentinel1_safe/S1A_IW_GRDH_20180716_decimated/iw-vv.tiff"
    with rasterio.open(path) as file:
        numbers = file.read(1).astype(float)
    limit = 1000.0  # of thermal noise, DN²; the darkest pixel with a signal has 42²
    empty = numbers == 0
    assert 0.01 < empty.mean() < 0.05  # a strip at one edge
    noise = np.random.default_rng(0).exponential(share * limit, numbers.shape)
    power = np.where(empty, noise, numbers**2) - limit
    found = find_border(lambda rows, cols: power[rows, cols], power.shape)
    outside = found.outside(*map(np.arange, power.shape))
    assert outside[empty].mean() > masked
    assert outside[~empty].mean() < 1e-4


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
@pytest.mark.parametrize("old", [True, False])
def test_the_border_of_an_old_product_is_no_data(tmp_path, old):
    """Left half of the image is border noise, which multi-looking would keep where it is bright."""
    pytest.importorskip("sarsen")
    from deepcrop.sources.safe.backscatter import read_product

    rng = np.random.default_rng(1)
    images = {name: image.astype(np.uint16) for name, image in constant(100).items()}
    for image in images.values():
        image[:, : PIXELS // 2] = rng.integers(1, 20, (LINES, PIXELS // 2))
        image[::9, 40 : PIXELS // 2 : 7] = 160  # single bright ones, mean still below the noise
    assert (images["vv"][:, 40 : PIXELS // 2].astype(float) ** 2).mean() < NOISE
    path = make_safe(tmp_path, images, old=old)
    data = read_product(path, BOX, make_dem(tmp_path / "dem.tif"), geoid=0)
    seen = np.isfinite(data["vv"].values[0])
    right = seen[:, BOX.shape[1] // 2 + 3 :]
    left = seen[:, : BOX.shape[1] // 2 - 3]
    assert right.all()
    assert left.any() == (not old)
    assert (np.isfinite(data["vh"].values[0]) == seen).all()
