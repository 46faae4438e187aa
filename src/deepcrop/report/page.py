"""What the pages of reports share: one HTML file that holds all it shows, its pictures beside it.

A page opens without any network: styles are within, pictures are data URIs. Each picture also lies
beside the page as PNG and SVG, for papers.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import matplotlib
from matplotlib.figure import Figure

from deepcrop._version import __version__
from deepcrop.figures.page import DPI
from deepcrop.storage.files import atomic_file

FIGURES = "figures"
"""Folder of the pictures, beside the page."""


@dataclass(frozen=True)
class Picture:
    """A figure of a page.

    Attributes
    ----------
    name : str
        Of its files.
    title : str
        What it shows, a few words; also its text for those who do not see it.
    caption : str
        How it is to be read, whole sentences.
    figure : Figure
    """

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Grid:
    """A table of a page; cells are text that is ready to be shown.

    Attributes
    ----------
    title, note : str
        Above and below it.
    columns : sequence of str
    rows : sequence of sequence of str
    words : int
        So many columns at the left are text; the others are numbers and stand at the right.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    note: str = ""


@dataclass(frozen=True)
class Section:
    """A part of a page: a heading, paragraphs, pictures, tables, and what is folded away.

    Attributes
    ----------
    name : str
        Of its link.
    title : str
    paragraphs : sequence of str
        Plain text.
    pictures : sequence of Picture
    tables : sequence of Grid
    folded : sequence of Section
        Shown when asked for.
    """

    name: str
    title: str
    paragraphs: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Grid] = ()
    folded: Sequence[Section] = ()


def write_page(
    folder: Path,
    title: str,
    lead: str,
    simulated: str,
    facts: Iterable[tuple[str, str]],
    sections: Sequence[Section],
) -> Path:
    """Write ``report.html`` and its pictures.

    Parameters
    ----------
    folder : Path
        An existing folder.
    title, lead : str
        Heading, and a sentence or two below it.
    simulated : str
        What of the data is simulated, a sentence; empty where nothing is.
    facts : iterable of pair of str
        Name and value of what a reader wants to know first.
    sections : sequence of Section

    Returns
    -------
    Path
        The page.
    """
    (folder / FIGURES).mkdir(exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepcrop.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    number = iter(range(1, 1000))

    def place(picture: Picture) -> dict[str, Any]:
        return {
            "number": next(number),
            "source": _write_picture(folder / FIGURES, picture),
            "png": f"{FIGURES}/{picture.name}.png",
            "svg": f"{FIGURES}/{picture.name}.svg",
            "title": picture.title,
            "caption": picture.caption,
        }

    page = environment.get_template("report.html").render(
        title=title,
        lead=lead,
        simulated=simulated,
        facts=list(facts),
        sections=sections,
        place=place,
        version=__version__,
    )
    path = folder / "report.html"
    with atomic_file(path) as part:
        part.write_text(page, encoding="utf-8")
    return path


def _write_picture(folder: Path, picture: Picture) -> str:
    """Write a picture as PNG and SVG; returns it as data URI."""
    # The same figure gives the same bytes, and words stay words, which can be found and edited.
    with matplotlib.rc_context({"svg.hashsalt": picture.name, "svg.fonttype": "none"}):
        with atomic_file(folder / f"{picture.name}.svg") as part:
            picture.figure.savefig(
                part, format="svg", dpi=DPI, facecolor="white", metadata={"Date": None}
            )
        memory = io.BytesIO()
        picture.figure.savefig(memory, format="png", dpi=DPI, facecolor="white")
    with atomic_file(folder / f"{picture.name}.png") as part:
        part.write_bytes(memory.getvalue())
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode("ascii")
