"""The STAC archives that deepcrop knows: where they are, and what their numbers mean."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from deepcrop.sources.sentinel2 import (
    scaling_by_baseline,
    scaling_by_flag,
    scaling_by_product_name,
    scaling_by_raster_bands,
    scaling_of,
)
from deepcrop.sources.stac.access import Access, BearerToken, PlanetaryTokens, S3Keys
from deepcrop.sources.stac.archive import StacArchive
from deepcrop.sources.stac.optical import Mask

PLANETARY_COMPUTER = "https://planetarycomputer.microsoft.com/api/stac/v1"
"""STAC API of Planetary Computer; the environment variable DEEPCROP_PC sets another."""

EARTH_SEARCH = "https://earth-search.aws.element84.com/v1"
"""STAC API of Earth Search; the environment variable DEEPCROP_EARTH_SEARCH sets another."""

NASA = "https://cmr.earthdata.nasa.gov/stac/LPCLOUD"
"""STAC API of NASA's LP DAAC; the environment variable DEEPCROP_NASA sets another."""

NASA_FILES = "data.lpdaac.earthdatacloud.nasa.gov"
"""Host of its files, which gets the token."""

NASA_TOKEN = "EARTHDATA_TOKEN"
"""Environment variable with the token, as NASA's own tools name it."""

COPERNICUS = "https://stac.dataspace.copernicus.eu/v1"
"""STAC API of the Copernicus Data Space; the environment variable DEEPCROP_CDSE sets another."""

COPERNICUS_STORAGE = "https://eodata.dataspace.copernicus.eu"
"""S3 storage of the Copernicus Data Space; the variable DEEPCROP_CDSE_S3 sets another."""

COPERNICUS_KEYS = (
    "Register at https://dataspace.copernicus.eu (free), make keys at "
    "https://eodata-s3keysmanager.dataspace.copernicus.eu, and set AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY to them."
)
"""How a user gets the keys that the storage of the Copernicus Data Space asks for."""


def planetary_computer(address: str | None = None, **options: Any) -> StacArchive:
    """Open Microsoft Planetary Computer: Sentinel-2 L2A, and Sentinel-1 RTC.

    Files are read with tokens that its service gives to everybody. The settings of the package
    planetary-computer apply: ``PC_SDK_SAS_URL`` sets another token service,
    ``PC_SDK_SUBSCRIPTION_KEY`` a key.

    Parameters
    ----------
    address : str, optional
        Root of the STAC API; by default the value of ``DEEPCROP_PC``, else `PLANETARY_COMPUTER`.
    **options
        ``orbits``, ``max_cloud``, ``keep``, ``tries`` and ``pause`` of `StacArchive`.
    """
    return StacArchive(
        "pc",
        "Microsoft Planetary Computer",
        address or os.environ.get("DEEPCROP_PC") or PLANETARY_COMPUTER,
        {"optical": ("sentinel-2-l2a",), "sar": ("sentinel-1-rtc",)},
        scaling_by_baseline,
        access=PlanetaryTokens(),
        **options,
    )


def earth_search(address: str | None = None, **options: Any) -> StacArchive:
    """Open Earth Search: Sentinel-2 L2A, collection 1.

    Parameters
    ----------
    address : str, optional
        Root of the STAC API; by default that in ``DEEPCROP_EARTH_SEARCH``, else `EARTH_SEARCH`.
    **options
        ``orbits``, ``max_cloud``, ``keep``, ``tries`` and ``pause`` of `StacArchive`.
    """
    return StacArchive(
        "earth-search",
        "Earth Search",
        address or os.environ.get("DEEPCROP_EARTH_SEARCH") or EARTH_SEARCH,
        {"optical": ("sentinel-2-c1-l2a",)},
        scaling_by_raster_bands,
        probability="cloud",
        **options,
    )


def earth_search_legacy(address: str | None = None, **options: Any) -> StacArchive:
    """Open Earth Search: Sentinel-2 L2A, the collection before collection 1; as `earth_search`.

    The offset that it states is checked against the pixels of each product since 2022, so a search
    takes longer.
    """
    return replace(
        earth_search(address, **options),
        name="earth-search-v0",
        collections={"optical": ("sentinel-2-l2a",)},
        scaling=scaling_by_flag,
        probability="",
    )


