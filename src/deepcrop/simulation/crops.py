"""Crops of the simulation: calendars by continent and latitude, canopy, camera and radar traits.

Calendars
---------
North America: a line in latitude for each crop, set after the middles of the "most active" planting
and harvesting periods of USDA NASS, *Field Crops: Usual Planting and Harvesting Dates*,
Agricultural Handbook 628, October 2010 (Kansas, for example: maize 15 April - 15 May and 10
September - 25 October, soybean 15 May - 20 June and 1 October - 1 November, winter wheat 15
September - 20 October and 20 June - 5 July; `tests/simulation/test_crops.py` holds these). Europe:
likewise, after the sowing and harvest months of the JRC MARS crop calendars. A line carries such
dates to a week or two; a field's own dates scatter around it.

Canopies
--------
Leaf area, height and water are typical values of each crop. Radar traits are chosen so that the
model reproduces the Sentinel-1 levels and courses of Veloso et al. 2017 (Remote Sensing of
Environment 199, doi 10.1016/j.rse.2017.07.015): cereals attenuate VV during stem elongation,
broad-leaved crops raise VH. Courses of winter wheat, maize and rapeseed were checked against the
500 parcels of France 2023 in WorldCereal's extractions (`tests/simulation/test_region.py` does it
again).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Crop:
    """One crop.

    Attributes
    ----------
    code, name : int, str
        Class in the crop-type map; 0 is not used.
    kind : str
        ``"summer"`` (sown and harvested in one year), ``"winter"`` (sown the year before),
        ``"cut"`` (perennial, several cuts), ``"tree"``.
    lai_max : float
        Peak leaf area index, m²/m².
    rise, fall : float
        Mid-points of leaf growth and leaf death as fractions of the time from emergence to
        maturity (winter crops: from the start of spring growth).
    rise_width, fall_width : float
        Logistic widths of both, days.
    chlorophyll_lead : float
        Days by which leaves lose their colour before they die; a camera sees it, NDVI hardly.
    heading : float
        When tassels, ears or flowers appear, as a fraction like `rise`.
    heads : float
        Share of the canopy top that they hide from then on.
    height, water : float
        At peak: metres; plant water in kg/m².
    volume_vv, volume_vh : float
        Backscatter of a dense canopy, dB.
    attenuation_vv, attenuation_vh : float
        Water-cloud attenuation per kg/m² of plant water.
    """

    code: int
    name: str
    kind: str
    lai_max: float
    rise: float
    fall: float
    rise_width: float
    fall_width: float
    chlorophyll_lead: float
    heading: float
    heads: float
    height: float
    water: float
    volume_vv: float
    volume_vh: float
    attenuation_vv: float
    attenuation_vh: float


# fmt: off
CROPS = {crop.name: crop for crop in (
    #    code name            kind     LAI  rise fall  widths    lead heading,heads height water  VV     VH    B_vv  B_vh
    Crop(1, "maize",          "summer", 4.6, .33, .92, 8.5, 6.0, 3., .52, .25, 2.6, 4.5,  -9.6, -15.6, .14, .22),
    Crop(2, "soybean",        "summer", 5.0, .36, .90, 9.1, 4.5, 3., .55, .05, 0.9, 2.2, -10.0, -15.8, .30, .42),
    Crop(3, "winter_wheat",   "winter", 5.0, .34, .88, 9.8, 4.0, 3., .64, .45, 0.9, 3.2, -15.8, -21.3, .42, .28),
    Crop(4, "winter_barley",  "winter", 4.8, .32, .88, 9.1, 4.0, 3., .60, .50, 0.9, 2.8, -16.0, -20.5, .42, .28),
    Crop(5, "spring_barley",  "summer", 4.2, .36, .86, 7.8, 4.0, 3., .60, .50, 0.8, 2.5, -15.5, -20.0, .40, .28),
    Crop(6, "rapeseed",       "winter", 4.8, .28, .86, 9.8, 5.0, 4., .36, .35, 1.4, 4.5, -8.8, -13.0, .16, .24),
    Crop(7, "sugar_beet",     "summer", 4.6, .32, 1.3, 10.4, 12., 4., 1.0, .00, 0.6, 5.0,  -9.5, -15.2, .14, .18),
    Crop(8, "potato",         "summer", 4.5, .30, .88, 7.8, 5.0, 3., .45, .08, 0.7, 4.0,  -9.0, -14.8, .16, .22),
    Crop(9, "cotton",         "summer", 3.8, .38, .93, 10.4, 7.0, 4., .60, .25, 1.1, 2.6, -10.0, -15.8, .22, .32),
    Crop(10, "alfalfa",       "cut",    4.2, .45, 1.2, 6.5, 9.0, 4., .85, .08, 0.7, 1.8, -12.0, -17.5, .28, .34),
    Crop(11, "grassland",     "cut",    3.4, .45, 1.3, 8.5, 12., 4., .85, .12, 0.4, 1.2, -12.4, -18.0, .25, .30),
    Crop(12, "cover_crop",    "summer", 2.6, .40, .95, 7.8, 8.0, 3., 1.0, .05, 0.4, 1.3, -12.0, -18.0, .28, .34),
    Crop(13, "woodland",      "tree",   5.2, .15, .85, 7.8, 8.0, 4., 1.0, .05, 15., 6.0,  -8.5, -13.8, .20, .30),
)}
# fmt: on

NOT_CROPS = {14: "road", 15: "water"}
"""Land cover without a season."""

CLASS_NAMES = {crop.code: crop.name for crop in CROPS.values()} | NOT_CROPS


@dataclass(frozen=True)
class Dates:
    """Sowing and harvest of a crop: day of year at 40° N, days per degree, spread of fields."""

    sowing: float
    sowing_slope: float
    harvest: float
    harvest_slope: float
    sowing_sd: float
    harvest_sd: float


# Winter crops are sown in the year before: their sowing is a day of that year.
# fmt: off
_NORTH_AMERICA = {
    "maize":         Dates(122, 2.3, 281, 4.0, 8, 9),
    "soybean":       Dates(146, -0.3, 284, -0.5, 9, 7),
    "winter_wheat":  Dates(269, -3.5, 186, 4.5, 8, 5),
    "spring_barley": Dates(105, 3.3, 215, 1.8, 7, 6),
    "cotton":        Dates(142, 2.0, 294, 1.0, 8, 9),
}
_EUROPE = {
    "maize":         Dates(106, 1.4, 266, 1.3, 7, 8),
    "winter_wheat":  Dates(299, -1.4, 184, 2.8, 9, 5),
    "winter_barley": Dates(285, -1.4, 165, 2.6, 8, 5),
    "spring_barley": Dates(55, 3.0, 190, 2.2, 8, 6),
    "rapeseed":      Dates(255, -1.4, 172, 2.8, 6, 5),
    "sugar_beet":    Dates(78, 1.4, 283, 0.5, 8, 15),
    "potato":        Dates(95, 1.6, 249, 1.0, 8, 10),
}
_SHARES = {
    "north_america": {"maize": .30, "soybean": .25, "winter_wheat": .13, "spring_barley": .03,
                      "cotton": .06, "alfalfa": .09, "grassland": .08, "woodland": .06},
    "europe":        {"maize": .24, "winter_wheat": .20, "winter_barley": .07,
                      "spring_barley": .06, "rapeseed": .06, "sugar_beet": .06, "potato": .08,
                      "alfalfa": .03, "grassland": .13, "woodland": .07},
}
# fmt: on
CALENDARS = {"north_america": _NORTH_AMERICA, "europe": _EUROPE}

LATITUDES = (28.0, 60.0)
"""Latitudes for which the calendars hold, degrees north."""


def continent(latitude: float, longitude: float) -> str:
    """Return the continent whose crops and calendars hold at a place.

    Raises
    ------
    DeepCropError
        Outside the latitudes and longitudes the calendars cover.
    """
    if not LATITUDES[0] <= latitude <= LATITUDES[1]:
        raise DeepCropError(
            f"Latitude {latitude:g} is outside {LATITUDES[0]:g} - {LATITUDES[1]:g} degrees north, "
            "where the crop calendars of the simulation hold."
        )
    if -130 <= longitude <= -60:
        return "north_america"
    if -12 <= longitude <= 45:
        return "europe"
    raise DeepCropError(
        f"Longitude {longitude:g} is outside North America (-130 … -60) and Europe (-12 … 45), "
        "for which the simulation has crop calendars."
    )


def shares(place: str) -> tuple[list[str], NDArray[np.float64]]:
    """Return names and area shares of the crops of a continent ("north_america", "europe")."""
    table = _SHARES[place]
    weights = np.array(list(table.values()))
    return list(table), weights / weights.sum()


def typical_dates(place: str, crop: str, latitude: float) -> tuple[float, float]:
    """Return the mean sowing and harvest day of year of a crop at a latitude."""
    dates = CALENDARS[place][crop]
    # Farther north farmers take earlier varieties rather than harvest in winter.
    offset = min(latitude, 48.0 if place == "north_america" else 56.0) - 40
    return dates.sowing + dates.sowing_slope * offset, dates.harvest + dates.harvest_slope * offset
