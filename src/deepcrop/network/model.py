"""Our network, on one page: optical and radar, in space and time, to the dates of a season.

1. Each sensor's branch (`sensors`) turns every image it has into one vector of features.
2. `Reading` brings them, at their true dates and in any number, to positions 15 days apart: local
   averages and slopes of learned widths, each image with a learned weight.
3. The fusion block (Eq. 3 of the paper, its 1-D convolution in true time and its sigmoid used as
   what it is, a gate) says at which time to rely on which sensor.
4. A small encoder lets all positions of the two years know of each other.
5. Each position gives the logits of its three 5-day bins; with "no such event" beside them, a
   softmax makes one distribution for each season slot and stage.

In shapes, P = B·p is pixels, T dates, G positions, d the width of the encoder.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepcrop.network.config import Config
from deepcrop.network.sensor_branch import Batch, Branches, Series, fourier, image_dates
from deepcrop.network.targets import (
    Dates,
    Labels,
    decode_distribution,
    distribution_loss,
    in_order,
    one_season,
    snap,
)
from deepcrop.stages import CALENDAR, DAY_MAX, DAY_MIN

WIDTHS = (6.0, 15.0, 40.0, 100.0)
"""Widths of the kernels at the start of training, days."""

NOTHING = 0.1
"""Weight of the emptiness that each average is drawn to: how a gap is told from a low value."""

CALENDAR_WIDTH = 32


def positions(config: Config) -> tuple[Tensor, Tensor]:
    """Days of the encoder's positions (G,), and edges of the bins of days (G·bins + 1,).

    A day number is a whole day, so the first bin begins half a day before the first.
    """
    step = config.bin_days * config.bins
    count = -(-(DAY_MAX - DAY_MIN + 1) // step)
    start = DAY_MIN - 0.5
    middles = start + step * (torch.arange(count) + 0.5)
    return middles, start + config.bin_days * torch.arange(count * config.bins + 1.0)


class Reading(nn.Module):
    """Images of one sensor at any dates -> d features at each position."""

    def __init__(self, features: int, width: int):
        super().__init__()
        kernels = 2 * len(WIDTHS)
        self.embed = nn.Linear(features, width)
        self.norm = nn.LayerNorm(width)
        self.value = nn.Linear(width, width)
        self.weight = nn.Linear(width, kernels)
        self.log_width = nn.Parameter(torch.tensor(WIDTHS).log())
        self.out = nn.Linear(width, width)

    def forward(self, series: Series, days: Tensor, gate: Tensor | None) -> Tensor:
        """(P, G, d) at ``days`` (G,); ``gate`` (P, G, kernels) or None."""
        x = torch.cat([series.branch, series.centre], -1)  # (B, p, T, features)
        x = self.norm(F.relu(self.embed(x)))  # (B, p, T, d)
        weight = self.weight(x).sigmoid() * series.seen[..., None]  # (B, p, T, kernels)
        value = self.value(x).unflatten(-1, (weight.shape[-1], -1))  # (B, p, T, kernels, d / 8)

        gap = (days[:, None] - series.days[:, None])[:, None] / self.log_width.exp()[:, None, None]
        even = torch.exp(-gap.abs())  # (B, 4, G, T)
        kernel = torch.cat([even, gap * even], 1)  # averages and slopes
        total = torch.einsum("bkgt,bptk->bpgk", torch.cat([even, even], 1), weight)
        y = torch.einsum("bkgt,bptkc->bpgkc", kernel, weight[..., None] * value)
        y = y / (total + NOTHING)[..., None]  # (B, p, G, kernels, d / 8)
        y = y.flatten(0, 1) if gate is None else y.flatten(0, 1) * gate[..., None]
        return self.out(y.flatten(2))  # (P, G, d)


class Fusion(nn.Module):
    """Eq. 3: sigmoid(conv1d(concat[mid-level features of both branches])), one gate per kernel."""

    def __init__(self, features: int, gates: int):
        super().__init__()
        self.conv = nn.Conv1d(2 * features, 2 * gates, 3, padding=1)

    def forward(self, optical: Series, radar: Series, days: Tensor) -> list[Tensor]:
        """Gates (P, G, kernels) of the optical and the radar reading."""
        both = []
        for series in (optical, radar):
            kernel = torch.exp(-(days[:, None] - series.days[:, None]).abs() / WIDTHS[1])
            seen = series.seen.to(kernel)
            total = torch.einsum("bgt,bpt->bpg", kernel, seen)[..., None]
            middle = torch.einsum("bgt,bptc->bpgc", kernel, seen[..., None] * series.middle)
            both.append((middle / (total + NOTHING)).flatten(0, 1))
        x = torch.cat(both, -1)  # (P, G, 2 · second width of the trunk)
        x = self.conv(x.transpose(1, 2)).transpose(1, 2)
        return list(x.sigmoid().chunk(2, -1))


class Attention(nn.Module):
    """Multi-head self-attention; how far apart two positions are adds to their score."""

    apart: Tensor

    def __init__(self, width: int, heads: int, count: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        steps = torch.arange(count)
        apart = steps[:, None] - steps  # (G, G)
        self.register_buffer("apart", apart + count - 1, persistent=False)
        reach = torch.logspace(0, 2, heads)[:, None]  # at first 1 to 100 positions
        self.nearness = nn.Parameter(-torch.arange(1.0 - count, count).abs() / reach)

    def forward(self, x: Tensor) -> Tensor:
        """(P, G, d) -> (P, G, d)."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        # With four dimensions, which PyTorch's fast form asks for on CPUs.
        y = F.scaled_dot_product_attention(q, k, v, self.nearness[None, :, self.apart])
        return self.out(y.transpose(1, 2).flatten(2))


