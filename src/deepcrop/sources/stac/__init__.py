"""STAC archives: search items, group products into scenes, read Cloud Optimized GeoTIFFs."""
