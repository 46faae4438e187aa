"""Draw the pictures of the pages on method and accuracy.

python -m benchmarks.evidence_pictures DATA docs/assets [method validation real safe evaluation]

DATA is the folder of real data. Pixels and cameras are real, but the pixels of ``evaluation`` are
simulated, and so is the noise that is put into the image of ``safe``.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import rasterio
from benchmarks.cameras import match, read_camera, read_references
from matplotlib.figure import Figure

from deepcrop import figures
from deepcrop.cameras.site_years import read_network
from deepcrop.cameras.spatial_split import split
from deepcrop.evaluation import weights_report
from deepcrop.figures.style import SERIES_COLOURS, STAGE_COLOURS, date_axis
from deepcrop.grid.patches import inner
from deepcrop.network.weights import load, shipped
from deepcrop.phenology import season_dates, smooth
from deepcrop.sources.safe.border import find_border
from deepcrop.stages import STAGES
from deepcrop.studies import scene_thinning
from deepcrop.training import real_excerpts, simulated_cameras

FEW = scene_thinning.Case(share=0.25, draw=0)
"""How scenes are left out in the picture of real images."""


def method(data: Path, path: Path) -> None:
    """Draw levels, dates and intervals of one pixel in the middle of a field of maize."""
    excerpt = real_excerpts.read("flanders", data)
    (example,) = excerpt.examples
    maize = np.flatnonzero((excerpt.groups == "maize") & excerpt.inside)
    place = maize[maize.size // 2]
    _, _, red, nir = inner(example.optical).reshape(len(example.optical), 4, -1)[:, :, place].T
    values, days = (nir - red) / (nir + red), example.optical_days
    seen = np.isfinite(values)
    (fitted,), grid = smooth(values[None], days)
    found = season_dates(values[None], days)
    names = found.stages
    peaks = found.dates[0, :, names.index("peak")]
    season = int(np.nanargmin(np.abs(peaks - 200)))  # that of the summer
    dates, low, high = (
        dict(zip(names, one[0, season], strict=True))
        for one in (found.dates, found.low, found.high)
    )
    figure = Figure(figsize=(7.4, 3.5), layout="constrained")
    axes = figure.subplots()
    axes.plot(days[seen], values[seen], "o", ms=3, color=SERIES_COLOURS["optical"])
    axes.plot(grid, fitted, color=SERIES_COLOURS["curve"], lw=1.2)
    level = dict(zip(names, np.interp([dates[n] for n in names], grid, fitted), strict=True))
    ends = {"sos": (-20, dates["peak"]), "eos": (dates["peak"], 300)}
    for side, (first, last) in ends.items():
        # Both levels of a side give its base and its top.
        slope = (level[f"{side}50"] - level[f"{side}20"]) / 0.3
        base = level[f"{side}20"] - 0.2 * slope
        for height, text in ((base, "base, 0 %"), (base + slope, "top, 100 %")):
            axes.hlines(height, first, last, color="0.6", lw=0.8, ls="--")
            if text.startswith("base"):
                at = 303 if side == "eos" else -22
                axes.text(at, height, text, fontsize=7, va="center",
                          ha="left" if side == "eos" else "right")  # fmt: skip
    axes.text(dates["peak"], level["peak"] + 0.05, "top, 100 %", fontsize=7, ha="center")
    for name in STAGES:
        colour = STAGE_COLOURS[name]
        axes.plot([dates[name]] * 2, [0, level[name]], color=colour, lw=1)
        axes.plot([low[name], high[name]], [level[name]] * 2, color=colour, lw=4, alpha=0.5)
        left = name.startswith("sos")
        axes.text(dates[name] + (-9 if left else 9), level[name] + 0.03, name.upper(), fontsize=8,
                  color=colour, ha="right" if left else "left", weight="bold")  # fmt: skip
    axes.set_xlim(-75, 350)
    axes.set_ylim(0, 1.02)
    axes.set_ylabel("NDVI", fontsize=8)
    axes.tick_params(labelsize=7)
    date_axis(axes, -75, 350, excerpt.year)
    axes.set_title("Maize in Flanders, 2018: one pixel of Sentinel-2", fontsize=9, loc="left")
    figure.savefig(path, dpi=100)


def validation(data: Path, path: Path) -> None:
    """Draw how far dates of cameras are from those of two other methods."""
    cameras = [read_camera(one) for one in sorted((data / "phenocam/series").glob("*.csv"))]
    references = read_references(data / "phenocam/reference")
    matches = [found for one in references if (found := match(one, cameras))]
    figure = Figure(figsize=(7.4, 2.6), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True)
    for axes, source in zip(panels, ("phenocamr", "third party"), strict=True):
        for threshold, direction, colour in (
            (25, "rising", STAGE_COLOURS["sos20"]), (50, "rising", STAGE_COLOURS["sos50"]),
            (50, "falling", STAGE_COLOURS["eos50"]), (25, "falling", STAGE_COLOURS["eos20"]),
        ):  # fmt: skip
            group = [
                m.difference if m.found else np.inf
                for m in matches
                if (m.reference.source, m.reference.threshold, m.reference.direction)
                == (source, threshold, direction)
            ]
            apart = np.sort(np.abs(group))
            share = 100 * np.arange(1, apart.size + 1) / apart.size
            side = "rise" if direction == "rising" else "fall"
            axes.step(apart, share, where="post", color=colour, lw=1.3,
                      label=f"{threshold} % of the {side}, {apart.size} dates")  # fmt: skip
        axes.set_title(source, fontsize=9)
        axes.set_xlim(0, 15)
        axes.set_ylim(0, 100)
        axes.grid(color="0.9")
        axes.tick_params(labelsize=7)
        axes.set_xlabel("days between our date and the reference's", fontsize=8)
        axes.legend(fontsize=7, loc="lower right", frameon=False)
    panels[0].set_ylabel("share of the dates, %", fontsize=8)
    figure.savefig(path, dpi=100)


def real(data: Path, path: Path) -> None:
    """Draw SOS50 of Flanders: the curve of all scenes, and both methods with a quarter of them."""
    excerpt = real_excerpts.read("flanders", data)
    network, _ = load(shipped())
    wanted = scene_thinning.reference(excerpt)
    trusted = scene_thinning.trusted(excerpt)
    methods = {
        "NDVI curve, 25 % of the scenes": scene_thinning.curve_method(excerpt),
        "network, 25 % of the scenes": scene_thinning.network_method(excerpt, network, radar=True),
    }
    side = int(np.sqrt(excerpt.groups.size))
    maize = (excerpt.groups == "maize") & trusted[:, 0, 1]
    panels = [figures.Panel("NDVI curve, all scenes", wanted[:, 0, 1].reshape(side, side))]
    for name, predict in methods.items():
        days = scene_thinning.dates_by(scene_thinning.predict_case(excerpt, FEW, predict), "curve")
        days = days[:, 0, 1]
        apart = np.abs(days - wanted[:, 0, 1])[maize]
        dated = np.isfinite(apart)
        notes = (
            f"maize, {maize.sum()} pixels: {100 * dated.mean():.0f} % dated,",
            f"mean error {apart[dated].mean():.1f} days, median {np.median(apart[dated]):.1f}",
        )
        panels.append(figures.Panel(name, days.reshape(side, side), notes))
    figure = figures.stage_panels(
        {"sos50": panels}, year=excerpt.year, resolution=10.0, heading="When scenes are missing",
        title="Flanders, real Sentinel-1 and Sentinel-2 images, 470 m x 470 m", simulated=False,
    )  # fmt: skip
    figures.save(figure, path)


@np.errstate(divide="ignore")
def safe(data: Path, path: Path) -> None:
    """Draw a real image with simulated noise in its border, and what is masked."""
    file = data / "sentinel1_safe/S1A_IW_GRDH_20180716_decimated/iw-vv.tiff"
    with rasterio.open(file) as source:
        numbers = source.read(1).astype(float)
    limit = 1000.0  # as in tests/sources/safe/test_border.py
    noise = np.random.default_rng(0).exponential(0.5 * limit, numbers.shape)
    power = np.where(numbers == 0, noise, numbers**2)
    border = find_border(lambda rows, cols: (power - limit)[rows, cols], power.shape)
    outside = border.outside(*map(np.arange, power.shape))
    figure = Figure(figsize=(7.4, 2.7), layout="constrained")
    for axes, image, title in zip(
        figure.subplots(1, 2),
        (power, np.where(outside, np.nan, power)),
        ("with SIMULATED border noise", "border found and left out (white)"),
        strict=True,
    ):
        axes.imshow(10 * np.log10(image), cmap="gray", vmin=24, vmax=55, interpolation="none")
        axes.set_title(title, fontsize=9)
        axes.set_xlim(numbers.shape[1] - 200, numbers.shape[1] - 0.5)
        axes.set_ylim(120, 0)
        axes.set_axis_off()
    figure.savefig(path, dpi=100, pil_kwargs={"optimize": True})


def evaluation(data: Path, path: Path) -> None:
    """Draw dates of the package's weights against cameras at the five test sites."""
    files = sorted((data / "phenocam/series").glob("*.csv"))
    crops = data / "phenocam/crop_type_by_site_year.csv"
    years = read_network(files, data / "phenocam/sites.csv", crops)
    recent = [year for year in years if year.accepted and year.year >= 2016]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        tested = split(recent).test
        simulated_cameras.simulated_samples(tested, out / "samples.npz", repeats=2, workers=2)
        weights_report.evaluate(shipped(), out / "samples.npz", out / "scores")
        shutil.copy(out / "scores/figures/scatter.png", path)


PICTURES = {one.__name__: one for one in (method, validation, real, safe, evaluation)}


def main() -> None:
    data, out = map(Path, sys.argv[1:3])
    for name in sys.argv[3:] or PICTURES:
        PICTURES[name](data, out / f"{name}.png")


if __name__ == "__main__":
    main()
