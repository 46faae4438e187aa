import csv
import math
import re
from collections import Counter

import numpy as np
import pytest
from tests.helpers.camera_files import camera_file, row
from tests.helpers.site_years import accepted, labels, season, whole_network

from deepcrop.cameras.clusters import NEAR, clusters, distance
from deepcrop.cameras.labels import CameraLabels, Screening, SiteYear
from deepcrop.cameras.site_years import (
    EMPTY,
    bearing,
    read_directions,
    site_years,
    write_table,
)
from deepcrop.cameras.spatial_split import (
    TEST_SITES,
    folds,
    split,
    trainable,
    training_clusters,
    training_sites,
)
from deepcrop.errors import DeepCropError
from deepcrop.sources.phenocam.summary_files import read_series

# --- directions and places ------------------------------------------------------------------------


def test_bearing():
    assert [bearing(name) for name in ("N", "nne", " E ", "WSW")] == [0, 22.5, 90, 247.5]
    assert math.isnan(bearing(""))
    with pytest.raises(DeepCropError, match="'NEE' is unknown"):
        bearing("NEE")


def test_directions_of_a_table(tmp_path):
    path = tmp_path / "sites.csv"
    path.write_text("site,roi,camera_dir\nmead1,AG_1000,\nsilverton,AG_1000,NW\n")
    assert read_directions(path) == {"silverton_AG_1000": 315.0}
    path.write_text("site,roi,camera_dir\nmead1,AG_1000,up\n")
    with pytest.raises(DeepCropError, match="line 2: Direction 'up'"):
        read_directions(path)
    path.write_text("site,roi\nmead1,AG_1000\n")
    with pytest.raises(DeepCropError, match="no column camera_dir"):
        read_directions(path)
    with pytest.raises(DeepCropError, match="No such file"):
        read_directions(tmp_path / "none.csv")


def test_distance():
    assert distance(40, 0, 41, 0) == pytest.approx(111.195, abs=0.01)
    assert distance(60, 179.5, 60, -179.5) == pytest.approx(55.597, abs=0.01)
    # usof5 and usof6 lie 0.40 km apart, mead1 and mead2 0.54 km.
    assert distance(35.7297, -90.0406, 35.7333, -90.0403) == pytest.approx(0.40, abs=0.01)
    assert distance(41.1651, -96.4766, 41.1649, -96.4701) == pytest.approx(0.54, abs=0.01)


def test_a_chain_of_near_sites_is_one_cluster_whatever_the_order():
    step = 9 / 111.195
    places = {name: (40 + step * k, 5.0) for k, name in enumerate("dbca")}
    places |= {"x": (40 + 3 * step + 11 / 111.195, 5.0), "y": (40.0, 5.2)}
    found = clusters(places)
    assert found == {"a": "a", "b": "a", "c": "a", "d": "a", "x": "x", "y": "y"}
    assert clusters(dict(reversed(places.items()))) == found
    assert clusters({}) == {}


def test_clusters_that_weights_know():
    facts = [
        {"site": "a", "cluster": "a", "latitude": 40.0, "longitude": 5.0},
        {"site": "b", "cluster": "a", "latitude": 40.08, "longitude": 5.0},
        {"site": "c", "cluster": "c", "latitude": 42.0, "longitude": 5.0},
    ]
    for card, known in (
        ({}, set()),
        ({"cameras": None}, set()),
        ({"cameras": {"sites": {"x": [42.08, 5.0]}}}, {"c"}),  # 9 km from c, itself not in the set
        ({"cameras": {"sites": {"x": [42.1, 5.0]}}}, set()),
        ({"cameras": {"sites": {"x": [40.16, 5.0], "c": [0, 0]}}}, {"a", "c"}),  # near b; by name
    ):
        assert training_clusters(card, facts) == known
    assert training_sites({"cameras": {"sites": {"x": [1.0, 2.0]}}}) == {"x": [1.0, 2.0]}
    with pytest.raises(DeepCropError, match="without their places"):
        training_sites({"cameras": {"sites": ["b"]}})


# --- site-years -----------------------------------------------------------------------------------


