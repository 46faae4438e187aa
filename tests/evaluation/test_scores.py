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
from deepcrop.evaluation.scores import ALL, Answers, Entry, Truth
from deepcrop.evaluation.weights_report import SMOOTHERS
from deepcrop.training import samples

NAN = math.nan
SEASON = np.array([100.0, 110.0, 250.0, 260.0])
LATER = SEASON + 30


def truth(day, sites=None, crops=None, none=None, simulated=False):
    """Cameras' dates (n, 2, 4); where not said otherwise an empty second slot is known as such."""
    day = np.asarray(day, np.float64)
    names = np.array(sites or [f"site{k}" for k in range(len(day))])
    empty = np.isnan(day)
    empty[:, 0] = False
    return Truth(
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


def answers(day, half=5.0):
    day = np.asarray(day, np.float64)
    return Answers(day, day - half, day + half)


def scored(entry, stage="sos20", **options):
    return next(one for one in scores.score(entry, **options) if one.stage == stage)


# --- arithmetic -----------------------------------------------------------------------------------


def test_errors_by_hand():
    labels = truth(one_season(0, 0, 0, 0, 0))
    day = one_season(0, 2, -4, 10, NAN)
    row = scored(Entry("m", labels, [answers(day)]))
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


def test_all_stages_are_pooled_not_averaged():
    day = one_season(0, 0)
    day[1, 0] += (1, 2, 3, NAN)
    rows = scores.score(Entry("m", truth(one_season(0, 0)), [answers(day)]))
    assert [row.stage for row in rows] == ["sos20", "sos50", "eos50", "eos20", ALL]
    assert [row.mean.mae for row in rows] == pytest.approx([0.5, 1, 1.5, 0, 6 / 7])
    assert rows[-1].mean.detected == 7 / 8
    assert rows[-1].dates == 8
    assert rows[-1].site_years == 2


def test_what_is_unknown_is_not_judged():
    labels = truth(one_season(0, 0))
    labels.day[1, 0, 0] = NAN  # unknown, and not known to be none
    day = one_season(0, 50)
    day[:, 1] = SEASON + 200  # a second season that no camera saw, and in one year nobody knows
    labels.none[1, 1] = False
    entry = Entry("m", labels, [answers(day)])
    assert scored(entry).mean.mae == 0
    assert scored(entry).dates == 1
    second = scored(entry, season=2)
    assert (second.dates, second.absent) == (0, 1)
    assert second.mean.false == 1
    assert math.isnan(second.mean.mae)
    quiet = Entry("m", labels, [answers(one_season(0, 50))])
    assert scored(quiet, season=2).mean.false == 0
    single = Entry("m", labels, [answers(day[:, :1])])  # the published network has one slot
    assert scores.score(single, season=2) == []
    assert scored(single).mean.mae == 0


def test_mean_and_spread_over_seeds():
    labels = truth(one_season(0, 0))
    runs = [answers(one_season(*offsets)) for offsets in ((1, 1), (2, 4), (4, 6))]  # MAE 1, 3, 5
    row = scored(Entry("m", labels, runs))
    assert (row.seeds, row.mean.mae, row.spread.mae) == (3, 3, 2)
    assert (row.mean.detected, row.spread.detected) == (1, 0)
    assert row.mean.coverage == pytest.approx((1 + 1 + 0.5) / 3)


def test_seasons_in_each_others_slots_count_as_errors_and_are_named():
    day = one_season(0, 0)
    day[:, 1] = SEASON + 170
    swapped = day.copy()
    swapped[0] = day[0, ::-1] + 3
    entry = Entry("m", truth(day), [answers(swapped)])
    for number in (1, 2):
        found = scored(entry, season=number).mean
        assert found.crossed == 0.5
        assert found.mae_paired == 1.5
    assert scored(entry).mean.mae == (170 + 3) / 2
    assert scored(entry, season=2).mean.mae == (170 - 3) / 2
    # The camera's one season in the answer's second slot is a mix-up as well.
    single = one_season(0, 0)
    other = np.full_like(single, NAN)
    other[:, 0], other[:, 1] = SEASON - 200, SEASON
    found = scored(Entry("m", truth(single), [answers(other)])).mean
    assert (found.crossed, found.mae, found.mae_paired) == (1, 200, 0)


def test_the_snapped_score_stands_beside_the_other():
    labels = truth(one_season(0, 0))
    run = replace(answers(one_season(2, -3)), snapped=one_season(2, -1)[:, :1])
    found = scored(Entry("paper", labels, [run])).mean
    assert (found.mae, found.mae_snapped) == (2.5, 1)


def test_groups_of_samples_and_of_dates():
    labels = truth(one_season(0, 0, 0), crops=["corn", "wheat", "corn"])
    labels.clear[:, 0] = [[0, 4, 4, 20], [0, 7, 7, 7], [4, 4, 4, 4]]
    entry = Entry("m", labels, [answers(one_season(1, 10, 3))])
    corn = scored(entry, group="corn", where=labels.crop == "corn")
    assert (corn.group, corn.dates, corn.mean.mae) == ("corn", 2, 2)
    assert scores.score(entry, where=labels.crop == "rice") == []
    bins = dict(score_tables.of_images(entry))
    assert [rows[-1].dates if rows else 0 for rows in bins.values()] == [2, 6, 3, 0, 1]
    assert bins[0, 2][0].mean.mae == 5.5  # SOS20 of the first two
    assert math.isnan(bins[0, 2][1].mean.mae)
    assert bins[12, 999][-1].mean.mae == 1


# --- the curve ------------------------------------------------------------------------------------


def test_offsets_are_the_median_error_of_main_seasons():
    labels = truth(one_season(0, 0, 0, 0))
    day = one_season(5, 7, 100, NAN)
    day[:, 0, 3] += (1, -1, 0, 0)
    day[0, 1] = 0.0  # a second season that is none teaches nothing
    off = scores.offsets(answers(day), labels)
    assert off.tolist() == [7, 7, 7, 6]
    moved = scores.shifted(answers(day), off)
    assert moved.day[1, 0].tolist() == [100, 110, 250, 260]
    assert moved.low[1, 0, 0] == 95
    assert moved.day[0, 1].tolist() == [-7, -7, -7, -6]
    with pytest.raises(DeepCropError, match="never dated"):
        scores.offsets(answers(one_season(NAN)), truth(one_season(0)))


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
    known = scores.truth_of([sample])
    assert known.site_year.tolist() == ["mead1_AG_1000_2019"]
    assert (known.site[0], known.crop[0], known.year[0]) == ("mead1", "corn", 2019)
    assert known.day[0, 0].tolist() == [115, 135, 175, 195]  # the peak, 155, is no stage
    assert known.none[0].tolist() == [[False] * 4, [True] * 4]
    # Every 5 days within 30 days: 13, one of them masked near the first two dates.
    assert known.clear[0, 0].tolist() == [12, 12, 13, 13]
    assert known.clear[0, 1].tolist() == [0] * 4
    assert not known.simulated
    for curve in SMOOTHERS.values():
        found = scores.curve_answers([sample], *curve)
        # 20 % and 50 % of the amplitude of the trapezium
        assert found.day[0, 0] == pytest.approx([108, 120, 240, 252], abs=5)
        assert np.isnan(found.day[0, 1]).all()
        assert (found.low[0, 0] <= found.day[0, 0]).all()
    with pytest.raises(DeepCropError, match="no sample"):
        scores.truth_of([])


def test_simulations_of_a_site_year_are_one(sample):
    two = [replace(sample, name=f"{sample.name}_{k}", simulated=True) for k in (0, 1)]
    known = scores.truth_of(two)
    assert known.simulated
    assert known.site_year.tolist() == [sample.name] * 2
    row = scored(Entry("m", known, [answers(known.day)]))
    assert (row.site_years, row.dates) == (1, 2)


# --- tables ---------------------------------------------------------------------------------------


@pytest.fixture
def entries():
    labels = truth(one_season(0, 0, 10), ["mead2", "mead2", "mead3"], simulated=True)
    curve = Entry("NDVI curve", labels, [answers(one_season(8, 10, 30))])
    seeds = [answers(one_season(1, -1, 10)), answers(one_season(3, -3, 12))]
    return [curve, Entry("net", labels, seeds)]


def test_table_2_has_the_mean_of_sites(entries):
    table = score_tables.by_site(entries, ("mead2", "mead3", "usof6"))
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


def test_tables_3_and_4_have_signed_differences(entries):
    table = score_tables.differences(entries, "mead3", "table4", "Table 4")
    assert len(table.rows) == 4
    first = table.rows[0]
    assert first[:5] == ("mead3_2019", 2019, "corn", "SOS20", 110)
    assert first[5].mean == 20
    assert first[6] == (1, pytest.approx(math.sqrt(2)))


def test_files_say_that_they_are_simulated(entries, tmp_path):
    tables = [
        score_tables.by_site(entries, ("mead2", "mead3")),
        score_tables.comparison(entries, "methods", "All methods"),
        score_tables.everything(entries),
        score_tables.by_crop(entries),
        score_tables.by_images(entries),
        score_tables.by_cluster(entries, 3),
        score_tables.comparison([], "nothing", "Nothing"),
    ]
    score_tables.write(tables, tmp_path, True)
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
    assert score_tables.kind(False) == "real pixels, real camera labels"
    full = score_tables.everything(entries)
    row = dict(zip(full.columns, full.rows[0], strict=True))
    assert (row["season"], row["stage"], row["coverage, %"].mean) == (1, "SOS20", 0)
    report = score_tables.report(tables, {"figures/a.png": "A"}, "Head.", True)
    assert report.startswith("# Scores: simulated pixels, real camera labels\n\nHead.\n\n**Table 2")
    assert "![A](figures/a.png)" in report


@pytest.mark.parametrize("draw", ["errors", "scatter", "images"])
def test_figures(entries, draw, tmp_path):
    figure = getattr(score_figures, draw)(entries, "Two sites")
    words = {text.get_text() for axes in figure.axes for text in axes.texts}
    assert "Two sites: simulated pixels, real camera labels" in words
    assert "SIMULATED DATA" in words
    figures.save(figure, tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_size > 10_000
