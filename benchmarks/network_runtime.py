"""How fast the compiled network is, and whether its dates are those of PyTorch.

    python benchmarks/network_runtime.py stages REGION            # microseconds a pixel, by stage
    python benchmarks/network_runtime.py equal REGION             # all pixels, by PyTorch as well
    python benchmarks/network_runtime.py equal REGION --no-radar

REGION is a cube of 2018, for example of ``deepcrop simulate``; a simulated one is called so.
``stages`` and ``equal`` compute on one thread, and ``stages`` counts processor time. ``equal``
lists each pixel with a date or an end of an interval that differs by more than 0.01 day, and how
much of the distribution lies there (next to nothing: between two seasons).
Whole maps of two versions, in turn: ``python benchmarks/maps.py paired --method deepcrop``.
"""

import argparse
import time
from pathlib import Path

import numpy as np


def network_of(region, radar=True):
    """The shipped network for the camera's dates, and what it reads of a cube."""
    import torch

    from deepcrop.mapping.inputs import InputCube
    from deepcrop.mapping.network import NetworkMethod
    from deepcrop.network import load
    from deepcrop.network.inference import stages_of_definition
    from deepcrop.network.weights import shipped

    torch.set_num_threads(1)
    cube = InputCube.open(region)
    plan = NetworkMethod(radar=None if radar else False).plan(cube, 2018)
    return stages_of_definition(load(shipped())[0], "camera"), plan, cube


def tiles_of(plan, cube, side):
    """Images of each tile of a cube, as `deepcrop.network.inference.tile_dates` takes them."""
    from deepcrop import grid
    from deepcrop.mapping.inputs import orbits_of, padded

    for tile in grid.tiles(cube.box.shape.yx, side, grid.PATCH_HALO):
        images = plan.load(tile)
        inside = tile.inside
        optical = padded(images["optical"].data, inside)
        arrays = [optical, images["optical"].days]
        if "sar" in images:
            arrays += [padded(images["sar"].data, inside), images["sar"].days]
            arrays.append(orbits_of(images["sar"].data))
        else:
            none = np.empty((0, 2, *optical.shape[-2:]), np.float32)
            arrays += [none, np.empty(0, np.float32), np.empty(0, np.int64)]
        yield tile, arrays


def stages(options):
    """Processor time of each stage, by both runtimes, of one piece of the region's middle."""
    import torch

    from deepcrop.network import Batch
    from deepcrop.network.compiled import CompiledNetwork

    net, plan, cube = network_of(options.region)
    _, arrays = next(tiles_of(plan, cube, 64))
    batch = Batch(*(torch.from_numpy(np.asarray(part))[None] for part in arrays))
    net.to(memory_format=torch.channels_last)
    count = 64 * 64
    parts = [np.arange(first, first + 128) for first in range(0, count, 128)]

    def took(run):
        run()
        start = time.process_time()
        result = run()
        return 1e6 * (time.process_time() - start) / count, result

    with torch.inference_mode():
        rows = []
        fast = CompiledNetwork(net)
        images, seen = took(lambda: fast.encode(batch))
        head, logits = took(lambda: [fast.logits(seen, part) for part in parts])
        dates, _ = took(lambda: [fast.decode(each, False) for each in logits])
        rows.append(("compiled", images, head, dates))
        images, features = took(lambda: net.encode(batch, dense=True))
        some = [
            {name: one.select(slice(part[0], part[-1] + 1)) for name, one in features.items()}
            for part in parts
        ]
        head, logits = took(lambda: [net.head(each) for each in some])
        dates, _ = took(lambda: [net.decode(each, {}, False) for each in logits])
        rows.append(("PyTorch", images, head, dates))
    print("| runtime | images | temporal part | dates | all |")
    print("|---|---:|---:|---:|---:|")
    for name, *times in rows:
        print(f"| {name} | {' | '.join(f'{each:.1f}' for each in (*times, sum(times)))} |")
    print("Microseconds of processor time a pixel, one thread.")


PARTS = ("day", "low", "high")


def share_of_day(net, arrays, row, col, slot, stage, day):
    """Share of a pixel's distribution that lies in the day at which a quantile was found.

    Where it is next to nothing, the quantile lies between two seasons, and rounding moves it.
    """
    import torch

    from deepcrop.network import Batch

    window = (..., slice(row, row + 18), slice(col, col + 18))
    patch = [part[window] if part.ndim > 2 else part for part in map(np.asarray, arrays)]
    with torch.inference_mode():
        batch = Batch(*(torch.from_numpy(part.copy())[None] for part in patch))
        shares = net.distributions(net.head(net.encode(batch, dense=True)))[0, slot, stage, :-1]
    at = int((day - float(net.edges[0])) / net.config.bin_days)
    return float(shares[at] / shares.sum() / net.config.bin_days)


def equal(options):
    """Map all pixels by both runtimes, and list those that differ."""
    from deepcrop.network.inference import COMPILED, PYTORCH, tile_dates

    net, plan, cube = network_of(options.region, not options.no_radar)
    pixels, worst, listed, dates = 0, 0.0, 0, 0
    for tile, arrays in tiles_of(plan, cube, 256):
        ours, theirs = (tile_dates(net, *arrays, runtime=name) for name in (COMPILED, PYTORCH))
        # (3, rows, columns, slots, stages): dates, and both ends of their intervals
        both = [
            np.stack([np.nan_to_num(getattr(each, part), nan=1e4) for part in PARTS])
            for each in (ours, theirs)
        ]
        apart = np.abs(both[0] - both[1])
        pixels += apart[0, ..., 0, 0].size
        worst = max(worst, apart[apart <= 0.01].max())
        for row, col in np.argwhere((apart > 0.01).any(axis=(0, 3, 4))):
            part, slot, stage = np.unravel_index(apart[:, row, col].argmax(), (3, *apart.shape[3:]))
            dates += bool((apart[0, row, col] > 0.01).any())
            listed += 1
            day = both[1][part, row, col, slot, stage]
            share = share_of_day(net, arrays, row, col, slot, stage, day)
            where = tile.core[0].start + row, tile.core[1].start + col
            print(
                f"row {where[0]}, column {where[1]}: {PARTS[part]} of {net.config.stages[stage]}, "
                f"slot {slot + 1}: {apart[part, row, col, slot, stage]:.3f} days apart; "
                f"{share:.1e} of the distribution lies in that day"
            )
    print(
        f"{pixels:,} pixels: {listed} differ by more than 0.01 day, {dates} of them in a date, "
        f"the others only in an interval; all other pixels by at most {worst:.1e}."
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    for name, run in (("stages", stages), ("equal", equal)):
        command = commands.add_parser(name, help=run.__doc__)
        command.set_defaults(run=run)
        command.add_argument("region", type=Path)
        if name == "equal":
            command.add_argument("--no-radar", action="store_true")
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
