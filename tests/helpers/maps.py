"""Maps without pictures, which take most of the time of a small one; and maps read back."""

from functools import partial

import rasterio

from deepcrop.mapping.region import map_region

map_without_pictures = partial(map_region, pictures=False)

map_few_layers = partial(map_without_pictures, fractions=(0.5,), seasons=1)
"""By the curve, where the number of layers is of no matter: they take most of the time left."""


def read(path):
    with rasterio.open(path) as layer:
        return layer.read(1)
