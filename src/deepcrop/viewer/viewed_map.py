"""Hold the map that is viewed, and its cube, and answer requests for views and pixels."""

from __future__ import annotations

import datetime
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import matplotlib
import numpy as np
from matplotlib.colors import to_hex
from pyproj import Transformer

from deepcrop import grid, stages
from deepcrop._version import __version__
from deepcrop.cube.contract import grid_of, is_simulated
from deepcrop.cube.io import open_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.figures import style
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER, Smoother, choose
from deepcrop.products.results import Result, ResultLayer, open_result
from deepcrop.stages import stage_title
from deepcrop.viewer import map_tiles, pixel_series
from deepcrop.viewer.area_summary import area_csv, area_series, summarise
from deepcrop.viewer.areas import Area, Fields, drawn_area, outline
from deepcrop.viewer.cube_images import CubeImages
from deepcrop.viewer.pixel_distribution import PixelNetwork, PixelPrediction, prediction_rows
from deepcrop.viewer.views import METHODS, View, variables_of, views_of

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr
    from odc.geo.geobox import GeoBox


class ViewedMap:
    """A map opened for viewing, with or without its cube.

    Parameters
    ----------
    path : Path
        Directory made by ``deepcrop map``.
    cube_path : Path or None
        Cube that was mapped.
    first : ViewedMap, optional
        Another issue of the same map, whose cube is used, and with which colours are shared.

    Raises
    ------
    DeepCropError
        If the directory is not a finished map, or all its layers are missing, or it has another
        grid or target year than ``first``.
    CubeError
        If the cube cannot be read, or has another grid than the map.
    """

    def __init__(self, path: Path, cube_path: Path | None, first: ViewedMap | None = None):
        self.result: Result = open_result(path)
        self.views, self.missing = views_of(self.result)
        if not self.views:
            raise DeepCropError(f"{path} has none of its layers; map the region again.")
        until = self.result.summary.get("until")
        self.until = None if until is None else datetime.date.fromisoformat(until)
        self.cube: xr.DataTree | None = None
        self.images: CubeImages | None = None
        self.cameras: list[pixel_series.Camera] = []
        self.simulated = self.result.simulated
        self.issues: list[ViewedMap] = [self]
        self._ranges: dict[tuple[str, str], tuple[int, int] | None] = {}
        if first is not None:
            _check_same_map(self.result, first.result)
            self.cube, self.images, self.cameras = first.cube, first.images, first.cameras
            self.simulated |= first.simulated
            self.issues, self._ranges = first.issues, first._ranges
            self.issues.append(self)
        elif cube_path is not None:
            self.cube = open_cube(cube_path)
            of_cube, of_map = grid_of(self.cube), self.result.grid
            if of_cube != of_map:
                raise CubeError(
                    f"{cube_path} is {_grid_text(of_cube)}, the map {_grid_text(of_map)}: give the "
                    "cube that was mapped."
                )
            self.simulated |= is_simulated(self.cube)
            self.cameras = pixel_series.find_cameras(self.cube, cube_path, self.result.year)
            if "optical" in self.cube.children:
                self.images = CubeImages(self.cube["optical"].to_dataset())
        self._to_degrees = Transformer.from_crs(
            str(self.result.grid.crs), "EPSG:4326", always_xy=True
        )
        left, bottom, right, top = self.result.grid.boundingbox.bbox
        self._middle = self._to_degrees.transform((left + right) / 2, (bottom + top) / 2)[0]
        self.fields = Fields(path, self.result.grid, self._field_numbers())
        # Legends and weights do not change while the viewer runs.
        self.legend = lru_cache(maxsize=None)(self._legend)
        self._network = lru_cache(maxsize=1)(self._load_network)

    def describe(self) -> dict[str, Any]:
        """Describe the map for the page: layers, colours, extent, cameras, dates of images."""
        result = self.result
        left, bottom, right, top = result.grid.boundingbox.bbox
        ring = self._outline(left, bottom, right, top, 20)
        lons, lats = zip(*ring, strict=True)
        source = dict(result.summary.get("source", {}))
        stages_of_map = dict.fromkeys(str(layer.stage) for layer in result.find(kind="day"))
        return {
            "title": result.title,
            "year": result.year,
            "year_label": str(result.target),
            "middle": result.target.first + result.target.length // 2,
            "until": self.until and str(self.until),
            "simulated": self.simulated,
            "software": f"deepcrop {__version__}",
            "methods": {name: METHODS[name] for name in result.methods},
            "sources": {
                group: str(source[group]["source"])
                for group in ("optical", "sar", "landcover")
                if "source" in dict(source.get(group, {}))
            },
            "bounds": [min(lons), min(lats), max(lons), max(lats)],
            "outline": ring,
            "stages": {name: stage_title(name) for name in stages_of_map},
            "variables": variables_of(self.views),
            "missing": self.missing,
            "no_value": map_tiles.NO_VALUE,
            "palettes": {kind: _hex_colours(name) for kind, name in style.COLORMAPS.items()},
            "colours": {
                "stages": {name: style.stage_colour(name) for name in stages_of_map},
                "series": style.SERIES_COLOURS,
                "classes": style.CLASS_COLOURS,
                "other": style.OTHER_CLASS,
            },
            "cube": self.cube is not None,
            "fields": self.fields.known,
            "images": self.images and self.images.describe(self.until),
            "cameras": [
                {
                    "name": camera.name,
                    "lon": float(self._without_jump(camera.longitude)),
                    "lat": camera.latitude,
                    "azimuth": camera.azimuth,
                }
                for camera in self.cameras
            ],
        }

    def view(self, key: str) -> View:
        """Return a view by its key.

        Raises
        ------
        DeepCropError
            If the map has no such view.
        """
        if key not in self.views:
            raise DeepCropError(f"This map has no layer '{key}'.")
        return self.views[key]

    def _legend(self, key: str) -> dict[str, Any]:
        """Return the legend of a view (`map_tiles.make_legend`) with the name of its palette."""
        view = self.view(key)
        palette = view.kind if view.kind != "day" else str(view.stage).rstrip("0123456789")
        status = self.views[view.status] if view.status else None
        legend = map_tiles.make_legend(view, self._range(view), status)
        return legend | {"palette": palette}

    def _range(self, view: View) -> tuple[int, int] | None:
        """Return the range of colours of a view, which it has by all methods and in all issues."""
        wanted = (view.kind, view.key.rpartition("/")[2])
        if wanted not in self._ranges:
            same = [
                other
                for issue in self.issues
                for other in issue.views.values()
                if (other.kind, other.key.rpartition("/")[2]) == wanted
            ]
            self._ranges[wanted] = map_tiles.colour_range(same, self.result.year)
        return self._ranges[wanted]

    # An area ---------------------------------------------------------------------------------

    def area(self, at: str | None, polygon: str | None) -> Area:
        """Return the field at a place (``"longitude,latitude"``), or the area of a polygon.

        Raises
        ------
        DeepCropError
            If neither is given, or there is no such area on the map.
        """
        if polygon is not None:
            return drawn_area(polygon, self.result.grid)
        try:
            longitude, latitude = map(float, (at or "").split(","))
        except ValueError:
            raise DeepCropError(
                f"'{(at or '')[:40]}' is no place; expected longitude,latitude in degrees."
            ) from None
        return self.fields.at(*self.cell(longitude, latitude))

    def describe_area(self, area: Area) -> dict[str, Any]:
        """Summarise an area (`area_summary.summarise`), with its outline in degrees."""
        polygons = [
            [self._in_degrees(ring) for ring in polygon]
            for polygon in outline(area, self.result.grid)
        ]
        summary = summarise(self.result, area)
        side = float(self.result.grid.resolution.x)
        hectares = round(summary["pixels"] * side**2 / 1e4, 2)
        return summary | {"hectares": hectares, "outline": polygons}

    def area_series(self, area: Area) -> dict[str, Any]:
        """Return the series of an area (`area_summary.area_series`); none without a cube."""
        if self.cube is None:
            return {"pixels": 0, "series": []}
        return area_series(self.cube, self.result, area, self.until)

    def area_csv(self, area: Area) -> str:
        """Return all data of an area as CSV, one value a row."""
        read = self.area_series(area)
        return area_csv(summarise(self.result, area), read, self.result.year, self.simulated)

    def _in_degrees(self, ring: list[tuple[float, float]]) -> list[list[float]]:
        lon, lat = self._to_degrees.transform(*np.array(ring).T)
        pair = np.stack([self._without_jump(lon), lat], axis=-1)
        found: list[list[float]] = np.round(pair, 7).tolist()
        return found

    # A pixel ------------------------------------------------------------------------------------

    def cell(self, longitude: float, latitude: float) -> tuple[int, int]:
        """Return the row and column of a place in degrees.

        Raises
        ------
        DeepCropError
            If the place is outside the map.
        """
        return grid.cell_of(self.result.grid, longitude, latitude)

    def pixel(self, row: int, col: int) -> dict[str, Any]:
        """Return the place of a pixel and its values in all layers.

        ``dates`` has one entry for each stage, season and method: ``day``, with ``low``, ``high``,
        ``probability``, ``status`` and ``reason`` if the map has them. The method of a simulated
        region's true dates is ``"truth"``. ``others`` are the layers without a stage.
        """
        box = self.result.grid
        side, affine = float(box.resolution.x), box.affine
        left, top = affine.c + side * col, affine.f - side * row
        longitude, latitude = self._to_degrees.transform(left + side / 2, top - side / 2)
        camera = pixel_series.camera_viewing(self.cameras, row, col, self._field(row, col), side)
        dates: dict[tuple[Any, ...], dict[str, Any]] = {}
        others = []
        for layer in self.result.layers.values():
            if layer.key in self.missing:
                continue
            value = map_tiles.read_pixel(layer, row, col)
            if layer.stage is None:
                others.append({"key": layer.key, "title": layer.title, "value": value})
                others[-1] |= {"method": layer.method, "text": _value_text(layer, value)}
            elif layer.part is not None or layer.kind == "day":
                key = (layer.season, layer.stage, layer.method)
                names = {"season": layer.season, "stage": layer.stage, "method": layer.method}
                coded = layer.kind in ("status", "reason")
                dates.setdefault(key, names)[layer.part or "day"] = (
                    None
                    if value is None
                    else map_tiles.class_name(layer, value)
                    if coded
                    else value
                )
        return {
            "row": row,
            "col": col,
            "lon": round(float(self._without_jump(longitude)), 6),
            "lat": round(latitude, 6),
            "outline": self._outline(left, top - side, left + side, top, 1),
            "field": self._field(row, col) or None,
            "camera": camera and camera.name,
            "dates": [*dates.values(), *self._truth(row, col)],
            "others": others,
        }

    def _truth(self, row: int, col: int) -> list[dict[str, Any]]:
        """Return the true dates of a pixel; an empty list unless the cube is a simulated region."""
        if self.cube is None or "truth" not in self.cube.children:
            return []
        truth = self.cube["truth"].to_dataset()
        if int(truth.attrs["year"]) != self.result.year:
            return []
        found: list[dict[str, Any]] = []
        for stage in (name for name in stages.CALENDAR if name in truth):
            for k, day in enumerate(truth[stage][:, row, col].values.tolist()):
                known = None if day == stages.NO_DAY else int(day)
                found.append({"season": k + 1, "stage": stage, "method": "truth", "day": known})
        return found

    def series(self, row: int, col: int) -> list[pixel_series.PixelSeries]:
        """Return observations, curves and camera of a pixel; an empty list without a cube."""
        if self.cube is None:
            return []
        index = self.result.summary.get("source", {}).get("index", "ndvi")
        series = pixel_series.series_of_pixel(
            self.cube,
            row,
            col,
            self.result.year,
            self._smoother(),
            index,
            self.result.target.start,
            self.until,
        )
        side = float(self.result.grid.resolution.x)
        camera = pixel_series.camera_viewing(self.cameras, row, col, self._field(row, col), side)
        if camera is not None:
            series.append(pixel_series.camera_series(camera, self.result.target, self.until))
        return series

    def predict(self, row: int, col: int) -> PixelPrediction:
        """Predict the distributions of a pixel with the network.

        Raises
        ------
        DeepCropError
            If there is no cube, PyTorch is not installed, or the cube does not fit the weights.
        """
        return self._network().predict(row, col)

    def weights(self) -> dict[str, Any]:
        """Return the title of the weights, and whether the map was made with the same."""
        network = self._network()
        used = self.result.summary.get("source", {}).get("weights", {})
        return {"title": network.title, "of_map": used.get("sha256") == network.sha256}

    def csv(self, row: int, col: int) -> str:
        """Return all data of a pixel as CSV, one value a row."""
        rows: list[tuple[Any, ...]] = []
        for date in self.pixel(row, col)["dates"]:
            of_map = "" if date["method"] == "truth" else "map "
            name = f"{of_map}{date['method']} {date['stage']}"
            for bound in ("day", "low", "high"):
                if bound in date:
                    day = date[bound]
                    when = "" if day is None else str(stages.to_dates(day, self.result.year))
                    text = "" if day is None else str(day)
                    rows.append((f"{name} {bound}", date["season"], text, when, "", "", ""))
            for name_of, words in (("status", date.get("status")), ("reason", date.get("reason"))):
                if words is not None:
                    rows.append((f"{name} {name_of}", date["season"], "", "", "", "", words))
            if "probability" in date:
                share = date["probability"]
                value = "" if share is None else str(share)
                rows.append((f"{name} probability", date["season"], "", "", value, "%", ""))
        for series in self.series(row, col):
            rows.extend(pixel_series.series_rows(series, self.result.year))
        with suppress(DeepCropError):  # no network: the page shows the reason
            rows.extend(prediction_rows(self.predict(row, col), self.result.year))
        return pixel_series.write_csv(rows, self.simulated)

    def _load_network(self) -> PixelNetwork:
        if self.cube is None:
            raise DeepCropError("Start the viewer with --cube to see the network's distributions.")
        source = self.result.summary.get("source", {})
        groups = source.get("sensors", ("optical", "sar"))
        definition = source.get("definition", "camera")
        return PixelNetwork(self.cube, self.result.year, groups, definition, self.until)

    def _smoother(self) -> Smoother:
        """Return the smoother of the map, or the default one if the map has no curve."""
        used = (
            self.result.summary.get("source", {}).get("smoother", {}).get("name", DEFAULT_SMOOTHER)
        )
        return choose(used, "sentinel2", None)[0]  # a name that is unknown is an error

    def _field_numbers(self) -> xr.DataArray | None:
        if self.cube is None or "landcover" not in self.cube.children:
            return None
        return self.cube["landcover"].to_dataset().get("field_id")

    def _field(self, row: int, col: int) -> int:
        """Return the number that the cube gives the field of a pixel; 0 without one."""
        numbers = self._field_numbers()
        return 0 if numbers is None else int(numbers[row, col])

    def _outline(
        self, left: float, bottom: float, right: float, top: float, points: int
    ) -> list[list[float]]:
        """Return the closed outline of a rectangle of the grid in degrees, ``points`` a side."""
        step = np.arange(points) / points
        x = np.concatenate([left + (right - left) * step, 0 * step + right])
        y = np.concatenate([0 * step + bottom, bottom + (top - bottom) * step])
        x, y = np.append(x, left + right - x), np.append(y, bottom + top - y)
        lon, lat = self._to_degrees.transform(x, y)
        lon = self._without_jump(lon)
        ring = np.round(np.stack([lon, lat], axis=-1), 7).tolist()
        return [*ring, ring[0]]

    def _without_jump(self, longitude: Any) -> Any:
        """Turn longitudes by 360° so that they lie near the map's middle.

        On a map over the date line they go on beyond 180 or -180, and nothing is drawn around the
        whole earth.
        """
        return longitude + 360 * np.round((self._middle - longitude) / 360)


