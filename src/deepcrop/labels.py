"""Season dates of a camera's greenness, screened: the labels that networks learn from.

The paper's rule (section 3.1): raw 90th-percentile greenness, an adaptive Savitzky-Golay curve, and
the dates at 20 % and 50 % of each season's amplitude. A label comes with its 90 % interval, and
every year of every camera with a verdict in words, so that nothing is left out in silence.
"""

from __future__ import annotations

import csv
import datetime
import importlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepcrop import __version__, stages
from deepcrop.errors import DeepCropError
from deepcrop.phenology import PRESETS, REASONS, season_dates, smooth
from deepcrop.sources.phenocam_files import CITATION, GREENNESS, CameraSeries, read_series
from deepcrop.staging import atomic_file

STEP = 3
"""Days between the observations of a 3-day file; shares of what was observed count such steps."""

CALENDAR = ("sos20", "sos50", "peak", "eos50", "eos20")
"""The dates of a label, in order of time."""


@dataclass(frozen=True)
class Screening:
    """What a site-year must have to be accepted.

    Attributes
    ----------
    min_share : float
        Share of 3-day steps observed, in the year's growing window and in the main season itself.
    max_gap : float
        Longest time without an observation around a date of the main season, days.
    min_amplitude : float
        Smallest amplitude of the main season, greenness.
    """

    min_share: float = 0.8
    max_gap: float = 15.0
    min_amplitude: float = 0.03


@dataclass(frozen=True)
class Event:
    """One date of a season.

    Attributes
    ----------
    day, low, high : float
        Fractional day since 1 January of the target year, and its 90 % interval; NaN if unknown.
    gap : float
        Longest time without an observation within 3 days of it; NaN if the date is unknown.
    reason : str
        "found", or why there is no date.
    """

    day: float
    low: float
    high: float
    gap: float
    reason: str


@dataclass(frozen=True)
class Season:
    """One season of one camera.

    Attributes
    ----------
    number : int
        1, 2, … in order of time within the year.
    slot : int
        1 for the main season of the year, 2 for the next, 0 for any other.
    events : dict of str to Event
        By the names of `CALENDAR`.
    amplitude : float
        Mean of rise and fall.
    observations : int
        Observations used between its first and its last date.
    observed_share : float
        Share of 3-day steps with one.
    largest_gap : float
        Longest time without an observation between its first and its last date, days.
    """

    number: int
    slot: int
    events: dict[str, Event]
    amplitude: float
    observations: int
    observed_share: float
    largest_gap: float

    @property
    def length(self) -> float:
        """Days from SOS20 to EOS20; NaN if one of them is unknown."""
        return self.events["eos20"].day - self.events["sos20"].day


@dataclass(frozen=True)
class SiteYear:
    """One year of one camera.

    Attributes
    ----------
    year : int
        Target year; a season belongs to the year in which it peaks.
    crop : str
        From the crop table; empty if unknown.
    seasons : tuple of Season
        In order of time.
    observed_share : float
        Share of 3-day steps of the growing window that were observed.
    accepted : bool
        Whether the main season may be used as a label.
    why : str
        Why it was rejected, or what to know of it.
    """

    year: int
    crop: str
    seasons: tuple[Season, ...]
    observed_share: float
    accepted: bool
    why: str

    @property
    def verdict(self) -> str:
        """The verdict in a word."""
        return "accepted" if self.accepted else "rejected"


@dataclass(frozen=True)
class CameraLabels:
    """All that was read off one series.

    Attributes
    ----------
    camera : CameraSeries
    column : str
        The greenness that was used.
    weights : ndarray of float32 (days,)
        Weight of each day's value, 0 = not used.
    curve_days, curve : ndarray of float (points,)
        The smooth curve; days since the first date of the series.
    years : tuple of SiteYear
        Every year with a row in the file's observed span.
    """

    camera: CameraSeries
    column: str
    weights: NDArray[np.float32]
    curve_days: NDArray[np.float64]
    curve: NDArray[np.float32]
    years: tuple[SiteYear, ...]


