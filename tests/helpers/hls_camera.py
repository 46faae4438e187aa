"""A small folder of the data of `deepcrop.studies.real_cameras`, simulated."""

import csv

import numpy as np
import rasterio
from pyproj import Transformer
from tests.helpers.camera_files import greenness, season_file

from deepcrop.studies.real_cameras import CHIPS, FIELD

SITE_YEARS = {"mead1_2021": 150, "goodwater_2022": 160, "ecb1_2022": 170}
"""Site-years, and the day on which half of the green-up is reached."""

LENGTH = 110  # days from half of green-up to half of senescence
LATE = 6  # days that EVI follows the camera
EMERGENCE = 10  # days before half of green-up
HARVEST = 20  # days after half of senescence
CHIP_DAYS = range(40, 340, 12)
_CRS = "EPSG:32615"
_BANDS = {"B02": 0.03, "B03": 0.06, "B04": 0.05}


def evi(days, up):
    return greenness(days, (up,), (up + LENGTH,), low=0.1, high=0.75, width=6.0)


def write_hls_camera(data):
    """Write series, observed stages and image chips, and the camera file of the chips."""
    folder = data / "hls_camera"
    folder.mkdir(parents=True)
    with (folder / "gcc_evi_daily_2021_2022.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["source_file", "date", "gcc_mean", "evi"])
        for name, up in SITE_YEARS.items():
            start = np.datetime64(f"{name[-4:]}-01-01")
            days = np.arange(365)
            gcc = greenness(days, (up,), (up + LENGTH,), width=6.0)
            for day, g, e in zip(days, gcc, evi(days, up + LATE), strict=True):
                year, month, number = str(start + day).split("-")
                writer.writerow([name, f"{int(month)}/{int(number)}/{year}", g, e])
    with (folder / "observed_stages_2021_2022.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Phenocam", "Ano", "Crop", "Emergence phenocam", "harvest Phenocam"])
        for name, up in SITE_YEARS.items():
            camera, year = name.rsplit("_", 1)
            start = np.datetime64(f"{year}-01-01")
            dates = (start + up - EMERGENCE, start + up + LENGTH + HARVEST)
            writer.writerow([camera, year, "Corn", *(str(d).replace("-", "") for d in dates)])
    _write_chips(folder / f"{CHIPS}_2023_hls30")
    series = data / "phenocam" / "series"
    series.mkdir(parents=True)
    first = int((np.datetime64("2023-01-01") - np.datetime64("2019-01-01")).astype(int))
    season_file(
        series, (first + 150.0,), (first + 150.0 + LENGTH,), first - 100, first + 500, name=CHIPS
    )


def _write_chips(folder):
    """Clear images of 20 x 20 pixels of 30 m, the field of the camera in the middle."""
    x, y = Transformer.from_crs("EPSG:4326", _CRS, always_xy=True).transform(*FIELD[::-1])
    profile = {"driver": "GTiff", "height": 20, "width": 20, "count": 1, "crs": _CRS}
    profile["transform"] = rasterio.Affine(30, 0, x - 300, 0, -30, y + 300)
    folder.joinpath("chips").mkdir(parents=True)
    for day in CHIP_DAYS:
        date = str(np.datetime64("2023-01-01") + day).replace("-", "")
        value = evi([day], 150 + LATE)[0]
        blue, red = _BANDS["B02"], _BANDS["B04"]
        nir = (2.5 * red + value * (6 * red - 7.5 * blue + 1)) / (2.5 - value)
        for band, reflectance in (*_BANDS.items(), ("NIR", nir), ("Fmask", None)):
            kind = "uint8" if band == "Fmask" else "int16"
            number = 0 if band == "Fmask" else round(reflectance * 10_000)
            path = folder / "chips" / f"{date}_{band}.tif"
            with rasterio.open(path, "w", dtype=kind, **profile) as file:
                file.write(np.full((20, 20), number, kind), 1)
