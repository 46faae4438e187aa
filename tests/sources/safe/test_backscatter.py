"""The chain of a SAFE product, on simulated ones of exactly known geometry and a real one."""

import shutil
import sys
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from tests.helpers.safe_products import (
    BOX,
    CRS,
    INTERVAL,
    LINES,
    NOISE,
    PIXELS,
    SIGMA_NOUGHT,
    centres,
    constant,
    coordinate_images,
    decoded,
    ecef,
    height_at,
    image_position,
    make_dem,
    make_safe,
    write_orbit,
    write_tiff,
)

from deepcrop import grid
from deepcrop.cube.contract import build
from deepcrop.errors import DeepCropError
from deepcrop.sources.archive import SceneError
from deepcrop.sources.safe import backscatter
from deepcrop.sources.safe.backscatter import multilook, read_product, read_products, sigma0
from deepcrop.sources.safe.geometry import locate, read_geometry
from deepcrop.sources.safe.product import open_product

pytest.importorskip("sarsen")
# The simulated images and the blank real ones have no ground control points.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


@pytest.fixture
def dem(tmp_path):
    return make_dem(tmp_path / "dem.tif")


@pytest.fixture
def product(tmp_path):
    return make_safe(tmp_path, coordinate_images())


def test_every_pixel_comes_from_its_place_in_the_image(product, dem):
    x, y = centres()
    line, pixel = image_position(ecef(x, y, height_at(x, y)))
    data = read_product(product, BOX, dem, geoid=0)
    np.testing.assert_allclose(decoded(data["vv"][0]), line, atol=0.02)
    np.testing.assert_allclose(decoded(data["vh"][0]), pixel, atol=0.02)
    # The heights count: at height 0 the same pixels would lie elsewhere in range.
    assert np.abs(pixel - image_position(ecef(x, y, 0 * x))[1]).max() > 8


def test_the_geoid_is_added_to_the_heights(product, dem):
    x, y = centres()
    pixel = image_position(ecef(x, y, height_at(x, y) + 48))[1]
    values = sigma0(product, "vh", BOX, dem, geoid=48)
    np.testing.assert_allclose(decoded(values), pixel, atol=0.02)


def test_blocks_change_nothing(product, dem, monkeypatch):
    whole = sigma0(product, "vv", BOX, dem, geoid=0)
    monkeypatch.setattr(backscatter, "BLOCK", 17)
    np.testing.assert_allclose(sigma0(product, "vv", BOX, dem, geoid=0), whole, atol=1e-5)


def test_calibration_by_arithmetic(tmp_path, dem):
    path = make_safe(tmp_path, constant(100), azimuth=1.5)
    values = sigma0(path, "vv", BOX, dem, geoid=0)
    assert values.dtype == np.float32
    np.testing.assert_allclose(
        values, 10 * np.log10((100**2 - NOISE * 1.5) / SIGMA_NOUGHT**2), atol=1e-4
    )


def test_noise_that_the_processor_removed_is_not_removed_again(tmp_path, dem):
    path = make_safe(tmp_path, constant(100), removed=True)
    data = read_product(path, BOX, dem, geoid=0)
    np.testing.assert_allclose(data["vv"], 10 * np.log10(100**2 / SIGMA_NOUGHT**2), atol=1e-4)
    assert data.attrs["noise_removal"] == ["by the processor of the product"]


def test_products_before_ipf_290_have_noise_along_range_only(tmp_path, dem):
    data = read_product(make_safe(tmp_path, constant(100), old=True), BOX, dem, geoid=0)
    np.testing.assert_allclose(
        data["vv"], 10 * np.log10((100**2 - NOISE) / SIGMA_NOUGHT**2), atol=1e-4
    )
    assert "border noise masked" in data.attrs["noise_removal"][0]


@pytest.mark.parametrize("dn", [1, 44])  # 44² is just below the noise of 2000
def test_noise_above_the_signal_is_no_data(tmp_path, dem, dn):
    data = read_product(make_safe(tmp_path, constant(dn)), BOX, dem, geoid=0)
    assert np.isnan(data["vv"]).all()
    build(sar=data)


