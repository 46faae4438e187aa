"""Read Cloud Optimized GeoTIFFs and JPEG 2000 files over HTTP, with signed URLs and retries.

GDAL requests only the parts of a file that it needs. It retries if a server is busy, but remembers
a file that failed, so that the next attempt must use another address: a URL fragment (``#1``),
which is never sent to the server. After a failed read, one request finds out the reason: an expired
token is renewed, a missing file is not requested again, and the error message states the reason.

URLs are signed just before reading (`deepcrop.sources.stac.access`). Signatures are never part of
an error message, and `_RedactSignatures` removes them from the logs of the libraries.
"""

from __future__ import annotations

import logging
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any, TypeVar

import httpx
import rasterio
from rasterio.errors import RasterioError

from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import (
    LONGEST_PAUSE,
    USER_AGENT,
    HttpClient,
    Refused,
    redact_url,
    retry_after_seconds,
)
from deepcrop.sources.stac.access import Access, OpenAccess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")

PIECE = 16384
"""Bytes that GDAL requests at once, or a multiple."""

_GDAL: dict[str, Any] = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # request no sidecar files
    "GDAL_INGESTED_BYTES_AT_OPEN": 32768,
    "GDAL_HTTP_CONNECTTIMEOUT": 30,
    "GDAL_HTTP_LOW_SPEED_LIMIT": 1000,
    "GDAL_HTTP_LOW_SPEED_TIME": 60,
    "GDAL_HTTP_USERAGENT": USER_AGENT,
}
_SIGNATURE = re.compile(r"\b(sig|X-Amz-Signature|X-Amz-Credential)=[^&\s'\",)#]+")
_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ")
"""First bytes of TIFF, BigTIFF and JPEG 2000."""
_BUSY_STATUS = frozenset((429, 500, 502, 503, 504))


@dataclass
class CogReader:
    """Reader for the files of one archive; any number of threads may use it.

    Attributes
    ----------
    access : Access
        How addresses are made that can be requested: as they are, with tokens, or signed.
    tries : int
        Number of attempts per file. Within each, GDAL sends a request that a busy server refuses
        (429, 500, 502, 503, 504) up to as many times again.
    pause : float
        Time before the second attempt, seconds; doubles with each attempt, and is at least what the
        server asks for (``Retry-After``). If that is more than `LONGEST_PAUSE`, the read fails.
    format : str
        GDAL's name of the format that the archive serves; a file of another is not opened.
    """

    access: Access = field(default_factory=OpenAccess)
    tries: int = 5
    pause: float = 1.0
    format: str = "GTiff"
    _mark: str = field(init=False, repr=False, default="")
    _count: Iterator[int] = field(init=False, repr=False, default_factory=lambda: count(1))

    def read(self, href: str, name: str, read: Callable[[str], T], lazily: bool = False) -> T:
        """Call ``read`` with an address of the file that GDAL can open, until it succeeds.

        GDAL would open a VRT too, which can hold any file of this computer, so the format is
        checked first. While the header is open it is in GDAL's cache, and ``read`` gets it there.

        Parameters
        ----------
        href : str
            Address of the file, unsigned.
        name : str
            Name of the file for messages: ``asset B08 of S2A_MSIL2A_…``.
        read : callable
            Opens and reads the file; errors other than those of rasterio pass through.
        lazily : bool
            ``read`` may not open the file at all, and checks the format itself (`check_format`).

        Raises
        ------
        SceneError
            If the file does not exist, or is damaged.
        ArchiveError
            If the server does not answer, refuses, or stays busy.
        """
        options = {
            **_GDAL,
            **self.access.gdal,
            "GDAL_HTTP_MAX_RETRY": self.tries,
            "GDAL_HTTP_RETRY_DELAY": self.pause,
        }
        attempt, renewed = 0, False
        while attempt < self.tries:
            try:
                address = self._address(href)
            except SceneError as error:
                raise SceneError(f"{name}: {error}") from None
            again = f"#{next(self._count)}" if attempt else self._mark
            if headers := self.access.headers(address):
                lines = (f"{name}: {value}" for name, value in headers.items())
                options["GDAL_HTTP_HEADERS"] = "\r\n".join(lines)
            try:
                with rasterio.Env(**options):
                    path = f"/vsicurl/{address}{again}"
                    with nullcontext() if lazily else self.check_format(path):
                        return read(path)
            except RasterioError:  # its message can hold the signature
                failure = self._failure(address, f"{name} ({redact_url(href)})")
            if isinstance(failure, Refused):
                if not self.access.forget(address):
                    break  # the same address would be refused again
                # That a token has expired says nothing of the file, and costs no attempt.
                renewed = not renewed
                if renewed:
                    continue
            renewed = False
            asked = failure.pause if isinstance(failure, _Busy) else 0.0
            if isinstance(failure, _Missing) or asked > LONGEST_PAUSE:
                break
            attempt += 1
            if attempt < self.tries:
                time.sleep(max(self.pause * 2 ** (attempt - 1), asked))
        if isinstance(failure, ArchiveError):
            # GDAL must not use what it remembers of files: the archive may not serve them any more.
            self._mark = f"#{next(self._count)}"
        raise failure

    def check_format(self, path: str) -> rasterio.DatasetReader:
        """Open a file in the format of the archive; fails with rasterio's error for any other."""
        return rasterio.open(path, driver=self.format)

    def text(self, href: str, client: HttpClient) -> str:
        """Fetch a text file, such as an annotation, from the same archive.

        Raises
        ------
        NotFound
            If the file does not exist.
        ArchiveError
            If the server does not answer, refuses, or stays busy.
        """
        address = self._address(href)
        try:
            return client.text(address)
        except Refused:  # the token may have expired
            if not self.access.forget(address):
                raise
            return client.text(self._address(href))

    def _address(self, href: str) -> str:
        return self.access.address(href, self.tries, self.pause)

    def _failure(self, address: str, name: str) -> ArchiveError | SceneError:
        """Find out from the server why a file could not be read."""
        headers = {"User-Agent": USER_AGENT, "Range": "bytes=0-31", "Accept-Encoding": "identity"}
        headers |= self.access.headers(address)
        try:
            with httpx.stream(
                "GET", address, headers=headers, timeout=30, follow_redirects=True
            ) as response:
                status, pause = response.status_code, retry_after_seconds(response)
                begin = next(response.iter_raw(32), b"")[:32] if status in (200, 206) else b""
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            return ArchiveError(
                f"{name}: no answer ({type(error).__name__}). Check the connection, or try again "
                "later."
            )
        if status in (404, 410):
            return _Missing(f"{name}: the server has no such file (status {status}).")
        if status in (401, 403):
            return Refused(f"{name}: refused (status {status}). {self.access.advice}")
        if status in _BUSY_STATUS:
            again = f" and asks for a pause of {pause:.0f} s" if pause else ""
            return _Busy(f"{name}: the server is busy or broken (status {status}){again}.", pause)
        if status not in (200, 206):
            return SceneError(f"{name}: status {status}.")
        if begin and not begin.startswith(_SIGNATURES):
            return SceneError(
                f"{name}: the file is no {self.format}, it begins "
                f"{begin[:16]!r}. Use another archive."
            )
        return SceneError(
            f"{name}: the file is damaged or cut short, tried {self.tries} times. The archive "
            "must repair it; try again another day, or use another archive."
        )


