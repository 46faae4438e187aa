"""The dense form over a tile, pieces and all, against the network over every single patch."""

import numpy as np
import pytest
import torch
from tests.helpers.network_batches import at, make_batch, small

from deepcrop import stages
from deepcrop.errors import DeepCropError
from deepcrop.network import build, inference
from deepcrop.network.config import CURVE
from deepcrop.network.inference import put_on, stages_of_definition, tile_dates
from deepcrop.network.weights import shipped
from deepcrop.stages import CALENDAR


def network(name, **changes):
    torch.manual_seed(3)
    net = build(small(name, **changes)).eval()
    if name == "default":  # events with probabilities on both sides of the threshold
        net.none.bias.data += 4.93
    return net


def arrays(batch):
    return [part[0].numpy() for part in batch]


def cloudy(rows, cols, **changes):
    """A tile with clouds, whole dates without data, and the edge of a region at its upper left."""
    tile = make_batch(samples=1, rows=rows, cols=cols, **changes)
    for images in (tile.optical, tile.radar):
        images[..., :9, :] = torch.nan
        images[..., :9] = torch.nan
        images[:, 2] = torch.nan
    tile.optical[:, 1, :, :, 14:] = torch.nan
    tile.radar[:, 1, :, 12:20, 5:18] = torch.nan
    return tile


@pytest.mark.parametrize(
    ("name", "changes"), [("default", {}), ("paper", {"trunk": (32, 64, 128)}), ("radar-only", {})]
)
def test_every_pixel_of_a_tile_is_that_of_its_patch(name, changes, monkeypatch):
    monkeypatch.setattr(inference, "PIECE", 4)
    monkeypatch.setattr(inference, "PIXELS", 5)
    net, tile = network(name, **changes), cloudy(23, 26)
    found = tile_dates(net, *arrays(tile))
    rows, cols = 6, 9
    assert found.day.shape[:2] == (rows, cols)
    with torch.no_grad():
        patches = [at(tile, row, col) for row in range(rows) for col in range(cols)]
        whole = type(tile)(*(torch.cat(parts) for parts in zip(*patches, strict=True)))
        seen = net.encode(whole)
        single = net.decode(net.head(seen), seen)
    for part, wanted, tolerance in zip(found, single, (1e-3, 1e-3, 1e-3, 1e-5), strict=True):
        wanted = wanted.numpy().reshape(part.shape)
        np.testing.assert_allclose(part, wanted, atol=tolerance, rtol=0)  # NaN where NaN
    day = single.day.numpy().reshape(found.day.shape)
    np.testing.assert_array_equal(stages.encode(found.day), stages.encode(day))
    if name == "default":
        assert 0.05 < np.isnan(found.day).mean() < 0.95


def test_pieces_and_cores_change_nothing(monkeypatch):
    net, tile = network("default"), cloudy(40, 45)
    before = torch.get_num_threads()
    one = tile_dates(net, *arrays(tile))
    monkeypatch.setattr(inference, "PIECE", 8)
    pieces = tile_dates(net, *arrays(tile))
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    cores = tile_dates(net, *arrays(tile))
    monkeypatch.undo()
    assert torch.get_num_threads() == before
    for a, b, c in zip(one, pieces, cores, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3, rtol=0)
        np.testing.assert_array_equal(b, c)
    np.testing.assert_allclose(one.probability, pieces.probability, atol=1e-5, rtol=0)
    np.testing.assert_array_equal(stages.encode(one.day), stages.encode(pieces.day))


@pytest.mark.parametrize("name", ["default", "paper"])
def test_a_sensor_without_dates_is_as_one_without_data(name):
    net, tile = network(name), make_batch(samples=1, rows=20)
    nothing = tile._replace(radar=torch.full_like(tile.radar, torch.nan))
    none = tile._replace(
        radar=tile.radar[:, :0], radar_days=tile.radar_days[:, :0], orbits=tile.orbits[:, :0]
    )
    for a, b in zip(tile_dates(net, *arrays(nothing)), tile_dates(net, *arrays(none)), strict=True):
        np.testing.assert_array_equal(a, b)
    empty = none._replace(optical=tile.optical[:, :0], optical_days=tile.optical_days[:, :0])
    assert np.isfinite(tile_dates(net, *arrays(empty)).probability).all()


def test_a_tile_that_holds_no_patch_is_refused():
    net = network("default")
    with pytest.raises(DeepCropError, match="17 x 17 pixels; expected 18"):
        tile_dates(net, *arrays(make_batch(samples=1, rows=17)))
    tile = make_batch(samples=1, rows=20)
    with pytest.raises(DeepCropError, match="20 x 20 pixels, radar images 19 x 20"):
        tile_dates(net, *arrays(tile._replace(radar=tile.radar[..., 1:, :])))


