"""A folder in which what the documentation prints can be run, and archives on the loopback.

Archives answer with a small simulated region at the place that the documentation names; cameras are
those of the simulation under names of the real network, at places of their own.
"""

import contextlib
import shutil
from pathlib import Path

from tests.archive import cropland, phenocam
from tests.archive.server import Server
from tests.archive.stac import forget_tokens, serve_region

from deepcrop.cameras.spatial_split import TEST_SITES
from deepcrop.cube.contract import grid_of
from deepcrop.cube.io import open_cube
from deepcrop.simulation import Region, simulate

ROOT = Path(__file__).parents[2]
SITES = ("mead1", "north", *TEST_SITES)
"""Two to learn from, and the paper's test sites, which `deepcrop reproduce` asks for."""


@contextlib.contextmanager
def archives(folder):
    """Serve the archives; gives the environment that points to them, and a folder of cameras."""
    path = folder / "served.zarr"
    simulate(
        Region(
            rows=56, cols=56, latitude=38.35, longitude=-121.55, optical_scenes=12, sar_scenes=4,
            cameras=1,
        ),
        path,
    )  # fmt: skip
    cube = open_cube(path)
    raster = cropland.write_raster(folder / "cdl.tif", grid_of(cube))
    series = cameras(path, folder / "DATA" / "phenocam" / "series")
    forget_tokens()  # of another server
    with Server() as server:
        bed = serve_region(server, folder / "scenes", cube, ("pc-05.10", "pc-rtc"))
        cropland.serve(server, raster, years=(2018,))
        yield (
            bed.environment()
            | {
                "DEEPCROP_PC": bed.pc,
                "DEEPCROP_CROPSCAPE": f"{server.url}/cropscape",
                "DEEPCROP_PHENOCAM": phenocam.serve(server, series),
                "XDG_CONFIG_HOME": str(folder / "config"),
            },
            folder / "DATA",
        )


def cameras(region, folder):
    """Write the simulated camera under other names, a degree apart."""
    made = folder.parent / "made"
    phenocam.write_simulated(region, made)
    text = (made / "simulated0_AG_1000_3day.csv").read_text()
    latitude = next(line for line in text.splitlines() if line.startswith("# Lat:"))
    folder.mkdir(parents=True)
    for k, site in enumerate(SITES):
        moved = text.replace("simulated0", site).replace(latitude, f"# Lat: {38 + k}.5")
        (folder / f"{site}_AG_1000_3day.csv").write_text(moved)
    shutil.rmtree(made)
    return folder
