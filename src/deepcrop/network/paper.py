"""The published network (Remote Sensing of Environment 2022), with the numbers of the paper.

Where the paper is silent or contradicts itself, the code follows one interpretation, marked "our
reading". Axes: P patches, T dates, 40 tokens (30 optical and 10 radar dates), 900 features = 30
heads x 30.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepcrop.network.config import SENSORS, Config
from deepcrop.network.sensor_branch import Batch, Branches, SensorFeatures, fourier
from deepcrop.network.targets import Labels, decode_positions, position_loss

if TYPE_CHECKING:
    from deepcrop.stages import Dates


class Tokens(NamedTuple):
    """Selected images of all sensors in order of time; missing ones come last."""

    branch: Tensor  # (P, 40, 128)
    middle: Tensor  # (P, 40, 64)
    centre: Tensor  # (P, 40, 3)
    days: Tensor  # (P, 40)
    sensor: Tensor  # (P, 40) 0 or 1
    valid: Tensor  # (P, 40)


class Encoder(nn.Module):
    """Layer of a transformer encoder (Eqs. 4-8); our reading: pre-norm."""

    def __init__(self, width: int, heads: int, feedforward: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.out = nn.Linear(width, feedforward), nn.Linear(feedforward, width)

    def forward(self, x: Tensor, valid: Tensor) -> Tensor:
        """(P, 40, 900) -> (P, 40, 900); tokens that are not ``valid`` (P, 40) are masked."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        hidden = torch.zeros_like(x[:, :, 0]).masked_fill(~valid, -1e9)[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, hidden)  # (P, 30 heads, 40, 30)
        x = x + self.merge(y.transpose(1, 2).flatten(2))
        mixed: Tensor = x + self.out(F.relu(self.wide(self.norm2(x))))
        return mixed


