"""Report the scores of networks: the paper's tables, further tables and figures.

Used for given weights (`deepcrop evaluate`) and for the paper's experiment (`deepcrop reproduce`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from deepcrop.cameras.spatial_split import TEST_SITES, training_clusters
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.evaluation import figures as score_figures
from deepcrop.evaluation import scores, site_figures
from deepcrop.evaluation import tables as score_tables
from deepcrop.evaluation.page import write_html
from deepcrop.evaluation.scores import MethodResult, Predictions
from deepcrop.network import Network, PaperDeepCrop, load
from deepcrop.network.sensor_branch import Batch, image_dates
from deepcrop.network.targets import snap
from deepcrop.phenology import DEFAULT_SMOOTHER
from deepcrop.stages import STAGES
from deepcrop.storage.files import atomic_file
from deepcrop.training import samples
from deepcrop.training.examples import collate, from_sample, predict
from deepcrop.training.materials import Mapped
from deepcrop.training.samples import Sample, SampleSet, Subset, WithoutRadar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from deepcrop.cameras.site_years import CameraYear
    from deepcrop.report.tables import Table

CURVES = {
    "NDVI curve": (DEFAULT_SMOOTHER, "sentinel2"),
    "NDVI curve, Savitzky-Golay": ("savgol", "paper"),
}
"""Smoother and preset of the curves that networks are compared with, by name of the method."""

MAX_PROFILES = 12
"""Number of sites whose profiles are drawn, where more are scored."""


# Results of methods ------------------------------------------------------------------------------


def method_title(method: str) -> str:
    """Return the name of a configuration in tables."""
    variant, _, ablation = method.partition("-") if method.startswith("paper") else ("", "", method)
    name = "Deep-CroP as published" if variant else "Deep-CroP"
    return name if ablation in ("", "default") else f"{name}, {ablation.replace('-', ' ')}"


def network_predictions(
    network: Network, chosen: Sequence[Sample], batch: int = 32, in_season: bool = False
) -> Predictions:
    """Date samples with a network.

    For a network that was trained on snapped dates, the camera's dates are also moved to the
    nearest image that the network reads.

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
    chosen : sequence of Sample
    batch : int
        Samples at a time.
    in_season : bool
        Whether the images end before the year does.
    """
    config = network.config
    stages = [config.stages.index(name) for name in STAGES]
    dates = predict(network, Mapped(chosen, from_sample), batch, in_season=in_season)
    dates = dates.map(lambda array: array[..., stages])
    if config.targets != "snapped":
        return Predictions(*dates)
    device = next(network.parameters()).device
    snapped = []
    with torch.inference_mode():
        for start in range(0, len(chosen), batch):
            numbers = range(start, min(start + batch, len(chosen)))
            images, labels = collate([from_sample(chosen[k]) for k in numbers], config)
            series = network.encode(Batch(*(tensor.to(device) for tensor in images)))
            # The published network reads a fixed number of dates only: snap to those.
            if isinstance(network, PaperDeepCrop):
                tokens = network.tokens(series)
                labels = network.readable(labels)
                days, present = tokens.days, tokens.valid
            else:
                days, present = image_dates(series)
            snapped.append(snap(labels, days.cpu(), present.cpu()).day.numpy())
    return Predictions(
        day=dates.day,
        low=dates.low,
        high=dates.high,
        probability=dates.probability,
        snapped=np.concatenate(snapped)[..., stages],
    )


def curve_results(
    sample_set: SampleSet, train: Sequence[int], test: Sequence[int], place: str
) -> dict[str, MethodResult]:
    """Date the NDVI curve at the pixel of each sample, plain and less its offset.

    Parameters
    ----------
    sample_set : SampleSet
    train, test : sequence of int
        Numbers of the samples that offsets are computed from, if any, and of those to be dated.
    place : str
        "field", or "mast": there only the smoother of the paper, and its name says so.
    """
    results = {}
    reference = scores.reference_dates(Subset(sample_set, test))
    train_reference = scores.reference_dates(Subset(sample_set, train)) if train else None
    for name, curve in CURVES.items():
        if place == "mast":
            # Patches on the mast are there for the published method alone.
            if curve != ("savgol", "paper"):
                continue
            name = f"{name}, mast"
        predictions = scores.curve_predictions(Subset(sample_set, test), *curve)
        results[name] = MethodResult(name, reference, [predictions])
        if train_reference is not None:
            offsets = scores.median_offsets(
                scores.curve_predictions(Subset(sample_set, train), *curve), train_reference
            )
            calibrated = f"{name}, calibrated"
            results[calibrated] = MethodResult(
                calibrated, reference, [scores.subtract_offsets(predictions, offsets)]
            )
    return results


# Reports -----------------------------------------------------------------------------------------


def paper_tables(curves: dict[str, MethodResult], networks: dict[str, MethodResult]) -> list[Table]:
    """Tables 2 to 5 of the paper, its optical-only comparison, and all ablations at all sites."""
    results = [*curves.values(), *networks.values()]
    # Tables of single dates have a column for each method: only the main ones.
    main = [curves[name] for name in list(curves)[:2]]
    main += [networks[name] for name in ("paper", "default") if name in networks]
    tables = [score_tables.by_site(results, TEST_SITES)]
    tables += site_differences(main)

    def present(*names: str) -> list[MethodResult]:
        return [networks[name] for name in names if name in networks]

    ablations = present("cnn-only", "transformer-only", "default", "paper-cnn",
                        "paper-transformer", "paper-each-layer", "paper")  # fmt: skip
    # The paper reports its ablations at this site.
    site = TEST_SITES[0]
    tables.append(
        score_tables.comparison(ablations, "table5_ablations", "Table 5. Ablations", site)
    )
    tables.append(score_tables.comparison(results, "methods", "All methods at all test sites"))
    sensors = present("optical-only", "radar-only", "default", "paper-optical", "paper")
    tables.append(
        score_tables.comparison([*main[:2], *sensors], "sensors", "Optical only, and with radar")
    )
    return tables


def site_differences(results: Sequence[MethodResult]) -> list[Table]:
    """Tables 3 and 4 of the paper, and the same for its other sites that are scored."""
    numbers = {"cafcookwestltar01": "Table 3", "mead3": "Table 4"}
    tables = []
    for site in (*numbers, *(site for site in TEST_SITES if site not in numbers)):
        title = numbers.get(site, "As Table 3")
        name = f"{title.lower().replace(' ', '') if site in numbers else 'differences'}_{site}"
        if site in results[0].reference.site:
            tables.append(score_tables.differences(results, site, name, title))
    return tables


def write_report(
    out: Path,
    tables: Sequence[Table],
    figures: Mapping[str, tuple[str, Figure]],
    head: str,
    simulated: bool,
) -> Path:
    """Write tables, figures and a report of all of them, as Markdown and as HTML.

    Parameters
    ----------
    out : Path
        Existing folder.
    tables : sequence of Table
    figures : mapping of str to (str, Figure)
        Title and figure by name.
    head : str
        Paragraph at the top.
    simulated : bool
        Whether the pixels are simulated.

    Returns
    -------
    Path
        The report in Markdown, ``report.md``.
    """
    score_tables.write_tables(tables, out / "tables", simulated)
    write_html(out, tables, figures, head, simulated)
    titles = {f"figures/{name}.png": title for name, (title, _) in figures.items()}
    with atomic_file(out / "report.md") as part:
        text = score_tables.markdown_report(tables, titles, head, simulated)
        part.write_text(text, encoding="utf-8")
    return out / "report.md"


def draw_scores(
    results: Sequence[MethodResult], main: Sequence[MethodResult], title: str
) -> dict[str, tuple[str, Figure]]:
    """Draw the scores over all sites: all methods by stage, the main ones in more detail."""
    return {
        "errors": ("Error by stage and method", score_figures.draw_errors(results, title)),
        "scatter": ("Predictions against cameras", score_figures.draw_scatter(main, title)),
        "images": ("Error by clear images", score_figures.draw_errors_by_images(main, title)),
    }


def draw_sites(
    chosen: Sequence[Sample],
    results: Sequence[MethodResult],
    radar: tuple[MethodResult, MethodResult] | None = None,
    cameras: Mapping[str, CameraYear] | None = None,
) -> dict[str, tuple[str, Figure]]:
    """Draw the paper's figures by site: profiles, error bars, with and without radar.

    Parameters
    ----------
    chosen : sequence of Sample
        Those whose profiles are drawn.
    results : sequence of MethodResult
        Methods to draw, all with predictions for the samples.
    radar : pair of MethodResult, optional
        A method with radar, and without.
    cameras : mapping of str to CameraYear, optional
        Series of the cameras by site-year.
    """
    sites = [str(site) for site in np.unique(results[0].reference.site)]
    figures = {"error_bars": ("Error by site", site_figures.draw_error_bars(results, sites))}
    if radar is not None:
        figure = site_figures.draw_radar_comparison(*radar)
        figures["radar"] = ("Dates with and without radar", figure)
    for site in sites[:MAX_PROFILES]:
        figure = site_figures.draw_profiles(site, chosen, results, cameras)
        figures[f"profiles_{site}"] = (f"Profiles at {site}", figure)
    return figures


# Given weights -----------------------------------------------------------------------------------


def evaluate(weights: Path, sample_path: Path, out: Path, all_sites: bool = False) -> Path:
    """Score given weights on a set of samples, next to the NDVI curve.

    Parameters
    ----------
    weights : Path
        File of a network.
    sample_path : Path
        A set of samples. The curve's offsets are computed from those of its sites that are neither
        test sites nor near one.
    out : Path
        Folder to write; made if missing.
    all_sites : bool
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
    sample_set = samples.load(sample_path)
    network, about = load(weights)
    facts = sample_set.facts
    test = [k for k, fact in enumerate(facts) if all_sites or fact["site"] in TEST_SITES]
    if not test:
        raise DeepCropError(
            f"{sample_path} has no sample of the test sites {', '.join(TEST_SITES)}; "
            "score all sites (all_sites, --all-sites) to use what it has."
        )
    _check_independent(weights, about, [facts[k] for k in test], facts)
    check_inputs(weights, about, network, sample_path, sample_set)
    # Offsets of the curve come from other clusters than those of the test sites. Where all sites
    # are scored there is no other cluster, and the curve is scored without its offset.
    test_clusters = {fact["cluster"] for fact in facts if fact["site"] in TEST_SITES}
    train = [
        k for k, fact in enumerate(facts) if not all_sites and fact["cluster"] not in test_clusters
    ]
    curves = list(curve_results(sample_set, train, test, "field").values())
    reference = curves[0].reference
    name = f"Deep-CroP ({weights.name})"
    chosen = Subset(sample_set, test)
    networks = [MethodResult(name, reference, [network_predictions(network, chosen)])]
    if network.config.sensors == ("optical", "radar"):
        optical_only = network_predictions(network, WithoutRadar(chosen))
        networks.append(MethodResult(f"{name}, without radar", reference, [optical_only]))
    results = [*curves, *networks]
    sites = [str(site) for site in np.unique(reference.site)]
    tables = [
        score_tables.comparison(results, "methods", "All methods"),
        score_tables.by_site(results, sites),
        *site_differences([*curves[:2], *networks]),
        score_tables.all_scores(results),
        score_tables.by_crop(results),
        score_tables.by_images(results),
    ]
    main = [curves[0], networks[0]]
    figures = draw_scores(results, main, f"{len(sites)} sites of {sample_path.name}")
    radar = (networks[0], networks[1]) if len(networks) > 1 else None
    figures |= draw_sites(chosen, main, radar)
    head = f"Weights: {weights.name}. Samples: {sample_path.name}, {len(test)} of {len(facts)}."
    out.mkdir(parents=True, exist_ok=True)
    return write_report(out, tables, figures, head, reference.simulated)


