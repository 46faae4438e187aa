"""Where points lie in an image: on a simulated flight in closed form, and in two real products."""

from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from pyproj import Transformer
from tests.helpers.safe_products import (
    CENTRE,
    FLIGHT,
    INTERVAL,
    LIGHT,
    coordinate_images,
    ecef,
    make_safe,
    write_orbit,
)

from deepcrop.sources.archive import SceneError
from deepcrop.sources.safe.geometry import locate, read_geometry
from deepcrop.sources.safe.product import open_product

pytest.importorskip("sarsen")
# The simulated images have no ground control points.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def product(tmp_path):
    return open_product(make_safe(tmp_path, coordinate_images()))


def test_the_left_of_the_track_is_not_seen(product):
    geometry = read_geometry(product, "vv")
    up, north = FLIGHT.axes
    east = np.cross(north, up)
    point = ecef(600240.0, 5650200.0, 60.0)
    mirrored = point - 2 * (point @ east) * east  # same time, same range, other side
    np.testing.assert_allclose(FLIGHT.see(mirrored), FLIGHT.see(point))
    line, pixel = locate(geometry, np.stack([point, mirrored], axis=1)[:, None])
    assert line[0, 0] == pytest.approx(75 + geometry_shift(geometry), abs=0.05)
    assert np.isnan([line[0, 1], pixel[0, 1]]).all()


def geometry_shift(geometry):
    return -np.polyval(geometry.delay, 2 * CENTRE[1] / LIGHT) / INTERVAL


def test_orbit_files_that_do_not_fit_are_refused(product, tmp_path):
    cases = {
        "does not cover S1B_IW": write_orbit(tmp_path, seconds=np.arange(-200.0, 0, 10)),
        "is of S1A; S1B_IW.* is of S1B": write_orbit(tmp_path, mission="S1A"),
        "cannot be read": tmp_path / "none.EOF",
        "expected an orbit file of ESA": product.path / "manifest.safe",
    }
    for message, orbit in cases.items():
        with pytest.raises(SceneError, match=message):
            read_geometry(product, "vv", orbit)


def grid_points(path):
    root = ElementTree.parse(next(path.glob("annotation/*-vv-*.xml"))).getroot()
    names = ("line", "pixel", "longitude", "latitude", "height")
    points = [[float(p.findtext(n)) for n in names] for p in root.iter("geolocationGridPoint")]
    line, pixel, *place = np.transpose(points)
    to_ecef = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    return line, pixel, np.stack(to_ecef.transform(*place))[:, None]


@pytest.mark.parametrize("name", ["*_ECC8.SAFE", "*_5371.SAFE"])
def test_geocoding_reproduces_the_geolocation_grid(real_data, name):
    path = next((real_data / "sentinel1_safe").glob(name))
    geometry = read_geometry(open_product(path), "vv")
    line, pixel, place = grid_points(path)
    found_line, found_pixel = locate(geometry, place)
    np.testing.assert_allclose(found_line[0], line, atol=0.03)
    assert abs((found_pixel[0] - pixel).mean()) < 0.07
    # The grid takes the nearest polynomial to ground range as it stands; here they are interpolated
    # linearly in time. With those polynomials at the times of the grid's lines, nothing is left.
    records = geometry.conversion["azimuth_time"].values
    rows = geometry.first + (np.unique(line) * geometry.interval * 1e9).astype("timedelta64[ns]")
    next_record = geometry.conversion.isel(azimuth_time=np.searchsorted(records, rows))
    rows[[0, -1]] += np.array([-1, 1], "timedelta64[ms]")  # the bistatic delay reaches so far
    moved = next_record.assign_coords(azimuth_time=rows)
    found_pixel = locate(replace(geometry, conversion=moved), place)[1]
    np.testing.assert_allclose(found_pixel[0], pixel, atol=0.02)
