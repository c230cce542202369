"""A model whose state is more than its observation."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl.data import Generator, ModelStep, Prediction, Transitions, ValueFunction
from mbrl.models import ObsState
from mine.ridge import Ridge


@dataclass
class Waiting(ObsState):
    """Where rollouts stand, and the actions that are still to take effect.

    Attributes:
        action: `B x A`.
    """

    action: Tensor | None = None


class Delayed(Ridge):
    """Ridge regression for an actuator that answers one step late.

    Args:
        limit: of every observation, environment units, beyond which the data say nothing; rollouts stop there.
        decay: as in `Ridge`.
    """

    def __init__(self, limit: float = 10.0, decay: float = 1e-3) -> None:
        super().__init__(decay)
        self.limit = limit

    def refit(
        self, rows: Transitions, generator: torch.Generator, value: ValueFunction | None = None
    ) -> dict[str, float | Tensor]:
        episode, late = rows.extras["episode"], torch.zeros_like(rows.action)
        late[1:] = torch.where((episode[1:] == episode[:-1])[:, None], rows.action[:-1], 0.0)
        return super().refit(replace(rows, action=late), generator, value)

    def start(self, rows: Transitions, generator: Generator, *, follow: bool = False) -> Waiting:
        before = rows.extras.get("prev_action", torch.zeros_like(rows.action))
        return Waiting(rows.obs, generator, action=before)

    def predict_from(self, state: ObsState, action: Tensor, member: Tensor | None = None) -> Prediction:
        assert isinstance(state, Waiting) and state.action is not None
        return self.predict(state.obs, state.action, member)

    def sample(self, state: ObsState, action: Tensor, drawn: Prediction) -> ModelStep:
        step = super().sample(state, action, drawn)
        assert isinstance(step.state, Waiting)
        step.state.action = action
        return step

    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
        return (next_obs.abs() > self.limit).any(-1)
