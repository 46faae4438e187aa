"""The published network: dates it reads, what must hold whatever the weights are, a training."""

import pytest
import torch
from tests.helpers.network_batches import at, make_batch, small

from deepcrop.network import CONFIGS, Labels, SensorFeatures, build
from deepcrop.network.paper import select_dates

PAPER = [name for name, config in CONFIGS.items() if config.variant == "paper"]


def network(name="paper", seed=0):
    torch.manual_seed(seed)
    return build(small(name)).eval()


def answer(net, batch, **how):
    with torch.no_grad():
        return net(batch, **how).sigmoid()


def close(one, other):
    torch.testing.assert_close(one, other, atol=1e-5, rtol=0)


def series(days, seen):
    """One pixel whose features are its days."""
    days = torch.tensor([days])
    features = days[:, None, :, None]
    return SensorFeatures(
        features, features, features, torch.tensor([[seen]]), days, torch.zeros(1, 1, 3)
    )


def test_dates_are_chosen_evenly_by_rank_among_those_seen():
    """Eight seen of nine; of ranks 0 ... 7 four even ones: 0, 2.33, 4.67, 7."""
    days = [50.0, 10, 20, 30, 40, 60, 70, 80, 90]
    seen = [True, True, True, False, True, True, True, True, True]
    tokens = select_dates(series(days, seen), 4, sensor=1)
    assert tokens.days.tolist() == [[10, 40, 70, 90]]
    assert tokens.branch[0, :, 0].tolist() == [10, 40, 70, 90]
    assert tokens.valid.all()
    assert (tokens.sensor == 1).all()


def test_fewer_dates_are_all_taken_and_the_rest_is_missing():
    tokens = select_dates(series([30.0, 10, 20], [True, True, False]), 4, sensor=0)
    assert tokens.days[0, :2].tolist() == [10, 30]
    assert tokens.valid.tolist() == [[True, True, False, False]]
    assert tokens.branch[0, :, 0].tolist() == [10, 30, 0, 0]


def test_tokens_of_both_sensors_come_in_order_of_time():
    net, batch = network(), make_batch(optical=9, radar=7)
    tokens = net.tokens(net.encode(batch))
    for days, seen, sensor in zip(tokens.days, tokens.valid, tokens.sensor, strict=True):
        assert len(days) == 10
        assert (days[seen].diff() >= 0).all()
        assert not seen[seen.sum() :].any()  # what is missing comes last
        assert sensor[seen].sum() == 4


def test_only_images_and_labels_of_the_thirteen_months_count():
    net, batch = network(), make_batch(optical=9, radar=7)
    first, last = net.config.period
    assert (batch.optical_days < first).any()
    assert (batch.radar_days > last).any()
    seen = net.encode(batch)
    tokens = net.tokens(seen)
    days = tokens.days[tokens.valid]
    assert ((days >= first) & (days < last + 1)).all()
    # The same as if the images of other months did not exist.
    inside = [((day >= first) & (day < last + 1)) for day in (batch.optical_days, batch.radar_days)]
    alone = batch._replace(
        optical_days=batch.optical_days.where(inside[0], torch.nan),
        radar_days=batch.radar_days.where(inside[1], torch.nan),
    )
    close(answer(net, batch), answer(net, alone))

    def loss(day):
        day = torch.tensor([[day]]).expand(3, 1, 4)
        with torch.no_grad():
            return net.loss(net.head(seen), seen, Labels(day, day * 0, day > 1e9))

    assert loss(-60.0) == loss(450.0) == 0  # unknown, no image near them
    assert loss(395.5) > 0


def test_fusion_reads_the_middle_layer_or_each_layer():
    batch = make_batch(samples=1, clouds=0)
    middle, each = network(), network("paper-each-layer")
    each.branches.load_state_dict(middle.branches.state_dict())
    wide = each.encode(batch)["optical"].middle
    assert wide.shape[-1] == 4 + 6 + 8
    close(wide[..., 4:10], middle.encode(batch)["optical"].middle)
    close(wide[..., 10:], each.encode(batch)["optical"].branch)
    assert each.fusion.in_channels == 18


@pytest.mark.parametrize("name", PAPER)
def test_one_probability_for_each_stage_and_date(name):
    out = answer(network(name), make_batch())
    assert out.shape == (3, 1, 4, 6 if name == "paper-optical" else 10)
    assert ((out > 0) & (out < 1)).all()


@pytest.mark.parametrize("name", PAPER)
def test_dense_equals_patches_at_every_pixel(name):
    net = network(name)
    tile = make_batch(samples=1, optical=9, rows=21, cols=20)
    dense = answer(net, tile, dense=True)
    with torch.no_grad():
        dates = net.decode(net(tile, dense=True), net.encode(tile, dense=True))
    for row in range(4):
        for col in range(3):
            patch, pixel = at(tile, row, col), 3 * row + col
            close(answer(net, patch)[0], dense[pixel])
            one = net.decode(net(patch), net.encode(patch))
            close(one.day[0].nan_to_num(-999), dates.day[pixel].nan_to_num(-999))


@pytest.mark.parametrize("name", PAPER)
def test_order_and_padding_do_not_matter_nor_masked_dates(name):
    net, batch = network(name), make_batch()
    expected = answer(net, batch)
    flipped = [part.flip(1) for part in batch]
    close(expected, answer(net, type(batch)(*flipped)))
    padded = [torch.cat([part, part], 1) for part in batch]
    padded[1][:, 7:] = padded[3][:, 5:] = torch.nan
    close(expected, answer(net, type(batch)(*padded)))
    clouded = make_batch()
    clouded.optical[:, 3, :, 9, 9] = torch.nan
    other = clouded._replace(optical=clouded.optical.clone())
    other.optical[:, 3] += 0.1
    assert torch.equal(answer(net, clouded), answer(net, other))


def test_blind_patches_give_no_dates():
    net, batch = network(), make_batch(optical=0, radar=0)
    assert answer(net, batch).isfinite().all()
    assert net.decode(net(batch), net.encode(batch)).day.isnan().all()


@pytest.mark.parametrize("name", PAPER)
def test_gradient_reaches_every_parameter(name):
    net, batch = network(name), make_batch(samples=8)
    seen = net.encode(batch)
    day = 300 * torch.rand(8, 1, 4)
    net.loss(net.head(seen), seen, Labels(day, day * 0, day < 0)).backward()
    for parameter, values in net.named_parameters():
        assert values.grad is not None, parameter
        assert values.grad.abs().max() > 0, parameter
    assert (net.modality.grad != 0).all()  # of either sensor


@pytest.mark.slow
def test_learns_eight_patches_by_heart():
    net, batch = network().train(), make_batch(samples=8)
    seen = net.encode(batch)
    tokens = net.tokens(seen)
    # The true dates lie within two days of images that are read.
    which = torch.tensor([[0, 2, 5, 7]]).expand(8, 4) % tokens.valid.sum(1, keepdim=True)
    images = tokens.days.gather(1, which)[:, None]
    labels = Labels(images + 0.4, torch.zeros_like(images), torch.zeros_like(images) > 0)
    optimiser = torch.optim.AdamW(net.parameters(), 3e-3)
    losses = []
    for _ in range(150):
        optimiser.zero_grad()
        seen = net.encode(batch)
        loss = net.loss(net.head(seen), seen, labels)
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * losses[0]
    dates = net.eval().decode(net(batch), net.encode(batch))
    assert ((dates.day - images).abs() < 2).float().mean() > 0.9
    assert (dates.probability > 0.5).float().mean() > 0.9
    assert dates.low.isnan().all()
