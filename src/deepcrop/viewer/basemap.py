"""Check a file of map tiles (PMTiles, version 3) that is shown behind a map.

The browser reads its tiles from the file itself, with requests for ranges of bytes. Here only its
header and metadata are read, so that a damaged file is an error before the page opens.
"""

from __future__ import annotations

import html
import re
import struct
import zlib
from typing import TYPE_CHECKING, Any

from deepcrop.errors import MALFORMED, DeepCropError
from deepcrop.storage.documents import parse_json

if TYPE_CHECKING:
    from pathlib import Path

_HEADER = struct.Struct("<7sB11Q6B4iB2i")
_RASTER = {2: "png", 3: "jpeg", 4: "webp", 5: "avif"}
_VECTOR = {1: "mvt", 6: "mlt"}
_COMPRESSIONS = {0: "unknown", 1: "none", 2: "gzip", 3: "brotli", 4: "zstd"}
_LARGEST = 8 * 2**20
"""Maximum number of bytes of metadata, and of the first directory."""
_MOST_LAYERS = 200


def read_basemap(path: Path) -> dict[str, Any]:
    """Return what the page needs to know of a basemap.

    Returns
    -------
    dict
        ``kind`` ("raster" or "vector"), ``encoding`` of vector tiles ("mvt" or "mlt"), ``minzoom``,
        ``maxzoom``, ``bounds`` (west, south, east, north in degrees), ``attribution`` as text, and
        ``layers`` (names of vector layers).

    Raises
    ------
    DeepCropError
        If the file is missing, damaged, or of a form that the page cannot show.
    """
    if not path.is_file():
        raise DeepCropError(f"{path} does not exist; expected a basemap, a PMTiles file.")
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER.size)
        if len(head) < _HEADER.size or head[:7] != b"PMTiles":
            raise DeepCropError(
                f"{path} is no PMTiles file. Make one of MBTiles with 'pmtiles convert'."
            )
        fields = _HEADER.unpack(head)
        if fields[1] != 3:
            raise DeepCropError(
                f"{path} is PMTiles of version {fields[1]}; expected version 3. Convert it with "
                "'pmtiles convert'."
            )
        parts = list(zip(fields[2:10:2], fields[3:10:2], strict=True))
        if any(start + length > size for start, length in parts):
            raise _damaged(path, f"it has {size} bytes, its header says more")
        internal, kind = fields[14], fields[16]
        if internal not in (1, 2):
            raise DeepCropError(
                f"{path} has directories compressed with {_COMPRESSIONS.get(internal, internal)}; "
                "expected gzip or none. Convert it with 'pmtiles convert'."
            )
        if kind not in _RASTER | _VECTOR:
            raise DeepCropError(
                f"{path} has tiles of type {kind}; expected vector tiles (MVT) or images (PNG, "
                "JPEG, WebP, AVIF)."
            )
        if kind in _VECTOR and fields[15] not in (1, 2):
            raise DeepCropError(
                f"{path} has tiles compressed with {_COMPRESSIONS.get(fields[15], fields[15])}; "
                "expected gzip or none."
            )
        (directory, metadata), gzipped = parts[:2], internal == 2
        _part(file, path, *directory, gzipped)
        about = _metadata(path, _part(file, path, *metadata, gzipped)) if metadata[1] else {}
    minzoom, maxzoom = fields[17], fields[18]
    bounds = [value / 1e7 for value in fields[19:23]]
    west, south, east, north = bounds
    if minzoom > maxzoom or maxzoom > 30:
        raise _damaged(path, f"its zooms are {minzoom} to {maxzoom}")
    if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
        raise _damaged(path, f"its bounds are {bounds}")
    return {
        "kind": "vector" if kind in _VECTOR else "raster",
        "encoding": _VECTOR.get(kind),
        "minzoom": minzoom,
        "maxzoom": maxzoom,
        "bounds": bounds,
        "attribution": _text(about.get("attribution"))[:300],
        "layers": _layers(path, about) if kind in _VECTOR else [],
    }


def _part(file: Any, path: Path, start: int, length: int, gzipped: bool) -> bytes:
    """Read a part of the file and unpack it."""
    if length > _LARGEST:
        raise _damaged(path, f"a part of its description has {length} bytes")
    file.seek(start)
    content: bytes = file.read(length)
    if not gzipped:
        return content
    try:
        unpack = zlib.decompressobj(wbits=31)
        content = unpack.decompress(content, _LARGEST)
    except zlib.error as error:
        raise _damaged(path, str(error)) from None
    if not unpack.eof:
        raise _damaged(path, "a part of its description is cut off or too large")
    return content


def _metadata(path: Path, content: bytes) -> dict[str, Any]:
    try:
        found = parse_json(content.decode("utf-8"))
    except MALFORMED as error:
        raise _damaged(path, f"metadata: {error}") from None
    if not isinstance(found, dict):
        raise _damaged(path, "its metadata are no JSON object")
    return found


def _layers(path: Path, about: dict[str, Any]) -> list[str]:
    """Names of the vector layers."""
    layers = about.get("vector_layers")
    names = (
        [one.get("id") for one in layers if isinstance(one, dict)]
        if isinstance(layers, list)
        else []
    )
    found = [name for name in names if isinstance(name, str) and name]
    if not found:
        raise DeepCropError(
            f"{path} does not list its vector layers (vector_layers in its metadata), so it cannot "
            "be drawn. Write it with tippecanoe, planetiler or 'pmtiles convert'."
        )
    return found[:_MOST_LAYERS]


def _text(markup: Any) -> str:
    """Return the text of an attribution, which may be HTML."""
    return html.unescape(re.sub("<[^<>]*>", "", markup)).strip() if isinstance(markup, str) else ""


def _damaged(path: Path, why: str) -> DeepCropError:
    return DeepCropError(f"{path} is damaged ({why}); copy or download it again.")