def hls(address: str | None = None, **options: Any) -> StacArchive:
    """Open HLS v2.0 of Planetary Computer: Landsat 8 and 9, and Sentinel-2 made alike, at 30 m.

    Blue, green, red and the narrow near infrared (B05 of Landsat, B8A of Sentinel-2) are nadir
    reflectance in units of 0.0001. Fmask gives the mask: cloud, next to cloud or shadow, shadow,
    and snow. The collections begin in 2020.

    Parameters
    ----------
    address : str, optional
        Root of the STAC API, as `planetary_computer`.
    **options
        ``max_cloud``, ``tries`` and ``pause`` of `StacArchive`.
    """
    return _hls(
        "hls",
        "HLS v2.0 of Planetary Computer",
        address or os.environ.get("DEEPCROP_PC") or PLANETARY_COMPUTER,
        ("hls2-l30", "hls2-s30"),
        PlanetaryTokens(),
        **options,
    )


def hls_nasa(address: str | None = None, **options: Any) -> StacArchive:
    """Open HLS v2.0 of NASA, its own archive (LP DAAC); as `hls`, but from 2013 on.

    Files need a token of NASA's Earthdata Login, in ``EARTHDATA_TOKEN``.

    Parameters
    ----------
    address : str, optional
        Root of the STAC API; by default that in ``DEEPCROP_NASA``, whose host then gets the token,
        too, else `NASA`.
    **options
        ``max_cloud``, ``tries`` and ``pause`` of `StacArchive`.
    """
    own = os.environ.get("DEEPCROP_NASA")
    hosts = (NASA_FILES, *([urlsplit(own).netloc] if own else []))
    return _hls(
        "hls-nasa",
        "HLS v2.0 of NASA",
        address or own or NASA,
        ("HLSL30_2.0", "HLSS30_2.0"),
        BearerToken(NASA_TOKEN, hosts, "HLS of NASA (hls-nasa; urs.earthdata.nasa.gov)"),
        **options,
    )


def _hls(
    name: str,
    title: str,
    address: str,
    collections: tuple[str, ...],
    access: Access,
    **options: Any,
) -> StacArchive:
    """Open an archive of HLS v2.0, in whose files all archives agree."""
    return StacArchive(
        name,
        title,
        address,
        {"optical": collections},
        scaling_of(0.0001, 0.0, "none to apply (HLS)"),
        access=access,
        # B05 of Sentinel-2 is red edge: B8A, which Landsat has not, is looked for first.
        assets={
            "blue": ("B02",),
            "green": ("B03",),
            "red": ("B04",),
            "nir": ("B8A", "B05"),
            "fmask": ("Fmask",),
        },
        pixels=("int16", -9999),
        mask=Mask("fmask", nodata=255, bits=(1, 2, 3, 4), clouds=(1, 3)),
        resolution=30.0,
        credit=(
            "HLS v2.0, NASA LP DAAC (doi 10.5067/HLS/HLSL30.002, 10.5067/HLS/HLSS30.002); "
            "contains modified Copernicus Sentinel data {years}"
        ),
        without_radar="HLS is optical: fetch it with --sensors optical.",
        **options,
    )


def copernicus(address: str | None = None, **options: Any) -> StacArchive:
    """Open the Copernicus Data Space: Sentinel-2 L2A (JPEG 2000) and Sentinel-1 GRD, as of ESA.

    Its files need S3 keys of the user's account, in ``AWS_ACCESS_KEY_ID`` and
    ``AWS_SECRET_ACCESS_KEY``. The catalogue states an offset of -0.1 for every product, whatever
    its baseline; the offset is chosen by the baseline instead. Sentinel-1 is there as ground-range
    images in radar geometry, which are calibrated and placed on the ground with the archive's
    Copernicus DEM (`deepcrop.sources.stac.ground_range`).

    Parameters
    ----------
    address : str, optional
        Root of the STAC API; by default that in ``DEEPCROP_CDSE``, else `COPERNICUS`. The storage
        is that in ``DEEPCROP_CDSE_S3``, else `COPERNICUS_STORAGE`.
    **options
        ``orbits``, ``max_cloud``, ``keep``, ``tries`` and ``pause`` of `StacArchive`.
    """
    storage = os.environ.get("DEEPCROP_CDSE_S3") or COPERNICUS_STORAGE
    return StacArchive(
        "cdse",
        "Copernicus Data Space",
        address or os.environ.get("DEEPCROP_CDSE") or COPERNICUS,
        {"optical": ("sentinel-2-l2a",), "sar": ("sentinel-1-grd",)},
        scaling_by_product_name,
        access=S3Keys(storage.rstrip("/"), "The Copernicus Data Space", COPERNICUS_KEYS),
        format="JP2OpenJPEG",
        dem="cop-dem-glo-30-dged-cog",
        **options,
    )
