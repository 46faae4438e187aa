import csv

import numpy as np
import pytest
import rasterio
from tests.helpers.cubes import season_cube

from deepcrop import stages
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.evaluation import map_truth
from deepcrop.mapping.region import map_region
from deepcrop.phenology.season_matching import match_seasons
from deepcrop.products.write import DAY_LAYERS
from deepcrop.simulation import Region, simulate

NO = stages.NO_DAY

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def scored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    simulate(Region(rows=64, cols=80, seed=4), folder / "region.zarr")
    map_region(folder / "region.zarr", 2018, folder / "maps")
    return folder, map_truth.score_map(folder / "maps", folder / "region.zarr")


def test_scores_agree_with_a_slow_count(scored):
    folder, scores = scored
    truth = open_cube(folder / "region.zarr")["truth"].to_dataset()
    real = np.stack([truth[name].values.reshape(2, -1) for name in stages.STAGES], 1)
    layers = []
    for name in DAY_LAYERS:
        with rasterio.open(folder / "maps" / f"{name}.tif") as layer:
            layers.append(layer.read(1).reshape(-1))
    mapped = match_seasons(real, np.stack(layers).reshape(2, 4, -1))
    for k, score in enumerate(scores[:4]):
        known = real[:, k] != NO
        both = known & (mapped[:, k] != NO)
        error = mapped[:, k][both].astype(float) - real[:, k][both]
        assert score.group == "all crops"
        assert score.stage == stages.STAGES[k]
        assert score.true_dates == known.sum()
        assert score.detected == pytest.approx(both.sum() / known.sum())
        assert score.mae == pytest.approx(np.abs(error).mean())
        assert score.bias == pytest.approx(error.mean())
        assert score.median == np.median(np.abs(error))
        drawn = np.stack(layers).reshape(2, 4, -1)[:, k] != NO
        assert score.unmatched == pytest.approx(1 - both.sum() / drawn.sum())


def test_the_curve_finds_the_seasons_of_annual_crops(scored):
    annual = [s for s in scored[1] if s.group in ("maize", "soybean") and s.true_dates > 300]
    assert annual
    for score in annual:
        assert score.detected > 0.8
        assert score.mae < (12 if score.stage.startswith("sos") else 25)


def test_scores_are_written_as_csv(scored, tmp_path):
    map_truth.write_scores(scored[1], tmp_path / "a.csv")
    rows = list(csv.DictReader((tmp_path / "a.csv").read_text().splitlines()))
    assert len(rows) == len(scored[1])
    assert rows[0]["group"] == "all crops"
    assert float(rows[0]["mae"]) == pytest.approx(scored[1][0].mae, abs=0.06)


def test_a_perfect_map_has_no_error(scored, tmp_path):
    folder, _ = scored
    truth = open_cube(folder / "region.zarr")["truth"].to_dataset()
    for k, name in enumerate(DAY_LAYERS):
        with rasterio.open(folder / "maps" / f"{name}.tif") as layer:
            profile = {"driver": "GTiff", "crs": layer.crs, "transform": layer.transform}
        values = truth[stages.STAGES[k % 4]].values[k // 4]
        shape = {"height": values.shape[0], "width": values.shape[1], "count": 1}
        with rasterio.open(
            tmp_path / f"{name}.tif", "w", dtype="int16", **profile, **shape
        ) as layer:
            layer.write(values, 1)
    for score in map_truth.score_map(tmp_path, folder / "region.zarr"):
        if score.true_dates:
            assert (score.detected, score.mae, score.bias, score.unmatched) == (1, 0, 0, 0)


def test_only_a_region_with_truth_can_be_scored(tmp_path, scored):
    save_cube(season_cube(), tmp_path / "cube.zarr")
    with pytest.raises(CubeError, match="only simulated regions"):
        map_truth.score_map(scored[0] / "maps", tmp_path / "cube.zarr")
    with pytest.raises(DeepCropError, match=r"sos20\.tif does not exist"):
        map_truth.score_map(tmp_path, scored[0] / "region.zarr")
    map_region(tmp_path / "cube.zarr", 2018, tmp_path / "maps")
    with pytest.raises(DeepCropError, match="another grid"):
        map_truth.score_map(tmp_path / "maps", scored[0] / "region.zarr")


def test_roads_have_no_season_and_their_dates_are_called_unmatched(scored):
    road = [s for s in scored[1] if s.group == "road"]
    assert all(s.true_dates == 0 and s.unmatched == 1 for s in road)
    assert road


def test_without_matching_slots_are_compared_as_they_are_written(scored):
    folder, _ = scored
    truth = open_cube(folder / "region.zarr")["truth"].to_dataset()
    for score in map_truth.score_map(folder / "maps", folder / "region.zarr", match=False)[:4]:
        with rasterio.open(folder / "maps" / f"{score.stage}.tif") as layer:
            mapped = layer.read(1)
        real = truth[score.stage].values[0]
        both = (real != NO) & (mapped != NO)
        assert score.true_dates == (real != NO).sum()
        assert score.mae == pytest.approx(np.abs(mapped[both].astype(float) - real[both]).mean())
