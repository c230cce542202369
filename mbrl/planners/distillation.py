"""`distill`: a network's policy as a sparse sum, fitted to what the policy does along its own rollouts in a model.

Zolman2024: "SINDy-RL: interpretable and efficient model-based reinforcement learning" (arXiv 2403.09110; authors' code).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product

import torch
from torch import Tensor

from mbrl.data import Transitions, make_generator
from mbrl.errors import DataError, MbrlWarning
from mbrl.models import DynamicsModel
from mbrl.policies import Policy, SparsePolicy
from mbrl.policies.sparse_policy import SATURATED

_GRID = tuple(10.0**power for power in range(-6, -1))  # of threshold and of alpha, the authors'
_HELD_OUT = 0.2  # share of the states on which pairs are scored
_NO_REWARD = "mbrl.envs.rewards.one"
_NO_END = "mbrl.envs.terminations.never"
_TRIED = 5  # of the best by error, whose return in the model decides


@dataclass(frozen=True)
class Distilled:
    """A sparse policy and how it compares with its teacher.

    Attributes:
        policy: the best, fitted.
        threshold: of its fit.
        alpha: likewise.
        error: root mean squared difference of actions in [−1, 1] from the teacher's on held-out states.
        model_return: mean return of its rollouts in the model; None where neither the task nor the model knows the reward.
        teacher_return: the same of the teacher.
        saturated: share of the teacher's actions at their bounds.
        terms: number of its coefficients.
    """

    policy: SparsePolicy
    threshold: float
    alpha: float
    error: float
    model_return: float | None
    teacher_return: float | None
    saturated: float
    terms: int


@torch.no_grad()
def distill(
    teacher: Policy,
    dynamics: DynamicsModel,
    starts: Transitions,
    student: SparsePolicy,
    *,
    steps: int = 200,
    tube: float = 0.1,
    seed: int = 0,
) -> Distilled:
    """Fits a sparse policy around the states that a teacher visits in a model [Zolman2024].

    Each visited state is taken thrice, twice with noise, so that the student knows what to do beside the path too. 25 pairs
    of threshold and ridge are fitted to four fifths of them and scored on the rest by the error of actions; of the best five
    the one with the highest return in the model is kept, by the task's known reward or else by the one that the model has
    learned. Where there is neither, the best by error is kept, and where nobody knows the termination, rollouts go on; both
    are said.

    Args:
        teacher: whose deterministic action is imitated.
        dynamics: the model, built and fitted.
        starts: rows at which rollouts begin, `N`, with the extras that the model's `start` reads.
        student: says the library; it is left as it is.
        steps: of each rollout, until it ends.
        tube: standard deviation of the noise, in standard deviations of each visited observation. More asks for more
            robustness, and for a policy that is sparse further from the path.
        seed: of all that is drawn.

    Raises:
        DataError: if no visited state is finite, or they are fewer than the library's terms.
    """
    task, noise = dynamics.built_task, make_generator(starts.obs.device, seed, "distill")
    missing = dynamics.unknown()
    if missing:
        warnings.warn(_of_missing(missing, dynamics), MbrlWarning, 2)
    with _stand_ins(dynamics, missing):
        visited, teacher_return = _followed(teacher, dynamics, starts, steps, seed)
    if len(visited) < 2:
        raise DataError("distill: expected states that the teacher visits in the model, got none that is finite; refit it.")
    spread = visited.std(0, correction=0)
    near = [
        visited + tube * spread * torch.randn(visited.shape, generator=noise, device=visited.device, dtype=visited.dtype)
        for _ in range(2)
    ]
    obs = torch.cat((visited, *near))
    action = teacher.mode(obs)
    saturated = float((action.abs() > SATURATED).double().mean())
    if saturated > 0.5:
        warnings.warn(
            f"distill: expected a teacher whose actions lie between their bounds, got {saturated:.0%} at them; a smooth sum "
            "can't switch as it does: train it with a cost of actions, or expect a worse return.",
            MbrlWarning,
            2,
        )
    order = torch.randperm(len(obs), generator=noise, device=noise.device).to(obs.device)
    held, train = order[: int(_HELD_OUT * len(obs))], order[int(_HELD_OUT * len(obs)) :]
    scored: list[tuple[float, float, float, SparsePolicy]] = []
    for threshold, alpha in product(_GRID, _GRID):
        made = SparsePolicy(student.library)
        made.build(task)
        made.fit(obs[train], action[train], threshold, alpha)
        error = float((made.mode(obs[held]) - action[held]).square().mean().sqrt())
        scored.append((error, threshold, alpha, made))
    scored.sort(key=lambda one: one[0])
    (error, threshold, alpha, made), earned = scored[0], None
    if "reward" not in missing:
        with _stand_ins(dynamics, missing):
            returns = [_followed(one[-1], dynamics, starts, steps, seed)[1] for one in scored[:_TRIED]]
        earned = max(returns)
        error, threshold, alpha, made = scored[returns.index(earned)]
    terms = int((made.map.coefficients != 0).sum())
    return Distilled(made, threshold, alpha, error, earned, None if earned is None else teacher_return, saturated, terms)


def _of_missing(missing: Sequence[str], dynamics: DynamicsModel) -> str:
    """The sentence on what nobody knows of a step."""
    effects = {"reward": "the student is chosen by the error of its actions alone", "termination": "rollouts never end"}
    functions = " and ".join({"reward": "reward", "termination": "terminated"}[what] for what in missing)
    return (
        f"distill: expected the {' and the '.join(missing)} of the task or of the model, got a {type(dynamics).__name__} "
        f"without in a task that names none, so {', and '.join(effects[what] for what in missing)}; name a function "
        f"({functions})."
    )


@contextmanager
def _stand_ins(dynamics: DynamicsModel, missing: Sequence[str]) -> Iterator[None]:
    """Lets a model step without a reward, which nobody reads then, or without a termination, which never comes."""
    task = dynamics.built_task
    reward = _NO_REWARD if "reward" in missing else task.known_reward
    terminated = _NO_END if "termination" in missing else task.known_terminated
    dynamics.task = replace(task, known_reward=reward, known_terminated=terminated)
    try:
        yield
    finally:
        dynamics.task = task


def _followed(policy: Policy, dynamics: DynamicsModel, starts: Transitions, steps: int, seed: int) -> tuple[Tensor, float]:
    """The finite states that a policy visits in a model, `n x S`, and the mean return of its rollouts."""
    state = dynamics.start(starts, make_generator(starts.obs.device, seed, "distill", "model"))
    alive = torch.ones(len(starts), dtype=torch.bool, device=starts.obs.device)
    total = starts.obs.new_zeros(len(starts), dtype=torch.float64)
    seen = []
    for _ in range(steps):
        seen.append(state.obs[alive])
        step = dynamics.step(state, policy.mode(state.obs))
        alive = alive & step.finite
        total = torch.where(alive, total + step.reward, total)
        alive = alive & ~step.ended
        state = step.state
    return torch.cat(seen), float(total.mean())
