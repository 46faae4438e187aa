"""Google Earth Engine as an archive: connect, list images, read their stored pixels."""
