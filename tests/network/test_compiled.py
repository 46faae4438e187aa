"""The compiled kernels of the network against PyTorch, and the choice between the two."""

import logging
import os
import platform
import subprocess
import sys
from dataclasses import replace

import numba
import numpy as np
import pytest
import torch
from tests.helpers.network_batches import make_batch, small

from deepcrop.errors import DeepCropError
from deepcrop.mapping.network import choose
from deepcrop.network import build, compiled, inference, load, runtime, simd
from deepcrop.network.compiled import CompiledNetwork, can_compile
from deepcrop.network.inference import COMPILED, PYTORCH, stages_of_definition, tile_dates
from deepcrop.network.runtime import choose_runtime, difference
from deepcrop.network.weights import shipped
from deepcrop.stages import Dates


def network(name, **changes):
    torch.manual_seed(3)
    net = build(small(name, **changes)).eval()
    for parameter in net.parameters():  # so that no bias or norm is without effect
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return net


def arrays(batch):
    return [part[0].numpy() for part in batch]


def cloudy(**changes):
    """A tile with clouds, dates without data in all of it, and in its halo only."""
    tile = make_batch(samples=1, rows=22, cols=25, **changes)
    tile.optical[:, 2] = torch.nan
    tile.radar[:, 1, :, 8:14, 8:17] = torch.nan
    tile.optical[..., 10, 11] = torch.nan
    return tile


@numba.njit
def multiplied(x, rows, w, count, vectors, start, out):
    simd.product(x, 0, count, rows, w, 0, 16, 16 * count, count, vectors, start, 0, 0, out, 0,
                 16 * vectors)  # fmt: skip


@pytest.mark.parametrize("vectors", [1, 2, 5])
def test_product_of_matrices(vectors):
    rng = np.random.default_rng(0)
    x, weight = rng.normal(size=(9, 31)), rng.normal(size=(16 * vectors, 31))
    start = rng.normal(size=16 * vectors)
    room = np.zeros((14, 31), np.float32)  # rows are computed seven at a time
    room[:9] = x
    out = np.zeros(14 * 16 * vectors, np.float32)
    packed = compiled._columns(weight.astype(np.float32))
    multiplied(room.reshape(-1), 9, packed, 31, vectors, start.astype(np.float32), out)
    np.testing.assert_allclose(out.reshape(14, -1)[:9], x @ weight.T + start, atol=2e-5, rtol=0)


@numba.njit
def changed(x, ones, zeros, epsilon, normal, columns, shares):
    simd.normalise(x, 0, ones, zeros, 0, epsilon, 0, normal, 0)
    simd.transpose(x, 0, 16, columns, 0)
    simd.softmax(shares, 0, 4)
    simd.sigmoid(x, 0)


def test_rows_of_numbers():
    rng = np.random.default_rng(0)
    x = np.concatenate([[-200, 200, 0], rng.normal(0, 3, 253)]).astype(np.float32)
    given, shares = x.copy(), x[:64].copy()
    normal, columns = np.zeros(64, np.float32), np.zeros(256, np.float32)
    ones, zeros = np.ones(64, np.float32), np.zeros(64, np.float32)
    changed(x, ones, zeros, np.array([1e-5], np.float32), normal, columns, shares)
    first = given[:64].astype(np.float64)
    np.testing.assert_allclose(normal, (first - first.mean()) / first.std(), atol=1e-5)
    np.testing.assert_array_equal(columns.reshape(16, 16), given.reshape(16, 16).T)
    np.testing.assert_allclose(shares, np.exp(first - 200) / np.exp(first - 200).sum(), atol=1e-30)
    np.testing.assert_allclose(x[:16], 1 / (1 + np.exp(-first[:16])), rtol=1e-6, atol=1e-37)


