"""Score networks on real satellite images (`deepcrop evaluate --real`): tables, a figure, a page.

Two questions are asked: how far a network's dates are from those of real cameras, given real
optical images, and whether radar helps where most optical scenes are missing. See ``docs/real.md``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop import figures, indices
from deepcrop.errors import DeepCropError
from deepcrop.evaluation.scores import (
    ALL,
    MethodResult,
    Predictions,
    Score,
    deviation_of_finite,
    mean_of_finite,
    score,
)
from deepcrop.grid import PATCH_CENTRE
from deepcrop.network.weights import Network, load, shipped
from deepcrop.phenology.slots import curve_dates
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER
from deepcrop.report.page import Picture, Section, write_page
from deepcrop.report.tables import Spread, Table, cell_text, percent_text
from deepcrop.stages import CALENDAR, STAGES
from deepcrop.storage.files import content_hash, write_csv
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import Staging, staging
from deepcrop.studies import real_cameras, scene_thinning
from deepcrop.studies.thinning_tables import (
    CURVE,
    OPTICAL,
    PLACES,
    WITH,
    WITHOUT,
    DatesByCase,
    Key,
    draw_thinning,
    radar_tables,
    thinned_scores,
    thinned_tables,
)
from deepcrop.training import real_excerpts
from deepcrop.training.curve_labels import MAX_WIDTH

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from deepcrop.studies.real_cameras import SiteYears
    from deepcrop.training.examples import Example
    from deepcrop.training.real_excerpts import Excerpt

_LOGGER = logging.getLogger(__name__)

EVI_CURVES = {f"EVI curve ({name})": name for name in ("savgol", "whittaker")}
"""Smoothers of the curves through EVI, by name of the method."""

TUNINGS = 5
"""Number of fine-tunings for each site left out, with different seeds."""


def report(
    data: Path,
    weights: Path | None,
    out: Path,
    without_radar: Path | None = None,
    evi: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the scores on real satellite images: ``report.md``, tables as CSV, a figure.

    A run that was interrupted continues where it stopped.

    Parameters
    ----------
    data : Path
        Folder of the real excerpts.
    weights : Path, optional
        A network that reads optical images and radar; by default the one of the package.
    out : Path
        Folder to make.
    without_radar : Path, optional
        A network that was trained without radar.
    evi : Path, optional
        A network that reads EVI of single pixels, to be fine-tuned at the camera sites; by default
        the one of the package.
    overwrite : bool
        Replace an existing ``out``.

    Raises
    ------
    DeepCropError
        If a file cannot be used, or ``out`` exists and may not be replaced.
    """
    if not data.is_dir():
        raise DeepCropError(f"{data} does not exist; expected the folder of the real excerpts.")
    weights, evi = weights or shipped(), evi or shipped("evi")
    files = {"weights": weights, "without radar": without_radar, "evi": evi}
    paths = {name: path for name, path in files.items() if path is not None}
    networks = {name: load(path) for name, path in paths.items()}
    settings = {
        "content": "evidence on real satellites",
        "data": str(data.resolve()),
        "networks": {name: content_hash([path.read_bytes()]) for name, path in paths.items()},
        "cases": [case.name for case in scene_thinning.cases()],
    }
    with staging(out, settings, overwrite) as stage:
        scores = thinned_scores(_predict_thinned(data, networks, stage))
        scene_thinning.write_scores(scores, stage.path / "thinned.csv")
        figure = draw_thinning(scores)
        figures.save(figure, stage.path / "thinned.png")
        thinned = [*thinned_tables(scores), *radar_tables(scores)]
        years = real_cameras.read_hls(data)
        runs = _predict_cameras(years, evi, stage)
        cameras = [
            camera_table(years, runs, stage.path),
            _observed_table(years, runs, stage.path),
            _chips_table(data, networks["weights"][0], years, runs, stage.path),
        ]
        page = _markdown([*thinned, *cameras], networks)
        (stage.path / "report.md").write_text(page, encoding="utf-8")
        _write_html(stage.path, figure, thinned, cameras, networks)
    for name in (
        "report.html", "report.md", "thinned.csv", "thinned.png", "camera.csv", "observed.csv",
        "chips.csv",
    ):  # fmt: skip
        _LOGGER.info("wrote %s", out / name)


