import calendar
import csv
from datetime import date, datetime
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.camera_images import write_jpeg, write_mask

from deepcrop.errors import DeepCropError
from deepcrop.sources.phenocam.image_greenness import (
    ImageColour,
    Limits,
    Region,
    middle_day,
    solar_elevation,
    summarize_folder,
    summary_rows,
)
from deepcrop.sources.phenocam.roi_masks import read_mask, read_masks, region_name
from deepcrop.sources.phenocam.summary_files import COLUMNS, GREENNESS, read_series

FIELD = Region("field", "AG", 1000, 41.1649, -96.4701, -6, 362)


@pytest.fixture
def mask(tmp_path):
    return write_mask(tmp_path / "field_AG_1000_01.tif")


def rows_of(path):
    with path.open() as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


@pytest.mark.parametrize(
    ("utc", "latitude", "longitude", "degrees"),
    [
        # PhenoCam alligatorriver, 6 May 2012, from the network's description of its files.
        ("2012-05-06T12:30:32", 35.7879, -75.9038, 27.85044),
        ("2012-05-06T13:00:31", 35.7879, -75.9038, 33.92559),
        ("2012-05-06T13:30:31", 35.7879, -75.9038, 39.97727),
        ("2012-05-06T14:00:31", 35.7879, -75.9038, 45.95232),
        # Meeus, example 25.a: declination -7.78507 degrees; overhead there at the sun's noon.
        ("1992-10-13T00:00:00", -7.78507, 176.572, 89.9),
        # The pole at midsummer: the tilt of the axis, and refraction of about 0.04 degrees.
        ("2020-06-20T21:44:00", 90.0, 0.0, 23.437 + 0.038),
    ],
)
def test_height_of_the_sun(utc, latitude, longitude, degrees):
    tolerance = 0.12 if degrees > 89 else 0.01
    found = solar_elevation(np.datetime64(utc), latitude, longitude)
    assert found == pytest.approx(degrees, abs=tolerance)


def test_sunrise_and_night():
    """Boulder, Colorado, 21 June 2020: sunrise 5:32 by the almanac, when the disc's edge shows."""
    times = np.array(["2020-06-21T11:32", "2020-06-21T07:00"], "datetime64[m]")
    rise, night = solar_elevation(times, 40.015, -105.27)
    assert rise == pytest.approx(-0.27, abs=0.1)  # its centre is lower by its radius
    assert night == pytest.approx(40.015 + 23.44 - 90, abs=0.05)  # lowest at midnight


@pytest.mark.parametrize(
    ("day", "middle"),
    [
        ("2019-01-01", "2018-12-31"),
        ("2019-01-02", "2019-01-02"),
        ("2019-01-03", "2019-01-02"),
        ("2019-01-04", "2019-01-05"),
        ("2019-12-29", "2019-12-28"),
        ("2019-12-30", "2019-12-31"),
        ("2020-01-01", "2019-12-31"),
        ("2020-12-31", "2020-12-30"),
        ("2021-01-01", "2021-01-02"),  # a leap year divides by three
    ],
)
def test_three_day_periods(day, middle):
    assert middle_day(date.fromisoformat(day), 3) == date.fromisoformat(middle)
    assert middle_day(date.fromisoformat(day), 1) == date.fromisoformat(day)


def test_three_day_periods_are_the_networks(real_data):
    """Every observed date is the middle of a period; 1 January after a common year is elsewhere."""
    ratios = {False: [], True: []}
    for path in sorted((real_data / "phenocam/series").glob("*.csv"))[::6]:
        counts = {
            date.fromisoformat(row["date"]): float(row["image_count"])
            for row in rows_of(path)
            if row["image_count"] not in ("NA", "")
        }
        assert counts
        assert all(middle_day(day, 3) == day for day in counts)
        for year in range(2010, 2025):
            first, second = counts.get(date(year, 1, 2)), counts.get(date(year, 1, 5))
            if first and second:
                ratios[calendar.isleap(year - 1)].append(first / second)
    assert np.median(ratios[False]) == pytest.approx(2 / 3, abs=0.1)
    assert np.median(ratios[True]) == pytest.approx(1, abs=0.1)


