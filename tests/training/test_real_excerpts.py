from dataclasses import replace

import numpy as np
import pytest
import xarray as xr
from tests.helpers import real_series as made

from deepcrop.errors import DeepCropError
from deepcrop.training import curve_labels, real_excerpts
from deepcrop.training.examples import EVENTS

CURVE = slice(5, 10)


@pytest.fixture(scope="module")
def flanders(real_data_folder):
    return real_excerpts.read("flanders", real_data_folder)


@pytest.fixture(scope="module")
def real_data_folder(request):
    return request.getfixturevalue("real_data")


# --- labels by the curve --------------------------------------------------------------------------


def test_curve_labels_are_the_dates_of_a_known_season():
    (one,) = curve_labels.with_curve_labels([made.patch(190.0)], made.YEAR, made.LATITUDE)
    half, fifth = made.HALF, made.FIFTH
    expected = [190 - fifth, 190 - half, 190, 190 + half, 190 + fifth]
    assert EVENTS[5] == "curve_sos20"
    assert np.abs(one.day[0, 0, CURVE] - expected).max() < 3
    assert (one.spread[0, 0, CURVE] > 0).all()
    assert np.isnan(one.day[0, :, :5]).all()  # of a camera nothing is known
    assert not one.none[0, :, :5].any()
    assert one.none[0, 1, CURVE].all()  # seen all year, and there was no second season


def test_no_season_is_believed_only_where_the_year_was_watched():
    whole = made.patch(190.0)
    keep = (whole.optical_days < 260) | (whole.optical_days > 320)
    holes = replace(whole, optical=whole.optical[keep], optical_days=whole.optical_days[keep])
    (one,) = curve_labels.with_curve_labels([holes], made.YEAR, made.LATITUDE)
    assert not one.none.any()
    assert np.isfinite(one.day[0, 0, EVENTS.index("curve_sos50")])


def test_labels_do_not_depend_on_the_company():
    pair = [made.patch(150.0), made.patch(200.0)]
    together = curve_labels.with_curve_labels(pair, made.YEAR, made.LATITUDE)
    for one, both in zip(pair, together, strict=True):
        (alone,) = curve_labels.with_curve_labels([one], made.YEAR, made.LATITUDE)
        assert np.allclose(alone.day, both.day, atol=1e-3, equal_nan=True)


def test_an_example_without_any_image_has_no_dates():
    empty = made.patch(190.0)
    empty = replace(empty, optical=empty.optical[:0], optical_days=empty.optical_days[:0])
    labelled = curve_labels.with_curve_labels([empty, made.patch(190.0)], made.YEAR, made.LATITUDE)
    assert np.isnan(labelled[0].day).all()
    assert not labelled[0].none.any()
    assert np.isfinite(labelled[1].day[0, 0, CURVE]).all()


def test_orbits_by_the_time_of_day():
    times = np.array(
        [
            "2022-01-01T22:46:06",
            "2022-01-02T11:11:59",
            "2022-01-13T22:46:05",
            "2022-01-14T11:12:01",
        ],
        "datetime64[ns]",
    )
    assert real_excerpts.orbits_by_time_of_day(times).tolist() == [1, 0, 1, 0]


def test_tiles_carry_the_labels_of_their_pixels():
    rng = np.random.default_rng(0)
    side = 64 - 17
    whole = made.patch(190.0)
    day = np.full((side * side, 2, 10), np.nan, np.float32)
    day[:, 0, 6] = np.arange(side * side)
    known = np.asarray(rng.random(side * side) < 0.9)
    example = replace(
        whole,
        optical=np.broadcast_to(whole.optical[:, :, :1, :1], (len(whole.optical_days), 4, 64, 64)),
        radar=np.broadcast_to(whole.radar[:, :, :1, :1], (len(whole.radar_days), 2, 64, 64)),
        day=np.where(known[:, None, None], day, np.float32(np.nan)),
        spread=day,
        none=np.zeros(day.shape, bool),
    )
    tiles = real_excerpts._tiles(example)
    assert len(tiles) == 16
    found = set()
    for tile in tiles:
        assert tile.optical.shape[-2:] == (30, 30)
        assert tile.day.shape == (169, 2, 10)
        block = tile.spread[:, 0, 6].reshape(13, 13)
        assert (np.diff(block, axis=1) == 1).all()  # neighbours are neighbours
        assert (np.diff(block, axis=0) == side).all()
        found |= set(tile.day[np.isfinite(tile.day)].astype(int))
    assert found == set(np.flatnonzero(known))


