"""Read crop types on the grid of a cube: the USDA Cropland Data Layer (CDL), or any crop raster.

The CDL gives the crop of every 30 m pixel of the conterminous United States, year by year, in the
year of harvest. It comes from CropScape, the service of the USDA, or from Planetary Computer.
Every pixel of the cube takes the class of the source pixel that contains its centre: classes are
never interpolated. The CDL is in the public domain; users must cite `CITATION`.
"""

from __future__ import annotations

import csv
import html
import logging
import math
import os
import re
import warnings
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import rasterio
import xarray as xr
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from pyproj.exceptions import CRSError, ProjError
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError
from rasterio.io import DatasetReader, MemoryFile
from rasterio.windows import Window

from deepcrop import grid
from deepcrop.errors import MALFORMED, DeepCropError
from deepcrop.grid.resampling import place
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.footprints import name_of
from deepcrop.sources.http import HttpClient, redact_url
from deepcrop.sources.stac.access import PlanetaryTokens
from deepcrop.sources.stac.cog_reader import CogReader
from deepcrop.sources.stac.known_archives import PLANETARY_COMPUTER

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

CITATION = (
    "USDA National Agricultural Statistics Service Cropland Data Layer. Published crop-specific "
    "data layer. USDA-NASS, Washington, DC, https://nassgeodata.gmu.edu/CropScape/."
)
"""Citation for publications that use the CDL; they add the year."""

CROPSCAPE = "https://nassgeodata.gmu.edu"
"""Host of CropScape; the environment variable DEEPCROP_CROPSCAPE sets another."""

FIRST_YEAR = 2008
"""First year in which the CDL covers the whole conterminous United States."""

_log = logging.getLogger(__name__)

Bounds = tuple[float, float, float, float]
"""Left, bottom, right, top, metres in the system of the CDL."""

_CDL_CRS = "EPSG:5070"
_CDL_BOUNDS = (-2356095.0, 276915.0, 2258235.0, 3172605.0)
_CDL_PIXEL = 30.0
_RAT_NAME, _RAT_MINMAX = "2", "5"  # GDAL's codes of column usage in attribute tables
_RAT_NAMES = ("class_name", "class_names", "classname", "name", "label")
_WCS_MAX_PIXELS = 4000  # side of one WCS answer; CropScape's MapServer is limited to 4096
_FORMAT = "GTiff"  # of the services; nothing else is opened
_MOST_PAGES = 1000  # of a search; real ones have one
_BLOCK = 1024  # side of the blocks of the cube that are resampled at once, pixels


@dataclass(frozen=True)
class CropClass:
    """One class of a crop raster.

    Attributes
    ----------
    name : str
        As the publisher spells it, for example ``Dbl Crop WinWht/Soybeans``.
    colour : str
        ``#RRGGBB``, or empty if unknown.
    """

    name: str
    colour: str = ""


def read_cdl(
    box: GeoBox,
    year: int,
    source: str = "cropscape",
    *,
    address: str | None = None,
    client: HttpClient | None = None,
) -> xr.Dataset:
    """Read the Cropland Data Layer of a year as the ``landcover`` group of a cube.

    Parameters
    ----------
    box : GeoBox
        Grid of the cube.
    year : int
        Year of harvest, 2008 or later.
    source : str
        ``"cropscape"``: the file service of CropScape (``GetCDLFile``), or if it fails its coverage
        service (WCS); ``"pc"``: collection ``usda-cdl`` of Planetary Computer, up to 2021.
    address : str, optional
        Address of the service instead of the usual one.
    client : HttpClient, optional
        HTTP client; by default a new one.

    Returns
    -------
    Dataset
        ``crop_type`` (y, x), uint16, 0 = unknown (background), with CF ``flag_values`` and
        ``flag_meanings`` of the classes that occur, and their ``flag_colors``. The attributes are
        ``source``, ``access`` (the service that answered), ``year`` and ``citation``.

    Raises
    ------
    DeepCropError
        If there is no CDL of this year or for this area, or ``source`` is unknown.
    ArchiveError, SceneError
        If the service does not answer, or sends a damaged file.
    """
    if source not in ("cropscape", "pc"):
        raise DeepCropError(f"Source of CDL {source!r} is unknown; expected 'cropscape' or 'pc'.")
    _check_year(year)
    bounds = _cdl_bounds(box)
    if client is None:
        with HttpClient(interval=1.0, timeout=300.0, tries=3) as client:
            return read_cdl(box, year, source, address=address, client=client)
    if source == "cropscape":
        host = address or os.environ.get("DEEPCROP_CROPSCAPE") or CROPSCAPE
        codes, access = _from_cropscape(client, host.rstrip("/"), year, bounds, box)
    else:
        stac = address or os.environ.get("DEEPCROP_PC") or PLANETARY_COMPUTER
        codes, access = _from_planetary_computer(client, stac.rstrip("/"), year, box)
    if not codes.any():
        raise DeepCropError(
            f"CDL {year} has no crop type in this area ({_describe(box)}): it ends at the "
            "borders and coasts of the conterminous United States. Take a crop raster of your own."
        )
    attrs = {
        "source": f"USDA NASS Cropland Data Layer {year}",
        "access": access,
        "year": year,
        "citation": CITATION,
    }
    return _landcover(codes, cdl_classes(), box, attrs)


