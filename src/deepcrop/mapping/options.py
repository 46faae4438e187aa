"""What a map is made with, resolved and checked once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import xarray as xr

from deepcrop.errors import DeepCropError
from deepcrop.mapping.curve import curve_settings, plan_curve
from deepcrop.mapping.inputs import Plan
from deepcrop.mapping.network import plan_network
from deepcrop.products import layers
from deepcrop.products.layers import METHODS
from deepcrop.storage.files import _fingerprint


def check_options(
    method: str,
    index: str,
    smoother: str,
    weights: str | Path | None,
    radar: bool,
    device: str = "cpu",
    precision: str = "float32",
) -> None:
    """Refuse options of `map_region` that are unknown or of the other method."""
    methods = (*layers.METHODS, "both")
    if method not in methods:
        raise DeepCropError(f"Method {method!r} is unknown; expected {', '.join(methods)}.")
    of_network = (weights, radar, device, precision) != (None, True, "cpu", "float32")
    if method == "curve" and of_network:
        raise DeepCropError(
            "Weights, --no-radar, device and precision are of the network; add --method deepcrop."
        )
    if method == "deepcrop" and (index, smoother) != ("ndvi", "whittaker"):
        raise DeepCropError("Index and smoother are of the curve; add --method curve.")
    if method != "deepcrop":
        curve_settings(index, smoother)


def make_recipe(
    cube_path: Path,
    year: int,
    method: str,
    index: str = "ndvi",
    smoother: str = "whittaker",
    weights: str | Path | None = None,
    radar: bool = True,
    device: str = "cpu",
    precision: str = "float32",
) -> Recipe:
    """Put the options of `map_region` together, with absolute paths."""
    file = None if weights is None else str(Path(weights).resolve())
    files = [cube_path, *([Path(weights)] if weights is not None else [])]
    made = " ".join(_fingerprint(path) for path in files if path.exists())
    cube = str(cube_path.resolve())
    return Recipe(cube, year, method, index, smoother, file, radar, device, precision, made)


@dataclass(frozen=True)
class Recipe:
    """All that a process needs to know to make tiles of a map; small, and the same everywhere.

    Attributes
    ----------
    cube : str
        Path of the observation cube, absolute.
    year : int
        Target year.
    method : str
        "curve", "deepcrop" or "both".
    index, smoother : str
        Of the curve.
    weights : str or None
        Path of the network's, absolute; None: those of the package.
    radar : bool
        Whether the network gets it.
    device, precision : str
        Of the network.
    made : str
        Tells one writing of cube and weights from the next.
    """

    cube: str
    year: int
    method: str
    index: str
    smoother: str
    weights: str | None
    radar: bool
    device: str
    precision: str
    made: str

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods to map by."""
        return METHODS if self.method == "both" else (self.method,)

    def plans(self, cube: xr.DataTree) -> dict[str, Plan]:
        """How each method maps the cube, which must be the recipe's."""
        plans = {}
        if "curve" in self.methods:
            plans["curve"] = plan_curve(cube, self.cube, self.year, self.index, self.smoother)
        if "deepcrop" in self.methods:
            plans["deepcrop"] = plan_network(
                cube, self.cube, self.year, self.weights, self.radar, self.device, self.precision
            )
        return plans
