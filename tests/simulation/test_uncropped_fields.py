"""Courses that follow no crop: what plants can do, whatever is drawn, and how a paddy looks."""

import numpy as np
import pytest

from deepcrop.indices import ndvi_of
from deepcrop.simulation import canopy, surface, uncropped_fields
from deepcrop.simulation.canopy import DAYS


@pytest.fixture(scope="module")
def fields():
    return [uncropped_fields.draw_field(np.random.default_rng(seed)) for seed in range(150)]


def test_states_are_what_plants_can_be(fields):
    states = np.stack([field.state for field in fields])
    assert states.shape == (150, len(DAYS), len(canopy.STATE))
    assert np.isfinite(states).all()
    for column, most in (
        (canopy.GREEN_LAI, 14), (canopy.BROWN_LAI, 12), (canopy.CHLOROPHYLL, 1), (canopy.HEADS, 1),
        (canopy.RESIDUE, 1), (canopy.FLOODED, 1),
    ):  # fmt: skip
        assert states[..., column].min() >= -1e-6
        assert states[..., column].max() <= most
    assert 5 < np.abs(states[..., canopy.ROUGHNESS]).max() + 5 < 12


def test_a_field_follows_from_its_seed(fields):
    again = uncropped_fields.draw_field(np.random.default_rng(7))
    np.testing.assert_array_equal(again.state, fields[7].state)
    assert again.cycles == fields[7].cycles


def test_cycles_are_in_order_and_events_end_them(fields):
    for field in fields:
        assert all(cycle.end > cycle.start for cycle in field.cycles)
        assert field.events == sorted(field.events)


def test_they_peak_at_any_time_of_the_year(fields):
    """No month is without peaks: this is what they are for."""
    year = slice(-DAYS[0], -DAYS[0] + 365)
    peaks = [int(field.state[year, canopy.GREEN_LAI].argmax()) // 61 for field in fields]
    assert (np.bincount(peaks, minlength=6)[:6] >= 6).all()


def test_a_paddy_is_dark_in_every_band_and_in_radar_before_it_greens():
    dry = canopy.Field([], [], np.zeros((len(DAYS), len(canopy.STATE)), np.float32), np.zeros(1))
    wet = canopy.Field([], [], dry.state.copy(), dry.height)
    wet.state[:, canopy.FLOODED] = 1
    land = surface.make(1, 0, 0, (8, 8), 50.0, "europe", 45.0)
    seen, echo = [], []
    for field in (dry, wet):
        filled = land
        for k in range(len(land.fields)):
            filled = surface.with_field(filled, k, field)
        inside = filled.which >= 0
        seen.append(surface.reflectance(filled, 100, 0.3, 0.8)[:, inside])
        echo.append(10 * np.log10(surface.backscatter(filled, 100, 20.0, 38.0, 0.0)[:, inside]))
    np.testing.assert_allclose(seen[1].mean(1), [0.06, 0.08, 0.08, 0.06], rtol=1e-5)
    assert ndvi_of(seen[1][3], seen[1][2]).mean() < 0 < ndvi_of(seen[0][3], seen[0][2]).mean()
    np.testing.assert_allclose(echo[1].mean(1), [-19.0, -26.5], atol=1e-4)
    assert (echo[1].mean(1) < echo[0].mean(1) - 3).all()
