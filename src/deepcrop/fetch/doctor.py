"""Check the installation, the machine, the archives and the credentials (``deepcrop doctor``).

`examine` sends each archive one small public request, all at the same time and without credentials.
It checks whether credentials exist, and never prints them. `versions` collects the versions that a
bug report needs.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import certifi
import httpx
import netCDF4
import numba
import pyproj
import rasterio
import shapely
from packaging.requirements import Requirement
from planetary_computer.settings import Settings

from deepcrop._version import __version__
from deepcrop.sources import cropland
from deepcrop.sources.archive import SENSORS, ArchiveError
from deepcrop.sources.earthengine import connection as earthengine
from deepcrop.sources.http import USER_AGENT, redact_url
from deepcrop.sources.phenocam import service as phenocam
from deepcrop.sources.stac import access, known_archives
from deepcrop.sources.stac.ground_range import GEOID_ADVICE, GEOID_GRID, has_geoid

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

OK, MISSING, FAILED = "ok", "missing", "failed"
STATES = (OK, MISSING, FAILED)
"""State of a finding: fine; missing, which only affects what needs it; failed, to be fixed."""

EXTRAS = {
    "dask": "maps as lazy Dask arrays",
    "cluster": "maps on a Dask cluster",
    "parcels": "parcels from vector files",
    "labels": "labels as Parquet tables",
    "earthengine": "Google Earth Engine as an archive",
    "network": "the Deep-CroP network",
    "viewer": "the map viewer in a browser",
    "safe": "Sentinel-1 from GRD products: on disk, and of the Copernicus Data Space",
}
"""Extras of the package, and what each of them is for."""

MIN_DISK = 5e9
"""Bytes of disk that a cube of 10 km x 10 km and one year needs, with temporary files."""

MIN_MEMORY = 2e9
"""Bytes of free memory that fetching and mapping need."""

_ACCOUNT = (
    "Register a project at https://console.cloud.google.com/earth-engine, then run 'earthengine "
    "authenticate'."
)
_CERTIFICATES = {  # environment variables that name the trusted certificates, by library
    "httpx": ("SSL_CERT_FILE",),
    "requests": ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "GDAL": ("GDAL_CURL_CA_BUNDLE",),
}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "GDAL_HTTP_PROXY")
_CROPSCAPE_QUERY = "year=2010&x=1551459&y=1909201"  # the example in CropScape's documentation
_MAX_BYTES = 4_000_000  # of an answer that are read


@dataclass(frozen=True)
class Finding:
    """Result of one check.

    Attributes
    ----------
    subject : str
        What was checked, for example ``PhenoCam`` or ``extra safe``.
    state : str
        One of `STATES`.
    detail : str
        What was found: versions, the response time, the reason of a failure.
    advice : str
        What to do; empty if there is nothing to do.
    """

    subject: str
    state: str
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class Service:
    """A web service, and the request that checks it.

    Attributes
    ----------
    name : str
        Name for messages.
    url : str
        Address of something small and public.
    expects : str
        Text that a correct answer contains.
    variable : str
        Environment variable that sets another address.
    if_refused : str
        What to do if the service refuses.
    """

    name: str
    url: str
    expects: str
    variable: str
    if_refused: str = "The service refuses; a proxy may be in between."


def examine(folder: Path = Path(), timeout: float = 10.0) -> list[Finding]:
    """Check everything that deepcrop needs.

    Parameters
    ----------
    folder : Path
        Folder for results, of which the free disk space is checked.
    timeout : float
        Seconds that each archive has to answer; all are asked at the same time.

    Returns
    -------
    list of Finding
        Installation, machine, archives, credentials.
    """
    return [
        *installation(),
        *machine(folder),
        *ask_services(services(), timeout),
        *credentials(),
        copernicus_radar(),
        *network(),
    ]


# Installation ------------------------------------------------------------------------------------


def installation() -> list[Finding]:
    """Check Python, deepcrop, its packages and its extras."""
    found = [
        Finding("Python", OK, f"{platform.python_version()} on {platform.platform(terse=True)}"),
        Finding("deepcrop", OK, __version__),
    ]
    try:
        return found + packages(_requirements())
    except importlib.metadata.PackageNotFoundError:
        advice = "Install deepcrop: pip install -e . in the folder of the source."
        return [*found, Finding("packages", FAILED, "deepcrop is not installed", advice)]


def _requirements() -> list[str]:
    return importlib.metadata.requires("deepcrop") or []


def packages(requirements: Iterable[str]) -> list[Finding]:
    """Compare the installed packages with requirements, such as ``torch>=2; extra == 'network'``.

    Parameters
    ----------
    requirements : iterable of str
        Requirements as in the package's metadata.

    Returns
    -------
    list of Finding
        One for the required packages, and one for each of `EXTRAS`.
    """
    wanted = [Requirement(text) for text in requirements]
    core = [need for need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})]
    fitting, problems = _compare(core)
    if problems:
        advice = "Install deepcrop again: pip install --upgrade deepcrop."
        found = [Finding("packages", FAILED, ", ".join(problems), advice)]
    else:
        found = [Finding("packages", OK, f"all {len(fitting)} that are required")]
    for extra, purpose in EXTRAS.items():
        needs = [
            need
            for need in wanted
            if need not in core and need.marker and need.marker.evaluate({"extra": extra})
        ]
        fitting, problems = _compare(needs)
        if problems or not needs:
            lacks = ", ".join(problems) or "not among the extras of this installation"
            advice = f"If you want {purpose}: pip install 'deepcrop[{extra}]'."
            found.append(Finding(f"extra {extra}", MISSING, lacks, advice))
        else:
            found.append(Finding(f"extra {extra}", OK, f"{purpose}: {', '.join(fitting)}"))
    return found


def _compare(needs: Sequence[Requirement]) -> tuple[list[str], list[str]]:
    """Split requirements into those that are fulfilled, with versions, and problems."""
    fitting, problems = [], []
    for need in needs:
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{need.name} is not installed")
            continue
        if need.specifier.contains(version, prereleases=True):
            fitting.append(f"{need.name} {version}")
        else:
            problems.append(f"{need.name} is {version}, needed is {need.specifier}")
    return fitting, problems


def versions() -> dict[str, str]:
    """Collect the versions that a bug report needs.

    Returns
    -------
    dict of str to str
        deepcrop, Python, the platform, every package that deepcrop or one of its `EXTRAS` requires,
        and the libraries in C that matter; ``not installed`` for packages that are missing.

    Examples
    --------
    >>> list(versions())[:3]
    ['deepcrop', 'Python', 'platform']
    """
    found = {
        "deepcrop": __version__,
        "Python": platform.python_version(),
        "platform": platform.platform(),
    }
    try:
        requirements = [Requirement(text) for text in _requirements()]
    except importlib.metadata.PackageNotFoundError:
        requirements = []
    environments = [{"extra": extra} for extra in ("", *EXTRAS)]
    for need in requirements:
        if need.marker is None or any(map(need.marker.evaluate, environments)):
            found[need.name] = _version(need.name)
    return found | _library_versions()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _library_versions() -> dict[str, str]:
    """Versions of the libraries in C, which those of the Python packages do not determine."""
    return {
        "GDAL": rasterio.__gdal_version__,
        "PROJ": pyproj.proj_version_str,
        "GEOS": shapely.geos_version_string,
        "netCDF-C": netCDF4.__netcdf4libversion__,
        "HDF5": netCDF4.__hdf5libversion__,
    }


# Machine -----------------------------------------------------------------------------------------


def machine(folder: Path) -> list[Finding]:
    """Check compiled kernels, disk and memory."""
    return [_kernels(), _disk(folder), *_memory()]


def _kernels() -> Finding:
    config = vars(numba.config)
    if config["DISABLE_JIT"]:
        advice = (
            "Unset NUMBA_DISABLE_JIT: without compiled kernels maps take a thousand times longer."
        )
        return Finding("kernels", FAILED, "not compiled, NUMBA_DISABLE_JIT is set", advice)
    package = Path(__file__).parents[1]
    cache = Path(os.environ["NUMBA_CACHE_DIR"]) if os.environ.get("NUMBA_CACHE_DIR") else package
    detail = f"numba {numba.__version__}, {config['NUMBA_NUM_THREADS']} threads"
    if cache.exists() and not os.access(cache, os.W_OK):
        advice = "Set NUMBA_CACHE_DIR to a folder you own, or each start compiles for a minute."
        return Finding("kernels", FAILED, f"{detail}; {cache} cannot be written", advice)
    kept = sum(1 for _ in cache.rglob("*.nbi")) if cache.exists() else 0
    return Finding("kernels", OK, f"{detail}; {kept} compiled kernels kept in {cache}")


def _disk(folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("disk", FAILED, f"{folder}: {error.strerror}", "Name a folder that exists.")
    detail = f"{free / 1e9:.0f} GB free in {folder.absolute()}"
    if free < MIN_DISK:
        advice = f"Free some disk: a cube of 10 km x 10 km takes up to {MIN_DISK / 1e9:.0f} GB."
        return Finding("disk", FAILED, detail, advice)
    return Finding("disk", OK, detail)


def _memory() -> list[Finding]:
    """Check the free memory; an empty list where the system does not report it (Linux does)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError):
        return []
    detail = f"{free / 1e9:.1f} GB free"
    if free < MIN_MEMORY:
        advice = f"Close other programs; {MIN_MEMORY / 1e9:.0f} GB are needed."
        return [Finding("memory", FAILED, detail, advice)]
    return [Finding("memory", OK, detail)]


