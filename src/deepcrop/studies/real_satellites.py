"""The evidence on real satellites (`deepcrop evaluate --real`): tables, a figure, one page.

Two questions: how near a network comes to real cameras from real optical images, and whether radar
helps where most optical scenes are missing. Docs: ``docs/real.md``.
"""

from __future__ import annotations

import csv
import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from deepcrop import figures, indices
from deepcrop.errors import DeepCropError
from deepcrop.evaluation.scores import Answers, Entry, Score, score
from deepcrop.grid import PATCH_CENTRE
from deepcrop.network.weights import Network, load, shipped
from deepcrop.phenology.slots import curve_dates
from deepcrop.phenology.smoothers import DEFAULT_SMOOTHER
from deepcrop.report.page import Grid, Picture, Section, write_page
from deepcrop.stages import CALENDAR, STAGES
from deepcrop.storage.files import atomic_file
from deepcrop.storage.progress import progress_bar
from deepcrop.storage.staging import Staging, staging
from deepcrop.studies import real_cameras, scene_thinning
from deepcrop.studies.real_cameras import SiteYears
from deepcrop.studies.thinning_tables import (
    CURVE,
    OPTICAL,
    PLACES,
    WITH,
    WITHOUT,
    Given,
    Key,
    Table,
    day,
    draw,
    percent,
    thinned_scores,
    thinned_tables,
    verdicts,
)
from deepcrop.training import real_excerpts
from deepcrop.training.examples import Example
from deepcrop.training.real_excerpts import Archive

EVI_CURVES = {f"EVI curve ({name})": name for name in ("savgol", "whittaker")}
"""Smoothers of the curves through EVI, by name of the method."""

TUNINGS = 5
"""How often the network is fine-tuned at each set of sites, from other seeds."""


