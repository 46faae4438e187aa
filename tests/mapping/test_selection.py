"""Masks and parcels as users have them: what a file leaves unsaid is an answer or a clear error."""

import json
import os

import numpy as np
import pytest
import rasterio
import shapely
import xarray as xr
from affine import Affine
from pyproj import Transformer
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_without_pictures
from tests.helpers.parcel_files import NORTH, SOUTH, field_rows, geojson, geopackage, raster

from deepcrop import grid
from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.mapping.masks import files_of, read_mask
from deepcrop.mapping.options import resolve_options
from deepcrop.mapping.parcels import read_parcels
from deepcrop.products.fields import field_shapes, write_fields
from deepcrop.storage.files import fingerprint

pytest.importorskip("pyogrio")
pq = pytest.importorskip("pyarrow.parquet")

BOX = grid.make_grid((500000, 5600000, 500300, 5600200), "EPSG:32631")  # that of season_cube
WHOLE = slice(0, 20), slice(0, 30)
CROP = np.zeros((20, 30), bool)
CROP[5:15, 10:20] = True


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    path = tmp_path_factory.mktemp("cube") / "cube.zarr"
    save_cube(season_cube(), path)
    return path


def selected(path):
    found = np.zeros(BOX.shape, bool)
    for (rows, cols), there in read_mask(path, BOX):
        found[rows, cols] = there
    return found


# Masks ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outside", "dtype", "nodata"),
    [
        (np.nan, "float32", None),
        (np.nan, "float64", -9999),
        (np.nan, "float32", np.nan),
        (-9999, "int16", -9999),
        (255, "uint8", 255),
        (0, "uint8", None),
        (0, "int8", None),
    ],
)
def test_what_is_outside_of_a_mask(tmp_path, outside, dtype, nodata):
    mask = raster(tmp_path / "m.tif", np.where(CROP, 1, outside), dtype=dtype, nodata=nodata)
    np.testing.assert_array_equal(selected(mask), CROP)


def test_a_map_of_a_mask_with_nan(cube, tmp_path):
    mask = raster(tmp_path / "m.tif", np.where(CROP, 1, np.nan), dtype="float32")
    assert map_without_pictures(cube, 2018, tmp_path / "maps", mask=mask).summary["mapped"] == 100


def test_a_mask_as_alpha_or_as_validity(tmp_path):
    profile = {
        "driver": "GTiff", "height": 20, "width": 30, "dtype": "uint8", "crs": "EPSG:32631",
        "transform": Affine(10, 0, 500000, 0, -10, 5600200),
    }  # fmt: skip
    with rasterio.open(tmp_path / "alpha.tif", "w", count=2, alpha="yes", **profile) as file:
        file.write(np.stack([np.ones((20, 30)), 255 * CROP]).astype(np.uint8))
    with rasterio.open(tmp_path / "valid.tif", "w", count=1, **profile) as file:
        file.write(np.ones((1, 20, 30), np.uint8))
        file.write_mask(CROP)
    for name in ("alpha.tif", "valid.tif"):
        np.testing.assert_array_equal(selected(tmp_path / name), CROP)
    with rasterio.open(tmp_path / "colours.tif", "w", count=3, **profile) as file:
        file.write(np.ones((3, 20, 30), np.uint8))
    with pytest.raises(DeepCropError, match=r"colours\.tif has 3 bands; expected one"):
        selected(tmp_path / "colours.tif")


def test_a_mask_of_black_and_white(tmp_path):
    mask = raster(tmp_path / "m.tif", 255 * CROP)
    np.testing.assert_array_equal(selected(mask), CROP)


@pytest.mark.parametrize(
    ("inside", "outside", "dtype"),
    [(1, 255, "uint8"), (1, -9999, "int16"), (1, -3.4e38, "float32"), (1, np.inf, "float32")],
)
def test_a_fill_that_the_mask_does_not_state_is_refused(tmp_path, inside, outside, dtype):
    mask = raster(tmp_path / "m.tif", np.where(CROP, inside, outside), dtype=dtype)
    with pytest.raises(DeepCropError, match=r"does not state which number means no data.*nodata"):
        selected(mask)
    stated = raster(
        tmp_path / "s.tif", np.where(CROP, inside, outside), dtype=dtype, nodata=outside
    )
    np.testing.assert_array_equal(selected(stated), CROP)


@pytest.mark.parametrize("first", [-180, 0])
def test_a_mask_of_the_whole_earth(tmp_path, first):
    """Pixels of one degree, longitudes from -180 or from 0; the grid lies in one of them."""
    values = np.zeros((180, 360), np.uint8)
    values[39, 3 - first] = 1  # 50 to 51 degrees north, 3 to 4 east
    transform = Affine(1, 0, first, 0, -1, 90)
    mask = raster(tmp_path / "m.tif", values, crs="EPSG:4326", transform=transform)
    assert selected(mask).all()
    values[39, 3 - first] = 0
    assert not selected(
        raster(tmp_path / "n.tif", values, crs="EPSG:4326", transform=transform)
    ).any()


