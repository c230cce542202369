"""Every uncertainty measure against numbers worked out by hand, other implementations, and what must hold of each."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from torch import Tensor

from mbrl.data import InterleavedGenerator, Prediction, make_generator
from mbrl.errors import ConfigError, ShapeError, UnsupportedError
from mbrl.spec import from_spec
from mbrl.testing import NoScalarReadback
from mbrl.uncertainty import (
    DistanceToMean,
    LeaveOneOutKL,
    LikelihoodSpread,
    MaxAleatoric,
    MaxPairwiseDistance,
    MeanDisagreement,
    Sample,
    SampleSpread,
    TotalSpread,
    UncertaintyMeasure,
    draw_sample,
)

THREE = torch.arange(3)
ROWS = 5
DRAWING = (SampleSpread(), LeaveOneOutKL(), LikelihoodSpread())
DISAGREEING = (
    MaxPairwiseDistance(), DistanceToMean(), DistanceToMean("mean"), MeanDisagreement(), LeaveOneOutKL(),
    LeaveOneOutKL("mean"), LikelihoodSpread(), LikelihoodSpread("sd"),
)  # fmt: skip
EVERY = (*DISAGREEING, MaxAleatoric(), TotalSpread(), SampleSpread())


def named(measure: UncertaintyMeasure) -> str:
    init = measure.spec["init_args"]
    return type(measure).__name__ + "".join(f"-{init[key]}" for key in ("over", "of") if key in init)


each = pytest.mark.parametrize("measure", EVERY, ids=named)


def by_hand(rows: int = ROWS) -> Prediction:
    """Three members over two dims, the same in every row."""
    mean = torch.tensor([[0.0, 0.0], [2.0, 0.0], [1.0, 3.0]])
    var = torch.tensor([[1.0, 1.0], [4.0, 1.0], [1.0, 0.25]])
    return Prediction(*(value[:, None].repeat(1, rows, 1) for value in (mean, var)))


def drawn_at_random(members: int = 6, rows: int = ROWS, dims: int = 3, seed: int = 0) -> Prediction:
    draw = make_generator("cpu", "prediction", seed)
    mean, var, reward, reward_var = (
        torch.randn(members, rows, *size, generator=draw, dtype=torch.float64) for size in ((dims,), (dims,), (), ())
    )
    return Prediction(mean, var.square() + 0.05, reward, reward_var.square() + 0.05)


def point(measure: UncertaintyMeasure, said: Prediction, drawn: Tensor | None = None, seed: int = 0) -> Tensor:
    """The measure of a prediction, with the same draws each time."""
    members = torch.arange(said.mean.shape[0]) if drawn is None else drawn
    sample = draw_sample(said, members, make_generator("cpu", "sample", seed))
    return measure(said, members, sample, make_generator("cpu", "measure", seed))


# known numbers -------------------------------------------------------------------------------------------------------


@pytest.mark.check("offline-9.1")
@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (MaxAleatoric(), 2.236068),
        (MaxAleatoric("variance"), 4.123106),
        (MaxPairwiseDistance(), 3.162278),
        (DistanceToMean("max"), 2.0),
        (DistanceToMean("mean"), 1.609476),
        (MeanDisagreement("variance"), (0.666667 + 2) / 2),
        (MeanDisagreement("variance", ddof=1), (1 + 3) / 2),
        (MeanDisagreement("variance", "max"), 2.0),
        (TotalSpread("variance"), 2.708333),
        (TotalSpread("variance", "max"), 2.75),
        (TotalSpread("variance", ddof=1), (2 + 1 + 0.75 + 3) / 2),
        (TotalSpread(), 1.645653),
        (TotalSpread(reduce="norm"), 2.327373),
        (MeanDisagreement(reduce="rms"), 1.154701),
        (LeaveOneOutKL("mean"), (1.189953 + 2.011668 + 5.087386) / 3),
        (LikelihoodSpread(), 8.415801),
        (LikelihoodSpread(ddof=1), 12.623701),
        (LikelihoodSpread("sd"), math.sqrt(8.415801)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_three_members_by_hand(measure: UncertaintyMeasure, expected: float) -> None:
    found = measure(by_hand(), THREE, Sample(torch.ones(ROWS, 2)))
    assert found.tolist() == pytest.approx([expected] * ROWS, rel=1e-6)


@pytest.mark.check("offline-9.1")
def test_the_divergence_is_of_the_member_that_made_the_step() -> None:
    sample = Sample(torch.ones(4, 2), member=torch.tensor([0, 1, 2, 1]))
    found = LeaveOneOutKL()(by_hand(4), THREE, sample)
    assert found.tolist() == pytest.approx([1.189953, 2.011668, 5.087386, 2.011668], rel=1e-6)


def test_the_others_are_the_elites_where_they_alone_count() -> None:
    """Two elites, 2 and 0: each against the other, KL of N(μ, σ²) by hand."""
    sample = Sample(torch.ones(2, 2), member=torch.tensor([0, 2]))
    found = LeaveOneOutKL(members="elites")(by_hand(2), torch.tensor([2, 0]), sample)
    zero_to_two = 0.5 * ((1 + 1 - 1) + (math.log(0.25) + (1 + 9) / 0.25 - 1))
    two_to_zero = 0.5 * ((1 + 1 - 1) + (math.log(4) + 0.25 + 9 - 1))
    assert found.tolist() == pytest.approx([zero_to_two, two_to_zero], rel=1e-6)
    outside = Sample(torch.ones(2, 2), member=torch.tensor([1, 0]))
    assert LeaveOneOutKL(members="elites")(by_hand(2), torch.tensor([2, 0]), outside).isnan().tolist() == [True, False]


def test_a_divergence_draws_its_member_among_those_that_a_rollout_draws() -> None:
    said, values = by_hand(6), [1.189953, 2.011668, 5.087386]
    found = LeaveOneOutKL()(said, torch.tensor([2, 0]), generator=make_generator("cpu", 0)).tolist()
    assert sorted(found) == pytest.approx([values[0]] * 3 + [values[2]] * 3, rel=1e-6)


@pytest.mark.check("coplanner-35")
def test_one_dim_of_seven_members() -> None:
    """Members differ in one of D = 4 dims by 0 … 6, and then only in the noise that they agree on."""
    mean, seven = torch.zeros(7, 1, 4), torch.arange(7)
    mean[:, 0, 1] = seven
    said = Prediction(mean, torch.zeros_like(mean))
    assert MeanDisagreement()(said, seven).item() == pytest.approx(2 / 4)
    assert MeanDisagreement(ddof=1)(said, seven).item() * 4 == pytest.approx(2.1602, abs=1e-4)
    assert SampleSpread()(said, seven, generator=make_generator("cpu", 0)).item() == pytest.approx(2 / 4)
    agreed = Prediction(torch.ones(7, 1, 4), torch.zeros(7, 1, 4))
    assert MeanDisagreement()(agreed, seven) == 0 == SampleSpread()(agreed, seven, generator=make_generator("cpu", 0))
    noisy = Prediction(torch.ones(7, 40_000, 2), torch.full((7, 40_000, 2), 0.3**2))
    for ddof, factor in ((0, 0.8882), (1, 0.9594)):
        measured = SampleSpread(ddof=ddof)(noisy, seven, generator=make_generator("cpu", "noise"))
        assert measured.mean().item() == pytest.approx(factor * 0.3, rel=5e-3)
        assert MeanDisagreement(ddof=ddof)(noisy, seven).max() == 0


@pytest.mark.parametrize(("reduce", "expected"), [("norm", 5.0), ("rms", 5 / math.sqrt(2)), ("mean", 3.5), ("max", 4.0)])
def test_reductions(reduce: Any, expected: float) -> None:
    """Two members 6 and 8 apart, so 3 and 4 off their mean."""
    said = Prediction(torch.tensor([[[0.0, 8.0]], [[6.0, 0.0]]]), torch.tensor([[[9.0, 16.0]], [[1.0, 1.0]]]))
    two = torch.arange(2)
    assert MeanDisagreement(reduce=reduce)(said, two).item() == pytest.approx(expected)
    assert DistanceToMean(reduce=reduce)(said, two).item() == pytest.approx(expected)
    assert MaxPairwiseDistance(reduce)(said, two).item() == pytest.approx(2 * expected)
    assert MaxAleatoric(reduce=reduce)(said, two).item() == pytest.approx(expected)


# other implementations -----------------------------------------------------------------------------------------------


def outputs(said: Prediction, members: list[int], reward: bool) -> tuple[np.ndarray, np.ndarray]:
    """Means and variances `n x B x D` in numpy."""
    mean, var = said.mean.numpy(), said.var.numpy()
    if reward:
        assert said.reward_mean is not None and said.reward_var is not None
        mean = np.concatenate([mean, said.reward_mean.numpy()[..., None]], -1)
        var = np.concatenate([var, said.reward_var.numpy()[..., None]], -1)
    return mean[members], var[members]


@pytest.mark.parametrize("reward", [False, True])
@pytest.mark.parametrize("members", ["all", "elites"])
def test_numpy_and_scipy_agree(members: Any, reward: bool) -> None:
    """On random predictions, with every choice of what counts."""
    said, drawn = drawn_at_random(), torch.tensor([5, 1, 2])
    who = drawn.tolist() if members == "elites" else list(range(6))
    mean, var = outputs(said, who, reward)
    sd, options = np.sqrt(var), {"members": members, "reward": reward}
    sample = draw_sample(said, drawn, make_generator("cpu", 1))
    x = sample.next_obs.numpy()
    if reward:
        assert sample.reward is not None
        x = np.concatenate([x, sample.reward.numpy()[:, None]], -1)
    pairs = [np.linalg.norm(a - b, axis=-1) for a in mean for b in mean]
    off = np.linalg.norm(mean - mean.mean(0), axis=-1)
    likelihood = scipy.stats.norm.logpdf(x, mean, sd).sum(-1)
    expected: dict[UncertaintyMeasure, np.ndarray] = {
        MaxAleatoric(**options): np.linalg.norm(sd, axis=-1).max(0),
        MaxAleatoric("variance", **options): np.stack(
            [[np.linalg.norm(np.diag(row)) for row in rows] for rows in var]  # Frobenius
        ).max(0),
        MaxPairwiseDistance(**options): np.max(pairs, 0),
        DistanceToMean(**options): off.max(0),
        DistanceToMean("mean", **options): off.mean(0),
        MeanDisagreement(ddof=1, **options): scipy.stats.tstd(mean, axis=0).mean(-1),
        MeanDisagreement(reduce="rms", **options): np.sqrt(mean.var(0).mean(-1)),
        TotalSpread(**options): np.sqrt(var.mean(0) + mean.var(0)).mean(-1),
        LikelihoodSpread(ddof=1, **options): scipy.stats.tvar(likelihood, axis=0),
        LikelihoodSpread("sd", **options): likelihood.std(0),
    }
    for measure, numbers in expected.items():
        assert measure(said, drawn, sample).tolist() == pytest.approx(numbers.tolist(), rel=1e-9), measure.spec


def test_the_total_variance_is_that_of_the_mixture() -> None:
    """Of many draws from it."""
    said = drawn_at_random(members=3, rows=1, dims=2)
    many = Prediction(*(value.expand(3, 60_000, 2) for value in (said.mean, said.var)))
    draws = draw_sample(many, THREE, make_generator("cpu", 0)).next_obs
    assert TotalSpread("variance")(said, THREE).item() == pytest.approx(draws.var(0).mean().item(), rel=0.02)


def test_the_divergence_is_the_integral_that_defines_it() -> None:
    """∫ p_i ln(p_i / p_−i), by torch's own formula and on average over draws from p_i."""
    said, member = drawn_at_random(rows=1), 2
    others = [i for i in range(6) if i != member]
    mean, var = said.mean[:, 0], said.var[:, 0]
    rest_sd = (var[others].mean(0) + mean[others].var(0, correction=0)).sqrt()
    own, rest = (
        torch.distributions.Normal(mean[member], var[member].sqrt()),
        torch.distributions.Normal(mean[others].mean(0), rest_sd),
    )
    found = LeaveOneOutKL()(said, torch.arange(6), Sample(said.mean[0], member=torch.tensor([member]))).item()
    assert found == pytest.approx(torch.distributions.kl_divergence(own, rest).sum().item(), rel=1e-9)
    noise = torch.randn(200_000, 3, generator=make_generator("cpu", 0), dtype=torch.float64)
    x = (own.mean + own.stddev * noise).numpy()
    ratio = scipy.stats.norm.logpdf(x, own.mean, own.stddev) - scipy.stats.norm.logpdf(x, rest.mean, rest.stddev)
    assert found == pytest.approx(ratio.sum(-1).mean(), rel=0.02)


