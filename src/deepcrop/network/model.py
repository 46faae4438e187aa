"""Our network on one page: optical and radar images of a place to the dates of its seasons.

1. The branch of each sensor (`deepcrop.network.sensor_branch`) encodes every image to one feature
   vector.
2. `Reading` resamples these vectors from their true dates, any number of them, to positions 15 days
   apart: local averages and slopes with learned kernel widths, each image with a learned weight.
3. `Fusion` (Eq. 3 of the paper, with its 1-D convolution in true time) gives gates: how much the
   network relies on each sensor at each position.
4. A small transformer encoder mixes the positions of the two years.
5. Each position gives the logits of its three 5-day bins. A softmax over all bins and "no such
   event" gives one distribution for each season slot and stage.

Axes: B samples or tiles, p pixels of each, P = B·p pixels, T dates, G positions, d width of the
encoder, k kernels (4 averages and 4 slopes), slots seasons of the target year, stages dates of a
season, bins 5-day bins of the two years.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepcrop.network.sensor_branch import Batch, Branches, SensorFeatures, fourier, image_dates
from deepcrop.network.targets import (
    Labels,
    decode_distribution,
    distribution_loss,
    in_order,
    one_season,
    snap,
)
from deepcrop.stages import CALENDAR, DAY_MAX, DAY_MIN, Dates

if TYPE_CHECKING:
    from deepcrop.network.config import Config

WIDTHS = (6.0, 15.0, 40.0, 100.0)
"""Kernel widths at the start of training, days."""

NOTHING = 0.1
"""Pseudo-weight of "no data" in each local average, so that a gap differs from a low value."""

CALENDAR_WIDTH = 32
"""Features of the encoded day of a position."""


def positions(config: Config) -> tuple[Tensor, Tensor]:
    """Days of the encoder's positions (G,), and edges of the bins of days (G·bins + 1,).

    A day number stands for a whole day, so the first bin starts half a day before it.
    """
    step = config.bin_days * config.bins
    count = -(-(DAY_MAX - DAY_MIN + 1) // step)
    start = DAY_MIN - 0.5
    middles = start + step * (torch.arange(count) + 0.5)
    return middles, start + config.bin_days * torch.arange(count * config.bins + 1.0)


class Reading(nn.Module):
    """Resample the features of one sensor from its dates to the positions of the encoder."""

    def __init__(self, features: int, width: int):
        super().__init__()
        kernels = 2 * len(WIDTHS)
        self.embed = nn.Linear(features, width)
        self.norm = nn.LayerNorm(width)
        self.value = nn.Linear(width, width)
        self.weight = nn.Linear(width, kernels)
        self.log_width = nn.Parameter(torch.tensor(WIDTHS).log())
        self.out = nn.Linear(width, width)

    def forward(self, features: SensorFeatures, days: Tensor, gate: Tensor | None) -> Tensor:
        """(P, G, d) at ``days`` (G,); ``gate`` is (P, G, k) or None."""
        x = torch.cat([features.branch, features.centre], -1)  # (B, p, T, features)
        x = self.norm(F.relu(self.embed(x)))  # (B, p, T, d)
        weight = self.weight(x).sigmoid() * features.valid[..., None]  # (B, p, T, k)
        value = self.value(x).unflatten(-1, (weight.shape[-1], -1))  # (B, p, T, k, d / k)

        # Distance of each position from each image, in kernel widths, and an exponential kernel.
        distance = (days[:, None] - features.days[:, None])[:, None]  # (B, 1, G, T)
        distance = distance / self.log_width.exp()[:, None, None]  # (B, 4, G, T)
        even = torch.exp(-distance.abs())
        kernel = torch.cat([even, distance * even], 1)  # (B, k, G, T): averages, then slopes
        total = torch.einsum("bkgt,bptk->bpgk", torch.cat([even, even], 1), weight)
        y = torch.einsum("bkgt,bptkc->bpgkc", kernel, weight[..., None] * value)
        y = y / (total + NOTHING)[..., None]  # (B, p, G, k, d / k)
        y = y.flatten(0, 1) if gate is None else y.flatten(0, 1) * gate[..., None]
        z: Tensor = self.out(y.flatten(2))  # (P, G, d)
        return z


class Fusion(nn.Module):
    """Gates of both sensors, Eq. 3: sigmoid(conv1d(concat[mid-level features])), one per kernel."""

    def __init__(self, features: int, gates: int):
        super().__init__()
        self.conv = nn.Conv1d(2 * features, 2 * gates, 3, padding=1)

    def forward(self, optical: SensorFeatures, radar: SensorFeatures, days: Tensor) -> list[Tensor]:
        """Gates (P, G, k) of the optical and the radar reading."""
        resampled = []
        for features in (optical, radar):
            distance = days[:, None] - features.days[:, None]  # (B, G, T)
            kernel = torch.exp(-distance.abs() / WIDTHS[1])
            valid = features.valid.to(kernel)  # (B, p, T)
            total = torch.einsum("bgt,bpt->bpg", kernel, valid)[..., None]
            middle = torch.einsum("bgt,bptc->bpgc", kernel, valid[..., None] * features.middle)
            resampled.append((middle / (total + NOTHING)).flatten(0, 1))
        x = torch.cat(resampled, -1)  # (P, G, 2 · second width of the trunk)
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)  # (P, G, 2 k)
        return list(x.sigmoid().chunk(2, -1))


class Attention(nn.Module):
    """Multi-head self-attention with a learned bias for the distance of two positions."""

    distance: Tensor

    def __init__(self, width: int, heads: int, count: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        steps = torch.arange(count)
        distance = steps[:, None] - steps  # (G, G), from 1 - G to G - 1
        self.register_buffer("distance", distance + count - 1, persistent=False)
        reach = torch.logspace(0, 2, heads)[:, None]  # of a head at first: 1 to 100 positions
        self.nearness = nn.Parameter(-torch.arange(1.0 - count, count).abs() / reach)

    def forward(self, x: Tensor) -> Tensor:
        """(P, G, d) -> (P, G, d)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # q, k, v: (P, heads, G, d / heads). A bias of four dimensions, (1, heads, G, G), is what
        # PyTorch's fast kernel for CPUs needs.
        y = F.scaled_dot_product_attention(q, k, v, self.nearness[None, :, self.distance])
        z: Tensor = self.out(y.transpose(1, 2).flatten(2))
        return z


