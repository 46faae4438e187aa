"""Read Sentinel-1 GRD products in ESA's SAFE format: the manifest, and the tables of an image.

A product is a folder with a manifest and, for each polarization, a measurement (GeoTIFF of DN), an
annotation, a calibration table and a thermal noise table (XML). Lines and pixels of an image
are 0-based, with integers at pixel centres.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np
from rasterio.errors import RasterioError

from deepcrop.errors import MALFORMED
from deepcrop.sources.archive import SceneError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    ReadWindow = Callable[[slice, slice, tuple[int, int]], NDArray[np.uint16]]
    """Reads the lines and pixels of an image of this shape."""

_MOST_VECTORS = 1000  # of a table; real ones have about 30


@dataclass(frozen=True)
class Product:
    """A product, as its manifest describes it.

    Attributes
    ----------
    path : Path
        The SAFE folder.
    mission : str
        For example ``S1B``.
    start, stop : datetime64[ns]
        Times of the first and last line, UTC.
    relative_orbit : int
        Relative orbit at the start.
    polarizations : tuple of str
        In lower case, for example ``("vv", "vh")``.
    windows : mapping, optional
        How windows of the measurement of each polarization are read, where it is not in the folder.
    """

    path: Path
    mission: str
    start: np.datetime64
    stop: np.datetime64
    relative_orbit: int
    polarizations: tuple[str, ...]
    windows: Mapping[str, ReadWindow] | None = None


@dataclass(frozen=True)
class RangeVectors:
    """A quantity along range, given at some lines of the image.

    Attributes
    ----------
    lines : ndarray (n,)
        Rising.
    pixels, values : tuple of ndarray
        One array each per line; their lengths may differ from line to line.
    """

    lines: NDArray[np.float64]
    pixels: tuple[NDArray[np.float64], ...]
    values: tuple[NDArray[np.float64], ...]

    def at(self, lines: NDArray[np.intp], pixels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Interpolate bilinearly at every line and pixel; the result is (lines, pixels)."""
        along = [np.interp(pixels, *pair) for pair in zip(self.pixels, self.values, strict=True)]
        weights = [np.interp(lines, self.lines, unit) for unit in np.eye(self.lines.size)]
        return np.stack(weights, axis=1) @ np.stack(along)


@dataclass(frozen=True)
class AzimuthNoise:
    """Factor of the noise along azimuth within a block of one swath; all bounds are included."""

    first_line: int
    last_line: int
    first_pixel: int
    last_pixel: int
    lines: NDArray[np.float64]
    values: NDArray[np.float64]


@dataclass(frozen=True)
class Noise:
    """Thermal noise of an image, in DN²: along range, times a factor along azimuth.

    Products of processors before IPF 2.90 have no factor along azimuth.
    """

    along_range: RangeVectors
    along_azimuth: tuple[AzimuthNoise, ...]

    def at(self, lines: NDArray[np.intp], pixels: NDArray[np.intp]) -> NDArray[np.float64]:
        """Compute the noise at every line and pixel: (lines, pixels), DN²."""
        power = self.along_range.at(lines, pixels)
        for block in self.along_azimuth:
            rows = (lines >= block.first_line) & (lines <= block.last_line)
            cols = (pixels >= block.first_pixel) & (pixels <= block.last_pixel)
            factor = np.interp(lines[rows], block.lines, block.values)
            power[np.ix_(rows, cols)] *= factor[:, None]
        return power


def open_product(safe: Path) -> Product:
    """Read the manifest of a product.

    Raises
    ------
    SceneError
        If the folder is not a SAFE product, or not a GRD product.
    """
    safe = Path(safe)
    manifest = safe / "manifest.safe"
    if not manifest.is_file():
        raise SceneError(
            f"{safe} is not a SAFE product: it has no 'manifest.safe'; expected the unpacked "
            "folder 'S1…_GRD…_….SAFE'."
        )
    with scene_errors(manifest):
        root = ElementTree.parse(manifest).getroot()
        kind = child_text(root, ".//{*}productType")
        product = Product(
            path=safe,
            mission="S1" + child_text(root, ".//{*}platform/{*}number"),
            start=np.datetime64(child_text(root, ".//{*}startTime"), "ns"),
            stop=np.datetime64(child_text(root, ".//{*}stopTime"), "ns"),
            relative_orbit=int(child_text(root, ".//{*}relativeOrbitNumber[@type='start']")),
            polarizations=tuple(
                (node.text or "").lower()
                for node in root.iterfind(".//{*}transmitterReceiverPolarisation")
            ),
        )
    if kind != "GRD":
        raise SceneError(f"{safe} is a Sentinel-1 {kind} product; expected GRD.")
    return product


def read_calibration(product: Product, polarization: str) -> RangeVectors:
    """Read the sigmaNought vectors of an image.

    Raises
    ------
    SceneError
        If the file is missing or damaged.
    """
    path = find_file(product, "annotation/calibration/calibration-*.xml", polarization)
    with scene_errors(path):
        vectors = _vectors(ElementTree.parse(path).getroot(), "calibrationVector", "sigmaNought")
        if not all((values > 0).all() for values in vectors.values):
            raise ValueError("'sigmaNought' is 0")  # powers are divided by it
        return vectors