def test_two_slots_of_dates_and_why_others_are_missing(tmp_path):
    (full, weak, gap, rejected) = site_years(
        [
            labels(
                tmp_path,
                "mead1",
                accepted(2018, season(2, 20), season(1, 150, eos20="not observed after")),
                accepted(2019, season(1, 150.25), season(2, 20, amplitude=0.025)),
                accepted(2020, season(1, 150), season(2, 20, gap=18)),
                SiteYear(2021, "", (), 0.5, False, "no season: too few observations"),
            )
        ],
        {"mead1_AG_1000": 90.0},
    )
    assert (full.name, full.site, full.direction) == ("mead1_AG_1000_2018", "mead1", 90)
    assert full.day[0, :4].tolist() == [150, 170, 190, 210]
    assert full.low[0, 0] == 148
    assert full.high[0, 0] == 153
    assert np.isnan(full.day[0, 4])
    assert not full.none.any()  # the missing date is unknown, not absent
    assert full.reason[0] == ("found",) * 4 + ("not observed after",)
    assert full.day[1].tolist() == [20, 40, 60, 80, 100]
    assert weak.day[0, 0] == 150.25  # not snapped, not rounded
    for year, why in ((weak, "amplitude 0.025 too small"), (gap, "18 days without an observation")):
        assert np.isnan(year.day[1]).all()
        assert np.isnan(year.low[1]).all()
        assert not year.none[1].any()
        assert year.reason[1] == (why,) * 5
    assert not rejected.none.any()  # where a year was rejected nothing is known
    assert rejected.reason[0][0] == "no season: too few observations"


def test_a_year_without_a_second_season_has_none(tmp_path):
    (year,) = site_years([labels(tmp_path, "mead1", accepted(2018, season(1, 150)))])
    assert year.none[1].all()
    assert not year.none[0].any()
    assert year.reason[1] == (EMPTY,) * 5
    assert math.isnan(year.direction)


def test_screening_reaches_the_second_season(tmp_path):
    one = [labels(tmp_path, "mead1", accepted(2018, season(1, 150), season(2, 20, gap=18)))]
    assert np.isfinite(site_years(one, screening=Screening(max_gap=20))[0].day[1]).all()


def test_a_mast_stands_where_its_last_region_says(tmp_path):
    other = camera_file(tmp_path, [row("2024-01-01")], "a", roi=2000)
    other.write_text(other.read_text().replace("41.1649", "40.0"))
    old = labels(tmp_path, "a", accepted(2018), date="2018-01-01")
    new = CameraLabels(read_series(other), "gcc_90", None, None, None, (accepted(2024),))
    assert [year.latitude for year in site_years([new, old])] == [40.0, 40.0]


def test_table(tmp_path):
    years = site_years(
        [
            labels(
                tmp_path,
                "mead1",
                accepted(2018, season(1, 150.256)),
                SiteYear(2019, "", (), 0.5, False, "no season: amplitude too small"),
            )
        ]
    )
    write_table(years, tmp_path / "years.csv")
    with (tmp_path / "years.csv").open() as file:
        first, second = csv.DictReader(file)
    assert (first["verdict"], first["sos20_1"], first["sos20_1_high"]) == (
        "accepted", "150.26", "153.26",
    )  # fmt: skip
    assert (first["sos20_2"], first["sos20_2_reason"]) == ("", EMPTY)
    assert (second["verdict"], second["why"]) == ("rejected", "no season: amplitude too small")
    assert second["direction"] == ""


@pytest.fixture(scope="module")
def network(real_data):
    return whole_network(real_data)


@pytest.mark.slow
def test_counts_of_the_real_network(network):
    """Numbers of `docs/sites.md`. A region of interest is a camera's; a site may have several."""
    assert len({year.roi for year in network}) == 109
    assert len({year.site for year in network}) == 91
    assert len({year.cluster for year in network}) == 42
    assert (len(network), sum(year.accepted for year in network)) == (718, 415)
    since = [year for year in network if year.year >= 2016]  # Sentinel-2's first whole year
    good = [year for year in since if year.accepted]
    assert len(good) == 387
    assert len({(year.site, year.year) for year in good}) == 374  # several regions count once
    assert len({year.site for year in good}) == 86
    assert sum(math.isfinite(year.direction) for year in good) == 319
    assert sum(year.none[1].all() for year in good) == 205
    assert sum(np.isfinite(year.day[1]).all() for year in good) == 131
    assert all(np.isfinite(year.day[0]).all() for year in good)
    assert all((np.diff(year.day[0]) > 0).all() for year in good)


