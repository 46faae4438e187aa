import json
import re
import tomllib
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import yaml
from tests.helpers.cubes import make_cube
from tests.helpers.site_years import accepted, labels, season
from typer.testing import CliRunner

from deepcrop.cameras.clusters import clusters
from deepcrop.cameras.site_years import site_years
from deepcrop.cameras.spatial_split import TEST_SITES
from deepcrop.cli import app
from deepcrop.errors import DeepCropError
from deepcrop.network import CONFIGS, load
from deepcrop.network.weights import shipped
from deepcrop.simulation import REVISION
from deepcrop.studies import paper_experiment
from deepcrop.training import materials, run_experiment, samples, simulated_cameras, tile_store
from deepcrop.training.experiment import RECIPES, Experiment, read_experiment, recipe_names
from deepcrop.training.fit import Source
from deepcrop.training.materials import (
    TESTED_ELSEWHERE,
    Material,
    camera_years,
    material,
    training_sites,
)
from deepcrop.training.run_experiment import check_same_experiment, train
from deepcrop.training.simulated_cameras import simulated_samples

ROOT = Path(__file__).parents[2]

TINY = {
    "network": "transformer-only",
    "simulated_tiles": 4,
    "phases": [
        {"name": "one", "simulated_tiles": 1, "training": {"steps": 2, "eval_interval": 1}},
        {"name": "two", "simulated_tiles": 1, "training": {"steps": 1, "eval_interval": 1}},
    ],
}


def written(tmp_path, **changes):
    path = tmp_path / "experiment.yaml"
    path.write_text(yaml.safe_dump(TINY | changes))
    return path


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_can_be_read_and_names_its_command(name):
    read = read_experiment(name)
    assert read.phases
    assert read_experiment(RECIPES / f"{name}.yaml") == read
    head = (RECIPES / f"{name}.yaml").read_text().split("\nnetwork:")[0]
    assert re.search(rf"\n#   deepcrop (train {name}|reproduce|evaluate) ", head)
    assert f"`{name}`" in (ROOT / "docs" / "training.md").read_text()


def test_recipes_are_in_the_wheel():
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    (package,) = build["targets"]["wheel"]["packages"]
    assert RECIPES.is_relative_to(ROOT / package)


def test_the_comparison_trains_the_published_network_by_its_recipe():
    (phase,) = read_experiment("paper").phases
    assert CONFIGS[read_experiment("paper").network] == CONFIGS["paper"]
    assert paper_experiment.recipe(CONFIGS["paper"]) == phase
    assert phase.batch == 50
    assert phase.shares() == {"cameras": 1}


def test_the_network_without_radar_is_trained_as_the_default_network():
    assert read_experiment("optical-only") == replace(
        read_experiment("default"), network="optical-only"
    )


@pytest.mark.parametrize("name", ["default", "evi"])
def test_the_weights_in_the_package_are_of_their_recipe(name):
    read = read_experiment(name)
    check_same_experiment(shipped(name), read, len(read.phases))
    other = replace(read.phases[0], batch=read.phases[0].batch + 1)
    with pytest.raises(DeepCropError, match="is of another experiment"):
        check_same_experiment(shipped(name), replace(read, phases=(other, *read.phases[1:])), 1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network": "nothing"}, "network 'nothing' is unknown; expected one of paper"),
        ({"simulated_tile": 3}, "simulated_tile: Extra inputs|simulated_tile: Unexpected"),
        ({"phases": []}, "has no phase"),
        ({"phases": [{"name": "a", "training": {}}]}, "'a' has no training data"),
        ({"phases": [{"name": "a", "places": 1, "training": {}}]}, "'a' has places alone"),
        (
            {"phases": [{"name": "a", "places": 1, "simulated_tiles": 1, "training": {}}]},
            "'a' has places, but none is named",
        ),
        ({"places": ["atlantis"]}, "places atlantis are unknown; expected some of flanders"),
        (
            {"phases": [{"name": "a", "simulated_tiles": 1, "training": {"step": 1}}]},
            "training.step",
        ),
    ],
)
def test_mistakes_are_named(tmp_path, changes, message):
    with pytest.raises(DeepCropError, match=message):
        read_experiment(written(tmp_path, **changes))


