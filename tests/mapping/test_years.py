"""Several years in one run: a map of each year, means and anomalies, and how it resumes."""

import json
from xml.etree import ElementTree as ET

import numpy as np
import pytest
import rasterio
import xarray as xr
from tests.helpers.cubes import season_cube
from tests.helpers.maps import read
from typer.testing import CliRunner

from deepcrop.cli import app
from deepcrop.cube.io import save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.mapping import years as map_of_years
from deepcrop.mapping.years import map_years
from deepcrop.products.results import open_result
from deepcrop.stages import NO_DAY

LATER = {2017: 0, 2018: 6, 2019: -3}
"""Days by which the seasons of a year rise later."""
FAST = {"pictures": False, "fractions": (0.5,), "seasons": 1}


@pytest.fixture(scope="module")
def cube(tmp_path_factory):
    """Three years, of which column 1 lacks the last, column 2 the last two and column 3 all."""
    parts = [season_cube(rows=2, cols=5, shift=shift, year=year) for year, shift in LATER.items()]
    series = []
    for year, part in zip(LATER, parts, strict=True):
        optical = part["optical"].to_dataset()
        optical = optical.sel(time=optical["time"].dt.year == year)
        for column, last in ((1, 2018), (2, 2017), (3, 2016)):
            if year > last:
                optical["red"].values[:, :, column] = np.nan
        series.append(optical)
    parts[0]["optical"] = xr.concat(series, "time", data_vars="all", combine_attrs="override")
    path = tmp_path_factory.mktemp("years") / "cube.zarr"
    save_cube(parts[0], path)
    return path


@pytest.fixture(scope="module")
def mapped(cube):
    return map_years(cube, 2017, 2019, cube.with_name("maps"), **FAST)


@pytest.mark.slow
def test_each_year_has_its_map(mapped):
    days = {year: read(mapped.path / str(year) / "sos50.tif")[1] for year in LATER}
    for year, later in LATER.items():
        assert abs(days[year][0] - (120 + later)) <= 2
        assert open_result(mapped.path / str(year)).year == year
    assert days[2019][1] == NO_DAY


def test_a_folder_of_several_years_is_no_map(mapped):
    with pytest.raises(DeepCropError, match=r"maps of several years; give one of them.*2017"):
        open_result(mapped.path)


def test_the_stack_has_mean_number_of_years_and_anomalies(mapped):
    stack = mapped.path / "stack"
    days = np.stack([read(mapped.path / str(year) / "sos50.tif")[1] for year in LATER]).astype(
        float
    )
    days[days == NO_DAY] = np.nan
    assert read(stack / "sos50_years.tif").tolist() == [[0] * 5, [3, 2, 1, 0, 3]]
    mean = read(stack / "sos50_mean.tif")
    assert (mean[0] == NO_DAY).all()
    assert mean[1, 0] == np.floor(days[:, 0].mean() + 0.5)
    assert mean[1, 1] == np.floor(days[:2, 1].mean() + 0.5)
    assert mean[1, 2:4].tolist() == [NO_DAY, NO_DAY]  # one year has no mean
    for k, year in enumerate(LATER):
        anomaly = read(stack / f"sos50_anomaly_{year}.tif")
        assert anomaly[1, 4] == np.floor(days[k, 4] - days[:, 4].mean() + 0.5)
        assert anomaly[1, 2] == NO_DAY
    assert read(stack / "sos50_anomaly_2019.tif")[1, 1] == NO_DAY
    with rasterio.open(stack / "sos50_mean.tif") as file:
        assert file.tags()["years"] == "2017 2018 2019"
        assert file.descriptions == ("start of season, 50 % of amplitude, mean of 2017 to 2019",)
    assert "05-" in (stack / "sos50_mean.qml").read_text()
    assert "no difference" in (stack / "sos50_anomaly_2018.qml").read_text()


