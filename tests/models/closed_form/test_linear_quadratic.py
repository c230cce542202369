"""Linear systems with quadratic costs: the model, and its best plan."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mbrl.data import Task, Transitions, make_generator
from mbrl.errors import ConfigError, TaskError
from mbrl.models import LinearQuadratic
from mbrl.testing import LinearModel, check_dynamics_model, linear_task, lqr_gain, riccati_gains
from mbrl.testing.linear import ACTION_MATRIX, STATE_MATRIX

F = [[1.0, 0.1, 0.0], [0.0, 0.9, 0.2], [0.1, 0.0, 0.7]]
G = [[0.0, 0.1], [0.2, 0.0], [0.1, 0.3]]
Q = [[2.0, 0.5, 0.0], [0.5, 1.0, 0.0], [0.0, 0.0, 0.0]]
R = [[0.3, 0.1], [0.1, 0.2]]
TASK = Task("", 3, 2, (-2.0, 1.0), (2.0, 3.0))  # the second action is centred on 2


def built(task: Task = TASK) -> LinearQuadratic:
    model = LinearQuadratic(F, G, Q, R)
    model.build(task)
    return model


def test_a_step_by_hand() -> None:
    obs, action = torch.tensor([[1.0, -1.0, 2.0]], dtype=torch.float64), torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    said = built().predict(obs, action)  # the environment's action is (1, 1)
    assert said.reward_mean is not None and said.terminated_logit is not None
    assert said.mean.tolist() == [[pytest.approx([1.0, -0.3, 1.9], abs=1e-12)]]
    # 2 + 0.09 + 2·0.5·1·(−0.3) for the state, 0.3 + 0.2 + 2·0.1 for the action
    assert said.reward_mean.item() == pytest.approx(-(1.79 + 0.7), abs=1e-12)
    assert said.terminated_logit.item() < -20


def test_action_repeat_sums_its_inner_steps() -> None:
    obs, action = torch.tensor([[1.0, -1.0, 2.0]], dtype=torch.float64), torch.tensor([[0.5, -1.0]], dtype=torch.float64)
    once, thrice = built(), built(replace(TASK, action_repeat=3))
    total, state = 0.0, obs
    for _ in range(3):
        said = once.predict(state, action)
        assert said.reward_mean is not None
        total, state = total + said.reward_mean.item(), said.mean[0]
    whole = thrice.predict(obs, action)
    assert whole.reward_mean is not None and torch.equal(whole.mean[0], state)
    assert whole.reward_mean.item() == pytest.approx(total, rel=1e-12)


def test_the_defaults_are_the_linear_tasks_costs() -> None:
    model, double = LinearQuadratic(STATE_MATRIX, ACTION_MATRIX), LinearModel(learn_reward=True)
    obs, action = torch.randn(5, 2, generator=make_generator("cpu", 0)), torch.linspace(-1, 1, 5)[:, None]
    for each in (model, double):
        each.build(linear_task(ends=False))
    one, other = model.predict(obs, action), double.predict(obs, action)
    torch.testing.assert_close((one.mean, one.reward_mean), (other.mean, other.reward_mean))


@pytest.mark.parametrize("task", [TASK, replace(TASK, action_repeat=2)])
def test_it_keeps_its_contract(task: Task) -> None:
    check_dynamics_model(lambda: LinearQuadratic(F, G, Q, R), task)


@pytest.mark.parametrize("discount", [1.0, 0.9])
def test_riccati_is_the_least_cost_of_any_plan(discount: float) -> None:
    """Against least squares over all six numbers of a plan, and against the model stepped through the plan."""
    horizon, start = 3, torch.tensor([1.0, -0.5, 0.3], dtype=torch.float64)
    gains, costs = riccati_gains(F, G, Q, R, horizon, discount)
    assert gains.shape == (3, 2, 3) and costs.shape == (4, 3, 3) and not costs[-1].any()
    f, g, q, r = (torch.tensor(matrix, dtype=torch.float64) for matrix in (F, G, Q, R))

    def cost(plan: torch.Tensor) -> torch.Tensor:
        state, total = start, torch.zeros((), dtype=torch.float64)
        for h, action in enumerate(plan.view(horizon, 2)):
            state = f @ state + g @ action
            total = total + discount**h * (state @ q @ state + action @ r @ action)
        return total

    zero = torch.zeros(6, dtype=torch.float64)
    curvature = torch.autograd.functional.hessian(cost, zero)
    slope = torch.autograd.functional.jacobian(cost, zero)
    brute = torch.linalg.solve(curvature, -slope)  # the cost is quadratic in the plan: this is its minimum
    state, plan = start, []
    for gain in gains:
        plan.append(-gain @ state)
        state = f @ state + g @ plan[-1]
    torch.testing.assert_close(torch.cat(plan), brute)
    torch.testing.assert_close(start @ costs[0] @ start, cost(brute))
    if discount == 1.0:
        free = Task("", 3, 2, (-9.0, -9.0), (9.0, 9.0), known_terminated="mbrl.envs.terminations.never")
        model = built(free)
        state = model.start(Transitions.from_obs(start[None], 2), make_generator("cpu", 0))
        steps = model.rollout(state, torch.stack(plan)[None] / 9)
        torch.testing.assert_close(-sum(step.reward for step in steps)[0], start @ costs[0] @ start)


def test_a_long_horizon_is_the_steady_controller() -> None:
    gain, value = lqr_gain(sweeps=300)
    gains, costs = riccati_gains(horizon=300)
    torch.testing.assert_close((gains[0], costs[0]), (gain, value))
    torch.testing.assert_close(gains[0], riccati_gains(horizon=301)[0][0])


def test_refusals() -> None:
    with pytest.raises(ConfigError, match=r"LinearQuadratic: expected state_matrix S x S .* got 3 x \[3\] and 2 x \[2\]"):
        LinearQuadratic(F, G[:2])
    with pytest.raises(ConfigError, match=r"expected state_cost to be 3 x 3, got rows of \[2, 2\]"):
        LinearQuadratic(F, G, R)
    with pytest.raises(ConfigError, match="action_cost symmetric with no eigenvalue below 0, got one that isn't symmetric"):
        LinearQuadratic(F, G, Q, [[1, 0.5], [0, 1]])
    with pytest.raises(ConfigError, match="got an eigenvalue of -1"):
        LinearQuadratic(F, G, Q, [[-1, 0], [0, 1]])
    with pytest.raises(TaskError, match=r"LinearQuadratic\(action_matrix\): expected shape 2 x 1, got 3 x 2"):
        built(linear_task())
