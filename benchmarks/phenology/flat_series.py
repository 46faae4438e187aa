"""Seasons found where there is none: python benchmarks/phenology/flat_series.py.

SIMULATED series of an evergreen NDVI of 0.75, over three years of 219 dates, half of them cloudy,
and over one year of 79 dates, two thirds cloudy. A cell is the share of series with a complete
season in it (SOS20, SOS50, EOS50 and EOS20).
"""

import argparse

import numpy as np

import deepcrop
from deepcrop.report.tables import Table

NDVI = 0.75
SPANS = (("three years", np.arange(0, 1095, 5.0), 0.5), ("one year", np.arange(0, 395, 5.0), 0.68))


def noise(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    return 0.05 * rng.standard_normal(shape)


def thin_cloud(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """40 % of the images are lower by up to 0.4."""
    hazy = rng.random(shape) < 0.4
    return 0.02 * rng.standard_normal(shape) - np.where(hazy, rng.uniform(0, 0.4, shape), 0)


def haze(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """All images are lower by 0.08 in the mean, exponentially distributed."""
    return 0.02 * rng.standard_normal(shape) - rng.exponential(0.08, shape)


def haze_of_weeks(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Haze that changes over two to three images."""
    white = rng.standard_normal(shape)
    kernel = np.exp(-0.5 * (np.arange(-8, 9) / 2.0) ** 2)
    slow = np.apply_along_axis(np.convolve, 1, white, kernel, "same")
    return 0.02 * rng.standard_normal(shape) - 0.12 * np.maximum(slow / slow.std(), 0)


KINDS = {
    "noise of 0.05": noise,
    "thin cloud on 40 % of the images": thin_cloud,
    "haze, image by image": haze,
    "haze that stays for weeks": haze_of_weeks,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--series", type=int, default=8000)
    parser.add_argument("--smoother", default=deepcrop.phenology.DEFAULT_SMOOTHER)
    options = parser.parse_args()
    rows = []
    for title, make in KINDS.items():
        cells = [title]
        for _, days, cloudy in SPANS:
            rng = np.random.default_rng(3)
            shape = (options.series, days.size)
            values = NDVI + make(rng, shape)
            values[rng.random(shape) < cloudy] = np.nan
            found = deepcrop.season_dates(values, days, smoother=options.smoother)
            stages = [found.stages.index(name) for name in ("sos20", "sos50", "eos50", "eos20")]
            whole = np.isfinite(found.dates[:, :, stages]).all(axis=2).any(axis=1)
            cells.append(f"{100 * whole.mean():.1f}")
        rows.append(tuple(cells))
    titles = ("SIMULATED flat series", *(name for name, *_ in SPANS))
    print(Table("Series with a complete season, %", titles, rows).to_markdown())


if __name__ == "__main__":
    main()
