import math
from datetime import date

import numpy as np
import pytest
import xarray as xr
from tests.archive import phenocam as archive
from tests.archive.server import Response, Server, json_response
from tests.helpers.camera_files import camera_file, row

from deepcrop.sources.archive import ArchiveError, SceneError
from deepcrop.sources.http import HttpClient, NotFound
from deepcrop.sources.phenocam.service import (
    ACKNOWLEDGEMENT,
    API,
    INTERVAL,
    PhenoCam,
    acknowledgement,
    connect,
    paper_candidates,
    write_acknowledgement,
)
from deepcrop.sources.phenocam.summary_files import CITATION, read_series

DAYS = ("2018-03-02", "2018-03-05", "2019-06-05", "2020-06-05")


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "served"
    folder.mkdir()
    rows = [row(day, gcc) for day, gcc in zip(DAYS, ("0.34", "0.36", "0.45", "0.40"), strict=True)]
    camera_file(folder, rows, "mead2")
    camera_file(folder, rows[:2], "mead2", roi=2000)
    camera_file(folder, rows, "mead2", period=1)
    camera_file(folder, rows[1:], "usof6")
    camera_file(folder, rows, "NEON.D06.KONA.DP1.00042")
    return folder


@pytest.fixture
def server():
    with Server() as server:
        yield server


@pytest.fixture
def web(tmp_path):
    with HttpClient(tmp_path / "cache", pause=0.01) as web:
        yield web


@pytest.fixture
def network(server, web, folder):
    api = archive.serve(server, folder, page_size=2, orientation={"mead2": "NE"})
    return PhenoCam(web, api)


def test_address_and_manners(monkeypatch, tmp_path):
    monkeypatch.delenv("DEEPCROP_PHENOCAM", raising=False)
    with connect(tmp_path) as network:
        assert network.api == API == "https://phenocam.nau.edu/api/"
        assert network.client.interval == INTERVAL == 1.0
        assert network.client.cache == tmp_path
        monkeypatch.setenv("DEEPCROP_PHENOCAM", "http://127.0.0.1/api")
        assert PhenoCam(network.client).api == "http://127.0.0.1/api/"
        assert PhenoCam(network.client, "http://here/").api == "http://here/"
        with pytest.raises(ArchiveError, match="address of the PhenoCam service"):
            PhenoCam(network.client, "http://here:port/")


def test_cameras_from_all_pages(server, network):
    cameras = {camera.site: camera for camera in network.cameras()}
    assert sorted(cameras) == ["NEON.D06.KONA.DP1.00042", "mead2", "usof6"]
    assert [request.one("offset") for request in server.log] == [None, "2"]
    mead2 = cameras["mead2"]
    assert mead2 == network.camera("mead2")
    assert (mead2.latitude, mead2.longitude, mead2.elevation) == (41.1649, -96.4701, 362)
    assert (mead2.utc_offset, mead2.active) == (-6, True)
    assert (mead2.first, mead2.last) == (date(2018, 3, 2), date(2020, 6, 5))
    assert (mead2.veg_type, mead2.secondary_veg_type, mead2.orientation) == ("AG", "", "NE")
    assert mead2.acknowledgement == "The people of mead2 keep this camera."


def test_regions_of_interest_are_listed_once(server, network):
    rois = network.roi_lists()
    assert sorted(roi.name for roi in rois) == [
        "NEON.D06.KONA.DP1.00042_AG_1000",
        "mead2_AG_1000",
        "mead2_AG_2000",
        "usof6_AG_1000",
    ]
    assert [roi.number for roi in network.roi_lists("mead2", "AG")] == [1000, 2000]
    assert network.roi_lists("mead2", "DB") == []
    assert len(server.asked("roilists")) == 2  # two pages, once
    roi = network.roi_lists("usof6")[0]
    assert (roi.first, roi.last) == (date(2018, 3, 5), date(2020, 6, 5))
    assert roi.site_years == 2.3
    assert roi.three_day == f"{server.url}/phenocam/data/archive/usof6/ROI/usof6_AG_1000_3day.csv"


def test_next_page_behind_a_proxy(server, web, folder):
    """The service believes that it is called by plain http, under a name that leads nowhere."""
    api = archive.serve(server, folder, page_size=1, called="http://internal.invalid:8000")
    assert len(PhenoCam(web, api).cameras()) == 3


def test_midday_images(server, network):
    images = network.midday_images("usof6")
    assert [str(image.day) for image in images] == list(DAYS[1:])
    assert images[0].url == (
        f"{server.url}/phenocam/data/archive/usof6/2018/03/usof6_2018_03_05_120005.jpg"
    )
    assert network.client.bytes(images[0].url).startswith(b"\xff\xd8")
    assert all("_IR_" not in image.url for image in images)


