"""Encode the images of one sensor to one feature vector per date: the branch of both variants.

Three 5x5 convolutions without padding and one 2x2 max-pool reduce an 18x18 patch to a single pixel.
The same weights run over a whole tile: with a pool of stride 1 and a third convolution of dilation
2, each pixel of the result equals that of the patch around it (``dense``).

Axes: B samples or tiles, T dates, H x W pixels of an image, h x w pixels that have a whole patch
around them (1 x 1 for a patch), p = h·w, n images of all samples that have data.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepcrop.grid import PATCH_SIZE, inner

if TYPE_CHECKING:
    from deepcrop.network.config import Config

SCALES = {
    "ndvi": (0.5, 0.25),
    "gcc": (0.36, 0.06),
    "evi": (0.35, 0.25),
    "blue": (0.06, 0.04),
    "green": (0.09, 0.04),
    "red": (0.09, 0.06),
    "nir": (0.28, 0.10),
    "vv": (-11.0, 4.0),  # dB
    "vh": (-18.0, 4.0),
}
"""Mean and standard deviation by which each channel is scaled: typical of cropland, rounded."""

SWING = 3.0
"""Scale of backscatter from which its own median over time is subtracted, dB."""

LIMIT = 5.0
"""Scaled values are clipped to ±LIMIT: larger ones are bright clouds and corner reflectors."""


class Batch(NamedTuple):
    """Images in the units of the observation cube.

    Patches of 18 x 18 pixels, or for the dense form tiles with their halo (`grid.PATCH_HALO`). NaN
    is no data or masked. A date whose day is NaN is padding; either T may be 0.
    """

    optical: Tensor  # (B, T, 4, H, W) reflectance: blue, green, red, nir
    optical_days: Tensor  # (B, T) days since 1 January of the target year
    radar: Tensor  # (B, T, 2, H, W) sigma0 in dB: vv, vh
    radar_days: Tensor  # (B, T)
    orbits: Tensor  # (B, T) number of a radar date's relative orbit within its sample: 0, 1, ...


class SensorFeatures(NamedTuple):
    """Features of one sensor, for p pixels of each of B samples, date by date.

    Features are meaningful only where the pixel is ``valid``.
    """

    branch: Tensor  # (B, p, T, third width) output of the trunk
    middle: Tensor  # (B, p, T, second width) mid-level features, mean over their 5 x 5 positions;
    # where the fusion reads each layer: those of all three convolutions (B, p, T, sum of widths)
    centre: Tensor  # (B, p, T, channels + 1) scaled values of the pixel; valid share of its patch
    valid: Tensor  # (B, p, T) whether the pixel itself has data
    days: Tensor  # (B, T), 0 for padding
    level: Tensor  # (B, p, 3) median backscatter over time and 1; 0 if without data, or optical

    def select(self, pixels: slice | Tensor) -> SensorFeatures:
        """Select pixels: the temporal part of a tile runs over them in batches."""
        selected = {
            name: values[:, pixels] for name, values in self._asdict().items() if name != "days"
        }
        return self._replace(**selected)


class EncodedImages(NamedTuple):
    """Images of one sensor, encoded: n of all samples that have data."""

    parts: list[Tensor]  # (n, features, h, w): branch and middle, if there is a trunk; the scaled
    # values of the pixels; the valid share of their patches
    has_data: Tensor  # (B, T) which images these are
    valid: Tensor  # (B, T, h, w) whether the pixel itself has data
    days: Tensor  # (B, T), 0 for padding
    level: Tensor  # (B, 3, h, w) as in `SensorFeatures`


class Trunk(nn.Module):
    """Convolutional trunk: conv, conv and max-pool, conv: 18 -> 14 -> 10 -> 5 -> 1 pixels."""

    mean: Tensor

    def __init__(
        self, channels: int, widths: tuple[int, ...], spatial: bool, each_layer: bool = False
    ):
        super().__init__()
        first, second, third = widths
        self.conv1 = nn.Conv2d(channels, first, 5)
        self.conv2 = nn.Conv2d(first, second, 5)
        self.conv3 = nn.Conv2d(second, third, 5)
        self.spatial = spatial
        self.each_layer = each_layer
        self.register_buffer("mean", torch.full((second, 1, 5, 5), 1 / 25), persistent=False)

    def forward(self, x: Tensor, dense: bool) -> tuple[Tensor, Tensor]:
        """Encode images (n, channels, H, W): final and mid-level features (n, width, h, w)."""
        if not self.spatial:
            return self._centre(inner(x))
        dilation = 2 if dense else 1
        early = F.relu(self.conv1(x))  # (n, 32, H - 4, W - 4) in the paper
        x = F.relu(self.conv2(early))  # (n, 64, H - 8, W - 8)
        x = _max_pool(x) if dense else F.max_pool2d(x, 2)  # (n, 64, 5, 5) or (n, 64, H - 9, W - 9)
        if dense:
            middle = F.conv2d(x, self.mean, groups=x.shape[1], dilation=2)  # (n, 64, h, w)
        else:
            middle = x.mean((2, 3), keepdim=True)  # equal, and much faster on a GPU
        x = F.relu(F.conv2d(x, self.conv3.weight, self.conv3.bias, dilation=dilation))
        if self.each_layer:
            middle = torch.cat([_window_mean(early, 14), middle, x], 1)  # (n, 32 + 64 + 128, h, w)
        return x, middle  # (n, 128, h, w)

    def _centre(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Encode patches whose pixels all equal the centre: a kernel then acts as its sum."""
        sums = []
        for conv in (self.conv1, self.conv2, self.conv3):
            x = F.relu(F.conv2d(x, conv.weight.sum((2, 3), keepdim=True), conv.bias))
            sums.append(x)
        return sums[2], torch.cat(sums, 1) if self.each_layer else sums[1]


