"""Statements of the model on a study: the configuration to take, how well it predicts, what each parameter does."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from botorch.utils.multi_objective.pareto import is_non_dominated
from optuna.distributions import CategoricalDistribution
from optuna.study import Study
from optuna.trial import FrozenTrial
from torch import Tensor

from mbrl.errors import DataError, UnsupportedError
from mbrl.search.sampler.bo_sampler import BOSampler
from mbrl.search.sampler.codec import position, value_at
from mbrl.search.sampler.rows import Rows
from mbrl.search.sampler.surrogate import Surrogate, as_if_alone


@dataclass(frozen=True)
class Recommendation:
    """A configuration that was tried, and what the model expects of it.

    Attributes:
        trial: the first finished trial of the configuration.
        params: its active parameters.
        mean: expected value, noise-free, in the objective's direction and units; one per objective if there are several.
            For an objective in logarithms the median.
        sd: standard deviation of that expectation; for an objective in logarithms that of the logarithm.
        log: whether each objective is in logarithms; `mbrl.search.study.expected_values` makes intervals of either kind.
    """

    trial: FrozenTrial
    params: Mapping[str, Any]
    mean: float | tuple[float, ...]
    sd: float | tuple[float, ...]
    log: tuple[bool, ...] = (False,)


@dataclass(frozen=True)
class LeaveOneOut:
    """Predictions of each trial by the model of all the others, hyperparameters kept.

    Attributes:
        numbers: of the trials; where reports are rows, without those that were pruned, whose value nobody knows.
        observed: their values as the model takes them: of failed trials the worst, of those that were cut the fence.
        mean: predicted; of an objective in logarithms the median.
        sd: of the prediction, noise included: about two thirds of the observed values lie within it. Of an objective in
            logarithms that of the logarithm.
        failed: whether each trial failed.
        log: whether the objective is in logarithms.
        cut: whether each trial's value was so bad that the model took a better one in its place (`Rows.cut`).
    """

    numbers: tuple[int, ...]
    observed: tuple[float, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    failed: tuple[bool, ...]
    log: bool = False
    cut: tuple[bool, ...] = ()


@dataclass(frozen=True)
class Effect:
    """Expected values as one parameter changes and the others stay at the recommended configuration.

    Attributes:
        name: of the parameter.
        values: of the parameter.
        mean: expected value of each, noise-free; of an objective in logarithms the median.
        sd: of that expectation; of an objective in logarithms that of the logarithm.
        log: whether the objective is in logarithms.
    """

    name: str
    values: tuple[Any, ...]
    mean: tuple[float, ...]
    sd: tuple[float, ...]
    log: bool = False


@dataclass(frozen=True)
class Predictions:
    """Predictions of the model, for a report.

    Attributes:
        recommended: the best configuration.
        leave_one_out: predictions of each trial by all others.
        effects: of each parameter that is active in the recommended configuration.
    """

    recommended: Recommendation
    leave_one_out: LeaveOneOut
    effects: tuple[Effect, ...]


def recommend(study: Study, sampler: BOSampler) -> Recommendation:
    """Recommends the finished trial whose configuration has the best posterior mean: a lucky run of a poor one doesn't win.

    Failed trials are not recommended, nor pruned ones, whose value is that of a run cut short.

    Raises:
        DataError: if no trial has finished with a value.
        UnsupportedError: with several objectives, of which `pareto` gives the front.
    """
    return ranking(study, sampler, 1)[0]


def ranking(study: Study, sampler: BOSampler, top: int) -> list[Recommendation]:
    """Ranks the configurations with the best posterior means, the recommended one first; the rest is as for `recommend`.

    Args:
        study: with one objective.
        sampler: of the study; its seed and space.
        top: number of configurations; fewer come if no more were tried.

    Raises:
        DataError: if no trial has finished with a value.
        UnsupportedError: with several objectives.
    """
    only_one(study)
    with as_if_alone("recommend", sampler.seed):
        rows, surrogate = _fitted(study, sampler)
        return ranked(sampler, rows, surrogate, top)


def pareto(study: Study, sampler: BOSampler) -> list[Recommendation]:
    """Finds the configurations that none betters in every objective, by posterior means; best first value first.

    Raises:
        DataError: if no trial has finished with values.
    """
    with as_if_alone("recommend", sampler.seed):
        rows, surrogate = _fitted(study, sampler)
        mean, sd = surrogate.predict(rows.x)
    usable = _usable(rows)
    front = usable[is_non_dominated(mean[usable])]
    front = front[mean[front, 0].argsort(descending=True, stable=True)]
    found: dict[str, Recommendation] = {}
    for i in front.tolist():
        params = sampler.codec.decode(rows.x[i].tolist())
        means = tuple(rows.own(mean[i]).tolist())
        found.setdefault(
            repr(params), Recommendation(rows.trials[i], dict(rows.trials[i].params), means, tuple(sd[i].tolist()), rows.log)
        )
    return list(found.values())


def predictions(study: Study, sampler: BOSampler, points: int = 41) -> Predictions:
    """Makes the predictions of a report.

    Args:
        study: with one objective.
        sampler: of the study; its seed and space.
        points: values of each number along which an effect is drawn; more make curves smoother.

    Raises:
        DataError: if no trial has finished with a value.
        UnsupportedError: with several objectives.
    """
    only_one(study)
    codec = sampler.codec
    with as_if_alone("recommend", sampler.seed):
        rows, surrogate = _fitted(study, sampler)
        best = ranked(sampler, rows, surrogate, 1)[0]
        centre = torch.tensor(codec.encode(best.params), dtype=torch.float64)
        active = codec.active(centre).tolist()
        effects = [_effect(sampler, rows, surrogate, centre, i, points) for i in range(len(centre)) if active[i]]
        return Predictions(best, _leave_one_out(rows, surrogate), tuple(effects))


def only_one(study: Study) -> None:
    """Refuses several objectives."""
    if len(study.directions) > 1:
        raise UnsupportedError(f"recommend(study): expected one objective, got {len(study.directions)}; use pareto(…).")


def _usable(rows: Rows) -> Tensor:
    """Indices of the trials that completed; of all with a value if none did."""
    completed = torch.tensor([trial.state.name == "COMPLETE" for trial in rows.trials], dtype=torch.bool) & ~rows.failed
    return (completed if completed.any() else ~rows.failed).nonzero()[:, 0]


def _fitted(study: Study, sampler: BOSampler) -> tuple[Rows, Surrogate]:
    rows = sampler.rows(study).fewer()
    if not len(rows) or not rows.informative:
        raise DataError(f"recommend(study): expected a trial that finished with a value, got none of {len(rows)}; run some.")
    return rows, sampler.fitted(study, rows)


def ranked(sampler: BOSampler, rows: Rows, surrogate: Surrogate, top: int) -> list[Recommendation]:
    """Ranks the configurations of rows by posterior means, best first; at most `top`."""
    mean, sd = surrogate.predict(rows.x)
    usable = _usable(rows)
    found: list[Recommendation] = []
    seen = torch.zeros(len(rows), dtype=torch.bool)
    for at in usable[mean[usable, 0].argsort(descending=True, stable=True)].tolist():
        if len(found) == top:
            break
        if seen[at]:
            continue
        same = (rows.x == rows.x[at]).all(1)
        seen |= same
        trial = rows.trials[int(usable[same[usable]][0])]
        params = {**sampler.codec.decode(rows.x[at].tolist()), **sampler.codec.only_active(trial.params)}
        found.append(Recommendation(trial, params, float(rows.own(mean[at])[0]), float(sd[at, 0]), rows.log))
    return found


def _leave_one_out(rows: Rows, surrogate: Surrogate) -> LeaveOneOut:
    """Predictions in closed form, from the inverse of the noisy covariance (Rasmussen and Williams 2006, 5.4.2).

    Of a trial with reports all rows are left out together, since its own curve would tell.
    """
    model: Any = surrogate.model
    with torch.no_grad():
        model.train()
        prior = model.likelihood(model(*model.train_inputs), *model.train_inputs)
        covariance = prior.covariance_matrix
        residual = (model.train_targets - prior.mean).reshape(-1, 1)
        model.eval()
        factor = torch.linalg.cholesky(covariance)
        inverse = torch.cholesky_inverse(factor)
        weights = (inverse @ residual)[:, 0]
        whole = rows.whole.nonzero()[:, 0]
        mean, variance = torch.empty(2, len(whole), dtype=torch.float64)
        for row, trial in enumerate(whole.tolist()):
            own = [row]
            if rows.reports is not None:
                own += (len(whole) + (rows.reports.of == trial).nonzero()[:, 0]).tolist()
            spread = torch.linalg.inv(inverse[own][:, own])
            mean[row] = model.train_targets[row] - (spread @ weights[own])[0]
            variance[row] = spread[0, 0]
        shift, scale = float(model.outcome_transform.means), float(model.outcome_transform.stdvs)
    return LeaveOneOut(
        tuple(rows.trials[i].number for i in whole.tolist()),
        tuple(rows.own(rows.y[whole])[:, 0].tolist()),
        tuple(rows.own((mean * scale + shift)[:, None])[:, 0].tolist()),
        tuple((variance.sqrt() * scale).tolist()),
        tuple(rows.failed[whole].tolist()),
        rows.log[0],
        () if rows.cut is None else tuple(rows.cut[whole].tolist()),
    )


def _effect(sampler: BOSampler, rows: Rows, surrogate: Surrogate, centre: Tensor, index: int, points: int) -> Effect:
    column = sampler.codec.columns[index]
    distribution: Any = sampler.codec.distributions[column.name]
    at: Sequence[float] = column.values or torch.linspace(0, 1, points, dtype=torch.float64).tolist()
    if column.kind == "number" and distribution.step is not None:  # of many whole numbers those nearest, and each once
        at = list(dict.fromkeys(position(distribution, value_at(distribution, one)) for one in at))
    line = centre.repeat(len(at), 1)
    line[:, index] = torch.tensor(at, dtype=torch.float64)
    mean, sd = surrogate.predict(line)
    if isinstance(distribution, CategoricalDistribution):
        values = tuple(distribution.choices[math.floor(code)] for code in at)
    else:
        values = tuple(value_at(distribution, position) for position in at)
    return Effect(column.name, values, tuple(rows.own(mean)[:, 0].tolist()), tuple(sd[:, 0].tolist()), rows.log[0])
