"""The numbers of docs/ground.md are those of the data."""

import pytest
from tests.helpers.scripts import script_module
from tests.helpers.workspace import ROOT

SCRIPT = ROOT / "benchmarks" / "ground_dates.py"
PAGE = (ROOT / "docs" / "ground.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def ground():
    with script_module(SCRIPT) as module:
        yield module


@pytest.fixture(scope="module")
def data(real_data):
    if not (real_data / "date_tables").is_dir():
        pytest.skip(f"{real_data} has no date_tables")
    return real_data


def test_tables_two_and_three_of_mead_are_of_no_camera(ground, data):
    found = [(camera, year) for camera, year, *_ in ground.contradictions(data)]
    assert found == [(camera, year) for camera in ("mead2", "mead3") for year in (2016, 2018, 2020)]
    assert [ground.largest_difference(data, number) for number in (2, 3)] == [5, 5]


def test_mead1_is_field_one(ground, data):
    pairs = ground.mead_pairs(data)
    assert [pair.year for pair in pairs] == [2018, 2019, 2020, 2021]
    assert {pair.ground.crop for pair in pairs} == {"corn"}
    table = ground.read_mead(data, 1)[2021]
    assert (table.planting, table.harvest) == (116, 291)  # 27 April, 19 October
    for row in ground.summary(pairs):
        assert ground.cells(row) in PAGE


@pytest.mark.slow  # reads 30 site-years with the network's room
def test_lags_of_cameras_whose_images_were_read(ground, data):
    pytest.importorskip("torch")
    rows = ground.summary(ground.watched_pairs(data))
    assert len(rows) == 8
    for row in rows:
        assert ground.cells(row) in PAGE


@pytest.mark.slow
def test_the_wheat_calendar(ground, data):
    names = {"KS": "Kansas", "OK": "Oklahoma", "TX": "Texas", "CO": "Colorado", "NE": "Nebraska"}
    shown = [row for row in ground.wheat_calendar(data) if row[2] >= 7]
    for state, stage, number, *days in shown:
        dates = " | ".join(f"{day.day} {day:%B}" for day in days)
        assert f"| {stage.lower()} | {number} | {dates} |" in PAGE
        assert names[state] in PAGE
    assert len(shown) == 10
