import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers import hls_camera
from tests.helpers import real_series as made

from deepcrop.errors import DeepCropError
from deepcrop.evaluation.scores import Predictions, ReferenceDates
from deepcrop.network import CONFIGS, build, save
from deepcrop.stages import STAGES
from deepcrop.studies import real_cameras, real_satellites, scene_thinning, thinning_tables
from deepcrop.training import real_excerpts
from deepcrop.training.real_excerpts import SOURCES


def test_training_places_of_a_network_are_named():
    assert real_satellites._training_places({}) == "trained on none of these places."
    card = {"places": [SOURCES["france"]]}
    assert (
        "trained on France 2023: its numbers there are no test"
        in real_satellites._training_places(card)
    )


def test_missing_data_are_named(tmp_path):
    with pytest.raises(DeepCropError, match="nowhere does not exist"):
        real_satellites.report(tmp_path / "nowhere", None, tmp_path / "out")


def site_years():
    """Three site-years of made-up EVI, whose cameras green up when EVI does."""
    days = np.arange(365, dtype=np.float32)
    peaks = (180.0, 190.0, 210.0)
    day = np.full((3, 2, 4), np.nan)
    shift = [-made.FIFTH, -made.HALF, made.HALF, made.FIFTH]
    day[:, 0] = np.add.outer(peaks, shift)
    sites = np.array(["a", "b", "c"])
    truth = ReferenceDates(
        sites, sites, sites, np.full(3, "corn"), np.full(3, made.YEAR), day,
        np.zeros(day.shape, bool), np.zeros(day.shape, int), False,
    )  # fmt: skip
    evi = tuple(made.season(days, peak).astype(np.float32) for peak in peaks)
    return real_cameras.SiteYears(
        truth, (days,) * 3, evi, (None,) * 3, day[:, 0, 0] - 10, day[:, 0, 3] + 20
    )


def read(path):
    with path.open() as file:
        return list(csv.DictReader(file))


def test_camera_table_has_mean_and_spread_over_fine_tunings(tmp_path):
    years = site_years()
    day = years.reference.day
    late = {"curve": [5], "network, fine-tuned": [1, 2, 3, 4, 5]}  # days, by run
    runs = {
        name: [Predictions(day + days, day + days - 6, day + days + 6) for days in lateness]
        for name, lateness in late.items()
    }
    table = real_satellites.camera_table(years, runs, tmp_path)
    rows = [row for row in read(tmp_path / "camera.csv") if row["method"] != "curve"]
    spread = f"{np.std([1, 2, 3, 4, 5], ddof=1):.3f}"
    assert {(row["seeds"], row["mae"], row["mae_sd"]) for row in rows} == {("5", "3.000", spread)}
    assert {row["crop"] for row in rows} == {"all", "corn"}
    assert table.title == "Real EVI against real cameras, days: 3 site-years at 3 sites"
    assert len(table.rows) == 2 * len(STAGES)
    assert table.rows[-1] == (
        "network, fine-tuned", "EOS20", "3", "100 %", "3.0 ± 1.6", "3.0 ± 1.6", "+3.0", "100 %",
    )  # fmt: skip


@pytest.fixture
def short(monkeypatch):
    """Fewer cases, one place, fewer and shorter fine-tunings; everything else as it is."""
    few = scene_thinning.cases((1.0, 0.25), 1)
    monkeypatch.setattr(scene_thinning, "cases", lambda: few)
    for module in (real_satellites, thinning_tables):
        monkeypatch.setattr(module, "PLACES", {"france": "France 2023"})
    recipe = real_cameras.FINE_TUNING
    brief = replace(recipe, training=replace(recipe.training, steps=2, eval_interval=1))
    monkeypatch.setattr(real_cameras, "FINE_TUNING", brief)
    monkeypatch.setattr(real_satellites, "TUNINGS", 2)
    monkeypatch.setattr("deepcrop.report.page.DPI", 30)


