"""Difference of two methods: days by which one dates the same season later."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deepcrop import stages
from deepcrop.phenology.season_matching import match_seasons
from deepcrop.products.layers import SEASONS, layer_name
from deepcrop.stages import CALENDAR

if TYPE_CHECKING:
    from deepcrop.mapping.inputs import Layers


def difference_layers(curve: Layers, deepcrop: Layers) -> Layers:
    """Subtract the curve's dates from the network's, season by season, in the network's slots.

    Parameters
    ----------
    curve, deepcrop : dict of ndarray of int16 (y, x)
        Layers of both methods.

    Returns
    -------
    dict of ndarray of int16 (y, x)
        Named as the dates; 32767 where either has no date, or their seasons do not overlap.
    """
    names = [[layer_name(stage, season) for stage in CALENDAR] for season in SEASONS]
    shape = curve[names[0][0]].shape
    ours, theirs = (
        np.stack([[found[name].reshape(-1) for name in row] for row in names])
        for found in (deepcrop, curve)
    )
    theirs = match_seasons(ours, theirs)
    known = (ours != stages.NO_DAY) & (theirs != stages.NO_DAY)
    apart = np.where(known, ours.astype(np.int32) - theirs, stages.NO_DAY).astype(np.int16)
    return {
        name: apart[slot, k].reshape(shape)
        for slot, row in enumerate(names)
        for k, name in enumerate(row)
    }
