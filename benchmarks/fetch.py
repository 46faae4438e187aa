"""`deepcrop fetch` over loopback: time, bytes moved and peak memory, as a table.

    python benchmarks/fetch.py [--sizes 500 1000 1400] [--threads 4] [--out TABLE.md]

SIMULATED DATA: a square region of so many 10 m pixels on a side with 42 Sentinel-2 and 28
Sentinel-1 scenes, served as Planetary Computer serves it: STAC search, tokens, COGs read by ranges.
1000 pixels are 10 km x 10 km. The server is a process of its own, so its memory is not counted; on
a machine with few cores its time is. There is no network between: the time is what deepcrop adds
to what the connection takes.

Peak memory is that of the process that fetches (``ru_maxrss``). The work is done in tiles of 1024
pixels, so it should be the same for any area larger than that.
"""

import argparse
import json
import multiprocessing
import os
import platform
import re
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path

# This process stays small: the peak of a process counts what it was before it became another.

ROOT = Path(__file__).resolve().parents[1]
OPTICAL, SAR = 42, 28
PACKAGES = ("deepcrop", "numpy", "rasterio", "odc-stac", "zarr")


@dataclass(frozen=True)
class Run:
    """One fetch: rows and columns, seconds, bytes and requests answered, bytes of the cube and of
    memory at the peak."""

    shape: tuple[int, int]
    seconds: float
    moved: int
    requests: int
    cube: int
    memory: int


def serve(size: int, folder: Path, pipe: Connection) -> None:
    """Serve a region; say where, and on request what has been asked so far."""
    sys.path.insert(0, str(ROOT))
    from tests.archive import phenocam, server, stac

    from deepcrop.cube.io import open_cube
    from deepcrop.simulation import Region, simulate

    class Counting(server.Server):
        moved = requests = 0
        counting = threading.Lock()

        def answer(self, request: server.Request) -> server.Response:
            response = super().answer(request)
            span = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers.get("range", ""))
            whole = len(response.body)
            part = min(int(span[2]) + 1, whole) - int(span[1]) if span else whole
            with self.counting:
                self.moved += part if request.method != "HEAD" else 0
                self.requests += 1
            return response

    # On the middle of a zone, where a box of degrees is a box of metres.
    region = Region(size, size, longitude=-93.0, optical_scenes=OPTICAL, sar_scenes=SAR, cameras=0)
    path = folder / "region.zarr"
    simulate(region, path)
    west, south, east, north = region.geobox().geographic_extent.boundingbox.bbox
    (folder / "cameras").mkdir()
    with Counting() as loopback:
        cube = open_cube(path)
        bed = stac.serve_region(loopback, folder / "files", cube, ("pc-05.10", "pc-rtc"))
        cameras = phenocam.serve(loopback, folder / "cameras")
        addresses = {"DEEPCROP_PC": bed.pc, "DEEPCROP_PHENOCAM": cameras}
        pipe.send((f"{west},{south},{east},{north}", bed.environment() | addresses))
        pipe.recv()
        pipe.send((loopback.moved, loopback.requests))


def run(size: int, threads: int) -> Run:
    """Fetch a region of ``size`` x ``size`` pixels."""
    with tempfile.TemporaryDirectory(prefix="deepcrop-benchmark-") as name:
        folder = Path(name)
        spawn = multiprocessing.get_context("spawn")
        ours, theirs = spawn.Pipe()
        server = spawn.Process(target=serve, args=(size, folder, theirs), daemon=True)
        server.start()
        theirs.close()
        area, addresses = ours.recv()
        out = folder / "fetched.zarr"
        options = [f"--area={area}", "--years", "2018", "--threads", str(threads)]
        begin = time.perf_counter()
        fetching = subprocess.Popen(
            [sys.executable, "-m", "deepcrop", "fetch", str(out), *options],
            env=os.environ | addresses | {"XDG_CONFIG_HOME": name},
            stdout=subprocess.DEVNULL,
        )
        _, status, used = os.wait4(fetching.pid, 0)
        seconds = time.perf_counter() - begin
        fetching.returncode = os.waitstatus_to_exitcode(status)
        if fetching.returncode != 0:
            raise SystemExit(f"deepcrop fetch ended with status {fetching.returncode}.")
        ours.send("done")
        moved, requests = ours.recv()
        server.join()
        cube = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
        memory = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        rows, cols = (
            json.loads((out / "optical" / axis / "zarr.json").read_text())["shape"][0]
            for axis in "yx"
        )
        return Run((rows, cols), seconds, moved, requests, cube, memory)


def table(runs: list[Run], threads: int) -> str:
    """Format the runs as Markdown."""
    from deepcrop.report.tables import Table  # after all runs: it would count in their memory

    packages = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    cells = [
        (f"{r.shape[0] / 100:.1f} km x {r.shape[1] / 100:.1f} km", f"{r.shape[0]} x {r.shape[1]}",
         round(r.seconds), round(r.moved / 1e6), r.moved / 1e6 / r.seconds, r.requests,
         round(r.cube / 1e6), round(r.memory / 1e6))
        for r in runs
    ]  # fmt: skip
    columns = (
        "area", "pixels", "time, s", "moved, MB", "MB/s", "requests", "cube, MB", "peak memory, MB",
    )  # fmt: skip
    lines = [
        f"SIMULATED DATA, {OPTICAL} Sentinel-2 and {SAR} Sentinel-1 scenes over loopback HTTP, "
        f"{threads} threads.",
        f"{_machine()}, {os.cpu_count()} cores, CPython {platform.python_version()}, {packages}.",
        "",
        Table("Time and memory of a fetch", columns, cells).to_markdown(),
    ]
    return "\n".join(lines)


def _machine() -> str:
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*: (.+)$", info.read_text(), re.M) if info.exists() else []
    return names[0].strip() if names else platform.processor() or platform.machine()


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of 'deepcrop fetch'.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[500, 1000, 1400], help="pixels")
    parser.add_argument("--threads", type=int, default=4)
    parser.add_argument("--out", type=Path, help="also write the table here")
    wanted = parser.parse_args()
    text = table([run(size, wanted.threads) for size in wanted.sizes], wanted.threads)
    print(text, end="")
    if wanted.out:
        wanted.out.write_text(text)


if __name__ == "__main__":
    main()
