"""Linear-Gaussian systems whose answers are known exactly: a task, its functions, and the numbers in closed form.

    s' = F s + G a + σ ε,   r = −(|s'|² + c |a|²),   ends where any |s'_i| exceeds a limit

`LinearModel` is the system as a dynamics model, `LinearEnv` as a Gymnasium environment.

Bertsekas1995: "Dynamic programming and optimal control" (the recursion of a finite horizon).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.data import Task

# A point mass that drags: position, velocity.
STATE_MATRIX = ((1.0, 0.1), (0.0, 0.9))
ACTION_MATRIX = ((0.0,), (0.2,))

ACTION_COST = 0.1
LIMIT = 2.0


def reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """−(|s'|² + 0.1 |a|²), `B`."""
    return -(next_obs.square().sum(-1) + ACTION_COST * action.square().sum(-1))


def terminated(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """Says whether the state has left ±2 in any dimension, `B` bool."""
    return (next_obs.abs() > LIMIT).any(-1)


def linear_task(*, ends: bool = True, time_limit: int | None = 50) -> Task:
    """The task of the default system, with its reward and termination known.

    Args:
        ends: whether leaving ±2 ends an episode; False never does.
        time_limit: real steps after which an episode is truncated.
    """
    size, actions = len(STATE_MATRIX), len(ACTION_MATRIX[0])
    return Task(
        env_id="mbrl.testing:mbrl/Linear-v0",
        env_kwargs={"ends": ends},
        obs_size=size,
        action_size=actions,
        action_low=(-1.0,) * actions,
        action_high=(1.0,) * actions,
        time_limit=time_limit,
        known_reward=f"{__name__}.reward",
        known_terminated=f"{__name__}.terminated" if ends else "mbrl.envs.terminations.never",
    )


def forecast(
    state_matrix: Tensor, action_matrix: Tensor, noise: float, obs: Tensor, actions: Tensor
) -> tuple[Tensor, Tensor]:
    """Mean and covariance of an open-loop rollout.

    Args:
        state_matrix: F, `S x S`.
        action_matrix: G, `S x A`.
        noise: σ.
        obs: `B x S`, where it starts.
        actions: `B x H x A`.

    Returns:
        Means `B x H x S`, and the covariances `H x S x S`, which neither state nor actions change.
    """
    mean, covariance = obs, torch.zeros_like(state_matrix)
    eye = torch.eye(len(state_matrix), dtype=state_matrix.dtype, device=state_matrix.device)
    means, covariances = [], []
    for action in actions.unbind(-2):  # H of B x A
        mean = mean @ state_matrix.T + action @ action_matrix.T
        covariance = state_matrix @ covariance @ state_matrix.T + noise**2 * eye
        means.append(mean)
        covariances.append(covariance)
    return torch.stack(means, -2), torch.stack(covariances)


def lqr_gain(
    state_matrix: Sequence[Sequence[float]] = STATE_MATRIX,
    action_matrix: Sequence[Sequence[float]] = ACTION_MATRIX,
    discount: float = 1.0,
    action_cost: float = ACTION_COST,
    sweeps: int = 1000,
) -> tuple[Tensor, Tensor]:
    """The best linear controller for `reward` without bounds and terminations, by the Riccati recursion.

    Args:
        state_matrix: F, `S x S`.
        action_matrix: G, `S x A`.
        discount: γ of one step.
        action_cost: c.
        sweeps: iterations; each adds a step to the horizon.

    Returns:
        K, `A x S` (the action is −K s), and P, `S x S` (the best return from s without noise is −sᵀPs), float64.
    """
    eye = torch.eye(len(action_matrix[0]), dtype=torch.float64).tolist()
    cost = [[action_cost * number for number in row] for row in eye]
    gains, costs = riccati_gains(state_matrix, action_matrix, action_cost=cost, horizon=sweeps, discount=discount)
    return gains[0], costs[0]


def riccati_gains(
    state_matrix: Sequence[Sequence[float]] = STATE_MATRIX,
    action_matrix: Sequence[Sequence[float]] = ACTION_MATRIX,
    state_cost: Sequence[Sequence[float]] | None = None,
    action_cost: Sequence[Sequence[float]] | None = None,
    horizon: int = 10,
    discount: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """The best plan of a finite horizon for s' = F s + G a at the cost s'ᵀ Q s' + aᵀ R a per step [Bertsekas1995].

    Without bounds on the actions: where each −K_h s_h lies inside them, it is the best bounded plan too, since the
    problem is convex.

    Args:
        state_matrix: F, `S x S`.
        action_matrix: G, `S x A`.
        state_cost: Q, `S x S`, symmetric; None is 1.
        action_cost: R, `A x A`, symmetric, positive definite; None is 0.1 times 1.
        horizon: `H` steps.
        discount: γ of one step; a step's cost counts γʰ.

    Returns:
        K, `H x A x S` (the action at step h is −K_h s_h), and P, `(H+1) x S x S` (the least cost from step h on is
        s_hᵀ P_h s_h), float64.
    """
    f = torch.tensor(state_matrix, dtype=torch.float64)  # S x S
    g = torch.tensor(action_matrix, dtype=torch.float64)  # S x A
    q = torch.eye(len(f), dtype=torch.float64) if state_cost is None else torch.tensor(state_cost, dtype=torch.float64)
    r = ACTION_COST * torch.eye(g.shape[1], dtype=torch.float64)  # A x A
    if action_cost is not None:
        r = torch.tensor(action_cost, dtype=torch.float64)
    gains: list[Tensor] = []
    costs = [torch.zeros_like(f)]
    for _ in range(horizon):
        after = q + discount * costs[-1]  # what s' costs now and later
        gain = torch.linalg.solve(r + g.T @ after @ g, g.T @ after @ f)  # A x S
        closed = f - g @ gain
        gains.append(gain)
        costs.append(closed.T @ after @ closed + gain.T @ r @ gain)
    return torch.stack(gains[::-1]), torch.stack(costs[::-1])
