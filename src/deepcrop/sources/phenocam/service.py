"""Query the PhenoCam network: cameras, regions of interest, midday images and summary files.

Everything comes from the network's web service, `API`; the environment variable
``DEEPCROP_PHENOCAM`` or an argument sets another address. Lists come in pages ``{count, next,
previous, results}``. The client sends at most one request per second, and downloads a cached file
again only if it has changed; see `deepcrop.sources.http`.

Data are CC BY 4.0. Publications that use them, or results made from them, must include the
acknowledgement of the network and of each site: `acknowledgement` composes the text.
"""

from __future__ import annotations

import logging
import math
import os
import re
import reprlib
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import httpx

from deepcrop.errors import MALFORMED, DeepCropError
from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import HttpClient, NotFound, redact_url
from deepcrop.sources.phenocam.summary_files import (
    ACKNOWLEDGEMENT,
    CITATION,
    CameraSeries,
    read_series,
)
from deepcrop.storage.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

API = "https://phenocam.nau.edu/api/"
"""Address of the network's web service."""

INTERVAL = 1.0
"""Minimum time from one request to the next, seconds."""

PAPER_YEARS = range(2017, 2021)
"""Years that the paper evaluates at its test sites."""

PAPER_MIN_YEARS = 2
"""Minimum number of `PAPER_YEARS` with images of a site; an assumption, as the paper gives none."""

_log = logging.getLogger(__name__)

T = TypeVar("T")

_MOST_PAGES = 1000  # of a list; real ones have one or two


@dataclass(frozen=True)
class Camera:
    """One camera of the network.

    Attributes
    ----------
    site : str
        Name of the site and its camera, for example ``mead2``.
    latitude, longitude : float
        Degrees, north and east positive; NaN if unknown.
    elevation, utc_offset : float
        Metres; hours from UTC to the camera's standard time. NaN if unknown.
    active : bool
        Whether the camera still sends images.
    first, last : date or None
        Dates of the first and last image.
    description : str
        Description of the site.
    orientation : str
        Viewing direction, for example ``NE``; empty if unknown.
    veg_type, secondary_veg_type : str
        Vegetation in view, for example ``AG``; empty if unknown.
    acknowledgement : str
        Acknowledgement that the site asks for; empty if none.
    """

    site: str
    latitude: float
    longitude: float
    elevation: float
    utc_offset: float
    active: bool
    first: date | None
    last: date | None
    description: str
    orientation: str
    veg_type: str
    secondary_veg_type: str
    acknowledgement: str


@dataclass(frozen=True)
class RoiList:
    """One region of interest of a camera: its masks over time, and the greenness inside them.

    Attributes
    ----------
    site, veg_type : str
        For example ``mead2``, ``AG``.
    number : int
        Sequence number, for example 1000.
    description : str
        Description of the region.
    active : bool
        Whether the network still adds data.
    first, last : date or None
        Dates of the first and last image.
    site_years : float
        Length of the series, years; NaN if unknown.
    missing_percent : float
        Share of days without data; NaN if unknown.
    one_day, three_day : str
        Addresses of the summary files; empty if the service gives none.
    """

    site: str
    veg_type: str
    number: int
    description: str
    active: bool
    first: date | None
    last: date | None
    site_years: float
    missing_percent: float
    one_day: str
    three_day: str

    @property
    def name(self) -> str:
        """Site, vegetation and number as in the network's file names."""
        return f"{self.site}_{self.veg_type}_{self.number:04d}"


@dataclass(frozen=True)
class MiddayImage:
    """The image nearest to noon of one day, and its address."""

    day: date
    url: str


@contextmanager
def connect(cache: Path | None = None, api: str | None = None) -> Iterator[PhenoCam]:
    """Connect to the network, with at most one request per second.

    Parameters
    ----------
    cache : Path, optional
        Folder for downloaded files.
    api : str, optional
        Address of the service; by default the value of ``DEEPCROP_PHENOCAM``, else `API`.
    """
    with HttpClient(cache, interval=INTERVAL) as client:
        yield PhenoCam(client, api)


