"""Read and write PhenoCam summary files: the greenness of a camera's region of interest.

The official 1-day and 3-day summary files are CSV: comment lines (``#``) that name the site, then a
heading, then one row per calendar day. In a 3-day file the observed columns have values every third
day only. Missing values are ``NA``, empty or -9999.

Data are CC BY 4.0; publications that use them, or results made from them, must cite `CITATION`.
"""

from __future__ import annotations

import csv
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.errors import DeepCropError
from deepcrop.storage.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

CITATION = (
    "Camera greenness: PhenoCam network (CC BY 4.0), Richardson et al. 2018 "
    "(doi 10.1038/sdata.2018.28), Seyednasrollah et al. 2019 (doi 10.1038/s41597-019-0229-9)."
)
"""Citation for every table and figure made from these files."""

ACKNOWLEDGEMENT = (
    "Data used in this research were provided by the PhenoCam Network, which has been supported by "
    "the National Science Foundation, the Long-Term Agroecosystem Research (LTAR) network which is "
    "supported by the United States Department of Agriculture (USDA), the U.S. Department of "
    "Energy, the U.S. Geological Survey, the Northeastern States Research Cooperative, and the USA "
    "National Phenology Network. We thank the PhenoCam Network collaborators, including site PIs "
    "and technicians, for publicly sharing the data that were used in this paper."
)
"""Acknowledgement that the network requires in publications (fair use policy of 28 August 2025,
https://phenocam.nau.edu/webcam/fairuse_statement/)."""

ACKNOWLEDGEMENT_FILE = "ACKNOWLEDGEMENT.txt"
"""Name of the file, beside the series or their folder, with the full acknowledgement: that of the
network, those of the sites, and the citations."""

SITE_PAGE = "https://phenocam.nau.edu/webcam/sites/{site}/"
"""Page of a site, with its own acknowledgement."""

GREENNESS = ("gcc_90", "gcc_75", "gcc_50", "gcc_mean")
"""Raw greenness columns: percentiles, or the mean, over the images of a period."""

COLUMNS = (
    "date", "year", "doy", "image_count", "midday_filename",
    "midday_r", "midday_g", "midday_b", "midday_gcc", "midday_rcc",
    "r_mean", "r_std", "g_mean", "g_std", "b_mean", "b_std",
    "gcc_mean", "gcc_std", "gcc_50", "gcc_75", "gcc_90",
    "rcc_mean", "rcc_std", "rcc_50", "rcc_75", "rcc_90", "max_solar_elev", "snow_flag",
    "outlierflag_gcc_mean", "outlierflag_gcc_50", "outlierflag_gcc_75", "outlierflag_gcc_90",
)  # fmt: skip
"""Columns of a summary file without the network's smoothing."""

_MISSING = frozenset(("", "NA", "NaN", "nan"))
_FILL = -9999.0
_EXPECTED = "expected a PhenoCam 1-day or 3-day summary file (…_1day.csv or …_3day.csv)"


@dataclass(frozen=True)
class CameraSeries:
    """Greenness of one region of interest of one camera, one value per calendar day.

    Attributes
    ----------
    path : Path
        The file.
    site, veg_type, roi : str
        For example ``mead2``, ``AG``, ``1000`` (four digits).
    latitude, longitude : float
        Degrees, north and east positive.
    elevation : float
        Metres; NaN if the file does not state it.
    utc_offset : float
        Hours from UTC to the camera's standard time; NaN if the file does not state it.
    period : int
        Days per observation: 1 or 3.
    date : ndarray of datetime64[D] (days,)
        Rising.
    greenness : dict of str to ndarray of float32 (days,)
        Raw values of the requested columns; NaN where there is no observation.
    outlier : dict of str to ndarray of bool (days,)
        The network's outlier flag for each of these columns; False where it is not given.
    smooth : dict of str to ndarray of float32 (days,)
        The network's own smoothed values of these columns, for comparison; NaN where not given.
    image_count : ndarray of float32 (days,)
        Images per observation; NaN where there is no observation.
    snow : ndarray of bool (days,)
        Whether the snow flag is set; False where it is missing.
    interpolated : ndarray of bool (days,)
        Padding or interpolation by the network's smoothing (``int_flag``); independent of the raw
        values.
    max_solar_elev : ndarray of float32 (days,)
        Highest solar elevation of the images, degrees; NaN where there is no observation.
    """

    path: Path
    site: str
    veg_type: str
    roi: str
    latitude: float
    longitude: float
    elevation: float
    utc_offset: float
    period: int
    date: NDArray[np.datetime64]
    greenness: dict[str, NDArray[np.float32]]
    outlier: dict[str, NDArray[np.bool_]]
    smooth: dict[str, NDArray[np.float32]]
    image_count: NDArray[np.float32]
    snow: NDArray[np.bool_]
    interpolated: NDArray[np.bool_]
    max_solar_elev: NDArray[np.float32]

    @property
    def name(self) -> str:
        """Site, vegetation and region of interest as in the network's file names."""
        return f"{self.site}_{self.veg_type}_{self.roi}"


