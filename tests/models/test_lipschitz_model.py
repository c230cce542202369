"""Constraints of the ensemble's network: the bound that is stated holds whenever the model is used."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

from mbrl.data import Prediction, Task, Transitions, make_generator
from mbrl.errors import ConfigError, MbrlWarning
from mbrl.models import DynamicsModel, GaussianEnsemble
from mbrl.networks import JacobianPenalty, LipMLP, LipschitzConstraint, Orthogonal, SpectralClip, SpectralNorm
from mbrl.testing import check_dynamics_model
from tests.models.linear_task import TASK, A, S, linear_rows

ROWS = linear_rows(200)
KINDS: dict[str, tuple[Callable[..., LipschitzConstraint], str]] = {
    "clip": (SpectralClip, "silu"),
    "norm": (SpectralNorm, "relu"),
    "orthogonal": (Orthogonal, "groupsort"),
}


def made(constraint: LipschitzConstraint | None, **options: Any) -> GaussianEnsemble:
    given = {"members": 3, "elites": 2, "hidden": [16, 16], "max_epochs": 3, "constraint": constraint, **options}
    model = GaussianEnsemble(**given)
    model.build(TASK)
    return model


def fitted(model: GaussianEnsemble, rows: Transitions = ROWS) -> GaussianEnsemble:
    model.refit(rows, make_generator("cpu", 0))
    return model


def holds(model: GaussianEnsemble, budget: float) -> None:
    assert float(model.lipschitz_bound().network.max()) <= budget * (1 + 1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"normalize_targets": False, "deterministic": True}], ids=["", "plain targets"])
@pytest.mark.filterwarnings("ignore:.*expected a budget of at least")
def test_the_bound_holds_after_a_fit_and_the_observation_moves_no_faster(kind: str, options: dict[str, Any]) -> None:
    constraint, activation = KINDS[kind]
    model = fitted(made(constraint(0.3), activation=activation, lr=0.03, **options))
    holds(model, 0.3)
    generator = make_generator("cpu", 5)
    one, other = torch.randn(400, S, generator=generator), torch.randn(400, S, generator=generator)
    action = torch.zeros(400, A)
    with torch.no_grad():
        moved = (model.predict(one, action).mean - model.predict(other, action).mean).norm(dim=-1)  # E x B
    slopes = (moved / (one - other).norm(dim=-1)).amax(1)
    assert bool((slopes <= model.lipschitz_bound().observation * (1 + 1e-4)).all())


def test_variances_and_terminations_are_free() -> None:
    model = made(SpectralClip(1e-3), learn_terminated=True)
    with torch.no_grad():
        raw, used = model.network.weights[-1], model.network.used_weights()[-1]
    assert torch.equal(raw[..., model.outputs :], used[..., model.outputs :])
    assert not torch.equal(raw[..., : model.outputs], used[..., : model.outputs])


@pytest.mark.filterwarnings("ignore:.*expected a budget of at least")
def test_each_update_follows_the_weights_and_what_begins_a_rollout_is_exact() -> None:
    model = made(SpectralClip(0.5), lr=0.1)
    batch = ROWS.map(lambda tensor: tensor[:192].unflatten(0, (3, 64)))
    vectors = model.network.constrained.get_buffer("left0").clone()  # type: ignore[union-attr]
    for _ in range(5):
        model.update(batch)
    assert not torch.equal(model.network.constrained.get_buffer("left0"), vectors)  # type: ignore[union-attr]
    with torch.no_grad():
        for weight in model.network.weights:
            weight.add_(torch.randn(weight.shape, generator=make_generator("cpu", 1)))
    assert float(model.lipschitz_bound().network.max()) > 0.6
    model.start(ROWS, make_generator("cpu", 0))
    holds(model, 0.5)


@pytest.mark.check("lipschitz-D23")
@pytest.mark.filterwarnings("ignore:.*expected a budget of at least")
def test_a_loaded_model_predicts_the_same_and_keeps_its_bound() -> None:
    model, other = fitted(made(SpectralClip(0.5), lr=0.03)), made(SpectralClip(0.5))
    other.load_state_dict(model.state_dict())
    obs, action = ROWS.obs, ROWS.action
    with torch.no_grad():
        assert torch.equal(other.predict(obs, action).mean, model.predict(obs, action).mean)
    state = {name: tensor * 9 if "network.weights" in name else tensor for name, tensor in model.state_dict().items()}
    nested = torch.nn.ModuleDict({"dynamics": other})
    nested.load_state_dict({f"dynamics.{name}": tensor for name, tensor in state.items()})
    holds(other, 0.5)


def test_the_best_weights_come_back_with_what_is_known_of_them() -> None:
    model = made(LipMLP(1e-2), lr=0.03)
    assert {f"network.constrained.raw_limits.{layer}" for layer in range(3)} <= model.own_parameters()
    assert {"network.constrained.left0", "network.constrained.right2"} <= made(SpectralClip(1.0)).own_buffers()


@pytest.mark.parametrize("form", ["half", "full", "adam"])
def test_learned_limits_do_not_decay(form: str) -> None:
    model = made(LipMLP(), weight_decay=0.1, decay_form=form)
    limits = {id(limit) for limit in model.network.constrained.parameters()}  # type: ignore[union-attr]
    decays = {id(p): group["weight_decay"] for group in model.parameter_groups() for p in group["params"]}
    assert len(decays) == len(list(model.parameters())) and all(decays[limit] == 0.0 for limit in limits)
    assert decays[id(model.network.weights[0])] == (0.2 if form == "full" else 0.1)
    plain = made(None, weight_decay=0.1, decay_form="adam")
    assert len(plain.parameter_groups()) == 1


def test_penalties_are_in_the_loss() -> None:
    batch = ROWS.map(lambda tensor: tensor[:192].unflatten(0, (3, 64)))
    plain = made(None).loss(batch)[0]
    loss = made(LipMLP(10.0))
    product = loss.network.constrained.product().sum()  # type: ignore[union-attr]
    torch.testing.assert_close(loss.loss(batch)[0], plain + 10 * product, rtol=1e-4, atol=1e-4)
    steep = made(JacobianPenalty(1.0, 1e-6))
    assert bool(steep.loss(batch)[0] > plain)


def test_the_budget_is_taken_from_the_data_at_each_fit_and_told() -> None:
    model = made(SpectralClip())
    report = model.refit(ROWS, make_generator("cpu", 0))
    flat = linear_rows(200)
    flat.next_obs.copy_(
        flat.obs + 3e-4 * torch.randn(200, S, generator=make_generator("cpu", 1)) + 0.2 * flat.obs.roll(1, 1)
    )
    again = model.refit(flat, make_generator("cpu", 0))
    assert 0.5 < float(report["budget"]) < 10 and float(report["budget"]) != float(again["budget"])
    holds(model, float(again["budget"]))
    assert "budget" not in fitted(made(None)).refit(ROWS, make_generator("cpu", 0))


def test_what_only_rounds_sets_no_budget() -> None:
    rows = linear_rows(200)
    rows.next_obs[:, 0] = rows.obs[:, 0] * (1 + 1e-7)
    report = made(SpectralClip()).refit(rows, make_generator("cpu", 0))
    assert float(report["budget"]) < 10


def test_a_budget_below_the_datas_slope_is_told_with_both_numbers() -> None:
    model = made(SpectralClip(0.05))
    with pytest.warns(MbrlWarning, match=r"at least the slope of the data, \d\S*, got 0\.05, with which"):
        fitted(model)
    holds(model, 0.05)


def test_widths_and_activations_that_cannot_be_are_refused_at_once() -> None:
    with pytest.raises(ConfigError, match="expected the activation groupsort between layers, got silu"):
        GaussianEnsemble(constraint=Orthogonal(1.0))
    with pytest.raises(ConfigError, match=r"expected even widths beside groupsort.*got 15; take 16"):
        GaussianEnsemble(constraint=Orthogonal(1.0), activation="groupsort", hidden=[15])


@pytest.mark.parametrize("kind", ["clip", "orthogonal", "lip", "penalty", "single bf16"])
def test_it_keeps_the_contract_of_models(kind: str) -> None:
    options: dict[str, Any] = {"members": 2, "elites": 1, "hidden": [8, 8], "max_epochs": 2}
    if kind == "single bf16":
        options |= {"members": 1, "precision": "bf16"}
    if kind == "orthogonal":
        options["activation"] = "groupsort"
    constraints = {"orthogonal": Orthogonal(), "lip": LipMLP(), "penalty": JacobianPenalty()}

    def make() -> GaussianEnsemble:
        return GaussianEnsemble(constraint=constraints.get(kind, SpectralClip()), **options)

    check_dynamics_model(make, TASK, tolerance=1e-2 if kind == "single bf16" else 1e-5)


# known answers ---------------------------------------------------------------------------------------------------------


def w2(mean: torch.Tensor, sd: torch.Tensor, other_mean: torch.Tensor, other_sd: torch.Tensor) -> torch.Tensor:
    """The 2-Wasserstein distance of diagonal Gaussians."""
    return ((mean - other_mean).square() + (sd - other_sd).square()).sum(-1).sqrt()


class Drift(DynamicsModel):
    """x' = 1.2 x + bias."""

    def __init__(self, bias: float = 0.0) -> None:
        super().__init__()
        self.bias = bias

    def predict(self, obs: torch.Tensor, action: torch.Tensor, member: torch.Tensor | None = None) -> Prediction:
        mean = 1.2 * obs + self.bias
        mean = mean if member is not None else mean.unsqueeze(0)
        return Prediction(mean, torch.zeros_like(mean), torch.zeros_like(mean[..., 0]), torch.zeros_like(mean[..., 0]))


