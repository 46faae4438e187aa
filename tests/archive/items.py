"""STAC items in the form of each archive's own: names, properties, assets and links.

The form follows real items of the Planetary Computer (``sentinel-2-l2a``, ``sentinel-1-rtc``,
``sentinel-1-grd``) and of Earth Search (``sentinel-2-c1-l2a``, ``sentinel-2-l2a`` of its version 1,
``sentinel-s2-l2a-cogs`` of its version 0). All assets of a real item are named; the test-bed has
files behind those that deepcrop reads.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from tests.archive.region import Pass, Swath, Tile, datatake_of, swath_outline

if TYPE_CHECKING:
    from pathlib import Path

COG = "image/tiff; application=geotiff; profile=cloud-optimized"

Item = dict[str, Any]


@dataclass(frozen=True)
class OpticalProduct:
    """What is known of one Sentinel-2 tile of one pass, processed once.

    ``shares`` are percentages by scene class; ``offset_applied`` is what a legacy item claims.
    """

    flown: Pass
    tile: Tile
    baseline: str
    generated: datetime
    shares: dict[int, float]
    offset_applied: bool = True
    sequence: int = 0

    @property
    def start(self) -> str:
        return f"{self.flown.time:%Y%m%dT%H%M%S}"

    @property
    def discriminator(self) -> str:
        return f"{self.generated:%Y%m%dT%H%M%S}"

    @property
    def uri(self) -> str:
        """Name of the product as ESA gives it."""
        return (
            f"{self.flown.platform}_MSIL2A_{self.start}_N{self.baseline.replace('.', '')}"
            f"_R{self.flown.relative_orbit:03d}_T{self.tile.name}_{self.discriminator}.SAFE"
        )

    @property
    def path(self) -> tuple[str, str, str]:
        """Zone, latitude band, square."""
        return self.tile.name[:-3].lstrip("0"), self.tile.name[-3], self.tile.name[-2:]


@dataclass(frozen=True)
class RadarProduct:
    """One Sentinel-1 ground-range product, and the grid its terrain-corrected form is on."""

    flown: Pass
    swath: Swath
    tile: Tile

    @property
    def stop(self) -> datetime:
        return self.flown.time + timedelta(seconds=25)

    @property
    def name(self) -> str:
        """Name of the product without its check digits, as the Planetary Computer has it."""
        return (
            f"{self.flown.platform}_IW_GRDH_1SDV_{self.flown.time:%Y%m%dT%H%M%S}"
            f"_{self.stop:%Y%m%dT%H%M%S}_{self.flown.absolute_orbit:06d}"
            f"_{datatake_of(self.flown):06X}"
        )

    @property
    def folder(self) -> str:
        """Folder in blob storage: the product with its check digits."""
        digits = hashlib.md5(self.name.encode()).hexdigest()[:4].upper()
        time = self.flown.time
        return f"GRD/{time.year}/{time.month}/{time.day}/IW/DV/{self.name}_{digits}"


# --------------------------------------------------------------------------------------------
# Sentinel-2 bands: name, common name, centre and width in micrometres, pixel size in metres

_BANDS = {
    "B01": ("coastal", 0.443, 0.027, 60),
    "B02": ("blue", 0.49, 0.098, 10),
    "B03": ("green", 0.56, 0.045, 10),
    "B04": ("red", 0.665, 0.038, 10),
    "B05": ("rededge", 0.704, 0.019, 20),
    "B06": ("rededge", 0.74, 0.018, 20),
    "B07": ("rededge", 0.783, 0.028, 20),
    "B08": ("nir", 0.842, 0.145, 10),
    "B09": ("nir09", 0.945, 0.026, 60),
    "B11": ("swir16", 1.61, 0.143, 20),
    "B12": ("swir22", 2.19, 0.242, 20),
    "B8A": ("nir08", 0.865, 0.033, 20),
}


def _class_percentages(shares: dict[int, float]) -> dict[str, float]:
    names = {
        1: "saturated_defective_pixel",
        2: "dark_features",
        3: "cloud_shadow",
        4: "vegetation",
        5: "not_vegetated",
        6: "water",
        7: "unclassified",
        8: "medium_proba_clouds",
        9: "high_proba_clouds",
        10: "thin_cirrus",
        11: "snow_ice",
    }
    return {f"s2:{name}_percentage": shares[c] for c, name in names.items()} | {
        "s2:nodata_pixel_percentage": round(shares[0], 6),
        "s2:degraded_msi_data_percentage": 0.0,
    }


def _cloud_cover(shares: dict[int, float]) -> float:
    return round(shares[8] + shares[9] + shares[10], 6)


def _utc(time: datetime, digits: str = "microseconds") -> str:
    return time.replace(tzinfo=None).isoformat(timespec=digits) + "Z"


def _feature(
    name: str, collection: str, ring: list[list[float]], properties: dict, assets: dict,
    links: list, extensions: list[str], version: str = "1.0.0",
) -> Item:  # fmt: skip
    lon, lat = zip(*ring, strict=True)
    return {
        "type": "Feature",
        "stac_version": version,
        "stac_extensions": extensions,
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [min(lon), min(lat), max(lon), max(lat)],
        "properties": properties,
        "links": links,
        "assets": assets,
        "collection": collection,
    }


def _schema(*names: str) -> list[str]:
    return [f"https://stac-extensions.github.io/{name}/schema.json" for name in names]


def describe_file(asset: dict[str, Any], path: Path) -> None:
    """Fill in size and checksum of the file behind an asset, where its archive states them.

    Earth Search gives a multihash (SHA-256, ``1220...``), the Planetary Computer MD5.
    """
    if "file:size" in asset:
        asset["file:size"] = path.stat().st_size
        multihash = asset["file:checksum"].startswith("1220")
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256" if multihash else "md5").hexdigest()
        asset["file:checksum"] = f"1220{digest}" if multihash else digest


# --------------------------------------------------------------------------------------------
# Planetary Computer


def _pc_links(root: str, collection: str, name: str) -> list[dict]:
    home = f"{root}/collections/{collection}"
    return [
        {"rel": "collection", "type": "application/json", "href": home},
        {"rel": "parent", "type": "application/json", "href": home},
        {"rel": "root", "type": "application/json", "href": f"{root}/"},
        {"rel": "self", "type": "application/geo+json", "href": f"{home}/items/{name}"},
        {
            "rel": "license",
            "href": "https://sentinel.esa.int/documents/247904/690755/Sentinel_Data_Legal_Notice",
        },
        {
            "rel": "preview",
            "href": f"{_data_api(root)}/map?collection={collection}&item={name}",
            "title": "Map of item",
            "type": "text/html",
        },
    ]


def _data_api(root: str) -> str:
    return root.replace("/api/stac/v1", "/api/data/v1/item")


def _pc_renderings(root: str, collection: str, name: str, query: str) -> dict[str, dict]:
    shown = f"collection={collection}&item={name}&{query}"
    return {
        "tilejson": {
            "title": "TileJSON with default rendering",
            "href": f"{_data_api(root)}/tilejson.json?{shown}",
            "type": "application/json",
            "roles": ["tiles"],
        },
        "rendered_preview": {
            "title": "Rendered preview",
            "rel": "preview",
            "href": f"{_data_api(root)}/preview.png?{shown}",
            "roles": ["overview"],
            "type": "image/png",
        },
    }


_PC_TITLES = {
    "AOT": "Aerosol optical thickness (AOT)",
    "B01": "Band 1 - Coastal aerosol",
    "B02": "Band 2 - Blue",
    "B03": "Band 3 - Green",
    "B04": "Band 4 - Red",
    "B05": "Band 5 - Vegetation red edge 1",
    "B06": "Band 6 - Vegetation red edge 2",
    "B07": "Band 7 - Vegetation red edge 3",
    "B08": "Band 8 - NIR",
    "B09": "Band 9 - Water vapor",
    "B11": "Band 11 - SWIR (1.6)",
    "B12": "Band 12 - SWIR (2.2)",
    "B8A": "Band 8A - Vegetation red edge 4",
    "SCL": "Scene classfication map (SCL)",  # as the archive spells it
    "WVP": "Water vapour (WVP)",
    "visual": "True color image",
}


def _pc_band(name: str) -> dict:
    common, centre, width, _ = _BANDS[name]
    named = {} if name == "B09" else {"common_name": "rededge" if name == "B8A" else common}
    return {
        "name": name,
        **named,
        "description": _PC_TITLES[name],
        "center_wavelength": centre,
        "full_width_half_max": width,
    }


def pc_sentinel2(product: OpticalProduct, root: str, blobs: str) -> Item:
    """Item of Planetary Computer's ``sentinel-2-l2a``.

    ``root`` is the address of the API, ``blobs`` that of the container.
    """
    flown, tile = product.flown, product.tile
    name = (
        f"{flown.platform}_MSIL2A_{product.start}_R{flown.relative_orbit:03d}_T{tile.name}"
        f"_{product.discriminator}"
    )
    zone, band, square = product.path
    safe = f"{blobs}/{zone}/{band}/{square}/{flown.time:%Y/%m/%d}/{product.uri}"
    granule = f"{safe}/GRANULE/L2A_T{tile.name}_A{flown.absolute_orbit:06d}_{product.start}"
    left, bottom, right, top = tile.bounds
    assets: dict[str, dict] = {}
    for key, title in _PC_TITLES.items():
        size = _BANDS[key][3] if key in _BANDS else 20 if key == "SCL" else 10
        file = f"{'TCI' if key == 'visual' else key}_{size}m.tif"
        box = tile.at(size)
        assets[key] = {
            "href": f"{granule}/IMG_DATA/R{size}m/T{tile.name}_{product.start}_{file}",
            "proj:bbox": [left, bottom, right, top],
            "proj:shape": list(box.shape),
            "proj:transform": [float(v) for v in box.affine[:6]],
            "gsd": float(size),
            "type": COG,
            "roles": ["data"],
            "title": f"{title} - {size}m" if key in _BANDS else title,
        }
        shown = (key,) if key in _BANDS else ("B04", "B03", "B02") if key == "visual" else ()
        if shown:
            assets[key]["eo:bands"] = [_pc_band(b) for b in shown]
    assets["preview"] = {
        "href": f"{granule}/QI_DATA/T{tile.name}_{product.start}_PVI.tif",
        "type": COG,
        "roles": ["thumbnail"],
        "title": "Thumbnail",
    }
    for key, title, href in (
        ("safe-manifest", "SAFE manifest", f"{safe}/manifest.safe"),
        ("granule-metadata", "Granule metadata", f"{granule}/MTD_TL.xml"),
        ("inspire-metadata", "INSPIRE metadata", f"{safe}/INSPIRE.xml"),
        ("product-metadata", "Product metadata", f"{safe}/MTD_MSIL2A.xml"),
        (
            "datastrip-metadata",
            "Datastrip metadata",
            f"{safe}/DATASTRIP/DS_MSFT_{product.discriminator}_S{product.start}/MTD_DS.xml",
        ),
    ):
        assets[key] = {
            "href": href,
            "type": "application/xml",
            "roles": ["metadata"],
            "title": title,
        }
    query = "assets=visual&asset_bidx=visual%7C1%2C2%2C3&nodata=0&format=png"
    assets |= _pc_renderings(root, "sentinel-2-l2a", name, query)
    made = f"MSFT_{product.discriminator}"
    suffix = f"N{product.baseline}"
    properties = {
        "datetime": _utc(flown.time),
        "platform": f"Sentinel-{flown.platform[1:]}",
        "proj:epsg": tile.epsg,
        "instruments": ["msi"],
        "s2:mgrs_tile": tile.name,
        "constellation": "Sentinel 2",
        "s2:granule_id": f"{flown.platform}_OPER_MSI_L2A_TL_{made}_A{flown.absolute_orbit:06d}"
        f"_T{tile.name}_{suffix}",
        "eo:cloud_cover": _cloud_cover(product.shares),
        "s2:datatake_id": f"G{flown.platform}_{product.start}_{flown.absolute_orbit:06d}_{suffix}",
        "s2:product_uri": product.uri,
        "s2:datastrip_id": f"{flown.platform}_OPER_MSI_L2A_DS_{made}_S{product.start}_{suffix}",
        "s2:product_type": "S2MSI2A",
        "sat:orbit_state": "descending",
        "s2:datatake_type": "INS-NOBS",
        "s2:generation_time": _utc(product.generated),
        "sat:relative_orbit": flown.relative_orbit,
        "s2:mean_solar_zenith": 35.0,
        "s2:mean_solar_azimuth": 155.0,
        "s2:processing_baseline": product.baseline,
        "s2:reflectance_conversion_factor": 0.98,
        **_class_percentages(product.shares),
    }
    extensions = _schema("eo/v1.0.0", "sat/v1.0.0", "projection/v1.0.0")
    links = _pc_links(root, "sentinel-2-l2a", name)
    return _feature(name, "sentinel-2-l2a", tile.outline(), properties, assets, links, extensions)


def _sentinel1_properties(product: RadarProduct, shape: list[int]) -> dict[str, Any]:
    flown = product.flown
    start, stop = flown.time, product.stop
    return {
        "datetime": _utc(start + (stop - start) / 2),
        "platform": f"SENTINEL-{flown.platform[1:]}",
        "s1:shape": shape,
        "end_datetime": str(stop.isoformat(" ", "microseconds")),
        "constellation": "Sentinel-1",
        "s1:resolution": "high",
        "s1:datatake_id": str(datatake_of(flown)),
        "start_datetime": str(start.isoformat(" ", "microseconds")),
        "s1:orbit_source": "RESORB",
        "s1:slice_number": "7",
        "s1:total_slices": "12",
        "sar:looks_range": 5,
        "sat:orbit_state": "ascending" if product.swath.ascending else "descending",
        "sar:product_type": "GRD",
        "sar:looks_azimuth": 1,
        "sar:polarizations": ["VV", "VH"],
        "sar:frequency_band": "C",
        "sat:absolute_orbit": flown.absolute_orbit,
        "sat:relative_orbit": flown.relative_orbit,
        "s1:processing_level": "1",
        "sar:instrument_mode": "IW",
        "sar:center_frequency": 5.405,
        "sar:resolution_range": 20,
        "s1:product_timeliness": "Fast-24h",
        "sar:resolution_azimuth": 22,
        "sar:pixel_spacing_range": 10,
        "sar:observation_direction": "right",
        "sar:pixel_spacing_azimuth": 10,
        "sar:looks_equivalent_number": 4.4,
        "s1:instrument_configuration_ID": "7",
        "sat:platform_international_designator": {"S1A": "2014-016A", "S1B": "2016-025A"}[
            flown.platform
        ],
    }


def _polarisations(naught: str) -> dict[str, tuple[str, str]]:
    return {
        "vh": (
            "VH: vertical transmit, horizontal receive",
            f"{naught} of signal transmitted with vertical polarization and received with "
            "horizontal polarization with radiometric terrain correction applied.",
        ),
        "vv": (
            "VV: vertical transmit, vertical receive",
            f"{naught} of signal transmitted with vertical polarization and received with "
            "vertical polarization with radiometric terrain correction applied.",
        ),
    }


def pc_sentinel1_rtc(product: RadarProduct, root: str, blobs: str) -> Item:
    """Item of Planetary Computer's ``sentinel-1-rtc``."""
    name, box = f"{product.name}_rtc", product.tile.box
    rows, cols = box.shape
    assets: dict[str, dict] = {
        key: {
            "href": f"{blobs}/{product.folder}/measurement/iw-{key}.rtc.tiff",
            "file:size": 0,
            "file:checksum": "",
            "type": COG,
            "roles": ["data"],
            "title": title,
            "description": text,
            "raster:bands": [
                {"nodata": -32768, "data_type": "float32", "spatial_resolution": 10.0}
            ],
        }
        for key, (title, text) in _polarisations("Terrain-corrected gamma naught values").items()
    }
    query = "assets=vv&assets=vh&tile_format=png"
    assets |= _pc_renderings(root, "sentinel-1-rtc", name, query)
    properties = _sentinel1_properties(product, [cols, rows]) | {
        "proj:bbox": list(product.tile.bounds),
        "proj:epsg": product.tile.epsg,
        "proj:shape": [rows, cols],
        "proj:transform": [float(v) for v in box.affine],
    }
    links = _pc_links(root, "sentinel-1-rtc", name)
    links.insert(
        5,
        {
            "rel": "derived_from",
            "href": f"{root}/collections/sentinel-1-grd/items/{product.name}",
            "type": "application/json",
            "title": "Sentinel 1 GRD Item",
        },
    )
    extensions = _schema(
        "sar/v1.0.0", "sat/v1.0.0", "projection/v1.1.0", "file/v2.0.0", "raster/v1.1.0"
    )
    ring = swath_outline(product.swath)
    return _feature(name, "sentinel-1-rtc", ring, properties, assets, links, extensions)