class _Missing(SceneError):
    """The server has no such file."""


class _Busy(ArchiveError):
    """The server may serve later; ``pause`` is the number of seconds that it asks for."""

    def __init__(self, message: str, pause: float) -> None:
        super().__init__(message)
        self.pause = pause


def transferred_bytes(
    raster: rasterio.DatasetReader,
    windows: Iterable[tuple[slice, slice]],
    bytes_for_length: int = 0,
) -> int:
    """Compute the bytes that GDAL transfers to open a file and to read windows (rows, cols) of it.

    These are the pieces of `PIECE` bytes that hold the header or a block of a window, after what
    arrives when it asks for the length (`Access.bytes_for_length`).
    """
    height, width = raster.block_shapes[0]

    def span(row: int, col: int) -> tuple[int, int]:
        first, size = (
            int(raster.get_tag_item(f"BLOCK_{what}_{col}_{row}", "TIFF", bidx=1) or 0)
            for what in ("OFFSET", "SIZE")
        )
        return first, first + size

    # Blocks are in the order of their rows, so the file ends with the last of them.
    end = span((raster.height - 1) // height, (raster.width - 1) // width)[1]
    spans = [(0, min(_GDAL["GDAL_INGESTED_BYTES_AT_OPEN"], end))]
    blocks = {
        (row, col)
        for rows, cols in windows
        for row in range(rows.start // height, (rows.stop - 1) // height + 1)
        for col in range(cols.start // width, (cols.stop - 1) // width + 1)
    }
    spans += [span(*block) for block in sorted(blocks)]
    pieces = {
        piece
        for first, stop in spans
        if stop > first
        for piece in range(first // PIECE, (stop - 1) // PIECE + 1)
    }
    return min(bytes_for_length, end) + sum(min(PIECE, end - piece * PIECE) for piece in pieces)


class _RedactSignatures(logging.Filter):
    """Logging filter that removes signatures from the messages of a library."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Replace signatures in a record; every record is kept."""
        text = record.getMessage()
        if _SIGNATURE.search(text):
            record.msg, record.args = _SIGNATURE.sub(r"\1=…", text), ()
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
    "urllib3.connectionpool",  # of requests, which planetary-computer uses
):
    logging.getLogger(_name).addFilter(_RedactSignatures())
