"""Make an observation cube from your own files: NetCDF, Zarr or GeoTIFF stacks on one 10 m grid.

A specification (`spec`) states which files hold which band, and how their numbers become
reflectance and backscatter. Scale, offset and no-data attributes of the files are not applied. The
files are read as stored (`raw_files`), the grid and the times are chosen (`plan`), the bands are
resampled to the grid (`bands`), and the cube is written tile by tile (`run`).
"""

from deepcrop.ingest.run import ingest

__all__ = ["ingest"]
