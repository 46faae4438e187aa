import numpy as np

from deepcrop.phenology.slots import curve_dates


def test_two_crops_a_year_fill_the_slots_by_strength():
    days = np.arange(-60, 430, 5.0)

    def bump(middle, height, width):
        return height * np.exp(-(((days - middle) / width) ** 2))

    main = 0.2 + bump(210, 0.6, 35)
    both = main + bump(95, 0.3, 22)
    bare = np.full_like(main, 0.2)
    found = curve_dates(np.stack([main, both, bare]), days, 2018, 45.0)
    assert found.count.tolist() == [1, 2, 0]
    assert abs(found.day[0, 0, 2] - 210) < 4
    assert abs(found.day[1, 1, 2] - 95) < 6
    # A Gaussian passes half of its height 0.833 widths from its middle, a fifth 1.269 widths.
    np.testing.assert_allclose(
        found.day[0, 0], 210 + 35 * np.array([-1.269, -0.833, 0, 0.833, 1.269]), atol=4
    )
    assert np.isnan(found.day[0, 1]).all()
    assert np.isnan(found.day[2]).all()
    assert (found.low[0, 0] <= found.day[0, 0]).all()
    assert (found.high[0, 0] >= found.day[0, 0]).all()