def test_golden_arithmetic():
    """Colours with sum 200, so that GCC is green / 200; percentiles interpolate linearly."""
    shots = [
        ("field_2020_06_02_110000.jpg", 70),  # 0.35
        ("field_2020_06_03_121000.jpg", 74),  # 0.37
        ("field_2020_06_03_115500.jpg", 78),  # 0.39, nearest to noon of the middle day
        ("field_2020_06_04_120000.jpg", 90),  # 0.45
        ("field_2020_06_10_120000.jpg", 80),
    ]
    images = [
        ImageColour(
            Path(name),
            datetime.strptime(name, "field_%Y_%m_%d_%H%M%S.jpg"),
            elevation=50.0 + k,
            red=60.0,
            green=float(green),
            blue=140.0 - green,
        )
        for k, (name, green) in enumerate(shots)
    ]
    row, empty, single = summary_rows(images, 3)
    assert (row["date"], row["year"], row["doy"]) == (date(2020, 6, 3), 2020, 155)
    assert (row["image_count"], row["midday_filename"]) == (4, "field_2020_06_03_115500.jpg")
    expected = {
        "midday_r": 60,
        "midday_g": 78,
        "midday_b": 62,
        "midday_gcc": 0.39,
        "midday_rcc": 0.30,
        "r_mean": 60,
        "r_std": 0,
        "g_mean": 78,
        "g_std": 56**0.5,  # (64 + 16 + 0 + 144) / 4
        "b_mean": 62,
        "gcc_mean": 0.39,
        "gcc_std": 14e-4**0.5,
        "gcc_50": 0.38,
        "gcc_75": 0.39 + 0.25 * 0.06,
        "gcc_90": 0.39 + 0.70 * 0.06,
        "rcc_mean": 0.30,
        "rcc_90": 0.30,
        "max_solar_elev": 53,
    }
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert set(row) <= set(COLUMNS)
    assert empty == {"date": date(2020, 6, 6), "year": 2020, "doy": 158, "image_count": 0}
    assert single["gcc_std"] == 0
    assert single["gcc_mean"] == single["gcc_50"] == single["gcc_90"] == pytest.approx(0.4)
    daily = list(summary_rows(images, 1))
    assert [row["image_count"] for row in daily] == [1, 2, 1, 0, 0, 0, 0, 0, 1]
    assert daily[1]["gcc_75"] == pytest.approx(0.385)


def test_mask_is_black_inside(mask, tmp_path):
    inside = read_mask(mask)
    assert inside.shape == (48, 64)
    assert inside[32:].all()
    assert not inside[:32].any()
    Image.open(mask).convert("1").save(tmp_path / "bits.png")
    Image.open(mask).convert("RGB").save(tmp_path / "colour.png")
    for name in ("bits.png", "colour.png"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), inside)
    Image.new("L", (8, 8), 255).save(tmp_path / "white.png")
    with pytest.raises(DeepCropError, match="nothing is black"):
        read_mask(tmp_path / "white.png")
    (tmp_path / "text.tif").write_text("no picture")
    for wrong in ("text.tif", "absent.tif"):
        with pytest.raises(DeepCropError, match=rf"{wrong}.*mask, black inside"):
            read_mask(tmp_path / wrong)


def test_a_folder_becomes_a_summary_file(mask, tmp_path):
    shots = {
        "field_2020_06_02_120005": (90, 100, 60),  # GCC 0.40
        "field_2020_06_03_080005": (90, 105, 55),  # 0.42
        "field_2020_06_03_120005": (90, 110, 50),  # 0.44
        "field_2020_06_03_160005": (90, 115, 45),  # 0.46
        "field_2020_06_09_120005": (90, 95, 65),  # 0.38
    }
    for name, colour in shots.items():
        write_jpeg(tmp_path / "images" / name[6:10] / name[11:13], name, colour)
    (tmp_path / "images/field_2020_06_02_120005.meta").write_text("exposure=20")
    run = summarize_folder(tmp_path / "images", mask, FIELD, tmp_path)
    assert run.skipped == ()
    assert run.series.name == "field_AG_1000_3day.csv"
    lines = run.series.read_text().splitlines()
    assert sum(line.startswith("#") for line in lines) == 22
    assert lines[22] == ",".join(COLUMNS)

    series = read_series(run.series, GREENNESS)
    assert (series.name, series.period, series.elevation) == ("field_AG_1000", 3, 362)
    assert (series.latitude, series.longitude, series.utc_offset) == (41.1649, -96.4701, -6)
    assert series.date.astype(str).tolist() == ["2020-06-03", "2020-06-06", "2020-06-09"]
    np.testing.assert_array_equal(series.image_count, [4, 0, 1])
    expected = {"gcc_mean": 0.43, "gcc_50": 0.43, "gcc_75": 0.445, "gcc_90": 0.454}
    for column, value in expected.items():
        np.testing.assert_allclose(series.greenness[column], [value, np.nan, 0.38], atol=0.003)
    row = rows_of(run.series)[0]
    assert row["midday_filename"] == "field_2020_06_03_120005.jpg"
    assert float(row["midday_g"]) == pytest.approx(110, abs=1.5)
    assert float(row["max_solar_elev"]) == pytest.approx(70.5, abs=0.5)  # 90 - 41.2 + 22.3, less
    assert row["snow_flag"] == "NA"
    assert rows_of(run.series)[1]["gcc_90"] == "NA"

    daily = summarize_folder(tmp_path / "images", mask, FIELD, tmp_path, period=1)
    series = read_series(daily.series)
    assert series.period == 1
    np.testing.assert_array_equal(series.image_count, [1, 3, 0, 0, 0, 0, 0, 1])