def _check_same_map(issue: Result, first: Result) -> None:
    """Raise `DeepCropError` unless two issues are of one grid and target year."""
    if issue.year != first.year:
        raise DeepCropError(
            f"{first.path} is a map of {first.year}, {issue.path} of {issue.year}: the issues in a "
            "folder must be of one target year. Keep those of each year in a folder of its own."
        )
    if issue.grid != first.grid:
        raise DeepCropError(
            f"{first.path} is {_grid_text(first.grid)}, {issue.path} {_grid_text(issue.grid)}: the "
            "issues in a folder must be maps of one cube."
        )


def _grid_text(box: GeoBox) -> str:
    return f"{box.shape[1]} x {box.shape[0]} pixels in {box.crs} at {tuple(box.boundingbox.bbox)}"


def _hex_colours(name: str) -> str:
    """Return 256 colours of a colour map, six hexadecimal digits each."""
    return "".join(to_hex(colour)[1:] for colour in matplotlib.colormaps[name](np.arange(256)))


def _value_text(layer: ResultLayer, value: int | None) -> str:
    """Return a value as text for the page."""
    if value is None:
        return "unknown"
    if layer.kind == "class":
        return map_tiles.class_name(layer, value)
    if layer.kind == "flags":
        return ", ".join(text for bit, text in layer.flags.items() if value & bit) or "none"
    if layer.kind == "measure":
        return f"{value * layer.scale:.4g} {layer.unit}".removesuffix(" 1")
    return f"{value} days" if layer.unit == "days" else str(value)
