"""`Diversity`: known values, what it doesn't depend on, and which learners it refuses."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.policies import SAC, BoundCriticTerm, CriticContext, Diversity
from mbrl.policies.diversity import similarity


def learner(actions: int = 2, **options: Any) -> SAC:
    made = SAC(**{"hidden": [16, 16], "critics": 4, **options})
    made.build(Task("", obs_size=3, action_size=actions, action_low=(-1,) * actions, action_high=(1,) * actions), 0)
    made.make_optimizers()
    return made


def batch(actions: int = 2, rows: int = 6) -> Transitions:
    generator = make_generator("cpu", "diversity")
    obs, action = torch.randn(rows, 3, generator=generator), torch.rand(rows, actions, generator=generator) * 2 - 1
    flags = torch.zeros(rows, dtype=torch.bool)
    return Transitions(obs, action, torch.zeros(rows), obs, flags, flags)


def context(made: SAC) -> CriticContext:
    generator = make_generator("cpu", 1)
    half = (made.critics, made.target_critics, made.policy, torch.tensor(0.1), 0.99)
    return CriticContext(*half, slice(0, 0), generator, lambda metrics: None)


def turned(*degrees: float) -> Tensor:
    angle = torch.tensor(degrees, dtype=torch.float64) * math.pi / 180
    return torch.stack((angle.cos(), angle.sin()), -1).unsqueeze(1)  # J x 1 x 2


@pytest.mark.check("ravl-9.1")
@pytest.mark.parametrize(
    ("slopes", "value"),
    [
        (turned(*[30.0] * 10), 10.0),
        (torch.eye(5, dtype=torch.float64).unsqueeze(1), 0.0),
        (turned(0, 180), -2.0),
        (turned(0, 120, 240), -1.5),
    ],
)
def test_known_values_at_any_scale(slopes: Tensor, value: float) -> None:
    scale = torch.linspace(1, 50, len(slopes), dtype=torch.float64).view(-1, 1, 1)
    assert similarity(slopes).item() == pytest.approx(value, abs=1e-8)
    assert similarity(scale * slopes).item() == pytest.approx(value, abs=1e-8)


def test_lies_between_its_bounds() -> None:
    said = similarity(torch.randn(7, 500, 3, generator=make_generator("cpu", 3)))
    assert said.min() >= -7 / 6 - 1e-5 and said.max() <= 7 + 1e-5


def test_a_critic_without_slope_is_orthogonal_and_leaves_finite_gradients() -> None:
    slopes = torch.cat((turned(0, 0), torch.zeros(1, 1, 2, dtype=torch.float64))).requires_grad_()
    said = similarity(slopes)
    assert said.item() == pytest.approx(1.0)
    said.sum().backward()
    assert slopes.grad is not None and slopes.grad.abs().max() < 10


def test_equals_the_sum_over_pairs_of_one_gradient_each() -> None:
    made, rows = learner(), batch()
    action = rows.action.clone().requires_grad_()
    values = made.critics(rows.obs, action)
    slopes = torch.stack([torch.autograd.grad(each.sum(), action, retain_graph=True)[0] for each in values])
    unit = slopes / slopes.norm(dim=-1, keepdim=True)
    pairs = sum((unit[i] * unit[j]).sum(-1) for i in range(4) for j in range(4) if i != j)
    assert Diversity(2.5)(rows, context(made)).item() == pytest.approx(2.5 * (pairs / 3).mean().item(), abs=1e-5)


def test_its_gradient_reaches_the_critics_alone_and_spreads_them() -> None:
    made, rows = learner(critic_lr=1e-2), batch()
    bound = BoundCriticTerm(Diversity(100.0), slice(0, 0), make_generator("cpu", 1), lambda metrics: None)
    before = Diversity(1.0)(rows, context(made)).item()
    Diversity(1.0)(rows, context(made)).backward()
    assert all(each.grad is None for each in made.policy.parameters())
    assert rows.action.grad is None
    for _ in range(30):
        made.update(rows, make_generator("cpu", 2), [bound])
    assert Diversity(1.0)(rows, context(made)).item() < before - 0.1


def test_zero_weight_changes_nothing() -> None:
    plain, zero, rows = learner(), learner(), batch()
    plain.update(rows, make_generator("cpu", 2))
    bound = BoundCriticTerm(Diversity(0.0), slice(0, 0), make_generator("cpu", 1), lambda metrics: None)
    zero.update(rows, make_generator("cpu", 2), [bound])
    assert all(torch.equal(a, b) for a, b in zip(plain.parameters(), zero.parameters(), strict=True))


@pytest.mark.parametrize(
    ("made", "rows", "reason"),
    [(learner(critics=1), batch(), "at least 2 critics"), (learner(1), batch(1), "at least 2 action dimensions")],
)
def test_refuses_one_critic_and_one_action_dimension(made: SAC, rows: Transitions, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        Diversity(1.0).check(None, made)
    with pytest.raises(UnsupportedError, match=reason):
        Diversity(1.0)(rows, context(made))
    Diversity(0.0).check(None, made)


def test_refuses_a_negative_weight() -> None:
    with pytest.raises(ConfigError, match="eta"):
        Diversity(-1.0)