def test_every_rejection_says_why(network):
    whys = Counter()
    for year in network:
        if not year.accepted:
            assert year.why
            whys.update({re.sub(r"[\d.]+ ?", "", why) for why in year.why.split("; ")})
    assert whys["growing window % observed, % needed"] == 206
    assert whys["no season: too few observations"] == 73
    assert whys["main season % observed, % needed"] == 37
    assert whys["amplitude too small, needed"] == 5
    wide = [whys[f"% interval of {side}days wide, allowed"] for side in ("SOS", "EOS")]
    assert wide == [29, 63]


def test_nothing_near_a_test_site_trains(network, real_data):
    parts = split(network)
    assert {year.site for year in parts.test} == set(TEST_SITES)
    assert all(year.accepted for year in parts.train + parts.test + parts.left_out)
    # The five test sites stand in 4 of the 42 clusters: mead2 and mead3 share one.
    assert len({year.cluster for year in parts.test + parts.left_out}) == 4
    assert [len(part) for part in (parts.train, parts.test, parts.left_out)] == [338, 30, 47]
    since = [
        [year for year in part if year.year >= 2016]
        for part in (parts.train, parts.test, parts.left_out)
    ]
    assert [len(part) for part in since] == [310, 30, 47]
    assert len({year.cluster for year in parts.train}) == 38
    assert len({year.cluster for year in since[0]}) == 37  # one cluster has only older years
    assert {"mead1", "usof5", "cafcookeastltar01", "NEON.D06.KONZ.DP1.00033"} <= {
        year.site for year in parts.left_out
    }
    # By the table's own coordinates, not by those that made the clusters.
    with (real_data / "phenocam/sites.csv").open() as file:
        table = list(csv.DictReader(file))
    trains = {year.site for year in parts.train}
    assert trains.isdisjoint(TEST_SITES)
    place = {
        held: np.array(
            [(float(r["lat"]), float(r["lon"])) for r in table if (r["site"] in trains) == held]
        )
        for held in (True, False)
    }
    tests = np.array([(float(r["lat"]), float(r["lon"])) for r in table if r["site"] in TEST_SITES])
    apart = distance(*place[True].T[:, :, None], *tests.T[:, None])
    assert apart.min() > NEAR
    # What was left out lies within the clusters: leaving out more would be waste.
    left = np.array(
        [(year.latitude, year.longitude) for year in parts.left_out if year.site not in TEST_SITES]
    )
    assert distance(*left.T[:, :, None], *tests.T[:, None]).min(axis=1).max() < 2 * NEAR
    with pytest.raises(DeepCropError, match="nowhere"):
        split(network, ["nowhere"])
    assert trainable(network) == parts.train
    # Without series of the test sites their neighbours stay out as well.
    without = [year for year in network if year.site not in TEST_SITES]
    assert trainable(without) == parts.train


@pytest.mark.parametrize("count", [5, None])
def test_folds_never_part_neighbours(network, count):
    years = split(network).train
    fold = folds(years, count)
    place = np.array([(year.latitude, year.longitude) for year in years])
    apart = distance(*place.T[:, :, None], *place.T[:, None])
    assert (fold[:, None] == fold)[apart <= NEAR].all()
    sizes = np.bincount(fold)
    assert sizes.sum() == len(years)
    if count:
        assert len(sizes) == count
        assert np.ptp(sizes) <= 2
    else:
        assert len(sizes) == len({year.cluster for year in years}) == 38
    shuffled = np.random.default_rng(0).permutation(len(years))
    assert (folds([years[k] for k in shuffled], count) == fold[shuffled]).all()


def test_more_folds_than_clusters(network):
    with pytest.raises(DeepCropError, match="99 folds of 38 clusters"):
        folds(split(network).train, 99)