def test_the_stack_has_a_qgis_project_whose_anomalies_have_their_years(mapped):
    stack = mapped.path / "stack"
    root = ET.parse(stack / "map.qgs").getroot()
    layers = {one.findtext("datasource"): one for one in root.findall("projectlayers/maplayer")}
    assert set(layers) == {f"./{path.name}" for path in stack.glob("*.tif")}
    assert root.findtext("title").endswith(", 2017 to 2019")
    for year in LATER:
        time = layers[f"./sos50_anomaly_{year}.tif"].find("temporal/fixedRange")
        assert time.findtext("start") == f"{year}-01-01T00:00:00Z"
    assert layers["./sos50_mean.tif"].find("temporal") is None
    groups = [group.get("name") for group in root.iter("layer-tree-group") if group.get("name")]
    assert groups[1:] == [
        "Means", "Number of years", "Anomalies, 2017", "Anomalies, 2018", "Anomalies, 2019",
    ]  # fmt: skip
    nodes = root.iter("layer-tree-layer")
    assert [n.get("source") for n in nodes if n.get("checked") == "Qt::Checked"] == [
        "./sos50_mean.tif"
    ]


def test_the_summary_has_medians(mapped):
    numbers = mapped.summary["maps"]["curve"]["sos50"]
    assert numbers["pixels"] == 3
    assert numbers["median_mean_date"].startswith("05-0")
    medians = numbers["median_anomaly"]
    assert medians["2018"] > medians["2017"] > medians["2019"]
    assert set(mapped.summary["maps"]["curve"]) == {"sos50", "peak", "eos50"}


@pytest.mark.slow
def test_an_interrupted_run_maps_no_year_twice(cube, mapped, tmp_path, monkeypatch):
    out, made = tmp_path / "maps", []
    write_map = map_of_years.write_map

    def stopped(path, year, *rest, **more):
        if year == 2019 and len(made) < 3:
            made.append(0)
            raise KeyboardInterrupt
        made.append(year)
        return write_map(path, year, *rest, **more)

    monkeypatch.setattr(map_of_years, "write_map", stopped)
    with pytest.raises(KeyboardInterrupt):
        map_years(cube, 2017, 2019, out, **FAST)
    assert not out.exists()
    result = map_years(cube, 2017, 2019, out, **FAST)
    assert made == [2017, 2018, 0, 2019]
    assert result.summary == mapped.summary
    for name in ("2018/eos50.tif", "stack/eos50_anomaly_2017.tif"):
        assert (out / name).read_bytes() == (mapped.path / name).read_bytes()
    with pytest.raises(DeepCropError, match="exists"):
        map_years(cube, 2017, 2019, out, **FAST)


def test_years_that_cannot_be_mapped_are_refused_at_once(cube, tmp_path):
    with pytest.raises(CubeError, match=r"no image of 2021, 2022: its images run from 2017-01"):
        map_years(cube, 2018, 2022, tmp_path / "maps")
    with pytest.raises(DeepCropError, match="1 years: expected the first and the last"):
        map_years(cube, 2018, 2018, tmp_path / "maps")
    assert list(tmp_path.iterdir()) == []


def test_the_command_tells_anomalies_and_refuses_what_is_no_range(cube, tmp_path):
    command = ["map", str(cube), "--out", str(tmp_path / "maps")]
    for years, words in (("2018", "no range of years"), ("2019-2017", "no range of years")):
        run = CliRunner().invoke(app, [*command, "--years", years])
        assert words in f"{run.output} {run.exception}"
    for more in ([], ["--year", "2018", "--years", "2017-2018"]):
        run = CliRunner().invoke(app, [*command, *more])
        assert run.exit_code == 2
        assert "either one year or --years" in run.output
    run = CliRunner().invoke(app, [*command, "--years", "2017-2018", "--dry-run"])
    assert run.output.startswith("2 years, each of them:")
    assert json.loads((cube / "zarr.json").read_text())  # and nothing was written
    assert not (tmp_path / "maps").exists()
