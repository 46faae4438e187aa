"""Random images for the tests of the network, and small forms of its configurations."""

from dataclasses import replace

import torch

from deepcrop.network import CONFIGS, Batch

torch.set_num_threads(1)  # in the tests' own process; sums are then always in the same order

SMALL_PAPER = {"width": 60, "heads": 30, "feedforward": 60, "dates": (6, 4), "mlp": (40, 30, 20)}


def small(name, **changes):
    """A configuration of `CONFIGS`; the paper's with small widths, that it fits into a test."""
    config = CONFIGS[name]
    if config.variant == "paper":
        changes = SMALL_PAPER | {"trunk": (4, 6, 8) if config.trunk else ()} | changes
    return replace(config, **changes)


def make_batch(samples=3, optical=7, radar=5, rows=18, cols=None, clouds=0.3, seed=0):
    """Random images on random days; a share of ``clouds`` of the optical pixels is missing."""
    random = torch.Generator().manual_seed(seed)
    size = (rows, cols or rows)

    def days(count):
        return -200 + 800 * torch.rand(samples, count, generator=random)

    reflectance = 0.02 + 0.4 * torch.rand(samples, optical, 4, *size, generator=random)
    missing = torch.rand(samples, optical, 1, *size, generator=random) < clouds
    backscatter = -14 + 2 * torch.randn(samples, radar, 2, *size, generator=random)
    orbits = torch.randint(0, 2, (samples, radar), generator=random)
    return Batch(
        reflectance.masked_fill(missing, torch.nan),
        days(optical),
        backscatter,
        days(radar),
        orbits,
    )


def at(batch, row, col):
    """Patches of tiles whose first cell is (row, col)."""
    window = (..., slice(row, row + 18), slice(col, col + 18))
    return batch._replace(optical=batch.optical[window], radar=batch.radar[window])
