"""Warm starts: a search that begins with the best configurations of an earlier one."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState

from mbrl.errors import ConfigError, MbrlWarning
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.best_configurations import best_configurations, valued
from mbrl.search.study.storage import load_study, patiently
from mbrl.search.study.study import read_search

_FROM = "from"  # study attribute: the earlier study's name
_MANY = 3


def earlier(text: str, url: str) -> tuple[optuna.Study, int]:
    """Finds the study and the number in `STUDY[:k]`.

    Raises:
        ConfigError: if there is no such study, it has no result yet, or k is no positive number.
    """
    name, _, many = text.partition(":")
    if many and not (many.isdigit() and int(many) > 0):
        raise ConfigError(f"--from: expected STUDY or STUDY:k with a number k above 0, got {text!r}.")
    study = load_study(name, url)
    if not valued(study):
        raise ConfigError(f"--from: expected a study with results, got {name}, which has none; leave --from out.")
    return study, int(many or _MANY)


def queue_from(study: optuna.Study, search: SearchFile, text: str, url: str) -> None:
    """Queues the best configurations of an earlier study before anything else is chosen; once, however often it is asked.

    They are those that this library's model expects to be best. Each keeps the values that the new space has and allows; the
    sampler chooses the rest.

    Args:
        study: the new one.
        search: its file.
        text: `STUDY[:k]`.
        url: of the storage of both.

    Raises:
        ConfigError: as `earlier`; if nothing of the earlier study fits; or if this study began otherwise.
    """
    source, many = earlier(text, url)
    known = patiently(lambda: study.user_attrs).get(_FROM)
    if known == source.study_name:
        return
    if known is not None or any(trial.state != TrialState.WAITING for trial in study.get_trials(deepcopy=False)):
        raise ConfigError(f"--from: expected a search that has not begun, got {study.study_name}; rename it in `study`.")
    best = [one.trial for one in best_configurations(source, read_search(source), many)]
    fitting = [kept for trial in best if (kept := _fitting(trial, search))]
    if not fitting:
        raise ConfigError(f"--from: expected shared parameters in {source.study_name}, got none that fit; leave it out.")
    if not all(set(search.space.distributions()) >= set(trial.params) for trial in best):
        warnings.warn(f"{source.study_name} has parameters that this search has not; they are left out.", MbrlWarning, 2)
    # one that was killed at this queued the first of them
    there = sum(trial.user_attrs.get("warm") == source.study_name for trial in study.get_trials(deepcopy=False))
    for params in fitting[there:]:
        study.enqueue_trial(params, user_attrs={"warm": source.study_name})
    study.set_user_attr(_FROM, source.study_name)


def previous_trials(study: optuna.Study, search: SearchFile, url: str) -> Sequence[FrozenTrial]:
    """Reads the trials of the study that this one began with, for the sampler's model; none if it can't use them."""
    name = patiently(lambda: study.user_attrs).get(_FROM)
    if name is None or search.sampler.name != "bo":
        return ()
    source = load_study(name, url)
    return source.get_trials(deepcopy=False) if source.directions == study.directions else ()


def _fitting(trial: FrozenTrial, search: SearchFile) -> dict[str, Any]:
    """The part of a configuration that the space has and allows, parents first."""
    fitting: dict[str, Any] = {}
    for name, distribution in search.space.distributions().items():
        active = {parameter.name for parameter in search.space.active(fitting)}
        if name in active and name in trial.params and _allows(distribution, trial.params[name]):
            fitting[name] = trial.params[name]
    return fitting


def _allows(distribution: BaseDistribution, value: Any) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(distribution, optuna.distributions.IntDistribution):
        number = number and float(value).is_integer()
    return number and distribution.low <= value <= distribution.high  # type: ignore[attr-defined]
