"""Read maps back."""

import rasterio


def read(path):
    with rasterio.open(path) as layer:
        return layer.read(1)
