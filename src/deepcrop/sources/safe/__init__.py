"""Read Sentinel-1 GRD products from SAFE folders: calibrate, geocode, and resample to a grid."""