def test_a_mask_in_fine_pixels_on_another_system(tmp_path):
    """The nearest pixel, found by the place of the centre of each pixel of the grid."""
    there = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True)
    west, south, east, north = there.transform_bounds(*BOX.boundingbox.bbox)
    step = (east - west) / 120
    values = np.random.default_rng(0).random((200, 120)) < 0.5
    transform = Affine(step, 0, west, 0, -(north - south) / 200, north)
    mask = raster(tmp_path / "m.tif", values, crs="EPSG:4326", transform=transform)
    x, y = np.meshgrid(500005 + 10 * np.arange(30), 5600195 - 10 * np.arange(20))
    col, row = ~transform * there.transform(x, y)
    expected = values[np.floor(row).astype(int), np.floor(col).astype(int)]
    np.testing.assert_array_equal(selected(mask), expected)


def test_a_mask_that_names_other_files_is_known_by_them_too(tmp_path):
    source = raster(tmp_path / "m.tif", np.where(CROP, 1, 0), dtype="uint8")
    mask = tmp_path / "m.vrt"
    mask.write_text(
        '<VRTDataset rasterXSize="30" rasterYSize="20"><SRS>EPSG:32631</SRS>'
        "<GeoTransform>500000,10,0,5600200,0,-10</GeoTransform>"
        '<VRTRasterBand dataType="Byte" band="1"><SimpleSource><SourceFilename relativeToVRT="1">'
        "m.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )
    np.testing.assert_array_equal(selected(mask), CROP)
    first = [fingerprint(file) for file in files_of(mask)]
    stat = source.stat()
    raster(source, np.where(CROP, 2, 0), dtype="uint8")
    os.utime(source, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert [fingerprint(file) for file in files_of(mask)] != first
    assert files_of(source) == [source]


def test_a_mask_without_a_place_is_refused(tmp_path):
    mask = raster(tmp_path / "m.tif", CROP, crs=None)
    with pytest.raises(DeepCropError, match=r"m\.tif does not state its reference system"):
        selected(mask)


# Layers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"transform": Affine(10, 10, 500000, 10, 10, 5600200)}, "gives its pixels no area"),
        ({"crs": 'LOCAL_CS["x",UNIT["metre",1]]'}, "cannot be converted to EPSG:32631 of the map"),
    ],
)
def test_a_mask_that_cannot_be_placed_is_refused(tmp_path, changes, words):
    path = raster(tmp_path / "mask.tif", np.ones((20, 30)), **changes)
    with pytest.raises(DeepCropError, match=rf"mask\.tif.*{words}"):
        selected(path)


@pytest.mark.parametrize("turn", [30, 90, -135])
def test_a_rotated_mask(tmp_path, turn):
    """Each pixel of the map takes the pixel of the mask in which its centre lies."""
    values = np.random.default_rng(0).random((40, 40)) > 0.5
    affine = Affine.translation(500150, 5600100) * Affine.rotation(turn) * Affine.scale(10, -10)
    affine *= Affine.translation(-20, -20)
    path = raster(tmp_path / "mask.tif", values, transform=affine)
    col, row = ~affine * np.meshgrid(500005 + 10 * np.arange(30), 5600195 - 10 * np.arange(20))
    row, col = (np.floor(place + 1e-6).astype(int) for place in (row, col))
    inside = (row >= 0) & (row < 40) & (col >= 0) & (col < 40)
    expected = inside & values[row.clip(0, 39), col.clip(0, 39)]
    np.testing.assert_array_equal(selected(path), expected)


def test_a_mask_of_millimetres_takes_no_memory(tmp_path):
    path = tmp_path / "mask.tif"
    with rasterio.open(
        path, "w", driver="GTiff", height=200_000, width=300_000, count=1, dtype="uint8",
        crs="EPSG:32631", transform=Affine(0.001, 0, 500000, 0, -0.001, 5600200), nodata=0,
        sparse_ok=True, tiled=True, compress="deflate", blockxsize=4096, blockysize=4096,
    ):  # fmt: skip
        pass
    with pytest.raises(DeepCropError, match=r"mask\.tif: 190001 x 290001 of its .* coarser pixels"):
        selected(path)


