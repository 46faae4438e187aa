"""The weights in the package: what they say of themselves, and that they are any good."""

import numpy as np
import pytest

from deepcrop.cameras.spatial_split import TEST_PLACES, TEST_SITES, training_clusters
from deepcrop.network import CONFIGS, load
from deepcrop.network.config import CURVE
from deepcrop.network.weights import shipped
from deepcrop.stages import CALENDAR
from deepcrop.studies import scene_thinning
from deepcrop.training import real_excerpts as real_archives
from deepcrop.training.examples import EVENTS, from_simulated_tile, predict
from deepcrop.training.materials import TESTED_ELSEWHERE
from deepcrop.training.simulated_tiles import simulate_tile

CAMERA = [EVENTS.index(name) for name in CALENDAR]


@pytest.mark.parametrize(("name", "config"), [("default", "default"), ("evi", "evi-only")])
def test_they_are_the_networks_of_the_card(name, config):
    network, about = load(shipped(name))
    assert network.config == CONFIGS[config]
    assert about["inputs"]["radiometry"] == ["sigma0"]
    assert shipped(name).stat().st_size < 2e6
    assert "simulated_tiles" in about["card"]


def test_they_were_not_trained_on_a_test_site():
    card = load(shipped())[1]["card"]
    assert set(TEST_SITES) <= set(card["cameras"]["excluded"])
    assert not set(card["cameras"]["sites"]) & set(card["cameras"]["excluded"])
    assert not any("Flanders" in place for place in card["places"])
    tested = [
        {"site": name, "cluster": name, "latitude": latitude, "longitude": longitude}
        for name, (latitude, longitude) in (TEST_PLACES | TESTED_ELSEWHERE).items()
    ]
    assert training_clusters(card, tested) == set()  # nor did a camera near one
    latitude, longitude = card["cameras"]["sites"]["kelloggcorn"]
    places = {"beside": (latitude + 0.05, longitude), "far": (latitude + 1.5, longitude)}
    facts = [
        {"site": name, "cluster": name, "latitude": latitude, "longitude": longitude}
        for name, (latitude, longitude) in places.items()
    ]
    assert training_clusters(card, facts) == {"beside"}


@pytest.mark.slow
def test_simulated_places_that_they_have_never_seen():
    """Simulated tiles beyond those of the experiment: dates, intervals, what is no season."""
    network, _ = load(shipped())
    examples = [from_simulated_tile(simulate_tile(number)) for number in range(5_000, 5_012)]
    answers = [predict(network, [one], dense=True) for one in examples]
    day, low, high = (
        np.concatenate([getattr(a, n) for a in answers]) for n in ("day", "low", "high")
    )
    true = np.concatenate([one.day for one in examples])
    both = np.isfinite(day) & np.isfinite(true)
    error = np.where(both, day - true, np.nan)[:, 0, CAMERA]
    assert both[:, 0, CAMERA].sum() / np.isfinite(true[:, 0, CAMERA]).sum() > 0.9
    assert (np.nanmedian(np.abs(error), axis=0) < 6).all()
    inside = ((low <= true) & (true <= high))[both]
    assert 0.8 < inside.mean() <= 1


@pytest.mark.slow
def test_flanders_which_they_have_never_seen(real_data):
    """Real satellites, all clear scenes: the network's NDVI dates of maize against the curve's."""
    place = real_archives.read("flanders", real_data)
    network, _ = load(shipped())
    day = scene_thinning.network_method(place, network, radar=True)(place.examples)
    day = day[:, 0, [EVENTS.index(name) for name in CURVE]]
    maize = (place.groups == "maize")[:, None] & scene_thinning.trusted(place)[:, 0]
    error = np.where(maize, day - scene_thinning.reference(place)[:, 0], np.nan)
    assert np.isfinite(error).sum() > 0.95 * maize.sum()
    assert (np.nanmedian(np.abs(error), axis=0)[[0, 1, 3, 4]] < 8).all()
