"""`IterVAML`, its calibrated variant, and the streams that it draws from."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Transitions, make_generator
from mbrl.models import IterVAML
from mbrl.models.losses.iter_vaml import calibrated
from tests.models.losses.values import Formulas, linear, rows_to

BARE: dict[str, Any] = {"mse": 0.0, "normalize": False}


def asked(loss: IterVAML, rows: Transitions, value: Any, scale: Tensor) -> Transitions:
    return replace(rows, extras=loss.extras(rows, value, scale))


def test_it_is_the_squared_difference_of_values_mean_over_critics() -> None:
    value, scale = linear([3.0, -4.0], [1.0, 0.0]), torch.tensor([2.0, 0.5, 7.0])
    loss, rows = IterVAML(**BARE), rows_to(torch.randn(4, 2, generator=make_generator("cpu", 0)))
    rows = asked(loss, rows, value, scale)
    target = torch.randn(4, 3, generator=make_generator("cpu", 1))
    mean = target + torch.tensor([1.0, 1.0, 0.1])
    off = torch.tensor([3 * 2 - 4 * 0.5, 2.0])
    wanted = off.square().mean() + 0.01
    torch.testing.assert_close(loss.errors(mean.expand(3, 4, 3), target, rows, scale, value), wanted.expand(3, 4))
    some = IterVAML(mse=0.5, normalize=False).errors(mean.expand(3, 4, 3), target, rows, scale, value)
    torch.testing.assert_close(some, (wanted + 0.5 * 2.01 / 3).expand(3, 4))
    batched = rows.map(lambda tensor: tensor.expand(3, *tensor.shape).clone())
    torch.testing.assert_close(loss.errors(mean.expand(3, 4, 3), target, batched, scale, value), wanted.expand(3, 4))


@pytest.mark.check("vagram-K5")
def test_in_a_noisy_world_it_finds_the_value_and_not_the_mean() -> None:
    value, rows = Formulas(lambda s: s[..., 0].square() / 2), rows_to(torch.tensor([[0.0], [1.0]]))
    loss = IterVAML(**BARE)
    rows = asked(loss, rows, value, torch.ones(1))
    means = torch.linspace(0, 1.5, 1501)
    total = [float(loss.errors(m.expand(1, 2, 1), rows.next_obs, rows, torch.ones(1), value).sum()) for m in means]
    assert float(means[int(torch.tensor(total).argmin())]) == pytest.approx(0.5**0.5, abs=2e-3)


def test_scales_of_values_do_not_matter_unless_asked() -> None:
    rows, target = rows_to(torch.randn(30, 2, generator=make_generator("cpu", 0))), torch.zeros(30, 2)
    mean, scale = torch.ones(1, 30, 2), torch.ones(2)
    for normalize, times in ((True, 1.0), (False, 1e4)):
        loss = IterVAML(normalize=normalize, mse=0.0)
        one, other = (
            loss.errors(mean, target, asked(loss, rows, value, scale), scale, value)
            for value in (linear([1.0, 2.0]), linear([100.0, 200.0]))
        )
        torch.testing.assert_close(other, times * one)
    loss, flat = IterVAML(mse=0.0), linear([0.0, 0.0])
    assert float(loss.errors(mean, target, asked(loss, rows, flat, scale), scale, flat).max()) == 0.0


def test_an_end_costs_its_squared_error() -> None:
    rows = rows_to(torch.zeros(2, 2), torch.tensor([True, False]))
    loss, value = IterVAML(**BARE), linear([3.0, -4.0])
    rows = asked(loss, rows, value, torch.ones(2))
    assert loss.errors(torch.tensor([[[1.0, 3.0]] * 2]), torch.zeros(2, 2), rows, torch.ones(2), value).tolist() == [
        [5.0, 81.0]
    ]


@pytest.mark.check("vagram-K15")
@pytest.mark.parametrize("k", [2, 4, 8])
def test_the_correction_is_unbiased_for_any_number_of_samples(k: int) -> None:
    values = 1.3 + 0.7 * torch.randn(1, k, 400_000, generator=make_generator("cpu", k), dtype=torch.float64)
    gaps = values - 0.4
    raw = float(gaps.mean(1).square().mean())
    assert raw == pytest.approx(0.81 + 0.49 / k, abs=6e-3)
    assert float(calibrated(gaps).mean()) == pytest.approx(0.81, abs=6e-3)
    printed = gaps.mean(1).square() - gaps.var(1, correction=0)  # of the paper's text, right for k = 2 alone
    assert float(printed.mean()) == pytest.approx(0.81 + 0.49 * (2 - k) / k, abs=6e-3)


def test_samples_of_a_gaussian_are_charged_for_their_mean_value() -> None:
    value, scale, sd = linear([2.0]), torch.tensor([0.5]), torch.full((1, 20_000, 1), 0.7).requires_grad_()
    loss, rows = IterVAML(samples=2, **BARE), rows_to(torch.zeros(20_000, 1))
    rows = asked(loss, rows, value, scale)
    mean = torch.full((1, 20_000, 1), 0.9)
    found = loss.errors(mean, torch.zeros(20_000, 1), rows, scale, value, sd)
    assert float(found.detach().mean()) == pytest.approx(0.81, abs=0.03)
    found.sum().backward()
    assert sd.grad is not None and float(sd.grad.abs().sum()) > 0
    assert loss.fits_variance and not IterVAML().fits_variance


def test_its_draws_are_a_stream_of_their_own_and_scores_move_none() -> None:
    value, scale, sd = linear([2.0]), torch.ones(1), torch.ones(1, 5, 1)
    loss, rows = IterVAML(samples=3), rows_to(torch.zeros(5, 1))
    rows, target = asked(loss, rows, value, scale), torch.zeros(5, 1)
    mean = torch.zeros(1, 5, 1)

    def charge() -> Tensor:
        return loss.errors(mean, target, rows, scale, value, sd)

    with torch.no_grad():
        assert torch.equal(charge(), charge()) and loss.draws == 0
    one, two = charge(), charge()
    assert not torch.equal(one, two) and loss.draws == 2
    state = loss.state_dict()
    three = charge()
    loss.load_state_dict(state)
    assert torch.equal(charge(), three)
    loss.reset()
    assert torch.equal(charge(), one)
