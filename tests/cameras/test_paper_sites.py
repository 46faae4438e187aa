import pytest
from tests.helpers.camera_files import camera_file, row

from deepcrop.cameras.labels import CameraLabels, SiteYear
from deepcrop.cameras.paper_sites import paper_sites, select
from deepcrop.sources.phenocam.summary_files import read_series

TEST_SITES = ("cafcookwestltar01", "mead2", "mead3", "NEON.D06.KONA.DP1.00042", "usof6")


def labels(folder, site, roi, **years):
    """Labels with these verdicts: ``y2018="good"`` is accepted, anything else the reason."""
    camera = read_series(camera_file(folder, [row("2018-01-01")], site, roi=roi))
    verdicts = tuple(
        SiteYear(int(year[1:]), "", (), 1.0, why == "good", why) for year, why in years.items()
    )
    return CameraLabels(camera, "gcc_90", None, None, None, verdicts)


def test_two_good_years_at_one_region(tmp_path):
    first, second, third = select(
        [
            labels(tmp_path, "b", 1000, y2016="good", y2017="good", y2018="gap", y2021="good"),
            labels(tmp_path, "c", 1000, y2017="good"),
            labels(tmp_path, "c", 2000, y2018="good", y2020="good"),
            labels(tmp_path, "a", 2000, y2019="good", y2020="good"),
            labels(tmp_path, "a", 1000, y2019="good", y2020="good"),
        ]
    )
    assert (first.site, first.years, first.taken) == ("a", (2019, 2020), True)
    assert first.roi == "a_AG_1000"  # the first of equals
    assert (second.site, second.years, second.taken) == ("b", (2017,), False)
    assert second.why == "2018: gap; 2019: not observed; 2020: not observed"
    # One year each at two regions would be two fields with one year each.
    assert (third.roi, third.years, third.taken) == ("c_AG_2000", (2018, 2020), True)
    assert (first.latitude, first.longitude) == (41.1649, -96.4701)


@pytest.mark.slow
def test_real_series_give_sixty_sites_and_the_five_that_the_paper_names(real_data):
    sites = paper_sites((real_data / "phenocam/series").glob("*.csv"))
    assert len(sites) == 91
    taken = {site.site: site.years for site in sites if site.taken}
    assert len(taken) == 60
    assert set(TEST_SITES) <= set(taken)
    assert taken["usof6"] == (2019, 2020)
    assert taken["mead3"] == (2017, 2018, 2019, 2020)
