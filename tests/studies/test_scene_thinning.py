from dataclasses import replace

import numpy as np
import pytest
from tests.helpers import real_series as made

from deepcrop.stages import CALENDAR
from deepcrop.studies import scene_thinning, thinning_tables
from deepcrop.studies.scene_thinning import Case
from deepcrop.training.examples import EVENTS


@pytest.fixture(scope="module")
def archive():
    return made.archive()


def test_a_smaller_share_keeps_a_part_of_a_larger_one(archive):
    kept = {}
    for share in (0.6, 0.25):
        ((examples, pixels),) = scene_thinning.inputs(archive, Case(share, 3))
        assert pixels.all()
        kept[share] = [set(one.optical_days) for one in examples]
        for one, whole in zip(examples, archive.examples, strict=True):
            assert len(one.optical_days) == round(share * len(whole.optical_days))
            assert (np.diff(one.optical_days) > 0).all()
            assert one.radar is whole.radar  # radar is kept
    assert all(few < many for few, many in zip(kept[0.25], kept[0.6], strict=True))
    assert kept[0.6][0] != kept[0.6][1]  # each patch has a draw of its own
    ((other, _),) = scene_thinning.inputs(archive, Case(0.6, 4))
    assert set(other[0].optical_days) != kept[0.6][0]


def test_the_gap_lies_around_green_up(archive):
    ((examples, pixels),) = scene_thinning.inputs(archive, Case(gap=True))
    assert pixels.all()
    for one, peak in zip(examples, (150, 190, 230), strict=True):
        middle = peak - made.HALF
        assert np.abs(one.optical_days - middle).min() > 26
        assert np.diff(one.optical_days).max() >= 60


def test_cases():
    every = scene_thinning.cases((1.0, 0.4), draws=2)
    assert [case.name for case in every] == ["100_0", "40_0", "40_1", "gap"]
    assert [case.kind for case in every][1:3] == ["40 %", "40 %"]


def test_the_curve_of_all_scenes_is_its_own_reference(archive):
    answer = scene_thinning.predict_case(archive, Case(), scene_thinning.curve_method(archive))
    pixels = scene_thinning.scored_pixels(archive, Case())
    for pairing in scene_thinning.PAIRINGS:
        for found in scene_thinning.errors(archive, [answer], "curve", pairing, pixels).values():
            assert (found.error == 0).all()
            assert found.group.size == 3


def predictions(archive, shift, lost=()):
    """Dates that are late by some days; the pixels ``lost`` have none."""
    day = np.concatenate([one.day for one in archive.examples]) + shift
    day[list(lost)] = np.nan
    return day


def test_scores_by_hand(archive):
    pixels = np.ones(3, bool)
    given = [predictions(archive, 4), predictions(archive, -10, lost=[0])]
    found = scene_thinning.errors(archive, given, "curve", "slot", pixels)["eos50"]
    assert found.error.shape == (2, 3)
    curve_dates = [predictions(archive, 0), predictions(archive, 0, lost=[1])]
    curve = scene_thinning.errors(archive, curve_dates, "curve", "slot", pixels)["eos50"]
    key = {"place": "a", "method": "b", "definition": "curve", "kept": "40 %", "pairing": "slot",
           "stage": "eos50"}  # fmt: skip
    score = scene_thinning.score(key, found, "all", curve, offset=2.0)
    assert score.references == 3
    assert score.dated == pytest.approx(5 / 6)
    assert score.mae == pytest.approx((3 * 4 + 2 * 10) / 5)
    assert score.bias == pytest.approx((3 * 4 - 2 * 10) / 5)
    assert score.median == 4
    assert score.between_draws == pytest.approx(np.std([4, 10], ddof=1))
    assert score.mae_offset == pytest.approx((3 * 2 + 2 * 12) / 5)
    assert score.mae_common == pytest.approx((3 * 4 + 10) / 4)  # the curve lacks the second
    assert scene_thinning.median_error(found) == 4
    wheat = scene_thinning.score(key, found, "wheat", curve, 0.0)
    assert (wheat.references, wheat.dated, wheat.mae) == (1, 0.5, 4)


