"""The paper's experiment with small networks, on simulated pixels."""

import csv
import hashlib
import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from pyproj import Transformer
from tests.helpers.cubes import make_cube
from tests.helpers.network_batches import small
from tests.helpers.site_years import accepted, labels, season

from deepcrop.cameras.site_years import read_network, site_years
from deepcrop.cameras.spatial_split import TEST_SITES
from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.evaluation import weights_report
from deepcrop.evaluation.weights_report import evaluate, method_title, network_predictions
from deepcrop.network import CONFIGS, build, save
from deepcrop.simulation import REVISION
from deepcrop.sources.archive import ArchiveError
from deepcrop.stages import STAGES
from deepcrop.studies import paper_cameras, paper_cubes, paper_experiment, paper_samples
from deepcrop.studies.paper_experiment import train_method
from deepcrop.studies.paper_samples import load_sample_set, prepare_real_pixels
from deepcrop.studies.paper_settings import PaperExperiment
from deepcrop.training import samples
from deepcrop.training.experiment import Phase
from deepcrop.training.fit import Training
from deepcrop.training.samples import VIEW_DISTANCE, Subset
from deepcrop.training.simulated_cameras import STATEMENT

pytestmark = pytest.mark.slow  # trains networks


PLACES = {"one": "one", "two": "one", "three": "three", "four": "four", "near": "mead2"}
PROVENANCE = {
    "simulator": REVISION,
    "pixels": "simulated",
    "labels": "PhenoCam network",
    "statement": STATEMENT,
    "seed": 1,
    "repeats": 2,
    "view_distance": VIEW_DISTANCE,
}


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch):
    """Large ones take the time; tests of the figures look at them."""
    monkeypatch.setattr("deepcrop.report.page.DPI", 30)
    monkeypatch.setattr(weights_report, "MAX_PROFILES", 1)


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    """A site-year of each test site, of a neighbour of one, and of three training clusters."""
    folder = tmp_path_factory.mktemp("series")
    clusters = {site: site for site in TEST_SITES} | PLACES
    made = site_years(
        labels(folder, site, accepted(2018, season(1, 120 + k), season(2, 10 + k)))
        for k, site in enumerate(sorted(clusters))
    )
    curve = {"curve_days": np.arange(365.0), "curve": np.full(365, 0.35, np.float32)}
    return [
        replace(year, cluster=clusters[year.site], labels=replace(year.labels, **curve))
        for year in made
    ]


@pytest.fixture(scope="module")
def made(years):
    """Two samples of each, whose NDVI has a season of its own."""
    cube = make_cube(rows=20, cols=20, optical_scenes=60, sar_scenes=12)
    optical = cube["optical"].to_dataset()
    days = np.arange(-150, 450, 10)
    optical["time"] = np.datetime64("2018-01-01T10", "ns") + days * np.timedelta64(1, "D")
    patches = []
    for k in range(len(years)):
        value = np.interp(days, [110 + k, 140 + k, 190, 220], [0.2, 0.8, 0.8, 0.2])
        optical["nir"][:] = 0.5
        optical["red"][:] = (0.5 * (1 - value) / (1 + value))[:, None, None]
        cube["optical"] = optical
        patches.append(samples.cut(cube, 9, 9, 2018))
    return samples.collect(
        (
            samples.Sample(
                name=f"{year.name}_{number}",
                site=year.site,
                cluster=year.cluster,
                crop=year.crop,
                year=year.year,
                latitude=year.latitude,
                longitude=year.longitude,
                moved=0.0,
                simulated=True,
                patch=patch,
                day=year.day,
                low=year.low,
                high=year.high,
                none=year.none,
            )
            for year, patch in zip(years, patches, strict=True)
            for number in (0, 1)
        ),
        PROVENANCE,
    )


