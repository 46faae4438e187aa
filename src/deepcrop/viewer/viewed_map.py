"""What a running viewer shows: a result, the cube it was made from, and answers about both."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import xarray as xr
from matplotlib.colors import to_hex
from pyproj import Transformer

from deepcrop import grid, stages
from deepcrop._version import __version__
from deepcrop.cube.contract import grid_of, is_simulated
from deepcrop.cube.io import open_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.figures import style
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER, PRESETS, Smoother
from deepcrop.products.results import Result, ResultLayer, open_result
from deepcrop.stages import CALENDAR, TITLES
from deepcrop.viewer import map_tiles, pixel_series
from deepcrop.viewer.cube_images import Background
from deepcrop.viewer.pixel_distribution import Answer, PixelNetwork, answer_rows
from deepcrop.viewer.views import METHODS, View, themes_of, views_of


class Shown:
    """A result, with its cube or without.

    Parameters
    ----------
    path : Path
        Directory made by ``deepcrop map``.
    cube_path : Path or None
        The cube it was made from.

    Raises
    ------
    DeepCropError
        If the directory is none of ours, or has none of its layers.
    CubeError
        If the cube cannot be read, or lies on another grid.
    """

    def __init__(self, path: Path, cube_path: Path | None):
        self.result: Result = open_result(path)
        self.views, self.missing = views_of(self.result)
        if not self.views:
            raise DeepCropError(f"{path} has none of its layers; map the region again.")
        self.cube: xr.DataTree | None = None
        self.background: Background | None = None
        self.cameras: list[pixel_series.Camera] = []
        self.simulated = self.result.simulated
        if cube_path is not None:
            self.cube = open_cube(cube_path)
            box, mine = grid_of(self.cube), self.result.grid
            if box != mine:
                raise CubeError(
                    f"{cube_path} is {box.shape[1]} x {box.shape[0]} pixels in {box.crs} at "
                    f"{tuple(box.boundingbox.bbox)}, the map {mine.shape[1]} x {mine.shape[0]} in "
                    f"{mine.crs} at {tuple(mine.boundingbox.bbox)}: give the cube that was mapped."
                )
            self.simulated |= is_simulated(self.cube)
            self.cameras = pixel_series.cameras_of(self.cube, cube_path, self.result.year)
            if "optical" in self.cube.children:
                self.background = Background(self.cube["optical"].to_dataset())
        self._to_degrees = Transformer.from_crs(
            str(self.result.grid.crs), "EPSG:4326", always_xy=True
        )
        # Neither changes while the viewer runs.
        self.legend = lru_cache(maxsize=None)(self._legend)
        self._network = lru_cache(maxsize=1)(self._load_network)

    def describe(self) -> dict[str, Any]:
        """All that the page needs to know before anything is chosen."""
        result = self.result
        left, bottom, right, top = result.grid.boundingbox.bbox
        ring = self._ring(left, bottom, right, top, 20)
        lons, lats = zip(*ring, strict=True)
        source = dict(result.summary.get("source", {}))
        return {
            "title": result.title,
            "year": result.year,
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
            "stages": {name: TITLES[name] for name in CALENDAR},
            "themes": themes_of(self.views),
            "missing": self.missing,
            "nothing": map_tiles.NOTHING,
            "palettes": {kind: _shades(name) for kind, name in style.COLORMAPS.items()},
            "colours": {
                "stages": style.STAGE_COLOURS,
                "series": style.SERIES_COLOURS,
                "classes": style.CLASS_COLOURS,
                "other": style.OTHER_CLASS,
            },
            "cube": self.cube is not None,
            "background": self.background and self.background.describe(),
            "cameras": [
                {
                    "name": camera.name,
                    "lon": camera.longitude,
                    "lat": camera.latitude,
                    "azimuth": camera.azimuth,
                }
                for camera in self.cameras
            ],
        }

    def view(self, key: str) -> View:
        """View of a name.

        Raises
        ------
        DeepCropError
            If the result has none.
        """
        if key not in self.views:
            raise DeepCropError(f"This map has no layer '{key}'.")
        return self.views[key]

    def _legend(self, key: str) -> dict[str, Any]:
        """Legend of a view (`tiles.brief`), with the name of its colours."""
        view = self.view(key)
        same = [
            other
            for other in self.views.values()
            if (other.kind, other.stage, other.season) == (view.kind, view.stage, view.season)
        ]
        colours = view.kind if view.kind != "day" else str(view.stage).rstrip("0123456789")
        return map_tiles.brief(view, same, self.result.year) | {"palette": colours}

    # A pixel ------------------------------------------------------------------------------------

    def cell(self, longitude: float, latitude: float) -> tuple[int, int]:
        """Row and column of a place.

        Raises
        ------
        DeepCropError
            If the place is not on the map.
        """
        return grid.cell_of(self.result.grid, longitude, latitude)

    def pixel(self, row: int, col: int) -> dict[str, Any]:
        """Where a pixel lies and what the map says of it.

        ``dates`` has one entry for each stage, season and method: ``day``, with ``low``, ``high``
        and ``probability`` where the method gives them. ``others`` are the layers of no stage.
        """
        box = self.result.grid
        side, affine = float(box.resolution.x), box.affine
        left, top = affine.c + side * col, affine.f - side * row
        longitude, latitude = self._to_degrees.transform(left + side / 2, top - side / 2)
        camera = pixel_series.camera_at(self.cameras, row, col, self._field(row, col), side)
        dates: dict[tuple, dict[str, Any]] = {}
        others = []
        for layer in self.result.layers.values():
            if layer.key in self.missing:
                continue
            value = map_tiles.at_pixel(layer, row, col)
            if layer.stage is None:
                others.append({"key": layer.key, "title": layer.title, "value": value})
                others[-1] |= {"method": layer.method, "words": _words(layer, value)}
            elif layer.kind in ("day", "bound", "percent"):
                at = (layer.season, layer.stage, layer.method)
                names = {"season": layer.season, "stage": layer.stage, "method": layer.method}
                dates.setdefault(at, names)[layer.part or "day"] = value
        return {
            "row": row,
            "col": col,
            "lon": round(longitude, 6),
            "lat": round(latitude, 6),
            "outline": self._ring(left, top - side, left + side, top, 1),
            "field": self._field(row, col) or None,
            "camera": camera and camera.name,
            "dates": list(dates.values()),
            "others": others,
        }

    def tracks(self, row: int, col: int) -> list[pixel_series.Track]:
        """Observations, curves and the camera of a pixel; none without a cube."""
        if self.cube is None:
            return []
        found = pixel_series.pixel_tracks(self.cube, row, col, self.result.year, self._smoother())
        side = float(self.result.grid.resolution.x)
        camera = pixel_series.camera_at(self.cameras, row, col, self._field(row, col), side)
        return found + ([pixel_series.camera_track(camera)] if camera else [])

    def answer(self, row: int, col: int) -> Answer:
        """Ask the network for its distributions.

        Raises
        ------
        DeepCropError
            If there is no cube, PyTorch is not installed, or the cube does not fit the weights.
        """
        return self._network().ask(row, col)

    def weights(self) -> dict[str, Any]:
        """Which weights `answer` comes from, and whether the map was made with the same."""
        network = self._network()
        used = self.result.summary.get("source", {}).get("weights", {})
        return {"title": network.title, "of_map": used.get("sha256") == network.sha256}

    def csv(self, row: int, col: int) -> str:
        """All that is known of a pixel, a value a row."""
        rows: list[tuple[Any, ...]] = []
        for date in self.pixel(row, col)["dates"]:
            what = f"{date['method']} {date['stage']}"
            for part in ("day", "low", "high"):
                if part in date:
                    day = date[part]
                    when = "" if day is None else str(stages.to_dates(day, self.result.year))
                    text = "" if day is None else str(day)
                    rows.append((f"map {what} {part}", date["season"], text, when, "", "", ""))
            if "probability" in date:
                share = date["probability"]
                value = "" if share is None else str(share)
                rows.append((f"map {what} probability", date["season"], "", "", value, "%", ""))
        for track in self.tracks(row, col):
            rows.extend(pixel_series.track_rows(track, self.result.year))
        with suppress(DeepCropError):  # the page says why there is none
            rows.extend(answer_rows(self.answer(row, col), self.result.year))
        return pixel_series.write_csv(rows, self.simulated)

    def _load_network(self) -> PixelNetwork:
        if self.cube is None:
            raise DeepCropError("Start the viewer with --cube to see the network's distributions.")
        groups = self.result.summary.get("source", {}).get("sensors", ("optical", "sar"))
        return PixelNetwork(self.cube, self.result.year, groups)

    def _smoother(self) -> Smoother:
        """Return that of the map's curve, or the usual one where the map has none."""
        used = (
            self.result.summary.get("source", {}).get("smoother", {}).get("name", DEFAULT_SMOOTHER)
        )
        return PRESETS["sentinel2"][0][used]

    def _field(self, row: int, col: int) -> int:
        if self.cube is None or "landcover" not in self.cube.children:
            return 0
        landcover = self.cube["landcover"].to_dataset()
        return int(landcover["field_id"][row, col]) if "field_id" in landcover else 0

    def _ring(
        self, left: float, bottom: float, right: float, top: float, points: int
    ) -> list[list[float]]:
        """Outline of a rectangle of the grid in degrees, closed, ``points`` on each side."""
        step = np.arange(points) / points
        x = np.concatenate([left + (right - left) * step, 0 * step + right])
        y = np.concatenate([0 * step + bottom, bottom + (top - bottom) * step])
        x, y = np.append(x, left + right - x), np.append(y, bottom + top - y)
        lon, lat = self._to_degrees.transform(x, y)
        ring = np.round(np.stack([lon, lat], axis=-1), 7).tolist()
        return [*ring, ring[0]]


def _shades(name: str) -> str:
    """256 colours of a colour map, six hexadecimal digits each."""
    return "".join(to_hex(colour)[1:] for colour in matplotlib.colormaps[name](np.arange(256)))


def _words(layer: ResultLayer, value: int | None) -> str:
    """Say a value as a reader would."""
    if value is None:
        return "unknown"
    if layer.kind == "class":
        names = {each.value: each.name.replace("_", " ") for each in layer.classes}
        return names.get(value, f"code {value}")
    if layer.kind == "flags":
        return ", ".join(words for bit, words in layer.flags.items() if value & bit) or "none"
    return f"{value} days" if layer.unit == "days" else str(value)
