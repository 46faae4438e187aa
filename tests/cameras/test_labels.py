import csv
import json
import math
from dataclasses import asdict

import numpy as np
import pytest
from tests.helpers.camera_files import camera_file, greenness, row, season_file

from deepcrop.cameras.crop_table import read_crops
from deepcrop.cameras.label_figure import camera_figure
from deepcrop.cameras.label_table import label_files
from deepcrop.cameras.labels import (
    Screening,
    growing_window,
    label_series,
    observation_weights,
)
from deepcrop.errors import DeepCropError
from deepcrop.phenology import PRESETS, season_dates, smooth
from deepcrop.sources.phenocam.summary_files import read_series


def of_year(result, year):
    return next(site_year for site_year in result.years if site_year.year == year)


def main_season(site_year):
    return next(season for season in site_year.seasons if season.slot == 1)


def test_weights(tmp_path):
    rows = [
        row("2020-01-01", count="57"),
        row("2020-01-02", count="1"),
        row("2020-01-03", count="0"),
        row("2020-01-04", "NA", "NA"),
        row("2020-01-05", snow="1"),
        row("2020-01-06", outlier="1"),
    ]
    weights = observation_weights(read_series(camera_file(tmp_path, rows)))
    np.testing.assert_allclose(weights, [0.95, 0.25, 0, 0, 0, 0])


def test_dates_of_a_known_season(tmp_path):
    result = label_series(read_series(season_file(tmp_path)), crops={("field", 2019): "corn"})
    assert [site_year.year for site_year in result.years] == [2018, 2019, 2020]
    site_year = of_year(result, 2019)
    assert (site_year.accepted, site_year.crop, site_year.why) == (True, "corn", "")
    season = main_season(site_year)
    shift = 4 * math.log(4)  # from 50 % to 20 % of a logistic of width 4
    truth = {"sos20": 150 - shift, "sos50": 150, "eos50": 260, "eos20": 260 + shift}
    for name, day in truth.items():
        event = season.events[name]
        assert event.day == pytest.approx(day, abs=1.5)
        assert event.low < event.day < event.high
        assert event.reason == "found"
    assert season.amplitude == pytest.approx(0.12, abs=0.005)
    assert season.length == pytest.approx(110 + 2 * shift, abs=2)
    assert season.largest_gap == 3
    assert season.observed_share == 1
    assert season.observations == pytest.approx(season.length / 3, abs=1)


def test_a_season_across_new_year_belongs_to_the_year_of_its_peak(tmp_path):
    path = season_file(tmp_path, ups=[340.0], downs=[480.0], last=700)
    result = label_series(read_series(path))
    assert not of_year(result, 2019).seasons
    [season] = of_year(result, 2020).seasons
    assert season.events["sos50"].day == pytest.approx(340 - 365, abs=1.5)


def test_several_seasons_are_kept_and_said(tmp_path):
    path = season_file(tmp_path, ups=[60, 140, 220], downs=[110, 190, 290])
    site_year = of_year(label_series(read_series(path)), 2019)
    assert [season.number for season in site_year.seasons] == [1, 2, 3]
    assert sorted(season.slot for season in site_year.seasons) == [0, 1, 2]
    assert site_year.accepted
    assert "3 seasons" in site_year.why


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"shape": {"high": 0.335}}, ["no season", "amplitude too small"]),
        ({"shape": {"high": 0.356}}, ["amplitude 0.02", "0.03 needed"]),
        ({"drop": [(140, 162)]}, ["27 days without an observation around SOS50"]),
        ({"drop": [(125, 177)]}, ["no SOS50: gap over the event"]),
        ({"drop": [(60, 110), (190, 240)]}, ["growing window", "80 % needed"]),
        ({"first": 100, "drop": [(100, 360)]}, ["too few observations"]),
        ({"last": 262}, ["no EOS50: not observed after"]),
        ({"first": 154}, ["no SOS50: not observed before"]),
    ],
)
def test_a_rejection_says_why(tmp_path, options, words):
    result = label_series(read_series(season_file(tmp_path, **options)))
    site_year = of_year(result, 2019)
    assert not site_year.accepted
    for word in words:
        assert word in site_year.why


def test_a_gap_in_winter_does_not_matter(tmp_path):
    path = season_file(tmp_path, drop=[(-60, 20)])
    assert of_year(label_series(read_series(path)), 2019).accepted


