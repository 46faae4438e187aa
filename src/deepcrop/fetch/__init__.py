"""Scenes of an archive into an observation cube."""
