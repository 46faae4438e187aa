"""Hold the map that is viewed, and its cube, and answer requests for views and pixels."""

from __future__ import annotations

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
from deepcrop.viewer.cube_images import CubeImages
from deepcrop.viewer.pixel_distribution import PixelNetwork, PixelPrediction, prediction_rows
from deepcrop.viewer.views import METHODS, View, variables_of, views_of

if TYPE_CHECKING:
    from pathlib import Path

    import xarray as xr


class ViewedMap:
    """A map opened for viewing, with or without its cube.

    Parameters
    ----------
    path : Path
        Directory made by ``deepcrop map``.
    cube_path : Path or None
        Cube that was mapped.

    Raises
    ------
    DeepCropError
        If the directory is not a finished map, or all its layers are missing.
    CubeError
        If the cube cannot be read, or has another grid than the map.
    """

    def __init__(self, path: Path, cube_path: Path | None):
        self.result: Result = open_result(path)
        self.views, self.missing = views_of(self.result)
        if not self.views:
            raise DeepCropError(f"{path} has none of its layers; map the region again.")
        self.cube: xr.DataTree | None = None
        self.images: CubeImages | None = None
        self.cameras: list[pixel_series.Camera] = []
        self.simulated = self.result.simulated
        if cube_path is not None:
            self.cube = open_cube(cube_path)
            of_cube, of_map = grid_of(self.cube), self.result.grid
            if of_cube != of_map:
                raise CubeError(
                    f"{cube_path} is {of_cube.shape[1]} x {of_cube.shape[0]} pixels in "
                    f"{of_cube.crs} at {tuple(of_cube.boundingbox.bbox)}, the map "
                    f"{of_map.shape[1]} x {of_map.shape[0]} in {of_map.crs} at "
                    f"{tuple(of_map.boundingbox.bbox)}: give the cube that was mapped."
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
            "images": self.images and self.images.describe(),
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
        same = [
            other
            for other in self.views.values()
            if (other.kind, other.stage, other.season) == (view.kind, view.stage, view.season)
        ]
        palette = view.kind if view.kind != "day" else str(view.stage).rstrip("0123456789")
        return map_tiles.make_legend(view, same, self.result.year) | {"palette": palette}

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

        ``dates`` has one entry for each stage, season and method: ``day``, with ``low``, ``high``
        and ``probability`` if the method has them. The method of a simulated region's true dates is
        ``"truth"``. ``others`` are the layers without a stage.
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
            elif layer.kind in ("day", "bound", "percent"):
                key = (layer.season, layer.stage, layer.method)
                names = {"season": layer.season, "stage": layer.stage, "method": layer.method}
                dates.setdefault(key, names)[layer.part or "day"] = value
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
        found = []
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
        )
        side = float(self.result.grid.resolution.x)
        camera = pixel_series.camera_viewing(self.cameras, row, col, self._field(row, col), side)
        return series + ([pixel_series.camera_series(camera, self.result.target)] if camera else [])

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
        return PixelNetwork(self.cube, self.result.year, groups, definition)

    def _smoother(self) -> Smoother:
        """Return the smoother of the map, or the default one if the map has no curve."""
        used = (
            self.result.summary.get("source", {}).get("smoother", {}).get("name", DEFAULT_SMOOTHER)
        )
        return choose(used, "sentinel2", None)[0]  # a name that is unknown is an error

    def _field(self, row: int, col: int) -> int:
        if self.cube is None or "landcover" not in self.cube.children:
            return 0
        landcover = self.cube["landcover"].to_dataset()
        return int(landcover["field_id"][row, col]) if "field_id" in landcover else 0

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


def _hex_colours(name: str) -> str:
    """Return 256 colours of a colour map, six hexadecimal digits each."""
    return "".join(to_hex(colour)[1:] for colour in matplotlib.colormaps[name](np.arange(256)))


def _value_text(layer: ResultLayer, value: int | None) -> str:
    """Return a value as text for the page."""
    if value is None:
        return "unknown"
    if layer.kind == "class":
        names = {entry.value: entry.name.replace("_", " ") for entry in layer.classes}
        return names.get(value, f"code {value}")
    if layer.kind == "flags":
        return ", ".join(text for bit, text in layer.flags.items() if value & bit) or "none"
    if layer.kind == "measure":
        return f"{value * layer.scale:.4g} {layer.unit}".removesuffix(" 1")
    return f"{value} days" if layer.unit == "days" else str(value)
