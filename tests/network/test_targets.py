"""Labels to targets and losses, distributions to dates: against numbers worked out by hand."""

import math

import pytest
import torch

from deepcrop.network import Labels
from deepcrop.network.targets import (
    decode_distribution,
    decode_positions,
    distribution_loss,
    in_order,
    nearest,
    one_season,
    position_loss,
    quantile,
    snap,
    soft_targets,
)

EDGES = torch.tensor([-0.5, 4.5, 9.5, 14.5, 19.5])  # four bins of five days
NAN = math.nan


def labels(*days, spread=5.0, none=()):
    """One sample, one slot, a stage for each day; indices in ``none`` have no event."""
    day = torch.tensor([[days]])
    no = torch.zeros_like(day, dtype=torch.bool)
    no[..., list(none)] = True
    return Labels(day, torch.full_like(day, spread), no)


def normal(z):
    return 0.5 * (1 + math.erf(z / math.sqrt(2)))


def test_soft_target_is_the_share_of_the_normal_distribution_in_each_bin():
    target = soft_targets(labels(9.5), EDGES)[0, 0, 0]
    inner, outer = normal(1) - normal(0), normal(2) - normal(1)
    total = 2 * (inner + outer)
    expected = torch.tensor([outer, inner, inner, outer, 0]) / total
    torch.testing.assert_close(target, expected, atol=1e-6, rtol=0)


def test_soft_target_of_no_event_and_of_a_narrow_label():
    target = soft_targets(labels(NAN, 2.0, spread=0.0, none=[0]), EDGES)[0, 0]
    assert target[0].tolist() == [0, 0, 0, 0, 1]
    # Never narrower than 1.5 days: 2.5 days to either edge of its bin.
    assert target[1, 0].item() == pytest.approx(
        (2 * normal(2.5 / 1.5) - 1) / (1 - normal(-2.5 / 1.5)), abs=1e-4
    )
    assert target.sum(-1).tolist() == pytest.approx([1, 1])


def test_distribution_loss_by_hand():
    """Equal logits: log 5 whatever the target; unknown labels and days out of range count not."""
    logits = torch.zeros(1, 1, 4, 5)
    known = labels(7.0, NAN, 600.0, NAN, none=[3])
    assert distribution_loss(logits, known, EDGES).item() == pytest.approx(math.log(5))
    logits[0, 0, 1] = logits[0, 0, 2] = torch.tensor([9.0, 0, 0, 0, 0])
    assert distribution_loss(logits, known, EDGES).item() == pytest.approx(math.log(5))
    assert distribution_loss(logits, labels(NAN, NAN, NAN, NAN), EDGES).item() == 0


def test_unknown_labels_give_no_gradient_not_even_nan():
    logits = torch.randn(1, 1, 3, 5, requires_grad=True)
    distribution_loss(logits, labels(NAN, 1e9, 7.0), EDGES).backward()
    assert (logits.grad[0, 0, :2] == 0).all()
    assert (logits.grad[0, 0, 2] != 0).all()


def test_decode_by_hand():
    """Event of 80 %; given the event 10, 20, 30 and 40 % in the four bins."""
    probability = torch.tensor([[[[0.08, 0.16, 0.24, 0.32, 0.20]]]])
    dates = decode_distribution(probability, EDGES, 0.5)
    assert dates.probability.item() == pytest.approx(0.8)
    assert dates.day.item() == pytest.approx(9.5 + 5 * 20 / 30)
    assert dates.low.item() == pytest.approx(-0.5 + 5 * 5 / 10)
    assert dates.high.item() == pytest.approx(14.5 + 5 * 35 / 40, abs=1e-5)


def test_decode_reports_nothing_below_the_threshold():
    dates = decode_distribution(torch.tensor([[[[0.2, 0.2, 0.0, 0.0, 0.6]]]]), EDGES, 0.5)
    assert dates.day.isnan()
    assert dates.low.isnan()
    assert dates.high.isnan()
    assert dates.probability.item() == pytest.approx(0.4)


def test_decode_of_certainty_and_of_nothing_at_all():
    certain = decode_distribution(torch.tensor([[[[0.0, 1.0, 0.0, 0.0, 0.0]]]]), EDGES, 0.5)
    assert (certain.low.item(), certain.day.item()) == (pytest.approx(4.75), pytest.approx(7.0))
    nothing = decode_distribution(torch.tensor([[[[0.0, 0.0, 0.0, 0.0, 1.0]]]]), EDGES, 0.0)
    assert nothing.day.isfinite()


def test_quantile_skips_empty_bins():
    cumulative = torch.tensor([0.0, 0.5, 0.5, 0.5, 1.0])
    assert quantile(cumulative, EDGES, 0.25).item() == 2.0
    assert quantile(cumulative, EDGES, 0.75).item() == 17.0


def test_quantile_returns_a_normal_distribution():
    edges = torch.arange(-181.5, 554, 5)
    target = soft_targets(Labels(*labels(203.4, spread=12.0)), edges)
    dates = decode_distribution(target, edges, 0.5)
    assert dates.day.item() == pytest.approx(203.4, abs=0.1)
    assert (dates.high - dates.low).item() == pytest.approx(2 * 1.645 * 12, abs=0.6)