def pc_sentinel1_grd(product: RadarProduct, root: str, blobs: str) -> Item:
    """Item of Planetary Computer's ``sentinel-1-grd``, the source of the terrain-corrected one."""
    home = f"{blobs}/{product.folder}"
    assets: dict[str, dict] = {
        key: {
            "href": f"{home}/measurement/iw-{key}.tiff",
            "type": COG,
            "title": title,
            "description": text,
            "roles": ["data"],
        }
        for key, (title, text) in _polarisations("Amplitude").items()
    }
    assets["thumbnail"] = {
        "href": f"{home}/preview/quick-look.png",
        "type": "image/png",
        "title": "Preview Image",
        "description": "An averaged, decimated preview image in PNG format.",
        "roles": ["thumbnail"],
    }
    assets["safe-manifest"] = {
        "href": f"{home}/manifest.safe",
        "type": "application/xml",
        "title": "Manifest File",
        "description": "General product metadata in XML format.",
        "roles": ["metadata"],
    }
    for part, folder, text in (
        ("noise", "annotation/calibration/noise-iw", "Estimated thermal noise look-up tables"),
        ("product", "annotation/iw", "Main characteristics of the band"),
        ("calibration", "annotation/calibration/calibration-iw", "Calibration look-up tables"),
    ):
        for key in ("vh", "vv"):
            assets[f"schema-{part}-{key}"] = {
                "href": f"{home}/{folder}-{key}.xml",
                "type": "application/xml",
                "title": f"{part.capitalize()} Schema",
                "description": text,
                "roles": ["metadata"],
            }
    query = "assets=vv&assets=vh&expression=vv%2Cvh%2Cvv%2Fvh&tile_format=png"
    assets |= _pc_renderings(root, "sentinel-1-grd", product.name, query)
    properties = _sentinel1_properties(product, [product.swath.pixels, product.swath.lines])
    extensions = _schema("sar/v1.0.0", "sat/v1.0.0", "eo/v1.0.0")
    links = _pc_links(root, "sentinel-1-grd", product.name)
    ring = swath_outline(product.swath)
    return _feature(product.name, "sentinel-1-grd", ring, properties, assets, links, extensions)


