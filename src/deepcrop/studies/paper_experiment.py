"""Run the paper's experiment: cameras, satellites, split, training, tables and figures.

The predictions of each trained network are a file in the output folder, written completely or not
at all. The same command therefore continues where it was stopped, also with more seeds or other
methods. Tables are made of all results in the folder.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
import zipfile
from dataclasses import asdict, dataclass, replace
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepcrop.cameras import spatial_split
from deepcrop.cameras.site_years import CameraYear, write_table
from deepcrop.cameras.spatial_split import TEST_PLACES, TEST_SITES, Split, split, trainable
from deepcrop.errors import DeepCropError
from deepcrop.evaluation import sample_figures, scores, weights_report
from deepcrop.evaluation import tables as score_tables
from deepcrop.evaluation.scores import MethodResult, Predictions
from deepcrop.evaluation.weights_report import method_title, network_predictions
from deepcrop.grid import areas
from deepcrop.network import CONFIGS, INPUTS, Config, Network, build, load
from deepcrop.storage.files import atomic_file, remove_half_written
from deepcrop.storage.staging import locked
from deepcrop.studies import paper_cubes
from deepcrop.studies.paper_samples import (
    camera_network,
    load_sample_set,
    prepare_real_pixels,
    real_pixels_note,
)
from deepcrop.training import samples
from deepcrop.training.examples import from_sample
from deepcrop.training.experiment import Phase, read_experiment
from deepcrop.training.fit import Source, fit
from deepcrop.training.materials import FIRST_YEAR, Mapped, held_out, place_of
from deepcrop.training.samples import Sample, SampleSet, Subset

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from deepcrop.studies.paper_settings import PaperExperiment

_LOGGER = logging.getLogger(__name__)

# One method --------------------------------------------------------------------------------------


def recipe(config: Config, start: Path | None = None) -> Phase:
    """Read the phase that trains a method of the comparison on cameras, from its recipe.

    Parameters
    ----------
    config : Config
        Configuration of the method; the published network has a recipe of its own.
    start : Path, optional
        Weights to start from; they need fewer steps than random weights.
    """
    if config.variant == "paper":
        name = "paper"
    else:
        name = "comparison" if start is None else "fine-tuning"
    (phase,) = read_experiment(name).phases
    return phase


def train_method(
    name: str,
    config: Config,
    train_samples: Sequence[Sample],
    valid_samples: Sequence[Sample],
    seed: int,
    out: Path,
    start: Path | None = None,
    inputs: Mapping[str, Any] = INPUTS,
) -> Path:
    """Train one method; an interrupted training continues.

    Parameters
    ----------
    name : str
        Of the method.
    config : Config
        Of the network.
    train_samples, valid_samples : sequence of Sample
        Samples to train on, and those that decide when to stop: of other clusters, never of a test
        site.
    seed : int
        Determines everything random.
    out : Path
        Folder for the log, the checkpoint and the weights.
    start : Path, optional
        Weights of the same configuration to start from; by default random ones.
    inputs : mapping
        Input that the weights expect (`expected_inputs`).

    Returns
    -------
    Path
        The weights.

    Raises
    ------
    DeepCropError
        If the weights to start from are of another network, or were trained on cameras: a test site
        could be among them.
    """
    phase = recipe(config, start)
    torch.manual_seed(seed)
    network = build(config) if start is None else _load_start(start, config)
    network = network.to("cuda" if torch.cuda.is_available() else "cpu")
    sites = [
        (sample.site, (sample.latitude, sample.longitude), sample.simulated)
        for sample in chain(train_samples, valid_samples)
    ]
    # The card names also the sites that only decided when to stop: they are no test either.
    cameras = {
        "pixels": score_tables.data_kind(any(simulated for *_, simulated in sites)),
        "sites": {site: place for site, place, _ in sorted(sites)},
    }
    return fit(
        network,
        [Source("cameras", Mapped(train_samples, from_sample), batch=phase.batch)],
        [Source("cameras", Mapped(valid_samples, from_sample), batch=32)],
        replace(phase.training, seed=seed),
        out,
        {"method": name, "cameras": cameras},
        inputs,
    )


def expected_inputs(sample_set: SampleSet) -> dict[str, Any]:
    """Describe the input of weights that are trained on samples, as far as these state it."""
    found = sample_set.provenance
    return INPUTS | {key: found[key] for key in ("radiometry", "nir") if found.get(key)}


def _load_start(start: Path, config: Config) -> Network:
    """Read weights to start from."""
    network, about = load(start)
    if network.config != config:
        raise DeepCropError(f"{start} holds another network than the one to train.")
    if "cameras" in about["card"]:
        raise DeepCropError(
            f"{start} was trained on cameras, perhaps on test sites; start from weights that were "
            "trained on simulated tiles only."
        )
    return network


# The whole experiment ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One network to train and to test; samples are given by their numbers."""

    method: str
    seed: int
    folder: Path
    train: list[int]
    valid: list[int]
    test: list[int]
    start: Path | None