def test_one_day_files_and_nothing_at_all(tmp_path):
    daily = [
        row(str(np.datetime64("2019-01-01") + day), f"{greenness([day])[0]:.5f}")
        for day in range(365)
    ]
    result = label_series(read_series(camera_file(tmp_path, daily, period=1)))
    assert main_season(result.years[0]).events["sos50"].day == pytest.approx(150, abs=1.5)
    empty = [row("2020-12-31", "NA", "NA"), row("2021-01-01", "NA", "NA")]
    result = label_series(read_series(camera_file(tmp_path, empty, name="empty")))
    assert [site_year.why[:31] for site_year in result.years] == 2 * [
        "no season: too few observations"
    ]
    camera_figure(result)


def test_growing_window_follows_the_sun():
    assert growing_window(41)[[0, -1]].tolist() == pytest.approx([51, 291], abs=2)
    assert growing_window(5).size == 365
    south = growing_window(-41)
    assert 0 in south
    assert 364 in south
    assert 180 not in south


def test_real_cameras(real_data):
    """Mead, Nebraska: maize and soybean; dates seen in the figure."""
    folder = real_data / "phenocam"
    crops = read_crops(folder / "crop_type_by_site_year.csv")
    result = label_series(read_series(folder / "series/mead2_AG_1000_3day.csv"), crops=crops)
    verdicts = {site_year.year: site_year.accepted for site_year in result.years}
    assert verdicts[2016] is False  # begins in July
    assert all(verdicts[year] for year in range(2017, 2023))
    assert of_year(result, 2018).crop == "soybean"
    events = main_season(of_year(result, 2018)).events
    expected = {"sos20": 154, "sos50": 163, "eos50": 266, "eos20": 276}
    for name, day in expected.items():
        assert events[name].day == pytest.approx(day, abs=2)


@pytest.mark.parametrize("spoilt", [(), [(190, 215)]])
def test_labels_name_their_smoother_whatever_the_default(tmp_path, spoilt):
    """The paper's smoother and the camera settings, through screening, to the last bit."""
    camera = read_series(season_file(tmp_path, drop=spoilt))
    weights = observation_weights(camera)
    days = (camera.date - camera.date[0]).astype(np.float32)[weights > 0]
    values, kept = camera.greenness["gcc_90"][None, weights > 0], weights[None, weights > 0]
    expected = season_dates(values, days, kept, smoother="savgol", preset="phenocam")
    other = season_dates(values, days, kept, preset="phenocam")
    assert not np.array_equal(expected.dates, other.dates)

    result = label_series(camera)
    curve, _ = smooth(values, days, kept, smoother="savgol", preset="phenocam")
    np.testing.assert_array_equal(result.curve, curve[0])
    season = main_season(of_year(result, 2019))
    start = int((np.datetime64("2019-01-01", "D") - camera.date[0]).astype(int))
    for name, event in season.events.items():
        k = expected.stages.index(name)
        for bound in ("day", "low", "high"):
            dates = getattr(expected, "dates" if bound == "day" else bound)[0, 0, k]
            np.testing.assert_equal(getattr(event, bound), float(dates - start))
    record = tmp_path / "labels.csv.json"
    label_files([camera.path], tmp_path / "labels.csv")
    assert json.loads(record.read_text())["smoother"] == asdict(PRESETS["phenocam"][0]["savgol"])


@pytest.fixture(scope="module")
def southern_file(tmp_path_factory):
    """Summer crops at 31° S; peaks 27 December 2017, 4 January 2019, 28 December 2019."""
    middles = [-370, 3, 361]  # days from 1 January 2019
    return season_file(
        tmp_path_factory.mktemp("south"),
        ups=[day - 45 for day in middles],
        downs=[day + 45 for day in middles],
        first=-549,  # 1 July 2017
        last=547,  # 30 June 2020
        latitude=-31.0,
    )


@pytest.mark.parametrize("start", ["07-01", "auto"])
def test_southern_years_have_a_season_each(southern_file, start):
    result = label_series(read_series(southern_file), year_start=start)
    assert result.year_start == "07-01"
    assert [(one.year, one.accepted, one.why) for one in result.years] == [
        (year, True, "") for year in (2018, 2019, 2020)
    ]
    for site_year, middle in zip(result.years, (-5, 3, -4), strict=True):
        [season] = site_year.seasons
        dates = season.events["sos50"].day, season.events["eos50"].day
        assert np.allclose(dates, (middle - 45, middle + 45), atol=1.5)
        assert site_year.observed_share == 1
    camera_figure(result)


