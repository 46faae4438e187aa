"""The doctor: what is installed, which archives answer, which credentials are missing.

`examine` asks each archive for something small and public, all at once and without credentials. It
looks whether credentials are there, and never says what they are.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import shutil
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import certifi
import httpx
import numba
from packaging.requirements import Requirement
from planetary_computer.settings import Settings

import deepcrop
from deepcrop.sources import cropland, earthengine
from deepcrop.sources.archive import SENSORS
from deepcrop.sources.http import USER_AGENT, shown
from deepcrop.sources.phenocam import service as phenocam
from deepcrop.sources.stac import archive as stac_archive

OK, MISSING, FAILED = "ok", "missing", "failed"
STATES = (OK, MISSING, FAILED)
"""State of a finding: as it should be; not there, which bars only what needs it; broken."""

EXTRAS = {
    "dask": "maps on a Dask cluster",
    "labels": "labels as Parquet tables",
    "earthengine": "Google Earth Engine as an archive",
    "network": "the Deep-CroP network",
    "safe": "Sentinel-1 from GRD products on disk",
}
"""What each extra of the package gives; others have no user."""

LEAST_DISK = 5e9
"""Bytes of disk that a cube of 10 km x 10 km and a year needs, with room to work."""

LEAST_MEMORY = 2e9
"""Bytes of memory that fetching and mapping need."""

_ACCOUNT = (
    "Register a project at https://console.cloud.google.com/earth-engine, then run 'earthengine "
    "authenticate'."
)
_CERTIFICATES = {  # who looks where for the certificates to trust
    "httpx": ("SSL_CERT_FILE",),
    "requests": ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    "GDAL": ("GDAL_CURL_CA_BUNDLE",),
}
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "GDAL_HTTP_PROXY")
_FIELD = "year=2010&x=1551459&y=1909201"  # the example of CropScape's own help
_PAGE = 4_000_000  # bytes of an answer that are read at most


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes
    ----------
    what : str
        For example ``PhenoCam`` or ``extra safe``.
    state : str
        One of `STATES`.
    detail : str
        What was found: versions, the time that the answer took, the reason of a failure.
    advice : str
        What to do; empty where nothing is to be done.
    """

    what: str
    state: str
    detail: str
    advice: str = ""


@dataclass(frozen=True)
class Service:
    """An archive on the web, and how to tell that it is there.

    Attributes
    ----------
    name : str
        Name for people.
    url : str
        Something small there that everybody may read.
    expects : str
        Text that a right answer holds.
    variable : str
        Environment variable that names another address.
    if_refused : str
        What to do if it refuses.
    """

    name: str
    url: str
    expects: str
    variable: str
    if_refused: str = "The service refuses; a proxy may be in between."


def examine(folder: Path = Path(), timeout: float = 10.0) -> list[Finding]:
    """Look at everything that deepcrop needs.

    Parameters
    ----------
    folder : Path
        Where results would be written.
    timeout : float
        Seconds that each archive has to answer; they are asked at the same time.

    Returns
    -------
    list of Finding
        Installation, machine, archives, credentials.
    """
    return [
        *installation(),
        *machine(folder),
        *answers(services(), timeout),
        *credentials(),
        *network(),
    ]


# Installation ------------------------------------------------------------------------------------


def installation() -> list[Finding]:
    """Python, deepcrop and its packages."""
    found = [
        Finding("Python", OK, f"{platform.python_version()} on {platform.platform(terse=True)}"),
        Finding("deepcrop", OK, deepcrop.__version__),
    ]
    try:
        return found + packages(importlib.metadata.requires("deepcrop") or [])
    except importlib.metadata.PackageNotFoundError:
        advice = "Install it: pip install -e . in the folder of the source."
        return [*found, Finding("packages", FAILED, "deepcrop is not installed", advice)]


