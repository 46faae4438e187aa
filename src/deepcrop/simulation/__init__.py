"""Simulate a landscape and its satellite observations, with known season dates, to test against.

In the order of the data: `field_mosaic` (fields, roads, rivers), `crops` (calendars and traits),
`canopy` and `uncropped_fields` (daily state of a field), `surface` (every pixel of a block), then
`optical`, `radar` and `camera` (signal of the sensors), `overpasses` (when the satellites pass, and
the atmosphere), `truth` (season dates), and `region`, which writes everything block by block.
`camera_inversion` draws the field behind the greenness of a real camera.

All data is simulated, and every file that is written states it.
"""

from deepcrop.simulation.region import Region, simulate

__all__ = ["REVISION", "Region", "simulate"]

REVISION = 2
"""Revision of the simulator, increased whenever a seed gives other pixels or dates.

Stored simulated data of another revision is rejected.
"""