def read_series(path: Path, columns: Sequence[str] = ("gcc_90",)) -> CameraSeries:
    """Read a PhenoCam summary file.

    Parameters
    ----------
    path : Path
        A 1-day or 3-day summary file of a region of interest.
    columns : sequence of str
        Greenness columns to read, out of `GREENNESS`.

    Returns
    -------
    CameraSeries

    Raises
    ------
    DeepCropError
        If the file cannot be read or is not a summary file; the message names the line and what was
        expected there.
    """
    unknown = [name for name in columns if name not in GREENNESS]
    if unknown or not columns:
        raise DeepCropError(
            f"No greenness column {', '.join(unknown) or 'asked for'}; expected "
            f"{', '.join(GREENNESS)}."
        )
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DeepCropError(f"{path}: {error.strerror}; {_EXPECTED}.") from None
    except UnicodeDecodeError:
        raise DeepCropError(f"{path} is not a text file; {_EXPECTED}.") from None
    lines = text.rstrip().splitlines()  # blank lines at the end are no rows that were cut short
    first = next((k for k, line in enumerate(lines) if not line.startswith("#")), len(lines))
    site = _site(path, lines[:first])
    table = _table(path, lines, first, columns)
    date = _dates(path, first, table["date"])

    def numbers(name: str, required: bool = True) -> NDArray[np.float32]:
        if name not in table and not required:
            return np.full(date.size, np.nan, np.float32)
        return _numbers(path, first, name, table[name])

    greenness = {name: numbers(name) for name in columns}
    for name, values in greenness.items():
        _check_range(path, first, name, values)
    return CameraSeries(
        path=Path(path),
        **site,
        date=date,
        greenness=greenness,
        outlier={name: numbers(f"outlierflag_{name}", False) == 1 for name in columns},
        smooth={name: numbers(f"smooth_{name}", False) for name in columns},
        image_count=numbers("image_count"),
        snow=numbers("snow_flag", False) == 1,
        interpolated=numbers("int_flag", False) == 1,
        max_solar_elev=numbers("max_solar_elev", False),
    )


def acknowledgement_beside(series: Iterable[CameraSeries]) -> str:
    """Compose the acknowledgement for results made from these series.

    It is that of `ACKNOWLEDGEMENT_FILE` if `deepcrop fetch` has written one beside the series; for
    other sites it is the acknowledgement of the network, and the page with that of the site.
    """
    texts, pages = dict[str, None](), dict[str, None]()  # without repetitions, in order
    for camera in series:
        folder = camera.path.absolute().parent
        files = [f / ACKNOWLEDGEMENT_FILE for f in (folder, folder.parent)]
        found = [f.read_text(encoding="utf-8") for f in files if f.is_file()]
        naming_site = [text for text in found if f"\n{camera.site}: " in text]
        if naming_site:
            texts[naming_site[0]] = None
        else:
            pages[f"{camera.site}: see {SITE_PAGE.format(site=camera.site)}"] = None
    if pages:
        texts["\n".join([ACKNOWLEDGEMENT, "", *pages, "", CITATION, ""])] = None
    return "\n".join(texts)


def write_series(
    path: Path, title: str, about: Mapping[str, Any], rows: Iterable[Mapping[str, Any]]
) -> None:
    """Write a summary file.

    Parameters
    ----------
    path : Path
        File to write, by convention ``{site}_{VEG}_{number}_{1day|3day}.csv``.
    title : str
        First comment line.
    about : mapping
        The other comment lines, such as ``{"Site": "mead2", "Lat": 41.16, …}``.
    rows : iterable of mapping
        Values by the names of `COLUMNS`, in time order. Missing values and NaN are written as NA,
        floats with 5 decimals, as the network does.
    """
    comments = ["", title, "", *(f"{key}: {value}" for key, value in about.items()), ""]
    with atomic_file(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        file.writelines(f"# {line}".rstrip() + "\n" for line in comments)
        writer = csv.DictWriter(file, COLUMNS, restval="NA", lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: _text(value) for name, value in row.items()} for row in rows)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.5f}" if math.isfinite(value) else "NA"
    return str(value)


