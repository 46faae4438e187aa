"""Maps by the network (with random weights): the whole way from a simulated cube to files."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import rasterio
import torch
from tests.helpers.cubes import season_cube
from tests.helpers.maps import map_without_pictures
from tests.helpers.network_batches import small
from tests.helpers.weights_files import tiny, write_weights

from deepcrop import grid, stages
from deepcrop.cube import contract
from deepcrop.cube.contract import OPTICAL_BANDS
from deepcrop.cube.io import open_cube, save_cube
from deepcrop.errors import CubeError, DeepCropError
from deepcrop.mapping import network as map_network
from deepcrop.mapping.inputs import InputCube
from deepcrop.mapping.network import NetworkMethod
from deepcrop.network import INPUTS, Batch, load, runtime
from deepcrop.network.weights import check_pixels
from deepcrop.products import layers
from deepcrop.products import write as product_writer
from deepcrop.simulation import Region, simulate
from deepcrop.training.samples import cut

ROWS, COLS, OPTICAL, SAR = 34, 40, 12, 8


@pytest.fixture(scope="module")
def cube_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("cube") / "region.zarr"
    simulate(Region(rows=ROWS, cols=COLS, optical_scenes=OPTICAL, sar_scenes=SAR), path)
    return path


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "random.safetensors"
    return write_weights(path, tiny(), {"title": "random numbers"})


def run(cube, out, weights, **options):
    return map_without_pictures(cube, 2018, out, method="deepcrop", weights=weights, **options)


def layers_of(cube, weights, size=100, radar=True):
    """Layers as they go into the files, which take longer."""
    plan = NetworkMethod(weights, radar).plan(InputCube.open(cube), 2018)
    found = {}
    for tile in grid.tiles((ROWS, COLS), size, plan.halo):
        for name, values in plan.run(plan.images, tile)[0].items():
            whole = found.setdefault(name, np.zeros((ROWS, COLS), values.dtype))
            whole[tile.core] = values
    return found


@pytest.fixture(scope="module")
def mapped(cube_path, weights, tmp_path_factory):
    return run(cube_path, tmp_path_factory.mktemp("maps") / "maps", weights)


def read(result):
    """Every layer of a map."""
    every = {}
    for layer in layers.describe("deepcrop", 2018):
        with rasterio.open(result.path / f"{layer.name}.tif") as file:
            assert file.nodata == layer.nodata
            every[layer.name] = file.read(1)
            assert every[layer.name].dtype == layer.dtype
    return every


def files(result):
    """All that was written, but for the record of settings (it names the folder of the cube)."""
    other = ("deepcrop.json", "manifest.jsonl")  # the manifest says when and where
    return {p.name: p.read_bytes() for p in result.path.iterdir() if p.name not in other}


def test_dates_lie_within_their_intervals(mapped):
    every = read(mapped)
    for season in (1, 2):
        for stage in ("sos20", "sos50", "peak", "eos50", "eos20"):
            day, low, high, percent = (
                every[layers.layer_name(stage, season, part)].astype(int)
                for part in ("", "low", "high", "probability")
            )
            known = day != stages.NO_DAY
            assert (low[known] <= day[known]).all()
            assert (day[known] <= high[known]).all()
            assert (percent[known] >= 50).all()
            assert (percent <= 100).all()
            assert (percent[~known] <= 50).all()
            assert (low[~known] == stages.NO_DAY).all()
            assert (high[~known] == stages.NO_DAY).all()
    known = every["sos50"] != stages.NO_DAY
    assert 0.1 < known.mean() < 0.9  # else nothing is shown
    assert np.ptp(every["sos50"][known]) > 30


def test_dates_by_the_other_definition(mapped, cube_path, weights):
    """The layers of the tile are the network's dates of the NDVI curve, under the same names."""
    cube = InputCube.open(cube_path)
    [whole] = grid.tiles((ROWS, COLS), 100, grid.PATCH_HALO)
    plan = NetworkMethod(weights, definition="ndvi").plan(cube, 2018)
    found, _ = plan.run(plan.images, whole)
    assert plan.settings["definition"] == "ndvi"
    assert mapped.summary["source"]["definition"] == "camera"
    network, _ = load(weights)
    dates, _ = map_network.network_tile(network, plan.images, whole, 2018)
    np.testing.assert_array_equal(dates["sos50"], read(mapped)["sos50"])
    assert found.keys() == dates.keys()
    assert (found["sos50"] != dates["sos50"]).mean() > 0.1


