"""What a buffer around clouds does to the dates of the curve.

Each cube needs scene classes of Sentinel-2. Pixels up to a distance from cloud and shadow are
masked, as ``deepcrop fetch --cloud-buffer`` and ``buffer`` of ``deepcrop ingest`` do, and the cube
is mapped by the curve. Dates of a simulated region are compared with its truth, and all with those
of the map without a buffer.

    deepcrop simulate region.zarr --size 200x150
    deepcrop ingest examples/flanders_2018.yaml --out flanders.zarr
    python benchmarks/cloud_buffer.py 2018 region.zarr flanders.zarr
"""

import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
import xarray as xr

from deepcrop.cube.contract import CLEAR_CLASSES, OPTICAL_BANDS, grid_of
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.evaluation.map_truth import ALL_CROPS, score_map
from deepcrop.mapping.region import map_region
from deepcrop.sources.stac.optical import Mask

BUFFERS = (0, 30, 60, 120, 240)
CLOUDS = (3, 8, 9, 10)
STAGES = ("sos50", "eos50")


def masked(cube: xr.DataTree, metres: float) -> tuple[xr.DataTree, float]:
    """Mask a cube up to a distance from cloud and shadow; and the observations per pixel left."""
    mask = replace(Mask(classes=CLEAR_CLASSES, clouds=CLOUDS), buffer=metres)
    pixel = float(grid_of(cube).resolution.x)
    optical = cube["optical"].to_dataset().load()
    near = np.stack([mask.near_cloud(classes, pixel) for classes in optical["scl"].values])
    if metres:
        for name in OPTICAL_BANDS:
            optical[name] = optical[name].where(~near).assign_attrs(optical[name].attrs)
    changed = cube.copy()
    changed["optical"] = xr.DataTree(optical)
    return changed, float(np.isfinite(optical["red"]).sum("time").median())


def read(folder: Path, name: str) -> np.ndarray:
    """Read a layer of dates, NaN where there is none."""
    with rasterio.open(folder / f"{name}.tif") as file:
        values = file.read(1).astype(float)
        values[values == file.nodata] = np.nan
    return values


def main() -> None:
    """Print a line for each cube and buffer."""
    year = int(sys.argv[1])
    for path in map(Path, sys.argv[2:]):
        cube = open_cube(path)
        simulated = "truth" in cube.children
        print(f"{path.name}: {'SIMULATED pixels' if simulated else 'real pixels'}")
        usual: dict[str, np.ndarray] = {}
        for metres in BUFFERS:
            with tempfile.TemporaryDirectory() as folder:
                changed, observations = masked(cube, metres)
                store, out = Path(folder) / "cube.zarr", Path(folder) / "map"
                save_cube(changed, store)
                map_region(store, year, out, pictures=False)
                texts = []
                scores = {}
                if simulated:
                    every = score_map(out, store)
                    scores = {one.stage: one for one in every if one.group == ALL_CROPS}
                for stage in STAGES:
                    days = read(out, stage)
                    usual.setdefault(stage, days)
                    width = read(out, f"{stage}_high") - read(out, f"{stage}_low")
                    moved = np.abs(days - usual[stage])
                    score = scores.get(stage)
                    error = f"mean error {score.mae:.1f}, " if score else ""
                    texts.append(
                        f"{stage}: {error}interval {np.nanmedian(width):.0f}, "
                        f"moved {np.nanmedian(moved):.0f}, 90 % {np.nanpercentile(moved, 90):.0f}"
                    )
                share = np.isfinite(days).mean()
                print(f"  {metres:3} m, {observations:.0f} observations, {share:.1%} dated")
                print("         " + "; ".join(texts), flush=True)


if __name__ == "__main__":
    main()
