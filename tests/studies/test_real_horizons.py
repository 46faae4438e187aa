import csv
from dataclasses import replace

import numpy as np
import pytest
from tests.helpers import hls_camera
from tests.helpers import real_series as made
from tests.helpers.weights_files import tiny, write_weights

from deepcrop.errors import DeepCropError
from deepcrop.evaluation import horizons
from deepcrop.stages import STAGES
from deepcrop.studies import real_cameras, real_horizons
from deepcrop.studies.real_horizons import _events, _last_seen, _reported, report
from deepcrop.training import real_excerpts


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_missing_data_are_named(tmp_path):
    with pytest.raises(DeepCropError, match="nowhere does not exist"):
        report(tmp_path / "nowhere", None, tmp_path / "out")


def test_the_last_observation_is_of_each_pixel_and_of_the_sensors_read():
    image = horizons.cut_example(made.patch(150.0), 100.0)
    image = replace(image, optical=image.optical.copy())
    assert _last_seen([image], radar=False).tolist() == [100]
    image.optical[-1] = np.nan
    assert _last_seen([image], radar=False).tolist() == [95]
    assert _last_seen([image], radar=True).tolist() == [96]  # every 12 days from day -60
    empty = horizons.cut_example(image, -100.0)
    assert np.isnan(_last_seen([empty, empty], radar=True)).tolist() == [True, True]


def test_an_excerpt_pairs_seasons_where_two_of_a_year_are_equally_strong():
    archive = made.archive(peaks=(150.0, 230.0))
    cuts = _events(archive, 400.0)
    assert len(cuts.day) == 2 * len(STAGES)
    full = real_horizons.scene_thinning.reference(archive)[..., real_horizons._ORDER]
    second = np.where(np.isfinite(full), full, np.nan)[:, ::-1]  # in the other slot
    dates = horizons.Dates(second, second - 3, second + 3)
    late = np.full(2, 400.0)
    assert np.isnan(_reported(archive, "a", dates, late, cuts).error).all()
    paired = _reported(replace(archive, name="angiang"), "a", dates, late, cuts)
    np.testing.assert_array_equal(paired.error, 0)


@pytest.mark.slow
def test_a_small_report_on_simulated_data(tmp_path, monkeypatch):
    """Only the reader of the real excerpt is replaced; fewer cut-off days, a shorter training."""
    data = tmp_path / "data"
    hls_camera.write_hls_camera(data)
    monkeypatch.setattr(real_excerpts, "read", lambda name, folder: made.archive())
    monkeypatch.setattr(real_horizons, "PLACES", {"france": "France 2023"})
    monkeypatch.setattr(real_horizons, "MONTHS", {6: "1 June", 12: "1 December"})
    monkeypatch.setattr(horizons, "HORIZONS", (-60, 0, 60))
    monkeypatch.setattr("deepcrop.figures.page.DPI", 30)
    brief = replace(real_cameras.FINE_TUNING.training, steps=1, eval_interval=1)
    monkeypatch.setattr(
        real_cameras, "FINE_TUNING", replace(real_cameras.FINE_TUNING, training=brief)
    )
    weights = write_weights(tmp_path / "weights.safetensors", tiny())
    report(data, weights, tmp_path / "out")
    rows = {
        (row["days since"], row["method"]): row
        for row in rows_of(tmp_path / "out/evi/tables/evi_sos50.csv")
    }
    # EVI follows the camera alike at all sites: less the offset of the others, the curve is right.
    curve = "EVI curve, less an offset"
    assert float(rows["+60", curve]["MAE"]) < 2
    assert float(rows["-60", curve]["known, %"]) == 0
    assert {method for _, method in rows} == {
        curve, "network, trained on simulated tiles alone", "network, fine-tuned",
        "crop calendar", "last year's date",
    }  # fmt: skip
    # Corn elsewhere: half of green-up is on day 150, 160 and 170.
    assert float(rows["+0", "crop calendar"]["MAE"]) == pytest.approx(10, abs=0.5)
    rows = rows_of(tmp_path / "out/france/tables/france_all_crops_eos50.csv")
    by_cut = {(row["cut on"], row["method"]): row for row in rows}
    assert float(by_cut["1 June", "NDVI curve"]["known, %"]) == 0
    assert float(by_cut["1 December", "NDVI curve"]["MAE"]) < 1.5
    assert (tmp_path / "out/france/tables/france_maize_sos20.md").exists()
    assert "real images" in (tmp_path / "out/france/horizons.md").read_text()