def test_a_map_by_pytorch_says_so(mapped, cube_path, weights, monkeypatch, caplog):
    monkeypatch.setattr(runtime, "_problems", {})
    monkeypatch.setattr(runtime, "difference", lambda *dates: "is broken")
    plan = NetworkMethod(weights).plan(InputCube.open(cube_path), 2018)
    assert "The compiled network is broken; PyTorch computes the map instead." in caplog.text
    assert plan.settings["runtime"] == "pytorch"  # so that it goes on with no half of the other
    [whole] = grid.tiles((ROWS, COLS), 100, grid.PATCH_HALO)
    found, _ = plan.run(plan.images, whole)
    for name, values in read(mapped).items():
        apart = np.abs(found[name].astype(int) - values)
        assert apart.max() <= 1  # rounded to whole days and percent
        assert (apart > 0).mean() < 0.01
    with pytest.raises(DeepCropError, match="compiled network, which is broken in this process"):
        NetworkMethod(weights, runtime="compiled").plan(InputCube.open(cube_path), 2018)


def test_a_half_made_map_is_not_discarded_for_its_runtime(
    cube_path, weights, tmp_path, monkeypatch
):
    class Stopped(BaseException):
        pass

    def stop(*args):
        raise Stopped

    monkeypatch.setattr(map_network, "network_tile", stop)
    with pytest.raises(Stopped):
        run(cube_path, tmp_path / "maps", weights)
    journal = tmp_path / "maps.part" / "journal.jsonl"
    begun = journal.read_bytes()
    monkeypatch.setattr(runtime, "_problems", {})
    monkeypatch.setattr(runtime, "difference", lambda *dates: "is broken")
    with pytest.raises(DeepCropError, match=r"maps\.part was begun by the compiled network"):
        run(cube_path, tmp_path / "maps", weights)
    assert journal.read_bytes() == begun
    with pytest.raises(Stopped):  # another setting, too: begun anew as ever
        run(cube_path, tmp_path / "maps", weights, definition="ndvi")
    assert journal.read_bytes() != begun


def of_year(cube, group):
    return cube[group]["time"].dt.year.values == 2018


def test_observations_are_counted(mapped, cube_path):
    every, cube = read(mapped), open_cube(cube_path)
    bands = OPTICAL_BANDS
    seen = np.isfinite([cube["optical"][band].values for band in bands]).all(axis=0)
    inside = of_year(cube, "optical")
    assert 0 < inside.sum() < OPTICAL
    np.testing.assert_array_equal(every["n_obs_optical"], seen[inside].sum(axis=0))
    assert (every["n_obs_sar"] == of_year(cube, "sar").sum()).all()
    scenes = mapped.summary["scenes"]
    assert scenes["optical_usable"] == seen.any(axis=(1, 2)).sum()
    assert (scenes["optical"], scenes["sar"], scenes["sar_usable"]) == (OPTICAL, SAR, SAR)


def test_the_summary_names_method_and_weights(mapped, weights):
    summary = json.loads((mapped.path / "summary.json").read_text())
    assert summary == mapped.summary
    assert (summary["methods"], summary["simulated"]) == (["deepcrop"], True)
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    about = {"file": "random.safetensors", "sha256": digest, "title": "random numbers"}
    record = json.loads((mapped.path / "deepcrop.json").read_text())
    item = json.loads((mapped.path / "item.json").read_text())
    assert summary["source"]["weights"] == record["weights"] == about
    assert item["properties"]["deepcrop:source"]["weights"] == about
    assert summary["source"]["sensors"] == ["optical", "sar"]
    assert summary["source"]["runtime"] == record["runtime"] == "compiled"
    assert list(summary["maps"]["deepcrop"]["layers"])[:3] == ["sos20", "sos50", "peak"]
    assert 40 < summary["maps"]["deepcrop"]["probabilities"]["sos50_probability"]["mean"] < 60


