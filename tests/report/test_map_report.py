"""The page of a finished map: what it says, and that it holds all it shows."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib.figure import Figure
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_without_pictures
from tests.helpers.small_result import small_result

from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.report import map_report
from deepcrop.report.map_report import report
from deepcrop.report.page import Picture, Section, write_page


class Loads(HTMLParser):
    """What a browser would load of a page, and what it would show."""

    def __init__(self, page):
        super().__init__()
        self.sources, self.links, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        assert tag not in ("script", "iframe", "object", "embed")
        if tag == "img":
            assert attrs["alt"]
            self.sources.append(attrs["src"])
        if tag == "link":
            self.sources.append(attrs["href"])
        if tag == "a":
            self.links.append(attrs["href"])

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The page of the small result, and its folder."""
    folder = tmp_path_factory.mktemp("report")
    result = small_result(folder / "maps")
    result.summary["seen"] = {"optical": [{"date": "2018-04-11", "share": 0.8}]}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(map_report, "open_result", lambda path: result)
        patch.setattr("deepcrop.report.page.DPI", 40)
        return report(folder / "maps")


def test_the_page_holds_all_it_shows(page):
    text = page.read_text(encoding="utf-8")
    loads = Loads(text)
    assert len(loads.sources) > 9
    assert all(source.startswith("data:") for source in loads.sources)
    style = re.search(r"<style>(.*?)</style>", text, re.S).group(1)
    assert "url(" not in style
    assert "@import" not in style
    files = [link for link in loads.links if not link.startswith("#")]
    assert all((page.parent / link).is_file() for link in files)
    names = {path.name for path in (page.parent / "figures").iterdir()}
    assert {"maps_curve.png", "maps_curve.svg", "differences.png", "scenes.svg"} <= names
    assert {link.split("/")[-1] for link in files} == names
    anchors = [link[1:] for link in loads.links if link.startswith("#")]
    assert all(f'id="{anchor}"' in text for anchor in anchors)


def test_the_page_says_what_the_map_is(page):
    text = page.read_text(encoding="utf-8")
    said = " ".join(" ".join(Loads(text).text).split())
    assert "SIMULATED DATA The observations of these maps were simulated" in said
    assert "Season dates 2018: two <fields>" in said  # and no tag of its own: it is escaped
    for words in (
        "36 × 24 pixels",
        "median",
        "Deep-CroP minus",
        "winter crop",
        "smoother.x",
        "fields.zarr",
        "soybean",
        "no date",
        "Zhao, W.",
        "there is no satellite data to acknowledge",
        "25 % of the pixels with several dates are out of order",
        "2 of 3 optical scenes have clear pixels in the area",
        "simulated pixels",
        "60 d or wider",
        "0 no flag 828 96 % 1 no date 36 4 %",
    ):
        assert words in said
    assert "Copernicus" not in said


def test_real_data_is_acknowledged_and_not_called_simulated(tmp_path, monkeypatch):
    result = small_result(tmp_path / "maps", methods=("curve",), simulated=False, crops=False)
    monkeypatch.setattr(map_report, "open_result", lambda path: result)
    monkeypatch.setattr("deepcrop.report.page.DPI", 40)
    made = report(tmp_path / "maps", tmp_path / "page")
    text = made.read_text(encoding="utf-8")
    assert "SIMULATED" not in text
    assert "modified Copernicus Sentinel data" in text
    assert "Differences between" not in text
    assert "no crop types" in text


def test_a_map_becomes_a_report(tmp_path, monkeypatch):
    monkeypatch.setattr("deepcrop.report.page.DPI", 40)
    save_cube(season_cube(), tmp_path / "cube.zarr")
    map_without_pictures(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    made = report(tmp_path / "maps")
    assert made == tmp_path / "maps" / "report" / "report.html"
    text = made.read_text(encoding="utf-8")
    assert "made-up fields" in text
    assert "whittaker" in text
    assert "scenes.svg" in text
    assert "8 Sep" in text  # day 250, as the cube was made
    assert np.all([word in text for word in ("maize", "98 of 98 with clear")])
    with pytest.raises(DeepCropError, match="overwrite"):
        report(tmp_path / "maps")
    assert report(tmp_path / "maps", overwrite=True) == made


def test_figures_that_are_shown_at_once_are_numbered_without_holes(tmp_path, monkeypatch):
    monkeypatch.setattr("deepcrop.report.page.DPI", 20)

    def section(name, *folded):
        return Section(name, name, (), [Picture(name, name, "", Figure((1, 1)))], (), folded)

    sections = [section("one", section("second season")), section("two")]
    page = write_page(tmp_path, "A", "", "", [], sections).read_text(encoding="utf-8")
    found = re.findall(r"Figure (\w+)\.</b> ([\w ]+)\.", page)
    assert found == [("1", "one"), ("S1", "second season"), ("2", "two")]


def test_what_is_no_map_is_refused(tmp_path):
    with pytest.raises(DeepCropError, match="does not exist"):
        report(tmp_path / "nothing")
    assert not list(tmp_path.iterdir())