def test_an_excerpt_without_a_licence_is_not_trained_on(tmp_path):
    with pytest.raises(DeepCropError, match="has no licence for training"):
        real_excerpts.training_examples(tmp_path, ["angiang"])
    with pytest.raises(DeepCropError, match="unknown"):
        real_excerpts.read("wales", tmp_path)
    with pytest.raises(DeepCropError, match="0 files"):
        real_excerpts.read("flanders", tmp_path)


# --- real files -----------------------------------------------------------------------------------


def test_flanders(flanders, real_data_folder):
    (one,) = flanders.examples
    assert flanders.dense
    assert one.optical.shape[1:] == (4, 64, 64)
    assert one.radar.shape == (159, 2, 64, 64)
    assert one.day.shape == (47 * 47, 2, 10)
    assert np.bincount(one.orbits).tolist() == [80, 79]
    assert (flanders.groups == "maize").sum() > 900
    with xr.open_dataset(
        next((real_data_folder / "sentinel" / "flanders_2018").glob("OUTPUT_*.nc"))
    ) as file:
        crop = file["CT"].values
    for pixel in range(0, 47 * 47, 97):
        row, col = divmod(pixel, 47)
        around = crop[row + 8 : row + 11, col + 8 : col + 11]  # a halo of 9 before each pixel
        assert flanders.inside[pixel] == (around == crop[row + 9, col + 9]).all()
    assert 0.5 < flanders.inside[flanders.groups == "maize"].mean() < 0.9
    # One number, by hand: nearest clear image to 1 July 2018, pixel (20, 30).
    folder = real_data_folder / "sentinel" / "flanders_2018"
    with xr.open_dataset(next(folder.glob("S2_L2A_10m*")), mask_and_scale=False) as file:
        days = (file["timestamp"].values - np.datetime64("2018-01-01")) // np.timedelta64(1, "D")
        at = int(np.abs(one.optical_days - 181).argmin())
        stored = file["B08"].values[int(np.flatnonzero(days == one.optical_days[at])[0]), 20, 30]
    assert one.optical[at, 3, 20, 30] == pytest.approx(stored / 10_000)
    maize = flanders.groups == "maize"
    sos50, eos50 = (one.day[maize, 0, EVENTS.index(f"curve_{n}")] for n in ("sos50", "eos50"))
    assert 140 < np.nanmedian(sos50) < 185  # maize of a dry summer
    assert 220 < np.nanmedian(eos50) < 280


def test_france(real_data_folder):
    france = real_excerpts.read("france", real_data_folder)
    assert len(france.examples) == 500
    assert not france.dense
    vv = np.concatenate([one.radar[:, 0, 9, 9] for one in france.examples])
    assert -14 < np.nanmedian(vv) < -8
    assert (france.groups == "winter wheat").sum() == 55
    one = france.examples[0]
    assert np.array_equal(one.optical[:, :, 0, 0], one.optical[:, :, 17, 17], equal_nan=True)


@pytest.mark.slow  # 500 small files
def test_an_giang_has_one_offset(real_data_folder):
    place = real_excerpts.read("angiang", real_data_folder)
    assert len(place.examples) == 250
    green = {"before": [], "after": []}
    for one in place.examples:
        when = one.optical_days
        value = one.optical[:, 0, 9, 9]
        green["before"].append(value[when < 24])
        green["after"].append(value[(when >= 24) & (when < 60)])
    low, high = (np.nanmedian(np.concatenate(part)) for part in green.values())
    assert abs(low - high) < 0.03  # blue; an offset left over would be 0.1
    assert all((np.bincount(one.orbits) > 20).all() for one in place.examples)


def test_training_examples_of_a_place_are_of_one_size(real_data_folder):
    tiles = real_excerpts.training_examples(real_data_folder, ["flanders"])
    assert {one.optical.shape[-2:] for one in tiles} == {(30, 30)}
    assert {one.day.shape for one in tiles} == {(169, 2, 10)}
    assert all((one.none | np.isfinite(one.day)).any() for one in tiles)