def test_the_share_of_disorder_is_that_of_the_layers(mapped):
    every = read(mapped)
    days = [every[name].astype(int) for name in ("sos20", "sos50", "peak", "eos50", "eos20")]
    several = wrong = 0
    for column in np.stack(days).reshape(5, -1).T:
        known = [day for day in column if day != stages.NO_DAY]
        several += len(known) > 1
        wrong += known != sorted(known)
    found = mapped.summary["maps"]["deepcrop"]["out_of_order"]["season1"]
    assert found["pixels"] == several
    assert found["share"] == pytest.approx(wrong / several, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("cell", [(20, 30), (9, 9), (0, 0), (ROWS - 1, 25), (12, COLS - 1)])
def test_a_pixel_is_that_of_its_patch(mapped, cube_path, weights, cell):
    """From the cube by the way of the training samples; beyond the edge nothing was seen."""
    cube = open_cube(cube_path)
    wide = {}
    for name in ("optical", "sar"):
        data = cube[name].to_dataset()[list(map_network._BANDS[name])].load()
        wide[name] = data.pad(y=20, x=20, constant_values=np.nan)
        box = grid.grid_of(data)
        left, bottom, right, top = box.boundingbox.bbox
        bounds = (left - 200, bottom - 200, right + 200, top + 200)
        wide[name] = grid.assign_grid(wide[name], grid.make_grid(bounds, str(box.crs)))
    patch = cut(contract.build(**wide), cell[0] + 20, cell[1] + 20, 2018)
    net, _ = load(weights)
    orbits = np.unique(patch.orbits, return_inverse=True)[1]
    images = (patch.optical, patch.optical_days, patch.radar, patch.radar_days, orbits)
    with torch.no_grad():
        seen = net.encode(
            Batch(*(torch.from_numpy(np.ascontiguousarray(part))[None] for part in images))
        )
        dates = net.decode(net.head(seen), seen)
    every = read(mapped)
    for k, stage in enumerate(("sos20", "sos50", "peak", "eos50", "eos20")):
        for slot in range(2):
            name = layers.layer_name(stage, slot + 1)
            assert every[name][cell] == stages.encode(dates.day[0, slot, k].item())
            percent = every[f"{name}_probability"][cell]
            assert percent == pytest.approx(100 * dates.probability[0, slot, k].item(), abs=0.51)


@pytest.mark.slow
@pytest.mark.parametrize("size", [15, 37])
def test_the_result_does_not_depend_on_the_tile(mapped, cube_path, weights, size):
    small_tiles = layers_of(cube_path, weights, size)
    for name, values in read(mapped).items():
        np.testing.assert_array_equal(small_tiles[name], values, err_msg=name)


@pytest.mark.slow
def test_an_interrupted_map_goes_on_to_the_same_bytes(cube_path, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(contract, "CHUNK", 32)
    (tmp_path / "other").mkdir()
    whole = run(cube_path, tmp_path / "other" / "maps", weights)
    done, real = [], map_network.network_tile

    def stop_at_third(*args):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(1)
        return real(*args)

    monkeypatch.setattr(map_network, "network_tile", stop_at_third)
    with pytest.raises(KeyboardInterrupt):
        run(cube_path, tmp_path / "maps", weights)
    assert not (tmp_path / "maps").exists()
    monkeypatch.setattr(map_network, "network_tile", lambda *args: done.append(2) or real(*args))
    resumed = run(cube_path, tmp_path / "maps", weights)
    assert done == [1, 1, 2, 2]  # four tiles, none twice
    assert files(resumed) == files(whole)


@pytest.mark.slow
def test_other_weights_do_not_go_on_with_a_half_made_map(cube_path, weights, tmp_path, monkeypatch):
    monkeypatch.setattr(product_writer, "write_products", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(cube_path, tmp_path / "maps", weights)
    monkeypatch.undo()
    tiles, real = [], map_network.network_tile
    monkeypatch.setattr(map_network, "network_tile", lambda *a: tiles.append(1) or real(*a))
    write_weights(tmp_path / "random.safetensors", tiny(), {"title": "others"})
    result = run(cube_path, tmp_path / "maps", tmp_path / "random.safetensors")
    assert tiles == [1]
    assert result.summary["source"]["weights"]["title"] == "others"


def without(cube_path, group, path):
    shutil.copytree(cube_path, path)
    shutil.rmtree(path / group)
    return path


@pytest.mark.slow
def test_a_cube_without_radar_is_as_one_whose_radar_is_left_out(cube_path, weights, tmp_path):
    cube = without(cube_path, "sar", tmp_path / "region.zarr")
    found = run(cube, tmp_path / "maps", weights)
    left_out = run(cube_path, tmp_path / "others", weights, radar=False)
    assert files(found) == files(left_out)
    every = read(found)
    assert (every["n_obs_sar"] == 0).all()
    seen = (every["qflag"] & layers.UNSEEN) == 0
    assert ((every["sos20_probability"] == layers.NO_PERCENT) == ~seen).all()
    assert found.summary["scenes"].keys() == {"optical", "optical_usable"}
    assert found.summary["source"]["sensors"] == ["optical"]


def test_a_cube_without_optical_images(cube_path, weights, tmp_path):
    cube = without(cube_path, "optical", tmp_path / "region.zarr")
    every = layers_of(cube, weights)
    assert (every["n_obs_optical"] == 0).all()
    inside = of_year(open_cube(cube), "sar").sum()
    assert (every["n_obs_sar"] == inside).all()
    assert (every["sos20_probability"] <= 100).all()
    with pytest.raises(CubeError, match="nothing that these weights read"):
        run(cube, tmp_path / "others", weights, radar=False)


def test_pixels_never_seen_are_empty(cube_path, weights, tmp_path):
    cube = open_cube(cube_path)
    optical, sar = (cube[name].to_dataset().load() for name in ("optical", "sar"))
    for data in (optical, sar):
        for name in data.data_vars:
            if data[name].dtype.kind == "f":
                data[name][:, 3:5, 6:9] = np.nan
    save_cube(contract.build(optical, sar), tmp_path / "cube.zarr")
    every = layers_of(tmp_path / "cube.zarr", weights)
    for layer in layers.describe("deepcrop", 2018):
        hole = every[layer.name][3:5, 6:9]
        empty = {"n_obs_optical": 0, "n_obs_sar": 0, "max_gap_optical": 365}
        empty["qflag"] = 1 | 2 | 4 | 8 | 128
        assert (hole == empty.get(layer.name, layer.nodata or 0)).all(), layer.name
        if layer.kind == "percent":
            assert (every[layer.name] == layer.nodata).sum() == hole.size


def test_the_published_network_fills_what_it_knows(cube_path, tmp_path):
    path = write_weights(tmp_path / "paper.safetensors", small("paper"))
    every = layers_of(cube_path, path)
    assert (every["sos50"] != stages.NO_DAY).any()
    for name in ("peak", "sos50_low", "sos50_season2"):
        assert (every[name] == stages.NO_DAY).all()
    assert (every["sos50_probability"] <= 100).all()
    assert (every["peak_probability"] == layers.NO_PERCENT).all()
    assert (every["sos50_season2_probability"] == layers.NO_PERCENT).all()


@pytest.mark.slow
def test_radar_of_another_radiometry_is_left_out(cube_path, weights, tmp_path, caplog):
    """With a warning that names the option; it is refused where it was asked for, or is all."""
    cube = open_cube(cube_path)
    sar = cube["sar"].to_dataset().load()
    sar.attrs["radiometry"] = "sigma0 from gamma0, approximate"
    changed = contract.build(cube["optical"].to_dataset().load(), sar)
    save_cube(changed, tmp_path / "cube.zarr")
    found = run(tmp_path / "cube.zarr", tmp_path / "maps", weights)
    assert "expect 'sigma0'" in caplog.text
    assert "made without radar." in caplog.text
    source = found.summary["source"]
    assert source["sensors"] == ["optical"]
    assert source["radar_left_out"] == "its radiometry is sigma0 from gamma0, approximate"
    without_radar = read(run(tmp_path / "cube.zarr", tmp_path / "w", weights, radar=False))
    for name, values in read(found).items():
        np.testing.assert_array_equal(values, without_radar[name], err_msg=name)
    both = map_without_pictures(
        tmp_path / "cube.zarr", 2018, tmp_path / "both", method="both", weights=weights
    )
    assert both.summary["source"]["sensors"] == ["optical"]
    with pytest.raises(CubeError, match=r"from gamma0.*expect 'sigma0'"):
        run(tmp_path / "cube.zarr", tmp_path / "again", weights, radar=True)
    save_cube(contract.build(None, sar), tmp_path / "radar.zarr")
    with pytest.raises(CubeError, match=r"from gamma0.*expect 'sigma0'"):
        run(tmp_path / "radar.zarr", tmp_path / "again", weights)


def test_a_year_without_images_names_the_years(cube_path, weights, tmp_path):
    with pytest.raises(CubeError, match=r"no observation around 2030.*2017-\d\d-\d\d to 2019"):
        map_without_pictures(cube_path, 2030, tmp_path / "m", method="deepcrop", weights=weights)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"method": "guess"},
            "'guess' is unknown; expected curve, deepcrop .the network. or both",
        ),
        ({"weights": "w.safetensors"}, "choose method 'deepcrop' or"),
        ({"radar": False}, "choose method 'deepcrop' or"),
        ({"definition": "ndvi"}, "choose method 'deepcrop' or"),
        ({"method": "deepcrop", "index": "gcc"}, "choose method 'curve' or"),
        ({"method": "deepcrop", "weights": "no.safetensors"}, r"no\.safetensors does not exist"),
    ],
)
def test_options_that_do_not_fit_are_refused(cube_path, tmp_path, options, words):
    with pytest.raises(DeepCropError, match=words):
        map_without_pictures(cube_path, 2018, tmp_path / "maps", **options)
    assert not list(tmp_path.iterdir())


def test_pixels_of_30_m_are_mapped_by_the_curve_and_not_by_the_network(tmp_path, weights):
    """The network was trained on 10 m; weights may say that they take 30 m."""
    path = tmp_path / "hls.zarr"
    save_cube(season_cube(rows=4, cols=6, pixel=30), path)
    with pytest.raises(CubeError, match=r"of this cube are 30 m; .*of 10 m.*--method curve"):
        run(path, tmp_path / "network", weights)
    check_pixels(InputCube.open(path).box, INPUTS | {"pixel": ["10 m", "30 m"]})
    result = map_without_pictures(path, 2018, tmp_path / "curve")
    with rasterio.open(result.path / "sos50.tif") as file:
        assert file.res == (30, 30)
        dates = file.read(1)[1:]
    np.testing.assert_allclose(dates, np.broadcast_to(120 + np.arange(6), dates.shape), atol=3)
