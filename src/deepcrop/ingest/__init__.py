"""Bring your own data: NetCDF, Zarr or GeoTIFF stacks onto one 10 m grid, as an observation cube.

A specification (`spec`) says which files hold which band and how their numbers become reflectance
and backscatter. Nothing else is believed: scale, offset and no-data attributes of the files are
not applied. The files are opened raw (`sources`), the grid and the times chosen (`plan`), bands put
onto the grid (`groups`, `resampling`), and the cube written tile by tile (`job`).
"""

from deepcrop.ingest.run import ingest

__all__ = ["ingest"]
