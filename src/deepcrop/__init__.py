"""Crop season dates from Sentinel-1 and Sentinel-2, learnt from the PhenoCam network."""

__version__ = "0.1.0.dev0"
