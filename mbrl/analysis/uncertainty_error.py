"""`uncertainty_against_error`: whether what a model calls uncertain is what it gets wrong.

A measure is judged where the data are and where the model's own rollouts go, since a measure that finds error among real
states may miss it among those that rollouts reach (Lu2022).

Lu2022: "Revisiting design choices in offline model-based reinforcement learning" (ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.asking import ask
from mbrl.analysis.forecasts import (
    NotFinite,
    Progress,
    Windows,
    check_episodes,
    dimension_names,
    generator_on,
    left_out,
    place_windows,
    scale_of,
    total_of,
    within_rounding,
)
from mbrl.analysis.rank import (
    average_precision,
    is_constant,
    pearson,
    roc_auc,
    roc_curve,
    spearman,
    within_correlation,
)
from mbrl.analysis.result import Result
from mbrl.analysis.truth import really_next
from mbrl.data import Prediction, Transitions
from mbrl.errors import DataError, MbrlError, check_at_least
from mbrl.models import DynamicsModel, Exact, HasMembers, require
from mbrl.policies import Policy
from mbrl.uncertainty import Sample, UncertaintyMeasure

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DATASET, ROLLOUTS = "dataset", "model rollouts"

_ROUNDING = 1e-5  # of the largest: numbers of float32 networks that differ by less are equal


@dataclass(frozen=True)
class Score:
    """How well one measure finds the error on one set of states; None where undefined.

    Attributes:
        measure: its name.
        states: `dataset` or `model rollouts`.
        depth: steps of the rollout before the state, or None for all of them (and for the dataset).
        rows: rows that count.
        spearman, pearson: correlation of uncertainty and error.
        pearson_within: that without what rollouts, and depths, have in common: whether the measure finds the hard steps
            of a rollout, and not only that late steps and bad rollouts are hard. Of rollouts as a whole only.
        auc, precision: by percentile, ROC AUC and average precision of detecting the rows whose error exceeds it.
        events: by percentile, the share of such rows, which is the average precision by chance.
        uncertainty, error: means over rows, the error normalised.
    """

    measure: str
    states: str
    depth: int | None
    rows: int
    spearman: float | None = None
    pearson: float | None = None
    pearson_within: float | None = None
    auc: Mapping[float, float | None] = field(default_factory=dict)
    precision: Mapping[float, float | None] = field(default_factory=dict)
    events: Mapping[float, float | None] = field(default_factory=dict)
    uncertainty: float | None = None
    error: float | None = None


@dataclass(frozen=True)
class UncertaintyAgainstError(Result):
    """Each measure against the true one-step error.

    Attributes:
        scores: one a measure, set of states and depth; of a measure that the model can't have, without numbers.
        percentiles: of the reference errors, above which a row is an event.
        thresholds: the errors that these are, normalised.
        uncertainty, error: by set of states, what was compared: by measure `B`, and `B`, float64 on the CPU.
        rollouts_skipped: why there are no states of model rollouts, or None.
        notes: see `Result`.
    """

    name: ClassVar[str] = "uncertainty"
    title: ClassVar[str] = "Does uncertainty find error?"

    scores: Sequence[Score]
    percentiles: Sequence[float]
    thresholds: Mapping[float, float]
    uncertainty: Mapping[str, Mapping[str, Tensor]]
    error: Mapping[str, Tensor]
    rollouts_skipped: str | None
    notes: Sequence[str] = ()

    @property
    def measures(self) -> list[str]:
        """Names of the measures."""
        return list(dict.fromkeys(score.measure for score in self.scores))

    def score(self, measure: str, states: str = DATASET, depth: int | None = None) -> Score | None:
        """That of one measure on one set of states, or None if there is none."""
        for score in self.scores:
            if (score.measure, score.states, score.depth) == (measure, states, depth):
                return score
        return None

    def table(self) -> dict[str, list[Any]]:
        """A row for each measure, set of states and depth (None: all depths); errors are normalised."""
        columns: dict[str, list[Any]] = {
            name: [getattr(score, name) for score in self.scores]
            for name in ("measure", "states", "depth", "rows", "spearman", "pearson", "pearson_within")
        }
        for percentile in self.percentiles:
            for name in ("auc", "precision", "events"):
                column = [getattr(score, name).get(percentile) for score in self.scores]
                columns[f"{'average_precision' if name == 'precision' else name}_{percentile:g}"] = column
        columns["mean_uncertainty"] = [score.uncertainty for score in self.scores]
        columns["mean_error_normalised"] = [score.error for score in self.scores]
        return columns

    def summary(self) -> dict[str, Any]:
        """By set of states and measure: both correlations, AUC and average precision; and the covariate shift's size."""
        found: dict[str, Any] = {}
        for states in (DATASET, ROLLOUTS):
            found[states] = {
                score.measure: {
                    "spearman": score.spearman,
                    "pearson": score.pearson,
                    "pearson_within": score.pearson_within,
                    "auc": {f"{key:g}": value for key, value in score.auc.items()},
                    "average_precision": {f"{key:g}": value for key, value in score.precision.items()},
                }
                for score in self.scores
                if score.states == states and score.depth is None
            }
        return {
            **found,
            "mean_error_normalised": {states: float(error.mean()) for states, error in self.error.items() if len(error)},
            "error_thresholds_normalised": {f"{key:g}": value for key, value in self.thresholds.items()},
            "model_rollouts_skipped": self.rollouts_skipped,
        }

    def plot(self) -> Figure:
        """Spearman's correlation and the detection of large errors, on real states and on those of rollouts."""
        from matplotlib.figure import Figure

        percentile = self._shown_percentile()
        measures = self.measures
        figure = Figure(figsize=(8.0, 1.4 + 0.42 * max(3, len(measures))), layout="constrained")
        left, right = figure.subplots(1, 2, sharey=True)
        styles = {DATASET: {"marker": "o", "color": "C0"}, ROLLOUTS: {"marker": "s", "color": "C1", "markerfacecolor": "w"}}
        shown = [DATASET] if self.rollouts_skipped is not None else [DATASET, ROLLOUTS]
        for number, states in enumerate(shown):
            places = [place + 0.12 * (2 * number - 1) * (len(shown) > 1) for place in range(len(measures))]
            found = [self.score(measure, states) for measure in measures]
            for axes, values in (
                (left, [None if score is None else score.spearman for score in found]),
                (right, [None if score is None else score.auc.get(percentile) for score in found]),
            ):
                drawn = [(value, place) for value, place in zip(values, places, strict=True) if value is not None]
                axes.plot(*(zip(*drawn, strict=True) if drawn else ([], [])), linestyle="", label=states, **styles[states])
        for place, measure in enumerate(measures):
            for axes in (left, right):
                if all(self._drawn(measure, states, axes is right, percentile) is None for states in shown):
                    axes.text(0.5, place, "undefined", va="center", ha="center", color="0.45", fontsize=8,
                              transform=axes.get_yaxis_transform())  # fmt: skip
        left.set_yticks(range(len(measures)), measures)
        left.set_ylim(len(measures) - 0.5, -0.5)
        left.axvline(0, color="0.6", linestyle=":")
        left.set_xlabel("rank correlation of\nuncertainty and error")
        left.set_xlim(-1.02, 1.02)
        right.axvline(0.5, color="0.6", linestyle=":")
        right.set_xlabel(f"ROC AUC of finding errors\nabove the {percentile:g} % point")
        right.set_xlim(-0.02, 1.02)
        for axes in (left, right):
            axes.grid(axis="x", color="0.9")
        if len(shown) > 1:
            left.legend(frameon=False, fontsize=8, loc="lower left")
        figure.suptitle("How well uncertainty finds the model's error\n(right is better; dotted: chance)", fontsize=11)
        return figure

    def _drawn(self, measure: str, states: str, detection: bool, percentile: float) -> float | None:
        score = self.score(measure, states)
        if score is None:
            return None
        return score.auc.get(percentile) if detection else score.spearman

    def _shown_percentile(self) -> float:
        return min(self.percentiles, key=lambda percentile: abs(percentile - 95.0))

    def plot_by_depth(self) -> Figure:
        """Spearman's correlation of each measure at each depth of the model's rollouts, above the error there."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8.0, 5.0), layout="constrained")
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
        lines, markers = ("-", "--", "-.", ":"), "osv^Dx+*P"
        errors: dict[int, float | None] = {}
        for number, measure in enumerate(self.measures):
            found = [score for score in self.scores if score.measure == measure and score.depth is not None]
            points = [(score.depth, score.spearman) for score in found if score.spearman is not None]
            if points:
                upper.plot(
                    *zip(*points, strict=True),
                    linestyle=lines[number % len(lines)],
                    marker=markers[number % len(markers)],
                    markersize=4,
                    label=measure,
                )
            errors |= {score.depth: score.error for score in found if score.depth is not None}
        depths = [depth for depth, error in errors.items() if error is not None]
        lower.plot(depths, [errors[depth] for depth in depths], color="0.3", marker="o", markersize=4)
        upper.set_ylabel("rank correlation with the error")
        upper.axhline(0, color="0.6", linestyle=":")
        lower.set_ylabel("mean one-step error\n(sds of the change)")
        lower.set_xlabel("steps of the model's rollout before the state")
        lower.set_ylim(bottom=0)
        figure.suptitle("Does uncertainty find error along the model's own rollouts?", fontsize=11)
        if upper.lines[:-1]:
            figure.legend(loc="outside right center", frameon=False, fontsize=8)
        for axes in (upper, lower):
            axes.grid(color="0.9")
        return figure

    def plot_roc(self, measure: str) -> Figure:
        """The ROC curves of one measure, by percentile, on the dataset's states.

        Raises:
            DataError: if the measure has no numbers.
        """
        from matplotlib.figure import Figure

        if measure not in self.uncertainty.get(DATASET, {}):
            raise DataError(f"plot_roc: expected a measure with numbers, got {measure}; see the notes and measures.")
        figure = Figure(figsize=(4.6, 4.4), layout="constrained")
        axes = figure.subplots()
        for percentile, line in zip(self.percentiles, ("-", "--", "-.", ":") * len(self.percentiles), strict=False):
            event = self.error[DATASET] > self.thresholds[percentile]
            if event.any() and not event.all():
                axes.plot(
                    *roc_curve(self.uncertainty[DATASET][measure], event),
                    linestyle=line,
                    label=f"errors above the {percentile:g} % point",
                )
        axes.plot([0, 1], [0, 1], color="0.6", linestyle=":", label="chance")
        axes.set_xlabel("false alarms (share of other rows)")
        axes.set_ylabel("events found (share)")
        axes.set_title(f"Finding large errors by\n{measure}", fontsize=11)
        axes.legend(frameon=False, fontsize=8, loc="lower right")
        axes.grid(color="0.9")
        return figure


@torch.no_grad()
def uncertainty_against_error(
    model: DynamicsModel,
    episodes: list[Transitions],
    *,
    measures: Mapping[str, UncertaintyMeasure] | Sequence[UncertaintyMeasure],
    generator: torch.Generator,
    reference: Transitions | None = None,
    percentiles: Sequence[float] = (90.0, 95.0, 99.0),
    most: int = 20_000,
    truth: DynamicsModel | None = None,
    policy: Policy | None = None,
    depth: int = 10,
    rollouts: int = 500,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> UncertaintyAgainstError:
    """Compares each measure with the true one-step error, where the data are and where the model's own rollouts go.

    The error of a row is the root mean square over dims of (μ̄ − s'), μ̄ the mean of the means of the members that rollouts
    draw, each dim in units of the standard deviation of the change s' − s in `episodes`. In a noisy environment s' has
    noise of its own, which no measure of ignorance can find. A rollout may reach what is no state at all (a cosine
    and a sine off the circle); `truth` then goes on from the state that it reads from it, and the error holds that step
    back, too.

    Args:
        model: built and fitted.
        episodes: real ones, from `split_episodes`.
        measures: by name, or in a row, which names them by their class and what distinguishes them.
        generator: draws rows, members, noise and actions.
        reference: rows whose errors set the thresholds, such as the training data; None takes those of `episodes`.
        percentiles: of the reference errors: a row whose error exceeds one is an event to detect.
        most: rows of `episodes` at most, drawn uniformly; of `reference` likewise.
        truth: an exact model, which tells what really follows the states that the model's rollouts reach. Without it
            these are left out, since nobody knows.
        policy: whose actions the rollouts take; None takes the recorded ones.
        depth: steps of a rollout.
        rollouts: how many, from states drawn uniformly.
        names: of the observation's dims.
        progress: told a sentence now and then.

    Raises:
        DataError: without rows, or if there are numbers that aren't finite in them.
        ConfigError: for a number out of range.
        UnsupportedError: if `truth` isn't exact.
    """
    who = "uncertainty_against_error"
    for argument, given in (("most", most), ("depth", depth), ("rollouts", rollouts)):
        check_at_least(who, argument, given, 1)
    check_episodes(who, episodes)
    if truth is not None:
        require(truth, Exact, who, "the truth has to be an exact model")
    found = place_windows(episodes, 1, most, generator)
    dims = dimension_names(who, names, found.rows.obs.shape[-1])
    everything = Transitions.cat(episodes)
    scale = scale_of(everything.next_obs - everything.obs, everything.obs)
    notes = left_out(scale, dims, "the change of the observation")
    if found.places > most:
        notes.append(f"{most} rows were drawn from {found.places}.")
    asked = _Asked(model, _named(measures), scale, generator_on(model.device, generator))

    if progress is not None:
        progress(f"uncertainty against error: {len(found)} real rows")
    rows = found.rows.map(lambda tensor: tensor[:, 0])
    on_data = asked.real_rows(rows, found, dims)
    notes += on_data.notes
    if reference is None:
        known = on_data.error
        notes.append("The errors that count as large are those of the same rows that are looked at.")
    else:
        chosen = torch.randperm(len(reference), generator=generator, device=generator.device)[:most].cpu()
        known = asked.errors(reference.select(chosen.to(reference.obs.device)))
    known = known[known.isfinite()]
    thresholds = {p: float(torch.quantile(known, p / 100)) if len(known) else float("nan") for p in percentiles}

    exact = isinstance(model, Exact) or on_data.exact
    parts = {DATASET: on_data}
    skipped: str | None = None
    if exact:
        skipped = "the model is exact, so that its rollouts reach nothing that it gets wrong"
    elif truth is None:
        skipped = "nobody knows what follows these states without an exact model as truth"
    else:
        if progress is not None:
            progress(f"uncertainty against error: {rollouts} rollouts of {depth} steps")
        try:
            reached = _rolled_out(asked, truth, policy, episodes, depth, rollouts, generator, dims)
            parts[ROLLOUTS] = reached
            notes += reached.notes
        except MbrlError as error:
            skipped = str(error)
    if skipped is not None:
        notes.append(f"States of model rollouts are left out: {skipped.rstrip('.')}.")
    if exact:
        largest = on_data.error[on_data.error.isfinite()].max() if on_data.error.isfinite().any() else float("nan")
        notes.append(
            f"The model is exact{'' if isinstance(model, Exact) else ' to rounding'}: the largest error is "
            f"{float(largest):.1g} standard deviations of the change, so that correlation and detection are undefined."
        )
    scores = [
        score
        for measure in asked.measures
        for states, part in parts.items()
        for score in _scores(measure, states, part, thresholds, exact)
    ]
    notes += [f"{measure} is undefined: {reason}." for measure, reason in asked.refused.items()]
    notes += _constants(scores, exact)
    fine = {states: part.error.isfinite() for states, part in parts.items()}
    return UncertaintyAgainstError(
        scores=scores,
        percentiles=tuple(percentiles),
        thresholds=thresholds,
        uncertainty={
            states: {measure: numbers[fine[states]] for measure, numbers in part.uncertainty.items()}
            for states, part in parts.items()
        },
        error={states: part.error[fine[states]] for states, part in parts.items()},
        rollouts_skipped=skipped,
        notes=tuple(notes),
    )


# asking --------------------------------------------------------------------------------------------------------------


@dataclass
class _Part:
    """One set of states.

    Attributes:
        uncertainty: by measure, `B`.
        error: `B`, NaN where a row doesn't count.
        notes: what was left out.
        exact: whether the errors are no more than rounding.
        depth: `B`, steps of the rollout before the state; None of real states.
        rollout: `B`, the number of the rollout; None of real states.
    """

    uncertainty: dict[str, Tensor]
    error: Tensor
    notes: list[str]
    exact: bool = False
    depth: Tensor | None = None
    rollout: Tensor | None = None


@dataclass
class _Asked:
    """The model, and which measures it has.

    Attributes:
        refused: by measure, why it has none of the model.
    """

    model: DynamicsModel
    measures: dict[str, UncertaintyMeasure]
    scale: Tensor
    generator: torch.Generator
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model = self.model
        members = model.members if isinstance(model, HasMembers) else 1
        for name, measure in self.measures.items():
            if isinstance(model, Exact):
                self.refused[name] = "an exact model has no uncertainty"
            elif members < measure.least_members:
                self.refused[name] = f"it needs {measure.least_members} members and the model has {members}"

    def uncertainties(self, said: Prediction, sample: Sample) -> dict[str, Tensor]:
        """By measure, `B` float64 on the CPU."""
        found = {}
        for name, measure in self.measures.items():
            if name in self.refused:
                continue
            if measure.needs_noise and not bool((said.var > 0).any()):
                self.refused[name] = "the model predicts no noise"
                continue
            try:
                numbers = measure(said, self.model.drawn_members, sample=sample, generator=self.generator)
            except MbrlError as error:
                self.refused[name] = str(error).rstrip(".")
                continue
            found[name] = numbers.double().cpu()
        return found

    def off(self, said: Prediction, next_obs: Tensor) -> Tensor:
        """μ̄ − s', `B x S` float64 on the CPU."""
        return said.mean[self.model.drawn_members].double().mean(0).cpu() - next_obs.double().cpu()

    def errors(self, rows: Transitions) -> Tensor:
        """The normalised error of each row, `B` float64."""
        return torch.cat(
            [
                total_of(self.off(said, here.next_obs), self.scale)
                for _, here, said, _ in ask(self.model, rows, self.generator)
            ]
        )

    def real_rows(self, rows: Transitions, places: Windows, dims: Sequence[str]) -> _Part:
        """Uncertainty and error of real rows."""
        bad, parts, offs = NotFinite("predictions of members"), [], []
        for part, here, said, sample in ask(self.model, rows, self.generator):
            drawn = said.mean[self.model.drawn_members].cpu()
            bad.look(drawn.unsqueeze(2), places.episode[part], places.first[part])
            offs.append(self.off(said, here.next_obs))
            parts.append(self.uncertainties(said, sample))
        off = torch.cat(offs)  # B x S
        exact = within_rounding(off.abs(), rows.obs)
        return _Part(self.joined(parts), total_of(off, self.scale), bad.notes(dims), exact)

    def joined(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The chunks' numbers one after another, of the measures that none of them refused."""
        return {name: torch.cat([part[name] for part in parts]) for name in self.measures if name not in self.refused}


def _rolled_out(
    asked: _Asked,
    truth: DynamicsModel,
    policy: Policy | None,
    episodes: list[Transitions],
    depth: int,
    rollouts: int,
    generator: torch.Generator,
    dims: Sequence[str],
) -> _Part:
    """Uncertainty and error at the states of the model's own rollouts."""
    model = asked.model
    windows = place_windows(episodes, 1 if policy is not None else depth, rollouts, generator)
    rows = windows.rows.to(model.device)
    state = model.start(rows.map(lambda tensor: tensor[:, 0]), asked.generator, follow=True)
    alive = torch.ones(len(rows), dtype=torch.bool)  # B
    extras = {name: rows.extras[name][:, 0] for name in truth.row_extras(truth.built_task) if name in rows.extras}
    unknown = ended = 0
    why: str | None = None
    notes: list[str] = []
    bad, parts, errors = NotFinite("predictions of members in rollouts"), [], []
    for number in range(depth):
        action = rows.action[:, number] if policy is None else policy.sample(state.obs, asked.generator)[0]
        step = model.step(state, action, ("prediction",))
        assert step.prediction is not None  # it was asked for
        drawn = step.prediction.mean[model.drawn_members].cpu()
        bad.look(drawn[:, alive].unsqueeze(2), windows.episode[alive], windows.first[alive] + number)
        here = Transitions.from_obs(state.obs, action.shape[-1], **(extras if number == 0 else {}))
        here.action = action
        real, refusal = really_next(truth, here, generator, alive)
        why = why or refusal
        error = total_of(asked.off(step.prediction, real), asked.scale)  # B, NaN of rollouts that are over, as `real`
        unknown += int((alive & state.obs.cpu().isfinite().all(-1) & ~real.isfinite().all(-1)).sum())
        errors.append(error)
        parts.append(asked.uncertainties(step.prediction, Sample.of(step)))
        ended += int((alive & step.terminated.cpu()).sum())
        alive = alive & ~step.terminated.cpu()
        state = step.state
    if policy is None:
        notes.append("The model's rollouts take the recorded actions, whatever states they reach.")
    if ended:
        notes.append(f"{ended} of {len(rows)} rollouts end early, where the model takes the task for ended.")
    if unknown:
        reason = f": {why}" if why else ", where the truth isn't finite either."
        notes.append(f"What really follows {unknown} states of the rollouts is unknown, and they are left out{reason}")
    notes += bad.notes(dims)
    total = torch.cat(errors)
    if not bool(total.isfinite().any()):
        raise DataError(why or "what really follows the states of the rollouts isn't known of any of them.")
    each = torch.arange(len(rows))
    return _Part(
        asked.joined(parts),
        total,
        notes,
        depth=torch.arange(depth).repeat_interleave(len(rows)),
        rollout=each.repeat(depth),
    )


# statistics ----------------------------------------------------------------------------------------------------------


def _scores(measure: str, states: str, part: _Part, thresholds: Mapping[float, float], exact: bool) -> list[Score]:
    """Of all rows, and of each depth."""
    uncertainty = part.uncertainty.get(measure)
    if uncertainty is None:
        known = part.error.isfinite()
        error = float(part.error[known].mean()) if known.any() else None
        return [Score(measure, states, None, int(known.sum()), error=error)]
    scores = [_score(measure, states, None, uncertainty, part, None, thresholds, exact)]
    if part.depth is not None:
        scores += [
            _score(measure, states, depth, uncertainty, part, part.depth == depth, thresholds, exact)
            for depth in part.depth.unique().tolist()
        ]
    return scores


def _score(
    measure: str,
    states: str,
    depth: int | None,
    uncertainty: Tensor,
    part: _Part,
    chosen: Tensor | None,
    thresholds: Mapping[float, float],
    exact: bool,
) -> Score:
    fine = uncertainty.isfinite() & part.error.isfinite()
    if chosen is not None:
        fine = fine & chosen
    u, e = uncertainty[fine], part.error[fine]
    rows = len(u)
    mean_u, mean_e = (float(u.mean()), float(e.mean())) if rows else (None, None)
    if exact or is_constant(u, _ROUNDING):
        return Score(measure, states, depth, rows, uncertainty=mean_u, error=mean_e)
    events = {percentile: e > threshold for percentile, threshold in thresholds.items()}
    within = None
    if depth is None and part.depth is not None and part.rollout is not None:
        within = within_correlation(u, e, part.rollout[fine], part.depth[fine], _ROUNDING)
    return Score(
        measure,
        states,
        depth,
        rows,
        spearman=spearman(u, e, _ROUNDING),
        pearson=pearson(u, e, _ROUNDING),
        pearson_within=within,
        auc={percentile: roc_auc(u, event) for percentile, event in events.items()},
        precision={percentile: average_precision(u, event) for percentile, event in events.items()},
        events={percentile: float(event.double().mean()) for percentile, event in events.items()},
        uncertainty=mean_u,
        error=mean_e,
    )


def _constants(scores: Sequence[Score], exact: bool) -> list[str]:
    if exact:
        return []
    flat = [score for score in scores if score.depth is None and score.uncertainty is not None and score.spearman is None]
    return [
        f"{score.measure} is the same for all rows ({score.states}), so that its correlation and detection are undefined."
        for score in flat
    ]


def _named(measures: Mapping[str, UncertaintyMeasure] | Sequence[UncertaintyMeasure]) -> dict[str, UncertaintyMeasure]:
    """By their class, with the arguments that tell measures of one class apart."""
    if isinstance(measures, Mapping):
        return dict(measures)
    named: dict[str, UncertaintyMeasure] = {}
    for measure in measures:
        alike = [other.spec["init_args"] for other in measures if type(other) is type(measure)]
        arguments = measure.spec["init_args"]
        telling = [key for key in arguments if any(other.get(key) != arguments[key] for other in alike)]
        told = ", ".join(f"{key}={arguments[key]}" for key in telling)
        name = type(measure).__name__ + (f"({told})" if told else "")
        while name in named:  # twice the same
            name += "'"
        named[name] = measure
    return named