# what must hold ------------------------------------------------------------------------------------------------------


@pytest.mark.check("offline-9.1")
@pytest.mark.parametrize("measure", DISAGREEING, ids=named)
def test_members_that_agree_don_t_disagree(measure: UncertaintyMeasure) -> None:
    one = drawn_at_random(members=1)
    same = Prediction(one.mean.expand(6, -1, -1), one.var.expand(6, -1, -1))
    assert point(measure, same).tolist() == pytest.approx([0.0] * ROWS, abs=1e-7)
    assert (MaxAleatoric()(same, torch.arange(6)) > 0.1).all()


@pytest.mark.check("offline-9.1")
@pytest.mark.parametrize("measure", [m for m in EVERY if not isinstance(m, SampleSpread)], ids=named)
def test_the_order_of_members_changes_nothing(measure: UncertaintyMeasure) -> None:
    said, order = drawn_at_random(), torch.tensor([3, 0, 5, 1, 4, 2])
    mixed = Prediction(said.mean[order], said.var[order])
    sample = draw_sample(said, torch.arange(6), make_generator("cpu", 0))
    assert sample.member is not None
    moved = Sample(sample.next_obs, member=order.argsort()[sample.member])
    everyone = torch.arange(6)
    assert torch.allclose(measure(said, everyone, sample), measure(mixed, everyone, moved))