def test_a_calendar_year_says_where_the_southern_seasons_are(southern_file):
    """No untrue "amplitude too small" for a year whose seasons belong to its neighbours."""
    result = label_series(read_series(southern_file))
    assert [(one.year, len(one.seasons)) for one in result.years] == [
        (2017, 1), (2018, 0), (2019, 2), (2020, 0)
    ]  # fmt: skip
    why = of_year(result, 2018).why
    assert why.startswith("no season: those that reach into the year peak on 2017-12-2")
    assert " and 2019-01-0" in why
    assert why.endswith("(year start 07-01 keeps summers whole)")


def test_a_year_within_a_season_of_two_years_says_so(tmp_path):
    """Green from June 2019 to December 2020: no amplitude is too small in any of both years."""
    path = season_file(tmp_path, ups=[150.0], downs=[700.0], first=-200, last=1000)
    result = label_series(read_series(path))
    for year in (2019, 2020):
        site_year = of_year(result, year)
        assert not site_year.accepted
        assert "season longer than a year" in site_year.why


def test_a_table_of_years_that_start_in_july_says_so(southern_file, tmp_path):
    out = tmp_path / "labels.csv"
    label_files([southern_file], out, year_start="07-01")
    lines = list(csv.DictReader(out.read_text().splitlines()))
    assert {line["year_start"] for line in lines} == {"07-01"}
    assert lines[0]["sos50_date"].startswith("2017-11")
    assert float(lines[0]["sos50_day"]) < 0
    assert json.loads((tmp_path / "labels.csv.json").read_text())["year_start"] == "07-01"
    with pytest.raises(DeepCropError, match="31-12"):
        label_files([southern_file], tmp_path / "other.csv", year_start="31-12")


def flush_file(folder, high):
    """Spring flush to 0.45, then a plateau of ``high`` from June until leaf fall on day 288."""
    rows = []
    for day in range(-100, 500, 3):
        value = greenness([day], [120], [165], 0.33, 0.33 + 0.45 - high)[0]
        value += greenness([day], [120], [288], 0, high - 0.33)[0]
        rows.append(row(str(np.datetime64("2019-01-01") + day), f"{value:.5f}"))
    return camera_file(folder, rows)


def test_a_date_that_may_be_months_off_is_no_label(tmp_path):
    """A plateau at half height: EOS50 is the end of the flush or leaf fall, nobody knows which."""
    vague = of_year(label_series(read_series(flush_file(tmp_path, 0.391))), 2019)
    event = main_season(vague).events["eos50"]
    assert event.width > 60
    assert (vague.accepted, vague.why) == (
        False,
        f"90 % interval of EOS50 {event.width:.1f} days wide, 30 allowed",
    )
    wide = label_series(
        read_series(flush_file(tmp_path, 0.391)), screening=Screening(max_interval=365)
    )
    assert of_year(wide, 2019).accepted
    clear = of_year(label_series(read_series(flush_file(tmp_path, 0.42))), 2019)
    assert clear.accepted
    assert main_season(clear).events["eos50"].day == pytest.approx(288, abs=5)


def test_a_wet_year_leaves_the_verdicts_of_dry_years_alone(tmp_path):
    """Seasons of amplitude 0.05 in six years; in the fourth year, of 0.40 or of 0.05."""
    days = np.arange(6 * 365)
    verdicts = []
    for name, wet in (("wet", 0.40), ("dry", 0.05)):
        values = 0.33 + sum(
            greenness(days, [365 * k + 150], [365 * k + 260], 0, wet if k == 3 else 0.05)
            for k in range(6)
        )
        rows = [
            row(str(np.datetime64("2015-01-01") + day), f"{values[day]:.5f}") for day in days[::3]
        ]
        result = label_series(read_series(camera_file(tmp_path, rows, name=name)))
        verdicts.append({one.year: (one.accepted, one.why) for one in result.years})
    assert verdicts[1] == dict.fromkeys(range(2015, 2021), (True, ""))
    assert verdicts[0] == verdicts[1]