class PhenoCam:
    """The network's web service.

    Parameters
    ----------
    client : HttpClient
        HTTP client, with its cache and rate; `connect` makes one that suits the network.
    api : str, optional
        Address of the service; by default the value of ``DEEPCROP_PHENOCAM``, else `API`.
    """

    def __init__(self, client: HttpClient, api: str | None = None) -> None:
        self.client = client
        self.api = (api or os.environ.get("DEEPCROP_PHENOCAM") or API).rstrip("/") + "/"
        try:
            self._base = httpx.URL(self.api)
        except httpx.InvalidURL as error:
            raise ArchiveError(
                f"The address of the PhenoCam service is not valid: {error}."
            ) from None

    def cameras(self) -> list[Camera]:
        """List all cameras.

        Raises
        ------
        ArchiveError
            If the service does not answer, or gives an unexpected answer.
        """
        return _usable(_camera, self._records("cameras/"))

    def camera(self, site: str) -> Camera:
        """Look up one camera by the name of its site.

        Raises
        ------
        NotFound
            If the network has no such site.
        ArchiveError
            As `cameras`.
        """
        url = f"{self.api}cameras/{_check_site_name(site)}/"
        return _camera(self._ask_about_site(site, lambda: self.client.json(url)), url)

    def roi_lists(self, site: str | None = None, veg_type: str | None = None) -> list[RoiList]:
        """List regions of interest: all, or those of a site or a vegetation type (``AG``, …).

        Raises
        ------
        ArchiveError
            As `cameras`.
        """
        return [
            roi
            for roi in self._all_roi_lists
            if site in (None, roi.site) and veg_type in (None, roi.veg_type)
        ]

    @cached_property
    def _all_roi_lists(self) -> list[RoiList]:
        return _usable(_roi_list, self._records("roilists/"))

    def midday_images(self, site: str) -> list[MiddayImage]:
        """List the colour images of a site nearest to noon, one per day, in time order.

        Raises
        ------
        NotFound, ArchiveError
            As `camera`.
        """
        path = f"middayimages/{_check_site_name(site)}/"
        images = {}
        for record, where in self._ask_about_site(site, lambda: list(self._records(path))):
            name = _get(record, "imgpath", _plain_text, where)
            if "_IR_" not in name:  # cameras with an infrared channel list its images too
                day = _get(record, "imgdate", date.fromisoformat, where)
                try:
                    images[day] = MiddayImage(day, str(self._base.join(name)))
                except httpx.InvalidURL:
                    raise _odd(where, "imgpath", name) from None
        return [images[day] for day in sorted(images)]

    def series_urls(self, roi: RoiList, period: int = 3) -> list[str]:
        """List addresses of a summary file: that given by the service, then the usual one."""
        listed = {1: roi.one_day, 3: roi.three_day}[period]
        pattern = f"/data/archive/{roi.site}/ROI/{roi.name}_{period}day.csv"
        # The archive is beside the service, also if a proxy adds a prefix to both.
        usual = str(self._base.join(".." + pattern))
        return [usual] if listed in ("", usual) else [listed, usual]

    def download_series(self, roi: RoiList, folder: Path, period: int = 3) -> Path:
        """Download a summary file, check it, and store it under its official name.

        A file that cannot be read is downloaded once more, in case the transfer was cut short.

        Parameters
        ----------
        roi : RoiList
        folder : Path
            Created if needed. A file of the same name is replaced.
        period : int
            Days that a value stands for: 1 or 3.

        Raises
        ------
        NotFound
            If the network has no such file.
        SceneError
            If this file is not the expected one; other files may be fine.
        ArchiveError
            If the service does not answer.
        """
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / f"{roi.name}_{period}day.csv"
        tried = []
        for url in self.series_urls(roi, period):
            try:
                try:
                    self._download(url, roi, period, target)
                except _BadFile:
                    self._download(url, roi, period, target)
                return target
            except NotFound:
                tried.append(redact_url(url))
        raise NotFound(
            f"PhenoCam has no {period}-day summary file of {roi.name}: nothing at "
            f"{' nor '.join(tried)}. The region may be too young, or not processed yet."
        )

    def _download(self, url: str, roi: RoiList, period: int, target: Path) -> None:
        content = self.client.bytes(url)
        with atomic_file(target) as part:
            part.write_bytes(content)
            try:
                series = read_series(part)
            except DeepCropError as error:
                raise _BadFile(
                    f"{redact_url(url)}: {error}".replace(str(part), target.name)
                ) from None
            _check_series(series, roi, period, url)

    def _ask_about_site(self, site: str, ask: Callable[[], T]) -> T:
        try:
            return ask()
        except NotFound:
            raise NotFound(
                f"PhenoCam has no site '{site}'. The names are listed at {self.api}cameras/; small "
                "and capital letters matter."
            ) from None

    def _records(self, path: str) -> Iterator[tuple[dict[str, Any], str]]:
        """Yield the records of all pages of a list, each with the address of its page.

        The service sends some lists in one piece, without pages.
        """
        base = self._base
        url = str(base.join(path).copy_merge_params({"limit": 1000}))
        visited: set[str] = set()
        found = 0
        while url:
            visited.add(url)
            page = self.client.json(url)
            if isinstance(page, list):
                page = {"count": len(page), "next": None, "results": page}
            results = _get(page, "results", _list, url)
            found += len(results)
            yield from ((record, url) for record in results)
            following = page.get("next")
            if not following:
                break
            try:
                # Behind a proxy the server may not know the scheme and host of the request.
                url = str(
                    httpx.URL(url)
                    .join(following)
                    .copy_with(scheme=base.scheme, host=base.host, port=base.port)
                )
            except (httpx.InvalidURL, *MALFORMED):
                raise _odd(url, "next", following) from None
            if url in visited or len(visited) >= _MOST_PAGES:
                raise ArchiveError(f"{redact_url(url)}: this page names itself as the next one.")
        count = _get(page, "count", int, url)
        if found != count:
            raise ArchiveError(
                f"{redact_url(url)}: the list has {count} entries, received {found}. Try again."
            )


