"""Search a STAC API for all items of a collection over a grid and a period, each once."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlsplit

import numpy as np
import pystac
import tenacity
from pyproj import Transformer
from pystac_client import Client
from pystac_client.errors import ClientTypeError
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from pystac_client.warnings import PystacClientWarning
from urllib3 import Retry
from urllib3.exceptions import (
    ConnectTimeoutError,
    MaxRetryError,
    NewConnectionError,
    ProxyError,
    ResponseError,
)

from deepcrop.errors import MALFORMED
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.http import LARGEST_ANSWER, LONGEST_PAUSE, USER_AGENT, redact_url, unreachable
from deepcrop.storage.documents import parse_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import date

    import requests
    from odc.geo.geobox import GeoBox

_PAGE = 100  # items per request; a server may give fewer
_MOST_PAGES = 5000  # ten years over a whole country have fewer
_UNUSABLE = (  # raised by pystac-client for an answer that is an error, or is not STAC
    APIError,
    ClientTypeError,
    PystacClientWarning,
    pystac.STACError,
    *MALFORMED,
)


def search_items(
    address: str,
    collections: Sequence[str],
    box: GeoBox,
    start: date,
    end: date,
    *,
    max_cloud: float = 100.0,
    tries: int = 5,
    pause: float = 1.0,
    headers: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """List the items whose bounding box touches that of a grid.

    Parameters
    ----------
    address : str
        Root of the API.
    collections : sequence of str
        Names of the collections.
    box : GeoBox
        The grid.
    start, end : date
        First and last day, UTC, both included.
    max_cloud : float
        Percent. The server filters cloudier items only if it supports such a filter; the answer may
        therefore contain cloudier items.
    tries, pause : int, float
        Number of attempts if the server is busy or the connection breaks, and seconds before the
        second attempt, which double with each attempt.
    headers : mapping, optional
        Headers of the requests, such as a token; they are sent to the host of ``address`` only.

    Returns
    -------
    list of dict
        The items as the server sent them.

    Raises
    ------
    ArchiveError
        If the server does not answer, refuses, or is not a STAC API.
    """

    def searches(client: Client) -> Iterator[dict[str, Any]]:
        cloud = {} if max_cloud >= 100 else _cloud_filter(client, max_cloud)
        for bounds in bounds_in_degrees(box):
            yield {"bbox": bounds, "datetime": f"{start}/{end}", **cloud}

    return _search(address, collections, searches, tries, pause, headers or {})


def search_names(
    address: str, collection: str, names: Sequence[str], tries: int = 5, pause: float = 1.0
) -> list[dict[str, Any]]:
    """List the items of these names, `_PAGE` of them with one request; see `search_items`."""

    def searches(_: Client) -> Iterator[dict[str, Any]]:
        for first in range(0, len(names), _PAGE):
            yield {"ids": list(names[first : first + _PAGE])}

    return _search(address, [collection], searches, tries, pause, {})


def _search(
    address: str,
    collections: Sequence[str],
    searches: Callable[[Client], Iterator[dict[str, Any]]],
    tries: int,
    pause: float,
    headers: Mapping[str, str],
) -> list[dict[str, Any]]:
    """Run searches of collections, and list all items that are found, each once."""
    name = ", ".join(collections)
    items: dict[Any, dict[str, Any]] = {}
    try:
        client = Client.open(address, stac_io=_RetryingIO(address, tries, pause, headers))
        for conditions in searches(client):
            search = client.search(collections=list(collections), limit=_PAGE, **conditions)
            listed: set[Any] = set()
            for number, page in enumerate(search.pages_as_dicts(), 1):
                fresh = {_key(item): item for item in page["features"]}
                if not fresh.keys() - listed or number > _MOST_PAGES:
                    raise ArchiveError(
                        f"{redact_url(address)}: the search of '{name}' does not end, page "
                        f"{number} repeats what was listed. Try again later."
                    )
                listed |= fresh.keys()
                items |= fresh
    except _UNUSABLE as error:
        if isinstance(error.__context__, ArchiveError):  # pystac-client hides it
            raise error.__context__ from None
        status = getattr(error, "status_code", None)
        if (cause := _no_connection(error)) is not None:
            raise ArchiveError(unreachable(address, cause)) from None
        reason = f"status {status}" if status else type(error).__name__
        raise ArchiveError(
            f"{redact_url(address)} does not serve a search of '{name}' ({reason}). Check "
            "the address and the connection, or try again later."
        ) from None
    return list(items.values())


def _key(item: Any) -> Any:
    """Return the name of an item, the same in both halves of a search over the date line."""
    name = item.get("id") if isinstance(item, dict) else None
    # An odd item is left out later; the same one on every page must not look new.
    return name if isinstance(name, str) else ("odd", repr(item)[:1000])


def bounds_in_degrees(box: GeoBox) -> list[tuple[float, float, float, float]]:
    """West, south, east and north of a grid: one box, or two if it crosses the date line."""
    left, bottom, right, top = box.boundingbox.bbox
    xs, ys = np.linspace(left, right, 21), np.linspace(bottom, top, 21)
    x = np.concatenate([xs, xs, np.full(21, left), np.full(21, right)])
    y = np.concatenate([np.full(21, bottom), np.full(21, top), ys, ys])
    to_degrees = Transformer.from_crs(str(box.crs), "EPSG:4326", always_xy=True)
    longitude, latitude = to_degrees.transform(x, y)
    longitude = longitude[0] + (longitude - longitude[0] + 180) % 360 - 180
    west, east = float(longitude.min()), float(longitude.max())
    south, north = float(latitude.min()), float(latitude.max())
    if west < -180:
        return [(west + 360, south, 180.0, north), (-180.0, south, east, north)]
    if east > 180:
        return [(west, south, 180.0, north), (-180.0, south, east - 360, north)]
    return [(west, south, east, north)]


def _cloud_filter(client: Client, max_cloud: float) -> dict[str, Any]:
    """Make a cloud cover filter in a language that the server supports; empty if there is none."""
    if client.conforms_to("QUERY"):
        return {"query": {"eo:cloud_cover": {"lte": max_cloud}}}
    # Servers with only an older version of CQL2, or only its text form, get no filter.
    if client.conforms_to("FILTER") and any(
        name.endswith("cql2-json") for name in client.get_conforms_to()
    ):
        cover = {"op": "<=", "args": [{"property": "eo:cloud_cover"}, max_cloud]}
        return {"filter": cover, "filter_lang": "cql2-json"}
    return {}


def _no_connection(error: BaseException | None) -> str | None:
    """Return the reason if an error is, or hides, a connection that was never made."""
    while error is not None:
        reason = getattr(error, "reason", None)
        if isinstance(reason, NewConnectionError | ConnectTimeoutError | ProxyError):
            return type(reason).__name__
        error = error.__context__
    return None


class _RetryingIO(StacApiIO):
    """Requests to the API, repeated if the server is busy or the connection breaks."""

    def __init__(self, address: str, tries: int, pause: float, headers: Mapping[str, str]) -> None:
        busy = _Retry(
            total=tries,
            connect=0,
            read=0,
            status=tries,
            backoff_factor=pause,
            status_forcelist=(429, 500, 502, 503, 504),
            allowed_methods=None,  # a search is a POST request, which may be repeated
            raise_on_status=False,
        )
        super().__init__(max_retries=busy, headers={"User-Agent": USER_AGENT, **headers})
        self._only_host = urlsplit(address).netloc if headers else None
        self.session.hooks["response"].append(_limit_size)
        self._retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(tries),
            wait=tenacity.wait_exponential(multiplier=pause, max=60),
            retry=tenacity.retry_if_exception(_is_broken),
            reraise=True,
        )

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Keep the timeout, which `Client.open` would remove."""
        super().update(*args, **kwargs)
        self.timeout = 60.0

    def request(self, href: str, method: str | None = None, *args: Any, **kwargs: Any) -> str:
        """Send a request, repeated while the connection breaks."""
        # The server's own links say where the next page is, and how to ask for it.
        if not href.startswith(("http://", "https://")) or (method or "GET") not in ("GET", "POST"):
            raise ArchiveError(
                f"A link of the archive is no page of a search: {method} {href[:80]}"
            )
        if self._only_host not in (None, urlsplit(href).netloc):
            raise ArchiveError(
                f"A page of the search lies on another host, {redact_url(href)}, which does not "
                "get the token of the archive."
            )
        return self._retrying(super().request, href, method, *args, **kwargs)

    def read_text(self, source: Any, *args: Any, **kwargs: Any) -> str:
        """Read a page; unlike pystac, never a local file."""
        if isinstance(source, pystac.Link):
            return super().read_text(source, *args, **kwargs)
        return self.request(str(source), *args, **kwargs)

    def json_loads(self, txt: str, *_: Any, **__: Any) -> Any:
        """Parse JSON."""
        return parse_json(txt)