# Archives ----------------------------------------------------------------------------------------


def services() -> list[Service]:
    """List the web services, at the addresses where the sources look for them."""

    def address(variable: str, usual: str) -> str:
        return (os.environ.get(variable) or usual).rstrip("/")

    cameras = address("DEEPCROP_PHENOCAM", phenocam.API)
    host = address("DEEPCROP_CROPSCAPE", cropland.CROPSCAPE)
    tokens = str(Settings.get().sas_url).rstrip("/")
    return [
        Service("PhenoCam", f"{cameras}/cameras/?limit=1", '"results"', "DEEPCROP_PHENOCAM"),
        Service(
            "Planetary Computer",
            address("DEEPCROP_PC", known_archives.PLANETARY_COMPUTER),
            '"stac_version"',
            "DEEPCROP_PC",
        ),
        *(
            Service(
                f"Planetary Computer tokens, {sensor}",
                f"{tokens}/{known_archives.planetary_computer().collections[sensor][0]}",
                '"token"',
                "PC_SDK_SAS_URL",
                "It may require a key: set yours in PC_SDK_SUBSCRIPTION_KEY; this check used none.",
            )
            for sensor in SENSORS  # the radar has required a key at times
        ),
        Service(
            "Copernicus Data Space",
            address("DEEPCROP_CDSE", known_archives.COPERNICUS),
            '"stac_version"',
            "DEEPCROP_CDSE",
        ),
        Service(
            "Earth Search",
            address("DEEPCROP_EARTH_SEARCH", known_archives.EARTH_SEARCH),
            '"stac_version"',
            "DEEPCROP_EARTH_SEARCH",
        ),
        Service(
            "HLS of NASA",
            address("DEEPCROP_NASA", known_archives.NASA),
            '"stac_version"',
            "DEEPCROP_NASA",
        ),
        Service(
            "CropScape",
            f"{host}/axis2/services/CDLService/GetCDLValue?{_CROPSCAPE_QUERY}",
            "GetCDLValueResponse",
            "DEEPCROP_CROPSCAPE",
        ),
        Service(
            "Earth Engine",
            f"{address('DEEPCROP_EARTH_ENGINE', earthengine.ADDRESS)}/$discovery/rest?version=v1",
            "earthengine",
            "DEEPCROP_EARTH_ENGINE",
        ),
    ]


