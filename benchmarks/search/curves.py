"""Searches over runs that report on their way and may be pruned, compared at equal numbers of steps in all.

A whole run is `Problem.steps` steps long and reports after each. Methods that prune ask Optuna's percentile pruner, which
lets 25 % go on, after a third of the run, as `pruner: {name: percentile}` of a search file does.
"""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import optuna
from optuna.samplers import BaseSampler
from optuna.trial import Trial, TrialState

from benchmarks.search.functions import Params, Problem, suggest

WARMUP, KEPT, MIN_TRIALS = 1 / 3, 25.0, 5
DIVERGES_AFTER = 3  # steps, so that failed runs cost something too


def search_curves(problem: Problem, sampler: BaseSampler, seed: int, budget: int, *, prunes: bool) -> dict[str, Any]:
    """A search that ends with the run in which its steps are spent.

    Args:
        problem: with curves.
        sampler: that suggests.
        seed: of the runs' noise: trial k of a seed gets the same in every method.
        budget: steps of all runs together.
        prunes: whether runs end early.

    Returns:
        The study, the steps that it took, the failed trials and the seconds that suggestions took.
    """
    pruner = optuna.pruners.PercentilePruner(KEPT, n_startup_trials=MIN_TRIALS) if prunes else optuna.pruners.NopPruner()
    study = optuna.create_study(direction=problem.direction, sampler=sampler, pruner=pruner)
    taken, failed, seconds = 0, 0, 0.0
    while taken < budget:
        trial = study.ask()
        began = time.process_time()
        params = suggest(trial, problem)
        seconds += time.process_time() - began
        if math.isnan(problem.value(params)):
            trial.set_user_attr("outcome", "diverged")
            study.tell(trial, state=TrialState.FAIL)
            failed, taken = failed + 1, taken + DIVERGES_AFTER
            continue
        taken += _run(study, trial, problem, params, np.random.default_rng([seed, 2, trial.number]))
    return {"study": study, "steps": taken, "failed": failed, "seconds": seconds}


def _run(study: optuna.Study, trial: Trial, problem: Problem, params: Params, rng: np.random.Generator) -> int:
    """One run; returns the steps that it took."""
    curve = observe_curve(problem, params, rng)
    for step, value in enumerate(curve, 1):
        trial.report(value, step)
        if WARMUP * problem.steps <= step < problem.steps and trial.should_prune():
            study.tell(trial, state=TrialState.PRUNED)
            return step
    study.tell(trial, curve[-1])
    return problem.steps


def observe_curve(problem: Problem, params: Params, rng: np.random.Generator) -> list[float]:
    """Values that a run reports after each step, the last one as its result.

    Half of the noise's variance is the run's own luck, which grows with its curve; the other half is each report's.
    """
    assert problem.share is not None
    final = problem.value(params)
    sd = problem.noise_sd(final) * math.sqrt(0.5)
    luck = sd * float(rng.standard_normal())
    shares = [problem.share(params, step) for step in range(1, problem.steps + 1)]
    return [share * (final + luck) + sd * float(rng.standard_normal()) for share in shares]
