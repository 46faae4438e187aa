"""A polite HTTP client: paced, patient, with a cache on disk that asks whether it is still current.

Archives of public data are run on small machines. A client therefore says who it is, leaves time
between requests, waits as long as the server asks, and does not fetch twice what has not changed.
"""

from __future__ import annotations

import builtins
import hashlib
import json
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import tenacity

from deepcrop._version import __version__
from deepcrop.sources.archive import ArchiveError
from deepcrop.storage.files import atomic_file

USER_AGENT = f"deepcrop/{__version__}"

LONGEST_PAUSE = 120.0
"""Seconds; a server that asks for a longer pause is left alone."""

T = TypeVar("T")

_BUSY = frozenset((429, 500, 502, 503, 504))
_SECRET = re.compile(r"sig|token|key|secret|passw|cred|auth", re.IGNORECASE)
_CONDITIONS = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}


class NotFound(ArchiveError):
    """The server answers, and has nothing at this address."""


class Refused(ArchiveError):
    """The server answers, and does not give what was asked for to us (status 401, 403)."""


@dataclass
class Web:
    """Use as a context manager, from as many threads as you like.

    Attributes
    ----------
    cache : Path, optional
        Folder that keeps what was fetched; made if need be. An answer with an ``ETag`` or a
        ``Last-Modified`` date is fetched again only when the server says that it has changed.
        Without a folder nothing is kept.
    interval : float
        Least time from one request to the next, seconds.
    timeout : float
        Longest silence of the server, seconds.
    tries : int
        How often a busy server (429, 500, 502, 503, 504) or a broken connection is tried in all.
    pause : float
        Time before the second try, seconds. Doubles from try to try, up to a minute; where the
        server asks for more (``Retry-After``), it gets more.
    """

    cache: Path | None = None
    interval: float = 0.0
    timeout: float = 60.0
    tries: int = 6
    pause: float = 1.0
    _client: httpx.Client = field(init=False, repr=False)
    _next_start: float = field(init=False, repr=False, default=0.0)
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)
    _file_locks: defaultdict[Path, threading.Lock] = field(
        init=False, repr=False, default_factory=lambda: defaultdict(threading.Lock)
    )

    def __post_init__(self) -> None:
        self._client = httpx.Client(
            timeout=self.timeout,
            follow_redirects=True,
            headers={"User-Agent": USER_AGENT},
            event_hooks={"request": [self._pace]},  # called for redirected requests too
        )

    def __enter__(self) -> Web:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def json(self, url: str, /, **params: str | int | float) -> Any:
        """Fetch JSON.

        Parameters
        ----------
        url : str
            Address; may have a query of its own.
        **params
            Added to the query.

        Raises
        ------
        NotFound
            If there is nothing at the address.
        ArchiveError
            If the server does not answer or refuses, or the answer is no JSON.
        """
        text = self.bytes(url, **params)
        try:
            return json.loads(text)
        except ValueError:
            raise ArchiveError(
                f"{shown(url)}: the answer is not JSON but begins {text[:60]!r}. Is this the "
                "address of the service, and not of a web page?"
            ) from None

    def text(self, url: str, /, **params: str | int | float) -> str:
        """Fetch text in UTF-8; parameters and errors as `json`."""
        try:
            return self.bytes(url, **params).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ArchiveError(f"{shown(url)}: the answer is not text in UTF-8.") from None

    def bytes(self, url: str, /, **params: str | int | float) -> builtins.bytes:
        """Fetch anything small; parameters and errors as `json`."""
        if self.cache is not None:
            return self.file(url, **params).read_bytes()
        return self._patiently(_address(url, params), self._content)

    def file(self, url: str, /, **params: str | int | float) -> Path:
        """Fetch a file of any size into the cache.

        Returns
        -------
        Path
            The complete file. Leave it as it is: it belongs to the cache.

        Raises
        ------
        NotFound, ArchiveError
            As `json`.
        """
        if self.cache is None:
            raise ValueError("Web.file needs a cache folder")
        address = _address(url, params)
        path = self.cache / address.host / _file_name(address)
        with self._lock:
            lock = self._file_locks[path]
        with lock:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._patiently(address, lambda address: self._refresh(address, path))
        return path

    # One request ----------------------------------------------------------------------------------

    def _content(self, url: httpx.URL) -> builtins.bytes:
        with self._answer(url, {}) as response:
            return response.read()

    def _refresh(self, url: httpx.URL, path: Path) -> None:
        """Bring ``path`` up to date."""
        record = path.with_name(path.name + ".json")
        with self._answer(url, _conditions(path, record)) as response:
            if response.status_code == 304:
                return
            with atomic_file(path) as part:
                with part.open("wb") as file:
                    for chunk in response.iter_bytes():  # raises where the answer ends too early
                        file.write(chunk)
                size = part.stat().st_size
                record.unlink(missing_ok=True)  # never the validators of one answer beside another
        validators = {
            name: response.headers[name]
            for name in _CONDITIONS.values()
            if name in response.headers
        }
        with atomic_file(record) as part:
            part.write_text(json.dumps({"url": shown(url), "size": size, **validators}))

    @contextmanager
    def _answer(self, url: httpx.URL, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Give an answer that is good: 200, or 304 where that was asked for."""
        with self._client.stream("GET", url, headers=headers) as response:
            status, name = response.status_code, shown(response.url)
            if status != 200:
                response.read()  # so that the connection can be used again
            if status in _BUSY:
                raise _Busy(name, status, pause_asked_for(response))
            if status in (404, 410):
                raise NotFound(f"{name}: the server has nothing there (status {status}).")
            if status in (401, 403):
                raise Refused(
                    f"{name}: refused (status {status}). Check the address, and the credentials "
                    "if the archive needs any."
                )
            if status != 200 and not (status == 304 and headers):
                raise ArchiveError(f"{name}: status {status}. Check the address.")
            yield response

    # Pace and patience ----------------------------------------------------------------------------

    def _pace(self, _request: httpx.Request) -> None:
        with self._lock:
            start = max(time.monotonic(), self._next_start)
            self._next_start = start + self.interval
        time.sleep(max(start - time.monotonic(), 0.0))

    def _patiently(self, url: httpx.URL, request: Callable[[httpx.URL], T]) -> T:
        """Try again while that can help; say so where it did not."""
        growing = tenacity.wait_exponential(multiplier=self.pause, max=60)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.tries),
            wait=lambda state: max(growing(state), _asked_for(state)),
            retry=tenacity.retry_if_exception(_can_pass),
            reraise=True,
        )
        try:
            return retrying(request, url)
        except _Busy as error:
            again = f" and asks for a pause of {error.pause:.0f} s" if error.pause else ""
            raise ArchiveError(
                f"{error.url}: the server is busy or broken (status {error.status}){again}. "
                "Try again later."
            ) from None
        except httpx.HTTPError as error:
            raise ArchiveError(
                f"{shown(url)}: no complete answer ({type(error).__name__}: {error}). Check the "
                "address and the connection, or try again later."
            ) from None


def shown(url: str | httpx.URL) -> str:
    """Address for messages and records: without user, password, tokens and signatures."""
    address = httpx.URL(url).copy_with(username=None, password=None, fragment=None)
    items = address.params.multi_items()
    if not items:
        return str(address)
    query = "&".join(f"{key}={'…' if _SECRET.search(key) else value}" for key, value in items)
    return f"{address.copy_with(query=None)}?{query}"


@dataclass
class _Busy(Exception):
    """The server may serve later."""

    url: str
    status: int
    pause: float


def _can_pass(error: BaseException) -> bool:
    if isinstance(error, _Busy):
        return error.pause <= LONGEST_PAUSE
    # An answer that was compressed and ends too early cannot be decoded.
    return isinstance(error, httpx.TransportError | httpx.DecodingError)


def _asked_for(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.pause if isinstance(error, _Busy) else 0.0


def pause_asked_for(response: httpx.Response) -> float:
    """Seconds that a busy server asks to wait (``Retry-After``: seconds, or a date); 0 if none."""
    retry_after = response.headers.get("Retry-After", "")
    if retry_after.strip().isdigit():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    return max((until.astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)


def _address(url: str, params: dict[str, str | int | float]) -> httpx.URL:
    try:
        address = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ArchiveError(f"An address of the web is wrong: {error}.") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise ArchiveError(f"'{shown(address)}' is no address of the web; expected https://….")
    return address.copy_merge_params(params) if params else address


def _file_name(url: httpx.URL) -> str:
    """Name in the cache: what people recognise, and a digest of the address that tells it apart.

    Signatures change from one request to the next for the same file, so they do not count.
    """
    digest = hashlib.sha256(shown(url).encode()).hexdigest()[:12]
    stem, dot, suffix = re.sub(r"[^\w.-]+", "_", url.path.strip("/"))[-80:].rpartition(".")
    return f"{stem}.{digest}{dot}{suffix}" if stem else f"{suffix}{dot}{digest}"


def _conditions(path: Path, record: Path) -> dict[str, str]:
    """Headers that ask for a file only if it is not the one in the cache."""
    try:
        known = json.loads(record.read_text())
        if path.stat().st_size != known["size"]:
            return {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {header: known[name] for header, name in _CONDITIONS.items() if name in known}