class _BadFile(SceneError):
    """A summary file that cannot be read."""


def _check_series(series: CameraSeries, roi: RoiList, period: int, url: str) -> None:
    got, wanted = f"{series.name}_{series.period}day", f"{roi.name}_{period}day"
    if got != wanted:
        raise SceneError(f"{redact_url(url)}: the file is {got}, expected {wanted}.")


def _check_site_name(site: str) -> str:
    if not re.fullmatch(r"[\w.-]+", site):
        raise NotFound(f"'{site}' is not a name of a PhenoCam site, such as mead2.")
    return site


# Records ----------------------------------------------------------------------------------------


_NAMED = 20
"""Entries left out of a list that are named one by one."""


def _usable(
    make: Callable[[dict[str, Any], str], T], records: Iterable[tuple[dict[str, Any], str]]
) -> list[T]:
    """Convert the records of a list; one that cannot be used is left out, with a warning.

    Raises
    ------
    ArchiveError
        If none can be used.
    """
    made: list[T] = []
    problems: list[ArchiveError] = []
    for record, where in records:
        try:
            made.append(make(record, where))
        except ArchiveError as error:
            problems.append(error)
            if len(problems) <= _NAMED:
                _log.warning("%s This entry is left out.", error)
    if problems and not made:
        raise problems[0]
    if len(problems) > _NAMED:
        _log.warning("%d further entries are left out.", len(problems) - _NAMED)
    return made


def _camera(record: dict[str, Any], where: str) -> Camera:
    _require(record, ("Sitename", "Lat", "Lon"), where)
    about = record.get("sitemetadata") or {}
    if not isinstance(about, dict):
        raise _odd(where, "sitemetadata", about)
    return Camera(
        site=_get(record, "Sitename", _file_name_part, where),
        latitude=_get(record, "Lat", _within(90), where, math.nan),
        longitude=_get(record, "Lon", _within(360), where, math.nan),
        elevation=_get(record, "Elev", float, where, math.nan),
        utc_offset=_get(record, "utc_offset", float, where, math.nan),
        active=_get(record, "active", bool, where, False),
        first=_get(record, "date_first", date.fromisoformat, where, None),
        last=_get(record, "date_last", date.fromisoformat, where, None),
        description=_get(about, "site_description", _plain_text, where, ""),
        orientation=_get(about, "camera_orientation", _plain_text, where, ""),
        veg_type=_get(about, "primary_veg_type", _plain_text, where, ""),
        secondary_veg_type=_get(about, "secondary_veg_type", _plain_text, where, ""),
        acknowledgement=_get(about, "site_acknowledgements", _plain_text, where, "").strip(),
    )


