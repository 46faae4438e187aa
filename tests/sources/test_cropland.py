import json
import re

import numpy as np
import pytest
import rasterio
from affine import Affine
from pyproj import Transformer
from tests.archive import cropland as bed
from tests.archive import stac
from tests.archive.server import Response, Server
from tests.helpers.cubes import make_cube

from deepcrop import grid
from deepcrop.cube.contract import build, grid_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import DeepCropError
from deepcrop.sources import cropland
from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.cropland import CropClass, cdl_classes, read_cdl, read_classes, read_raster
from deepcrop.sources.http import HttpClient

KANSAS = grid.make_grid((671000, 4350000, 672200, 4350900), "EPSG:32614")


@pytest.fixture
def raster(tmp_path):
    return bed.write_raster(tmp_path / "cdl.tif", KANSAS)


@pytest.fixture
def server(raster):
    with Server() as server:
        bed.serve(server, raster, years=(2008, 2020, 2021))
        yield server


@pytest.fixture
def pc(server, raster, tmp_path, monkeypatch):
    """Planetary Computer with three items a page."""
    archive = stac.serve_region(server, tmp_path, make_cube(), (), page=3)
    bed.publish(archive, raster, years=(2020, 2021))
    for name, value in archive.environment().items():
        monkeypatch.setenv(name, value)
    stac.forget_tokens()
    return archive


@pytest.fixture
def web():
    with HttpClient(tries=2, pause=0.01) as web:
        yield web


def write(path, codes, box=KANSAS, **extra):
    """A raster on the grid of the cube itself."""
    codes = np.asarray(codes)
    bands = codes if codes.ndim == 3 else codes[None]
    profile = {
        "driver": "GTiff",
        "count": len(bands),
        "dtype": codes.dtype,
        "height": codes.shape[-2],
        "width": codes.shape[-1],
        "crs": str(box.crs),
        "transform": box.affine,
    } | extra
    with rasterio.open(path, "w", **profile) as file:
        file.write(bands)
    return path


def expected(raster, box):
    """Nearest pixel by pixel, from pyproj and the raster's own arithmetic."""
    to_raster = Transformer.from_crs(str(box.crs), "EPSG:5070", always_xy=True)
    x, y = np.meshgrid(box.coords["x"].values, box.coords["y"].values)
    x, y = to_raster.transform(x, y)
    with rasterio.open(raster) as file:
        left, top = file.transform.c, file.transform.f
        rows, cols = (top - y) / 30, (x - left) / 30
        return file.read(1)[np.floor(rows).astype(int), np.floor(cols).astype(int)]


# Sources of the CDL ------------------------------------------------------------------------------


@pytest.mark.parametrize("source", ["cropscape", "pc"])
def test_codes_are_those_of_the_pixel_that_holds_the_centre(server, pc, web, raster, source):
    address = {"cropscape": server.url + "/cropscape", "pc": pc.pc}[source]
    found = read_cdl(KANSAS, 2021, source, address=address, client=web)
    codes = expected(raster, KANSAS)
    np.testing.assert_array_equal(found["crop_type"].values, codes)
    assert len(np.unique(codes)) >= 5
    assert grid.grid_of(found) == KANSAS
    assert found.attrs["year"] == 2021
    assert found.attrs["source"] == "USDA NASS Cropland Data Layer 2021"
    assert server.url not in json.dumps(found.attrs)


def test_group_makes_a_valid_cube(server, web, tmp_path):
    cube = make_cube()
    box = grid_of(cube)
    path = write(tmp_path / "crops.tif", np.full(box.shape, 24, np.uint8), box)
    landcover = read_raster(path, box, cdl_classes())
    groups = {name: cube[name].to_dataset() for name in ("optical", "sar")}
    built = build(**groups, landcover=landcover)
    save_cube(built, tmp_path / "cube.zarr")
    crop_type = open_cube(tmp_path / "cube.zarr")["landcover"]["crop_type"]
    assert crop_type.dtype == np.uint16
    assert crop_type.attrs["flag_values"] == [0, 24]
    assert crop_type.attrs["flag_meanings"] == "unknown Winter_Wheat"
    assert crop_type.attrs["flag_colors"] == "#000000 #A66F00"


