from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from deepcrop import experiment, sites
from deepcrop.cli import app
from deepcrop.errors import DeepCropError
from deepcrop.network import load
from deepcrop.simulation import lesson_store

EXPERIMENTS = Path(__file__).parents[1] / "experiments"

TINY = {
    "network": "transformer-only",
    "lessons": 4,
    "phases": [
        {"name": "one", "lessons": 1, "training": {"steps": 2, "check": 1}},
        {"name": "two", "lessons": 1, "training": {"steps": 1, "check": 1}},
    ],
}


def written(tmp_path, **changes):
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(TINY | changes))
    return path


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_experiment_can_be_read_and_says_its_command(path):
    read = experiment.read_experiment(path)
    assert read.phases
    assert f"deepcrop train experiments/{path.name}" in path.read_text()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "nothing"}, "network 'nothing' is unknown; expected one of paper"),
        ({"lesons": 3}, "lesons: Extra inputs|lesons: Unexpected"),
        ({"phases": []}, "has no phase"),
        ({"phases": [{"name": "a", "training": {}}]}, "'a' learns nothing"),
        ({"phases": [{"name": "a", "places": 1, "training": {}}]}, "'a' has places alone"),
        (
            {"phases": [{"name": "a", "places": 1, "lessons": 1, "training": {}}]},
            "'a' has places, but none is named",
        ),
        ({"places": ["atlantis"]}, "places atlantis are unknown; expected some of flanders"),
        ({"phases": [{"name": "a", "lessons": 1, "training": {"step": 1}}]}, "training.step"),
    ],
)
def test_mistakes_are_named(tmp_path, changes, message):
    with pytest.raises(DeepCropError, match=message):
        experiment.read_experiment(written(tmp_path, **changes))


def test_files_that_are_none(tmp_path):
    with pytest.raises(DeepCropError, match=r"none.yaml: No such file"):
        experiment.read_experiment(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(DeepCropError, match=r"bad.yaml is not valid YAML"):
        experiment.read_experiment(tmp_path / "bad.yaml")


def test_train_runs_its_phases_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(lesson_store, "SHARD", 3)
    monkeypatch.setattr(experiment, "HELD_LESSONS", 2)
    path, out = written(tmp_path), tmp_path / "out"
    command = ["train", str(path), "--out", str(out)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "2_two/weights.safetensors" in result.output.replace("\n", "")
    card = load(out / "2_two" / "weights.safetensors")[1]["card"]
    assert card["phase"] == "two"
    assert card["lessons"] == "4 simulated tiles, seed 1"
    assert len(list((out / "simulated" / "lessons").iterdir())) == 2
    before = (out / "1_one" / "weights.safetensors").stat().st_mtime_ns
    (out / "2_two" / "weights.safetensors").unlink()
    (out / "2_two" / "checkpoint.pt").unlink()
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert (out / "1_one" / "weights.safetensors").stat().st_mtime_ns == before
    written(tmp_path, seed=2)
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, DeepCropError)
    assert "1_one/weights.safetensors is of another experiment" in str(result.exception)


def test_real_data_is_asked_for(tmp_path):
    phases = [{"name": "a", "cameras": 1, "training": {}}]
    path = written(tmp_path, phases=phases)
    read = experiment.read_experiment(path)
    with pytest.raises(DeepCropError, match="with --data"):
        experiment.train(read, None, tmp_path / "out", tmp_path / "store")
    with pytest.raises(DeepCropError, match="no PhenoCam series"):
        experiment.train(read, tmp_path, tmp_path / "out", tmp_path / "store")


def test_no_test_site_and_no_cluster_is_on_both_sides(real_data):
    years = experiment.camera_years(real_data)
    learned, held = experiment.training_sites(years)
    cluster = {year.site: year.cluster for year in years}
    kept_out = (*sites.TEST_SITES, *experiment.TESTED_ELSEWHERE)
    parts = [{cluster[site] for site in some} for some in (learned, held, kept_out)]
    assert all(parts)
    assert len(parts[2]) == 5  # mead2 and mead3 are neighbours
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]
