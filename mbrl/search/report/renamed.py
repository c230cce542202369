"""`renamed`: a study whose parameters have short names, for plots."""

from __future__ import annotations

import copy

import optuna
from optuna.trial import FrozenTrial

from mbrl.analysis.short_names import short_names


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
