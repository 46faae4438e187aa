"""Map of sites and patches through time: what is drawn where."""

from types import SimpleNamespace

import numpy as np
import pytest
from tests.helpers.camera_samples import camera_sample
from tests.helpers.figure_checks import assert_all_inside, words

from deepcrop.evaluation.sample_figures import draw_patches, draw_site_map
from deepcrop.grid import areas


def year(site, latitude, longitude):
    return SimpleNamespace(site=site, latitude=latitude, longitude=longitude)


def test_each_site_is_drawn_once_at_its_place():
    mead = year("mead2", 41.16, -96.47)
    uses = {
        "tested": [mead, mead],
        "trained on": [year("north", 45.0, -93.0), year("east", 40.0, -75.0)],
        "left out": [mead, year("near", 41.2, -96.4)],
    }
    figure = draw_site_map(uses, "tested", {"TA2": areas.area_of("ta2").box})
    axes = figure.axes[1]
    marks = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert marks["tested (1)"] == [[-96.47, 41.16]]
    assert marks["trained on (2)"] == [[-93, 45], [-75, 40]]
    assert marks["left out (1)"] == [[-96.4, 41.2]]
    assert [text.get_text() for text in axes.texts] == ["TA2", "mead2"]
    (outline,) = axes.patches
    assert outline.get_xy() == pytest.approx((-90.22, 35.87), abs=0.02)
    assert (outline.get_width(), outline.get_height()) == pytest.approx((0.44, 0.1), abs=0.02)
    assert "4 PhenoCam sites" in words(figure)
    assert_all_inside(figure)


@pytest.mark.parametrize("radar", [12, 0])
def test_patches_of_both_sensors_through_the_year(radar):
    figure = draw_patches(camera_sample("mead", 2018, radar))
    text = words(figure)
    assert "SIMULATED DATA" in text
    assert "2017-12-22" in text  # the first optical date, day -10
    images = [axes.images[0] for axes in figure.axes if axes.images]
    assert len(images) == (32 if radar else 16)
    ndvi = [float(np.asarray(image.get_array()).mean()) for image in images[:8]]
    assert min(ndvi) == pytest.approx(0.2, abs=0.01)
    assert max(ndvi) == pytest.approx(0.8, abs=0.01)
    if radar:
        assert np.asarray(images[16].get_array()).mean() == -17  # VH, then VV
        assert np.asarray(images[-1].get_array()).mean() == -10
    (frame,) = next(axes for axes in figure.axes if axes.images).patches
    assert (frame.get_xy(), frame.get_width()) == ((8.5, 8.5), 1)  # around cell (9, 9)
    assert_all_inside(figure)
