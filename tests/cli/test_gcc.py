"""`deepcrop gcc`: images and masks of a camera become series that `deepcrop labels` reads."""

import numpy as np
import pytest
from tests.helpers.camera_images import write_jpeg, write_mask
from tests.helpers.command_line import run

from deepcrop.sources.phenocam.summary_files import read_series

PLACE = ("--latitude", 41.16, "--longitude", -96.47, "--utc-offset", -6)


@pytest.fixture
def camera(tmp_path):
    """Two regions of one camera, and three images, one of them at night."""
    masks = [
        write_mask(tmp_path / "field_AG_1000_01.tif", columns=(0, 30)),
        write_mask(tmp_path / "field_AG_2000_01.png", columns=(34, 64)),
    ]
    for name in ("2020_06_02_120000", "2020_06_05_120000", "2020_06_05_020000"):
        write_jpeg(tmp_path / "images", f"field_{name}", (90, 110, 50))
    return tmp_path / "images", [word for mask in masks for word in ("--mask", mask)]


def test_a_summary_file_for_each_region(camera, tmp_path):
    images, masks = camera
    plot = ("--plot", tmp_path / "figures")
    done = run("gcc", images, *masks, *PLACE, "--out", tmp_path / "cameras", *plot)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in plot[1].iterdir()) == [
        "field_AG_1000.png",
        "field_AG_2000.png",
    ]
    assert done.stdout.count("2 of 3 images count") == 2
    for number in (1000, 2000):
        series = read_series(tmp_path / "cameras" / f"field_AG_{number}_3day.csv")
        assert (series.latitude, series.utc_offset) == (41.16, -6)
        np.testing.assert_allclose(series.greenness["gcc_90"], [0.44, 0.44], atol=0.003)
    again = run("gcc", images, *masks, *PLACE, "--out", tmp_path / "cameras")
    assert again.returncode == 2
    assert "field_AG_1000_3day.csv exists" in again.stderr
    assert run("gcc", images, *masks, *PLACE, "--out", tmp_path / "cameras", "--overwrite").stdout


def test_what_gcc_refuses(camera, tmp_path):
    images, masks = camera
    out = ("--out", tmp_path / "cameras")
    for words, expected in (
        ((*masks, "--period", 2), "--period 2: expected 1 or 3"),
        ((*masks, *masks[:1], tmp_path / "field_AG_1000_02.tif"), "Several masks of field_AG_1000"),
        (("--mask", tmp_path / "mask.tif"), "mask.tif is not named as a mask"),
        ((*masks, "--latitude", "nan"), "latitude is nan; expected a number from -90 to 90"),
    ):
        done = run("gcc", images, *PLACE, *out, *words)
        assert done.returncode == 2
        assert expected in done.stderr
    assert not (tmp_path / "cameras").exists()
