"""`edge_of_reach`: which states learning bootstraps from and never fits, and what the critics say of them.

A rollout of k steps gives k states whose values are fitted, and leads to one more, the last, whose value is asked in the
target of the step before it. Where no other rollout passes, nothing ever corrects that value [Sims2024].

Sims2024: "The edge-of-reach problem in offline model-based reinforcement learning" (NeurIPS 2024, arXiv 2402.12527).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from mbrl.analysis.edge_of_reach.targets_result import EdgeOfReach
from mbrl.analysis.episodes import check_rows
from mbrl.analysis.forecasts.nearest_rows import NearestRows
from mbrl.arguments import NonNegative, check_argument, check_shape, check_whole
from mbrl.data import ReplayBuffer, Transitions
from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.planners import LearnsPolicy, Planner, TrustedLength, dynamics_of
from mbrl.planners.evaluation import evaluating
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.planners.rollouts.selectors import ActionSelector, PolicySample
from mbrl.policies import Learner

WHO = "edge_of_reach"
_SPACING = 0.95  # of the dataset's rows have their nearest other row within the default threshold
_MOST = 2000  # rows whose spacing is measured


@torch.no_grad()
def edge_of_reach(
    planner: Planner,
    rows: Transitions,
    *,
    generator: torch.Generator,
    rollouts: int = 1000,
    length: int | None = None,
    threshold: float | None = None,
    selector: ActionSelector | None = None,
) -> EdgeOfReach:
    """Makes rollouts as the planner would learn from them now, and looks at the state that each step leads to.

    A step's target is at the edge of reach if its rollout ends there though nothing ended it (`cut`) and no state that is
    fitted lies within `threshold`: neither those that rollouts step from nor, where batches hold real rows, the recorded
    ones. Distances are Euclidean, each dim in standard deviations of the recorded observations; a dim that is constant there
    doesn't count. Values are the least of the target critics' at the policy's deterministic action. The planner stays as it
    is.

    Args:
        planner: one that learns a policy and has a model, trained or loaded, such as `OfflineDyna`.
        rows: the recorded steps that it learns from (`OfflineData.transitions`); rollouts begin at them, drawn uniformly or
            by `extras["weight"]`.
        generator: draws rows and all noise of the rollouts, on the CPU.
        rollouts: how many; more find more of what rollouts reach, so that less counts as the edge.
        length: steps per rollout; None takes the planner's longest.
        threshold: distance beyond which a state counts as unfitted; raising it leaves fewer at the edge. None takes the
            distance within which 95 % of the recorded states have another one.
        selector: how actions are chosen in the rollouts, such as those of an earlier policy; None takes the planner's.

    Returns:
        The targets, with a figure of their values.

    Raises:
        UnsupportedError: if the planner has no model or no critics.
        DataError: if there are no rows or one isn't finite, or if no rollout holds finite numbers.
        ShapeError: for rows of another task.
        ConfigError: for a number out of range, or no `length` where the planner has none.
    """
    check_argument(f"{WHO}(planner=…)", planner, Planner)
    check_whole(f"{WHO}(rollouts=…)", rollouts, 1)
    if threshold is not None:
        check_argument(f"{WHO}(threshold=…)", threshold, NonNegative)
    model, learner = _parts(planner)
    steps = _length(planner, length)
    check_rows(WHO, rows)
    size = model.built_task.obs_size
    check_shape(f"{WHO}(rows=…).obs", rows.obs, ("N", size), "give rows of the planner's own task")
    rows = rows.to(planner.device)
    chooses = selector or getattr(planner, "rollout_selector", None) or PolicySample()
    made, ended = _imagined(planner, model, learner, chooses, rows, rollouts, steps, generator)
    notes: list[str] = []
    if len(made) == 0:
        raise DataError(f"{WHO}: expected rollouts of finite numbers, got none; the model has diverged.")
    fitted = [made.obs]
    if _learns_from_real(planner):
        fitted.append(rows.obs)
    else:
        notes.append("Batches hold no recorded rows, so that only states that rollouts step from count as fitted.")
    nearest = NearestRows(Transitions.from_obs(torch.cat(fitted), 1), None, _obs, rows)
    if not bool(nearest.kept.all()):
        dims = (~nearest.kept).nonzero()[:, 0].tolist()
        notes.append(f"Dims {dims} of the observation are constant in the recorded rows and don't count in distances.")
    if threshold is None:
        threshold = _spacing(rows, generator)
    cut = made.extras["cut"][:, 0].bool() & ~made.terminated
    distance = torch.zeros(len(made), dtype=torch.float64)
    places = cut.nonzero()[:, 0]
    if len(places):
        distance[places.cpu()] = nearest(Transitions.from_obs(made.next_obs[places], 1), None)
    goes_on = ~made.terminated
    values = learner.value(made.next_obs, None, "target").double()[:, goes_on].cpu()  # J x B
    if ended:
        notes.append(f"{ended} steps ended the task and are left out, since their targets ask for no value.")
    discount = float(getattr(learner, "discount", 0.99))
    best = max(float(torch.cat((made.reward, rows.reward)).max()), 0.0)
    goes_on_there = goes_on.cpu()
    return EdgeOfReach(
        next_obs=made.next_obs.cpu()[goes_on_there],
        depth=made.extras["depth"][:, 0].long().cpu()[goes_on_there],
        cut=cut.cpu()[goes_on_there],
        distance=distance[goes_on_there],
        value=values.amin(0),
        penalty=values.mean(0) - values.amin(0),
        critics=len(values),
        threshold=threshold,
        length=steps,
        attainable=best / (1 - discount) if discount < 1 else None,
        notes=tuple(notes),
    )


def _parts(planner: Planner) -> tuple[DynamicsModel, Learner]:
    """The planner's model and a learner with critics, or a refusal."""
    model, learner = dynamics_of(planner), planner.learner if isinstance(planner, LearnsPolicy) else None
    name = type(planner).__name__
    if model is None:
        raise UnsupportedError(
            f"{WHO}: expected a planner with a model, whose rollouts end, got {name} without one; look at one with."
        )
    if learner is None or not learner.has_critics:
        lacks = "a learner" if learner is None else f"critics in {type(learner).__name__}"
        raise UnsupportedError(
            f"{WHO}: expected a planner whose learner values states, got {name} without {lacks}; take SAC."
        )
    return model, learner


