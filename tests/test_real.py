import csv

import pytest
import torch

from deepcrop import real, thinning, thinning_tables
from deepcrop.errors import DeepCropError
from deepcrop.network import CONFIGS, build, save
from deepcrop.real_data import SOURCES


def test_places_that_taught_a_network_are_named():
    assert real._taught({}) == "taught none of these places."
    card = {"places": [SOURCES["france"]]}
    assert "taught France 2023: its numbers there are no test" in real._taught(card)


def test_missing_data_are_named(tmp_path):
    with pytest.raises(DeepCropError, match="nowhere does not exist"):
        real.report(tmp_path / "nowhere", None, tmp_path / "out")


@pytest.mark.slow
def test_report(real_data, tmp_path, monkeypatch, capsys):
    torch.manual_seed(0)
    weights = tmp_path / "weights.safetensors"
    save(build(CONFIGS["default"]), weights)
    few = thinning.cases((1.0, 0.25), 1)
    monkeypatch.setattr(thinning, "cases", lambda: few)
    places = {"france": "France 2023"}
    monkeypatch.setattr(real, "PLACES", places)
    monkeypatch.setattr(thinning_tables, "PLACES", places)
    out = tmp_path / "out"
    stopped = real._chips_table

    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(real, "_chips_table", stop)
    with pytest.raises(KeyboardInterrupt):
        real.report(real_data, weights, out)
    assert not out.exists()
    monkeypatch.setattr(real, "_chips_table", stopped)

    def refuse(*_):
        raise AssertionError("answered twice")

    monkeypatch.setattr(thinning, "answer", refuse)  # all answers are on disk
    real.report(real_data, weights, out)
    html = (out / "report.html").read_text()
    assert "Evidence on real satellites" in html
    assert "data:image/png" in html
    assert "SIMULATED" not in html
    page = (out / "report.md").read_text()
    assert "Does radar earn its place?" in page
    assert "taught none of these places" in page
    assert "network with radar, camera's dates" in page
    assert (out / "thinned.png").stat().st_size > 10_000
    with (out / "thinned.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["kept"] for row in rows} == {"100 %", "25 %", "gap of 60 days"}
    assert "wrote" in capsys.readouterr().out
