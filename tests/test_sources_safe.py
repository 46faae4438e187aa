"""Sentinel-1 SAFE products: simulated ones whose geometry is known exactly, and two real ones."""

import shutil
import sys
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
from pyproj import Transformer
from rasterio.transform import from_origin

from deepcrop import grid, observations
from deepcrop.errors import DeepCropError
from deepcrop.sources import safe
from deepcrop.sources.safe import (
    AzimuthNoise,
    Noise,
    Vectors,
    multilook,
    open_product,
    read_geometry,
    read_noise,
    read_product,
    read_products,
    sigma0,
)
from deepcrop.sources.scenes import SceneError

pytest.importorskip("sarsen")
# The simulated images and the blank real ones have no ground control points.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")

LIGHT = 299_792_458.0
CRS = "EPSG:32631"
START = np.datetime64("2021-06-01T17:24:00", "ns")
INTERVAL = 1.5e-3  # seconds from line to line
SCALE = 1e6  # DN² for a line or pixel, so that the images carry their own coordinates
SIGMA_NOUGHT = 10_000.0
NOISE = 2000.0


@dataclass(frozen=True)
class Flight:
    """A circular orbit in the earth-fixed frame: zero Doppler has a closed form."""

    radius: float = 7_070_000.0
    speed: float = 7_500.0

    @property
    def axes(self):
        """Where the satellite is at `START`, and where it flies: north, over 2.5° west."""
        lon, lat = np.radians([-2.5, 51.0])
        up = [np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]
        north = [-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)]
        return np.array(up), np.array(north)

    def states(self, seconds):
        up, north = self.axes
        angle = np.multiply(seconds, self.speed / self.radius)[:, None]
        position = self.radius * (np.cos(angle) * up + np.sin(angle) * north)
        velocity = self.speed * (np.cos(angle) * north - np.sin(angle) * up)
        return position, velocity

    def see(self, ecef):
        """Seconds since `START` and slant range of points (..., 3)."""
        up, north = self.axes
        along = np.hypot(ecef @ up, ecef @ north)
        seconds = np.arctan2(ecef @ north, ecef @ up) * self.radius / self.speed
        square = (ecef**2).sum(-1) + self.radius**2 - 2 * self.radius * along
        return seconds, np.sqrt(square)


FLIGHT = Flight()
BOX = grid.make_grid((600000, 5650000, 600480, 5650400), CRS)
LINES, PIXELS = 150, 160


def ecef(x, y, height):
    transformer = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True)
    lon, lat = transformer.transform(x, y)
    to_ecef = Transformer.from_crs("EPSG:4979", "EPSG:4978", always_xy=True)
    return np.stack(to_ecef.transform(lon, lat, height), axis=-1)


CENTRE = FLIGHT.see(ecef(600240.0, 5650200.0, 60.0))
FIRST = CENTRE[0] - 75 * INTERVAL  # the box lies in the middle of the image
SR0 = CENTRE[1] - 80 * 10 / 1.7  # ground range is 1.7 times slant range, from here
RANGE_MID = 2 * CENTRE[1] / LIGHT + 1e-5


def image_position(points):
    """Line and pixel of earth-fixed points, in closed form."""
    seconds, slant = FLIGHT.see(points)
    delay = 0.5 * (2 * slant / LIGHT - RANGE_MID)
    return (seconds - delay - FIRST) / INTERVAL, 1.7 * (slant - SR0) / 10


def stamp(seconds):
    return str(START + np.timedelta64(round(seconds * 1e9), "ns"))[:26]


MANIFEST = """<xfdu:XFDU xmlns:xfdu="urn:ccsds:schema:xfdu:1"
  xmlns:safe="http://www.esa.int/safe/sentinel-1.0" xmlns:s1="urn:s1"><metadataSection>
  <safe:platform><safe:familyName>SENTINEL-1</safe:familyName><safe:number>B</safe:number>
  </safe:platform>
  <safe:relativeOrbitNumber type="start">{orbit}</safe:relativeOrbitNumber>
  <safe:relativeOrbitNumber type="stop">{orbit}</safe:relativeOrbitNumber>
  {polarizations}<s1:productType>{kind}</s1:productType>
  <safe:startTime>{start}</safe:startTime><safe:stopTime>{stop}</safe:stopTime>
</metadataSection></xfdu:XFDU>"""