@pytest.mark.parametrize(
    ("name", "changes", "sensors"),
    [
        ("default", {}, (7, 5)),
        ("default", {}, (7, 0)),
        ("default", {}, (0, 0)),
        ("default", {"bin_days": 7, "bins": 2, "layers": 1, "feedforward": 48}, (3, 20)),
        ("optical-only", {}, (7, 5)),
        ("radar-only", {}, (7, 5)),
        ("evi-only", {}, (7, 5)),
    ],
)
def test_logits_are_those_of_pytorch(name, changes, sensors):
    net, tile = network(name, **changes), cloudy(optical=7, radar=5)
    tile = tile._replace(
        optical=tile.optical[:, : sensors[0]], optical_days=tile.optical_days[:, : sensors[0]],
        radar=tile.radar[:, : sensors[1]], radar_days=tile.radar_days[:, : sensors[1]],
        orbits=tile.orbits[:, : sensors[1]],
    )  # fmt: skip
    with torch.inference_mode():
        fast = CompiledNetwork(net)
        pixels = np.array([3, 0, 17, 39])
        found = fast.logits(fast.encode(tile), pixels)
        features = net.encode(tile, dense=True)
        expected = net.head(
            {name: f.select(torch.from_numpy(pixels)) for name, f in features.items()}
        )
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("in_season", [False, True])
def test_decoding_is_that_of_pytorch(in_season):
    """Two seasons that compete, flat and narrow distributions, events and none."""
    net = network("default")
    random = torch.Generator().manual_seed(1)
    bins = len(net.edges) - 1
    logits = 2 * torch.rand(300, 2, 10, bins + 1, generator=random)
    at = torch.arange(bins)
    for peak in torch.rand(2, 300, 2, 10, 1, generator=random) * bins:
        logits[..., :-1] += 6 * torch.exp(-(((at - peak) / 3) ** 2))
    logits[..., -1] += 4 + 8 * torch.rand(300, 2, 10, generator=random)
    found = CompiledNetwork(net).decode(logits.numpy(), in_season)
    with torch.no_grad():
        expected = net.decode(logits, {}, in_season)
    assert 0.2 < expected.day.isfinite().float().mean() < 0.9
    for part, values in zip(found, expected, strict=True):
        np.testing.assert_allclose(part, values.numpy(), atol=1e-3, rtol=0)  # NaN where NaN


def shipped_network(name="camera"):
    return stages_of_definition(load(shipped())[0], name)


@pytest.mark.parametrize("radar", [True, False])
def test_dates_of_the_shipped_weights_are_those_of_pytorch(radar):
    net, tile = shipped_network(), list(runtime._tile())
    if not radar:
        tile[2:] = tile[2][:0], tile[3][:0], tile[4][:0]
    ours, theirs = (tile_dates(net, *tile, runtime=name) for name in (COMPILED, PYTORCH))
    assert np.isfinite(theirs.day).any(axis=(0, 1)).any()
    assert difference(ours, theirs, net.config.threshold) == ""
    for part in ("day", "low", "high"):
        np.testing.assert_array_equal(
            np.isfinite(getattr(ours, part)), np.isfinite(getattr(theirs, part))
        )


def test_pieces_cores_and_other_pixels_change_no_bit(monkeypatch):
    net, tile = network("default"), cloudy()
    one = tile_dates(net, *arrays(tile), runtime=COMPILED)
    monkeypatch.setattr(inference, "PIXELS", 5)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    wanted = np.zeros(one.day.shape[:2], bool)
    wanted[1:4, 2:5] = True
    some = tile_dates(net, *arrays(tile), runtime=COMPILED, wanted=wanted)
    for a, b in zip(one, some, strict=True):
        np.testing.assert_array_equal(a[wanted], b[wanted])
    assert np.isnan(some.day[~wanted]).all()


def test_the_compiled_network_is_chosen_after_a_check(monkeypatch, caplog):
    monkeypatch.setattr(runtime, "_problems", {})
    net = shipped_network()
    assert choose_runtime(net, "a") == COMPILED
    assert not caplog.records

    def other(logits, *rest):
        right(logits, *rest)
        rest[-1][0] += 0.5

    right = compiled.decode_logits
    monkeypatch.setattr(compiled, "decode_logits", other)
    assert choose_runtime(net, "a") == COMPILED  # once in a process
    with caplog.at_level(logging.WARNING):
        assert choose_runtime(net, "b") == PYTORCH
    assert "gives other dates (by up to 0.5 days); PyTorch computes the map" in caplog.text
    monkeypatch.setattr(compiled, "head_logits", None)
    assert choose_runtime(net, "c") == PYTORCH
    assert "cannot be used (TypeError" in caplog.text
    with pytest.raises(DeepCropError, match="made by the compiled network, which cannot be used"):
        choose(net, "d", COMPILED)
    assert choose(net, "d", PYTORCH) == PYTORCH