def ask_services(services: Sequence[Service], timeout: float) -> list[Finding]:
    """Send each service one request, all at the same time."""
    try:
        client = httpx.Client(
            timeout=timeout, follow_redirects=True, headers={"User-Agent": USER_AGENT}
        )
    except (ValueError, ImportError, OSError) as error:  # its text can hold a proxy's password
        reason = f"HTTP requests are impossible ({type(error).__name__})"
        advice = "Fix the proxy (http_proxy, https_proxy) or the certificates (SSL_CERT_FILE)."
        return [Finding(service.name, FAILED, reason, advice) for service in services]
    with client, ThreadPoolExecutor(max(len(services), 1)) as pool:
        return list(pool.map(lambda service: _ask(client, service, timeout), services))


def _ask(client: httpx.Client, service: Service, timeout: float) -> Finding:
    start = time.monotonic()
    changed = os.environ.get(service.variable)
    hint = f" Is the address in {service.variable} right?" if changed else ""

    def failed(reason: str, advice: str) -> Finding:
        return Finding(service.name, FAILED, f"{redact_url(service.url)}: {reason}", advice + hint)

    try:
        with client.stream("GET", service.url) as response:
            took = time.monotonic() - start
            status = response.status_code
            if status >= 500 or status == 429:
                return failed(f"status {status}", "The service is down or busy; try again later.")
            if status != 200:
                return failed(f"status {status}", service.if_refused)
            page = b""
            for chunk in response.iter_bytes():
                page += chunk
                if service.expects.encode() in page:
                    return Finding(service.name, OK, f"answers in {took:.2f} s")
                if time.monotonic() - start > timeout:
                    raise httpx.ReadTimeout("the page does not end")
                if len(page) > _MAX_BYTES:
                    break
    except httpx.TimeoutException:
        return failed(f"no answer in {timeout:g} s", "Try again later, or check the connection.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = f"{type(error).__name__}, {error}"
        return failed(reason, "Check the connection, the firewall and the proxy.")
    return failed(
        "answers, but not as this service does", "A proxy or a login page may be in between."
    )


# Credentials, proxies and certificates -----------------------------------------------------------


def credentials() -> list[Finding]:
    """Check whether credentials exist; they are neither used nor printed."""
    stored = _stored(Path("~/.config/earthengine/credentials").expanduser())
    gcloud = os.environ.get("CLOUDSDK_CONFIG") or Path("~/.config/gcloud").expanduser()
    default = _stored(Path(gcloud) / "application_default_credentials.json")
    project = (
        os.environ.get("GOOGLE_CLOUD_PROJECT")
        or stored.get("project")
        or default.get("quota_project_id")
    )
    return [
        _google_account(bool(stored.get("refresh_token")), bool(default)),
        Finding("Earth Engine project", OK, str(project))
        if project
        else Finding(
            "Earth Engine project",
            MISSING,
            "none",
            "If you want Earth Engine: set GOOGLE_CLOUD_PROJECT, or run 'earthengine set_project'.",
        ),
        Finding(
            "Planetary Computer key",
            OK,
            "set"
            if Settings.get().subscription_key
            else "none; needed only if its tokens are refused without one",
        ),
        _copernicus_keys(),
        _nasa_token(),
    ]


def _nasa_token() -> Finding:
    """Check that there is a token for HLS of NASA, and that it can be sent."""
    subject, name = "NASA Earthdata token", known_archives.NASA_TOKEN
    if not os.environ.get(name, "").strip():
        advice = (
            "If you want HLS of NASA (hls-nasa): register at https://urs.earthdata.nasa.gov, make "
            f"a token there (free), and set {name} to it."
        )
        return Finding(subject, MISSING, "none", advice)
    try:
        access.BearerToken(name, (), "hls-nasa").check()
    except ArchiveError as error:
        return Finding(subject, FAILED, str(error), "Set it to the token alone, without quotes.")
    return Finding(subject, OK, "set; not tried")


def _copernicus_keys() -> Finding:
    """Check the S3 keys for the Copernicus Data Space."""
    subject = "Copernicus Data Space keys"
    names = (access.KEY, access.SECRET)
    missing = [name for name in names if not os.environ.get(name, "").strip()]
    if not missing:
        return Finding(subject, OK, "set; not tried")
    if len(missing) == 1:
        detail = f"{missing[0]} is not set, the other is"
        return Finding(subject, FAILED, detail, known_archives.COPERNICUS_KEYS)
    advice = f"If you want Copernicus Data Space (cdse): {known_archives.COPERNICUS_KEYS}"
    return Finding(subject, MISSING, "none", advice)


def copernicus_radar() -> Finding:
    """Check for the geoid that radar of the Copernicus Data Space needs, beside the extra safe."""
    subject = "Copernicus Data Space radar"
    if not has_geoid("EPSG:32631"):
        return Finding(
            subject, MISSING, f"PROJ lacks {GEOID_GRID}", f"If you want it: {GEOID_ADVICE}"
        )
    return Finding(subject, OK, f"PROJ has {GEOID_GRID}")


def _google_account(authenticated: bool, default: bool) -> Finding:
    """Check the credentials for Earth Engine, in the order in which its library looks for them."""
    subject = "Earth Engine credentials"
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if authenticated:
        return Finding(subject, OK, "those of 'earthengine authenticate'")
    if named and not _stored(Path(named)):
        advice = f"Fix or unset GOOGLE_APPLICATION_CREDENTIALS. {_ACCOUNT}"
        return Finding(subject, FAILED, f"{named} does not exist, or is not a key file", advice)
    if named:
        return Finding(subject, OK, "the key file in GOOGLE_APPLICATION_CREDENTIALS")
    if default:
        return Finding(subject, OK, "those of 'gcloud auth application-default login'")
    return Finding(subject, MISSING, "none", f"If you want Earth Engine: {_ACCOUNT}")


def _stored(path: Path) -> dict[str, object]:
    """Read a credentials file; empty if it does not exist or cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def network() -> list[Finding]:
    """Check proxies and certificates; a proxy is not printed, because it can hold a password."""
    names = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.upper())]
    proxies = Finding("proxy", OK, f"named in {', '.join(names)}" if names else "none")
    return [proxies, _certificates()]


def _certificates() -> Finding:
    """Check whether all libraries trust the same certificates."""
    own = certifi.where()  # rasterio sets GDAL's variable to these if it is not set
    chosen = {
        library: next((n for n in names if os.environ.get(n, own) not in ("", own)), "")
        for library, names in _CERTIFICATES.items()
    }
    named = sorted(set(filter(None, chosen.values())))
    advice = (
        "If your network uses its own certificates, name their file in SSL_CERT_FILE, "
        "REQUESTS_CA_BUNDLE and GDAL_CURL_CA_BUNDLE."
    )
    absent = [
        f"{name}={os.environ[name]}" for name in named if not Path(os.environ[name]).is_file()
    ]
    if absent:
        return Finding("certificates", FAILED, f"no such file: {', '.join(absent)}", advice)
    if named and not all(chosen.values()):
        detail = ", ".join(f"{k} uses {v or 'its own'}" for k, v in chosen.items())
        return Finding("certificates", MISSING, detail, advice)
    detail = f"named in {', '.join(named)}" if named else "those of the libraries"
    return Finding("certificates", OK, detail)
