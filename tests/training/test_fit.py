import csv
import sys
import types
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.helpers.network_batches import small
from tests.helpers.training_examples import example

from deepcrop.errors import DeepCropError
from deepcrop.network import Config, build, load
from deepcrop.network.config import DEFAULT, PAPER
from deepcrop.training import fit as fitting
from deepcrop.training.augment import Augmentation
from deepcrop.training.examples import collate, predict
from deepcrop.training.experiment import read_experiment
from deepcrop.training.fit import (
    Source,
    Training,
    calibrate,
    fit,
    learning_rate_share,
    make_optimizer,
)

SMALL = replace(DEFAULT, trunk=(4, 4, 4), width=16, heads=2, feedforward=32, layers=1)
CALM = Augmentation(
    drop_optical_probability=0, optical_gap_probability=0, short_period_probability=0,
    time_shift_std=5, time_stretch_std=0, unmasked_cloud_share=0, coarse_optical_probability=0,
    coarse_radar_probability=0,
)  # fmt: skip
HOW = Training(steps=30, learning_rate=5e-3, eval_interval=10, augmentation=CALM)


def source(count, seed, side=18, pixels=0, batch=8):
    rng = np.random.default_rng(seed)
    return Source(
        "made up",
        [example(rng, side, dates=14, radar_dates=6) for _ in range(count)],
        1,
        batch,
        pixels,
    )


def new(config: Config = SMALL, seed=0):
    torch.manual_seed(seed)
    return build(config)


def log(folder):
    with (folder / "log.csv").open() as file:
        return list(csv.DictReader(file))


@pytest.mark.slow
def test_it_learns_and_writes_what_it_says(tmp_path):
    network = new()
    examples = source(48, 1)
    path = fit(network, [examples], [source(16, 2)], replace(HOW, steps=100), tmp_path, {"a": 1})
    test = source(32, 3)
    answer = predict(network, test.examples)
    truth = np.concatenate([one.day for one in test.examples])
    error = np.abs(answer.day - truth)[:, 0, :5]
    assert np.nanmedian(error) < 12  # their own spread is 15 days, and the median error 10
    assert np.isfinite(answer.day[:, 0]).all()
    assert np.isnan(answer.day[:, 1]).all()  # there is no second season
    again, about = load(path)
    assert about["card"] == {"a": 1}
    np.testing.assert_array_equal(predict(again, test.examples).day, answer.day)
    rows = log(tmp_path)
    assert [int(row["step"]) for row in rows] == [*range(10, 101, 10)]
    assert float(rows[-1]["loss"]) < float(rows[0]["loss"])


@pytest.mark.slow
def test_interrupted_training_goes_on_to_the_same_result(tmp_path):
    class Stopped(Exception):
        pass

    def stop(step):
        if step == 17:
            raise Stopped

    sources, held_out = [source(20, 1)], [source(8, 2)]
    whole = fit(new(), sources, held_out, HOW, tmp_path / "whole")
    with pytest.raises(Stopped):
        fit(new(), sources, held_out, HOW, tmp_path / "parts", on_step=stop)
    assert not (tmp_path / "parts" / "weights.safetensors").exists()
    with pytest.raises(DeepCropError, match="another training"):  # it began from other weights
        fit(new(seed=9), sources, held_out, HOW, tmp_path / "parts")
    parts = fit(new(), sources, held_out, HOW, tmp_path / "parts")
    one, two = (load(path)[0].state_dict() for path in (whole, parts))
    assert all(torch.equal(one[name], two[name]) for name in one)
    ahead = fit(new(), sources, held_out, HOW, tmp_path / "ahead", workers=1)
    assert all(torch.equal(one[name], part) for name, part in load(ahead)[0].state_dict().items())
    logs = [log(tmp_path / name) for name in ("whole", "parts")]
    for row in (*logs[0], *logs[1]):
        row.pop("seconds")
    assert logs[0][-1] == logs[1][-1]


@pytest.mark.slow
def test_the_log_counts_on_after_an_interruption(tmp_path, monkeypatch):
    class Stopped(Exception):
        pass

    def stop(step):
        if step == 17:
            raise Stopped

    clock = iter(range(0, 10_000, 7))  # each look at it is seven seconds later
    monkeypatch.setattr("deepcrop.training.fit.time.monotonic", lambda: float(next(clock)))
    with pytest.raises(Stopped):
        fit(new(), [source(8, 1)], [source(8, 2)], HOW, tmp_path, on_step=stop)
    fit(new(), [source(8, 1)], [source(8, 2)], HOW, tmp_path)
    assert [row["seconds"] for row in log(tmp_path)] == ["7", "14", "21"]