# Optical scenes removed --------------------------------------------------------------------------


def methods(
    archive: Excerpt, networks: Mapping[str, tuple[Network, Any]]
) -> dict[str, scene_thinning.Method]:
    """Return the methods that are compared, by name."""
    network = networks["weights"][0]
    compared = {
        CURVE: scene_thinning.curve_method(archive),
        WITHOUT: scene_thinning.network_method(archive, network, radar=False),
        WITH: scene_thinning.network_method(archive, network, radar=True),
    }
    if "without radar" in networks:
        network = networks["without radar"][0]
        compared[OPTICAL] = scene_thinning.network_method(archive, network, radar=False)
    return compared


def _predict_thinned(
    data: Path, networks: Mapping[str, tuple[Network, Any]], stage: Staging
) -> dict[Key, tuple[Excerpt, DatesByCase]]:
    """Predict dates with all methods in all cases; each is a file, so that a run can continue."""
    folder = stage.path / "predictions"
    folder.mkdir(exist_ok=True)
    archives = {name: real_excerpts.read(name, data) for name in PLACES}
    jobs = [
        (archive, name, method, case)
        for archive in archives.values()
        for name, method in methods(archive, networks).items()
        for case in scene_thinning.cases()
    ]
    predictions: dict[Key, tuple[Excerpt, DatesByCase]] = {}
    with progress_bar() as bar:
        for archive, name, method, case in bar.track(jobs, description="thinned scenes"):
            item = f"{archive.name}_{name.replace(' ', '_')}_{case.name}"
            path = folder / f"{item}.npz"
            if item not in stage.done:
                day = scene_thinning.predict_case(archive, case, method)
                np.savez_compressed(path, day=day)
                stage.finish(item)
            with np.load(path) as file:
                predictions.setdefault((archive.name, name), (archive, {}))[1][case] = file["day"]
    return predictions


# Real cameras ------------------------------------------------------------------------------------

_METRICS = ("detected", "mae", "median", "bias", "coverage")


def _predict_cameras(years: SiteYears, evi: Path, stage: Staging) -> dict[str, list[Predictions]]:
    """Date all site-years with every method, by name of the method a list of runs.

    No method has used the site that it dates.
    """
    predictions = {
        name: real_cameras.evi_curve(years, smoother) for name, smoother in EVI_CURVES.items()
    }
    predictions["network, not fine-tuned"] = real_cameras.network_predictions(evi, years.examples)
    for name, dates in list(predictions.items()):
        moved = real_cameras.subtract_offset_elsewhere(dates, years.reference)
        predictions[f"{name}, less an offset"] = moved
    runs = {name: [dates] for name, dates in predictions.items()}
    folder = stage.path / "fine_tuned"
    runs["network, fine-tuned"] = [
        real_cameras.fine_tuned_predictions(years, evi, folder / f"seed{seed}", seed)
        for seed in range(1, TUNINGS + 1)
    ]
    return runs


