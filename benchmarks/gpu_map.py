"""How fast the network maps from memory, on a GPU or a CPU, and what lower precision does to dates.

    python benchmarks/gpu_map.py --device cuda
    python benchmarks/gpu_map.py --device cuda --region region.zarr
    python benchmarks/gpu_map.py --device cpu --side 64 --pixels 16384 --precision bfloat16

SYNTHETIC DATA: tiles of 256 x 256 pixels with 42 optical and 28 radar dates, clouds and noise, made
in memory; reading a cube and writing products are not in the numbers. For each precision also the
time of each stage: images to the device, branches, temporal part, decoding on the device, dates to
the host. Needs only PyTorch, NumPy and the tree of the package (run it from the root of the
repository): packages that this measurement does not use may be missing. ``--region`` also maps a
cube of 2018 from disk to products, for which they are needed. All takes less than five minutes.
"""

import argparse
import importlib.abc
import importlib.machinery
import json
import platform
import sys
import time
from pathlib import Path
from unittest import mock

import numpy as np
import torch

ROOT = Path(__file__).parents[1]
UNUSED = (
    "affine", "odc", "pyproj", "rasterio", "shapely", "pystac", "zarr", "netCDF4", "xarray",
    "pandas", "scipy", "rich", "typer", "pydantic", "yaml", "matplotlib", "safetensors", "numba",
    "httpx",
)  # fmt: skip


