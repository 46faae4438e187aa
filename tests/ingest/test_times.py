"""Dates of scenes: coordinates in their many forms, names of files, folders and bands."""

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from deepcrop.errors import SpecError
from deepcrop.ingest.spec import Time
from deepcrop.ingest.times import SPANS_FOLDERS, date_in_path, decode_times

DAYS = np.array(["2018-02-28", "2018-03-01", "2018-05-04"], "datetime64[D]")
SINCE = (DAYS - np.datetime64("2018-01-01")).astype(int)
NUMBERS = np.array([20180228, 20180301, 20180504])


def decoded(values, dims=("t",), **attrs):
    array = xr.Dataset({"t": (dims, values, attrs)})["t"]
    return decode_times(array, Path("f.nc"), "optical")


@pytest.mark.parametrize(
    ("values", "attrs"),
    [
        (SINCE, {"units": "days since 2018-01-01"}),
        (SINCE, {"units": "days since 2018-01-01", "calendar": "noleap"}),
        (SINCE, {"units": "days since 2018-01-01", "calendar": "365_day"}),
        (SINCE * 24 + 2, {"units": "hours since 2018-01-01T00:00:00+02:00"}),
        (NUMBERS, {}),
        (NUMBERS.astype(float), {"units": "day as %Y%m%d.%f"}),
        (NUMBERS * 1000000, {}),
        (DAYS.astype(str).astype(object), {}),
        (np.array([f"{day}T01:30:00+01:30" for day in DAYS], object), {}),
        (np.array([f"{day}T00:00Z" for day in DAYS], "S"), {}),
    ],
)
def test_the_same_days_in_every_form(values, attrs):
    np.testing.assert_array_equal(decoded(values, **attrs), DAYS.astype("datetime64[ns]"))


def test_text_in_characters_and_a_single_time():
    letters = np.array([list(str(day)) for day in DAYS], "S1")
    np.testing.assert_array_equal(decoded(letters, ("t", "letters")), DAYS)
    assert decoded(np.array(120), (), units="days since 2018-01-01")[0] == np.datetime64(
        "2018-05-01"
    )
    assert decoded(np.array([20180504.25]))[0] == np.datetime64("2018-05-04T06:00")


@pytest.mark.parametrize(
    ("values", "attrs", "words"),
    [
        (SINCE, {"units": "days since 2018-01-01", "calendar": "360_day"}, "calendar '360_day'"),
        (SINCE, {"units": "days since 2018-01-01", "calendar": "julian"}, "calendar 'julian'"),
        (SINCE, {}, r"it holds 58 \(units None\); expected CF times"),
        (SINCE, {"units": "metres"}, r"it holds 58 \(units 'metres'\)"),
        (np.array([2018124]), {}, "it holds 2018124"),
        (np.array([20181304]), {}, "it holds 20181304"),
        (np.array([30180101]), {}, "it holds 30180101"),
        (np.array([np.nan, 20180504]), {}, "it holds nan"),
        (np.array(["4 May 2018"], object), {}, "it holds '4 May 2018'"),
        (np.array([0.0, np.nan]), {"units": "days since 2018-01-01"}, "lacks 1 of 2 times"),
        # Some of these do not fit into nanoseconds, and would become days of other centuries.
        (SINCE, {"units": "days since 1600-01-01"}, "of the year 1600; expected dates from 1970"),
        (SINCE, {"units": "days since 9000-01-01"}, "of the year 9000"),
        (SINCE, {"units": "days since 1700-01-01", "calendar": "noleap"}, "of the year 1700"),
        (np.array(["2150-01-01"], object), {}, "of the year 2150"),
    ],
)
def test_other_times_are_refused(values, attrs, words):
    with pytest.raises(SpecError, match=rf"optical\.time: 't' in f\.nc .*{words}"):
        decoded(values, **attrs)


@pytest.mark.parametrize(
    ("pattern", "path", "place"),
    [
        (r"\d{8}", "2017/20171231/S2_20180504.tif", 0),  # the name before all folders
        (r"\d{8}", "S2A_31UFS_20180504_0_L2A/B04.tif", 1),
        (r"\d{8}", "20171231/S2A_20180504T105031_20180505T130000.zarr/r10m", 1),
        (r"(\d{8})_0_L2A/B0\d", "S2A_31UFS_20180504_0_L2A/B04.tif", SPANS_FOLDERS),
    ],
)
def test_the_date_nearest_to_the_file(pattern, path, place):
    time = Time(pattern=pattern, format="%Y%m%d")
    found = date_in_path(time, Path(path).parts, "optical")
    assert found == (np.datetime64("2018-05-04"), place)


@pytest.mark.parametrize(
    ("pattern", "form", "path"),
    [
        (r"A(\d{7})", "%Y%j", "MOD09GA.A2018124.h18v03.061.2020345123456.tif"),
        (r"\.(\d{7})T", "%Y%j", "HLS.S30.T15SWD.2018124T170000.v2.0.B04.tif"),
        (r"A\d{7}", "A%Y%j", "A2018124/B04.tif"),
        (r"\d{4}/\d{3}", "%Y/%j", "2018/124/B04.tif"),
        (r"\d{4}-\d+-\d+", "%Y-%m-%d", "S2_2018-5-4.tif"),  # no other way to read it
        (r"\d{8}", "%Y%m%d", "S2_20180504000000.tif"),
        (r"\d{8}T\d+\.\d", "%Y%m%dT%H%M%S.%f", "S2_20180504T000000.0.tif"),
        (r"\d+[A-Za-z]+\d+", "%d%b%Y", "S2_04May2018.tif"),
    ],
)
def test_forms_of_dates_in_names(pattern, form, path):
    time = Time(pattern=pattern, format=form)
    assert date_in_path(time, Path(path).parts, "optical")[0] == np.datetime64("2018-05-04")


@pytest.mark.parametrize(
    ("pattern", "form", "path", "words"),
    [
        (r"\d{8}", "%Y%m%d", "S2_16000101.tif", "'16000101' .* is of the year 1600; expected"),
        (r"\d{8}", "%Y%m%d", "S2_30000101.tif", "'30000101' .* is of the year 3000"),
        (r"\d{7}", "%Y%m%d", "A2018123.tif", "'2018123' .* not a date of the form '%Y%m%d'"),
        (r"\d{7}", "%Y%j", "A2018366.tif", "'2018366' .* not a date of the form '%Y%j'"),
        (r"\d{5}", "%y%j", "A18366.tif", "'18366' .* not a date"),
        (r"\d{6}", "%Y%j", "A201812.tif", "'201812' .* not a date"),
        (r"\d{8}", "%Y%m%d", "A2018124.2018112233445.tif", "a part of the number 2018112233445"),
        (r"\d{7}", "%Y%j", "S2_20180504.tif", "a part of the number 20180504"),
        (r"0\d{7}", "0%Y%j", "S2_102018124.tif", "a part of the number 102018124"),
    ],
)
def test_dates_that_could_be_others_are_refused(pattern, form, path, words):
    time = Time(pattern=pattern, format=form)
    with pytest.raises(SpecError, match=rf"optical\.time\.(format|pattern): .*{words}"):
        date_in_path(time, Path(path).parts, "optical")


def test_a_path_without_a_date_is_named():
    time = Time(pattern=r"\d{8}", format="%Y%m%d")
    with pytest.raises(SpecError, match=r"finds nothing in 'a/B04\.tif', neither in the name"):
        date_in_path(time, ("a", "B04.tif"), "optical")