def reproduce(experiment: PaperExperiment) -> Path:
    """Run what of the experiment is missing, and make its tables and figures.

    Returns
    -------
    Path
        The report, Markdown.

    Raises
    ------
    DeepCropError
        If data is missing, the folder has results of other settings, or another run writes there.
    """
    # Unfit weights are rejected before hours of training, not after.
    for method in experiment.methods:
        if start := experiment.start_of(method):
            _load_start(start, CONFIGS[method])
    experiment.out.mkdir(parents=True, exist_ok=True)
    with locked(experiment.out):
        return _reproduce(experiment)


def _reproduce(experiment: PaperExperiment) -> Path:
    """Run the experiment as `reproduce` says, in a folder where no other run writes."""
    every = camera_network(experiment)
    write_table(every, experiment.out / "site_years.csv")
    years = usable(every)
    _check_split(years)
    # Samples of the default network's place are always made: the curve is scored on them.
    places = {place_of(CONFIGS[name]): None for name in ("default", *experiment.methods)}
    if experiment.archive != "simulated":
        years = prepare_real_pixels(experiment, years, places)
    sets = {place: load_sample_set(experiment, years, place) for place in places}
    seeds = range(1, experiment.seeds + 1)
    jobs = [
        job
        for name in experiment.methods
        for job in _jobs(experiment, name, seeds, sets[place_of(CONFIGS[name])], years)
    ]
    first = sets[place_of(CONFIGS[experiment.methods[0]])]
    if message := _empty_folds(experiment, first, years):
        _LOGGER.warning(message)
    _run_missing([*jobs, *_fold_jobs(experiment, first, years)], sets)
    return write_report(experiment, sets, years)


def estimate_fetch(experiment: PaperExperiment) -> str:
    """Say what fetching the cubes of the experiment takes, site by site and in all.

    Raises
    ------
    DeepCropError
        If pixels are simulated, so that there is nothing to fetch.
    """
    if experiment.archive == "simulated":
        raise DeepCropError(
            "A dry run estimates what an archive has to send, and simulated pixels need none; name "
            "an archive, pc, cdse or ee."
        )
    experiment.out.mkdir(parents=True, exist_ok=True)
    years = usable(camera_network(experiment))
    _check_split(years)
    return paper_cubes.estimate_table(paper_cubes.dry_run(experiment, years))


def usable(years: Iterable[CameraYear]) -> list[CameraYear]:
    """Select the site-years that the screening accepted, from `FIRST_YEAR` on."""
    return [year for year in years if year.accepted and year.year >= FIRST_YEAR]


# Jobs --------------------------------------------------------------------------------------------


def _split(years: Sequence[CameraYear]) -> Split:
    """Split site-years by the paper's test sites, of which some may have no site-year.

    Nobody trains near a test site that has none, either: the weights may be tested there later.

    Raises
    ------
    DeepCropError
        If none of the test sites has a site-year.
    """
    there = {year.site for year in years}
    if not (tested := [site for site in TEST_SITES if site in there]):
        raise DeepCropError(
            f"None of the test sites {', '.join(TEST_SITES)} has a site-year; choose at least one "
            "of them, and years in which its camera has labels."
        )
    parts = split(years, tested)
    absent = {site: place for site, place in TEST_PLACES.items() if site not in there}
    far = {year.name for year in trainable(parts.train, absent)}
    near = [year for year in parts.train if year.name not in far]
    return Split(
        [year for year in parts.train if year.name in far], parts.test, [*parts.left_out, *near]
    )


def _check_split(years: Sequence[CameraYear]) -> None:
    """Reject cameras that cannot be split, before their pixels are simulated or fetched.

    Raises
    ------
    DeepCropError
        If no test site is among them, or the others are of fewer than two clusters.
    """
    held_out(_split(years).train)


