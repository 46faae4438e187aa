"""Labels of many cameras: one table, a record of how it was made, and a figure per camera.

The table has a row per season, and one per year without any, rejected years included;
`docs/labels.md` explains its columns. Crops come from a table of site, year and crop.
"""

from __future__ import annotations

import datetime
import importlib
import json
import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from deepcrop import stages
from deepcrop._version import __version__
from deepcrop.cameras.crop_table import read_crops
from deepcrop.cameras.labels import (
    PRESET,
    SMOOTHER,
    CameraLabels,
    Screening,
    SiteYear,
    label_series,
)
from deepcrop.errors import DeepCropError
from deepcrop.phenology import PRESETS
from deepcrop.sources.phenocam.summary_files import (
    CITATION,
    GREENNESS,
    acknowledgement_beside,
    read_series,
)
from deepcrop.stages import CALENDAR
from deepcrop.storage.files import atomic_file, write_csv

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

_TYPES: dict[str, str] = {
    "site": "text",
    "veg_type": "text",
    "roi": "text",
    "latitude": "float",
    "longitude": "float",
    "column": "text",
    "year": "int",
    "year_start": "text",
    "crop": "text",
    "verdict": "text",
    "why": "text",
    "year_observed_share": "float",
    "seasons_in_year": "int",
    "season": "int",
    "slot": "int",
    **{
        f"{name}_{part}": kind
        for name in CALENDAR
        for part, kind in (
            ("date", "date"),
            ("day", "float"),
            ("low", "float"),
            ("high", "float"),
            ("reason", "text"),
        )
    },
    "amplitude": "float",
    "length": "float",
    "observations": "int",
    "observed_share": "float",
    "largest_gap": "float",
}
COLUMNS = tuple(_TYPES)
"""Columns of the label table; `docs/labels.md` explains each."""


@dataclass
class LabelRun:
    """What a run over many files did.

    Attributes
    ----------
    labels : list of CameraLabels
        Of the files that could be used.
    failures : list of str
        What was wrong with each of the others.
    """

    labels: list[CameraLabels] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def years(self) -> list[SiteYear]:
        """All site-years."""
        return [year for labels in self.labels for year in labels.years]


def label_files(
    files: Sequence[Path],
    out: Path,
    *,
    plots: Path | None = None,
    crops: Path | None = None,
    column: str = "gcc_90",
    overwrite: bool = False,
    year_start: str = stages.YEAR_START,
    track: Callable[[Sequence[Path]], Iterable[Path]] = iter,
) -> LabelRun:
    """Label many camera files: one table, a record beside it, and a figure per camera.

    A file that cannot be used is recorded and does not stop the others.

    Parameters
    ----------
    files : sequence of Path
        PhenoCam summary files, at most one per region of interest.
    out : Path
        ``.csv`` or ``.parquet``. ``out`+ ``.json`` records settings, files and the citation.
    plots : Path, optional
        Folder of figures; made if it does not exist.
    crops : Path, optional
        Crop table, see `read_crops`.
    column : str
        Greenness to use.
    overwrite : bool
        Replace a table, its record and figures of these names.
    year_start : str
        As of `deepcrop.cameras.labels.label_series`.
    track : callable, optional
        Wraps the files to show progress.

    Returns
    -------
    LabelRun

    Raises
    ------
    DeepCropError
        If an output exists, the crop table cannot be read, or no file at all can be used.
    """
    record_path = out.with_name(out.name + ".json")
    _writer(out)
    if year_start != stages.AUTO:
        stages.TargetYear(2018, year_start)  # refuses what is no day of the year
    if column not in GREENNESS:
        raise DeepCropError(f"No greenness column {column}; expected {', '.join(GREENNESS)}.")
    for target in (out, record_path):
        _check_free(target, overwrite)
    crop_by_year = read_crops(crops) if crops else {}
    run = LabelRun()
    done: dict[str, Path] = {}
    for path in track(files):
        try:
            camera = read_series(path, (column,))
            if camera.name in done:
                raise DeepCropError(f"{path}: {camera.name} was read from {done[camera.name]}.")
            done[camera.name] = path
            labels = label_series(camera, column, crop_by_year, year_start=year_start)
            run.labels.append(labels)
            if plots:
                _plot(labels, plots, overwrite)
        except DeepCropError as error:
            run.failures.append(str(error))
    if not run.labels:
        raise DeepCropError("No file could be used.\n" + "\n".join(run.failures))
    write_table([row for labels in run.labels for row in label_rows(labels)], out)
    record = {
        "software": f"deepcrop {__version__}",
        "made": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "citation": CITATION,
        "acknowledgement": acknowledgement_beside(labels.camera for labels in run.labels),
        "column": column,
        "smoother": asdict(PRESETS[PRESET][0][SMOOTHER]),
        "seasons": asdict(PRESETS[PRESET][1]),
        "screening": asdict(Screening()),
        "year_start": year_start,
        "files": [labels.camera.path.name for labels in run.labels],
        "failures": run.failures,
    }
    with atomic_file(record_path) as part:
        part.write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    return run


