"""The PhenoCam service on the loopback: cameras, regions of interest, midday images, summary files.

The records have the fields of the network's own; lists come in pages as there, but for midday
images, which the network sends whole. What is served is a folder of summary files in the official
format: real ones, or those that `write_simulated` makes of the cameras of a simulated region.
"""

from __future__ import annotations

import csv
import functools
import io
import urllib.parse
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from PIL import Image
from pyproj import Transformer
from tests.archive.server import Request, Response, Server, file_response, json_response

from deepcrop import grid
from deepcrop.sources.phenocam.summary_files import write_series

if TYPE_CHECKING:
    from pathlib import Path

_WINDS = ("N", "NE", "E", "SE", "S", "SW", "W", "NW")


def serve(
    server: Server,
    folder: Path,
    prefix: str = "/phenocam",
    page_size: int = 100,
    called: str | None = None,
    orientation: dict[str, str] | None = None,
) -> str:
    """Serve the summary files of a folder and return the address of the API.

    ``page_size`` is the longest page, ``called`` the address that the service believes it has (it
    differs behind a proxy), ``orientation`` where a site's camera looks.
    """
    series = [_read(path) for path in sorted(folder.glob("*day.csv"))]
    sites: dict[str, _Series] = {}
    for entry in series:
        known = sites.get(entry.site, entry)
        sites[entry.site] = replace(entry, gcc=known.gcc | entry.gcc)
    rois: dict[str, list[_Series]] = {}
    for entry in series:
        rois.setdefault(entry.name, []).append(entry)
    api, archive = f"{prefix}/api", f"{prefix}/data/archive"

    def page(request: Request, records: list[dict[str, Any]]) -> Response:
        limit = min(int(request.one("limit") or page_size), page_size)
        start = int(request.one("offset") or 0)

        def link(offset: int) -> str | None:
            query = urllib.parse.urlencode({"limit": limit, "offset": offset})
            inside = 0 <= offset < len(records)
            return f"{called or server.url}{request.path}?{query}" if inside else None

        return json_response(
            {
                "count": len(records),
                "next": link(start + limit),
                "previous": link(start - limit) if start else None,
                "results": records[start : start + limit],
            }
        )

    def camera(entry: _Series) -> dict[str, Any]:
        return _camera(entry, (orientation or {}).get(entry.site, ""))

    def one_camera(_request: Request, site: str) -> Response:
        return json_response(camera(sites[site])) if site in sites else _not_found()

    def midday(_request: Request, site: str) -> Response:
        if site not in sites:
            return _not_found()
        days = sorted(sites[site].gcc)
        records = [_midday(archive, site, day) for day in days]
        # Cameras with an infrared twin list its last image as well.
        infrared = records[-1] | {
            "imgpath": records[-1]["imgpath"].replace(site + "_", site + "_IR_")
        }
        return json_response([*records, infrared])

    def image(_request: Request, site: str, day: str) -> Response:
        gcc = sites[site].gcc.get(date(*map(int, day.split("_")))) if site in sites else None
        if gcc is None:
            return _not_found()
        return Response(jpeg_of(gcc), headers={"Content-Type": "image/jpeg"})

    def summary(_request: Request, site: str, name: str) -> Response:
        path = folder / name
        return file_response(path, "text/csv") if path.is_file() else _not_found()

    name = r"(?P<site>[\w.-]+)"
    server.route("GET", f"{api}/cameras/", lambda r: page(r, [camera(s) for s in sites.values()]))
    server.route("GET", f"{api}/cameras/{name}/", one_camera)
    records = [_roi_list(entries, server.url + archive) for entries in rois.values()]
    server.route("GET", f"{api}/roilists/", lambda r: page(r, records))
    server.route("GET", f"{api}/middayimages/{name}/", midday)
    server.route(
        "GET", rf"{archive}/{name}/\d{{4}}/\d\d/(?P=site)_(?P<day>[\d_]{{10}})_\d{{6}}\.jpg", image
    )
    server.route("GET", rf"{archive}/{name}/ROI/(?P<name>[\w.-]+\.csv)", summary)
    return f"{server.url}{api}/"


def write_simulated(region: Path, folder: Path) -> dict[str, str]:
    """Write the cameras of a simulated region as 3-day summary files; return where they look.

    The sites are called ``simulated0``, ``simulated1``, …; the files say that they are simulated.
    """
    folder.mkdir(parents=True, exist_ok=True)
    orientation = {}
    with xr.open_datatree(region, engine="zarr", consolidated=False) as cube:
        box = grid.grid_of(cube["optical"].to_dataset())
        cameras = cube["camera"].to_dataset().load()
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    for index in range(cameras.sizes["camera"]):
        camera = cameras.isel(camera=index)
        longitude, latitude = to_degrees.transform(float(camera["x"]), float(camera["y"]))
        site = f"simulated{index}"
        orientation[site] = _WINDS[round(float(camera["azimuth"]) / 45) % 8]
        about = {
            "Site": site,
            "Veg Type": "AG",
            "ROI ID Number": "1000",
            "Lat": round(latitude, 6),
            "Lon": round(longitude, 6),
            "Elev": 100,
            "UTC Offset": round(longitude / 15),
            "Image Count Threshold": 1,
            "Aggregation Period": 3,
            "Solar Elevation Min": 10.0,
            "Time of Day Min": "00:00:00",
            "Time of Day Max": "23:59:59",
            "ROI Brightness Min": 100,
            "ROI Brightness Max": 665,
            "Creation Date": "2024-01-01",
            "Creation Time": "00:00:00",
            "Update Date": "2024-01-01",
            "Update Time": "00:00:00",
        }
        rows = []
        for when, gcc in zip(camera["time"].values, camera["gcc_90"].values, strict=True):
            day = when.astype("datetime64[D]").item()
            row = {"date": day, "year": day.year, "doy": day.timetuple().tm_yday, "image_count": 0}
            if np.isfinite(gcc):
                row |= {"image_count": 36, "gcc_90": float(gcc)}
            rows.append(row)
        title = f"3-day summary product time series for {site}, SIMULATED by deepcrop"
        write_series(folder / f"{site}_AG_1000_3day.csv", title, about, rows)
    return orientation