def test_the_rate_rises_and_falls_and_the_gradient_is_clipped(tmp_path, monkeypatch):
    def schedule(step, steps):
        return learning_rate_share(Training(steps=steps), step)

    assert schedule(0, 1000) == pytest.approx(1 / 50)
    assert schedule(49, 1000) == schedule(50, 1000) == 1
    assert schedule(525, 1000) == pytest.approx(0.505)
    assert schedule(1000, 1000) == pytest.approx(0.01)
    assert all(0 < schedule(step, steps) <= 1 for steps in (1, 7, 40) for step in range(steps))
    step, seen = torch.optim.AdamW.step, []

    def watched(self, *given):
        gradients = [p.grad for group in self.param_groups for p in group["params"]]
        norm = torch.cat([g.flatten() for g in gradients if g is not None]).norm()
        seen.append((self.param_groups[0]["lr"], self.param_groups[1]["lr"], float(norm)))
        return step(self, *given)

    monkeypatch.setattr(torch.optim.AdamW, "step", watched)
    for clip in (1e-3, 1e6):
        how = replace(HOW, steps=20, eval_interval=20, grad_clip=clip)
        fit(new(), [source(8, 1)], [source(8, 2)], how, tmp_path / str(clip))
    rates, others, norms = np.array(seen).T
    np.testing.assert_allclose(rates[:20], [HOW.learning_rate * schedule(k, 20) for k in range(20)])
    assert (others == rates).all()
    assert norms[:20].max() == pytest.approx(1e-3, rel=1e-3)
    assert norms[20:].min() > 1e-2


def test_vectors_are_not_decayed():
    network = new(DEFAULT)
    how = replace(HOW, weight_decay=0.3)
    decayed, free = make_optimizer(network, how).param_groups
    assert (decayed["weight_decay"], free["weight_decay"]) == (0.3, 0)
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    some, others = ([names[id(one)] for one in group["params"]] for group in (decayed, free))
    assert sorted([*some, *others]) == sorted(names.values())  # each once
    assert all(network.get_parameter(name).ndim >= 2 for name in some)
    large = {name for name in others if network.get_parameter(name).ndim >= 2}
    assert {name.rpartition(".")[2] for name in large} == {"nearness"}


def test_tensorboard_gets_what_the_log_gets(tmp_path, monkeypatch):
    told = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            told.append((folder, purge_step))

        def add_scalar(self, name, value, step):
            told.append((name, float(f"{value:.5g}"), step))

        def flush(self):
            told.append("flush")

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    fit(new(), [source(8, 1)], [source(8, 2)], replace(HOW, steps=2, eval_interval=1), tmp_path)
    expected = [(str(tmp_path), 1)]
    for row in log(tmp_path):
        step = int(row.pop("step"))
        expected += [*((name, float(value), step) for name, value in row.items()), "flush"]
    assert told == expected
    assert len(told) == 1 + 2 * 4
    told.clear()
    fit(new(), [source(8, 1)], [source(8, 2)], replace(HOW, steps=2, eval_interval=1), tmp_path)
    assert told == [(str(tmp_path), 3)]  # nothing that a checkpoint knows is forgotten


def test_a_look_that_was_taken_twice_is_once_in_tensorboard(tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")

    class Stopped(Exception):
        pass

    def stopped(*given):
        raise Stopped

    given = new(), [source(8, 1)], [source(8, 2)], replace(HOW, steps=3, eval_interval=1), tmp_path
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fitting, "_save_checkpoint", stopped)
        with pytest.raises(Stopped):  # after the look, before its checkpoint
            fit(*given)
    fit(new(), *given[1:])
    found = events.EventAccumulator(str(tmp_path)).Reload()
    looks = [one.step for one in found.Scalars("held_out_made up")]
    assert looks == [int(row["step"]) for row in log(tmp_path)] == [1, 2, 3]


def test_a_checkpoint_of_another_training_is_refused(tmp_path):
    fit(new(), [source(8, 1)], [source(8, 2)], replace(HOW, steps=10), tmp_path)
    with pytest.raises(DeepCropError, match="another training"):
        fit(new(), [source(8, 1)], [source(8, 2)], replace(HOW, steps=20), tmp_path)
    for seeds in ((3, 2), (1, 3)):  # as many examples, but others
        with pytest.raises(DeepCropError, match="another training"):
            fit(new(), *([source(8, s)] for s in seeds), replace(HOW, steps=10), tmp_path)
    (tmp_path / "checkpoint.pt").write_bytes(b"torn")
    with pytest.raises(DeepCropError, match=r"checkpoint.pt cannot be read.*delete it"):
        fit(new(), [source(8, 1)], [source(8, 2)], replace(HOW, steps=10), tmp_path)


def test_nothing_to_learn_from_is_said(tmp_path):
    with pytest.raises(DeepCropError, match="'empty' has no example"):
        fit(new(), [Source("empty", [])], [source(8, 2)], HOW, tmp_path)