def _limit_size(response: requests.Response, *_: Any, **__: Any) -> None:
    """Read the content of an answer up to `LARGEST_ANSWER` bytes, decompressed.

    Raises
    ------
    ArchiveError
        If it is larger.
    """
    if "," in response.headers.get("Content-Encoding", ""):  # compressed twice: no real server does
        raise ArchiveError(f"{redact_url(response.url)}: the answer is compressed twice.")
    content = response.raw.read(LARGEST_ANSWER + 1, decode_content=True)
    if len(content) > LARGEST_ANSWER:
        raise ArchiveError(
            f"{redact_url(response.url)}: the answer has more than {LARGEST_ANSWER // 2**20} MB. "
            "Check the address."
        )
    response.raw = io.BytesIO(content)


class _Retry(Retry):
    """Retries as in urllib3, which would wait for any ``Retry-After``; this one has a limit."""

    def increment(
        self, method: str | None = None, url: str | None = None, *rest: Any, **more: Any
    ) -> Self:
        """Count an attempt; stop if the server asks for more than `LONGEST_PAUSE`."""
        response = more.get("response")
        if response is not None and (self.get_retry_after(response) or 0) > LONGEST_PAUSE:
            raise MaxRetryError(more["_pool"], url or "", ResponseError("too long a pause"))
        return super().increment(method, url, *rest, **more)


def _is_broken(error: BaseException) -> bool:
    """Whether there was no complete answer; a refusal is an answer, and so is one that is odd."""
    if isinstance(error.__context__, ArchiveError):
        return False
    return isinstance(error, APIError) and getattr(error, "status_code", None) is None