@pytest.mark.slow
def test_a_small_report_on_simulated_data(tmp_path, short, monkeypatch):
    """Weights are those of the package; only the reader of the real excerpt is replaced."""
    data = tmp_path / "data"
    hls_camera.write_hls_camera(data)
    monkeypatch.setattr(real_excerpts, "read", lambda name, folder: made.archive())
    real_satellites.report(data, None, tmp_path / "out")
    rows = read(tmp_path / "out" / "camera.csv")
    curves = {f"EVI curve ({name})" for name in ("savgol", "whittaker")}
    plain = {*curves, "network, not fine-tuned"}
    methods = {*plain, *(f"{name}, less an offset" for name in plain), "network, fine-tuned"}
    assert {row["method"] for row in rows} == methods
    assert {row["seeds"] for row in rows if row["method"] == "network, fine-tuned"} == {"2"}
    for row in rows:  # EVI follows the camera by a known number of days, at all sites
        if row["method"] in curves and row["stage"] in ("sos50", "eos50"):
            assert float(row["bias"]) == pytest.approx(hls_camera.LATE, abs=1.5)
        if row["method"].removesuffix(", less an offset") in curves - {row["method"]}:
            assert float(row["mae"]) < 1.5
    observed = {(row["dates_of"], row["event"]): row for row in read(tmp_path / "out/observed.csv")}
    assert {name for name, _ in observed} == {"camera", *methods}
    assert observed["camera", "emergence"]["site_years"] == "3"
    # SOS20 is a few days before half of green-up, EOS20 a few days after half of senescence.
    assert 0 < float(observed["camera", "emergence"]["mean"]) < hls_camera.EMERGENCE
    assert -hls_camera.HARVEST < float(observed["camera", "harvest"]["mean"]) < 0
    assert {row["kept"] for row in read(tmp_path / "out/thinned.csv")} == {
        "100 %", "25 %", "gap of 60 days",
    }  # fmt: skip
    for name in ("report.md", "report.html"):
        page = (tmp_path / "out" / name).read_text()
        for words in (
            "Real EVI against real cameras, days: 3 site-years at 3 sites",
            "First and last date against emergence and harvest",
            f"{len(hls_camera.CHIP_DAYS)} clear images",
            "Does radar help?",
            "network, fine-tuned",
            "evi: deepcrop",
        ):
            assert words in page


def test_curves_and_the_network_date_the_chips(real_data, tmp_path):
    years = real_cameras.read_hls(real_data)
    own, true = years.reference.site == "goodwater", years.reference.day
    late = true + np.where(own, 100, np.arange(len(own)))[:, None, None]
    off = dict(zip(STAGES, np.nanmedian((late - true)[~own, 0], axis=0), strict=True))
    names = ("EVI curve (savgol)", "EVI curve (whittaker)")
    cameras = {name: [Predictions(late, late, late)] for name in names}
    torch.manual_seed(0)
    table = real_satellites._chips_table(
        real_data, build(CONFIGS["transformer-only"]), years, cameras, tmp_path
    )
    with (tmp_path / "chips.csv").open() as file:
        rows = list(csv.DictReader(file))
    day, error = (
        {(row["dates_of"], row["stage"]): float(row[name]) for row in rows}
        for name in ("day", "error")
    )
    assert len(rows) == len(day) == 7 * 4
    for name, stage in day:
        known = day[name, stage] - day["camera", stage]
        assert error[name, stage] == pytest.approx(known, abs=2e-3)
        if name.startswith("EVI") and name in cameras:
            assert abs(known) < 21
            moved = day[f"{name}, less an offset", stage]  # as other sites say, not its own
            assert day[name, stage] - moved == pytest.approx(off[stage], abs=2e-3)
            assert abs(day[name, stage] - day["NDVI curve", stage]) > 0.1
    assert [row[0] for row in table.rows] == list(dict.fromkeys(row["dates_of"] for row in rows))
    assert f"{day['NDVI curve', 'sos20']:.1f} ({error['NDVI curve', 'sos20']:+.1f})" in str(table)
    assert "crop corn; camera's main season accepted" in table.note


@pytest.mark.slow
def test_report(real_data, tmp_path, short, monkeypatch, caplog):
    caplog.set_level("INFO", "deepcrop")
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save(build(CONFIGS["default"]), weights)
    out = tmp_path / "out"
    stopped = real_satellites._chips_table

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(real_satellites, "_chips_table", stop)
    with pytest.raises(KeyboardInterrupt):
        real_satellites.report(real_data, weights, out)
    assert not out.exists()
    monkeypatch.setattr(real_satellites, "_chips_table", stopped)

    def refuse(*_):
        raise AssertionError("answered twice")

    monkeypatch.setattr(scene_thinning, "predict_case", refuse)  # all answers are on disk
    real_satellites.report(real_data, weights, out)
    html = (out / "report.html").read_text()
    assert "Evidence on real satellites" in html
    assert "data:image/png" in html
    assert "SIMULATED" not in html
    page = (out / "report.md").read_text()
    assert "Does radar help?" in page
    assert "trained on none of these places" in page
    assert "network, fine-tuned" in page
    assert "network with radar, camera's dates" in page
    assert (out / "thinned.png").stat().st_size > 10_000
    for name in ("camera", "observed", "chips"):
        assert (out / f"{name}.csv").stat().st_size > 1000
    with (out / "thinned.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["kept"] for row in rows} == {"100 %", "25 %", "gap of 60 days"}
    assert f"wrote {out / 'report.html'}" in caplog.messages
