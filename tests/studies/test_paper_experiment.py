"""The paper's experiment with small networks and short trainings, on pixels made by hand.

The whole path on real formats is in ``test_paper_archive.py``; nothing here fetches.
"""

import csv
import hashlib
import json
import re
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from pyproj import Transformer
from tests.helpers import command_line
from tests.helpers.cubes import make_cube
from tests.helpers.network_batches import small
from tests.helpers.paper_samples import PLACES, PROVENANCE, camera_years, make_samples

from deepcrop.cameras.spatial_split import TEST_SITES
from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.evaluation import weights_report
from deepcrop.evaluation.weights_report import evaluate, method_title, network_predictions
from deepcrop.network import CONFIGS, build, save
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.stac import known_archives
from deepcrop.stages import STAGES
from deepcrop.studies import paper_cubes, paper_experiment
from deepcrop.studies.paper_experiment import train_method
from deepcrop.studies.paper_samples import camera_network, load_sample_set
from deepcrop.studies.paper_settings import PaperExperiment
from deepcrop.training import samples
from deepcrop.training.experiment import Phase
from deepcrop.training.fit import Training
from deepcrop.training.materials import PLACES as VIEW_DISTANCES
from deepcrop.training.samples import Subset

pytestmark = pytest.mark.slow  # trains networks

ROOT = Path(__file__).parents[2]

RECIPE = paper_experiment.recipe
TINY = {"width": 16, "heads": 2, "feedforward": 16, "layers": 1}


