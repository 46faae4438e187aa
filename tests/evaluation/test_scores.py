import csv
import math
from dataclasses import replace

import numpy as np
import pytest
from tests.helpers.cubes import make_cube
from tests.helpers.site_years import accepted, labels, season

from deepcrop import figures
from deepcrop.cameras.site_years import site_years
from deepcrop.cube.contract import grid_of
from deepcrop.errors import DeepCropError
from deepcrop.evaluation import figures as score_figures
from deepcrop.evaluation import scores
from deepcrop.evaluation import tables as score_tables
from deepcrop.evaluation.scores import (
    ALL,
    MethodResult,
    Predictions,
    ReferenceDates,
    summarize_errors,
)
from deepcrop.evaluation.weights_report import CURVES
from deepcrop.training import samples

NAN = math.nan
SEASON = np.array([100.0, 110.0, 250.0, 260.0])
LATER = SEASON + 30


def reference(day, sites=None, crops=None, none=None, simulated=False):
    """Cameras' dates (n, 2, 4); where not said otherwise an empty second slot is known as such."""
    day = np.asarray(day, np.float64)
    names = np.array(sites or [f"site{k}" for k in range(len(day))])
    empty = np.isnan(day)
    empty[:, 0] = False
    return ReferenceDates(
        site_year=np.char.add(names, "_2019"),
        site=names,
        cluster=names,
        crop=np.array(crops or ["corn"] * len(day)),
        year=np.full(len(day), 2019),
        day=day,
        none=empty if none is None else np.asarray(none),
        clear=np.full(day.shape, 5),
        simulated=simulated,
    )


def one_season(*starts):
    day = np.full((len(starts), 2, 4), NAN)
    day[:, 0] = SEASON + np.array(starts)[:, None]
    return day


def predictions(day, half=5.0):
    day = np.asarray(day, np.float64)
    return Predictions(day, day - half, day + half)


def scored(result, stage="sos20", **options):
    return next(one for one in scores.score(result, **options) if one.stage == stage)


# --- arithmetic -----------------------------------------------------------------------------------


def test_errors_by_hand():
    labels = reference(one_season(0, 0, 0, 0, 0))
    day = one_season(0, 2, -4, 10, NAN)
    row = scored(MethodResult("m", labels, [predictions(day)]))
    found = row.mean
    assert (row.method, row.group, row.season, row.stage) == ("m", ALL, 1, "sos20")
    assert (row.site_years, row.dates, row.absent, row.seeds) == (5, 5, 0, 1)
    assert found.detected == 0.8
    assert found.mae == 4  # of 0, 2, 4, 10
    assert found.median == 3
    assert found.bias == 2  # (0 + 2 - 4 + 10) / 4
    assert found.rmse == pytest.approx(math.sqrt(30))  # (0 + 4 + 16 + 100) / 4
    assert found.p90 == pytest.approx(4 + 0.7 * 6)  # at place 2.7 of 0, 2, 4, 10
    assert found.coverage == 0.75  # 10 days off is outside ± 5
    assert found.width == 10
    assert math.isnan(found.mae_snapped)
    assert all(math.isnan(value) for value in vars(row.spread).values())


def test_a_histogram_of_errors_has_the_same_summary_as_the_errors():
    errors = np.random.default_rng(0).integers(-9, 10, 501).astype(float)
    errors[:40] = NAN  # not predicted
    values = np.append(np.arange(-9, 10.0), NAN)
    counts = [np.isnan(errors).sum() if np.isnan(v) else (errors == v).sum() for v in values]
    listed, counted = summarize_errors(errors), summarize_errors(values, counts)
    assert counted == listed
    assert (listed.references, listed.detected) == (501, 461 / 501)
    assert listed.median == np.median(np.abs(errors[40:]))
    none = summarize_errors([NAN, NAN])
    assert (none.references, none.detected) == (2, 0)
    assert math.isnan(none.mae)
    assert math.isnan(summarize_errors(values, np.zeros(20)).median)
    assert math.isnan(summarize_errors([]).detected)