def noise_removed(product: Product, polarization: str) -> bool:
    """Whether the processor of the product has removed the thermal noise already.

    Raises
    ------
    SceneError
        If the annotation is missing or damaged.
    """
    annotation = find_file(product, "annotation/*.xml", polarization)
    with scene_errors(annotation):
        root = ElementTree.parse(annotation).getroot()
        return root.findtext(".//thermalNoiseCorrectionPerformed") == "true"


def read_noise(product: Product, polarization: str) -> Noise:
    """Read the noise vectors of an image.

    xarray-sentinel reads the azimuth noise of the first swath only, so it is not used here.

    Raises
    ------
    SceneError
        If the file is missing or damaged, or not in DN² (products before July 2015).
    """
    path = find_file(product, "annotation/calibration/noise-*.xml", polarization)
    with scene_errors(path):
        root = ElementTree.parse(path).getroot()
        if root.find(".//noiseRangeVector") is not None:
            along_range = _vectors(root, "noiseRangeVector", "noiseRangeLut")
        else:  # before IPF 2.90
            along_range = _vectors(root, "noiseVector", "noiseLut")
        along_azimuth = tuple(
            AzimuthNoise(
                first_line=int(child_text(node, "firstAzimuthLine")),
                last_line=int(child_text(node, "lastAzimuthLine")),
                first_pixel=int(child_text(node, "firstRangeSample")),
                last_pixel=int(child_text(node, "lastRangeSample")),
                lines=_numbers(node, "line"),
                values=_numbers(node, "noiseAzimuthLut"),
            )
            for node in root.iter("noiseAzimuthVector")
        )
        for block in along_azimuth:
            _check_rising("line", block.lines)
            if block.lines.size != block.values.size or not (block.values >= 0).all():
                raise ValueError("'noiseAzimuthLut' does not fit 'line', or is negative")
    largest = max(float(values.max()) for values in along_range.values)
    if largest < 1:
        raise SceneError(
            f"{path}: the noise vectors reach {largest:g} only, expected hundreds of DN²; products "
            "processed before July 2015 have them on another scale. Get the reprocessed product."
        )
    return Noise(along_range, along_azimuth)


def _vectors(root: ElementTree.Element, tag: str, quantity: str) -> RangeVectors:
    nodes = list(root.iter(tag))
    if not nodes:
        raise ValueError(f"no '{tag}'")
    if len(nodes) > _MOST_VECTORS:
        raise ValueError(f"{len(nodes)} '{tag}', at most {_MOST_VECTORS} are sensible")
    pixels = tuple(_numbers(node, "pixel") for node in nodes)
    values = tuple(_numbers(node, quantity) for node in nodes)
    lines = np.array([float(child_text(node, "line")) for node in nodes])
    _check_rising("line", lines)
    for along, vector in zip(pixels, values, strict=True):
        _check_rising("pixel", along)
        if along.size != vector.size or not (vector >= 0).all():
            raise ValueError(f"'{quantity}' does not fit 'pixel', or is negative")
    return RangeVectors(lines, pixels, values)


def _check_rising(name: str, places: NDArray[np.float64]) -> None:
    """Raise ValueError unless places rise: interpolation between others gives any value."""
    if not places.size or (np.diff(places) <= 0).any():
        raise ValueError(f"the values of '{name}' do not rise")


def _numbers(node: ElementTree.Element, tag: str) -> NDArray[np.float64]:
    numbers = np.array(child_text(node, tag).split(), np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"'{tag}' holds what is no number")
    return numbers


def find_file(product: Product, pattern: str, polarization: str) -> Path:
    """Find the file of a polarization, under ESA's name or a short one (``iw-vv.xml``).

    Raises
    ------
    SceneError
        If there is none, or more than one.
    """
    marked = re.compile(rf"-{polarization}[-.]")
    found = [path for path in sorted(product.path.glob(pattern)) if marked.search(path.name)]
    if len(found) != 1:
        raise SceneError(
            f"{product.path}: {len(found) or 'no'} files '{pattern}' of {polarization.upper()}; "
            "expected one. Unpack the product again, completely."
        )
    return found[0]


@contextmanager
def scene_errors(
    path: Path, what: str = "a file of a complete Sentinel-1 GRD product"
) -> Iterator[None]:
    """Turn read errors into a `SceneError` that names the file; ``what`` says what was expected."""
    try:
        yield
    except (
        *(OSError, RasterioError, ElementTree.ParseError),
        *MALFORMED,
    ) as error:
        raise SceneError(f"{path} cannot be read ({error}); expected {what}.") from error


def child_text(node: ElementTree.Element, tag: str) -> str:
    """Text of an element of an XML tree; a ValueError that names the element if it is absent."""
    text = node.findtext(tag)
    if not text:
        raise ValueError(f"no '{tag.removeprefix('.//')}'")
    return text