@pytest.fixture
def experiment(years, made, tmp_path, monkeypatch):
    """The settings, and a list of trainings: method, seed, sites of training and validation."""
    trainings = []

    def fake(name, config, train, valid, seed, out, start, inputs):
        parts = [{(one.site, one.cluster) for one in part} for part in (train, valid)]
        trainings.append((name, seed, *parts))
        out.mkdir(parents=True)
        torch.manual_seed(seed)
        save(build(replace(config, trunk=())), out / "weights.safetensors")
        (out / "checkpoint.pt").write_text("large")
        return out / "weights.safetensors"

    monkeypatch.setattr(paper_experiment, "train_method", fake)
    monkeypatch.setattr(paper_experiment, "camera_network", lambda experiment: years)
    out = tmp_path / "out"
    out.mkdir()
    samples.save(made, out / "samples_field.npz")
    return PaperExperiment(
        "simulated", tmp_path, out, ("radar-only",), seeds=2, repeats=2
    ), trainings


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_what_is_done_is_not_done_again_and_more_can_be_added(experiment):
    settings, trainings = experiment
    report = paper_experiment.reproduce(settings)
    assert [(name, seed) for name, seed, *_ in trainings] == [("radar-only", 1), ("radar-only", 2)]
    names = sorted(str(path.relative_to(settings.out)) for path in settings.out.rglob("*.npz"))
    assert names == [
        "runs/radar-only/seed1/predictions.npz",
        "runs/radar-only/seed2/predictions.npz",
        "samples_field.npz",
    ]
    assert not list(settings.out.rglob("checkpoint.pt"))
    assert len(read(settings.out / "site_years.csv")) == 10
    text = report.read_text()
    assert text.startswith("# Scores: simulated pixels, real camera labels")
    assert (
        "4 site-years of 4 sites train and decide when to stop; 5 site-years of 5 sites test; "
        "1 site-years of 1 sites near a test site are left out" in text
    )
    before = (settings.out / "tables" / "methods.csv").read_text()

    paper_experiment.reproduce(settings)
    assert len(trainings) == 2
    assert (settings.out / "tables" / "methods.csv").read_text() == before

    paper_experiment.reproduce(replace(settings, methods=("transformer-only",), seeds=1))
    assert [(name, seed) for name, seed, *_ in trainings[2:]] == [("transformer-only", 1)]
    rows = {row["method"]: row for row in read(settings.out / "tables" / "methods.csv")}
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


def test_no_test_site_nor_neighbour_is_trained_on_or_decides_when_to_stop(experiment):
    settings, trainings = experiment
    paper_experiment.reproduce(replace(settings, seeds=1))
    ((_, _, train, valid),) = trainings
    assert train | valid == {(site, PLACES[site]) for site in ("one", "two", "three", "four")}
    assert valid
    assert {cluster for _, cluster in train}.isdisjoint(cluster for _, cluster in valid)


def test_folds_date_every_sample_once_by_a_network_trained_without_its_cluster(experiment, made):
    settings, trainings = experiment
    paper_experiment.reproduce(replace(settings, seeds=1, folds=4))
    assert len(trainings) == 1 + 4
    every = {(fact["site"], fact["cluster"]) for fact in made.facts}
    asked = []
    for fold, (_, _, train, valid) in enumerate(trainings[1:]):
        path = settings.out / "folds" / "4" / "radar-only" / f"fold{fold}" / "predictions.npz"
        with np.load(path) as file:
            names = json.loads(str(file["about"]))["test"]
        asked += names
        of = {f["name"]: (f["site"], f["cluster"]) for f in made.facts}
        test = {of[name] for name in names}
        assert train | valid | test == every
        for one, other in ((train, valid), (train, test), (valid, test)):
            assert {cluster for _, cluster in one}.isdisjoint(cluster for _, cluster in other)
    assert sorted(asked) == sorted(fact["name"] for fact in made.facts)
    rows = read(settings.out / "tables" / "clusters.csv")
    whole = [r for r in rows if r["group"] == "all" and r["season"] == "1" and r["stage"] == "all"]
    assert {row["site-years"] for row in whole} == {"10"}
    assert {row["dates"] for row in whole} == {"80"}
    assert {r["method"] for r in rows} >= {"NDVI curve, calibrated", "Deep-CroP, radar only"}
    assert "cluster mead2" in {row["group"] for row in rows}


def test_two_folds_with_samples_are_too_few(experiment, years, made):
    settings = replace(experiment[0], folds=8)
    one_cluster = samples.collect(Subset(made, [0, 1]), PROVENANCE)
    with pytest.raises(DeepCropError, match="Only 1 of 8 folds have a sample; at least 3"):
        paper_experiment._fold_jobs(settings, one_cluster, years)