def test_all_stages_are_pooled_not_averaged():
    day = one_season(0, 0)
    day[1, 0] += (1, 2, 3, NAN)
    rows = scores.score(MethodResult("m", reference(one_season(0, 0)), [predictions(day)]))
    assert [row.stage for row in rows] == ["sos20", "sos50", "eos50", "eos20", ALL]
    assert [row.mean.mae for row in rows] == pytest.approx([0.5, 1, 1.5, 0, 6 / 7])
    assert rows[-1].mean.detected == 7 / 8
    assert rows[-1].dates == 8
    assert rows[-1].site_years == 2


def test_unknown_events_are_not_scored():
    labels = reference(one_season(0, 0))
    labels.day[1, 0, 0] = NAN  # unknown, and not known to be none
    day = one_season(0, 50)
    day[:, 1] = SEASON + 200  # a second season that no camera saw, and in one year nobody knows
    labels.none[1, 1] = False
    result = MethodResult("m", labels, [predictions(day)])
    assert scored(result).mean.mae == 0
    assert scored(result).dates == 1
    second = scored(result, season=2)
    assert (second.dates, second.absent) == (0, 1)
    assert second.mean.false == 1
    assert math.isnan(second.mean.mae)
    quiet = MethodResult("m", labels, [predictions(one_season(0, 50))])
    assert scored(quiet, season=2).mean.false == 0
    single = MethodResult(
        "m", labels, [predictions(day[:, :1])]
    )  # the published network has one slot
    assert scores.score(single, season=2) == []
    assert scored(single).mean.mae == 0


def test_mean_and_spread_over_seeds():
    labels = reference(one_season(0, 0))
    runs = [
        predictions(one_season(*offsets)) for offsets in ((1, 1), (2, 4), (4, 6))
    ]  # MAE 1, 3, 5
    row = scored(MethodResult("m", labels, runs))
    assert (row.seeds, row.mean.mae, row.spread.mae) == (3, 3, 2)
    assert (row.mean.detected, row.spread.detected) == (1, 0)
    assert row.mean.coverage == pytest.approx((1 + 1 + 0.5) / 3)


def test_exchanged_slots_are_errors_and_counted():
    day = one_season(0, 0)
    day[:, 1] = SEASON + 170
    swapped = day.copy()
    swapped[0] = day[0, ::-1] + 3
    result = MethodResult("m", reference(day), [predictions(swapped)])
    for number in (1, 2):
        found = scored(result, season=number).mean
        assert found.crossed == 0.5
        assert found.mae_paired == 1.5
    assert scored(result).mean.mae == (170 + 3) / 2
    assert scored(result, season=2).mean.mae == (170 - 3) / 2
    # The camera's one season in the second slot of the prediction is an exchange as well.
    single = one_season(0, 0)
    other = np.full_like(single, NAN)
    other[:, 0], other[:, 1] = SEASON - 200, SEASON
    found = scored(MethodResult("m", reference(single), [predictions(other)])).mean
    assert (found.crossed, found.mae, found.mae_paired) == (1, 200, 0)


def test_score_against_the_nearest_image():
    labels = reference(one_season(0, 0))
    run = replace(predictions(one_season(2, -3)), snapped=one_season(2, -1)[:, :1])
    found = scored(MethodResult("paper", labels, [run])).mean
    assert (found.mae, found.mae_snapped) == (2.5, 1)


def test_groups_of_samples_and_of_dates():
    labels = reference(one_season(0, 0, 0), crops=["corn", "wheat", "corn"])
    labels.clear[:, 0] = [[0, 4, 4, 20], [0, 7, 7, 7], [4, 4, 4, 4]]
    result = MethodResult("m", labels, [predictions(one_season(1, 10, 3))])
    corn = scored(result, group="corn", where=labels.crop == "corn")
    assert (corn.group, corn.dates, corn.mean.mae) == ("corn", 2, 2)
    assert scores.score(result, where=labels.crop == "rice") == []
    bins = dict(score_tables.scores_by_images(result))
    assert [rows[-1].dates if rows else 0 for rows in bins.values()] == [2, 6, 3, 0, 1]
    assert bins[0, 2][0].mean.mae == 5.5  # SOS20 of the first two
    assert math.isnan(bins[0, 2][1].mean.mae)
    assert bins[12, 999][-1].mean.mae == 1


