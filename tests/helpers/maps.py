"""Maps without pictures, which take most of the time of a small one; and maps read back."""

from functools import partial

import rasterio

from deepcrop.mapping.region import map_region

map_without_pictures = partial(map_region, pictures=False)


def read(path):
    with rasterio.open(path) as layer:
        return layer.read(1)
