"""From an observation cube to season maps, tile by tile."""
