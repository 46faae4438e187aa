"""The viewer's server: what it shows, its tiles, and what it refuses."""

import gzip
import http.client
import json
import os
import shutil
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import numpy as np
import pytest
import rasterio
import uvicorn
from fastapi.testclient import TestClient
from morecantile import tms
from pyproj import Transformer
from tests.helpers.cubes import make_cube, season_cube
from tests.helpers.maps import map_few_layers
from tests.helpers.small_result import COLS, DAYS, ROWS, small_result

from deepcrop.cube.contract import build
from deepcrop.cube.io import save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.grid import assign_grid, make_grid
from deepcrop.viewer import map_tiles, server, viewed_map

MERCATOR = tms.get("WebMercatorQuad")
ZOOM = 16


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("viewed") / "maps"


@pytest.fixture(scope="module")
def small(folder):
    """The small result, shown without a cube."""
    result = small_result(folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(viewed_map, "open_result", lambda path: result)
        return viewed_map.ViewedMap(folder, None)


@pytest.fixture(scope="module")
def client(small):
    return TestClient(server.create_app(server.Shown((small,))), base_url="http://127.0.0.1")


def place(view, row, col):
    """Longitude and latitude of the middle of a pixel."""
    affine = view.result.grid.affine
    to_degrees = Transformer.from_crs(str(view.result.grid.crs), "EPSG:4326", always_xy=True)
    return to_degrees.transform(*(affine * (col + 0.5, row + 0.5)))


def value_in_tile(client, key, lon, lat):
    """What the tile of a place says there."""
    tile = MERCATOR.tile(lon, lat, ZOOM)
    answer = client.get(f"/tiles/{key}/{ZOOM}/{tile.x}/{tile.y}")
    assert answer.status_code == 200
    values = np.frombuffer(answer.content, "<i4").reshape(map_tiles.TILE_SIZE, map_tiles.TILE_SIZE)
    x, y = MERCATOR.xy(lon, lat)
    left, bottom, right, top = MERCATOR.xy_bounds(tile)
    across, down = (x - left) / (right - left), (top - y) / (top - bottom)
    return int(values[int(map_tiles.TILE_SIZE * down), int(map_tiles.TILE_SIZE * across)])


def test_the_page_learns_what_there_is(client):
    about = client.get("/api/result").json()
    assert (about["title"], about["year"], about["simulated"]) == ("two <fields>", 2018, True)
    assert about["missing"] == []
    assert about["images"] is None
    variables = {variable["id"]: variable for variable in about["variables"]}
    assert list(variables)[:2] == ["deepcrop-day", "curve-day"]
    stages = [f"{stage}/{season}" for season in (1, 2) for stage in DAYS]
    for variable in ("deepcrop-day", "curve-day", "deepcrop-width", "deepcrop-percent"):
        assert list(variables[variable]["views"]) == stages
    assert list(variables["difference-difference"]["views"]) == stages[:4]
    for variable in ("crop_type", "curve/qflag", "deepcrop/n_obs_optical"):
        assert variables[variable]["views"] == {
            "": {"key": variable, "title": variables[variable]["label"], "status": None}
        }
    west, south, east, north = about["bounds"]
    assert west < about["outline"][7][0] < east
    assert south < about["outline"][7][1] < north
    assert all(len(palette) == 6 * 256 for palette in about["palettes"].values())


@pytest.mark.parametrize("key", ["curve/sos20", "deepcrop/eos50", "curve/qflag", "crop_type"])
def test_tiles_hold_the_values_of_the_files(small, client, folder, key):
    with rasterio.open(folder / f"{key}.tif") as file:
        values = file.read(1)
    nodata = small.views[key].layers[0].nodata
    for row, col in ((0, 0), (ROWS - 1, COLS - 1), (12, COLS // 2 - 1), (12, COLS // 2)):
        expected = map_tiles.NO_VALUE if values[row, col] == nodata else values[row, col]
        assert value_in_tile(client, key, *place(small, row, col)) == expected


def test_the_width_of_an_interval_is_computed(small, client):
    assert value_in_tile(client, "deepcrop/sos50_width", *place(small, 5, 5)) == 12
    assert client.get("/tiles/curve/sos50_width/0/0/0").status_code == 404


def test_legends(client):
    days = client.get("/api/legend/curve/sos50").json()
    other = client.get("/api/legend/deepcrop/sos50").json()
    assert days["range"] == other["range"]  # equal colours mean equal dates
    assert days["range"][0] <= DAYS["sos50"] - 4 < DAYS["sos50"] + 30 <= days["range"][1]
    assert days["missing"] == pytest.approx(1 / ROWS)
    assert sum(days["histogram"]) == (ROWS - 1) * COLS
    assert (days["palette"], client.get("/api/legend/curve/eos50").json()["palette"]) == (
        "sos",
        "eos",
    )
    crops = client.get("/api/legend/crop_type").json()["classes"]
    assert {(one["name"], one["share"]) for one in crops} == {("maize", 0.5), ("soybean", 0.5)}
    flags = client.get("/api/legend/curve/qflag").json()["flags"]
    assert [one["share"] for one in flags] == pytest.approx([1 / ROWS, 0])
    assert client.get("/api/legend/deepcrop/sos20_probability").json()["range"] == [0, 100]
    assert client.get("/api/legend/difference/sos20").json()["range"] == [-10, 10]
    empty = client.get("/api/legend/curve/sos20_season2").json()
    assert (empty["missing"], sum(empty["histogram"])) == (1, 0)


def test_a_pixel(small, client):
    lon, lat = place(small, 0, 20)
    pixel = client.get(f"/api/pixel?lon={lon}&lat={lat}").json()
    assert (pixel["row"], pixel["col"], pixel["camera"], pixel["field"]) == (0, 20, None, None)
    dates = {(d["method"], d["stage"], d["season"]): d for d in pixel["dates"]}
    assert dates["curve", "sos50", 1]["day"] is None
    expected = {"day": 146, "low": 140, "high": 152, "probability": 90}
    assert expected.items() <= dates["deepcrop", "sos50", 1].items()
    others = {one["key"]: one["text"] for one in pixel["others"]}
    assert others["crop_type"] == "soybean"
    assert others["curve/qflag"] == "no date"
    assert others["deepcrop/n_obs_optical"] == "17"
    west, north = pixel["outline"][3]
    assert west < lon
    assert north > lat
    table = client.get(f"/api/pixel.csv?lon={lon}&lat={lat}")
    assert (
        'filename="SIMULATED_deepcrop_2018_row0_col20.csv"' in table.headers["content-disposition"]
    )
    assert "map deepcrop sos50 day,1,146,2018-05-27,,,,simulated" in table.text
    assert "map curve sos50 day,1,,,,,,simulated" in table.text


def test_without_a_cube_there_is_no_series(small, client):
    lon, lat = place(small, 3, 3)
    assert client.get(f"/api/series?lon={lon}&lat={lat}").json() == []
    assert "--cube" in client.get(f"/api/distribution?lon={lon}&lat={lat}").json()["why"]
    answer = client.get("/images/true/2018-01-01/1/0/0")
    assert answer.status_code == 404
    assert "--cube" in answer.json()["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "/tiles/curve/sos50/17/0/0",  # beyond the map
        "/tiles/curve/sos50/3/99/0",  # no such tile
        "/tiles/curve/sos50/99/0/0",
        "/tiles/curve/sos50/-1/0/0",
        "/tiles/curve/sos50/1/a/0",
        "/tiles/curve/sos99/0/0/0",
        "/tiles/curve/sos50.tif/0/0/0",
        "/api/legend/curve",
        "/api/pixel?lon=0&lat=0",
        "/api/pixel?lon=nan&lat=inf",
        "/api/series?lon=200&lat=-95",
        "/docs",
        "/openapi.json",
        "/nothing",
    ],
)
def test_what_is_not_there_is_404(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert "Traceback" not in answer.text


def test_numbers_are_asked_for(client):
    assert client.get("/api/pixel?lon=east&lat=1").status_code == 422
    assert client.get("/api/pixel").status_code == 422


def test_missing_files_are_told_at_once_and_later(tmp_path, monkeypatch):
    result = small_result(tmp_path / "maps")
    (tmp_path / "maps/curve/sos20.tif").unlink()
    monkeypatch.setattr(viewed_map, "open_result", lambda path: result)
    client = TestClient(
        server.create_app(server.Shown((viewed_map.ViewedMap(tmp_path / "maps", None),))),
        base_url="http://127.0.0.1",
    )
    about = client.get("/api/result").json()
    assert about["missing"] == ["curve/sos20"]
    dates = next(variable for variable in about["variables"] if variable["id"] == "curve-day")
    assert "sos20/1" not in dates["views"]
    assert client.get("/api/legend/curve/sos20").status_code == 404
    (tmp_path / "maps/curve/sos50.tif").unlink()
    for path in ("/api/legend/curve/sos50", "/tiles/curve/sos50/0/0/0"):
        answer = client.get(path)
        assert answer.status_code == 404
        assert "'curve/sos50' is gone" in answer.json()["detail"]
    shutil.rmtree(tmp_path / "maps")
    with pytest.raises(DeepCropError, match="none of its layers"):
        viewed_map.ViewedMap(tmp_path / "maps", None)


@pytest.fixture(scope="module")
def live(small, folder):
    """The server on a port: clients of Python tidy paths up before they ask."""
    (folder / "summary.json").write_text("{}")
    (folder.parent / "secret.txt").write_text("secret")
    (folder / "way_out").symlink_to(folder.parent)
    listening = socket.socket()
    listening.bind((server.HOST, 0))
    listening.listen()  # whoever comes early waits
    running = uvicorn.Server(
        uvicorn.Config(server.create_app(server.Shown((small,))), log_level="critical")
    )
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    yield listening.getsockname()[1]
    running.should_exit = True
    thread.join()
    listening.close()


def ask(port, path, host="127.0.0.1"):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.putrequest("GET", path, skip_host=True)
    connection.putheader("Host", host)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content, answer.headers


@pytest.mark.parametrize(
    "path",
    [
        "/files/../secret.txt",
        "/files/%2e%2e/secret.txt",
        "/files/..%2fsecret.txt",
        "/files/%2e%2e%2fsecret.txt",
        "/files/curve/../../secret.txt",
        "/files/..\\secret.txt",
        "/files/way_out/secret.txt",
        "/files//etc/passwd",
        "/files/%2fetc/passwd",
        "/files/summary.json%00.tif",
        "/files/",
        "/files/curve",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/../secret.txt",
        "//etc/passwd",
        "/tiles/../../secret.txt/0/0/0",
        "/tiles/..%2f..%2fsecret/0/0/0",
        "/tiles/%2fetc%2fpasswd/0/0/0",
        "/images/true/..%2f..%2fsecret.txt/0/0/0",
    ],
)
def test_tricks_with_paths_get_404(live, path):
    status, content, _ = ask(live, path)
    assert status == 404
    assert b"secret" not in content.replace(b"secret.txt", b"").replace(b"secret'", b"")
    assert b"root:" not in content


def test_files_of_the_result_and_of_the_page(live, folder):
    status, content, _ = ask(live, "/files/curve/sos50.tif")
    assert (status, content) == (200, (folder / "curve/sos50.tif").read_bytes())
    status, content, headers = ask(live, "/")
    assert status == 200
    assert b"Deep-CroP" in content
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    for name in ("maplibre-gl.mjs", "maplibre-gl-worker.mjs", "maplibre-gl.css", "LICENSE.txt"):
        assert ask(live, f"/static/vendor/maplibre-gl/{name}")[0] == 200


def test_only_this_machine_by_its_own_names(live):
    assert ask(live, "/api/result", "localhost")[0] == 200
    assert ask(live, "/api/result", "evil.example")[0] == 400


def test_several_at_once_get_the_same(live, small):
    lon, lat = place(small, 12, 3)
    tile = MERCATOR.tile(lon, lat, ZOOM)
    keys = ("curve/sos50", "deepcrop/sos50_width", "crop_type", "difference/sos20")
    paths = [f"/tiles/{key}/{ZOOM}/{tile.x}/{tile.y}" for key in keys]
    paths += [f"/api/pixel?lon={lon}&lat={lat}", "/api/result", "/tiles/curve/sos50/16/0/0"]
    alone = [ask(live, path)[:2] for path in paths]
    assert np.frombuffer(gzip.decompress(alone[0][1]), "<i4").size == map_tiles.TILE_SIZE**2
    with ThreadPoolExecutor(12) as pool:
        together = list(pool.map(lambda k: ask(live, paths[k % len(paths)])[:2], range(42)))
    for k, answer in enumerate(together):
        status, content = alone[k % len(paths)]
        assert answer[0] == status
        # gzip notes the time
        assert answer[1][10:] == content[10:]


def test_only_what_map_made_is_shown(tmp_path):
    with pytest.raises(DeepCropError, match=r"does not exist; expected a directory made by"):
        viewed_map.ViewedMap(tmp_path / "nothing", None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DeepCropError, match=r"has no item.json"):
        viewed_map.ViewedMap(tmp_path / "empty", None)


def test_only_the_cube_that_was_mapped(small, tmp_path, monkeypatch):
    monkeypatch.setattr(viewed_map, "open_result", lambda path: small.result)
    save_cube(make_cube(), tmp_path / "other.zarr")
    with pytest.raises(CubeError, match=r"30 x 20 pixels .* give the cube that was mapped"):
        viewed_map.ViewedMap(tmp_path, tmp_path / "other.zarr")
    with pytest.raises(CubeError, match="does not exist"):
        viewed_map.ViewedMap(tmp_path, tmp_path / "none.zarr")


def test_a_taken_port_is_named(small, monkeypatch):
    monkeypatch.setattr(viewed_map, "open_result", lambda path: small.result)
    with socket.socket() as taken:
        taken.bind((server.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(DeepCropError, match=rf"Port {port} .* --port"):
            server.serve(small.result.path, None, port, print)


def test_a_measured_map_by_the_curve_alone(tmp_path, monkeypatch):
    result = small_result(tmp_path / "maps", ("curve",), simulated=False, crops=False)
    monkeypatch.setattr(viewed_map, "open_result", lambda path: result)
    view = viewed_map.ViewedMap(tmp_path / "maps", None)
    client = TestClient(server.create_app(server.Shown((view,))), base_url="http://127.0.0.1")
    about = client.get("/api/result").json()
    assert about["methods"] == {"curve": "curve"}
    assert not about["simulated"]
    assert [variable["id"] for variable in about["variables"]] == [
        "curve-day",
        "n_obs_optical",
        "qflag",
    ]
    lon, lat = place(view, 5, 5)
    table = client.get(f"/api/pixel.csv?lon={lon}&lat={lat}")
    assert 'filename="deepcrop_2018_row5_col5.csv"' in table.headers["content-disposition"]
    assert "map curve sos50 day,1,120,2018-05-01,,,,observed\n" in table.text


def test_without_the_extra_the_command_says_what_to_install(monkeypatch):
    from deepcrop.cli.maps import view

    monkeypatch.setitem(sys.modules, "deepcrop.viewer.server", None)
    with pytest.raises(DeepCropError, match=r"pip install deepcrop\[viewer\]"):
        view(os.curdir)


# What no browser sends


@pytest.fixture
def address(small, monkeypatch):
    """A running viewer that waits a third of a second for a request."""
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.3)
    config = uvicorn.Config(
        server.create_app(server.Shown((small,))),
        http=server.TimedProtocol,
        log_level="critical",
        lifespan="off",
    )
    running = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield listening.getsockname()
        running.should_exit = True
        thread.join(10)


@pytest.mark.parametrize(
    "begin",
    [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"POST / HTTP/1.1\r\n"
     b"Host: 127.0.0.1\r\nContent-Length: 100\r\n\r\nabc"],
)  # fmt: skip
def test_a_half_sent_request_is_dropped(address, begin):
    with socket.create_connection(address, timeout=5) as connection:
        connection.sendall(begin)
        with suppress(ConnectionResetError):
            while connection.recv(65536):  # an answer may come before the end
                pass


def test_a_trickle_of_headers_is_dropped_and_others_are_answered(address):
    with socket.create_connection(address, timeout=5) as slow:
        slow.sendall(b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n")
        dropped = False
        for k in range(100):
            time.sleep(0.05)
            try:
                slow.sendall(b"X-%d: a\r\n" % k)
            except OSError:
                dropped = True
                break
        assert dropped
        other = http.client.HTTPConnection(*address, timeout=5)
        for _ in range(2):  # the second on the same connection
            other.request("GET", "/api/result")
            assert other.getresponse().read()
            time.sleep(0.2)
        other.close()


@pytest.mark.parametrize(
    "numbers",
    ["99/0/0", "-1/0/0", f"{'9' * 5000}/0/0", f"3/{2**40}/0", "3/0/1e3", "3/²/0", "a/b/c", "3/8/0"],
)
def test_numbers_of_a_path_are_bounded(client, numbers):
    assert client.get(f"/tiles/sos50/{numbers}").status_code == 404
    assert client.get(f"/images/true/2018-01-01/{numbers}").status_code == 404


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e400", "9" * 5000, "", "a", "1e308"])
def test_coordinates_that_are_none(client, value):
    for path in ("pixel", "series", "distribution", "pixel.csv"):
        answer = client.get(f"/api/{path}", params={"lon": value, "lat": value})
        assert 400 <= answer.status_code < 500


@pytest.mark.slow
@pytest.mark.parametrize("crs", ["EPSG:32601", "EPSG:32660"])
def test_a_map_over_the_date_line_is_one_piece(tmp_path, crs):
    """Bounds and outlines go on beyond 180 degrees; tiles and pixels of both halves are right."""
    to_metres = Transformer.from_crs("EPSG:4326", crs, always_xy=True)
    x, y = (round(value, -1) for value in to_metres.transform(180, 52))
    box = make_grid((x - 150, y, x + 150, y + 200), crs)
    groups = {
        name: assign_grid(group.to_dataset().drop_vars(["x", "y", "spatial_ref"]), box)
        for name, group in season_cube().children.items()
    }
    save_cube(build(groups["optical"], None, groups["landcover"]), tmp_path / "cube.zarr")
    map_few_layers(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    view = viewed_map.ViewedMap(tmp_path / "maps", tmp_path / "cube.zarr")
    about = view.describe()
    west, _, east, _ = about["bounds"]
    assert 0.004 < east - west < 0.005
    assert west < -180 or east > 180
    assert np.ptp([lon for lon, _ in about["outline"]]) == pytest.approx(east - west)
    client = TestClient(server.create_app(server.Shown((view,))), base_url="http://127.0.0.1")
    with rasterio.open(tmp_path / "maps" / "sos50.tif") as file:
        layer = file.read(1)
    for row, col in ((5, 3), (12, 26)):
        lon, lat = place(view, row, col)
        assert value_in_tile(client, "sos50", lon, lat) == layer[row, col]
        for turned in (lon, lon - 360, lon + 360):
            pixel = client.get("/api/pixel", params={"lon": turned, "lat": lat}).json()
            assert (pixel["row"], pixel["col"]) == (row, col)
            assert west < pixel["lon"] < east
        tile = MERCATOR.tile(lon, lat, ZOOM)
        time = about["images"]["dates"][0]["time"]
        assert client.get(f"/images/true/{time}/{ZOOM}/{tile.x}/{tile.y}").status_code == 200
    with (tmp_path / "maps" / "item.json").open() as file:
        left, _, right, _ = json.load(file)["bbox"]
    assert left > 179.99
    assert right < -179.99
