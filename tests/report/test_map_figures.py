import numpy as np
import pytest
from tests.helpers.figure_checks import assert_all_inside, legend_labels, words
from tests.helpers.small_result import COLS, DAYS, ROWS, small_result

from deepcrop.figures.style import CLASS_COLOURS
from deepcrop.report import map_figures as figures


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    return small_result(tmp_path_factory.mktemp("result"))


def images(figure):
    return [axes.images[0] for axes in figure.axes[1:] if axes.images and axes.images[0].get_clim()]


def maps(figure):
    """Images of the region, without colour bars."""
    return [image for image in images(figure) if image.get_array().shape == (ROWS, COLS)]


def test_stage_maps_show_the_four_stages_in_order_of_time(result):
    figure = figures.stage_maps(result, "curve")
    shown = maps(figure)
    for stage, image in zip(("sos20", "sos50", "eos50", "eos20"), shown, strict=True):
        values = image.get_array()
        assert values[5, 0] == DAYS[stage]
        assert values[5, -1] == DAYS[stage] + 30
        assert values.mask[0].all()
    text = words(figure)
    assert "SIMULATED DATA" in text
    assert "a  SOS20" in text
    assert "d  EOS20" in text
    assert any("96 % dated" in word for word in text)
    assert "no date" in text
    assert "1 May" in " ".join(legend_labels(figure))
    assert_all_inside(figure)


def test_a_stage_has_the_same_colours_for_every_method(result):
    curve, network = (figures.stage_maps(result, method) for method in ("curve", "deepcrop"))
    limits = [[image.get_clim() for image in maps(figure)] for figure in (curve, network)]
    assert limits[0] == limits[1]
    assert maps(network)[0].get_array()[0, 0] == DAYS["sos20"] - 4


def test_a_season_that_nobody_found_is_drawn_empty(result):
    figure = figures.stage_maps(result, "curve", season=2)
    assert all(image.get_array().mask.all() for image in maps(figure))
    assert any("0 % dated" in word for word in words(figure))
    assert_all_inside(figure)


def test_difference_maps(result):
    figure = figures.difference_maps(result)
    shown = maps(figure)
    assert len(shown) == 5  # and crop types
    assert shown[0].get_clim() == (-30, 30)
    assert {"−30", "−15", "0", "15", "30 d"} <= set(legend_labels(figure))
    assert shown[0].get_array()[5, 5] == -4
    assert shown[0].get_array().mask[0].all()
    text = words(figure)
    assert "median −4 d, both dated 96 %" in text
    assert "e  crop type" in text
    labels = [one.get_text() for one in figure.legends[0].get_texts()]
    assert labels == ["maize", "soybean"]
    assert_all_inside(figure)


def test_crops_keep_the_colours_of_the_cube(result):
    assert figures.main_crops(result) == [
        ("maize", [1], "#ffcc00"),
        ("soybean", [5], CLASS_COLOURS[1]),
    ]
    image = maps(figures.crop_map(result))[0]
    red, green, blue, _ = image.to_rgba(np.array([[0]]))[0, 0]
    assert (round(255 * red), round(255 * green), round(255 * blue)) == (255, 204, 0)


def test_histograms_add_up_to_the_share_that_is_dated(result):
    figure = figures.histograms(result)
    panels = [axes for axes in figure.axes[1:] if axes.patches]
    assert len(panels) == 4
    for axes in panels:
        steps = [patch for patch in axes.patches if patch.get_fill()]
        shares = [patch.get_data().values.sum() for patch in steps]
        assert shares == pytest.approx([100 * (ROWS - 1) / ROWS, 100])
    assert_all_inside(figure)


def test_boxes_by_crop_are_of_pixels_that_all_methods_date(result):
    figure = figures.by_crop(result)
    axes = next(axes for axes in figure.axes[1:] if axes.lines)
    middles = [line.get_xdata()[0] for line in axes.lines[1::2]]
    assert middles == [110, 106, 140, 136]  # maize by both, soybean by both
    assert {"maize", "soybean"} <= set(words(figure))
    assert_all_inside(figure)


def test_quality_shows_what_the_method_says(result):
    network = figures.quality_maps(result, "deepcrop")
    shown = maps(network)
    assert [float(image.get_array()[5, 5]) for image in shown] == [17, 12, 12, 90, 90]
    assert "median 12 d" in words(network)
    assert len(maps(figures.quality_maps(result, "curve"))) == 1
    assert_all_inside(network)


def test_scenes_stand_at_their_dates(result):
    dates = [np.datetime64("2018-01-03"), np.datetime64("2018-04-11")]
    figure = figures.scenes(result, {"optical": [(dates[0], 0.0), (dates[1], 0.8)]})
    axes = next(axes for axes in figure.axes[1:] if axes.lines)
    assert axes.lines[0].get_xdata().tolist() == [2, 100]
    assert axes.lines[0].get_ydata().tolist() == [0, 0.8]
    assert "1 of 2 scenes have clear pixels" in words(figure)
    assert "1 Apr" in " ".join(legend_labels(figure))
    assert_all_inside(figure)


def test_without_crop_types_and_with_one_method(tmp_path):
    result = small_result(tmp_path, methods=("curve",), simulated=False, crops=False)
    assert figures.by_crop(result) is None
    assert figures.crop_map(result) is None
    figure = figures.stage_maps(result, "curve")
    assert "SIMULATED DATA" not in words(figure)


@pytest.mark.parametrize("shape", [(10, 60), (60, 10)])
@pytest.mark.slow
def test_regions_of_any_shape_stay_on_the_paper(tmp_path, monkeypatch, shape):
    monkeypatch.setattr("tests.helpers.small_result.ROWS", shape[0])
    monkeypatch.setattr("tests.helpers.small_result.COLS", shape[1])
    result = small_result(tmp_path)
    for figure in (
        figures.stage_maps(result, "deepcrop"),
        figures.difference_maps(result),
        figures.quality_maps(result, "deepcrop"),
    ):
        assert_all_inside(figure)
