"""The public functions: their names, their docstrings, and what they say about a slip."""

import inspect
import re

import numpy as np
import pandas as pd
import pytest

import deepcrop
from deepcrop.errors import DeepCropError

MODULES = {"cube", "figures", "grid", "phenology", "report", "stages"}
FUNCTIONS = [
    getattr(deepcrop, name)
    for name in deepcrop.__all__
    if inspect.isfunction(getattr(deepcrop, name))
]


def test_dir_shows_the_public_names_only():
    assert set(dir(deepcrop)) == {*deepcrop.__all__, *MODULES}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_docstrings_say_what_goes_in_what_comes_out_and_what_fails(function):
    sections = re.findall(r"^(\w+)\n-+$", inspect.getdoc(function), re.MULTILINE)
    returns = ["Returns"] if function is not deepcrop.save_cube else []
    assert sections[:4] == ["Parameters", *returns, "Raises", "Examples"][:4]


@pytest.mark.parametrize("year", ["2018", 2018.5, True, np.datetime64("2018-01-01")])
def test_a_year_that_is_no_whole_number_is_rejected(region_path, tmp_path, year):
    cube = deepcrop.open_cube(region_path)
    series = pd.Series([0.2, 0.5], pd.to_datetime(["2018-01-01", "2018-06-01"]))
    for call in (
        lambda: deepcrop.map_seasons(cube, year),
        lambda: deepcrop.map_region(region_path, year, tmp_path / "maps"),
        lambda: deepcrop.extract(series, year=year, latitude=41.6),
    ):
        with pytest.raises(DeepCropError, match=r"The year is .*; expected a whole number"):
            call()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "network"}, "expected curve, deepcrop (the network) or both"),
        ({"radar": False}, "radar: only for the network"),
        ({"method": "deepcrop", "index": "gcc"}, "index: only for the curve"),
        ({"layer": "fields"}, "layer is one of the file of parcels"),
        ({"year": 2035}, "Choose another year"),
        ({"workers": 0}, "workers is 0"),
    ],
)
def test_errors_of_functions_speak_of_arguments(region_path, tmp_path, options, words):
    with pytest.raises(DeepCropError) as error:
        deepcrop.map_region(region_path, out=tmp_path / "maps", **{"year": 2018} | options)
    assert words in str(error.value)
    assert "--" not in str(error.value)


def test_a_cube_in_place_of_a_path_and_the_reverse_are_named(region_path, tmp_path):
    cube = deepcrop.open_cube(region_path)
    with pytest.raises(DeepCropError, match=r"DataTree; expected the path.*map_seasons"):
        deepcrop.map_region(cube, 2018, tmp_path / "maps")
    with pytest.raises(DeepCropError, match="str; expected a cube"):
        deepcrop.map_seasons(str(region_path), 2018)
    with pytest.raises(DeepCropError, match="DataTree; expected the path"):
        deepcrop.open_cube(cube)


def test_a_series_by_year_needs_the_latitude():
    series = pd.Series([0.2, 0.5], pd.to_datetime(["2018-01-01", "2018-06-01"]))
    with pytest.raises(DeepCropError, match=r"depends on the latitude.*latitude=41\.6"):
        deepcrop.extract(series, year=2018)