@pytest.mark.check("offline-9.1")
@each
def test_units(measure: UncertaintyMeasure) -> None:
    """Lengths grow with the unit, variances with its square, and what compares distributions not at all."""
    said, times = drawn_at_random(), 3.0
    larger = Prediction(times * said.mean, times**2 * said.var)
    power = {LeaveOneOutKL: 0, LikelihoodSpread: 0}.get(type(measure), 1)
    assert torch.allclose(point(measure, larger), times**power * point(measure, said))
    for squared in (MeanDisagreement("variance"), TotalSpread("variance"), MaxAleatoric("variance")):
        assert torch.allclose(point(squared, larger), times**2 * point(squared, said))


@pytest.mark.parametrize(
    "make",
    [MaxAleatoric, MaxPairwiseDistance, DistanceToMean, MeanDisagreement, TotalSpread, SampleSpread],
)
def test_a_scale_is_a_change_of_units(make: Callable[..., UncertaintyMeasure]) -> None:
    said, scale = drawn_at_random(), torch.tensor([0.5, 2.0, 10.0, 4.0], dtype=torch.float64)
    assert said.reward_mean is not None and said.reward_var is not None
    small = Prediction(
        said.mean / scale[:3], said.var / scale[:3] ** 2, said.reward_mean / scale[3], said.reward_var / scale[3] ** 2
    )
    for members in (torch.arange(6), torch.tensor([4, 0])):
        options: dict[str, Any] = {"reward": True, "members": "elites"}
        given = point(make(scale=scale.tolist(), **options), said, members)
        assert torch.allclose(given, point(make(**options), small, members))


