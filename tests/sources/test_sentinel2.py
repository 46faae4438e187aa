import json
import warnings

import numpy as np
import pytest
import xarray as xr

from deepcrop.cube.contract import OPTICAL_BANDS
from deepcrop.sources.archive import SceneError
from deepcrop.sources.sentinel2 import (
    OffsetWarning,
    Scaling,
    identify,
    offset_is_subtracted,
    scaling_by_baseline,
    scaling_by_flag,
    scaling_by_raster_bands,
)

REAL = {
    "planetary_computer": "planetary_computer_sentinel-2-l2a.json",
    "earth_search_c1": "earth_search_sentinel-2-c1-l2a.json",
    "earth_search_v0": "earth_search_sentinel-2-l2a_v0_2022.json",
    "earth_search_v0b": "earth_search_sentinel-2-l2a_v0_2022b.json",
}


def item(**properties):
    return {"id": "S2A_1", "properties": {k.replace("__", ":"): v for k, v in properties.items()}}


def never():
    raise AssertionError("the pixels are not needed")


def pixels(blue, classes=4):
    """OverviewReader of a product whose pixels all have these numbers."""
    return lambda: (np.full((20, 20), blue, np.uint16), np.full((20, 20), classes, np.uint8))


# Identity


@pytest.mark.parametrize(
    ("file", "acquisition", "orbit", "baseline", "generation"),
    [
        ("planetary_computer", "S2B_20240419T095549_47XML", 122, 5.1, "20240419123458"),
        ("earth_search_c1", "S2B_20240710T071619_37MGP", 6, 5.1, "20240710103747"),
        ("earth_search_v0", "S2A_20221106T155441_17SPR", 54, 4.0, "20221106204155"),
        ("earth_search_v0b", "S2B_20220107T063239_42TUM", 77, 3.01, "20220107084202"),
    ],
)
def test_real_items_say_what_they_are(real_data, file, acquisition, orbit, baseline, generation):
    content = json.loads((real_data / "stac" / REAL[file]).read_text())
    identity = identify(content[0] if isinstance(content, list) else content)
    assert identity.acquisition == acquisition
    assert identity.relative_orbit == orbit
    assert identity.baseline == baseline
    assert identity.generation == generation


def test_versions_of_a_product_are_one_acquisition():
    old = item(s2__product_uri="S2A_MSIL2A_20180701T170901_N0208_R112_T15TVG_20180702T011122.SAFE")
    new = item(
        s2__product_uri="S2A_MSIL2A_20180701T170901_N0500_R112_T15TVG_20230801T000000.SAFE",
        s2__generation_time="2023-08-01T00:00:00.000000Z",
        s2__processing_baseline="05.00",
    )
    assert identify(old).acquisition == identify(new).acquisition
    assert (identify(old).baseline, identify(new).baseline) == (2.08, 5.0)
    assert identify(old).generation < identify(new).generation


def test_an_unknown_name_stands_for_itself():
    identity = identify(item(**{"sat__relative_orbit": 7, "s2__processing_baseline": "03.01"}))
    assert (identity.acquisition, identity.relative_orbit, identity.baseline) == ("S2A_1", 7, 3.01)


# The offset


@pytest.mark.parametrize(("baseline", "offset"), [("03.01", 0.0), ("04.00", -0.1), ("05.10", -0.1)])
def test_baseline_decides_and_not_the_date(baseline, offset):
    old = item(datetime="2018-07-01T17:09:01Z", s2__processing_baseline=baseline)
    scaling = scaling_by_baseline(old, never)
    assert scaling.bands == dict.fromkeys(OPTICAL_BANDS, (0.0001, offset))
    assert baseline in scaling.decision
    assert ("-1000 applied" in scaling.decision) == (offset < 0)


def test_no_baseline_is_no_guess():
    with pytest.raises(SceneError, match=r"S2A_1: .*s2:processing_baseline"):
        scaling_by_baseline(item(datetime="2018-07-01T17:09:01Z"), never)


def test_raster_bands_of_each_asset_decide(real_data):
    content = json.loads((real_data / "stac/earth_search_sentinel-2-c1-l2a.json").read_text())
    scaling = scaling_by_raster_bands(content, never)
    assert scaling.bands == dict.fromkeys(OPTICAL_BANDS, (0.0001, -0.1))
    assert scaling.decision == "-1000 applied (raster:bands)"
    content["assets"]["nir"]["raster:bands"][0] |= {"scale": 0.0002, "offset": 0}
    scaling = scaling_by_raster_bands(content, never)
    assert scaling.bands["nir"] == (0.0002, 0)
    assert scaling.bands["red"] == (0.0001, -0.1)
    del content["assets"]["nir"]["raster:bands"]
    with pytest.raises(SceneError, match=r"asset 'nir' states no scale"):
        scaling_by_raster_bands(content, never)