def test_address_from_the_environment(server, pc, monkeypatch):
    monkeypatch.setenv("DEEPCROP_CROPSCAPE", server.url + "/cropscape/")
    monkeypatch.setenv("DEEPCROP_PC", pc.pc + "/")
    with HttpClient() as web:
        first, second = (
            read_cdl(KANSAS, 2020, source, client=web) for source in ("cropscape", "pc")
        )
    assert first["crop_type"].equals(second["crop_type"])
    assert first.attrs["access"] == "CropScape GetCDLFile"
    assert "cropland_2020" in second.attrs["access"]
    assert "cultivated" not in second.attrs["access"]


def test_request_is_on_the_pixels_of_the_cdl(server, web):
    read_cdl(KANSAS, 2021, address=server.url + "/cropscape", client=web)
    asked = server.asked("GetCDLFile")[0]
    edges = [float(edge) for edge in asked.one("bbox").split(",")]
    assert all(edge % 30 == 15 for edge in edges)
    to_cdl = Transformer.from_crs(str(KANSAS.crs), "EPSG:5070", always_xy=True)
    exact = to_cdl.transform_bounds(*KANSAS.boundingbox.bbox)
    margins = np.subtract(edges, exact) * [-1, -1, 1, 1]
    assert (margins >= 30).all()
    assert (margins < 60).all()


def test_wcs_serves_where_the_file_service_does_not(server, web, raster):
    server.fail("GetCDLFile", "503", times=2)
    found = read_cdl(KANSAS, 2021, address=server.url + "/cropscape", client=web)
    np.testing.assert_array_equal(found["crop_type"].values, expected(raster, KANSAS))
    assert found.attrs["access"].startswith("CropScape WCS, because GetCDLFile failed:")
    assert "503" in found.attrs["access"]


@pytest.mark.parametrize("kind", ["429", "503", "drop"])
def test_a_fault_that_passes_is_borne(server, web, kind):
    server.fail("GetCDLFile", kind)
    server.fail("CDL_2021_clip", kind)
    found = read_cdl(KANSAS, 2021, address=server.url + "/cropscape", client=web)
    assert found.attrs["access"] == "CropScape GetCDLFile"


def test_a_truncated_file_is_noticed(server, web, raster):
    server.fail("CDL_2021_clip", "truncate")
    found = read_cdl(KANSAS, 2021, address=server.url + "/cropscape", client=web)
    assert re.search("WCS.*damaged GeoTIFF", found.attrs["access"])
    np.testing.assert_array_equal(found["crop_type"].values, expected(raster, KANSAS))


def test_a_file_of_another_place_is_noticed(web, tmp_path):
    elsewhere = grid.make_grid((651000, 4350000, 652200, 4350900), "EPSG:32614")
    other = bed.write_raster(tmp_path / "other.tif", elsewhere).read_bytes()
    bare = write(tmp_path / "bare.tif", np.ones(KANSAS.shape, np.uint8), crs=None).read_bytes()
    with Server() as server:
        answer = f"<returnURL>{server.url}/other.tif</returnURL>".encode()
        server.route("GET", ".*GetCDLFile", lambda request: Response(answer))
        server.route("GET", "/other.tif", lambda request: Response(other))
        server.route("GET", ".*cgi", lambda request: Response(bare))
        with pytest.raises(ArchiveError, match="of other bounds; expected") as error:
            read_cdl(KANSAS, 2021, address=server.url, client=web)
    assert "without a position; expected" in str(error.value)


def test_coverage_comes_in_parts_that_the_server_allows(server, web, raster, monkeypatch):
    monkeypatch.setattr(cropland, "_WCS_MAX_PIXELS", 20)
    server.fail("GetCDLFile", "503", times=2)
    found = read_cdl(KANSAS, 2021, address=server.url + "/cropscape", client=web)
    np.testing.assert_array_equal(found["crop_type"].values, expected(raster, KANSAS))
    assert len(server.asked("wms_cdlall")) > 4