def test_a_scale_has_the_precision_of_what_it_divides() -> None:
    measure, said = MeanDisagreement(scale=[0.1, 0.3, 0.7]), drawn_at_random()
    assert point(measure, Prediction(said.mean.float(), said.var.float())).dtype is torch.float32
    numbers = (said.mean / torch.tensor([0.1, 0.3, 0.7], dtype=torch.float64)).numpy().std(0).mean(-1)
    assert measure(said, torch.arange(6)).tolist() == pytest.approx(numbers.tolist(), rel=1e-14)


def test_where_the_members_lie_loses_no_digits() -> None:
    """A difference of 0.01 at 1,000, in single precision."""
    mean = 1000 + torch.tensor([0.0, 0.015625]).view(2, 1, 1)
    said = Prediction(mean, torch.zeros(2, 1, 1))
    assert MeanDisagreement()(said, torch.arange(2)).item() == 0.015625 / 2


@pytest.mark.check("offline-9.1")
def test_one_more_member() -> None:
    """It never lowers the maxima over members or pairs, and can lower the largest distance to the mean."""
    said = drawn_at_random(members=7, rows=200)
    for measure in (MaxAleatoric(), MaxPairwiseDistance()):
        found = [measure(Prediction(said.mean[:n], said.var[:n]), torch.arange(n)) for n in range(2, 8)]
        assert all((more >= fewer).all() for fewer, more in pairwise(found))
    apart = torch.tensor([[[0.0]], [[0.0]], [[3.0]]])
    two = torch.tensor([[[0.0]], [[0.0]], [[3.0]], [[3.0]]])
    assert DistanceToMean()(Prediction(apart, apart), THREE).item() == 2.0
    assert DistanceToMean()(Prediction(two, two), torch.arange(4)).item() == 1.5


