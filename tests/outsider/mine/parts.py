"""Parts of Dyna: how it explores, and what it changes in model rollouts."""

from dataclasses import replace

from torch import Tensor

from mbrl.data import ModelStep, draw_normal
from mbrl.planners import ActionSelector, RolloutContext, RolloutHook, Situation


class NoisyMode(ActionSelector):
    """The policy's deterministic action with Gaussian noise.

    Args:
        scale: standard deviation of the noise, for actions in [−1, 1].
    """

    def __init__(self, scale: float = 0.1) -> None:
        self.scale = scale

    def select(self, situation: Situation) -> Tensor:
        action = situation.policy.mode(situation.obs, situation.prev_action)  # B x A
        noise = draw_normal(situation.policy_generator, *action.shape, like=action)
        return (action + self.scale * noise).clamp(-1.0, 1.0)


class Fence(RolloutHook):
    """Cuts rollouts that leave ±`limit`, as a time limit would.

    Args:
        limit: of every observation, environment units.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        outside = (step.next_obs.abs() > self.limit).any(-1)  # B
        return replace(step, halt=outside if step.halt is None else step.halt | outside)
