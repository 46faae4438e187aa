"""Read the stored pixels of images on a grid, and mosaic those of one pass."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import grid
from deepcrop.cube.contract import CLEAR_CLASSES
from deepcrop.sources.archive import ArchiveError, Scene, SceneError
from deepcrop.sources.earthengine.connection import send_request
from deepcrop.sources.earthengine.listing import region_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

CLOUD_SCORE = "GOOGLE/CLOUD_SCORE_PLUS/V1/S2_HARMONIZED"

RADAR = {"VV": "vv", "VH": "vh"}
"""Names of the cube's polarizations by those of Earth Engine."""


def touch(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes (west, south, east, north) touch, also across the date line."""
    return (a[1] <= b[3] and b[1] <= a[3]) and any(
        a[0] <= b[2] + turn and b[0] + turn <= a[2] for turn in (-360, 0, 360)
    )


def read_pixels(asset: str, bands: Sequence[str], box: GeoBox) -> NDArray[Any]:
    """Fetch stored pixels on a grid: an array (rows, cols) with a field for each band."""
    import ee

    a, b, c, d, e, f = box.affine[:6]
    rows, cols = box.shape
    if box.crs is None or box.crs.epsg is None:
        raise ArchiveError(
            f"Earth Engine needs a grid whose reference system has an EPSG code, not {box.crs}."
        )
    request = {
        "assetId": asset,
        "fileFormat": "NUMPY_NDARRAY",
        "bandIds": list(bands),
        "grid": {
            "dimensions": {"width": cols, "height": rows},
            "affineTransform": {
                "scaleX": a,
                "shearX": b,
                "translateX": c,
                "shearY": d,
                "scaleY": e,
                "translateY": f,
            },
            "crsCode": f"EPSG:{box.crs.epsg}",
        },
    }
    raw: NDArray[Any] = send_request(
        lambda: ee.data.getPixels(request), f"Earth Engine, {asset}", _scene_error
    )
    if raw.shape != (rows, cols) or raw.dtype.names != tuple(bands):
        raise SceneError(
            f"Earth Engine, {asset}: received {raw.dtype.names} of shape {raw.shape}; expected "
            f"{tuple(bands)} of shape {(rows, cols)}."
        )
    return raw


def _scene_error(text: str) -> SceneError:
    if CLOUD_SCORE in text and "not found" in text:
        classes = ",".join(map(str, CLEAR_CLASSES))
        text += (
            " Cloud Score+ may not exist yet for this image: mask by scene classes instead "
            f"(--keep {classes}; in Python keep=({classes}))."
        )
    return SceneError(text)


def merge(
    scene: Scene,
    box: GeoBox,
    read: Callable[[str, GeoBox], tuple[dict[str, NDArray[Any]], NDArray[Any]]],
    types: Mapping[str, str],
    side: int,
) -> dict[str, NDArray[Any]]:
    """Read the products of a scene in parts; where they overlap, the first with data counts.

    Parameters
    ----------
    scene : Scene
    box : GeoBox
        The grid.
    read : callable
        Reads a product on a grid: its layers, and where it has data.
    types : dict of str to str
        Type of each layer; pixels without data are NaN, or 0.
    side : int
        Longest side of a part, pixels.
    """
    pixels: dict[str, NDArray[Any]] = {
        name: np.full(box.shape, np.nan if kind == "f4" else 0, kind)
        for name, kind in types.items()
    }
    for tile in grid.tiles(box.shape.yx, side):
        part = grid.crop(box, tile.core)
        bounds = region_of(part).boundingbox.bbox
        missing = np.ones(part.shape, bool)
        for image in scene.source["images"]:
            if not missing.any():
                break
            if not touch(bounds, image["bounds"]):
                continue
            values, there = read(image["asset"], part)
            there &= missing
            for name, kept in pixels.items():
                kept[tile.core][there] = values[name][there]
            missing &= ~there
    return pixels


def read_radar(asset: str, box: GeoBox) -> tuple[dict[str, NDArray[Any]], NDArray[Any]]:
    """Read the backscatter of a product in dB, and where it has data."""
    raw = read_pixels(asset, tuple(RADAR), box)
    values = {name: _decibel(raw[band]) for band, name in RADAR.items()}
    return values, np.isfinite(values["vv"]) & np.isfinite(values["vh"])


def _decibel(raw: NDArray[Any]) -> NDArray[np.float32]:
    """Replace the server's fill values by NaN: zeros, and values that no radar measures."""
    measured = (raw != 0) & (np.abs(raw) < 100)
    return np.where(measured, raw, math.nan).astype(np.float32)
