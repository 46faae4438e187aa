"""Issues of a map side by side: what the server says of forecasts, and which folders it refuses."""

import shutil

import numpy as np
import pytest
from fastapi.testclient import TestClient
from morecantile import tms
from tests.helpers.pmtiles_file import pmtiles
from tests.helpers.small_result import COLS, DAYS, ROWS, small_result

from deepcrop.errors import DeepCropError
from deepcrop.products.layers import FORECAST, NOT_YET_KNOWN
from deepcrop.viewer import map_tiles, server, viewed_map
from deepcrop.viewer.issues import open_issues

DAYS_OF_ISSUES = ("2018-06-15", "2018-07-15")
HALF = 0.5


def make_issues(folder, monkeypatch, **differing):
    """Write an issue for each day; `differing` are arguments of the last one."""
    made = {}
    for day in DAYS_OF_ISSUES:
        more = differing if day == DAYS_OF_ISSUES[-1] else {}
        made[folder / day] = small_result(folder / day, **{"until": day} | more)
        (folder / day / "item.json").write_text("{}")
    monkeypatch.setattr(viewed_map, "open_result", lambda path: made[path])
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("issues")


@pytest.fixture(scope="module")
def client(folder):
    with pytest.MonkeyPatch.context() as patch:
        make_issues(folder, patch)
        (folder / "2018-08-15").mkdir()  # is not finished
        (folder / "notes").mkdir()
        issues, unfinished = open_issues(folder, None)
    (folder / "base.pmtiles").write_bytes(pmtiles())
    shown = server.Shown(tuple(issues), tuple(unfinished), folder / "base.pmtiles")
    return TestClient(server.create_app(shown), base_url="http://127.0.0.1")


def test_the_page_learns_of_all_issues(client):
    shown = client.get("/api/shown").json()
    assert shown["issues"] == list(DAYS_OF_ISSUES)
    assert shown["unfinished"] == ["2018-08-15"]
    assert (shown["basemap"]["kind"], shown["basemap"]["attribution"]) == ("raster", "© Made up")
    assert client.get("/api/result").json()["until"] == "2018-07-15"  # the latest
    for day in DAYS_OF_ISSUES:
        about = client.get(f"/issues/{day}/api/result").json()
        assert about["until"] == day
        dates = next(one for one in about["variables"] if one["id"] == "deepcrop-day")
        assert dates["views"]["eos50/1"]["status"] == "deepcrop/eos50_status"
        widths = next(one for one in about["variables"] if one["id"] == "deepcrop-width")
        assert widths["views"]["eos50/1"]["status"] == "deepcrop/eos50_status"
        difference = next(one for one in about["variables"] if one["kind"] == "difference")
        assert difference["views"]["sos50/1"]["status"] == "difference/sos50_status"
    assert client.get("/issues/2018-08-15/api/result").status_code == 404
    assert client.get("/issues/2018-06-15/files/curve/sos50.tif").status_code == 200


def test_a_basemap_is_read_in_ranges(client, folder):
    answer = client.get("/basemap", headers={"Range": "bytes=0-6"})
    assert (answer.status_code, answer.content) == (206, b"PMTiles")
    content = (folder / "base.pmtiles").read_bytes()
    last = client.get("/basemap", headers={"Range": f"bytes={len(content) - 9}-"})
    assert last.content == content[-9:]
    assert client.get("/basemap", headers={"Range": f"bytes={len(content)}-"}).status_code == 416


def test_a_legend_says_what_is_forecast(client):
    legend = client.get("/issues/2018-06-15/api/legend/deepcrop/eos50").json()
    assert legend["status"]["forecast"] == HALF
    assert legend["status"]["not yet known"] == HALF
    assert client.get("/api/legend/deepcrop/sos50").json()["status"]["observed"] == 1
    status = client.get("/api/legend/deepcrop/eos50_status").json()
    assert [(one["name"], one["share"]) for one in status["classes"]] == [
        ("forecast", HALF),
        ("not yet known", HALF),
    ]
    assert all(one["colour"].startswith("#") for one in status["classes"])
    assert "range" not in status


