"""The viewer under load: 20 clients that ask for tiles of a map of 4000 x 1000 pixels at once.

    python benchmarks/viewer.py --out table.md

The map is SIMULATED DATA: fields of random dates, written straight as Cloud-Optimized GeoTIFFs. The
server is the real command in a process of its own, on the same machine as the clients. Each client
goes its own way over layers, zooms and places, tile after tile over one connection; a share of its
requests asks for what is not there, as an old link does.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
import rasterio
from morecantile import tms
from pyproj import Transformer

from deepcrop.products.layers import NO_PERCENT
from deepcrop.report.tables import Table
from deepcrop.stages import NO_DAY

CRS, LEFT, TOP, SIDE = "EPSG:32615", 440_000, 4_660_000, 10
FIELD = 28  # pixels on the side of a field
ZOOMS = range(9, 16)
MERCATOR = tms.get("WebMercatorQuad")


def write_map(folder: Path, rows: int, cols: int) -> list[str]:
    """Write a result by both methods, of one stage; return the keys of what can be looked at."""
    rng = np.random.default_rng(1)
    shape = (-(-rows // FIELD), -(-cols // FIELD))

    def mosaic(low: int, high: int) -> np.ndarray:
        fields = np.kron(rng.integers(low, high, shape), np.ones((FIELD, FIELD), int))
        return fields[:rows, :cols] + rng.integers(-3, 4, (rows, cols))

    day = mosaic(90, 160)
    empty = mosaic(0, 20) < 1
    layers = {
        "deepcrop/sos50": ("deepcrop", "day", None, np.where(empty, NO_DAY, day)),
        "deepcrop/sos50_low": ("deepcrop", "bound", "low", np.where(empty, NO_DAY, day - 9)),
        "deepcrop/sos50_high": ("deepcrop", "bound", "high", np.where(empty, NO_DAY, day + 12)),
        "deepcrop/sos50_probability": (
            "deepcrop",
            "percent",
            "probability",
            np.clip(mosaic(40, 99), 0, 100).astype(np.uint8),
        ),
        "curve/sos50": ("curve", "day", None, np.where(empty, NO_DAY, mosaic(95, 165))),
        "difference/sos50": ("difference", "difference", None, mosaic(-15, 15)),
    }
    assets = {}
    for key, (method, kind, part, values) in layers.items():
        nodata = NO_PERCENT if kind == "percent" else NO_DAY
        _write(
            folder / f"{key}.tif", values.astype(np.uint8 if nodata == 255 else np.int16), nodata
        )
        assets[key] = {
            "href": f"./{key}.tif",
            "title": key,
            "roles": ["data"],
            "bands": [{"unit": "days", "data_type": "int16", "nodata": nodata}],
            "deepcrop:method": method,
            "deepcrop:kind": kind,
            "deepcrop:stage": "sos50",
            "deepcrop:season": 1,
            "deepcrop:part": part,
        }
    about = {"deepcrop:simulated": True, "deepcrop:methods": ["curve", "deepcrop"]}
    (folder / "item.json").write_text(json.dumps({"properties": about, "assets": assets}))
    bounds = [LEFT, TOP - rows * SIDE, LEFT + cols * SIDE, TOP]
    grid = {"crs": CRS, "shape": [rows, cols], "resolution": SIDE, "bounds": bounds}
    summary = {"title": "simulated fields", "year": 2018, "grid": grid, "source": {}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return [*(key for key, layer in layers.items() if layer[1] != "bound"), "deepcrop/sos50_width"]


def _write(path: Path, values: np.ndarray, nodata: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    profile = {"driver": "COG", "dtype": values.dtype.name, "count": 1, "nodata": nodata}
    profile |= {"height": values.shape[0], "width": values.shape[1], "crs": CRS}
    profile |= {"compress": "deflate", "predictor": "standard", "blocksize": 512}
    transform = rasterio.Affine(SIDE, 0, LEFT, 0, -SIDE, TOP)
    with rasterio.open(
        path, "w", transform=transform, overview_resampling="nearest", **profile
    ) as f:
        f.write(values, 1)


class Client(threading.Thread):
    """One of the clients: its times and what went wrong."""

    def __init__(self, number: int, port: int, keys: list[str], bounds: tuple, tiles: int):
        super().__init__()
        self.rng = np.random.default_rng(number)
        self.port, self.keys, self.bounds, self.tiles = port, keys, bounds, tiles
        self.seconds: list[float] = []
        self.bytes = 0
        self.errors: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        left, bottom, right, top = self.bounds
        to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
        for _ in range(self.tiles):
            x, y = self.rng.uniform(left, right), self.rng.uniform(bottom, top)
            lon, lat = to_degrees.transform(x, y)
            tile = MERCATOR.tile(lon, lat, int(self.rng.choice(ZOOMS)))
            key = self.keys[self.rng.integers(len(self.keys))]
            wrong = self.rng.random() < 0.05
            path = f"/tiles/{'nothing' if wrong else key}/{tile.z}/{tile.x}/{tile.y}"
            begin = time.perf_counter()
            try:
                connection.request("GET", path)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.errors.append(f"{path}: {error}")
                connection.close()
                continue
            if answer.status != (404 if wrong else 200):
                self.errors.append(f"{path}: {answer.status}")
            elif not wrong:
                self.seconds.append(time.perf_counter() - begin)
                self.bytes += len(content)
        connection.close()


def processor(pid: int) -> float:
    """Seconds of processor time that a process has taken (Linux)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def measure(pid: int, port: int, keys: list[str], bounds: tuple, clients: int, tiles: int) -> dict:
    threads = [Client(k, port, keys, bounds, tiles) for k in range(clients)]
    begin, busy = time.perf_counter(), processor(pid)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - begin
    seconds = np.concatenate([thread.seconds for thread in threads])
    return {
        "clients": clients,
        "tiles": seconds.size,
        "median": float(np.median(seconds)),
        "p95": float(np.percentile(seconds, 95)),
        "rate": seconds.size / wall,
        "processor": (processor(pid) - busy) / seconds.size,
        "kilobytes": sum(thread.bytes for thread in threads) / seconds.size / 1000,
        "errors": [error for thread in threads for error in thread.errors],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", default="4000x1000", help="columns x rows")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 20])
    parser.add_argument("--tiles", type=int, default=2000, help="requests of all clients together")
    parser.add_argument("--port", type=int, default=18766)
    parser.add_argument("--out", type=Path, help="Markdown table to write")
    options = parser.parse_args()
    cols, rows = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as folder:
        keys = write_map(Path(folder) / "maps", rows, cols)
        bounds = (LEFT, TOP - rows * SIDE, LEFT + cols * SIDE, TOP)
        command = [sys.executable, "-m", "deepcrop", "view", f"{folder}/maps"]
        server = subprocess.Popen(
            [*command, "--port", str(options.port)], stdout=subprocess.PIPE, text=True
        )
        try:
            assert server.stdout is not None
            server.stdout.readline()
            measure(server.pid, options.port, keys, bounds, 4, 10)  # imports and caches
            results = [
                measure(server.pid, options.port, keys, bounds, clients, options.tiles // clients)
                for clients in options.clients
            ]
        finally:
            server.terminate()
            server.wait()
    cells = [
        (r["clients"], r["tiles"], f"{1000 * r['median']:.0f} ms", f"{1000 * r['p95']:.0f} ms",
         round(r["rate"]), f"{1000 * r['processor']:.0f} ms", f"{r['kilobytes']:.0f} kB",
         len(r["errors"]))
        for r in results
    ]  # fmt: skip
    columns = (
        "clients", "tiles", "median", "95 %", "tiles/s", "processor time a tile", "size", "errors",
    )  # fmt: skip
    lines = [
        f"SIMULATED DATA, {cols} x {rows} pixels; CPython {platform.python_version()}, "
        f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        "",
        Table("Time of tiles", columns, cells).to_markdown(),
        *(error for r in results for error in r["errors"][:5]),
    ]
    text = "\n".join(lines)
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
