"""What the viewer knows of a pixel: its series, its camera, the network's distributions."""

import csv
import datetime
import io
import sys

import numpy as np
import pytest
import rasterio
from fastapi.testclient import TestClient
from pyproj import Transformer
from tests.helpers.cubes import make_cube

from deepcrop import indices, stages
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import DeepCropError
from deepcrop.phenology.smoothers import PRESETS, smooth
from deepcrop.sources.phenocam.summary_files import write_series
from deepcrop.stages import CALENDAR
from deepcrop.viewer import pixel_series, server
from deepcrop.viewer.cube_images import CubeImages
from deepcrop.viewer.pixel_distribution import PixelNetwork
from deepcrop.viewer.viewed_map import ViewedMap

WHITTAKER = PRESETS["sentinel2"][0]["whittaker"]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def client(viewed_map):
    return TestClient(server.create_app(server.Shown((viewed_map,))), base_url="http://127.0.0.1")


def where(view, row, col):
    pixel = view.pixel(row, col)
    return f"lon={pixel['lon']}&lat={pixel['lat']}"


def test_series_are_those_of_the_cube(viewed_map, client):
    answer = client.get(f"/api/series?{where(viewed_map, 12, 30)}").json()
    tracks = {track["name"]: track for track in answer}
    optical = viewed_map.cube["optical"].to_dataset().isel(y=12, x=30)
    days = stages.to_days(optical["time"].values, 2018)
    values = indices.ndvi_of(optical["nir"].values, optical["red"].values)
    ndvi = tracks["ndvi"]
    assert ndvi["days"] == days.tolist()
    np.testing.assert_allclose(np.array(ndvi["values"], float), values, atol=1e-5)
    # Where there is no value the scene class says why; where there is one, nothing is said.
    for value, note, code in zip(ndvi["values"], ndvi["notes"], optical["scl"].values, strict=True):
        assert (value is None) == bool(note)
        if code in (8, 9):
            assert note.startswith("masked: cloud, ")
        if code == 0:
            assert note == "no data"
    curve, points = smooth(values[None], days, smoother=WHITTAKER)
    assert tracks["ndvi_curve"]["days"] == points.tolist()
    np.testing.assert_allclose(tracks["ndvi_curve"]["values"], curve[0], atol=1e-5)
    sar = viewed_map.cube["sar"].to_dataset().isel(y=12, x=30)
    for name in ("vv", "vh"):
        np.testing.assert_allclose(tracks[name]["values"], sar[name].values, atol=1e-4)
    assert set(tracks["vv"]["notes"]) == {
        f"orbit {n}" for n in np.unique(sar["relative_orbit"].values)
    }
    assert {"gcc", "gcc_curve"} <= set(tracks)


def test_scenes_far_from_the_year_are_left_out():
    tracks = pixel_series.series_of_pixel(make_cube(), 3, 3, 2018, WHITTAKER)
    assert [track.name for track in tracks] == [
        "ndvi",
        "ndvi_curve",
        "gcc",
        "gcc_curve",
        "vv",
        "vh",
    ]
    assert not pixel_series.series_of_pixel(make_cube(), 3, 3, 2025, WHITTAKER)[0].days.size
    tracks = pixel_series.series_of_pixel(make_cube(), 3, 3, 2018, WHITTAKER, "evi2")
    assert [track.name for track in tracks][4:6] == ["evi2", "evi2_curve"]  # as the map


def test_a_mask_without_classes_is_a_mask():
    cube = make_cube()
    cube["optical"]["red"][2, 3, 3] = np.nan
    ndvi = pixel_series.series_of_pixel(cube, 3, 3, 2018, WHITTAKER)[0]
    assert [note for note in ndvi.notes if note] == ["masked or no data"]


