import numpy as np

from deepcrop.products import layers
from deepcrop.stages import CALENDAR, NO_DAY, STAGES


def test_the_curve_has_dates_and_counts():
    described = layers.describe("curve", 2018)
    names = [layer.name for layer in described]
    assert names[:4] == ["sos20", "sos20_low", "sos20_high", "sos50"]
    counts = ["n_cycles", "n_obs_optical", "n_obs_sar", "max_gap_optical", "qflag"]
    assert names[-6:] == ["length_season2", *counts]
    assert len(names) == 2 * (5 * 3 + 1) + 5
    assert (*STAGES, *(f"{stage}_season2" for stage in STAGES)) == layers.DAY_LAYERS


def test_the_network_says_more_of_each_date():
    described = {layer.name: layer for layer in layers.describe("deepcrop", 2018)}
    assert len(described) == 2 * (5 * 4 + 1) + 5
    assert set(layers.DAY_LAYERS) < set(described)
    for stage in CALENDAR:
        for name in (stage, f"{stage}_season2"):
            days = described[name]
            assert (days.kind, days.dtype, days.nodata) == ("day", np.int16, NO_DAY)
            for end in ("low", "high"):
                bound = described[f"{name}_{end}"]
                assert (bound.kind, bound.dtype, bound.nodata) == ("bound", np.int16, NO_DAY)
                assert bound.unit == days.unit == "days since 2018-01-01"
            percent = described[f"{name}_probability"]
            assert (percent.kind, percent.dtype, percent.nodata) == ("percent", np.uint8, 255)
            assert percent.unit == "%"
    assert (
        described["peak_season2_low"].title == "peak of season, season 2: 5 % quantile of the date"
    )
    for name in ("n_obs_optical", "n_obs_sar", "max_gap_optical"):
        assert described[name].nodata == layers.NO_COUNT  # 0 says something
        assert "2018" in described[name].title
    assert described["length"].unit == "days"


def test_differences_are_of_dates_alone():
    described = layers.describe("difference", 2018)
    assert [layer.name for layer in described[:5]] == list(CALENDAR)
    assert {layer.kind for layer in described} == {"difference"}
    assert len(described) == 10


def test_each_flag_is_a_bit_of_its_own():
    assert list(layers.FLAGS) == [1 << k for k in range(11)]
