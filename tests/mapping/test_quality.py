import numpy as np
import pytest

from deepcrop.mapping.curve import slot_layers
from deepcrop.mapping.quality import encode_bound, length_of, pixel_layers
from deepcrop.phenology import season_dates
from deepcrop.products import layers
from deepcrop.products.layers import Content, layer_name
from deepcrop.stages import CALENDAR, DAY_MIN, NO_DAY


def found(pixels=1, **given):
    """Dates and intervals of one row of pixels, empty but for those given."""
    every = {
        layer_name(stage, 1, part): np.full((1, pixels), NO_DAY, np.int16)
        for stage in CALENDAR
        for part in ("", "low", "high")
    }
    every["n_cycles"] = np.ones((1, pixels), np.uint8)
    return every | {k: np.array([v], every[k].dtype) for k, v in given.items()}


def run(dates, seen, days, year=2018, **options):
    options = {"selected": None, "reads": ("optical",)} | options
    valid = {"optical": np.array(seen, bool).T[:, None]}  # (time, 1, pixels)
    return pixel_layers(dates, valid, {"optical": np.array(days, np.float32)}, year, **options)


def test_the_longest_gap_counts_the_days_without_observation():
    days = [-5, 9, 100, 364, 400]
    made = run(found(3), [[1, 1, 1, 1, 1], [0, 0, 0, 0, 0], [1, 0, 0, 1, 0]], days)
    # From day 101 to 363; the whole year; from 0 to 363.
    assert made["max_gap_optical"].tolist() == [[263, 365, 364]]
    assert made["n_obs_optical"].tolist() == [[3, 0, 1]]  # of the year alone
    leap = run(found(1), [[0, 0, 0, 0, 0]], days, year=2020)
    assert leap["max_gap_optical"].tolist() == [[366]]


def test_flags_by_hand():
    days = np.arange(0, 365, 30)  # 13 observations, 29 days apart
    dates = found(
        4,
        n_cycles=[1, 3, 0, 1],
        sos50=[120, 120, NO_DAY, 120],
        sos50_low=[100, 90, NO_DAY, 100],
        sos50_high=[159, 150, NO_DAY, 140],
    )
    seen = np.ones((4, days.size))
    seen[2] = 0
    seen[3, :5] = 0
    made = run(dates, seen, days)
    assert made["qflag"].tolist() == [
        [
            layers.NO_RADAR,
            layers.NO_RADAR | layers.MANY_SEASONS | layers.UNCERTAIN,
            layers.NO_RADAR | layers.NO_SEASON | layers.FEW_SEEN | layers.GAP | layers.UNSEEN,
            layers.NO_RADAR | layers.FEW_SEEN | layers.GAP,
        ]
    ]
    assert made["n_cycles"].tolist() == [[1, 3, 255, 1]]


@pytest.mark.parametrize("stage", CALENDAR)
def test_the_flag_of_wide_intervals_looks_at_the_four_stages(stage):
    """The peak of a flat top may lie anywhere on it; start and end are known all the same."""
    dates = found(1, **{stage: [120], f"{stage}_low": [90], f"{stage}_high": [150]})
    flags = run(dates, np.ones((1, 13)), np.arange(0, 365, 30))["qflag"][0, 0]
    assert bool(flags & layers.UNCERTAIN) == (stage != "peak")


def test_what_is_left_out_says_only_so():
    made = run(found(2), np.ones((2, 2)), [10, 20], selected=np.array([[True, False]]))
    assert made["qflag"][0, 1] == layers.LEFT_OUT
    assert made["n_cycles"][0, 1] == 255
    for name in ("n_obs_optical", "n_obs_sar", "max_gap_optical"):
        assert made[name][0, 1] == layers.NO_COUNT
    assert made["qflag"][0, 0] != layers.LEFT_OUT
    assert made["n_obs_optical"][0, 0] == 2