def _roi_list(record: dict[str, Any], where: str) -> RoiList:
    _require(record, ("site", "roitype", "sequence_number"), where)
    return RoiList(
        site=_get(record, "site", _file_name_part, where),
        veg_type=_get(record, "roitype", _file_name_part, where),
        number=_get(record, "sequence_number", int, where),
        description=_get(record, "description", _plain_text, where, ""),
        active=_get(record, "active", bool, where, True),
        first=_get(record, "first_date", date.fromisoformat, where, None),
        last=_get(record, "last_date", date.fromisoformat, where, None),
        site_years=_get(record, "site_years", float, where, math.nan),
        missing_percent=_get(record, "missing_data_pct", float, where, math.nan),
        one_day=_get(record, "one_day_summary", _plain_text, where, ""),
        three_day=_get(record, "three_day_summary", _plain_text, where, ""),
    )


_REQUIRED: Any = object()


def _require(record: Any, keys: Sequence[str], where: str) -> None:
    """Raise `ArchiveError` unless a record has these fields, which may be null."""
    missing = [key for key in keys if not isinstance(record, dict) or key not in record]
    if missing:
        raise ArchiveError(
            f"{redact_url(where)}: an entry without '{missing[0]}'. The service may have changed, "
            "or this is not the address of a PhenoCam service."
        )


def _get(
    record: dict[str, Any],
    key: str,
    convert: Callable[[Any], T],
    where: str,
    default: T = _REQUIRED,
) -> T:
    """Convert a field of a record; ``default`` if it is absent, null or empty."""
    if default is _REQUIRED:
        _require(record, (key,), where)
    value = record.get(key)
    if value in (None, "") and default is not _REQUIRED:
        return default
    try:
        return convert(value)
    except MALFORMED:
        raise _odd(where, key, value) from None


def _odd(where: str, key: str, value: Any) -> ArchiveError:
    return ArchiveError(
        f"{redact_url(where)}: '{key}' is {reprlib.repr(value)}, which cannot be converted."
    )


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):  # list() would take a text apart, character by character
        raise TypeError
    return value


def _plain_text(value: Any) -> str:
    text = str(value)
    text.encode()  # half characters cannot be written down
    return text


def _file_name_part(text: Any) -> str:
    """Check a name that becomes part of file names: it must not lead to another folder."""
    if not re.fullmatch(r"\w[\w.-]*", str(text)):
        raise ValueError(text)
    return str(text)


def _within(most: float) -> Callable[[Any], float]:
    def convert(value: Any) -> float:
        if not abs(degrees := float(value)) <= most:
            raise ValueError(value)
        return degrees

    return convert


# Acknowledgement --------------------------------------------------------------------------------


def acknowledgement(cameras: Iterable[Camera]) -> str:
    """Compose the acknowledgement for results made from these cameras.

    It holds the acknowledgement of the network, those of the sites, and the citations.
    """
    return _compose(_site_acknowledgements(cameras))


def write_acknowledgement(path: Path, cameras: Iterable[Camera]) -> None:
    """Write `acknowledgement` to a text file.

    Sites that the file already names are kept, because their series are still beside it.
    """
    named = {}
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        named = dict(line.split(": ", 1) for line in lines if re.match(r"[\w.-]+: ", line))
    with atomic_file(path) as part:
        part.write_text(_compose(named | _site_acknowledgements(cameras)), encoding="utf-8")


def _site_acknowledgements(cameras: Iterable[Camera]) -> dict[str, str]:
    """Collect the acknowledgement of each site, in one line."""
    return {
        camera.site: " ".join(camera.acknowledgement.split()) or "no acknowledgement of its own."
        for camera in cameras
    }


def _compose(sites: Mapping[str, str]) -> str:
    lines = [f"{site}: {text}" for site, text in sorted(sites.items())]
    return "\n".join([ACKNOWLEDGEMENT, "", *lines, "", CITATION, ""])


# The paper's sites ------------------------------------------------------------------------------


def paper_candidates(roi_lists: Sequence[RoiList]) -> list[RoiList]:
    """Select, by metadata, the regions of interest from which the paper's 60 sites can come.

    These are crops (``AG``) with images in at least `PAPER_MIN_YEARS` of `PAPER_YEARS`. The paper
    does not restrict the geographic region. `deepcrop.cameras.paper_sites` screens their series.
    """
    return [
        roi
        for roi in roi_lists
        if roi.veg_type == "AG"
        and roi.first is not None
        and roi.last is not None
        and sum(roi.first.year <= year <= roi.last.year for year in PAPER_YEARS) >= PAPER_MIN_YEARS
    ]
