"""The palette: one place, colours that colour-blind readers can tell apart."""

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb

import deepcrop
from deepcrop.figures import style
from deepcrop.stages import CALENDAR

PACKAGE = Path(deepcrop.__file__).parent
PALETTE = {
    *style.STAGE_COLOURS.values(),
    *style.METHOD_COLOURS.values(),
    *style.SERIES_COLOURS.values(),
    *style.CLASS_COLOURS,
    style.OTHER_CLASS,
} - {style.INK}


def sources():
    """Files of the package in which a colour could be written, without style.py and MapLibre."""
    for path in sorted(PACKAGE.rglob("*")):
        is_source = path.suffix in {".py", ".js", ".css", ".html", ".svg"}
        if is_source and "vendor" not in path.parts and path != PACKAGE / "figures/style.py":
            yield path


def test_colours_of_the_palette_are_written_once():
    found = [
        f"{path.relative_to(PACKAGE)}: {colour}"
        for path in sources()
        for colour in re.findall(r"#[0-9a-f]{6}\b", path.read_text(encoding="utf-8").lower())
        if colour in PALETTE
    ]
    assert found == []
    names = {path.name for path in sources()}
    assert {"style.css", "paint.js", "report.css", "map_figures.py"} <= names  # they were read


def test_every_date_has_a_colour_and_a_colour_map():
    assert tuple(style.STAGE_COLOURS) == CALENDAR
    assert [style.date_colours(stage).name for stage in CALENDAR] == [
        "viridis",
        "viridis",
        "plasma",
        "plasma",
        "plasma",
    ]


# Machado, Oliveira and Fernandes (2009), full deficiency; linear RGB to linear RGB.
SIGHT = {
    "normal": np.eye(3),
    "deuteranopia": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
    "protanopia": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
}


def lab(colour, sight):
    """CIE L*a*b* (D65) of a colour as a kind of sight has it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    seen = np.clip(SIGHT[sight] @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ seen / [0.9505, 1.0, 1.089])
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("sight", SIGHT)
def test_two_stages_can_be_told_apart(sight):
    for one, other in itertools.combinations(style.STAGE_COLOURS.values(), 2):
        assert np.linalg.norm(lab(one, sight) - lab(other, sight)) >= 25