def _check_independent(
    weights: Path,
    about: Mapping[str, Any],
    test: Sequence[Mapping[str, Any]],
    facts: Sequence[Mapping[str, Any]],
) -> None:
    """Raise if a site to be scored lies in a cluster that the network was trained at."""
    known = training_clusters(about["card"], facts)
    if trained := {fact["site"] for fact in test if fact["cluster"] in known}:
        raise DeepCropError(
            f"{weights} was trained at or near {', '.join(sorted(trained))}: scores there would "
            "flatter it. Score the test sites only, or give samples of other sites."
        )


def check_inputs(
    weights: Path,
    about: Mapping[str, Any],
    network: Network,
    sample_path: Path,
    sample_set: SampleSet,
) -> None:
    """Raise if the samples' near infrared, or radar that is read, is not what weights expect."""
    nir, wanted = (facts.get("nir", "B08") for facts in (sample_set.provenance, about["inputs"]))
    if nir != wanted and "optical" in network.config.sensors:
        raise CubeError(f"The near infrared of {sample_path} is {nir}; {weights} expects {wanted}.")
    expected = set(about["inputs"]["radiometry"])
    unfit = set(sample_set.provenance.get("radiometry", ())) - expected
    if unfit and "radar" in network.config.sensors:
        raise CubeError(
            f"The radar of {sample_path} is {', '.join(sorted(unfit))}; {weights} expects "
            f"{' or '.join(sorted(expected))}."
        )
