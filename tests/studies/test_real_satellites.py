import csv
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from tests.helpers import real_series as made

from deepcrop.errors import DeepCropError
from deepcrop.evaluation.scores import Answers, Truth
from deepcrop.network import CONFIGS, build, save
from deepcrop.network.weights import shipped
from deepcrop.stages import STAGES
from deepcrop.studies import real_cameras, real_satellites, scene_thinning, thinning_tables
from deepcrop.studies.thinning_tables import Table
from deepcrop.training.real_excerpts import SOURCES


def test_places_that_taught_a_network_are_named():
    assert real_satellites._taught({}) == "taught none of these places."
    card = {"places": [SOURCES["france"]]}
    assert "taught France 2023: its numbers there are no test" in real_satellites._taught(card)


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
    truth = Truth(
        sites, sites, sites, np.full(3, "corn"), np.full(3, made.YEAR), day,
        np.zeros(day.shape, bool), np.zeros(day.shape, int), False,
    )  # fmt: skip
    evi = tuple(made.season(days, peak).astype(np.float32) for peak in peaks)
    return real_cameras.SiteYears(
        truth, (days,) * 3, evi, (None,) * 3, day[:, 0, 0] - 10, day[:, 0, 3] + 20
    )


def test_the_network_stands_among_the_camera_tables_whatever_weights_are_given(
    tmp_path, monkeypatch
):
    years, asked = site_years(), []

    def answer(weights, late=1):
        asked.append(weights)
        return Answers(years.truth.day + late, years.truth.day - 5, years.truth.day + 5)

    monkeypatch.setattr(real_cameras, "read_hls", lambda data: years)
    monkeypatch.setattr(real_cameras, "network_answers", lambda weights, examples: answer(weights))
    monkeypatch.setattr(
        real_cameras,
        "fine_tuned_answers",
        lambda years, weights, folder, seed: answer(weights, seed),
    )
    for name in ("thinned_scores", "thinned_tables", "verdicts"):
        monkeypatch.setattr(real_satellites, name, lambda given: [])
    monkeypatch.setattr(real_satellites, "_thinned", lambda *given: {})
    monkeypatch.setattr(real_satellites, "draw", lambda scores: Figure())
    monkeypatch.setattr(
        real_satellites, "_chips_table", lambda *given: Table("Chips", ("a",), [("b",)], "")
    )
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save(build(CONFIGS["transformer-only"]), weights)
    methods = {
        *(f"EVI curve ({name}){more}" for name in ("savgol", "whittaker")
          for more in ("", ", less an offset")),
        "network, not fine-tuned", "network, not fine-tuned, less an offset",
        "network, fine-tuned",
    }  # fmt: skip
    for given in (weights, None):
        real_satellites.report(tmp_path, given, tmp_path / "out", overwrite=True)
        with (tmp_path / "out" / "camera.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["method"] for row in rows} == methods
        tuned = [row for row in rows if row["method"] == "network, fine-tuned"]
        spread = f"{np.std([1, 2, 3, 4, 5], ddof=1):.3f}"  # seeds are that many days late
        assert {(row["seeds"], row["mae"], row["mae_sd"]) for row in tuned} == {
            ("5", "3.000", spread)
        }
        with (tmp_path / "out" / "observed.csv").open() as file:
            rows = list(csv.DictReader(file))
        assert {row["dates_of"] for row in rows} == {"camera", *methods}
        assert [(row["stage"], row["event"], row["site_years"]) for row in rows[:2]] == [
            ("sos20", "emergence", "3"), ("eos20", "harvest", "3"),
        ]  # fmt: skip
        late = {row["dates_of"]: row for row in rows if row["event"] == "emergence"}
        for name, mean in (("camera", "10.000"), ("network, fine-tuned", "11.000")):
            assert (late[name]["mean"], late[name]["median"]) == (mean, mean)
            assert late[name]["sd"] == "0.000"
        for name in ("report.md", "report.html"):
            page = (tmp_path / "out" / name).read_text()
            assert "Real EVI against real cameras, days: 3 site-years at 3 sites" in page
            assert "network, fine-tuned" in page
            assert "3.0 ± 1.6" in page
            assert "First and last date against emergence and harvest" in page
    assert set(asked) == {shipped("evi")}


def test_curves_and_the_network_date_the_chips(real_data, tmp_path):
    years = real_cameras.read_hls(real_data)
    own, true = years.truth.site == "goodwater", years.truth.day
    late = true + np.where(own, 100, np.arange(len(own)))[:, None, None]
    off = dict(zip(STAGES, np.nanmedian((late - true)[~own, 0], axis=0), strict=True))
    names = ("EVI curve (savgol)", "EVI curve (whittaker)")
    cameras = {name: [Answers(late, late, late)] for name in names}
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
def test_report(real_data, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save(build(CONFIGS["default"]), weights)
    few = scene_thinning.cases((1.0, 0.25), 1)
    monkeypatch.setattr(scene_thinning, "cases", lambda: few)
    places = {"france": "France 2023"}
    monkeypatch.setattr(real_satellites, "PLACES", places)
    monkeypatch.setattr(thinning_tables, "PLACES", places)
    short = replace(real_cameras.FINE_TUNING, steps=2, check=1)
    monkeypatch.setattr(real_cameras, "FINE_TUNING", short)
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

    monkeypatch.setattr(scene_thinning, "answer", refuse)  # all answers are on disk
    real_satellites.report(real_data, weights, out)
    html = (out / "report.html").read_text()
    assert "Evidence on real satellites" in html
    assert "data:image/png" in html
    assert "SIMULATED" not in html
    page = (out / "report.md").read_text()
    assert "Does radar earn its place?" in page
    assert "taught none of these places" in page
    assert "network, fine-tuned" in page
    assert "network with radar, camera's dates" in page
    assert (out / "thinned.png").stat().st_size > 10_000
    for name in ("camera", "observed", "chips"):
        assert (out / f"{name}.csv").stat().st_size > 1000
    with (out / "thinned.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["kept"] for row in rows} == {"100 %", "25 %", "gap of 60 days"}
    assert "wrote" in capsys.readouterr().out
