"""HTTP client with a minimum time between requests, retries, and a cache on disk.

Public archives often run on small servers. The client therefore identifies itself, limits its rate
of requests, honours ``Retry-After``, and downloads a cached file again only if it has changed.

What a server sends is not trusted: answers are bounded in size, also after decompression, redirects
lead to web addresses only, and whatever is odd about an answer is an `ArchiveError`.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
import zlib
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import tenacity

from deepcrop._version import __version__
from deepcrop.errors import MALFORMED
from deepcrop.sources.archive import ArchiveError
from deepcrop.storage.documents import parse_json
from deepcrop.storage.files import atomic_file

if TYPE_CHECKING:
    import builtins
    from collections.abc import Callable, Iterator
    from pathlib import Path

USER_AGENT = f"deepcrop/{__version__}"

LONGEST_PAUSE = 120.0
"""Longest pause between attempts, seconds; if a server asks for more, the request fails."""

INTERVAL_AFTER_429 = 0.2
"""Minimum time from one request to the next once a server has answered "too many requests" (429),
seconds; all threads that use the client share it."""

LARGEST_ANSWER = 256 * 2**20
"""Bytes of the largest answer that is read, decompressed; real ones have a few megabytes."""

T = TypeVar("T")

_PIECE = 2**20  # bytes that are decompressed at once
_BUSY_STATUS = frozenset((429, 500, 502, 503, 504))
_SECRET = re.compile(r"sig|token|key|secret|passw|cred|auth", re.IGNORECASE)
_VALIDATORS = {"If-None-Match": "ETag", "If-Modified-Since": "Last-Modified"}


class NotFound(ArchiveError):
    """The server answers, but has nothing at this address."""


class Refused(ArchiveError):
    """The server answers, but refuses access (status 401, 403)."""


@dataclass
class HttpClient:
    """HTTP client, used as a context manager; any number of threads may use one client.

    Attributes
    ----------
    cache : Path, optional
        Folder for downloaded files; created if needed. An answer with an ``ETag`` or a
        ``Last-Modified`` date is downloaded again only if the server says that it has changed.
        Without a folder nothing is cached.
    interval : float
        Minimum time from one request to the next, seconds; `INTERVAL_AFTER_429` at least once a
        server has answered "too many requests".
    timeout : float
        Longest time without an answer, seconds.
    tries : int
        Number of attempts if the server is busy (429, 500, 502, 503, 504) or a connection breaks.
    pause : float
        Time before the second attempt, seconds. It doubles with each attempt, up to a minute, and
        is at least what the server asks for (``Retry-After``).
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
            headers={"User-Agent": USER_AGENT, "Accept-Encoding": "gzip"},
            event_hooks={"request": [self._wait_for_turn]},  # called for redirected requests too
        )

    def __enter__(self) -> HttpClient:
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
            Address; may contain a query.
        **params
            Added to the query.

        Raises
        ------
        NotFound
            If there is nothing at the address.
        ArchiveError
            If the server does not answer or refuses, or the answer is not JSON.
        """
        text = self.bytes(url, **params)
        try:
            return parse_json(text)
        except ValueError:
            raise ArchiveError(
                f"{redact_url(url)}: the answer is not JSON but begins {text[:60]!r}. Is this the "
                "address of the service, and not of a web page?"
            ) from None

    def text(self, url: str, /, **params: str | int | float) -> str:
        """Fetch text in UTF-8; parameters and errors as `json`."""
        try:
            return self.bytes(url, **params).decode("utf-8-sig")
        except UnicodeDecodeError:
            raise ArchiveError(f"{redact_url(url)}: the answer is not text in UTF-8.") from None

    def bytes(self, url: str, /, **params: str | int | float) -> builtins.bytes:
        """Fetch the bytes of a small answer; parameters and errors as `json`."""
        if self.cache is not None:
            return self.file(url, **params).read_bytes()
        return self._retry(_address(url, params), self._content)

    def file(self, url: str, /, **params: str | int | float) -> Path:
        """Fetch a file into the cache.

        Returns
        -------
        Path
            The complete file. It belongs to the cache: do not change it.

        Raises
        ------
        NotFound, ArchiveError
            As `json`.
        """
        if self.cache is None:
            raise ValueError("HttpClient.file needs a cache folder")
        address = _address(url, params)
        path = self.cache / address.host / _file_name(address)
        with self._lock:
            lock = self._file_locks[path]
        with lock:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._retry(address, lambda address: self._refresh(address, path))
        return path

    # One request ----------------------------------------------------------------------------------

    def _content(self, url: httpx.URL) -> builtins.bytes:
        with self._answer(url, {}) as response:
            return b"".join(_decompressed(response))

    def _refresh(self, url: httpx.URL, path: Path) -> None:
        """Download ``path`` unless the server says that it is current."""
        record = path.with_name(path.name + ".json")
        with self._answer(url, _conditions(path, record)) as response:
            if response.status_code == 304:
                return
            with atomic_file(path) as part:
                with part.open("wb") as file:
                    for chunk in _decompressed(response):
                        file.write(chunk)
                size = part.stat().st_size
                record.unlink(missing_ok=True)  # never keep the validators of an older answer
        validators = {
            name: response.headers[name]
            for name in _VALIDATORS.values()
            if name in response.headers
        }
        with atomic_file(record) as part:
            part.write_text(json.dumps({"url": redact_url(url), "size": size, **validators}))

    @contextmanager
    def _answer(self, url: httpx.URL, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Yield a successful answer: status 200, or 304 if the request was conditional."""
        with self._client.stream("GET", url, headers=headers) as response:
            status, name = response.status_code, redact_url(response.url)
            if status in _BUSY_STATUS:
                pause = retry_after_seconds(response)
                if status == 429:
                    self._slow_down(pause)
                raise _Busy(name, status, pause)
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

    # Rate and retries -----------------------------------------------------------------------------

    def _wait_for_turn(self, _request: httpx.Request) -> None:
        with self._lock:
            start = max(time.monotonic(), self._next_start)
            self._next_start = start + self.interval
        time.sleep(max(start - time.monotonic(), 0.0))

    def _slow_down(self, asked: float) -> None:
        """After "too many requests" (429): all threads pause, and then keep a distance."""
        with self._lock:
            self.interval = max(self.interval, INTERVAL_AFTER_429)
            pause = min(max(asked, self.pause), LONGEST_PAUSE)
            self._next_start = max(self._next_start, time.monotonic() + pause)

    def _retry(self, url: httpx.URL, request: Callable[[httpx.URL], T]) -> T:
        """Send a request, repeated while the failure may be temporary."""
        growing = tenacity.wait_exponential(multiplier=self.pause, max=60)
        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(self.tries),
            wait=lambda state: max(growing(state), _requested_pause(state)),
            retry=tenacity.retry_if_exception(_is_transient),
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
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise ArchiveError(
                f"{redact_url(url)}: it redirects to what is no web address, or in a circle "
                f"({error}). Check the address."
            ) from None
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise ArchiveError(unreachable(url, str(error))) from None
        except (httpx.HTTPError, ValueError) as error:  # headers can hold anything
            raise ArchiveError(
                f"{redact_url(url)}: no complete answer ({type(error).__name__}: {error}). Check "
                "the address and the connection, or try again later."
            ) from None


