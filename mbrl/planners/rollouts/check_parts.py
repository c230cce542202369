"""`check_parts` and `check_without_dynamics`: refuse parts of an `ImaginedLearning` that would have nothing to work with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.parts import parts_of
from mbrl.planners.rollouts.hooks import BatchHook, RolloutHook
from mbrl.planners.rollouts.imagined_learning import check_imaginable
from mbrl.planners.rollouts.selectors import ActionSelector
from mbrl.policies import CriticTerm, Learner
from mbrl.spec import Part


def check_parts(
    who: str,
    dynamics: DynamicsModel | None,
    learner: Learner,
    *,
    rolls_out: bool,
    real_ratio: float | Sequence[float],
    selectors: Sequence[ActionSelector],
    rollout_hooks: Sequence[RolloutHook],
    batch_hooks: Sequence[BatchHook],
    critic_terms: Sequence[CriticTerm],
) -> None:
    """Refuses a model or a learner, both built, that the parts can't work with, and parts that would be idle.

    Args:
        who: the planner, for messages.
        dynamics: its model, or None.
        learner: its learner.
        rolls_out: whether some batch holds rows of the model.
        real_ratio: as given, for messages.
        selectors: they choose actions, in the model or in the environment.
        rollout_hooks: as given to the planner.
        batch_hooks: likewise.
        critic_terms: likewise.

    Raises:
        ConfigError: for a hook that changes nothing, since all rows are real.
        UnsupportedError: if a part can't work with the model or the learner.
    """
    learner.check_batches()
    if not learner.has_critics:
        _check_without_critics(who, learner, [*selectors, *rollout_hooks, *batch_hooks, *critic_terms], critic_terms)
    if dynamics is not None:
        for selector in selectors:
            selector.check(dynamics)
        hooks: list[RolloutHook | BatchHook] = [*rollout_hooks, *batch_hooks]
        for hook in hooks:
            hook.check(dynamics)
        if rolls_out:  # at some time
            dynamics.check_known()
        if rolls_out:
            check_imaginable(learner, dynamics.built_task)
    rows_asked: list[RolloutHook | BatchHook] = [hook for hook in batch_hooks if hook.needs_model_rows]
    idle = [] if rolls_out else [type(hook).__name__ for hook in (*rollout_hooks, *rows_asked)]
    if idle:
        got, advice = ("no model", "give one") if dynamics is None else (f"real_ratio {real_ratio}", "lower it")
        raise ConfigError(
            f"{who}: expected batches with rows of the model for {idle[0]}, got {got}; {advice}, or leave the hook out."
        )
    for term in critic_terms:
        term.check(dynamics, learner)


def check_without_dynamics(
    who: str, settings: Mapping[str, tuple[Any, Any]], batch_hooks: Sequence[BatchHook], selectors: Sequence[ActionSelector]
) -> None:
    """Refuses what only a model needs.

    Args:
        who: the planner, for messages.
        settings: those of fits and rollouts, by name: what was given, and the default.
        batch_hooks: as given to the planner.
        selectors: that choose actions in the environment.

    Raises:
        ConfigError: for a setting at anything but its default (`real_ratio` may be 1).
        UnsupportedError: for a part that asks the model.
    """
    idle = {
        name: pair for name, pair in settings.items() if pair[0] != pair[1] and not (name == "real_ratio" and pair[0] == 1)
    }
    if idle:
        told = ", ".join(
            f"{name} {type(given).__name__ if isinstance(given, Part) else repr(given)} (default {default!r})"
            for name, (given, default) in idle.items()
        )
        raise ConfigError(
            f"{who}(dynamics=None): expected no settings of fits and rollouts, since without a model there are none, got "
            f"{told}; leave them out, or give a model."
        )
    parts: list[BatchHook | ActionSelector] = [*batch_hooks, *selectors]
    for part in parts:
        if part.needs_dynamics:
            raise UnsupportedError(
                f"{who}(dynamics=None): expected parts that need no model, got {type(part).__name__}, which does; leave "
                "it out, or give a model (a selector or batch hook of yours that asks none says needs_dynamics = False)."
            )


def _check_without_critics(who: str, learner: Learner, parts: Sequence[Any], terms: Sequence[CriticTerm]) -> None:
    asking = [
        type(part).__name__
        for part in parts_of(SimpleNamespace(parts=list(parts))).values()
        if getattr(part, "needs_value", 0)
    ]
    asking += [type(term).__name__ for term in terms]
    if asking:
        raise UnsupportedError(
            f"{who}: expected a learner with critics, which {asking[0]} asks, got {type(learner).__name__}, which has none; "
            "take another learner, such as SAC, or leave the part out."
        )