def test_nearest_image():
    dates = torch.tensor([[30.0, 10.0, 20.0, 12.0]])
    seen = torch.tensor([[True, True, True, False]])
    # 12 was not seen; 15 lies between 10 and 20: the earlier; without a label, anything.
    assert nearest(labels(12.0, 15.0, 500.0).day, dates, seen).tolist() == [[[1, 1, 0]]]


def test_snapped_labels():
    dates = torch.tensor([[30.0, 10.0, 20.0]])
    snapped = snap(labels(17.0, NAN, NAN, none=[2]), dates, torch.ones(1, 3, dtype=torch.bool))
    assert snapped.day[0, 0, 0] == 20
    assert snapped.spread[0, 0, 0] == 0
    assert snapped.known.tolist() == [[[True, False, True]]]
    blind = snap(labels(17.0), dates, torch.zeros(1, 3, dtype=torch.bool))
    assert blind.day.item() == 17


def test_position_loss_by_hand():
    dates = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    seen = torch.tensor([[True, True, True, False]])
    logits = torch.tensor([[[[1.0, 2.0, -1.0, 50.0], [3.0, 0, 0, 50], [9.0, 9, 9, 9]]]])
    # Stage 1: an event at the second date; stage 2: none; stage 3: unknown.
    loss = position_loss(logits, labels(21.0, NAN, NAN, none=[1]), dates, seen)

    def log1p_exp(x):
        return math.log(1 + math.exp(x))

    first = log1p_exp(1) + log1p_exp(-2) + log1p_exp(-1)
    second = log1p_exp(3) + 2 * math.log(2)
    assert loss.item() == pytest.approx((first + second) / 2, rel=1e-6)


def test_decode_positions_by_hand():
    dates = torch.tensor([[10.0, 20.0, 30.0, 40.0]])
    seen = torch.tensor([[True, True, True, False]])
    logits = torch.tensor([[[[1.0, 2.0, -1.0, 50.0], [-9.0, -8.0, -9.0, 50.0]]]])
    result = decode_positions(logits, dates, seen, threshold=0.1)
    assert result.day[0, 0, 0] == 20
    assert result.day[0, 0, 1].isnan()
    assert result.probability[0, 0, 0].item() == pytest.approx(1 / (1 + math.exp(-2)))
    assert result.low.isnan().all()
    blind = decode_positions(logits, dates, torch.zeros_like(seen), threshold=0.0)
    assert blind.day.isnan().all()


def test_dates_of_a_slot_are_of_one_season():
    """Two seasons that are nearly as likely: each stage alone would mix them."""
    names = ("sos20", "sos50", "peak", "eos50", "eos20")
    spring, autumn = (10, 14, 20, 26, 30), (70, 74, 80, 86, 90)  # bins
    probability = torch.zeros(1, 1, 5, 148)
    for k, likely in enumerate((0.45, 0.4, 0.6, 0.55, 0.6)):  # of the spring season
        probability[0, 0, k, spring[k]] = 0.9 * likely
        probability[0, 0, k, autumn[k]] = 0.9 * (1 - likely)
    probability[..., -1] = 0.1
    edges = torch.arange(148.0) * 5
    mixed = decode_distribution(probability, edges, 0.5).day[0, 0]
    assert mixed[0] > mixed[2]
    season = one_season(probability, names, 5)
    torch.testing.assert_close(season.sum(-1), torch.ones(1, 1, 5))
    torch.testing.assert_close(season[..., -1], probability[..., -1])
    dates = decode_distribution(season, edges, 0.5)
    torch.testing.assert_close(dates.day[0, 0], torch.tensor(spring) * 5 + 2.5)
    assert (dates.high - dates.low <= 5).all()


def test_one_season_alone_stays_as_it_is():
    names = ("sos20", "sos50", "peak", "eos50", "eos20")
    bins = torch.arange(147.0)
    probability = torch.stack([torch.exp(-(((bins - m) / 3) ** 2)) for m in (40, 44, 55, 70, 75)])
    probability = 0.8 * probability / probability.sum(-1, keepdim=True)
    probability = torch.cat([probability, torch.full((5, 1), 0.2)], -1)[None, None]
    torch.testing.assert_close(one_season(probability, names, 5), probability, atol=1e-4, rtol=0)


def test_days_that_cross_are_put_in_order_and_what_is_missing_stays_missing():
    day = torch.tensor([[50.0, 40.0, NAN, 90.0, 70.0], [NAN, 3.0, 2.0, NAN, 1.0]])
    wanted = torch.tensor([[40.0, 50.0, NAN, 70.0, 90.0], [NAN, 1.0, 2.0, NAN, 3.0]])
    torch.testing.assert_close(in_order(day), wanted, equal_nan=True)
    torch.testing.assert_close(in_order(wanted), wanted, equal_nan=True)
