"""A map on disk: layers, Cloud-Optimized GeoTIFFs, STAC, styles, statistics."""
