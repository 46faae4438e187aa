from pathlib import Path

import numpy as np
import pytest
import torch

from deepcrop import real_camera
from deepcrop.network import CONFIGS, build, save
from deepcrop.network.sensors import SCALES
from deepcrop.scores import Answers, Truth


def test_bands_give_back_their_evi():
    network = build(CONFIGS["evi-only"])
    evi = np.float32([-0.1, 0.0, 0.2, 0.55, 0.92, 1.2])
    bands = torch.from_numpy(real_camera.evi_bands(evi))[:, :, None, None]
    zero, unit = SCALES["evi"]
    branch = network.branches.of("optical")
    made = branch._scaled(bands)[:, 0, 0, 0] * unit + zero
    assert torch.allclose(made, torch.from_numpy(evi), atol=1e-5)


def test_neighbours_count_as_one_site():
    assert real_camera.site_of("mead3_2021") == real_camera.site_of("mead1_2022") == "mead"
    assert real_camera.site_of("goodwaterbau_2021") == real_camera.site_of("goodwater_2022")
    assert real_camera.site_of("NEON.D06.KONA.DP1.00033_2022") != "NEON"


def test_an_offset_is_learned_at_other_sites():
    sites = np.array(["a", "a", "b", "b", "c"])
    none = np.zeros((5, 2, 4), bool)
    zero = np.zeros((5, 2, 4))
    truth = Truth(sites, sites, sites, sites, np.full(5, 2021), zero, none, zero.astype(int), False)
    late = np.array([10, 10, 4, 4, 7.0])[:, None, None] + zero
    moved = real_camera.leave_one_site_out_offset(Answers(late, late - 1, late + 1), truth)
    # median of 4, 4, 7; of 10, 10, 7; of 10, 10, 4, 4
    assert moved.day[:, 0, 0].tolist() == [6, 6, -6, -6, 0]
    assert (moved.high - moved.low == 2).all()


@pytest.fixture(scope="module")
def years(request):
    return real_camera.read_hls(request.getfixturevalue("real_data"))


def test_site_years(years):
    truth = years.truth
    assert len(truth) == 29
    assert "mandani2_2021" not in truth.site_year
    assert np.unique(truth.site).size == 13
    assert np.isfinite(truth.day[:, 0]).mean() > 0.95
    day = truth.day[:, 0]
    assert (np.diff(day[np.isfinite(day).all(1)], axis=1) > 0).all()
    named = dict(zip(truth.site_year, years.emergence, strict=True))
    assert named["arsbrooks10_2021"] == 122  # 3 May
    assert np.isnan(named["arsmorris1_2021"])  # a slip: written as 2023
    harvest = dict(zip(truth.site_year, years.harvest, strict=True))
    assert np.isnan(harvest["arsltarmdcr_2022"])
    for example, days, evi in zip(years.examples, years.days, years.evi, strict=True):
        assert example.optical_days.tolist() == days[::5].tolist()
        nir, red, blue = (example.optical[:, k, 9, 9] for k in (3, 2, 0))
        made = 2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1)
        assert np.allclose(made, evi[::5], atol=1e-4)


def test_the_curve_comes_near_the_cameras(years):
    answers = real_camera.evi_curve(years, "savgol")
    error = np.abs(answers.day[:, 0] - years.truth.day[:, 0])
    assert (np.nanmean(error, axis=0) < 14).all()
    moved = real_camera.leave_one_site_out_offset(answers, years.truth)
    better = np.abs(moved.day[:, 0] - years.truth.day[:, 0])
    assert np.nanmean(better) < np.nanmean(error)


def test_chips(request):
    example, camera = real_camera.read_chips(request.getfixturevalue("real_data"))
    assert example.optical.shape[1:] == (4, 18, 18)
    assert camera.year == 2023
    assert camera.accepted
    day = real_camera.main_season(camera)
    assert (np.diff(day) > 0).all()
    # 30 m pixels, repeated: three neighbours in four rows or columns are alike.
    nir = example.optical[len(example.optical) // 2, 3]
    assert np.isfinite(nir[9, 9])
    assert (np.diff(nir, axis=0) == 0).all(1).sum() == 12


def test_fine_tuning_leaves_the_site_out(years, tmp_path, monkeypatch):
    torch.manual_seed(0)
    weights = tmp_path / "evi.safetensors"
    save(build(CONFIGS["evi-only"]), weights)
    seen = []

    def tune(start, train, valid, out, seed):
        seen.append((out.name, [id(one) for one in (*train, *valid)], len(valid)))
        return start

    monkeypatch.setattr(real_camera, "fine_tune", tune)
    answers = real_camera.fine_tuned_answers(years, weights, tmp_path)
    assert answers.day.shape == (29, 2, 4)
    assert len(seen) == 13
    for site, ids, held in seen:
        own = {id(e) for e, s in zip(years.examples, years.truth.site, strict=True) if s == site}
        assert not own & set(ids)
        assert len(ids) == len(set(ids)) == 29 - len(own)
        assert held >= 2


def test_fine_tuning_writes_weights(years, tmp_path, monkeypatch):
    torch.manual_seed(0)
    weights = tmp_path / "evi.safetensors"
    save(build(CONFIGS["evi-only"]), weights, card={"lessons": "none"})
    short = real_camera.replace(real_camera.FINE_TUNING, steps=2, check=1)
    monkeypatch.setattr(real_camera, "FINE_TUNING", short)
    tuned = real_camera.fine_tune(weights, years.examples[:4], years.examples[4:6], tmp_path, 3)
    _, about = real_camera.load(tuned)
    assert isinstance(tuned, Path)
    assert about["card"]["lessons"] == "none"
    assert about["card"]["cameras"]["fine_tuned"].startswith("4 site-years")
