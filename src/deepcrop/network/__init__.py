"""The Deep-CroP network: its configurations, its architecture, its weights on disk.

Needs PyTorch, and is imported by other rooms only when a network is used.
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
from deepcrop.network.sensor_branch import Batch, SensorFeatures
from deepcrop.network.targets import Labels
from deepcrop.network.weights import (
    INPUTS,
    Network,
    build,
    check_cube,
    check_near_infrared,
    load,
    save,
)
from deepcrop.stages import Dates

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
    "SensorFeatures",
    "build",
    "check_cube",
    "check_near_infrared",
    "load",
    "save",
]
