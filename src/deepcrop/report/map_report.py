"""Write the report of a map (`deepcrop report`): one HTML page, figures as PNG and SVG."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from pyproj import Transformer

from deepcrop.figures.style import date_label, percent
from deepcrop.products.layers import LEFT_OUT, WIDE_INTERVAL
from deepcrop.products.results import Result, ResultLayer, find_issues, open_result
from deepcrop.report import map_figures as figures
from deepcrop.report.issues_report import report_issues
from deepcrop.report.map_figures import METHODS
from deepcrop.report.page import SIMULATED, Picture, Section, write_page
from deepcrop.report.tables import Table
from deepcrop.sources.phenocam.summary_files import CITATION as PHENOCAM
from deepcrop.stages import STAGES, season_name
from deepcrop.storage.staging import staging

PAPER = (
    "Zhao, W., Qu, Y., Zhang, L., Li, K. (2022). Spatial-aware SAR-optical time-series deep "
    "integration for crop phenology tracking. Remote Sensing of Environment, 113046. "
    "https://doi.org/10.1016/j.rse.2022.113046"
)
_METHOD_TEXTS = {
    "curve": (
        "Greenness curve: the clear optical observations of each pixel are smoothed over time (the "
        "index, NDVI unless another was chosen, is listed below). A season runs from valley to "
        "peak to valley; its dates are the days on which the curve passes a share of the seasonal "
        "amplitude, rising (SOS) and falling (EOS): SOS20 at 20 %. The "
        "method reads each pixel alone, and no radar. NDVI lags the greenness of cameras, on "
        "annual crops by half a week at SOS20 and one to three weeks at EOS20."
    ),
    "deepcrop": (
        "Deep-CroP: a network reads the optical and radar images of the 18 × 18 pixels around each "
        "pixel. For each stage it predicts a distribution over days, and the probability that the "
        "stage occurs. A pixel gets a date where this probability is at least one half; the date "
        "is the median of the distribution, the 90 % interval reaches from its 5 % to its 95 % "
        "quantile. The weights of the package were trained on dates of near-ground cameras (real "
        "dates, simulated pixels), on simulated fields, and on real time series of parcels in "
        "France with dates of their NDVI curve (docs/model_card.md)."
    ),
}
_MAX_FLAGS = 12
"""Values of flags in the table; the others are added up."""


def report(path: str | Path, out: str | Path | None = None, overwrite: bool = False) -> Path:
    """Write the report of a finished map.

    Parameters
    ----------
    path : str or Path
        Directory made by ``deepcrop map``, or a folder of issues of a map (``deepcrop update``),
        whose report shows how the forecast moved from issue to issue.
    out : str or Path, optional
        Folder to create; by default ``report`` in the directory of the map.
    overwrite : bool
        Replace an existing ``out``.

    Returns
    -------
    Path
        ``report.html``: one self-contained file; its figures are also in ``figures``.

    Raises
    ------
    DeepCropError
        If ``path`` is not a finished map, or ``out`` exists and ``overwrite`` is false.
    """
    if find_issues(Path(path)):
        return report_issues(Path(path), None if out is None else Path(out), overwrite)
    result = open_result(path)
    folder = result.path / "report" if out is None else Path(out)
    settings = {"content": "report", "map": str(result.path.resolve())}
    with staging(folder, settings, overwrite, resume=False) as stage:
        write_page(
            stage.path,
            f"Season dates {result.target}: {result.title}",
            _lead(result),
            SIMULATED if result.simulated else "",
            _facts(result),
            list(_sections(result)),
        )
    return folder / "report.html"


def _sections(result: Result) -> Iterator[Section]:
    yield _area(result)
    yield _scenes(result)
    yield _maps(result)
    if result.find(kind="difference", season=1):
        yield _differences(result)
    yield _crops(result)
    yield _quality(result)
    yield _methods(result)
    yield _provenance(result)
    yield _citations(result)


# Head of the page ---------------------------------------------------------------------------------


def _lead(result: Result) -> str:
    names = " and ".join(METHODS[method] for method in result.methods)
    words = (
        f"Start and end of the crop season of each pixel of {result.grid.resolution.x:g} m, "
        f"by {names}."
    )
    if result.until is None:
        return words
    until = date_label(np.datetime64(result.until), result.year)
    return (
        f"{words} The season as known on {until}: nothing later was read. Dates that are not "
        "observed yet are forecasts, and are striped in the maps."
    )


def _facts(result: Result) -> Iterator[tuple[str, str]]:
    rows, cols = result.grid.shape
    side = float(result.grid.resolution.x)
    yield "Target year", str(result.target)
    if result.until is not None:
        yield "As known on", str(result.until)
    yield "Area", f"{rows * cols * side**2 / 1e6:,.1f} km²".replace(",", "\u2009")
    scenes = result.summary["scenes"]
    for name, words, seen in (
        ("optical", "Optical scenes", "clear pixels"),
        ("sar", "Radar scenes", "data"),
    ):
        if name in scenes:
            yield words, f"{scenes[f'{name}_usable']} of {scenes[name]} with {seen}"
    for method in result.methods:
        stage = figures.central(result)[0]
        date = result.summary_of(method)["layers"][stage]["median_date"]
        yield f"Median {stage.upper()}, {METHODS[method]}", _date(date, result.year)


# Sections ----------------------------------------------------------------------------------------


def _area(result: Result) -> Section:
    rows, cols = result.grid.shape
    left, bottom, right, top = result.grid.boundingbox.bbox
    to_degrees = Transformer.from_crs(str(result.grid.crs), "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform((left + right) / 2, (bottom + top) / 2)
    side = float(result.grid.resolution.x) / 1000
    observed = result.summary["observations"]
    share = result.summary.get("mapped", rows * cols) / (rows * cols)
    mapped = (
        "" if share == 1 else f" {percent(share)} of its pixels were mapped; shares are of these."
    )
    pictures = []
    figure = figures.crop_map(result)
    if figure is not None:
        pictures.append(
            Picture("crops", "Crop types", "From the cube; for the source see Provenance.", figure)
        )
    return Section(
        "area",
        "Area",
        [
            f"The map has {cols} × {rows} pixels of {result.grid.resolution.x:g} m: "
            f"{cols * side:.1f} km from west to east, {rows * side:.1f} km from south to north. "
            "Its centre is at "
            f"{abs(lat):.3f}° {'N' if lat >= 0 else 'S'}, {abs(lon):.3f}° "
            f"{'E' if lon >= 0 else 'W'} ({result.grid.crs}). Observations from "
            f"{observed['start'][:10]} to {observed['end'][:10]} were read." + mapped
        ],
        pictures,
    )


def _scenes(result: Result) -> Section:
    scenes = result.summary["scenes"]
    words = [
        f"{scenes[f'{group}_usable']} of {scenes[group]} {sensor} scenes have {seen} in the area"
        for group, sensor, seen in (
            ("optical", "optical", "clear pixels"),
            ("sar", "radar", "data"),
        )
        if group in scenes
    ]
    clear_shares = {
        name: [(np.datetime64(scene["date"]), scene["share"]) for scene in read]
        for name, read in result.summary.get("seen", {}).items()
    }
    pictures = []
    if clear_shares:
        caption = (
            "Each stem is a scene; its height is the share of the area with clear pixels. The "
            "target year is shaded."
        )
        pictures.append(
            Picture("scenes", "Scenes over time", caption, figures.scenes(result, clear_shares))
        )
    return Section("scenes", "Scenes over time", ["; ".join(words) + "."], pictures)


def _maps(result: Result) -> Section:
    pictures, folded = [], []
    others = sorted({layer.season for layer in result.find(kind="day") if layer.season} - {1})
    caption = (
        "Above each map: the median date, and the share of pixels with a date. Equal colours of a "
        "stage are equal dates for both methods."
    )
    for method in result.methods:
        pictures.append(
            Picture(
                f"maps_{method}",
                f"Main season, {METHODS[method]}",
                caption,
                figures.stage_maps(result, method),
            )
        )
        for season in others:
            if any(_dated(result, method, season)):
                folded.append(
                    Picture(
                        f"maps_{method}_season{season}",
                        f"{season_name(season).capitalize()}, {METHODS[method]}",
                        caption,
                        figures.stage_maps(result, method, season),
                    )
                )
    measured = [
        method for method in result.methods if result.find(method=method, kind="measure", season=1)
    ]
    pictures += [
        Picture(
            f"measures_{method}",
            f"Measures of the main season, {METHODS[method]}",
            "The colours run from the 2nd to the 98th percentile of the pixels.",
            figures.measure_maps(result, method),
        )
        for method in measured
    ]
    bins = "The bars of a stage add up to the share of pixels with a date."
    pictures.append(Picture("histograms", "Dates of all pixels", bins, figures.histograms(result)))
    return Section(
        "maps",
        "Dates",
        [
            "The main season has the largest amplitude, weighted by sunlight; the second season is "
            "another one of the same year, such as a second crop or a cut."
        ],
        pictures,
        [
            _stage_table(result, 1),
            *(_measure_table(result, method) for method in measured),
        ],
        [
            Section(
                "second",
                "The second season" if others == [2] else "The other seasons",
                (),
                folded,
                [_stage_table(result, season) for season in others],
            )
        ]
        if folded
        else [],
    )


def _dated(result: Result, method: str, season: int) -> Iterator[int]:
    layers = result.summary_of(method)["layers"]
    for layer in result.find(method=method, kind="day", season=season):
        yield layers[layer.key.rsplit("/", 1)[-1]]["detected"]


def _stage_table(result: Result, season: int) -> Table:
    rows = []
    codes = () if result.until is None else ("observed", "forecast", "not_yet_known")
    for method in result.methods:
        numbers = result.summary_of(method)["layers"]
        for layer in result.find(method=method, kind="day", season=season):
            date = numbers[layer.key.rsplit("/", 1)[-1]]
            dates = (_date(date[f"{name}_date"], result.year) for name in ("p05", "median", "p95"))
            stage = str(layer.stage)
            rows.append(
                (
                    METHODS[method],
                    stage.upper(),
                    percent(date["detected_share"]),
                    *(percent(date["status_share"][code]) for code in codes),
                    *dates,
                    "–" if date.get("median_width") is None else f"{date['median_width']:.0f} d",
                    "–" if date.get("wide_share") is None else percent(date["wide_share"]),
                )
            )
    return Table(
        f"Dates of the {season_name(season)}, all pixels",
        (
            "method",
            "stage",
            "dated",
            *(code.replace("_", " ") for code in codes),
            "5 %",
            "median",
            "95 %",
            "90 % interval",
            f"{WIDE_INTERVAL} d or wider",
        ),
        rows,
        "SOS: greenness rises past that share (%) of its seasonal amplitude; EOS: it falls below. "
        "5 % and 95 %: quantiles of the dates over pixels. They describe the variation between "
        "fields. The uncertainty of a date is its 90 % interval: the median of its width, and the "
        f"share of the dates whose interval is {WIDE_INTERVAL} days or wider, which are worth "
        "little."
        + (
            " Observed: the interval ends before the last observation of the pixel. Forecast: the "
            "event is expected later, or may have been. Not yet known: nothing can be said."
            if codes
            else ""
        ),
        text_columns=2,
    )


def _date(text: str | None, year: int) -> str:
    return "–" if text is None else date_label(np.datetime64(text), year)


def _differences(result: Result) -> Section:
    rows = []
    for stage in STAGES:
        for layer in result.find(kind="difference", season=1, stage=stage):
            days = figures.read(layer, result)
            known = days[np.isfinite(days)]
            if known.size:
                low, middle, high = (_signed(v) for v in np.percentile(known, (5, 50, 95)))
                near = percent(float((np.abs(known) <= 10).mean()))
                rows.append(
                    (stage.upper(), percent(known.size / days.size), low, middle, high, near)
                )
    return Section(
        "differences",
        "Differences between the methods",
        [
            "Date of Deep-CroP minus date of the greenness curve, for pixels with both dates. The "
            "difference does not tell which method is right"
            + (
                "."
                if result.summary["source"].get("definition") == "ndvi"
                else ": the network was trained on dates of camera greenness, which differ from "
                "dates of NDVI."
            )
        ],
        [
            Picture(
                "differences",
                "Deep-CroP minus greenness curve",
                "Days; negative: Deep-CroP is earlier. Differences of more than 30 days have the "
                "colour of 30 days.",
                figures.difference_maps(result),
            )
        ],
        [
            Table(
                "Differences of the main season, days",
                ("stage", "both dated", "5 %", "median", "95 %", "within 10 days"),
                rows,
            )
        ],
    )


def _signed(days: float) -> str:
    return f"{round(days):+d}".replace("-", "−") if round(days) else "0"


def _crops(result: Result) -> Section:
    figure = figures.by_crop(result)
    if figure is None:
        return Section(
            "crops", "By crop", ["The cube has no crop types; deepcrop fetch --crops adds them."]
        )
    rows = []
    stages, (central, _) = figures.order(result), figures.central(result)
    for method in result.methods:
        for name, crop in result.summary_of(method)["crops"].items():
            dates = (_date(crop["layers"][stage]["median_date"], result.year) for stage in stages)
            share = percent(crop["layers"][central]["detected_share"])
            hectares = crop["pixels"] * float(result.grid.resolution.x) ** 2 / 1e4
            rows.append(
                (
                    name.replace("_", " "),
                    METHODS[method],
                    f"{hectares:,.0f}".replace(",", "\u2009"),
                    share,
                    *dates,
                )
            )
    rows.sort(key=lambda row: -float(row[2].replace("\u2009", "")))
    caption = (
        "Boxes: first to third quartile; whiskers: 5th to 95th percentile; of pixels dated by all "
        "methods."
    )
    return Section(
        "crops",
        "By crop",
        (),
        [Picture("by_crop", "Dates by crop and method", caption, figure)],
        [
            Table(
                "Median dates of the main season by crop",
                (
                    "crop",
                    "method",
                    "area, ha",
                    f"{central.upper()} dated",
                    *(stage.upper() for stage in stages),
                ),
                rows,
                text_columns=2,
            )
        ],
    )


def _quality(result: Result) -> Section:
    pictures = []
    tables = []
    for method in result.methods:
        figure = figures.quality_maps(result, method)
        if figure is not None:
            caption = (
                "Fewer observations give wider intervals. An interval covers the uncertainty from "
                "the observations, not errors of the method itself."
            )
            pictures.append(
                Picture(f"quality_{method}", f"Quality, {METHODS[method]}", caption, figure)
            )
        for layer in result.find(method=method, kind="flags"):
            tables.append(_flag_table(layer, result, method))
    paragraphs = []
    for method in result.methods:
        order = result.summary_of(method).get("out_of_order", {})
        for season, numbers in order.items():
            if numbers["share"] is not None:
                share = percent(numbers["share"])
                paragraphs.append(
                    f"{METHODS[method]}, season {season.removeprefix('season')}: the dates of "
                    f"{share} of the pixels with several dates are out of order."
                )
    return Section("quality", "Quality", paragraphs, pictures, tables)


def _measure_table(result: Result, method: str) -> Table:
    """Measures of the main season, over pixels."""
    numbers = result.summary_of(method)["measures"]
    rows = []
    for layer in result.find(method=method, kind="measure", season=1):
        of_layer = numbers[layer.key.rsplit("/", 1)[-1]]
        values = (of_layer[name] for name in ("p05", "median", "p95"))
        title = layer.title.removesuffix(", season 1")
        rows.append((title, layer.unit, *("–" if v is None else f"{v:.3g}" for v in values)))
    return Table(
        f"Measures of the main season, {METHODS[method]}",
        ("measure", "unit", "5 %", "median", "95 %"),
        rows,
        "5 % and 95 %: quantiles over pixels.",
        text_columns=2,
    )


def _flag_table(layer: ResultLayer, result: Result, method: str) -> Table:
    with rasterio.open(layer.path) as file:
        counts = np.zeros(256, np.int64)
        for _, window in file.block_windows(1):
            counts += np.bincount(file.read(1, window=window).reshape(-1), minlength=256)[:256]
    mapped = max(counts[(np.arange(256) & LEFT_OUT) == 0].sum(), 1)
    present = [value for value in np.argsort(-counts, kind="stable").tolist() if counts[value]]
    rows = [
        (
            str(value),
            "; ".join(words for bit, words in layer.flags.items() if value & bit) or "no flag",
            f"{counts[value]:,}".replace(",", "\u2009"),
            "–" if value & LEFT_OUT else percent(counts[value] / mapped),
        )
        for value in present[:_MAX_FLAGS]
    ]
    if rest := counts[present[_MAX_FLAGS:]].sum():
        rows.append(
            ("", "other values", f"{rest:,}".replace(",", "\u2009"), percent(rest / mapped))
        )
    return Table(
        f"Quality flags, {METHODS[method]}",
        ("value", "meaning", "pixels", "of mapped pixels"),
        rows,
        f"Values of {layer.key}.tif, the commonest first; a value is the sum of its flags.",
        text_columns=2,
    )


def _methods(result: Result) -> Section:
    first, last = (f"{day}".replace("-", "−") for day in result.target.range)
    settings = [(name, _text(value)) for name, value in sorted(_settings(result).items())]
    return Section(
        "methods",
        "Methods and settings",
        [
            *(_METHOD_TEXTS[method] for method in result.methods),
            *_definition(result),
            f"Day numbers count from 1 January {result.year}, from {first} to {last}, so that the "
            "start of a winter crop and the end of a late crop both belong to the year in which "
            "the middle of the season lies.",
        ],
        (),
        [Table("Settings", ("setting", "value"), settings, text_columns=2)],
    )


def _definition(result: Result) -> list[str]:
    """Say what the dates of the network mean."""
    if "deepcrop" not in result.methods:
        return []
    if result.summary["source"].get("definition") == "ndvi":
        return [
            "The dates of the network are those of an NDVI curve of clear images (definition: "
            "ndvi), as the greenness curve's."
        ]
    return [
        "The dates of the network are those of the greenness that a near-ground camera sees "
        "(definition: camera)."
    ]


_GROUPS = ("cube", "optical", "sar", "landcover")


def _settings(result: Result) -> dict[str, Any]:
    found: dict[str, Any] = {}
    _flatten({k: v for k, v in result.summary["source"].items() if k not in _GROUPS}, "", found)
    return found


def _flatten(values: Mapping[str, Any], above: str, found: dict[str, Any]) -> None:
    for name, value in values.items():
        if isinstance(value, Mapping):
            _flatten(value, f"{above}{name}.", found)
        else:
            found[above + name] = value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _provenance(result: Result) -> Section:
    about: dict[str, Any] = {}
    source = result.summary["source"]
    _flatten({name: source[name] for name in _GROUPS if name in source}, "", about)
    layers = [
        (
            f"{layer.key}.tif",
            layer.title,
            layer.unit,
            layer.dtype.name,
            "–" if layer.nodata is None else str(layer.nodata),
        )
        for layer in result.layers.values()
    ]
    return Section(
        "provenance",
        "Provenance",
        [
            f"Made by {result.summary['software']} from {source['cube']}. The map directory has "
            "the same information in machine-readable files: item.json (STAC), summary.json, "
            "deepcrop.json."
        ],
        (),
        [
            Table(
                "Input of the maps",
                ("attribute", "value"),
                [(name, _text(value)) for name, value in about.items()],
                text_columns=2,
            )
        ],
        [
            Section(
                "files",
                "Files of the map",
                (),
                (),
                [Table("", ("file", "content", "unit", "type", "no data"), layers, text_columns=4)],
            )
        ],
    )


def _citations(result: Result) -> Section:
    words = [f"Please cite the method: {PAPER}"]
    source = json.dumps(result.summary["source"])
    if "deepcrop" in result.methods:
        words.append(f"The network of the package was trained on PhenoCam cameras. {PHENOCAM}")
    if result.simulated:
        words.append("The observations were simulated: there is no satellite data to acknowledge.")
    else:
        words.append(
            f"Contains modified Copernicus Sentinel data {result.year - 1}–{result.year + 1}, "
            "processed as listed under Provenance."
        )
        if "Cropland" in source or "CDL" in source:
            words.append(
                "Crop types: USDA National Agricultural Statistics Service, Cropland Data Layer."
            )
    return Section("citations", "Acknowledgements and citations", words)
