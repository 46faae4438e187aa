"""Save and load weights: one safetensors file per network.

The file also holds the configuration of the network, the input that it expects, and a card: on what
and how it was trained.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from deepcrop._version import __version__
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.network.config import Config
from deepcrop.network.model import DeepCrop
from deepcrop.network.paper import PaperDeepCrop
from deepcrop.storage.files import atomic_file

if TYPE_CHECKING:
    from collections.abc import Mapping

    import xarray as xr

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
    try:
        with safe_open(path, "pt", device=str(device)) as file:
            stored = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise DeepCropError(f"{path} is damaged or no safetensors file: {error}") from error
    if stored.get("format") != FORMAT:
        raise DeepCropError(
            f"{path} was written by another program or version: its format is "
            f"{stored.get('format')!r}, expected {FORMAT!r}."
        )
    try:
        config = Config.from_dict(json.loads(stored["config"]))
    except DeepCropError as error:
        raise DeepCropError(f"{path} cannot be used: {error}") from error
    with torch.random.fork_rng(devices=[]):  # the caller's random state must not change
        network = build(config).to(device)
    expected = {name: tensor.shape for name, tensor in network.state_dict().items()}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if wrong := sorted(n for n in expected | found if expected.get(n) != found.get(n)):
        raise DeepCropError(
            f"{path} cannot be used: {len(wrong)} of its tensors do not fit its configuration, "
            f"the first is {wrong[0]} (expected {expected.get(wrong[0])}, found "
            f"{found.get(wrong[0])})."
        )
    network.load_state_dict(tensors)
    about: dict[str, Any] = {name: json.loads(stored[name]) for name in ("inputs", "card")}
    return network.eval(), about | {"software": stored["software"]}


def check_cube(cube: xr.DataTree, inputs: Mapping[str, Any], sensors: tuple[str, ...]) -> None:
    """Raise `CubeError` for a cube whose radar has another radiometry than the training data.

    Raises
    ------
    CubeError
        With the radiometry of the cube and the accepted ones.
    """
    if "radar" not in sensors or "sar" not in cube.children:
        return
    found, accepted = cube["sar"].attrs.get("radiometry"), list(inputs["radiometry"])
    if found not in accepted:
        raise CubeError(
            f"The radar of this cube is {found!r}; these weights expect "
            f"{' or '.join(map(repr, accepted))}. Fetch it in that form, leave the radar out, or "
            "use other weights."
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
            "name a file of weights (--weights)."
        )
    return path
