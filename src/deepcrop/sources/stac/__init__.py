"""STAC archives: search, products, reading of Cloud-Optimized GeoTIFFs."""
