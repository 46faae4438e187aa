from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from tests.helpers.scripts import script_module

from deepcrop.stages import STAGES

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "satellite_camera.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def benchmark():
    with script_module(SCRIPT) as module:
        yield module


def site_year(year, late, first=80, last=340, up=155, down=255) -> pd.DataFrame:
    """Made-up series of a camera, and of a satellite that sees all of it ``late`` days later."""
    days = np.arange(first, last)

    def curve(low, high, shift):
        rise = 1 / (1 + np.exp(-(days - up - shift) / 6))
        return low + (high - low) * rise / (1 + np.exp((days - down - shift) / 6))

    dates = pd.Timestamp(year, 1, 1) + pd.to_timedelta(days, "D")
    return pd.DataFrame(
        {"gcc_mean": curve(0.33, 0.42, 0), "evi": curve(0.1, 0.7, late)}, index=dates
    )


def test_years_and_neighbours_are_one_site(benchmark):
    assert benchmark.site_of("mead1_2021") == benchmark.site_of("mead3_2022") == "mead"
    assert benchmark.site_of("goodwaterbau_2021") == benchmark.site_of("goodwater_2022")
    assert benchmark.site_of("NEON.D06.KONA.DP1.00033_2022").startswith("NEON.D06.KONA")
    assert benchmark.site_of("arscolesnorth_2021") != benchmark.site_of("arsbrooks10_2021")


def test_a_known_lag_is_measured(benchmark):
    found = benchmark.compare(site_year(2021, late=9), "savgol")
    lag = benchmark.lags({"field_2021": found}).loc["field_2021"]
    np.testing.assert_allclose(lag[list(STAGES)], 9, atol=1)
    assert abs((found["camera"]["sos50"] - pd.Timestamp(2021, 6, 5)).days) <= 2


def test_a_date_outside_the_satellites_series_is_not_found(benchmark):
    series = site_year(2021, late=5)
    series.loc[:"2021-06-08", "evi"] = np.nan  # its curve begins within the season
    found = {"field_2021": benchmark.compare(series, "savgol")}
    table = benchmark.scores(found)
    start, end = table["none", "sos50"], table["none", "eos50"]
    assert (start.references, start.detected) == (1, 0)
    assert np.isnan(start.mae)
    assert (end.references, end.detected) == (1, 1)
    assert end.bias == pytest.approx(5, abs=1)


def test_a_satellite_without_the_season_counts_as_not_found(benchmark):
    series = site_year(2021, late=0)
    series["evi"] = 0.2
    found = {"field_2021": benchmark.compare(series, "savgol")}
    assert all(s.references == 1 and s.detected == 0 for s in benchmark.scores(found).values())


def test_the_offset_comes_from_other_sites_alone(benchmark):
    lag = pd.DataFrame(
        {stage: [10.0, 30.0, 4.0, 6.0, 80.0] for stage in STAGES},
        index=["a1_2021", "a2_2022", "b_2021", "c_2021", "d_2021"],
    )
    median, mean = (benchmark.corrected(lag, kind)["sos50"] for kind in ("median", "mean"))
    assert median["a1_2021"] == 10 - 6  # of 4, 6, 80; not of the other camera of a
    assert median["a2_2022"] == 30 - 6
    assert median["b_2021"] == 4 - 20  # of 10, 30, 6, 80
    assert mean["d_2021"] == 80 - 12.5


def test_table_and_rows(benchmark, tmp_path, capsys):
    table = pd.concat(
        site_year(year, late).assign(source_file=f"{site}_{year}")
        for site, year, late in (("p1", 2021, 4), ("p1", 2022, 4), ("q", 2021, 8), ("r", 2022, 8))
    )
    table["date"] = table.index.strftime("%-m/%-d/%Y")
    bad = table[table["source_file"] == "q_2021"].assign(source_file="mandani2_2021")
    folder = tmp_path / "hls_camera"
    folder.mkdir()
    mixed = pd.concat([table, bad]).sample(frac=1, random_state=1)  # as unsorted as the original
    mixed.to_csv(folder / benchmark.FILE.name, index=False)
    benchmark.main([str(tmp_path), "--verbose", "--out", str(tmp_path / "table.md")])
    text = (tmp_path / "table.md").read_text()
    printed = capsys.readouterr().out
    assert text in printed
    assert "4 site-years at 3 sites" in text
    assert "mandani2_2021" in text
    assert "p1_2021" in printed.split("Season dates")[0]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| none")]
    assert [row[1].strip() for row in rows] == list(STAGES)
    for row in rows:
        assert row[2].strip() == "4"
        assert row[3].strip() == "100 %"
        assert float(row[5]) == pytest.approx(6, abs=1)  # mean of 4, 4, 8, 8
    with pytest.raises(SystemExit, match="does not exist"):
        benchmark.main([str(tmp_path / "nowhere")])


@pytest.mark.slow
def test_real_satellites_against_real_cameras(benchmark, real_data):
    series = benchmark.load(real_data / benchmark.FILE)
    assert len(series) == 29
    assert all(table.index.is_monotonic_increasing for table in series.values())
    assert len({benchmark.site_of(name) for name in series}) == 13
    found = {name: benchmark.compare(table, "savgol") for name, table in series.items()}
    result = benchmark.scores(found)
    for stage in STAGES:
        plain, offset = result["none", stage], result["median", stage]
        assert plain.references >= 22
        assert plain.detected >= 0.8
        # What others measured on these cameras and one more year (mean absolute error).
        assert plain.mae < 17
        assert plain.bias > 0  # a field greens later from above than from its edge
        assert offset.mae < 11
        assert offset.median < 6.5
