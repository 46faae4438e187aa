"""Site-years of cameras, made by hand."""

import functools
import math

from tests.helpers.camera_files import camera_file, row

from deepcrop.cameras.labels import CameraLabels, Event, Season, SiteYear
from deepcrop.cameras.site_years import (
    read_network,
)
from deepcrop.sources.phenocam.summary_files import read_series
from deepcrop.stages import CALENDAR


def season(slot, start, amplitude=0.1, gap=3.0, **reasons):
    events = {
        name: Event(start + 20 * k, start + 20 * k - 2, start + 20 * k + 3, gap, "found")
        if name not in reasons
        else Event(math.nan, math.nan, math.nan, math.nan, reasons[name])
        for k, name in enumerate(CALENDAR)
    }
    return Season(slot, slot, events, amplitude, 30, 1.0, gap)


def labels(folder, site, *years, roi=1000, date="2018-01-01"):
    camera = read_series(camera_file(folder, [row(date)], site, roi=roi))
    return CameraLabels(camera, "gcc_90", None, None, None, years)


def accepted(year, *seasons):
    return SiteYear(year, "corn", seasons, 0.95, True, "")


# --- the real network -----------------------------------------------------------------------------


@functools.cache
def whole_network(real_data):
    """Every year of the real cameras, read once for all tests."""
    folder = real_data / "phenocam"
    return read_network(
        (folder / "series").glob("*.csv"),
        folder / "sites.csv",
        folder / "crop_type_by_site_year.csv",
    )