def test_the_layer_of_the_parcels(cube, tmp_path):
    whole = shapely.box(*BOX.boundingbox.bbox)
    file = geopackage(tmp_path / "farms.gpkg", municipality=[whole], parcels=[NORTH, SOUTH])
    listed = r"'municipality' \(Polygon\), 'parcels' \(Polygon\)"
    with pytest.raises(DeepCropError, match=rf"2 of its layers.*layer.*{listed}"):
        map_without_pictures(cube, 2018, tmp_path / "maps", parcels_path=file)
    with pytest.raises(DeepCropError, match=rf"has no layer 'fields'; it has {listed}"):
        map_without_pictures(cube, 2018, tmp_path / "maps", parcels_path=file, layer="fields")
    result = map_without_pictures(cube, 2018, tmp_path / "maps", parcels_path=file, layer="parcels")
    assert result.summary["mapped"] == 150
    assert result.summary["source"]["parcels"]["layer"] == "parcels"
    rows = field_rows(result)
    assert [row["parcel_farm"] for row in rows] == ["parcels 0", "parcels 1"]


def test_the_only_layer_with_polygons_is_found(tmp_path):
    points = [shapely.Point(500050, 5600150, 3)]
    file = geopackage(tmp_path / "f.gpkg", wells=points, empty=[], farms=[NORTH])
    assert read_parcels(file, BOX).columns["farm"].to_pylist() == ["farms 0"]
    file = geopackage(tmp_path / "g.gpkg", wells=points, springs=points)
    with pytest.raises(DeepCropError, match="none of its layers may hold parcels"):
        read_parcels(file, BOX)


def test_a_layer_needs_parcels_that_have_layers(tmp_path):
    with pytest.raises(DeepCropError, match="give that file"):
        resolve_options(layer="farms")
    geoparquet(tmp_path / "f.parquet", [NORTH], {})
    with pytest.raises(DeepCropError, match="leave out the layer"):
        read_parcels(tmp_path / "f.parquet", BOX, "farms")


# Shapes -----------------------------------------------------------------------------------------


def geoparquet(path, shapes, column):
    import pyarrow as pa

    about = {"encoding": "WKB", "geometry_types": []} | column
    geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": about}}
    table = pa.table({"geometry": pa.array(shapely.to_wkb(shapes).tolist(), pa.binary())})
    pq.write_table(table.replace_schema_metadata({"geo": json.dumps(geo)}), path)


def counts(parcels):
    _, numbers = parcels.pixels(BOX, *WHOLE)
    return np.bincount(numbers, minlength=len(parcels.shapes) + 1)[1:].tolist()


@pytest.mark.slow
def test_overlapping_parcels_get_all_their_pixels(cube, tmp_path):
    """A large block lies over two parcels, once before and once after them in the file."""
    block = shapely.box(500000, 5600000, 500200, 5600200)  # 400 pixels, all of the north's 100
    for order in ([NORTH, SOUTH, block], [block, SOUTH, NORTH, NORTH]):
        parcels = read_parcels(geojson(tmp_path / "f.geojson", order), BOX)
        expected = [{NORTH: 100, SOUTH: 50, block: 400}[shape] for shape in order]
        assert counts(parcels) == expected
        assert parcels.inside(BOX, *WHOLE).sum() == 450
    file = geojson(tmp_path / "f.geojson", [NORTH, block])
    alone = map_without_pictures(
        cube, 2018, tmp_path / "alone", parcels_path=geojson(tmp_path / "n.geojson", [NORTH])
    )
    both = map_without_pictures(cube, 2018, tmp_path / "both", parcels_path=file)
    row = field_rows(both)[0]
    assert row == field_rows(alone)[0]
    assert row["pixels"] == "100"
    # Of pixels that a mask leaves out, no parcel counts any.
    mask = raster(tmp_path / "mask.tif", np.arange(20)[:, None] < np.full(30, 4))
    masked = map_without_pictures(cube, 2018, tmp_path / "m", parcels_path=file, mask=mask)
    assert [row["pixels"] for row in field_rows(masked)] == ["40", "80"]


def test_shapes_of_every_kind(tmp_path, caplog):
    left, top = 500000, 5600200
    bow = shapely.Polygon(
        [(left, top - 100), (left + 100, top), (left + 100, top - 100), (left, top)]
    )
    lobes = [
        shapely.Polygon([(left, top), (left, top - 100), (left + 50, top - 50)]),
        shapely.Polygon([(left + 100, top), (left + 100, top - 100), (left + 50, top - 50)]),
    ]
    raised = shapely.force_3d(SOUTH, 12.0)
    line = shapely.LineString([(left, top), (left + 100, top - 100)])
    mixed = shapely.GeometryCollection([NORTH, line])
    far = shapely.MultiPolygon([NORTH, shapely.box(9e9, 9e9, 9e9 + 1, 9e9 + 1)])
    shapes = np.array([bow, None, raised, line, mixed, shapely.Polygon(), far], object)
    geoparquet(tmp_path / "f.parquet", shapes, {"crs": "EPSG:32631"})
    parcels = read_parcels(tmp_path / "f.parquet", BOX)
    assert "3 of 7 shapes are no polygons within the map" in caplog.text
    assert "outline of 1 of 4 polygons crosses itself; they were repaired" in caplog.text
    assert shapely.equals(parcels.shapes[0], shapely.union_all(lobes))
    assert counts(parcels)[1:] == [50, 100, 100]


