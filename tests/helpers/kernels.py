"""Compile the kernels before a test run, whose workers would each compile them."""

import tempfile
from pathlib import Path

import numpy as np

from deepcrop._kernel_cache import drop_stale_kernels


def main() -> None:
    """Date a few series with each smoother, simulate a region of few pixels, run the network."""
    drop_stale_kernels()
    from deepcrop.network import load
    from deepcrop.network.runtime import choose_runtime
    from deepcrop.network.weights import shipped
    from deepcrop.phenology import season_dates
    from deepcrop.phenology.smoothers import PRESETS
    from deepcrop.simulation import Region, simulate

    for smoother in PRESETS["sentinel2"][0]:
        season_dates(np.zeros((1, 40)), 10.0 * np.arange(40), smoother=smoother)
    with tempfile.TemporaryDirectory() as folder:
        region = Region(rows=20, cols=20, optical_scenes=3, sar_scenes=2, cameras=1)
        simulate(region, Path(folder) / "region.zarr")
    network, _ = load(shipped())
    choose_runtime(network, "to compile")


if __name__ == "__main__":
    main()
