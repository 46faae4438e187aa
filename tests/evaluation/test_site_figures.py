"""Pictures of methods against cameras: what is drawn where."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.helpers.camera_samples import camera_sample
from tests.helpers.figure_checks import assert_all_inside, words

from deepcrop.evaluation import site_figures
from deepcrop.evaluation.scores import MethodResult, Predictions, reference_dates

STAGES = [0, 1, 3, 4]


@pytest.fixture(scope="module")
def chosen():
    return [camera_sample("mead", 2018), camera_sample("mead", 2019), camera_sample("usof", 2018)]


def result(name, chosen, *late):
    """A method whose dates are late by some days, a seed for each number."""
    reference = reference_dates(chosen)
    runs = [
        Predictions(reference.day + days, reference.day + days - 9, reference.day + days + 9)
        for days in late
    ]
    return MethodResult(name, reference, runs)


def drawn(axes):
    """Places of single marks."""
    return sorted(
        (float(line.get_xdata()[0]), float(line.get_ydata()[0]))
        for line in axes.lines
        if len(line.get_xdata()) == 1
    )


def test_profiles_show_pixel_radar_and_dates(chosen):
    figure = site_figures.draw_profiles("mead", chosen, [result("late", chosen, 4, 6)])
    text = words(figure)
    assert "Profiles at mead" in text
    assert "SIMULATED DATA" in text
    assert {"2018", "2019", "maize", "camera", "late"} <= set(text)
    assert len(figure.axes) == 1 + 2 * 3
    ndvi, radar, lanes = figure.axes[1:4]
    assert ndvi.lines[0].get_ydata()[17] == pytest.approx(0.8, abs=1e-5)  # day 160
    assert np.allclose(radar.lines[0].get_ydata(), -10)
    camera, method = drawn(lanes)[:4], [place for place in drawn(lanes) if place[1] == 1]
    assert {x for x, y in drawn(lanes) if y == 0} == {110, 120, 220, 230}
    assert [x for x, _ in method] == [115, 125, 225, 235]  # the mean of the seeds
    assert camera[0] == (110, 0)
    assert_all_inside(figure)


def test_profiles_with_the_camera_and_without_radar():
    one = camera_sample("mead", 2018, radar=0, simulated=False)
    series = SimpleNamespace(date=np.array(["2018-01-01"], "datetime64[D]"))
    labels = SimpleNamespace(
        camera=series, curve_days=np.arange(300.0), curve=np.linspace(0.3, 0.4, 300)
    )
    cameras = {"mead_AG_1000_2018": SimpleNamespace(labels=labels)}
    figure = site_figures.draw_profiles("mead", [one], [result("late", [one], 4)], cameras)
    text = words(figure)
    assert "no radar" in text
    assert "SIMULATED DATA" not in text
    assert any(axes.get_ylabel() == "GCC" for axes in figure.axes)
    assert_all_inside(figure)


def test_error_bars_are_the_errors(chosen):
    figure = site_figures.draw_error_bars(
        [result("late", chosen, 4, 6), result("right", chosen, 0)], ["mead", "usof", "nowhere"]
    )
    first, second = figure.axes[1:3]
    assert [bar.get_height() for bar in first.patches] == pytest.approx([5] * 8)
    assert [bar.get_height() for bar in second.patches] == pytest.approx([0] * 8)
    assert [label.get_text() for label in second.get_xticklabels()] == ["mead", "usof", "nowhere"]
    assert_all_inside(figure)


def test_with_and_without_radar(chosen):
    figure = site_figures.draw_radar_comparison(
        result("both", chosen, 1), result("optical alone", chosen, 8)
    )
    left = figure.axes[1]
    places = drawn(left)
    assert (111.0, -0.13) in [(x, round(y, 2)) for x, y in places]
    assert (118.0, 0.13) in [(x, round(y, 2)) for x, y in places]
    assert len(places) == 3 * 2 * 2
    assert {"a  SOS20 and EOS20", "b  SOS50 and EOS50", "usof_AG_1000_2018"} <= set(words(figure))
    assert_all_inside(figure)
