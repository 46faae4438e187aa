"""Read coordinates as people paste them: degrees in any usual form, or map coordinates."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from pyproj import Transformer

from deepcrop import grid
from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from odc.geo.geobox import GeoBox

_LONGEST = 200
"""Maximum number of characters of a place."""

_NUMBER = r"[-+]?\d{1,9}(?:\.\d{1,15})?"

_LINKS = (
    re.compile(rf"@({_NUMBER}),({_NUMBER})"),  # Google Maps
    re.compile(rf"#map=[\d.]+/({_NUMBER})/({_NUMBER})"),  # OpenStreetMap, and this page
    re.compile(rf"^geo:({_NUMBER}),({_NUMBER})"),  # RFC 5870
)

_ANGLE = re.compile(
    r"(?P<sign>[-+])?(?P<degrees>\d{1,9}(?:\.\d{1,15})?)\s*°?"
    r"(?:\s*(?P<minutes>\d{1,2}(?:\.\d{1,15})?)\s*')?"
    r"(?:\s*(?P<seconds>\d{1,2}(?:\.\d{1,15})?)\s*\")?"
)

_UTM = re.compile(rf"^(\d{{1,2}})\s*([C-HJ-NP-X])[\s,]+({_NUMBER})[\s,;]+({_NUMBER})$", re.I)

_SAMPLES = (
    "Examples: 50.93, 4.35 (latitude, longitude); 50°55'48\"N 4°21'E; 31U 595000 5643000; easting "
    "and northing of the map."
)


def parse_place(text: str, box: GeoBox) -> tuple[float, float]:
    r"""Return the longitude and latitude of a place of a map.

    Parameters
    ----------
    text : str
        Latitude and longitude in degrees (decimal, or with minutes and seconds; with N, S, E, W in
        any order), a place in UTM with its zone, easting and northing in the reference system of
        the map, or a link of an online map.
    box : GeoBox
        Grid of the map.

    Raises
    ------
    DeepCropError
        If the text is no place, or the place lies outside the map.

    Examples
    --------
    >>> from deepcrop.grid import make_grid
    >>> box = make_grid((500000, 4600000, 501000, 4601000), "EPSG:32615")
    >>> parse_place("41°33'10\"N 92°59'50\"W", box)
    (-92.997222, 41.552778)
    """
    found = _read(text.strip(), box)
    if found is None:
        raise DeepCropError(f"'{text[:60]}' is no place. {_SAMPLES}")
    longitude, latitude = found
    if not abs(latitude) <= 90 or not abs(longitude) <= 360:
        raise DeepCropError(
            f"'{text[:60]}' is no place: a latitude is at most 90 and a longitude at most 180 "
            f"degrees, and it lies outside the map as easting and northing. {_SAMPLES}"
        )
    try:
        grid.cell_of(box, longitude, latitude)
    except DeepCropError:
        south, west = "S" if latitude < 0 else "N", "W" if longitude < 0 else "E"
        raise DeepCropError(
            f"{abs(latitude):.5f}° {south}, {abs(longitude):.5f}° {west} is outside the map. "
            "Latitude comes first, unless letters say otherwise."
        ) from None
    return round(longitude, 6), round(latitude, 6)


def _read(text: str, box: GeoBox) -> tuple[float, float] | None:
    """Longitude and latitude of a text; None if it has no known form."""
    if len(text) > _LONGEST:
        return None
    for link in _LINKS:
        if found := link.search(text):
            return float(found[2]), float(found[1])
    text = _plain(text)
    if found := _UTM.match(text):
        zone, band = int(found[1]), found[2].upper()
        if not 1 <= zone <= 60:
            return None
        crs = f"EPSG:{(327 if band < 'N' else 326) * 100 + zone}"
        return _to_degrees(float(found[3]), float(found[4]), crs)
    text = text.upper()
    axes = ["lat" if letter in "NS" else "lon" for letter in re.findall("[NSEW]", text)]
    parts = _parts(text, bool(axes))
    if parts is None or len(parts) != 2 or (axes and sorted(axes) != ["lat", "lon"]):
        return None
    first, second = parts
    if axes:
        minus = [letter in "SW" for letter in re.findall("[NSEW]", text)]
        signed = [-value if turned else value for value, turned in zip(parts, minus, strict=True)]
        latitude, longitude = signed if axes[0] == "lat" else signed[::-1]
        first, second = longitude, latitude  # or easting and northing
        if max(abs(first), abs(second)) <= 360:
            return longitude, latitude
    left, bottom, right, top = box.boundingbox.bbox
    # Metres of a map in UTM or similar are never as small as degrees.
    if max(abs(first), abs(second)) > 360 or (left <= first <= right and bottom <= second <= top):
        return _to_degrees(first, second, str(box.crs))
    return second, first


def _plain(text: str) -> str:
    """Write a place with points for decimals, ASCII signs, and without names of the axes."""
    text = text.translate(str.maketrans("′’‘´`″”“−–º", "'''''\"\"\"--°")).replace("''", '"')
    text = re.sub(
        r"\b(latitude|longitude|lat|lon|long|lng|x|y|easting|northing)\b", " ", text, flags=re.I
    )
    text = re.sub(r"[:=()\[\]]", " ", text).strip()
    if re.fullmatch(r"[^.,]*\d,\d+[^.\d,]*,?[\s;]+[^.,]*\d,\d+[^.\d,]*", text):
        text = re.sub(r"(\d),(\d)", r"\1.\2", text)  # decimal commas
    return re.sub(r"\s+", " ", text)


def _parts(text: str, letters: bool) -> list[float] | None:
    """Read the angles or numbers of a text between which there are only separators.

    With letters of directions, degrees, minutes and seconds may also be parted by blanks alone.
    """
    values: list[tuple[float, ...]] = []
    end, bare = 0, re.sub("[NSEW]", " ", text)
    for found in _ANGLE.finditer(bare):
        if bare[end : found.start()].strip(" ,;"):
            return None
        end = found.end()
        sign = -1.0 if found["sign"] == "-" else 1.0
        numbers = (found["degrees"], found["minutes"] or 0, found["seconds"] or 0)
        values.append((sign, *map(float, numbers)))
    if bare[end:].strip(" ,;"):
        return None
    if letters and len(values) in (4, 6) and not any(m or s for _, _, m, s in values):
        half = len(values) // 2
        values = [
            (part[0][0], *(one[1] for one in part), 0.0)[:4]
            for part in (values[:half], values[half:])
        ]
    if any(minutes >= 60 or seconds >= 60 for _, _, minutes, seconds in values):
        return None
    return [sign * (degrees + m / 60 + s / 3600) for sign, degrees, m, s in values]


def _to_degrees(x: float, y: float, crs: str) -> tuple[float, float] | None:
    to_degrees = Transformer.from_crs(crs, "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    return (longitude, latitude) if np.isfinite([longitude, latitude]).all() else None