def test_both_methods_count_the_observations_of_the_year():
    """Whatever they read beside: the curve reads further than the network."""
    optical, radar = [-200, -1, 0, 364, 365, 600], [-30, 40, 80, 400]
    made = pixel_layers(
        found(2),
        {
            "optical": np.ones((6, 1, 2), bool),
            "sar": np.array([[[1, 1]], [[1, 0]], [[1, 0]], [[1, 1]]]),
        },
        {"optical": np.array(optical, np.float32), "sar": np.array(radar, np.float32)},
        2018,
        selected=None,
        reads=("optical", "sar"),
    )
    assert made["n_obs_optical"].tolist() == [[2, 2]]
    assert made["n_obs_sar"].tolist() == [[2, 0]]
    assert ((made["qflag"] & layers.NO_RADAR) > 0).tolist() == [[False, True]]


def test_lengths_and_bounds():
    dates = found(3, sos20=[-10, 5, NO_DAY], eos20=[300, NO_DAY, 9])
    assert length_of(dates, 1).tolist() == [[310, NO_DAY, NO_DAY]]
    whole = np.array([5, NO_DAY, 540], np.int16)
    assert encode_bound(np.array([-500.0, 3.0, 600.0]), whole).tolist() == [-181, NO_DAY, 548]


def one_season(values, days, start="01-01"):
    """Flags that the curve sets, of one pixel in 2018."""
    seasons = season_dates(values[None], days)
    return int(slot_layers(seasons, 2018, 50.0, Content(year_start=start))["qflag"][0])


def test_a_date_beyond_the_days_that_can_be_stored_is_flagged():
    """Sown in June, above 20 % since day -195, above 50 % from day -60 to day 120."""
    days = np.arange(-240, 600, 5.0)
    first, then = (1 / (1 + np.exp(-(days - day) / 4)) for day in (-195, -60))
    values = 0.2 + 0.6 * (0.3 * first + 0.7 * then) / (1 + np.exp((days - 120) / 4))
    seasons = season_dates(values[None], days)
    assert seasons.dates[0, 0, 0] < DAY_MIN - 0.5
    assert one_season(values, days) == layers.BEYOND
    assert one_season(values, days, "12-01") == 0  # the range begins a month earlier


def test_a_season_longer_than_a_year_is_flagged_also_where_it_peaks_in_the_other():
    days = np.arange(-240, 600, 5.0)
    green = 1 / (1 + np.exp(-(days + 150) / 8)) / (1 + np.exp((days - 300) / 8))
    for slope in (-4e-4, 4e-4):
        assert one_season(0.2 + 0.5 * green * (1 + slope * days), days) == layers.TOO_LONG
    short = 1 / (1 + np.exp(-(days - 100) / 8)) / (1 + np.exp((days - 300) / 8))
    assert one_season(0.2 + 0.5 * short, days) == 0


def test_flags_of_the_method_are_kept():
    dates = found(1) | {"qflag": np.full((1, 1), layers.TOO_LONG, np.uint16)}
    flags = run(dates, np.ones((1, 13)), np.arange(0, 365, 30))["qflag"]
    assert flags.dtype == np.uint16
    assert flags[0, 0] & layers.TOO_LONG
    assert dates["qflag"][0, 0] == layers.TOO_LONG  # not written into


def test_a_year_whose_strongest_season_has_no_dates_is_flagged():
    """The winter crop is seen well; of the larger summer crop two images, in a gap of 80 days."""
    days = np.concatenate([np.arange(0, 140, 4.0), [170, 205, 215, 250], np.arange(260, 360, 4.0)])
    winter, summer = (np.exp(-(((days - day) / 24) ** 2)) for day in (80, 210))
    noise = 0.06 * np.random.default_rng(2).standard_normal(days.size)
    values = 0.15 + 0.35 * winter + 0.65 * summer + noise
    found = slot_layers(season_dates(values[None], days), 2018, 50.0)
    assert found["qflag"][0] == layers.UNDATED
    main, second = (found[layers.layer_name("peak", season)] for season in (1, 2))
    assert main[0] == NO_DAY
    assert abs(int(second[0]) - 80) <= 6
    assert found["n_cycles"][0] == 1
    # With one slot the season without dates takes it, and the winter crop is left out with a word.
    one = slot_layers(season_dates(values[None], days), 2018, 50.0, Content(seasons=1))
    assert one["qflag"][0] == layers.UNDATED | layers.MANY_SEASONS
