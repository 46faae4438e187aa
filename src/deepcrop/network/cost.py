"""How large a network is and what it costs: parameters and multiply-adds.

Both are read off the network itself, on PyTorch's meta device, which knows shapes but holds no
numbers: the paper's 421 million parameters take no memory.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from deepcrop.grid import PATCH_SIZE
from deepcrop.network.config import CONFIGS, Config
from deepcrop.network.sensor_branch import Branch, Series
from deepcrop.network.weights import build

DATES = {"optical": 42, "radar": 28}
"""Scenes of the paper's first area, TA1."""

TILE = 256
"""Pixels on a side of the tile by which the dense form is counted, halo included."""


@dataclass(frozen=True)
class Cost:
    """Size and arithmetic of one network.

    Attributes
    ----------
    parameters : int
        Trained numbers.
    dates : tuple of int
        Dates of each of its sensors that the counts below are for.
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
    """Count a network: the paper's with its own number of dates, ours with `DATES`."""
    dates = dict(zip(DATES, config.dates or DATES.values(), strict=True))
    with torch.device("meta"):
        network = build(config).eval()
        seen, patch, tile = {}, 0, 0
        for name in config.sensors:
            branch = network.branches.of(name)
            seen[name] = _series(branch, dates[name])
            patch += dates[name] * _trunk(branch, PATCH_SIZE, False)
            tile += dates[name] * _trunk(branch, TILE + PATCH_SIZE - 1, True) // TILE**2
        with FlopCounterMode(display=False) as counter:
            network.head(seen)
    parameters = sum(p.numel() for p in network.parameters())
    counts = tuple(dates[name] for name in config.sensors)
    return Cost(parameters, counts, patch, tile, counter.get_total_flops() // 2)


def _trunk(branch: Branch, side: int, dense: bool) -> int:
    """Multiply-adds of a trunk for one image."""
    if branch.trunk is None:
        return 0
    with FlopCounterMode(display=False) as counter:
        branch.trunk(torch.empty(1, branch.channels, side, side), dense)
    return counter.get_total_flops() // 2


def _series(branch: Branch, dates: int) -> Series:
    """Make what a branch would give for one pixel."""
    last, middle, centre = (torch.empty(1, 1, dates, width) for width in branch.widths)
    seen = torch.empty(1, 1, dates, dtype=torch.bool)
    return Series(last, middle, centre, seen, torch.empty(1, dates), torch.empty(1, 1, 3))


def table() -> str:
    """All of `CONFIGS`, as Markdown."""
    lines = [
        "| configuration | parameters | dates | branches, patch | branches, tile | temporal part |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for name, config in CONFIGS.items():
        one = cost(config)
        millions = " | ".join(f"{n / 1e6:,.2f}" for n in (one.patch, one.tile, one.head))
        dates = "+".join(map(str, one.dates))
        lines.append(f"| {name} | {one.parameters:,} | {dates} | {millions} |")
    note = f"Millions of multiply-adds per pixel; tiles of {TILE} x {TILE} pixels."
    return "\n".join([*lines, "", note])
