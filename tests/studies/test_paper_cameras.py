"""Cameras and site-years of the paper's experiment on real images: small parts, quickly."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tests.archive import phenocam as loopback
from tests.archive.server import Server
from tests.helpers.site_years import accepted, labels, season

from deepcrop.cameras.site_years import site_years
from deepcrop.errors import DeepCropError
from deepcrop.sources.archive import ArchiveError
from deepcrop.sources.phenocam import service
from deepcrop.studies import paper_cameras
from deepcrop.studies.paper_cameras import add_cdl, crop_name, fetch_cameras, without_direction
from deepcrop.studies.paper_samples import MIN_IMAGES, lacks_images
from deepcrop.studies.paper_settings import PaperExperiment
from deepcrop.training.samples import Patch, Sample, place_along_view

SITES = "usof6,usof5,nowhere"


@pytest.fixture
def network(real_data, tmp_path, monkeypatch):
    """The PhenoCam service with two real cameras, one of which does not look at the horizon."""
    folder = tmp_path / "served"
    folder.mkdir()
    for site in ("usof5", "usof6"):
        name = f"{site}_AG_1000_3day.csv"
        (folder / name).write_bytes((real_data / "phenocam/series" / name).read_bytes())
    monkeypatch.setattr(service, "INTERVAL", 0.0)
    with Server() as server:
        looks = {"usof5": "SSW", "usof6": "down"}
        api = loopback.serve(server, folder, orientation=looks)
        monkeypatch.setenv("DEEPCROP_PHENOCAM", api)
        yield server


def test_an_interrupted_download_is_finished_and_a_finished_one_asks_nothing(network, tmp_path):
    data = tmp_path / "phenocam"
    network.fail("usof6_AG_1000_3day", "401", times=1)
    with pytest.raises(ArchiveError, match="refused"):
        fetch_cameras(SITES, data, tmp_path / "cache")
    assert [path.name for path in (data / "series").iterdir()] == ["usof5_AG_1000_3day.csv"]
    found = fetch_cameras(SITES, data, tmp_path / "cache")
    assert found["sites"] == ["usof5", "usof6"]
    assert found["orientation"] == {"usof5": "SSW", "usof6": "down"}
    assert "no agricultural region" in found["left_out"]["nowhere"]
    assert len(network.asked("usof5_AG_1000_3day")) == 1
    before = len(network.log)
    assert fetch_cameras(SITES, data, tmp_path / "cache") == found
    assert len(network.log) == before
    # A file that was cut short by other means is downloaded again.
    (data / "series" / "usof6_AG_1000_3day.csv").write_text("# cut")
    (data / "cameras.json").unlink()
    fetch_cameras(SITES, data, tmp_path / "cache")
    assert (data / "series" / "usof6_AG_1000_3day.csv").stat().st_size > 1000
    with pytest.raises(DeepCropError, match=r"No camera of the sites nowhere .*no agricultural"):
        fetch_cameras("nowhere", data, tmp_path / "cache")


def test_directions_come_from_the_service_or_from_a_table_made_by_hand(network, tmp_path):
    data = tmp_path / "phenocam"
    found = fetch_cameras("usof5,usof6", data, tmp_path / "cache")
    years = paper_cameras.read_site_years(found, data)
    assert {year.site: year.direction for year in years}["usof5"] == 202.5
    assert without_direction(found, years) == {"usof6": "the service says 'down'"}
    (data / "sites.csv").write_text("site,roi,camera_dir\nusof6,AG_1000,E\n")
    years = paper_cameras.read_site_years(found, data)
    assert {year.site: year.direction for year in years} == {"usof5": 202.5, "usof6": 90.0}


def test_the_place_that_a_camera_looks_at():
    latitude, longitude = place_along_view(41.0, -96.0, 90.0, 65.0)
    assert latitude == pytest.approx(41.0, abs=1e-6)
    assert (longitude + 96.0) * 111_320 * np.cos(np.radians(41)) == pytest.approx(65, abs=0.5)
    assert place_along_view(41.0, -96.0, np.nan, 65.0) == (41.0, -96.0)


# --- images in the season ---------------------------------------------------------------------


def sample(days, seen=True):
    """A site-year with a season from day 120 to 260 and its peak on day 180."""
    days = np.array(days, np.float32)
    optical = np.full((len(days), 4, 18, 18), 0.2, np.float32)
    if not seen:
        optical[:, :, 9, 9] = np.nan
    nothing = np.empty(0, np.float32)
    dates = np.full((2, 5), np.nan)
    dates[0] = 120, 140, 180, 230, 260
    patch = Patch(optical, days, np.empty((0, 2, 18, 18), np.float32), nothing, nothing)
    return Sample("x", "x", "x", "", 2018, 0, 0, 0, False, patch, dates, dates, dates, dates > 0)


RISE, FALL = [91, 150, 180], [191, 200, 289]


@pytest.mark.parametrize(
    ("one", "words"),
    [
        (sample(RISE + FALL), ""),
        (sample([89, *RISE[1:], *FALL]), "2 clear images from day 90 to the peak"),
        (sample([*RISE, *FALL[:2], 291]), "and 2 from there to day 290"),
        (sample(RISE + FALL, seen=False), "0 clear images"),
    ],
)
def test_a_site_year_counts_only_with_images_in_the_season_of_its_label(one, words):
    assert MIN_IMAGES == 3
    why = lacks_images(one)
    assert words in why
    assert bool(why) == bool(words)


def test_without_a_peak_the_middle_of_the_known_dates_parts_rise_from_fall():
    one = sample(RISE + FALL)
    one.day[0, 1:4] = np.nan
    assert lacks_images(one) == ""  # 190 is the middle of 120 and 260
    one.day[0, 4] = np.nan  # only day 120 is known
    assert "1 clear images from day 90 to the peak (day 120)" in lacks_images(one)


# --- crops ------------------------------------------------------------------------------------


def test_crops_that_the_service_does_not_give_today_are_asked_for_again(tmp_path, monkeypatch):
    (year,) = site_years([labels(tmp_path, "here", accepted(2018, season(1, 120)))])
    year = replace(year, crop="")
    answers = [ArchiveError("it is down"), {"crop": "corn", "share": 0.9, "access": "here"}]

    def answer(*_):
        one = answers.pop(0)
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(paper_cameras, "_cdl_of", answer)
    (first,) = add_cdl([year], "pc", tmp_path, tmp_path)
    assert first.crop == ""
    assert "it is down" in (tmp_path / "crops.csv").read_text()
    (second,) = add_cdl([year], "pc", tmp_path, tmp_path)
    assert second.crop == "corn"
    (third,) = add_cdl([replace(year, crop="soybean")], "pc", tmp_path, tmp_path)
    assert third.crop == "soybean"  # what the camera saw comes first
    assert answers == []  # and the answer is kept
    assert crop_name("Soybeans") == "soybean"
    assert json.loads((tmp_path / "cdl.json").read_text())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"archive": "earth-search"}, "expected one of simulated, pc, cdse, ee"),
        ({"sensors": ("sar",)}, "the NDVI curve needs optical images"),
        ({"archive": "simulated", "sites": "paper"}, "name sites, or none"),
    ],
)
def test_settings_that_cannot_be(tmp_path, changes, words):
    with pytest.raises(DeepCropError, match=words):
        PaperExperiment(**({"archive": "pc", "data": tmp_path, "out": tmp_path} | changes))


def test_the_papers_years_are_the_default_on_real_images(tmp_path):
    assert PaperExperiment("pc", tmp_path, tmp_path).target_years == (2017, 2018, 2019, 2020)
    assert PaperExperiment("pc", tmp_path, tmp_path, years=(2022,)).target_years == (2022,)
    assert PaperExperiment("simulated", tmp_path, tmp_path).target_years is None
