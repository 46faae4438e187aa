"""Save and load weights: one safetensors file per network.

The file also holds the configuration of the network, the input that it expects, and a card: on what
and how it was trained.
"""

from __future__ import annotations

import json
import reprlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from deepcrop._version import __version__
from deepcrop.errors import MALFORMED, CubeError, DeepCropError
from deepcrop.grid import grid_of
from deepcrop.network.config import Config
from deepcrop.network.model import DeepCrop
from deepcrop.network.paper import PaperDeepCrop
from deepcrop.storage.documents import parse_json
from deepcrop.storage.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr
    from odc.geo.geobox import GeoBox

Network = DeepCrop | PaperDeepCrop

FORMAT = "deepcrop network 1"

INPUTS: dict[str, Any] = {
    "optical": "surface reflectance of blue, green, red, nir, unitless, any offset applied once",
    "radar": "backscatter of vv, vh in dB",
    "radiometry": ["sigma0"],
    "days": "since 1 January of the target year",
    "pixel": "10 m",
}
"""Input that a network trained on cubes of the contract expects; stored with its weights."""


def build(config: Config) -> Network:
    """Build a network with random weights (seed: ``torch.manual_seed``)."""
    return PaperDeepCrop(config) if config.variant == "paper" else DeepCrop(config)


def save(
    network: Network,
    path: str | Path,
    inputs: Mapping[str, Any] = INPUTS,
    card: Mapping[str, Any] | None = None,
) -> None:
    """Write a network to a safetensors file, whole or not at all.

    Parameters
    ----------
    network : DeepCrop or PaperDeepCrop
        The network.
    path : path
        File to write.
    inputs : mapping
        Input that the network expects, as `INPUTS`: "radiometry" lists the accepted ones.
    card : mapping, optional
        How and on what the network was trained, in JSON types.
    """
    about = {
        "format": FORMAT,
        "software": f"deepcrop {__version__}",
        "config": json.dumps(network.config.to_dict()),
        "inputs": json.dumps(dict(inputs)),
        "card": json.dumps(dict(card or {})),
    }
    tensors = {name: t.detach().cpu().contiguous() for name, t in network.state_dict().items()}
    with atomic_file(Path(path)) as part:
        save_file(tensors, part, about)


def load(path: str | Path, device: str | torch.device = "cpu") -> tuple[Network, dict[str, Any]]:
    """Load a network, ready to predict, and the description stored with it.

    Returns
    -------
    network : DeepCrop or PaperDeepCrop
        In evaluation mode.
    about : dict
        "inputs", "card" and "software" as `save` wrote them.

    Raises
    ------
    DeepCropError
        If the file is missing or was not written by `save`, its configuration has an unknown key,
        or its tensors do not fit the configuration.

    Examples
    --------
    >>> network, about = load(shipped())
    >>> network.config.sensors
    ('optical', 'radar')
    >>> about["card"]["experiment"]["simulated_tiles"]
    4700
    """
    path = Path(path)
    if not path.is_file():
        raise DeepCropError(f"{path} does not exist; expected a file of weights (.safetensors).")
    stored, found = _header(path)
    if stored.get("format") != FORMAT:
        raise DeepCropError(
            f"{path} was written by another program or version: its format is "
            f"{reprlib.repr(stored.get('format'))}, expected {FORMAT!r}."
        )
    config, about = _description(path, stored)
    # On the device "meta" a network has shapes but takes no memory.
    with torch.device("meta"):
        expected = {
            name: (tuple(tensor.shape), tensor.dtype)
            for name, tensor in build(config).state_dict().items()
        }
    if wrong := sorted(n for n in expected | found if expected.get(n) != found.get(n)):
        raise DeepCropError(
            f"{path} cannot be used: {len(wrong)} of its tensors do not fit its configuration, "
            f"the first is {wrong[0]} (expected {_shape(expected.get(wrong[0]))}, found "
            f"{_shape(found.get(wrong[0]))})."
        )
    with safe_open(path, "pt", device=str(device)) as file:
        tensors = {name: file.get_tensor(name) for name in found}
    if broken := [name for name, tensor in tensors.items() if not tensor.isfinite().all()]:
        raise DeepCropError(
            f"{path} is damaged: {len(broken)} of its tensors hold NaN or infinity, the first is "
            f"{broken[0]}. Get the file again."
        )
    with torch.random.fork_rng(devices=[]):  # the caller's random state must not change
        network = build(config).to(device)
    network.load_state_dict(tensors)
    return network.eval(), about


Header = dict[str, tuple[tuple[int, ...], torch.dtype]]