def test_tiles_say_which_dates_are_forecasts(client):
    longitude, latitude = -93.0 + 2e-4, 41.55
    tile = tms.get("WebMercatorQuad").tile(longitude, latitude, 14)

    def values(key):
        answer = client.get(f"/issues/2018-06-15/tiles/{key}/14/{tile.x}/{tile.y}")
        assert answer.status_code == 200
        found = np.frombuffer(answer.content, "<i4")
        return set(found.tolist()) - {map_tiles.NO_VALUE}

    assert values("deepcrop/eos50_status") == {FORECAST, NOT_YET_KNOWN}
    assert values("deepcrop/eos50") == {DAYS["eos50"] - 4}
    # The difference of two dates is a forecast where either of them is one.
    assert values("difference/eos50_status") == {FORECAST, NOT_YET_KNOWN}


def test_a_pixel_is_said_in_words(client):
    pixel = client.get("/issues/2018-06-15/api/pixel?lon=-92.999&lat=41.5527").json()
    dates = {(d["method"], d["stage"], d["season"]): d for d in pixel["dates"]}
    assert dates["deepcrop", "sos50", 1]["status"] == "observed"
    assert dates["deepcrop", "eos50", 1]["status"] == "forecast"
    assert dates["deepcrop", "eos50", 2]["status"] == "no event"
    table = client.get("/issues/2018-06-15/api/pixel.csv?lon=-92.999&lat=41.5527")
    assert "SIMULATED_deepcrop_2018_until_2018-06-15_row" in table.headers["content-disposition"]
    assert "map deepcrop eos50 status,1,,,,,forecast,simulated" in table.text
    right = client.get("/issues/2018-06-15/api/pixel?lon=-92.9965&lat=41.5527").json()
    ends = {d["method"]: d for d in right["dates"] if (d["stage"], d["season"]) == ("eos50", 1)}
    assert (ends["deepcrop"]["status"], ends["deepcrop"]["day"]) == ("not yet known", None)


def test_an_area_with_forecasts_is_a_forecast(client):
    corners = "-92.9999,41.5518;-92.9960,41.5518;-92.9960,41.5536;-92.9999,41.5536"
    area = client.get(f"/issues/2018-06-15/api/area?polygon={corners}").json()
    assert 0 < area["pixels"] <= ROWS * COLS
    ends = {(d["method"], d["stage"]): d for d in area["dates"] if d["season"] == 1}
    end = ends["deepcrop", "eos50"]
    assert (end["day"], end["q25"], end["q75"]) == (DAYS["eos50"] - 4,) * 3
    assert (end["low"], end["high"], end["forecast"]) == (end["day"] - 6, end["day"] + 6, True)
    assert end["status"]["forecast"] + end["status"]["not yet known"] == pytest.approx(1)
    assert end["share"] == end["status"]["forecast"]
    assert not ends["deepcrop", "sos50"]["forecast"]


def test_equal_colours_are_equal_dates_in_all_issues(tmp_path, monkeypatch):
    make_issues(tmp_path, monkeypatch, methods=("curve",))
    first, last = open_issues(tmp_path, None)[0]
    ranges = [
        issue.legend(key)["range"] for issue, key in ((first, "curve/eos50"), (last, "eos50"))
    ]
    assert ranges[0] == ranges[1]
    assert ranges[0][0] <= DAYS["eos50"] - 4  # of the network, which the last issue lacks


@pytest.mark.parametrize(
    ("differing", "words"),
    [
        ({"until": "2018-07-01"}, "observations until 2018-07-01, but its name says 2018-07-15"),
        ({"until": None}, "a map of a whole year, but its name says 2018-07-15"),
        ({"left": 600000}, "must be maps of one cube"),
    ],
)
def test_issues_that_do_not_belong_together(tmp_path, monkeypatch, differing, words):
    make_issues(tmp_path, monkeypatch, **differing)
    with pytest.raises(DeepCropError, match=words):
        open_issues(tmp_path, None)


def test_folders_without_an_issue(tmp_path):
    (tmp_path / "2018-13-15").mkdir()  # no day
    with pytest.raises(DeepCropError, match=r"has no item.json; expected a directory made by"):
        open_issues(tmp_path, None)
    (tmp_path / "2018-06-15").mkdir()
    with pytest.raises(DeepCropError, match="no finished issue of a map: 2018-06-15 has no item"):
        open_issues(tmp_path, None)
    shutil.rmtree(tmp_path)
    with pytest.raises(DeepCropError, match="does not exist"):
        open_issues(tmp_path, None)