# --------------------------------------------------------------------------------------------
# Earth Search, version 1


# Asset key: file, band or None, pixel size, title.
_ES_RASTERS = {
    "red": ("B04", "B04", 10, "Red - 10m"),
    "green": ("B03", "B03", 10, "Green - 10m"),
    "blue": ("B02", "B02", 10, "Blue - 10m"),
    "visual": ("TCI", None, 10, "True color image"),
    "nir": ("B08", "B08", 10, "NIR 1 - 10m"),
    "swir22": ("B12", "B12", 20, "SWIR 2.2μm - 20m"),
    "rededge2": ("B06", "B06", 20, "Red Edge 2 - 20m"),
    "rededge3": ("B07", "B07", 20, "Red Edge 3 - 20m"),
    "rededge1": ("B05", "B05", 20, "Red Edge 1 - 20m"),
    "swir16": ("B11", "B11", 20, "SWIR 1.6μm - 20m"),
    "wvp": ("WVP", None, 20, "Water Vapour (WVP)"),
    "nir08": ("B8A", "B8A", 20, "NIR 2 - 20m"),
    "scl": ("SCL", None, 20, "Scene classification map (SCL)"),
    "aot": ("AOT", None, 20, "Aerosol optical thickness (AOT)"),
    "coastal": ("B01", "B01", 60, "Coastal - 60m"),
    "nir09": ("B09", "B09", 60, "NIR 3 - 60m"),
    "cloud": ("CLD_20m", None, 20, "Cloud Probabilities"),
    "snow": ("SNW_20m", None, 20, "Snow Probabilities"),
    "preview": ("L2A_PVI", None, 320, "True color preview"),
}