def test_another_network_can_be_trained_by_the_same_file(tmp_path):
    path = written(tmp_path)
    read = read_experiment(path)
    assert read_experiment(path, "cnn-only") == replace(read, network="cnn-only")
    with pytest.raises(DeepCropError, match="network 'cnn' is unknown"):
        read_experiment(path, "cnn")


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(
        DeepCropError, match=r"none.yaml: No such file .*in the package: comparison, default"
    ):
        read_experiment(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(DeepCropError, match=r"bad.yaml is not valid YAML"):
        read_experiment(tmp_path / "bad.yaml")


@pytest.mark.slow
def test_train_runs_its_phases_and_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(tile_store, "SHARD", 3)
    monkeypatch.setattr(materials, "HELD_OUT_TILES", 2)
    path, out = written(tmp_path), tmp_path / "out"
    command = ["train", str(path), "--out", str(out)]
    result = CliRunner().invoke(app, command, catch_exceptions=False)
    assert result.exit_code == 0
    assert "2_two/weights.safetensors" in result.output.replace("\n", "")
    card = load(out / "2_two" / "weights.safetensors")[1]["card"]
    assert card["phase"] == "two"
    assert card["simulated_tiles"] == "4 simulated tiles, seed 1"
    assert len(list((out / "simulated" / "simulated_tiles").iterdir())) == 2
    before = (out / "1_one" / "weights.safetensors").stat().st_mtime_ns
    (out / "2_two" / "weights.safetensors").unlink()
    (out / "2_two" / "checkpoint.pt").unlink()
    assert CliRunner().invoke(app, command, catch_exceptions=False).exit_code == 0
    assert (out / "1_one" / "weights.safetensors").stat().st_mtime_ns == before
    written(tmp_path, seed=2)
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, DeepCropError)
    assert "1_one/weights.safetensors is of another experiment" in str(result.exception)


def test_a_phase_says_how_many_examples_are_in_a_batch(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        run_experiment, "fit", lambda network, sources, *more, **names: seen.append(sources)
    )
    monkeypatch.setattr(
        run_experiment,
        "material",
        lambda kind, *more: Material([Source(kind, [0]), Source(kind, [1])], [], ""),
    )
    for given in ({}, {"batch": 7}):
        phase = {"name": "a", "simulated_tiles": 0.4, "cameras": 0.6, "training": {}}
        read = read_experiment(written(tmp_path, phases=[phase | given]))
        train(read, None, tmp_path, tmp_path)
    usual, seven = ([(one.name, one.batch, one.weight) for one in sources] for sources in seen)
    assert usual == [*[("simulated_tiles", 24, 0.2)] * 2, *[("cameras", 24, 0.3)] * 2]
    assert seven == [*[("simulated_tiles", 7, 0.2)] * 2, *[("cameras", 7, 0.3)] * 2]


def test_a_device_that_is_not_there_is_named_before_anything_is_simulated(tmp_path):
    out = tmp_path / "out"
    path = written(tmp_path)
    command = ["train", str(path), "--out", str(out), "--device", "abacus"]
    result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, DeepCropError)
    assert "Device 'abacus' cannot be used" in str(result.exception)
    assert not out.exists()
    if not torch.cuda.is_available():
        read = read_experiment(path)
        with pytest.raises(DeepCropError, match="Device 'cuda' cannot be used"):
            train(read, None, out, out, device="cuda")


def cameras(tmp_path, **places):
    """Accepted site-years of cameras, each a cluster of its own but for those that are near."""
    made = site_years([labels(tmp_path, site, accepted(2018, season(1, 150))) for site in places])
    near = clusters(places)
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
    learned, held = training_sites(years)
    assert sorted([sorted(learned), sorted(held)]) == [["away", "away2"], ["far"]]


def test_cameras_of_one_cluster_are_too_few(tmp_path):
    years = cameras(tmp_path, a=(42.0, -90.0), b=(42.01, -90.0), mead1=(41.1651, -96.4766))
    with pytest.raises(DeepCropError, match=r"at least two clusters are needed.*There is 1\."):
        training_sites(years)
    with pytest.raises(DeepCropError, match=r"at least two clusters are needed.*There is none\."):
        training_sites([])


def test_samples_of_other_settings_labels_or_simulators_are_rejected(tmp_path):
    years = cameras(tmp_path, a=(42.0, -90.0), b=(40.0, -90.0))
    patch = samples.cut(make_cube(), 10, 14, 2018)
    path = tmp_path / "cameras.npz"

    def store(**changes):
        settings = {
            "pixels": "simulated", "labels": "PhenoCam network",
            "statement": simulated_cameras.STATEMENT, "repeats": 1,
            "view_distance": samples.VIEW_DISTANCE, "seed": 1, "simulator": REVISION,
        }  # fmt: skip
        content = (
            samples.Sample(
                f"{one.name}_0", one.site, one.cluster, "corn", 2018, one.latitude, one.longitude,
                0.0, True, patch, one.day, one.low, one.high, one.none,
            )
            for one in years
        )  # fmt: skip
        samples.save(samples.collect(content, settings | changes), path, True)

    store()
    assert len(simulated_samples(years, path)) == 2
    moved = [years[0], replace(years[1], day=years[1].day + 1)]
    for others in (moved, years[:1], [*years, replace(years[0], year=2019)]):
        with pytest.raises(
            DeepCropError, match=r"cameras.npz was simulated with .* labels.*delete it"
        ):
            simulated_samples(others, path)
    with pytest.raises(DeepCropError, match="with other settings"):
        simulated_samples(years, path, repeats=2)
    with pytest.raises(DeepCropError, match="with other settings"):
        simulated_samples(years, path, distance=0)
    store(simulator=REVISION + 1)
    with pytest.raises(DeepCropError, match="by another version of the simulator"):
        simulated_samples(years, path)