def _max_pool(x: Tensor) -> Tensor:
    """Max-pool 2 x 2 with stride 1, several times as fast as PyTorch's."""
    x = torch.maximum(x[..., 1:, :], x[..., :-1, :])
    return torch.maximum(x[..., 1:], x[..., :-1])


class Branch(nn.Module):
    """Branch of one sensor: scale its images, run the trunk over every date that has data."""

    zero: Tensor
    unit: Tensor

    def __init__(self, sensor: str, config: Config):
        super().__init__()
        names = config.optical if sensor == "optical" else ("vv", "vh")
        scales = torch.tensor([SCALES[name] for name in names])
        self.names = names
        self.radar = sensor == "radar"
        self.own_zero = self.radar and config.radar_zero == "pixel"
        # Buffers, so that a file of weights brings the scales that it was trained with.
        self.register_buffer("zero", scales[:, 0, None, None].clone())
        self.register_buffer("unit", scales[:, 1, None, None].clone())
        # Our network has an additional input channel: which pixels are valid.
        self.show_missing = config.variant == "default"
        self.channels = len(names) + self.show_missing
        each_layer = config.fused_layers == "each"
        self.trunk = (
            Trunk(self.channels, config.trunk, config.spatial, each_layer) if config.trunk else None
        )
        self.context = config.spatial and bool(config.trunk)
        _, second, third = config.trunk or (0, 0, 0)
        middle = sum(config.trunk) if each_layer else second
        self.widths = (third, middle, len(names) + 1)  # of the features branch, middle, centre

    def forward(
        self, images: Tensor, days: Tensor, orbits: Tensor | None, dense: bool
    ) -> SensorFeatures:
        """Encode ``images`` (B, T, bands, H, W) of ``days`` (B, T)."""
        encoded = self.encode(images, days, orbits, dense)
        has_data, valid = encoded.has_data, encoded.valid
        # The scaled values are float32 even where the trunk computes in lower precision.
        values = encoded.parts[-2]
        features = values.new_zeros(*has_data.shape, sum(self.widths), *valid.shape[2:])
        features[has_data] = torch.cat(encoded.parts, 1)  # (B, T, features, h, w)
        features = features.permute(0, 3, 4, 1, 2).flatten(1, 2)  # (B, p, T, features)
        branch, middle, centre = features.split(self.widths, -1)  # type: ignore[no-untyped-call]
        return SensorFeatures(
            branch,
            middle,
            centre,
            valid.permute(0, 2, 3, 1).flatten(1, 2),
            encoded.days,
            encoded.level.permute(0, 2, 3, 1).flatten(1, 2),
        )

    def encode(
        self, images: Tensor, days: Tensor, orbits: Tensor | None, dense: bool
    ) -> EncodedImages:
        """Run the trunk over all images that have data; as `forward`."""
        if images.shape[1] == 0:  # no date at all: treat as one date of padding
            images = images.new_zeros(len(images), 1, *images.shape[2:])
            days, orbits = days.new_full((len(days), 1), torch.nan), None
        valid = images.isfinite().all(2) & days.isfinite()[:, :, None, None]  # (B, T, H, W)
        valid_inner = inner(valid)  # (B, T, h, w)
        has_data = valid_inner.flatten(2).any(2)  # (B, T): only these images are encoded

        level = images.new_zeros(*valid_inner.shape[:1], 3, *valid_inner.shape[2:])  # (B, 3, h, w)
        if self.radar:
            images = images.masked_fill(~valid[:, :, None], torch.nan)
            level = self._level(inner(images))
            if self.own_zero and orbits is not None:
                images = _subtract_own_median(images, orbits)
        x, mask = images[has_data], valid[has_data, None]  # (n, bands, H, W), (n, 1, H, W)
        x = self._scaled(x).clamp(-LIMIT, LIMIT).masked_fill(~mask, 0)  # (n, channels, H, W)
        mask = mask.to(x)
        parts = [inner(x), _valid_share(mask) if self.context else inner(mask)]
        if self.trunk is not None:
            encoded = self.trunk(torch.cat([x, mask], 1) if self.show_missing else x, dense)
            parts = [*encoded, *parts]
        return EncodedImages(parts, has_data, valid_inner, days.nan_to_num(0.0), level)

    def _scaled(self, x: Tensor) -> Tensor:
        """Compute the channels (n, channels, H, W) of bands, and scale them."""
        if self.own_zero:
            return x / SWING
        if not self.radar:
            blue, green, red, nir = x.unbind(1)
            total = blue + green + red
            # As `deepcrop.indices`, but 0 rather than NaN where a sum is not positive.
            channels = {
                "ndvi": ((nir - red) / (nir + red).clamp(min=1e-6)).clamp(-1, 1),
                "gcc": (green / total.clamp(min=1e-6)).clamp(0, 1),
                "evi": (2.5 * (nir - red) / (nir + 6 * red - 7.5 * blue + 1).clamp(min=0.1)).clamp(
                    -0.5, 1.5
                ),
            }
            channels |= {"blue": blue, "green": green, "red": red, "nir": nir}
            x = torch.stack([channels[name] for name in self.names], 1)
        return (x - self.zero) / self.unit

    def _level(self, db: Tensor) -> Tensor:
        """Median backscatter over time, scaled, and whether there is one, (B, 3, h, w)."""
        level = ((_median(db)[:, 0] - self.zero) / self.unit).clamp(-LIMIT, LIMIT)
        return torch.cat([level, torch.ones_like(level[:, :1])], 1).where(
            level.isfinite().all(1, keepdim=True), 0
        )