def unreachable(url: str | httpx.URL, reason: str) -> str:
    """Return the message for a server that no connection reaches."""
    return (
        f"{redact_url(url)} is not reached: no connection ({reason[:200]}). Check the network and "
        "the proxy; 'deepcrop doctor' reports which archives answer from here."
    )


def redact_url(url: str | httpx.URL) -> str:
    """Remove user, password, tokens and signatures from a URL, for messages and records."""
    try:
        address = httpx.URL(url).copy_with(username=None, password=None, fragment=None)
    except httpx.InvalidURL:
        # What has no parts cannot be freed of its secrets: all that may hold one is left out.
        scheme, separator, rest = str(url)[:200].partition("?")[0].partition("://")
        return f"'{scheme}{separator}{rest.rpartition('@')[2]}' (not a web address)"
    items = address.params.multi_items()
    if not items:
        return str(address)
    query = "&".join(f"{key}={'…' if _SECRET.search(key) else value}" for key, value in items)
    return f"{address.copy_with(query=None)}?{query}"


@dataclass
class _Busy(Exception):
    """The server is busy or broken, and may answer later."""

    url: str
    status: int
    pause: float


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, _Busy):
        return error.pause <= LONGEST_PAUSE
    if isinstance(error, httpx.UnsupportedProtocol):  # a redirect, which will be the same again
        return False
    # An answer that was compressed and ends too early cannot be decoded.
    return isinstance(error, httpx.TransportError | httpx.DecodingError)