@pytest.mark.check("lipschitz-D9")
def test_errors_compound_by_the_slope() -> None:
    task = Task("", 1, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never")
    row = Transitions.from_obs(torch.tensor([[0.7]]), 1)
    ends = []
    for model in (Drift(), Drift(0.1)):
        model.build(task)
        ends.append(model.rollout(model.start(row, make_generator("cpu", 0)), torch.zeros(1, 5, 1))[-1].next_obs)
    assert float(ends[1] - ends[0]) == pytest.approx(0.74416, rel=1e-5)
    assert float(ends[1] - ends[0]) == pytest.approx(0.1 * (1.2**5 - 1) / 0.2, rel=1e-5)


@pytest.mark.check("lipschitz-D21")
def test_the_distance_of_gaussians() -> None:
    grid = torch.special.ndtri((torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000)
    one, other = 0.3 + 1.5 * grid, -0.4 + 0.5 * grid  # quantiles, whose coupling is the cheapest in one dim
    said = w2(*(torch.tensor([x], dtype=torch.float64) for x in (0.3, 1.5, -0.4, 0.5)))
    assert float(said) == pytest.approx(float((one - other).square().mean().sqrt()), rel=1e-3)
    assert float(said) == pytest.approx(math.hypot(0.7, 1.0))
    log_var = torch.tensor(-1.2, dtype=torch.float64, requires_grad=True)
    sd = torch.exp(log_var / 2)
    (slope,) = torch.autograd.grad(sd, log_var)
    assert float(slope) == pytest.approx(float(sd.detach()) / 2)


@pytest.mark.check("lipschitz-D21")
def test_a_constrained_models_gaussian_moves_by_its_mean_and_its_sd() -> None:
    """W2 of two answers, in normalised coordinates, is at most √(K² + L_σ²) times the distance of what was asked."""
    model = fitted(made(SpectralClip(2.0)))
    x = torch.randn(3, 300, S + A, generator=make_generator("cpu", 2))
    with torch.no_grad():
        mean, log_var, _ = model.split(model.network(x))
        assert log_var is not None
        sd = torch.exp(log_var / 2)
        distance = w2(mean, sd, mean.roll(1, 1), sd.roll(1, 1))
    apart = (x - x.roll(1, 1)).norm(dim=-1)
    columns = slice(model.outputs, 2 * model.outputs)
    *hidden, last = model.network.used_weights()
    norms = torch.stack([torch.linalg.matrix_norm(w.detach(), 2) for w in (*hidden, last[..., columns])]).prod(0)
    spread = sd.amax() / 2 * norms * 1.09984**2
    bound = (model.lipschitz_bound().network.square() + spread.square()).sqrt()
    assert bool((distance / apart <= bound.unsqueeze(1) * (1 + 1e-5)).all())


@pytest.mark.check("lipschitz-D22")
def test_the_bound_in_units_of_the_observation() -> None:
    scale = torch.tensor([57.0, 1.0, 0.02])
    rows = linear_rows(200)
    rows = Transitions(rows.obs * scale, rows.action, rows.reward, rows.next_obs * scale, rows.terminated, rows.truncated)
    for constraint in (None, SpectralClip(2.0)):
        model = fitted(made(constraint), rows)
        bound = model.lipschitz_bound()
        inputs, targets = model.normalizer.sd[:S].double(), model.target_normalizer.sd[:S].double()
        torch.testing.assert_close(bound.observation, 1 + bound.network * targets.max() / inputs.min())
        own = model.lipschitz_bound(rows.obs.std(0)).observation
        assert bool((own < bound.observation / 10).all())
        some = model.lipschitz_bound(torch.tensor([57.0, 1.0, 0.0])).observation
        torch.testing.assert_close(some, 1 + bound.network * float((targets / scale)[:2].max() / (inputs / scale)[:2].min()))
        with torch.no_grad():
            one, other = (torch.randn(500, S, generator=make_generator("cpu", i)) * scale for i in (1, 2))
            said = model.predict(torch.stack((one, other)), torch.zeros(2, 500, A)).mean  # E x 2 x B x S
        slopes = (said[:, 0] - said[:, 1]).norm(dim=-1) / (one - other).norm(dim=-1)
        assert bool((slopes.amax(1) <= bound.observation).all())


@pytest.mark.check("lipschitz-D22")
def test_without_a_network_the_observation_drifts() -> None:
    model = fitted(made(None))
    with torch.no_grad():
        model.network.weights[-1].zero_()
        model.network.biases[-1].zero_()
        said = model.predict(ROWS.obs, ROWS.action).mean
    normalizer = model.target_normalizer
    drift = (normalizer.mean_high + normalizer.mean_low)[:S]
    torch.testing.assert_close(said, (ROWS.obs + drift).expand_as(said))
    assert model.lipschitz_bound().observation.tolist() == [1.0] * 3


def test_a_constraint_of_normalised_targets_knows_no_units() -> None:
    """The same rows in other units give the same budget, and the same fit."""
    rows, big = ROWS, copy.deepcopy(ROWS)
    big.obs.mul_(64.0), big.next_obs.mul_(64.0), big.reward.mul_(1024.0)
    one, other = made(SpectralClip()), made(SpectralClip())
    said, again = (model.refit(some, make_generator("cpu", 0)) for model, some in ((one, rows), (other, big)))
    assert float(again["budget"]) == pytest.approx(float(said["budget"]), rel=1e-4)
    with torch.no_grad():
        wanted = one.predict(rows.obs, rows.action).mean * 64
        torch.testing.assert_close(other.predict(big.obs, big.action).mean, wanted, rtol=1e-3, atol=1e-2)
