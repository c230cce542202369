"""`RobustValue`: exact maxima of linear critics, and what it leaves alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.policies import SAC, BoundCriticTerm, CriticContext, RobustValue
from mbrl.policies.robust_value import slopes

W = torch.tensor([[1.0, -2.0, 0.5], [0.25, 0.0, 3.0]])  # J x S
U = torch.tensor([[2.0], [-1.0]])  # J x A
P = 0.3  # the policy's action


class Linear(nn.Module):
    """Q_j(s, a) = w_j·s + u_j·a."""

    def __init__(self) -> None:
        super().__init__()
        self.w, self.u = nn.Parameter(W.clone()), nn.Parameter(U.clone())

    def forward(self, obs: Tensor, action: Tensor, *, frozen: bool = False, own_rows: bool = False) -> Tensor:
        w, u = (self.w.detach(), self.u.detach()) if frozen else (self.w, self.u)
        pattern = "jbs,js->jb" if own_rows else "bs,js->jb"
        return torch.einsum(pattern, obs, w) + torch.einsum(pattern, action, u)


class Constant(nn.Module):
    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return obs.new_full((*obs.shape[:-1], 1), P)


def batch(rows: int = 5, action: float = -0.5) -> Transitions:
    obs = torch.randn(rows, 3, generator=make_generator("cpu", 1))
    flags = torch.zeros(rows, dtype=torch.bool)
    return Transitions(obs, torch.full((rows, 1), action), torch.zeros(rows), obs, flags, flags)


def context(critics: nn.Module, policy: Any) -> CriticContext:
    generator = make_generator("cpu", 2)
    return CriticContext(critics, critics, policy, torch.tensor(0.1), 0.99, slice(0, 0), generator, lambda metrics: None)


def charge(sd: float = 1.0, **options: Any) -> Tensor:
    term = RobustValue(1.0, **options)
    term.sd = torch.full((3,), sd)
    said: Tensor = term(batch(), context(Linear(), Constant()))
    return said.detach()


def size(norm: str) -> Tensor:
    return W.abs().sum(1) if norm == "inf" else W.norm(dim=1)  # the dual norm of the ball's


@pytest.mark.check("lipschitz-D2")
@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("reference", ["policy_action", "same_action"])
def test_with_the_same_action_the_maximum_is_eps_times_the_slope(norm: str, reference: str) -> None:
    for attack in ("fgsm_two_sided", "pgd"):
        found = charge(eps=0.1, reference=reference, attack=attack, norm=norm)
        torch.testing.assert_close(found, (0.1 * size(norm)).square().sum())
    with pytest.raises(ConfigError, match=r"gradient is 0 at the state itself; take fgsm_two_sided"):
        RobustValue(reference=reference, attack="fgsm")  # type: ignore[arg-type]
    term = RobustValue(1.0, eps=0.1, attack="fgsm", norm=norm)  # type: ignore[arg-type]
    critics, obs = Linear(), batch().obs.expand(2, 5, 3)
    values = lambda states: critics(states, torch.full((2, 5, 1), P), frozen=True, own_rows=True)  # noqa: E731
    stayed = term.worst_states(values, obs, values(obs), torch.full((3,), 0.1))
    assert torch.equal(stayed, obs)  # so that it would charge nothing


@pytest.mark.check("lipschitz-D3")
@pytest.mark.parametrize("norm", ["inf", "2"])
@pytest.mark.parametrize("attack", ["fgsm", "fgsm_two_sided", "pgd"])
def test_with_the_batchs_action_the_gap_of_actions_adds_to_it(attack: str, norm: str) -> None:
    delta = (U[:, 0] * (P + 0.5)).abs()
    found = charge(eps=0.1, attack=attack, norm=norm)
    torch.testing.assert_close(found, (delta + 0.1 * size(norm)).square().sum())
    torch.testing.assert_close(charge(eps=1e-12, attack=attack, norm=norm), delta.square().sum())


def test_a_sum_is_b_times_a_mean_and_eps_is_in_standard_deviations() -> None:
    torch.testing.assert_close(charge(reduction="sum"), 5 * charge(reduction="mean"))
    torch.testing.assert_close(charge(sd=10.0, eps=0.01), charge(sd=1.0, eps=0.1))


def learner() -> SAC:
    sac = SAC(hidden=[16, 16])
    sac.build(Task("", obs_size=3, action_size=1, action_low=(-1,), action_high=(1,)))
    sac.make_optimizers()
    return sac


@pytest.mark.check("lipschitz-D4")
@pytest.mark.parametrize("attack", ["fgsm", "fgsm_two_sided", "pgd"])
@pytest.mark.parametrize("norm", ["inf", "2"])
def test_states_stay_in_the_ball_and_the_actor_gets_no_gradient(attack: str, norm: str) -> None:
    sac = learner()
    term = RobustValue(1.0, 0.1, attack=attack, norm=norm)  # type: ignore[arg-type]
    rows = batch(64)
    rows.obs[:, 2] = 7.0  # a constant dimension
    term.fitted(None, rows)
    assert term.sd is not None
    kept: list[Tensor] = []
    found = term.worst_states
    term.worst_states = lambda *arguments: kept.append(found(*arguments)) or kept[-1]  # type: ignore[method-assign, func-returns-value]
    term(rows, context(sac.critics, sac.policy)).backward()
    away = (kept[0] - rows.obs)[..., :2] / (0.1 * term.sd[:2])
    far = away.abs().amax() if norm == "inf" else away.norm(dim=-1).amax()
    assert 0.5 < float(far) <= 1 + 1e-5
    assert torch.equal(kept[0][..., 2], rows.obs[:, 2].expand(2, 64))
    assert all(parameter.grad is None for parameter in sac.policy.parameters())
    assert all(float(parameter.grad.abs().sum()) > 0 for parameter in sac.critics.hidden.parameters())


@pytest.mark.check("lipschitz-D4")
def test_a_weight_of_zero_changes_no_bit_and_no_ball_charges_nothing() -> None:
    rows = batch(32)
    parameters = []
    for weight in (None, 0.0):
        sac = learner()
        terms = []
        if weight is not None:
            term = RobustValue(weight)
            term.fitted(None, rows)
            terms = [BoundCriticTerm(term, slice(0, 0), make_generator("cpu", 4), lambda metrics: None)]
        for _ in range(3):
            sac.update(rows, make_generator("cpu", 3), terms)
        parameters.append(torch.cat([parameter.flatten() for parameter in sac.parameters()]))
    assert torch.equal(*parameters)
    assert float(charge(sd=0.0, reference="same_action", attack="pgd")) == 0.0


@pytest.mark.check("lipschitz-D5")
def test_more_steps_never_find_less() -> None:
    sac, rows = learner(), batch(256)
    found = {}
    for attack, steps in (("fgsm_two_sided", 1), ("pgd", 1), ("pgd", 5), ("pgd", 40)):
        term = RobustValue(1.0, 1.0, reference="policy_action", attack=attack, steps=steps)  # type: ignore[arg-type]
        term.fitted(None, rows)
        found[attack, steps] = float(term(rows, context(sac.critics, sac.policy)).detach())
    assert 0 < found["fgsm_two_sided", 1] <= found["pgd", 1]
    assert found["fgsm_two_sided", 1] < found["pgd", 40]


def test_the_clean_value_may_be_held_constant() -> None:
    grads = []
    for detach in (True, False):
        critics = Linear()
        term = RobustValue(1.0, 0.1, reference="same_action", attack="pgd", detach_clean=detach)
        term.sd = torch.ones(3)
        term(batch(), context(critics, Constant())).backward()
        grads.append(critics.u.grad)
    assert grads[0] is not None and float(grads[0].abs().sum()) > 0
    assert grads[1] is not None and float(grads[1].abs().sum()) < 1e-5  # in the difference the action cancels


def test_every_counts_updates_and_the_state_goes_on() -> None:
    rows = batch()
    term = RobustValue(1.0, every=3)
    with pytest.raises(NotBuiltError, match="call fitted"):
        term(rows, context(Linear(), Constant()))
    term.reset()
    term.fitted(None, rows)
    charged = [float(term(rows, context(Linear(), Constant())).detach()) > 0 for _ in range(4)]
    assert charged == [True, False, False, True]
    other = RobustValue(1.0, every=3)
    other.load_state_dict(term.state_dict())
    assert [float(other(rows, context(Linear(), Constant())).detach()) > 0 for _ in range(3)] == [False, False, True]


@pytest.mark.parametrize("wrong", [{"eps": 0.0}, {"eps": -1.0}, {"every": 0}, {"weight": -1.0}, {"attack": "fast"}])
def test_wrong_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=f"RobustValue\\({next(iter(wrong))}=…\\): expected"):
        RobustValue(**wrong)


def test_each_critic_is_attacked_along_its_own_gradient() -> None:
    sac, obs = learner(), batch(4).obs

    def values(states: Tensor) -> Tensor:
        return sac.critics(states, sac.policy.mode(states), frozen=True, own_rows=True)

    found, said = slopes(values, obs.expand(2, *obs.shape))
    for j in range(2):
        at = obs.clone().requires_grad_()
        value = sac.critics(at, sac.policy.mode(at), frozen=True)[j]
        torch.testing.assert_close(found[j], torch.autograd.grad(value.sum(), at)[0])
        torch.testing.assert_close(said[j], value.detach())


@pytest.mark.parametrize("reference", ["batch_action", "policy_action"])
def test_values_that_the_learner_has_are_not_computed_again(reference: str) -> None:
    sac, rows = learner(), batch(16)
    term = RobustValue(1.0, 0.1, reference=reference, attack="fgsm_two_sided")  # type: ignore[arg-type]
    term.fitted(None, rows)
    found = []
    for shared in (False, True):
        place = context(sac.critics, sac.policy)
        if shared:
            place.values = sac.critics(rows.obs, rows.action)
        said = term(rows, place)
        found.append([said, *torch.autograd.grad(said, list(sac.critics.parameters()))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)
