from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from conftest import make_cube
from test_sites import accepted, labels, season
from typer.testing import CliRunner

from deepcrop import experiment, samples, sites
from deepcrop.cli import app
from deepcrop.errors import DeepCropError
from deepcrop.network import load
from deepcrop.simulation import REVISION, lesson_store
from deepcrop.sites import site_years

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


def test_a_device_that_is_not_there_is_named_before_anything_is_simulated(tmp_path):
    out = tmp_path / "out"
    path = written(tmp_path)
    command = ["train", str(path), "--out", str(out), "--device", "abacus"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, DeepCropError)
    assert "Device 'abacus' cannot be used" in str(result.exception)
    assert not out.exists()
    if not torch.cuda.is_available():
        read = experiment.read_experiment(path)
        with pytest.raises(DeepCropError, match="Device 'cuda' cannot be used"):
            experiment.train(read, None, out, out, device="cuda")


def cameras(tmp_path, **places):
    """Accepted site-years of cameras, each a cluster of its own but for those that are near."""
    made = site_years([labels(tmp_path, site, accepted(2018, season(1, 150))) for site in places])
    near = sites.clusters(places)
    return [
        replace(
            year, cluster=near[year.site], latitude=places[year.site][0],
            longitude=places[year.site][1],
        )
        for year in made
    ]  # fmt: skip


def test_what_lies_near_a_tested_place_stays_out_though_its_camera_is_not_there(tmp_path):
    years = cameras(
        tmp_path, goodwater=(39.22848, -92.11936), mead1=(41.1651, -96.4766), far=(40.0, -90.0),
        away=(42.0, -90.0), away2=(42.01, -90.0),
    )  # fmt: skip
    learned, held = experiment.training_sites(years)
    assert sorted([sorted(learned), sorted(held)]) == [["away", "away2"], ["far"]]


def test_cameras_of_one_cluster_are_too_few(tmp_path):
    years = cameras(tmp_path, a=(42.0, -90.0), b=(42.01, -90.0), mead1=(41.1651, -96.4766))
    with pytest.raises(DeepCropError, match=r"at least two clusters are needed.*There is 1\."):
        experiment.training_sites(years)
    with pytest.raises(DeepCropError, match=r"at least two clusters are needed.*There is none\."):
        experiment.training_sites([])


def test_samples_of_other_labels_or_another_simulator_are_refused(tmp_path):
    years = cameras(tmp_path, a=(42.0, -90.0), b=(40.0, -90.0))
    patch = samples.cut(make_cube(), 10, 14, 2018)
    read = experiment.read_experiment(written(tmp_path, realisations=1))

    def stored(**provenance):
        made = (
            samples.Sample(
                f"{one.name}_0", one.site, one.cluster, "corn", 2018, one.latitude, one.longitude,
                0.0, True, patch, one.day, one.low, one.high, one.none,
            )
            for one in years
        )  # fmt: skip
        samples.save(samples.collect(made, provenance), tmp_path / "cameras_1_1.npz", True)

    stored(simulator=REVISION)
    assert len(experiment.camera_samples(read, years, tmp_path)) == 2
    moved = [years[0], replace(years[1], day=years[1].day + 1)]
    for others in (moved, years[:1], [*years, replace(years[0], year=2019)]):
        with pytest.raises(DeepCropError, match=r"cameras_1_1.npz was made .* labels.*delete it"):
            experiment.camera_samples(read, others, tmp_path)
    stored(simulator=REVISION + 1)
    with pytest.raises(DeepCropError, match="by another version"):
        experiment.camera_samples(read, years, tmp_path)


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
