from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers import training_examples
from tests.helpers.cubes import make_cube

from deepcrop.cameras.spatial_split import TEST_PLACES
from deepcrop.errors import DeepCropError
from deepcrop.evaluation.scores import Predictions, ReferenceDates
from deepcrop.evaluation.weights_report import evaluate
from deepcrop.network import CONFIGS, build, save
from deepcrop.network.sensor_branch import SCALES
from deepcrop.studies import real_cameras
from deepcrop.training import samples


def test_bands_give_back_their_evi():
    network = build(CONFIGS["evi-only"])
    evi = np.float32([-0.1, 0.0, 0.2, 0.55, 0.92, 1.2])
    bands = torch.from_numpy(real_cameras.evi_bands(evi))[:, :, None, None]
    zero, unit = SCALES["evi"]
    branch = network.branches.of("optical")
    made = branch._scaled(bands)[:, 0, 0, 0] * unit + zero
    assert torch.allclose(made, torch.from_numpy(evi), atol=1e-5)


def test_neighbours_count_as_one_site():
    assert real_cameras.site_of("mead3_2021") == real_cameras.site_of("mead1_2022") == "mead"
    assert real_cameras.site_of("goodwaterbau_2021") == real_cameras.site_of("goodwater_2022")
    assert real_cameras.site_of("NEON.D06.KONA.DP1.00033_2022") != "NEON"


def test_an_offset_comes_from_other_sites():
    sites = np.array(["a", "a", "b", "b", "c"])
    none = np.zeros((5, 2, 4), bool)
    zero = np.zeros((5, 2, 4))
    truth = ReferenceDates(
        sites, sites, sites, sites, np.full(5, 2021), zero, none, zero.astype(int), False
    )
    late = np.array([10, 10, 4, 4, 7.0])[:, None, None] + zero
    moved = real_cameras.subtract_offset_elsewhere(Predictions(late, late - 1, late + 1), truth)
    # median of 4, 4, 7; of 10, 10, 7; of 10, 10, 4, 4
    assert moved.day[:, 0, 0].tolist() == [6, 6, -6, -6, 0]
    assert (moved.high - moved.low == 2).all()


@pytest.fixture(scope="module")
def years(request):
    return real_cameras.read_hls(request.getfixturevalue("real_data"))


def test_site_years(years):
    truth = years.reference
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
    answers = real_cameras.evi_curve(years, "savgol")
    error = np.abs(answers.day[:, 0] - years.reference.day[:, 0])
    assert (np.nanmean(error, axis=0) < 14).all()
    moved = real_cameras.subtract_offset_elsewhere(answers, years.reference)
    better = np.abs(moved.day[:, 0] - years.reference.day[:, 0])
    assert np.nanmean(better) < np.nanmean(error)


@pytest.mark.slow
def test_chips(real_data, tmp_path):
    example, camera = real_cameras.read_chips(real_data)
    assert example.optical.shape[1:] == (4, 18, 18)
    assert camera.year == 2023
    assert camera.accepted
    day = real_cameras.main_season(camera)
    assert (np.diff(day) > 0).all()
    # 30 m pixels, repeated: three neighbours in four rows or columns are alike.
    nir = example.optical[len(example.optical) // 2, 3]
    assert np.isfinite(nir[9, 9])
    assert (np.diff(nir, axis=0) == 0).all(1).sum() == 12
    assert camera.crop == "corn"
    (tmp_path / "phenocam").mkdir()
    for folder in ("hls_camera", "phenocam/series"):
        (tmp_path / folder).symlink_to(real_data / folder)
    assert real_cameras.read_chips(tmp_path)[1].crop == ""  # no table of crops


def test_fine_tuning_leaves_the_site_out(years, tmp_path, monkeypatch):
    torch.manual_seed(0)
    weights = tmp_path / "evi.safetensors"
    save(build(CONFIGS["evi-only"]), weights)
    seen = []

    def tune(start, given, train, valid, out, seed):
        seen.append((out.name, [*train, *valid], len(valid)))
        return start

    monkeypatch.setattr(real_cameras, "fine_tune", tune)
    answers = real_cameras.fine_tuned_predictions(years, weights, tmp_path)
    assert answers.day.shape == (29, 2, 4)
    assert len(seen) == 13
    for site, rows, held in seen:
        own = set(np.flatnonzero(years.reference.site == site))
        assert not own & set(rows)
        assert len(rows) == len(set(rows)) == 29 - len(own)
        assert held >= 2


def test_every_camera_has_a_place(years):
    assert {name.rpartition("_")[0] for name in years.reference.site_year} == set(
        real_cameras.PLACES
    )


@pytest.mark.slow
def test_fine_tuned_weights_are_rejected_where_they_were_trained(tmp_path, monkeypatch):
    names = np.array(["mead1_2021", "goodwater_2022", "ecb1_2022"])
    zero = np.zeros((3, 2, 4))
    truth = ReferenceDates(
        names, names, names, names, names, zero, zero == 1, zero.astype(int), False
    )
    rng = np.random.default_rng(0)
    examples = tuple(training_examples.example(rng, radar_dates=0) for _ in names)
    years = real_cameras.SiteYears(truth, (), (), examples, zero, zero)
    torch.manual_seed(0)
    weights = tmp_path / "evi.safetensors"
    cameras = {"pixels": "simulated", "sites": {"silverton": (45.0, -122.8)}}
    save(build(CONFIGS["evi-only"]), weights, card={"simulated_tiles": "none", "cameras": cameras})
    recipe = real_cameras.FINE_TUNING
    short = replace(recipe, training=replace(recipe.training, steps=2, eval_interval=1))
    monkeypatch.setattr(real_cameras, "FINE_TUNING", short)
    train, valid = np.array([0]), np.array([1])
    tuned = real_cameras.fine_tune(weights, years, train, valid, tmp_path / "out", 3)
    card = real_cameras.load(tuned)[1]["card"]
    assert card["simulated_tiles"] == "none"
    assert card["cameras"]["pixels"] == "simulated"
    assert card["cameras"]["fine_tuned"].startswith("1 site-years")
    assert card["cameras"]["sites"] == {
        "silverton": [45.0, -122.8], "mead1": [41.1651, -96.4766], "goodwater": [39.2285, -92.1194],
    }  # fmt: skip

    # A set without any of the training cameras: only its mead2 lies near one.
    cube = make_cube()
    patch = samples.cut(cube, 10, 14, 2018)
    none = np.zeros((2, 5), bool)
    made = samples.collect(
        (
            samples.Sample(
                f"{site}_AG_1000_2018", site, site, "corn", 2018, *place, 0.0, False, patch,
                none + 100.0, none + 90.0, none + 110.0, none,
            )
            for site, place in (
                ("mead2", TEST_PLACES["mead2"]), ("usof6", TEST_PLACES["usof6"]),
            )
        ),
        {},
    )  # fmt: skip
    samples.save(made, tmp_path / "set.npz")
    with pytest.raises(DeepCropError, match="was trained at or near mead2: scores"):
        evaluate(tuned, tmp_path / "set.npz", tmp_path / "scores")
