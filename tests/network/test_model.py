"""The default network and its ablations: what must hold whatever the weights are."""

import math

import pytest
import torch
from tests.helpers.network_batches import at, make_batch, small

from deepcrop.network import CONFIGS, Labels, SensorFeatures, build
from deepcrop.network.model import Reading, positions
from deepcrop.stages import DAY_MAX, DAY_MIN

OURS = [name for name, config in CONFIGS.items() if config.variant == "default"]


def network(name="default", seed=0, **changes):
    torch.manual_seed(seed)
    return build(small(name, **changes)).eval()


def answer(net, batch, **how):
    with torch.no_grad():
        return net.probabilities(net(batch, **how))


def close(one, other, tolerance=1e-5):
    torch.testing.assert_close(one, other, atol=tolerance, rtol=0)


def differ(one, other):
    return (one - other).abs().max() > 1e-5


@pytest.mark.parametrize("name", OURS)
def test_probabilities_are_a_distribution_over_days_and_nothing(name):
    out = answer(network(name), make_batch())
    assert out.shape == (3, 2, 10, 148)
    close(out.sum(-1), torch.ones(3, 2, 10))


def test_bins_cover_all_day_numbers():
    days, edges = positions(CONFIGS["default"])
    assert edges[0] == DAY_MIN - 0.5
    assert edges[-6] < DAY_MAX + 0.5 <= edges[-1]
    assert edges.diff().unique().tolist() == [5]
    close(days, (edges[1::3] + edges[2::3]) / 2)  # the middle of three bins


@pytest.mark.parametrize("name", ["default", "cnn-only", "transformer-only", "no-spatial-context"])
def test_dense_equals_patches_at_every_pixel(name):
    net = network(name)
    tile = make_batch(samples=1, rows=22, cols=20)
    dense = answer(net, tile, dense=True)
    for row in range(5):
        for col in range(3):
            close(answer(net, at(tile, row, col))[0], dense[3 * row + col])
    with torch.no_grad():  # the temporal part over some of the pixels
        seen = net.encode(tile, dense=True)
        part = net.head({name: series.select(slice(4, 9)) for name, series in seen.items()})
        close(net.probabilities(part), dense[4:9])


@pytest.mark.parametrize("name", OURS)
def test_order_of_dates_does_not_matter(name):
    net, batch = network(name), make_batch()
    o, r = torch.randperm(7), torch.randperm(5)
    mixed = batch._replace(
        optical=batch.optical[:, o],
        optical_days=batch.optical_days[:, o],
        radar=batch.radar[:, r],
        radar_days=batch.radar_days[:, r],
        orbits=batch.orbits[:, r],
    )
    close(answer(net, batch), answer(net, mixed))


@pytest.mark.parametrize("name", OURS)
def test_padding_does_not_matter(name):
    net, batch, long = network(name), make_batch(), make_batch(optical=16, radar=8, seed=1)
    padded = [torch.cat(pair, 1) for pair in zip(batch, long, strict=True)]
    padded[1][:, 7:] = padded[3][:, 5:] = torch.nan
    close(answer(net, batch), answer(net, type(batch)(*padded)))


@pytest.mark.parametrize("name", OURS)
def test_masked_dates_have_no_influence(name):
    """Where the pixel itself is masked, neither neighbours nor the day count."""
    net, batch = network(name), make_batch()
    batch.optical[:, 3, :, 9, 9] = torch.nan
    batch.radar[:, 2, 1, 9, 9] = torch.nan
    other = batch._replace(optical=batch.optical.clone(), radar_days=batch.radar_days.clone())
    other.optical[:, 3] += 0.1
    other.radar_days[:, 2] += 50
    assert torch.equal(answer(net, batch), answer(net, other))


