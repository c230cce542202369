"""`distill`: a network's policy as a sparse sum, fitted to what the policy does along its own rollouts in a model.

Zolman2024: "SINDy-RL: interpretable and efficient model-based reinforcement learning" (arXiv 2403.09110; authors' code).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
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
_TRIED = 5  # of the best by error, whose return in the model decides


@dataclass(frozen=True)
class Distilled:
    """A sparse policy and how it compares with its teacher.

    Attributes:
        policy: the best, fitted.
        threshold: of its fit.
        alpha: likewise.
        error: root mean squared difference of actions in [−1, 1] from the teacher's on held-out states.
        model_return: mean return of its rollouts in the model.
        teacher_return: the same of the teacher.
        saturated: share of the teacher's actions at their bounds.
        terms: number of its coefficients.
    """

    policy: SparsePolicy
    threshold: float
    alpha: float
    error: float
    model_return: float
    teacher_return: float
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
    the one with the highest return in the model is kept.

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
    best: Distilled | None = None
    for error, threshold, alpha, made in scored[:_TRIED]:
        _, earned = _followed(made, dynamics, starts, steps, seed)
        if best is None or earned > best.model_return:
            terms = int((made.map.coefficients != 0).sum())
            best = Distilled(made, threshold, alpha, error, earned, teacher_return, saturated, terms)
    assert best is not None  # there are 25
    return best


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
