"""What a map by the curve holds when options choose it: fractions, seasons, a rule, measures."""

import csv
import json

import numpy as np
import pytest
import rasterio
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_without_pictures, read
from typer.testing import CliRunner

import deepcrop as dc
from deepcrop import stages
from deepcrop.cli import app
from deepcrop.cube.io import save_cube
from deepcrop.errors import DeepCropError
from deepcrop.evaluation.map_truth import check_fractions
from deepcrop.indices import INDICES
from deepcrop.mapping.options import resolve_options
from deepcrop.phenology import SeasonRule, season_dates
from deepcrop.products import layers
from deepcrop.products.results import open_result
from deepcrop.report import report

FRACTIONS = (0.15, 0.9)
CHOSEN = {"fractions": FRACTIONS, "seasons": 3, "measures": True, "index": "evi2"}
NAMES = ["sos15", "sos90", "peak", "eos90", "eos15"]


def cut_cube():
    """A meadow of four growths: NDVI rises on days 60, 130, 200 and 270, and falls 40 days later.

    The first growth is the strongest, the next ones ever weaker.
    """
    cube = season_cube(rows=6, cols=8)
    optical = cube["optical"].to_dataset()
    days = stages.to_days(optical["time"].values, 2018)[:, None, None]
    ndvi = np.full(optical["red"].shape, 0.2)
    for up, height in ((60, 0.6), (130, 0.5), (200, 0.4), (270, 0.3)):
        ndvi += height / (1 + np.exp(-(days - up) / 4)) / (1 + np.exp((days - up - 40) / 4))
    ndvi[:, 0] = np.nan  # not seen
    optical["nir"].values[:] = 0.05 * (1 + ndvi) / (1 - ndvi)
    optical["red"].values[:] = np.where(np.isnan(ndvi), np.nan, 0.05)
    cube["optical"] = optical
    landcover = cube["landcover"].to_dataset()
    landcover["field_id"] = (("y", "x"), np.full((6, 8), 3, np.uint32))
    cube["landcover"] = landcover
    return cube


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("content")
    save_cube(cut_cube(), path / "cube.zarr")
    return path


@pytest.fixture(scope="module")
def mapped(folder):
    return map_without_pictures(folder / "cube.zarr", 2018, folder / "maps", fields=True, **CHOSEN)


@pytest.fixture(scope="module")
def found():
    """The seasons of one pixel by `season_dates`, the reference."""
    optical = cut_cube()["optical"].to_dataset()
    bands, formula, amplitude = INDICES["evi2"]
    values = formula(*(optical[band].values[:, 3, 4] for band in bands))
    days = stages.to_days(optical["time"].values, 2018)
    rule = SeasonRule(min_amplitude=amplitude)
    return season_dates(values[None], days, fractions=FRACTIONS, rule=rule)


def test_layers_are_named_by_their_fraction_and_season(mapped):
    names = [f"{name}{season}" for season in ("", "_season2", "_season3") for name in NAMES]
    days = [layer.key for layer in open_result(mapped.path).find(kind="day")]
    assert days == names
    assert not (mapped.path / "sos20.tif").exists()
    assert open_result(mapped.path).layers["sos15"].title == (
        "start of season, 15 % of amplitude, season 1"
    )
    assert (read(mapped.path / "n_cycles.tif")[1:] == 4).all()
    assert (read(mapped.path / "qflag.tif")[1:] & layers.MANY_SEASONS > 0).all()


def test_dates_and_measures_are_those_of_the_seasons(mapped, found):
    # Ever weaker in the year, and sunlight is higher at the second growth than at the first.
    order = [int(np.argmin(abs(found.dates[0, :, 2] - day))) for day in (150, 80, 220)]
    for slot, season in enumerate(order):
        for k, name in enumerate(NAMES):
            layer = layers.layer_name(name, slot + 1)
            assert read(mapped.path / f"{layer}.tif")[3, 4] == stages.encode(
                found.dates[0, season, k]
            )
        for name in layers.MEASURES:  # a cube holds reflectance in steps of 0.0001
            with rasterio.open(mapped.path / f"{layers.layer_name(name, slot + 1)}.tif") as file:
                value = file.read(1)[3, 4] * file.scales[0]
                assert file.read(1)[0, 0] == file.nodata == stages.NO_DAY
                assert value == pytest.approx(
                    getattr(found, name)[0, season], abs=5 * file.scales[0]
                )


