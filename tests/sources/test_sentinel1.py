import json
import math

import numpy as np
import pytest
from pyproj import Transformer
from scipy.interpolate import griddata

from deepcrop.grid import make_grid
from deepcrop.sources.sentinel1 import (
    AnnotationError,
    IncidenceAngles,
    angles_from_annotation,
    angles_from_footprint,
    sigma0,
)


@pytest.fixture(scope="module", params=["20210401T052623", "20211223T051122"])
def angles(real_data, request):
    """Geolocation grid of a real descending pass over Italy."""
    folder = real_data / "sentinel1_safe"
    path = next(folder.glob(f"*_{request.param}_*/annotation/*-vv-*.xml"))
    return angles_from_annotation(path.read_text())


def box_at(longitude, latitude, rows=60, cols=80, epsg=32633):
    x, y = Transformer.from_crs(4326, epsg, always_xy=True).transform(longitude, latitude)
    return make_grid((x - 5 * cols, y - 5 * rows, x + 5 * cols - 1, y + 5 * rows - 1), epsg)


def degrees(box):
    x, y = np.meshgrid(box.coords["x"].values, box.coords["y"].values)
    return Transformer.from_crs(str(box.crs), 4326, always_xy=True).transform(x, y)


def annotation(lines, pixels, west=10.0):
    points = "".join(
        f"<geolocationGridPoint><line>{line}</line><pixel>{pixel}</pixel>"
        f"<latitude>{45 - line / 10}</latitude>"
        f"<longitude>{(west + pixel / 2 + 180) % 360 - 180}</longitude>"
        f"<incidenceAngle>{30 + pixel}</incidenceAngle></geolocationGridPoint>"
        for line in range(lines)
        for pixel in range(pixels)
    )
    return f"<product><geolocationGrid>{points}</geolocationGrid></product>"


def test_grid_of_a_real_annotation(angles):
    assert angles.incidence.shape == (10, 21)
    assert (np.diff(angles.incidence, axis=1) > 0).all()
    assert angles.incidence.min() > 30
    assert angles.incidence.max() < 46.5


def test_points_of_the_grid_keep_their_angle(angles):
    for i, j in ((0, 0), (3, 7), (9, 20), (5, 19)):
        box = box_at(angles.longitude[i, j], angles.latitude[i, j])
        middle = angles.on_grid(box)[30, 40]
        assert abs(middle - angles.incidence[i, j]) < 0.001


def test_between_points_like_an_independent_interpolation(angles):
    box = box_at(angles.longitude[4:6, 9:11].mean(), angles.latitude[4:6, 9:11].mean(), 700, 900)
    found = angles.on_grid(box)
    assert found.shape == box.shape
    points = angles.longitude.ravel(), angles.latitude.ravel()
    longitude, latitude = degrees(box)
    linear = griddata(points, angles.incidence.ravel(), (longitude, latitude))
    np.testing.assert_allclose(found, linear, atol=0.03)  # triangles differ from quadrangles


def test_angle_is_the_same_however_the_area_is_cut(angles):
    box = box_at(angles.longitude[4, 9], angles.latitude[4, 9], 300, 200)
    whole = angles.on_grid(box)
    np.testing.assert_allclose(
        angles.on_grid(box[100:150, 37:90]), whole[100:150, 37:90], atol=1e-4
    )


def test_angles_go_on_beyond_the_edge():
    found = angles_from_annotation(annotation(4, 6)).on_grid(box_at(9.5, 44.9, 4, 4, 32632))
    assert abs(found.mean() - 29) < 0.01


def test_angles_over_the_date_line():
    plain = angles_from_annotation(annotation(4, 6))
    across = angles_from_annotation(annotation(4, 6, west=178.0))
    assert "-179.5<" in annotation(4, 6, west=178.0)
    for longitude in (11.9, 12.1):
        here = plain.on_grid(box_at(longitude, 44.9))
        there = across.on_grid(box_at(longitude + 168, 44.9, epsg=32601))
        np.testing.assert_allclose(there, here, atol=1e-4)


def test_json_keeps_the_angles(angles):
    again = IncidenceAngles.from_json(json.loads(json.dumps(angles.to_json())))
    box = box_at(angles.longitude[4, 9], angles.latitude[4, 9])
    np.testing.assert_allclose(again.on_grid(box), angles.on_grid(box), atol=2e-4)
    assert len(json.dumps(angles.to_json())) < 10_000


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no XML",
        "<product/>",
        annotation(1, 5),
        annotation(3, 4).replace("<line>2", "<line>7", 1),
    ],
)
def test_what_is_no_annotation(text):
    with pytest.raises(AnnotationError):
        angles_from_annotation(text)


def test_footprint_gives_nearly_the_angles_of_the_annotation(angles):
    corners = [(0, 0), (0, -1), (-1, -1), (-1, 0)]
    outline = [(angles.longitude[c], angles.latitude[c]) for c in corners]
    rough = angles_from_footprint(outline, ascending=False)
    for j in (1, 5, 10, 15, 19):
        box = box_at(angles.longitude[5, j], angles.latitude[5, j])
        exact, found = angles.on_grid(box), rough.on_grid(box)
        assert np.abs(found - exact).max() < 0.8
        decibels = 10 * np.log10(np.cos(np.radians(found)) / np.cos(np.radians(exact)))
        assert np.abs(decibels).max() < 0.05


def test_ascending_passes_look_east():
    outline = [(10.0, 44.0), (13.0, 44.5), (12.6, 46.0), (9.6, 45.5)]
    west, east = box_at(10.2, 45.0), box_at(12.5, 45.0)
    ascending = angles_from_footprint(outline, ascending=True)
    assert ascending.on_grid(west).mean() < 35 < 42 < ascending.on_grid(east).mean()
    descending = angles_from_footprint(outline, ascending=False)
    assert descending.on_grid(east).mean() < 35 < 42 < descending.on_grid(west).mean()


def test_footprint_over_the_date_line():
    outline = [(10.0, 44.0), (13.0, 44.5), (12.6, 46.0), (9.6, 45.5)]
    moved = [((x + 168.5 + 180) % 360 - 180, y) for x, y in outline]
    assert min(x for x, _ in moved) < -178
    plain = angles_from_footprint(outline, ascending=True)
    across = angles_from_footprint(moved, ascending=True)
    np.testing.assert_allclose(across.incidence, plain.incidence, atol=1e-6)
    box = box_at(-179.9, 45.0, epsg=32601)
    np.testing.assert_allclose(across.on_grid(box), plain.on_grid(box_at(11.6, 45.0)), atol=0.01)


def test_sigma0_by_arithmetic():
    gamma0 = np.array([[1.0, 0.1], [0.0, -0.5]], np.float32)
    angle = np.array([[0.0, 60.0], [40.0, 40.0]], np.float32)
    values = sigma0(gamma0, angle)
    np.testing.assert_allclose(values[0], [0, 10 * math.log10(0.05)], atol=1e-5)
    assert np.isnan(values[1]).all()
    assert values.dtype == np.float32
