"""Parameters and multiply-adds of the networks, against arithmetic on paper."""

import runpy

import pytest
import torch
from tests.helpers.network_batches import make_batch, small
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from deepcrop.network import CONFIGS, build
from deepcrop.network.cost import TILE, cost


def test_parameters_of_the_paper_by_hand():
    trunk = (2 * 25 * 32 + 32) + (32 * 25 * 64 + 64) + (64 * 25 * 128 + 128)
    fusion = 64 * 3 * 128 + 128
    embedding = (128 + 128 + 3) * 900 + 900 + 2 * 900  # branch, fused, raw and share; modality
    attention = 900 * 2700 + 2700 + 900 * 900 + 900
    feedforward = 2 * (900 * 900 + 900)
    norms = 3 * 2 * 900
    encoder = attention + feedforward + norms
    mlp = (36_000 * 10_000 + 10_000) + (10_000 * 5_000 + 5_000)
    mlp += (5_000 * 1_000 + 1_000) + (1_000 * 500 + 500)
    out = 500 * 160 + 160  # four stages at 40 dates
    total = 2 * trunk + fusion + embedding + encoder + mlp + out
    assert cost(CONFIGS["paper"]).parameters == total == 421_243_612
    assert mlp / total == pytest.approx(0.986, abs=0.001)


def test_arithmetic_of_the_paper_by_hand():
    paper = cost(CONFIGS["paper"])
    conv1, conv2, conv3 = 25 * 2 * 32, 25 * 32 * 64, 25 * 64 * 128
    mean = 25 * 64  # of the mid-level features of a tile; those of a patch are only added up
    assert paper.patch == 40 * (14 * 14 * conv1 + 10 * 10 * conv2 + conv3)
    with_halo = ((TILE + 13) / TILE) ** 2 * conv1 + ((TILE + 9) / TILE) ** 2 * conv2 + conv3 + mean
    assert paper.tile == pytest.approx(40 * with_halo, rel=1e-4)
    encoder = 40 * (259 + 4 * 900 + 2 * 900) * 900 + 2 * 40 * 40 * 900
    mlp = 36_000 * 10_000 + 10_000 * 5_000 + 5_000 * 1_000 + 1_000 * 500 + 500 * 160
    assert paper.head == encoder + 40 * 3 * 64 * 128 + mlp


def test_parameters_of_ours_by_hand():
    d, g, kernels = 64, 49, 8
    optical = (7 * 25 * 16 + 16) + (16 * 25 * 16 + 16) + (16 * 25 * 24 + 24)
    radar = (3 * 25 * 16 + 16) + (16 * 25 * 16 + 16) + (16 * 25 * 24 + 24)
    reading = 2 * d + 2 * (d * d + d) + (d * kernels + kernels) + 4
    readings = 2 * reading + (24 + 7) * d + d + (24 + 3) * d + d
    fusion = 2 * 16 * 3 * 16 + 16
    calendar, level = 32 * d + d, 3 * d
    attention = 4 * (d * d + d) + 4 * (2 * g - 1)
    block = attention + 2 * (d * 128) + 128 + d + 2 * 2 * d
    answer = 2 * d + (d * 60 + 60) + (d * 20 + 20)  # bins and none, 2 slots x 10 dates
    total = optical + radar + readings + fusion + calendar + level + 2 * block + answer
    assert cost(CONFIGS["default"]).parameters == total == 134_800


def test_every_configuration_is_as_small_as_promised():
    sizes = {name: cost(config).parameters for name, config in CONFIGS.items()}
    for name, config in CONFIGS.items():
        assert config.variant == "paper" or sizes[name] < 3e6
    assert sizes["paper-optical"] < sizes["paper-cnn"] < sizes["paper"]


@pytest.mark.parametrize("name", ["default", "cnn-only", "paper"])
def test_count_on_the_meta_device_equals_a_real_run(name):
    config = small(name)
    expected = cost(config)
    optical, radar = expected.dates
    network = build(config).eval()
    batch = make_batch(samples=1, optical=optical, radar=radar, clouds=0)
    # Days of any year, so that the published network reads every image.
    batch = batch._replace(optical_days=batch.optical_days % 365, radar_days=batch.radar_days % 365)
    # The counter does not know the fast form of attention on CPUs.
    plain = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), plain:
        network(batch)
    assert counter.get_total_flops() // 2 == expected.patch + expected.head


@pytest.mark.slow
def test_the_command_prints_the_table(capsys):
    runpy.run_module("deepcrop.network")
    printed = capsys.readouterr().out
    assert "| paper | 421,243,612 | 30+10 | 225.54 | 10.52 | 623.17 |" in printed
    assert all(f"| {name} |" in printed for name in CONFIGS)