def report(
    data: Path,
    weights: Path | None,
    out: Path,
    without_radar: Path | None = None,
    evi: Path | None = None,
    overwrite: bool = False,
) -> None:
    """Write the evidence on real satellites: ``report.md``, tables as CSV, a figure.

    Started again after an interruption, it goes on where it stopped.

    Parameters
    ----------
    data : Path
        Folder of the real excerpts.
    weights : Path, optional
        A network that reads optical images and radar; by default the one that comes with the
        package.
    out : Path
        Folder to make.
    without_radar : Path, optional
        A network that was taught without radar.
    evi : Path, optional
        A network that reads EVI of single pixels, to be fine-tuned at the camera sites; by default
        the one that comes with the package.
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
    known = {name: str(path) for name, path in files.items() if path is not None}
    networks = {name: load(path) for name, path in known.items()}
    settings = {
        "content": "evidence on real satellites",
        "data": str(data.resolve()),
        "networks": {name: _fingerprint(Path(path)) for name, path in known.items()},
        "cases": [case.name for case in scene_thinning.cases()],
    }
    with staging(out, settings, overwrite) as stage:
        answers = _thinned(data, networks, stage)
        scores = thinned_scores(answers)
        scene_thinning.write_scores(scores, stage.path / "thinned.csv")
        figure = draw(scores)
        figures.save(figure, stage.path / "thinned.png")
        thinned = [*thinned_tables(scores), *verdicts(scores)]
        years = real_cameras.read_hls(data)
        camera = _camera_answers(years, evi, stage)
        cameras = camera_tables(years, camera, stage.path)
        cameras += [_observed_table(years, camera, stage.path)]
        cameras += [_chips_table(data, networks["weights"][0], years, camera, stage.path)]
        page = _page([*thinned, *cameras], networks)
        (stage.path / "report.md").write_text(page, encoding="utf-8")
        _write_html(stage.path, figure, thinned, cameras, networks)
    for name in (
        "report.html", "report.md", "thinned.csv", "thinned.png", "camera.csv", "observed.csv",
        "chips.csv",
    ):  # fmt: skip
        print(f"wrote {out / name}")


def _fingerprint(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# Optical scenes taken away -----------------------------------------------------------------------


def methods(
    archive: Archive, networks: Mapping[str, tuple[Network, Any]]
) -> dict[str, scene_thinning.Method]:
    """Return what is compared, by name."""
    network = networks["weights"][0]
    made = {
        CURVE: scene_thinning.curve_method(archive),
        WITHOUT: scene_thinning.network_method(archive, network, radar=False),
        WITH: scene_thinning.network_method(archive, network, radar=True),
    }
    if "without radar" in networks:
        network = networks["without radar"][0]
        made[OPTICAL] = scene_thinning.network_method(archive, network, radar=False)
    return made


def _thinned(
    data: Path, networks: Mapping[str, tuple[Network, Any]], stage: Staging
) -> dict[Key, tuple[Archive, Given]]:
    """Answers of all methods in all cases; each is a file, so that a run can go on."""
    folder = stage.path / "answers"
    folder.mkdir(exist_ok=True)
    archives = {name: real_excerpts.read(name, data) for name in PLACES}
    jobs = [
        (archive, name, method, case)
        for archive in archives.values()
        for name, method in methods(archive, networks).items()
        for case in scene_thinning.cases()
    ]
    answers: dict[Key, tuple[Archive, Given]] = {}
    with progress_bar() as bar:
        for archive, name, method, case in bar.track(jobs, description="thinned scenes"):
            item = f"{archive.name}_{name.replace(' ', '_')}_{case.name}"
            path = folder / f"{item}.npz"
            if item not in stage.done:
                np.savez_compressed(path, day=scene_thinning.answer(archive, case, method))
                stage.finish(item)
            with np.load(path) as file:
                answers.setdefault((archive.name, name), (archive, {}))[1][case] = file["day"]
    return answers


# Real cameras ------------------------------------------------------------------------------------


def _camera_answers(years: SiteYears, evi: Path, stage: Staging) -> dict[str, list[Answers]]:
    """Dates of every method, none of which has seen the site that it is asked for; by training."""
    answers = {
        name: real_cameras.evi_curve(years, smoother) for name, smoother in EVI_CURVES.items()
    }
    answers["network, not fine-tuned"] = real_cameras.network_answers(evi, years.examples)
    for name, answer in list(answers.items()):
        moved = real_cameras.leave_one_site_out_offset(answer, years.truth)
        answers[f"{name}, less an offset"] = moved
    runs = {name: [answer] for name, answer in answers.items()}
    folder = stage.path / "fine_tuned"
    runs["network, fine-tuned"] = [
        real_cameras.fine_tuned_answers(years, evi, folder / f"seed{seed}", seed)
        for seed in range(1, TUNINGS + 1)
    ]
    return runs


def camera_tables(
    years: SiteYears, answers: Mapping[str, list[Answers]], folder: Path
) -> list[Table]:  # fmt: skip
    """Return the scores against cameras by stage; also written as ``camera.csv``."""
    scores: list[Score] = []
    for name, runs in answers.items():
        entry = Entry(name, years.truth, runs)
        scores += score(entry)
        for crop in np.unique(years.truth.crop):
            scores += score(entry, str(crop), years.truth.crop == crop)
    numbers = ("detected", "mae", "median", "bias", "coverage")
    _write_csv(
        folder / "camera.csv",
        ("method", "crop", "stage", "dates", "seeds", *numbers, *(f"{n}_sd" for n in numbers)),
        [
            (one.method, one.group, one.stage, one.dates, one.seeds,
             *(getattr(values, name) for values in (one.mean, one.spread) for name in numbers))
            for one in scores
        ],
    )  # fmt: skip
    rows: list[tuple[str, ...]] = []
    for name in answers:
        mine = [one for one in scores if one.method == name and one.group == "all"]
        for one in mine[:-1]:
            m, sd = one.mean, one.spread
            rows.append(
                (name, one.stage.upper(), str(one.dates), percent(m.detected), _give(m.mae, sd.mae),
                 _give(m.median, sd.median), f"{m.bias:+.1f}", percent(m.coverage))
            )  # fmt: skip
    count, sites = len(years.truth), len(np.unique(years.truth.site))
    dropped = ", ".join(f"{name} ({why})" for name, why in real_cameras.DROPPED.items())
    return [
        Table(
            f"Real EVI against real cameras, days: {count} site-years at {sites} sites",
            ("method", "stage", "camera's dates", "dated", "MAE", "median", "bias",
             "inside the 90 % interval"),
            rows,
            "Main season. Offset and fine-tuning are learned at the other sites; ± is the standard "
            f"deviation over {TUNINGS} fine-tunings. Left out: {dropped}. Source: "
            f"{real_cameras.SOURCE}.",
        )
    ]  # fmt: skip


def _give(value: float, spread: float) -> str:
    """Days, with the spread over trainings where there are several."""
    return f"{day(value)} ± {spread:.1f}" if math.isfinite(spread) else day(value)


def _observed_table(
    years: SiteYears, answers: Mapping[str, list[Answers]], folder: Path
) -> Table:  # fmt: skip
    """Return how far first and last date lie from what was observed; also as ``observed.csv``.

    Of several trainings the first.
    """
    dates = {"camera": years.truth.day[:, 0]}
    dates |= {name: np.asarray(runs[0].day[:, 0], np.float64) for name, runs in answers.items()}
    found: list[tuple[str, str, str, int, float, float, float]] = []
    for name, dated in dates.items():
        for stage, event, seen in (
            ("sos20", "emergence", years.emergence), ("eos20", "harvest", years.harvest),
        ):  # fmt: skip
            late = dated[:, STAGES.index(stage)] - seen
            late = late[np.isfinite(late)]
            if late.size:
                spread = float(late.std(ddof=1)) if late.size > 1 else math.nan
                middle = float(late.mean()), float(np.median(late))
                found.append((name, stage, event, late.size, *middle, spread))
    _write_csv(
        folder / "observed.csv",
        ("dates_of", "stage", "event", "site_years", "mean", "median", "sd"),
        found,
    )
    rows: list[tuple[str, ...]] = [
        (name, f"{stage.upper()} − {event}", str(count), f"{mean:+.1f}", f"{median:+.1f}",
         day(spread))
        for name, stage, event, count, mean, median, spread in found
    ]  # fmt: skip
    return Table(
        "First and last date against emergence and harvest as observed, days",
        ("dates of", "difference", "site-years", "mean", "median", "standard deviation"),
        rows,
        "These are other events than a share of the amplitude: the difference should be steady, "
        "not zero.",
    )


def _chips_table(
    data: Path,
    network: Network,
    years: SiteYears,
    cameras: Mapping[str, list[Answers]],
    folder: Path,
) -> Table:
    """Return the dates of the one site-year with image chips; also written as ``chips.csv``."""
    example, camera = real_cameras.read_chips(data)
    true = real_cameras.main_season(camera)
    answers = _chip_curves(example, camera.year, years, cameras)
    answers["network, optical only"] = real_cameras.camera_dates(network, [example]).day[0, 0]
    dates = {"camera": true} | answers
    _write_csv(
        folder / "chips.csv",
        ("dates_of", "stage", "day", "error"),
        [
            (name, stage, float(d), float(d - t))
            for name, answer in dates.items()
            for stage, d, t in zip(STAGES, answer, true, strict=True)
        ],
    )
    rows: list[tuple[str, ...]] = [("camera", *(day(float(value)) for value in true))]
    for name, answer in answers.items():
        cells = (f"{day(float(d))} ({d - t:+.1f})" for d, t in zip(answer, true, strict=True))
        rows.append((name, *cells))
    verdict = f"accepted{'; ' + camera.why if camera.why else ''}"
    return Table(
        f"Image chips of {real_cameras.CHIPS}, {camera.year}: days since 1 January (error)",
        ("dates of", *(name.upper() for name in STAGES)),
        rows,
        f"{len(example.optical_days)} clear images (HLS, 30 m, repeated to 10 m); crop "
        f"{camera.crop or 'unknown'}; camera's main season "
        f"{verdict if camera.accepted else 'rejected: ' + camera.why}. Offsets are learned from "
        "the daily EVI of the other sites. One site-year proves little.",
    )


def _chip_curves(
    example: Example, year: int, years: SiteYears, cameras: Mapping[str, list[Answers]]
) -> dict[str, NDArray[np.floating]]:
    """Dates of the main season by curves through the pixel in the middle of the chips."""
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
    for name in EVI_CURVES:
        own = real_cameras.site_of(real_cameras.CHIPS)  # it teaches nothing that it is judged by
        off = real_cameras.offset_elsewhere(cameras[name][0], years.truth, own)
        dates[f"{name}, less an offset"] = dates[name] - off
    return dates


def _write_csv(
    path: Path, columns: Sequence[str], rows: Iterable[Sequence[str | int | float]]
) -> None:
    """Write rows as CSV, numbers with three decimals."""
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for row in rows:
            writer.writerow(f"{cell:.3f}" if isinstance(cell, float) else cell for cell in row)


# The page ----------------------------------------------------------------------------------------


def _page(tables: Sequence[Table], networks: Mapping[str, tuple[Network, Any]]) -> str:
    parts = [
        "# Evidence on real satellites",
        "Real images, real cameras; rules and how to run: `docs/real.md`. References of the "
        f"thinned scenes are dates of the curve of all scenes whose 90 % interval is at most "
        f"{scene_thinning.WIDEST:.0f} days wide; random draws: {scene_thinning.DRAWS}.",
    ]
    for name, (_, about) in networks.items():
        parts.append(f"- {name}: {about['software']}; {_taught(about['card'])}")
    parts.append("![Error against share of scenes kept](thinned.png)")
    parts += [table.markdown() for table in tables]
    parts.append("Data:\n\n" + "\n".join(f"- {text}" for text in real_excerpts.SOURCES.values()))
    return "\n\n".join(parts) + "\n"


def _write_html(
    folder: Path,
    figure: Figure,
    thinned: Sequence[Table],
    cameras: Sequence[Table],
    networks: Mapping[str, tuple[Network, Any]],
) -> None:
    """Write the same as a page that holds all it shows."""

    def grids(tables: Sequence[Table]) -> list[Grid]:
        return [Grid(one.title, one.columns, one.rows, 2, one.note) for one in tables]

    caption = "Of each place and method, where only a share of the optical scenes is kept."
    taught = [
        f"{name}: {about['software']}; {_taught(about['card'])}".replace("**", "")
        for name, (_, about) in networks.items()
    ]
    write_page(
        folder,
        "Evidence on real satellites",
        "Real images, real cameras. Rules and how to run it: docs/real.md.",
        "",
        [],
        [
            Section("networks", "Networks", taught),
            Section(
                "thinned",
                "Where optical scenes are missing",
                [
                    "References are dates of the curve of all scenes whose 90 % interval is at "
                    f"most {scene_thinning.WIDEST:.0f} days wide; random draws: {scene_thinning.DRAWS}."
                ],
                [Picture("thinned", "Error against share of scenes kept", caption, figure)],
                grids(thinned),
            ),
            Section("cameras", "Against real cameras", (), (), grids(cameras)),
            Section("data", "Data", list(real_excerpts.SOURCES.values())),
        ],
    )


def _taught(card: Mapping[str, Any]) -> str:
    """Say which of the places a network has been taught, by its card."""
    places = [
        title
        for name, title in PLACES.items()
        if real_excerpts.SOURCES[name] in card.get("places", [])
    ]
    if not places:
        return "taught none of these places."
    return f"**taught {', '.join(places)}: its numbers there are no test.**"