def _es_band(name: str) -> dict:
    common, centre, width, _ = _BANDS[name]
    return {
        "name": name,
        "common_name": common,
        "center_wavelength": centre,
        "full_width_half_max": width,
    }


def _es_raster_band(key: str, size: int, offset: float) -> list:
    whole = {"nodata": 0, "data_type": "uint16", "spatial_resolution": size}
    byte = {"nodata": 0, "data_type": "uint8", "spatial_resolution": size}
    if key == "visual":
        return [byte] * 3
    if key == "preview":  # a list in a list, as the archive has it
        return [[byte | {"nodata": None}] * 3]
    if key in ("scl", "cloud", "snow"):
        return [byte]
    if key == "wvp":
        return [whole | {"unit": "cm", "scale": 0.001, "offset": 0}]
    if key == "aot":
        return [whole | {"scale": 0.001, "offset": 0}]
    return [whole | {"scale": 0.0001, "offset": offset}]


def _es_raster(key: str, tile: Tile, offset: float) -> dict:
    _, band, size, title = _ES_RASTERS[key]
    box = tile.at(size)
    bands = [_es_band(band)] if band else []
    if key in ("visual", "preview"):
        bands = [_es_band(b) for b in ("B04", "B03", "B02")]
    roles = {"visual": ["visual"], "preview": ["overview"], "cloud": ["data", "cloud"]}
    roles["snow"] = ["data", "snow-ice"]
    return {
        "type": COG,
        "title": title,
        **({"eo:bands": bands} if bands else {}),
        **({} if key == "snow" else {"gsd": size}),
        "proj:shape": list(box.shape),
        "proj:transform": [round(v) for v in box.affine[: 9 if key == "preview" else 6]],
        "raster:bands": _es_raster_band(key, size, offset),
        "roles": roles.get(key, ["data", "reflectance"] if band else ["data"]),
    }