def test_dates_that_only_one_has_are_a_difference():
    probability = np.array([0.1, 0.10005, 0.5, 0.9], np.float32)
    day = np.array([np.nan, 120, 120, 120], np.float32)
    dates = Dates(day, day - 9, day + 9, probability)
    assert difference(dates, dates, 0.1) == ""
    near = replace(dates, day=np.array([np.nan, np.nan, 120, 120], np.float32))
    assert difference(near, dates, 0.1) == ""
    none = np.full(4, np.nan, np.float32)
    for some, other in ((Dates(none, none, none, probability), dates),
                        (dates, replace(dates, high=none))):  # fmt: skip
        assert "or lacks some (2 of 4)" in difference(some, other, 0.1)
    lost = replace(dates, probability=none)
    for some, other in ((lost, dates), (dates, lost), (lost, lost)):
        assert "no numbers" in difference(some, other, 0.1)


def test_kernels_that_lose_all_dates_are_not_chosen(monkeypatch, caplog):
    def undated(logits, *rest):
        right(logits, *rest)
        rest[-1][:3] = np.nan

    monkeypatch.setattr(runtime, "_problems", {})
    right = compiled.decode_logits
    monkeypatch.setattr(compiled, "decode_logits", undated)
    assert choose_runtime(shipped_network(), "a") == PYTORCH
    assert "gives dates that PyTorch does not, or lacks some" in caplog.text


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), MemoryError(), KeyboardInterrupt()]
)
def test_a_passing_error_chooses_nothing(error, monkeypatch, caplog):
    def full(*_):
        raise error

    monkeypatch.setattr(runtime, "_problems", {})
    net = shipped_network()
    with monkeypatch.context() as patch:
        patch.setattr(compiled, "head_logits", full)
        with pytest.raises(type(error)):
            choose_runtime(net, "a")
    assert choose_runtime(net, "a") == COMPILED
    assert not caplog.records


def test_a_processor_without_fma_is_left_to_pytorch_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(runtime, "_problems", {})
    monkeypatch.setattr(simd, "_machine_code", lambda: "callq fmaf@PLT")
    net = shipped_network()
    assert can_compile(net)
    assert choose_runtime(net, "a") == PYTORCH
    assert "does not multiply and add in one step (FMA); PyTorch computes" in caplog.text
    with pytest.raises(DeepCropError, match="compiled network, which would be slow, since"):
        choose(net, "a", COMPILED)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="features of x86")
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"CPU_NAME": "generic"}, (5, 1, False)),
        ({"CPU_NAME": "haswell", "CPU_FEATURES": ""}, (5, 1, True)),  # known by the name alone
        ({"CPU_NAME": "haswell", "CPU_FEATURES": "-fma"}, (5, 1, False)),
        ({"CPU_NAME": "skylake-avx512", "CPU_FEATURES": ""}, (7, 2, True)),
    ],
)
def test_the_processor_is_the_one_that_numba_compiles_for(settings, expected):
    code = (  # of the file alone: to import the package takes longer
        f"import runpy; m = runpy.run_path({simd.__file__!r}); "
        "print((m['ROWS'], m['COLUMNS'], m['can_multiply_and_add']()))"
    )
    others = {name: value for name, value in os.environ.items() if "NUMBA_CPU" not in name}
    changed = {f"NUMBA_{name}": value for name, value in settings.items()}
    done = subprocess.run(
        [sys.executable, "-c", code], env=others | changed, capture_output=True, text=True
    )
    assert done.stdout.strip() == str(expected), done.stderr


def test_other_architectures_are_left_to_pytorch(monkeypatch, caplog):
    monkeypatch.setattr(runtime, "_problems", {})
    for name, changes in (("paper", {}), ("cnn-only", {}), ("default", {"width": 32, "heads": 2})):
        net = network(name, **changes)
        assert not can_compile(net)
        assert choose_runtime(net, f"{name} {changes}") == PYTORCH
        with pytest.raises(DeepCropError, match=r"architecture of these weights .*'pytorch'"):
            tile_dates(net, *arrays(cloudy()), runtime=COMPILED)
        with pytest.raises(DeepCropError, match="compiled network, which does not know"):
            choose(net, name, COMPILED)
    assert not caplog.records
    with pytest.raises(DeepCropError, match="in bfloat16 on cpu"):
        tile_dates(network("default"), *arrays(cloudy()), runtime=COMPILED, precision="bfloat16")
    with pytest.raises(DeepCropError, match="'fast' is unknown; expected pytorch or compiled"):
        tile_dates(net, *arrays(cloudy()), runtime="fast")
