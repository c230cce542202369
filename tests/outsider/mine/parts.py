"""Parts of Dyna: how it explores, and what it changes in model rollouts."""

from dataclasses import replace

from torch import Tensor

from mbrl.data import ModelStep, Task, draw_normal
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


class LastingNoise(ActionSelector):
    """The policy's deterministic action with a noise of which a share lasts until the next step.

    Args:
        share: of the last step's noise, in [0, 1); more explores further.
        scale: standard deviation of what is new, for actions in [−1, 1].
    """

    def __init__(self, share: float = 0.8, scale: float = 0.1) -> None:
        self.share, self.scale = share, scale

    def memory(self, n: int, task: Task, like: Tensor) -> dict[str, Tensor]:
        return {"noise": like.new_zeros(n, task.action_size)}

    def select(self, situation: Situation) -> Tensor:
        action = situation.policy.mode(situation.obs, situation.prev_action)  # B x A
        new = draw_normal(situation.policy_generator, *action.shape, like=action)
        situation.memory["noise"] = self.share * situation.memory["noise"] + self.scale * new
        return (action + situation.memory["noise"]).clamp(-1.0, 1.0)


class Fence(RolloutHook):
    """Cuts rollouts that leave ±`limit`, as a time limit would.

    Args:
        limit: of every observation, environment units.
    """

    def __init__(self, limit: float) -> None:
        self.limit = limit

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        outside = (step.next_obs.abs() > self.limit).any(-1)  # B
        return replace(step, halt=outside)


class Leash(RolloutHook):
    """Cuts rollouts that have come further than `length` from where they began.

    Args:
        length: Euclidean, environment units.
    """

    def __init__(self, length: float) -> None:
        self.length = length

    def __call__(self, step: ModelStep, context: RolloutContext) -> ModelStep:
        if context.depth == 0:
            context.memory["first"] = step.obs  # B x S
        far = (step.next_obs - context.memory["first"]).norm(dim=-1) > self.length  # B
        return replace(step, halt=far)
