"""The temporal part of the network, compiled: `DeepCrop.head`, pixel by pixel in the caches.

What `deepcrop.network.model` computes for all pixels at once, step by step through memory, is
computed here for one pixel after the other, and only from the images in which it is valid. No pixel
reads another, so neither their order nor the number of threads changes a bit.

A sum over images with an exponential kernel needs no sum for each position: in order of time it
fades by the same factor for all images (`simd.fade`). One pass forward and one backward give all
positions.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from deepcrop.network import simd
from deepcrop.network.simd import LANES, ROWS

WIDTH = 64
"""Width of the encoder that the kernel computes."""

HEAD = 16
"""Width of a head of its attention."""


class HeadWeights(NamedTuple):
    """Weights of the temporal part, each one-dimensional, laid out as `simd.product` reads them.

    Those of each sensor, and of each layer, stand one after the other.
    """

    embed: np.ndarray  # per sensor
    embed_at: np.ndarray  # int64: where those of each sensor start
    embed_bias: np.ndarray
    norm_scale: np.ndarray
    norm_offset: np.ndarray
    value: np.ndarray  # per sensor: value and, in the last 16 columns, weight of an image
    value_bias: np.ndarray
    out: np.ndarray
    gates: np.ndarray  # of the fusion; empty without
    gates_bias: np.ndarray
    start: np.ndarray  # (positions, 64) encoded days, and what readings add to all pixels
    level: np.ndarray  # (3, 64)
    scales: np.ndarray  # per layer two, and the last: of the norms
    offsets: np.ndarray
    qkv: np.ndarray  # per layer; queries are scaled
    qkv_bias: np.ndarray
    nearness: np.ndarray  # per layer (heads, positions, padded positions)
    mixed: np.ndarray
    mixed_bias: np.ndarray
    wide: np.ndarray
    wide_bias: np.ndarray
    narrow: np.ndarray
    narrow_bias: np.ndarray
    bins: np.ndarray
    bins_bias: np.ndarray
    none: np.ndarray
    none_bias: np.ndarray
    numbers: np.ndarray  # sign of slopes forward and backward, 0, pseudo-weight, epsilons of the
    # norms (of each reading, and of all others); from _ZEROS on 64 zeros


class HeadSizes(NamedTuple):
    """Sizes of the temporal part."""

    sensors: int
    fused: bool
    middle: int  # features that are fused, of one sensor
    positions: int
    layers: int
    heads: int
    feedforward: int
    events: int
    bins: int  # of a position


class ImageRows(NamedTuple):
    """Images of one sensor, as the kernel reads them."""

    features: np.ndarray  # (images · pixels · features) and 16 more: branch, centre, middle
    width: int  # number of the features
    read: int  # number of those that are read by position; the others are fused
    valid: np.ndarray  # (images, pixels) bool


class Steps(NamedTuple):
    """Images and positions of the encoder in order of time, and kernels from each to the next."""

    kind: np.ndarray  # int64: number of an image; of a position -1 - its number
    decay: np.ndarray  # (steps + 1, 32) kernels since the step before
    distance: np.ndarray  # (steps + 1, 32) distance from it, in kernel widths
    weight: np.ndarray  # (steps + 1, 16) as decay, once for each of the eight kernels
    fusion: np.ndarray  # (steps + 1, 16) kernel of the fusion


_WEIGHT, _SEEN = 96, 112
"""Where the sums of the weights, and of valid images with their fused features, stand in a state.
Before them are those of averages and slopes, 96 numbers (`simd.fade`)."""


@njit
def _gather(images, pixel, steps, sizes, x, seen):
    """Copy the images in which a pixel is valid, in order of time; return their number."""
    n, read, width = 0, images.read, images.width
    pixels = images.valid.shape[1]
    for i in range(len(steps.kind)):
        kind = steps.kind[i]
        if kind < 0:
            continue
        at = (kind * pixels + pixel) * width
        # The next pixels are far apart from date to date, where the processor does not expect them.
        for k in range(0, width, LANES):
            simd.prefetch(images.features, at + _AHEAD * width + k)
        if images.valid[kind, pixel]:
            # What a copy writes beyond its row is overwritten by the next, or has no meaning.
            simd.copy(images.features, at, -(-read // LANES), x, n * read)
            if sizes.fused:
                row = n * (LANES + sizes.middle) + LANES
                simd.copy(images.features, at + read, sizes.middle // LANES, seen, row)
            n += 1
    return n


_AHEAD = 3
"""Number of pixels by which images are loaded ahead."""


@njit
def _sum_over_images(forward, images, pixel, steps, sizes, w, n, u, seen, state, y, total, mixed):
    """Add to the sums of each position those of the ``n`` images before it, or of those after."""
    count, row = len(steps.kind), LANES + sizes.middle
    n = 0 if forward else n
    state[:] = np.float32(0.0)
    for i in range(count):
        at = i if forward else count - 1 - i
        gap = at if forward else at + 1
        simd.fade(state, 0, steps.decay, 32 * gap, steps.distance, 32 * gap)
        simd.multiply(state, _WEIGHT, steps.weight, LANES * gap)
        if sizes.fused:
            for k in range(0, row, LANES):
                simd.multiply(state, _SEEN + k, steps.fusion, LANES * gap)
        kind = steps.kind[at]
        if kind < 0:
            g = -1 - kind
            simd.add_slopes(state, 0, w.numbers, 0 if forward else 1, y, g * WIDTH)
            simd.add(state, _WEIGHT, 1, total, g * LANES)
            if sizes.fused:
                simd.add(state, _SEEN, row // LANES, mixed, g * row)
        elif images.valid[kind, pixel]:
            if not forward:
                n -= 1
            simd.add(u, n * _VALUE, 4, state, 0)
            simd.add(u, n * _VALUE + WIDTH, 1, state, _WEIGHT)
            if sizes.fused:
                simd.add(seen, n * row, row // LANES, state, _SEEN)
            if forward:
                n += 1


_VALUE = WIDTH + LANES
"""Numbers of an image: its weighted values, and its weight in each of the eight kernels."""


@njit
def _read(s, images, pixel, steps, sizes, w, x, e, u, seen, state, y, total, mixed):
    """Resample one sensor of a pixel to the positions: `Reading` and half of `Fusion`."""
    n, read = _gather(images, pixel, steps, sizes, x, seen), images.read
    y[:], total[:], mixed[:] = np.float32(0.0), np.float32(0.0), np.float32(0.0)
    if n == 0:
        return
    simd.product_relu(
        x, 0, read, n, w.embed, w.embed_at[s], LANES, read * LANES, read, 4,
        w.embed_bias, s * WIDTH, 0, e, 0, WIDTH,
    )  # fmt: skip
    for k in range(n):
        at = k * WIDTH
        simd.normalise(e, at, w.norm_scale, w.norm_offset, s * WIDTH, w.numbers, 4 + s, e, at)
    simd.product(
        e, 0, WIDTH, n, w.value, s * WIDTH * _VALUE, LANES, WIDTH * LANES, WIDTH, 5,
        w.value_bias, s * _VALUE, 0, u, 0, _VALUE,
    )  # fmt: skip
    for k in range(n):
        at = k * _VALUE
        simd.sigmoid(u, at + WIDTH)
        simd.multiply_by_eights(u, at, u, at + WIDTH)
    for forward in (True, False):
        _sum_over_images(
            forward, images, pixel, steps, sizes, w, n, u, seen, state, y, total, mixed
        )
    row = LANES + sizes.middle
    for g in range(sizes.positions):
        if sizes.fused:
            for k in range(LANES, row, LANES):
                simd.divide_by_sum(mixed, g * row + k, mixed, g * row, w.numbers, 3)


@njit
def _attend(layer, sizes, w, y, qkv, keys, scores, z):
    """Self-attention of a layer: normed rows ``y`` to the mixed values ``z``."""
    count, heads = sizes.positions, sizes.heads
    vectors = -(-count // LANES)
    simd.product(
        y, 0, WIDTH, count, w.qkv, layer * 3 * WIDTH * WIDTH, LANES, WIDTH * LANES, WIDTH,
        3 * WIDTH // LANES, w.qkv_bias, layer * 3 * WIDTH, 0, qkv, 0, 3 * WIDTH,
    )  # fmt: skip
    for head in range(heads):
        at = head * HEAD
        for v in range(vectors):  # the keys as columns, 16 positions to a vector
            first = (v * LANES * 3 + 1) * WIDTH + at
            simd.transpose(qkv, first, 3 * WIDTH, keys, v * HEAD * LANES)
        simd.product(
            qkv, at, 3 * WIDTH, count, keys, 0, LANES, HEAD * LANES, HEAD, vectors,
            w.nearness, (layer * heads + head) * count * vectors * LANES, vectors * LANES,
            scores, 0, vectors * LANES,
        )  # fmt: skip
        for i in range(count):
            if vectors == 4:
                simd.softmax_of_64(scores, i * 4 * LANES)
            else:
                simd.softmax(scores, i * vectors * LANES, vectors)
        simd.product(
            scores, 0, vectors * LANES, count, qkv, 2 * WIDTH + at, 3 * WIDTH, LANES, count, 1,
            w.numbers, _ZEROS, 0, z, at, WIDTH,
        )  # fmt: skip


_ZEROS = 16
"""Where 64 zeros stand in `HeadWeights.numbers`."""


@njit
def _normalise(x, count, norm, w, y):
    """Layer norm of all positions."""
    for g in range(count):
        at = g * WIDTH
        simd.normalise(x, at, w.scales, w.offsets, norm * WIDTH, w.numbers, 6, y, at)


@njit(cache=True, nogil=True, error_model="numpy")
def head_logits(pixels, optical, radar, optical_steps, radar_steps, level, sizes, w, out):
    """Logits of pixels.

    Parameters
    ----------
    pixels : ndarray of int64
        Numbers of the pixels.
    optical, radar : ImageRows
        Of all pixels; a network of one sensor reads only ``optical``, of either sensor.
    optical_steps, radar_steps : Steps
    level : ndarray of float32 (pixels, 3)
        Level of the backscatter.
    sizes : HeadSizes
    w : HeadWeights
    out : ndarray of float32 (pixels, events, bins + 1)
        Filled with the logits, "no such event" last.
    """
    count, events, per = sizes.positions, sizes.events, sizes.bins
    room = -(-count // ROWS) * ROWS
    padded = -(-count // LANES) * LANES
    row = LANES + sizes.middle
    most = max(len(optical.valid), len(radar.valid)) + ROWS
    columns = -(-per * events // LANES) * LANES
    x = np.zeros(most * max(optical.read, radar.read) + LANES, np.float32)
    e, u = np.zeros(most * WIDTH, np.float32), np.zeros(most * _VALUE, np.float32)
    seen, state = np.ones(most * row, np.float32), np.zeros(_SEEN + row, np.float32)
    total = np.zeros(2 * room * LANES, np.float32)
    y = np.zeros(2 * room * WIDTH, np.float32)
    mixed = np.zeros(room * row, np.float32)
    both = np.zeros((room + 2) * 2 * sizes.middle, np.float32)  # rows of zeros around the positions
    gates = np.zeros(room * LANES, np.float32)
    h, z = np.zeros(room * WIDTH, np.float32), np.zeros(room * WIDTH, np.float32)
    qkv = np.zeros(max(room, padded) * 3 * WIDTH, np.float32)
    keys = np.zeros(padded * HEAD, np.float32)
    scores = np.zeros(room * padded, np.float32)
    wide = np.zeros(room * sizes.feedforward, np.float32)
    bins = np.zeros(room * columns, np.float32)
    mean = np.zeros(ROWS * WIDTH, np.float32)
    none_columns = -(-events // LANES) * LANES
    none = np.zeros(ROWS * none_columns, np.float32)
    for p in range(len(pixels)):
        pixel = pixels[p]
        for s in range(sizes.sensors):
            images = optical if s == 0 else radar
            steps = optical_steps if s == 0 else radar_steps
            of_sensor = y[s * room * WIDTH : (s + 1) * room * WIDTH]
            weights = total[s * room * LANES : (s + 1) * room * LANES]
            _read(
                s, images, pixel, steps, sizes, w, x, e, u, seen, state, of_sensor, weights, mixed
            )
            if sizes.fused:
                for g in range(count):
                    for k in range(sizes.middle):
                        to = ((g + 1) * 2 + s) * sizes.middle + k
                        both[to] = mixed[g * row + LANES + k]
        if sizes.fused:  # a convolution over three positions reads three rows as one
            simd.product(
                both, 0, 2 * sizes.middle, count, w.gates, 0, LANES, 0, 6 * sizes.middle, 1,
                w.gates_bias, 0, 0, gates, 0, LANES,
            )  # fmt: skip
            for g in range(count):
                simd.sigmoid(gates, g * LANES)
        h[: count * WIDTH] = w.start
        for c in range(WIDTH):
            mean[c] = np.float32(0.0)
            for k in range(3):
                mean[c] += level[pixel, k] * w.level[k * WIDTH + c]
        for g in range(count):
            simd.add(mean, 0, 4, h, g * WIDTH)
        for s in range(sizes.sensors):
            for g in range(count):
                at = (s * room + g) * LANES
                for k in range(8):
                    gate = gates[g * LANES + 8 * s + k] if sizes.fused else np.float32(1.0)
                    total[at + k] = gate / (total[at + k] + w.numbers[3])
                simd.multiply_by_eights(y, (s * room + g) * WIDTH, total, at)
            simd.product_added(
                y, s * room * WIDTH, WIDTH, count, w.out, s * WIDTH * WIDTH, LANES, WIDTH * LANES,
                WIDTH, 4, w.numbers, _ZEROS, 0, h, 0, WIDTH,
            )  # fmt: skip
        for layer in range(sizes.layers):
            _normalise(h, count, 2 * layer, w, z)
            _attend(layer, sizes, w, z, qkv, keys, scores, y)
            simd.product_added(
                y, 0, WIDTH, count, w.mixed, layer * WIDTH * WIDTH, LANES, WIDTH * LANES, WIDTH, 4,
                w.mixed_bias, layer * WIDTH, 0, h, 0, WIDTH,
            )  # fmt: skip
            _normalise(h, count, 2 * layer + 1, w, z)
            inner = sizes.feedforward
            simd.product_relu(
                z, 0, WIDTH, count, w.wide, layer * WIDTH * inner, LANES, WIDTH * LANES, WIDTH,
                inner // LANES, w.wide_bias, layer * inner, 0, wide, 0, inner,
            )  # fmt: skip
            simd.product_added(
                wide, 0, inner, count, w.narrow, layer * WIDTH * inner, LANES, inner * LANES, inner,
                4, w.narrow_bias, layer * WIDTH, 0, h, 0, WIDTH,
            )  # fmt: skip
        _normalise(h, count, 2 * sizes.layers, w, z)
        simd.product(
            z, 0, WIDTH, count, w.bins, 0, LANES, WIDTH * LANES, WIDTH, columns // LANES,
            w.bins_bias, 0, 0, bins, 0, columns,
        )  # fmt: skip
        for g in range(count):
            for k in range(per):
                for event in range(events):
                    out[p, event, g * per + k] = bins[g * columns + k * events + event]
        mean[:] = np.float32(0.0)
        for g in range(count):
            simd.add(z, g * WIDTH, 4, mean, 0)
        for c in range(WIDTH):
            mean[c] /= np.float32(count)
        simd.product(
            mean, 0, WIDTH, 1, w.none, 0, LANES, WIDTH * LANES, WIDTH, none_columns // LANES,
            w.none_bias, 0, 0, none, 0, none_columns,
        )  # fmt: skip
        for event in range(events):
            out[p, event, count * per] = none[event]