def test_the_mean_over_dark_speckle_is_unbiased(tmp_path, dem):
    """Single pixels fall below the noise, but the mean power is that of the surface."""
    rng = np.random.default_rng(3)
    surface = 600.0  # DN², where the noise has 2000
    dn = np.sqrt((surface + NOISE) * rng.gamma(4.4, 1 / 4.4, (LINES, PIXELS)))
    image = multilook(dn**2 - NOISE, *np.mgrid[10:140, 10:150] + 0.3, samples=2)
    assert (dn**2 < NOISE).mean() > 0.3
    assert image.mean() == pytest.approx(surface, rel=0.05)


def test_multilook_is_the_mean_over_the_footprint():
    line, pixel = np.mgrid[0:30, 0:40].astype(float)
    ramp = 5 + 2 * line + 3 * pixel
    # Footprints of 2 x 2 image pixels, shifted and skewed; the mean of a ramp is at their centre.
    down, right = np.mgrid[0:9, 0:12]
    at_line, at_pixel = 3.3 + 2 * down + 0.1 * right, 4.6 + 2 * right - 0.2 * down
    centre = [
        (at[:-1, :-1] + at[1:, :-1] + at[:-1, 1:] + at[1:, 1:]) / 4 for at in (at_line, at_pixel)
    ]
    np.testing.assert_allclose(
        multilook(ramp, at_line, at_pixel, samples=4), 5 + 2 * centre[0] + 3 * centre[1]
    )
    # The power of one bright pixel stays: it is spread over the footprints around it.
    spot = np.zeros((30, 40))
    spot[15, 20] = 7.0
    edges = np.mgrid[0:30, 0:40] - 0.27
    assert multilook(spot, *edges, samples=2).sum() == pytest.approx(7.0)


def test_half_of_the_footprint_must_have_data():
    image = np.ones((6, 6))
    image[:, 0] = np.nan  # with its neighbours, unknown up to pixel 1
    line, pixel = np.mgrid[2:4, 0:5].astype(float)
    for shift, known in [(0.0, [False, True, True, True]), (0.5, [True] * 4)]:
        out = multilook(image, line, pixel + shift, samples=4)
        np.testing.assert_array_equal(np.isfinite(out[0]), known)
    # The outer pixels of an image reach half a pixel outwards.
    out = multilook(np.ones((6, 6)), line, pixel + 1.5, samples=4)
    assert np.isfinite(out).all()
    assert np.isnan(multilook(np.ones((6, 6)), line, pixel + 6, samples=4)).all()


def test_dn_0_and_holes_of_the_dem_are_no_data(tmp_path):
    images = constant(100)
    images["vv"][:75] = 0
    path = make_safe(tmp_path, images)
    dem = make_dem(tmp_path / "dem.tif", height=lambda x, y: np.where(x > 600300, -9999, 60.0))
    x, y = centres()
    line = image_position(ecef(x, y, 60 + 0 * x))[0]
    values = sigma0(path, "vv", BOX, dem, geoid=0)
    assert np.isnan(values[line < 74.5]).all()
    assert np.isnan(values[x > 600340]).all()
    assert np.isfinite(values[(line > 77) & (x < 600270)]).all()


def test_a_product_is_a_radar_group(product, dem):
    data = read_product(product, BOX, dem, geoid=0)
    cube = build(sar=data)
    assert grid.grid_of(cube["sar"].to_dataset()) == BOX
    assert data["time"].values == [open_product(product).start]
    assert data["relative_orbit"].values == [88]
    assert data["relative_orbit"].dtype == np.int16
    assert data.attrs == {
        "source": "Sentinel-1 GRD, SAFE products",
        "radiometry": "sigma0",
        "products": [product.name],
        "orbit_file": ["annotation (auxiliary)"],
        "noise_removal": ["range and azimuth noise vectors; border: DN 0 masked"],
        "dem": "dem.tif",
        "geoid": "0 m added to the DEM",
        "multilook": "mean power over the pixel's footprint",
    }


