"""Measures of uncertainty beside the model's error, at real states and at those that its rollouts reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from mbrl.analysis.forecasts.exact_model import really_next
from mbrl.analysis.forecasts.normalised_errors import total_of, within_rounding
from mbrl.analysis.forecasts.not_finite import NotFinite
from mbrl.analysis.forecasts.one_step_predictions import predict_rows, step_and_prediction
from mbrl.analysis.forecasts.windows import Windows, place_windows
from mbrl.data import Prediction, Transitions, ValueFunction
from mbrl.errors import DataError, MbrlError
from mbrl.models import DynamicsModel, Exact, HasMembers
from mbrl.policies import Policy
from mbrl.uncertainty import Sample, UncertaintyMeasure


@dataclass
class MeasuredStates:
    """The measures and errors at one set of states.

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
class Measuring:
    """Computes the measures and the errors of a model's predictions.

    Attributes:
        model: built and fitted.
        measures: by name.
        scale: `S`, by which errors are normalised; 0 for a dim that doesn't count.
        generator: on the model's device.
        value: critics, or None.
        refused: by measure, why the model has no such number; more may be found while asking.
    """

    model: DynamicsModel
    measures: dict[str, UncertaintyMeasure]
    scale: Tensor
    generator: torch.Generator
    value: ValueFunction | None = None
    refused: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        model = self.model
        members = model.members if isinstance(model, HasMembers) else 1
        for name, measure in self.measures.items():
            if isinstance(model, Exact):
                self.refused[name] = "an exact model has no uncertainty"
            elif members < measure.least_members:
                self.refused[name] = f"it needs {measure.least_members} members and the model has {members}"
            elif measure.needs_value and self.value is None:
                self.refused[name] = "it asks critics, and there are none"
            else:
                try:
                    measure.check_call()
                except MbrlError as error:
                    self.refused[name] = str(error).rstrip(".")

    def uncertainties(self, said: Prediction, sample: Sample, obs: Tensor, action: Tensor) -> dict[str, Tensor]:
        """Numbers of each measure, `B` float64 on the CPU, for a prediction of `obs` (`B x S`) and `action` (`B x A`)."""
        if self.value is not None:
            sample = sample.valued(self.value, self.model.built_task, obs, action)
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
        answers = predict_rows(self.model, rows, self.generator)
        return torch.cat([total_of(self.off(said.prediction, said.rows.next_obs), self.scale) for said in answers])

    def real_rows(self, rows: Transitions, places: Windows, dims: Sequence[str]) -> MeasuredStates:
        """Uncertainty and error of real rows."""
        bad, parts, offs = NotFinite("predictions of members"), [], []
        for said in predict_rows(self.model, rows, self.generator):
            mean, _ = said.members()
            bad.look(mean.unsqueeze(2), places.episode[said.part], places.first[said.part])
            offs.append(self.off(said.prediction, said.rows.next_obs))
            here = said.rows
            parts.append(self.uncertainties(said.prediction, said.sample(self.generator), here.obs, here.action))
        off = torch.cat(offs)  # B x S
        exact = within_rounding(off.abs(), rows.obs)
        return MeasuredStates(self.joined(parts), total_of(off, self.scale), bad.notes(dims), exact)

    def joined(self, parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
        """The chunks' numbers one after another, of the measures that none of them refused."""
        return {name: torch.cat([part[name] for part in parts]) for name in self.measures if name not in self.refused}


def measured_rollouts(
    measuring: Measuring,
    truth: DynamicsModel,
    policy: Policy | None,
    episodes: list[Transitions],
    depth: int,
    rollouts: int,
    generator: torch.Generator,
    dims: Sequence[str],
) -> MeasuredStates:
    """Uncertainty and error at the states of the model's own rollouts.

    Args:
        measuring: the model and its measures.
        truth: an exact model, which says what really follows.
        policy: whose actions are taken; None takes the recorded ones.
        episodes: real ones, in which the rollouts start.
        depth: steps of a rollout.
        rollouts: how many at most.
        generator: draws where they start.
        dims: names of the observation's dims.

    Raises:
        DataError: if no episode is as long as `depth` and there is no policy, or if the truth knows nothing of any state.
        UnsupportedError: if the model's own step gives no prediction.
    """
    model = measuring.model
    windows = place_windows(episodes, 1 if policy is not None else depth, rollouts, generator)
    rows = windows.rows.to(model.device)
    state = model.start(rows.map(lambda tensor: tensor[:, 0]), measuring.generator, follow=True)
    alive = torch.ones(len(rows), dtype=torch.bool)  # B
    extras = {name: rows.extras[name][:, 0] for name in truth.row_extras(truth.built_task) if name in rows.extras}
    unknown = ended = 0
    why: str | None = None
    notes: list[str] = []
    bad, parts, errors = NotFinite("predictions of members in rollouts"), [], []
    for number in range(depth):
        action = rows.action[:, number] if policy is None else policy.sample(state.obs, measuring.generator)[0]
        step, prediction = step_and_prediction(model, state, action)
        drawn = prediction.mean[model.drawn_members].cpu()
        bad.look(drawn[:, alive].unsqueeze(2), windows.episode[alive], windows.first[alive] + number)
        here = Transitions.from_obs(state.obs, action.shape[-1], **(extras if number == 0 else {}))
        here.action = action
        real, refusal = really_next(truth, here, generator, alive)
        why = why or refusal
        error = total_of(measuring.off(prediction, real), measuring.scale)  # B, NaN of rollouts that are over, as `real`
        unknown += int((alive & state.obs.cpu().isfinite().all(-1) & ~real.isfinite().all(-1)).sum())
        errors.append(error)
        parts.append(measuring.uncertainties(prediction, Sample.of(step), step.obs, step.action))
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
    return MeasuredStates(
        measuring.joined(parts),
        total,
        notes,
        depth=torch.arange(depth).repeat_interleave(len(rows)),
        rollout=each.repeat(depth),
    )