def test_a_sensor_may_be_missing():
    net, batch = network(), make_batch()
    for sensor, count in (("optical", 7), ("radar", 5)):
        days = {f"{sensor}_days": torch.full((3, count), torch.nan)}
        images = {sensor: torch.full_like(getattr(batch, sensor), torch.nan)}
        none = {name: getattr(batch, name)[:, :0] for name in (sensor, f"{sensor}_days")}
        none |= {"orbits": batch.orbits[:, :0]} if sensor == "radar" else {}
        expected = answer(net, batch._replace(**none))
        close(expected, answer(net, batch._replace(**days)))
        close(expected, answer(net, batch._replace(**images)))
        assert differ(expected, answer(net, batch))
    assert answer(net, make_batch(optical=0, radar=0)).isfinite().all()


def test_what_an_ablation_does_not_read_has_no_influence():
    batch, other = make_batch(clouds=0), make_batch(clouds=0, seed=1)
    same_radar = other._replace(**{k: getattr(batch, k) for k in ("radar", "radar_days", "orbits")})
    same_optical = other._replace(optical=batch.optical, optical_days=batch.optical_days)
    edges = batch._replace(optical=batch.optical.clone(), radar=batch.radar.clone())
    for images in (edges.optical, edges.radar):
        images[..., :9, :] = torch.nan
        images[..., 10:] *= 1.1
    for name in OURS:
        net = network(name)
        one = answer(net, batch)
        assert torch.equal(one, answer(net, same_radar)) == (name == "radar-only")
        assert torch.equal(one, answer(net, same_optical)) == (name in ("optical-only", "evi-only"))
        alone = name in ("transformer-only", "no-spatial-context", "evi-only")
        assert torch.equal(one, answer(net, edges)) == alone


def test_bins_follow_each_other_in_time():
    """Each position gives three bins, slot by slot and stage by stage within each."""
    net = network()
    with torch.no_grad():
        net.bins.weight.zero_()
        net.bins.bias.copy_(torch.arange(60.0))
        logits = net(make_batch())
    for slot in range(2):
        for stage in range(10):
            expected = 10 * slot + stage + torch.tensor([0.0, 20, 40]).repeat(49)
            assert torch.equal(logits[0, slot, stage, :-1], expected)


def test_reading_by_hand():
    """One image on day 10, of weight 1/2, whose features are all 1; positions on days 4 and 10."""
    reading = Reading(features=2, width=8)
    with torch.no_grad():
        for layer in (reading.value, reading.weight):
            layer.weight.zero_()
            layer.bias.zero_()
        reading.value.bias += 1
        reading.out.weight.copy_(torch.eye(8))
        reading.out.bias.zero_()
        one = torch.ones(1, 1, 1, 1)
        series = SensorFeatures(
            one, one, one, one[..., 0] > 0, torch.tensor([[10.0]]), torch.zeros(1, 1, 3)
        )
        y = reading(series, torch.tensor([4.0, 10.0]), None)[0]
    for k, width in enumerate([6, 15, 40, 100]):
        weight = 0.5 * math.exp(-6 / width)
        average = weight / (weight + 0.1)
        assert y[0, k].item() == pytest.approx(average, rel=1e-5)
        assert y[0, 4 + k].item() == pytest.approx(-6 / width * average, rel=1e-5)
        assert y[1, k].item() == pytest.approx(0.5 / 0.6, rel=1e-5)
        assert y[1, 4 + k].item() == 0


def test_fusion_gates_the_sensors():
    net, batch = network(), make_batch()
    blind = batch._replace(optical_days=batch.optical_days * torch.nan)
    with torch.no_grad():
        net.fusion.conv.weight.zero_()
        net.fusion.conv.bias[:8] = -1e9  # the gates of the optical kernels
        net.fusion.conv.bias[8:] = 1e9
    assert torch.equal(answer(net, batch), answer(net, blind))
    net.fusion = None  # open gates: a plain sum
    assert differ(answer(net, batch), answer(net, blind))


@pytest.mark.parametrize("name", ["default", "cnn-only", "paper"])
def test_half_precision_trains_and_stays_close(name):
    torch.manual_seed(0)
    net, batch = build(small(name)), make_batch(samples=8)
    seen = net.eval().encode(batch)
    with torch.autocast("cpu", torch.bfloat16):
        half = net.head(net.encode(batch))
    torch.testing.assert_close(half.float(), net.head(seen), atol=0.1, rtol=0)
    day = 300 * torch.rand(8, *half.shape[1:3])
    net.loss(half.float(), seen, Labels(day, day * 0, day < 0)).backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())


