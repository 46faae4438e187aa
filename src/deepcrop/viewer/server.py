"""Serve the page, tiles of values, images of the cube, and the data of pixels and fields.

Layers, renderings and dates are looked up by name. Paths in requests lead only to the files of the
page and of the result directory; paths that lead out of these are answered with 404.
"""

from __future__ import annotations

import gzip
import re
import socket
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from rasterio.errors import NotGeoreferencedWarning
from starlette.middleware.trustedhost import TrustedHostMiddleware
from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers
from uvicorn.protocols.http.h11_impl import H11Protocol

from deepcrop.errors import DeepCropError
from deepcrop.viewer import map_tiles
from deepcrop.viewer.basemap import read_basemap
from deepcrop.viewer.issues import open_issues
from deepcrop.viewer.pixel_distribution import prediction_json
from deepcrop.viewer.pixel_series import series_json
from deepcrop.viewer.places import parse_place

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from deepcrop.viewer.viewed_map import ViewedMap

HOST = "127.0.0.1"
"""Only requests from this machine are answered."""

_STATIC = Path(__file__).with_name("static")

_HEADERS = {
    # The page may load nothing from other hosts; MapLibre's worker and symbols are inline.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # another result may be served at the same address next
}


REQUEST_SECONDS = 10.0
"""Time within which a request must be complete; its connection is closed then."""

_MOST_CONNECTIONS = 256  # a browser opens about ten


class TimedProtocol(H11Protocol):
    """HTTP connection that is closed if a request is not complete in `REQUEST_SECONDS`.

    uvicorn itself waits for the rest of a half-sent request for ever.
    """

    def connection_made(self, transport: Any) -> None:
        """Start the clock of a connection."""
        super().connection_made(transport)
        self._waiting_since = self.loop.time()
        self._check_progress()

    def on_response_complete(self) -> None:
        """Restart the clock for the next request of the connection."""
        super().on_response_complete()
        self._waiting_since = self.loop.time()

    def _check_progress(self) -> None:
        if self.transport.is_closing():
            return
        answering = self.cycle is not None and not self.cycle.response_complete
        if answering and not self.cycle.more_body:
            self._waiting_since = self.loop.time()
        if self.loop.time() - self._waiting_since >= REQUEST_SECONDS:
            self.transport.abort()
            return
        self.loop.call_later(REQUEST_SECONDS / 10, self._check_progress)


def _tile_number(text: str) -> int:
    """Read a number of a path.

    Raises
    ------
    DeepCropError
        If it is none.
    """
    if not re.fullmatch("[0-9]{1,8}", text):
        raise DeepCropError(f"'{text[:20]}' is not a tile number.")
    return int(text)


@dataclass(frozen=True)
class Shown:
    """What the viewer shows.

    Attributes
    ----------
    issues : tuple of ViewedMap
        A map, or its issues, the earliest first; the page begins with the last.
    unfinished : tuple of str
        Issues that are not finished.
    basemap : Path or None
        File of map tiles behind the map.
    """

    issues: tuple[ViewedMap, ...]
    unfinished: tuple[str, ...] = ()
    basemap: Path | None = None


