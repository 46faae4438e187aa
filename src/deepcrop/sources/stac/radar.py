"""Read Sentinel-1 products, with the incidence angles of the products that they are made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.cube.contract import SAR_BANDS
from deepcrop.errors import MALFORMED
from deepcrop.sources.http import HttpClient, NotFound, Refused
from deepcrop.sources.sentinel1 import (
    AnnotationError,
    IncidenceAngles,
    angles_from_annotation,
    angles_from_footprint,
    sigma0,
)
from deepcrop.sources.stac.pixels import load_power
from deepcrop.sources.stac.products import Product, outline
from deepcrop.sources.stac.search import search_names

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from odc.geo.geobox import GeoBox

    from deepcrop.sources.stac.cog_reader import CogReader


def radar_preparer(
    address: str, products: Sequence[Product], cogs: CogReader, client: HttpClient
) -> Callable[[Product], tuple[dict[str, Any], bool]]:
    """Search the ground-range products behind all terrain-corrected ones at once.

    Parameters
    ----------
    address : str
        Root of the STAC API.
    products : sequence of Product
        Terrain-corrected products.
    cogs : CogReader
        Reader of the archive's files.
    client : HttpClient
        Client for the annotations.

    Returns
    -------
    callable
        Collects what reading a Sentinel-1 product needs: its incidence angles; and whether this
        is final: what an archive refuses today it may give tomorrow.
    """
    names = [_source_name(product) for product in products]
    sources: dict[Any, dict[str, Any]] = {}
    if names:
        found = search_names(address, "sentinel-1-grd", names, client.tries, client.pause)
        sources = {item.get("id"): item for item in found if isinstance(item, dict)}

    def prepare(product: Product) -> tuple[dict[str, Any], bool]:
        source = _source_name(product)
        final, text = True, ""
        try:
            annotation = sources[source]["assets"]["schema-product-vv"]["href"]
            text = cogs.text(annotation, client)
            angles = angles_from_annotation(text)
            decision = f"annotation of {source}"
        except (NotFound, Refused, *MALFORMED) as error:  # AnnotationError is a ValueError
            angles = angles_from_footprint(outline(product.item), product.ascending)
            reason = "the archive has none"
            if isinstance(error, Refused):
                reason, final = "the archive refuses it", False
            elif isinstance(error, AnnotationError):
                reason = str(error)
            decision = f"approximate, from the footprint; annotation of {source}: {reason}"
        note = {
            "angles": angles.to_json(), "decision": decision, "table_bytes": len(text.encode()),
        }  # fmt: skip
        return note, final

    return prepare


def _source_name(product: Product) -> str:
    """Name of the ground-range product that a terrain-corrected one is made from."""
    return str(product.item["id"]).removesuffix("_rtc")


def read_radar(
    cogs: CogReader, products: Sequence[Mapping[str, Any]], box: GeoBox
) -> dict[str, NDArray[Any]]:
    """Read sigma0 of the products of a pass; where they overlap, the first with data counts."""
    bands = {name: np.full(box.shape, np.nan, np.float32) for name in SAR_BANDS}
    taken = np.zeros(box.shape, bool)
    for product in products:
        power = {name: load_power(cogs, product["item"], name, box) for name in bands}
        new = ~taken
        for values in power.values():
            new &= np.isfinite(values)
        if not new.any():
            continue
        angles = IncidenceAngles.from_json(product["angles"]).on_grid(box)[new]
        for name, values in power.items():
            bands[name][new] = sigma0(values[new], angles)
        taken |= new
    return bands