def _length(planner: Planner, length: int | None) -> int:
    if length is not None:
        check_whole(f"{WHO}(length=…)", length, 1)
        return length
    schedule: Sequence[float] | TrustedLength | None = getattr(planner, "rollout_length", None)
    if schedule is None:
        raise ConfigError(f"{WHO}: expected length for {type(planner).__name__}, which makes no rollouts itself; set it.")
    return schedule.longest if isinstance(schedule, TrustedLength) else int(max(schedule[2:]))


def _learns_from_real(planner: Planner) -> bool:
    ratio: Any = getattr(planner, "real_ratio", 1.0)
    return max(ratio[2:] if isinstance(ratio, Sequence) else [ratio]) > 0


def _imagined(
    planner: Planner,
    model: DynamicsModel,
    learner: Learner,
    selector: ActionSelector,
    rows: Transitions,
    rollouts: int,
    length: int,
    generator: torch.Generator,
) -> tuple[Transitions, int]:
    """The steps of fresh rollouts, and how many of them ended the task."""
    of_model, of_learner = (part.row_extras(model.built_task) for part in (model, learner))
    widths = {name: rows.extras[name].shape[-1] for name in {**of_model, **of_learner} if name in rows.extras}
    sizes = (rows.obs.shape[-1], rows.action.shape[-1])
    buffer = ReplayBuffer(
        len(rows), *sizes, device=planner.device, extras=widths, float64=[name for name in of_model if name in widths]
    )
    buffer.add(rows)
    if "weight" in rows.extras:
        buffer.weigh(rows.extras["weight"])
    kept: list[Transitions] = []
    hooks = getattr(planner, "rollout_hooks", ())
    with evaluating(planner):
        Imagination(
            model,
            learner.policy,
            selector,
            hooks,
            int(torch.randint(2**31, (), generator=generator)),
            getattr(planner, "rollout_chunk", 8000),
            drop=True,
            value=learner,
        ).run(buffer.sample(rollouts, generator), length, 0, kept.append)
    made = Transitions.cat(kept) if kept else rows.select(slice(0, 0))
    return made, int(made.terminated.sum())


def _spacing(rows: Transitions, generator: torch.Generator) -> float:
    """The distance within which 95 % of the recorded states have another one, 0 of a single row."""
    if len(rows) < 2:
        return 0.0
    place = torch.arange(len(rows), dtype=torch.int64)
    some = torch.randperm(len(rows), generator=generator)[:_MOST].sort().values
    distance = NearestRows(rows, place, _obs)(rows.select(some.to(rows.obs.device)), some)
    return float(torch.quantile(distance, _SPACING))


def _obs(rows: Transitions) -> Tensor:
    return rows.obs.double()
