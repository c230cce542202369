"""`ValueSpread` against numbers worked out by hand: members differ in what they expect the future to be worth."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import InterleavedGenerator, Prediction, Task, make_generator
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.testing import NoScalarReadback
from mbrl.uncertainty import Sample, ValueSpread

Q = [3.0, -1.0, 4.5, 10.0, 2.0]  # what five members expect, with the least critic


class Critics:
    """J = 2: f(s_0), and as much as `more` above it."""

    def __init__(self, f: Callable[[Tensor], Tensor] = lambda x: x, more: float = 4.0) -> None:
        self.f, self.more = f, more

    def value(self, obs: Tensor) -> Tensor:
        assert obs.ndim == 2  # B x S
        return torch.stack([self.f(obs[:, 0]), self.f(obs[:, 0]) + self.more])


def where(critics: Critics | None = None, ends: Any = None) -> Sample:
    return Sample(torch.zeros(0), value=critics or Critics(), ends=ends)


def said(values: list[float], rows: int = 4, noise: float = 0.0) -> Prediction:
    """Member i predicts values[i] in the first of two dims, of which alone the critics know."""
    mean = torch.stack([torch.tensor(values), torch.arange(len(values)).float()], -1)  # E x S
    mean = mean[:, None].repeat(1, rows, 1)
    return Prediction(mean, torch.full_like(mean, noise**2))


def spread(prediction: Prediction, measure: ValueSpread, sample: Sample | None = None, members: Any = None) -> Tensor:
    drawn = torch.arange(len(prediction.mean)) if members is None else torch.tensor(members)
    return measure(prediction, drawn, sample or where(), make_generator("cpu", "spread"))


@pytest.mark.check("ravl-9.5")
@pytest.mark.parametrize("samples", [1, 10])
def test_it_is_the_unbiased_sd_of_the_least_critics_values(samples: int) -> None:
    found = spread(said(Q), ValueSpread(samples=samples))
    assert found.tolist() == pytest.approx([statistics.stdev(Q)] * 4, rel=1e-6)
    assert spread(said(Q), ValueSpread(ddof=0)).tolist() == pytest.approx([statistics.pstdev(Q)] * 4, rel=1e-6)


def test_common_noise_leaves_what_members_disagree_about() -> None:
    """All members meet one draw: of values that are linear it cancels, and the sd is exactly the means' by one draw."""
    noisy, exact = said(Q, rows=50, noise=2.0), statistics.stdev(Q)
    common = spread(noisy, ValueSpread(samples=1, common_noise=True))
    assert common.tolist() == pytest.approx([exact] * 50, rel=1e-5)
    apart = spread(noisy, ValueSpread(samples=1))
    assert apart.std() > 0.5  # noise of 2 in each member's value
    alike = said([3.0] * 5, rows=50, noise=2.0)  # members that agree, noise included
    assert spread(alike, ValueSpread(samples=1, common_noise=True)).tolist() == [0.0] * 50
    assert spread(alike, ValueSpread(samples=1)).min() > 0


def test_common_noise_is_scaled_by_each_members_sd() -> None:
    """Members of equal means and sd 1 and 3: s' is ε and 3 ε, whose unbiased sd is √2 |ε|, of one draw for each row."""
    mean = torch.zeros(2, 2000, 1)
    prediction = Prediction(mean, torch.tensor([1.0, 9.0])[:, None, None].expand_as(mean))
    found = spread(prediction, ValueSpread(samples=1, common_noise=True))
    assert found.square().mean().item() == pytest.approx(2.0, rel=0.1)  # E (√2 ε)²
    assert len(found.unique()) > 1900  # no row shares another's


def test_the_mean_over_critics_is_another_value() -> None:
    """The second critic is 4 below the first only where s > 3.5: the least of them is squeezed, their mean is not."""

    class Apart(Critics):
        def value(self, obs: Tensor) -> Tensor:
            return torch.stack([obs[:, 0], torch.where(obs[:, 0] > 3.5, obs[:, 0] - 4, obs[:, 0])])

    least, mean = [3.0, -1.0, 0.5, 6.0, 2.0], [3.0, -1.0, 2.5, 8.0, 2.0]
    assert spread(said(Q), ValueSpread(), where(Apart()))[0].item() == pytest.approx(statistics.stdev(least), rel=1e-6)
    found = spread(said(Q), ValueSpread(critics="mean"), where(Apart()))[0].item()
    assert found == pytest.approx(statistics.stdev(mean), rel=1e-6)


def test_elites_are_those_that_a_rollout_draws() -> None:
    assert spread(said(Q), ValueSpread(), members=[3, 1])[0].item() == pytest.approx(statistics.stdev([10.0, -1.0]))
    found = spread(said(Q), ValueSpread(members="all"), members=[3, 1])[0].item()
    assert found == pytest.approx(statistics.stdev(Q), rel=1e-6)


@pytest.mark.parametrize("members", [2, 3, 5, 7])
def test_members_that_agree_give_exactly_nothing(members: int) -> None:
    """However large the value is, so that no weight of the penalty moves a bit."""
    sample = where(Critics(lambda x: 1e4 / 3 + x.sin()))
    assert spread(said([0.7] * members), ValueSpread(), sample).tolist() == [0.0] * 4