def read_raster(
    path: Path, box: GeoBox, classes: Path | Mapping[int, CropClass] | None = None
) -> xr.Dataset:
    """Read a crop raster as the ``landcover`` group of a cube.

    Parameters
    ----------
    path : Path
        Raster with one band of integers, in any format of GDAL; 0 and its no-data value mean
        unknown. It may extend beyond the grid or cover a part of it.
    box : GeoBox
        Grid of the cube.
    classes : Path or mapping, optional
        Names of the codes: a table for `read_classes`, or `cdl_classes()`. By default the table
        beside the raster (``crops.csv`` beside ``crops.tif``), else its raster attribute table
        (``crops.tif.aux.xml``), else the codes get names such as ``class_24``.

    Returns
    -------
    Dataset
        As `read_cdl`.

    Raises
    ------
    DeepCropError
        If the raster cannot be read, has no reference system, more than one band or other values
        than integers from 0 to 65535, or does not overlap the grid; if the table cannot be read, or
        lacks a code that occurs.
    """
    path = Path(path)
    codes = np.zeros(box.shape, np.uint16)
    try:
        with _open(path) as raster:
            _check_raster(raster, str(path))
            table, table_source = _find_classes(raster, path, classes)
            _resample_into(codes, raster, box)
    except (RasterioError, CRSError, ProjError) as error:
        raise DeepCropError(f"{path} cannot be read as a crop raster: {error}.") from None
    unnamed = np.setdiff1d(codes, [0, *table])
    if table and unnamed.size:
        raise DeepCropError(
            f"{table_source} has no name for the codes {', '.join(map(str, unnamed))} of {path}; "
            f"add a line for each, as '{unnamed[0]},name'."
        )
    if not codes.any():
        raise DeepCropError(
            f"{path} holds no crop type in this area ({_describe(box)}); check that it is the "
            "raster of this region."
        )
    return _landcover(codes, table, box, {"source": path.name})


def cdl_classes() -> dict[int, CropClass]:
    """Read the classes of the CDL, codes 0 to 254, with the names and colours of the USDA.

    Codes 63 to 65 and 81 to 88 occur only before 2008.
    """
    return read_classes(Path(__file__).with_name("cdl_classes.csv"))


def read_classes(path: Path) -> dict[int, CropClass]:
    """Read a table of classes: a CSV with columns ``code``, ``name`` and optionally ``colour``.

    Raises
    ------
    DeepCropError
        If it cannot be read, or a line is wrong; the message names the line.
    """
    classes: dict[int, CropClass] = {}
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DeepCropError(f"{path} cannot be read as a table of classes: {error}.") from None
    rows = csv.DictReader(text.splitlines(), skipinitialspace=True)
    if not {"code", "name"} <= set(rows.fieldnames or ()):
        raise DeepCropError(
            f"{path}, line 1: expected the heading 'code,name' (and optionally 'colour')."
        )
    for row in rows:
        code, name, colour = (row.get(key) or "" for key in ("code", "name", "colour"))
        where = f"{path}, line {rows.line_num}"
        if not (code.strip().isdecimal() and int(code) < 2**16 and name.strip()):
            raise DeepCropError(
                f"{where}: code '{code}', name '{name}'; expected a whole number from 0 to 65535 "
                "and a name."
            )
        if colour and not re.fullmatch(r"#[0-9A-Fa-f]{6}", colour):
            raise DeepCropError(f"{where}: colour '{colour}'; expected #RRGGBB.")
        if int(code) in classes:
            raise DeepCropError(f"{where}: code {code} occurs twice.")
        classes[int(code)] = CropClass(name.strip(), colour.upper())
    return classes