def _es_properties(product: OpticalProduct, tool: tuple[str, str]) -> dict[str, Any]:
    flown, tile = product.flown, product.tile
    zone, band, square = product.path
    maker = f"2{flown.platform[2]}PS_{product.discriminator}"
    suffix = f"N{product.baseline}"
    created = product.generated + timedelta(hours=3)
    return {
        "created": created.isoformat(),
        "platform": f"sentinel-{flown.platform[1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "eo:cloud_cover": _cloud_cover(product.shares),
        "proj:epsg": tile.epsg,
        "mgrs:utm_zone": int(zone),
        "mgrs:latitude_band": band,
        "mgrs:grid_square": square,
        "grid:code": f"MGRS-{tile.name}",
        "view:sun_azimuth": 155.0,
        "view:sun_elevation": 55.0,
        "s2:product_type": "S2MSI2A",
        "s2:processing_baseline": product.baseline,
        "s2:product_uri": product.uri,
        "s2:generation_time": _utc(product.generated),
        "s2:datatake_id": f"G{flown.platform}_{product.start}_{flown.absolute_orbit:06d}_{suffix}",
        "s2:datatake_type": "INS-NOBS",
        "s2:datastrip_id": f"{flown.platform}_OPER_MSI_L2A_DS_{maker}_S{product.start}_{suffix}",
        "s2:reflectance_conversion_factor": 0.98,
        **_class_percentages(product.shares),
        "datetime": _utc(flown.time),
        "processing:software": {tool[0]: tool[1]},
        "updated": created.isoformat(),
        "earthsearch:payload_id": f"{tool[0]}/{hashlib.md5(product.uri.encode()).hexdigest()}",
    }


