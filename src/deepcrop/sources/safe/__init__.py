"""Sentinel-1 SAFE products on disk."""