def test_midday_images_in_pages(server, web):
    """The network sends them whole; its other lists have pages."""
    entry = {"imgdate": "2020-01-02", "site": "a", "imgpath": "/data/archive/a/x.jpg"}
    server.route(
        "GET",
        "/api/middayimages/a/",
        lambda request: json_response({"count": 1, "next": None, "results": [entry]}),
    )
    images = PhenoCam(web, server.url + "/api").midday_images("a")
    assert [image.url for image in images] == [server.url + "/data/archive/a/x.jpg"]


def test_no_such_site(server, network):
    for ask in (network.camera, network.midday_images):
        with pytest.raises(NotFound, match="no site 'Mead2'"):
            ask("Mead2")
        with pytest.raises(NotFound, match="not a name of a PhenoCam site"):
            ask("../secret")
    assert len(server.log) == 2


@pytest.mark.parametrize("period", [1, 3])
def test_summary_files_arrive_as_they_are(network, folder, tmp_path, period):
    roi = network.roi_lists("mead2")[0]
    path = network.download_series(roi, tmp_path / "new" / "folder", period)
    assert path == tmp_path / f"new/folder/mead2_AG_1000_{period}day.csv"
    assert path.read_bytes() == (folder / path.name).read_bytes()


def test_addresses_of_the_list_come_first_then_the_usual_pattern(server, network, tmp_path):
    roi = network.roi_lists("usof6")[0]
    usual = f"{server.url}/phenocam/data/archive/usof6/ROI/usof6_AG_1000_3day.csv"
    assert network.series_urls(roi) == [usual]
    fields = roi.__dict__
    unlisted = type(roi)(**fields | {"three_day": ""})
    assert network.series_urls(unlisted) == [usual]
    elsewhere = type(roi)(**fields | {"three_day": server.url + "/moved.csv"})
    assert network.series_urls(elsewhere) == [server.url + "/moved.csv", usual]
    assert network.download_series(elsewhere, tmp_path).exists()  # not at the listed address
    kept = (tmp_path / "usof6_AG_1000_3day.csv").read_bytes()
    server.route("GET", "/moved.csv", lambda request: Response(kept + b"2020-06-08" + kept[-80:]))
    with pytest.raises(SceneError, match=r"moved\.csv"):  # the listed one is not passed over
        network.download_series(elsewhere, tmp_path)
    with pytest.raises(NotFound, match="no 1-day summary file of usof6_AG_1000"):
        network.download_series(roi, tmp_path, period=1)


def test_faults_on_the_way(server, network, tmp_path):
    roi = network.roi_lists("mead2")[0]
    server.fail(r"3day\.csv", "503", times=2)
    server.fail(r"3day\.csv", "drop")
    server.fail(r"3day\.csv", "truncate")
    path = network.download_series(roi, tmp_path)
    assert len(server.asked(r"3day\.csv")) == 5
    before = path.read_bytes()
    server.fail(r"3day\.csv", "truncate", times=2)
    with pytest.raises(SceneError, match=r"AG_1000_3day\.csv.*(short|expected)") as error:
        network.download_series(roi, tmp_path)
    assert ".part" not in str(error.value)
    assert path.read_bytes() == before
    assert sorted(tmp_path.glob("*.csv")) == [path]


def test_a_file_of_another_camera_is_refused(server, network, folder, tmp_path):
    roi = network.roi_lists("usof6")[0]
    wrong = (folder / "mead2_AG_1000_3day.csv").read_bytes()
    (folder / "usof6_AG_1000_3day.csv").write_bytes(wrong)
    with pytest.raises(SceneError, match="is mead2_AG_1000_3day, expected usof6_AG_1000_3day"):
        network.download_series(roi, tmp_path)
    assert not list(tmp_path.glob("*.csv"))


def test_what_has_not_changed_is_not_sent_again(server, network, tmp_path):
    roi = network.roi_lists("mead2")[0]
    for _ in range(2):
        network.download_series(roi, tmp_path)
    first, second = server.asked(r"3day\.csv")
    assert "if-none-match" not in first.headers
    assert "if-none-match" in second.headers


