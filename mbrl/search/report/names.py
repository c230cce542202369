"""Short names of parameters, for plots."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import optuna
from optuna.trial import FrozenTrial


def short_names(names: Iterable[str]) -> dict[str, str]:
    """Finds the shortest ending of each dotted name that no other name has and that begins with a word.

    `model.init_args.dynamics.init_args.members` becomes `members`, `model.init_args.rollout_length.1` `rollout_length.1`.
    """
    endings = {name: _endings(name) for name in names}
    taken = [ending for ones in endings.values() for ending in ones]
    return {name: next((one for one in ones if taken.count(one) == 1), name) for name, ones in endings.items()}


def renamed(study: optuna.Study, objective: int | None = None) -> optuna.Study:
    """Copies a study into memory with short names of parameters, for plots of it; with one of its objectives, or all."""
    trials = study.get_trials(deepcopy=False)
    short = short_names(dict.fromkeys(name for trial in trials for name in trial.params))
    chosen = slice(None) if objective is None else slice(objective, objective + 1)
    made = optuna.create_study(directions=study.directions[chosen], study_name=study.study_name)
    for trial in trials:
        made.add_trial(_renamed(trial, short, chosen))
    return made


def _renamed(trial: FrozenTrial, short: dict[str, str], chosen: slice) -> FrozenTrial:
    other = copy.copy(trial)
    other.values = None if trial.values is None else trial.values[chosen]
    other.distributions = {short[name]: distribution for name, distribution in trial.distributions.items()}
    other.params = {short[name]: value for name, value in trial.params.items()}
    return other


def _endings(name: str) -> list[str]:
    """Endings of a dotted name, shortest first; one that begins with a number or with `init_args` says too little."""
    parts = name.split(".")
    ones = [".".join(parts[start:]) for start in range(len(parts) - 1, -1, -1)]
    return [one for one in ones if not one[:1].isdigit() and one.split(".")[0] != "init_args"] or [name]
