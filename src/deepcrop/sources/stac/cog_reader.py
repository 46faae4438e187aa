"""Reading Cloud Optimized GeoTIFFs over HTTP: signed where need be, patient, and discreet.

GDAL asks for the parts of a file that it needs. It tries again where a server is busy, but keeps a
file that failed in its memory, so a second try must come under another address: a fragment
(``#1``), which never leaves this machine. When a read has failed, the server is asked why, so that
an expired token is renewed, a file that is not there is not asked for again, and the error says
what is the matter.

Signatures are made for the moment of reading. They are in no error, and `_Discreet` keeps them out
of the logs of the libraries.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import TypeVar
from urllib.parse import urlsplit

import httpx
import planetary_computer
import planetary_computer.sas
import rasterio
import requests
from planetary_computer.settings import Settings
from rasterio.errors import RasterioError

from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import (
    LONGEST_PAUSE,
    USER_AGENT,
    NotFound,
    Refused,
    Web,
    pause_asked_for,
    shown,
)

T = TypeVar("T")

_GDAL = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # ask for no file beside the one we want
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "GDAL_HTTP_CONNECTTIMEOUT": 30,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
    "GDAL_HTTP_LOW_SPEED_TIME": 60,
    "GDAL_HTTP_USERAGENT": USER_AGENT,
}
_SIGNATURE = re.compile(r"\bsig=[^&\s'\",)#]+")
_AGAIN = frozenset((429, 500, 502, 503, 504))


@dataclass
class Cogs:
    """Reads files of one archive, from as many threads as you like.

    Attributes
    ----------
    signed : bool
        Whether addresses in Azure blob storage need a token of Planetary Computer. Its service is
        at the address that planetary-computer is set to (``PC_SDK_SAS_URL``); tokens are renewed a
        minute before they expire, and when the storage refuses one.
    tries : int
        How often a file is tried. Within each, GDAL tries each request that a busy server (429,
        500, 502, 503, 504) refuses as often again.
    pause : float
        Time before the second try, seconds; doubles from try to try. Where the server asks for more
        (``Retry-After``), it gets more, up to `LONGEST_PAUSE`; one that asks for still more is left
        alone.
    """

    signed: bool = False
    tries: int = 5
    pause: float = 1.0
    _lock: threading.Lock = field(init=False, repr=False, default_factory=threading.Lock)
    _mark: str = field(init=False, repr=False, default="")
    _count: Iterator[int] = field(init=False, repr=False, default_factory=lambda: count(1))

    def read(self, href: str, name: str, read: Callable[[str], T]) -> T:
        """Call ``read`` with an address of the file that GDAL can open, until it succeeds.

        Parameters
        ----------
        href : str
            Address of the file, unsigned.
        name : str
            What it is, for messages: ``asset B08 of S2A_MSIL2A_…``.
        read : callable
            Opens and reads the file; other errors than those of rasterio pass through.

        Raises
        ------
        SceneError
            If the file is not there, or is damaged.
        ArchiveError
            If the server does not answer, refuses, or stays busy.
        """
        options = _GDAL | {
            "GDAL_HTTP_MAX_RETRY": self.tries,
            "GDAL_HTTP_RETRY_DELAY": self.pause,
        }
        for attempt in range(self.tries):
            address = self._signed(href)
            again = f"#{next(self._count)}" if attempt else self._mark
            try:
                with rasterio.Env(**options):
                    return read(f"/vsicurl/{address}{again}")
            except RasterioError:  # its message can hold the signature
                failure = self._failure(address, f"{name} ({shown(href)})")
            if isinstance(failure, Refused):
                self._forget(address)
            asked = failure.pause if isinstance(failure, _Busy) else 0.0
            if isinstance(failure, _Missing) or asked > LONGEST_PAUSE:
                break
            if attempt < self.tries - 1:
                time.sleep(max(self.pause * 2**attempt, asked))
        if isinstance(failure, ArchiveError):
            # From now on GDAL asks again for what it remembers: it may be had no more.
            self._mark = f"#{next(self._count)}"
        raise failure

    def text(self, href: str) -> str:
        """Fetch a text file that lies beside the images.

        Raises
        ------
        NotFound
            If the file is not there.
        ArchiveError
            If the server does not answer, refuses, or stays busy.
        """
        address = self._signed(href)
        with Web(tries=self.tries, pause=self.pause) as web:
            try:
                return web.text(address)
            except NotFound:
                raise
            except ArchiveError:  # perhaps the token has expired
                self._forget(address)
                return web.text(self._signed(href))

    def _signed(self, href: str) -> str:
        """Add a token where the archive wants one; the same for an hour or so.

        Raises
        ------
        ArchiveError
            If the service that gives tokens does not answer, or gives none.
        """
        if not self.signed:
            return href
        place = _blob(href)
        try:
            with self._lock:  # one request for a token, however many threads want it
                if place is not None:
                    planetary_computer.sas.get_token(*place, self.tries, self.pause / 2)
                return planetary_computer.sign(href)
        except (requests.RequestException, ValueError) as error:  # or no token in the answer
            status = getattr(getattr(error, "response", None), "status_code", None)
            raise ArchiveError(
                f"{Settings.get().sas_url} gives no token to read {shown(href)} "
                f"({type(error).__name__}{f', status {status}' if status else ''}). Try again "
                "later; if it refuses, set a key in PC_SDK_SUBSCRIPTION_KEY."
            ) from None

    def _forget(self, address: str) -> None:
        """Drop the token of a signed address, unless another thread has renewed it already."""
        cache = planetary_computer.sas.TOKEN_CACHE
        with self._lock:
            for url, token in list(cache.items()):
                if address.endswith(token.token):
                    del cache[url]

    def _failure(self, address: str, name: str) -> ArchiveError | SceneError:
        """Ask the server why a file could not be read."""
        headers = {"User-Agent": USER_AGENT, "Range": "bytes=0-0"}
        try:
            with httpx.stream(
                "GET", address, headers=headers, timeout=30, follow_redirects=True
            ) as response:
                status, pause = response.status_code, pause_asked_for(response)
        except httpx.HTTPError as error:
            return ArchiveError(
                f"{name}: no answer ({type(error).__name__}). Check the connection, or try again "
                "later."
            )
        if status in (404, 410):
            return _Missing(f"{name}: the server has no such file (status {status}).")
        if status in (401, 403):
            return Refused(
                f"{name}: refused (status {status}). Check whether the archive asks for a key."
            )
        if status in _AGAIN:
            again = f" and asks for a pause of {pause:.0f} s" if pause else ""
            return _Busy(f"{name}: the server is busy or broken (status {status}){again}.", pause)
        if status not in (200, 206):
            return SceneError(f"{name}: status {status}.")
        return SceneError(
            f"{name}: the file is damaged or cut short, tried {self.tries} times. The archive "
            "must mend it; try again another day, or another archive."
        )


class _Missing(SceneError):
    pass


class _Busy(ArchiveError):
    """The server may serve later; ``pause`` is how many seconds it asks for."""

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message)
        self.pause = pause


def _blob(href: str) -> tuple[str, str] | None:
    """Account and container of an address in Azure blob storage."""
    parts = urlsplit(href)
    host, path = parts.netloc, parts.path.strip("/").split("/")
    if not host.endswith(planetary_computer.sas.BLOB_STORAGE_DOMAIN):
        return None
    return host.split(".")[0], path[0]


class _Discreet(logging.Filter):
    """Takes signatures out of what a library logs."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if _SIGNATURE.search(text):
            record.msg, record.args = _SIGNATURE.sub("sig=…", text), ()
        return True


for _name in (
    "rasterio",
    "rasterio._env",
    "rasterio._err",
    "rasterio._base",
    "rasterio._io",
    "rasterio._warp",
    "rasterio._filepath",
    "odc.loader._rio",
    "httpx",
    "urllib3.connectionpool",
):
    logging.getLogger(_name).addFilter(_Discreet())
