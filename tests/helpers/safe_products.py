"""Simulated Sentinel-1 SAFE products of exactly known geometry, their orbit files and DEMs."""

from dataclasses import dataclass

import numpy as np
import rasterio
from pyproj import Transformer
from rasterio.transform import from_origin

from deepcrop import grid

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
    longitude: float = -2.5
    latitude: float = 51.0

    @property
    def axes(self):
        """Where the satellite is at `START`, and where it flies: north."""
        lon, lat = np.radians([self.longitude, self.latitude])
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


def centres(box=BOX):
    return np.meshgrid(box.coords["x"].values, box.coords["y"].values)
