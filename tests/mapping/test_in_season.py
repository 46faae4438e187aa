"""Maps of a season that is not over: what was observed by a day, and what is only forecast."""

import csv
import datetime
import json
import logging

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_without_pictures, read
from tests.helpers.weights_files import tiny, write_weights

import deepcrop as dc
from deepcrop.cli.maps import _report
from deepcrop.cube.io import save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.mapping.network import network_layers
from deepcrop.mapping.options import parse_until, resolve_options
from deepcrop.mapping.points import points_table
from deepcrop.mapping.status import UNKNOWN_WIDTH, last_seen, season_is_open, status_of
from deepcrop.mapping.years import map_years
from deepcrop.phenology import REASONS
from deepcrop.products.layers import (
    FORECAST,
    NO_EVENT,
    NO_STATUS,
    NOT_YET_KNOWN,
    OBSERVED,
    STATUS,
)
from deepcrop.products.results import open_result
from deepcrop.report import report
from deepcrop.stages import CALENDAR, NO_DAY, Dates, to_days

UNTIL = datetime.date(2018, 8, 4)
"""Between the rise of `season_cube` (days 120 to 127) and its fall (day 250)."""

STARTS, ENDS = ("sos20", "sos50"), ("eos50", "eos20")


def field_cube():
    """`season_cube` of 6 x 8 pixels, all one field; row 0 is never seen."""
    cube = season_cube(rows=6, cols=8)
    landcover = cube["landcover"].to_dataset()
    landcover["field_id"] = (("y", "x"), np.full((6, 8), 3, np.uint32))
    cube["landcover"] = landcover
    return cube


def cut(cube, until):
    """The cube without the optical scenes after a day."""
    optical = cube["optical"].to_dataset()
    days = optical["time"].values.astype("datetime64[D]")
    cube["optical"] = optical.isel(time=np.flatnonzero(days <= np.datetime64(until)))
    return cube


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("in_season")
    save_cube(field_cube(), path / "cube.zarr")
    return path


@pytest.fixture(scope="module")
def mapped(folder):
    return map_without_pictures(
        folder / "cube.zarr", 2018, folder / "maps", until=UNTIL, fields=True
    )


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    return write_weights(path, tiny(), {"title": "random numbers"})


# The rule -----------------------------------------------------------------------------------------


def one(day, low, high, probability, last):
    made = (np.array([[[value]]], np.float64) for value in (day, low, high))
    p = None if probability is None else np.array([[[probability]]])
    return int(status_of(Dates(*made, p), np.array([float(last)]))[0, 0, 0])


@pytest.mark.parametrize(
    ("day", "low", "high", "probability", "last", "expected"),
    [
        (120, 110, 150, 0.9, 150, OBSERVED),
        (120, 110, 150.1, 0.9, 150, FORECAST),  # perhaps it lies ahead
        (200, 170, 259.9, 0.5, 150, FORECAST),
        (200, 170, 170 + UNKNOWN_WIDTH, 0.9, 150, NOT_YET_KNOWN),
        (100, 61, 150, 0.9, 150, OBSERVED),  # badly known, but over
        (100, 60, 150, 0.9, 150, NOT_YET_KNOWN),  # of which season?
        (100, 40, 150, None, 150, OBSERVED),  # the curve has no such limit
        (np.nan, np.nan, np.nan, 0.4, 150, NOT_YET_KNOWN),
        (np.nan, np.nan, np.nan, 0.049, 150, NO_EVENT),
        (120, 110, 130, 0.9, np.nan, NO_STATUS),
        (120, 110, 130, None, 150, OBSERVED),  # the curve
        (149, 140, 155, None, 150, NOT_YET_KNOWN),
        (np.nan, np.nan, np.nan, None, 150, NOT_YET_KNOWN),
    ],
)
def test_each_status_has_its_condition(day, low, high, probability, last, expected):
    assert one(day, low, high, probability, last) == expected


@settings(max_examples=200, deadline=None)
@given(
    day=st.floats(-181, 548), early=st.floats(0, 300), late=st.floats(0, 300),
    probability=st.floats(0, 1), last=st.floats(-181, 548), later=st.floats(0, 100),
)  # fmt: skip
def test_what_may_lie_ahead_is_never_called_observed(day, early, late, probability, last, later):
    status = one(day, day - early, day + late, probability, last)
    assert (status == OBSERVED) == (day + late <= last and (day + late) - (day - early) < 90)
    if status == OBSERVED:  # and stays so with more observations that do not move it
        assert one(day, day - early, day + late, probability, last + later) == OBSERVED