def state_xml(seconds):
    position, velocity = FLIGHT.states(seconds)
    return "".join(
        f"<orbit><time>{stamp(t)}</time><frame>Earth Fixed</frame>"
        "<position><x>{:.6f}</x><y>{:.6f}</y><z>{:.6f}</z></position>"
        "<velocity><x>{:.6f}</x><y>{:.6f}</y><z>{:.6f}</z></velocity></orbit>".format(*p, *v)
        for t, p, v in zip(seconds, position, velocity, strict=True)
    )


def annotation_xml(first_line, lines, pixels, removed=False):
    first, last = (FIRST + k * INTERVAL for k in (first_line, first_line + lines - 1))
    records = "".join(
        f"<coordinateConversion><azimuthTime>{stamp(t)}</azimuthTime>"
        f"<slantRangeTime>{2 * SR0 / LIGHT:.15e}</slantRangeTime><sr0>{SR0:.9f}</sr0>"
        '<srgrCoefficients count="2">0 1.7</srgrCoefficients><gr0>0</gr0>'
        f'<grsrCoefficients count="2">{SR0:.9f} {1 / 1.7:.15f}</grsrCoefficients>'
        "</coordinateConversion>"
        for t in (first - 1, last + 1)
    )
    points = "".join(
        f"<geolocationGridPoint><azimuthTime>{stamp(first + line * INTERVAL + delay)}</azimuthTime>"
        f"<slantRangeTime>{time:.15e}</slantRangeTime><line>{line}</line><pixel>{pixel}</pixel>"
        "</geolocationGridPoint>"
        for line in (0, lines - 1)
        for pixel in (0, pixels - 1)
        for time in [2 * (SR0 + pixel * 10 / 1.7) / LIGHT]
        for delay in [0.5 * (time - RANGE_MID)]
    )
    return (
        f"<product><generalAnnotation><orbitList>{state_xml(np.arange(-60.0, 70, 10))}</orbitList>"
        "</generalAnnotation><imageAnnotation><imageInformation>"
        f"<productFirstLineUtcTime>{stamp(first)}</productFirstLineUtcTime>"
        f"<productLastLineUtcTime>{stamp(last)}</productLastLineUtcTime>"
        f"<rangePixelSpacing>10</rangePixelSpacing><numberOfSamples>{pixels}</numberOfSamples>"
        f"<numberOfLines>{lines}</numberOfLines></imageInformation><processingInformation>"
        "<orbitSource>Auxiliary</orbitSource><thermalNoiseCorrectionPerformed>"
        f"{'true' if removed else 'false'}</thermalNoiseCorrectionPerformed>"
        "</processingInformation></imageAnnotation><coordinateConversion>"
        f"<coordinateConversionList>{records}</coordinateConversionList></coordinateConversion>"
        f"<geolocationGrid><geolocationGridPointList>{points}</geolocationGridPointList>"
        "</geolocationGrid></product>"
    )


def vectors_xml(tag, quantity, value, lines, pixels):
    return "".join(
        f"<{tag}><line>{line}</line><pixel>0 {pixels}</pixel>"
        f"<{quantity}>{value} {value}</{quantity}></{tag}>"
        for line in (0, lines)
    )


