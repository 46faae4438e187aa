"""The branches: convolutions patch by patch and over a tile, scales, what is missing."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.network_batches import at, make_batch, small

from deepcrop import indices
from deepcrop.network import CONFIGS, SensorFeatures
from deepcrop.network.sensor_branch import LIMIT, SCALES, SWING, Branch, Branches, Trunk, fourier


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def series_equal(one, other, tolerance=1e-5):
    one, other = (
        [part * s.valid[..., None] if part.dim() == 4 else part for part in s] for s in (one, other)
    )
    for name, a, b in zip(SensorFeatures._fields, one, other, strict=True):
        torch.testing.assert_close(a, b, atol=tolerance, rtol=0, msg=lambda m, n=name: f"{n}: {m}")


def test_trunk_by_hand():
    """Kernels that pass their middle cell on leave the maximum of the four cells at the centre."""
    trunk = Trunk(1, (1, 1, 1), spatial=True)
    with torch.no_grad():
        for conv in (trunk.conv1, trunk.conv2, trunk.conv3):
            conv.weight.zero_()[0, 0, 2, 2] = 1
            conv.bias.zero_()
    image = torch.arange(18.0 * 18).reshape(1, 1, 18, 18)
    out, middle = trunk(image, dense=False)
    assert out.item() == image[0, 0, 8:10, 8:10].max() == 9 * 18 + 9
    # Pooled places: maxima of the 2 x 2 cells from (4, 4) to (13, 13); the mean of all 25.
    assert middle.item() == image[0, 0, 5:14:2, 5:14:2].mean()


def test_trunk_bias_and_relu():
    trunk = Trunk(2, (3, 4, 5), spatial=True)
    out, middle = trunk(torch.randn(6, 2, 18, 18), dense=False)
    assert out.shape == (6, 5, 1, 1)
    assert middle.shape == (6, 4, 1, 1)
    assert (out >= 0).all()


@pytest.mark.parametrize("name", ["default", "no-spatial-context", "paper", "transformer-only"])
def test_dense_equals_patches_at_every_pixel(name):
    """Tiles of 25 x 23 pixels, with clouds, edges included."""
    branches = Branches(small(name)).eval()
    tiles = make_batch(samples=2, rows=25, cols=23)
    tiles.optical_days[1, 2] = torch.nan  # padding
    with torch.no_grad():
        dense = branches(tiles, dense=True)
        for row in range(8):
            for col in range(6):
                patch = branches(at(tiles, row, col))
                pixel = row * 6 + col
                for sensor, series in dense.items():
                    series_equal(series.select(slice(pixel, pixel + 1)), patch[sensor])


def test_without_context_a_patch_is_its_centre():
    config = small("no-spatial-context")
    alone = Branch("optical", config)
    whole = Branch("optical", replace(config, spatial=True))
    whole.load_state_dict(alone.state_dict())
    batch = make_batch(clouds=0)
    filled = batch.optical[..., 9:10, 9:10].expand_as(batch.optical)
    series_equal(
        alone(batch.optical, batch.optical_days, None, False),
        whole(filled, batch.optical_days, None, False),
    )


def test_optical_channels_are_those_of_the_package():
    branch = Branch("optical", CONFIGS["default"])
    batch = make_batch(samples=1, optical=1, clouds=0)
    series = branch(batch.optical, torch.tensor([[100.0]]), None, False)
    blue, green, red, nir = batch.optical[0, 0, :, 9, 9].numpy()
    values = [indices.ndvi_of(nir, red), indices.gcc_of(blue, green, red), blue, green, red, nir]
    expected = [
        (v - SCALES[n][0]) / SCALES[n][1] for v, n in zip(values, branch.names, strict=True)
    ]
    expected = [*np.clip(expected, -LIMIT, LIMIT), 1]  # and the share of valid pixels
    np.testing.assert_allclose(series.centre[0, 0, 0].detach(), expected, rtol=1e-4)


def test_dark_pixels_give_no_infinite_index():
    branch = Branch("optical", CONFIGS["default"])
    images = torch.zeros(1, 1, 4, 18, 18)
    images[:, :, 3] = -0.001
    series = branch(images, torch.tensor([[0.0]]), None, False)
    assert series.valid.all()
    assert all(part.isfinite().all() for part in series)


def test_a_pixel_missing_in_one_band_is_missing():
    branch = Branch("optical", CONFIGS["default"])
    batch = make_batch(samples=1, optical=2, clouds=0)
    batch.optical[0, 0, 2, 9, 9] = torch.nan  # red, at the centre
    batch.optical[0, 1, 2, :9] = torch.nan  # the upper half, not the centre
    series = branch(batch.optical, batch.optical_days, None, False)
    assert series.valid.tolist() == [[[False, True]]]
    assert series.centre[0, 0, 1, -1].item() == 0.5
    assert (series.branch[0, 0, 0] == 0).all()


def test_missing_neighbours_are_typical_whatever_their_other_bands_say():
    """Ours also sees that they are missing; the paper's network has two channels only."""
    for name in ("default", "paper"):
        branch = Branch("optical", CONFIGS[name])
        batch = make_batch(samples=1, optical=1, clouds=0)
        batch.optical[:, :, 2, :9] = torch.nan  # red
        other = batch.optical.clone()
        other[:, :, [0, 1, 3], :9] *= 2
        one = branch(batch.optical, batch.optical_days, None, False)
        series_equal(one, branch(other, batch.optical_days, None, False), tolerance=0)
        if name == "paper":
            typical = batch.optical.clone()  # reflectances of NDVI 0.5 and GCC 0.36
            typical[:, :, :, :9] = torch.tensor([0.14, 0.18, 0.18, 0.54])[:, None, None]
            full = branch(typical, batch.optical_days, None, False)
            torch.testing.assert_close(one.branch, full.branch, atol=1e-5, rtol=0)


