"""Camera labels against other people's dates: python benchmarks/cameras.py DATA --out FOLDER.

DATA holds ``phenocam/series`` (official 3-day files) and ``phenocam/reference``. The references are
peers' outputs, not truth: phenocamr on the 1-day series, and a third party's LOESS rule of one
season a year on the same 3-day files (dates it flagged as interpolated are left out).

A reference date is found if we have a date of its direction and threshold, at the same camera, not
more than 45 days away. It is observable if the camera was seen from 60 days before to 60 days after
it, without a gap of more than 15 days in the 30 days around it. A season is found if one of its
dates is; phenocamr names none, so each of its dates counts as one. Writes ``agreement.md`` and
every disagreement of more than 10 days, with the kind of its reason, to ``disagreements.csv``.
"""

import argparse
import csv
import itertools
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deepcrop.cameras.labels import PRESET, SMOOTHER, observation_weights
from deepcrop.evaluation.scores import summarize_errors
from deepcrop.phenology import PRESETS, season_dates, smooth
from deepcrop.report.tables import Table
from deepcrop.sources.phenocam.summary_files import read_series

REACH = 45  # days within which a reference date counts as found
LARGE = 10  # days; larger disagreements are listed
MARGIN = 60  # days of the series around an observable reference date
GAP = 15  # days
THRESHOLDS = (25, 50)

KINDS = {
    "outside": "the reference date lies outside the file, or at a gap of more than 15 days",
    "edge": "the file begins or ends within the season: peak or base unseen, we give no date",
    "weak": "the rise or fall is smaller than our rule asks: no season of ours",
    "split": "several rises and falls within 150 days (weeds, cover crop, cuts, pasture), grouped "
    "otherwise into seasons",
    "flat": "one season for both; the dates are at levels less than 15 % of its range apart: the "
    "curve passes the threshold slowly",
    "level": "one season for both; the dates are at different levels: peak or base taken elsewhere",
    "gap": "our rule gives no date there because of a gap between observations",
}


@dataclass
class Camera:
    site: str
    roi: str
    origin: np.datetime64
    seen: np.ndarray  # days of observations
    curve: np.ndarray
    grid: np.ndarray
    dates: dict[tuple[str, int], np.ndarray]
    peaks: np.ndarray
    swing: float


@dataclass
class Reference:
    source: str
    site: str
    roi: str  # empty: not given
    direction: str
    threshold: int
    date: np.datetime64
    season: tuple


@dataclass
class Match:
    reference: Reference
    camera: Camera
    day: float  # of the reference
    ours: float
    observable: bool

    @property
    def difference(self) -> float:
        return self.ours - self.day

    @property
    def found(self) -> bool:
        return abs(self.difference) <= REACH


def read_camera(path: Path) -> Camera:
    series = read_series(path)
    weights = observation_weights(series)
    used = weights > 0
    days = (series.date[used] - series.date[0]).astype(np.float32)
    values, kept = series.greenness["gcc_90"][None, used], weights[None, used]
    fractions = tuple(t / 100 for t in THRESHOLDS)
    found = season_dates(values, days, kept, smoother=SMOOTHER, preset=PRESET, fractions=fractions)
    dates = {}
    for direction, side in (("rising", "sos"), ("falling", "eos")):
        for threshold in THRESHOLDS:
            column = found.dates[0, :, found.stages.index(f"{side}{threshold}")]
            dates[direction, threshold] = column[np.isfinite(column)].astype(float)
    peaks = found.dates[0, :, found.stages.index("peak")]
    curve, grid = smooth(values, days, kept, smoother=SMOOTHER, preset=PRESET)
    rule = PRESETS[PRESET][1]
    span = float(np.ptp(curve)) if curve.size else 0.0
    swing = max(rule.min_amplitude, rule.prominence * span)
    return Camera(
        series.site, series.roi, series.date[0], days, curve[0], grid, dates, peaks, swing
    )