def _check_free(target: Path, overwrite: bool) -> None:
    if target.exists() and not overwrite:
        raise DeepCropError(f"{target} exists. Choose another name, or overwrite it (overwrite).")


def _plot(labels: CameraLabels, folder: Path, overwrite: bool) -> None:
    from deepcrop import figures
    from deepcrop.cameras import label_figure

    folder.mkdir(parents=True, exist_ok=True)
    target = folder / f"{labels.camera.name}.png"
    _check_free(target, overwrite)
    with atomic_file(target) as part:
        figures.save(label_figure.camera_figure(labels), part)


def label_rows(labels: CameraLabels) -> Iterator[dict[str, Any]]:
    """Rows of the label table: one per season, and one per year without any; None is unknown."""
    camera = labels.camera
    for site_year in labels.years:
        common = {
            "site": camera.site,
            "veg_type": camera.veg_type,
            "roi": camera.roi,
            "latitude": camera.latitude,
            "longitude": camera.longitude,
            "column": labels.column,
            "year": site_year.year,
            "year_start": labels.year_start,
            "crop": site_year.crop or None,
            "verdict": site_year.verdict,
            "why": site_year.why or None,
            "year_observed_share": _rounded(site_year.observed_share, 3),
            "seasons_in_year": len(site_year.seasons),
        }
        if not site_year.seasons:
            yield {name: common.get(name) for name in COLUMNS}
        for season in site_year.seasons:
            row = common | {
                "season": season.number,
                "slot": season.slot or None,
                "amplitude": _rounded(season.amplitude, 4),
                "length": _rounded(season.length, 2),
                "observations": season.observations,
                "observed_share": _rounded(season.observed_share, 3),
                "largest_gap": _rounded(season.largest_gap, 1),
            }
            for name, event in season.events.items():
                row[f"{name}_date"] = stages.to_dates(event.day, site_year.year).item()
                row[f"{name}_day"] = _rounded(event.day, 2)
                row[f"{name}_low"] = _rounded(event.low, 2)
                row[f"{name}_high"] = _rounded(event.high, 2)
                row[f"{name}_reason"] = event.reason
            yield {name: row[name] for name in COLUMNS}


def _rounded(value: float, digits: int) -> float | None:
    return round(value, digits) if math.isfinite(value) else None


def write_table(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Write label rows as CSV or Parquet, by the name of the file, whole or not at all.

    Raises
    ------
    DeepCropError
        If the name ends otherwise, or Parquet is asked for and pyarrow is not installed.
    """
    _writer(path)(rows, path)


def _writer(path: Path) -> Callable[[Sequence[Mapping[str, Any]], Path], None]:
    if path.suffix == ".csv":
        return _write_csv
    if path.suffix != ".parquet":
        raise DeepCropError(f"{path}: labels are written as .csv or .parquet; name the file so.")
    try:
        importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise DeepCropError(
            f"{path}: Parquet needs pyarrow, which is not installed. Install deepcrop[labels], or "
            "write a .csv."
        ) from None
    return _write_parquet


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    write_csv(path, COLUMNS, ([row[name] for name in COLUMNS] for row in rows))


def _write_parquet(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    arrow = importlib.import_module("pyarrow")
    parquet = importlib.import_module("pyarrow.parquet")
    types = {
        "text": arrow.string(),
        "int": arrow.int32(),
        "float": arrow.float64(),
        "date": arrow.date32(),
    }
    schema = arrow.schema(
        [(name, types[kind]) for name, kind in _TYPES.items()],
        metadata={"citation": CITATION, "software": f"deepcrop {__version__}"},
    )
    table = arrow.Table.from_pylist([dict(row) for row in rows], schema)
    with atomic_file(path) as part:
        parquet.write_table(table, part)