def _jobs(
    experiment: PaperExperiment,
    method: str,
    seeds: Iterable[int],
    sample_set: SampleSet,
    years: Sequence[CameraYear],
) -> list[Job]:
    """List a job for each seed of a method: train on training sites, test on the test sites.

    Raises
    ------
    DeepCropError
        If no test site has a sample, or those of the training sites are of a single cluster.
    """
    parts = _split(years)
    train_years = _with_sample(sample_set, parts.train)
    held = held_out(train_years)
    train, valid = (
        _sample_numbers(
            sample_set, (year for year, use in zip(train_years, mask, strict=True) if use)
        )
        for mask in (~held, held)
    )
    test = _sample_numbers(sample_set, parts.test)
    if not test:
        raise DeepCropError(
            f"No site-year of the test sites {', '.join(TEST_SITES)} has a sample; the "
            f"tables left_out_*.csv in {experiment.out} say why."
        )
    folder = experiment.out / "runs" / method
    start = experiment.start_of(method)
    return [Job(method, seed, folder / f"seed{seed}", train, valid, test, start) for seed in seeds]


def _fold_jobs(
    experiment: PaperExperiment, sample_set: SampleSet, years: Sequence[CameraYear]
) -> list[Job]:
    """List a job for each fold that has samples: test on it, the next fold decides when to stop."""
    method = experiment.methods[0]
    folder = experiment.out / "folds" / str(experiment.folds) / method
    folds = _folds(experiment, sample_set, years)
    folds = {fold: numbers for fold, numbers in folds.items() if numbers}
    # Three at least: one to test, one that decides when to stop, one to train on.
    if folds and len(folds) < 3:
        raise DeepCropError(
            f"Only {len(folds)} of {experiment.folds} folds have a sample; at least 3 are needed, "
            "one of which decides when to stop. The tables left_out_*.csv in "
            f"{experiment.out} say what is missing."
        )
    jobs = []
    for fold, held in pairwise([*folds, *list(folds)[:1]]):
        train = sorted(
            k for other, numbers in folds.items() if other not in (fold, held) for k in numbers
        )
        jobs.append(
            Job(
                method,
                seed=1,
                folder=folder / f"fold{fold}",
                train=train,
                valid=folds[held],
                test=folds[fold],
                start=experiment.start_of(method),
            )
        )
    return jobs


def _folds(
    experiment: PaperExperiment, sample_set: SampleSet, years: Sequence[CameraYear]
) -> dict[int, list[int]]:
    """Distribute all clusters into folds; return the samples of each.

    A fold may have no sample where pixels are real.
    """
    if experiment.folds is None:
        return {}
    fold_of_year = spatial_split.folds(years, experiment.folds)
    return {
        fold: _sample_numbers(
            sample_set,
            (year for year, number in zip(years, fold_of_year, strict=True) if number == fold),
        )
        for fold in range(experiment.folds)
    }


def _empty_folds(
    experiment: PaperExperiment, sample_set: SampleSet, years: Sequence[CameraYear]
) -> str:
    """State how many folds are left out because they have no sample, if any."""
    folds = _folds(experiment, sample_set, years)
    empty = sum(not numbers for numbers in folds.values())
    return f"{empty} of {len(folds)} folds have no sample and are left out." if empty else ""


def _with_sample(sample_set: SampleSet, years: Iterable[CameraYear]) -> list[CameraYear]:
    """Select the site-years that have a sample."""
    names = {samples.site_year_of(fact) for fact in sample_set.facts}
    return [year for year in years if year.name in names]


def _sample_numbers(sample_set: SampleSet, years: Iterable[CameraYear]) -> list[int]:
    """Return the numbers of the samples of site-years."""
    names = {year.name for year in years}
    return [k for k, fact in enumerate(sample_set.facts) if samples.site_year_of(fact) in names]


def _run_missing(jobs: Sequence[Job], sets: dict[str, SampleSet]) -> None:
    """Run the jobs that are not finished, and report the time that is left."""
    missing = [job for job in jobs if not _finished(job, sets[place_of(CONFIGS[job.method])])]
    begun = time.monotonic()
    for number, job in enumerate(missing):
        left = (time.monotonic() - begun) / number * (len(missing) - number) if number else None
        remaining = "" if left is None else f", about {left / 60:.0f} min left"
        _LOGGER.info(
            "training %d of %d: %s, %s%s",
            number + 1, len(missing), job.method, job.folder.name, remaining,
        )  # fmt: skip
        _run(job, sets[place_of(CONFIGS[job.method])])