def test_edges_of_fields_have_numbers_of_their_own(archive):
    """Three pixels: wheat, maize, maize; the last lies at an edge and is far off."""
    tile = replace(archive, name="flanders", inside=np.array([True, True, False]))
    day = predictions(archive, 4)
    day[2] += 36
    given = {
        ("flanders", "NDVI curve"): (tile, dict.fromkeys(scene_thinning.cases((1.0,), 1), day))
    }
    scores = thinning_tables.thinned_scores(given)
    found = {
        s.group: (s.references, s.mae)
        for s in scores
        if (s.stage, s.pairing, s.kept) == ("sos20", "slot", "100 %")
    }
    assert found == {
        "all": (3, 16),
        "maize": (2, 22),
        "wheat": (1, 4),
        "all, inside fields": (2, 4),
        "maize, inside fields": (1, 4),
        "wheat, inside fields": (1, 4),
    }
    text = "\n".join(table.to_markdown() for table in thinning_tables.thinned_tables(scores))
    by_crop, inside = text.split("**Flanders 2018: by crop")[1].split("without the edges of fields")
    assert "| 100 % | NDVI curve | 22.0 (100 %) | 4.0 (100 %) |" in by_crop
    assert "| 100 % | NDVI curve | 4.0 (100 %) | 4.0 (100 %) | 4.0 (100 %) |" in inside


def test_pairing_by_time(archive):
    crossed = predictions(archive, 0)[:, ::-1]  # the main season in slot 2
    far = predictions(archive, 300)
    pixels = np.ones(3, bool)
    slot = scene_thinning.errors(archive, [crossed], "curve", "slot", pixels)["sos50"]
    assert np.isnan(slot.error).all()
    season = scene_thinning.errors(archive, [crossed, far], "curve", "season", pixels)["sos50"]
    assert (season.error[0] == 0).all()
    assert np.isnan(season.error[1]).all()  # overlaps nothing: no answer


def test_uncertain_dates_are_no_reference(archive):
    wide = [replace(one, spread=one.spread * 0 + 10.0) for one in archive.examples]
    assert scene_thinning.trusted(archive).sum() == 15
    assert not scene_thinning.trusted(replace(archive, examples=tuple(wide))).any()
    nowhere = replace(archive, groups=np.array(["", "maize", "maize"]))
    assert scene_thinning.trusted(nowhere).sum() == 10


def test_each_definition_has_five_dates():
    assert scene_thinning.dates_by(np.arange(10), "camera").tolist() == [0, 1, 2, 3, 4]
    assert scene_thinning.dates_by(np.arange(10), "curve").tolist() == [5, 6, 7, 8, 9]
    assert EVENTS[:5] == CALENDAR


def test_offsets_come_from_other_places(archive):
    cases = scene_thinning.cases((1.0,), 1)[:1]
    elsewhere = replace(archive, name="flanders")
    given = {
        ("france", "NDVI curve"): (archive, {case: predictions(archive, 3) for case in cases}),
        ("flanders", "NDVI curve"): (elsewhere, {case: predictions(archive, 8) for case in cases}),
    }
    scores = thinning_tables.thinned_scores(given)
    one = next(s for s in scores if (s.place, s.stage, s.group) == ("france", "sos20", "all"))
    assert (one.mae, one.offset, one.mae_offset) == (3, 8, 5)
    tables = thinning_tables.thinned_tables(scores)
    assert "| 100 % | NDVI curve | 3.0 | 3.0 | 3.0 | 3.0 | 3.0 |" in tables[2].to_markdown()
    assert thinning_tables.radar_tables(scores) == []  # no network, no verdict
    figure = thinning_tables.draw_thinning(scores)
    assert len(figure.axes) == 7


def test_radar_helps_or_not(archive):
    case = Case(0.4)
    names = (thinning_tables.CURVE, thinning_tables.WITHOUT, thinning_tables.WITH)

    def verdict(curve, without, with_radar, lost=()):
        days = (predictions(archive, curve), predictions(archive, without),
                predictions(archive, with_radar, lost))  # fmt: skip
        given = {
            ("france", name): (archive, {case: day}) for name, day in zip(names, days, strict=True)
        }
        (table,) = thinning_tables.radar_tables(thinning_tables.thinned_scores(given))
        return table.rows[0]

    row = verdict(20, 10, 5)
    assert row[2:6] == ("5.0", "10.0", "20.0", "25 %")
    assert row[-1] == "yes"
    assert verdict(20, 10, 12)[-1] == "no"
    assert verdict(20, 10, 5, lost=[1])[-1] == "no"  # fewer dates
