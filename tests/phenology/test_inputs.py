"""Times and fill values of users' arrays are converted right, or refused with advice that works."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from deepcrop.errors import DeepCropError
from deepcrop.phenology import extract

TIMES = pd.date_range("2018-01-01", "2019-12-31", freq="8D")
DAYS = np.asarray((TIMES - TIMES[0]).days, float)
NDVI = 0.2 + 0.6 * np.exp(-((((DAYS % 365) - 190) / 40) ** 2))


def over(times, values=NDVI, attrs=None):
    array = xr.DataArray(np.asarray(values), {"time": times}, dims="time", attrs=attrs)
    return array.expand_dims(x=2)


def calendar(name):
    return xr.date_range("2018-01-01", periods=92, freq="8D", calendar=name, use_cftime=True)


def sos20(result):
    """First SOS20 of an array or a series, as a date."""
    if isinstance(result, pd.DataFrame):
        return result["sos20"].iloc[0].to_datetime64()
    return result["date"].sel(stage="sos20", season=1).values.reshape(-1)[0]


RIGHT = sos20(extract(over(TIMES)))


def days_apart(date):
    return abs(date - RIGHT) / np.timedelta64(1, "D")


@pytest.mark.parametrize("zone", ["UTC", "America/Chicago", "Asia/Tokyo"])
def test_time_zones_become_utc(zone):
    noon = TIMES + pd.Timedelta(12, "h")
    times = noon.tz_localize("UTC").tz_convert(zone)
    weights = over(times, np.ones(92))
    for result in (
        extract(over(times)),
        extract(over(times), weights=weights),
        extract(pd.Series(NDVI, times)),
    ):
        assert sos20(result) == RIGHT


OTHERS = [
    pd.PeriodIndex(TIMES, freq="D"),
    calendar("standard"),
    calendar("noleap"),
    calendar("360_day"),
    pd.Index([str(stamp.date()) for stamp in TIMES]),
    pd.Index(TIMES.date),
    TIMES - TIMES[0],
    pd.Index(DAYS.astype(int)),
]


@pytest.mark.parametrize("times", OTHERS, ids=lambda times: f"{type(times).__name__} {times.dtype}")
def test_other_times_are_refused_at_once_with_advice_that_works(times):
    for source, name in ((over(times), "array"), (pd.Series(NDVI, times), "series")):
        begin = time.perf_counter()
        with pytest.raises(DeepCropError, match=r"expected (a DatetimeIndex|datetime64)") as caught:
            extract(source)
        assert time.perf_counter() - begin < 0.2
        advice = str(caught.value).split(": ", 1)[1].split(" if it is days since")[0].rstrip(".")
        names = {name: source, "pd": pd, "xr": xr}
        if name == "series":
            exec(advice, names)
            result = extract(source)
        else:
            result = extract(eval(advice, names))
        # Day 141 of 360 is day 143 of a year; calendars differ by a leap day.
        assert days_apart(sos20(result)) <= 2.5


def test_undecoded_days_come_with_the_way_to_decode_them():
    array = over(DAYS)
    array["time"].attrs["units"] = "days since 2018-01-01"
    with pytest.raises(DeepCropError, match=r"xr\.decode_cf"):
        extract(array)
    assert sos20(extract(xr.decode_cf(array.to_dataset(name="values"))["values"])) == RIGHT


def test_years_beyond_the_type_of_the_result_are_refused():
    times = TIMES.values.astype("datetime64[s]") + np.timedelta64(400_000, "D")
    with pytest.raises(DeepCropError, match="from 3113 to 3115; expected years from 1678 to 2261"):
        extract(over(times))


@pytest.mark.parametrize("name", ["_FillValue", "missing_value"])
@pytest.mark.parametrize("fill", [-9999.0, 0.0, -3.4028234663852886e38])
@pytest.mark.parametrize("chunks", [None, {"x": 1}])
def test_fill_values_that_attributes_name_are_no_observation(name, fill, chunks):
    gaps = NDVI.astype(np.float32)
    gaps[5::9] = np.nan
    right = extract(over(TIMES, gaps))
    filled = over(TIMES, np.where(np.isnan(gaps), np.float32(fill), gaps), {name: fill})
    result = extract(filled if chunks is None else filled.chunk(chunks))
    xr.testing.assert_equal(result.compute(), right)


def test_packed_integers_are_unpacked():
    packed = np.round(NDVI * 10_000).astype(np.int16)
    packed[5::9] = -3000
    right = (packed.astype(np.float32)) * np.float32(1e-4)
    right[5::9] = np.nan
    attrs = {"_FillValue": -3000, "scale_factor": 1e-4, "add_offset": 0.0}
    xr.testing.assert_equal(extract(over(TIMES, packed, attrs)), extract(over(TIMES, right)))
    # Decoded numbers that kept the attributes are not scaled again.
    xr.testing.assert_equal(
        extract(over(TIMES, right, {"scale_factor": 1e-4})), extract(over(TIMES, right))
    )
    with pytest.raises(DeepCropError, match="scaled by 10 000"):
        extract(over(TIMES, packed))


def test_attributes_that_are_no_numbers_are_named():
    with pytest.raises(DeepCropError, match=r"Attribute _FillValue is 'none'.*array.attrs"):
        extract(over(TIMES, attrs={"_FillValue": "none"}))


def test_bands_of_unsigned_integers_give_their_index():
    """nir - red of uint16 would be 65 thousand over water; 65535 of the attribute is no data."""
    red = np.round(2000 * (1 - NDVI)).astype(np.uint16)
    nir = np.round(2000 * (1 + NDVI)).astype(np.uint16)
    water = np.arange(92) % 11 == 4  # clouds' shadows on water
    nir[water], red[water] = 100, 200
    gaps = np.arange(92) % 9 == 5
    bands = {"nir": over(TIMES, nir), "red": over(TIMES, red)}
    right = extract(xr.Dataset({name: band.astype(np.float32) for name, band in bands.items()}))
    xr.testing.assert_equal(extract(xr.Dataset(bands)), right)
    with_gaps = {
        name: over(
            TIMES, np.where(gaps, 65535, band[0].values).astype(np.uint16), {"_FillValue": 65535}
        )
        for name, band in bands.items()
    }
    missing = {name: band.where(~gaps).astype(np.float32) for name, band in bands.items()}
    missing = {name: over(TIMES, np.where(gaps, np.nan, band[0])) for name, band in missing.items()}
    xr.testing.assert_allclose(extract(xr.Dataset(with_gaps)), extract(xr.Dataset(missing)))