# Year and area -----------------------------------------------------------------------------------


def _check_year(year: int) -> None:
    if year < FIRST_YEAR:
        raise DeepCropError(
            f"There is no CDL of {year} for the whole conterminous United States; the first is of "
            f"{FIRST_YEAR}. Take a later year, or a crop raster of your own."
        )
    if year >= date.today().year:
        raise DeepCropError(
            f"There is no CDL of {year} yet: it is published in the February that follows."
        )


def _cdl_bounds(box: GeoBox) -> Bounds:
    """Bounds of a grid in the CDL's system, on pixel edges, with a margin of one pixel."""
    to_cdl = Transformer.from_crs(str(box.crs), _CDL_CRS, always_xy=True)
    bounds = to_cdl.transform_bounds(*box.boundingbox.bbox)
    left, bottom, right, top = bounds
    if not all(map(math.isfinite, bounds)) or (
        right <= _CDL_BOUNDS[0]
        or top <= _CDL_BOUNDS[1]
        or left >= _CDL_BOUNDS[2]
        or bottom >= _CDL_BOUNDS[3]
    ):
        raise DeepCropError(
            f"This area ({_describe(box)}) lies outside the conterminous United States, which is "
            "all that the CDL covers. Take a crop raster of your own."
        )

    def snapped(
        value: float, rounding: Callable[[float], int], margin: int, origin: float
    ) -> float:
        return origin + _CDL_PIXEL * (rounding((value - origin) / _CDL_PIXEL) + margin)

    x0, y0 = _CDL_BOUNDS[:2]
    return (
        snapped(left, math.floor, -1, x0),
        snapped(bottom, math.floor, -1, y0),
        snapped(right, math.ceil, 1, x0),
        snapped(top, math.ceil, 1, y0),
    )


def _degrees(box: GeoBox) -> Bounds:
    """West, south, east and north of a grid, degrees."""
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    return to_degrees.transform_bounds(*box.boundingbox.bbox)


def _describe(box: GeoBox) -> str:
    return ",".join(f"{edge:.2f}" for edge in _degrees(box)) + " degrees"


# CropScape ---------------------------------------------------------------------------------------


def _from_cropscape(
    client: HttpClient, host: str, year: int, bounds: Bounds, box: GeoBox
) -> tuple[NDArray[np.uint16], str]:
    """Read the codes on the grid, and name the service that answered."""
    try:
        tiffs = [_cdl_file(client, host, year, bounds)]
        access = "CropScape GetCDLFile"
    except ArchiveError as failure:
        try:
            tiffs = [_cdl_coverage(client, host, year, part) for part in _parts(bounds)]
        except ArchiveError as error:
            raise ArchiveError(
                f"CropScape gives no CDL of {year}. Its file service: {failure} Its coverage "
                f"service: {error} Planetary Computer (source 'pc') has the years to 2021."
            ) from None
        access = f"CropScape WCS, because GetCDLFile failed: {failure}"
    codes = np.zeros(box.shape, np.uint16)
    for tiff in tiffs:
        try:
            with MemoryFile(tiff) as file, _open(file, _FORMAT) as raster:
                _resample_into(codes, raster, box)
        except (RasterioError, CRSError, ProjError) as error:
            raise ArchiveError(
                f"{host} gives a GeoTIFF that cannot be placed ({error}). Try again later."
            ) from None
    return codes, access


