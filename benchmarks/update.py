"""What an update costs against a whole map: one new scene that touches a quarter of the region.

    python benchmarks/update.py --method deepcrop --size 4000x1000
    python benchmarks/update.py --method curve --size 1000x1000

SIMULATED DATA, 42 optical and 28 radar scenes. The cube is simulated once into ``--folder``. Its
last optical scene before ``--until`` is taken out, and comes back by `deepcrop update` from an
archive in this process, with data in the western quarter alone: reading it costs nothing here, all
else is timed: the search, the rewriting of the cube, the tiles, the files of the issue. The whole
map is that of the same cube and day. The second table splits the CPU time of both.
"""

import argparse
import functools
import platform
import shutil
import time
from datetime import date
from pathlib import Path

import numpy as np

from deepcrop.cube.contract import OPTICAL_BANDS, grid_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.fetch import add_scenes, rewrite
from deepcrop.fetch.manifest import Outcome
from deepcrop.fetch.plan import FetchRequest
from deepcrop.fetch.update import update
from deepcrop.mapping import region
from deepcrop.mapping.dask_cluster import ClusterOptions
from deepcrop.mapping.options import resolve_options
from deepcrop.mapping.region import write_map
from deepcrop.products import write as product_writer
from deepcrop.simulation import Region, simulate
from deepcrop.sources.archive import Scene

STAGES = {
    "chunks of the cube": (rewrite, "write_tile"),
    "tiles taken over": (region, "untouched_tiles"),
    "tiles mapped": (region, "_make_tiles"),
    "files written": (product_writer, "write_products"),
}


def count_stages(spent):
    """Add the CPU time of each stage to ``spent`` from now on."""

    def counted(call, stage):
        @functools.wraps(call)
        def run(*given, **named):
            begin = time.process_time()
            found = call(*given, **named)
            if stage == "tiles taken over":
                found = list(found)
            spent[stage] += time.process_time() - begin
            return found

        return run

    for stage, (module, name) in STAGES.items():
        setattr(module, name, counted(getattr(module, name), stage))


class Archive:
    """An archive with the scenes of a cube; the last optical one has data in the west alone."""

    name = "pc"

    def __init__(self, cube, scenes, new):
        self.cube, self.scenes, self.new = cube, scenes, new
        self.box = grid_of(cube)

    def search(self, box, start, end, sensor, *, saved=None, readable=True):
        return self.scenes[sensor] + ([self.new] if sensor == "optical" else [])

    def read(self, scene, box):
        left = round((box.boundingbox.left - self.box.boundingbox.left) / 10)
        top = round((self.box.boundingbox.top - box.boundingbox.top) / 10)
        rows, cols = box.shape
        image = self.cube["optical"].to_dataset().sel(time=scene.time)
        image = image.isel(y=slice(top, top + rows), x=slice(left, left + cols))
        west = np.arange(left, left + cols) < self.box.shape[1] // 4
        bands = {name: np.where(west, image[name].values, np.nan) for name in OPTICAL_BANDS}
        if "scl" in image:
            bands["scl"] = np.where(west, image["scl"].values, 0).astype(np.uint8)
        return bands

    def attrs(self, sensor, scenes):
        return dict(self.cube[sensor].attrs)


def scenes_of(cube, sensor):
    data = cube[sensor].to_dataset()
    orbits = data["relative_orbit"].values if "relative_orbit" in data.coords else None
    return [
        Scene(sensor, t, (f"{sensor} {t}",), None if orbits is None else int(orbits[k]))
        for k, t in enumerate(data["time"].values)
    ]


def prepare(folder, size, until):
    """The cube without its last optical scene before ``until``, and the archive that has it."""
    cols, rows = map(int, size.split("x"))
    path = folder / f"region_{size}.zarr"
    if not path.exists():
        period = {"start": "2018-01-01", "end": "2019-01-31"}
        simulate(Region(rows=rows, cols=cols, optical_scenes=42, sar_scenes=28, **period), path)
    whole = open_cube(path)
    day = np.datetime64(until) + np.timedelta64(1, "D")
    scenes = {
        sensor: [one for one in scenes_of(whole, sensor) if one.time < day]
        for sensor in ("optical", "sar")
    }
    new = scenes["optical"].pop()
    request = FetchRequest(grid_of(whole), date(2018, 1, 1), until, sensors=("optical", "sar"))
    early = folder / f"early_{size}.zarr"
    if not early.exists():
        cube = whole.copy()
        for sensor, found in scenes.items():
            data = whole[sensor].to_dataset().sel(time=[one.time for one in found])
            cube[sensor] = type(cube)(data)
        record = {name: [Outcome(one).to_json() for one in of] for name, of in scenes.items()}
        cube.attrs |= {"request": request.to_json(), "scenes": record}
        save_cube(cube, early)
    return early, Archive(whole, scenes, new)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--method", default="curve", choices=("curve", "deepcrop", "both"))
    parser.add_argument("--size", default="1000x1000", help="columns x rows")
    parser.add_argument("--until", type=date.fromisoformat, default=date(2018, 7, 15))
    parser.add_argument("--folder", type=Path, default=Path("benchmark_update"))
    wanted = parser.parse_args()
    wanted.folder.mkdir(exist_ok=True)
    early, archive = prepare(wanted.folder, wanted.size, wanted.until)
    add_scenes.open_requested_archive = lambda request: archive
    cube, maps = wanted.folder / "cube.zarr", wanted.folder / "maps"
    for path in (cube, maps, wanted.folder / "whole"):
        shutil.rmtree(path, ignore_errors=True)
    shutil.copytree(early, cube)
    maps.mkdir()
    options = resolve_options(wanted.method, until=wanted.until)
    first = max(one.time for one in archive.scenes["optical"]).astype("datetime64[D]").item()
    before = resolve_options(wanted.method, until=first)
    write_map(cube, 2018, maps / str(first), before, ClusterOptions())
    spent = dict.fromkeys(STAGES, 0.0)
    count_stages(spent)
    begin, cpu = time.perf_counter(), time.process_time()
    add_scenes.add_scenes(cube, wanted.until)
    written = time.perf_counter()
    done = update(cube, maps, 2018, options, until=wanted.until)
    updated, cpu_updated = time.perf_counter(), time.process_time()
    of_update = dict(spent)
    spent.update(dict.fromkeys(STAGES, 0.0))
    write_map(cube, 2018, wanted.folder / "whole", options, ClusterOptions())
    whole = time.perf_counter() - updated
    of_whole = spent | {"in all": time.process_time() - cpu_updated}
    of_update["in all"] = cpu_updated - cpu
    tiles = len((done.issue.path / "manifest.jsonl").read_text().splitlines())
    took = updated - begin
    print(
        f"SIMULATED DATA, {wanted.size} pixels, {wanted.method}, {platform.processor()}\n"
        f"| cube, s | issue, s | update, s | whole map, s | share | tiles mapped |\n"
        f"|--:|--:|--:|--:|--:|--:|\n"
        f"| {written - begin:.1f} | {updated - written:.1f} | {took:.1f} | {whole:.1f} | "
        f"{took / whole:.2f} | {tiles - done.taken_over} of {tiles} |\n\n"
        "| CPU time, s | update | whole map |\n|---|--:|--:|\n"
        + "\n".join(f"| {x} | {of_update[x]:.1f} | {of_whole[x]:.1f} |" for x in of_update)
    )


if __name__ == "__main__":
    main()
