"""Write report pages: one self-contained HTML file, with its figures beside it.

A page opens without a network: it contains its style, and its figures as data URIs. Each figure is
also written beside the page as PNG and SVG, for papers.
"""

from __future__ import annotations

import base64
import io
import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import jinja2
import matplotlib

from deepcrop._version import __version__
from deepcrop.figures.page import DPI
from deepcrop.storage.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from deepcrop.report.tables import Table

FIGURES = "figures"
"""Folder of the figures, beside the page."""

SIMULATED = (
    "The observations of these maps were simulated. Nothing on this page is a measurement of a "
    "real field."
)
"""What the page of a map of simulated observations says."""


@dataclass(frozen=True)
class Picture:
    """A figure of a page.

    Attributes
    ----------
    name : str
        Name of its files.
    title : str
        What the figure shows, a few words; also its alternative text.
    caption : str
        How to read the figure, whole sentences.
    figure : Figure
    """

    name: str
    title: str
    caption: str
    figure: Figure


@dataclass(frozen=True)
class Section:
    """A section of a page: heading, paragraphs, figures, tables, and folded sections.

    Attributes
    ----------
    name : str
        Name of its link.
    title : str
    paragraphs : sequence of str
        Plain text.
    pictures : sequence of Picture
    tables : sequence of Table
    folded : sequence of Section
        Sections that open on a click.
    """

    name: str
    title: str
    paragraphs: Sequence[str] = ()
    pictures: Sequence[Picture] = ()
    tables: Sequence[Table] = ()
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
        Heading, and one or two sentences below it.
    simulated : str
        A sentence on what is simulated; empty if no data is.
    facts : iterable of pair of str
        Name and value of each fact at the top of the page.
    sections : sequence of Section

    Returns
    -------
    Path
        Path of the page.
    """
    (folder / FIGURES).mkdir(exist_ok=True)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("deepcrop.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Figures of folded sections have numbers of their own: those that a reader sees have no holes.
    shown, folded = itertools.count(1), itertools.count(1)

    def place(picture: Picture, in_folded: bool) -> dict[str, Any]:
        return {
            "number": f"S{next(folded)}" if in_folded else str(next(shown)),
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
    with atomic_file(path) as file:
        file.write_text(page, encoding="utf-8")
    return path


def _write_picture(folder: Path, picture: Picture) -> str:
    """Write a figure as PNG and SVG, and return it as data URI."""
    # The salt makes equal figures equal bytes; "none" keeps text as text, to search and edit.
    with matplotlib.rc_context({"svg.hashsalt": picture.name, "svg.fonttype": "none"}):
        with atomic_file(folder / f"{picture.name}.svg") as file:
            picture.figure.savefig(
                file, format="svg", dpi=DPI, facecolor="white", metadata={"Date": None}
            )
        memory = io.BytesIO()
        picture.figure.savefig(memory, format="png", dpi=DPI, facecolor="white")
    with atomic_file(folder / f"{picture.name}.png") as file:
        file.write_bytes(memory.getvalue())
    return "data:image/png;base64," + base64.b64encode(memory.getvalue()).decode("ascii")
