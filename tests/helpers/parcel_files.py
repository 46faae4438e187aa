"""Parcels and masks as files, and the table of fields."""

import csv
import json

import numpy as np
import rasterio
import shapely
from affine import Affine
from pyproj import Transformer

# Two fields of season_cube's grid (its upper left is 500000, 5600200), which overlap in no pixel.
NORTH = shapely.box(500000, 5600100, 500100, 5600200)  # rows 0 to 9, columns 0 to 9
SOUTH = shapely.box(500200, 5600000, 500300, 5600050)  # rows 15 to 19, columns 20 to 29


def geojson(path, shapes=(NORTH, SOUTH)):
    to_degrees = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True)
    features = [
        {
            "type": "Feature",
            "properties": {"farm": f"farm {k}"},
            "geometry": json.loads(
                shapely.to_geojson(
                    shapely.transform(shape, lambda xy: np.stack(to_degrees.transform(*xy.T), 1))
                )
            ),
        }
        for k, shape in enumerate(shapes)
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    return path


def raster(path, values, side=10, left=500000, dtype="uint8", **profile):
    """A mask whose upper left is that of the cube, unless it is put elsewhere."""
    rows, cols = values.shape
    given = {"crs": "EPSG:32631", "transform": Affine(side, 0, left, 0, -side, 5600200)} | profile
    with rasterio.open(
        path, "w", driver="GTiff", height=rows, width=cols, count=1, dtype=dtype, **given
    ) as file:
        file.write(values.astype(dtype), 1)
    return path


def geopackage(path, **layers):
    """A GeoPackage with a layer of shapes for each name, in the reference system of the cube."""
    from pyogrio.raw import write

    for name, shapes in layers.items():
        write(
            path,
            np.array([shapely.to_wkb(shape) for shape in shapes], object),
            [np.array([f"{name} {k}" for k in range(len(shapes))], object)],
            ["farm"],
            geometry_type=_type_of(shapes[0]) if shapes else "Polygon",
            crs="EPSG:32631",
            driver="GPKG",
            layer=name,
            append=path.exists(),
        )
    return path


def _type_of(shape):
    return f"{shape.geom_type}{' Z' if shape.has_z else ''}"


def field_rows(result):
    """Rows of ``fields.csv`` of a map."""
    with (result.path / "fields.csv").open() as file:
        return list(csv.DictReader(file))
