"""Critics as one batch: equal to each critic alone, free leading dims, no gradient to frozen weights."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mbrl.data import make_generator
from mbrl.errors import ShapeError
from mbrl.networks import LipschitzConstraint, Normalizer, Orthogonal, SpectralClip, SpectralNorm
from mbrl.policies import Critics


def critics(count: int = 2) -> Critics:
    return Critics(3, 2, make_generator("cpu", "critics"), hidden=(16, 8), count=count)


def inputs(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = make_generator("cpu", "inputs")
    return torch.randn(*shape, 3, generator=generator), torch.rand(*shape, 2, generator=generator) * 2 - 1


@pytest.mark.parametrize("count", [1, 2, 5])
def test_each_critic_is_its_own_network(count: int) -> None:
    made = critics(count)
    obs, action = inputs(6)
    values = made(obs, action)
    assert values.shape == (count, 6)
    hidden = made.hidden(torch.cat((obs, action), -1))
    for j in range(count):
        expected = hidden[j] @ made.head_weight[j, 0] + made.head_bias[j]
        torch.testing.assert_close(values[j], expected)
    assert all(not torch.allclose(values[0], values[j]) for j in range(1, count))


def test_leading_dims_are_free() -> None:
    made = critics()
    obs, action = inputs(2, 4)
    values = made(obs, action)
    assert values.shape == (2, 2, 4)
    torch.testing.assert_close(values[:, 1], made(obs[1], action[1]))
    assert made(obs[0, 0], action[0, 0]).shape == (2,)


def test_frozen_passes_gradients_to_inputs_only() -> None:
    made = critics()
    obs, action = (tensor.requires_grad_() for tensor in inputs(6))
    made(obs, action, frozen=True).sum().backward()
    assert obs.grad is not None
    assert action.grad is not None
    assert all(parameter.grad is None for parameter in made.parameters())


def test_second_derivatives_exist() -> None:
    """Critic terms differentiate the gradient with respect to the action."""
    made = critics()
    obs, action = inputs(6)
    action.requires_grad_()
    (slope,) = torch.autograd.grad(made(obs, action).sum(), action, create_graph=True)
    slope.square().sum().backward()
    gradient = made.hidden.weights[0].grad
    assert gradient is not None
    assert gradient.abs().sum() > 0


@pytest.mark.parametrize("frozen", [False, True])
def test_each_critic_may_have_rows_of_its_own(frozen: bool) -> None:
    """One backward pass gives the gradients in action of all critics."""
    made = critics(5)
    obs, action = inputs(6)
    apart = action.expand(5, 6, 2).clone().requires_grad_()
    values = made(obs.expand(5, 6, 3), apart, own_rows=True, frozen=frozen)
    torch.testing.assert_close(values, made(obs, action))
    (slopes,) = torch.autograd.grad(values.sum(), apart)
    action.requires_grad_()
    for j in range(5):
        (slope,) = torch.autograd.grad(made(obs, action, frozen=frozen)[j].sum(), action)
        torch.testing.assert_close(slopes[j], slope)
    others, drawn = inputs(5, 7)
    for j, own in enumerate(made(others, drawn, own_rows=True)):
        torch.testing.assert_close(own, made(others[j], drawn[j])[j])


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"Critics\(action\): expected shape 5 x 2, got 5 x 1"):
        critics()(torch.zeros(5, 3), torch.zeros(5, 1))
    with pytest.raises(ShapeError, match=r"\(action\): expected shape 5 x 2, got 4 x 2"):
        critics()(torch.zeros(5, 3), torch.zeros(4, 2))
    with pytest.raises(ShapeError, match=r"Critics\(obs\): expected shape 2 x B x 3, got 4 x 5 x 3"):
        critics()(torch.zeros(4, 5, 3), torch.zeros(4, 5, 2), own_rows=True)


@pytest.mark.parametrize(
    "constraint", [SpectralClip(3.0), SpectralNorm(3.0), Orthogonal(3.0)], ids=lambda p: type(p).__name__
)
def test_constrained_critics_keep_their_bound_and_frozen_ones_say_the_same(constraint: LipschitzConstraint) -> None:
    critics = Critics(3, 2, make_generator("cpu", 0), (16, 16), 2, constraint=constraint)
    with torch.no_grad():
        for parameter in critics.parameters():
            parameter.mul_(20)
    for _ in range(200):
        critics.follow()
    torch.testing.assert_close(critics.lipschitz_bound(), torch.full((2,), 3.0).double(), rtol=1e-3, atol=0)
    x, y = torch.randn(2, 2000, 5, generator=make_generator("cpu", 1))
    rise = (critics(x[:, :3], x[:, 3:]) - critics(y[:, :3], y[:, 3:])).abs() / (x - y).norm(dim=-1)
    assert float(rise.detach().max()) <= 3.0 * (1 + 1e-3)
    action = y[:, 3:].clone().requires_grad_()
    free = critics(x[:, :3], action)
    frozen = critics(x[:, :3], action, frozen=True)
    assert torch.equal(free, frozen)
    frozen.sum().backward()
    assert all(parameter.grad is None for parameter in critics.parameters())
    assert action.grad is not None
    free.sum().backward()
    assert all(parameter.grad is not None for parameter in critics.parameters())


def test_the_bound_of_free_critics_is_the_product_of_their_norms() -> None:
    critics = Critics(3, 2, make_generator("cpu", 0), (16, 16), 2)
    norms = [torch.linalg.matrix_norm(w.double(), 2) for w in (*critics.hidden.weights, critics.head_weight)]
    torch.testing.assert_close(critics.lipschitz_bound(), torch.stack(norms).prod(0).detach())


KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "bf16": {"precision": "bf16"},
    "normalised": {"normalizer": True},
    "clipped": {"constraint": SpectralClip(0.5)},
    "groupsort": {"constraint": Orthogonal(2.0)},
    "layer norm": {"norm": "layer"},
}


@pytest.mark.parametrize("kind", KINDS)
def test_slopes_of_all_critics_at_once_are_those_of_one_after_the_other(kind: str) -> None:
    options = dict(KINDS[kind])
    if options.pop("normalizer", False):
        options["normalizer"] = Normalizer(3)
        options["normalizer"].fit(torch.randn(20, 3, generator=make_generator("cpu", 5)) * 7)
    critics = Critics(3, 2, make_generator("cpu", 0), (16, 8), 4, **options)
    generator = make_generator("cpu", 1)
    obs, action = torch.randn(6, 3, generator=generator), torch.rand(6, 2, generator=generator) * 2 - 1
    at, chosen = obs.clone().requires_grad_(), action.clone().requires_grad_()
    values = critics(at, chosen)  # J x B
    pairs = [torch.autograd.grad(each.sum(), (at, chosen), create_graph=True) for each in values]
    of_obs, of_action = (torch.stack(each) for each in zip(*pairs, strict=True))
    assert torch.equal(critics.slopes(obs, action), of_obs) and not critics.slopes(obs, action).requires_grad
    found = critics.action_slopes(obs, action)
    torch.testing.assert_close(found, of_action, rtol=0, atol=0 if kind == "plain" else 1e-6)
    weight = torch.randn(found.shape, generator=generator)
    for ours, theirs in zip(
        torch.autograd.grad((found * weight).sum(), list(critics.parameters()), allow_unused=True),
        torch.autograd.grad((of_action * weight).sum(), list(critics.parameters()), allow_unused=True),
        strict=True,
    ):
        none = torch.zeros(()) if theirs is None else torch.zeros_like(theirs)
        torch.testing.assert_close(none if ours is None else ours, none if theirs is None else theirs, rtol=1e-2, atol=1e-6)