class Convolution(nn.Module):
    """What stands for attention in a network of convolutions only."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv1d(width, width, 5, padding=2)

    def forward(self, x: Tensor) -> Tensor:
        """(P, G, d) -> (P, G, d)."""
        return self.conv(x.transpose(1, 2)).transpose(1, 2)


class Block(nn.Module):
    """Mix positions, then features; layer norms before, sums after."""

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
        return x + self.out(self.wide(self.norm2(x)).relu_())


class DeepCrop(nn.Module):
    """The default network."""

    days: Tensor
    edges: Tensor
    log_temperature: Tensor

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        days, edges = positions(config)
        self.register_buffer("days", days, persistent=False)
        self.register_buffer("edges", edges, persistent=False)
        self.register_buffer("log_temperature", torch.zeros(len(config.stages)))  # calibration
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
        """Logits (P, slots, stages, bins + 1); dense: of all pixels with a patch around them."""
        return self.head(self.look(batch, dense))

    def look(self, batch: Batch, dense: bool = False) -> dict[str, Series]:
        """Run the branches: what costs least when a whole tile shares it."""
        return self.branches(self._lose_sensors(batch) if self.training else batch, dense)

    def head(self, seen: dict[str, Series]) -> Tensor:
        """Run the temporal part: (B, p) series -> logits (P, slots, stages, bins + 1)."""
        gates = dict.fromkeys(seen)
        if self.fusion is not None:
            both = self.fusion(seen["optical"], seen["radar"], self.days)
            gates = dict(zip(("optical", "radar"), both, strict=True))
        x = self.calendar(fourier(self.days, CALENDAR_WIDTH))  # (G, d)
        for name, reading in self.readings.items():
            x = x + reading(seen[name], self.days, gates[name])  # (P, G, d)
        if self.level is not None:
            x = x + self.level(self._drop_level(seen["radar"].level)).flatten(0, 1)[:, None]
        x = self.norm(self.blocks(x))  # (P, G, d)
        events = (self.config.slots, len(self.config.stages))
        bins = self.bins(x).unflatten(-1, (self.config.bins, *events))  # (P, G, 3, slots, stages)
        bins = bins.flatten(1, 2).movedim(1, -1)  # (P, slots, stages, bins)
        none = self.none(x.mean(1)).unflatten(-1, events)
        return torch.cat([bins, none[..., None]], -1)

    def _lose_sensors(self, batch: Batch) -> Batch:
        """Take all dates of one sensor from some samples, never of both."""
        lot = torch.rand(len(batch.optical), 1, device=batch.optical.device)
        no_radar, no_optical = lot < self.config.drop_radar, lot > 1 - self.config.drop_optical
        return batch._replace(
            optical_days=batch.optical_days.masked_fill(no_optical, torch.nan),
            radar_days=batch.radar_days.masked_fill(no_radar, torch.nan),
        )

    def _drop_level(self, level: Tensor) -> Tensor:
        if not self.training:
            return level
        lot = torch.rand(len(level), 1, 1, device=level.device)
        return level.masked_fill(lot < self.config.drop_level, 0)

    def loss(self, logits: Tensor, seen: dict[str, Series], labels: Labels) -> Tensor:
        """Cross-entropy against soft targets (P, slots, stages)."""
        if self.config.targets == "snapped":
            labels = snap(labels, *image_dates(seen))
        return distribution_loss(logits, labels, self.edges)

    def probabilities(self, logits: Tensor) -> Tensor:
        """Calibrated distributions (P, slots, stages, bins + 1), the last "no such event"."""
        return (logits / self.log_temperature.exp()[:, None]).softmax(-1)

    def distributions(self, logits: Tensor) -> Tensor:
        """`probabilities` of one season each: where likely dates are of several, of the likeliest.

        What dates are read off; (P, slots, stages, bins + 1), the last "no such event".
        """
        probability = self.probabilities(logits)
        for mine in self._rulers():
            names = [self.config.stages[k].removeprefix("curve_") for k in mine]
            if "peak" in names:
                season = one_season(probability[:, :, mine], names, self.config.bin_days)
                at = torch.tensor(mine, device=logits.device)
                probability = probability.index_copy(2, at, season)
        return probability

    def decode(self, logits: Tensor, seen: dict[str, Series]) -> Dates[Tensor]:
        """Median, 5 % and 95 % day, probability of the event, each (P, slots, stages)."""
        probability = self.distributions(logits)
        dates = decode_distribution(probability, self.edges, self.config.threshold)
        for mine in self._rulers():
            for part in (dates.day, dates.low, dates.high):
                part[..., mine] = in_order(part[..., mine])
        return dates

    def _rulers(self) -> list[list[int]]:
        """Numbers of the stages of each ruler, in order of time."""
        stages = self.config.stages
        return [
            [stages.index(prefix + name) for name in CALENDAR if prefix + name in stages]
            for prefix in ("", "curve_")
        ]
