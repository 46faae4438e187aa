"""Configurations of networks: one dataclass, and by name every network that is compared.

These are the published network, ours, and both without one of their parts (ablations).
"""

from __future__ import annotations

import reprlib
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from deepcrop.errors import DeepCropError
from deepcrop.stages import CALENDAR, DAY_MAX, DAY_MIN, SLOTS, STAGES

if TYPE_CHECKING:
    from collections.abc import Mapping

BANDS = ("blue", "green", "red", "nir")
CHANNELS = ("ndvi", "gcc", "evi", *BANDS)
"""Optical input channels, computed from the four bands of a cube."""

CURVE = tuple(f"curve_{name}" for name in CALENDAR)
"""Dates by another date definition than the camera's: those of the NDVI curve with clear images all
the time. Places without cameras are trained and tested on them."""

DEFINITIONS = {"camera": CALENDAR, "ndvi": CURVE}
"""What a date means, and the stages of a network that have it: greenness as a near-ground camera
sees it, or NDVI of the clear sky."""

SENSORS = ("optical", "radar")

_MOST_UNITS = 100_000
# Least and most of each number, far beyond any network that can be trained.
_RANGES: dict[str, tuple[float, float]] = {
    "width": (1, 10_000),
    "heads": (1, 1000),
    "layers": (0, 100),
    "feedforward": (1, _MOST_UNITS),
    "slots": (1, 10),
    "threshold": (0, 1),
    "bin_days": (1, 100),
    "bins": (1, 100),
    "drop_optical": (0, 1),
    "drop_radar": (0, 1),
    "drop_level": (0, 1),
}

_CHOICES = {
    "variant": ("paper", "default"),
    "radar_zero": ("pixel", "fixed"),
    "encoder": ("attention", "convolution"),
    "targets": ("continuous", "snapped"),
    "fused_layers": ("middle", "each"),
}