def _es_tile_id(product: OpticalProduct) -> str:
    flown = product.flown
    return (
        f"{flown.platform}_OPER_MSI_L2A_TL_2{flown.platform[2]}PS_{product.discriminator}"
        f"_A{flown.absolute_orbit:06d}_T{product.tile.name}_N{product.baseline}"
    )


def _es_links(root: str, collection: str, name: str, source: str) -> list[dict]:
    home = f"{root}/collections/{collection}"
    return [
        {"rel": "self", "type": "application/geo+json", "href": f"{home}/items/{name}"},
        {"rel": "derived_from", "href": source, "title": "Source STAC Item"},
        {"rel": "parent", "type": "application/json", "href": home},
        {"rel": "collection", "type": "application/json", "href": home},
        {"rel": "root", "type": "application/json", "href": root},
    ]


def _es_place(product: OpticalProduct) -> str:
    zone, band, square = product.path
    return f"{zone}/{band}/{square}/{product.flown.time.year}/{product.flown.time.month}"


def es_c1(product: OpticalProduct, root: str, storage: str) -> Item:
    """Item of Earth Search's ``sentinel-2-c1-l2a``."""
    collection = "sentinel-2-c1-l2a"
    name = f"{product.flown.platform}_T{product.tile.name}_{product.start}_L2A"
    home = f"{storage}/{collection}/{_es_place(product)}/{name}"
    assets = {
        key: {
            "href": f"{home}/{file}.tif",
            **_es_raster(key, product.tile, -0.1),
            **_no_file(file),
        }
        for key, (file, *_) in _ES_RASTERS.items()
    }
    for key, file, kind in (
        ("granule_metadata", "metadata.xml", "application/xml"),
        ("tileinfo_metadata", "tileInfo.json", "application/json"),
        ("product_metadata", "product_metadata.xml", "application/xml"),
    ):
        meta = {"href": f"{home}/{file}", "type": kind, "roles": ["metadata"]}
        assets[key] = meta | _no_file(file)
    assets["thumbnail"] = {
        "href": f"{home}/L2A_PVI.jpg",
        "type": "image/jpeg",
        "title": "Thumbnail of preview image",
        "roles": ["thumbnail"],
        **_no_file("L2A_PVI.jpg"),
    }
    ring = product.tile.outline()
    properties = _es_properties(product, ("sentinel-2-c1-l2a-to-stac", "v2024.02.01")) | {
        "proj:centroid": {
            "lat": round(sum(p[1] for p in ring[:4]) / 4, 5),
            "lon": round(sum(p[0] for p in ring[:4]) / 4, 5),
        },
        "view:azimuth": 185.5,
        "view:incidence_angle": 2.8,
        "s2:tile_id": _es_tile_id(product),
        "storage:platform": "AWS",
        "storage:region": "us-west-2",
        "storage:requester_pays": False,
    }
    links = _es_links(root, collection, name, f"{home}/{name}.json")
    extensions = _schema("eo/v1.0.0", "view/v1.0.0", "projection/v1.0.0")
    return _feature(name, collection, ring, properties, assets, links, extensions)