def test_reading_knows_only_how_far_dates_are_apart():
    """The part that brings observations to positions moves with the calendar; exactly so."""
    net, batch = network(), make_batch()
    moved = batch._replace(optical_days=batch.optical_days + 37, radar_days=batch.radar_days + 37)
    with torch.no_grad():
        for sensor, reading in net.readings.items():
            assert isinstance(reading, Reading)
            here = reading(net.encode(batch)[sensor], net.days, None)
            close(here, reading(net.encode(moved)[sensor], net.days + 37, None))


def test_the_network_knows_the_calendar():
    """Moving all dates is no symmetry of the whole: a season belongs to the year it peaks in."""
    net, batch = network(), make_batch()
    step = net.config.bins * net.config.bin_days
    moved = batch._replace(
        optical_days=batch.optical_days + step, radar_days=batch.radar_days + step
    )
    bins, later = answer(net, batch)[..., :-1], answer(net, moved)[..., :-1]
    assert differ(bins[..., :-3], later[..., 3:])


def test_gain_of_the_radar_matters_only_through_its_level():
    batch = make_batch()
    louder = batch._replace(radar=batch.radar + torch.tensor([2.0, -1.5])[:, None, None])
    net = network(drop_level=1.0, drop_radar=0.0, drop_optical=0.0)
    assert differ(answer(net, batch), answer(net, louder))
    net.train()
    close(answer(net, batch), answer(net, louder))


def test_sensors_are_dropped_in_training_and_never_both():
    batch = make_batch(samples=64)
    no_radar = batch._replace(radar_days=torch.full_like(batch.radar_days, torch.nan))
    no_optical = batch._replace(optical_days=torch.full_like(batch.optical_days, torch.nan))
    net = network(drop_radar=0.5, drop_optical=0.5, drop_level=0.0)
    without = [answer(net, no_radar), answer(net, no_optical)]
    assert differ(without[0], answer(net, batch))
    net.train()
    out = answer(net, batch)
    lost = [(out - w).abs().amax((1, 2, 3)) < 1e-6 for w in without]
    assert (lost[0] ^ lost[1]).all()
    assert 16 < lost[0].sum() < 48


def test_same_seed_same_network_same_training():
    def step(seed):
        net = network(seed=seed).train()
        out = net(make_batch())
        out.square().sum().backward()
        return out, [p.grad for p in net.parameters()]

    (one, gradients), (other, again), (third, _) = step(0), step(0), step(1)
    assert torch.equal(one, other)
    assert all(torch.equal(a, b) for a, b in zip(gradients, again, strict=True))
    assert not torch.equal(one, third)


@pytest.mark.parametrize("name", OURS)
def test_gradient_reaches_every_parameter(name):
    net, batch = network(name), make_batch(optical=30, radar=30)
    seen = net.encode(batch)
    labels = random_labels(3)
    net.loss(net.head(seen), seen, labels).backward()
    for parameter, values in net.named_parameters():
        assert values.grad is not None, parameter
        assert values.grad.abs().max() > 0, parameter


def random_labels(samples, none=True):
    day = 50 + 200 * torch.rand(samples, 2, 10)
    no = torch.zeros_like(day, dtype=torch.bool)
    no[:, 1] = none
    return Labels(day, torch.full_like(day, 4.0), no)


def test_snapped_targets_are_dates_of_images():
    """With images on days 100 and 200 only, labels of 120 and 110 are the same, 160 is not."""
    batch = make_batch(samples=1, optical=2, radar=0, clouds=0)
    batch.optical_days[:] = torch.tensor([100.0, 200.0])
    losses = {}
    for name in ("snapped", "default"):
        net = network(name)
        seen = net.encode(batch)
        out = net.head(seen)
        for day in (110.0, 120.0, 160.0):
            values = torch.full((1, 2, 10), day)
            labels = Labels(values, values * 0 + 2, values < 0)
            losses[name, day] = net.loss(out, seen, labels).item()
    assert losses["snapped", 110.0] == losses["snapped", 120.0] != losses["snapped", 160.0]
    assert losses["default", 110.0] != losses["default", 120.0]