def read_references(folder: Path) -> list[Reference]:
    """Dates at 25 and 50 %, doubles within three days of each other once."""
    references = []
    with (folder / "phenocamr_transition_dates_sample.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            threshold = int(row["threshold"].removeprefix("transition_"))
            date = np.datetime64(row["date"], "D")
            season = ("phenocamr", row["phenocam_name"], row["direction"], str(date))
            references.append(
                Reference(
                    "phenocamr", row["phenocam_name"], "", row["direction"], threshold, date, season
                )
            )
    with (folder / "loess_threshold_seasons.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            for direction, side in (("rising", "SOS"), ("falling", "EOS")):
                for threshold in THRESHOLDS:
                    name = f"{side}_{threshold}"
                    if row[name] in ("", "NA") or row[f"{name}_flag"] != "0":
                        continue
                    roi = f"{int(row['ROI']):04d}"
                    season = ("third party", row["Phenocam"], roi, row["Year"])
                    date = np.datetime64(row[name], "D")
                    references.append(
                        Reference(
                            "third party", row["Phenocam"], roi, direction, threshold, date, season
                        )
                    )
    references = [r for r in references if r.threshold in THRESHOLDS]

    def order(r: Reference) -> tuple:
        return r.source, r.site, r.roi, r.direction, r.threshold, r.date

    references.sort(key=order)
    kept = references[:1]
    for a, b in itertools.pairwise(references):
        if order(a)[:-1] != order(b)[:-1] or b.date - a.date > np.timedelta64(3, "D"):
            kept.append(b)
    return kept


def match(reference: Reference, cameras: list[Camera]) -> Match | None:
    """The nearest of our dates; of several regions of interest, where none is named, the best."""
    matches = []
    for camera in cameras:
        if camera.site != reference.site or reference.roi not in ("", camera.roi):
            continue
        day = float((reference.date - camera.origin).astype(int))
        ours = camera.dates[reference.direction, reference.threshold]
        nearest = ours[np.abs(ours - day).argmin()] if ours.size else np.inf
        matches.append(Match(reference, camera, day, float(nearest), observable(camera, day)))
    return min(matches, key=lambda m: abs(m.difference), default=None)


def observable(camera: Camera, day: float) -> bool:
    inside = camera.seen[0] + MARGIN <= day <= camera.seen[-1] - MARGIN
    return bool(inside) and gap_at(camera, day) <= GAP


def gap_at(camera: Camera, day: float) -> float:
    """Longest time without an observation within 15 days of a day."""
    seen = camera.seen
    touches = (seen[1:] > day - GAP) & (seen[:-1] < day + GAP)
    return float(np.diff(seen)[touches].max(initial=0))


def kind(m: Match) -> str:
    """Kind of reason of a large disagreement, from the curve around it."""
    camera, day = m.camera, m.day
    if not camera.seen[0] <= day <= camera.seen[-1] or gap_at(camera, day) > GAP:
        return "outside"
    near = np.abs(camera.grid - day) <= 90
    several = (np.abs(camera.peaks - day) <= 150).sum() > 1
    if not m.found:
        if at_edge(camera, day, m.reference.direction):
            return "edge"
        if np.ptp(camera.curve[np.abs(camera.grid - day) <= 30]) < camera.swing:
            return "weak"
        if several or turns(camera, day):
            return "split"
        return "gap"
    if several:
        return "split"
    between = (camera.grid >= min(day, m.ours) - 1) & (camera.grid <= max(day, m.ours) + 1)
    return "flat" if np.ptp(camera.curve[between]) < 0.15 * np.ptp(camera.curve[near]) else "level"


def at_edge(camera: Camera, day: float, direction: str) -> bool:
    """Whether the peak or the base of the season around a date lies beyond the file's edge."""
    for ahead, edge in ((False, camera.seen[0]), (True, camera.seen[-1])):
        if abs(edge - day) > 150:
            continue
        part = camera.curve[camera.grid >= day] if ahead else camera.curve[camera.grid <= day][::-1]
        if not part.size:
            return True
        if (direction == "rising") == ahead:  # towards the peak: how far down beyond it?
            top = int(part.argmax())
            if part[top] - part[top:].min() < 0.5 * (part[top] - part[0]) or top == part.size - 1:
                return True
            low = camera.curve[np.abs(camera.grid - day) <= 90].min()
            if part[top] - part[top:].min() < 0.5 * (part[top] - low):
                return True
        elif (part - np.minimum.accumulate(part)).max() < camera.swing:  # never rises from the base
            return True
    return False


def turns(camera: Camera, day: float) -> bool:
    """Whether the curve within 60 days turns by half the rule's swing on the way up or down."""
    piece = camera.curve[np.abs(camera.grid - day) <= 60]
    rise = (piece - np.minimum.accumulate(piece)).max()
    fall = (np.maximum.accumulate(piece) - piece).max()
    return bool(min(rise, fall) >= 0.5 * camera.swing)


def table(matches: list[Match]) -> list[str]:
    rows = []
    for source in ("phenocamr", "third party"):
        for threshold in THRESHOLDS:
            for direction in ("rising", "falling", "both"):
                group = [
                    m
                    for m in matches
                    if (m.reference.source, m.reference.threshold) == (source, threshold)
                    and direction in (m.reference.direction, "both")
                ]
                seen = [m for m in group if m.observable]
                # A date of ours that is too far from the reference is another date: not found.
                errors = [m.difference if m.found else np.nan for m in group]
                summary = summarize_errors(errors)
                rows.append(
                    (source, f"{threshold} %", direction, len(group), share(group), len(seen),
                     share(seen), f"{summary.median:.2f}", f"{summary.mae:.2f}",
                     f"{summary.bias:+.2f}", int((np.abs(errors) > LARGE).sum()))
                )  # fmt: skip
    columns = (
        "reference", "threshold", "direction", "dates", "found", "observable", "of these found",
        "median abs.", "MAE", "bias", "over 10 d",
    )  # fmt: skip
    lines = [Table("Agreement with the dates of others, days", columns, rows).to_markdown()]
    for source in ("phenocamr", "third party"):
        seasons: dict[tuple, list[Match]] = {}
        for m in matches:
            if m.reference.source == source:
                seasons.setdefault(m.reference.season, []).append(m)
        groups = {
            "all": list(seasons.values()),
            "dates within the file": [ms for ms in seasons.values() if all(map(inside, ms))],
            "dates observable": [ms for ms in seasons.values() if all(m.observable for m in ms)],
        }
        counts = []
        for name, group in groups.items():
            found = sum(any(m.found for m in ms) for ms in group)
            counts.append(f"{name}: {found} of {len(group)} ({100 * found / len(group):.1f} %)")
        lines += ["", f"Seasons of {source} found. {'; '.join(counts)}."]
    return lines


def inside(m: Match) -> bool:
    return bool(m.camera.seen[0] <= m.day <= m.camera.seen[-1])


def share(matches: list[Match]) -> str:
    return f"{100 * np.mean([m.found for m in matches]):.1f} %" if matches else "-"


def kinds(large: list[Match]) -> list[str]:
    counts = Counter((kind(m), "found" if m.found else "missed") for m in large)
    rows = [
        (name, counts[name, "found"], counts[name, "missed"], what) for name, what in KINDS.items()
    ]
    columns = ("kind", "over 10 d", "not found", "what it is")
    return [Table("Large disagreements by kind", columns, rows).to_markdown()]


def draw(large: list[Match], folder: Path) -> None:
    """Sheets of 24 disagreements: observations, curve, reference (red), ours (blue)."""
    from matplotlib.figure import Figure

    for page in range(0, len(large), 24):
        figure = Figure(figsize=(16, 18), layout="constrained")
        panels = figure.subplots(8, 3).flatten()
        for axes in panels[len(large) - page :]:
            axes.set_axis_off()
        for axes, m in zip(panels, large[page : page + 24], strict=False):
            near = np.abs(m.camera.grid - m.day) < 250
            axes.plot(m.camera.grid[near] - m.day, m.camera.curve[near], lw=1)
            axes.axvline(0, color="r", lw=1)
            for day in m.camera.dates[m.reference.direction, m.reference.threshold] - m.day:
                if abs(day) < 250:
                    axes.axvline(day, color="b", ls="--", lw=0.8)
            axes.set_title(
                f"{kind(m)}: {m.reference.source} {m.reference.site} {m.reference.direction} "
                f"{m.reference.threshold} % {m.reference.date} {m.difference:+.0f} d",
                fontsize=7,
            )
            axes.tick_params(labelsize=6)
        figure.savefig(folder / f"disagreements_{page // 24:02d}.png", dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("data", type=Path, nargs="?", default=os.environ.get("DEEPCROP_REAL_DATA"))
    parser.add_argument("--out", type=Path, default=Path("cameras"))
    parser.add_argument("--plots", action="store_true", help="draw the disagreements")
    options = parser.parse_args()
    if options.data is None:
        parser.error("name the folder of real data, or set DEEPCROP_REAL_DATA")
    phenocam = Path(options.data) / "phenocam"
    options.out.mkdir(parents=True, exist_ok=True)
    cameras = [read_camera(path) for path in sorted(phenocam.glob("series/*.csv"))]
    matches = [
        found
        for reference in read_references(phenocam / "reference")
        if (found := match(reference, cameras))
    ]
    large = [m for m in matches if not abs(m.difference) <= LARGE]
    lines = [f"{len(cameras)} series", "", *table(matches), "", *kinds(large)]
    (options.out / "agreement.md").write_text("\n".join(lines) + "\n")
    with (options.out / "disagreements.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["reference", "site", "roi", "direction", "threshold", "theirs", "ours", "days", "kind"]
        )
        for m in large:
            r = m.reference
            ours = m.camera.origin + np.timedelta64(round(m.ours), "D") if m.found else ""
            days = f"{m.difference:+.1f}" if m.found else "none"
            writer.writerow(
                [
                    r.source,
                    r.site,
                    m.camera.roi,
                    r.direction,
                    r.threshold,
                    r.date,
                    ours,
                    days,
                    kind(m),
                ]
            )
    if options.plots:
        draw(large, options.out)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