# --- the curve ------------------------------------------------------------------------------------


def test_offsets_are_the_median_error_of_main_seasons():
    labels = reference(one_season(0, 0, 0, 0))
    day = one_season(5, 7, 100, NAN)
    day[:, 0, 3] += (1, -1, 0, 0)
    day[0, 1] = 0.0  # a second season that is none is not used
    off = scores.median_offsets(predictions(day), labels)
    assert off.tolist() == [7, 7, 7, 6]
    moved = scores.subtract_offsets(predictions(day), off)
    assert moved.day[1, 0].tolist() == [100, 110, 250, 260]
    assert moved.low[1, 0, 0] == 95
    assert moved.day[0, 1].tolist() == [-7, -7, -7, -6]
    with pytest.raises(DeepCropError, match="never dated"):
        scores.median_offsets(predictions(one_season(NAN)), reference(one_season(0)))


def rectangle(days):
    """NDVI of a season: up over days 100-140, down over 220-260."""
    return np.interp(days, [100, 140, 220, 260], [0.2, 0.8, 0.8, 0.2])


@pytest.fixture
def sample(tmp_path):
    """A sample whose NDVI is a trapezium every 5 days, whose camera has dates of its own."""
    days = np.arange(-150, 500, 5)
    cube = make_cube(rows=40, cols=40, optical_scenes=len(days))
    optical = cube["optical"].to_dataset()
    optical["time"] = np.datetime64("2019-01-01T10:50", "ns") + days * np.timedelta64(1, "D")
    optical["nir"][:] = 0.5
    value = rectangle(days)
    optical["red"][:] = (0.5 * (1 - value) / (1 + value))[:, None, None]
    optical["red"][np.flatnonzero(np.abs(days - 115) <= 10)[0], 20, 21] = np.nan
    cube["optical"] = optical
    box = grid_of(cube)
    from pyproj import Transformer

    x, y = box.coords["x"].values[21], box.coords["y"].values[20]
    lon, lat = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True).transform(x, y)
    (year,) = site_years([labels(tmp_path, "mead1", accepted(2019, season(1, 115)))])
    return samples.sample(cube, replace(year, latitude=lat, longitude=lon), distance=0)


def test_truth_and_curve_of_a_sample(sample):
    known = scores.reference_dates([sample])
    assert known.site_year.tolist() == ["mead1_AG_1000_2019"]
    assert (known.site[0], known.crop[0], known.year[0]) == ("mead1", "corn", 2019)
    assert known.day[0, 0].tolist() == [115, 135, 175, 195]  # the peak, 155, is no stage
    assert known.none[0].tolist() == [[False] * 4, [True] * 4]
    # Every 5 days within 30 days: 13, one of them masked near the first two dates.
    assert known.clear[0, 0].tolist() == [12, 12, 13, 13]
    assert known.clear[0, 1].tolist() == [0] * 4
    assert not known.simulated
    for curve in CURVES.values():
        found = scores.curve_predictions([sample], *curve)
        # 20 % and 50 % of the amplitude of the trapezium
        assert found.day[0, 0] == pytest.approx([108, 120, 240, 252], abs=5)
        assert np.isnan(found.day[0, 1]).all()
        assert (found.low[0, 0] <= found.day[0, 0]).all()
    with pytest.raises(DeepCropError, match="no sample"):
        scores.reference_dates([])


def test_simulations_of_a_site_year_are_one(sample):
    two = [replace(sample, name=f"{sample.name}_{k}", simulated=True) for k in (0, 1)]
    known = scores.reference_dates(two)
    assert known.simulated
    assert known.site_year.tolist() == [sample.name] * 2
    row = scored(MethodResult("m", known, [predictions(known.day)]))
    assert (row.site_years, row.dates) == (1, 2)


