"""A small HTTP server on the loopback: routes, byte ranges, revalidation, and faults on demand."""

from __future__ import annotations

import functools
import hashlib
import json
import re
import socket
import threading
import time
import urllib.parse
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: bytes
    time: float = field(default_factory=time.monotonic)

    def json(self) -> Any:
        return json.loads(self.body)

    def one(self, name: str, default: str | None = None) -> str | None:
        return self.query.get(name, [default])[0]


@dataclass
class Response:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


def json_response(content: Any, status: int = 200, kind: str = "application/json") -> Response:
    return Response(json.dumps(content).encode(), status, {"Content-Type": kind})


def file_response(path: Path, kind: str = "application/octet-stream") -> Response:
    body, tag = _content(path, path.stat().st_mtime_ns)
    return Response(body, headers={"Content-Type": kind, "ETag": tag})


@functools.lru_cache(maxsize=256)
def _content(path: Path, _changed: int) -> tuple[bytes, str]:
    body = path.read_bytes()
    return body, _tag(body)


def _tag(body: bytes) -> str:
    return '"' + hashlib.md5(body).hexdigest() + '"'


@dataclass
class Fault:
    """What happens to the next ``times`` requests whose path and query match ``pattern``.

    ``kind`` is a status such as ``"429"``, ``"503"`` or ``"401"``, ``"drop"`` (the connection ends
    in the middle of the body) or ``"truncate"`` (the file is half as long, and says so). A busy
    server (429, 503) asks for a pause of ``after`` seconds.
    """

    pattern: str
    kind: str
    times: int = 1
    after: int = 0


class Server:
    """Use as a context manager.

    ``url`` is its address, ``log`` what it was asked, ``sent`` how many bytes it has sent by path.
    """

    def __init__(self, port: int = 0) -> None:
        self.routes: list[tuple[str, re.Pattern[str], Callable[..., Response]]] = []
        self.faults: list[Fault] = []
        self.log: list[Request] = []
        self.sent: Counter[str] = Counter()  # bytes of bodies, by path
        self._lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"owner": self})
        self._http = _Http(("127.0.0.1", port), handler)
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Server:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def route(self, method: str, pattern: str, handler: Callable[..., Response]) -> None:
        """Answer ``method`` on paths that match the whole ``pattern``.

        ``handler`` takes the request and the named groups of the pattern.
        """
        self.routes.append((method, re.compile(pattern), handler))

    def fail(self, pattern: str, kind: str, times: int = 1, after: int = 0) -> None:
        with self._lock:
            self.faults.append(Fault(pattern, kind, times, after))

    def asked(self, pattern: str) -> list[Request]:
        """Requests so far whose path matches."""
        with self._lock:
            return [request for request in self.log if re.search(pattern, request.path)]

    def take_fault(self, target: str) -> Fault | None:
        with self._lock:
            for fault in self.faults:
                if fault.times > 0 and re.search(fault.pattern, target):
                    fault.times -= 1
                    return fault
        return None

    def answer(self, request: Request) -> Response:
        with self._lock:
            self.log.append(request)
        for method, pattern, handler in self.routes:
            match = pattern.fullmatch(request.path)
            if match and method == ("GET" if request.method == "HEAD" else request.method):
                return handler(request, **match.groupdict())
        return json_response({"detail": f"{request.method} {request.path}: not found"}, 404)


_PIECE = 16384  # bytes that are sent, and counted, at once


class _Http(ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """Say nothing of clients that were killed."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each body waits 40 ms behind its headers
    owner: Server

    def do_GET(self) -> None:
        self._serve()

    do_POST = do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        pass

    def _serve(self) -> None:
        split = urllib.parse.urlsplit(self.path)
        length = int(self.headers.get("Content-Length") or 0)
        request = Request(
            self.command,
            urllib.parse.unquote(split.path),
            urllib.parse.parse_qs(split.query),
            {name.lower(): value for name, value in self.headers.items()},
            self.rfile.read(length),
        )
        response = self.owner.answer(request)
        fault = self.owner.take_fault(self.path)
        kind = fault.kind if fault else ""
        if fault and kind.isdigit():
            headers = {"Retry-After": str(fault.after)} if kind in ("429", "503") else {}
            response = Response(b"", int(kind), headers)
        elif kind == "truncate":
            response.body = response.body[: len(response.body) // 2]
            response.headers.pop("ETag", None)
        self._send(request, response, drop=kind == "drop")

    def _send(self, request: Request, response: Response, drop: bool) -> None:
        body, status, headers = response.body, response.status, dict(response.headers)
        if status == 200 and request.method in ("GET", "HEAD"):
            tag = headers.get("ETag") or _tag(body)
            headers["ETag"] = tag
            headers["Accept-Ranges"] = "bytes"
            if request.headers.get("if-none-match") == tag:
                status, body = 304, b""
            span = re.fullmatch(r"bytes=(\d*)-(\d*)", request.headers.get("range", ""))
            if status == 200 and span and (span[1] or span[2]):
                first = int(span[1]) if span[1] else max(len(body) - int(span[2]), 0)
                last = min(int(span[2]), len(body) - 1) if span[1] and span[2] else len(body) - 1
                if first >= len(body) or first > last:
                    status, headers["Content-Range"], body = 416, f"bytes */{len(body)}", b""
                else:
                    headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
                    status, body = 206, body[first : last + 1]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if request.method == "HEAD":
            return
        end = len(body) // 2 if drop else len(body)
        for first in range(0, end, _PIECE):
            piece = body[first : min(first + _PIECE, end)]
            with self.owner._lock:
                self.owner.sent[request.path] += len(piece)
            self.wfile.write(piece)  # fails once the client has hung up
        if drop:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
