"""Draw docs/assets/curve.png and docs/assets/simulation.png from a simulated region.

deepcrop simulate region.zarr --size 260x320
python benchmarks/pictures.py region.zarr docs/assets
"""

import sys
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.patches import Patch

import deepcrop as dc
from deepcrop import figures
from deepcrop.figures.style import date_colours
from deepcrop.indices import ndvi
from deepcrop.phenology import smooth
from deepcrop.stages import decode, to_dates, to_days

YEAR = 2018


def curve(cube, path: Path) -> None:
    """Draw one pixel of maize: observations, smoothed curve, dates."""
    landcover = cube["landcover"].to_dataset()
    codes = dict(
        zip(
            str(landcover["crop_type"].attrs["flag_meanings"]).split(),
            np.atleast_1d(landcover["crop_type"].attrs["flag_values"]).tolist(),
            strict=True,
        )
    )
    rows, cols = np.nonzero(landcover["crop_type"].values == codes["maize"])
    middle = rows.size // 2
    optical = cube["optical"].to_dataset()
    series = ndvi(optical.isel(y=rows[middle], x=cols[middle]))
    days = to_days(series["time"].values, YEAR)
    near = (days > -60) & (days < 420)
    seen = near & np.isfinite(series.values)
    fitted, curve_days = smooth(series.values[None], days)
    dates = dc.extract(series, year=YEAR, latitude=41.6)["date"].sel(season=1)
    within = (curve_days > -60) & (curve_days < 420)
    figure = figures.series_figure(
        days[seen],
        series.values[seen],
        np.ones(int(seen.sum()), bool),
        curve_days[within],
        fitted[0][within],
        {str(stage): float(dates.sel(stage=stage)) for stage in dates["stage"].values},
        year=YEAR,
        title="One pixel of maize: NDVI, curve, season dates",
        simulated=True,
    )
    figures.save(figure, path)


def landscape(cube, path: Path) -> None:
    """Draw what a simulated region holds: crops, an image, true dates."""
    crops = cube["landcover"]["crop_type"]
    present, codes = np.unique(crops.values, return_inverse=True)
    names = str(crops.attrs["flag_meanings"]).split()
    colours = matplotlib.colormaps["tab20"].colors[: present.size]
    optical = cube["optical"].to_dataset()
    summer = optical.sel(time=slice(f"{YEAR}-06-20", f"{YEAR}-07-31"))
    clear = np.isfinite(summer["red"]).mean(("y", "x")).values
    image = summer.isel(time=int(clear.argmax()))
    rgb = np.stack([image[band].values for band in ("red", "green", "blue")], -1)
    rgb = np.clip(rgb / 0.16, 0, 1)
    truth = cube["truth"]["sos50"]
    truth = decode(truth.isel(season=0).values if "season" in truth.dims else truth.values)
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    axes = figure.subplots(1, 3)
    axes[0].imshow(codes.reshape(crops.shape), ListedColormap(colours), interpolation="none")
    axes[0].set_title("crop types", fontsize=10)
    labels = [names[value].replace("_", " ") for value in present]
    patches = [
        Patch(color=colour, label=name) for colour, name in zip(colours, labels, strict=True)
    ]
    axes[0].legend(
        handles=patches, fontsize=7, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.01)
    )
    axes[1].imshow(rgb, interpolation="none")
    axes[1].set_title(f"Sentinel-2, {str(image['time'].values)[:10]}", fontsize=10)
    low, high = np.nanquantile(truth, [0.02, 0.98])
    shown = axes[2].imshow(truth, date_colours("sos50"), vmin=low, vmax=high, interpolation="none")
    axes[2].set_title("true SOS50", fontsize=10)
    bar = figure.colorbar(shown, ax=axes[2], shrink=0.8)
    ticks = bar.get_ticks()[1:-1]
    bar.set_ticks(ticks, labels=[str(day)[5:] for day in to_dates(ticks, YEAR)], fontsize=8)
    for axis in axes:
        axis.set_xticks([])
        axis.set_yticks([])
    figure.suptitle("SIMULATED DATA", color="#a50f15", fontsize=11, fontweight="bold")
    figure.savefig(path, dpi=110)


def main() -> None:
    region, out = map(Path, sys.argv[1:])
    cube = dc.open_cube(region)
    curve(cube, out / "curve.png")
    landscape(cube, out / "simulation.png")


if __name__ == "__main__":
    main()
