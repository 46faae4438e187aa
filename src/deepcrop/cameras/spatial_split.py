"""Split site-years into training and test sites and folds, by cluster of sites."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deepcrop.cameras.clusters import NEAR, distance
from deepcrop.errors import DeepCropError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deepcrop.cameras.site_years import CameraYear

TEST_PLACES = {
    "cafcookwestltar01": (46.7840, -117.0908),
    "mead2": (41.1649, -96.4701),
    "mead3": (41.1797, -96.4397),
    "NEON.D06.KONA.DP1.00042": (39.1104, -96.6129),
    "usof6": (35.7333, -90.0403),
}
"""Latitude and longitude of the paper's test sites, as the network gives them."""

TEST_SITES = tuple(TEST_PLACES)
"""The paper's test sites."""


@dataclass(frozen=True)
class Split:
    """Accepted site-years, each in one of three parts.

    Attributes
    ----------
    train, test : list of CameraYear
    left_out : list of CameraYear
        Of the test sites' neighbours: neither trained on nor tested.
    """

    train: list[CameraYear]
    test: list[CameraYear]
    left_out: list[CameraYear]


def split(years: Sequence[CameraYear], test_sites: Sequence[str] = TEST_SITES) -> Split:
    """Split accepted site-years into training and test.

    All sites of the cluster of a test site, and so every site within `NEAR` kilometres of a test
    site, are kept out of training.

    Parameters
    ----------
    years : sequence of CameraYear
        As `site_years` gives them: clusters hold among the sites that were given there together.
    test_sites : sequence of str
        Names of sites; by default the paper's.

    Raises
    ------
    DeepCropError
        If a test site is not among the site-years.
    """
    missing = set(test_sites) - {year.site for year in years}
    if missing:
        raise DeepCropError(
            f"No series of the test sites {', '.join(sorted(missing))}; fetch them, or name others."
        )
    held = {year.cluster for year in years if year.site in test_sites}
    parts = Split([], [], [])
    for year in years:
        if not year.accepted:
            continue
        if year.site in test_sites:
            parts.test.append(year)
        elif year.cluster in held:
            parts.left_out.append(year)
        else:
            parts.train.append(year)
    return parts


def trainable(
    years: Sequence[CameraYear], tested: Mapping[str, tuple[float, float]] = TEST_PLACES
) -> list[CameraYear]:
    """Choose accepted site-years of no cluster within `NEAR` of a place that tests.

    By default the same as `Split.train`, but the test sites need no series here: whoever trains a
    network on cameras of their own has none.
    """
    held = {
        year.cluster
        for year in years
        for place in tested.values()
        if distance(year.latitude, year.longitude, *place) <= NEAR
    }
    return [year for year in years if year.accepted and year.cluster not in held]


def training_sites(card: Mapping[str, Any]) -> dict[str, Sequence[float]]:
    """Sites whose cameras weights were trained on, from their card, with latitude and longitude.

    Raises
    ------
    DeepCropError
        If the card has no places, as those of early versions.
    """
    said = (card.get("cameras") or {}).get("sites", {})
    if not isinstance(said, Mapping):
        raise DeepCropError(
            "The card of these weights names their training cameras without their places, so that "
            "sites near those cameras are unknown. Train the weights again with this version."
        )
    return dict(said)


def training_clusters(card: Mapping[str, Any], facts: Iterable[Mapping[str, Any]]) -> set[str]:
    """Clusters of samples with a site that weights were trained on, or with a site near such a one.

    Parameters
    ----------
    card : mapping
        Of the weights.
    facts : iterable of mapping
        As `deepcrop.training.samples.SampleSet` has them. Training sites need not be among them.
    """
    trained_on = training_sites(card)
    lat, lon = np.array(list(trained_on.values()), np.float64).reshape(-1, 2).T
    return {
        fact["cluster"]
        for fact in facts
        if fact["site"] in trained_on
        or (distance(fact["latitude"], fact["longitude"], lat, lon) <= NEAR).any()
    }


def folds(years: Sequence[CameraYear], count: int | None = None) -> NDArray[np.int64]:
    """Fold of each site-year; a cluster is never parted.

    Parameters
    ----------
    years : sequence of CameraYear
        For example `Split.train`.
    count : int, optional
        Number of folds, of nearly equal numbers of site-years: clusters go, the largest first, to
        the fold that has least. By default every cluster is a fold of its own
        (leave-one-cluster-out), numbered by name.

    Returns
    -------
    ndarray of int64 (years,)
        0 … count - 1; the same whatever the order of the site-years.

    Raises
    ------
    DeepCropError
        If there are fewer clusters than folds.
    """
    sizes = Counter(year.cluster for year in years)
    if count is None:
        fold = {cluster: number for number, cluster in enumerate(sorted(sizes))}
    elif not 1 <= count <= len(sizes):
        raise DeepCropError(
            f"{count} folds of {len(sizes)} clusters cannot be made; expected 1 to {len(sizes)}."
        )
    else:
        filled = [0] * count
        fold = {}
        for cluster in sorted(sizes, key=lambda cluster: (-sizes[cluster], cluster)):
            fold[cluster] = filled.index(min(filled))
            filled[fold[cluster]] += sizes[cluster]
    return np.array([fold[year.cluster] for year in years], np.int64)