def test_a_season_is_open_until_the_last_month_of_its_year():
    assert season_is_open(datetime.date(2018, 11, 30), 2018)
    assert not season_is_open(datetime.date(2018, 12, 1), 2018)
    assert not season_is_open(datetime.date(2019, 2, 28), 2018)
    assert not season_is_open(None, 2018)
    wide = Dates(*(np.full((1, 1, 1), day) for day in (100.0, 60.0, 150.0)), np.ones((1, 1, 1)))
    assert status_of(wide, np.array([200.0]), is_open=False)[0, 0, 0] == OBSERVED


def test_a_day_that_cannot_be_stored_is_not_known():
    day = np.full((1, 1, 1, 1), 551.0, np.float32)
    dates = Dates(day, day - 2, day + 2, np.ones_like(day))
    layers = network_layers(dates, ("eos20",), np.ones((1, 1), bool), np.full((1, 1), 600.0))
    assert layers["eos20"][0, 0] == NO_DAY
    assert layers["eos20_status"][0, 0] == NOT_YET_KNOWN


def test_last_day_of_each_pixel_is_that_of_any_sensor():
    days = {"optical": np.float32([10, 30]), "sar": np.float32([20])}
    valid = {
        "optical": np.array([[[True, True, False]], [[False, True, False]]]),
        "sar": np.array([[[True, False, False]]]),
    }
    np.testing.assert_array_equal(last_seen(valid, days), [[20, 30, np.nan]])


# A map by the curve -------------------------------------------------------------------------------


def test_starts_are_observed_and_ends_not_yet_known(mapped):
    for stage in STARTS:
        days, status = read(mapped.path / f"{stage}.tif"), read(mapped.path / f"{stage}_status.tif")
        assert (status[1:] == OBSERVED).all()
        assert (status[0] == NO_STATUS).all()
        assert (read(mapped.path / f"{stage}_high.tif")[1:] <= to_days(UNTIL, 2018)).all()
        rise = 120 + np.arange(8)
        assert (np.abs(days[1:] - rise) < 15).all()
    for stage in ENDS:
        assert (read(mapped.path / f"{stage}.tif") == NO_DAY).all()
        assert (read(mapped.path / f"{stage}_status.tif")[1:] == NOT_YET_KNOWN).all()
        reason = read(mapped.path / f"{stage}_reason.tif")
        assert {REASONS[code] for code in np.unique(reason[1:])} == {"not observed after"}


def test_until_is_the_cube_without_later_scenes(caplog):
    """And where no day is given, it is that of the last scene, with a warning."""
    stated = dc.map_seasons(field_cube(), year=2018, until=UNTIL)
    assert not caplog.text
    with caplog.at_level(logging.WARNING):
        alone = dc.map_seasons(cut(field_cube(), UNTIL), year=2018)
    assert "end on 2018-08-04, before the target year does" in caplog.text
    for name in stated:
        np.testing.assert_array_equal(stated[name], alone[name], str(name))
    assert "sos50_status" in alone


def test_a_whole_year_has_no_status(folder, caplog):
    with caplog.at_level(logging.WARNING):
        seasons = dc.map_seasons(dc.open_cube(folder / "cube.zarr"), year=2018)
    assert not [name for name in seasons if str(name).endswith(("_status", "_reason"))]
    assert not caplog.text


def test_seasons_in_memory_are_those_of_the_files(mapped, folder):
    seasons = dc.map_seasons(dc.open_cube(folder / "cube.zarr"), year=2018, until="2018-08-04")
    stored = read(mapped.path / "sos50_status.tif").astype(np.float32)
    np.testing.assert_array_equal(
        seasons["sos50_status"].values, np.where(stored == NO_STATUS, np.nan, stored)
    )
    assert json.loads(seasons.attrs["settings"])["until"] == "2018-08-04"


def test_description_of_the_map_says_until_when(mapped):
    item = json.loads((mapped.path / "item.json").read_text())
    assert item["properties"]["deepcrop:until"] == "2018-08-04"
    classes = item["assets"]["sos50_status"]["classification:classes"]
    assert [one["title"] for one in classes] == list(STATUS.values())
    result = open_result(mapped.path)
    assert result.until == UNTIL
    shares = result.summary["maps"]["curve"]["layers"]["sos50"]["status_share"]
    assert shares == {"no_event": 0.0, "observed": 1.0, "forecast": 0.0, "not_yet_known": 0.0}
    assert 'label="observed"' in (mapped.path / "sos50_status.qml").read_text()
    with rasterio.open(mapped.path / "eos50.tif") as file:
        assert file.tags()["until"] == "2018-08-04"


