"""Configurations: what is refused, and that the named ones are what they say."""

import json
from dataclasses import fields, replace

import pytest

from deepcrop.errors import DeepCropError
from deepcrop.network import CONFIGS, Config


def test_paper_is_the_published_network():
    paper = CONFIGS["paper"]
    assert paper.optical == ("ndvi", "gcc")
    assert paper.dates == (30, 10)
    assert paper.period == (0, 31 + 365 - 1)  # thirteen months, 1 January to 31 January
    assert paper.trunk == (32, 64, 128)
    assert (paper.width, paper.heads, paper.width // paper.heads) == (900, 30, 30)
    assert (paper.feedforward, paper.layers) == (900, 1)
    assert paper.mlp == (10_000, 5_000, 1_000, 500)
    assert paper.stages == ("sos20", "sos50", "eos50", "eos20")
    assert paper.targets == "snapped"


def test_an_ablation_differs_from_its_model_in_what_its_name_says():
    def differences(name):
        one = CONFIGS[name]
        whole = CONFIGS[one.variant]
        return {f.name for f in fields(Config) if getattr(one, f.name) != getattr(whole, f.name)}

    # The only sensor of a network is not taken from its samples in training.
    assert differences("optical-only") == {"sensors", "fusion", "drop_optical"}
    assert differences("radar-only") == {"sensors", "fusion", "drop_radar"}
    assert differences("paper-each-layer") == {"fused_layers"}
    assert differences("paper-optical") == {"sensors", "fusion"}
    assert differences("cnn-only") == differences("paper-cnn") == {"encoder"}
    assert differences("transformer-only") == {"trunk", "fusion"}
    assert differences("no-fusion") == {"fusion"}
    assert differences("no-spatial-context") == {"spatial"}
    assert differences("snapped") == {"targets"}


@pytest.mark.parametrize("name", CONFIGS)
def test_settings_survive_json(name):
    stored = json.loads(json.dumps(CONFIGS[name].to_dict()))
    assert Config.from_dict(stored) == CONFIGS[name]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widht": 64}, "Unknown settings of a network: widht"),
        ({"width": "64"}, "width is '64'; expected int"),
        ({"trunk": 16}, "trunk is 16; expected a list"),
        ({"encoder": "lstm"}, "encoder is 'lstm'; expected 'attention' or 'convolution'"),
        ({"sensors": ["thermal"]}, "sensors is .*expected some of optical, radar"),
        ({"stages": []}, "stages is .*expected some of sos20"),
        ({"trunk": [16, 16]}, "expected three widths, or none"),
        ({"sensors": ["optical"]}, "fusion needs a trunk and both sensors"),
        ({"width": 60}, "multiple of 8"),
        ({"variant": "paper"}, "needs dates"),
        ({"fused_layers": "last"}, "fused_layers is 'last'; expected 'middle' or 'each'"),
        ({"period": [0, 395]}, "period is .*for the paper variant only"),
        (CONFIGS["paper"].to_dict() | {"period": [300, 20]}, "period is .*from -181 to 548"),
    ],
)
def test_what_cannot_be_built_is_refused(settings, message):
    with pytest.raises(DeepCropError, match=message):
        Config.from_dict(settings)


def test_paper_learns_snapped_dates_of_one_season():
    with pytest.raises(DeepCropError, match="one slot and snapped targets"):
        replace(CONFIGS["paper"], targets="continuous")