@pytest.fixture(scope="module", autouse=True)
def _short():
    """Trainings of one step, tiny networks, small pictures: tests of each look at the large ones.

    Returns the recipe, so that a test can take it away.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("deepcrop.report.page.DPI", 30)
        patch.setattr(weights_report, "MAX_PROFILES", 1)
        short = Phase("cameras", Training(steps=1, eval_interval=1), cameras=1)
        patch.setattr(paper_experiment, "recipe", lambda config, start=None: short)
        for name in ("radar-only", "optical-only", "transformer-only"):
            patch.setitem(CONFIGS, name, small(name, **TINY, trunk=()))
        patch.setitem(CONFIGS, "paper-transformer", small("paper-transformer"))
        yield


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    return camera_years(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def made(years):
    return make_samples(years)


@pytest.fixture(scope="module")
def finished(years, made, tmp_path_factory):
    """The experiment run twice into one folder, the second time with another method.

    Returns the settings of the first run, its table of methods, the report of the second run, and
    when the predictions of the first were written.
    """
    folder = tmp_path_factory.mktemp("experiment")
    out = folder / "out"
    out.mkdir()
    samples.save(made, out / "samples_field.npz")
    settings = PaperExperiment(
        "simulated", folder, out, ("radar-only",), seeds=2, repeats=2, folds=4
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(paper_experiment, "camera_network", lambda experiment: years)
        paper_experiment.reproduce(settings)
        before = read(out / "tables" / "methods.csv")
        written = {path: path.stat().st_mtime_ns for path in predictions(out)}
        more = replace(settings, methods=("transformer-only",), seeds=1, folds=None)
        report = paper_experiment.reproduce(more)
    return settings, before, report, written


def predictions(out):
    return sorted(out.rglob("predictions.npz"))


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_done_is_not_done_again_and_more_can_be_added(finished):
    settings, before, report, written = finished
    assert all(path.stat().st_mtime_ns == time for path, time in written.items())
    runs = [
        str(path.relative_to(settings.out / "runs").parent)
        for path in predictions(settings.out / "runs")
    ]
    assert runs == ["radar-only/seed1", "radar-only/seed2", "transformer-only/seed1"]
    assert not list(settings.out.rglob("checkpoint.pt"))
    assert len(read(settings.out / "site_years.csv")) == 10
    text = report.read_text()
    assert text.startswith("# Scores: simulated pixels, real camera labels")
    assert (
        "4 site-years of 4 sites train and decide when to stop; 5 site-years of 5 sites test; "
        "1 site-years of 1 sites near a test site are left out" in text
    )
    after = read(settings.out / "tables" / "methods.csv")
    assert after[: len(before)] == before
    rows = {row["method"]: row for row in after}
    assert list(rows) == [
        "NDVI curve",
        "NDVI curve, calibrated",
        "NDVI curve, Savitzky-Golay",
        "NDVI curve, Savitzky-Golay, calibrated",
        "Deep-CroP, radar only",
        "Deep-CroP, transformer only",
    ]
    # Training sites' curves are as late as the test sites': calibration takes nearly all of it.
    plain, fair = (float(rows[f"NDVI curve{name}"]["all"]) for name in ("", ", calibrated"))
    assert fair < plain
    full = read(settings.out / "tables" / "scores.csv")
    seeds = {(row["method"], row["season"]): row["seeds"] for row in full}
    assert seeds["Deep-CroP, radar only", "1"] == "2"
    assert seeds["Deep-CroP, transformer only", "2"] == "1"
    assert {row["dates"] for row in full if row["stage"] == "SOS20"} == {"10"}
    for name in ("table2_sites", "table3_cafcookwestltar01", "table4_mead3", "differences_usof6",
                 "table5_ablations", "sensors", "by_crop", "by_images"):  # fmt: skip
        assert (settings.out / "tables" / f"{name}.md").exists()
    for name in ("errors", "scatter", "images", "sites", "patches_mead2"):
        assert f"figures/{name}.png" in text
        assert (settings.out / "figures" / f"{name}.png").exists()


def test_folds_date_every_sample_once(finished, made):
    settings, *_ = finished
    asked = []
    for fold in range(4):
        path = settings.out / "folds" / "4" / "radar-only" / f"fold{fold}" / "predictions.npz"
        with np.load(path) as file:
            asked += json.loads(str(file["about"]))["test"]
    assert sorted(asked) == sorted(fact["name"] for fact in made.facts)
    rows = read(settings.out / "tables" / "clusters.csv")
    whole = [r for r in rows if r["group"] == "all" and r["season"] == "1" and r["stage"] == "all"]
    assert {row["site-years"] for row in whole} == {"10"}
    assert {row["dates"] for row in whole} == {"80"}
    assert {r["method"] for r in rows} >= {"NDVI curve, calibrated", "Deep-CroP, radar only"}
    assert "cluster mead2" in {row["group"] for row in rows}


def places(sample_set, numbers):
    return {(sample_set.facts[k]["site"], sample_set.facts[k]["cluster"]) for k in numbers}


def test_no_test_site_nor_neighbour_is_trained_on_or_decides_when_to_stop(finished, made, years):
    settings, *_ = finished
    (job,) = paper_experiment._jobs(settings, "radar-only", [1], made, years)
    train, valid = (places(made, part) for part in (job.train, job.valid))
    assert train | valid == {(site, PLACES[site]) for site in ("one", "two", "three", "four")}
    assert valid
    assert {cluster for _, cluster in train}.isdisjoint(cluster for _, cluster in valid)
    assert {site for site, _ in places(made, job.test)} == set(TEST_SITES)


def test_folds_are_dated_by_networks_trained_without_their_clusters(finished, made, years):
    settings, *_ = finished
    jobs = paper_experiment._fold_jobs(settings, made, years)
    assert len(jobs) == 4
    every = places(made, range(len(made)))
    for job in jobs:
        train, valid, test = (places(made, part) for part in (job.train, job.valid, job.test))
        assert train | valid | test == every
        for one, other in ((train, valid), (train, test), (valid, test)):
            assert {cluster for _, cluster in one}.isdisjoint(cluster for _, cluster in other)


def test_two_folds_with_samples_are_too_few(finished, years, made):
    settings = replace(finished[0], folds=8)
    one_cluster = samples.collect(Subset(made, [0, 1]), PROVENANCE)
    with pytest.raises(DeepCropError, match="Only 1 of 8 folds have a sample; at least 3"):
        paper_experiment._fold_jobs(settings, one_cluster, years)


def test_an_interruption_loses_one_training_at_most(years, made, tmp_path, monkeypatch):
    settings = PaperExperiment("simulated", tmp_path, tmp_path, ("radar-only",), seeds=2, repeats=2)
    jobs = paper_experiment._jobs(settings, "radar-only", [1, 2], made, years)
    train = paper_experiment.train_method

    def interrupted(name, config, train_samples, valid, seed, *more):
        if seed == 2:
            raise KeyboardInterrupt  # Ctrl-C while the second network trains
        return train(name, config, train_samples, valid, seed, *more)

    with monkeypatch.context() as patch:
        patch.setattr(paper_experiment, "train_method", interrupted)
        with pytest.raises(KeyboardInterrupt):
            paper_experiment._run_missing(jobs, {"field": made})
    (first,) = predictions(tmp_path)
    written = first.stat().st_mtime_ns
    paper_experiment._run_missing(jobs, {"field": made})
    assert len(predictions(tmp_path)) == 2
    assert first.stat().st_mtime_ns == written


def test_results_of_other_settings_are_refused(finished, made, years, tmp_path, monkeypatch):
    settings, *_ = finished
    with pytest.raises(DeepCropError, match=r"_field\.npz was simulated with other settings"):
        load_sample_set(replace(settings, repeats=1), years, "field")
    moved = [replace(years[0], day=years[0].day + 1), *years[1:]]
    with pytest.raises(DeepCropError, match="cameras or labels"):
        load_sample_set(settings, moved, "field")
    with pytest.raises(DeepCropError, match="cameras or labels"):
        load_sample_set(settings, years[1:], "field")
    with pytest.raises(DeepCropError, match="cameras or labels"):
        load_sample_set(replace(settings, archive="pc"), years, "field")
    jobs = paper_experiment._jobs(settings, "radar-only", [1, 2], made, years)
    other = Phase("cameras", Training(steps=3), cameras=1)
    with monkeypatch.context() as patch:
        patch.setattr(paper_experiment, "recipe", lambda config, start: other)
        with pytest.raises(DeepCropError, match=r"predictions\.npz .*\(training differ\)"):
            paper_experiment._run_missing(jobs, {"field": made})
    cut = tmp_path / "predictions.npz"
    cut.write_bytes((jobs[0].folder / "predictions.npz").read_bytes()[:100])
    with pytest.raises(DeepCropError, match="cannot be read"):
        paper_experiment._run_missing([replace(jobs[0], folder=tmp_path)], {"field": made})


def test_each_method_starts_from_its_own_weights(years, made, tmp_path):
    tiles = tmp_path / "tiles"
    names = ("radar-only", "optical-only")
    for name in names:
        (tiles / name).mkdir(parents=True)
        save(build(CONFIGS[name]), tiles / name / "w.safetensors")
    settings = PaperExperiment(
        "simulated", tmp_path, tmp_path / "out", names, seeds=1, repeats=2,
        start=tiles / "{method}" / "w.safetensors",
    )  # fmt: skip
    for name in names:
        jobs = paper_experiment._jobs(settings, name, [1], made, years)
        paper_experiment._run_missing(jobs, {"field": made})
        wanted = hashlib.sha256((tiles / name / "w.safetensors").read_bytes()).hexdigest()
        with np.load(jobs[0].folder / "predictions.npz") as file:
            assert json.loads(str(file["about"]))["start"] == wanted
    (tiles / "optical-only" / "w.safetensors").write_bytes(
        (tiles / "radar-only" / "w.safetensors").read_bytes()
    )
    with pytest.raises(DeepCropError, match="holds another network than the one to train"):
        paper_experiment.reproduce(settings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"archive": "moon"}, "'moon' cannot be used here; expected one of simulated, pc"),
        ({"methods": ("default", "magic")}, "Methods magic are unknown"),
        ({"methods": ()}, "At least one method"),
        ({"seeds": 0}, "one seed"),
        ({"folds": 2}, "at least 3"),
    ],
)
def test_settings_that_cannot_be(tmp_path, changes, words):
    with pytest.raises(DeepCropError, match=words):
        PaperExperiment(**({"archive": "simulated", "data": tmp_path, "out": tmp_path} | changes))


def test_names_in_tables():
    assert method_title("default") == "Deep-CroP"
    assert method_title("optical-only") == "Deep-CroP, optical only"
    assert method_title("paper") == "Deep-CroP as published"
    assert method_title("paper-cnn") == "Deep-CroP as published, cnn"


# --- answers --------------------------------------------------------------------------------------


def test_predictions_are_of_the_four_stages_whatever_the_batch(made):
    torch.manual_seed(0)
    network = build(small("transformer-only"))
    part = Subset(made, [3, 0, 5])
    found = network_predictions(network, part)
    assert found.day.shape == found.probability.shape == (3, 2, 4)
    assert found.snapped is None
    backward = build(small("transformer-only", stages=STAGES[::-1]))
    assert network_predictions(backward, part).day.shape == (3, 2, 4)
    one = network_predictions(network, Subset(made, [5]), batch=1)
    np.testing.assert_allclose(one.probability[0], found.probability[2], rtol=1e-4)
    # The order of a network's stages is its own affair.
    state = network.state_dict()
    order = list(range(len(network.config.stages)))[::-1]
    turned = build(small("transformer-only", stages=network.config.stages[::-1]))
    for name in ("bins.weight", "bins.bias", "none.weight", "none.bias", "log_temperature"):
        rows = state[name].unflatten(0, (-1, len(order)))[:, order].flatten(0, 1)
        state[name] = rows
    turned.load_state_dict(state)
    np.testing.assert_allclose(
        network_predictions(turned, part).probability, found.probability, rtol=1e-4
    )


@pytest.mark.parametrize("name", ["paper-transformer", "snapped"])
def test_the_camera_at_the_nearest_image(made, name):
    changes = {} if name.startswith("paper") else {"trunk": (), "fusion": False}
    network = build(small(name, **changes)).eval()
    part = Subset(made, [0, 7, 13])
    found = network_predictions(network, part, batch=2)
    assert found.snapped.shape == found.day.shape == (3, network.config.slots, 4)
    for row, one in enumerate(part):
        dates = np.concatenate([one.patch.optical_days, one.patch.radar_days])
        for k, stage in enumerate((0, 1, 3, 4)):
            label, snapped = one.day[0, stage], found.snapped[row, 0, k]
            assert snapped in dates
            nearest = np.abs(dates - label).min()
            if name == "snapped":
                assert abs(snapped - label) == pytest.approx(nearest, abs=1e-3)
            else:  # it reads some of the dates only: 6 and 4 here
                assert abs(snapped - label) >= nearest - 1e-3


# --- given weights --------------------------------------------------------------------------------


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    path = tmp_path / "w.safetensors"
    cameras = {"sites": {"one": (0, 0), "two": (0, 1)}}
    save(build(small("transformer-only")), path, card={"cameras": cameras})
    return path


def test_weights_on_the_test_sites(made, weights, tmp_path):
    samples.save(made, tmp_path / "set.npz")
    report = evaluate(weights, tmp_path / "set.npz", tmp_path / "new" / "scores")
    tables = report.parent / "tables"
    rows = read(tables / "methods.csv")
    names = ["Deep-CroP (w.safetensors)", "Deep-CroP (w.safetensors), without radar"]
    assert [row["method"] for row in rows][-2:] == names
    assert {row["site-years"] for row in rows} == {"5"}
    assert len(rows) == 6  # two curves, plain and calibrated
    assert rows[-2]["all"] != rows[-1]["all"]
    for name in ("table2_sites", "scores", "by_crop", "by_images"):
        assert set(names) < {row["method"] for row in read(tables / f"{name}.csv")}
    others = {f"differences_{site}" for site in ("NEON.D06.KONA.DP1.00042", "mead2", "usof6")}
    assert {path.stem for path in tables.glob("*.csv")} == others | {
        "methods", "table2_sites", "table3_cafcookwestltar01", "table4_mead3", "scores", "by_crop",
        "by_images",
    }  # fmt: skip
    differences = read(tables / "table4_mead3.csv")
    assert [row["stage"] for row in differences] == [name.upper() for name in STAGES]
    assert {"NDVI curve", "NDVI curve, calibrated", *names} < set(differences[0])
    assert "simulated pixels" in report.read_text()
    page = (report.parent / "report.html").read_text()
    for words in ("SIMULATED DATA", "Table 2", "Profiles at", "Error by site", "data:image/png"):
        assert words in page
    assert "http" not in page.replace("https://doi.org", "")


def test_weights_are_not_scored_where_they_were_trained(made, years, weights, tmp_path):
    path = tmp_path / "set.npz"
    samples.save(made, path)
    with pytest.raises(DeepCropError, match="trained at or near one, two: scores there"):
        evaluate(weights, path, tmp_path / "scores", all_sites=True)
    save(build(small("transformer-only")), weights, card={"cameras": {"sites": {"near": (0, 0)}}})
    with pytest.raises(DeepCropError, match="at or near mead2"):  # a neighbour is enough
        evaluate(weights, path, tmp_path / "scores")
    others = [k for k, fact in enumerate(made.facts) if fact["site"] not in TEST_SITES]
    samples.save(samples.collect(Subset(made, others), {}), path, overwrite=True)
    with pytest.raises(DeepCropError, match=r"no sample of the test sites .*all_sites"):
        evaluate(weights, path, tmp_path / "scores")


def test_weights_for_another_radar(made, weights, tmp_path):
    other = replace(made, provenance={"radiometry": ["sigma0 from gamma0, approximate"]})
    samples.save(other, tmp_path / "set.npz")
    with pytest.raises(CubeError, match=r"is sigma0 from gamma0, approximate; .* expects sigma0"):
        evaluate(weights, tmp_path / "set.npz", tmp_path / "scores")


# --- real pixels ----------------------------------------------------------------------------------


def place_in(cube):
    """Latitude and longitude of the middle of a cube."""
    box = grid_of(cube)
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(box.coords["x"].values[20], box.coords["y"].values[20])
    return {"latitude": lat, "longitude": lon}


MISSING = ("mead2", "near", "three")


@pytest.fixture(scope="module")
def archive(years, tmp_path_factory):
    """Settings of the experiment on real pixels, and site-years; `MISSING` have no cube.

    One stands outside of its cube, and one cube is simulated.
    """
    folder = tmp_path_factory.mktemp("archive")
    cube = make_cube(rows=40, cols=40, optical_scenes=60, sar_scenes=12)
    cube["sar"].attrs["radiometry"] = "sigma0 from gamma0, approximate"
    there = [replace(year, **place_in(cube)) for year in years]
    there = [
        replace(year, latitude=year.latitude + (1 if year.site == "one" else 0)) for year in there
    ]
    first = folder / "phenocam" / "usof6.zarr"
    first.parent.mkdir()
    save_cube(cube, first)
    for year in years:
        if year.site not in (*MISSING, "usof6"):
            shutil.copytree(first, first.with_name(f"{year.site}.zarr"))
    cube["optical"].attrs |= {"simulated": 1}
    save_cube(cube, first.with_name("two.zarr"), overwrite=True)
    (folder / "out").mkdir()
    (folder / "out" / "sites.csv").write_text("site,cube\nthree,nobody knows it\n")
    methods = ("transformer-only", "paper-transformer")
    settings = PaperExperiment("pc", folder, folder / "out", methods, seeds=1, folds=4)
    return settings, there


@pytest.fixture(scope="module")
def cut(archive):
    """Samples of the cubes that are there, at both places."""
    settings, there = archive
    return {place: load_sample_set(settings, there, place) for place in ("field", "mast")}


def test_samples_of_real_pixels_and_the_reasons_why_others_are_missing(archive, cut):
    settings, there = archive
    for place, sample_set in cut.items():
        left = {
            row["site_year"].removesuffix("_AG_1000_2018"): row["why"]
            for row in read(settings.out / f"left_out_{place}.csv")
        }
        assert set(left) == {*MISSING, "one", "two"}
        assert "mead2.zarr does not exist: it was not fetched" in left["mead2"]
        assert "does not exist: nobody knows it" in left["three"]
        assert "outside the grid" in left["one"]
        assert left["two"].endswith(".zarr is simulated; move it away")
        assert {fact["site"] for fact in sample_set.facts} == {year.site for year in there} - set(
            left
        )
        assert not sample_set.simulated
        assert sample_set.provenance["sources"] == ["random numbers"]
        # Weights that are trained on them expect this radar.
        expected = paper_experiment.expected_inputs(sample_set)
        assert expected["radiometry"] == ["sigma0 from gamma0, approximate"]


def test_sites_at_which_the_archive_failed_are_named_once_samples_are_cut(archive, cut, caplog):
    settings, there = archive
    path = settings.out / "sites.csv"
    before = path.read_text()
    path.write_text("site,cube\nthree,the archive failed: no answer\nmead2,no optical scene\n")
    head = paper_experiment._head(settings, cut, there)
    assert "Left out because the archive failed: three; a run with another --out" in head
    path.write_text(before)


def test_folds_without_a_sample_are_left_out_and_counted(archive, cut):
    settings, there = archive
    jobs = paper_experiment._fold_jobs(settings, cut["field"], there)
    assert len(jobs) == 3
    head = paper_experiment._head(settings, cut, there)
    assert "Archive: pc; random numbers." in head
    assert "1 of 4 folds have no sample and are left out." in head
    assert "5 more have no sample: left_out_field.csv" in head
    assert (
        "1 site-years of 1 sites train and decide when to stop; 4 site-years of 4 sites test; "
        "0 site-years of 0 sites near a test site are left out" in head
    )


def test_too_few_real_pixels(archive, cut):
    settings, there = archive
    with pytest.raises(DeepCropError, match="Cameras of at least two clusters are needed"):
        paper_experiment._jobs(settings, "transformer-only", [1], cut["field"], there)
    # Of two training clusters and of no test site.
    names = iter([f"{site}_AG_1000_2018" for site in ("three", "one", "four", "x", "y")])
    facts = [fact | {"name": next(names)} for fact in cut["field"].facts]
    others = replace(cut["field"], facts=facts)
    with pytest.raises(DeepCropError, match=r"No site-year of the test sites .* has a sample; the"):
        paper_experiment._jobs(settings, "transformer-only", [1], others, there)


def test_a_cube_of_fewer_years_is_named_and_an_archive_that_is_down_ends_the_run(
    years, tmp_path, monkeypatch
):
    cube = make_cube(rows=40, cols=40)
    (tmp_path / "phenocam").mkdir()
    some = [replace(year, **place_in(cube)) for year in years[:3]]
    settings = PaperExperiment("pc", tmp_path, tmp_path)
    held = paper_cubes.site_request(settings, some[:1]).to_json()
    cube.attrs["request"] = held | {"start": "2018-01-01"}
    save_cube(cube, tmp_path / "phenocam" / f"{some[0].site}.zarr")
    monkeypatch.setenv("DEEPCROP_PC", "http://127.0.0.1:9")  # nothing answers there
    short = partial(known_archives.planetary_computer, tries=1)
    monkeypatch.setattr(known_archives, "planetary_computer", short)
    notes = paper_cubes.fetch_cubes(settings, some[:2])
    assert "was fetched for 2018-01-01 to 2019-07-03" in notes[some[0].site]
    assert notes[some[1].site].startswith("the archive failed: http://127.0.0.1:9")
    with pytest.raises(ArchiveError, match=r"127\.0\.0\.1:9"):
        paper_cubes.fetch_cubes(settings, some[1:])


# --- a real training ------------------------------------------------------------------------------


def test_a_training_is_reproducible_and_its_card_names_the_sites(made, tmp_path, monkeypatch):
    two_steps = Phase("cameras", Training(steps=2, eval_interval=1), cameras=1)
    monkeypatch.setattr(paper_experiment, "recipe", lambda config, start: two_steps)
    config = small("transformer-only")
    one, two = (
        train_method("x", config, Subset(made, [0, 1, 2]), Subset(made, [3]), 1, tmp_path / name)
        for name in "ab"
    )
    first, second = (weights_report.load(path)[0].state_dict() for path in (one, two))
    assert all(torch.equal(first[name], second[name]) for name in first)
    card = weights_report.load(one)[1]["card"]
    assert card["cameras"]["pixels"] == "simulated pixels, real camera labels"
    assert card["cameras"]["sites"] == {
        fact["site"]: [fact["latitude"], fact["longitude"]] for fact in made.facts[:4]
    }
    assert weights_report.load(one)[1]["inputs"]["radiometry"] == ["sigma0"]


def test_the_published_network_has_its_own_recipe():
    def stated(phase):
        training = phase.training
        return phase.batch, training.learning_rate, training.steps, training.bfloat16

    assert stated(RECIPE(CONFIGS["paper-transformer"])) == (50, 1e-4, 3000, True)
    assert stated(RECIPE(CONFIGS["transformer-only"])) == (24, 3e-3, 600, False)
    started = RECIPE(CONFIGS["default"], Path("start.safetensors")).training
    assert (started.learning_rate, started.steps, started.eval_interval) == (1e-3, 300, 50)


@pytest.mark.parametrize(
    ("sites", "words"),
    [
        ({"one", "three"}, "None of the test sites"),
        ({"mead2", "one", "two"}, "two clusters are needed"),
    ],
)
def test_cameras_that_cannot_be_split_are_refused_before_their_pixels_are_made(
    years, tmp_path, monkeypatch, sites, words
):
    chosen = [year for year in years if year.site in sites]
    monkeypatch.setattr(paper_experiment, "camera_network", lambda experiment: chosen)
    settings = PaperExperiment("simulated", tmp_path, tmp_path / "out", ("default",))
    with pytest.raises(DeepCropError, match=words):
        paper_experiment.reproduce(settings)
    with pytest.raises(DeepCropError, match=words):
        paper_experiment.estimate_fetch(replace(settings, archive="pc"))
    assert not list(tmp_path.rglob("*.npz"))


def test_a_site_without_a_series_is_named(real_data, tmp_path):
    series = tmp_path / "phenocam/series"
    series.mkdir(parents=True)
    shutil.copy(real_data / "phenocam/series/silverton_AG_1000_3day.csv", series)
    shutil.copy(real_data / "phenocam/sites.csv", series.parent)
    settings = PaperExperiment(
        "simulated", tmp_path, tmp_path / "out", sites="silverton,silvertown"
    )
    with pytest.raises(DeepCropError, match=r"Sites silvertown have no series in .*/phenocam"):
        camera_network(settings)


def test_the_command_that_trains_the_published_networks(made, years, tmp_path, monkeypatch):
    """As docs/network.md has it, with two seeds, small networks and two steps of the recipe."""
    text = (ROOT / "docs/network.md").read_text()
    command = re.search(r"^    deepcrop (reproduce .*\\\n.*)$", text, re.MULTILINE)[1]
    words = command.replace("\\", "").split()
    methods = words[words.index("--methods") + 1].split(",")
    assert set(methods) == {name for name in CONFIGS if CONFIGS[name].variant == "paper"}
    out = tmp_path / "out"
    for name, value in (("--data", tmp_path), ("--out", out), ("--seeds", 2)):
        words[words.index(name) + 1] = str(value)
    phase = RECIPE(CONFIGS["paper"])
    short = replace(phase, training=replace(phase.training, steps=2, eval_interval=1))
    monkeypatch.setattr(paper_experiment, "recipe", lambda config, start=None: short)
    monkeypatch.setattr(paper_experiment, "camera_network", lambda experiment: years)
    for name in methods:
        monkeypatch.setitem(CONFIGS, name, small(name))
    out.mkdir()
    for place, distance in VIEW_DISTANCES.items():
        placed = replace(made, provenance=made.provenance | {"view_distance": distance})
        samples.save(placed, out / f"samples_{place}.npz")
    done = command_line.run(*words)
    assert done.returncode == 0, done.stderr
    assert len(predictions(out)) == 2 * len(methods)
    trained = {row["method"] for row in read(out / "tables" / "methods.csv")}
    assert {method_title(name) for name in methods} <= trained


def test_the_experiment_over_real_cameras(real_data, tmp_path):
    series = tmp_path / "data" / "phenocam" / "series"
    series.mkdir(parents=True)
    wanted = ("cafcookwestltar01", "mead2", "silverton", "arsltarmdcr", "harvardfarmsouth")
    for path in sorted((real_data / "phenocam/series").glob("*.csv")):
        if path.name.startswith(wanted):
            shutil.copy(path, series)
    for name in ("sites.csv", "crop_type_by_site_year.csv"):
        shutil.copy(real_data / "phenocam" / name, series.parent)
    settings = PaperExperiment(
        "simulated", tmp_path / "data", tmp_path / "out", ("transformer-only",), seeds=1,
        years=(2019,),
    )  # fmt: skip
    report = paper_experiment.reproduce(settings)
    rows = {row["method"]: row for row in read(settings.out / "tables" / "methods.csv")}
    assert float(rows["NDVI curve"]["detected, %"]) > 80
    assert float(rows["NDVI curve, calibrated"]["SOS50"]) < 30
    assert "Deep-CroP, transformer only" in rows
    assert "simulated pixels, real camera labels" in report.read_text()