def test_both_services_say_why_they_fail(server, web):
    # 2015 is a year that this server does not have; it answers 500, then 200 with an error.
    with pytest.raises(ArchiveError, match=r"cdl_2015 not found.*source 'pc'") as error:
        read_cdl(KANSAS, 2015, address=server.url + "/cropscape", client=web)
    assert "file service" in str(error.value)
    assert "<" not in str(error.value)


def test_errors_that_come_with_status_200(web):
    page = b"<html><head><title>x</title></head><body><h1>Service</h1> under repair</body></html>"
    fault = b"<faultstring>Error: Failed to cut the file &amp; more.</faultstring>"
    with Server() as server:
        server.route("GET", ".*GetCDLFile", lambda request: Response(fault))
        server.route("GET", ".*cgi", lambda request: Response(page))
        with pytest.raises(ArchiveError) as error:
            read_cdl(KANSAS, 2021, address=server.url, client=web)
    assert "'Error: Failed to cut the file & more.'" in str(error.value)
    assert "'Service under repair' instead of a GeoTIFF" in str(error.value)


@pytest.mark.parametrize("kind", ["503", "drop", "truncate"])
def test_pixels_over_http_are_read_again_after_a_fault(server, pc, web, raster, kind):
    server.fail("30m_cdls_", kind, times=1)
    found = read_cdl(KANSAS, 2021, "pc", address=pc.pc, client=web)
    np.testing.assert_array_equal(found["crop_type"].values, expected(raster, KANSAS))


def test_an_expired_token_is_renewed(pc, web, raster):
    read_cdl(KANSAS, 2021, "pc", address=pc.pc, client=web)
    pc.tokens.revoke()
    found = read_cdl(KANSAS, 2020, "pc", address=pc.pc, client=web)
    np.testing.assert_array_equal(found["crop_type"].values, expected(raster, KANSAS))
    assert len(pc.server.asked("/token/")) == 2
    assert "sig" not in json.dumps(found.attrs)


def test_planetary_computer_without_the_file(server, pc, web):
    server.fail("30m_cdls_", "404", times=1000)
    with pytest.raises(SceneError, match=r"cropland_2020.*no such file") as error:
        read_cdl(KANSAS, 2020, "pc", address=pc.pc, client=web)
    assert "sig=" not in str(error.value)


def test_search_goes_through_all_pages(pc, web, tmp_path):
    wide = grid.make_grid((650000, 4350000, 690000, 4350300), "EPSG:32614")
    raster = bed.write_raster(tmp_path / "wide.tif", wide)
    bed.publish(pc, raster, years=(2019,))
    found = read_cdl(wide, 2019, "pc", address=pc.pc, client=web)
    np.testing.assert_array_equal(found["crop_type"].values, expected(raster, wide))
    assert found.attrs["access"].count("cropland_2019") == 3
    assert len(pc.server.asked("/search")) == 2


def test_years_and_places_without_a_cdl(server, pc, web):
    flanders = grid.make_grid((500000, 5600000, 500640, 5600640), "EPSG:32631")
    ontario = grid.make_grid((500000, 4800000, 500640, 4800640), "EPSG:32617")  # within the bounds
    with pytest.raises(DeepCropError, match=r"no CDL of 2007.*2008"):
        read_cdl(KANSAS, 2007)
    with pytest.raises(DeepCropError, match="no CDL of 9999 yet"):
        read_cdl(KANSAS, 9999)
    with pytest.raises(DeepCropError, match="outside the conterminous United States"):
        read_cdl(flanders, 2021)
    with pytest.raises(DeepCropError, match="'cropscape' or 'pc'"):
        read_cdl(KANSAS, 2021, "gee")
    with pytest.raises(DeepCropError, match=r"no CDL of 2010.*CropScape"):
        read_cdl(KANSAS, 2010, "pc", address=pc.pc, client=web)
    with pytest.raises(DeepCropError, match="has no crop type in this area"):
        read_cdl(ontario, 2021, address=server.url + "/cropscape", client=web)
    assert not server.asked("2007|9999")


def test_an_address_that_is_no_stac_api(server, web):
    server.route("GET", "/odd/search", lambda request: Response(b'{"hello": 1}'))
    with pytest.raises(ArchiveError, match="not answer as a STAC API"):
        read_cdl(KANSAS, 2021, "pc", address=server.url + "/odd", client=web)