def test_table_of_fields_gives_the_shares(mapped):
    lines = (mapped.path / "fields.csv").read_text().splitlines()
    (row,) = csv.DictReader(line for line in lines if not line.startswith("#"))
    assert float(row["sos50_observed"]) == pytest.approx(40 / 48, abs=1e-4)  # row 0 is not seen
    assert (row["sos50_forecast"], row["eos50_observed"]) == ("0.0", "0.0")


def test_points_have_their_status_and_reason(mapped, folder):
    (folder / "points.csv").write_text("x,y\n500025,5600025\n")
    of_map = points_table(mapped.path, folder / "points.csv")
    main = of_map[of_map["season"] == 1].set_index("stage")
    assert list(main["status"][list(STARTS)]) == ["observed"] * 2
    assert main.loc["eos50", ["date", "status", "reason"]].tolist() == [
        None, "not yet known", "not observed after",
    ]  # fmt: skip


@pytest.mark.slow
def test_report_says_until_when(mapped):
    text = report(mapped.path, mapped.path.parent / "report").read_text()
    for words in ("The season as known on", "not yet known", "As known on"):
        assert words in text


@pytest.mark.parametrize(
    "change", [{"wide_share": "many"}, {"status_share": {"observed": 2}}, None]
)
def test_a_damaged_summary_is_named(mapped, tmp_path, change):
    (tmp_path / "item.json").write_bytes((mapped.path / "item.json").read_bytes())
    summary = json.loads((mapped.path / "summary.json").read_text())
    numbers = summary["maps"]["curve"]["layers"]["sos50"]
    if change is None:
        del numbers["status_share"]
    else:
        numbers |= change
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    with pytest.raises(DeepCropError, match=r"summary\.json"):
        open_result(tmp_path)


# A map by the network -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def by_both(folder, weights):
    return map_without_pictures(
        folder / "cube.zarr", 2018, folder / "both", method="both", weights=weights, until=UNTIL
    )


def test_network_forecasts_and_says_so(by_both):
    result = open_result(by_both.path)
    found = set()
    for stage in CALENDAR:
        for season in ("", "_season2"):
            layer = result.layers[f"deepcrop/{stage}{season}"]
            days, status = read(layer.path), read(layer.path.with_stem(f"{layer.path.stem}_status"))
            high = read(layer.path.with_stem(f"{layer.path.stem}_high"))
            dated = (status == OBSERVED) | (status == FORECAST)
            np.testing.assert_array_equal(dated, days != NO_DAY)
            last = to_days(UNTIL, 2018)
            assert (high[status == OBSERVED] <= last).all()
            assert (high[status == FORECAST] >= last - 5).all()  # images are 5 days apart
            assert (status[0] == NO_STATUS).all()
            found |= set(np.unique(status[1:]).tolist())
    assert found <= set(STATUS)
    assert found & {NOT_YET_KNOWN, FORECAST, NO_EVENT}


def test_both_methods_keep_their_own_status(by_both):
    names = {path.name for path in (by_both.path / "curve").glob("sos50*.tif")}
    assert {"sos50_status.tif", "sos50_reason.tif"} <= names
    assert not (by_both.path / "deepcrop" / "sos50_reason.tif").exists()
    assert not (by_both.path / "difference" / "sos50_status.tif").exists()


# Refusals -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("until", ["15 June", "2018-02-30", 20180615, ""])
def test_what_is_no_date_is_refused(until):
    with pytest.raises(DeepCropError, match="expected a date as year-month-day"):
        parse_until(until)


def test_a_day_before_all_observations_is_refused(folder):
    with pytest.raises(CubeError, match="of which those up to 2017-01-01 are read"):
        map_without_pictures(folder / "cube.zarr", 2018, folder / "none", until="2017-01-01")


def test_several_years_have_no_until(folder):
    with pytest.raises(DeepCropError, match="a single year"):
        map_years(folder / "cube.zarr", 2018, 2019, folder / "years", until="2018-06-01")


def test_command_prints_what_is_known(mapped, capsys):
    _report(mapped)
    printed = capsys.readouterr().out
    assert "as known on 2018-08-04" in printed
    assert "100.0 %" in printed  # observed starts


def test_resolved_options_hold_a_date():
    assert resolve_options("both", until="2018-06-15").methods[1].until == datetime.date(
        2018, 6, 15
    )