def _cdl_file(client: HttpClient, host: str, year: int, bounds: Bounds) -> bytes:
    """Request a GeoTIFF of the area, and fetch it from the URL in the answer."""
    service = f"{host}/axis2/services/CDLService/GetCDLFile"
    answer = client.text(service, year=year, bbox=_joined(bounds))
    found = re.search(r"<returnURL>\s*(https?://[^<\s]+)\s*</returnURL>", answer)
    if not found:
        raise ArchiveError(
            f"{service} answers '{_plain_text(answer)}' instead of a file's address."
        )
    url = html.unescape(found[1])
    return _checked_tiff(client.bytes(url), redact_url(url), bounds)


def _cdl_coverage(client: HttpClient, host: str, year: int, bounds: Bounds) -> bytes:
    # The service holds 10 m pixels: bounds on edges of 30 m pixels yield the CDL's own values.
    service = f"{host}/CropScapeService/wms_cdlall.cgi"
    answer = client.bytes(
        service,
        service="WCS",
        version="1.0.0",
        request="GetCoverage",
        coverage=f"cdl_{year}",
        crs=_CDL_CRS,
        bbox=_joined(bounds),
        resx=_CDL_PIXEL,
        resy=_CDL_PIXEL,
        format="gtiff",
    )
    return _checked_tiff(answer, service, bounds)


def _parts(bounds: Bounds) -> Iterator[Bounds]:
    """Divide bounds into parts that fit into one answer of the coverage service."""
    left, bottom, right, top = bounds
    step = _WCS_MAX_PIXELS * _CDL_PIXEL
    for y in np.arange(bottom, top, step):
        for x in np.arange(left, right, step):
            yield x, y, min(x + step, right), min(y + step, top)


def _joined(bounds: Bounds) -> str:
    return ",".join(f"{edge:.0f}" for edge in bounds)


def _checked_tiff(content: bytes, where: str, bounds: Bounds) -> bytes:
    """Check that an answer is the requested GeoTIFF, not a part of it or an error message."""
    if content[:4] not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        text = content[:4000].decode("utf-8", "replace")
        raise ArchiveError(f"{where} answers '{_plain_text(text)}' instead of a GeoTIFF.")
    try:
        with MemoryFile(content) as file, _open(file, _FORMAT) as raster:
            # A few bytes can claim to be a huge image, which must not be unpacked.
            asked = (bounds[2] - bounds[0]) * (bounds[3] - bounds[1]) / _CDL_PIXEL**2
            if raster.count != 1 or raster.width * raster.height > 16 * asked + 10_000:
                raise RasterioIOError(f"{raster.width} x {raster.height} x {raster.count}")
            raster.read(1)
            placed, found = raster.crs is not None, raster.bounds
    except (RasterioError, *MALFORMED):
        raise ArchiveError(
            f"{where} gives a damaged GeoTIFF ({len(content)} bytes). Try again later."
        ) from None
    # The margin of one pixel may be missing, and so may anything outside the CDL.
    least = np.maximum(bounds[:2], _CDL_BOUNDS[:2]) + _CDL_PIXEL
    most = np.minimum(bounds[2:], _CDL_BOUNDS[2:]) - _CDL_PIXEL
    if not placed or (found[:2] > least).any() or (found[2:] < most).any():
        raise ArchiveError(
            f"{where} gives a GeoTIFF {'of other bounds' if placed else 'without a position'}; "
            f"expected {_joined(bounds)}. Try again later."
        )
    return content


def _plain_text(answer: str) -> str:
    """Extract the text of an XML or HTML answer, in one line."""
    text = re.sub(r"<(style|script|title)\b.*?</\1>|<[^>]*>", " ", answer, flags=re.S | re.I)
    return " ".join(html.unescape(text).split())[:300] or answer[:100]


# Planetary Computer ------------------------------------------------------------------------------


def _from_planetary_computer(
    client: HttpClient, stac: str, year: int, box: GeoBox
) -> tuple[NDArray[np.uint16], str]:
    """Read the codes on the grid, and name the items they come from."""
    items = [item for item in _search(client, stac, year, box) if _is_cropland(item, year)]
    if not items:
        raise DeepCropError(
            f"Planetary Computer has no CDL of {year} in this area ({_describe(box)}). It ends "
            "with 2021; CropScape (source 'cropscape') has later years."
        )
    codes = np.zeros(box.shape, np.uint16)
    cogs = CogReader(PlanetaryTokens(), tries=client.tries, pause=client.pause)
    for item in items:
        href = item["assets"]["cropland"]["href"]
        cogs.read(href, item["id"], lambda path: _fill_from_cog(codes, path, box))
    return codes, f"Planetary Computer usda-cdl: {', '.join(item['id'] for item in items)}"