def test_temperature_flattens_the_distribution_of_its_stage():
    net, batch = network(), make_batch()
    with torch.no_grad():
        logits = 20 * net.head(net.encode(batch))
        before = net.probabilities(logits)
        net.log_temperature[2] = 1.0
        after = net.probabilities(logits)
    assert (after[:, :, 2].amax(-1) < before[:, :, 2].amax(-1)).all()
    assert torch.equal(after[:, :, [0, 1, *range(3, 10)]], before[:, :, [0, 1, *range(3, 10)]])
    assert "log_temperature" in net.state_dict()


def test_no_start_lies_after_its_peak_and_no_end_before_it():
    net = network(threshold=0.0)
    with torch.no_grad():
        seen = net.encode(make_batch())
        dates = net.decode(40 * net.head(seen), seen)
    for first in (0, 5):  # the camera's dates, the curve's
        days = dates.day[..., first : first + 5]
        start, peak, end = days[..., :2], days[..., 2:3], days[..., 3:]
        assert (start < peak + 40).all()
        assert (end > peak - 40).all()


def test_in_season_an_interval_holds_all_that_the_season_could_be():
    """Two seasons that are nearly as likely; over the whole year the likelier one is chosen."""
    net = network()
    logits = torch.full((1, 2, 10, net.edges.numel()), -20.0)
    spring, autumn = (10, 14, 20, 26, 30), (80, 84, 90, 96, 100)  # bins
    for k in range(10):
        logits[..., k, spring[k % 5]], logits[..., k, autumn[k % 5]] = math.log(0.6), math.log(0.4)
    first, last = (net.edges[torch.tensor(2 * bins)] for bins in (spring, autumn))
    whole_year, in_season = (net.decode(logits, {}, in_season=it) for it in (False, True))
    assert (whole_year.low >= first).all()
    assert (whole_year.high <= first + 5).all()
    assert (in_season.low <= first + 5).all()
    assert (in_season.high >= last).all()
    torch.testing.assert_close(in_season.probability, whole_year.probability)


@pytest.mark.slow
def test_learns_eight_seasons_by_heart():
    """NDVI rises and falls on days of its own in each sample; dates within two days."""
    torch.manual_seed(3)
    batch = make_batch(samples=8, optical=24, radar=4, clouds=0)
    days = torch.linspace(0, 360, 24).expand(8, 24)
    start = torch.linspace(60, 200, 8)[:, None]
    green = torch.sigmoid((days - start) / 10) * torch.sigmoid((start + 110 - days) / 10)
    red, nir = 0.15 - 0.12 * green, 0.2 + 0.3 * green
    bands = torch.stack([0.05 + 0 * red, 0.08 + 0 * red, red, nir], 2)
    batch = batch._replace(
        optical=bands[..., None, None].expand(8, 24, 4, 18, 18).contiguous(), optical_days=days
    )
    offsets = torch.tensor([-14.0, 0, 55, 110, 124]).repeat(2)
    day = torch.stack([start + offsets, torch.full((8, 10), torch.nan)], 1)
    labels = Labels(day, torch.full_like(day, 2.0), day.isnan())

    net = network(trunk=(4, 4, 8), drop_radar=0.0, drop_optical=0.0).train()
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3, weight_decay=0)
    for _ in range(120):
        optimiser.zero_grad()
        seen = net.encode(batch)
        loss = net.loss(net.head(seen), seen, labels)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
    dates = net.eval().decode(net(batch), net.encode(batch))
    assert (dates.day[:, 0] - day[:, 0]).abs().max() < 2
    assert dates.day[:, 1].isnan().all()
    assert (dates.probability[:, 0] > 0.9).all()
    assert ((dates.low[:, 0] <= day[:, 0]) & (day[:, 0] <= dates.high[:, 0])).float().mean() > 0.8