def packages(requirements: Iterable[str]) -> list[Finding]:
    """Compare what is installed with requirements such as ``pyarrow>=15; extra == 'labels'``."""
    wanted = [Requirement(text) for text in requirements]
    core = [need for need in wanted if need.marker is None or need.marker.evaluate({"extra": ""})]
    versions, problems = _compare(core)
    if problems:
        advice = "Install deepcrop again: pip install --upgrade deepcrop."
        found = [Finding("packages", FAILED, ", ".join(problems), advice)]
    else:
        found = [Finding("packages", OK, ", ".join(versions))]
    for extra, gives in EXTRAS.items():
        needs = [
            need
            for need in wanted
            if need not in core and need.marker and need.marker.evaluate({"extra": extra})
        ]
        versions, problems = _compare(needs)
        if problems or not needs:
            lacks = ", ".join(problems) or "not among the extras of this installation"
            advice = f"If you want {gives}: pip install 'deepcrop[{extra}]'."
            found.append(Finding(f"extra {extra}", MISSING, lacks, advice))
        else:
            found.append(Finding(f"extra {extra}", OK, f"{gives}: {', '.join(versions)}"))
    return found


def _compare(needs: Sequence[Requirement]) -> tuple[list[str], list[str]]:
    """Tell the versions of packages, and what is wrong with others."""
    versions, problems = [], []
    for need in needs:
        try:
            version = importlib.metadata.version(need.name)
        except importlib.metadata.PackageNotFoundError:
            problems.append(f"{need.name} is not installed")
            continue
        if need.specifier.contains(version, prereleases=True):
            versions.append(f"{need.name} {version}")
        else:
            problems.append(f"{need.name} is {version}, needed is {need.specifier}")
    return versions, problems


# Machine -----------------------------------------------------------------------------------------


def machine(folder: Path) -> list[Finding]:
    """Compiled kernels, disk and memory."""
    return [_kernels(), _disk(folder), *_memory()]


def _kernels() -> Finding:
    config = vars(numba.config)
    if config["DISABLE_JIT"]:
        advice = (
            "Unset NUMBA_DISABLE_JIT: without compiled kernels maps take a thousand times longer."
        )
        return Finding("kernels", FAILED, "not compiled, NUMBA_DISABLE_JIT is set", advice)
    package = Path(deepcrop.__file__).parent
    cache = Path(os.environ["NUMBA_CACHE_DIR"]) if os.environ.get("NUMBA_CACHE_DIR") else package
    detail = f"numba {numba.__version__}, {config['NUMBA_NUM_THREADS']} threads"
    if cache.exists() and not os.access(cache, os.W_OK):
        advice = "Set NUMBA_CACHE_DIR to a folder of yours, or each start compiles for a minute."
        return Finding("kernels", FAILED, f"{detail}; {cache} cannot be written", advice)
    kept = sum(1 for _ in cache.rglob("*.nbi")) if cache.exists() else 0
    return Finding("kernels", OK, f"{detail}; {kept} compiled kernels kept in {cache}")


def _disk(folder: Path) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding("disk", FAILED, f"{folder}: {error.strerror}", "Name a folder that exists.")
    detail = f"{free / 1e9:.0f} GB free in {folder.absolute()}"
    if free < LEAST_DISK:
        advice = f"Free some: a cube of 10 km x 10 km takes up to {LEAST_DISK / 1e9:.0f} GB."
        return Finding("disk", FAILED, detail, advice)
    return Finding("disk", OK, detail)