@pytest.mark.parametrize("samples", [1, 4])
def test_with_few_samples_noise_counts_as_disagreement(samples: int) -> None:
    """Members that agree on a noise of 1: the variance of the mean of m draws is 1/m."""
    found = spread(said([0.0] * 5, rows=20_000, noise=1.0), ValueSpread(samples=samples))
    assert found.square().mean().item() == pytest.approx(1 / samples, rel=0.03)


def test_a_members_value_is_an_expectation() -> None:
    """V = s²: 0 for certain, or N(0, 2²), whose mean square is 4."""
    prediction = said([0.0, 0.0], rows=20)
    prediction.var[1] = 4.0
    found = spread(prediction, ValueSpread(samples=5000), where(Critics(lambda x: x.square())))
    assert found.mean().item() == pytest.approx(4 / 2**0.5, rel=0.02) and found.std() < 0.1


def test_after_an_end_nothing_is_worth_anything_if_masked() -> None:
    sample = where(ends=lambda next_obs: next_obs[..., 0] > 4)
    masked = [q if q <= 4 else 0.0 for q in Q]
    assert spread(said(Q), ValueSpread(mask_terminations=True), sample)[0].item() == pytest.approx(
        statistics.stdev(masked), rel=1e-6
    )
    assert spread(said(Q), ValueSpread(), sample)[0].item() == pytest.approx(statistics.stdev(Q), rel=1e-6)


@pytest.mark.parametrize("members", ["all", "elites"])
def test_an_end_that_each_member_has_learned(members: Any) -> None:
    prediction = said(Q)
    prediction.terminated_logit = torch.tensor([1.0, -1.0, -1.0, 2.0, -1.0])[:, None].repeat(1, 4)
    sample = where(ends=lambda next_obs: None)
    order = [3, 2] if members == "elites" else [0, 1, 2, 3, 4]
    kept = [0.0 if i in (0, 3) else Q[i] for i in order]
    found = spread(prediction, ValueSpread(mask_terminations=True, members=members), sample, members=[3, 2])
    assert found[0].item() == pytest.approx(statistics.stdev(kept), rel=1e-6)


def lost(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Ends where a step of the action's size doesn't fit below 5."""
    return obs[..., 0] + action[..., 0] + 0 * next_obs[..., 0] > 5


def test_a_tasks_end_sees_the_rows_own_obs_and_action() -> None:
    name = f"{__name__}.lost"
    task = Task("", 2, 1, (-2.0,), (2.0,), known_terminated=name)
    obs, action = torch.tensor([[4.0, 0.0], [4.0, 0.0], [0.0, 0.0], [0.0, 0.0]]), torch.tensor([[1.0], [0.0], [1.0], [0.0]])
    sample = Sample(obs).valued(Critics(), task, obs, action)
    found = spread(said(Q), ValueSpread(mask_terminations=True), sample)
    assert found.tolist() == pytest.approx([0.0] + [statistics.stdev(Q)] * 3, rel=1e-6)  # 4 + 2 > 5 in the first row only


def test_a_row_draws_the_same_whoever_stands_beside_it() -> None:
    prediction = said(Q, rows=6, noise=1.0)
    measure, five = ValueSpread(samples=3), torch.arange(5)

    def found(environments: list[int], rows: list[int]) -> Tensor:
        noise = InterleavedGenerator([make_generator("cpu", "row", i) for i in environments])
        part = Prediction(prediction.mean[:, rows], prediction.var[:, rows])
        return measure(part, five, where(), noise)

    together, alone = found([0, 1, 2], list(range(6))), found([1], [1, 4])
    assert torch.allclose(together[[1, 4]], alone)  # to rounding, which depends on the processor
    assert not torch.allclose(together[:3], together[3:])


def test_it_has_a_gradient_also_where_members_agree() -> None:
    prediction = said([1.0, 1.0, 1.0])
    prediction.mean.requires_grad_()
    spread(prediction, ValueSpread(samples=2)).sum().backward()
    assert prediction.mean.grad is not None and (prediction.mean.grad == 0).all()
    apart = said(Q)
    apart.mean.requires_grad_()
    spread(apart, ValueSpread(samples=2)).sum().backward()
    assert apart.mean.grad is not None and (apart.mean.grad[:, :, 0] != 0).all()


def test_it_reads_nothing_back() -> None:
    with NoScalarReadback():
        spread(said(Q), ValueSpread(mask_terminations=True), where(ends=lambda next_obs: next_obs[..., 0] > 4))


def test_what_it_cannot_do_without() -> None:
    with pytest.raises(ConfigError, match="ValueSpread: expected critics that value next observations, got none"):
        ValueSpread()(said(Q), torch.arange(5), None, make_generator("cpu", 0))
    with pytest.raises(ConfigError, match="ValueSpread: expected a generator"):
        ValueSpread()(said(Q), torch.arange(5), where())
    with pytest.raises(ConfigError, match=r"mask_terminations=True\): expected a task or a model that knows when"):
        spread(said(Q), ValueSpread(mask_terminations=True))
    with pytest.raises(UnsupportedError, match="expected 2 elites or more, got 1"):
        spread(said(Q), ValueSpread(), members=[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"samples": 0}, r"ValueSpread\(samples=…\): expected a whole number of at least 1, got 0"),
        ({"critics": "max"}, r"ValueSpread\(critics=…\): expected one of min, mean, got 'max'"),
        ({"ddof": 2}, r"ValueSpread\(ddof=…\): expected one of 0, 1, got 2"),
        ({"members": "some"}, r"ValueSpread\(members=…\): expected one of all, elites"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ValueSpread(**options)