def test_every_skipped_image_is_named_with_the_reason(mask, tmp_path):
    folder, crop = tmp_path / "images", (90, 110, 50)
    write_jpeg(folder, "field_2020_06_02_120005", crop)
    write_jpeg(folder, "field_2020_06_02_020005", crop)
    write_jpeg(folder, "field_2020_06_02_120105", (20, 30, 20))
    write_jpeg(folder, "field_2020_06_02_120205", (230, 240, 230))
    write_jpeg(folder, "field_2020_06_02_120305", crop, size=(32, 24))
    write_jpeg(folder, "field_2020_06_02_120405", crop, mode="L")
    write_jpeg(folder, "field_IR_2020_06_02_120505", crop)
    write_jpeg(folder, "field_2020_13_02_120605", crop)
    write_jpeg(folder, "IMG_1234", crop)
    whole = (folder / "field_2020_06_02_120005.jpg").read_bytes()
    (folder / "field_2020_06_02_120705.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "field_2020_06_02_120805.jpg").write_bytes(b"")
    reasons = {
        "field_2020_06_02_020005.jpg": "sun at -",
        "field_2020_06_02_120105.jpg": "too dark: 7",
        "field_2020_06_02_120205.jpg": "too bright: 70",
        "field_2020_06_02_120305.jpg": "is 32 x 24 pixels, the mask 64 x 48",
        "field_2020_06_02_120405.jpg": "is not in colour (mode L)",
        "field_IR_2020_06_02_120505.jpg": "is of 'field_IR', not 'field'",
        "field_2020_13_02_120605.jpg": "is not called field_YYYY",
        "IMG_1234.jpg": "is not called field_YYYY",
        "field_2020_06_02_120705.jpg": "cannot be read",
        "field_2020_06_02_120805.jpg": "cannot be read",
    }
    run = summarize_folder(folder, mask, FIELD, tmp_path)
    assert {image.path.name for image in run.skipped} == set(reasons)
    for image in run.skipped:
        assert image.fault.startswith(reasons[image.path.name])
    np.testing.assert_array_equal(read_series(run.series).image_count, [1])
    with run.table.open() as file:
        table = {row["filename"]: row for row in csv.DictReader(file)}
    assert len(table) == 11
    assert {name for name, row in table.items() if row["why_not_used"]} == set(reasons)
    good = table["field_2020_06_02_120005.jpg"]
    assert good["local_std_time"] == "2020-06-02 12:00:05"
    assert float(good["gcc"]) == pytest.approx(0.44, abs=0.003)
    assert table["IMG_1234.jpg"]["local_std_time"] == ""


def test_limits_include_their_ends(mask, tmp_path):
    write_jpeg(tmp_path / "images", "field_2020_06_02_120005", (90, 110, 50))
    (image,) = summarize_folder(tmp_path / "images", mask, FIELD, tmp_path).images
    for limits, skipped in (
        (Limits(image.elevation, image.brightness, image.brightness), False),
        (Limits(image.elevation + 0.01), True),
        (Limits(min_brightness=image.brightness + 0.01), True),
        (Limits(max_brightness=image.brightness - 0.01), True),
    ):
        if skipped:
            with pytest.raises(DeepCropError, match="none of 1 images counts"):
                summarize_folder(tmp_path / "images", mask, FIELD, tmp_path, limits=limits)
        else:
            summarize_folder(tmp_path / "images", mask, FIELD, tmp_path, limits=limits)


def test_no_images(mask, tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(DeepCropError, match="no images; expected field_YYYY"):
        summarize_folder(tmp_path / "images", mask, FIELD, tmp_path)
    with pytest.raises(DeepCropError, match="is not a folder"):
        summarize_folder(mask, mask, FIELD, tmp_path)


@pytest.mark.parametrize("place", [(91, 0, 0), (0, -181, 0), (0, 0, 15), (float("nan"), 0, 0)])
def test_a_region_lies_somewhere(place):
    with pytest.raises(DeepCropError, match="expected a number from -"):
        Region("field", "AG", 1000, *place)


# Several masks of one region ------------------------------------------------------------------


def write_list(path, rows):
    head = ["#", "# ROI List for field", "#"]
    head.append("start_date,start_time,end_date,end_time,maskfile,sample_image")
    path.write_text("\n".join([*head, *rows, ""]))
    return path


def test_each_image_is_measured_with_the_mask_of_its_time(mask, tmp_path):
    """The camera was moved on 1 July: afterwards the image is larger, and so is its mask."""
    write_mask(tmp_path / "field_AG_1000_02.tif", (80, 48))
    masks = write_list(
        tmp_path / "field_AG_1000_roi.csv",
        [
            "2020-07-01,12:00:00,9999-12-31,23:59:59,field_AG_1000_02.tif,",
            "2020-06-01,00:00:00,2020-07-01,11:59:59,field_AG_1000_01.tif,a.jpg",
        ],
    )
    folder = tmp_path / "images"
    write_jpeg(folder, "field_2020_05_31_120000", (90, 110, 50))
    write_jpeg(folder, "field_2020_06_30_120000", (90, 110, 50))
    write_jpeg(folder, "field_2020_07_01_115959", (90, 110, 50))
    write_jpeg(folder, "field_2020_07_02_120000", (90, 100, 60), size=(80, 48))
    run = summarize_folder(folder, masks, FIELD, tmp_path, period=1)
    assert [image.fault for image in run.images] == ["no mask is valid at this time", "", "", ""]
    series = read_series(run.series)
    np.testing.assert_allclose(series.greenness["gcc_90"], [0.44, 0.44, 0.40], atol=0.003)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("2020-05-01,00:00:00,2020-06-02,00:00:00,field_AG_1000_01.tif,", "times of two masks"),
        ("2020-13-01,00:00:00,2020-06-02,00:00:00,field_AG_1000_01.tif,", "cannot be read"),
        ("2020-07-01,00:00:00,,,field_AG_1000_01.tif,", "cannot be read"),
        ("2019-07-01,00:00:00,2019-08-01,00:00:00,../field_AG_1000_01.tif,", "beside the list"),
        ("2019-07-01,00:00:00,2019-08-01,00:00:00,field_AG_1000_09.tif,", "No such file"),
    ],
)
def test_lists_of_masks_that_cannot_be_used(mask, tmp_path, row, words):
    good = "2020-06-01,00:00:00,2020-06-30,00:00:00,field_AG_1000_01.tif,"
    masks = write_list(tmp_path / "field_AG_1000_roi.csv", [good, row])
    with pytest.raises(DeepCropError, match=words):
        read_masks(masks)
    masks.write_text("a,b\n1,2\n")
    with pytest.raises(DeepCropError, match="is no list of masks; expected the columns start_date"):
        read_masks(masks)


def test_the_name_of_a_mask_says_what_it_is_of():
    assert region_name(Path("a/NEON.D06.KONA_x_AG_0002_roi.csv")) == ("NEON.D06.KONA_x", "AG", 2)
    assert region_name(Path("mead2_ag_1000_03.PNG")) == ("mead2", "AG", 1000)
    for name in ("mead2.tif", "mead2_AG_1000.tif", "mead2_AG_1000_01.jpg", "mead2_AG_1000.csv"):
        with pytest.raises(DeepCropError, match=r"expected SITE_VEG_NUMBER_INDEX.tif"):
            region_name(Path(name))
