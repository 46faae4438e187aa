"""How fast landscapes are mapped: each command prints a table with machine, versions and ratios.

    python benchmarks/maps.py curve                  # the region by the curve: under 60 s, 4 GB?
    python benchmarks/maps.py deepcrop               # by the network: over 3300 pixels/s, 6 GB?
    python benchmarks/maps.py deepcrop --device cuda # on a GPU: under a minute?
    python benchmarks/maps.py patchwise              # dense against patch by patch, our network
    python benchmarks/maps.py patchwise --network paper
    python benchmarks/maps.py workers                # two Dask workers against one process
    python benchmarks/maps.py measures               # what --measures costs
    python benchmarks/maps.py linear                 # 1, 2 and 4 million pixels
    python benchmarks/maps.py precision              # bfloat16 against float32
    python benchmarks/maps.py parts                  # processor time of each part of a curve map
    python benchmarks/maps.py paired --trees OLD/src NEW/src --rounds 3  # two versions in turn

SIMULATED DATA. The region is 4000 x 1000 pixels (``--size``) with 42 optical and 28 radar scenes,
about 40 km x 10 km as the paper's first area, simulated once into ``--folder`` (some minutes) and
read from disk; maps are written as products. Times are of the whole command, Python's start
included; a first run compiles kernels. Beside each stands what ``deepcrop map --dry-run`` expected.
``--out FILE`` also writes the table.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

MEASURED = """
import json, resource, runpy, sys, time
start = time.time()
sys.argv = ["deepcrop", *json.loads(sys.argv[1])]
try:
    runpy.run_module("deepcrop", run_name="__main__")
except SystemExit as stop:
    assert not stop.code, stop.code
