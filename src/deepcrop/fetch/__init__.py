"""Fetch observation cubes from a satellite archive, for an area or for camera sites.

`plan` lists the scenes, `read` reads them, `assemble` writes the cube, and `run` does all three.
"""
