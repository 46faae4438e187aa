"""The table that compares both methods with the truth."""

import math

import pytest

from deepcrop.errors import DeepCropError
from deepcrop.evaluation.map_comparison import comparison_table, score_methods
from deepcrop.evaluation.map_truth import ALL_CROPS, StageScore
from deepcrop.stages import STAGES


def scores(mae, detected=0.9, group=ALL_CROPS):
    return [StageScore(group, stage, 1000, detected, 0.1, mae, -1.0, 2.0) for stage in STAGES]


def test_the_table_has_both_methods_their_difference_and_both_numbers():
    matched = {
        "curve": scores(11.24) + scores(7.0, group="maize"),
        "deepcrop": scores(4.64, 0.97) + scores(1.5, 1.0, group="maize"),
    }
    as_written = {"curve": scores(15.4), "deepcrop": scores(6.6)}
    table = comparison_table(matched, as_written, ("maize", "rice"))
    assert table.rows == [
        ("all crops", "NDVI curve", *["11.2"] * 4, "90 %"),
        ("", "network", *["4.6"] * 4, "97 %"),
        ("", "difference", *["−6.6"] * 4, ""),
        ("maize", "NDVI curve", *["7.0"] * 4, "90 %"),
        ("", "network", *["1.5"] * 4, "100 %"),
        ("", "difference", *["−5.5"] * 4, ""),
        ("as written", "NDVI curve", *["15.4"] * 4, "90 %"),
        ("", "network", *["6.6"] * 4, "90 %"),
        ("", "difference", *["−8.8"] * 4, ""),
    ]


def test_a_method_without_a_date_has_a_dash():
    found = {"curve": scores(math.nan, 0.0), "deepcrop": scores(4.0)}
    rows = comparison_table(found, found, ()).rows
    assert rows[0][2:] == ("–",) * 4 + ("0 %",)
    assert rows[2][2:6] == ("–",) * 4


def test_a_map_by_one_method_is_rejected(tmp_path):
    (tmp_path / "curve").mkdir()
    with pytest.raises(DeepCropError, match=r"no folder 'deepcrop'.*a map by both methods"):
        score_methods(tmp_path, tmp_path / "region.zarr")