# Table of classes --------------------------------------------------------------------------------


def test_find_classes_the_cdl():
    classes = cdl_classes()
    assert len(classes) == 134
    assert list(classes) == sorted(classes)
    assert classes[1] == CropClass("Corn", "#FFD300")
    assert classes[26].name == "Dbl Crop WinWht/Soybeans"
    assert classes[254].name == "Dbl Crop Barley/Soybeans"


def test_find_classes_the_cdl_agrees_with_the_stac_item(real_data):
    item = json.loads((real_data / "stac" / "usda_cdl_cropland_item.json").read_text())
    published = {
        entry["value"]: entry["description"]
        for entry in item["assets"]["cropland"]["classification:classes"]
    }
    classes = cdl_classes()
    assert {0, *published} == set(classes)
    same = [code for code in published if classes[code].name == published[code]]
    assert len(same) >= 113  # double crops are spelt otherwise there


def test_colours_of_the_cdl_are_those_of_the_real_file(real_data):
    with rasterio.open(real_data / "cdl" / "cdl_2021_ne_kansas_30m.tif") as file:
        palette = file.colormap(1)
    for code, entry in cdl_classes().items():
        assert entry.colour == "#{:02X}{:02X}{:02X}".format(*palette[code])


def test_real_cdl_through_the_services(real_data, web):
    raster = real_data / "cdl" / "cdl_2021_ne_kansas_30m.tif"
    to_utm = Transformer.from_crs("EPSG:5070", "EPSG:32614", always_xy=True)
    x, y = to_utm.transform(-91095, 1807605)
    box = grid.make_grid((x, y, x + 3000, y + 2000), "EPSG:32614")
    with Server() as server:
        bed.serve(server, raster)
        found = read_cdl(box, 2021, address=server.url + "/cropscape", client=web)
    np.testing.assert_array_equal(found["crop_type"].values, expected(raster, box))
    words = found["crop_type"].attrs["flag_meanings"].split()
    assert words[:2] == ["unknown", "Corn"]
    assert "Grassland_Pasture" in words
    assert len(words) == len(found["crop_type"].attrs["flag_values"])


# Local rasters -----------------------------------------------------------------------------------


def test_names_from_a_table_beside_the_raster(tmp_path):
    codes = np.zeros(KANSAS.shape, np.uint16)
    codes[:, :50], codes[:, 50:] = 1200, 9120
    path = write(tmp_path / "crops.tif", codes)
    (tmp_path / "crops.csv").write_text("code,name\n1200,maïs (silage)\n9120, grass\n")
    found = read_raster(path, KANSAS)
    np.testing.assert_array_equal(found["crop_type"].values, codes)
    assert found["crop_type"].attrs["flag_values"] == [0, 1200, 9120]
    assert found["crop_type"].attrs["flag_meanings"] == "unknown ma_s_silage grass"
    assert "flag_colors" not in found["crop_type"].attrs
    assert found.attrs == {"source": "crops.tif"}
    (tmp_path / "other.csv").write_text(
        "code,name,colour\n1200,maize,#ffd300\n9120,grass,#00ff00\n"
    )
    found = read_raster(path, KANSAS, tmp_path / "other.csv")
    assert found["crop_type"].attrs["flag_meanings"] == "unknown maize grass"
    assert found["crop_type"].attrs["flag_colors"] == "#000000 #FFD300 #00FF00"


def test_names_from_the_raster_attribute_table_and_colours_from_the_palette(tmp_path):
    path = write(tmp_path / "crops.tif", np.full(KANSAS.shape, 3, np.uint8))
    with rasterio.open(path, "r+") as file:
        file.write_colormap(1, {3: (1, 2, 255)})
    fields = "".join(
        f'<FieldDefn index="{k}"><Name>{name}</Name><Usage>{usage}</Usage></FieldDefn>'
        for k, (name, usage) in enumerate((("Count", 1), ("Value", 5), ("CROP", 2)))
    )
    rows = (
        '<Row index="0"><F>9</F><F>0</F><F/></Row><Row index="1"><F>7</F><F>3</F><F>Rye</F></Row>'
    )
    (tmp_path / "crops.tif.aux.xml").write_text(
        '<PAMDataset><PAMRasterBand band="1"><GDALRasterAttributeTable tableType="thematic">'
        f"{fields}{rows}</GDALRasterAttributeTable></PAMRasterBand></PAMDataset>"
    )
    attrs = read_raster(path, KANSAS)["crop_type"].attrs
    assert attrs["flag_meanings"] == "unknown Rye"
    assert attrs["flag_colors"] == "#000000 #0102FF"
    (tmp_path / "crops.tif.aux.xml").write_text("<PAMDataset></PAMDataset>")
    assert read_raster(path, KANSAS)["crop_type"].attrs["flag_meanings"] == "unknown class_3"


