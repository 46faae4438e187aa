"""Score weights by horizon on samples of cameras (`deepcrop evaluate --horizons`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import figures
from deepcrop.cameras.spatial_split import training_clusters
from deepcrop.errors import DeepCropError
from deepcrop.evaluation import horizon_baselines, horizons, scores
from deepcrop.evaluation import horizon_tables as tables
from deepcrop.evaluation.horizon_tables import CURVE, ONE_SENSOR, WITH, WITHOUT
from deepcrop.evaluation.horizons import CutOffs, CutSamples, Forecasts
from deepcrop.evaluation.tables import data_kind
from deepcrop.evaluation.weights_report import check_inputs, network_predictions
from deepcrop.network import load
from deepcrop.storage.files import atomic_file, write_csv
from deepcrop.training import samples
from deepcrop.training.samples import SampleSet, Subset, WithoutRadar

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from matplotlib.figure import Figure

    from deepcrop.evaluation.scores import ReferenceDates
    from deepcrop.network import Network
    from deepcrop.report.tables import Table
    from deepcrop.stages import Dates

SHORT_STEP = tuple(range(-60, 61, 5))
"""Cut-off days for the day on which SOS50 is found."""

NEVER = SHORT_STEP[-1] + 5.0
"""Day that stands for "not found until the last cut-off day"."""


def evaluate_horizons(weights: Path, sample_path: Path, out: Path) -> Path:
    """Score weights by horizon, next to the NDVI curve, a crop calendar and last year's date.

    All samples are scored except those of clusters of sites that the weights were trained on. The
    offset of the curve comes from those that are left out.

    Parameters
    ----------
    weights : Path
        File of a network.
    sample_path : Path
        A set of samples.
    out : Path
        Folder to write; made if missing.

    Returns
    -------
    Path
        The report, Markdown.

    Raises
    ------
    DeepCropError
        If the weights were trained on all clusters.
    CubeError
        If the radar is not what the network expects.
    """
    sample_set = samples.load(sample_path)
    network, about = load(weights)
    check_inputs(weights, about, network, sample_path, sample_set)
    used = training_clusters(about["card"], sample_set.facts)
    chosen = [k for k, fact in enumerate(sample_set.facts) if fact["cluster"] not in used]
    if not chosen:
        raise DeepCropError(
            f"{weights} was trained at or near all sites of {sample_path}; give samples of other "
            "sites."
        )
    others = [k for k in range(len(sample_set)) if k not in set(chosen)]
    known = scores.reference_dates(sample_set)
    reference = known.subset(np.array(chosen))
    main = reference.day[:, 0]
    peak = sample_set.labels["day"][chosen, 0, horizons.PEAK]
    around = horizons.around_events(main, horizons.HORIZONS)
    at_peak = horizons.at_peak(main, peak, "eos50")
    short = horizons.around_events(main, SHORT_STEP, ("sos50",))
    dated = _Dater(network, sample_set, chosen, others, reference, known)
    by_horizon, from_peak = dated.all_methods(around), dated.all_methods(at_peak)
    found = [
        score
        for method in by_horizon
        for score in horizons.score_horizons(method, horizons.HORIZONS)
    ]
    pages: list[Table] = tables.by_stage(found)
    pages.append(tables.at_peak(from_peak, dated.name))
    (by_network,) = (method for method in by_horizon if method.method == dated.name)
    pages.append(tables.by_site(by_network, "sos50", (15, 30)))
    if dated.both_sensors:
        pair = dated.network(short, True), dated.network(short, False)
        pages.append(tables.radar(*pair, NEVER))
    head = (
        f"Weights: {weights.name}. Samples: {sample_path.name}, {len(chosen)} of "
        f"{len(sample_set)}: {len(np.unique(reference.site_year))} site-years at "
        f"{len(np.unique(reference.site))} sites of {len(np.unique(reference.cluster))} clusters "
        "that the weights were not trained on. "
        f"{dated.calendar_note(around)} {tables.coverage_verdict(found, dated.name)}"
    )
    figure = tables.draw(found, data_kind(reference.simulated), reference.simulated)
    return write(out, pages, figure, head, data_kind(reference.simulated))


class _Dater:
    """Methods that date the chosen samples on cut-off days.

    The numbers of `CutOffs` count the chosen samples.
    """

    def __init__(
        self,
        network: Network,
        sample_set: SampleSet,
        chosen: Sequence[int],
        others: Sequence[int],
        reference: ReferenceDates,
        known: ReferenceDates,
    ):
        self.net, self.chosen = network, Subset(sample_set, chosen)
        self.both_sensors = network.config.sensors == ("optical", "radar")
        self.name = WITH if self.both_sensors else ONE_SENSOR
        self.reference = reference
        self.calendar, self.of_site = horizon_baselines.crop_calendar(reference, known)
        self.last_year = horizon_baselines.last_year(reference, known)
        # Without samples of other clusters the curve is scored without its offset.
        self.offsets: Any = 0.0
        if others:
            self.offsets = scores.median_offsets(
                scores.curve_predictions(Subset(sample_set, others)), known.subset(np.array(others))
            )

    def all_methods(self, cuts: CutOffs) -> list[Forecasts]:
        """Date all events by all methods."""
        found = [self.curve(cuts), self.network(cuts, True)]
        if self.both_sensors:
            found.append(self.network(cuts, False))
        for name, days in (
            (horizon_baselines.CROP_CALENDAR, self.calendar),
            (horizon_baselines.LAST_YEAR, self.last_year),
        ):
            found.append(fixed_dates(name, self.reference, cuts, days))
        return found

    def curve(self, cuts: CutOffs) -> Forecasts:
        """Date the NDVI curve, less its offset."""
        images = CutSamples(self.chosen, cuts)
        dates = scores.subtract_offsets(scores.curve_predictions(images), self.offsets)
        return self._forecasts(CURVE, cuts, dates, horizons.last_valid_day(images, radar=False))

    def network(self, cuts: CutOffs, radar: bool) -> Forecasts:
        """Date by the network, with or without the radar images."""
        images = CutSamples(self.chosen, cuts)
        dates = network_predictions(
            self.net, images if radar else WithoutRadar(images), in_season=True
        )
        name = self.name if radar else WITHOUT
        return self._forecasts(name, cuts, dates, horizons.last_valid_day(images, radar))

    def _forecasts(self, name: str, cuts: CutOffs, dates: Dates[Any], last: Any) -> Forecasts:
        units, site = self.reference.site_year, self.reference.site
        return horizons.forecasts(name, units, site, cuts, dates, last)

    def calendar_note(self, cuts: CutOffs) -> str:
        """Say where the dates of the crop calendar come from."""
        days, of_site = (
            self.calendar[cuts.number, cuts.stage],
            self.of_site[cuts.number, cuts.stage],
        )
        elsewhere = np.isfinite(days) & ~of_site
        shares = [f"{100 * share.mean():.0f} %" for share in (of_site, elsewhere)]
        return (
            f"Crop calendar: {shares[0]} of the dates are medians of the site's other years, "
            f"{shares[1]} of the same crop at other clusters; for the others there is none."
        )


def fixed_dates(
    name: str, reference: ReferenceDates, cuts: CutOffs, days: np.ndarray[Any, Any]
) -> Forecasts:
    """Report dates (n, 4) that do not depend on the cut-off day; they have no interval."""
    day = days[cuts.number, cuts.stage]
    none = np.full(day.shape, np.nan)
    return horizons.reported(
        name, reference.site_year, reference.site, cuts, day, none, none,
        np.zeros(day.shape, np.bool_),
    )  # fmt: skip


def write(out: Path, pages: Sequence[Table], figure: Figure, head: str, data: str) -> Path:
    """Write tables as Markdown and CSV, the figure, and a page of all of them.

    Returns
    -------
    Path
        The page, ``horizons.md``.
    """
    folder = out / "tables"
    folder.mkdir(parents=True, exist_ok=True)
    for table in pages:
        with atomic_file(folder / f"{table.name}.md") as part:
            part.write_text(table.to_markdown(data), encoding="utf-8")
        header, *rows = table.to_csv(data)
        write_csv(folder / f"{table.name}.csv", header, rows)
    figures.save(figure, out / "horizons.png")
    parts = [f"# Dates in season: {data}", head, "![Scores by horizon](horizons.png)"]
    parts += [table.to_markdown(data).rstrip() for table in pages]
    with atomic_file(out / "horizons.md") as part:
        part.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return out / "horizons.md"