def _site(path: Path, comments: Sequence[str]) -> dict[str, Any]:
    """Read the properties of the site from the comment lines."""
    properties: dict[str, str] = {}
    for line in comments:
        key, colon, value = line.lstrip("# ").partition(":")
        if colon:
            properties[key.strip().lower()] = value.strip(" :")

    def number(key: str, required: bool = True) -> float:
        try:
            return float(properties[key])
        except (KeyError, ValueError, OverflowError):
            if not required:
                return math.nan
            found = f"'{properties[key]}'" if key in properties else "no such line"
            raise DeepCropError(
                f"{path}: {found} for '# {key.title()}:' among the comment lines at the top, "
                f"where a number belongs; {_EXPECTED}."
            ) from None

    if not properties.get("site"):
        raise DeepCropError(
            f"{path}: no '# Site:' among the comment lines at the top; {_EXPECTED}."
        )
    roi = number("roi id number")
    if not 0 <= roi < 1e6:
        raise DeepCropError(f"{path}: ROI ID number {roi:g}; {_EXPECTED}.")
    period = number("aggregation period")
    if period not in (1, 3):
        raise DeepCropError(f"{path}: aggregation period of {period:g} days; {_EXPECTED}.")
    latitude, longitude = number("lat"), number("lon")
    if not (abs(latitude) <= 90 and abs(longitude) <= 360):
        raise DeepCropError(f"{path}: latitude {latitude:g}, longitude {longitude:g}; {_EXPECTED}.")
    return {
        "site": properties["site"],
        "veg_type": properties.get("veg type", ""),
        "roi": f"{int(roi):04d}",
        "latitude": latitude,
        "longitude": longitude,
        "elevation": number("elev", False),
        "utc_offset": number("utc offset", False),
        "period": int(period),
    }


def _table(
    path: Path, lines: Sequence[str], first: int, columns: Sequence[str]
) -> dict[str, list[str]]:
    """Select the columns that are read, as text; the first entry is from line ``first`` + 2."""
    rows = _rows(path, lines, first)
    heading = next(rows, [])
    needed = ("date", "image_count", *columns)
    missing = [name for name in needed if name not in heading]
    if missing:
        raise DeepCropError(
            f"{path}, line {first + 1}: no column {', '.join(missing)} in the heading; {_EXPECTED}."
        )
    wanted = {"snow_flag", "int_flag", "max_solar_elev", *needed}
    wanted.update(f"{kind}_{name}" for kind in ("smooth", "outlierflag") for name in columns)
    body = []
    for number, row in enumerate(rows, first + 2):
        if len(row) != len(heading):
            raise DeepCropError(
                f"{path}, line {number}: {len(row)} values where the heading has {len(heading)} "
                "columns. The file may have been cut short; fetch it again."
            )
        body.append(row)
    if not body:
        raise DeepCropError(f"{path}: no row below the heading; {_EXPECTED}.")
    return {name: [row[k] for row in body] for k, name in enumerate(heading) if name in wanted}


def _rows(path: Path, lines: Sequence[str], first: int) -> Iterator[list[str]]:
    try:
        yield from csv.reader(lines[first:])
    except csv.Error as error:
        raise DeepCropError(f"{path}: {error}; {_EXPECTED}.") from None


def _dates(path: Path, first: int, texts: Sequence[str]) -> NDArray[np.datetime64]:
    """Convert calendar dates, each later than the one before."""
    try:
        dates = np.array(texts, "datetime64[D]")
    except ValueError:
        dates = np.array([_date(path, first + 2 + k, text) for k, text in enumerate(texts)])
    later = np.diff(dates, prepend=dates[:1] - 1) > np.timedelta64(0, "D")  # False for NaT
    if not later.all():
        k = int(later.argmin())
        raise DeepCropError(
            f"{path}, line {first + 2 + k}: date '{texts[k]}', expected a day after the line above."
        )
    return dates


def _date(path: Path, line: int, text: str) -> np.datetime64:
    try:
        return np.datetime64(text, "D")
    except ValueError:
        raise DeepCropError(f"{path}, line {line}: date '{text}', expected YYYY-MM-DD.") from None


def _numbers(path: Path, first: int, name: str, texts: Sequence[str]) -> NDArray[np.float32]:
    """Convert the numbers of a column; missing values become NaN."""
    try:
        values = np.array([math.nan if text in _MISSING else float(text) for text in texts])
    except ValueError:
        k = next(k for k, text in enumerate(texts) if not _is_number(text))
        raise DeepCropError(
            f"{path}, line {first + 2 + k}: {name} is '{texts[k]}', expected a number or NA."
        ) from None
    values[values == _FILL] = math.nan
    return values.astype(np.float32)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return text in _MISSING
    return True


def _check_range(path: Path, first: int, name: str, values: NDArray[np.float32]) -> None:
    wrong = ~(np.isnan(values) | ((values >= 0) & (values <= 1)))
    if wrong.any():
        k = int(wrong.argmax())
        raise DeepCropError(
            f"{path}, line {first + 2 + k}: {name} is {values[k]:g}, expected 0 to 1."
        )
