"""A camera's image with its region, and the region's greenness."""

import numpy as np
import pytest
from tests.helpers.camera_images import write_jpeg, write_mask
from tests.helpers.figure_checks import assert_all_inside, words

from deepcrop.cameras.roi_figure import roi_figure
from deepcrop.sources.phenocam.image_greenness import Region, summarize_folder


def test_the_greenest_image_with_the_outline_of_its_mask(tmp_path):
    mask = write_mask(tmp_path / "field_AG_1000_01.tif", columns=(10, 50))
    write_jpeg(tmp_path / "images", "field_2020_06_02_120000", (90, 100, 60))
    write_jpeg(tmp_path / "images", "field_2020_07_02_120000", (90, 110, 50))
    region = Region("field", "AG", 1000, 41.16, -96.47, -6)
    run = summarize_folder(tmp_path / "images", mask, region, tmp_path)
    figure = roi_figure(run, mask)
    assert "2 of 2 images count; image of 2020-07-02 12:00:00" in words(figure)
    image, chart = figure.axes[1:]
    (outline,) = image.collections[0].get_paths()
    assert outline.get_extents().extents == pytest.approx([10, 32, 50, 48], abs=0.6)
    dots, periods = chart.lines
    np.testing.assert_allclose(dots.get_ydata(), [0.40, 0.44], atol=0.003)
    assert periods.get_label() == "90th percentile of 3 days"
    assert_all_inside(figure)
