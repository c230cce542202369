"""`uncertainty_against_error`: whether what a model calls uncertain is what it gets wrong.

A measure is judged where the data are and where the model's own rollouts go, since a measure that finds error among real
states may miss it among those that rollouts reach (Lu2022).

Lu2022: "Revisiting design choices in offline model-based reinforcement learning" (ICLR 2022).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from mbrl.analysis.forecasts.normalised_errors import dimension_names, left_out, scale_of
from mbrl.analysis.forecasts.windows import check_episodes, place_windows
from mbrl.analysis.model_error.measured_states import Measuring, measured_rollouts
from mbrl.analysis.model_error.uncertainty_against_error_result import UncertaintyAgainstError
from mbrl.analysis.model_error.uncertainty_scores import DATASET, ROLLOUTS, notes_on_constants, scores_of
from mbrl.analysis.progress import Progress
from mbrl.arguments import check_argument, check_whole
from mbrl.data import Transitions, ValueFunction
from mbrl.data.streams import generator_on
from mbrl.errors import MbrlError
from mbrl.models import DynamicsModel, Exact, require
from mbrl.policies import Policy
from mbrl.uncertainty import UncertaintyMeasure


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
    value: ValueFunction | None = None,
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
        value: critics, for measures that ask them; without, these are undefined.
        depth: steps of a rollout.
        rollouts: how many, from states drawn uniformly.
        names: of the observation's dims.
        progress: told a sentence now and then.

    Raises:
        DataError: without rows, or if there are numbers that aren't finite in them.
        ConfigError: for a number out of range.
        UnsupportedError: if `truth` isn't exact.
    """
    check_argument("uncertainty_against_error(model=…)", model, DynamicsModel)
    who = "uncertainty_against_error"
    for argument, given in (("most", most), ("depth", depth), ("rollouts", rollouts)):
        check_whole(f"{who}({argument}=…)", given, 1)
    check_episodes(who, episodes)
    if truth is not None:
        require(truth, Exact, who, "the truth has to be an exact model", "give one that is, or none")
    found = place_windows(episodes, 1, most, generator)
    dims = dimension_names(who, names, found.rows.obs.shape[-1])
    everything = Transitions.cat(episodes)
    scale = scale_of(everything.next_obs - everything.obs, everything.obs)
    notes = left_out(scale, dims, "the change of the observation")
    if found.places > most:
        notes.append(f"{most} rows were drawn from {found.places}.")
    measuring = Measuring(model, _named(measures), scale, generator_on(model.device, generator), value)

    if progress is not None:
        progress(f"uncertainty against error: {len(found)} real rows")
    rows = found.rows.map(lambda tensor: tensor[:, 0])
    on_data = measuring.real_rows(rows, found, dims)
    notes += on_data.notes
    if reference is None:
        known = on_data.error
        notes.append("The errors that count as large are those of the same rows that are looked at.")
    else:
        chosen = torch.randperm(len(reference), generator=generator, device=generator.device)[:most].cpu()
        known = measuring.errors(reference.select(chosen.to(reference.obs.device)))
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
            reached = measured_rollouts(measuring, truth, policy, episodes, depth, rollouts, generator, dims)
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
        for measure in measuring.measures
        for states, part in parts.items()
        for score in scores_of(measure, states, part, thresholds, exact)
    ]
    notes += [f"{measure} is undefined: {reason}." for measure, reason in measuring.refused.items()]
    notes += notes_on_constants(scores, exact)
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


def _named(measures: Mapping[str, UncertaintyMeasure] | Sequence[UncertaintyMeasure]) -> dict[str, UncertaintyMeasure]:
    """Names measures by their class, with the arguments that tell those of one class apart."""
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
