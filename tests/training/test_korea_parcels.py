import gzip

import numpy as np
import pytest

from deepcrop.errors import DeepCropError
from deepcrop.training import curve_labels, korea_parcels, real_excerpts
from deepcrop.training.examples import SPREAD_OF_INTERVAL


@pytest.fixture
def parcels(tmp_path):
    """Folder with a field and two greenhouses, seen on 2 January 2022 and on three later dates."""
    dates = ("20220102", "20220107", "20220112", "20220117")
    header = ["INTPR_NM", "AREA", "CR_NM", "CR_ID"]
    field, inside, crop_inside = (
        ["밭", "1", "콩", "3"],
        ["시설", "1", "콩", "3"],
        ["밭", "1", "시설", "3"],
    )
    # Seen; not seen; haze (blue of 2600); a value of zero, which is no data.
    numbers = {
        "b02": ("1300", "", "2600", "1300"),
        "b03": ("1500", "", "2700", "1500"),
        "b04": ("1400", "", "2700", "0"),
        "b08": ("4000", "", "5000", "4000"),
    }
    for band, values in numbers.items():
        header += [f"{band}_{date}" for date in dates]
        for row in (field, inside, crop_inside):
            row += values
    folder = tmp_path / "korea_parcels_s2"
    folder.mkdir()
    text = "\n".join(",".join(row) for row in (header, field, inside, crop_inside))
    (folder / "parcels_xx.csv.gz").write_bytes(gzip.compress(text.encode("utf-8-sig")))
    return tmp_path


def test_a_parcel_is_read_without_its_offset_haze_and_gaps(parcels):
    (example,) = korea_parcels.read(parcels, 2022)
    assert example.optical_days.tolist() == [1]
    assert np.allclose(example.optical[0, :, 9, 9], (0.03, 0.05, 0.04, 0.3), atol=1e-6)
    assert example.optical.shape == (1, 4, 18, 18)
    assert example.radar_days.size == 0
    (earlier,) = korea_parcels.read(parcels, 2021)
    assert earlier.optical_days.tolist() == [366]


def test_a_folder_without_parcels_is_named(tmp_path):
    with pytest.raises(DeepCropError, match=r"korea_parcels_s2 holds no parcels_\*\.csv\.gz"):
        korea_parcels.read(tmp_path, 2022)


def test_korea_trains_and_never_tests(tmp_path):
    with pytest.raises(
        DeepCropError, match="'korea' is unknown; expected flanders, france, angiang"
    ):
        real_excerpts.read("korea", tmp_path)


@pytest.mark.slow  # reads 800 series
def test_real_parcels(real_data):
    examples = korea_parcels.read(real_data, 2022)
    assert len(examples) == 462  # the count of the files' README
    labelled = curve_labels.with_curve_labels(examples[:80], 2022, korea_parcels.LATITUDE)
    narrow = [curve_labels.without_wide(example) for example in labelled]
    day, spread = (
        np.concatenate([getattr(example, name) for example in narrow])[:, :, 5:]
        for name in ("day", "spread")
    )
    known = np.isfinite(day)
    assert (spread[known] <= curve_labels.MAX_WIDTH * SPREAD_OF_INTERVAL).all()
    assert known[:, 0].any(1).mean() > 0.5
    assert known[:, 1].any()  # two crops a year
