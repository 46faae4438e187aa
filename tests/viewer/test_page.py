"""The viewer as a user meets it: `deepcrop view` started, its page in a real headless Chromium."""

import csv
import io
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from datetime import date, timedelta
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
import rasterio
import uvicorn
from PIL import Image
from playwright.sync_api import expect, sync_playwright
from tests.helpers.pmtiles_file import pmtiles
from tests.helpers.small_result import DAYS, small_result

from deepcrop import indices, stages
from deepcrop.figures.style import STAGE_COLOURS
from deepcrop.viewer import server, viewed_map
from deepcrop.viewer.issues import open_issues

CHROMIUM = Path("/usr/bin/chromium")
pytestmark = [
    pytest.mark.skipif(
        not CHROMIUM.exists(), reason=f"no browser at {CHROMIUM}; apt-get install chromium"
    ),
    pytest.mark.slow,  # starts a browser
]

ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
GROUND = (213, 217, 210)  # the region where no value is drawn
ZOOM = 16
ISSUES = ("2018-04-15", "2018-06-15", "2018-07-15")
PATIENCE = 120  # seconds: a busy machine draws a page without a GPU slowly
expect.set_options(timeout=1000 * PATIENCE)


@pytest.fixture(scope="module")
def command(viewed):
    """`deepcrop view` as typed, and its address."""
    arguments = ["view", viewed / "maps", "--cube", viewed / "region.zarr", "--port", "18765"]
    running = subprocess.Popen(
        [sys.executable, "-m", "deepcrop", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        line = running.stdout.readline()
        assert line == "http://127.0.0.1:18765/  (Ctrl-C ends the viewer)\n", running.stderr.read()
        yield line.split()[0]
        running.send_signal(signal.SIGINT)
        assert running.communicate(timeout=PATIENCE) == ("", "")
        assert running.returncode == 0
    finally:
        running.kill()
        running.communicate()


@pytest.fixture(scope="module")
def chromium():
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def season(tmp_path_factory):
    """Address of three issues of a small map, with a red basemap."""
    folder = tmp_path_factory.mktemp("season")
    made = {}
    for day in ISSUES:
        made[folder / day] = small_result(folder / day, until=day)
        (folder / day / "item.json").write_text("{}")
    (folder / "base.pmtiles").write_bytes(pmtiles())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(viewed_map, "open_result", lambda path: made[path])
        issues, _ = open_issues(folder, None)
    app = server.create_app(server.Shown(tuple(issues), (), folder / "base.pmtiles"))
    running = uvicorn.Server(uvicorn.Config(app, log_level="critical", lifespan="off"))
    with socket.create_server((server.HOST, 0)) as listening:
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        yield f"http://{server.HOST}:{listening.getsockname()[1]}/"
        running.should_exit = True
        thread.join(PATIENCE)


@pytest.fixture
def look(chromium, request):
    """Open pages; at the end none of them has complained or asked another host for anything."""
    complaints, asked, contexts = [], [], []
    # The real command is started only for the tests of its map.
    command = request.getfixturevalue("season" if "season" in request.fixturenames else "command")

    def open_page(hash_="", width=800, height=440, **options):
        context = chromium.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(1000 * PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type == "error" and complaints.append(said.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(command + hash_)
        page.locator("body[data-ready=yes]").wait_for()
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert complaints == []
    assert asked
    assert [url for url in asked if not url.startswith((command, "blob:", "data:"))] == []


def at(view, row, col, zoom=ZOOM):
    """Part of a link: the map with the middle of a pixel in its middle."""
    pixel = view.pixel(row, col)
    return f"map={zoom}/{pixel['lat']}/{pixel['lon']}"


def colour(page, selector="#map-left", across=0.5, down=0.5):
    """Colour on the screen at a share of an element's width and height."""
    box = page.locator(selector).bounding_box()
    x, y = box["x"] + across * box["width"], box["y"] + down * box["height"]
    clip = {"x": int(x), "y": int(y), "width": 1, "height": 1}
    return Image.open(io.BytesIO(page.screenshot(clip=clip))).convert("RGB").getpixel((0, 0))


def turns_to(page, expected, tolerance=3, **where):
    """Wait until a place of the screen has a colour (MapLibre draws when it has the tiles)."""
    page.wait_for_timeout(100)
    end = monotonic() + PATIENCE
    while monotonic() < end:
        found = colour(page, **where)
        if np.abs(np.subtract(found, expected)).max() <= tolerance:
            return
        page.wait_for_timeout(150)
    raise AssertionError(f"the screen is {found}, expected {expected}")


def painted(view, key, value):
    """Colour that a value has by its legend."""
    legend = view.legend(key)
    low, high = legend["range"]
    share = (min(max(value, low), high) - low) / (high - low)
    palette = view.describe()["palettes"][legend["palette"]]
    place = 6 * int(np.floor(255 * share + 0.5))
    return tuple(int(palette[place + k : place + k + 2], 16) for k in (0, 2, 4))


def value(view, key, row, col):
    """Value of a view, from its files; of the width of an interval the ends' difference."""
    found = []
    for layer in view.views[key].layers:
        with rasterio.open(layer.path) as file:
            found.append(int(file.read(1)[row, col]))
    return found[-1] - (found[0] if len(found) == 2 else 0)


def dated(view, key):
    """A pixel inside a field that has a date, away from the edges of the map."""
    with rasterio.open(view.views[key].layers[0].path) as file:
        days = file.read(1).astype(int)
    for row in range(8, days.shape[0] - 8):
        for col in range(8, days.shape[1] - 8):
            around = days[row - 1 : row + 2, col - 1 : col + 2]
            if (around != stages.NO_DAY).all() and np.ptp(around) <= 3:
                return row, col
    raise AssertionError("no such pixel")


def test_every_layer_is_drawn_in_the_colours_of_its_legend(viewed_map, look):
    row, col = dated(viewed_map, "deepcrop/sos50")
    page = look(f"#{at(viewed_map, row, col)}")
    for variable, at_, key in (
        ("deepcrop-day", "sos20/1", "deepcrop/sos20"),
        ("deepcrop-day", "eos50/1", "deepcrop/eos50"),
        ("curve-day", "sos50/1", "curve/sos50"),
        ("curve-day", "eos20/1", "curve/eos20"),
        ("deepcrop-width", "sos50/1", "deepcrop/sos50_width"),
        ("deepcrop-percent", "sos50/1", "deepcrop/sos50_probability"),
        ("difference-difference", "sos50/1", "difference/sos50"),
        ("curve/n_cycles", "", "curve/n_cycles"),
    ):
        page.locator("#variable-left").select_option(variable)
        if at_:
            page.locator(f"#stage-left input[value={at_.split('/')[0]}]").check()
        turns_to(page, painted(viewed_map, key, value(viewed_map, key, row, col)))
        expect(page.locator("#legend-left h2")).to_have_text(viewed_map.views[key].title)
    page.locator("#variable-left").select_option("crop_type")
    expect(page.locator("#legend-left li").first).to_be_visible()
    code = value(viewed_map, "crop_type", row, col)
    names = {one.value: one.name for one in viewed_map.views["crop_type"].layers[0].classes}
    swatch = page.locator("#legend-left li", has_text=names[code].replace("_", " ")).locator("i")
    rgb = re.findall(
        r"\d+", swatch.evaluate("element => getComputedStyle(element).backgroundColor")
    )
    turns_to(page, tuple(map(int, rgb)))
    page.locator("#variable-left").select_option("deepcrop-day")
    page.locator("#season-left input[value='2']").check()
    second = value(viewed_map, "deepcrop/eos50_season2", row, col)
    if second == stages.NO_DAY:
        turns_to(page, GROUND)
    else:
        turns_to(page, painted(viewed_map, "deepcrop/eos50_season2", second))


def test_a_legend_has_calendar_dates(viewed_map, look):
    page = look("#left=deepcrop-day@sos50/1")
    ticks = page.locator("#legend-left .ticks span").all_text_contents()
    assert ticks
    assert all(re.fullmatch(r"[A-Z][a-z]{2}( \d{4})?", tick) for tick in ticks)
    expect(page.locator("#simulated")).to_be_visible()
    expect(page.locator("#legend-left h2")).to_have_text("SOS50, main season 2018: date (network)")
    expect(page.locator("#cameras")).to_contain_text("A camera and where it looks")


def test_a_click_opens_the_series_of_that_pixel(viewed_map, look):
    row, col = dated(viewed_map, "deepcrop/sos50")
    page = look(f"#{at(viewed_map, row, col)}")
    with page.expect_response(re.compile("api/series")) as answered:
        page.locator("#map-left").click()
    expect(page.locator("#panel .facts").first).to_contain_text(f"row {row}, column {col}")
    expect(page.locator("#panel .simulated")).to_be_visible()
    for stage, colour in STAGE_COLOURS.items():  # the palette reaches the page
        dot = page.locator(f"#panel .dot.{stage}").first
        shown = dot.evaluate("element => getComputedStyle(element).backgroundColor")
        rgb = tuple(int(colour[k : k + 2], 16) for k in (1, 3, 5))
        assert tuple(map(int, re.findall(r"\d+", shown))) == rgb
    optical = viewed_map.cube["optical"].to_dataset().isel(y=row, x=col)
    ndvi = indices.ndvi_of(optical["nir"].values, optical["red"].values)
    track = next(one for one in answered.value.json() if one["name"] == "ndvi")
    np.testing.assert_allclose(np.array(track["values"], float), ndvi, atol=1e-5)
    spreads = page.locator(".spread")
    spreads.first.wait_for()
    chart = page.locator("svg.chart").first
    clear, seen = int(np.isfinite(ndvi).sum()), optical["scl"].values != 0
    assert chart.locator("circle.seen-ndvi").count() == clear
    assert chart.locator("path.masked").count() == int((seen & ~np.isfinite(ndvi)).sum())
    assert chart.locator("path.unseen").count() == int((~seen).sum())
    assert chart.locator("path.line.curve").count() == 1
    scenes = viewed_map.cube["sar"].sizes["time"]
    for name in ("vv", "vh"):
        assert page.locator(f"circle.seen-{name}").count() == scenes
    assert spreads.count() >= 5
    cells = page.locator("#panel table").first.locator("tr", has_text="SOS50").locator("td")
    day = date(2018, 1, 1) + timedelta(value(viewed_map, "deepcrop/sos50", row, col))
    assert cells.first.text_content().startswith(f"{day.day} {day:%b}")
    true = int(viewed_map.cube["truth"]["sos50"].values[0, row, col])
    when = date(2018, 1, 1) + timedelta(true)
    expect(cells.last).to_have_text("none" if true == stages.NO_DAY else f"{when.day} {when:%b}")
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.startswith("SIMULATED_")
    rows = list(csv.DictReader(download.value.path().read_text().splitlines()))
    assert sum(one["variable"] == "ndvi" and one["value"] != "" for one in rows) == clear
    # The pointer over a chart reads the nearest observations.
    chart.hover()
    expect(page.locator(".reading")).to_contain_text("NDVI")
    page.get_by_role("button", name="Close the pixel").click()
    expect(page.locator("#panel")).to_be_hidden()


def test_a_camera_is_a_button_that_opens_its_greenness(viewed_map, look):
    page = look()
    page.locator("#map-left .camera").first.press("Enter")
    expect(page.locator("#panel .facts").first).to_contain_text("in view of simulated camera")
    page.locator("circle.seen-camera").first.wait_for()
    days = viewed_map.cameras[0].days
    assert page.locator("circle.seen-camera").count() > 0.8 * days.size
    # The page of its field.
    page.locator("#panel button.field").click()
    number = viewed_map.cameras[0].field
    expect(page.locator("#panel h2")).to_have_text(f"Field {number}")
    pixels = int((viewed_map.cube["landcover"]["field_id"].values == number).sum())
    expect(page.locator("#panel .facts").first).to_contain_text(f"{pixels:,} pixels")
    page.locator("path.bar.seen-ndvi").first.wait_for(state="attached")
    page.wait_for_url(re.compile("field="))
    page.locator("#click-field").check()
    page.locator("#map-left .camera").last.press("Enter")  # a camera opens its pixel all the same
    expect(page.locator("#panel .charts")).to_be_visible()
    expect(page.locator("#panel button.field")).to_be_visible()


def test_swipe_between_two_layers(viewed_map, look):
    row, col = dated(viewed_map, "deepcrop/sos50")
    key = "deepcrop/sos50"
    ours = painted(viewed_map, key, value(viewed_map, key, row, col))
    width = painted(viewed_map, key + "_width", value(viewed_map, key + "_width", row, col))
    page = look(f"#{at(viewed_map, row, col)}")
    turns_to(page, ours)
    page.locator("#swipe").check()
    expect(page.locator("#variable-right")).to_have_value("curve-day")
    page.locator("#variable-right").select_option("deepcrop-width")
    divider = page.locator("#divider")
    box, map_ = divider.bounding_box(), page.locator("#map-left").bounding_box()
    page.mouse.move(box["x"] + 2, box["y"] + 40)
    page.mouse.down()
    page.mouse.move(map_["x"] + 0.8 * map_["width"], box["y"] + 60, steps=4)
    page.mouse.up()
    turns_to(page, ours)  # the middle is left of the border
    assert divider.get_attribute("aria-valuenow") == "80"
    divider.focus()
    for _ in range(9):
        page.keyboard.press("ArrowLeft")
    assert divider.get_attribute("aria-valuenow") == "35"
    turns_to(page, width)
    expect(page.locator("#legend-right")).to_contain_text("interval width")
    # Both halves move together.
    page.locator("#map-right canvas").focus()
    page.keyboard.press("ArrowDown")
    south = viewed_map.pixel(row, col)["lat"] - 1e-4
    page.wait_for_url(lambda url: float(re.search(r"map=[\d.]+/([-\d.]+)", url)[1]) < south)


def test_the_date_filter_shows_only_pixels_greened_up_by_a_date(viewed_map, look):
    row, col = dated(viewed_map, "deepcrop/sos50")
    key = "deepcrop/sos50"
    day = value(viewed_map, key, row, col)
    page = look(f"#{at(viewed_map, row, col)}&left=deepcrop-day@sos50/1")
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.locator("#day-on").check()
    expect(page.locator("#day-label")).to_have_text("Show only pixels greened up by this date")
    slider = page.locator("#day")
    assert (int(slider.get_attribute("min")), int(slider.get_attribute("max"))) == tuple(
        viewed_map.legend(key)["range"]
    )
    slider.fill(str(day - 1))
    turns_to(page, GROUND)
    slider.fill(str(day))
    turns_to(page, painted(viewed_map, key, day))
    when = date(2018, 1, 1) + timedelta(day)
    expect(page.locator("#day-text")).to_have_text(f"greened up by {when.day} {when:%b %Y}")
    assert not [url for url in asked if "/tiles/" in url]  # loaded tiles are coloured again
    slider.fill(slider.get_attribute("min"))
    page.locator("#play").click()
    expect(page.locator("#play")).to_have_attribute("aria-pressed", "true")
    page.wait_for_timeout(600)
    assert int(slider.input_value()) > int(slider.get_attribute("min"))
    page.locator("#play").click()


def test_images_and_opacity(viewed_map, look):
    row, col = dated(viewed_map, "deepcrop/sos50")
    dates = viewed_map.images.describe()["dates"]
    red = viewed_map.cube["optical"]["red"].values[:, row, col]
    k = next(k for k in range(40, len(dates)) if np.isfinite(red[k]))
    page = look(f"#{at(viewed_map, row, col)}")
    page.locator("#renderings input[value=true]").check()
    page.locator("#date").select_option(dates[k]["time"])
    expect(page.locator("#opacity-text")).to_have_text("0 %")  # the layer gives way
    expect(page.locator("#image-hint")).to_contain_text("raise its opacity")
    chunk = viewed_map.images._render_chunk("true", k, 0, 0)[row, col, :3]
    turns_to(page, tuple(map(int, chunk)))
    page.locator("#renderings input[value=ndvi]").check()
    chunk = viewed_map.images._render_chunk("ndvi", k, 0, 0)[row, col, :3]
    turns_to(page, tuple(map(int, chunk)))
    page.locator("#opacity").fill("50")
    top = painted(viewed_map, "deepcrop/sos50", value(viewed_map, "deepcrop/sos50", row, col))
    turns_to(page, tuple((np.array(top) + chunk) // 2), tolerance=4)
    page.locator("#date-on").click()
    assert page.locator("#date").input_value() == dates[k + 1]["time"]
    page.locator("#opacity").fill("100")
    page.locator("#renderings input[value=none]").check()
    page.locator("#renderings input[value=true]").check()
    page.locator("#renderings input[value=none]").check()
    expect(page.locator("#opacity-text")).to_have_text("100 %")  # and comes back


def test_a_link_carries_the_state(viewed_map, look):
    row, col = dated(viewed_map, "deepcrop/sos50")
    time = viewed_map.images.describe()["dates"][50]["time"]
    pixel = viewed_map.pixel(row, col)
    link = (
        f"#{at(viewed_map, row, col)}&left=curve-day@eos50/1&right=deepcrop-percent@eos50/1"
        f"&split=0.3&opacity=70&day=2018-09-01&back=ndvi@{time}&pixel={pixel['lon']},{pixel['lat']}"
    )

    def state(page):
        page.locator(".spread").first.wait_for()
        page.wait_for_timeout(300)
        checked = page.locator("input:checked").evaluate_all("all => all.map(one => one.value)")
        selects = page.locator("select").evaluate_all("all => all.map(one => one.value)")
        ranges = page.locator("input[type=range]").evaluate_all("all => all.map(one => one.value)")
        facts = page.locator("#panel .facts").first.text_content()
        return checked, selects, ranges, facts, page.locator("#divider").get_attribute("style")

    first = look(link)
    before = state(first)
    assert before[1][:3] == ["curve-day", "deepcrop-percent", time]
    assert f"row {row}, column {col}" in before[3]
    assert "left: 30%" in before[4]
    assert "left=curve-day@eos50/1" in first.url
    assert "day=2018-09-01" in first.url
    again = look(first.url[first.url.index("#") :])
    assert state(again) == before
    assert again.url == first.url


def test_bad_links_give_the_usual_map(look):
    page = look("#map=a/b&left=nothing@x/9&right=&split=7&opacity=-3&day=soon&back=x@y&pixel=1")
    expect(page.locator("#variable-left")).to_have_value("deepcrop-day")
    expect(page.locator("#panel")).to_be_hidden()
    away = look("#pixel=10,50")
    expect(away.locator("#toast")).to_have_text("This place is outside the map.")


def test_by_keyboard_alone(viewed_map, look):
    row, col = dated(viewed_map, "deepcrop/sos50")
    page = look(f"#{at(viewed_map, row, col)}")
    for _ in range(30):
        page.keyboard.press("Tab")
        if page.evaluate("() => document.activeElement.tagName") == "CANVAS":
            break
    expect(page.locator("#crosshair")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.locator("#panel")).to_be_focused()
    expect(page.locator("#panel .facts").first).to_contain_text(f"row {row}, column {col}")
    charts = page.locator(".charts")
    page.locator("svg.chart").first.wait_for()
    charts.focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".reading")).to_contain_text("NDVI")
    page.keyboard.press("Escape")
    expect(page.locator("#panel")).to_be_hidden()
    expect(page.locator("#map-left canvas")).to_be_focused()
    page.keyboard.press("s")
    expect(page.locator("#divider")).to_be_visible()
    page.keyboard.press("d")
    expect(page.locator("#day-row")).to_be_visible()
    page.keyboard.press("b")
    expect(page.locator("#renderings input[value=true]")).to_be_checked()
    page.keyboard.press("?")
    expect(page.locator("#help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#help")).to_be_hidden()


def test_on_a_phone(viewed_map, look):
    row, col = dated(viewed_map, "deepcrop/sos50")
    page = look(f"#{at(viewed_map, row, col)}", 375, 700, has_touch=True, is_mobile=True)
    assert page.evaluate("() => document.documentElement.scrollWidth") == 375
    expect(page.locator("#controls")).to_be_hidden()
    page.locator("#show-controls").tap()
    expect(page.locator("#variable-left")).to_be_visible()
    for control in page.locator(
        "#controls select:visible, .segments span:visible, nav button"
    ).all():
        assert control.bounding_box()["height"] >= 38
    page.locator("#show-controls").tap()
    expect(page.locator("#controls")).to_be_hidden()
    box = page.locator("#map-left").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.locator(".spread").first.wait_for()  # the last of the charts: none is drawn again
    panel = page.locator("#panel").bounding_box()
    assert panel["width"] == 375
    assert panel["y"] > box["y"] + 0.3 * box["height"]  # the map is still to be seen
    chart = page.locator("svg.chart").first.bounding_box()
    assert chart["x"] >= 0
    assert chart["x"] + chart["width"] <= 375
    assert page.evaluate("() => document.documentElement.scrollWidth") == 375


def shares(picture, colours, tolerance=6):
    """Share of the pixels of a picture that have each colour."""
    pixels = np.asarray(picture.convert("RGB")).reshape(-1, 3).astype(int)
    return [float((np.abs(pixels - one).max(axis=1) <= tolerance).mean()) for one in colours]


def test_forecasts_are_hatched_and_what_is_not_known_is_dotted(season, look):
    page = look("#left=deepcrop-day@eos50/1&issue=2018-06-15")
    expect(page.locator("#known")).to_have_text("As known on 15 Jun 2018")
    expect(page.locator("#credit")).to_have_text("© Made up")
    states = page.locator("#legend-left .states li")
    expect(states).to_have_text(["forecast 50 %", "not yet known 50 %"])
    box = page.locator("#map-left").bounding_box()
    left, right = box["x"] + 0.3 * box["width"], box["x"] + 0.7 * box["width"]
    middle = box["y"] + 0.4 * box["height"]

    def drawn(x):
        clip = {"x": x - 24, "y": middle - 24, "width": 48, "height": 48}
        return Image.open(io.BytesIO(page.screenshot(clip=clip)))

    palette = page.evaluate("async () => (await (await fetch('api/result')).json()).palettes.eos")
    low, high = page.evaluate(
        "async () => (await (await fetch('api/legend/deepcrop/eos50')).json()).range"
    )
    k = 6 * int(255 * (DAYS["eos50"] - 4 - low) / (high - low) + 0.5)
    full = np.array([int(palette[k + i : k + i + 2], 16) for i in (0, 2, 4)])
    pale = 255 - (255 - full) * 0.3
    end = monotonic() + PATIENCE
    while min(shares(drawn(left), (full, pale), 30)) < 0.2:  # half each, but for blurred edges
        assert monotonic() < end
    dots, ground = shares(drawn(right), ((109, 118, 111), GROUND), 12)
    assert 0.01 < dots < 0.2
    assert ground == 0  # the basemap is below
    page.mouse.move(left, middle)
    when = date(2018, 1, 1) + timedelta(DAYS["eos50"] - 4)
    expect(page.locator("#readout")).to_have_text(f"{when.day} {when:%b %Y} (forecast)")
    page.mouse.move(right, middle)
    expect(page.locator("#readout")).to_have_text("not yet known")
    page.mouse.click(left, middle)
    row = page.locator("#panel table").first.locator("tr", has_text="EOS50")
    expect(row.locator("td").first).to_contain_text("forecast")
    expect(row.locator(".dot.open")).to_have_count(1)
    first = page.locator("#panel table").first.locator("tr", has_text="SOS50")
    expect(first.locator("td").first).not_to_contain_text("forecast")
    page.keyboard.press("Escape")  # the map has its whole width again
    expect(page.locator("#panel")).to_be_hidden()
    page.wait_for_function(  # a click on a map that is about to be resized can be lost
        "() => document.querySelector('#map-left canvas').clientWidth"
        " === document.querySelector('#map-left').clientWidth"
    )
    page.mouse.click(right, middle)
    expect(row.locator("td").first).to_have_text("not yet known")
    # The slider keeps layer and pixel.
    page.locator("#issue").fill("2")
    expect(page.locator("#issue-text")).to_have_text("15 Jul 2018 (3 of 3)")
    page.wait_for_url(re.compile("left=deepcrop-day@eos50/1.*pixel=.*issue=2018-07-15"))
    expect(row.locator("td").first).to_have_text("not yet known")
    page.locator("#issue-back").click()
    expect(page.locator("#known")).to_have_text("As known on 15 Jun 2018")
    with page.expect_download() as download:
        page.locator("#picture").click()
    assert download.value.suggested_filename == (
        "SIMULATED_deepcrop_two_fields_EOS50_main_season_2018_date_network_as_known_on_"
        "2018-06-15.png"
    )
    picture = Image.open(download.value.path())
    box = page.locator("#view").bounding_box()
    assert picture.size == (round(box["width"]), round(box["height"]) + 62)
    head = picture.crop((0, 0, picture.width, 62))
    assert shares(head, ((165, 15, 21),))[0] > 0.03  # the mark of simulated data
    assert min(shares(picture, (full, pale, (109, 118, 111)), 12)) > 0.005


def test_places_are_found_and_areas_drawn(season, look):
    page = look("#issue=2018-06-15&left=curve-day@sos50/1")
    for text, words in (("0, 0", "is outside the map"), ("field 7", "'field 7' is no place")):
        page.locator("#place").fill(text)
        page.locator("#place").press("Enter")
        expect(page.locator("#toast")).to_contain_text(words)
    page.locator("#place").fill("500095 4600125")
    page.locator("#place").press("Enter")
    expect(page.locator("#panel .facts").first).to_contain_text("row 11, column 9")
    box = page.locator("#map-left").bounding_box()
    corners = [
        (box["x"] + x * box["width"], box["y"] + y * box["height"])
        for x, y in ((0.4, 0.3), (0.6, 0.3), (0.6, 0.6), (0.4, 0.6))
    ]
    page.locator("#draw").click()
    for corner in corners:
        page.mouse.click(*corner)
    page.keyboard.press("Escape")  # stops
    expect(page.locator("#draw")).to_have_text("Draw an area")
    expect(page.locator("#panel h2")).to_have_text("Maize")
    page.locator("#draw").click()
    for corner in corners:
        page.mouse.click(*corner)
    expect(page.locator("#draw")).to_have_text("Finish the area")
    page.mouse.click(*corners[0])
    expect(page.locator("#panel h2")).to_have_text("Drawn area")
    expect(page.locator("#panel .facts").first).to_contain_text("pixels")
    cells = page.locator("#panel table").first.locator("tr", has_text="EOS50").locator("td")
    expect(cells.last).to_contain_text("forecast")
    page.wait_for_url(re.compile("area="))
    link = page.url
    page.reload()
    expect(page.locator("#panel h2")).to_have_text("Drawn area")
    assert page.url == link