def test_weights_that_did_not_come_with_the_package_are_missed(monkeypatch, tmp_path):
    monkeypatch.setitem(shipped.__globals__, "__file__", str(tmp_path / "shipped.py"))
    with pytest.raises(DeepCropError, match=r"default\.safetensors does not exist.*of weights"):
        shipped()
    (tmp_path / "default.safetensors").write_bytes(b"")
    assert shipped() == tmp_path / "default.safetensors"


def test_pixels_that_are_not_wanted_are_left_out(monkeypatch):
    monkeypatch.setattr(inference, "PIECE", 4)
    net, tile = network("default"), cloudy(23, 29)
    whole = tile_dates(net, *arrays(tile))
    wanted = np.zeros(whole.day.shape[:2], bool)
    wanted[1, 2:5] = wanted[5, 11] = True
    some = tile_dates(net, *arrays(tile), wanted=wanted)
    for part, every in list(zip(some, whole, strict=True))[:3]:
        np.testing.assert_allclose(part[wanted], every[wanted], atol=1e-3, rtol=0)
        assert np.isnan(part[~wanted]).all()
    assert (some.probability[~wanted] == 0).all()
    np.testing.assert_allclose(
        some.probability[wanted], whole.probability[wanted], atol=1e-5, rtol=0
    )


def test_without_the_dates_of_the_curve_the_camera_s_are_the_same():
    net, tile = network("default"), cloudy(20, 22)
    less = stages_of_definition(net, "camera")
    count = len(less.config.stages)
    assert less.config.stages == net.config.stages[:count] == tuple(CALENDAR)
    for part, every in zip(
        tile_dates(less, *arrays(tile)), tile_dates(net, *arrays(tile)), strict=True
    ):
        np.testing.assert_allclose(part, every[:, :, :, :count], atol=1e-3, rtol=0)
    paper = network("paper")
    assert stages_of_definition(paper, "camera") is paper


def test_the_dates_of_the_ndvi_curve_alone_are_the_same():
    net, tile = network("default"), cloudy(20, 22)
    less = stages_of_definition(net, "ndvi")
    assert less.config.stages == CURVE
    for part, every in zip(
        tile_dates(less, *arrays(tile)), tile_dates(net, *arrays(tile)), strict=True
    ):
        np.testing.assert_allclose(part, every[:, :, :, -len(CURVE) :], atol=1e-3, rtol=0)
    with pytest.raises(DeepCropError, match=r"not trained on dates by the definition 'ndvi'"):
        stages_of_definition(network("paper"), "ndvi")
    with pytest.raises(DeepCropError, match=r"'gpp' is unknown; expected camera or ndvi"):
        stages_of_definition(net, "gpp")


def test_lower_precision_changes_dates_little():
    net, tile = network("default"), cloudy(20, 22)
    single = tile_dates(net, *arrays(tile))
    half = tile_dates(net, *arrays(tile), precision="bfloat16")
    assert half.day.dtype == np.float32
    assert not np.array_equal(half.probability, single.probability)
    np.testing.assert_allclose(half.probability, single.probability, atol=0.05)


def test_a_gpu_computes_with_all_bits(monkeypatch):
    """By default cuDNN drops bits, which changes dates."""
    flags = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [flag.allow_tf32 for flag in flags]
    net = network("default")
    monkeypatch.setattr(net, "to", lambda device: net)  # there need be no GPU
    monkeypatch.setattr(inference, "check_device", lambda device: None)
    try:
        for flag in flags:
            flag.allow_tf32 = True
        put_on(net, "cpu", "float32")
        assert [flag.allow_tf32 for flag in flags] == [True, True]
        put_on(net, "cuda", "float32")
        assert [flag.allow_tf32 for flag in flags] == [False, False]
    finally:
        for flag, value in zip(flags, before, strict=True):
            flag.allow_tf32 = value


def test_devices_and_precisions_that_are_not_there_are_named():
    net = network("default")
    with pytest.raises(DeepCropError, match="'float8' is unknown; expected float32, bfloat16"):
        put_on(net, "cpu", "float8")
    with pytest.raises(DeepCropError, match="bfloat16 is only for a GPU"):
        put_on(net, "cpu", "bfloat16")
    with pytest.raises(DeepCropError, match="Device 'abacus' cannot be used"):
        put_on(net, "abacus", "float32")
