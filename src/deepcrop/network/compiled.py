"""Run the temporal part of a network, and its decoding, by compiled kernels."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeGuard, cast

import numpy as np
import torch
from torch import Tensor, nn

from deepcrop.network.decode_kernel import decode_logits
from deepcrop.network.head_kernel import (
    HEAD,
    WIDTH,
    HeadSizes,
    HeadWeights,
    ImageRows,
    Steps,
    head_logits,
)
from deepcrop.network.model import CALENDAR_WIDTH, NOTHING, WIDTHS, DeepCrop
from deepcrop.network.sensor_branch import fourier
from deepcrop.network.simd import LANES
from deepcrop.network.targets import LONGEST, NEAR_PEAK

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.network.model import Attention, Block, Reading
    from deepcrop.network.sensor_branch import Batch, EncodedImages


def can_compile(network: nn.Module) -> TypeGuard[DeepCrop]:
    """Whether the kernel knows the architecture of a network."""
    if not isinstance(network, DeepCrop):
        return False
    config = network.config
    return (
        config.encoder == "attention"
        and config.width == WIDTH
        and config.heads * HEAD == WIDTH
        and config.feedforward % LANES == 0
        and (not config.fusion or config.trunk[1] % LANES == 0)
    )


def _numbers(tensor: Tensor) -> NDArray[np.float32]:
    return np.ascontiguousarray(tensor.detach().cpu().numpy(), np.float32)


def _columns(weight: NDArray[np.float32]) -> NDArray[np.float32]:
    """Lay out the weight (out, in) of a linear layer: (vectors, in, 16), zero-padded."""
    rows = -(-len(weight) // LANES) * LANES
    padded = np.zeros((rows, weight.shape[1]), np.float32)
    padded[: len(weight)] = weight
    return padded.reshape(-1, LANES, weight.shape[1]).transpose(0, 2, 1).reshape(-1)


def _padded(bias: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.pad(bias, (0, -len(bias) % LANES))


class CompiledNetwork:
    """A network whose temporal part and decoding are compiled, its weights laid out for that.

    Its branches are run by PyTorch.

    Parameters
    ----------
    network : DeepCrop
        One that `can_compile`, on the CPU and in evaluation mode.
    """

    def __init__(self, network: DeepCrop):
        config = network.config
        self.branches = network.branches
        self.names = tuple(network.readings)
        self.days = _numbers(network.days)
        self.events = (config.slots, len(config.stages))
        count = len(self.days)
        self.sizes = HeadSizes(
            sensors=len(self.names),
            fused=config.fusion,
            middle=config.trunk[1] if config.fusion else 0,
            positions=count,
            layers=len(network.blocks),
            heads=config.heads,
            feedforward=config.feedforward,
            events=config.slots * len(config.stages),
            bins=config.bins,
        )
        readings = cast("list[Reading]", list(network.readings.values()))
        blocks = cast("list[Block]", list(network.blocks))
        self.own_widths = [_numbers(r.log_width.exp()) for r in readings]

        def joined(parts: list[NDArray[np.float32]]) -> NDArray[np.float32]:
            return np.concatenate(parts) if parts else np.zeros(LANES, np.float32)

        def linear(layers: list[nn.Linear]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
            return (
                joined([_columns(_numbers(each.weight)) for each in layers]),
                joined([_padded(_numbers(each.bias)) for each in layers]),
            )

        embed, embed_bias = linear([r.embed for r in readings])
        starts = np.cumsum([0, *(r.embed.weight.numel() for r in readings)], dtype=np.int64)
        value, value_bias = [], []
        for r in readings:
            weight = np.concatenate([_numbers(r.value.weight), _numbers(r.weight.weight)])
            value.append(_columns(weight))
            bias = np.concatenate([_numbers(r.value.bias), _numbers(r.weight.bias)])
            value_bias.append(_padded(bias))
        gates = gates_bias = np.zeros(LANES, np.float32)
        if network.fusion is not None:
            kernel = _numbers(network.fusion.conv.weight.transpose(1, 2).flatten(1))
            assert network.fusion.conv.bias is not None
            gates, gates_bias = _columns(kernel), _padded(_numbers(network.fusion.conv.bias))
        start = network.calendar(fourier(network.days, CALENDAR_WIDTH))
        start = start + sum(r.out.bias for r in readings)
        level = np.zeros((3, WIDTH), np.float32)
        if network.level is not None:
            level = _numbers(network.level.weight.T)
        norms = [norm for block in blocks for norm in (block.norm1, block.norm2)]
        norms.append(network.norm)
        qkv, qkv_bias, nearness = [], [], []
        scale = np.ones((3 * WIDTH, 1), np.float32)
        scale[:WIDTH] = HEAD**-0.5
        mixes = cast("list[Attention]", [block.mix for block in blocks])
        for mix in mixes:
            qkv.append(_columns(_numbers(mix.qkv.weight) * scale))
            qkv_bias.append(_numbers(mix.qkv.bias) * scale[:, 0])
            near = _numbers(mix.nearness[:, mix.distance])
            pad = ((0, 0), (0, 0), (0, -count % LANES))
            nearness.append(np.pad(near, pad, constant_values=-1e30).reshape(-1))
        wide, wide_bias = linear([block.wide for block in blocks])
        narrow, narrow_bias = linear([block.out for block in blocks])
        mixed, mixed_bias = linear([mix.out for mix in mixes])
        bins, bins_bias = linear([network.bins])
        none, none_bias = linear([network.none])
        numbers = np.zeros(LANES + WIDTH, np.float32)
        numbers[:4] = 1, -1, 0, NOTHING
        numbers[4 : 4 + len(readings)] = [r.norm.eps for r in readings]
        numbers[6] = network.norm.eps
        self._lay_out_decoding(network)
        self.weights = HeadWeights(
            embed=embed,
            embed_at=starts[:-1],
            embed_bias=embed_bias,
            norm_scale=joined([_numbers(r.norm.weight) for r in readings]),
            norm_offset=joined([_numbers(r.norm.bias) for r in readings]),
            value=joined(value),
            value_bias=joined(value_bias),
            out=joined([_columns(_numbers(r.out.weight)) for r in readings]),
            gates=gates,
            gates_bias=gates_bias,
            start=_numbers(start).reshape(-1),
            level=level.reshape(-1),
            scales=joined([_numbers(norm.weight) for norm in norms]),
            offsets=joined([_numbers(norm.bias) for norm in norms]),
            qkv=joined(qkv),
            qkv_bias=joined(qkv_bias),
            nearness=joined(nearness),
            mixed=mixed,
            mixed_bias=mixed_bias,
            wide=wide,
            wide_bias=wide_bias,
            narrow=narrow,
            narrow_bias=narrow_bias,
            bins=bins,
            bins_bias=bins_bias,
            none=none,
            none_bias=none_bias,
            numbers=numbers,
        )

    def _lay_out_decoding(self, network: DeepCrop) -> None:
        config = network.config
        definitions = [columns for columns in network.stages_by_definition() if columns]
        most = max(map(len, definitions))
        names = [
            [config.stages[k].removeprefix("curve_") for k in columns] for columns in definitions
        ]
        self.cool = _numbers(network.log_temperature.exp())
        self.edges = _numbers(network.edges)
        self.threshold = config.threshold
        self.definitions = np.array([c + [-1] * (most - len(c)) for c in definitions], np.int64)
        self.peaks = np.array(
            [each.index("peak") if "peak" in each else -1 for each in names], np.int64
        )
        self.reach, self.near_peak = LONGEST // config.bin_days, NEAR_PEAK // config.bin_days

    def encode(self, tile: Batch) -> PieceImages:
        """Encode the images of a tile with its halo (batch of 1): what its pixels share."""
        images, steps, level = [], [], None
        for k, name in enumerate(self.names):
            branch = self.branches.of(name)
            if name == "radar":
                encoded = branch.encode(tile.radar, tile.radar_days, tile.orbits, dense=True)
                level = np.ascontiguousarray(encoded.level[0].flatten(1).T.numpy())
            else:
                encoded = branch.encode(tile.optical, tile.optical_days, None, dense=True)
            images.append(_rows(encoded))
            steps.append(self._steps(k, encoded.days[encoded.has_data].numpy()))
            del encoded  # before the next sensor needs memory
        if level is None:
            level = np.zeros((images[0].valid.shape[1], 3), np.float32)
        return PieceImages(images, steps, level)

    def logits(self, seen: PieceImages, pixels: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits (pixels, slots, stages, bins + 1) of some pixels of what `encode` gave."""
        sizes = self.sizes
        bins = sizes.positions * sizes.bins
        found = np.empty((len(pixels), sizes.events, bins + 1), np.float32)
        images, steps = seen.images, seen.steps
        head_logits(
            pixels, images[0], images[-1], steps[0], steps[-1], seen.level, sizes, self.weights,
            found,
        )  # fmt: skip
        return found.reshape(len(pixels), *self.events, bins + 1)

    def decode(self, logits: NDArray[np.float32], in_season: bool) -> list[NDArray[np.float32]]:
        """Median, 5 % and 95 % day, probability, each (pixels, slots, stages)."""
        found = np.empty((4, *logits.shape[:-1]), np.float32)
        decode_logits(
            logits, self.cool, self.edges, self.threshold, self.definitions, self.peaks,
            not in_season, self.reach, self.near_peak, found,
        )  # fmt: skip
        return list(found)

    def _steps(self, sensor: int, days: NDArray[np.float32]) -> Steps:
        """Put images and positions in order of time; an image before a position of its day."""
        both = np.concatenate([days, self.days]).astype(np.float32)
        kind = np.concatenate([np.arange(len(days)), -1 - np.arange(len(self.days))])
        order = np.argsort(both, kind="stable")
        gaps = np.zeros(len(both) + 1, np.float32)
        gaps[1:-1] = np.diff(both[order])
        distance = gaps[:, None] / self.own_widths[sensor]
        kernel = np.exp(-distance)
        each = WIDTH // (2 * len(WIDTHS))
        weight = np.pad(np.tile(kernel, 2), ((0, 0), (0, LANES - 2 * len(WIDTHS))))
        return Steps(
            kind[order].astype(np.int64),
            kernel.repeat(each, 1).reshape(-1),
            distance.repeat(each, 1).reshape(-1),
            weight.reshape(-1),
            np.exp(-gaps / np.float32(WIDTHS[1])).repeat(LANES),
        )


class PieceImages(NamedTuple):
    """Images of a piece, encoded, as the kernel reads them."""

    images: list[ImageRows]  # of each sensor
    steps: list[Steps]
    level: NDArray[np.float32]  # (pixels, 3)


def _rows(encoded: EncodedImages) -> ImageRows:
    """Put the features of a pixel side by side: branch and centre, then middle."""
    *trunk, values, share = encoded.parts
    parts = [*trunk[:1], values, share, *trunk[1:]]
    count, _, height, cols = values.shape
    width = sum(part.shape[1] for part in parts)
    features = torch.empty(count * height * cols * width + LANES)
    features[-LANES:] = 0
    rows = features[: len(features) - LANES].view(count, height, cols, width)
    at = 0
    for part in parts:
        rows[..., at : at + part.shape[1]] = part.permute(0, 2, 3, 1)
        at += part.shape[1]
    return ImageRows(
        features.numpy(),
        width,
        width - sum(part.shape[1] for part in trunk[1:]),
        encoded.valid[encoded.has_data].flatten(1).numpy(),
    )
