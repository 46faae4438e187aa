import numpy as np
import pytest

from deepcrop import stages
from deepcrop.phenology.season_matching import exchanged, match_seasons, shared_days

NO = stages.NO_DAY


def pairs(*seasons):
    """Dates (2, 4, 1) of one pixel."""
    return np.array(seasons, np.int16)[:, :, None]


A, B = [100, 110, 200, 210], [230, 240, 300, 310]
NONE = [NO] * 4


@pytest.mark.parametrize(
    ("truth", "mapped", "matched"),
    [
        ((A, B), (A, B), (A, B)),
        ((A, B), (B, A), (A, B)),  # the other way round
        ((A, NONE), (NONE, A), (A, NONE)),
        ((A, NONE), (B, NONE), (NONE, NONE)),  # another season of the year
        ((A, B), ([90, 95, NO, NO], NONE), (NONE, NONE)),  # ends before A starts
        ((A, B), ([NO, NO, 190, 195], NONE), ([NO, NO, 190, 195], NONE)),
        ((A, B), ([105, 120, 290, 320], NONE), ([105, 120, 290, 320], NONE)),  # merged: once only
    ],
)
def test_golden_matches(truth, mapped, matched):
    result = match_seasons(pairs(*truth), pairs(*mapped))
    np.testing.assert_array_equal(result, pairs(*matched))


def of_days(dates, fractional):
    """Dates as maps have them, or as scores have them."""
    return stages.decode(dates) if fractional else dates


def random_seasons(rng, pixels=300):
    """Two seasons of five dates in order, some dates and some whole seasons missing."""
    dates = np.sort(rng.integers(-181, 549, (2, 5, pixels)), axis=1).astype(np.int16)
    dates[rng.random(dates.shape) < 0.2] = NO
    dates.swapaxes(1, 2)[rng.random((2, pixels)) < 0.2] = NO
    return dates


@pytest.mark.parametrize("fractional", [False, True])
def test_all_is_as_a_slow_count_of_days_says(fractional):
    rng = np.random.default_rng(7)
    reference, other = random_seasons(rng), random_seasons(rng)

    def days(dates):
        known = dates[dates != NO].tolist()
        if not known:
            return set()
        # Whole days are counted, of points in time the steps between them.
        return set(range(min(known), max(known) + (0 if fractional else 1)))

    shared = shared_days(of_days(reference, fractional), of_days(other, fractional))
    matched = match_seasons(of_days(reference, fractional), of_days(other, fractional))
    crosswise = exchanged(of_days(reference, fractional), of_days(other, fractional))
    assert matched.dtype == (np.float32 if fractional else np.int16)
    for pixel in range(reference.shape[-1]):
        count = [
            [len(days(reference[i, :, pixel]) & days(other[j, :, pixel])) for j in range(2)]
            for i in range(2)
        ]
        assert shared[:, :, pixel].tolist() == count
        swap = count[0][1] + count[1][0] > count[0][0] + count[1][1]
        assert crosswise[pixel] == swap
        for slot in range(2):
            partner = 1 - slot if swap else slot
            expected = other[partner, :, pixel] if count[slot][partner] else np.full(5, NO)
            found = matched[slot, :, pixel]
            np.testing.assert_array_equal(stages.encode(found) if fractional else found, expected)


def test_shapes_beyond_pixels_are_kept():
    rng = np.random.default_rng(3)
    reference, other = random_seasons(rng, 12), random_seasons(rng, 12)
    blocks = [dates.reshape(2, 5, 3, 4) for dates in (reference, other)]
    np.testing.assert_array_equal(
        match_seasons(*blocks).reshape(2, 5, 12), match_seasons(reference, other)
    )
    np.testing.assert_array_equal(exchanged(*blocks).ravel(), exchanged(reference, other))


def test_seasons_in_each_others_slots_are_exchanged():
    a, b = np.array(A, float), np.array(B, float)
    nothing = np.full(4, np.nan)

    def is_exchanged(reference, other):
        return bool(exchanged(np.stack(reference)[..., None], np.stack(other)[..., None])[0])

    assert is_exchanged((a, b), (b + 3, a + 3))
    assert not is_exchanged((a, b), (a + 3, b + 3))
    assert is_exchanged((a, nothing), (a - 200, a))  # the one season in the other's second slot
    assert not is_exchanged((a, nothing), (nothing, nothing))