# --- tables ---------------------------------------------------------------------------------------


@pytest.fixture
def results():
    labels = reference(one_season(0, 0, 10), ["mead2", "mead2", "mead3"], simulated=True)
    curve = MethodResult("NDVI curve", labels, [predictions(one_season(8, 10, 30))])
    seeds = [predictions(one_season(1, -1, 10)), predictions(one_season(3, -3, 12))]
    return [curve, MethodResult("net", labels, seeds)]


def test_table_2_has_the_mean_of_sites(results):
    table = score_tables.by_site(results, ("mead2", "mead3", "usof6"))
    assert table.columns[:3] == ("method", "site", "site-years")
    rows = {row[:2]: row[2:] for row in table.rows}
    assert rows["NDVI curve", "mead2"][:2] == (1, (9, pytest.approx(NAN, nan_ok=True)))
    assert rows["NDVI curve", "mead3"][1].mean == 20
    assert rows["NDVI curve", "mean of sites"][0] == 2
    assert rows["NDVI curve", "mean of sites"][1].mean == 14.5
    assert rows["NDVI curve", "all site-years"][1].mean == pytest.approx(38 / 3)
    # Of the network: mead2 1 and 3, mead3 0 and 2 days in its two seeds.
    assert rows["net", "mean of sites"][1] == (1.5, pytest.approx(math.sqrt(2)))
    assert ("net", "usof6") not in rows


def test_tables_3_and_4_have_signed_differences(results):
    table = score_tables.differences(results, "mead3", "table4", "Table 4")
    assert len(table.rows) == 4
    first = table.rows[0]
    assert first[:5] == ("mead3_2019", 2019, "corn", "SOS20", 110)
    assert first[5].mean == 20
    assert first[6] == (1, pytest.approx(math.sqrt(2)))


def test_files_say_that_they_are_simulated(results, tmp_path):
    tables = [
        score_tables.by_site(results, ("mead2", "mead3")),
        score_tables.comparison(results, "methods", "All methods"),
        score_tables.all_scores(results),
        score_tables.by_crop(results),
        score_tables.by_images(results),
        score_tables.by_cluster(results, 3),
        score_tables.comparison([], "nothing", "Nothing"),
    ]
    score_tables.write_tables(tables, tmp_path, True)
    for table in tables:
        page = (tmp_path / f"{table.name}.md").read_text()
        assert page.startswith(f"**{table.title}: simulated pixels, real camera labels**")
        with (tmp_path / f"{table.name}.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == len(table.rows)
        assert all(row["data"] == "simulated pixels, real camera labels" for row in rows)
    with (tmp_path / "methods.csv").open(newline="") as file:
        curve, net = csv.DictReader(file)
    assert (curve["SOS20"], curve["SOS20 sd"]) == ("12.667", "")
    assert (net["SOS20"], net["SOS20 sd"], net["detected, %"]) == ("1.667", "1.414", "100.000")
    page = (tmp_path / "methods.md").read_text()
    assert "| NDVI curve | 2 | 12.7 |" in page
    assert "| net | 2 | 1.7 ± 1.4 |" in page
    assert "Nothing to show." in (tmp_path / "nothing.md").read_text()
    assert score_tables.data_kind(False) == "real pixels, real camera labels"
    full = score_tables.all_scores(results)
    row = dict(zip(full.columns, full.rows[0], strict=True))
    assert (row["season"], row["stage"], row["coverage, %"].mean) == (1, "SOS20", 0)
    report = score_tables.markdown_report(tables, {"figures/a.png": "A"}, "Head.", True)
    assert report.startswith("# Scores: simulated pixels, real camera labels\n\nHead.\n\n**Table 2")
    assert "![A](figures/a.png)" in report


@pytest.mark.parametrize("draw", ["draw_errors", "draw_scatter", "draw_errors_by_images"])
def test_figures(results, draw, tmp_path):
    figure = getattr(score_figures, draw)(results, "Two sites")
    words = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert "Two sites: simulated pixels, real camera labels" in words
    assert "SIMULATED DATA" in words
    figures.save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