def test_slices_of_a_pass_join_without_a_seam(product, dem, tmp_path):
    images = coordinate_images()
    north = make_safe(tmp_path / "a", {p: image[76:] for p, image in images.items()}, 76)
    south = make_safe(tmp_path / "b", {p: image[:76] for p, image in images.items()}, 0)
    whole = read_product(product, BOX, dem, geoid=0)
    joined = read_products([north, south], BOX, dem, geoid=0)
    assert joined.sizes["time"] == 1
    assert joined.attrs["products"] == [f"{south.name} + {north.name}"]
    assert joined.attrs["orbit_file"] == ["annotation (auxiliary)"]
    assert np.isfinite(joined["vv"]).all()
    # A pixel on the seam is the mean of that part of its footprint which one slice holds.
    np.testing.assert_allclose(decoded(joined["vv"]), decoded(whole["vv"]), atol=0.8)
    np.testing.assert_allclose(decoded(joined["vh"]), decoded(whole["vh"]), atol=0.5)


def test_passes_are_sorted_and_kept_apart(product, dem, tmp_path):
    other = make_safe(tmp_path / "other", coordinate_images(), first_line=1, orbit=15)
    data = read_products([other, product], BOX, dem, geoid=0)
    assert data["relative_orbit"].values.tolist() == [88, 15]
    assert (np.diff(data["time"].values) > np.timedelta64(0)).all()
    assert build(sar=data)
    np.testing.assert_array_equal(data["vv"][0], read_product(product, BOX, dem, geoid=0)["vv"][0])


# --- orbit files


def test_an_orbit_file_replaces_the_annotation(product, dem, tmp_path):
    annotated = sigma0(product, "vv", BOX, dem, geoid=0)
    same = sigma0(product, "vv", BOX, dem, write_orbit(tmp_path), geoid=0)
    np.testing.assert_allclose(decoded(same), decoded(annotated), atol=0.005)
    ahead = write_orbit(tmp_path, shift=4 * INTERVAL)
    data = read_product(product, BOX, dem, ahead, geoid=0)
    np.testing.assert_allclose(decoded(data["vv"][0]), decoded(annotated) - 4, atol=0.02)
    assert data.attrs["orbit_file"] == [ahead.name]


def test_the_precise_orbit_of_each_product_is_chosen(product, dem, tmp_path):
    precise, restituted = write_orbit(tmp_path), write_orbit(tmp_path, kind="RES")
    others = [write_orbit(tmp_path, mission="S1A"), write_orbit(tmp_path, seconds=[-900, -700])]
    for files, chosen in [([restituted, *others, precise], precise), ([restituted], restituted)]:
        data = read_products([product], BOX, dem, files, geoid=0)
        assert data.attrs["orbit_file"] == [chosen.name]
    with pytest.raises(SceneError, match=r"None of the 2 orbit files is of S1B and covers S1B_IW"):
        read_products([product], BOX, dem, others, geoid=0)
    renamed = precise.rename(tmp_path / "orbit.EOF")
    with pytest.raises(DeepCropError, match=r"orbit\.EOF: expected .* original name"):
        read_products([product], BOX, dem, [renamed], geoid=0)


# --- what cannot be used is named


def test_missing_parts_of_a_product_are_named(product, dem, tmp_path):
    def refused(message, polarization="vv", path=product):
        with pytest.raises(SceneError, match=message):
            sigma0(path, polarization, BOX, dem, geoid=0)

    refused("is not a SAFE product: it has no 'manifest.safe'", path=tmp_path)
    refused("has no HH; it has VV, VH", "hh")
    for folder, message in {
        "measurement": r"no files 'measurement/\*\.tif\*' of VH",
        "annotation/calibration": r"no files 'annotation/calibration/noise-\*\.xml' of VH",
        "annotation": r"no files 'annotation/\*\.xml' of VH",
    }.items():
        for path in (product / folder).glob("*-vh-*"):
            path.unlink()
        refused(message, "vh")
    slc = make_safe(tmp_path / "slc", constant(9), kind="SLC")
    refused("is a Sentinel-1 SLC product; expected GRD", path=slc)
    with pytest.raises(DeepCropError, match="No Sentinel-1 product given"):
        read_products([], BOX, dem)