class PaperDeepCrop(nn.Module):
    """The published network: for each image, the probability that it shows the date of a stage."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.branches = Branches(config)
        last, middle, centre = next(iter(self.branches.widths.values()))
        # Our reading of Eq. 3: features averaged over their positions, the dates of both sensors in
        # order of time, a kernel of 3 dates, as many features as a branch gives. Which features is
        # read both ways (`Config.fused_layers`).
        self.fusion = nn.Conv1d(middle, last, 3, padding=1) if config.fusion else None
        # "Global and local awareness": branch, fused and raw values of the centre in each token.
        parts = (2 if config.fusion else 1) * last + centre
        self.embed = nn.Linear(parts, config.width)
        self.modality = nn.Parameter(0.02 * torch.randn(len(config.sensors), config.width))
        layers = config.layers if config.encoder == "attention" else 0
        size = (config.width, config.heads, config.feedforward)
        self.encoder = nn.ModuleList(Encoder(*size) for _ in range(layers))
        self.norm = nn.LayerNorm(config.width)  # Eq. 6
        # Our reading: the input of the MLP is the flattened output of the encoder.
        self.counts = dict(zip(SENSORS, config.dates, strict=True))
        tokens = sum(self.counts[name] for name in config.sensors)
        units = (tokens * config.width, *config.mlp)
        self.mlp = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(units))
        self.out = nn.Linear(units[-1], tokens * len(config.stages))  # Eq. 9, without the sigmoid

    def forward(self, batch: Batch, dense: bool = False) -> Tensor:
        """Logits (P, 1, stages, 40); ``dense``: of all pixels with a whole patch."""
        return self.head(self.encode(batch, dense))

    def encode(self, batch: Batch, dense: bool = False) -> dict[str, SensorFeatures]:
        """Run the branches of the sensors over all dates of the period."""
        if self.config.period:
            batch = batch._replace(
                optical_days=self._in_period(batch.optical_days),
                radar_days=self._in_period(batch.radar_days),
            )
        features: dict[str, SensorFeatures] = self.branches(batch, dense)
        return features

    def head(self, features: dict[str, SensorFeatures]) -> Tensor:
        """Run the temporal part: features (B, p, ...) -> logits (P, 1, stages, 40), P = B·p."""
        tokens = self.tokens(features)
        parts = [tokens.branch, tokens.centre]
        if self.fusion is not None:
            fused = self.fusion(tokens.middle.transpose(1, 2)).sigmoid()  # (P, 128, 40)
            parts.append(fused.transpose(1, 2))
        x = self.embed(torch.cat(parts, -1))  # (P, 40, 900)
        x = x + self.modality[tokens.sensor] + fourier(tokens.days, x.shape[-1])
        for layer in self.encoder:
            x = layer(x, tokens.valid)
        x = (self.norm(x) * tokens.valid[..., None]).flatten(1)  # (P, 36 000)
        for layer in self.mlp:
            x = F.relu(layer(x))  # (P, 10 000), (P, 5 000), (P, 1 000), (P, 500)
        logits: Tensor = self.out(x).unflatten(-1, (1, len(self.config.stages), -1))
        return logits

    def tokens(self, features: dict[str, SensorFeatures]) -> Tokens:
        """Select the dates of each sensor, and merge them in order of time."""
        selected = [
            select_dates(sensor_features, self.counts[name], sensor)
            for sensor, (name, sensor_features) in enumerate(features.items())
        ]
        merged = Tokens(*(torch.cat(tensors, 1) for tensors in zip(*selected, strict=True)))
        return _take(merged, _time_order(merged.days, merged.valid))

    def loss(self, logits: Tensor, features: dict[str, SensorFeatures], labels: Labels) -> Tensor:
        """Binary cross-entropy, target 1 at the date nearest to the label (our reading)."""
        tokens = self.tokens(features)
        return position_loss(logits, self.readable(labels), tokens.days, tokens.valid)

    def readable(self, labels: Labels) -> Labels:
        """Labels without those outside of the period, to which no image is near (our reading)."""
        if not self.config.period:
            return labels
        return labels._replace(day=self._in_period(labels.day))

    def _in_period(self, days: Tensor) -> Tensor:
        """Days, NaN where they lie outside of the period."""
        first, last = self.config.period
        # The last day counts until midnight.
        return days.where((days >= first) & (days < last + 1), torch.nan)

    def decode(
        self, logits: Tensor, features: dict[str, SensorFeatures], in_season: bool = False
    ) -> Dates[Tensor]:
        """Date of the largest probability, each (P, 1, stages); no interval, also in season."""
        tokens = self.tokens(features)
        return decode_positions(logits, tokens.days, tokens.valid, self.config.threshold)


def select_dates(features: SensorFeatures, count: int, sensor: int) -> Tokens:
    """Select ``count`` of the valid dates of each pixel, or all where there are fewer.

    Our reading of "30 of 42 scenes": evenly by rank, with the first and the last, so that each
    token is a real image at its real date.
    """
    valid = features.valid.flatten(0, 1)  # (P, T)
    tokens = Tokens(
        features.branch.flatten(0, 1),
        features.middle.flatten(0, 1),
        features.centre.flatten(0, 1),
        features.days.repeat_interleave(features.valid.shape[1], 0),
        torch.full_like(valid, sensor, dtype=torch.long),
        valid,
    )
    total, rank = valid.sum(1, keepdim=True), torch.arange(count, device=valid.device)
    even = (rank * (total - 1) / max(count - 1, 1)).round().long()
    rank = torch.where(total > count, even, rank)  # (P, count)
    index = _time_order(tokens.days, valid).gather(1, rank.clamp(0, valid.shape[1] - 1))
    return _take(tokens, index)._replace(valid=rank < total)


def _time_order(days: Tensor, valid: Tensor) -> Tensor:
    """Sort the dates: indices (P, T), those that are not valid last."""
    return days.masked_fill(~valid, torch.inf).argsort(dim=1, stable=True)


def _take(tokens: Tokens, index: Tensor) -> Tokens:
    """Tokens at ``index`` (P, n) along their dates; features of those that are not valid are 0."""
    valid = tokens.valid.gather(1, index)

    def take(features: Tensor) -> Tensor:
        wide = index[..., None].expand(-1, -1, features.shape[2])
        return features.gather(1, wide) * valid[..., None]

    return Tokens(
        take(tokens.branch),
        take(tokens.middle),
        take(tokens.centre),
        tokens.days.gather(1, index),
        tokens.sensor.gather(1, index),
        valid,
    )