def camera_table(
    years: SiteYears, runs: Mapping[str, list[Predictions]], folder: Path
) -> Table:  # fmt: skip
    """Make the table of scores against cameras by stage, and write all scores to ``camera.csv``."""
    scores: list[Score] = []
    for name, predictions in runs.items():
        result = MethodResult(name, years.reference, predictions)
        scores += score(result)
        for crop in np.unique(years.reference.crop):
            scores += score(result, str(crop), years.reference.crop == crop)
    _write_csv(
        folder / "camera.csv",
        ("method", "crop", "stage", "dates", "seeds", *_METRICS, *(f"{n}_sd" for n in _METRICS)),
        [
            (row.method, row.group, row.stage, row.dates, row.seeds,
             *(getattr(values, name) for values in (row.mean, row.spread) for name in _METRICS))
            for row in scores
        ],
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for row in scores:
        # The table is of all crops and of single stages; the file has the others.
        if row.group != ALL or row.stage == ALL:
            continue
        mean, spread = row.mean, row.spread
        rows.append(
            (row.method, row.stage.upper(), str(row.dates), percent_text(mean.detected),
             cell_text(Spread(mean.mae, spread.mae)),
             cell_text(Spread(mean.median, spread.median)), f"{mean.bias:+.1f}",
             percent_text(mean.coverage))
        )  # fmt: skip
    count, sites = len(years.reference), len(np.unique(years.reference.site))
    dropped = ", ".join(f"{name} ({why})" for name, why in real_cameras.DROPPED.items())
    return Table(
        f"Real EVI against real cameras, days: {count} site-years at {sites} sites",
        ("method", "stage", "camera's dates", "dated", "MAE", "median", "bias",
         "inside the 90 % interval"),
        rows,
        "Main season. Offset and fine-tuning come from the other sites; ± is the standard "
        f"deviation over {TUNINGS} fine-tunings. Left out: {dropped}. Source: "
        f"{real_cameras.SOURCE}.",
        text_columns=2,
    )  # fmt: skip


def _observed_table(
    years: SiteYears, runs: Mapping[str, list[Predictions]], folder: Path
) -> Table:  # fmt: skip
    """Compare first and last date with what was observed; also written as ``observed.csv``.

    Of several fine-tunings the first.
    """
    dates = {"camera": years.reference.day[:, 0]}
    dates |= {name: np.asarray(first.day[:, 0], np.float64) for name, (first, *_) in runs.items()}
    found: list[tuple[str, str, str, int, float, float, float]] = []
    for name, days in dates.items():
        for stage, event, observed in (
            ("sos20", "emergence", years.emergence), ("eos20", "harvest", years.harvest),
        ):  # fmt: skip
            # Not an error but a difference of two events: its mean, its median, its spread.
            late = days[:, STAGES.index(stage)] - observed
            late = late[np.isfinite(late)]
            if late.size:
                numbers = mean_of_finite(late), float(np.median(late)), deviation_of_finite(late)
                found.append((name, stage, event, late.size, *numbers))
    _write_csv(
        folder / "observed.csv",
        ("dates_of", "stage", "event", "site_years", "mean", "median", "sd"),
        found,
    )
    rows: list[tuple[str, ...]] = [
        (name, f"{stage.upper()} − {event}", str(count), f"{mean:+.1f}", f"{median:+.1f}",
         cell_text(spread))
        for name, stage, event, count, mean, median, spread in found
    ]  # fmt: skip
    return Table(
        "First and last date against emergence and harvest as observed, days",
        ("dates of", "difference", "site-years", "mean", "median", "standard deviation"),
        rows,
        "These are other events than a share of the amplitude: the difference should be steady, "
        "not zero.",
        text_columns=2,
    )


def _chips_table(
    data: Path,
    network: Network,
    years: SiteYears,
    runs: Mapping[str, list[Predictions]],
    folder: Path,
) -> Table:
    """Date the one site-year with image chips by all methods; also written as ``chips.csv``."""
    example, camera = real_cameras.read_chips(data)
    reference = real_cameras.main_season(camera)
    predicted = _chip_curves(example, camera.year, years, runs)
    predicted["network, optical only"] = real_cameras.camera_dates(network, [example]).day[0, 0]
    dates = {"camera": reference} | predicted
    _write_csv(
        folder / "chips.csv",
        ("dates_of", "stage", "day", "error"),
        [
            (name, stage, float(day), float(day - true))
            for name, days in dates.items()
            for stage, day, true in zip(STAGES, days, reference, strict=True)
        ],
    )
    rows: list[tuple[str, ...]] = [("camera", *(cell_text(float(day)) for day in reference))]
    for name, days in predicted.items():
        cells = (
            f"{cell_text(float(day))} ({day - true:+.1f})"
            for day, true in zip(days, reference, strict=True)
        )
        rows.append((name, *cells))
    verdict = f"accepted{'; ' + camera.why if camera.why else ''}"
    return Table(
        f"Image chips of {real_cameras.CHIPS}, {camera.year}: days since 1 January (error)",
        ("dates of", *(name.upper() for name in STAGES)),
        rows,
        f"{len(example.optical_days)} clear images (HLS, 30 m, repeated to 10 m); crop "
        f"{camera.crop or 'unknown'}; camera's main season "
        f"{verdict if camera.accepted else 'rejected: ' + camera.why}. Offsets come from the "
        "daily EVI of the other sites. One site-year proves little.",
    )


def _chip_curves(
    example: Example, year: int, years: SiteYears, runs: Mapping[str, list[Predictions]]
) -> dict[str, NDArray[np.floating]]:
    """Date the main season with curves through the pixel in the middle of the chips."""
    blue, _, red, nir = example.optical[:, :, PATCH_CENTRE, PATCH_CENTRE].T
    evi = indices.evi_of(nir, red, blue)
    series = {CURVE: (indices.ndvi_of(nir, red), DEFAULT_SMOOTHER)}
    series |= {name: (evi, smoother) for name, smoother in EVI_CURVES.items()}
    order = [CALENDAR.index(name) for name in STAGES]
    dates: dict[str, NDArray[np.floating]] = {}
    for name, (values, smoother) in series.items():
        found = curve_dates(
            values[None], example.optical_days, year, real_cameras.LATITUDE, smoother
        )
        dates[name] = found.day[0, 0, order]
    # Other years of the same camera are among the site-years: its site gives no offset either.
    own_site = real_cameras.site_of(real_cameras.CHIPS)
    for name in EVI_CURVES:
        offset = real_cameras.offset_elsewhere(runs[name][0], years.reference, own_site)
        dates[f"{name}, less an offset"] = dates[name] - offset
    return dates


def _write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str | int | float]]
) -> None:
    """Write rows as CSV, numbers with three decimals."""
    texts = ([f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row] for row in rows)
    write_csv(path, columns, texts, line_end="\r\n")