class Branches(nn.ModuleDict):
    """The branches of all sensors a network reads."""

    def __init__(self, config: Config):
        branches = {name: Branch(name, config) for name in config.sensors}
        super().__init__(branches)
        self.widths = {name: branch.widths for name, branch in branches.items()}

    def of(self, sensor: str) -> Branch:
        """Return the branch of one sensor."""
        branch = self[sensor]
        assert isinstance(branch, Branch)
        return branch

    def forward(self, batch: Batch, dense: bool = False) -> dict[str, SensorFeatures]:
        """Run each sensor's branch over its images; ``dense``: over whole tiles."""
        features = {}
        if "optical" in self:
            features["optical"] = self["optical"](batch.optical, batch.optical_days, None, dense)
        if "radar" in self:
            features["radar"] = self["radar"](batch.radar, batch.radar_days, batch.orbits, dense)
        return features


def _subtract_own_median(db: Tensor, orbits: Tensor) -> Tensor:
    """Subtract from backscatter its median over the dates of the same orbit, pixel by pixel.

    This cancels a gain offset, the level of a field and most of the effect of the incidence angle.
    """
    result = db
    for orbit in orbits.unique():  # type: ignore[no-untyped-call]
        of_orbit = (orbits == orbit)[:, :, None, None, None]
        result = torch.where(of_orbit, db - _median(db.where(of_orbit, torch.nan)), result)
    return result


def _median(db: Tensor) -> Tensor:
    """Median over the dates of (B, T, ...), as an axis of length 1; NaN where there are none.

    Of an even count it is the lower of the two middle values, so that it is the same date's value
    in dB and in power.
    """
    return db.nanmedian(1, keepdim=True).values


def _valid_share(mask: Tensor) -> Tensor:
    """Share of valid pixels of each patch (n, 1, h, w)."""
    return _window_mean(mask, PATCH_SIZE)


def _window_mean(x: Tensor, size: int) -> Tensor:
    """Mean over each window of ``size`` x ``size`` pixels, rows and columns one after the other."""
    return F.avg_pool2d(F.avg_pool2d(x, (size, 1), 1), (1, size), 1)


def image_dates(features: dict[str, SensorFeatures]) -> tuple[Tensor, Tensor]:
    """Days of the images of all sensors (P, T), and in which of them the pixel is valid."""
    days = [f.days[:, None].expand_as(f.valid).flatten(0, 1) for f in features.values()]
    valid = [f.valid.flatten(0, 1) for f in features.values()]
    return torch.cat(days, 1), torch.cat(valid, 1)


def fourier(days: Tensor, width: int) -> Tensor:
    """Encode days as (..., width): sines and cosines of periods from 10 to 1461 days.

    The longest period, four years, exceeds the range of day numbers, so that no two share an
    encoding.
    """
    periods = torch.logspace(1, math.log10(1461), width // 2, device=days.device)
    angle = 2 * torch.pi * days[..., None] / periods
    return torch.cat([angle.sin(), angle.cos()], -1)