def _no_file(name: str) -> dict[str, Any]:
    """Size and checksum of an asset with no file behind it, invented."""
    digest = hashlib.sha256(name.encode()).hexdigest()
    return {"file:checksum": f"1220{digest}", "file:size": 100_000}


def es_legacy(product: OpticalProduct, root: str, storage: str) -> Item:
    """Item of Earth Search's ``sentinel-2-l2a``.

    From baseline 04.00 on, ``raster:bands`` names the offset whether or not it has been taken out
    of the pixels; only ``earthsearch:boa_offset_applied`` says, and not always truly.
    """
    collection = "sentinel-2-l2a"
    name = sequence_name(product)
    home = f"{storage}/sentinel-s2-l2a-cogs/{_es_place(product)}/{name}"
    assets: dict[str, dict] = {}
    for key, (file, *_) in _ES_RASTERS.items():
        if key in ("cloud", "snow", "preview"):
            continue
        asset = _es_raster(key, product.tile, -0.1 if product.baseline >= "04.00" else 0)
        for described in asset["raster:bands"]:
            if described["data_type"] == "uint16":
                described["bits_per_sample"] = 15
        for described in asset.get("eo:bands", []):
            described["name"] = described["common_name"]
        assets[key] = {"href": f"{home}/{file}.tif", **asset}
        jpeg = f"s3://sentinel-s2-l2a/tiles/{_es_place(product)}/{file}.jp2"
        assets[f"{key}-jp2"] = {**asset, "href": jpeg, "type": "image/jp2"}
    for key, file, kind in (
        ("granule_metadata", "granule_metadata.xml", "application/xml"),
        ("tileinfo_metadata", "tileinfo_metadata.json", "application/json"),
    ):
        assets[key] = {"href": f"{home}/{file}", "type": kind, "roles": ["metadata"]}
    assets["thumbnail"] = {
        "href": f"{home}/thumbnail.jpg",
        "type": "image/jpeg",
        "title": "Thumbnail image",
        "roles": ["thumbnail"],
    }
    properties = _es_properties(product, ("sentinel2-to-stac", "0.1.1")) | {
        "s2:granule_id": _es_tile_id(product),
        "s2:sequence": str(product.sequence),
        "earthsearch:s3_path": home,
        "earthsearch:boa_offset_applied": product.offset_applied,
    }
    links = _es_links(root, collection, name, f"{home}/{name}.json")
    extensions = _schema(
        "eo/v1.1.0", "view/v1.0.0", "mgrs/v1.0.0", "grid/v1.0.0", "projection/v1.1.0",
        "processing/v1.1.0", "raster/v1.1.0",
    )  # fmt: skip
    ring = product.tile.outline()
    return _feature(name, collection, ring, properties, assets, links, extensions)


def sequence_name(product: OpticalProduct) -> str:
    """Name as the legacy collections have it: the day, and a number for each processing."""
    flown = product.flown
    square = product.tile.name.lstrip("0")
    return f"{flown.platform}_{square}_{flown.time:%Y%m%d}_{product.sequence}_L2A"


# --------------------------------------------------------------------------------------------
# Earth Search, version 0

# Asset key: title, pixel size.
_V0_RASTERS = {
    "B01": ("Band 1 (coastal)", 60),
    "B02": ("Band 2 (blue)", 10),
    "B03": ("Band 3 (green)", 10),
    "B04": ("Band 4 (red)", 10),
    "B05": ("Band 5", 20),
    "B06": ("Band 6", 20),
    "B07": ("Band 7", 20),
    "B08": ("Band 8 (nir)", 10),
    "B8A": ("Band 8A", 20),
    "B09": ("Band 9", 60),
    "B11": ("Band 11 (swir16)", 20),
    "B12": ("Band 12 (swir22)", 20),
    "AOT": ("Aerosol Optical Thickness (AOT)", 60),
    "WVP": ("Water Vapour (WVP)", 10),
    "SCL": ("Scene Classification Map (SCL)", 20),
}