# The page ----------------------------------------------------------------------------------------


_REFERENCE = (
    "dates of the curve of all scenes whose 90 % interval is at most "
    f"{MAX_WIDTH:.0f} days wide; random draws: {scene_thinning.DRAWS}."
)


def _markdown(tables: Sequence[Table], networks: Mapping[str, tuple[Network, Any]]) -> str:
    parts = [
        "# Evidence on real satellites",
        "Real images, real cameras; rules and how to run: `docs/real.md`. References of the "
        f"thinned scenes are {_REFERENCE}",
    ]
    for name, (_, about) in networks.items():
        parts.append(f"- {name}: {about['software']}; {_training_places(about['card'])}")
    parts.append("![Error against share of scenes kept](thinned.png)")
    parts += [table.to_markdown().rstrip() for table in tables]
    parts.append("Data:\n\n" + "\n".join(f"- {real_excerpts.SOURCES[name]}" for name in PLACES))
    return "\n\n".join(parts) + "\n"


def _write_html(
    folder: Path,
    figure: Figure,
    thinned: Sequence[Table],
    cameras: Sequence[Table],
    networks: Mapping[str, tuple[Network, Any]],
) -> None:
    """Write the same as a self-contained HTML page."""
    caption = "Of each place and method, where only a share of the optical scenes is kept."
    trained = [
        f"{name}: {about['software']}; {_training_places(about['card'])}".replace("**", "")
        for name, (_, about) in networks.items()
    ]
    write_page(
        folder,
        "Evidence on real satellites",
        "Real images, real cameras. Rules and how to run it: docs/real.md.",
        "",
        [],
        [
            Section("networks", "Networks", trained),
            Section(
                "thinned",
                "Where optical scenes are missing",
                [f"References are {_REFERENCE}"],
                [Picture("thinned", "Error against share of scenes kept", caption, figure)],
                thinned,
            ),
            Section("cameras", "Against real cameras", (), (), cameras),
            Section("data", "Data", [real_excerpts.SOURCES[name] for name in PLACES]),
        ],
    )


def _training_places(card: Mapping[str, Any]) -> str:
    """Return which of the places a network was trained on, by its card."""
    places = [
        title
        for name, title in PLACES.items()
        if real_excerpts.SOURCES[name] in card.get("places", [])
    ]
    if not places:
        return "trained on none of these places."
    return f"**trained on {', '.join(places)}: its numbers there are no test.**"