@pytest.mark.check("offline-9.1")
def test_what_bounds_what() -> None:
    said, everyone = drawn_at_random(rows=500), torch.arange(6)
    pair, off = MaxPairwiseDistance()(said, everyone), DistanceToMean()(said, everyone)
    assert (pair / 2 <= off + 1e-12).all() and (off <= pair + 1e-12).all()
    assert (TotalSpread("variance")(said, everyone) >= said.var.mean((0, 2))).all()
    assert (DistanceToMean("mean")(said, everyone) <= off).all()


def test_two_members() -> None:
    """The least that can disagree: ±1 about their mean."""
    said = Prediction(torch.tensor([[[0.0]], [[2.0]]]), torch.ones(2, 1, 1))
    two = torch.arange(2)
    assert MaxPairwiseDistance()(said, two).item() == 2.0
    assert DistanceToMean()(said, two).item() == DistanceToMean("mean")(said, two).item() == 1.0
    assert MeanDisagreement()(said, two).item() == 1.0
    assert MeanDisagreement("variance", ddof=1)(said, two).item() == 2.0
    assert TotalSpread("variance")(said, two).item() == 2.0
    assert LeaveOneOutKL("mean")(said, two).item() == 2.0  # ½ (2)²
    assert LikelihoodSpread("sd")(said, two, Sample(torch.zeros(1, 1))).item() == 1.0  # 0 and −2


# draws ---------------------------------------------------------------------------------------------------------------


def test_a_sample_is_of_the_member_it_names() -> None:
    said = by_hand(30_000)
    assert said.mean.dtype is torch.float32
    said.reward_mean, said.reward_var = said.mean[..., 0] - 1, 4 * said.var[..., 1]
    sample = draw_sample(said, torch.tensor([2, 0]), make_generator("cpu", 0))
    assert sample.member is not None and sample.reward is not None
    assert sample.member.bincount().tolist() == [15_000, 0, 15_000]
    for member in (0, 2):
        rows = sample.member == member
        assert torch.allclose(sample.next_obs[rows].mean(0), said.mean[member, 0], atol=0.04)
        assert torch.allclose(sample.next_obs[rows].var(0), said.var[member, 0], atol=0.04)
        assert sample.reward[rows].mean().item() == pytest.approx(said.mean[member, 0, 0].item() - 1, abs=0.06)
        assert sample.reward[rows].var().item() == pytest.approx(4 * said.var[member, 0, 1].item(), rel=0.04)