def test_it_stops_early_and_keeps_the_best(tmp_path):
    how = replace(
        HOW, learning_rate=0.5, steps=400, eval_interval=5, patience=3
    )  # it cannot but get worse
    fit(new(), [source(16, 1)], [source(8, 2)], how, tmp_path)
    rows = [float(row["held_out_made up"]) for row in log(tmp_path)]
    assert len(rows) == int(np.argmin(rows)) + 1 + 3 < 40


def test_tiles_and_patches_in_one_training(tmp_path):
    sources = [source(6, 1, side=22, pixels=9, batch=3), source(12, 2)]
    network = new()
    fit(network, sources, [source(4, 3, side=22, pixels=25, batch=2)], HOW, tmp_path)
    answer = predict(network, [sources[0].examples[0]], dense=True)
    assert answer.day.shape == (25, 2, 10)


@pytest.mark.parametrize(
    "name", ["paper", "paper-each-layer", "paper-optical", "paper-cnn", "paper-transformer"]
)
def test_the_published_networks_train_by_their_recipe(tmp_path, name):
    """Thirty steps of the recipe, at the rate of a network that has thousandths of the weights."""
    (phase,) = read_experiment("paper", name).phases
    training = replace(phase.training, steps=30, eval_interval=10, learning_rate=2e-3)
    assert (training.schedule, training.augmentation, training.weight_decay) == (
        "constant",
        None,
        0,
    )
    fit(new(small(name)), [source(16, 1)], [source(8, 2)], training, tmp_path)
    rows = log(tmp_path)
    assert float(rows[-1]["loss"]) < 0.7 * float(rows[0]["loss"])
    network = load(tmp_path / "weights.safetensors")[0]
    assert predict(network, source(3, 5).examples).day.shape == (3, 1, 4)


def test_without_augmentation_examples_stay_as_they_are():
    training = replace(HOW, augmentation=None)
    one = source(1, 1, batch=1)
    batch, labels, *_ = fitting._TrainingBatches([one], training, PAPER)[3]
    np.testing.assert_array_equal(batch.optical[0], one.examples[0].optical)
    np.testing.assert_array_equal(batch.radar[0], one.examples[0].radar)
    np.testing.assert_array_equal(labels.day[0, 0], one.examples[0].day[0, 0, [0, 1, 3, 4]])
    assert learning_rate_share(replace(training, schedule="constant"), 29) == 1


def test_mixed_precision_where_the_hardware_has_it(tmp_path, monkeypatch):
    losses = {}
    for able in (False, True):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: {"amx_bf16": able})
        for wanted in (False, True):
            how, out = replace(HOW, steps=1, bfloat16=wanted), tmp_path / f"{able}{wanted}"
            fit(new(), [source(8, 1)], [source(8, 2)], how, out)
            losses[able, wanted] = log(out)[0]["loss"]
    assert losses[False, True] == losses[False, False] == losses[True, False]
    assert losses[True, True] != losses[True, False]


def test_calibration_widens_what_is_too_sure():
    network = new()
    network.bins.weight.data.mul_(60)
    held_out = source(24, 4)
    calibrate(network, [held_out])
    assert (network.log_temperature[:5] > 0.3).all()


def test_each_date_is_calibrated_by_the_last_source_that_knows_it():
    network = new()
    network.bins.weight.data.mul_(8)
    both = source(24, 4)
    examples = source(24, 5).examples
    said = predict(network, examples).day  # no surprise to the network
    camera_only = [
        replace(one, day=np.where(np.arange(10) < 5, day, np.nan)[None], none=one.none & False)
        for one, day in zip(examples, said, strict=True)
    ]
    calibrate(network, [both])
    alone = network.log_temperature.clone()
    calibrate(network, [both, Source("cameras", camera_only, batch=8)])
    together = network.log_temperature.clone()
    assert torch.equal(together[5:], alone[5:])
    assert not torch.equal(together[:5], alone[:5])


def test_batches_pad_dates_and_choose_events():
    rng = np.random.default_rng(0)
    examples = [example(rng, dates=5), example(rng, dates=9, radar_dates=0)]
    batch, labels = collate(examples, SMALL)
    assert batch.optical.shape == (2, 9, 4, 18, 18)
    assert batch.radar.shape == (2, 12, 2, 18, 18)
    assert torch.isnan(batch.optical_days[0, 5:]).all()
    assert torch.isnan(batch.radar_days[1]).all()
    assert labels.day.shape == (2, 2, 10)
    four = collate(examples, PAPER)[1]
    assert four.day.shape == (2, 1, 4)
    np.testing.assert_array_equal(four.day[:, 0], labels.day[:, 0, [0, 1, 3, 4]])