def _header(path: Path) -> tuple[dict[str, str], Header]:
    """Read the texts of a file of weights, and shape and type of its tensors, but no tensor."""
    try:
        with safe_open(path, "pt") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            found = {
                name: (tuple(part.get_shape()), _DTYPES.get(part.get_dtype(), torch.bool))
                for name, part in slices.items()
            }
            return file.metadata() or {}, found
    except (SafetensorError, OSError, *MALFORMED) as error:
        raise DeepCropError(f"{path} is damaged or no safetensors file: {error}") from error


_DTYPES = {"F32": torch.float32, "F64": torch.float64, "F16": torch.float16, "I64": torch.int64}


def _shape(tensor: tuple[tuple[int, ...], torch.dtype] | None) -> str:
    return "none" if tensor is None else f"{list(tensor[0])} of {tensor[1]}"


def _description(path: Path, stored: Mapping[str, str]) -> tuple[Config, dict[str, Any]]:
    """Read the configuration, and what else the file says of its network."""
    try:
        content = {name: parse_json(stored[name]) for name in ("config", "inputs", "card")}
        radiometry = content["inputs"]["radiometry"]
        if not all(isinstance(content[name], dict) for name in content):
            raise ValueError("a description that is no mapping")
        if not (isinstance(radiometry, list) and all(isinstance(r, str) for r in radiometry)):
            raise ValueError("no list of the radiometry that it expects")
        about = {name: content[name] for name in ("inputs", "card")}
        return Config.from_dict(content["config"]), about | {"software": stored["software"]}
    except DeepCropError as error:
        raise DeepCropError(f"{path} cannot be used: {error}") from error
    except MALFORMED as error:
        raise DeepCropError(
            f"{path} is damaged: its description cannot be read ({type(error).__name__}: {error}). "
            "Get the file again."
        ) from None


def check_near_infrared(
    cube: xr.DataTree, inputs: Mapping[str, Any], sensors: tuple[str, ...]
) -> None:
    """Raise `CubeError` for a cube whose near infrared is another band than the training data's.

    Cubes and weights that do not state the band have B08.

    Raises
    ------
    CubeError
        With both bands.
    """
    if "optical" not in sensors or "optical" not in cube.children:
        return
    found, expected = (about.get("nir", "B08") for about in (cube["optical"].attrs, inputs))
    if found != expected:
        raise CubeError(
            f"The near infrared of this cube is {found}; these weights expect {expected}. Fetch "
            "that band, or use other weights."
        )


def check_cube(cube: xr.DataTree, inputs: Mapping[str, Any], sensors: tuple[str, ...]) -> None:
    """Raise `CubeError` for a cube whose pixels or radar differ from those of the training data.

    Raises
    ------
    CubeError
        With the pixel size or the radiometry of the cube and the accepted ones.
    """
    for group in ("optical", "sar"):
        if group in cube.children:
            check_pixels(grid_of(cube[group].to_dataset()), inputs)
    if "radar" not in sensors or "sar" not in cube.children:
        return
    found, accepted = cube["sar"].attrs.get("radiometry"), list(inputs["radiometry"])
    if found not in accepted:
        raise CubeError(
            f"The radar of this cube is {found!r}; these weights expect "
            f"{' or '.join(map(repr, accepted))}. Fetch it in that form, leave the radar out, or "
            "use other weights."
        )


def check_pixels(box: GeoBox, inputs: Mapping[str, Any]) -> None:
    """Raise `CubeError` for a grid whose pixels have another size than those of the training data.

    A network learns what a field looks like among its neighbours, which is another thing at 30 m.

    Parameters
    ----------
    box : GeoBox
        Grid of a cube.
    inputs : mapping
        What the weights expect, as `INPUTS`: "pixel" is the accepted size, or a list of sizes.

    Raises
    ------
    CubeError
        With the size of the pixels and the accepted ones.
    """
    stated = inputs.get("pixel", INPUTS["pixel"])
    accepted = [stated] if isinstance(stated, str) else list(stated)
    found = f"{float(box.resolution.x):g} m"
    if found not in accepted:
        raise CubeError(
            f"The pixels of this cube are {found}; these weights were trained on pixels of "
            f"{' or '.join(map(str, accepted))}. Map it by the curve (--method curve), or fetch "
            "images of that size."
        )


def shipped(name: str = "default") -> Path:
    """Path of the weights in the package: "default", or "evi" for EVI of single pixels.

    Raises
    ------
    DeepCropError
        If this installation has no weights.
    """
    path = Path(__file__).with_name(f"{name}.safetensors")
    if not path.is_file():
        raise DeepCropError(
            f"{path} does not exist: this installation has no weights. Install deepcrop anew, or "
            "name a file of weights."
        )
    return path