def test_measures_of_a_known_curve(tmp_path):
    save_cube(season_cube(rows=3, cols=4), tmp_path / "cube.zarr")
    seasons = dc.map_seasons(dc.open_cube(tmp_path / "cube.zarr"), 2018, measures=True)
    days = np.arange(0, 365, 0.1)
    curve = 0.2 + 0.6 / (1 + np.exp(-(days - 122) / 7)) / (1 + np.exp((days - 250) / 7))
    of = {name: float(seasons[name][1, 2]) for name in layers.MEASURES}
    assert of["base"] == pytest.approx(0.2, abs=0.01)
    assert of["maximum"] == pytest.approx(0.8, abs=0.01)
    assert of["amplitude"] == pytest.approx(of["maximum"] - of["base"], abs=2e-4)
    between = (days >= 122 - 7 * np.log(4)) & (days <= 250 + 7 * np.log(4))
    assert of["large_integral"] == pytest.approx(curve[between].sum() * 0.1, rel=0.02)
    assert of["small_integral"] == pytest.approx((curve[between] - 0.2).sum() * 0.1, rel=0.02)
    for rate in ("slope_up", "slope_down"):
        assert of[rate] == pytest.approx(0.6 / 4 / 7, rel=0.15)  # the steepest of a logistic
    assert seasons["small_integral"].attrs["units"] == "d"


def test_maps_without_files_are_the_same(folder, mapped):
    seasons = dc.map_seasons(dc.open_cube(folder / "cube.zarr"), 2018, **CHOSEN)
    assert list(seasons.data_vars)[:15:3] == NAMES
    for name in ("eos15_season3", "base", "slope_down_season3"):
        with rasterio.open(mapped.path / f"{name}.tif") as file:
            stored = np.ma.filled(file.read(1, masked=True) * np.float32(file.scales[0]), np.nan)
        np.testing.assert_allclose(seasons[name], stored, rtol=1e-6)


def test_what_is_said_of_a_map_knows_its_content(mapped):
    source = mapped.summary["source"]
    assert (source["fractions"], source["seasons"], source["measures"]) == ([0.15, 0.9], 3, 1)
    numbers = mapped.summary["maps"]["curve"]
    assert list(numbers["layers"])[:5] == NAMES
    assert numbers["layers"]["sos15"]["median_width"] is not None
    assert numbers["measures"]["base"]["known"] == 40
    assert numbers["measures"]["base"]["median"] < numbers["measures"]["maximum"]["median"] < 1
    band = json.loads((mapped.path / "item.json").read_text())["assets"]["base"]["bands"][0]
    assert (band["raster:scale"], band["nodata"], band["unit"]) == (1e-4, 32767, "1")
    assert open_result(mapped.path).layers["base"].scale == 1e-4
    style = (mapped.path / "base.qml").read_text()
    ends = [float(part.split('"')[0]) for part in style.split('<item value="')[1:]]
    assert 0 < ends[0] < ends[-1] < 0.5  # of values, as QGIS applies the scale
    rows = list(csv.DictReader((mapped.path / "landscape.csv").read_text().splitlines()))
    assert {row["layer"] for row in rows} == {*NAMES, "length"}
    (field,) = csv.DictReader((mapped.path / "fields.csv").read_text().splitlines())
    assert float(field["maximum_median"]) == pytest.approx(numbers["measures"]["maximum"]["median"])
    assert field["sos15_date"] == numbers["layers"]["sos15"]["median_date"]


@pytest.mark.slow
def test_the_report_shows_any_fractions_and_seasons(mapped):
    page = report(mapped.path, overwrite=True).read_text()
    for words in (
        "measures_curve.png",
        "SOS15",
        "EOS90",
        "season 3",
        "Measures of the main season",
        "maximum of EVI2",
    ):
        assert words in page


