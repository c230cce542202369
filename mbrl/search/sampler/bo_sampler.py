"""`BOSampler`: Bayesian optimisation for Optuna that knows the space, learns from failures and itself remembers nothing."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from botorch.utils.multi_objective.pareto import is_non_dominated
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState
from torch import Tensor

from mbrl.arguments import Count, Natural, checked
from mbrl.data import derived_seed
from mbrl.errors import ConfigError, MbrlWarning
from mbrl.search.sampler.acquisition import Region, acquisition, maximise
from mbrl.search.sampler.codec import Codec
from mbrl.search.sampler.rows import Rows, queued_or_own, read_rows, suggestion_index
from mbrl.search.sampler.surrogate import Surrogate, as_if_alone, fit
from mbrl.search.sampler.trust_region import box, side
from mbrl.search.study.outcome import VISIBLE


class BOSampler(BaseSampler):
    """Suggests configurations by a Gaussian process over the whole declared space, conditional parameters included.

    A suggestion is a function of the study's trials, the seed and the trial's number: nothing is kept between suggestions,
    so a search can be stopped, moved to another machine and shared by workers. Suggest all active parameters at once, before
    the objective's work, since only then other workers see what runs.

    Args:
        distributions: of every parameter, parents before their children.
        conditions: by conditional parameter, the values of each parent under which it is active.
        start: a configuration known to be good, suggested first; it may leave out single-valued parameters.
        startup: finished trials from which on the model chooses; before, a scrambled Sobol sequence does. More of them cost
            trials, fewer fit a model to little.
        trust_region: whether numbers stay in a box around the configuration of the best posterior mean, which narrows when
            nothing is gained. Without it the search explores more and ends less exact. Several objectives have none.
        failures: values of the user attribute `outcome` of failed trials that the configuration is to blame for: they count
            with the worst value seen. `("all",)` counts every failed trial, as fits an objective that returns NaN.
        previous: finished trials of an earlier study over the same parameters, with the same directions: the model learns
            from them how far to trust them. Their numbers may lie outside the ranges; those that lack an active parameter,
            or have a choice that isn't there any more, can't be used and are left out.
        fidelity: whether values that trials reported (`trial.report(value, step)`) tell the model of the run's end, by how
            far the run was: a share of the largest step that any trial reported. Of a completed trial those at about a
            third and two thirds count, beside its value; of a pruned one the last three, and nothing else, where without
            this the last one counts as if it were a result. Those of a failed trial don't count. All that is suggested and
            predicted is of whole runs. It costs up to three times the rows.
        log_objectives: indices of objectives, counted from 0, whose logarithms are modelled, as fits times and errors that
            span orders of magnitude. A value that isn't above 0 counts as failed, with a warning when it is told. What the
            model expects is given in the objective's own units.
        seed: of all that is drawn.

    Raises:
        ConfigError: for a space, condition, start or number that can't be used.
        UnsupportedError: when it is asked for a trial, for `fidelity` with several objectives.
    """

    @checked
    def __init__(
        self,
        distributions: Mapping[str, BaseDistribution],
        conditions: Mapping[str, Mapping[str, Sequence[Any]]] | None = None,
        *,
        start: Mapping[str, Any] | None = None,
        startup: Count = 10,
        trust_region: bool = True,
        failures: Sequence[str] = VISIBLE,
        previous: Sequence[FrozenTrial] = (),
        fidelity: bool = False,
        log_objectives: Sequence[Natural] = (),
        seed: int = 0,
    ) -> None:
        self.codec = Codec(distributions, conditions)
        self.startup, self.trust_region, self.seed = startup, trust_region, seed
        self.failures, self.previous = tuple(failures), tuple(previous)
        self.fidelity, self.log_objectives = fidelity, tuple(log_objectives)
        self.start = None if start is None else self._checked_start(start)

    def _checked_start(self, start: Mapping[str, Any]) -> dict[str, Any]:
        if lacking := self.codec.missing(start):
            raise ConfigError(f"BOSampler(start=…): expected every active parameter, got none of {lacking}; add them.")
        for name, value in start.items():
            distribution = self.codec.distributions.get(name)
            if distribution is None or not _contains(distribution, value):
                raise ConfigError(
                    f"BOSampler(start=…): expected values of the declared space, got {name}={value!r} for {distribution!r}."
                )
        return self.codec.only_active(start)

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return {name: kind for name, kind in self.codec.distributions.items() if not kind.single()}

    def sample_relative(self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]) -> dict[str, Any]:
        fixed = queued_or_own(trial)
        if not self.codec.missing(fixed):
            return self.codec.only_active(fixed)  # queued as a whole: there is nothing to choose
        trials = study.get_trials(deepcopy=False)
        rows = self.rows(study, but=trial.number)
        index = suggestion_index(trials, trial.number)
        if self.start is not None and not fixed and self._start_is_due(trials, trial.number):
            return dict(self.start)
        if len(rows) < self.startup or not rows.informative:
            return self._startup_point(index, fixed)
        params, why = self._by_model(study, rows, index, fixed)
        study._storage.set_trial_user_attr(trial._trial_id, "acq", why)
        return params

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        if param_name in self.codec.distributions:
            raise ConfigError(
                f"BOSampler: expected only active parameters to be asked for, got '{param_name}', which counts under "
                f"{self.codec.conditions.get(param_name)}; ask for it only there, or correct `conditions`."
            )
        raise ConfigError(f"BOSampler: expected a parameter of the declared space, got '{param_name}'; declare it.")

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """Warns of a value that has no logarithm; Optuna calls it when a trial is told."""
        for index in self.log_objectives:
            if values is not None and index < len(values) and not values[index] > 0:
                warnings.warn(
                    f"BOSampler(log_objectives=…): expected values above 0 of objective {index}, got {values[index]:g} in "
                    f"trial {trial.number}, which counts as failed; leave that objective out of log_objectives.",
                    MbrlWarning,
                    stacklevel=2,
                )

    def _start_is_due(self, trials: Sequence[FrozenTrial], number: int) -> bool:
        """Tells whether the start is to be tried: no trial has its configuration, and no earlier one may be about to."""
        for trial in trials:
            if trial.number == number:
                continue
            theirs = queued_or_own(trial)
            undecided = not theirs and not trial.state.is_finished() and trial.number < number
            if undecided or self.codec.only_active(theirs) == self.start:
                return False
        return True

    def _startup_point(self, index: int, fixed: Mapping[str, Any]) -> dict[str, Any]:
        engine = torch.quasirandom.SobolEngine(
            len(self.codec.columns), scramble=True, seed=derived_seed("sobol", self.seed) % 2**31
        )
        point = engine.fast_forward(index).draw(1, dtype=torch.float64)
        row = self.codec.from_uniform(point)[0]
        for column, value in self._fixed_columns(fixed).items():
            row[column] = value
        return {**self.codec.decode(row.tolist()), **self.codec.only_active(fixed)}

    def _fixed_columns(self, fixed: Mapping[str, Any]) -> dict[int, float]:
        """The position of each parameter that the trial's queue entry holds, by column."""
        row = self.codec.encode(fixed) if fixed else []
        named = self.codec.only_active(fixed)
        return {i: row[i] for i, column in enumerate(self.codec.columns) if column.name in named}

    def rows(self, study: Study, but: int | None = None) -> Rows:
        """Reads a study's trials as rows.

        Args:
            study: read, not changed.
            but: number of a trial to leave out.

        Raises:
            ConfigError: if a trial was made in another space.
        """
        return self.read(study.get_trials(deepcopy=False), study.directions, but)

    def read(
        self,
        trials: Sequence[FrozenTrial],
        directions: Sequence[StudyDirection],
        but: int | None = None,
        foreign: bool = False,
    ) -> Rows:
        """Reads trials as rows by this sampler's options; the rest is as for `read_rows`."""
        return read_rows(
            trials, directions, self.codec, self.failures, but, foreign, self.fidelity, log_objectives=self.log_objectives
        )

    def fitted(self, study: Study, rows: Rows) -> Surrogate:
        """Fits the model of the rows and of the previous study's; draws from torch's global generator only in a refit."""
        usable = [trial for trial in self.previous if trial.state.is_finished() and self.codec.holds(trial.params)]
        previous = self.read(usable, study.directions, foreign=True) if usable else None
        return fit(self.codec, rows, previous)

    def _by_model(
        self, study: Study, rows: Rows, index: int, fixed: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        held = self._fixed_columns(fixed)
        seed = derived_seed("acquisition", self.seed, index) % 2**31
        length = None
        with as_if_alone("bo sampler", self.seed, index):
            rows = rows.fewer()
            surrogate = self.fitted(study, rows)
            known = rows.known()
            mean, _ = surrogate.predict(known.x)
            order = _by_merit(mean)
            bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(1, len(self.codec.columns))
            if self.trust_region and self.codec.numbers and len(rows.signs) == 1:
                startup = int(rows.whole[: self.startup].sum())
                length = side(known.y[:, 0].tolist(), startup, len(self.codec.columns))
                bounds = self._box(surrogate, known.x[order[0]], length)
            score = acquisition(surrogate, known.x, rows.pending, seed)
            row, value = maximise(score, Region(self.codec, bounds, held), known.x[order], seed)
            expected, sd = surrogate.predict(row[None])
        why = {
            "acquisition": value,
            "side": length,
            "mean": rows.own(expected[0]).tolist(),
            "sd": sd[0].tolist(),
            "rows": len(rows),
            "pending": len(rows.pending),
            "likelihood_maximised": surrogate.maximised,
        }
        return {**self.codec.decode(row.tolist()), **self.codec.only_active(fixed)}, why

    def _box(self, surrogate: Surrogate, centre: Tensor, length: float) -> Tensor:
        bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).repeat(1, len(centre))
        numbers = self.codec.numbers
        active = self.codec.active(centre)[numbers]
        bounds[:, numbers] = box(centre[numbers].clamp(0.0, 1.0), active, surrogate.lengthscales(numbers), length)
        return bounds


def _by_merit(mean: Tensor) -> Tensor:
    """Rows from best to worst: by their mean, with several objectives those of the front first."""
    if mean.shape[1] == 1:
        return mean[:, 0].argsort(descending=True, stable=True)
    spread = mean.std(0) if len(mean) > 1 else torch.ones_like(mean[0])
    merit = ((mean - mean.mean(0)) / spread.clamp(min=1e-12)).sum(1)
    return (merit + is_non_dominated(mean) * 2 * (merit.max() - merit.min() + 1)).argsort(descending=True, stable=True)


def _contains(distribution: BaseDistribution, value: Any) -> bool:
    """Tells whether a distribution has a value; a value of a kind that it can't hold is none of its values."""
    try:
        return bool(distribution._contains(distribution.to_internal_repr(value)))
    except (ValueError, TypeError):
        return False