def make_safe(
    folder,
    images,
    first_line=0,
    orbit=88,
    kind="GRD",
    noise=NOISE,
    azimuth=1.0,
    removed=False,
    old=False,
):
    """A simulated product of DN images by polarization; ``first_line`` counts from `FIRST`."""
    lines, pixels = next(iter(images.values())).shape
    start, stop = (FIRST + k * INTERVAL for k in (first_line, first_line + lines - 1))
    path = folder / f"S1B_IW_GRDH_1SDV_{stamp(start).replace(':', '')}.SAFE"
    (path / "measurement").mkdir(parents=True)
    (path / "annotation" / "calibration").mkdir(parents=True)
    named = "".join(
        f"<s1:transmitterReceiverPolarisation>{p.upper()}</s1:transmitterReceiverPolarisation>"
        for p in images
    )
    (path / "manifest.safe").write_text(
        MANIFEST.format(
            orbit=orbit, polarizations=named, kind=kind, start=stamp(start), stop=stamp(stop)
        )
    )
    for polarization, image in images.items():
        name = f"s1b-iw-grd-{polarization}-20210601t172400-001"
        (path / "annotation" / f"{name}.xml").write_text(
            annotation_xml(first_line, lines, pixels, removed)
        )
        calibration = vectors_xml("calibrationVector", "sigmaNought", SIGMA_NOUGHT, lines, pixels)
        (path / "annotation" / "calibration" / f"calibration-{name}.xml").write_text(
            f"<calibration>{calibration}</calibration>"
        )
        if old:
            vectors = vectors_xml("noiseVector", "noiseLut", noise, lines, pixels)
        else:
            vectors = vectors_xml("noiseRangeVector", "noiseRangeLut", noise, lines, pixels) + (
                "<noiseAzimuthVector><firstAzimuthLine>0</firstAzimuthLine>"
                f"<lastAzimuthLine>{lines - 1}</lastAzimuthLine>"
                "<firstRangeSample>0</firstRangeSample>"
                f"<lastRangeSample>{pixels - 1}</lastRangeSample><line>0 {lines}</line>"
                f"<noiseAzimuthLut>{azimuth} {azimuth}</noiseAzimuthLut></noiseAzimuthVector>"
            )
        (path / "annotation" / "calibration" / f"noise-{name}.xml").write_text(
            f"<noise>{vectors}</noise>"
        )
        write_tiff(path / "measurement" / f"{name}.tiff", image)
    return path


def write_tiff(path, image):
    with rasterio.open(
        path, "w", driver="GTiff", height=image.shape[0], width=image.shape[1], count=1,
        dtype="uint16",
    ) as file:  # fmt: skip
        file.write(image.astype(np.uint16), 1)


def coordinate_images(lines=LINES, pixels=PIXELS, first_line=0):
    """VV carries its line and VH its pixel, as power above the noise."""
    line, pixel = np.mgrid[first_line : first_line + lines, 0:pixels]
    return {
        "vv": np.round(np.sqrt(SCALE * (line + 1) + NOISE)),
        "vh": np.round(np.sqrt(SCALE * (pixel + 1) + NOISE)),
    }


def constant(dn, lines=LINES, pixels=PIXELS):
    return {name: np.full((lines, pixels), dn) for name in ("vv", "vh")}


def decoded(decibel):
    """The line or pixel that `coordinate_images` put into a value."""
    return 10 ** (np.asarray(decibel, np.float64) / 10) * SIGMA_NOUGHT**2 / SCALE - 1


def height_at(x, y):
    return 60 + 0.2 * (x - 600240) - 0.1 * (y - 5650200)


def make_dem(path, west=599000.0, north=5652000.0, size=100, crs=CRS, height=height_at):
    x, y = np.meshgrid(west + 30 * (np.arange(size) + 0.5), north - 30 * (np.arange(size) + 0.5))
    with rasterio.open(
        path, "w", driver="GTiff", height=size, width=size, count=1, dtype="float32", crs=crs,
        transform=from_origin(west, north, 30, 30), nodata=-9999,
    ) as file:  # fmt: skip
        file.write(height(x, y).astype(np.float32), 1)
    return path


@pytest.fixture
def dem(tmp_path):
    return make_dem(tmp_path / "dem.tif")


@pytest.fixture
def product(tmp_path):
    return make_safe(tmp_path, coordinate_images())


def centres(box=BOX):
    return np.meshgrid(box.coords["x"].values, box.coords["y"].values)


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
    monkeypatch.setattr(safe, "BLOCK", 17)
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
    assert "border noise may remain" in data.attrs["noise_removal"][0]


@pytest.mark.parametrize("dn", [1, 44])  # 44² is just below the noise of 2000
def test_noise_above_the_signal_is_no_data(tmp_path, dem, dn):
    data = read_product(make_safe(tmp_path, constant(dn)), BOX, dem, geoid=0)
    assert np.isnan(data["vv"]).all()
    observations.build(sar=data)


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
    cube = observations.build(sar=data)
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
    assert observations.build(sar=data)
    np.testing.assert_array_equal(data["vv"][0], read_product(product, BOX, dem, geoid=0)["vv"][0])


