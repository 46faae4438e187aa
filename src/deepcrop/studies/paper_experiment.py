"""The paper's experiment, whole: camera network, satellites, split, training, tables and figures.

What each trained network answers is a file under the output folder, written whole or not at all,
so that the same command goes on where it was stopped, also with more seeds or other methods. Tables
are made of all that is there.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from deepcrop.cameras import spatial_split
from deepcrop.cameras.site_years import CameraYear, write_table
from deepcrop.cameras.spatial_split import TEST_SITES, split
from deepcrop.errors import DeepCropError
from deepcrop.evaluation import (
    figures as score_figures,
)
from deepcrop.evaluation import (
    scores,
    weights_report,
)
from deepcrop.evaluation import (
    tables as score_tables,
)
from deepcrop.evaluation.scores import Answers, Entry
from deepcrop.evaluation.weights_report import network_answers, title_of
from deepcrop.network import CONFIGS, INPUTS, Config, Network, build, load
from deepcrop.storage.files import atomic_file
from deepcrop.studies.paper_samples import Study, camera_network, sample_set
from deepcrop.training import samples
from deepcrop.training.examples import from_sample
from deepcrop.training.experiment import BATCH
from deepcrop.training.fit import Source, Training, fit
from deepcrop.training.materials import FIRST_YEAR, Mapped, held_out, place_of
from deepcrop.training.samples import Part, Sample, SampleSet

# One method --------------------------------------------------------------------------------------


def recipe(config: Config, seed: int, start: Path | None = None) -> Training:
    """How a method of the comparison is taught; the published one at its own rate.

    What starts from weights that know much already learns for a shorter time, at a lower rate.
    """
    if config.variant == "paper":
        return Training(steps=3000, rate=1e-4, check=300, seed=seed, bfloat16=True)
    if start is not None:
        return Training(steps=300, rate=1e-3, check=50, seed=seed)
    return Training(steps=600, rate=3e-3, check=100, seed=seed)


def batch_size(config: Config) -> int:
    """How many examples of cameras are in a batch: of the published network as many as it had."""
    return 50 if config.variant == "paper" else BATCH


def train_method(
    name: str,
    config: Config,
    train_samples: Sequence[Sample],
    valid_samples: Sequence[Sample],
    seed: int,
    out: Path,
    start: Path | None = None,
    radiometry: Sequence[str] = (),
) -> Path:
    """Teach one method; a training that was interrupted goes on.

    Parameters
    ----------
    name : str
        Of the method.
    config : Config
        Of the network.
    train_samples, valid_samples : sequence of Sample
        What it learns from, and what decides when to stop: other clusters, never a test site.
    seed : int
        Everything random follows from it.
    out : Path
        Folder for the log, the checkpoint and the weights.
    start : Path, optional
        Weights of the same configuration to start from; by default random ones.
    radiometry : sequence of str
        Of the samples' radar, where their provenance says it: what the weights then expect.

    Returns
    -------
    Path
        The weights.

    Raises
    ------
    DeepCropError
        If the weights to start from are of another network, or learned from cameras: a test site
        could be among them.
    """
    torch.manual_seed(seed)
    network = build(config) if start is None else _started(start, config)
    network = network.to("cuda" if torch.cuda.is_available() else "cpu")
    every = [
        (one.site, (one.latitude, one.longitude), one.simulated)
        for one in chain(train_samples, valid_samples)
    ]
    cameras = {
        "pixels": score_tables.kind(any(simulated for *_, simulated in every)),
        "sites": {site: place for site, place, _ in sorted(every)},
    }
    return fit(
        network,
        [Source("cameras", Mapped(train_samples, from_sample), batch=batch_size(config))],
        [Source("cameras", Mapped(valid_samples, from_sample), batch=32)],
        recipe(config, seed, start),
        out,
        {"method": name, "cameras": cameras},
        INPUTS | ({"radiometry": list(radiometry)} if radiometry else {}),
    )


def _started(start: Path, config: Config) -> Network:
    """Read weights to start from."""
    network, about = load(start)
    if network.config != config:
        raise DeepCropError(f"{start} holds another network than the one to train.")
    if "cameras" in about["card"]:
        raise DeepCropError(
            f"{start} has learned from cameras, perhaps from test sites; start from weights that "
            "have only seen simulated tiles."
        )
    return network


# The whole ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Job:
    """One network to train and ask; numbers of samples."""

    method: str
    seed: int
    folder: Path
    train: list[int]
    valid: list[int]
    test: list[int]
    start: Path | None


def reproduce(study: Study) -> Path:
    """Run the experiment as far as it has not been run, and make its tables and figures.

    Returns
    -------
    Path
        The report, Markdown.

    Raises
    ------
    DeepCropError
        If data is missing, or the folder holds results of other settings.
    """
    for method in study.methods:  # before hours of training, not after
        if start := study.start_of(method):
            _started(start, CONFIGS[method])
    study.out.mkdir(parents=True, exist_ok=True)
    every = camera_network(study)
    write_table(every, study.out / "site_years.csv")
    every = [year for year in every if year.accepted and year.year >= FIRST_YEAR]
    places = {place_of(CONFIGS[name]): None for name in ("default", *study.methods)}
    sets = {place: sample_set(study, every, place) for place in places}
    seeds = range(1, study.seeds + 1)
    jobs = [
        job
        for name in study.methods
        for job in _jobs(study, name, seeds, sets[place_of(CONFIGS[name])], every)
    ]
    first = sets[place_of(CONFIGS[study.methods[0]])]
    if words := _empty_folds(study, first, every):
        print(words, file=sys.stderr)
    _run_all([*jobs, *_fold_jobs(study, first, every)], sets)
    return write_report(study, sets, every)


# Jobs --------------------------------------------------------------------------------------------


def _jobs(
    study: Study,
    method: str,
    seeds: Iterable[int],
    made: SampleSet,
    years: Sequence[CameraYear],
) -> list[Job]:
    """One job for each seed of a method: train on training sites, test on the test sites.

    Raises
    ------
    DeepCropError
        If no test site has a sample, or those that train are of a single cluster.
    """
    parts = split(years)
    train = _sampled(made, parts.train)
    held = held_out(train)
    learn, check = (
        _numbers(made, (year for year, use in zip(train, which, strict=True) if use))
        for which in (~held, held)
    )
    ask = _numbers(made, parts.test)
    if not ask:
        raise DeepCropError(
            f"No site-year of the test sites {', '.join(TEST_SITES)} has a sample; the "
            f"tables left_out_*.csv in {study.out} say why."
        )
    folder = study.out / "runs" / method
    start = study.start_of(method)
    return [Job(method, seed, folder / f"seed{seed}", learn, check, ask, start) for seed in seeds]


def _fold_jobs(study: Study, made: SampleSet, years: Sequence[CameraYear]) -> list[Job]:
    """One job for each fold of all clusters that has samples; the next decides when to stop."""
    method = study.methods[0]
    folder = study.out / "folds" / str(study.folds) / method
    folds = {fold: some for fold, some in _folds(study, made, years).items() if some}
    if folds and len(folds) < 3:
        raise DeepCropError(
            f"Only {len(folds)} of {study.folds} folds have a sample; at least 3 are needed, of "
            f"which one decides. The tables left_out_*.csv in {study.out} say what is missing."
        )
    jobs = []
    for fold, held in pairwise([*folds, *list(folds)[:1]]):
        train = [k for other, some in folds.items() if other not in (fold, held) for k in some]
        parts = sorted(train), folds[held], folds[fold]
        jobs.append(Job(method, 1, folder / f"fold{fold}", *parts, study.start_of(method)))
    return jobs


def _folds(study: Study, made: SampleSet, years: Sequence[CameraYear]) -> dict[int, list[int]]:
    """Deal all clusters into folds: the samples of each; there may be none, of real pixels."""
    if study.folds is None:
        return {}
    dealt = spatial_split.folds(years, study.folds)
    return {
        fold: _numbers(made, (year for year, of in zip(years, dealt, strict=True) if of == fold))
        for fold in range(study.folds)
    }


def _empty_folds(study: Study, made: SampleSet, years: Sequence[CameraYear]) -> str:
    """Say how many folds are left out because they have no sample, if any."""
    folds = _folds(study, made, years)
    empty = sum(not some for some in folds.values())
    return f"{empty} of {len(folds)} folds have no sample and are left out." if empty else ""


def _sampled(made: SampleSet, years: Iterable[CameraYear]) -> list[CameraYear]:
    """Site-years of which there is a sample."""
    there = {samples.site_year_of(fact) for fact in made.facts}
    return [year for year in years if year.name in there]


def _numbers(made: SampleSet, years: Iterable[CameraYear]) -> list[int]:
    """Numbers of the samples of some site-years."""
    names = {year.name for year in years}
    return [k for k, fact in enumerate(made.facts) if samples.site_year_of(fact) in names]


def _run_all(jobs: Sequence[Job], sets: dict[str, SampleSet]) -> None:
    """Do the jobs that are not done, and say how long it will take."""
    missing = [job for job in jobs if not _done(job, sets[place_of(CONFIGS[job.method])])]
    begun = time.monotonic()
    for number, job in enumerate(missing):
        left = (time.monotonic() - begun) / number * (len(missing) - number) if number else None
        words = "" if left is None else f", about {left / 60:.0f} min left"
        what = f"{job.method}, {job.folder.name}"
        print(f"training {number + 1} of {len(missing)}: {what}{words}", file=sys.stderr)
        _run(job, sets[place_of(CONFIGS[job.method])])


def _run(job: Job, made: SampleSet) -> None:
    train, valid, test = (Part(made, some) for some in (job.train, job.valid, job.test))
    weights = train_method(
        job.method, CONFIGS[job.method], train, valid, job.seed, job.folder, job.start,
        made.provenance.get("radiometry", ()),
    )  # fmt: skip
    answers = network_answers(load(weights)[0], test)
    content = {k: v for k in _ARRAYS if (v := getattr(answers, k)) is not None}
    with atomic_file(job.folder / "answers.npz") as part:
        np.savez_compressed(part, about=np.array(json.dumps(_identity(job, made))), **content)
    (job.folder / "checkpoint.pt").unlink(missing_ok=True)  # gigabytes, of the published network


_ARRAYS = ("day", "low", "high", "probability", "snapped")


def _identity(job: Job, made: SampleSet) -> dict[str, Any]:
    """All that decides what a job gives, in JSON types."""
    config = CONFIGS[job.method]
    name_of = [fact["name"] for fact in made.facts]
    learned = "\n".join(name_of[k] for k in (*job.train, -1, *job.valid))
    identity = {
        "method": job.method,
        "seed": job.seed,
        "config": config.to_dict(),
        "training": asdict(recipe(config, job.seed, job.start)),
        "start": job.start and hashlib.sha256(job.start.read_bytes()).hexdigest(),
        "samples": made.provenance,
        "learned": hashlib.sha256(learned.encode()).hexdigest(),
        "asked": [name_of[k] for k in job.test],
    }
    return json.loads(json.dumps(identity))


def _done(job: Job, made: SampleSet) -> bool:
    """Whether the answers are there.

    Raises
    ------
    DeepCropError
        If they are of something else.
    """
    path = job.folder / "answers.npz"
    if not path.exists():
        return False
    found, wanted = _read(path)[1], _identity(job, made)
    if wrong := [key for key in wanted if found.get(key) != wanted[key]]:
        raise DeepCropError(
            f"{path} was made with other settings ({', '.join(wrong)} differ). Delete it, or "
            "choose another --out."
        )
    return True


def _answers(job: Job) -> Answers:
    return _read(job.folder / "answers.npz")[0]


def _read(path: Path) -> tuple[Answers, dict[str, Any]]:
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _ARRAYS if name in file}
            return Answers(**arrays), json.loads(str(file["about"]))
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise DeepCropError(f"{path} cannot be read ({error}); delete it.") from None


# Tables ------------------------------------------------------------------------------------------


def write_report(study: Study, sets: dict[str, SampleSet], years: Sequence[CameraYear]) -> Path:
    """Make all tables and figures of what is there, also of methods and seeds of earlier runs."""
    parts = split(years)
    curves: dict[str, Entry] = {}
    networks: dict[str, Entry] = {}
    for place, made in sets.items():
        train, test = _numbers(made, parts.train), _numbers(made, parts.test)
        curves |= weights_report.curves(made, train, test, place)
        truth = scores.truth_of(Part(made, test))
        for method in (name for name in CONFIGS if place_of(CONFIGS[name]) == place):
            jobs = _jobs(study, method, _seeds(study.out / "runs" / method), made, years)
            if runs := [_answers(job) for job in jobs if _done(job, made)]:
                networks[method] = Entry(title_of(method), truth, runs)
    every = [*curves.values(), *networks.values()]
    tables = [
        *weights_report.paper_tables(curves, networks),
        score_tables.everything(every),
        score_tables.by_crop(every),
        score_tables.by_images(every),
    ]
    if study.folds is not None:
        tables.append(score_tables.by_cluster(_fold_entries(study, sets, years), study.folds))
    pictured = [*list(curves.values())[:2], *list(networks.values())[-1:]]
    if "default" in networks:
        pictured[2:] = [networks["default"]]
    figures = {
        "errors": ("Error by stage and method", score_figures.errors(every, "Test sites")),
        "scatter": ("Answers against cameras", score_figures.scatter(pictured, "Test sites")),
        "images": ("Error by clear images", score_figures.images(pictured, "Test sites")),
    }
    radar = [networks[name] for name in ("default", "optical-only") if name in networks]
    place = place_of(CONFIGS["default"])
    figures |= weights_report.site_pictures(
        Part(sets[place], _numbers(sets[place], parts.test)),
        pictured,
        (radar[0], radar[1]) if len(radar) == 2 else None,
        {year.name: year for year in parts.test},
    )
    used = {
        what: _sampled(sets[place], some)
        for what, some in (
            ("train and decide when to stop", parts.train),
            ("test", parts.test),
            ("near a test site are left out", parts.left_out),
        )
    }
    counts = "; ".join(
        f"{len(some)} site-years of {len({year.site for year in some})} sites {what}"
        for what, some in used.items()
    )
    archive = "; ".join([study.archive, *sets[place].provenance.get("sources", [])])
    head = (
        f"Archive: {archive}. {counts}. Site-years are those that the screening accepted, "
        f"from {FIRST_YEAR} on; verdicts are in site_years.csv."
    )
    if missing := len(years) - sum(map(len, used.values())):
        head += f" {missing} more have no sample: left_out_{place}.csv."
    if words := _empty_folds(study, sets[place_of(CONFIGS[study.methods[0]])], years):
        head += f" {words}"
    return weights_report.write(study.out, tables, figures, head, every[0].truth.simulated)


def _seeds(folder: Path) -> list[int]:
    """Seeds of a method that are done."""
    return sorted(int(path.parent.name[4:]) for path in folder.glob("seed*/answers.npz"))


def _fold_entries(
    study: Study, sets: dict[str, SampleSet], years: Sequence[CameraYear]
) -> list[Entry]:
    """Put the folds together: each sample is answered by what was learned without its cluster."""
    place = place_of(CONFIGS[study.methods[0]])
    made = sets[place]
    together: dict[str, list[Entry]] = {}
    for job in _fold_jobs(study, made, years):
        found = weights_report.curves(made, [*job.train, *job.valid], job.test, place)
        truth = next(iter(found.values())).truth
        found["network"] = Entry(title_of(job.method), truth, [_answers(job)])
        for name, entry in found.items():
            together.setdefault(name, []).append(entry)
    return [scores.joined(some) for some in together.values()]