# One series -------------------------------------------------------------------------------------


def observation_weights(camera: CameraSeries, column: str = "gcc_90") -> NDArray[np.float32]:
    """Weight of each day's greenness, from 0 (not used) to nearly 1.

    - No value or no image: no observation.
    - Snow flag: 0. Snow hides a crop, and what shows is not its greenness.
    - Outlier flag of the column: 0. The network saw it far from its neighbours.
    - n images: n / (n + 3). On the 109 agricultural series of `docs/labels.md` the variance about
      the curve is four times as large with one image as with fifty, and hardly differs beyond ten:
      most of the noise is the weather of the day, which more images do not average out.

    Returns
    -------
    ndarray of float32 (days,)
    """
    images = np.nan_to_num(camera.image_count)
    used = np.isfinite(camera.greenness[column]) & (images > 0)
    used &= ~camera.snow & ~camera.outlier[column]
    return np.where(used, images / (images + 3), 0).astype(np.float32)


def label_series(
    camera: CameraSeries,
    column: str = "gcc_90",
    crops: Mapping[tuple[str, int], str] | None = None,
    screening: Screening | None = None,
) -> CameraLabels:
    """Season dates and verdicts of one camera series.

    Parameters
    ----------
    camera : CameraSeries
        Read with ``column`` among its columns.
    column : str
        Greenness to use.
    crops : mapping, optional
        Crop by (site, year), as `read_crops` gives it.
    screening : Screening, optional
        What a site-year must have to be accepted.

    Returns
    -------
    CameraLabels
    """
    screening = screening or Screening()
    weights = observation_weights(camera, column)
    days = (camera.date - camera.date[0]).astype(np.float32)
    seen = days[weights > 0]
    values = camera.greenness[column][None, weights > 0]
    kept = weights[None, weights > 0]
    curve, curve_days = smooth(values, seen, kept, preset="phenocam")
    found = season_dates(values, seen, kept, preset="phenocam", fractions=(0.2, 0.5))
    order = [found.stages.index(name) for name in CALENDAR]
    dates, low, high = (part[0][:, order] for part in (found.dates, found.low, found.high))
    reasons = found.reason[0][:, order]
    peaks = dates[:, CALENDAR.index("peak")]
    dated = camera.date[weights > 0] if seen.size else camera.date
    first, last = (int(str(day)[:4]) for day in (dated[0], dated[-1]))

    years = []
    for year in range(first, last + 1):
        start = _start_of_year(camera, year)
        index, _count = stages.select_slots(
            (peaks - start)[None], found.amplitude, year, camera.latitude
        )
        length = _start_of_year(camera, year + 1) - start
        rows = np.flatnonzero((peaks >= start) & (peaks < start + length))
        seasons = []
        for number, row in enumerate(rows, 1):
            slot = 1 + list(index[0]).index(row) if row in index[0] else 0
            events = {
                name: Event(
                    day=float(dates[row, k] - start),
                    low=float(low[row, k] - start),
                    high=float(high[row, k] - start),
                    gap=_gap_around(seen, float(dates[row, k])),
                    reason=REASONS[reasons[row, k]],
                )
                for k, name in enumerate(CALENDAR)
            }
            begin, end = float(np.nanmin(dates[row])), float(np.nanmax(dates[row]))
            seasons.append(
                Season(
                    number=number,
                    slot=slot,
                    events=events,
                    amplitude=float(found.amplitude[0, row]),
                    observations=int(((seen >= begin) & (seen <= end)).sum()),
                    observed_share=_observed(seen, np.arange(begin, end + 1)),
                    largest_gap=_largest_gap(seen, begin, end),
                )
            )
        share = _observed(seen, start + growing_window(camera.latitude, length))
        why_none = (
            _why_none(found.dates[0], found.reason[0], year, first, last)
            if share >= screening.min_share
            else "too few observations"
        )
        accepted, why = _verdict(seasons, share, why_none, screening)
        crop = (crops or {}).get((camera.site, year), "")
        years.append(SiteYear(year, crop, tuple(seasons), share, accepted, why))
    return CameraLabels(camera, column, weights, curve_days, curve[0], tuple(years))


