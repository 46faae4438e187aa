"""Weights on disk: what is written is read, and what does not fit is refused by name."""

import json
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests.helpers.network_batches import make_batch, small

from deepcrop.errors import CubeError, DeepCropError
from deepcrop.network import CONFIGS, INPUTS, build, check_cube, check_near_infrared, load, save
from deepcrop.network.weights import FORMAT


@pytest.fixture
def path(tmp_path):
    torch.manual_seed(0)
    save(build(CONFIGS["default"]), tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def rewrite(path, **changes):
    """Change the metadata of a file of weights."""
    about = {
        "format": FORMAT,
        "software": "deepcrop 0",
        "config": json.dumps(CONFIGS["default"].to_dict()),
        "inputs": json.dumps(INPUTS),
        "card": "{}",
    }
    save_file(load_file(path), path, about | changes)


@pytest.mark.parametrize("name", ["default", "cnn-only", "paper", "paper-transformer"])
def test_what_is_saved_is_read(name, tmp_path):
    torch.manual_seed(1)
    network = build(small(name)).eval()
    if name == "default":
        network.log_temperature += torch.linspace(0.1, 1.0, 10)
    save(network, tmp_path / "w.safetensors", card={"trained on": "random numbers"})
    before = torch.get_rng_state()
    again, about = load(tmp_path / "w.safetensors")
    assert torch.equal(torch.get_rng_state(), before)
    assert not again.training
    assert again.config == network.config
    assert about["card"] == {"trained on": "random numbers"}
    assert about["inputs"]["radiometry"] == ["sigma0"]
    batch = make_batch()
    with torch.no_grad():
        assert torch.equal(network(batch), again(batch))
    seen = network.encode(batch)
    for one, other in zip(
        network.decode(network(batch), seen), again.decode(again(batch), seen), strict=True
    ):
        assert torch.equal(one.nan_to_num(), other.nan_to_num())


def test_scales_are_those_of_the_training(path):
    tensors = load_file(path)
    tensors["branches.optical.zero"] += 1
    save_file(tensors, path, {"format": FORMAT})
    rewrite(path)
    network, _ = load(path)
    assert network.branches.optical.zero[0, 0, 0] == 1.5


def test_unknown_settings_are_refused(path):
    rewrite(path, config=json.dumps({"width": 64, "rotary": True}))
    with pytest.raises(DeepCropError, match=r"weights.safetensors.*Unknown settings.*rotary"):
        load(path)


def test_tensors_that_do_not_fit_are_refused(path):
    rewrite(path, config=json.dumps(CONFIGS["optical-only"].to_dict()))
    with pytest.raises(DeepCropError, match=r"cannot be used: 22 of its tensors.*branches.radar"):
        load(path)


def test_files_of_others_are_refused(path, tmp_path):
    rewrite(path, format="safetensors of another")
    with pytest.raises(DeepCropError, match="another program or version"):
        load(path)
    path.write_bytes(b"no weights")
    with pytest.raises(DeepCropError, match="damaged or no safetensors file"):
        load(path)
    with pytest.raises(DeepCropError, match="does not exist"):
        load(tmp_path / "nowhere.safetensors")


def test_a_cube_of_another_radiometry_is_refused(cube):
    check_cube(cube, INPUTS, ("optical", "radar"))
    cube["sar"].attrs["radiometry"] = "sigma0 from gamma0, approximate"
    check_cube(cube, INPUTS, ("optical",))
    with pytest.raises(CubeError, match=r"'sigma0 from gamma0, approximate'; these .* 'sigma0'"):
        check_cube(cube, INPUTS, ("optical", "radar"))


def test_a_cube_of_another_near_infrared_is_refused(cube):
    check_near_infrared(cube, INPUTS, ("optical", "radar"))
    cube["optical"].attrs["nir"] = "B07"
    check_near_infrared(cube, INPUTS | {"nir": "B07"}, ("optical",))
    check_near_infrared(cube, INPUTS, ("radar",))
    with pytest.raises(
        CubeError, match="near infrared of this cube is B07; these weights expect B08"
    ):
        check_near_infrared(cube, INPUTS, ("optical",))


def test_the_package_needs_no_torch():
    code = "import deepcrop, deepcrop.cli, sys; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_torch_the_network_says_what_to_install():
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "try:\n    import deepcrop.network\n"
        "except Exception as error:\n    print(type(error).__name__, error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("DeepCropError The network needs 'pip install deepcrop[network]'")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"config": "{"}, "its description cannot be read"),
        ({"config": "[" * 100_000}, "nested too deeply"),
        ({"config": "[]"}, "cannot be read|Settings of a network"),
        ({"config": '{"width": 1000000000}'}, "width is 1000000000; expected 1 to"),
        ({"config": '{"layers": 1000000000}'}, "layers is 1000000000"),
        ({"config": '{"heads": 0}'}, "heads is 0"),
        ({"config": '{"trunk": [16, -1, "a"]}'}, "trunk is"),
        ({"config": '{"drop_radar": NaN}'}, "drop_radar is nan"),
        ({"config": '{"width": 8000, "feedforward": 100000}'}, "tensors do not fit"),
        ({"inputs": "[]"}, "its description cannot be read"),
        ({"inputs": '{"radiometry": 3}'}, "no list of the radiometry"),
        ({"card": "3"}, "no mapping"),
    ],
)
def test_a_description_of_any_damage_is_refused(path, changes, words):
    rewrite(path, **changes)
    with pytest.raises(DeepCropError, match=words):
        load(path)


def test_no_description_at_all_is_refused(path):
    save_file(load_file(path), path, {"format": FORMAT})
    with pytest.raises(DeepCropError, match="its description cannot be read"):
        load(path)


def test_damaged_numbers_and_other_types_are_refused(path):
    tensors = load_file(path)
    name = next(name for name in tensors if tensors[name].ndim == 2)
    tensors[name][0, 0] = torch.nan
    save_file(tensors, path, {"format": FORMAT})
    rewrite(path)
    with pytest.raises(DeepCropError, match=rf"1 of its tensors hold NaN or infinity.*{name}"):
        load(path)
    tensors[name] = torch.zeros_like(tensors[name]).double()
    save_file(tensors, path, {"format": FORMAT})
    rewrite(path)
    with pytest.raises(DeepCropError, match=r"expected .* of torch.float32, found .*float64"):
        load(path)