def test_codes_only_and_no_data(tmp_path):
    codes = np.full(KANSAS.shape, 7, np.float32)
    codes[0, 0], codes[0, 1], codes[0, 2] = np.nan, -1, 0
    path = write(tmp_path / "crops.tif", codes, nodata=-1)
    found = read_raster(path, KANSAS)["crop_type"]
    assert (found.values[0, :3] == 0).all()
    assert (found.values.reshape(-1)[3:] == 7).all()
    assert found.attrs["flag_meanings"] == "unknown class_7"


def test_a_raster_may_cover_the_grid_in_part(tmp_path):
    left, bottom, _, top = KANSAS.boundingbox.bbox
    half = grid.make_grid((left, bottom, left + 600, top), "EPSG:32614")
    path = write(tmp_path / "crops.tif", np.full(half.shape, 5, np.uint8), half)
    codes = read_raster(path, KANSAS)["crop_type"].values
    assert (codes[:, :60] == 5).all()
    assert (codes[:, 60:] == 0).all()


def test_rasters_that_cannot_be_used(tmp_path):
    def check(message, codes, classes=None, **extra):
        path = write(tmp_path / "crops.tif", codes, **extra)
        with pytest.raises(DeepCropError, match=message):
            read_raster(path, KANSAS, classes)

    ones = np.ones(KANSAS.shape, np.uint8)
    check(r"crops.tif has no reference system.*gdal_edit", ones, crs=None)
    check("2 bands", np.stack([ones, ones]))
    check("holds the value 1.5", np.full(KANSAS.shape, 1.5, np.float32))
    check("holds the value -3", np.full(KANSAS.shape, -3, np.int16))
    check("holds the value 70000", np.full(KANSAS.shape, 70000, np.int32))
    check("no crop type in this area", 0 * ones)
    check("no crop type in this area", ones, transform=Affine(10, 0, 0, 0, -10, 0))
    check("no name for the codes 1 of .*'1,name'", ones, {5: CropClass("Soybeans")})
    with pytest.raises(DeepCropError, match=r"nothing.tif cannot be read"):
        read_raster(tmp_path / "nothing.tif", KANSAS)
    path = write(tmp_path / "crops.tif", np.ones((2000, 2000), np.uint8))
    path.write_bytes(path.read_bytes()[:50000])
    with pytest.raises(DeepCropError, match=r"crops.tif cannot be read"):
        read_raster(path, KANSAS)


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_a_raster_without_a_place(tmp_path):
    path = write(
        tmp_path / "crops.tif", np.ones(KANSAS.shape, np.uint8), transform=Affine.identity()
    )
    with pytest.raises(DeepCropError, match="no geotransform"):
        read_raster(path, KANSAS)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("value,name\n1,Corn\n", "line 1: expected the heading 'code,name'"),
        ("code,name\n1,Corn\nx,Rye\n", "line 3: code 'x'"),
        ("code,name\n1\n", "line 2: code '1', name ''"),
        ("code,name\n70000,Rye\n", "line 2: code '70000'"),
        ("code,name\n1,Corn\n1,Rye\n", "line 3: code 1 occurs twice"),
        ("code,name,colour\n1,Corn,yellow\n", "line 2: colour 'yellow'"),
        ("", "line 1"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path, text, message):
    path = tmp_path / "classes.csv"
    path.write_text(text)
    with pytest.raises(DeepCropError, match=message):
        read_classes(path)
    with pytest.raises(DeepCropError, match="cannot be read"):
        read_classes(tmp_path / "nothing.csv")
