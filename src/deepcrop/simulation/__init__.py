"""A synthetic landscape and its observations, with known truth: the project's proving ground.

Data runs from the land to the satellites: `mosaic` (fields), `crops` (calendars and traits),
`canopy` (what stands on a field each day), `surface` (every pixel of a block), then `optical`,
`radar` and `camera` (what instruments see of it), `scenes` (when, and through what air), `truth`
(the season dates), and `region`, which writes it all block by block.

Nothing in here is real, and every file it writes says so.
"""

from deepcrop.simulation.region import Region, simulate

__all__ = ["REVISION", "Region", "simulate"]

REVISION = 1
"""Of what is simulated and labelled: one more whenever a seed gives other pixels or dates.

What was simulated before is kept in files; those of another revision are refused.
"""