@dataclass(frozen=True)
class Config:
    """Architecture of a network and what it predicts.

    Attributes
    ----------
    variant : str
        "paper" (`deepcrop.network.paper`) or "default" (`deepcrop.network.model`).
    sensors : tuple of str
        Sensors that the network reads, some of `SENSORS`.
    optical : tuple of str
        Optical channels, some of `CHANNELS`.
    radar_zero : str
        What is subtracted from backscatter: the median over time of its own "pixel" and orbit,
        whose level is then a separate input, or a "fixed" value.
    trunk : tuple of int
        Features after each of the three convolutions of a branch; empty: no convolution, the input
        is a single pixel ("transformer only").
    spatial : bool
        False: every pixel of a patch is replaced by its centre. Same parameters, no context.
    fusion : bool
        Whether features of both branches are fused (Eq. 3).
    fused_layers : str
        Features that are fused: those of the "middle" convolution (section 3.1 of the paper), or of
        "each" of the three (section 4.1).
    encoder : str
        "attention", or "convolution" for a network without a transformer ("CNN only").
    width, heads, layers, feedforward : int
        Size of the encoder.
    stages : tuple of str
        Dates of a season that are predicted, by the camera definition and by that of the NDVI curve
        (`CURVE`).
    slots : int
        Seasons of a target year.
    targets : str
        Training targets: the "continuous" date, or that of the nearest image ("snapped", the
        paper's).
    threshold : float
        Minimum probability of an event that is reported.
    bin_days, bins : int
        Default variant: days in a bin of the distribution, bins per position of the encoder.
    drop_optical, drop_radar, drop_level : float
        Default variant, in training: probability that a sample loses all images of a sensor, or the
        level of its backscatter.
    dates : tuple of int
        Paper variant: number of optical and radar dates.
    period : tuple of int
        Paper variant: first and last day of the images that are read, days since 1 January of the
        target year; empty: all.
    mlp : tuple of int
        Paper variant: units of the hidden layers between encoder and output.
    """

    variant: str = "default"
    sensors: tuple[str, ...] = SENSORS
    optical: tuple[str, ...] = ("ndvi", "gcc", *BANDS)
    radar_zero: str = "pixel"
    trunk: tuple[int, ...] = (16, 16, 24)
    spatial: bool = True
    fusion: bool = True
    fused_layers: str = "middle"
    encoder: str = "attention"
    width: int = 64
    heads: int = 4
    layers: int = 2
    feedforward: int = 128
    stages: tuple[str, ...] = CALENDAR + CURVE
    slots: int = SLOTS
    targets: str = "continuous"
    threshold: float = 0.5
    bin_days: int = 5
    bins: int = 3
    drop_optical: float = 0.05
    drop_radar: float = 0.3
    drop_level: float = 0.5
    dates: tuple[int, ...] = ()
    period: tuple[int, ...] = ()
    mlp: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._check_numbers()
        problems = [
            f"{name} is {getattr(self, name)!r}; expected {' or '.join(map(repr, allowed))}."
            for name, allowed in _CHOICES.items()
            if getattr(self, name) not in allowed
        ]
        for name, known in (
            ("sensors", SENSORS),
            ("optical", CHANNELS),
            ("stages", CALENDAR + CURVE),
        ):
            chosen = getattr(self, name)
            if not chosen or any(item not in known for item in chosen):
                problems.append(f"{name} is {chosen}; expected some of {', '.join(known)}.")
        if len(self.trunk) not in (0, 3):
            problems.append(f"trunk is {self.trunk}; expected three widths, or none.")
        if self.fusion and not (self.trunk and len(self.sensors) == 2):
            problems.append("fusion needs a trunk and both sensors; set it to false.")
        if self.width % (2 * self.heads) or (self.variant == "default" and self.width % 8):
            problems.append(f"width is {self.width}; expected a multiple of 8 and of 2 x heads.")
        if self.variant == "paper" and not (len(self.dates) == 2 and self.mlp):
            problems.append("the paper variant needs dates, for example [30, 10], and mlp.")
        if self.variant == "paper" and (self.slots, self.targets) != (1, "snapped"):
            problems.append("the paper variant has one slot and snapped targets.")
        if self.period and not self._has_period():
            problems.append(
                f"period is {self.period}; expected its first and last day, from {DAY_MIN} to "
                f"{DAY_MAX}, for the paper variant only."
            )
        if problems:
            raise DeepCropError("The network cannot be built: " + " ".join(problems))

    def _has_period(self) -> bool:
        days = self.period
        return (
            self.variant == "paper"
            and len(days) == 2
            and all(type(day) is int for day in days)
            and DAY_MIN <= days[0] < days[1] <= DAY_MAX
        )

    def _check_numbers(self) -> None:
        """Raise `DeepCropError` for a size of which no network can be built, or a huge one."""
        for name in ("trunk", "dates", "mlp"):
            sizes = getattr(self, name)
            if len(sizes) > 16 or not all(type(n) is int and 0 < n <= _MOST_UNITS for n in sizes):
                raise DeepCropError(
                    f"The network cannot be built: {name} is {reprlib.repr(sizes)}; expected whole "
                    f"numbers from 1 to {_MOST_UNITS}."
                )
        for name, (least, most) in _RANGES.items():
            value = getattr(self, name)
            if not least <= value <= most:
                raise DeepCropError(
                    f"The network cannot be built: {name} is {reprlib.repr(value)}; expected "
                    f"{least} to {most}."
                )

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Config:
        """Read the output of `to_dict`.

        Raises
        ------
        DeepCropError
            If a key is unknown, or a value has the wrong type or cannot be used.
        """
        if not isinstance(settings, dict):
            raise DeepCropError(
                f"Settings of a network are {reprlib.repr(settings)}; expected names and values."
            )
        known = {field.name: getattr(DEFAULT, field.name) for field in fields(cls)}
        if unknown := sorted(set(settings) - set(known)):
            raise DeepCropError(
                f"Unknown settings of a network: {', '.join(unknown)}. Known are "
                f"{', '.join(known)}. A file of weights may need a newer deepcrop."
            )
        values = {}
        for name, value in settings.items():
            value = tuple(value) if isinstance(value, list) else value
            wanted = type(known[name])
            if wanted is float and type(value) is int:
                value = float(value)
            if type(value) is not wanted:
                form = "a list" if wanted is tuple else wanted.__name__
                raise DeepCropError(f"{name} is {reprlib.repr(value)}; expected {form}.")
            values[name] = value
        return cls(**values)

    def to_dict(self) -> dict[str, Any]:
        """All settings in JSON types."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}


DEFAULT = Config()

PAPER = Config(
    variant="paper",
    optical=("ndvi", "gcc"),
    radar_zero="fixed",
    trunk=(32, 64, 128),
    width=900,
    heads=30,
    layers=1,
    feedforward=900,
    stages=STAGES,
    slots=1,
    targets="snapped",
    threshold=0.1,
    dates=(30, 10),
    period=(0, 395),  # our reading of "Jan. 2018 to Jan. 2019": 1 January to 31 January, 13 months
    mlp=(10_000, 5_000, 1_000, 500),
)

CONFIGS: dict[str, Config] = {
    "paper": PAPER,
    "paper-each-layer": replace(PAPER, fused_layers="each"),
    "paper-optical": replace(PAPER, sensors=("optical",), fusion=False),
    "paper-cnn": replace(PAPER, encoder="convolution"),
    "paper-transformer": replace(PAPER, trunk=(), fusion=False),
    "default": DEFAULT,
    "optical-only": replace(DEFAULT, sensors=("optical",), fusion=False, drop_optical=0.0),
    "radar-only": replace(DEFAULT, sensors=("radar",), fusion=False, drop_radar=0.0),
    "cnn-only": replace(DEFAULT, encoder="convolution"),
    "transformer-only": replace(DEFAULT, trunk=(), fusion=False),
    "no-fusion": replace(DEFAULT, fusion=False),
    "no-spatial-context": replace(DEFAULT, spatial=False),
    "snapped": replace(DEFAULT, targets="snapped"),
    "evi-only": replace(
        DEFAULT, sensors=("optical",), optical=("evi",), trunk=(), spatial=False, fusion=False
    ),
}
"""Configurations by name: the published network and ours, each also without one of its parts; the
last for archives that have only EVI of single pixels."""