def _run(job: Job, sample_set: SampleSet) -> None:
    remove_half_written(job.folder)
    train, valid, test = (Subset(sample_set, part) for part in (job.train, job.valid, job.test))
    weights = train_method(
        job.method, CONFIGS[job.method], train, valid, job.seed, job.folder, job.start,
        expected_inputs(sample_set),
    )  # fmt: skip
    predictions = network_predictions(load(weights)[0], test)
    arrays = {k: v for k in _ARRAYS if (v := getattr(predictions, k)) is not None}
    with atomic_file(job.folder / _PREDICTIONS) as part:
        np.savez_compressed(part, about=np.array(json.dumps(_identity(job, sample_set))), **arrays)
    # The published network's checkpoint has gigabytes, and is of no use any more.
    (job.folder / "checkpoint.pt").unlink(missing_ok=True)


_PREDICTIONS = "predictions.npz"
_ARRAYS = ("day", "low", "high", "probability", "snapped")


def _identity(job: Job, sample_set: SampleSet) -> dict[str, Any]:
    """Return everything that determines the predictions of a job, in JSON types."""
    config = CONFIGS[job.method]
    names = [fact["name"] for fact in sample_set.facts]
    # The same samples in other roles are another job: -1 stands between training and validation.
    train = "\n".join(names[k] for k in (*job.train, -1, *job.valid))
    identity = {
        "method": job.method,
        "seed": job.seed,
        "config": config.to_dict(),
        "training": asdict(replace(recipe(config, job.start).training, seed=job.seed)),
        "start": job.start and hashlib.sha256(job.start.read_bytes()).hexdigest(),
        "samples": sample_set.provenance,
        "train": hashlib.sha256(train.encode()).hexdigest(),
        "test": [names[k] for k in job.test],
    }
    return dict(json.loads(json.dumps(identity)))


def _finished(job: Job, sample_set: SampleSet) -> bool:
    """Whether the predictions of a job are in its folder.

    Raises
    ------
    DeepCropError
        If they are of other settings.
    """
    path = job.folder / _PREDICTIONS
    if not path.exists():
        return False
    found, expected = _read(path)[1], _identity(job, sample_set)
    if different := [key for key in expected if found.get(key) != expected[key]]:
        raise DeepCropError(
            f"{path} was made with other settings ({', '.join(different)} differ). Delete it, or "
            "choose another folder."
        )
    return True


def _predictions(job: Job) -> Predictions:
    return _read(job.folder / _PREDICTIONS)[0]


def _read(path: Path) -> tuple[Predictions, dict[str, Any]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS if name in file}
            return Predictions(**arrays), json.loads(str(file["about"]))
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise DeepCropError(f"{path} cannot be read ({error}); delete it.") from None


# Tables ------------------------------------------------------------------------------------------


def write_report(
    experiment: PaperExperiment, sets: dict[str, SampleSet], years: Sequence[CameraYear]
) -> Path:
    """Make all tables and figures of the results in the folder, also those of earlier runs."""
    for folder in (experiment.out, experiment.out / "tables", experiment.out / "figures"):
        remove_half_written(folder)
    parts = _split(years)
    curves: dict[str, MethodResult] = {}
    networks: dict[str, MethodResult] = {}
    for place, sample_set in sets.items():
        train, test = (_sample_numbers(sample_set, part) for part in (parts.train, parts.test))
        curves |= weights_report.curve_results(sample_set, train, test, place)
        reference = scores.reference_dates(Subset(sample_set, test))
        for method in (name for name in CONFIGS if place_of(CONFIGS[name]) == place):
            seeds = _finished_seeds(experiment.out / "runs" / method)
            jobs = _jobs(experiment, method, seeds, sample_set, years)
            if runs := [_predictions(job) for job in jobs if _finished(job, sample_set)]:
                networks[method] = MethodResult(method_title(method), reference, runs)
    results = [*curves.values(), *networks.values()]
    tables = [
        *weights_report.paper_tables(curves, networks),
        score_tables.all_scores(results),
        score_tables.by_crop(results),
        score_tables.by_images(results),
    ]
    if experiment.folds is not None:
        fold_results = _fold_results(experiment, sets, years)
        tables.append(score_tables.by_cluster(fold_results, experiment.folds))
    # Figures of single dates show the curve, plain and calibrated, and one network: ours if it was
    # trained, otherwise the last.
    main = [*list(curves.values())[:2], *list(networks.values())[-1:]]
    if "default" in networks:
        main[2:] = [networks["default"]]
    figures = weights_report.draw_scores(results, main, "Test sites")
    radar = [networks[name] for name in ("default", "optical-only") if name in networks]
    default_set = sets[place_of(CONFIGS["default"])]
    figures |= weights_report.draw_sites(
        Subset(default_set, _sample_numbers(default_set, parts.test)),
        main,
        (radar[0], radar[1]) if len(radar) == 2 else None,
        {year.name: year for year in parts.test},
    )
    figures |= _sample_figures(default_set, parts)
    head = _head(experiment, sets, years)
    return weights_report.write_report(
        experiment.out, tables, figures, head, results[0].reference.simulated
    )