@pytest.mark.parametrize(
    "pattern", ["manifest.safe", "annotation/*-vv-*", "annotation/*/*-vv-*", "measurement/*-vv-*"]
)
def test_damaged_files_are_named(product, dem, pattern):
    for path in product.glob(pattern):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(SceneError, match=r"cannot be read .* expected a file of a complete Sent"):
        sigma0(product, "vv", BOX, dem, geoid=0)


def test_an_image_of_another_size_is_refused(product, dem):
    write_tiff(next(product.glob("measurement/*-vv-*")), np.ones((20, 30)))
    with pytest.raises(SceneError, match="has 20 x 30 pixels; its annotation says 150 x 160"):
        sigma0(product, "vv", BOX, dem, geoid=0)


def test_a_product_beside_the_grid_is_refused(product, tmp_path):
    east = grid.make_grid((610000, 5650000, 610300, 5650300), CRS)
    # The same range and time on the left of the track: geocoding alone would see it.
    left = grid.make_grid((500000, 5650000, 500300, 5650300), "EPSG:32629")
    for box in (east, left):
        crs, (west, _, _, north) = str(box.crs), box.boundingbox.bbox
        dem = make_dem(tmp_path / "near.tif", west - 900, north + 900, crs=crs)
        with pytest.raises(SceneError, match=r"does not reach the grid"):
            sigma0(product, "vv", box, dem, geoid=0)


def test_dems_that_cannot_be_used_are_named(product, dem, tmp_path):
    for path, message in {
        make_dem(tmp_path / "small.tif", 599000, 5651000, 40): "does not cover the grid",
        tmp_path / "none.tif": r"none\.tif cannot be read as a DEM",
        product / "manifest.safe": "cannot be read as a DEM",
        make_dem(tmp_path / "nowhere.tif", crs=None): "has no reference system",
    }.items():
        with pytest.raises(DeepCropError, match=message):
            sigma0(product, "vv", BOX, path, geoid=0)
    empty = make_dem(tmp_path / "empty.tif", height=lambda x, y: -9999 + 0 * x)
    with pytest.raises(DeepCropError, match="has no heights within the grid"):
        sigma0(product, "VV", BOX, empty, geoid=0)
    with pytest.raises(DeepCropError, match="does not state what its heights refer to"):
        sigma0(product, "vv", BOX, dem)


def test_heights_above_a_geoid_are_converted_or_refused(product, tmp_path):
    """With PROJ's grid the geoid of the area is found; without it, it is not silently dropped."""
    dem = make_dem(tmp_path / "egm96.tif", crs="EPSG:32631+5773")
    try:
        found = decoded(sigma0(product, "vh", BOX, dem))
    except DeepCropError as error:
        assert "EGM96 height" in str(error)  # noqa: PT017
        assert "Fetch the grid" in str(error)  # noqa: PT017
        assert "us_nga_egm96_15.tif" in str(error)  # noqa: PT017
    else:
        expected = decoded(sigma0(product, "vh", BOX, dem, geoid=44))
        np.testing.assert_allclose(found, expected, atol=0.5)


def test_without_the_extra_it_says_what_to_install(product, dem, monkeypatch):
    monkeypatch.setitem(sys.modules, "sarsen", None)
    with pytest.raises(DeepCropError, match=r"pip install .deepcrop\[safe\]"):
        sigma0(product, "vv", BOX, dem, geoid=0)


# --- real products


@pytest.fixture
def rome(real_data):
    return next((real_data / "sentinel1_safe").glob("*_5371.SAFE"))


ROME = grid.make_grid((289700, 4649000, 290020, 4649250), "EPSG:32633")
GEOID = 48.0  # roughly, of Rome