def _search(client: HttpClient, stac: str, year: int, box: GeoBox) -> Iterator[dict[str, Any]]:
    """Search the items of the collection that touch the grid, page by page."""
    bbox = ",".join(f"{edge:.6f}" for edge in _degrees(box))
    url = (
        f"{stac}/search?collections=usda-cdl&bbox={bbox}&datetime={year}-07-01T00:00:00Z&limit=100"
    )
    visited: set[str] = set()
    while url:
        if url in visited or len(visited) >= _MOST_PAGES:
            raise ArchiveError(f"{redact_url(url)}: this list of pages does not end.")
        visited.add(url)
        page = client.json(url)
        try:
            features = list(page["features"])
            links = {link["rel"]: link["href"] for link in page.get("links", [])}
        except MALFORMED:
            raise ArchiveError(
                f"{redact_url(url)} does not answer as a STAC API; check the address."
            ) from None
        yield from features
        url = str(links.get("next") or "")


def _is_cropland(item: dict[str, Any], year: int) -> bool:
    """Whether an item is the crop layer of a year, not of cultivated land or crop frequency.

    An item that cannot be read is left out and named.
    """
    try:
        about = item["properties"]
        kind, start = about.get("usda_cdl:type"), str(about.get("start_datetime"))
        if not (kind == "cropland" and start.startswith(f"{year}-")):
            return False
        return isinstance(item["id"], str) and isinstance(item["assets"]["cropland"]["href"], str)
    except MALFORMED as error:
        _log.warning("Planetary Computer: %s is left out (%s).", name_of(item), error)
        return False


def _fill_from_cog(codes: NDArray[np.uint16], path: str, box: GeoBox) -> None:
    with _open(path, _FORMAT) as raster:
        if raster.crs is None:
            raise RasterioIOError("the header of the file is cut short")  # so that it is read again
        _resample_into(codes, raster, box)


# From raster to group ----------------------------------------------------------------------------


def _open(source: str | Path | MemoryFile, form: str | None = None) -> DatasetReader:
    """Open a raster: of an archive in its format only, of the user in any."""
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", NotGeoreferencedWarning
        )  # every caller checks the georeference
        return rasterio.open(source, driver=form)


def _check_raster(raster: DatasetReader, where: str) -> None:
    if raster.crs is None or raster.transform.is_identity:
        lacks = "reference system" if raster.crs is None else "geotransform"
        raise DeepCropError(
            f"{where} has no {lacks}, so its position is unknown; add it (gdal_edit.py -a_srs "
            "EPSG:…, or -a_ullr)."
        )
    if raster.count != 1:
        raise DeepCropError(f"{where} has {raster.count} bands; expected one band of crop codes.")


def _resample_into(codes: NDArray[np.uint16], raster: DatasetReader, box: GeoBox) -> None:
    """Resample the codes of a raster by nearest neighbour into pixels without a code."""
    epsg = raster.crs.to_epsg()
    source = GeoBox(raster.shape, raster.transform, f"EPSG:{epsg}" if epsg else raster.crs.to_wkt())
    for tile in grid.tiles(box.shape.yx, _BLOCK):
        placement = place(source, grid.crop(box, tile.core), "nearest")
        if placement is None:
            continue
        window = Window.from_slices(placement.rows, placement.cols)
        stored = _crop_codes(raster.read(1, window=window), raster)
        pick = placement.picks[0]
        new = np.where(pick >= 0, stored.reshape(-1)[pick], 0).reshape(tile.shape)
        np.copyto(codes[tile.core], new, where=codes[tile.core] == 0)