def growing_window(latitude: float, length: int = 365) -> NDArray[np.int64]:
    """Days of a year on which crops are expected to grow, for the share that was observed.

    They are those with at least half of the year's best sunlight above the atmosphere: late
    February to mid-October at 41° N, the whole year in the tropics.
    """
    days = np.arange(length)
    light = stages.sunlight(days.astype(np.float64), latitude)
    return days[light >= 0.5 * light.max()]


def _start_of_year(camera: CameraSeries, year: int) -> int:
    """1 January of a year, in days since the first date of the series."""
    return int((np.datetime64(f"{year:04d}-01-01", "D") - camera.date[0]).astype(np.int64))


def _observed(seen: NDArray[np.float32], days: NDArray) -> float:
    """Share of the 3-day steps of ``days`` with an observation."""
    steps = np.unique(np.floor(days / STEP))
    hit = np.isin(steps, np.floor(seen / STEP))
    return float(hit.mean()) if steps.size else math.nan


def _largest_gap(seen: NDArray[np.float32], begin: float, end: float) -> float:
    """Longest time without an observation that touches a season."""
    touches = (seen[1:] > begin) & (seen[:-1] < end)
    return float(np.diff(seen)[touches].max(initial=0.0))


def _gap_around(seen: NDArray[np.float32], day: float) -> float:
    """Longest time without an observation within one step of a date.

    A date at the very edge of a gap rests on one side of it only.
    """
    return _largest_gap(seen, day - STEP, day + STEP) if math.isfinite(day) else math.nan


def _why_none(
    dates: NDArray[np.float32], reasons: NDArray[np.uint8], year: int, first: int, last: int
) -> str:
    """Why a year has no season, as far as the curve tells."""
    undated = np.asarray(np.isnan(dates).all(axis=1))
    if undated.all():
        return REASONS[reasons[0, 0]]
    if year == first and undated[0]:
        return REASONS[reasons[0].max()]
    if year == last and undated[-1]:
        return REASONS[reasons[-1].max()]
    return "amplitude too small"


def _verdict(
    seasons: Sequence[Season], share: float, why_none: str, screening: Screening
) -> tuple[bool, str]:
    """Whether a site-year is accepted, and what to say of it."""
    faults = []
    if not share >= screening.min_share:
        faults.append(
            f"growing window {100 * share:.0f} % observed, {100 * screening.min_share:.0f} % needed"
        )
    main = next((season for season in seasons if season.slot == 1), None)
    if main is None:
        return False, "; ".join([f"no season: {why_none}", *faults])
    if main.amplitude < screening.min_amplitude:
        faults.append(
            f"amplitude {main.amplitude:.3f} too small, {screening.min_amplitude:g} needed"
        )
    if main.observed_share < screening.min_share:
        faults.append(
            f"main season {100 * main.observed_share:.0f} % observed, "
            f"{100 * screening.min_share:.0f} % needed"
        )
    for name, event in main.events.items():
        if event.reason != "found":
            faults.append(f"no {name.upper()}: {event.reason}")
        elif event.gap > screening.max_gap:
            faults.append(f"{event.gap:.0f} days without an observation around {name.upper()}")
    if faults:
        return False, "; ".join(faults)
    return True, f"{len(seasons)} seasons, slot 1 is the main one" if len(seasons) > 1 else ""


# Tables -----------------------------------------------------------------------------------------

