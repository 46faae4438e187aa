"""Write the report of the issues of a map: how its dates change from issue to issue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import DeepCropError
from deepcrop.figures.style import date_label, percent
from deepcrop.products.results import Result, find_issues, open_result
from deepcrop.report import issue_figures as figures
from deepcrop.report.issue_numbers import IssueNumbers, crop_pixels, of_fields, of_pixels
from deepcrop.report.map_figures import METHODS, central, order
from deepcrop.report.page import SIMULATED, Picture, Section, write_page
from deepcrop.report.tables import Table
from deepcrop.storage.files import write_csv
from deepcrop.storage.staging import staging

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

_KINDS = ("observed", "forecast", "not_yet_known", "no_event")


def report_issues(path: Path, out: Path | None = None, overwrite: bool = False) -> Path:
    """Write the report of a folder of issues; arguments and result as of `deepcrop.report.report`.

    Raises
    ------
    DeepCropError
        If an issue cannot be read, or the issues are not of one region, year and method.
    """
    results = [open_result(issue) for _, issue in sorted(find_issues(path).items())]
    last = results[-1]
    for result in results:
        if result.until is None:
            raise DeepCropError(
                f"{result.path} is a map of a whole year; expected a map in season (deepcrop map "
                "--until, deepcrop update). Move it out of the folder."
            )
        if (result.grid, result.year, result.methods) != (last.grid, last.year, last.methods):
            raise DeepCropError(
                f"{result.path} is of another region, year or method than {last.path}. Keep the "
                "issues of each map in a folder of their own."
            )
    folder = path / "report" if out is None else out
    settings = {"content": "report", "map": str(path.resolve())}
    with staging(folder, settings, overwrite, resume=False) as stage:
        write_page(
            stage.path,
            f"Season dates {last.target} from issue to issue: {last.title}",
            "Start and end of the crop season, as known on the day of each issue.",
            SIMULATED if last.simulated else "",
            [
                ("Target year", str(last.target)),
                ("Issues", str(len(results))),
                ("First and last issue", f"{results[0].until} to {last.until}"),
            ],
            list(_sections(results)),
        )
        write_csv(
            stage.path / "issues.csv",
            ("method", "stage", "issue", "median", *_KINDS, "interval_days"),
            [row for method in last.methods for row in _rows(results, method)],
            simulated=last.simulated,
        )
    return folder / "report.html"


def _rows(results: Sequence[Result], method: str) -> Iterator[list[Any]]:
    """Numbers of all pixels, from the summaries: a row for each stage and issue."""
    for stage in order(results[-1]):
        for result in results:
            numbers = result.summary_of(method)["layers"][stage]
            shares = [numbers["status_share"][kind] for kind in _KINDS]
            width = numbers.get("median_width")
            yield [method, stage, result.until, numbers["median_date"], *shares, width]


def _sections(results: Sequence[Result]) -> Iterator[Section]:
    yield _film(results)
    for method in results[-1].methods:
        yield _region(results, method)
    yield from _groups(results)
    yield _state(results)


def _film(results: Sequence[Result]) -> Section:
    pictures = [
        Picture(
            f"film_{method}_{stage}",
            f"{stage.upper()} as known on the day of each issue, {METHODS[method]}",
            f"At most {figures.FRAMES} issues; equal colours are equal dates. Striped pixels are "
            "forecast.",
            figures.film(results, method, stage),
        )
        for method in results[-1].methods
        for stage in central(results[-1])
    ]
    words = "A date is observed once its 90 % interval ends before the last valid observation."
    return Section("film", "The maps", [words], pictures)


def _region(results: Sequence[Result], method: str) -> Section:
    last = results[-1]
    numbers = {stage: of_pixels(results, method, stage) for stage in order(last)}
    caption = (
        "Left: the median date over the pixels that have one, with the median of their 90 % "
        "intervals; an open circle means that most are forecast. The grey line is the day of the "
        "issue: events above it were still to come. Right: shares of the pixels."
    )
    picture = Picture(
        f"forecast_{method}",
        f"The forecast from issue to issue, {METHODS[method]}",
        caption,
        figures.forecasts(results, method, numbers),
    )
    rows = [
        (
            stage.upper(),
            str(until),
            "–" if date is None else date_label(np.datetime64(date), last.year),
            "–" if width is None else f"{width:.0f} d",
            *(percent(share) for share in shares),
        )
        for _, stage, until, date, *shares, width in _rows(results, method)
    ]
    table = Table(
        "Dates of the main season, all pixels",
        ("stage", "issue", "median", "90 % interval", *(kind.replace("_", " ") for kind in _KINDS)),
        rows,
        text_columns=2,
    )
    title = f"The region, {METHODS[method]}"
    return Section(f"region_{method}", title, [], [picture], [table])


def _groups(results: Sequence[Result]) -> Iterator[Section]:
    """Crops and fields, where the issues know them."""
    last = results[-1]
    stages = central(last)
    for method in last.methods:
        crops: dict[str, dict[str, list[IssueNumbers]]] = {
            name: {stage: of_pixels(results, method, stage, pixels) for stage in stages}
            for name, pixels in crop_pixels(last).items()
        }
        fields: dict[str, dict[str, list[IssueNumbers]]] = {}
        for stage in stages:
            for name, numbers in of_fields(results, method, stage).items():
                fields.setdefault(f"field {name}", {})[stage] = numbers
        for key, title, words, found in (
            ("crops", "By crop", "bars: median 90 % interval", crops),
            ("fields", "The largest fields", "bars: middle half of the field's pixels", fields),
        ):
            if found:
                heading = f"{title}, {METHODS[method]}"
                picture = Picture(
                    f"{key}_{method}",
                    heading,
                    "An open circle means that most of the dates are forecast; the grey line is "
                    "the day of the issue.",
                    figures.groups(results, heading, words, found),
                )
                yield Section(f"{key}_{method}", heading, [], [picture])


def _state(results: Sequence[Result]) -> Section:
    """From which state of the cube each issue was made."""
    rows = [
        (
            str(result.until),
            result.path.name,
            str(result.summary["source"].get("cube_state", "–"))[:12],
            result.summary["observations"]["end"][:10],
            str(result.summary["scenes"].get("optical", 0)),
            str(result.summary["scenes"].get("sar", 0)),
        )
        for result in results
    ]
    columns = ("issue", "folder", "state of the cube", "last image", "optical", "radar")
    table = Table("Images that each issue read", columns, rows, text_columns=4)
    return Section("state", "Images", [], [], [table])