def test_an_interruption_loses_one_training_at_most(experiment, monkeypatch):
    settings, trainings = experiment
    real = paper_experiment.train_method

    def killed(name, config, train, valid, seed, *more):
        if seed == 2:
            raise KeyboardInterrupt
        return real(name, config, train, valid, seed, *more)

    monkeypatch.setattr(paper_experiment, "train_method", killed)
    with pytest.raises(KeyboardInterrupt):
        paper_experiment.reproduce(settings)
    monkeypatch.setattr(paper_experiment, "train_method", real)
    paper_experiment.reproduce(settings)
    assert [seed for _, seed, *_ in trainings] == [1, 2]


def test_results_of_other_settings_are_refused(experiment, years, monkeypatch):
    settings, _ = experiment
    settings = replace(settings, seeds=1)
    paper_experiment.reproduce(settings)
    with pytest.raises(DeepCropError, match=r"_field\.npz was simulated with other settings"):
        paper_experiment.reproduce(replace(settings, repeats=1))
    moved = [replace(years[0], day=years[0].day + 1), *years[1:]]
    with pytest.raises(DeepCropError, match="cameras or labels"):
        load_sample_set(settings, moved, "field")
    with pytest.raises(DeepCropError, match="cameras or labels"):
        load_sample_set(settings, years[1:], "field")
    with pytest.raises(DeepCropError, match="cameras or labels"):
        load_sample_set(replace(settings, archive="pc"), years, "field")
    other = Phase("cameras", Training(steps=3), cameras=1)
    monkeypatch.setattr(paper_experiment, "recipe", lambda config, start: other)
    with pytest.raises(DeepCropError, match=r"predictions\.npz .*\(training differ\)"):
        paper_experiment.reproduce(settings)
    path = settings.out / "runs" / "radar-only" / "seed1" / "predictions.npz"
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DeepCropError, match="cannot be read"):
        paper_experiment.reproduce(settings)


def test_each_method_starts_from_its_own_weights(experiment):
    settings, _ = experiment
    tiles = settings.out / "tiles"
    for name in ("radar-only", "optical-only"):
        (tiles / name).mkdir(parents=True)
        save(build(CONFIGS[name]), tiles / name / "w.safetensors")
    settings = replace(
        settings, methods=("radar-only", "optical-only"), start=tiles / "{method}" / "w.safetensors"
    )
    paper_experiment.reproduce(settings)
    for name in settings.methods:
        wanted = hashlib.sha256((tiles / name / "w.safetensors").read_bytes()).hexdigest()
        with np.load(settings.out / "runs" / name / "seed1" / "predictions.npz") as file:
            assert json.loads(str(file["about"]))["start"] == wanted
    (tiles / "optical-only" / "w.safetensors").write_bytes(
        (tiles / "radar-only" / "w.safetensors").read_bytes()
    )
    with pytest.raises(DeepCropError, match="holds another network than the one to train"):
        paper_experiment.reproduce(settings)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"archive": "moon"}, "'moon' cannot be used here; expected one of simulated, pc, ee"),
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