def test_the_camera_is_shown_where_it_looks(viewed_map):
    fields = viewed_map.cube["landcover"]["field_id"].values
    data = viewed_map.cube["camera"].to_dataset()
    for k, camera in enumerate(viewed_map.cameras):
        inside = np.argwhere(fields == camera.field)
        row, col = inside[len(inside) // 2]
        pixel = viewed_map.pixel(row, col)
        assert pixel["camera"].startswith("simulated camera ")
        number = int(pixel["camera"].split()[-1]) - 1
        assert viewed_map.cameras[number].field == camera.field
        (track,) = (t for t in viewed_map.series(row, col) if t.name == "camera_gcc")
        np.testing.assert_array_equal(track.values, data["gcc_90"].values[number])
        assert viewed_map.cell(camera.longitude, camera.latitude) == (
            int(data["row"][k]),
            int(data["col"][k]),
        )
    watched = {camera.field for camera in viewed_map.cameras}
    masts = {(camera.row, camera.col) for camera in viewed_map.cameras}
    row, col = next(
        (r, c) for r, c in np.ndindex(fields.shape)
        if fields[r, c] not in watched and (r, c) not in masts
    )  # fmt: skip
    assert viewed_map.pixel(row, col)["camera"] is None
    assert all(track.name != "camera_gcc" for track in viewed_map.series(row, col))


def test_phenocam_series_beside_the_cube(tmp_path):
    save_cube(make_cube(), tmp_path / "farm.zarr")
    cube = open_cube(tmp_path / "farm.zarr")
    (tmp_path / "farm.cameras").mkdir()
    for site, x in (("inside", 500055), ("outside", 600000)):
        lon, lat = Transformer.from_crs("EPSG:32631", "EPSG:4326", always_xy=True).transform(
            x, 5600105
        )
        about = {"Site": site, "Veg Type": "AG", "ROI ID Number": 1000, "Lat": lat, "Lon": lon}
        write_series(
            tmp_path / f"farm.cameras/{site}_AG_1000_1day.csv",
            "Summary of a site",
            about | {"Elev": 100, "UTC Offset": 1, "Aggregation Period": 1},
            [
                {"date": f"2018-05-0{k}", "image_count": 9, "gcc_90": 0.3 + k / 100}
                for k in (1, 2, 3)
            ],
        )
    (camera,) = pixel_series.find_cameras(cube, tmp_path / "farm.zarr", 2018)
    assert (camera.name, camera.azimuth, camera.field) == ("inside_AG_1000", None, 0)
    assert (camera.row, camera.col) == (9, 5)
    np.testing.assert_allclose(camera.gcc, [0.31, 0.32, 0.33], atol=1e-6)
    assert camera.days.tolist() == [120, 121, 122]
    near, far = (camera.row, camera.col + 9), (camera.row, camera.col + 10)
    assert pixel_series.camera_viewing([camera], *near, 0, 10.0) is camera
    assert pixel_series.camera_viewing([camera], *far, 0, 10.0) is None


@pytest.mark.parametrize("cell", [(0, 0), (20, 24), (39, 47)])
def test_distributions_are_what_the_map_was_read_off(viewed_map, cell):
    prediction = viewed_map.predict(*cell)
    assert [(e.stage, e.season) for e in prediction.distributions] == [
        (stage, season) for season in (1, 2) for stage in CALENDAR
    ]
    assert viewed_map.weights()["of_map"]
    for event in prediction.distributions:
        assert event.bins.sum() == pytest.approx(event.probability, abs=1e-4)
        (layer,) = viewed_map.result.find("deepcrop", "day", event.stage, event.season)
        with rasterio.open(layer.path) as file:
            mapped = file.read(1)[cell]
        assert mapped == stages.encode(event.day)
        if mapped != stages.NO_DAY:
            share = np.interp(event.day, prediction.edges, np.append(0, event.bins.cumsum()))
            assert share == pytest.approx(event.probability / 2, abs=1e-3)


def test_the_network_may_be_absent(viewed_map, viewed, client, monkeypatch):
    view = ViewedMap(viewed / "maps", viewed / "region.zarr")
    alone = TestClient(server.create_app(server.Shown((view,))), base_url="http://127.0.0.1")
    monkeypatch.delitem(sys.modules, "deepcrop.network", raising=False)
    monkeypatch.setitem(sys.modules, "torch", None)
    answer = alone.get(f"/api/distribution?{where(view, 3, 3)}")
    assert "pip install deepcrop[network]" in answer.json()["why"]
    table = alone.get(f"/api/pixel.csv?{where(view, 3, 3)}").text
    assert "network distribution" not in table
    assert "\nndvi," in table


def test_a_cube_of_another_year_has_no_distributions():
    with pytest.raises(DeepCropError, match="no observation of 2025"):
        PixelNetwork(make_cube(), 2025, ("optical", "sar"))


def test_the_table_holds_all_of_it(viewed_map, client):
    table = client.get(f"/api/pixel.csv?{where(viewed_map, 5, 40)}").text
    rows = list(csv.DictReader(io.StringIO(table)))
    assert {row["data"] for row in rows} == {"simulated"}
    of = {name: [row for row in rows if row["variable"] == name] for name in ("ndvi", "vh")}
    optical = viewed_map.cube["optical"].to_dataset()
    assert [row["date"] for row in of["ndvi"]] == [str(t)[:10] for t in optical["time"].values]
    assert {row["unit"] for row in of["vh"]} == {"dB"}
    masked = [row for row in of["ndvi"] if not row["value"]]
    assert masked
    assert all(row["note"] for row in masked)
    spread = [row for row in rows if row["variable"] == "network distribution sos50"]
    first = [row for row in spread if row["season"] == "1"]
    event = next(
        e for e in viewed_map.predict(5, 40).distributions if (e.stage, e.season) == ("sos50", 1)
    )
    assert sum(float(row["value"]) for row in first) == pytest.approx(event.probability, abs=1e-3)


def test_pictures_of_the_cube(viewed_map, client):
    about = viewed_map.images.describe()
    best = max(about["dates"], key=lambda date: date["clear"])
    k = about["dates"].index(best)
    optical = viewed_map.cube["optical"].to_dataset().isel(time=k)
    seen = np.isfinite(optical["red"].values)
    assert seen.mean() == pytest.approx(best["clear"], abs=0.01)
    chunk = CubeImages(viewed_map.cube["optical"].to_dataset())._render_chunk("true", k, 0, 0)
    np.testing.assert_array_equal(chunk[..., 3] == 255, seen)
    red = optical["red"].values
    brighter = red[seen].argmax(), red[seen].argmin()
    assert chunk[seen][brighter[0], 0] > chunk[seen][brighter[1], 0]
    ndvi = CubeImages(viewed_map.cube["optical"].to_dataset())._render_chunk("ndvi", k, 0, 0)
    values = indices.ndvi_of(optical["nir"].values, red)
    order = np.argsort(values[seen])
    green = ndvi[seen].astype(int).sum(axis=1)[order]
    assert (np.diff(green) <= 6).all()  # greener is darker, evenly
    for rendering, time in (("infrared", best["time"]), ("true", "2018-01-01T00:00:00Z")):
        assert client.get(f"/images/{rendering}/{time}/15/0/0").status_code == 404
    assert client.get(f"/images/true/{best['time']}/15/0/0").status_code == 404
    far = about["minzoom"] - 1
    assert client.get(f"/images/true/{best['time']}/{far}/0/0").status_code == 404


def test_pictures_are_put_together_from_chunks():
    cube = make_cube(rows=300, cols=520, optical_scenes=1)
    images = CubeImages(cube["optical"].to_dataset())
    whole = images._render("true", 0, slice(0, 300), slice(0, 520))
    part = images._render("true", 0, slice(250, 262), slice(505, 520))
    np.testing.assert_array_equal(part, whole[250:262, 505:520])
    assert whole[..., 3].all()


# A field


def test_a_field_is_summarised_over_its_pixels(viewed_map, client):
    numbers = viewed_map.cube["landcover"]["field_id"].values
    number = int(np.bincount(numbers[numbers > 0]).argmax())
    row, col = np.argwhere(numbers == number)[0]
    place = viewed_map.pixel(int(row), int(col))
    query = f"at={place['lon']},{place['lat']}"
    area = client.get(f"/api/area?{query}").json()
    inside = numbers == number
    assert (area["name"], area["pixels"]) == (f"field {number}", inside.sum())
    assert area["hectares"] == pytest.approx(inside.sum() / 100)
    with rasterio.open(viewed_map.result.path / "deepcrop/sos50.tif") as file:
        days = file.read(1)[inside]
    days = days[days != stages.NO_DAY]
    date = next(
        one
        for one in area["dates"]
        if (one["method"], one["stage"], one["season"]) == ("deepcrop", "sos50", 1)
    )
    assert date["share"] == pytest.approx(days.size / inside.sum(), abs=1e-4)
    expected = np.quantile(days, (0.5, 0.25, 0.75))
    assert [date["day"], date["q25"], date["q75"]] == pytest.approx(expected, abs=0.05)
    assert date["low"] <= date["day"] <= date["high"]
    assert "status" not in date  # a whole year has nothing to forecast
    read = client.get(f"/api/area/series?{query}").json()
    optical = viewed_map.cube["optical"].to_dataset()
    values = indices.ndvi_of(optical["nir"].values[:, inside], optical["red"].values[:, inside])
    ndvi = next(one for one in read["series"] if one["name"] == "ndvi")
    assert read["pixels"] == min(inside.sum(), 256)
    if read["pixels"] == inside.sum():
        clear = np.isfinite(values)
        assert ndvi["clear"] == clear.sum(axis=1).tolist()
        seen = clear.any(axis=1)
        median = np.nanmedian(values[seen], axis=1)
        np.testing.assert_allclose(np.array(ndvi["median"], float)[seen], median, atol=1e-5)
    answer = client.get(f"/api/area.csv?{query}")
    assert (
        f'filename="SIMULATED_deepcrop_2018_field_{number}.csv"'
        in (answer.headers["content-disposition"])
    )
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert {row["data"] for row in rows} == {"simulated"}
    written = [row for row in rows if row["variable"] == "map deepcrop sos50 median"]
    assert float(written[0]["day"]) == date["day"]
    assert (
        sum(row["variable"] == "ndvi median" for row in rows)
        == np.isfinite(np.array(ndvi["median"], float)).sum()
    )


def test_without_a_field_or_a_place_the_answer_says_so(client):
    for query in ("", "at=5", "at=a,b", "at=nan,nan", "at=1,2,3"):
        answer = client.get(f"/api/area?{query}")
        assert answer.status_code == 404
        assert "expected longitude,latitude" in answer.json()["detail"] or "no place" in answer.text
    assert "no place in" in client.get("/api/area?at=0,0").json()["detail"]


def test_an_issue_knows_only_what_was_observed_until_then(viewed_map, client, monkeypatch):
    until = datetime.date(2018, 6, 15)
    last = stages.to_days(np.datetime64(until), 2018)
    monkeypatch.setattr(viewed_map, "until", until)
    camera = viewed_map.cameras[0]
    numbers = viewed_map.cube["landcover"]["field_id"].values
    row, col = (int(at) for at in np.argwhere(numbers == camera.field)[0])  # in its view
    place = viewed_map.pixel(row, col)
    query = f"{place['lon']},{place['lat']}"
    tracks = client.get(f"/api/series?{where(viewed_map, row, col)}").json()
    assert {track["name"] for track in tracks} >= {"ndvi", "vv", "camera_gcc"}
    for track in tracks:
        assert max(track["days"]) <= last
    for track in client.get(f"/api/area/series?at={query}").json()["series"]:
        assert last - 40 < max(track["days"]) <= last
    assert client.get("/api/result").json()["images"]["dates"][-1]["time"][:10] <= str(until)
    network = viewed_map._load_network()
    assert all(images.days.max() <= last for images in network._images.values())