class Convolution(nn.Module):
    """1-D convolution in place of attention, in the network of convolutions only."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """(P, G, d) -> (P, G, d)."""
        y: Tensor = self.conv(x.transpose(1, 2))
        return y.transpose(1, 2)


class Block(nn.Module):
    """Transformer block: mix positions, then features; pre-norm, with residual connections."""

    def __init__(self, config: Config, count: int):
        super().__init__()
        d = config.width
        attention = config.encoder == "attention"
        self.norm1, self.norm2 = nn.LayerNorm(d), nn.LayerNorm(d)
        self.mix = Attention(d, config.heads, count) if attention else Convolution(d)
        self.wide, self.out = nn.Linear(d, config.feedforward), nn.Linear(config.feedforward, d)

    def forward(self, x: Tensor) -> Tensor:
        """(P, G, d) -> (P, G, d)."""
        x = x + self.mix(self.norm1(x))
        y: Tensor = x + self.out(self.wide(self.norm2(x)).relu_())
        return y


class DeepCrop(nn.Module):
    """The default network: distributions of the dates of up to two seasons of a target year."""

    days: Tensor
    edges: Tensor
    log_temperature: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        days, edges = positions(config)
        self.register_buffer("days", days, persistent=False)
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer(
            "log_temperature", torch.zeros(len(config.stages))
        )  # of the calibration
        d = config.width
        self.branches = Branches(config)
        self.readings = nn.ModuleDict()
        for name, (last, _, centre) in self.branches.widths.items():
            self.readings[name] = Reading(last + centre, d)
        self.fusion = Fusion(config.trunk[1], 2 * len(WIDTHS)) if config.fusion else None
        self.calendar = nn.Linear(CALENDAR_WIDTH, d)
        has_level = "radar" in config.sensors and config.radar_zero == "pixel"
        self.level = nn.Linear(3, d, bias=False) if has_level else None
        self.blocks = nn.Sequential(*(Block(config, days.numel()) for _ in range(config.layers)))
        self.norm = nn.LayerNorm(d)
        events = config.slots * len(config.stages)
        self.bins = nn.Linear(d, config.bins * events)
        self.none = nn.Linear(d, events)

    def forward(self, batch: Batch, dense: bool = False) -> Tensor:
        """Logits (P, slots, stages, bins + 1); ``dense``: of all pixels with a whole patch."""
        return self.head(self.encode(batch, dense))

    def encode(self, batch: Batch, dense: bool = False) -> dict[str, SensorFeatures]:
        """Run the branches of the sensors, the part that the pixels of a tile share."""
        batch = self._drop_sensors(batch) if self.training else batch
        features: dict[str, SensorFeatures] = self.branches(batch, dense)
        return features

    def head(self, features: dict[str, SensorFeatures]) -> Tensor:
        """Run the temporal part: features (B, p, ...) -> logits (P, slots, stages, bins + 1)."""
        gates: dict[str, Tensor | None] = dict.fromkeys(features)
        if self.fusion is not None:
            both = self.fusion(features["optical"], features["radar"], self.days)
            gates = dict(zip(("optical", "radar"), both, strict=True))
        x = self.calendar(fourier(self.days, CALENDAR_WIDTH))  # (G, d)
        for name, reading in self.readings.items():
            x = x + reading(features[name], self.days, gates[name])  # (P, G, d)
        if self.level is not None:
            level = self._drop_level(features["radar"].level)  # (B, p, 3)
            x = x + self.level(level).flatten(0, 1)[:, None]
        x = self.norm(self.blocks(x))  # (P, G, d)
        events = (self.config.slots, len(self.config.stages))
        bins = self.bins(x).unflatten(-1, (self.config.bins, *events))  # (P, G, 3, slots, stages)
        bins = bins.flatten(1, 2).movedim(1, -1)  # (P, slots, stages, bins)
        none = self.none(x.mean(1)).unflatten(-1, events)  # (P, slots, stages)
        return torch.cat([bins, none[..., None]], -1)

    def _drop_sensors(self, batch: Batch) -> Batch:
        """Drop all dates of one sensor from some samples, never of both."""
        draw = torch.rand(len(batch.optical), 1, device=batch.optical.device)
        no_radar, no_optical = draw < self.config.drop_radar, draw > 1 - self.config.drop_optical
        return batch._replace(
            optical_days=batch.optical_days.masked_fill(no_optical, torch.nan),
            radar_days=batch.radar_days.masked_fill(no_radar, torch.nan),
        )

    def _drop_level(self, level: Tensor) -> Tensor:
        """Drop the level of the backscatter of some samples, in training."""
        if not self.training:
            return level
        draw = torch.rand(len(level), 1, 1, device=level.device)
        return level.masked_fill(draw < self.config.drop_level, 0)

    def loss(self, logits: Tensor, features: dict[str, SensorFeatures], labels: Labels) -> Tensor:
        """Cross-entropy against soft targets (P, slots, stages)."""
        if self.config.targets == "snapped":
            labels = snap(labels, *image_dates(features))
        return distribution_loss(logits, labels, self.edges)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated distributions (P, slots, stages, bins + 1), the last "no such event"."""
        return (logits / self.log_temperature.exp()[:, None]).softmax(-1)

    def distributions(self, logits: Tensor, in_season: bool = False) -> Tensor:
        """Distributions from which dates are read, (P, slots, stages, bins + 1).

        As `probabilities`, but the stages of a slot are restricted to one season, the likeliest,
        where they could be of several. Not so in season: while it is open which season will be
        the main one of the year, an interval has to hold the dates of all that it could be.
        """
        probability = self.probabilities(logits)
        if in_season:
            return probability
        for columns in self.stages_by_definition():
            names = [self.config.stages[k].removeprefix("curve_") for k in columns]
            if "peak" in names:
                season = one_season(probability[:, :, columns], names, self.config.bin_days)
                index = torch.tensor(columns, device=logits.device)
                probability = probability.index_copy(2, index, season)
        return probability

    def decode(
        self, logits: Tensor, features: dict[str, SensorFeatures], in_season: bool = False
    ) -> Dates[Tensor]:
        """Median, 5 % and 95 % day, probability of the event, each (P, slots, stages).

        ``in_season``: of observations that end before the year does, as of `distributions`.
        """
        probability = self.distributions(logits, in_season)
        dates = decode_distribution(probability, self.edges, self.config.threshold)
        for columns in self.stages_by_definition():
            for days in (dates.day, dates.low, dates.high):
                days[..., columns] = in_order(days[..., columns])
        return dates

    def stages_by_definition(self) -> list[list[int]]:
        """List the indices of the stages of each date definition, in order of time."""
        stages = self.config.stages
        return [
            [stages.index(prefix + name) for name in CALENDAR if prefix + name in stages]
            for prefix in ("", "curve_")
        ]