def test_the_published_network_reads_the_mast_and_ours_the_field(tmp_path, monkeypatch):
    calls = {}

    def simulated_samples(years, path, repeats, distance, seed, workers):
        calls[path.name] = (repeats, distance, seed, workers)
        return types.SimpleNamespace(facts=[])

    monkeypatch.setattr(simulated_cameras, "simulated_samples", simulated_samples)
    monkeypatch.setattr(materials, "camera_years", lambda data: [])
    monkeypatch.setattr(materials, "training_sites", lambda years: (set(), set()))
    for name in ("paper", "paper-transformer", "default", "cnn-only"):
        experiment = Experiment(name, (), seed=3, repeats=2)
        material("cameras", experiment, tmp_path, tmp_path, 5)
    assert calls == {
        "cameras_mast_2_3.npz": (2, 0.0, 3, 5),
        "cameras_2_3.npz": (2, samples.VIEW_DISTANCE, 3, 5),
    }


def test_real_data_is_asked_for(tmp_path):
    phases = [{"name": "a", "cameras": 1, "training": {}}]
    path = written(tmp_path, phases=phases)
    read = read_experiment(path)
    with pytest.raises(DeepCropError, match="name its folder"):
        train(read, None, tmp_path / "out", tmp_path / "store")
    with pytest.raises(DeepCropError, match="no PhenoCam series"):
        train(read, tmp_path, tmp_path / "out", tmp_path / "store")


@pytest.mark.slow
def test_no_test_site_and_no_cluster_is_on_both_sides(real_data):
    years = camera_years(real_data)
    learned, held = training_sites(years)
    cluster = {year.site: year.cluster for year in years}
    kept_out = (*TEST_SITES, *TESTED_ELSEWHERE)
    parts = [{cluster[site] for site in some} for some in (learned, held, kept_out)]
    assert all(parts)
    assert len(parts[2]) == 5  # mead2 and mead3 are neighbours
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("learning_rate: .nan", r"phases\.0\.training\.learning_rate is nan; expected"),
        ("steps: -5", r"phases\.0\.training\.steps is -5; expected 1 to"),
        ("eval_interval: 0", r"training\.eval_interval is 0"),
        ("weight_decay: .inf", r"training\.weight_decay is inf"),
        (
            "augmentation: {drop_radar_probability: 1.5}",
            "drop_radar_probability is 1.5; expected 0 to 1",
        ),
        ("augmentation: {time_shift_std: -1}", "time_shift_std is -1"),
    ],
)
def test_numbers_that_no_training_has(tmp_path, change, words):
    path = tmp_path / "odd.yaml"
    path.write_text(
        f"network: default\nphases: [{{name: a, simulated_tiles: 1, training: {{{change}}}}}]\n"
    )
    with pytest.raises(DeepCropError, match=words):
        read_experiment(path)


@pytest.mark.parametrize(
    "name", ["../../elsewhere", "/tmp/x", "a/b", "", ".", "..", "a\0b", "x" * 300]
)
def test_the_name_of_a_phase_leads_to_no_other_folder(tmp_path, name):
    path = tmp_path / "odd.yaml"
    phase = {"name": name, "simulated_tiles": 1, "training": {}}
    path.write_text(json.dumps({"network": "default", "phases": [phase]}))
    with pytest.raises(DeepCropError, match=r"phases\.0\.name is .* it names a folder"):
        read_experiment(path)


def test_shares_and_batches_are_numbers_that_can_be_used(tmp_path):
    path = tmp_path / "odd.yaml"
    for setting, words in (
        ("simulated_tiles: .nan", "simulated_tiles is nan"),
        ("simulated_tiles: -1", "simulated_tiles is -1"),
        ("simulated_tiles: 1, batch: 0", "batch is 0; expected 1 to"),
    ):
        path.write_text(f"network: default\nphases: [{{name: a, training: {{}}, {setting}}}]\n")
        with pytest.raises(DeepCropError, match=words):
            read_experiment(path)


def test_an_experiment_can_start_from_shipped_weights(tmp_path, monkeypatch):
    started, held = [], []

    def fit(network, sources, held_out, *more, **names):
        started.append(network)
        held.append(held_out)

    monkeypatch.setattr(run_experiment, "fit", fit)
    monkeypatch.setattr(
        run_experiment, "material", lambda *given: Material([], [Source("cameras", [0, 1])], "")
    )
    train(read_experiment("in-season"), None, tmp_path, tmp_path)
    (network,) = started
    shipped_network = load(shipped())[0]
    for name, tensor in shipped_network.state_dict().items():
        assert torch.equal(network.state_dict()[name], tensor)
    assert len(held[0][0].examples) == 4  # each whole, and each cut in season
    other = replace(read_experiment("in-season"), network="optical-only")
    with pytest.raises(DeepCropError, match="another network than the experiment's"):
        train(other, None, tmp_path / "other", tmp_path)