def test_a_map_without_intervals_is_the_same_otherwise(mapped, folder, tmp_path):
    out = tmp_path / "dates"
    dates = map_without_pictures(
        folder / "cube.zarr", 2018, out, **CHOSEN, fields=True, intervals=False
    )
    names = {path.name for path in mapped.path.glob("*.tif")}
    bounds = {name for name in names if name.endswith(("_low.tif", "_high.tif"))}
    assert len(bounds) == 2 * 5 * 3
    assert {path.name for path in out.glob("*.tif")} == names - bounds
    for name in names - bounds:
        expected = read(mapped.path / name)
        if name == "qflag.tif":
            expected = expected & ~np.uint16(layers.UNCERTAIN)
        np.testing.assert_array_equal(read(out / name), expected, name)
    assert dates.summary["source"]["intervals"] is False
    numbers = dates.summary["maps"]["curve"]["layers"]["sos15"]
    assert "median_width" not in numbers
    assert numbers["detected"] == mapped.summary["maps"]["curve"]["layers"]["sos15"]["detected"]
    assert open_result(out).summary == dates.summary
    report(out, tmp_path / "report")


def test_a_map_of_other_fractions_is_not_scored(mapped):
    with pytest.raises(DeepCropError, match=r"has no sos20, .*eos20: .* other fractions"):
        check_fractions(mapped.path)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fractions": (0.5, 0.2)}, "rising shares"),
        ({"fractions": (0.125,)}, "whole percent"),
        ({"fractions": ()}, "rising shares"),
        ({"fractions": (15, 50)}, "between 0 and 1"),
        ({"seasons": 0}, "expected 1 to 8"),
        ({"seasons": 9}, "expected 1 to 8"),
        ({"season_rule": {"height": 1}}, "'height' is unknown; expected min_amplitude"),
        ({"season_rule": {"prominence": 7}}, "at most 1"),
        ({"season_rule": {"min_amplitude": float("nan")}}, "makes no sense"),
        ({"season_rule": {"min_observations": 2}}, "whole number from 3"),
        ({"method": "deepcrop", "fractions": (0.2, 0.5)}, "network was trained on dates at 20 %"),
        ({"method": "both", "seasons": 4}, "network was trained on .* 2 seasons"),
        ({"method": "deepcrop", "measures": True}, "measures: only for the curve"),
        ({"method": "deepcrop", "intervals": False}, "intervals: only for the curve"),
        ({"until": "2018-06-15", "intervals": False}, "in season, needs the intervals"),
        ({"method": "deepcrop", "season_rule": {"prominence": 0.3}}, "season_rule: only for"),
    ],
)
def test_what_makes_no_sense_is_refused(options, words):
    with pytest.raises(DeepCropError, match=words):
        resolve_options(**options)


def test_a_season_rule_changes_what_counts(folder):
    cube = dc.open_cube(folder / "cube.zarr")
    strict = dc.map_seasons(cube, 2018, season_rule={"min_amplitude": 0.45}, seasons=1)
    assert (strict["n_cycles"][1:] == 2).all()  # of heights 0.6 and 0.5
    assert "sos20_season2" not in strict


def test_the_command_reads_the_options(folder):
    command = ["map", str(folder / "cube.zarr"), "--year", "2018", "--out", str(folder / "typed")]
    options = ["--fractions", "0.15,0.5,0.9", "--season-rule", "min_amplitude=0.1,prominence=0.2"]
    run = CliRunner().invoke(app, [*command, *options, "--seasons", "4", "--measures", "--dry-run"])
    assert run.exit_code == 0, run.output
    # Per season 7 dates with 2 bounds, a length, 7 measures; 5 of pixels.
    assert f"{4 * (7 * 3 + 1 + 7) + 5} layers" in run.output
    run = CliRunner().invoke(app, [*command, *options, "--no-intervals", "--dry-run"])
    assert f"{2 * (7 + 1) + 5} layers" in run.output
    for option, text in (("--fractions", "0.2;0.5"), ("--season-rule", "prominence")):
        run = CliRunner().invoke(app, [*command, option, text])
        assert isinstance(run.exception, DeepCropError) or "expected for example" in run.output