_TYPES: dict[str, str] = {
    "site": "text",
    "veg_type": "text",
    "roi": "text",
    "latitude": "float",
    "longitude": "float",
    "column": "text",
    "year": "int",
    "crop": "text",
    "verdict": "text",
    "why": "text",
    "year_observed_share": "float",
    "seasons_in_year": "int",
    "season": "int",
    "slot": "int",
    **{
        f"{name}_{part}": kind
        for name in CALENDAR
        for part, kind in (
            ("date", "date"),
            ("day", "float"),
            ("low", "float"),
            ("high", "float"),
            ("reason", "text"),
        )
    },
    "amplitude": "float",
    "length": "float",
    "observations": "int",
    "observed_share": "float",
    "largest_gap": "float",
}
COLUMNS = tuple(_TYPES)
"""Columns of the label table; `docs/labels.md` explains each."""


def label_rows(labels: CameraLabels) -> Iterator[dict[str, Any]]:
    """Rows of the label table: one per season, and one per year without any; None is unknown."""
    camera = labels.camera
    for site_year in labels.years:
        common = {
            "site": camera.site,
            "veg_type": camera.veg_type,
            "roi": camera.roi,
            "latitude": camera.latitude,
            "longitude": camera.longitude,
            "column": labels.column,
            "year": site_year.year,
            "crop": site_year.crop or None,
            "verdict": site_year.verdict,
            "why": site_year.why or None,
            "year_observed_share": _rounded(site_year.observed_share, 3),
            "seasons_in_year": len(site_year.seasons),
        }
        if not site_year.seasons:
            yield {name: common.get(name) for name in COLUMNS}
        for season in site_year.seasons:
            row = common | {
                "season": season.number,
                "slot": season.slot or None,
                "amplitude": _rounded(season.amplitude, 4),
                "length": _rounded(season.length, 2),
                "observations": season.observations,
                "observed_share": _rounded(season.observed_share, 3),
                "largest_gap": _rounded(season.largest_gap, 1),
            }
            for name, event in season.events.items():
                row[f"{name}_date"] = stages.to_dates(event.day, site_year.year).item()
                row[f"{name}_day"] = _rounded(event.day, 2)
                row[f"{name}_low"] = _rounded(event.low, 2)
                row[f"{name}_high"] = _rounded(event.high, 2)
                row[f"{name}_reason"] = event.reason
            yield {name: row[name] for name in COLUMNS}


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write label rows as CSV or Parquet, by the name of the file, whole or not at all.

    Raises
    ------
    DeepCropError
        If the name ends otherwise, or Parquet is asked for and pyarrow is not installed.
    """
    write = _writer(path)
    with atomic_file(path) as part:
        write(rows, part)


def _writer(path: Path) -> Callable[[Sequence[Mapping[str, Any]], Path], None]:
    if path.suffix == ".csv":
        return _write_csv
    if path.suffix != ".parquet":
        raise DeepCropError(f"{path}: labels are written as .csv or .parquet; name the file so.")
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DeepCropError(
            f"{path}: Parquet needs pyarrow, which is not installed. Install deepcrop[labels], or "
            "write a .csv."
        ) from None
    return _write_parquet


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    types = {
        "text": arrow.string(),
        "int": arrow.int32(),
        "float": arrow.float64(),
        "date": arrow.date32(),
    }
    schema = arrow.schema(
        [(name, types[kind]) for name, kind in _TYPES.items()],
        metadata={"citation": CITATION, "software": f"deepcrop {__version__}"},
    )
    parquet.write_table(arrow.Table.from_pylist([dict(row) for row in rows], schema), path)


def read_crops(path: Path) -> dict[tuple[str, int], str]:
    """Crop by site and year, from a CSV with the columns site, year and ct.

    Where several rows name a crop for a site-year they are joined (``corn/soybean``); ``other`` and
    ``unknown`` give way to a name.

    Raises
    ------
    DeepCropError
        If the file cannot be read or is no such table.
    """
    names: dict[tuple[str, int], list[str]] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            table = csv.DictReader(file)
            missing = {"site", "year", "ct"} - set(table.fieldnames or ())
            if missing:
                raise DeepCropError(
                    f"{path}: no column {', '.join(sorted(missing))}; expected a CSV with the "
                    "columns site, year, ct."
                )
            for row in table:
                try:
                    key = row["site"], int(row["year"])
                except (TypeError, ValueError):
                    raise DeepCropError(
                        f"{path}, line {table.line_num}: year is '{row['year']}', expected a whole "
                        "number."
                    ) from None
                if row["ct"] and row["ct"] not in names.setdefault(key, []):
                    names[key].append(row["ct"])
    except OSError as error:
        raise DeepCropError(f"{path}: {error.strerror}; expected a crop table.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DeepCropError(f"{path} is no CSV table: {error}.") from None
    vague = {"other", "unknown"}
    return {
        key: "/".join([crop for crop in found if crop not in vague] or found[:1])
        for key, found in names.items()
    }


# Many files -------------------------------------------------------------------------------------


@dataclass
class LabelRun:
    """What a run over many files did.

    Attributes
    ----------
    labels : list of CameraLabels
        Of the files that could be used.
    failures : list of str
        What was wrong with each of the others.
    """

    labels: list[CameraLabels] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def years(self) -> list[SiteYear]:
        """All site-years."""
        return [year for labels in self.labels for year in labels.years]


def label_files(
    files: Sequence[Path],
    out: Path,
    *,
    plots: Path | None = None,
    crops: Path | None = None,
    column: str = "gcc_90",
    overwrite: bool = False,
    track: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> LabelRun:
    """Label many camera files: one table, a record beside it, and a figure per camera.

    A file that cannot be used is recorded and does not stop the others.

    Parameters
    ----------
    files : sequence of Path
        PhenoCam summary files, at most one per region of interest.
    out : Path
        ``.csv`` or ``.parquet``. ``out`+ ``.json`` records settings, files and the citation.
    plots : Path, optional
        Folder of figures; made if it does not exist.
    crops : Path, optional
        Crop table, see `read_crops`.
    column : str
        Greenness to use.
    overwrite : bool
        Replace a table, its record and figures of these names.
    track : callable, optional
        Wraps the files to show progress.

    Returns
    -------
    LabelRun

    Raises
    ------
    DeepCropError
        If an output exists, the crop table cannot be read, or no file at all can be used.
    """
    record_path = out.with_name(out.name + ".json")
    _writer(out)
    if column not in GREENNESS:
        raise DeepCropError(f"No greenness column {column}; expected {', '.join(GREENNESS)}.")
    for target in (out, record_path):
        _check_free(target, overwrite)
    crop_by_year = read_crops(crops) if crops else {}
    run = LabelRun()
    done: dict[str, Path] = {}
    for path in track(files):
        try:
            camera = read_series(path, (column,))
            if camera.name in done:
                raise DeepCropError(f"{path}: {camera.name} was read from {done[camera.name]}.")
            done[camera.name] = path
            labels = label_series(camera, column, crop_by_year)
            run.labels.append(labels)
            if plots:
                _plot(labels, plots, overwrite)
        except DeepCropError as error:
            run.failures.append(str(error))
    if not run.labels:
        raise DeepCropError("No file could be used.\n" + "\n".join(run.failures))
    write_table([row for labels in run.labels for row in label_rows(labels)], out)
    record = {
        "software": f"deepcrop {__version__}",
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "citation": CITATION,
        "column": column,
        "smoother": asdict(PRESETS["phenocam"][0]["savgol"]),
        "seasons": asdict(PRESETS["phenocam"][1]),
        "screening": asdict(Screening()),
        "files": [labels.camera.path.name for labels in run.labels],
        "failures": run.failures,
    }
    with atomic_file(record_path) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return run


def _plot(labels: CameraLabels, folder: Path, overwrite: bool) -> None:
    from deepcrop import figures, label_figures

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{labels.camera.name}.png"
    _check_free(target, overwrite)
    with atomic_file(target) as part:
        figures.save(label_figures.camera_figure(labels), part)


def _check_free(target: Path, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise DeepCropError(f"{target} exists. Choose another name, or add --overwrite.")
