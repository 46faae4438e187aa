"""The published network (Remote Sensing of Environment 2022), with every number it gives.

Where the paper is silent or contradicts itself the code follows one reading, marked "our reading".
Its shapes: P patches, 40 tokens (30 optical and 10 radar dates), width 900 = 30 heads x 30.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from deepcrop.network.config import SENSORS, Config
from deepcrop.network.sensor_branch import Batch, Branches, Series, fourier
from deepcrop.network.targets import Dates, Labels, decode_positions, position_loss


class Tokens(NamedTuple):
    """The dates that are read, of all sensors, in order of time; what is missing comes last."""

    branch: Tensor  # (P, 40, 128)
    middle: Tensor  # (P, 40, 64)
    centre: Tensor  # (P, 40, 3)
    days: Tensor  # (P, 40)
    sensor: Tensor  # (P, 40) 0 or 1
    seen: Tensor  # (P, 40)


class Encoder(nn.Module):
    """One layer of a transformer encoder (Eqs. 4-8); our reading: layer norms come first."""

    def __init__(self, width: int, heads: int, feedforward: int):
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.merge = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.out = nn.Linear(width, feedforward), nn.Linear(feedforward, width)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(P, 40, 900) -> the same; tokens that are not ``seen`` (P, 40) are not looked at."""
        q, k, v = self.qkv(self.norm1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        hidden = torch.zeros_like(x[:, :, 0]).masked_fill(~seen, -1e9)[:, None, None]
        y = F.scaled_dot_product_attention(q, k, v, hidden)  # (P, 30 heads, 40, 30)
        x = x + self.merge(y.transpose(1, 2).flatten(2))
        return x + self.out(F.relu(self.wide(self.norm2(x))))


class PaperDeepCrop(nn.Module):
    """The published network: for each image date, the probability that it is that of a stage."""

    def __init__(self, config: Config):
        super().__init__()
        self.config = config
        self.branches = Branches(config)
        last, middle, centre = next(iter(self.branches.widths.values()))
        # Our reading of Eq. 3: mid-level features averaged over their 5 x 5 places, the dates of
        # both sensors in order of time, a kernel of 3 dates, as many features as a branch gives.
        self.fusion = nn.Conv1d(middle, last, 3, padding=1) if config.fusion else None
        # "Global and local awareness": branch, fused and raw values of the centre in each token.
        parts = (2 if config.fusion else 1) * last + centre
        self.embed = nn.Linear(parts, config.width)
        self.modality = nn.Parameter(0.02 * torch.randn(len(config.sensors), config.width))
        layers = config.layers if config.encoder == "attention" else 0
        size = (config.width, config.heads, config.feedforward)
        self.encoder = nn.ModuleList(Encoder(*size) for _ in range(layers))
        self.norm = nn.LayerNorm(config.width)  # Eq. 6
        # Our reading: the MLP stands on the flattened output of the encoder.
        self.counts = dict(zip(SENSORS, config.dates, strict=True))
        tokens = sum(self.counts[name] for name in config.sensors)
        units = (tokens * config.width, *config.mlp)
        self.mlp = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(units))
        self.out = nn.Linear(units[-1], tokens * len(config.stages))  # Eq. 9, before the sigmoid

    def forward(self, batch: Batch, dense: bool = False) -> Tensor:
        """Logits (P, 1, stages, 40); dense: of all pixels with a whole patch around them."""
        return self.head(self.look(batch, dense))

    def look(self, batch: Batch, dense: bool = False) -> dict[str, Series]:
        """Run the branches over all dates."""
        return self.branches(batch, dense)

    def head(self, seen: dict[str, Series]) -> Tensor:
        """Run the temporal part: (B, p) series -> logits (P, 1, stages, 40), P = B·p."""
        tokens = self.tokens(seen)
        parts = [tokens.branch, tokens.centre]
        if self.fusion is not None:
            fused = self.fusion(tokens.middle.transpose(1, 2)).sigmoid()  # (P, 128, 40)
            parts.append(fused.transpose(1, 2))
        x = self.embed(torch.cat(parts, -1))  # (P, 40, 900)
        x = x + self.modality[tokens.sensor] + fourier(tokens.days, x.shape[-1])
        for layer in self.encoder:
            x = layer(x, tokens.seen)
        x = (self.norm(x) * tokens.seen[..., None]).flatten(1)  # (P, 36 000)
        for layer in self.mlp:
            x = F.relu(layer(x))  # (P, 10 000), (P, 5 000), (P, 1 000), (P, 500)
        return self.out(x).unflatten(-1, (1, len(self.config.stages), -1))

    def tokens(self, seen: dict[str, Series]) -> Tokens:
        """Choose the dates that are read, and bring those of all sensors into order of time."""
        chosen = [
            choose(series, self.counts[name], sensor)
            for sensor, (name, series) in enumerate(seen.items())
        ]
        together = Tokens(*(torch.cat(parts, 1) for parts in zip(*chosen, strict=True)))
        return _take(together, _in_time(together.days, together.seen))

    def loss(self, logits: Tensor, seen: dict[str, Series], labels: Labels) -> Tensor:
        """Binary cross-entropy at each date, 1 at that nearest to the label (our reading)."""
        tokens = self.tokens(seen)
        return position_loss(logits, labels, tokens.days, tokens.seen)

    def decode(self, logits: Tensor, seen: dict[str, Series]) -> Dates[Tensor]:
        """Date of the largest probability, each (P, 1, stages); no interval."""
        tokens = self.tokens(seen)
        return decode_positions(logits, tokens.days, tokens.seen, self.config.threshold)


def choose(series: Series, count: int, sensor: int) -> Tokens:
    """``count`` of the dates on which each pixel was seen; all of them where there are fewer.

    Our reading of "30 of 42 scenes": evenly by rank, the first and the last among them, so that
    each position is a real image at its real date.
    """
    seen = series.seen.flatten(0, 1)  # (P, T)
    days = series.days.repeat_interleave(series.seen.shape[1], 0)
    sensors = torch.full_like(seen, sensor, dtype=torch.long)
    features = (series.branch.flatten(0, 1), series.middle.flatten(0, 1))
    tokens = Tokens(*features, series.centre.flatten(0, 1), days, sensors, seen)
    total, rank = seen.sum(1, keepdim=True), torch.arange(count, device=seen.device)
    even = (rank * (total - 1) / max(count - 1, 1)).round().long()
    rank = torch.where(total > count, even, rank)  # (P, count)
    index = _in_time(days, seen).gather(1, rank.clamp(0, seen.shape[1] - 1))
    tokens = _take(tokens, index)
    return tokens._replace(seen=rank < total)


def _in_time(days: Tensor, seen: Tensor) -> Tensor:
    """Order of time (P, T); what was not seen comes last."""
    return days.masked_fill(~seen, torch.inf).argsort(dim=1, stable=True)


def _take(tokens: Tokens, index: Tensor) -> Tokens:
    """Tokens at ``index`` (P, n) along their dates; features of those not seen are 0."""
    there = tokens.seen.gather(1, index)

    def features(part: Tensor) -> Tensor:
        return part.gather(1, index[..., None].expand(-1, -1, part.shape[2])) * there[..., None]

    return Tokens(
        features(tokens.branch),
        features(tokens.middle),
        features(tokens.centre),
        tokens.days.gather(1, index),
        tokens.sensor.gather(1, index),
        there,
    )