@pytest.mark.parametrize("prefix", ["earthsearch", "sentinel"])
@pytest.mark.parametrize("flag", [True, False, None])
@pytest.mark.parametrize("gone", [True, False])
def test_flag_is_checked_against_pixels(prefix, flag, gone):
    properties = {f"{prefix}:boa_offset_applied": flag, "s2:processing_baseline": "05.09"}
    legacy = {"id": "S2A_1", "properties": properties}
    sample = pixels(400 if gone else 1400)
    if gone == bool(flag):  # without a flag the archive has left the offset in
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            scaling = scaling_by_flag(legacy, sample)
        assert "agree" in scaling.decision
    else:
        with pytest.warns(OffsetWarning, match=f"S2A_1: .* is {flag}, but its pixels"):
            scaling = scaling_by_flag(legacy, sample)
        assert f"against the flag {flag}" in scaling.decision
    assert scaling.bands["red"] == (0.0001, 0.0 if gone else -0.1)


def test_flag_holds_where_pixels_show_nothing():
    said = {"s2__processing_baseline": "05.09", "earthsearch__boa_offset_applied": False}
    scaling = scaling_by_flag(item(**said), pixels(1800, classes=5))  # bright soil
    assert scaling.bands["red"] == (0.0001, -0.1)
    assert "nothing dark" in scaling.decision


def test_flag_means_nothing_before_the_offset_was_there():
    said = {"s2__processing_baseline": "03.01", "earthsearch__boa_offset_applied": False}
    assert scaling_by_flag(item(**said), never).bands["red"] == (0.0001, 0.0)
    name = "S2B_MSIL2A_20220107T063239_N0301_R077_T42TUM_20220107T084202"
    assert scaling_by_flag(item(sentinel__product_id=name), never).bands["red"] == (0.0001, 0.0)


def test_pixels_decide_only_where_they_can():
    rng = np.random.default_rng(0)
    vegetation = rng.integers(100, 700, (40, 40)).astype(np.uint16)
    classes = np.full((40, 40), 4, np.uint8)
    assert offset_is_subtracted(vegetation, classes) is True
    assert offset_is_subtracted(vegetation + 1000, classes) is False
    noisy = vegetation + 1000
    noisy[:4] = 980  # a tenth is negative, as over forest in winter
    assert offset_is_subtracted(noisy, classes) is False
    noisy[:8] = 980
    assert offset_is_subtracted(noisy, classes) is None
    cloud = np.full((40, 40), 9, np.uint8)
    assert offset_is_subtracted(vegetation, cloud) is None
    assert offset_is_subtracted(np.zeros_like(vegetation), classes) is None
    soil = np.full((40, 40), 5, np.uint8)
    assert offset_is_subtracted(vegetation, soil) is True
    assert offset_is_subtracted(vegetation + 1000, soil) is None  # might be sand


def test_pixels_of_real_products_decide_rightly(real_data):
    """Fields in Flanders before the offset, and in Vietnam from both sides of its coming."""
    decided = []
    folder = real_data / "sentinel/flanders_2018"
    with (
        xr.open_dataset(next(folder.glob("S2_L2A_10m*")), mask_and_scale=False) as fine,
        xr.open_dataset(next(folder.glob("S2_L2A_20m*")), mask_and_scale=False) as coarse,
    ):
        for k in range(fine.sizes["timestamp"]):
            classes = coarse["SCL"].values[k].repeat(2, axis=0).repeat(2, axis=1)
            blue = fine["B02"].values[k].astype(np.uint16)
            decided.append((offset_is_subtracted(blue, classes), True))
            decided.append((offset_is_subtracted(np.where(blue, blue + 1000, 0), classes), False))
    dates = {}
    for path in sorted((real_data / "sentinel/angiang_2022/s2").glob("*.nc"))[:60]:
        with xr.open_dataset(path, mask_and_scale=False) as site:
            for k, time in enumerate(site["time"].values.astype("datetime64[D]")):
                pair = site["blue"].values[k].ravel(), site["SCL"].values[k].ravel()
                dates.setdefault(time, []).append(pair)
    for time, pairs in dates.items():
        blue, classes = (np.concatenate(values) for values in zip(*pairs, strict=True))
        decided.append((offset_is_subtracted(blue, classes), time < np.datetime64("2022-01-25")))
    known = [(found, truth) for found, truth in decided if found is not None]
    assert all(found == truth for found, truth in known)
    assert len(known) > 0.5 * len(decided)  # the others are cloud
    assert {truth for _, truth in known} == {True, False}


def test_reflectance_keeps_what_is_negative():
    scaling = Scaling({"red": (0.0001, -0.1)}, "")
    values = scaling.reflectance("red", np.array([1, 950, 1000, 4321], np.uint16))
    np.testing.assert_allclose(values, [-0.0999, -0.005, 0, 0.3321], atol=1e-7)
    assert values.dtype == np.float32
