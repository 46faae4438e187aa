"""Read optical products: reflectance where pixels are clear."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.cube.contract import OPTICAL_BANDS
from deepcrop.grid.buffers import grow, widen
from deepcrop.sources.sentinel2 import Scaling
from deepcrop.sources.stac.pixels import load_numbers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.sources.stac.cog_reader import CogReader

CLOUD = "cloud"
"""Asset with the probability of cloud, percent, among those that are read."""


@dataclass(frozen=True)
class Mask:
    """Which pixels of an optical product are clear, by classes or by bits of a quality asset.

    Attributes
    ----------
    asset : str
        Name of the asset among those that are read; ``scl`` is stored in the cube.
    nodata : int
        Number that means "no data".
    classes : tuple of int
        Classes of clear pixels.
    bits : tuple of int
        Bits that no clear pixel has set, from 0; if there are any, they decide, and not classes.
    clouds : tuple of int
        Classes, or bits, of cloud and shadow, around which ``buffer`` applies; empty for all pixels
        that are not clear.
    buffer : float
        Distance from cloud and shadow up to which pixels are masked, metres.
    probability : float, optional
        Greatest probability of cloud of a clear pixel, percent.
    """

    asset: str = "scl"
    nodata: int = 0
    classes: tuple[int, ...] = ()
    bits: tuple[int, ...] = ()
    clouds: tuple[int, ...] = ()
    buffer: float = 0.0
    probability: float | None = None

    def clear(self, numbers: NDArray[np.uint8]) -> NDArray[np.bool_]:
        """Find the clear pixels, without regard to their distance from clouds."""
        clear = np.isin(numbers, self.classes)
        if self.bits:
            clear = ~_has_bits(numbers, self.bits)
        clear &= numbers != self.nodata
        return clear

    def near_cloud(self, numbers: NDArray[np.uint8], pixel: float) -> NDArray[np.bool_]:
        """Find the pixels whose centre is at most ``buffer`` from that of one with cloud or shadow.

        Parameters
        ----------
        numbers : ndarray
            Numbers of the asset.
        pixel : float
            Size of a pixel, metres.
        """
        cloud = ~self.clear(numbers)
        if self.clouds:
            cloud = _has_bits(numbers, self.clouds) if self.bits else np.isin(numbers, self.clouds)
        cloud &= (numbers != self.nodata) & ~self.clear(numbers)
        return grow(cloud, self.buffer / pixel) if cloud.any() else cloud

    def __str__(self) -> str:
        kind = "scene classes" if self.asset == "scl" else f"classes of {self.asset}"
        text = f"{kind} {', '.join(map(str, self.classes))} kept"
        if self.bits:
            text = f"bits {', '.join(map(str, self.bits))} of {self.asset} masked"
        if self.buffer:
            text += f"; masked up to {self.buffer:g} m from cloud and shadow"
        if self.probability is not None:
            text += f"; masked where the probability of cloud is above {self.probability:g} %"
        return text


def _has_bits(numbers: NDArray[np.uint8], bits: Sequence[int]) -> NDArray[np.bool_]:
    found: NDArray[np.bool_] = numbers & np.uint8(sum(1 << bit for bit in bits)) != 0
    return found


def read_optical(
    cogs: CogReader,
    products: Sequence[Mapping[str, Any]],
    box: GeoBox,
    pixels: tuple[str, int],
    mask: Mask,
) -> dict[str, NDArray[Any]]:
    """Read the products of a pass; where they overlap, the first with data counts.

    Parameters
    ----------
    cogs : CogReader
        Reader of the files.
    products : sequence of dict
        For each product its ``item``, ``scaling`` and ``decision``.
    box : GeoBox
        The grid.
    pixels : tuple of str and int
        Type of the numbers of bands, and the number that means "no data".
    mask : Mask
        Which pixels are clear.

    Returns
    -------
    dict of str to ndarray
        Reflectance of each band, NaN where it is masked or there is no data, and ``scl`` if the
        mask consists of scene classes.
    """
    bands = {name: np.full(box.shape, np.nan, np.float32) for name in OPTICAL_BANDS}
    size, nodata = float(box.resolution.x), mask.nodata
    # The mask is read beyond the edges, so that a cloud there acts on pixels inside, whatever the
    # tile: a map must not show where its tiles meet.
    wide, inner = widen(box, mask.buffer)
    quality = np.full(wide.shape, nodata, np.uint8)
    cloud = np.zeros(box.shape, np.uint8)
    for product in products:
        item = product["item"]
        found = load_numbers(cogs, item, mask.asset, wide, ("uint8", nodata), "nearest")
        new = (quality == nodata) & (found != nodata)
        inside = new[inner]
        if mask.clear(found[inner][inside]).any():  # else there is nothing else to read
            scaling = Scaling(product["scaling"], product["decision"])
            numbers = {
                name: load_numbers(cogs, item, name, box, pixels, "bilinear") for name in bands
            }
            # A view: pixels without numbers stay open to the next product.
            inside &= np.logical_and.reduce([values != pixels[1] for values in numbers.values()])
            for name, values in numbers.items():
                bands[name][inside] = scaling.reflectance(name, values[inside])
            if mask.probability is not None:
                percent = load_numbers(cogs, item, CLOUD, box, ("uint8", 255), "nearest")
                cloud[inside] = percent[inside]
        quality[new] = found[new]
    masked = ~mask.clear(quality[inner])
    if mask.buffer:
        masked |= mask.near_cloud(quality, size)[inner]
    if mask.probability is not None:
        masked |= cloud > mask.probability
    for values in bands.values():
        values[masked] = np.nan
    return bands | ({"scl": np.ascontiguousarray(quality[inner])} if mask.asset == "scl" else {})
