import numpy as np
import pytest

from deepcrop.errors import DeepCropError
from deepcrop.network.config import DEFAULT
from deepcrop.simulation import REVISION
from deepcrop.training import examples, tile_store
from deepcrop.training.simulated_tiles import SIDE, simulate_tile

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def tiles():
    return [simulate_tile(number) for number in range(12)]


def test_a_tile_has_dates_by_both_definitions(tiles):
    for one in tiles:
        assert one.optical.shape[1:] == (4, SIDE, SIDE)
        assert one.radar.shape[1:] == (2, SIDE, SIDE)
        assert one.camera.shape == one.curve.shape == (169, 2, 5)
        assert np.isfinite(one.optical).any((1, 2, 3)).all()  # scenes of which nothing is seen
        assert one.optical_days.min() >= -181
        assert one.radar_days.max() <= 548
        for dates in (one.camera, one.curve):
            known = dates[np.isfinite(dates).all(-1)]
            assert (np.diff(known, axis=-1) >= 0).all()


def test_the_same_again_and_others(tiles):
    again = simulate_tile(3)
    np.testing.assert_array_equal(again.optical, tiles[3].optical)
    np.testing.assert_array_equal(again.camera, tiles[3].camera)
    assert not np.array_equal(simulate_tile(3, seed=2).camera, again.camera, equal_nan=True)


def test_another_simulator_has_another_revision(tiles):
    """If this fails, raise `deepcrop.simulation.REVISION` and renew the numbers."""
    found = []
    for name in ("optical", "radar", "camera", "curve"):
        parts = [getattr(one, name).ravel() for one in tiles]
        whole = np.concatenate(parts).astype(np.float64)
        found += [whole.size, np.isfinite(whole).mean(), np.nanmean(whole), np.nanstd(whole)]
    assert REVISION == 2
    expected = [
        4197600, 0.93613, 0.127136, 0.096405, 1886400, 1.0, -14.94322, 4.540536,
        20280, 0.59073, 152.7653, 108.2058, 20280, 0.597584, 164.8922, 104.6493,
    ]  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=5e-4)


def test_definitions_agree_but_for_what_satellites_lag(tiles):
    """Simulated maize and the like: NDVI's dates lie some days after the camera's."""
    lags = []
    for one in tiles:
        both = np.isfinite(one.camera[:, 0]).all(-1) & np.isfinite(one.curve[:, 0]).all(-1)
        lag = (one.curve - one.camera)[both, 0]
        lags.append(lag[np.abs(lag[:, 2]) < 60])
    lag = np.median(np.concatenate(lags), axis=0)
    assert np.all((lag > -3) & (lag < 20))


def test_a_tile_becomes_an_example(tiles):
    one = examples.from_simulated_tile(tiles[0])
    _, labels = examples.collate([one], DEFAULT)
    assert labels.day.shape == (169, 2, 10)
    assert labels.known.float().mean() > 0.95


def test_what_is_stored_is_what_was_made(tmp_path, monkeypatch, tiles):
    monkeypatch.setattr(tile_store, "SHARD", 3)
    path = tmp_path / "tiles_1_0001.npz"
    tile_store.simulate_shard((path, 1, 1))
    stored = tile_store.StoredTiles([path])
    assert len(stored) == 3
    for one, made in zip(stored, tiles[3:6], strict=True):
        np.testing.assert_allclose(one.optical, made.optical, atol=6e-5)
        np.testing.assert_allclose(one.radar, made.radar, atol=6e-3)
        np.testing.assert_array_equal(one.camera, made.camera)
        np.testing.assert_array_equal(one.optical_days, made.optical_days)
    assert len(stored[1:]) == 2
    np.testing.assert_array_equal(stored[1:][0].curve, tiles[4].curve)
    with np.load(path) as file:
        arrays = dict(file)
    about = arrays.pop("about")
    np.savez(path, **arrays)  # as before files said who made them
    with pytest.raises(DeepCropError, match=r"0001.npz was made by another version .*; delete it"):
        tile_store.StoredTiles([path])
    np.savez(path, about=str(about).replace("deepcrop ", "deepcrop 9."), **arrays)
    with pytest.raises(DeepCropError, match=r"another version \(deepcrop 9\..*; delete it"):
        tile_store.StoredTiles([path])
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DeepCropError, match=r"tiles_1_0001.npz is no file of simulated tiles"):
        tile_store.StoredTiles([path])
