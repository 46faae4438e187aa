"""Looks of one sensor within a pass are one observation."""

import numpy as np

from deepcrop.cube.passes import number_passes


def looks(*texts):
    return np.array(texts, "datetime64[ns]")


def test_looks_seconds_apart_are_one_pass_in_any_order():
    times = looks("2018-05-06T10:50", "2018-05-01T10:50:14", "2018-05-01T10:50", "2018-05-06T10:58")
    assert number_passes(times).tolist() == [1, 0, 0, 1]


def test_passes_of_neighbouring_orbits_stay_apart():
    times = looks("2018-05-01T10:00", "2018-05-01T11:38")  # one revolution later
    assert number_passes(times).tolist() == [0, 1]
    close = looks("2018-05-01T10:00", "2018-05-01T10:01")
    assert number_passes(close, [12, 110]).tolist() == [0, 1]
    assert number_passes(close, [12, 12]).tolist() == [0, 0]


def test_a_pass_over_midnight_is_one():
    assert number_passes(looks("2018-05-20T23:59:50", "2018-05-21T00:00:15")).tolist() == [0, 0]


def test_no_looks():
    assert number_passes(looks()).size == 0
