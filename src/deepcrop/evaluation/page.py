"""The page of scores: tables and figures of `deepcrop evaluate` and `reproduce` in one file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from deepcrop.evaluation.tables import Table, kind, shown
from deepcrop.report.page import Grid, Picture, Section, write_page

_PAPER = ("table", "differences")  # names of tables of the paper's, and those like them, begin so
_SITES = ("error_bars", "radar", "profiles")
_CAPTIONS = {
    "errors": "Diamonds: mean over seeds; points: each seed.",
    "scatter": "Main season, all seeds; answers beyond the frame are drawn on its edge.",
    "images": "Lines at the points: standard deviation over seeds.",
    "error_bars": "Bars of a site, from left to right: SOS20, EOS20, SOS50, EOS50.",
    "radar": "A row for each site-year of the test sites.",
    "profiles": (
        "NDVI of the pixel with the curve drawn through it, backscatter of 5 × 5 pixels, and the "
        "dates: the camera's above, then the methods', each with its 90 % interval. Broken lines "
        "are the camera's dates."
    ),
}
_WORDS = ("method", "site", "group", "stage", "crop", "site-year", "data")


def write(
    out: Path,
    tables: Sequence[Table],
    figures: Mapping[str, tuple[str, Figure]],
    head: str,
    simulated: bool,
) -> Path:
    """Write ``report.html``; parameters as of `deepcrop.evaluation.weights_report.write`."""
    paper = [table for table in tables if table.name.startswith(_PAPER)]
    main = [table for table in tables if table.name in ("methods", "sensors")]
    rest = [table for table in tables if table not in paper and table not in main]
    pictures = {
        name: Picture(name, title, _CAPTIONS.get(name.split("_")[0], _CAPTIONS.get(name, "")), one)
        for name, (title, one) in figures.items()
    }
    sites = [one for name, one in pictures.items() if name.startswith(_SITES)]
    others = [one for name, one in pictures.items() if not name.startswith(_SITES)]
    sections = [
        Section("methods", "Methods compared", [head], others, [_grid(one) for one in main]),
        Section(
            "paper",
            "The tables of the paper",
            [
                "Against continuous camera dates, never against those of the nearest image; the "
                "paper's own numbers seem to be of the latter."
            ],
            (),
            [_grid(one) for one in paper],
        ),
        Section("sites", "Site by site", (), sites),
        Section(
            "all", "All numbers", ["The same as CSV: folder tables."], (), (),
            [Section(one.name, one.title, (), (), [_grid(one, title=False)]) for one in rest],
        ),
    ]  # fmt: skip
    return write_page(
        out,
        "How near the dates come to cameras",
        f"Scores of methods against PhenoCam cameras: {kind(simulated)}.",
        "The satellites' pixels were simulated; the labels are real cameras. Scores on real "
        "pixels are other scores." * simulated,
        [],
        [
            section
            for section in sections
            if any((section.pictures, section.tables, section.folded))
        ],
    )


def _grid(table: Table, title: bool = True) -> Grid:
    words = 0
    for name in table.columns:
        if name not in _WORDS:
            break
        words += 1
    return Grid(
        table.title if title else "",
        table.columns,
        [[shown(cell) for cell in row] for row in table.rows],
        max(words, 1),
        table.note,
    )