@pytest.mark.parametrize("measure", DRAWING, ids=named)
def test_what_draws_repeats_with_its_generator_and_asks_for_one(measure: UncertaintyMeasure) -> None:
    said, everyone = drawn_at_random(rows=40), torch.arange(6)
    first, again, other = (measure(said, everyone, generator=make_generator("cpu", seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again) and not torch.equal(first, other)
    with pytest.raises(ConfigError, match=f"{type(measure).__name__}: expected a generator"):
        measure(said, everyone)


@pytest.mark.parametrize("measure", DRAWING, ids=named)
def test_each_environment_draws_its_own(measure: UncertaintyMeasure) -> None:
    """Rows of two environments, in blocks, as if each were measured alone."""
    said, everyone = drawn_at_random(rows=12), torch.arange(6)
    both = measure(said, everyone, generator=InterleavedGenerator([make_generator("cpu", i) for i in (0, 1)]))
    for i in (0, 1):
        alone = Prediction(said.mean[:, i::2], said.var[:, i::2])
        assert torch.allclose(both[i::2], measure(alone, everyone, generator=make_generator("cpu", i)))


@each
def test_nothing_is_read_back_and_nothing_changed(measure: UncertaintyMeasure) -> None:
    said = drawn_at_random()
    mean, var = said.mean.clone(), said.var.clone()
    sample = draw_sample(said, torch.arange(6), make_generator("cpu", 0))
    elites, noise = torch.tensor([1, 4]), make_generator("cpu", 0)
    few: Any = from_spec({**measure.spec, "init_args": {**measure.spec["init_args"], "members": "elites"}})
    with NoScalarReadback():
        for made in (measure, few):
            for given in (sample, None):
                assert made(said, elites, given, noise).shape == (ROWS,)
    assert torch.equal(said.mean, mean) and torch.equal(said.var, var)


@each
def test_plans_can_be_differentiated_through_members_that_agree(measure: UncertaintyMeasure) -> None:
    """The root of a variance that is 0 has an infinite gradient, and 0 times that is not a number."""
    action = torch.full((ROWS, 1), 0.3, requires_grad=True)
    mean = action.expand(4, ROWS, 1)
    noise = torch.zeros(4, ROWS, 1) if not measure.needs_noise else torch.ones(4, ROWS, 1)
    point(measure, Prediction(mean, noise + 0 * mean)).sum().backward()
    assert action.grad is not None and action.grad.isfinite().all()


def test_gradients_of_members_that_disagree() -> None:
    action = torch.tensor([[0.5]], requires_grad=True)
    slopes = torch.tensor([-1.0, 1.0]).view(2, 1, 1)
    MeanDisagreement()(Prediction(slopes * action, torch.zeros(2, 1, 1)), torch.arange(2)).sum().backward()
    assert action.grad is not None and action.grad.item() == pytest.approx(1.0)


# what can't be said --------------------------------------------------------------------------------------------------


def test_members_without_noise() -> None:
    """The most noise is 0, distributions can't be compared, and what disagrees still does."""
    mean = drawn_at_random().mean
    still = Prediction(mean, torch.zeros_like(mean))
    for measure in EVERY:
        found = point(measure, still)
        if isinstance(measure, (LeaveOneOutKL, LikelihoodSpread)):
            assert found.isnan().all() and measure.needs_noise
        elif isinstance(measure, MaxAleatoric):
            assert (found == 0).all() and measure.needs_noise
        else:
            assert (found > 0).all() and not measure.needs_noise
    assert torch.allclose(point(SampleSpread(), still), MeanDisagreement()(still, torch.arange(6)))


@each
def test_a_prediction_that_is_not_a_number_has_no_uncertainty(measure: UncertaintyMeasure) -> None:
    """Nor does it touch its neighbours'."""
    said, drawn = drawn_at_random(), torch.arange(6)
    sample = Sample(torch.zeros(ROWS, 3, dtype=torch.float64), member=torch.zeros(ROWS, dtype=torch.int64))
    before = measure(said, drawn, sample, make_generator("cpu", 0))
    said.mean[3, 1, 2] = said.var[3, 1, 2] = torch.nan
    after = measure(said, drawn, sample, make_generator("cpu", 0))
    assert after.isnan().tolist() == [False, True, False, False, False]
    assert torch.equal(after[2:], before[2:])


@pytest.mark.parametrize("measure", [m for m in EVERY if m.least_members > 1], ids=named)
def test_one_member_cannot_disagree(measure: UncertaintyMeasure) -> None:
    with pytest.raises(UnsupportedError, match="expected 2 members or more, got 1; raise members"):
        point(measure, drawn_at_random(members=1))
    few: Any = from_spec({**measure.spec, "init_args": {**measure.spec["init_args"], "members": "elites"}})
    with pytest.raises(UnsupportedError, match="expected 2 elites or more, got 1; raise elites"):
        point(few, drawn_at_random(), torch.tensor([3]))


def test_one_member_predicts_noise() -> None:
    one = drawn_at_random(members=1)
    assert torch.allclose(MaxAleatoric()(one, torch.zeros(1, dtype=torch.int64)), one.var[0].sum(-1).sqrt())


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MaxAleatoric(of="sigma"), r"MaxAleatoric\(of=…\): expected one of sd, variance, got 'sigma'"),
        (lambda: MaxAleatoric(reduce="sum"), r"\(reduce=…\): expected one of norm, rms, mean, max, got 'sum'"),
        (lambda: MaxPairwiseDistance("l2"), r"MaxPairwiseDistance\(reduce=…\): expected one of norm"),
        (lambda: DistanceToMean("median"), r"DistanceToMean\(over=…\): expected one of max, mean, got 'median'"),
        (lambda: DistanceToMean(reduce="l2"), r"DistanceToMean\(reduce=…\)"),
        (lambda: TotalSpread(of="range"), r"TotalSpread\(of=…\)"),
        (lambda: TotalSpread(reduce="sum"), r"TotalSpread\(reduce=…\)"),
        (lambda: SampleSpread(ddof=2), r"SampleSpread\(ddof=…\): expected one of 0, 1, got 2"),
        (lambda: LeaveOneOutKL("max"), r"LeaveOneOutKL\(of=…\): expected one of drawn, mean, got 'max'"),
        (lambda: LikelihoodSpread("std"), r"LikelihoodSpread\(of=…\)"),
        (lambda: LikelihoodSpread(ddof=-1), r"LikelihoodSpread\(ddof=…\)"),
        (lambda: LeaveOneOutKL(members="best"), r"LeaveOneOutKL\(members=…\): expected one of all, elites, got 'best'"),
        (
            lambda: TotalSpread(scale=[1.0, 0.0]),
            r"TotalSpread\(scale=…\): expected a list, each a finite number above 0, or None, got \[1.0, 0.0\]",
        ),
        (lambda: MaxAleatoric(scale=[math.nan]), r"MaxAleatoric\(scale=…\): expected a list, each a finite number above 0"),
    ],
)
def test_wrong_choices_are_refused(make: Callable[[], UncertaintyMeasure], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_what_the_prediction_lacks_is_refused() -> None:
    said = by_hand()
    for measure in EVERY:
        counting: Any = from_spec({**measure.spec, "init_args": {**measure.spec["init_args"], "reward": True}})
        with pytest.raises(ConfigError, match=rf"{type(measure).__name__}\(reward=True\): .* learn_reward: true"):
            point(counting, said)
    with pytest.raises(
        ShapeError, match=r"\(scale=…\): expected shape 2, got 3; give one number per dim of the observation\."
    ):
        TotalSpread(scale=[1.0, 1.0, 1.0])(said, THREE)
    with pytest.raises(ShapeError, match=r"\(scale=…\): expected shape 4, got 3; .* and one for the reward\."):
        TotalSpread(scale=[1.0, 1.0, 1.0], reward=True)(drawn_at_random(), THREE)
    with pytest.raises(ConfigError, match="expected a sample with its reward, got none"):
        LikelihoodSpread(reward=True)(drawn_at_random(), torch.arange(6), Sample(torch.zeros(ROWS, 3)))


@each
def test_the_reward_counts_where_the_model_learns_it(measure: UncertaintyMeasure) -> None:
    """So one file serves tasks whose reward is known and those whose reward is learned."""

    def of(reward: bool | str) -> Any:
        return from_spec({**measure.spec, "init_args": {**measure.spec["init_args"], "reward": reward}})

    learned, known = drawn_at_random(), by_hand()
    assert learned.reward_mean is not None and known.reward_mean is None
    assert torch.equal(point(of("auto"), learned), point(of(True), learned))
    assert torch.equal(point(of("auto"), known), point(of(False), known))
    assert not torch.equal(point(of("auto"), learned), point(of(False), learned))


@each
def test_specs_rebuild(measure: UncertaintyMeasure) -> None:
    twin = from_spec(measure.spec)
    assert type(twin) is type(measure) and twin.spec == measure.spec
    assert torch.equal(point(twin, drawn_at_random()), point(measure, drawn_at_random()))
