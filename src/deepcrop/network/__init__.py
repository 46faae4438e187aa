"""The Deep-CroP network: its configurations, the network itself, its weights on disk.

Needs PyTorch; nothing else of the package imports this part before it is asked for.
"""

from deepcrop.errors import DeepCropError

try:
    import safetensors  # noqa: F401
    import torch  # noqa: F401
except ImportError as error:
    raise DeepCropError(f"The network needs 'pip install deepcrop[network]' ({error}).") from error

from deepcrop.network.config import CONFIGS, Config
from deepcrop.network.model import DeepCrop
from deepcrop.network.paper import PaperDeepCrop
from deepcrop.network.sensor_branch import Batch, Series
from deepcrop.network.targets import Dates, Labels
from deepcrop.network.weights import INPUTS, Network, build, check_cube, load, save

__all__ = [
    "CONFIGS",
    "INPUTS",
    "Batch",
    "Config",
    "Dates",
    "DeepCrop",
    "Labels",
    "Network",
    "PaperDeepCrop",
    "Series",
    "build",
    "check_cube",
    "load",
    "save",
]
