"""Outline of a map in STAC, also over the date line."""

import numpy as np
import pytest
import shapely
from pyproj import Geod

from deepcrop.grid.areas import cover
from deepcrop.products.stac import stac_item
from deepcrop.stages import TargetYear


def item(*bounds):
    return stac_item("here", TargetYear(2018), ["curve"], {}, cover(*bounds), {})


def area(geometry):
    """Square metres on the ellipsoid; positive where the outline is counter-clockwise."""
    shape = shapely.geometry.shape(geometry)
    return sum(Geod(ellps="WGS84").geometry_area_perimeter(p)[0] for p in shapely.get_parts(shape))


def test_a_map_on_one_side_is_a_polygon():
    made = item(-121.6, 38.0, -121.5, 38.1)
    assert made.geometry["type"] == "Polygon"
    np.testing.assert_allclose(made.bbox, [-121.6, 38.0, -121.5, 38.1], atol=0.003)


@pytest.mark.parametrize("bounds", [(179.95, 52, -179.9, 52.05), (179.9, -17, -179.95, -16.9)])
def test_a_map_over_the_date_line_has_a_polygon_on_each_side(bounds):
    made = item(*bounds)
    west, _, east, _ = made.bbox
    assert (west, east) == (pytest.approx(bounds[0], abs=0.01), pytest.approx(bounds[2], abs=0.01))
    shape = shapely.geometry.shape(made.geometry)
    assert shape.geom_type == "MultiPolygon"
    assert shape.is_valid
    parts = sorted(part.bounds[::2] for part in shape.geoms)
    assert parts == [(-180, pytest.approx(east)), (pytest.approx(west), 180)]
    # As large as the grid, but for the scale of UTM; both outlines run counter-clockwise.
    rows, cols = cover(*bounds).shape
    assert area(made.geometry) == pytest.approx(100 * rows * cols, rel=3e-3)