def _sample_figures(sample_set: SampleSet, parts: Split) -> dict[str, tuple[str, Figure]]:
    """Draw the map of the sites, and the patches of the first sample of each test site."""
    uses = {
        "tested": _with_sample(sample_set, parts.test),
        "trained on": _with_sample(sample_set, parts.train),
        "near a test site, left out": _with_sample(sample_set, parts.left_out),
    }
    # TA1 by its counties: its printed coordinates lie outside of them, and too near to tell apart.
    study_areas = {
        name: areas.area_of(area).box for name, area in (("TA1", "ta1-counties"), ("TA2", "ta2"))
    }
    site_map = sample_figures.draw_site_map(uses, "tested", study_areas)
    drawn = {"sites": ("Sites and study areas (Figs. 1a and 2)", site_map)}
    for k, fact in enumerate(sample_set.facts):
        name = f"patches_{fact['site']}"
        if fact["site"] in TEST_SITES and name not in drawn:
            figure = sample_figures.draw_patches(sample_set[k])
            drawn[name] = (f"Patches at {fact['site']} (Fig. 5)", figure)
    return drawn


def _head(
    experiment: PaperExperiment, sets: dict[str, SampleSet], years: Sequence[CameraYear]
) -> str:
    """State the archive, and how many site-years are used for what."""
    parts = _split(years)
    place = place_of(CONFIGS["default"])
    used = {
        use: _with_sample(sets[place], part)
        for use, part in (
            ("train and decide when to stop", parts.train),
            ("test", parts.test),
            ("near a test site are left out", parts.left_out),
        )
    }
    counts = "; ".join(
        f"{len(part)} site-years of {len({year.site for year in part})} sites {use}"
        for use, part in used.items()
    )
    archive = "; ".join([experiment.archive, *sets[place].provenance.get("sources", [])])
    head = (
        f"Archive: {archive}. {counts}. Site-years are those that the screening accepted, "
        f"from {FIRST_YEAR} on; verdicts are in site_years.csv."
    )
    if absent := sorted(set(TEST_SITES) - {year.site for year in parts.test}):
        head += f" Test sites without a site-year: {', '.join(absent)}."
    if missing := len(years) - sum(map(len, used.values())):
        head += f" {missing} more have no sample: left_out_{place}.csv."
    first = sets[place_of(CONFIGS[experiment.methods[0]])]
    if message := _empty_folds(experiment, first, years):
        head += f" {message}"
    if experiment.archive != "simulated":
        head += real_pixels_note(experiment, sets[place], years)
    return head


def _finished_seeds(folder: Path) -> list[int]:
    """List the finished seeds of a method."""
    return sorted(int(path.parent.name[4:]) for path in folder.glob(f"seed*/{_PREDICTIONS}"))


def _fold_results(
    experiment: PaperExperiment, sets: dict[str, SampleSet], years: Sequence[CameraYear]
) -> list[MethodResult]:
    """Join the folds: each sample is dated by a network that was trained without its cluster."""
    place = place_of(CONFIGS[experiment.methods[0]])
    sample_set = sets[place]
    by_method: dict[str, list[MethodResult]] = {}
    for job in _fold_jobs(experiment, sample_set, years):
        # The curve's offset comes from the same samples as the network's training.
        results = weights_report.curve_results(
            sample_set, [*job.train, *job.valid], job.test, place
        )
        reference = next(iter(results.values())).reference
        results["network"] = MethodResult(method_title(job.method), reference, [_predictions(job)])
        for name, result in results.items():
            by_method.setdefault(name, []).append(result)
    return [scores.concatenate(results) for results in by_method.values()]