def test_radar_counts_from_its_median_over_its_own_orbit():
    branch = Branch("radar", CONFIGS["default"])
    db = torch.zeros(1, 5, 2, 18, 18)
    db[:, :, 0] = torch.tensor([-10.0, -12.0, -9.0, -20.0, -17.0])[:, None, None]
    db[:, :, 1] = -18
    orbits = torch.tensor([[0, 0, 0, 1, 1]])
    series = branch(db, torch.arange(5.0)[None], orbits, False)
    vv = series.centre[0, 0, :, 0] * SWING
    torch.testing.assert_close(vv, torch.tensor([0.0, -2.0, 1.0, 0.0, 3.0]))
    # The level is the median of all dates: -12 dB, in units of 4 dB from -11.
    torch.testing.assert_close(series.level[0, 0], torch.tensor([-0.25, 0.0, 1.0]))


def test_gain_offset_changes_only_the_level():
    branch = Branch("radar", CONFIGS["default"])
    batch = make_batch()
    offset = torch.tensor([2.0, -1.0])[batch.orbits][:, :, None, None, None]
    one = branch(batch.radar, batch.radar_days, batch.orbits, False)
    other = branch(batch.radar + offset, batch.radar_days, batch.orbits, False)
    assert not torch.allclose(one.level, other.level)
    series_equal(one._replace(level=other.level), other)


def test_no_dates_are_as_unseen_ones():
    batch = make_batch(radar=0)
    series = Branches(CONFIGS["default"])(batch)["radar"]
    assert series.valid.shape == (3, 1, 1)
    assert not series.valid.any()
    assert all((part == 0).all() for part in series)


def test_dates_without_the_pixel_are_not_computed():
    branch = Branch("optical", CONFIGS["default"])
    batch = make_batch(samples=2, optical=3, clouds=0)
    batch.optical[0, 0, :, 9, 9] = torch.nan
    batch.optical_days[1, 1] = torch.nan
    sizes = []
    branch.trunk.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
    branch(batch.optical, batch.optical_days, None, False)
    assert sizes == [4]


def test_fourier_by_hand():
    encoding = fourier(torch.tensor([0.0, 2.5]), 4)  # periods of 10 and 1461 days
    torch.testing.assert_close(encoding[0], torch.tensor([0.0, 0.0, 1.0, 1.0]))
    angle = torch.tensor(2 * torch.pi * 2.5 / 1461)
    expected = torch.stack([torch.tensor(1.0), angle.sin(), torch.tensor(0.0), angle.cos()])
    torch.testing.assert_close(encoding[1], expected, atol=1e-6, rtol=0)


def test_no_two_days_share_an_encoding():
    days = fourier(torch.arange(-181.0, 549.0), 32)
    apart = torch.cdist(days, days) + 9 * torch.eye(len(days))
    assert apart.min() > 0.1