def _requested_pause(state: tenacity.RetryCallState) -> float:
    error = state.outcome.exception() if state.outcome else None
    return error.pause if isinstance(error, _Busy) else 0.0


def _decompressed(response: httpx.Response) -> Iterator[bytes]:
    """Yield the content of an answer in pieces of limited size.

    httpx decompresses all that has arrived at once: a thousand times as much, from a hostile
    server. Here the limit counts while it is decompressed.

    Raises
    ------
    httpx.DecodingError
        If a compressed answer is damaged or ends too early.
    ArchiveError
        If the answer is larger than `LARGEST_ANSWER`, or compressed in an unknown way.
    """
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise ArchiveError(
            f"{redact_url(response.url)}: the answer is compressed as {encoding[:40]!r}; asked for "
            "was gzip. Check the address."
        )
    size = 0
    pieces = response.iter_raw()  # raises if the answer ends too early
    for piece in _gunzip(pieces) if "gzip" in encoding else pieces:
        size += len(piece)
        if size > LARGEST_ANSWER:
            raise ArchiveError(
                f"{redact_url(response.url)}: the answer has more than "
                f"{LARGEST_ANSWER // 2**20} MB. Check the address."
            )
        yield piece


def _gunzip(pieces: Iterator[bytes]) -> Iterator[bytes]:
    unzip = zlib.decompressobj(wbits=31)
    try:
        for piece in pieces:
            while piece and not unzip.eof:
                yield unzip.decompress(piece, _PIECE)
                piece = unzip.unconsumed_tail
    except zlib.error as error:
        raise httpx.DecodingError(str(error)) from None
    if not unzip.eof:
        raise httpx.DecodingError("the compressed answer ends too early")


def retry_after_seconds(response: httpx.Response) -> float:
    """Read how long a server asks to wait (``Retry-After``: seconds, or a date), or 0."""
    retry_after = response.headers.get("Retry-After", "").strip()
    if re.fullmatch("[0-9]{1,12}", retry_after):
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
        return max((until.astimezone(UTC) - datetime.now(UTC)).total_seconds(), 0.0)
    except MALFORMED:
        return 0.0


def _address(url: str, params: dict[str, str | int | float]) -> httpx.URL:
    try:
        address = httpx.URL(url)
        merged = address.copy_merge_params(params) if params else address
    except (httpx.InvalidURL, *MALFORMED) as error:
        raise ArchiveError(f"The web address is not valid: {error}.") from None
    if address.scheme not in ("http", "https") or not address.host.strip("."):
        raise ArchiveError(f"{redact_url(address)} is not a web address; expected https://….")
    return merged


def _file_name(url: httpx.URL) -> str:
    """Name a file in the cache: a readable part of the URL, and a digest of the whole.

    The digest ignores signatures, which differ between requests for the same file.
    """
    digest = hashlib.sha256(redact_url(url).encode()).hexdigest()[:12]
    stem, dot, suffix = re.sub(r"[^\w.-]+", "_", url.path.strip("/"))[-80:].rpartition(".")
    return f"{stem}.{digest}{dot}{suffix}" if stem else f"{suffix}{dot}{digest}"


def _conditions(path: Path, record: Path) -> dict[str, str]:
    """Make headers that request a file only if it differs from the cached one."""
    try:
        known = json.loads(record.read_text())
        if path.stat().st_size != known["size"]:
            return {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return {header: known[name] for header, name in _VALIDATORS.items() if name in known}