def _v0_band(name: str) -> dict:
    band = _es_band(name)
    if name in ("B05", "B06", "B07", "B8A", "B09"):
        del band["common_name"]
    return band


def es_v0(product: OpticalProduct, root: str, storage: str) -> Item:
    """Item of ``sentinel-s2-l2a-cogs``, Earth Search's version 0."""
    collection = "sentinel-s2-l2a-cogs"
    name = sequence_name(product)
    home = f"{storage}/{collection}/{_es_place(product)}/{name}"
    time = product.flown.time
    zone, band, square = product.path
    source = f"tiles/{zone}/{band}/{square}/{time.year}/{time.month}/{time.day}/{product.sequence}"
    roda = "https://roda.sentinel-hub.com"

    def raster(title: str, role: str, size: int, file: str, bands: tuple[str, ...]) -> dict:
        box = product.tile.at(size)
        pixels = {"gsd": min(size, 60) if size != 320 else 10} if bands else {}
        shown = {"eo:bands": [_v0_band(b) for b in bands]} if bands else {}
        return {
            "title": title,
            "type": COG,
            "roles": [role],
            **pixels,
            **shown,
            "href": f"{home}/{file}.tif",
            "proj:shape": list(box.shape),
            "proj:transform": [float(v) for v in box.affine],
        }

    def plain(title: str, kind: str, role: str, href: str) -> dict:
        return {"title": title, "type": kind, "roles": [role], "href": href}

    colours = ("B04", "B03", "B02")
    assets = {
        "thumbnail": plain(
            "Thumbnail", "image/png", "thumbnail", f"{roda}/sentinel-s2-l1c/{source}/preview.jpg"
        ),
        "overview": raster("True color image", "overview", 320, "L2A_PVI", colours),
        "info": plain(
            "Original JSON metadata",
            "application/json",
            "metadata",
            f"{roda}/sentinel-s2-l2a/{source}/tileInfo.json",
        ),
        "metadata": plain(
            "Original XML metadata",
            "application/xml",
            "metadata",
            f"{roda}/sentinel-s2-l2a/{source}/metadata.xml",
        ),
        "visual": raster("True color image", "overview", 10, "TCI", colours),
    }
    for key, (title, size) in _V0_RASTERS.items():
        assets[key] = raster(title, "data", size, key, (key,) if key in _BANDS else ())
    seen = 100 - product.shares[0]
    properties = {
        "datetime": _utc(time, "seconds"),
        "platform": f"sentinel-{product.flown.platform[1:].lower()}",
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": 10,
        "view:off_nadir": 0,
        "proj:epsg": product.tile.epsg,
        "sentinel:utm_zone": int(zone),
        "sentinel:latitude_band": band,
        "sentinel:grid_square": square,
        "sentinel:sequence": str(product.sequence),
        "sentinel:product_id": product.uri.removesuffix(".SAFE"),
        "sentinel:data_coverage": round(seen, 2),
        "eo:cloud_cover": round(_cloud_cover(product.shares), 2),
        "sentinel:valid_cloud_cover": True,
    }
    if product.baseline >= "04.00":  # before, the archive had neither
        properties |= {
            "sentinel:processing_baseline": product.baseline,
            "sentinel:boa_offset_applied": product.offset_applied,
        }
    cirrus = "https://cirrus-earth-search.aws.element84.com/v0/catid"
    first = f"sentinel-s2-l2a-aws/workflow-publish-sentinel/{source.replace('/', '-')}"
    second = f"sentinel-s2-l2a/workflow-cog-archive/{name}"
    here = f"{root}/collections/{collection}/items/{name}"
    links = [
        {"rel": "self", "href": here, "type": "application/json"},
        {"rel": "canonical", "href": f"{home}/{name}.json", "type": "application/json"},
        {"title": first, "rel": "via-cirrus", "href": f"{cirrus}/{first}"},
        {
            "title": "Source STAC Item",
            "rel": "derived_from",
            "href": f"{home}/{name}.json",
            "type": "application/json",
        },
        {"title": second, "rel": "via-cirrus", "href": f"{cirrus}/{second}"},
    ]
    ring = product.tile.outline()
    return _feature(
        name, collection, ring, properties, assets, links, ["eo", "view", "proj"], "1.0.0-beta.2"
    )