def create_app(shown: Shown) -> FastAPI:
    """Create the web application for a map, or for its issues.

    The latest issue is served at the root, and each at ``/issues/DATE/`` with the same paths below.
    """
    app = _application()
    # Reject other host names: a foreign page could resolve its own name to this machine.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    basemap = read_basemap(shown.basemap) if shown.basemap else None

    @app.middleware("http")
    async def add_headers(
        request: Request, call: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        response = await call(request)
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return response

    @app.get("/")
    def page() -> FileResponse:
        return FileResponse(_STATIC / "index.html")

    @app.get("/api/shown")
    def all_issues() -> dict[str, Any]:
        days = [str(issue.until) for issue in shown.issues] if len(shown.issues) > 1 else []
        return {"issues": days, "unfinished": shown.unfinished, "basemap": basemap}

    @app.get("/basemap")
    def basemap_file() -> FileResponse:
        if shown.basemap is None or not shown.basemap.is_file():
            raise DeepCropError("There is no basemap: start the viewer with --basemap.")
        return FileResponse(shown.basemap, media_type="application/octet-stream")

    app.mount("/static", StaticFiles(directory=_STATIC))
    if len(shown.issues) > 1:
        for issue in shown.issues:
            app.mount(f"/issues/{issue.until}", _map_app(issue))
    app.mount("/", _map_app(shown.issues[-1]))
    return app


def _application() -> FastAPI:
    """Create an application that answers an error of the user with 404 and its message."""
    # FastAPI's documentation pages are off: they load scripts from other hosts.
    app = FastAPI(title="Deep-CroP", docs_url=None, redoc_url=None, openapi_url=None)
    add_exception_handlers(app, DEFAULT_STATUS_CODES)  # a tile outside the map gets 404

    @app.exception_handler(DeepCropError)
    def missing(_: Request, error: DeepCropError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=404)

    return app


def _map_app(viewed: ViewedMap) -> FastAPI:
    """Create the application of one map: its layers, images, pixels, areas and files."""
    app = _application()

    @app.get("/api/result")
    def result() -> dict[str, Any]:
        return viewed.describe()

    @app.get("/api/legend/{key:path}")
    def legend(key: str) -> dict[str, Any]:
        return viewed.legend(key)

    @app.get("/tiles/{key:path}/{z}/{x}/{y}")
    def tile(key: str, z: str, x: str, y: str) -> Response:
        values = map_tiles.read_tile(viewed.view(key), *map(_tile_number, (x, y, z)))
        packed = gzip.compress(values.astype("<i4").tobytes(), compresslevel=1)
        return Response(packed, 200, {"Content-Encoding": "gzip"}, "application/octet-stream")

    @app.get("/images/{rendering}/{time}/{z}/{x}/{y}")
    def image(rendering: str, time: str, z: str, x: str, y: str) -> Response:
        if viewed.images is None:
            raise DeepCropError("There are no images: start the viewer with --cube.")
        place = map(_tile_number, (x, y, z))
        return Response(viewed.images.tile(rendering, time, *place), media_type="image/png")

    @app.get("/api/pixel")
    def pixel(lon: float, lat: float) -> dict[str, Any]:
        return viewed.pixel(*viewed.cell(lon, lat))

    @app.get("/api/series")
    def series(lon: float, lat: float) -> list[dict[str, Any]]:
        return [series_json(item) for item in viewed.series(*viewed.cell(lon, lat))]

    @app.get("/api/distribution")
    def distribution(lon: float, lat: float) -> dict[str, Any]:
        row, col = viewed.cell(lon, lat)
        try:
            return prediction_json(viewed.predict(row, col)) | {"weights": viewed.weights()}
        except DeepCropError as error:  # no cube or no PyTorch: the request itself is valid
            return {"why": str(error)}

    @app.get("/api/pixel.csv")
    def download(lon: float, lat: float) -> Response:
        row, col = viewed.cell(lon, lat)
        return _csv(viewed, f"row{row}_col{col}", viewed.csv(row, col))

    @app.get("/api/place")
    def place(text: str) -> dict[str, Any]:
        try:
            longitude, latitude = parse_place(text, viewed.result.grid)
        except DeepCropError as error:  # what a user typed is a valid request
            return {"why": str(error)}
        return {"lon": longitude, "lat": latitude}

    @app.get("/api/area")
    def area(at: str | None = None, polygon: str | None = None) -> dict[str, Any]:
        return viewed.describe_area(viewed.area(at, polygon))

    @app.get("/api/area/series")
    def area_series(at: str | None = None, polygon: str | None = None) -> dict[str, Any]:
        return viewed.area_series(viewed.area(at, polygon))

    @app.get("/api/area.csv")
    def area_download(at: str | None = None, polygon: str | None = None) -> Response:
        found = viewed.area(at, polygon)
        return _csv(viewed, found.name.replace(" ", "_"), viewed.area_csv(found))

    app.mount("/files", StaticFiles(directory=viewed.result.path, follow_symlink=False))
    return app


def _csv(viewed: ViewedMap, name: str, content: str) -> Response:
    """Answer with a CSV file whose name says what it is of, and whether that is simulated."""
    prefix = "SIMULATED_" if viewed.simulated else ""
    until = f"_until_{viewed.until}" if viewed.until else ""
    file = f"{prefix}deepcrop_{viewed.result.year}{until}_{name}.csv"
    headers = {"Content-Disposition": f'attachment; filename="{file}"'}
    return Response(content, 200, headers, "text/csv; charset=utf-8")


def serve(
    path: Path,
    cube_path: Path | None,
    port: int,
    ready: Callable[[str], None],
    basemap: Path | None = None,
) -> None:
    """Serve a map until interrupted.

    Parameters
    ----------
    path : Path
        Directory made by ``deepcrop map``, or a folder of the issues of a map.
    cube_path : Path or None
        Cube that was mapped; without it the page has no images and no time series.
    port : int
        Port of this machine; 0 for any free one.
    ready : callable
        Called with the address as soon as the port is open.
    basemap : Path, optional
        PMTiles file that is shown behind the map.

    Raises
    ------
    DeepCropError
        If the port is in use, or the map, the cube or the basemap cannot be read.
    """
    issues, unfinished = open_issues(path, cube_path)
    app = create_app(Shown(tuple(issues), tuple(unfinished), basemap))
    # rasterio 1.4 warns while it warps in memory; its own filter is not safe with threads
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # early requests wait
        except OSError as error:
            raise DeepCropError(
                f"Port {port} cannot be opened ({error.strerror}); choose another with --port."
            ) from error
        Thread(target=_warm_up, args=(issues[-1],), daemon=True).start()
        ready(f"http://{HOST}:{listening.getsockname()[1]}/")
        config = uvicorn.Config(
            app,
            http=TimedProtocol,
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            log_level="warning",
            lifespan="off",
        )
        server = uvicorn.Server(config)
        with suppress(KeyboardInterrupt):  # Ctrl-C ends the viewer
            server.run(sockets=[listening])


def _warm_up(viewed: ViewedMap) -> None:
    """Load PyTorch and the compiled kernels before the first click needs them."""
    with suppress(DeepCropError):  # the first click reports the error
        viewed.series(0, 0)
        viewed.predict(0, 0)
