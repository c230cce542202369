"""What a model says of real rows, one step ahead, whatever kind of state it has."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from mbrl.analysis.forecasts import generator_on
from mbrl.data import Prediction, Transitions
from mbrl.errors import UnsupportedError
from mbrl.models import DynamicsModel, ObsState
from mbrl.uncertainty import Sample, draw_sample

_CHUNK = 4096  # rows at once


@torch.no_grad()
def ask(
    model: DynamicsModel, rows: Transitions, generator: torch.Generator
) -> Iterator[tuple[slice, Transitions, Prediction, Sample]]:
    """The predictions of real rows, in chunks, and what a rollout would draw from them.

    A model of observations is asked for its prediction only, so that its reward may be unknown. One with a state of its
    own starts from the rows, extras and all, and steps.

    Args:
        model: built and fitted.
        rows: `B` transitions, on any device.
        generator: draws members and noise.

    Yields:
        Which rows (`b` of them), these on the model's device, the prediction of all members (`E x b x …`), and a draw.

    Raises:
        UnsupportedError: if a model's own step gives no prediction.
    """
    generator = generator_on(model.device, generator)
    for first in range(0, len(rows), _CHUNK):
        part = slice(first, min(first + _CHUNK, len(rows)))
        here = rows.select(part).to(model.device)
        state = model.start(here, generator)
        if isinstance(state, ObsState):
            said = model.predict(here.obs, here.action)
            yield part, here, said, draw_sample(said, model.drawn_members, generator)
            continue
        step = model.step(state, here.action, ("prediction",))
        if step.prediction is None:
            raise UnsupportedError(
                f"{type(model).__name__}.step: expected a prediction when asked for it, got none; implement "
                'want=("prediction",).'
            )
        yield part, here, step.prediction, Sample.of(step)