def test_an_image_of_ones_is_all_noise(rome):
    dem = rome.parent / "Rome-30m-DEM.tif"
    assert np.isnan(sigma0(rome, "vv", ROME, dem, geoid=GEOID)).all()


@pytest.mark.slow
def test_a_constant_image_is_calibrated_by_the_tables_of_the_product(rome, tmp_path):
    """DN 50 everywhere: (50² − range noise · azimuth noise of IW3) / sigmaNought², by hand."""
    path = tmp_path / rome.name
    for source in [rome / "manifest.safe", *rome.rglob("*-vv-*.xml")]:
        for name in {source.name, source.name.replace("-vv-", "-vh-")}:
            target = path / source.parent.relative_to(rome) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)  # VH takes the tables of VV
    geometry = read_geometry(open_product(path), "vv")
    dem = rome.parent / "Rome-30m-DEM.tif"
    x, y = (np.arange(n) for n in (ROME.shape[1], ROME.shape[0]))
    place = np.meshgrid(ROME.coords["x"].values, ROME.coords["y"].values)
    to_ecef = Transformer.from_crs("EPSG:32633", "EPSG:4326", always_xy=True)
    geodetic = to_ecef.transform(*place)
    points = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True).transform(
        *geodetic, np.full(ROME.shape, GEOID + 30)
    )
    line, pixel = locate(geometry, np.stack(points))
    top, left = int(line.min()) - 30, int(pixel.min()) - 30
    (path / "measurement").mkdir()
    for name in ("vv", "vh"):
        with rasterio.open(
            path / "measurement" / f"s1b-iw-grd-{name}-001.tiff", "w", driver="GTiff", count=1,
            height=geometry.shape[0], width=geometry.shape[1], dtype="uint16", tiled=True,
            sparse_ok=True, compress="zstd",
        ) as file:  # fmt: skip
            window = rasterio.windows.Window(left, top, 120, 120)
            file.write(np.full((1, 120, 120), 50, np.uint16), window=window)
    data = read_product(path, ROME, dem, geoid=GEOID)
    cube = build(sar=data)
    assert np.isfinite(cube["sar/vv"]).all()

    def table(name, tag, quantity):
        root = ElementTree.parse(next(path.rglob(f"{name}-*-vv-*.xml"))).getroot()
        return [
            [np.array(v.findtext(t).split(), float) for t in ("line", "pixel", quantity)]
            for v in root.iter(tag)
        ]

    def lookup(vectors, at_line, at_pixel):
        k = max(k for k, vector in enumerate(vectors) if vector[0] <= at_line)
        (line0,), pixel0, value0 = vectors[k]
        (line1,), pixel1, value1 = vectors[k + 1]
        share = (at_line - line0) / (line1 - line0)
        return (1 - share) * np.interp(at_pixel, pixel0, value0) + share * np.interp(
            at_pixel, pixel1, value1
        )

    root = ElementTree.parse(next(path.rglob("noise-*-vv-*.xml"))).getroot()
    iw3 = next(v for v in root.iter("noiseAzimuthVector") if v.findtext("swath") == "IW3")
    azimuth = [np.array(iw3.findtext(t).split(), float) for t in ("line", "noiseAzimuthLut")]
    sigma_nought = table("calibration", "calibrationVector", "sigmaNought")
    along_range = table("noise", "noiseRangeVector", "noiseRangeLut")
    assert int(iw3.findtext("firstRangeSample")) < left
    noises = []
    for row, col in [(0, 0), (12, 20), (y[-1], x[-1])]:
        at = line[row, col], pixel[row, col]
        noise = lookup(along_range, *at) * np.interp(at[0], *azimuth)
        expected = 10 * np.log10((50**2 - noise) / lookup(sigma_nought, *at) ** 2)
        assert float(data["vv"][0, row, col]) == pytest.approx(expected, abs=2e-3)
        noises.append(noise)
    assert min(noises) > 300  # so that forgetting it would show
    np.testing.assert_array_equal(data["vv"], data["vh"])