def test_real_pixels_come_from_cubes_that_are_fetched_once(years, tmp_path, monkeypatch):
    cube = make_cube(rows=40, cols=40, optical_scenes=60, sar_scenes=12)
    some = [replace(year, **place_in(cube)) for year in years[:3]]
    some[1] = replace(some[1], latitude=some[1].latitude + 1)  # stands outside its cube
    asked = []

    def fetch(wanted, target, title, threads):
        asked.append((target.stem, str(wanted.start), str(wanted.end), wanted.archive))
        if target.stem == some[2].site:
            raise DeepCropError("nobody knows it")
        save_cube(cube, target)

    monkeypatch.setattr(paper_cubes, "fetch", fetch)
    monkeypatch.setattr(paper_samples, "_found_cameras", lambda experiment: {"orientation": {}})
    monkeypatch.setattr(paper_cameras, "_cdl_of", lambda *_: {"crop": "corn"})
    (tmp_path / "phenocam").mkdir()
    settings = PaperExperiment("pc", tmp_path, tmp_path)
    prepare_real_pixels(settings, some, ["mast"])
    made = load_sample_set(settings, some, "mast")
    assert [fact["site"] for fact in made.facts] == [some[0].site]
    assert not made.simulated
    assert made.provenance["radiometry"] == ["sigma0"]
    assert asked[0] == (some[0].site, "2017-07-04", "2019-07-03", "pc")
    left = {row["site_year"]: row["why"] for row in read(tmp_path / "left_out_mast.csv")}
    assert "outside the grid" in left[some[1].name]
    assert "does not exist: nobody knows it" in left[some[2].name]
    prepare_real_pixels(settings, some, ["mast"])  # nothing more, once the samples are cut
    assert len(asked) == 3
    (tmp_path / "samples_mast.npz").unlink()
    shutil.rmtree(tmp_path / "phenocam" / f"{some[1].site}.zarr")
    prepare_real_pixels(settings, some, ["mast"])
    assert [name for name, *_ in asked[3:]] == [some[1].site, some[2].site]


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
    errors = [ArchiveError("down"), ArchiveError("still down")]

    def fetch(*_, **__):
        raise errors.pop(0)

    monkeypatch.setattr(paper_cubes, "fetch", fetch)
    notes = paper_cubes.fetch_cubes(settings, some[:2])
    assert "was fetched for 2018-01-01 to 2019-07-03" in notes[some[0].site]
    assert notes[some[1].site] == "down"
    errors.append(ArchiveError("down for good"))
    with pytest.raises(ArchiveError, match="down for good"):
        paper_cubes.fetch_cubes(settings, some[1:])


def place_in(cube):
    """Latitude and longitude of the middle of a cube."""
    box = grid_of(cube)
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(box.coords["x"].values[20], box.coords["y"].values[20])
    return {"latitude": lat, "longitude": lon}


@pytest.fixture
def archive(years, tmp_path, monkeypatch):
    """Settings of the experiment on real pixels, those of a whole fold missing; small networks."""
    cube = make_cube(rows=40, cols=40, optical_scenes=60, sar_scenes=12)
    # A season that the curve can date: noise alone has none.
    red, nir = (cube["optical"][name].values for name in ("red", "nir"))
    day = cube["optical"]["time"].dt.dayofyear.values[:, None, None]
    ndvi = 0.2 + 0.6 * np.exp(-(((day - 200) / 40) ** 2))
    red[:] = 0.05 + 0.01 * red
    nir[:] = red * (1 + ndvi) / (1 - ndvi)
    cube["sar"].attrs["radiometry"] = "sigma0 from gamma0, approximate"
    there = [replace(year, **place_in(cube)) for year in years]
    first = tmp_path / "phenocam" / f"{years[0].site}.zarr"
    first.parent.mkdir()
    save_cube(cube, first)
    for year in years[1:]:
        if year.site not in ("mead2", "near", "three"):
            shutil.copytree(first, first.with_name(f"{year.site}.zarr"))
    little = {"width": 16, "heads": 2, "feedforward": 16, "layers": 1}
    monkeypatch.setitem(CONFIGS, "transformer-only", small("transformer-only", **little))
    monkeypatch.setitem(CONFIGS, "paper-transformer", small("paper-transformer"))
    monkeypatch.setattr(
        paper_experiment,
        "recipe",
        lambda config, start: Phase("cameras", Training(steps=1, eval_interval=1), cameras=1),
    )
    monkeypatch.setattr(paper_experiment, "prepare_real_pixels", lambda settings, years, _: years)
    monkeypatch.setattr(paper_experiment, "camera_network", lambda experiment: there)
    methods = ("transformer-only", "paper-transformer")
    return PaperExperiment("pc", tmp_path, tmp_path / "out", methods, seeds=1, folds=4), there


def test_the_experiment_on_real_pixels_of_which_some_are_missing(archive, caplog):
    settings, _ = archive
    report = paper_experiment.reproduce(settings)
    text = report.read_text()
    assert "SIMULATED" not in (settings.out / "report.html").read_text()
    assert "Archive: pc; random numbers. 3 site" in text
    assert (
        "3 site-years of 3 sites train and decide when to stop; 4 site-years of 4 sites test; "
        "0 site-years of 0 sites near a test site are left out" in text
    )
    assert "3 more have no sample: left_out_field.csv. 1 of 4 folds have no sample" in text
    assert "1 of 4 folds have no sample and are left out." in caplog.messages
    for place in ("field", "mast"):
        left = read(settings.out / f"left_out_{place}.csv")
        missing = {row["site_year"].removesuffix("_AG_1000_2018") for row in left}
        assert missing == {"mead2", "near", "three"}
    rows = read(settings.out / "tables" / "clusters.csv")
    whole = {row["method"]: row["site-years"] for row in rows if row["group"] == "all"}
    assert whole["Deep-CroP, transformer only"] == "7"
    assert {"cluster mead2", "cluster three"}.isdisjoint(row["group"] for row in rows)
    for method in settings.methods:
        about = weights_report.load(
            settings.out / "runs" / method / "seed1" / "weights.safetensors"
        )
        assert about[1]["inputs"]["radiometry"] == ["sigma0 from gamma0, approximate"]


