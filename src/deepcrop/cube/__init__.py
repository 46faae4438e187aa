"""The observation cube: its contract, packing, reading and writing."""