def _crop_codes(stored: NDArray[Any], raster: DatasetReader) -> NDArray[np.uint16]:
    """Convert raster values to codes; 0 where the raster has no data."""
    missing = ~np.isfinite(stored)
    if raster.nodata is not None:
        missing |= stored == raster.nodata
    codes = np.where(missing, 0, stored)
    wrong = (codes != np.floor(codes)) | (codes < 0) | (codes >= 2**16)
    if wrong.any():
        raise DeepCropError(
            f"{raster.name} holds the value {codes[wrong][0]:g}; expected crop codes, whole "
            "numbers from 0 to 65535."
        )
    return codes.astype(np.uint16)


def _landcover(
    codes: NDArray[np.uint16], classes: Mapping[int, CropClass], box: GeoBox, attrs: dict[str, Any]
) -> xr.Dataset:
    """Make the ``landcover`` group, with the classes that occur."""
    found = {
        int(code): classes.get(int(code), CropClass(f"class_{code}")) for code in np.unique(codes)
    }
    found = {0: CropClass("unknown", "#000000")} | {k: v for k, v in found.items() if k != 0}
    described: dict[str, Any] = {
        "flag_values": list(found),
        "flag_meanings": " ".join(_flag_meaning(entry.name) for entry in found.values()),
    }
    if all(entry.colour for entry in found.values()):
        described["flag_colors"] = " ".join(entry.colour for entry in found.values())
    data = xr.Dataset({"crop_type": (("y", "x"), codes, described)}, attrs=attrs)
    return grid.assign_grid(data, box)


def _flag_meaning(name: str) -> str:
    """Reduce a name to the characters that CF allows in a flag's meaning."""
    return re.sub(r"[^\w.+@-]+", "_", name, flags=re.ASCII).strip("_") or "unnamed"


# Names of a raster's classes ---------------------------------------------------------------------


def _find_classes(
    raster: DatasetReader, path: Path, classes: Path | Mapping[int, CropClass] | None
) -> tuple[dict[int, CropClass], str]:
    """Find the class names of a raster and the table they come from; empty if there is none."""
    colours = _palette(raster)
    if isinstance(classes, Mapping):
        return dict(classes), "The table of classes"
    beside = path.with_suffix(".csv")
    if classes is not None or beside.is_file():
        table = Path(classes or beside)
        named = read_classes(table)
    else:
        table = path.with_name(path.name + ".aux.xml")
        named = _attribute_table(table) if table.is_file() else {}
    coloured = {
        code: CropClass(entry.name, entry.colour or colours.get(code, ""))
        for code, entry in named.items()
    }
    return coloured, str(table)


def _palette(raster: DatasetReader) -> dict[int, str]:
    if raster.colorinterp[0] != ColorInterp.palette:
        return {}
    return {code: "#{:02X}{:02X}{:02X}".format(*rgba) for code, rgba in raster.colormap(1).items()}


def _attribute_table(path: Path) -> dict[int, CropClass]:
    """Read GDAL's raster attribute table, which most programs write beside a raster.

    The result is empty if the file has no table, or a table without names.
    """
    try:
        table = ElementTree.parse(path).find(".//GDALRasterAttributeTable")
    except (OSError, ElementTree.ParseError) as error:
        raise DeepCropError(
            f"{path} cannot be read as XML ({error}); repair or remove it, or give a table of "
            "classes as CSV."
        ) from None
    if table is None:
        return {}
    try:
        return _named_codes(table)
    except MALFORMED as error:
        raise DeepCropError(
            f"{path} has a damaged attribute table ({error}); repair or remove it, or give a table "
            "of classes as CSV."
        ) from None


def _named_codes(table: ElementTree.Element) -> dict[int, CropClass]:
    columns = {
        field.findtext("Name", "").lower(): int(field.get("index", k))
        for k, field in enumerate(table.findall("FieldDefn"))
    }
    usages = {
        field.findtext("Usage"): int(field.get("index", k))
        for k, field in enumerate(table.findall("FieldDefn"))
    }
    code = columns.get("value", usages.get(_RAT_MINMAX))
    name = next((columns[key] for key in _RAT_NAMES if key in columns), usages.get(_RAT_NAME))
    if code is None or name is None:
        return {}
    rows = [[cell.text or "" for cell in row.findall("F")] for row in table.findall("Row")]
    return {
        int(float(row[code])): CropClass(row[name].strip()) for row in rows if row[name].strip()
    }
