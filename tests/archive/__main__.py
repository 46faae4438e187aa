"""Serve a simulated region from all archives, until Ctrl-C: ``python -m tests.archive``.

What it prints, pasted into another terminal, points deepcrop to it.
"""

from __future__ import annotations

import argparse
import contextlib
import shlex
import tempfile
import threading
from pathlib import Path

from tests.archive import cropland, earthengine, phenocam, stac
from tests.archive.server import Server

from deepcrop import grid
from deepcrop.cube.io import open_cube
from deepcrop.simulation import Region, simulate

REGION = Region(rows=120, cols=160, optical_scenes=42, sar_scenes=28)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tests.archive", description="Serve a simulated region from all archives."
    )
    parser.add_argument("--port", type=int, default=0, help="by default any that is free")
    parser.add_argument(
        "--region",
        type=Path,
        help="store that 'deepcrop simulate' has made; by default a small region is simulated",
    )
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deepcrop-archive-") as folder:
        path = wanted.region or Path(folder) / "region.zarr"
        if wanted.region is None:
            simulate(REGION, path)
        with Server(wanted.port) as server, contextlib.suppress(KeyboardInterrupt):
            print(serve(server, path, Path(folder)), flush=True)
            threading.Event().wait()


def serve(server: Server, path: Path, folder: Path) -> str:
    """Serve a simulated store from every archive, and say how to get there."""
    cube = open_cube(path)
    box = grid.grid_of(cube["optical"].to_dataset())
    year = cube.attrs["simulation"]["year"]
    bed = stac.serve_region(
        server,
        folder / "scenes",
        cube,
        ("pc-05.10", "pc-rtc", "cdse-05.10", "es-c1", "es-legacy", "es-v0"),
    )
    raster = cropland.write_raster(folder / "cdl.tif", box)
    cropland.serve(server, raster, years=(year,))
    cropland.publish(bed, raster, years=(year,))
    looks = phenocam.write_simulated(path, folder / "cameras")
    cameras = phenocam.serve(server, folder / "cameras", orientation=looks)
    engine = earthengine.serve(server, cube)
    variables = {
        "DEEPCROP_PC": bed.pc,
        "DEEPCROP_CDSE": bed.cdse,
        "DEEPCROP_EARTH_SEARCH": bed.es,
        "DEEPCROP_PHENOCAM": cameras,
        "DEEPCROP_CROPSCAPE": f"{server.url}/cropscape",
        "DEEPCROP_EARTH_ENGINE": engine.url,
        "GOOGLE_CLOUD_PROJECT": "simulated",
        **bed.environment(),
    }
    west, south, east, north = box.geographic_extent.boundingbox.bbox
    lines = [
        "# Simulated archives; in another terminal:",
        *(f"export {name}={shlex.quote(value)}" for name, value in variables.items()),
        f"# Area:                      {west:.5f},{south:.5f},{east:.5f},{north:.5f}",
        f"# Year:                      {year}",
        f"# Cameras:                   {', '.join(looks)}",
        f"# Earth Search, version 0:   {bed.es_v0}",
        "# Ctrl-C ends it.",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
