"""`plan_outcome`: the return that a planner's model promises, against what reality then gives.

    plan value    what the search reported of the plan that it chose
    promised      the model's return of that plan, asked once more with fresh noise; of a policy, of rollouts that follow it
    open loop     what executing the whole plan really earns
    closed loop   what the planner really earns in as many steps, deciding anew at each

All are discounted sums of rewards over the horizon, up to the end of the task. The plan value is the largest of many noisy
numbers, and so promises more than asking once more does; what remains beside the open loop is the model's error; and what
the closed loop earns more than the open one is what deciding anew repairs.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from mbrl.analysis.model_error.executed_plans import Copies, Truth
from mbrl.analysis.model_error.plan_outcome_result import NAME, TITLE, PlanOutcome
from mbrl.analysis.model_error.watched_run import Settings, WatchedRun
from mbrl.analysis.progress import Progress
from mbrl.analysis.result import Skipped
from mbrl.arguments import Discount, check_argument, check_whole
from mbrl.data.streams import generator_on
from mbrl.envs import VectorExperience
from mbrl.envs.experience import Experience
from mbrl.errors import ConfigError
from mbrl.models import DynamicsModel, Exact, require
from mbrl.planners import HasDynamics, LearnsPolicy, MakesPlans, Planner
from mbrl.policies import Learner

_EXACT = 1e-3  # of the largest return: what rounding may grow to over a plan
_POLICY_HORIZON, _POLICY_PARTICLES = 25, 20


@torch.no_grad()
def plan_outcome(
    planner: Planner,
    experience: Experience,
    *,
    generator: torch.Generator,
    decisions: int = 10,
    every: int | None = None,
    horizon: int | None = None,
    particles: int | None = None,
    discount: float | None = None,
    truth: DynamicsModel | None = None,
    progress: Progress | None = None,
) -> PlanOutcome | Skipped:
    """Runs the planner as evaluation does, looks at a few decisions, and follows each of them into reality.

    Plans are executed open loop in `truth`, or else in copies of the environments, which replay the episode up to the
    decision and then leave it (a noisy environment gives both the same noise). Closed loop is what the run itself earns.

    Args:
        planner: built; one that has a model, and makes plans or has a learner (see `mbrl.planners.capabilities`).
        experience: real environments, reset here and left wherever the run ends.
        generator: draws the episodes' starts, and whatever the planner and its model draw.
        decisions: looked at in each environment.
        every: real steps from one to the next; None takes a fifth of the horizon. More sees more of an episode, and costs as
            many more decisions of the planner, which is most of the time.
        horizon: `H` steps; None takes the planner's plans' own (others are refused), and 25 for a policy.
        particles: rollouts of a policy in the model over which its promise is averaged; None takes 20 (1 in an exact
            model). Plans are asked once more with the planner's own.
        discount: γ of the returns of a policy; None takes the learner's own, and 1 if it has none. Plans have the planner's.
        truth: an exact model to execute plans in.
        progress: told a sentence now and then.

    Returns:
        The outcome, or why there is none, for a planner without a model or without plan and policy.

    Raises:
        ConfigError: for a number out of range, or one that the planner sets itself.
        UnsupportedError: if `truth` isn't exact, or the environments don't all step at once.
    """
    who = "plan_outcome"
    name = type(planner).__name__
    if not isinstance(planner, HasDynamics):
        return Skipped(
            NAME, TITLE, f"{name} has no model whose promises could be compared; one that has inherits HasDynamics."
        )
    if planner.dynamics is None:
        return Skipped(NAME, TITLE, f"This {name} was made without a model (dynamics: null), so that nothing is promised.")
    planner.built_task  # noqa: B018 - refuses before build
    check_whole(f"{who}(decisions=…)", decisions, 1)
    model, objective = planner.dynamics, None
    asked = {"horizon": horizon, "particles": particles, "discount": discount}
    if isinstance(planner, MakesPlans):
        settings, objective = _of_plans(planner, asked), planner.objective
    elif isinstance(planner, LearnsPolicy) and planner.learner is not None:
        settings = _of_policy(planner.learner, model, asked)
    else:
        reason = (
            f"{name} makes no plans and has no learner with a policy; one that does inherits MakesPlans or LearnsPolicy."
        )
        return Skipped(NAME, TITLE, reason)
    plans = objective is not None
    every = max(1, settings.horizon // 5) if every is None else every
    check_whole(f"{who}(every=…)", every, 1)
    if truth is not None:
        require(truth, Exact, who, "the truth has to be an exact model", "give one that is, or none")

    seed = int(torch.randint(2**31, (), generator=generator, device=generator.device))
    run = WatchedRun(planner, model, experience, seed, settings, generator_on(planner.device, generator))
    notes: list[str] = []
    reality: Truth | Copies | None = None
    if plans and truth is not None:
        reality = Truth(truth, seed, settings.discount)
    elif plans and isinstance(experience, VectorExperience):
        reality = Copies(experience, settings.discount)
    elif plans:
        notes.append(
            f"Plans aren't executed open loop: {type(experience).__name__} can't be copied, and there is no exact model."
        )
    try:
        found = run.looked_at(decisions, every, reality, notes, progress)
    finally:
        if isinstance(reality, Copies):
            reality.close()
    if objective is not None and objective.uncertainty is not None:
        notes.append("The plan value holds the planner's weighted uncertainty, which is no return; promised doesn't.")
    if objective is not None and objective.termination_cost != 0:
        notes.append("The plan value holds the planner's cost of ending, which is no reward; promised doesn't.")
    if objective is not None and objective.terminal_value is not None:
        notes.append("The plan value holds the value of where the plan ends; promised and obtained are rewards only.")
    if not plans:
        notes.append("The planner follows a policy, so that there is no plan to execute open loop.")
    wrong = ~found["promised"].isfinite()
    if wrong.any():
        first = int(wrong.nonzero()[0, 0])
        notes.append(
            f"{int(wrong.sum())} of {len(wrong)} promised returns aren't finite and are left out; the first is that of step "
            f"{int(found['step'][first])} in environment {int(found['env'][first])}."
        )
    cut = int(found["closed_loop"].isnan().sum())
    if cut:
        notes.append(f"{cut} of {len(wrong)} decisions have no closed-loop return, since a time limit cut their episode.")
    open_loop, promised = found["open_loop"], found["promised"]
    both = open_loop.isfinite() & promised.isfinite()
    exact = bool(both.any()) and not bool(wrong.any())
    exact = exact and bool((open_loop - promised)[both].abs().max() <= _EXACT * open_loop[both].abs().max())
    if exact:
        largest = float((open_loop - promised)[both].abs().max())
        notes.append(f"Executed open loop, plans earn what they promise to rounding ({largest:.1g} at most).")
    return PlanOutcome(plans, settings.horizon, settings.discount, exact=exact, notes=tuple(notes), **found)


def _of_plans(planner: MakesPlans, asked: dict[str, Any]) -> Settings:
    objective = planner.objective
    own = {"horizon": planner.horizon, "particles": objective.particles, "discount": objective.discount}
    for name, given in asked.items():
        if given is not None and given != own[name]:
            raise ConfigError(f"plan_outcome({name}=…): expected the planner's own {own[name]}, got {given}; leave it out.")
    return Settings(planner.horizon, objective.discount, objective.particles)


def _of_policy(learner: Learner, model: DynamicsModel, asked: dict[str, Any]) -> Settings:
    found = Settings(_POLICY_HORIZON, float(getattr(learner, "discount", 1.0)), _POLICY_PARTICLES, learner.policy)
    found = replace(found, **{name: given for name, given in asked.items() if given is not None})
    check_whole("plan_outcome(horizon=…)", found.horizon, 1)
    check_whole("plan_outcome(particles=…)", found.particles, 1)
    check_argument("plan_outcome(discount=…)", found.discount, Discount)
    return replace(found, particles=1) if isinstance(model, Exact) else found
