import time

import numpy as np
import pytest
from tests.helpers.camera_files import HEADER, camera_file, row

from deepcrop.errors import DeepCropError
from deepcrop.sources.phenocam.summary_files import COLUMNS, GREENNESS, read_series, write_series

THREE = [row("2020-01-01"), row("2020-01-02", "NA", "NA"), row("2020-01-03", "0.4", snow="1")]


def test_what_a_file_says(tmp_path):
    rows = [*THREE, row("2020-01-05", "-9999", "", outlier="1", padding="1")]
    series = read_series(camera_file(tmp_path, rows, roi=2))
    assert (series.site, series.veg_type, series.roi) == ("field", "AG", "0002")
    assert series.name == "field_AG_0002"
    assert (series.latitude, series.longitude) == (41.1649, -96.4701)
    assert (series.elevation, series.utc_offset, series.period) == (362, -6, 3)
    assert series.date.astype(str).tolist() == [
        "2020-01-01",
        "2020-01-02",
        "2020-01-03",
        "2020-01-05",
    ]
    nan = np.nan
    np.testing.assert_allclose(series.greenness["gcc_90"], [0.35, nan, 0.4, nan], rtol=1e-6)
    np.testing.assert_array_equal(series.image_count, [40, nan, 40, nan])
    assert series.snow.tolist() == [False, False, True, False]
    assert series.outlier["gcc_90"].tolist() == [False, False, False, True]
    assert series.interpolated.tolist() == [False, False, False, True]
    np.testing.assert_allclose(series.smooth["gcc_90"], 0.36, rtol=1e-6)
    np.testing.assert_allclose(series.max_solar_elev, 50.5)


def test_columns_on_request_and_absent_extras(tmp_path):
    path = camera_file(tmp_path, THREE, period=1)
    series = read_series(path, GREENNESS)
    assert series.period == 1
    assert set(series.greenness) == set(GREENNESS)
    assert not series.outlier["gcc_50"].any()  # the file has no such flag
    assert np.isnan(series.smooth["gcc_50"]).all()
    with pytest.raises(DeepCropError, match="ndvi"):
        read_series(path, ("ndvi",))


def test_windows_line_ends_and_any_number_of_comments(tmp_path):
    path = camera_file(tmp_path, THREE, header="# Remark: none\n# \n" + HEADER)
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_series(path).date.size == 3


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# Site: field", "# Sight: field", ["Site"]),
        ("# Lat: 41.1649", "# Lat: north", ["'north'", "Lat"]),
        ("# Lat: 41.1649", "# Lat: 411", ["latitude 411"]),
        ("# ROI ID Number: 1000\n", "", ["Roi Id Number", "no such line"]),
        ("# Aggregation Period: 3", "# Aggregation Period: 8", ["period of 8 days"]),
        ("date,year", "day,year", ["line 15", "no column date"]),
        ("gcc_90,max", "gcc_91,max", ["line 15", "no column gcc_90"]),
        ("2020-01-02,2020,NA", "2020-01-02,2020,many", ["line 17", "image_count", "'many'"]),
        ("0.4,50.5", "36.2,50.5", ["line 18", "gcc_90 is 36.2", "0 to 1"]),
        ("\n2020-01-02,", "\n2020-13-02,", ["line 17", "2020-13-02", "YYYY-MM-DD"]),
        ("\n2020-01-02,", "\n2020-01-01,", ["line 17", "after the line above"]),
        ("\n2020-01-02,", "\nNaT,", ["line 17", "NaT"]),
        ("50.5,1,0,0.36,NA", "50.5,1", ["line 18", "cut short"]),
    ],
)
def test_a_bad_file_is_named_with_line_and_what_was_expected(tmp_path, old, new, words):
    path = camera_file(tmp_path, THREE)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(DeepCropError) as error:
        read_series(path)
    for word in [path.name, *words]:
        assert word in str(error.value)


@pytest.mark.parametrize("end", ["\n", "\n\n\n", "\n  \n", "\r\n\r\n", ""])
def test_blank_lines_at_the_end_are_no_damage(tmp_path, end):
    path = camera_file(tmp_path, THREE)
    right = read_series(path)
    path.write_bytes(path.read_bytes().rstrip() + end.encode())
    series = read_series(path)
    np.testing.assert_array_equal(series.date, right.date)
    np.testing.assert_array_equal(series.greenness["gcc_90"], right.greenness["gcc_90"])


def test_no_file_no_text_no_rows(tmp_path):
    with pytest.raises(DeepCropError, match=r"none\.csv: No such file"):
        read_series(tmp_path / "none.csv")
    binary = tmp_path / "image.csv"
    binary.write_bytes(b"\xff\xd8\xff\xe0")
    with pytest.raises(DeepCropError, match="not a text file"):
        read_series(binary)
    with pytest.raises(DeepCropError, match="no row"):
        read_series(camera_file(tmp_path, []))
    web = tmp_path / "page.csv"
    web.write_text("<!DOCTYPE html>\n<title>404</title>\n")
    with pytest.raises(DeepCropError, match="Site"):
        read_series(web)


@pytest.mark.slow
def test_all_real_series(real_data):
    paths = sorted((real_data / "phenocam/series").glob("*.csv"))
    assert len(paths) == 109
    observations, seconds = 0, []
    for path in paths:
        start = time.process_time()
        series = read_series(path)
        seconds.append(time.process_time() - start)
        assert path.name == f"{series.name}_{series.period}day.csv"
        seen = np.isfinite(series.greenness["gcc_90"])
        np.testing.assert_array_equal(seen, series.image_count > 0)
        assert (np.diff(series.date) == np.timedelta64(1, "D")).all()
        observations += int(seen.sum())
    assert observations == 70504
    assert np.median(seconds) < 0.6  # 0.1 s here; a shared machine may be slower


def test_written_files_are_read_back(tmp_path):
    path = tmp_path / "field_AG_0002_3day.csv"
    about = {
        "Site": "field",
        "Veg Type": "AG",
        "ROI ID Number": "0002",
        "Lat": 41.1649,
        "Lon": -96.4701,
        "Elev": "",
        "UTC Offset": -6,
        "Aggregation Period": 3,
    }
    rows = [
        {"date": "2020-01-02", "image_count": 12, "gcc_90": 0.4123456, "max_solar_elev": 25.0},
        {"date": "2020-01-05", "image_count": 0, "gcc_90": float("nan")},
    ]
    write_series(path, "3-day summary product time series for field", about, rows)
    series = read_series(path)
    assert series.name == "field_AG_0002"
    assert np.isnan(series.elevation)
    np.testing.assert_allclose(series.greenness["gcc_90"], [0.41235, np.nan], atol=1e-7)
    np.testing.assert_array_equal(series.image_count, [12, 0])
    assert path.read_text().splitlines()[:4] == [
        "#",
        "# 3-day summary product time series for field",
        "#",
        "# Site: field",
    ]
    with pytest.raises(ValueError, match="gcc_91"):
        write_series(path, "", about, [{"date": "2020-01-02", "gcc_91": 0.4}])
    assert read_series(path).date.size == 2  # the failed one left it alone


def test_columns_are_those_of_the_network(real_data):
    for path in (real_data / "phenocam/series").glob("*.csv"):
        with path.open() as file:
            heading = next(line for line in file if not line.startswith("#"))
        assert heading.rstrip().split(",")[: len(COLUMNS)] == list(COLUMNS)
