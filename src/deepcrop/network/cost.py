"""Count the parameters and multiply-adds of a network.

Both are counted on the network itself, on PyTorch's meta device, which has shapes but no numbers:
the 421 million parameters of the published network take no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from deepcrop.grid import PATCH_SIZE
from deepcrop.network.config import CONFIGS, Config
from deepcrop.network.sensor_branch import Branch, SensorFeatures
from deepcrop.network.weights import build

DATES = {"optical": 42, "radar": 28}
"""Number of scenes of the paper's first test area, TA1."""

TILE = 256
"""Side of the tile for which the dense form is counted, pixels."""


@dataclass(frozen=True)
class Cost:
    """Size and arithmetic of one network.

    Attributes
    ----------
    parameters : int
        Number of trained parameters.
    dates : tuple of int
        Number of dates of each sensor that the counts below are for.
    patch : int
        Multiply-adds of the branches for one patch.
    tile : int
        Multiply-adds of the branches for one pixel of a tile (dense form).
    head : int
        Multiply-adds of the temporal part for one pixel.
    """

    parameters: int
    dates: tuple[int, ...]
    patch: int
    tile: int
    head: int


def cost(config: Config) -> Cost:
    """Count a network: the published one with its own number of dates, ours with `DATES`."""
    dates = dict(zip(DATES, config.dates or DATES.values(), strict=True))
    with torch.device("meta"):
        network = build(config).eval()
        features, patch, tile = {}, 0, 0
        for name in config.sensors:
            branch = network.branches.of(name)
            features[name] = _empty_features(branch, dates[name])
            patch += dates[name] * _trunk(branch, PATCH_SIZE, False)
            tile += dates[name] * _trunk(branch, TILE + PATCH_SIZE - 1, True) // TILE**2
        with FlopCounterMode(display=False) as counter:
            network.head(features)
    parameters = sum(p.numel() for p in network.parameters())
    counts = tuple(dates[name] for name in config.sensors)
    return Cost(parameters, counts, patch, tile, counter.get_total_flops() // 2)


def _trunk(branch: Branch, side: int, dense: bool) -> int:
    """Multiply-adds of the trunk for one image."""
    if branch.trunk is None:
        return 0
    with FlopCounterMode(display=False) as counter:
        branch.trunk(torch.empty(1, branch.channels, side, side), dense)
    return int(counter.get_total_flops() // 2)


def _empty_features(branch: Branch, dates: int) -> SensorFeatures:
    """Features of one pixel, without numbers."""
    last, middle, centre = (torch.empty(1, 1, dates, width) for width in branch.widths)
    valid = torch.empty(1, 1, dates, dtype=torch.bool)
    level = torch.empty(1, 1, 3)
    return SensorFeatures(last, middle, centre, valid, torch.empty(1, dates), level)


def table() -> str:
    """Table of all `CONFIGS`, in Markdown."""
    lines = [
        "| configuration | parameters | dates | branches, patch | branches, tile | temporal part |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, config in CONFIGS.items():
        count = cost(config)
        millions = " | ".join(f"{n / 1e6:,.2f}" for n in (count.patch, count.tile, count.head))
        dates = "+".join(map(str, count.dates))
        lines.append(f"| {name} | {count.parameters:,} | {dates} | {millions} |")
    note = f"Millions of multiply-adds per pixel; tiles of {TILE} x {TILE} pixels."
    return "\n".join([*lines, "", note])