CAMERA = {"Sitename": "a", "Lat": None, "Lon": "-96.5", "sitemetadata": None, "new": [1]}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"Sitename": ...}, "without 'Sitename'"),
        ({"Lat": ...}, "without 'Lat'"),
        ({"Lon": "west"}, "'Lon' is 'west'"),
        ({"date_first": "last spring"}, "'date_first' is 'last spring'"),
    ],
)
def test_records_that_are_not_as_expected(server, web, change, words):
    record = {key: value for key, value in (CAMERA | change).items() if value is not ...}
    server.route("GET", "/api/cameras/a/", lambda request: json_response(CAMERA))
    server.route("GET", "/api/cameras/b/", lambda request: json_response(record))
    network = PhenoCam(web, server.url + "/api")
    camera = network.camera("a")  # null and absent fields that may be so
    assert math.isnan(camera.latitude)
    assert (camera.longitude, camera.acknowledgement, camera.first) == (-96.5, "", None)
    with pytest.raises(ArchiveError, match=words) as error:
        network.camera("b")
    assert "/api/cameras/b/" in str(error.value)


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ({"count": 2, "next": None, "results": [CAMERA]}, "2 entries, received 1"),
        ({"count": 2, "next": "?limit=1000", "results": [CAMERA]}, "names itself as the next"),
        ({"detail": "moved"}, "without 'results'"),
        ({"count": 1, "next": None, "results": ["a"]}, "without 'Sitename'"),
        ({"count": 3, "next": None, "results": "abc"}, "'results' is 'abc'"),
    ],
)
def test_lists_that_are_not_as_expected(server, web, page, words):
    server.route("GET", "/api/cameras/", lambda request: json_response(page))
    with pytest.raises(ArchiveError, match=words):
        PhenoCam(web, server.url + "/api").cameras()


def test_of_many_unusable_records_some_are_named(server, web, caplog):
    page = {"count": 301, "next": None, "results": [CAMERA, *(["x"] * 300)]}
    server.route("GET", "/api/cameras/", lambda request: json_response(page))
    assert len(PhenoCam(web, server.url + "/api").cameras()) == 1
    assert len(caplog.records) == 21
    assert "280 further entries are left out" in caplog.text


def test_acknowledgement(network, tmp_path):
    cameras = network.cameras()
    text = acknowledgement([*cameras, cameras[0]])
    assert text.startswith(ACKNOWLEDGEMENT)
    assert CITATION in text
    for camera in cameras:
        assert text.count(f"\n{camera.site}: The people of {camera.site} keep this camera.\n") == 1
    write_acknowledgement(tmp_path / "ACKNOWLEDGEMENT.txt", cameras)
    assert (tmp_path / "ACKNOWLEDGEMENT.txt").read_text() == acknowledgement(cameras)
    (tmp_path / "ACKNOWLEDGEMENT.txt").unlink()
    for camera in cameras:  # one by one comes to the same: what is beside the file is all in it
        write_acknowledgement(tmp_path / "ACKNOWLEDGEMENT.txt", [camera])
    assert (tmp_path / "ACKNOWLEDGEMENT.txt").read_text() == acknowledgement(cameras)
    silent = type(cameras[0])(**cameras[0].__dict__ | {"acknowledgement": ""})
    assert f"{silent.site}: no acknowledgement" in acknowledgement([silent])


def test_candidates_for_the_list_of_the_paper(network):
    rois = network.roi_lists()
    names = {roi.name for roi in paper_candidates(rois)}
    assert names == {roi.name for roi in rois} - {"mead2_AG_2000"}  # one year only
    forest = type(rois[0])(**rois[0].__dict__ | {"veg_type": "DB"})
    empty = type(rois[0])(**rois[0].__dict__ | {"first": None, "last": None})
    assert paper_candidates([forest, empty]) == []


@pytest.mark.slow
def test_simulated_cameras(server, web, region_path, tmp_path):
    looks = archive.write_simulated(region_path, tmp_path / "served")
    api = archive.serve(server, tmp_path / "served", orientation=looks)
    network = PhenoCam(web, api)
    with xr.open_zarr(region_path, group="camera", consolidated=False) as truth:
        truth = truth.load()
    assert len(network.cameras()) == truth.sizes["camera"] == len(looks)
    for index, roi in enumerate(network.roi_lists()):
        path = network.download_series(roi, tmp_path / "got")
        lines = path.read_text().splitlines()
        assert sum(line.startswith("#") for line in lines) == 22
        assert "SIMULATED" in lines[1]
        series = read_series(path)
        expected = truth["gcc_90"].isel(camera=index).values
        np.testing.assert_allclose(series.greenness["gcc_90"], expected, atol=1e-5)
        np.testing.assert_array_equal(series.date, truth["time"].values.astype("M8[D]"))
        camera = network.camera(roi.site)
        assert camera.orientation == looks[roi.site]
        assert (camera.latitude, camera.longitude) == (series.latitude, series.longitude)


@pytest.mark.slow
def test_real_files_through_the_service(server, web, real_data, tmp_path):
    source = real_data / "phenocam/series"
    network = PhenoCam(web, archive.serve(server, source, page_size=50))
    assert len(network.cameras()) == 91
    rois = network.roi_lists(veg_type="AG")
    assert len(rois) == 109
    assert len(paper_candidates(rois)) > 60
    for roi in network.roi_lists("mead2"):
        path = network.download_series(roi, tmp_path)
        assert path.read_bytes() == (source / path.name).read_bytes()
