"""The paper's 60 sites, selected by our reading of its rule.

The paper selects "60 PhenoCam agricultural sites" of which the curve shows a seasonal pattern,
without large gaps and with enough observations (section 2.2.1), and names five of them. Our
reading: a site is selected if a crop's region of interest at it has at least two accepted years
(`deepcrop.cameras.labels`, with intervals of any width) out of 2017 to 2020, the years that the
paper scores. On the network's agricultural series up to 2024 this rule gives 60 sites, the five
among them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deepcrop.cameras.labels import CameraLabels, Screening, label_series
from deepcrop.sources.phenocam.service import PAPER_MIN_YEARS, PAPER_YEARS
from deepcrop.sources.phenocam.summary_files import read_series

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


@dataclass(frozen=True)
class PaperSite:
    """Verdict on one site.

    Attributes
    ----------
    site : str
    roi : str
        Its region of interest with the most accepted years, such as ``mead2_AG_1000``.
    latitude, longitude : float
        Degrees, north and east positive.
    years : tuple of int
        Accepted years.
    taken : bool
        Whether the site is on the list.
    why : str
        Why the other years were not accepted.
    """

    site: str
    roi: str
    latitude: float
    longitude: float
    years: tuple[int, ...]
    taken: bool
    why: str


def paper_sites(series: Iterable[Path]) -> list[PaperSite]:
    """Screen summary files; see the module for the rule.

    Parameters
    ----------
    series : iterable of Path
        3-day summary files of agricultural regions of interest, in any order. That of
        `deepcrop.sources.phenocam.service.paper_candidates` is enough.

    Returns
    -------
    list of PaperSite
        One per site, by name, those not taken as well.

    Raises
    ------
    DeepCropError
        If a file cannot be read.
    """
    # The paper knew no intervals, so that their width is no reason to leave a site out.
    screening = Screening(max_interval=math.inf)
    return select(label_series(read_series(path), screening=screening) for path in series)


def select(labels: Iterable[CameraLabels]) -> list[PaperSite]:
    """Apply the rule to regions of interest that have been labelled already."""
    of_site: dict[str, list[PaperSite]] = {}
    for region in sorted(labels, key=lambda region: region.camera.name):
        of_site.setdefault(region.camera.site, []).append(_verdict(region))
    # The first of equals, that is the region with the lowest number.
    return [_most_years(verdicts) for verdicts in of_site.values()]


def _most_years(verdicts: Sequence[PaperSite]) -> PaperSite:
    return max(verdicts, key=lambda verdict: len(verdict.years))


def _verdict(labels: CameraLabels) -> PaperSite:
    verdicts = {year.year: year for year in labels.years if year.year in PAPER_YEARS}
    accepted = tuple(year for year, verdict in verdicts.items() if verdict.accepted)
    why = [
        f"{year}: {verdicts[year].why if year in verdicts else 'not observed'}"
        for year in PAPER_YEARS
        if year not in accepted
    ]
    camera = labels.camera
    return PaperSite(
        site=camera.site,
        roi=camera.name,
        latitude=camera.latitude,
        longitude=camera.longitude,
        years=accepted,
        taken=len(accepted) >= PAPER_MIN_YEARS,
        why="; ".join(why),
    )