class Empty(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Lets modules that are imported but not used here be missing."""

    def find_spec(self, name, path, target=None):
        if name.partition(".")[0] in UNUSED:
            return importlib.machinery.ModuleSpec(name, self, is_package=True)
        return None

    def create_module(self, spec):
        return mock.MagicMock(name=spec.name, __spec__=spec, __path__=[])

    def exec_module(self, module):
        pass


sys.meta_path.append(Empty())  # after the finders of what is installed
sys.path.insert(0, str(ROOT / "src"))

from deepcrop.network.config import Config  # noqa: E402
from deepcrop.network.inference import PRECISIONS, put_on, stages_of_definition, tile_dates  # noqa: E402
from deepcrop.network.weights import build  # noqa: E402

HALO = 17


def read_weights(path):
    """The network of a file of weights; the format is read here, so that it needs no package."""
    raw = path.read_bytes()
    length = int.from_bytes(raw[:8], "little")
    head = json.loads(raw[8 : 8 + length])
    about = head.pop("__metadata__")
    types = {"F32": np.float32, "I64": np.int64, "F64": np.float64, "BOOL": np.bool_}
    state = {}
    for name, entry in head.items():
        first, last = (8 + length + offset for offset in entry["data_offsets"])
        values = np.frombuffer(raw[first:last], types[entry["dtype"]]).reshape(entry["shape"])
        state[name] = torch.from_numpy(values.copy())
    network = build(Config.from_dict(json.loads(about["config"])))
    network.load_state_dict(state)
    return network.eval()


def make_tile(rng, core, optical=42, radar=28):
    """Images of fields with a season each: bright noise, clouds in patches, two radar orbits."""
    side, field = core + HALO, 16
    fields = -(-side // field)

    def spread(values):
        return values.repeat(field, 0).repeat(field, 1)[:side, :side]

    up = spread(rng.uniform(60, 190, (fields, fields)))
    down = up + spread(rng.uniform(70, 160, (fields, fields)))

    def green(day):
        return 1 / (1 + np.exp((up - day) / 9)) - 1 / (1 + np.exp((down - day) / 11))

    optical_days = np.sort(rng.choice(np.arange(-10, 390), optical, replace=False))
    images = np.empty((optical, 4, side, side), np.float32)
    for k, day in enumerate(optical_days):
        grown = green(day)
        bands = (0.06 - 0.03 * grown, 0.09 - 0.02 * grown, 0.12 - 0.08 * grown, 0.2 + 0.25 * grown)
        images[k] = np.stack(bands) + rng.normal(0, 0.006, (4, side, side))
        clouds = spread(rng.random((fields, fields)) < 0.35)
        images[k, :, clouds] = np.nan
    radar_days = np.sort(rng.choice(np.arange(-10, 390), radar, replace=False))
    echo = np.empty((radar, 2, side, side), np.float32)
    for k, day in enumerate(radar_days):
        grown = green(day)
        levels = np.stack((-12 + 2.5 * grown, -19 + 5 * grown))
        echo[k] = levels + rng.normal(0, 1.2, (2, side, side))
    return (
        images,
        optical_days.astype(np.float32),
        echo,
        radar_days.astype(np.float32),
        (np.arange(radar) % 2),
    )


def measure(network, tiles, precision, device):
    tile_dates(network, *tiles[0], precision=precision)  # warms up
    if device != "cpu":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start, predictions = time.perf_counter(), []
    for tile in tiles:
        predictions.append(tile_dates(network, *tile, precision=precision))
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter() - start, predictions


def by_stage(network, tile, precision, device):
    """Seconds of each stage of one tile; the device is waited for after each."""
    import contextlib

    from deepcrop.network import inference
    from deepcrop.network.sensor_branch import Batch

    on_cpu = device == "cpu"
    piece, pixels = (
        (inference.PIECE, inference.PIXELS)
        if on_cpu
        else (inference.GPU_PIECE, inference.GPU_PIXELS)
    )
    seconds = dict.fromkeys(("to device", "branches", "temporal part", "decoding", "to host"), 0.0)

    @contextlib.contextmanager
    def stage(name):
        start = time.perf_counter()
        yield
        if not on_cpu:
            torch.cuda.synchronize()
        seconds[name] += time.perf_counter() - start

    lower = torch.autocast(
        torch.device(device).type, PRECISIONS[precision], enabled=precision != "float32"
    )
    side = tile[0].shape[-1] - HALO
    with torch.inference_mode():
        with stage("to device"):
            arrays = (np.asarray(part) for part in tile)
            images = Batch(*(torch.from_numpy(part)[None].to(device) for part in arrays))
        for row in range(0, side, piece):
            for col in range(0, side, piece):
                core = slice(row, min(row + piece, side)), slice(col, min(col + piece, side))
                with stage("branches"), lower:
                    features = network.encode(inference._cut(images, core), dense=True)
                count = next(iter(features.values())).valid.shape[1]
                for first in range(0, count, pixels):
                    chosen = slice(first, first + pixels)
                    some = {name: one.select(chosen) for name, one in features.items()}
                    with stage("temporal part"), lower:
                        logits = network.head(some)
                    with stage("decoding"):
                        dates = network.decode(logits.float(), some)
                    with stage("to host"):
                        for values in dates:
                            values.cpu()
    return seconds


def effect(predictions, wanted):
    """How dates differ from those of float32."""
    day, other = (np.stack([a.day for a in each]) for each in (predictions, wanted))
    probability = np.abs(
        np.stack([a.probability for a in predictions]) - np.stack([a.probability for a in wanted])
    )
    both = np.isfinite(day) & np.isfinite(other)
    apart = (day - other)[both]
    return {
        "dates in both, %": 100 * both.sum() / np.isfinite(other).sum(),
        "within a day, %": 100 * (np.abs(apart) <= 1).mean(),
        "median change, d": float(np.median(apart)),
        "99 % change below, d": float(np.quantile(np.abs(apart), 0.99)),
        "largest change of a probability": float(probability.max()),
    }


def end_to_end(region, weights, device):
    """Map a cube from disk to products and pictures."""
    import tempfile

    from deepcrop.mapping.region import map_region

    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        options = {"method": "deepcrop", "weights": weights, "device": device}
        result = map_region(region, 2018, Path(folder) / "maps", **options)
        seconds = time.perf_counter() - start
        summary = result.summary
    return {
        "from disk to products, s": seconds,
        "pixels": summary["pixels"],
        "runtime": summary["source"]["runtime"],
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--pixels", type=int, default=1_048_576, help="mapped for each precision")
    parser.add_argument("--side", type=int, default=256, help="of a tile, pixels")
    parser.add_argument("--precision", nargs="+", default=list(PRECISIONS))
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--region", type=Path, help="cube of 2018 to map from disk to products")
    parser.add_argument("--out", type=Path, help="JSON to write")
    options = parser.parse_args()
    weights = options.weights or ROOT / "src" / "deepcrop" / "network" / "default.safetensors"
    network = stages_of_definition(read_weights(weights), "camera")
    put_on(network, options.device, "float32")
    rng = np.random.default_rng(1)
    count = max(options.pixels // options.side**2, 1)
    made = [make_tile(rng, options.side) for _ in range(min(4, count))]
    tiles = [made[k % len(made)] for k in range(count)]
    name = platform.processor() or platform.machine()
    if options.device != "cpu":
        name = torch.cuda.get_device_name()
    print(
        f"SYNTHETIC DATA; {name}; PyTorch {torch.__version__}; Python {platform.python_version()}"
    )
    print(
        f"{count} tiles of {options.side} x {options.side} pixels, "
        f"42 optical and 28 radar dates, {weights.name}"
    )
    rows, reference = [], None
    for precision in dict.fromkeys(["float32", *options.precision]):
        seconds, predictions = measure(network, tiles, precision, options.device)
        rate = count * options.side**2 / seconds
        row = {"precision": precision, "pixels/s": rate, "4 Mpx, s": 4e6 / rate}
        if options.device != "cpu":
            row["GPU memory, GB"] = torch.cuda.max_memory_allocated() / 1e9
        reference = reference or predictions
        by_stage(network, tiles[0], precision, options.device)  # warms up
        stages = by_stage(network, tiles[0], precision, options.device)
        row |= {f"{stage}, us/pixel": 1e6 * s / options.side**2 for stage, s in stages.items()}
        rows.append(row | effect(predictions, reference))
    if options.region:
        rows.append(end_to_end(options.region, weights, options.device))
    for row in rows:
        print(json.dumps({k: round(v, 6) if isinstance(v, float) else v for k, v in row.items()}))
    if options.out:
        about = {"device": name, "torch": torch.__version__, "rows": rows}
        options.out.write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