def test_curves_become_polygons(tmp_path):
    """A circle of 50 m around the middle of the grid, as some cadastres write it."""
    x, y = 500150, 5600100
    circle = f"{x - 50} {y},{x} {y + 50},{x + 50} {y},{x} {y - 50},{x - 50} {y}"
    text = f'WKT,id\n"CURVEPOLYGON(CIRCULARSTRING({circle}))",1\n'
    (tmp_path / "circle.csv").write_text(text)
    with pytest.raises(DeepCropError, match=r"circle\.csv does not state its reference system"):
        read_parcels(tmp_path / "circle.csv", BOX)
    (tmp_path / "circle.vrt").write_text(
        f"<OGRVRTDataSource><OGRVRTLayer name='circle'><SrcDataSource>{tmp_path}/circle.csv"
        "</SrcDataSource><LayerSRS>EPSG:32631</LayerSRS></OGRVRTLayer></OGRVRTDataSource>"
    )
    parcels = read_parcels(tmp_path / "circle.vrt", BOX)
    assert parcels.shapes[0].area == pytest.approx(np.pi * 50**2, rel=2e-3)
    centre = np.arange(20)[:, None] * 10 + 5 - 100, np.arange(30) * 10 + 5 - 150
    assert counts(parcels) == [(np.hypot(*centre) < 50).sum()]


def test_numbers_of_parcels_stay_whole_numbers(tmp_path):
    """Long numbers, of which one is missing: as floats they would lose their last digits."""
    features = [
        {"type": "Feature", "properties": {"id": number, "area": 1.5, "name": name},
         "geometry": shapely.geometry.mapping(NORTH)}
        for number, name in ((2**60 + 1, "Müller"), (None, None), (7, "b"))
    ]  # fmt: skip
    crs = {"type": "name", "properties": {"name": "EPSG:32631"}}
    content = {"type": "FeatureCollection", "crs": crs, "features": features}
    (tmp_path / "f.geojson").write_text(json.dumps(content))
    found = read_parcels(tmp_path / "f.geojson", BOX)
    assert found.columns["id"].to_pylist() == [2**60 + 1, None, 7]
    assert found.columns["name"].to_pylist() == ["Müller", None, "b"]


def test_columns_of_every_type_are_written(tmp_path):
    import pyarrow as pa

    columns = {
        "large": pa.array([2**64 - 1, None], pa.uint64()),
        "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int32())),
        "bytes": pa.array([b"\xff\0", None]),
        "list": pa.array([[1, 2], None]),
    }
    table = {"field": [1, 2]}
    write_fields(tmp_path, table, np.array([NORTH, SOUTH]), BOX, "a map", False, columns)
    again = pq.read_table(tmp_path / "fields.parquet")
    for name, values in columns.items():
        assert again[name].to_pylist() == values.to_pylist()
    assert str(2**64 - 1) in (tmp_path / "fields.csv").read_text()


def test_outlines_of_fields_with_large_numbers():
    field = np.zeros((20, 30), np.uint32)
    field[:10, :10], field[15:, 20:] = 7, 3_000_000_000
    data = grid.assign_grid(xr.Dataset({"field_id": (("y", "x"), field)}), BOX)
    north, south = field_shapes(data["field_id"], [7, 3_000_000_000])
    assert north.equals(NORTH)
    assert south.equals(SOUTH)
    assert field_shapes(data["field_id"], []).size == 0


def test_a_shape_without_a_place_on_the_earth_is_counted(tmp_path, caplog):
    wide = shapely.box(500000, 5600100, 1e300, 5600200)
    geoparquet(tmp_path / "f.parquet", np.array([wide, SOUTH], object), {"crs": "EPSG:32631"})
    assert counts(read_parcels(tmp_path / "f.parquet", BOX)) == [50]
    assert "1 of 2 shapes are no polygons within the map" in caplog.text


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ({"crs": 'LOCAL_CS["x",UNIT["metre",1]]'}, "cannot be converted to EPSG:32631 of the map"),
        ({"crs": None}, "does not state its reference system"),
        ({"encoding": "polygon"}, "is encoded as 'polygon'; write it as WKB"),
    ],
)
def test_geoparquet_that_does_not_serve_is_refused(tmp_path, column, words):
    geoparquet(tmp_path / "f.parquet", [NORTH], column)
    with pytest.raises(DeepCropError, match=words):
        read_parcels(tmp_path / "f.parquet", BOX)