# --- orbit files


def write_orbit(folder, kind="POE", mission="S1B", shift=0.0, seconds=None):
    """An orbit file as ESA writes it, whose satellite is ``shift`` seconds ahead."""
    seconds = np.arange(-600.0, 610, 10) if seconds is None else seconds
    position, velocity = FLIGHT.states(np.asarray(seconds) + shift)
    states = "".join(
        f"<OSV><TAI>TAI={stamp(t + 37)}</TAI><UTC>UTC={stamp(t)}</UTC>"
        "<Absolute_Orbit>+27000</Absolute_Orbit>"
        '<X unit="m">{:.6f}</X><Y unit="m">{:.6f}</Y><Z unit="m">{:.6f}</Z>'
        '<VX unit="m/s">{:.6f}</VX><VY unit="m/s">{:.6f}</VY><VZ unit="m/s">{:.6f}</VZ>'
        "<Quality>NOMINAL</Quality></OSV>".format(*p, *v)
        for t, p, v in zip(seconds, position, velocity, strict=True)
    )
    times = [stamp(t)[:19].replace("-", "").replace(":", "") for t in (seconds[0], seconds[-1])]
    path = folder / f"{mission}_OPER_AUX_{kind}ORB_OPOD_20210621T111837_V{times[0]}_{times[1]}.EOF"
    path.write_text(
        '<?xml version="1.0" ?><Earth_Explorer_File><Earth_Explorer_Header><Fixed_Header>'
        f"<File_Name>{path.stem}</File_Name><Mission>Sentinel-{mission[1:]}</Mission>"
        "</Fixed_Header></Earth_Explorer_Header><Data_Block type='xml'>"
        f"<List_of_OSVs count='{len(seconds)}'>{states}</List_of_OSVs></Data_Block>"
        "</Earth_Explorer_File>"
    )
    return path


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


def test_orbit_files_that_do_not_fit_are_refused(product, dem, tmp_path):
    cases = {
        "does not cover S1B_IW": write_orbit(tmp_path, seconds=np.arange(-200.0, 0, 10)),
        "is of S1A; S1B_IW.* is of S1B": write_orbit(tmp_path, mission="S1A"),
        "cannot be read": tmp_path / "none.EOF",
        "expected an orbit file of ESA": product / "manifest.safe",
    }
    for message, orbit in cases.items():
        with pytest.raises(SceneError, match=message):
            sigma0(product, "vv", BOX, dem, orbit, geoid=0)


# --- what cannot be used is named


def test_missing_parts_of_a_product_are_named(product, dem, tmp_path):
    def refused(message, polarization="vv", path=product):
        with pytest.raises(SceneError, match=message):
            sigma0(path, polarization, BOX, dem, geoid=0)

    refused("is no SAFE product: it has no 'manifest.safe'", path=tmp_path)
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


def test_noise_on_another_scale_is_refused(tmp_path, dem):
    with pytest.raises(SceneError, match=r"noise vectors reach 0\.003 only"):
        sigma0(make_safe(tmp_path, constant(100), noise=0.003), "vv", BOX, dem, geoid=0)


def test_a_product_beside_the_grid_is_refused(product, tmp_path):
    east = grid.make_grid((610000, 5650000, 610300, 5650300), CRS)
    # The same range and time on the left of the track: geocoding alone would see it.
    left = grid.make_grid((500000, 5650000, 500300, 5650300), "EPSG:32629")
    for box in (east, left):
        crs, (west, _, _, north) = str(box.crs), box.boundingbox.bbox
        dem = make_dem(tmp_path / "near.tif", west - 900, north + 900, crs=crs)
        with pytest.raises(SceneError, match=r"does not reach the grid"):
            sigma0(product, "vv", box, dem, geoid=0)


def test_the_left_of_the_track_is_not_seen(product):
    geometry = read_geometry(open_product(product), "vv")
    up, north = FLIGHT.axes
    east = np.cross(north, up)
    point = ecef(600240.0, 5650200.0, 60.0)
    mirrored = point - 2 * (point @ east) * east  # same time, same range, other side
    np.testing.assert_allclose(FLIGHT.see(mirrored), FLIGHT.see(point))
    line, pixel = safe.locate(geometry, np.stack([point, mirrored], axis=1)[:, None])
    assert line[0, 0] == pytest.approx(75 + geometry_shift(geometry), abs=0.05)
    assert np.isnan([line[0, 1], pixel[0, 1]]).all()