def _memory() -> list[Finding]:
    """Memory that is free; nothing where the system does not say (it does on Linux)."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvail"))
    except (OSError, StopIteration, ValueError):
        return []
    detail = f"{free / 1e9:.1f} GB free"
    if free < LEAST_MEMORY:
        advice = f"Close other programs; {LEAST_MEMORY / 1e9:.0f} GB are needed."
        return [Finding("memory", FAILED, detail, advice)]
    return [Finding("memory", OK, detail)]


# Archives ----------------------------------------------------------------------------------------


def services() -> list[Service]:
    """Name the archives, at the addresses where the sources look for them."""

    def address(variable: str, usual: str) -> str:
        return (os.environ.get(variable) or usual).rstrip("/")

    cameras = address("DEEPCROP_PHENOCAM", phenocam.API)
    host = address("DEEPCROP_CROPSCAPE", cropland.CROPSCAPE)
    tokens = str(Settings.get().sas_url).rstrip("/")
    return [
        Service("PhenoCam", f"{cameras}/cameras/?limit=1", '"results"', "DEEPCROP_PHENOCAM"),
        Service(
            "Planetary Computer",
            address("DEEPCROP_PC", stac_archive.PLANETARY_COMPUTER),
            '"stac_version"',
            "DEEPCROP_PC",
        ),
        *(
            Service(
                f"Planetary Computer tokens, {sensor}",
                f"{tokens}/{stac_archive.planetary_computer().collections[sensor]}",
                '"token"',
                "PC_SDK_SAS_URL",
                "It may want a key: name yours in PC_SDK_SUBSCRIPTION_KEY; this was asked without.",
            )
            for sensor in SENSORS  # a key has been wanted for the radar, at times
        ),
        Service(
            "Earth Search",
            address("DEEPCROP_EARTH_SEARCH", stac_archive.EARTH_SEARCH),
            '"stac_version"',
            "DEEPCROP_EARTH_SEARCH",
        ),
        Service(
            "CropScape",
            f"{host}/axis2/services/CDLService/GetCDLValue?{_FIELD}",
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


def answers(services: Sequence[Service], timeout: float) -> list[Finding]:
    """Ask all services at the same time, each once."""
    try:
        client = httpx.Client(
            timeout=timeout, follow_redirects=True, headers={"User-Agent": USER_AGENT}
        )
    except (ValueError, ImportError, OSError) as error:  # the text can hold a proxy's password
        reason = f"no client for the web ({type(error).__name__})"
        advice = "Mend the proxy (http_proxy, https_proxy) or the certificates (SSL_CERT_FILE)."
        return [Finding(service.name, FAILED, reason, advice) for service in services]
    with client, ThreadPoolExecutor(max(len(services), 1)) as pool:
        return list(pool.map(lambda service: _ask(client, service, timeout), services))


def _ask(client: httpx.Client, service: Service, timeout: float) -> Finding:
    start = time.monotonic()
    moved = os.environ.get(service.variable)
    other = f" Is the address in {service.variable} right?" if moved else ""

    def failed(reason: str, advice: str) -> Finding:
        return Finding(service.name, FAILED, f"{_shown(service.url)}: {reason}", advice + other)

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
                if len(page) > _PAGE:
                    break
    except httpx.TimeoutException:
        return failed(f"no answer in {timeout:g} s", "Try again later, or check the connection.")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = f"{type(error).__name__}, {error}"
        return failed(reason, "Check the connection, the firewall and the proxy.")
    return failed(
        "answers, but not as this service does", "A proxy or a login page may be in between."
    )


def _shown(url: str) -> str:
    try:
        return shown(url)
    except httpx.InvalidURL:
        return "no address of the web"


# Credentials and the way to the web --------------------------------------------------------------


def credentials() -> list[Finding]:
    """Whether credentials are there; they are neither used nor shown."""
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
            "there is one"
            if Settings.get().subscription_key
            else "none; needed only if its tokens are refused without",
        ),
    ]


def _google_account(authenticated: bool, default: bool) -> Finding:
    """Credentials for Earth Engine, in the order in which its library looks for them."""
    what = "Earth Engine credentials"
    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    if authenticated:
        return Finding(what, OK, "those of 'earthengine authenticate'")
    if named and not _stored(Path(named)):
        advice = f"Mend or unset GOOGLE_APPLICATION_CREDENTIALS. {_ACCOUNT}"
        return Finding(what, FAILED, f"{named} is not there, or no key file", advice)
    if named:
        return Finding(what, OK, "the key file in GOOGLE_APPLICATION_CREDENTIALS")
    if default:
        return Finding(what, OK, "those of 'gcloud auth application-default login'")
    return Finding(what, MISSING, "none", f"If you want Earth Engine: {_ACCOUNT}")


def _stored(path: Path) -> dict[str, object]:
    """Read a file of credentials; empty where there is none that can be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def network() -> list[Finding]:
    """Proxies and certificates, by the variables that name them; proxies can hold a password."""
    names = [name for name in _PROXIES if os.environ.get(name) or os.environ.get(name.upper())]
    proxies = Finding("proxy", OK, f"named in {', '.join(names)}" if names else "none")
    return [proxies, _certificates()]


def _certificates() -> Finding:
    """Whether all libraries trust the same certificates."""
    own = certifi.where()  # rasterio sets GDAL's variable to these where nobody has
    chosen = {
        library: next((n for n in names if os.environ.get(n, own) not in ("", own)), "")
        for library, names in _CERTIFICATES.items()
    }
    named = sorted(set(filter(None, chosen.values())))
    advice = (
        "If your network has certificates of its own, name their file in SSL_CERT_FILE, "
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
