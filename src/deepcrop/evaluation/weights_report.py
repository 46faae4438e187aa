"""Which scores make a report: the paper's tables and ours, of a comparison or of given weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.figure import Figure

from deepcrop.cameras.site_years import CameraYear
from deepcrop.cameras.spatial_split import TEST_SITES, taught_clusters
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.evaluation import (
    figures as score_figures,
)
from deepcrop.evaluation import (
    page as score_page,
)
from deepcrop.evaluation import (
    scores,
    site_figures,
)
from deepcrop.evaluation import (
    tables as score_tables,
)
from deepcrop.evaluation.scores import Answers, Entry
from deepcrop.evaluation.tables import Table
from deepcrop.network import Network, PaperDeepCrop, load
from deepcrop.network.sensor_branch import Batch, image_dates
from deepcrop.network.targets import snap
from deepcrop.phenology import DEFAULT_SMOOTHER
from deepcrop.stages import STAGES
from deepcrop.storage.files import atomic_file
from deepcrop.training import samples
from deepcrop.training.examples import collate, from_sample, predict
from deepcrop.training.materials import Mapped
from deepcrop.training.samples import Part, Sample, SampleSet, WithoutRadar

SMOOTHERS = {
    "NDVI curve": (DEFAULT_SMOOTHER, "sentinel2"),
    "NDVI curve, Savitzky-Golay": ("savgol", "paper"),
}


MOST_PROFILES = 12
"""Sites of which profiles are drawn, where more are scored."""


# Entries -----------------------------------------------------------------------------------------


def title_of(method: str) -> str:
    """Name of a configuration in tables."""
    variant, _, rest = method.partition("-") if method.startswith("paper") else ("", "", method)
    name = "Deep-CroP as published" if variant else "Deep-CroP"
    return name if rest in ("", "default") else f"{name}, {rest.replace('-', ' ')}"


def network_answers(network: Network, chosen: Sequence[Sample], batch: int = 32) -> Answers:
    """Dates of a network; of one that learned snapped dates also what the camera's would snap to.

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
    chosen : sequence of Sample
    batch : int
        Samples at a time.
    """
    config = network.config
    stages = [config.stages.index(name) for name in STAGES]
    dates = predict(network, Mapped(chosen, from_sample), batch).map(lambda a: a[..., stages])
    if config.targets != "snapped":
        return Answers(*dates)
    device = next(network.parameters()).device
    snapped = []
    with torch.inference_mode():
        for start in range(0, len(chosen), batch):
            some = range(start, min(start + batch, len(chosen)))
            images, labels = collate([from_sample(chosen[k]) for k in some], config)
            seen = network.look(Batch(*(part.to(device) for part in images)))
            if isinstance(network, PaperDeepCrop):
                tokens = network.tokens(seen)
                days, there = tokens.days, tokens.seen
            else:
                days, there = image_dates(seen)
            snapped.append(snap(labels, days.cpu(), there.cpu()).day.numpy())
    return Answers(*dates, snapped=np.concatenate(snapped)[..., stages])


def curves(
    made: SampleSet, train: Sequence[int], test: Sequence[int], place: str
) -> dict[str, Entry]:
    """Entries of the NDVI curve at the pixel of each sample, plain and with learned offsets.

    Parameters
    ----------
    made : SampleSet
    train, test : sequence of int
        Samples that offsets are learned from, if any, and those to be dated.
    place : str
        "field", or "mast": there only the smoother of the paper, and its name says so.
    """
    entries = {}
    truth = scores.truth_of(Part(made, test))
    learned = scores.truth_of(Part(made, train)) if train else None
    for name, curve in SMOOTHERS.items():
        if place == "mast":
            if curve != ("savgol", "paper"):
                continue
            name = f"{name}, mast"
        answers = scores.curve_answers(Part(made, test), *curve)
        entries[name] = Entry(name, truth, [answers])
        if learned is not None:
            off = scores.offsets(scores.curve_answers(Part(made, train), *curve), learned)
            both = f"{name}, calibrated"
            entries[both] = Entry(both, truth, [scores.shifted(answers, off)])
    return entries


# Reports -----------------------------------------------------------------------------------------


def paper_tables(entries: dict[str, Entry], networks: dict[str, Entry]) -> list[Table]:
    """Tables 2 to 5 of the paper, its optical-only comparison, and all ablations at all sites."""
    every = [*entries.values(), *networks.values()]
    few = [entries[name] for name in list(entries)[:2]]
    few += [networks[name] for name in ("paper", "default") if name in networks]
    tables = [score_tables.by_site(every, TEST_SITES)]
    tables += site_differences(few)

    def chosen(*names: str) -> list[Entry]:
        return [networks[name] for name in names if name in networks]

    parts = chosen("cnn-only", "transformer-only", "default", "paper-cnn", "paper-transformer",
                   "paper")  # fmt: skip
    first = TEST_SITES[0]
    tables.append(score_tables.comparison(parts, "table5_ablations", "Table 5. Ablations", first))
    tables.append(score_tables.comparison(every, "methods", "All methods at all test sites"))
    sensors = chosen("optical-only", "radar-only", "default", "paper-optical", "paper")
    tables.append(
        score_tables.comparison([*few[:2], *sensors], "sensors", "Optical only, and with radar")
    )
    return tables


def site_differences(entries: Sequence[Entry]) -> list[Table]:
    """Tables 3 and 4 of the paper, and their like of its other sites that are scored."""
    numbers = {"cafcookwestltar01": "Table 3", "mead3": "Table 4"}
    tables = []
    for site in (*numbers, *(site for site in TEST_SITES if site not in numbers)):
        title = numbers.get(site, "As Table 3")
        name = f"{title.lower().replace(' ', '') if site in numbers else 'differences'}_{site}"
        if site in entries[0].truth.site:
            tables.append(score_tables.differences(entries, site, name, title))
    return tables


def write(
    out: Path,
    tables: Sequence[Table],
    figures: Mapping[str, tuple[str, Figure]],
    head: str,
    simulated: bool,
) -> Path:
    """Write tables, figures (a title and a picture by name) and a report of all of them.

    ``report.html`` holds all it shows; ``report.md`` says the same in Markdown.

    Returns
    -------
    Path
        The report, Markdown.
    """
    score_tables.write(tables, out / "tables", simulated)
    score_page.write(out, tables, figures, head, simulated)
    titles = {f"figures/{name}.png": title for name, (title, _) in figures.items()}
    with atomic_file(out / "report.md") as part:
        part.write_text(score_tables.report(tables, titles, head, simulated), encoding="utf-8")
    return out / "report.md"


def site_pictures(
    chosen: Sequence[Sample],
    entries: Sequence[Entry],
    radar: tuple[Entry, Entry] | None = None,
    cameras: Mapping[str, CameraYear] | None = None,
) -> dict[str, tuple[str, Figure]]:
    """Figures of the paper that go site by site: profiles, error bars, with and without radar.

    Parameters
    ----------
    chosen : sequence of Sample
        Those whose profiles are drawn.
    entries : sequence of Entry
        Methods to draw, all with answers to them.
    radar : pair of Entry, optional
        A method with radar, and without.
    cameras : mapping of str to CameraYear, optional
        Series of the cameras by site-year.
    """
    sites = [str(site) for site in np.unique(entries[0].truth.site)]
    made = {"error_bars": ("Error by site", site_figures.error_bars(entries, sites))}
    if radar is not None:
        figure = site_figures.with_and_without_radar(*radar)
        made["radar"] = ("Dates with and without radar", figure)
    for site in sites[:MOST_PROFILES]:
        figure = site_figures.profiles(site, chosen, entries, cameras)
        made[f"profiles_{site}"] = (f"Profiles at {site}", figure)
    return made


# Given weights -----------------------------------------------------------------------------------


def evaluate(weights: Path, sample_path: Path, out: Path, everything: bool = False) -> Path:
    """Score given weights on a set of samples, beside the NDVI curve.

    Parameters
    ----------
    weights : Path
        File of a network.
    sample_path : Path
        A set of samples. The curve's offsets are learned from those of its sites that are neither
        test sites nor near one.
    out : Path
        Folder to write; made if missing.
    everything : bool
        Score all samples; by default those of the paper's test sites.

    Returns
    -------
    Path
        The report, Markdown.

    Raises
    ------
    DeepCropError
        If the network was trained at a site that is to be scored, or there is none of the sites.
    CubeError
        If the radar is not what the network expects.
    """
    made = samples.load(sample_path)
    network, about = load(weights)
    test = [k for k, fact in enumerate(made.facts) if everything or fact["site"] in TEST_SITES]
    if not test:
        raise DeepCropError(
            f"{sample_path} has no sample of the test sites {', '.join(TEST_SITES)}; add "
            "--all-sites to score what it has."
        )
    known = taught_clusters(about["card"], made.facts)
    if learned := {made.facts[k]["site"] for k in test if made.facts[k]["cluster"] in known}:
        raise DeepCropError(
            f"{weights} was trained at or near {', '.join(sorted(learned))}: scores there would "
            "flatter it. Leave --all-sites away, or give samples of other sites."
        )
    fitting = set(about["inputs"]["radiometry"])
    unfit = set(made.provenance.get("radiometry", ())) - fitting
    if unfit and "radar" in network.config.sensors:
        raise CubeError(
            f"The radar of {sample_path} is {', '.join(sorted(unfit))}; {weights} expects "
            f"{' or '.join(sorted(fitting))}."
        )
    held = {fact["cluster"] for fact in made.facts if fact["site"] in TEST_SITES}
    train = [
        k for k, fact in enumerate(made.facts) if not everything and fact["cluster"] not in held
    ]
    curve = list(curves(made, train, test, "field").values())
    truth = curve[0].truth
    name = f"Deep-CroP ({weights.name})"
    own = [Entry(name, truth, [network_answers(network, Part(made, test))])]
    if network.config.sensors == ("optical", "radar"):
        alone = network_answers(network, WithoutRadar(Part(made, test)))
        own.append(Entry(f"{name}, radar kept away", truth, [alone]))
    every = [*curve, *own]
    out.mkdir(parents=True, exist_ok=True)
    found = [str(site) for site in np.unique(truth.site)]
    tables = [
        score_tables.comparison(every, "methods", "All methods"),
        score_tables.by_site(every, found),
        *site_differences([*curve[:2], *own]),
        score_tables.everything(every),
        score_tables.by_crop(every),
        score_tables.by_images(every),
    ]
    what = f"{len(found)} sites of {sample_path.name}"
    pair = [curve[0], own[0]]
    figures = {
        "errors": ("Error by stage and method", score_figures.errors(every, what)),
        "scatter": ("Answers against cameras", score_figures.scatter(pair, what)),
        "images": ("Error by clear images", score_figures.images(every, what)),
    }
    radar = (own[0], own[1]) if len(own) > 1 else None
    figures |= site_pictures(Part(made, test), pair, radar)
    head = f"Weights: {weights.name}. Samples: {sample_path.name}, {len(test)} of {len(made)}."
    return write(out, tables, figures, head, truth.simulated)