def geometry_shift(geometry):
    return -np.polyval(geometry.delay, 2 * CENTRE[1] / LIGHT) / INTERVAL


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
    with pytest.raises(DeepCropError, match="does not say what its heights refer to"):
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
    with pytest.raises(DeepCropError, match=r"pip install deepcrop\[safe\]"):
        sigma0(product, "vv", BOX, dem, geoid=0)


# --- lookup tables


def test_vectors_are_interpolated_bilinearly():
    vectors = Vectors(
        np.array([0.0, 10.0]),
        (np.array([0.0, 4.0]), np.array([0.0, 2.0, 4.0])),
        (np.array([0.0, 8.0]), np.array([10.0, 10.0, 30.0])),
    )
    values = vectors.at(np.array([0, 5, 10, 12]), np.array([0, 1, 3]))
    np.testing.assert_allclose(values, [[0, 2, 6], [5, 6, 13], [10, 10, 20], [10, 10, 20]])


def test_azimuth_noise_is_that_of_the_swath():
    flat = Vectors(np.array([0.0]), (np.array([0.0]),), (np.array([100.0]),))
    blocks = (
        AzimuthNoise(0, 9, 0, 1, np.array([0.0, 9.0]), np.array([1.0, 1.9])),
        AzimuthNoise(0, 9, 2, 3, np.array([0.0, 4.0, 5.0, 9.0]), np.array([2.0, 2.0, 3.0, 3.0])),
    )
    values = Noise(flat, blocks).at(np.arange(3, 6), np.arange(1, 4))
    np.testing.assert_allclose(values, [[130, 200, 200], [140, 200, 200], [150, 300, 300]])


# --- real products


@pytest.fixture
def rome(real_data):
    return next((real_data / "sentinel1_safe").glob("*_5371.SAFE"))


ROME = grid.make_grid((289700, 4649000, 290020, 4649250), "EPSG:32633")
GEOID = 48.0  # roughly, of Rome


def test_the_manifest_agrees_with_the_orbit_number(real_data):
    for path in (real_data / "sentinel1_safe").glob("*.SAFE"):
        absolute = int(path.name.split("_")[6])
        assert open_product(path).relative_orbit == (absolute - 27) % 175 + 1  # S1B


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
    found_line, found_pixel = safe.locate(geometry, place)
    np.testing.assert_allclose(found_line[0], line, atol=0.03)
    assert abs((found_pixel[0] - pixel).mean()) < 0.07
    # The grid takes the nearest polynomial to ground range as it stands; here they are interpolated
    # linearly in time. With those polynomials at the times of the grid's lines, nothing is left.
    records = geometry.conversion["azimuth_time"].values
    rows = geometry.first + (np.unique(line) * geometry.interval * 1e9).astype("timedelta64[ns]")
    next_record = geometry.conversion.isel(azimuth_time=np.searchsorted(records, rows))
    rows[[0, -1]] += np.array([-1, 1], "timedelta64[ms]")  # the bistatic delay reaches so far
    moved = next_record.assign_coords(azimuth_time=rows)
    found_pixel = safe.locate(replace(geometry, conversion=moved), place)[1]
    np.testing.assert_allclose(found_pixel[0], pixel, atol=0.02)


def test_an_image_of_ones_is_all_noise(rome):
    dem = rome.parent / "Rome-30m-DEM.tif"
    assert np.isnan(sigma0(rome, "vv", ROME, dem, geoid=GEOID)).all()


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
    line, pixel = safe.locate(geometry, np.stack(points))
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
    cube = observations.build(sar=data)
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


def test_the_noise_of_all_swaths_is_read(rome):
    noise = read_noise(open_product(rome), "vv")
    assert [b.first_pixel for b in noise.along_azimuth] == [0, 8890, 17701]
    values = noise.at(np.array([158, 159]), np.array([100, 9000, 20000]))
    # A burst of IW1 ends between these lines, and none of the others.
    np.testing.assert_allclose(values[0] / values[1], [1.135365 / 1.124603, 1, 1], atol=2e-3)
