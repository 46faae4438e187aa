"""The server: one page, tiles of numbers, pictures of the cube, and what is known of a pixel.

Layers, looks and dates are looked up by name; the only paths in requests are those of the page's
own files and of the result directory, neither of which can be left.
"""

from __future__ import annotations

import gzip
import socket
import warnings
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Any

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from fastapi.staticfiles import StaticFiles
from rasterio.errors import NotGeoreferencedWarning
from starlette.middleware.trustedhost import TrustedHostMiddleware
from titiler.core.errors import DEFAULT_STATUS_CODES, add_exception_handlers

from deepcrop.errors import DeepCropError
from deepcrop.viewer import map_tiles
from deepcrop.viewer.pixel_distribution import answer_json
from deepcrop.viewer.pixel_series import track_json
from deepcrop.viewer.viewed_map import Shown

HOST = "127.0.0.1"
"""Nobody beyond this machine is served."""

_STATIC = Path(__file__).with_name("static")

_HEADERS = {
    # The page may ask nothing of other hosts; MapLibre's worker and button symbols are inline.
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; "
    "worker-src 'self' blob:; style-src 'self' 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",  # the next result may be served at the same address
}


def create_app(shown: Shown) -> FastAPI:
    """Make the server of a result."""
    # FastAPI's own pages of documentation would load their scripts from elsewhere.
    app = FastAPI(title="Deep-CroP", docs_url=None, redoc_url=None, openapi_url=None)
    # Another site's page could reach us by a name of its own that resolves to this machine.
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    add_exception_handlers(app, DEFAULT_STATUS_CODES)  # a tile beyond the map is 404

    @app.exception_handler(DeepCropError)
    def missing(_: Request, error: DeepCropError) -> JSONResponse:
        return JSONResponse({"detail": str(error)}, status_code=404)

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

    @app.get("/api/result")
    def result() -> dict[str, Any]:
        return shown.describe()

    @app.get("/api/legend/{key:path}")
    def legend(key: str) -> dict[str, Any]:
        return shown.legend(key)

    @app.get("/tiles/{key:path}/{z:int}/{x:int}/{y:int}")
    def tile(key: str, z: int, x: int, y: int) -> Response:
        values = map_tiles.tile(shown.view(key), x, y, z)
        packed = gzip.compress(values.astype("<i4").tobytes(), compresslevel=1)
        return Response(packed, 200, {"Content-Encoding": "gzip"}, "application/octet-stream")

    @app.get("/background/{look}/{time}/{z:int}/{x:int}/{y:int}")
    def background(look: str, time: str, z: int, x: int, y: int) -> Response:
        if shown.background is None:
            raise DeepCropError("There are no pictures: start the viewer with --cube.")
        return Response(shown.background.tile(look, time, x, y, z), media_type="image/png")

    @app.get("/api/pixel")
    def pixel(lon: float, lat: float) -> dict[str, Any]:
        return shown.pixel(*shown.cell(lon, lat))

    @app.get("/api/series")
    def series(lon: float, lat: float) -> list[dict[str, Any]]:
        return [track_json(track) for track in shown.tracks(*shown.cell(lon, lat))]

    @app.get("/api/distribution")
    def distribution(lon: float, lat: float) -> dict[str, Any]:
        row, col = shown.cell(lon, lat)
        try:
            return answer_json(shown.answer(row, col)) | {"weights": shown.weights()}
        except DeepCropError as error:  # no cube, no PyTorch: nothing is wrong with the question
            return {"why": str(error)}

    @app.get("/api/pixel.csv")
    def download(lon: float, lat: float) -> Response:
        row, col = shown.cell(lon, lat)
        mark = "SIMULATED_" if shown.simulated else ""
        name = f"{mark}deepcrop_{shown.result.year}_row{row}_col{col}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return Response(shown.csv(row, col), 200, headers, "text/csv; charset=utf-8")

    app.mount("/static", StaticFiles(directory=_STATIC))
    app.mount("/files", StaticFiles(directory=shown.result.path, follow_symlink=False))
    return app


def serve(path: Path, cube_path: Path | None, port: int, ready: Callable[[str], None]) -> None:
    """Serve a result until interrupted.

    Parameters
    ----------
    path : Path
        Directory made by ``deepcrop map``.
    cube_path : Path or None
        The cube it was made from; without it there are no pictures and no series.
    port : int
        Of this machine.
    ready : callable
        Is told the address once the port is ours.

    Raises
    ------
    DeepCropError
        If the port is taken, or the result or the cube cannot be used.
    """
    shown = Shown(path, cube_path)
    app = create_app(shown)
    # rasterio 1.4 silences it while it warps in memory, in a way that other threads can undo
    warnings.filterwarnings("ignore", category=NotGeoreferencedWarning)
    with socket.socket() as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()  # who comes early waits
        except OSError as error:
            raise DeepCropError(
                f"Port {port} cannot be had ({error.strerror}); choose another with --port."
            ) from error
        Thread(target=_warm_up, args=(shown,), daemon=True).start()
        ready(f"http://{HOST}:{listening.getsockname()[1]}/")
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        with suppress(KeyboardInterrupt):  # the way to end it
            server.run(sockets=[listening])


def _warm_up(shown: Shown) -> None:
    """Load what the first click needs, PyTorch and compiled kernels, while the map is looked at."""
    with suppress(DeepCropError):  # whoever clicks is told
        shown.tracks(0, 0)
        shown.answer(0, 0)
