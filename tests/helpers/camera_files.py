"""PhenoCam summary files, written row by row."""

import numpy as np

HEADER = """#
# {period}-day summary product timeseries for {site}
#
# Site: {site}
# Veg Type: AG
# ROI ID Number: {roi}
# Lat: {latitude}
# Lon: -96.4701
# Elev: 362
# UTC Offset: -6
# Image Count Threshold: 1
# Aggregation Period: {period}
# Final Processing Date:: 2024-10-29
#
"""
HEADING = (
    "date,year,image_count,gcc_mean,gcc_50,gcc_75,gcc_90,max_solar_elev,snow_flag,"
    "outlierflag_gcc_90,smooth_gcc_90,int_flag"
)


def row(date, gcc="0.35", count="40", snow="NA", outlier="0", smooth="0.36", padding="NA"):
    gcc = [gcc] * 4
    return ",".join([date, date[:4], count, *gcc, "50.5", snow, outlier, smooth, padding])


def camera_file(folder, rows, name="field", period=3, roi=1000, latitude=41.1649, header=HEADER):
    path = folder / f"{name}_AG_{roi:04d}_{period}day.csv"
    top = header.format(site=name, period=period, roi=roi, latitude=latitude)
    path.write_text(top + "\n".join([HEADING, *rows]) + "\n")
    return path


def greenness(days, ups=(150.0,), downs=(260.0,), low=0.33, high=0.45, width=4.0):
    """Simulated seasons, logistic up and down."""
    days = np.asarray(days, float)
    total = np.zeros(days.size)
    for up, down in zip(ups, downs, strict=True):
        total += 1 / (1 + np.exp(-(days - up) / width)) / (1 + np.exp((days - down) / width))
    return low + (high - low) * total


def season_file(folder, ups=(150.0,), downs=(260.0,), first=-100, last=500, drop=(), **options):
    """A 3-day file of simulated seasons; days count from 1 January 2019."""
    rows = []
    for day in range(first, last):
        date = str(np.datetime64("2019-01-01", "D") + day)
        seen = (day - first) % 3 == 0 and not any(a <= day < b for a, b in drop)
        value = greenness([day], ups, downs, **options.get("shape", {}))[0]
        rows.append(row(date, f"{value:.5f}") if seen else row(date, "NA", "NA"))
    keep = {key: value for key, value in options.items() if key != "shape"}
    return camera_file(folder, rows, **keep)
