"""`predict_rows`: a model's predictions for real rows, one step ahead, whatever kind of state it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from mbrl.data import ModelState, ModelStep, Prediction, Transitions
from mbrl.data.streams import generator_on
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, ObsState
from mbrl.uncertainty import Sample, draw_sample

_ROWS = 4096  # at once
_NUMBERS = 1 << 22  # observed numbers at once


@dataclass(frozen=True)
class RowPredictions:
    """A model's prediction for `b` rows.

    Attributes:
        part: which of the rows that were asked about.
        rows: these, on the model's device.
        prediction: of all members, `E x b x …`.
        drawn: `e` int64, the members that a rollout may draw.
        step: what the model did, or None of a model of observations, which was asked for its prediction only.
    """

    part: slice
    rows: Transitions
    prediction: Prediction
    drawn: Tensor
    step: ModelStep | None

    def members(self) -> tuple[Tensor, Tensor]:
        """Means and variances of the drawn members, `e x b x S` float64 on the CPU."""
        said = self.prediction
        return said.mean[self.drawn].double().cpu(), said.var[self.drawn].double().cpu()

    def sample(self, generator: torch.Generator) -> Sample:
        """The draw of a rollout, with noise from `generator`; of a model that stepped, the one that it made."""
        if self.step is not None:
            return Sample.of(self.step)
        return draw_sample(self.prediction, self.drawn, generator)


@torch.no_grad()
def predict_rows(model: DynamicsModel, rows: Transitions, generator: torch.Generator) -> Iterator[RowPredictions]:
    """The predictions of real rows, in chunks.

    A model of observations is asked for its prediction only, so that its reward may be unknown. One with a state of its
    own starts from the rows, extras and all, and steps: its `predict` may refuse what an observation doesn't show.

    Args:
        model: built and fitted.
        rows: `B` transitions, on any device.
        generator: for models with a state of their own, whose step may draw.

    Raises:
        UnsupportedError: if a model's own step gives no prediction.
    """
    generator = generator_on(model.device, generator)
    at_once = max(1, min(_ROWS, _NUMBERS // rows.obs.shape[-1]))
    for first in range(0, len(rows), at_once):
        part = slice(first, min(first + at_once, len(rows)))
        here = rows.select(part).to(model.device)
        state = model.start(here, generator)
        if isinstance(state, ObsState):
            yield RowPredictions(part, here, model.predict_from(state, here.action), model.drawn_members, None)
            continue
        step, prediction = step_and_prediction(model, state, here.action)
        yield RowPredictions(part, here, prediction, model.drawn_members, step)


def step_and_prediction(model: DynamicsModel, state: ModelState, action: Tensor) -> tuple[ModelStep, Prediction]:
    """One step of a model from `state` on `action` (`B x A`), and the prediction that it was drawn from.

    Raises:
        UnsupportedError: if the model's step gives no prediction.
    """
    step = model.step(state, action, ("prediction",))
    if step.prediction is None:
        who = f"{type(model).__name__}.step"
        raise UnsupportedError(f'{who}: expected a prediction when asked for it, got none; implement want=("prediction",).')
    return step, step.prediction