def test_a_simulated_cube_is_no_sample_of_an_archive(archive):
    settings, years = archive
    path = settings.data / "phenocam" / f"{years[0].site}.zarr"
    cube = open_cube(path).load()
    cube["optical"].attrs |= {"simulated": 1}
    save_cube(cube, path, overwrite=True)
    settings.out.mkdir()
    made = load_sample_set(settings, years, "field")
    assert years[0].site not in {fact["site"] for fact in made.facts}
    assert made.provenance["sources"] == ["random numbers"]
    left = read(settings.out / "left_out_field.csv")
    assert left[0]["site_year"] == years[0].name
    assert left[0]["why"].endswith(".zarr is simulated; move it away")


@pytest.mark.parametrize(
    ("kept", "words"),
    [
        ((*TEST_SITES, "one", "two"), "Cameras of at least two clusters are needed"),
        (("one", "four"), r"No site-year of the test sites .* has a sample; the tables left_out"),
    ],
)
def test_too_few_real_pixels(archive, kept, words):
    settings, years = archive
    for year in years:
        if year.site not in kept:
            shutil.rmtree(settings.data / "phenocam" / f"{year.site}.zarr", ignore_errors=True)
    with pytest.raises(DeepCropError, match=words):
        paper_experiment.reproduce(settings)


# --- a real training ------------------------------------------------------------------------------


def test_a_training_is_reproducible_and_its_card_names_the_sites(made, tmp_path, monkeypatch):
    monkeypatch.setattr(
        paper_experiment,
        "recipe",
        lambda config, start: Phase("cameras", Training(steps=2, eval_interval=1), cameras=1),
    )
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


def test_the_published_network_has_its_own_recipe(made, tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(
        paper_experiment,
        "fit",
        lambda network, sources, held_out, training, *more: calls.append(
            (sources[0].batch, training.learning_rate, training.steps, training.seed,
             training.bfloat16)
        ),
    )  # fmt: skip
    for name in ("paper-transformer", "transformer-only"):
        train_method(name, small(name), Subset(made, [0]), Subset(made, [1]), 7, tmp_path)
    assert calls == [(50, 1e-4, 3000, 7, True), (24, 3e-3, 600, 7, False)]
    started = paper_experiment.recipe(CONFIGS["default"], tmp_path / "start.safetensors").training
    assert (started.learning_rate, started.steps, started.eval_interval) == (1e-3, 300, 50)


@pytest.mark.slow
def test_the_experiment_over_real_cameras(real_data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        paper_experiment,
        "recipe",
        lambda config, start: Phase("cameras", Training(steps=2, eval_interval=1), cameras=1),
    )
    wanted = (*TEST_SITES, "silverton", "arsltarmdcr", "harvardfarmsouth")
    series = [
        path
        for path in sorted((real_data / "phenocam/series").glob("*.csv"))
        if path.name.startswith(wanted)
    ]
    every = read_network(series, real_data / "phenocam/sites.csv")
    first = {year.site: year for year in every if year.accepted and year.year >= 2018}
    monkeypatch.setattr(paper_experiment, "camera_network", lambda experiment: list(first.values()))
    settings = PaperExperiment("simulated", real_data, tmp_path, ("transformer-only",), seeds=1)
    report = paper_experiment.reproduce(settings)
    rows = {row["method"]: row for row in read(tmp_path / "tables" / "methods.csv")}
    assert float(rows["NDVI curve"]["detected, %"]) > 80
    assert float(rows["NDVI curve, calibrated"]["SOS50"]) < 30
    assert "Deep-CroP, transformer only" in rows
    assert "simulated pixels, real camera labels" in report.read_text()