own, others = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
cpu = sum(each.ru_utime + each.ru_stime for each in (own, others))
peak = max(own.ru_maxrss, others.ru_maxrss) / 1024**2
print("MEASURED", json.dumps({"seconds": time.time() - start, "cpu": cpu, "gigabytes": peak}))
"""


def measured(*arguments, tree=None):
    """Run a command of deepcrop; seconds, seconds of processor time, peak memory of a process.

    ``tree``: the ``src`` folder to run, by default that of this environment.
    """
    command = [sys.executable, "-c", MEASURED, json.dumps([str(a) for a in arguments])]
    environment = os.environ | ({} if tree is None else {"PYTHONPATH": str(tree)})
    run = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    said, numbers = run.stdout.split("MEASURED")
    return json.loads(numbers) | {"said": said}


def region(folder, size):
    """The simulated region, made once."""
    path = folder / f"region_{size}.zarr"
    if not path.exists():
        period = ["--start", "2018-01-01", "--end", "2019-01-31"]
        scenes = ["--optical-scenes", "42", "--sar-scenes", "28"]
        measured("simulate", path, "--size", size, *period, *scenes)
    return path


def pixels(size):
    cols, rows = map(int, size.split("x"))
    return cols * rows


def mapped(options, size, *arguments):
    """Map a region; what it took."""
    out = options.folder / "maps"
    command = [
        "map", region(options.folder, size), "--year", "2018", "--out", out, "--overwrite",
        *arguments,
    ]  # fmt: skip
    said = measured(*command, "--dry-run")["said"]
    took = measured(*command)
    return took | {
        "rate": pixels(size) / took["seconds"],
        "cpu_rate": pixels(size) / took["cpu"],
        "expected": expected(said),
    }


def expected(said):
    """Time and memory that a dry run tells, for the table."""
    time_, memory = (
        re.search(rf"^{what} +(?:about )?(.*?)(?: on| a process|$)", said, re.M)[1]
        for what in ("time", "memory")
    )
    return f"{time_}, {memory}"


COLUMNS = (
    "run", "pixels", "time, s", "pixels/s", "pixels per s of a core", "peak memory, GB", "expected",
)  # fmt: skip


def row(name, size, took):
    return (
        name,
        f"{pixels(size):,}",
        f"{took['seconds']:.1f}",
        f"{took['rate']:,.0f}",
        f"{took['cpu_rate']:,.0f}",
        f"{took['gigabytes']:.2f}",
        took["expected"],
    )


def table(*rows, title="Time and memory", columns=COLUMNS):
    # Imported after the runs: the peak memory of a child counts what its parent had.
    from deepcrop.report.tables import Table

    return Table(title, columns, rows).to_markdown().splitlines()


def whole(options):
    """The region by one method."""
    where = ["--device", options.device, "--precision", options.precision]
    took = mapped(options, options.size, "--method", options.command, *where)
    other = [each for each in (options.device, options.precision) if each not in ("cpu", "float32")]
    return table(row(" ".join([options.command, *other]), options.size, took))


def workers(options):
    """Processes of Dask against the threads of one process."""
    method = ["--method", options.method]
    one = mapped(options, options.size, *method)
    two = mapped(options, options.size, *method, "--workers", "2")
    ratio = one["seconds"] / two["seconds"]
    return [
        *table(
            row(f"{options.method}, one process", options.size, one),
            row(f"{options.method}, two Dask workers", options.size, two),
        ),
        "",
        f"Two workers are {ratio:.2f} times as fast as one process.",
    ]


def measures(options):
    """The curve without and with the measures of each season."""
    plain = mapped(options, options.size)
    more = mapped(options, options.size, "--measures")
    return [
        *table(row("curve", options.size, plain), row("curve, --measures", options.size, more)),
        "",
        f"With measures a map takes {more['cpu'] / plain['cpu']:.2f} times the time of a core.",
    ]


def linear(options):
    """Time by size; the smallest region is the measure."""
    rows, per_pixel = [], []
    for size in options.sizes:
        took = mapped(options, size, "--method", options.method)
        per_pixel.append(took["seconds"] / pixels(size))
        rows.append(row(options.method, size, took))
    ratio = per_pixel[-1] / per_pixel[0]
    return [*table(*rows), "", f"A pixel of the last takes {ratio:.2f} times one of the first."]


def paired(options):
    """Two versions in turn, so that a busy machine slows both alike; and whether they agree."""
    path, trees = region(options.folder, options.size), [tree.resolve() for tree in options.trees]
    outs = [options.folder / f"maps_{name}" for name in ("old", "new")]
    command = ["map", path, "--year", "2018", "--method", options.method, "--overwrite", "--out"]
    for tree, out in zip(trees, outs, strict=True):  # compiles kernels
        measured(*command, out, tree=tree)
    runs = [
        [measured(*command, out, tree=tree) for tree, out in zip(trees, outs, strict=True)]
        for _ in range(options.rounds)
    ]
    rows = []
    for what, unit in (("seconds", "s"), ("cpu", "s"), ("gigabytes", "GB")):
        old, new = np.array([[run[what] for run in pair] for pair in runs]).T
        ratio = old / new
        rows.append(
            (
                f"{what}, {unit}",
                f"{np.median(old):.2f}",
                f"{np.median(new):.2f}",
                f"{np.median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})",
            )
        )
    columns = ("median of the runs", "old", "new", "old / new, median (range)")
    title = f"{pixels(options.size):,} pixels by {options.method}, {options.rounds} rounds in turn"
    return [*table(*rows, title=title, columns=columns), "", agreement(*outs)]


def agreement(old, new):
    """Say in how many layers two maps hold the same values."""
    import rasterio

    names = sorted(path.relative_to(old) for path in old.rglob("*.tif"))
    same = 0
    for name in names:
        with rasterio.open(old / name) as one, rasterio.open(new / name) as other:
            same += np.array_equal(one.read(1), other.read(1))
    return f"{same} of {len(names)} layers hold the same values."


def parts(options):
    """Processor time of the parts of a map by the curve, each done eight times."""
    import rasterio

    from deepcrop import figures
    from deepcrop.mapping import tiles
    from deepcrop.mapping.inputs import InputCube
    from deepcrop.mapping.options import TileJob, resolve_options
    from deepcrop.mapping.work_store import WorkStore
    from deepcrop.products.cog import windows, write_cog
    from deepcrop.products.layers import describe

    cube = InputCube.open(region(options.folder, options.size))
    jobs = [
        TileJob.of(cube, 2018, resolve_options(intervals=given).methods) for given in (None, False)
    ]
    plans = [job.plans(cube) for job in jobs]
    rows, cols = cube.box.shape
    described = describe("curve", 2018)
    work = WorkStore.of(options.folder / "work", {"curve": described}, (rows, cols), 256, False)
    work.create(lambda: iter(()))
    core = work.layers.cores[0]
    layer = next(layer for layer in described if layer.name == "sos50")
    images = tiles.read_tile(plans[0], None, core)
    made = tiles.compute_tile(jobs[0], plans[0], core, *images)
    tile = made[0]["curve"]["sos50"]
    values = np.tile(tile, (-(-rows // 256), -(-cols // 256)))[:rows, :cols]
    path = options.folder / "sos50.tif"

    def picture():
        with rasterio.open(path) as dataset:
            shrink = max(1.0, max(rows, cols) / figures.LONG_SIDE)
            days = dataset.read(1, out_shape=(round(rows / shrink), round(cols / shrink)))
        figure = figures.stage_map(
            days, year=2018, stage="sos50", resolution=10.0, simulated=True, title="a region"
        )
        figures.save(figure, options.folder / "sos50.png")

    def cog():
        write_cog(path, layer, cube.box, {}, ((w, values[w]) for w in windows(cube.box)))

    done = []
    for name, act in (
        ("a tile of 65 536 pixels: read", lambda: tiles.read_tile(plans[0], None, core)),
        ("compute", lambda: tiles.compute_tile(jobs[0], plans[0], core, *images)),
        ("without intervals", lambda: tiles.compute_tile(jobs[1], plans[1], core, *images)),
        ("write", lambda: tiles.write_tile(work, core, made, 0.0)),
        (f"a layer of {pixels(options.size):,} pixels as COG", cog),
        ("its picture", picture),
    ):
        act()
        start = time.process_time()
        for _ in range(8):
            act()
        done.append((name, f"{(time.process_time() - start) / 8:.3f}"))
    return table(*done, title="Curve", columns=("part", "seconds of processor time"))


def tile_of(options):
    """Images of a square of the region with its halo, as the network reads them."""
    from deepcrop import grid
    from deepcrop.mapping import inputs
    from deepcrop.mapping.inputs import InputCube
    from deepcrop.mapping.network import NetworkMethod

    size = f"{max(options.side + 17, 64)}x{max(options.side + 17, 64)}"
    path = region(options.folder, size)
    plan = NetworkMethod().plan(InputCube.open(path), 2018)
    core = slice(9, 9 + options.side)
    tile = grid.tile_at((core, core), (options.side + 17,) * 2, grid.PATCH_HALO)
    images = plan.images
    return (
        inputs.padded(images["optical"].data, tile),
        images["optical"].days,
        inputs.padded(images["sar"].data, tile),
        images["sar"].days,
        inputs.orbits_of(images["sar"].data),
    )


def patchwise(options):
    """Dense against one patch for each pixel; times are of the clock, ratios of this run."""
    import torch

    from deepcrop.network import CONFIGS, Batch, build, load
    from deepcrop.network.inference import stages_of_definition, tile_dates
    from deepcrop.network.weights import shipped

    torch.set_num_threads(options.cores)
    torch.manual_seed(0)
    own = options.network == "default"  # as maps use it, without dates in the NDVI-curve definition
    net = (
        stages_of_definition(load(shipped())[0], "camera")
        if own
        else build(CONFIGS["paper"]).eval()
    )
    images = tile_of(options)
    tile_dates(net, *(x[..., :34, :34] if x.ndim > 1 else x for x in images))  # to warm up
    start = time.perf_counter()
    dense = tile_dates(net, *images)
    rate = options.side**2 / (time.perf_counter() - start)
    rows = [(f"dense, {options.side} x {options.side} pixels", f"{rate:,.1f}", "1")]
    optical, optical_days, radar, radar_days, orbits = map(torch.from_numpy, images)
    places = np.random.default_rng(0).integers(0, options.side, (options.patches, 2))
    worst = 0.0
    for size in options.batches:
        start = time.perf_counter()
        with torch.inference_mode():
            for first in range(0, max(len(places) // size * size, size), size):
                some = places[first : first + size]
                batch = Batch(
                    torch.stack([optical[..., r : r + 18, c : c + 18] for r, c in some]),
                    optical_days.expand(len(some), -1),
                    torch.stack([radar[..., r : r + 18, c : c + 18] for r, c in some]),
                    radar_days.expand(len(some), -1),
                    orbits.expand(len(some), -1),
                )
                seen = net.encode(batch)
                dates = net.decode(net.head(seen), seen)
                r, c = some.T
                apart = np.abs(dates.probability.numpy() - dense.probability[r, c])
                worst = max(worst, float(apart.max()))
        done = max(len(places) // size * size, min(size, len(places)))
        each = done / (time.perf_counter() - start)
        rows.append((f"patch by patch, {size} at a time", f"{each:,.1f}", f"{rate / each:.1f}"))
    return [
        *table(
            *rows,
            title=f"Network `{options.network}` on {options.cores} cores",
            columns=("form", "pixels/s", "speed-up of dense"),
        ),
        "",
        f"Largest difference of a probability: {worst:.1e}.",
    ]


def precision(options):
    """What bfloat16 does to speed and dates on this processor."""
    import torch

    from deepcrop.network import load
    from deepcrop.network.inference import stages_of_definition, tile_dates
    from deepcrop.network.weights import shipped

    torch.set_num_threads(1)
    net, images = stages_of_definition(load(shipped())[0], "camera"), tile_of(options)
    rows, reference = [], None
    for name in ("float32", "bfloat16"):
        tile_dates(net, *images, precision=name)
        start = time.process_time()
        dates = tile_dates(net, *images, precision=name)
        rate = options.side**2 / (time.process_time() - start)
        reference = reference or dates
        both = np.isfinite(dates.day) & np.isfinite(reference.day)
        apart = (dates.day - reference.day)[both]
        share = both.sum() / np.isfinite(reference.day).sum()
        rows.append(
            (name, f"{rate:,.0f}", f"{100 * share:.2f} %",
             f"{100 * (np.abs(apart) <= 1).mean():.2f} %", f"{np.median(apart):.3f}")
        )  # fmt: skip
    columns = ("numbers", "pixels/s of a core", "dates kept", "within a day", "median change, days")
    return table(*rows, title="Speed and dates by precision", columns=columns)


def machine(device="cpu"):
    """The machine and what runs on it, in a line."""
    import importlib.metadata as metadata

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        found = [
            x.split(":", 1)[1].strip() for x in info.read_text().splitlines() if "model n" in x
        ]
        name = f"{len(found)} cores {found[0]}" if found else name
    if device != "cpu":
        import torch

        name += f", {torch.cuda.get_device_name()}"
    packages = ("numpy", "numba", "torch", "zarr", "rasterio", "distributed")
    versions = ", ".join(f"{p} {metadata.version(p)}" for p in packages)
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=Path(__file__).parent, capture_output=True,
        text=True, check=False,
    ).stdout.strip()  # fmt: skip
    today = time.strftime("%Y-%m-%d")
    return (
        f"{today}, commit {commit or '-'}; {name}; CPython {platform.python_version()}; {versions}"
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = {
        "curve": whole, "deepcrop": whole, "both": whole, "workers": workers, "linear": linear,
        "measures": measures,
        "patchwise": patchwise, "precision": precision, "paired": paired, "parts": parts,
    }  # fmt: skip
    parser.add_argument("command", choices=commands)
    parser.add_argument("--folder", type=Path, default=Path("benchmark_maps"))
    parser.add_argument("--size", default="4000x1000", help="columns x rows")
    parser.add_argument("--sizes", nargs="+", default=["1000x1000", "2000x1000", "4000x1000"])
    parser.add_argument("--method", default="curve", help="of workers, linear and paired")
    parser.add_argument("--trees", type=Path, nargs=2, help="of paired: src folders, old and new")
    parser.add_argument("--rounds", type=int, default=3, help="of paired")
    parser.add_argument("--device", default="cpu", help="of deepcrop and both")
    parser.add_argument("--precision", default="float32", help="of deepcrop and both")
    parser.add_argument("--network", choices=["default", "paper"], default="default")
    parser.add_argument("--side", type=int, default=128, help="of the square of patchwise")
    parser.add_argument("--cores", type=int, default=2, help="of patchwise")
    parser.add_argument("--patches", type=int, default=512, help="pixels done patch by patch")
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 32, 128])
    parser.add_argument("--out", type=Path, help="Markdown to write")
    options = parser.parse_args()
    options.folder.mkdir(exist_ok=True)
    lines = [f"SIMULATED DATA. {machine(options.device)}", "", *commands[options.command](options)]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out:
        options.out.write_text(text)


if __name__ == "__main__":
    main()
