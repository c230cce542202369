"""Systems that a sparse sum of the library is, so that the answer is known to the last digit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import collect, make_task
from mbrl.envs.offline_data import OfflineData
from mbrl.errors import MbrlWarning
from mbrl.models import CartPole, SINDy
from mbrl.models.sindy.aggregate import masked_mean, median
from mbrl.networks import Library, PySINDyOptimizer

EXACT: dict[str, Any] = {"members": 1, "target": "next_obs", "alpha": 0.0}
A = torch.tensor([[1.0, 0.01], [-0.05, 0.98]], dtype=torch.float64)
B = torch.tensor([[0.0], [0.02]], dtype=torch.float64)


def task(states: int, **known: Any) -> Task:
    return Task("", states, 1, (-1.0,), (1.0,), known_terminated="mbrl.envs.terminations.never", **known)


def rows_of(obs: Tensor, action: Tensor, next_obs: Tensor, reward: Tensor | None = None) -> Transitions:
    rows = Transitions.from_obs(obs, action.shape[-1])
    rows.action, rows.next_obs = action, next_obs
    rows.reward = obs[:, 0] if reward is None else reward
    return rows


def linear_trajectories() -> list[tuple[Tensor, Tensor]]:
    """States `T x 2` and actions `T x 1` of three trajectories."""
    noise, found = make_generator("cpu", 0, "linear"), []
    for length in (50, 30, 21):
        action = torch.rand(length, 1, generator=noise, dtype=torch.float64) * 2 - 1
        states = [torch.randn(2, generator=noise, dtype=torch.float64)]
        for push in action[:-1]:
            states.append(A @ states[-1] + B @ push)
        found.append((torch.stack(states), action))
    return found


def fitted(of: Task, rows: Transitions, seed: int = 0, **options: Any) -> SINDy:
    model = SINDy(**{**EXACT, "learn_reward": False, **options})
    model.build(of, 0)
    model.refit(rows, make_generator("cpu", seed, "fit"))
    return model


def units(model: SINDy) -> Tensor:
    """Coefficients by term, `p x S`."""
    return model.map.in_units()[0]


@pytest.mark.check("sindy-1", "sindy-10")
@pytest.mark.parametrize("target", ["next_obs", "change"])
def test_a_linear_map_however_its_rows_lie(target: Any) -> None:
    from pysindy import STLSQ, DiscreteSINDy, PolynomialLibrary

    parts = linear_trajectories()
    rows = [rows_of(x[:-1], u[:-1], x[1:]) for x, u in parts]
    whole = Transitions.cat(rows)
    mixed = whole.select(torch.randperm(len(whole), generator=make_generator("cpu", 1)))
    expected = torch.zeros(10, 2, dtype=torch.float64)
    expected[1:4] = torch.cat((A, B), 1).T
    if target == "change":
        expected[1:3] -= torch.eye(2)
    for given in (whole, mixed):
        found = units(fitted(task(2), given, target=target, threshold=1e-4))
        assert (found - expected).abs().max() < 1e-12 and ((found != 0) == (expected != 0)).all()
    if target == "next_obs":
        for x, x_next, u in (
            ([x.numpy() for x, _ in parts], None, [u.numpy() for _, u in parts]),
            ([r.obs.numpy() for r in rows], [r.next_obs.numpy() for r in rows], [r.action.numpy() for r in rows]),
            (whole.obs.numpy(), whole.next_obs.numpy(), whole.action.numpy()),
        ):
            theirs = DiscreteSINDy(STLSQ(threshold=1e-4, alpha=0), PolynomialLibrary(2)).fit(x, 1, x_next=x_next, u=u)
            np.testing.assert_allclose(found.numpy(), theirs.coefficients().T, rtol=0, atol=1e-12)


@pytest.mark.check("sindy-10")
def test_rows_know_where_they_led_so_that_episodes_never_mix() -> None:
    """Without next observations flat trajectories would have steps from one's end to the other's start."""
    ends = [rows_of(torch.full((30, 1), c), torch.rand(30, 1), torch.full((30, 1), c)) for c in (1.0, 5.0)]
    flat = Transitions.cat(ends)
    library = Library(degree=1, bias=False)
    mixed = flat.select(torch.randperm(60, generator=make_generator("cpu", 3)))
    found = [units(fitted(task(1), rows.map(_double), library=library, threshold=1e-3)) for rows in (flat, mixed)]
    assert found[0][0, 0] == pytest.approx(1.0, abs=1e-12) and torch.allclose(found[0], found[1])


def _double(tensor: Tensor) -> Tensor:
    return tensor.double() if tensor.is_floating_point() else tensor


def pendulum_map(obs: Tensor, u: Tensor, dt: float = 0.05) -> Tensor:
    c, s, w = obs.unbind(-1)
    return torch.stack((c - dt * s * w, s + dt * c * w, (1 - 0.1 * dt) * w - 9.81 * dt * s + dt * u[..., 0]), -1)


def pendulum_rows() -> Transitions:
    noise = make_generator("cpu", 0, "pendulum")
    obs, u = (torch.rand(600, n, generator=noise, dtype=torch.float64) * 2 - 1 for n in (3, 1))
    return rows_of(obs, u, pendulum_map(obs, u))


@pytest.mark.check("sindy-2", "sindy-5")
def test_a_nonlinear_map_has_its_seven_terms_and_rolls_out_as_pysindys() -> None:
    from pysindy import STLSQ, DiscreteSINDy, PolynomialLibrary

    rows, library = pendulum_rows(), Library(bias=False)
    model = fitted(task(3), rows, library=library, threshold=1e-3)
    truth = {
        ("x0", 0): 1, ("x1 x2", 0): -0.05, ("x1", 1): 1, ("x0 x2", 1): 0.05,
        ("x2", 2): 0.995, ("x1", 2): -0.4905, ("u0", 2): 0.05
    }  # fmt: skip
    names, found = model.map.terms.names(), units(model)
    there = {(names[p], s): float(found[p, s]) for p, s in (found != 0).nonzero().tolist()}
    assert set(there) == set(truth) and all(abs(there[key] - truth[key]) < 1e-12 for key in truth)
    theirs = DiscreteSINDy(STLSQ(threshold=1e-3, alpha=0), PolynomialLibrary(2, include_bias=False))
    theirs.fit(rows.obs.numpy(), 1, x_next=rows.next_obs.numpy(), u=rows.action.numpy())
    said = model.predict(rows.obs, rows.action).mean[0]
    np.testing.assert_allclose(said.numpy(), np.asarray(theirs.predict(rows.obs.numpy(), rows.action.numpy())), atol=1e-10)
    plan = torch.rand(1, 29, 1, generator=make_generator("cpu", 1), dtype=torch.float64) * 2 - 1
    start = model.start(rows.select(slice(0, 1)), make_generator("cpu", 0))
    ours = [step.next_obs[0] for step in _rollout(model, start, plan)]
    simulated = np.asarray(theirs.simulate(rows.obs[0].numpy(), 30, u=plan[0].numpy()))
    np.testing.assert_allclose(torch.stack(ours).numpy(), simulated[1:], rtol=0, atol=1e-10)


def _rollout(model: SINDy, state: Any, plan: Tensor) -> Any:
    for action in plan.unbind(1):
        said = model.predict(state.obs, action).mean[0]
        state = state.moved(said)
        yield type("Step", (), {"next_obs": said})


@pytest.mark.check("sindy-5")
@pytest.mark.parametrize("kind", ["cubic", "waves", "affine"])
def test_a_fit_of_anything_predicts_as_pysindys(kind: str) -> None:
    from pysindy import STLSQ, DiscreteSINDy
    from pysindy.feature_library import FourierLibrary, GeneralizedLibrary, PolynomialLibrary

    library, theirs = Library(3), PolynomialLibrary(3)
    if kind == "waves":
        library = Library(2, bias=False, frequencies=1)
        theirs = PolynomialLibrary(2, include_bias=False) + FourierLibrary(1)
    if kind == "affine":
        library = Library(bias=False, control_affine=True)
        parts = [PolynomialLibrary(2, include_bias=False), PolynomialLibrary(1, include_bias=False)]
        theirs = GeneralizedLibrary(parts, tensor_array=[[1, 1]], inputs_per_library=[[0, 1, 2], [3]])
    rows = pendulum_rows()
    rows.next_obs = rows.next_obs + 0.01 * torch.randn(600, 3, generator=make_generator("cpu", 4), dtype=torch.float64)
    model = fitted(task(3), rows, library=library, threshold=5e-3, alpha=0.01)
    other = DiscreteSINDy(STLSQ(threshold=5e-3, alpha=0.01), theirs)
    other.fit(rows.obs.numpy(), 1, x_next=rows.next_obs.numpy(), u=rows.action.numpy())
    np.testing.assert_allclose(
        units(model).numpy(), other.coefficients().T, rtol=0, atol=1e-10 if kind == "waves" else 1e-12
    )
    said = model.predict(rows.obs, rows.action).mean[0].numpy()
    np.testing.assert_allclose(said, np.asarray(other.predict(rows.obs.numpy(), rows.action.numpy())), rtol=0, atol=1e-10)


@pytest.mark.check("sindy-5")
@pytest.mark.parametrize(
    ("name", "options"), [("SR3", {"reg_weight_lam": 1e-4}), ("FROLS", {"kappa": 1e-5, "max_iter": 15})]
)
def test_pysindys_other_optimisers_predict_as_in_pysindy(name: str, options: dict[str, Any]) -> None:
    import pysindy

    rows = pendulum_rows()
    library = pysindy.PolynomialLibrary(2, include_bias=False)
    model = fitted(task(3), rows, library=Library(bias=False), alpha=0.05, optimizer=PySINDyOptimizer(name, options))
    theirs = pysindy.DiscreteSINDy(getattr(pysindy, name)(**options), library)
    theirs.fit(rows.obs.numpy(), 1, x_next=rows.next_obs.numpy(), u=rows.action.numpy())
    said = model.predict(rows.obs, rows.action).mean[0].numpy()
    np.testing.assert_allclose(said, np.asarray(theirs.predict(rows.obs.numpy(), rows.action.numpy())), rtol=0, atol=1e-10)
    bagged = fitted(
        task(3), rows, members=2, drop_terms=1, alpha=0.05, optimizer=PySINDyOptimizer(name, options), screen_steps=0
    )
    assert (bagged.map.present.sum(1) == 14).all() and bagged.map.coefficients[bagged.map.present.logical_not()].eq(0).all()


@pytest.mark.check("sindy-7")
def test_the_variance_over_members_is_that_of_their_coefficients() -> None:
    rows = pendulum_rows()
    rows.next_obs = rows.next_obs + 0.1 * torch.randn(600, 3, generator=make_generator("cpu", 5), dtype=torch.float64)
    model = fitted(task(3), rows, library=Library(bias=False), members=12, threshold=1e-3)
    said = model.predict(rows.obs, rows.action).mean  # E x B x S
    z = torch.cat((rows.obs, rows.action), 1)
    theta = torch.stack([z[:, list(f)].prod(-1) for f in model.map.terms.factors], 1)  # B x p
    coefficients = model.map.in_units()
    apart = coefficients - coefficients.mean(0)
    covariance = torch.einsum("eps,eqs->spq", apart, apart) / 12
    expected = torch.einsum("bp,spq,bq->bs", theta, covariance, theta)
    torch.testing.assert_close(said.var(0, correction=0), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.check("sindy-7")
def test_a_mean_leans_to_0_where_members_are_denied_terms_and_a_masked_mean_and_a_median_do_not() -> None:
    rows = pendulum_rows()
    rows.next_obs = 0.9 * rows.obs
    options: dict[str, Any] = {"library": Library(bias=False), "members": 20, "threshold": 1e-3, "drop_terms": 2}
    model = fitted(task(3), rows, **options, screen_steps=0)
    coefficients, present = model.map.coefficients, model.map.present
    assert (present.sum(1) == 12).all()
    for place in range(3):
        holding = int(present[:, place].sum())
        assert 10 < holding < 20 and coefficients.mean(0)[place, place] == pytest.approx(0.9 * holding / 20, abs=1e-12)
    expected = 0.9 * torch.eye(3, dtype=torch.float64)
    assert torch.allclose(masked_mean(coefficients, present).diagonal(), expected.diagonal(), atol=1e-12)
    assert torch.allclose(median(coefficients, present)[:3], expected, atol=1e-12)
    for aggregate in ("median", "mean"):
        one = fitted(task(3), rows, **options, aggregate=aggregate)
        assert torch.allclose(units(one).diagonal(), expected.diagonal(), atol=1e-12) and one.members == 1


@pytest.mark.check("sindy-9")
def test_the_same_seed_gives_the_same_members_and_their_order_no_other_median() -> None:
    rows = pendulum_rows()
    rows.next_obs = rows.next_obs + 0.1 * torch.randn(600, 3, generator=make_generator("cpu", 6), dtype=torch.float64)
    one, same, other = (fitted(task(3), rows, seed, members=9, threshold=1e-2, drop_terms=1) for seed in (0, 0, 1))
    assert torch.equal(one.map.coefficients, same.map.coefficients) and torch.equal(one.map.present, same.map.present)
    assert not torch.equal(one.map.coefficients, other.map.coefficients)
    order = torch.randperm(9, generator=make_generator("cpu", 7))
    found = one.map.coefficients
    assert torch.equal(median(found, one.map.present), median(found[order], one.map.present[order]))


@pytest.mark.check("sindy-8")
def test_a_refit_draws_as_many_rows_as_there_are_and_keeps_the_number_of_members() -> None:
    noise = make_generator("cpu", 8)
    obs = torch.randn(5000, 1, generator=noise, dtype=torch.float64)
    rows = rows_of(obs, torch.rand(5000, 1).double(), obs + 0.5 * torch.randn(5000, 1, generator=noise, dtype=torch.float64))
    model = fitted(task(1), rows.select(slice(0, 10)), members=20, library=Library(1), threshold=0.0, screen_steps=0)
    few = float(model.map.in_units()[:, 1, 0].std())
    model.refit(rows, make_generator("cpu", 1))
    many = float(model.map.in_units()[:, 1, 0].std())
    assert len(model.map.coefficients) == 20 and few > 0.05 and many == pytest.approx(0.007, rel=0.5)


@pytest.mark.check("sindy-13")
@pytest.mark.parametrize("domain", [False, True])
def test_a_reward_is_of_where_a_step_led(domain: bool) -> None:
    from mbrl.models import Box

    noise = make_generator("cpu", 9)
    obs, u = (torch.rand(300, n, generator=noise, dtype=torch.float64) * 2 - 1 for n in (2, 1))
    next_obs = torch.stack((obs[:, 0] + 0.1 * obs[:, 1], obs[:, 1] + 0.1 * u[:, 0]), 1)
    rows = rows_of(obs, u, next_obs, next_obs[:, 0])
    kept = [Box([-3.0, None], [3.0, None])] if domain else []
    model = fitted(task(2), rows, learn_reward=True, threshold=1e-3, domain=kept)
    assert model.reward_map is not None
    found = model.reward_map.in_units()[0, :, 0]
    assert (found != 0).nonzero()[:, 0].tolist() == [1] and found[1] == pytest.approx(1.0, abs=1e-12)
    step = model.step(model.start(rows.select(slice(0, 50)), make_generator("cpu", 0)), u[:50])
    assert (step.reward - step.next_obs[:, 0]).abs().max() < 1e-12


@pytest.mark.check("sindy-15")
def test_random_swing_up_steps_give_the_two_terms_of_position_and_cosine() -> None:
    truth = CartPole()
    truth.build(make_task("dm_control/cartpole-swingup-v0"))
    noise = make_generator("cpu", 0, "swing-up")
    angle = torch.pi + 0.01 * torch.randn(16, generator=noise, dtype=torch.float64)
    still = torch.zeros(16, dtype=torch.float64)
    state = truth.start(
        Transitions.from_obs(torch.stack((still, angle.cos(), angle.sin(), still, still), 1), 1), make_generator("cpu", 0)
    )
    steps = []
    for _ in range(500):
        steps.append(truth.step(state, torch.rand(16, 1, generator=noise, dtype=torch.float64) * 2 - 1))
        state = steps[-1].state
    rows = Transitions.cat([rows_of(s.obs, s.action, s.next_obs, s.reward) for s in steps])
    with pytest.warns(MbrlWarning, match=r"got 1 that are: x2\^2 u0; they are left out"):  # x1² u0 + x2² u0 is u0
        model = fitted(
            task(5), rows, library=Library(bias=False, control_affine=True), threshold=7e-3, alpha=5e-5, members=20,
            aggregate="median", drop_terms=1, row_share=0.6, unbias=False,
        )  # fmt: skip
    names, found = model.map.terms.names(), units(model)
    there = [{names[p]: float(found[p, s]) for p in found[:, s].nonzero()[:, 0].tolist()} for s in (0, 1)]
    assert there[0] == pytest.approx({"x0": 1.0, "x3": 0.01}, abs=2e-4)
    assert there[1] == pytest.approx({"x1": 1.0, "x2 x4": -0.01}, abs=2e-4)
    lines = str(model.equations()).splitlines()
    assert lines[0].startswith("x0' = (1 ± ") and lines[0].endswith("x3") and lines[1].endswith("x2 x4")


@pytest.mark.check("sindy-15")
def test_the_swimmers_reward_is_its_forward_speed(tmp_path: Any) -> None:
    made = make_task("Swimmer-v5", {"max_episode_steps": 100})
    path = collect(made, str(tmp_path / "rows.npz"), steps=3000, seed=0, sim_state=False)
    rows = OfflineData(str(path), env_id="Swimmer-v5").transitions
    library = Library(interactions=False, bias=False, inputs=list(range(8)))
    options: dict[str, Any] = {"reward_library": library, "reward_threshold": 5e-2, "alpha": 1e-5, "target": "next_obs"}
    model = SINDy(members=1, library=Library(1), **options)
    model.build(made)
    model.refit(rows, make_generator("cpu", 0))
    assert model.reward_map is not None
    found = model.reward_map.in_units()[0, :, 0]
    names = model.reward_map.terms.names()
    assert {names[p]: float(found[p]) for p in found.nonzero()[:, 0].tolist()} == pytest.approx({"x3": 0.92}, abs=0.05)