def jpeg_of(gcc: float, size: tuple[int, int] = (64, 48)) -> bytes:
    """An image of one colour with this greenness."""
    colour = (round(180 - 90 * gcc), round(300 * gcc), round(120 - 210 * gcc))
    buffer = io.BytesIO()
    Image.new("RGB", size, colour).save(buffer, "JPEG", quality=95)
    return buffer.getvalue()


@dataclass(frozen=True)
class _Series:
    """What a summary file says, read without regard to the reader that is tested."""

    site: str
    veg_type: str
    number: int
    period: int
    latitude: float
    longitude: float
    elevation: float
    utc_offset: float
    gcc: dict[date, float]

    @property
    def name(self) -> str:
        return f"{self.site}_{self.veg_type}_{self.number:04d}"


@functools.lru_cache(maxsize=256)
def _read(path: Path) -> _Series:
    lines = path.read_text().splitlines()
    about = {
        key.strip("# "): value.strip()
        for key, colon, value in (line.partition(":") for line in lines if line.startswith("#"))
        if colon
    }
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    return _Series(
        about["Site"],
        about["Veg Type"],
        int(about["ROI ID Number"]),
        int(about["Aggregation Period"]),
        float(about["Lat"]),
        float(about["Lon"]),
        float(about["Elev"]),
        float(about["UTC Offset"]),
        {
            date.fromisoformat(row["date"]): float(row["gcc_90"])
            for row in rows
            if row["gcc_90"] not in ("", "NA", "-9999")
        },
    )


def _camera(entry: _Series, orientation: str) -> dict[str, Any]:
    return {
        "Sitename": entry.site,
        "Lat": entry.latitude,
        "Lon": entry.longitude,
        "Elev": entry.elevation,
        "active": True,
        "utc_offset": int(entry.utc_offset),
        "date_first": str(min(entry.gcc)),
        "date_last": str(max(entry.gcc)),
        "infrared": "Y",
        "contact1": "A Person <person AT example DOT org>",
        "contact2": "",
        "sitemetadata": {
            "site_description": f"Field at {entry.site}",
            "site_type": "I",
            "group": "LTAR",
            "camera_description": "StarDot NetCam SC",
            "camera_orientation": orientation,
            "flux_data": False,
            "flux_networks": [],
            "flux_sitenames": "",
            "dominant_species": "",
            "primary_veg_type": entry.veg_type,
            "secondary_veg_type": None,
            "site_meteorology": False,
            "MAT_site": None,
            "MAP_site": None,
            "MAT_daymet": 9.8,
            "MAP_daymet": 746.0,
            "MAT_worldclim": 9.7,
            "MAP_worldclim": 692.0,
            "koeppen_geiger": "Dfa",
            "ecoregion": 9,
            "landcover_igbp": 12,
            "dataset_version1": None,
            "site_acknowledgements": f"The people of {entry.site} keep this camera.",
            "modified": "2024-10-29T10:00:00.000000-07:00",
        },
    }


def _roi_list(entries: list[_Series], archive: str) -> dict[str, Any]:
    entry = entries[0]
    first, last = min(entry.gcc), max(entry.gcc)
    years = ((last - first).days + 1) / 365.25
    missing = max(0, 1 - entry.period * len(entry.gcc) / ((last - first).days + 1))
    stem = f"{archive}/{entry.site}/ROI/{entry.name}"
    return {
        "roi_name": entry.name,
        "site": entry.site,
        "lat": entry.latitude,
        "lon": entry.longitude,
        "roitype": entry.veg_type,
        "active": True,
        "show_link": True,
        "show_data_link": True,
        "sequence_number": entry.number,
        "description": f"Crop at {entry.site}",
        "first_date": str(first),
        "last_date": str(last),
        "site_years": f"{years:.1f}",
        "missing_data_pct": f"{100 * missing:.1f}",
        "roi_page": f"{stem}.html",
        "roi_stats_file": f"{stem}_roistats.csv",
        "one_day_summary": f"{stem}_1day.csv",
        "three_day_summary": f"{stem}_3day.csv",
        "data_release": "pre",
    }


def _midday(archive: str, site: str, day: date) -> dict[str, str]:
    path = f"{archive}/{site}/{day:%Y/%m}/{site}_{day:%Y_%m_%d}_120005.jpg"
    return {"site": site, "imgdate": str(day), "imgpath": path}


def _not_found() -> Response:
    return json_response({"detail": "Not found."}, 404)
