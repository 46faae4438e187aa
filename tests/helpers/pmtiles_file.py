"""Write a small basemap, a PMTiles file of version 3 with one tile of zoom 0."""

import gzip
import io
import json
import struct

import numpy as np
from PIL import Image

RED = (200, 30, 30)


def png_tile(colour=RED):
    """A tile of one colour."""
    file = io.BytesIO()
    Image.fromarray(np.full((256, 256, 3), colour, np.uint8)).save(file, "PNG")
    return file.getvalue()


def pmtiles(tile=None, metadata=None, bounds=(-180, -85, 180, 85), **header):
    """Bytes of a file with one tile, by default a red image.

    `header` replaces numbers of the header: version, internal, compression, kind, minzoom, maxzoom.
    """
    tile = png_tile() if tile is None else tile
    about = {"version": 3, "internal": 2, "compression": 1, "kind": 2, "minzoom": 0, "maxzoom": 0}
    about |= header
    # One entry: its number 0, its run 1, its length, and its place 0, which is written as 1.
    directory = bytes([1, 0, 1]) + _varint(len(tile)) + bytes([1])
    metadata = {"attribution": '© <a href="x">Made up</a>'} if metadata is None else metadata
    parts = [directory, json.dumps(metadata).encode()]
    if about["internal"] == 2:
        parts = [gzip.compress(part) for part in parts]
    parts += [b"", tile]
    places, start = [], 127
    for part in parts:
        places += [start, len(part)]
        start += len(part)
    west, south, east, north = (round(1e7 * value) for value in bounds)
    head = struct.pack(
        "<7sB11Q6B4iB2i", b"PMTiles", about["version"], *places, 1, 1, 1, 1, about["internal"],
        about["compression"], about["kind"], about["minzoom"], about["maxzoom"], west, south, east,
        north, 0, 0, 0,
    )  # fmt: skip
    return head + b"".join(parts)


def _varint(number):
    found = bytearray()
    while number > 127:
        found.append(number & 127 | 128)
        number >>= 7
    return bytes([*found, number])
