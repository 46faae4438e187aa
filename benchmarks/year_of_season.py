"""To which year seasons about New Year belong: a table, and four maps as a picture.

    python benchmarks/year_of_season.py --picture maps.png

Two uniform fields of SIMULATED NDVI, noise 0.02, observed every five days. One is sown in autumn
and level from October to March; its season belongs to a year by its highest point (the rule of
others, and ours until November 2026) or by the middle of SOS50 and EOS50. The other has three
summers of the southern hemisphere, whose middles run over a fortnight about 1 January from west to
east; its year is the calendar year, or starts on 1 July.
"""

import argparse
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from deepcrop.phenology import season_dates
from deepcrop.phenology.slots import season_middle
from deepcrop.report.tables import Table
from deepcrop.stages import CALENDAR, TargetYear, to_dates

ROWS, COLS = 60, 90
NOISE = 0.02


def autumn_sown(days):
    """NDVI (pixels, days) of a field that is green from 8 October to 6 April."""
    green = 1 / (1 + np.exp(-(days + 85) / 6)) - 1 / (1 + np.exp(-(days - 95) / 6))
    return np.broadcast_to(0.2 + 0.5 * green, (ROWS * COLS, days.size))


def southern_summers(days):
    """NDVI of three summers with peaks about 1 January, up to a week later or earlier."""
    late = np.linspace(-7, 7, COLS)
    peaks = np.array([-370, 3, 361]) + late[:, None]  # days from 1 January 2019
    away = days[:, None, None] - peaks
    ndvi = 0.2 + 0.6 * np.exp(-((away / 45) ** 2)).sum(axis=-1)
    return np.tile(ndvi.T, (ROWS, 1))


def seasons_of(field, first, last):
    """Peak and middle (pixels, seasons) of the seasons of a field."""
    days = np.arange(first, last, 5.0)
    noise = np.random.default_rng(1).normal(0, NOISE, (ROWS * COLS, days.size))
    found = season_dates(field(days) + noise, days)
    return found.dates[:, :, CALENDAR.index("peak")], season_middle(found.dates, found.stages)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--picture", type=Path)
    args = parser.parse_args()
    peak, middle = seasons_of(autumn_sown, -240, 365)
    _, southern = seasons_of(southern_summers, -549, 547)
    calendar, july = TargetYear(2019), TargetYear(2019, "07-01")
    cases = [
        ("autumn-sown", "by the highest point, calendar year", peak, calendar),
        ("autumn-sown", "by the middle, calendar year", middle, calendar),
        ("southern summer", "by the middle, calendar year", southern, calendar),
        ("southern summer", "by the middle, year from 1 July", southern, july),
    ]
    rows, maps = [], []
    for field, rule, days, year in cases:
        count = year.contains(days).sum(axis=1)
        share = [f"{100 * (count == number).mean():.0f}" for number in range(3)]
        rows.append((field, rule, str(year), *share))
        maps.append((f"{field}, {rule}", count.reshape(ROWS, COLS)))
    columns = ("field", "year of a season", "target year", "none", "one", "two")
    title = "Seasons of the target year, per cent of the pixels, SIMULATED"
    print(Table(title, columns, rows).to_markdown())
    print("middle of the autumn-sown season:", to_dates(np.nanpercentile(middle, [1, 99]), 2019))
    if args.picture:
        figure, axes = plt.subplots(2, 2, figsize=(9, 6.6), layout="constrained")
        figure.suptitle("SIMULATED fields: seasons of 2019 in each pixel")
        for place, (name, count) in zip(axes.flat, maps, strict=True):
            image = place.imshow(count, vmin=-0.5, vmax=2.5, cmap=plt.get_cmap("viridis", 3))
            place.set_title(name, fontsize=9)
            place.set_axis_off()
        figure.colorbar(image, ax=axes, ticks=[0, 1, 2], label="seasons", shrink=0.5)
        figure.savefig(args.picture, dpi=110)


if __name__ == "__main__":
    main()
