"""Write the scores of `deepcrop evaluate` and `deepcrop reproduce` as one HTML page."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from deepcrop.evaluation.tables import data_kind
from deepcrop.report.page import Picture, Section, write_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from deepcrop.report.tables import Table

_PAPER_TABLES = ("table", "differences")  # beginnings of the names of the paper's tables
_SITE_FIGURES = ("error_bars", "radar", "profiles")
_CAPTIONS = {
    "errors": "Diamonds: mean over seeds; points: each seed.",
    "scatter": "Main season, all seeds; predictions beyond the frame are drawn on its edge.",
    "images": "Lines at the points: standard deviation over seeds.",
    "error_bars": "Bars of a site, from left to right: SOS20, EOS20, SOS50, EOS50.",
    "radar": "A row for each site-year of the test sites.",
    "profiles": (
        "NDVI of the pixel with the curve drawn through it, backscatter of 5 × 5 pixels, and the "
        "dates: the camera's above, then the methods', each with its 90 % interval. Broken lines "
        "are the camera's dates."
    ),
}


def write_html(
    out: Path,
    tables: Sequence[Table],
    figures: Mapping[str, tuple[str, Figure]],
    head: str,
    simulated: bool,
) -> Path:
    """Write ``report.html``; parameters as in `deepcrop.evaluation.weights_report.write_report`."""
    paper = [table for table in tables if table.name.startswith(_PAPER_TABLES)]
    main = [table for table in tables if table.name in ("methods", "sensors")]
    others = [table for table in tables if table not in paper and table not in main]
    pictures = {
        name: Picture(
            name, title, _CAPTIONS.get(name.split("_")[0], _CAPTIONS.get(name, "")), figure
        )
        for name, (title, figure) in figures.items()
    }
    by_site = [picture for name, picture in pictures.items() if name.startswith(_SITE_FIGURES)]
    overall = [picture for name, picture in pictures.items() if not name.startswith(_SITE_FIGURES)]
    sections = [
        Section("methods", "Methods compared", [head], overall, main),
        Section(
            "paper",
            "The tables of the paper",
            [
                "Against continuous camera dates, never against those of the nearest image; the "
                "paper's own numbers seem to be of the latter."
            ],
            (),
            paper,
        ),
        Section("sites", "Site by site", (), by_site),
        Section(
            "all", "All numbers", ["The same as CSV: folder tables."], (), (),
            [
                Section(table.name, table.title, (), (), [replace(table, title="")])
                for table in others
            ],
        ),
    ]  # fmt: skip
    return write_page(
        out,
        "Distance of the dates from cameras",
        f"Scores of methods against PhenoCam cameras: {data_kind(simulated)}.",
        "The satellites' pixels were simulated; the labels are real cameras. Scores on real "
        "pixels are other scores." * simulated,
        [],
        [
            section
            for section in sections
            if any((section.pictures, section.tables, section.folded))
        ],
    )
