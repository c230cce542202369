"""Parts of Dyna: how it explores, what it changes in model rollouts, and what it adds to the critics' loss."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from mbrl.data import ModelStep, Task, Transitions, draw_normal
from mbrl.errors import UnsupportedError
from mbrl.planners import ActionSelector, RolloutContext, RolloutHook, Situation
from mbrl.policies import SAC, CriticContext, CriticTerm, Learner


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


class Diverse(CriticTerm):
    """Keeps the critics' gradients in the action apart: the mean cosine between those of two critics, times `weight` (EDAC).

    Args:
        weight: of the term in the critics' loss.
    """

    def __init__(self, weight: float = 1.0) -> None:
        self.weight = weight

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        copies = context.critics.count  # J
        action = batch.action.expand(copies, -1, -1).clone().requires_grad_()  # J x B x A
        values = context.critics(batch.obs.expand(copies, -1, -1), action, own_rows=True)  # J x B
        (slopes,) = torch.autograd.grad(values.sum(), action, create_graph=True)  # J x B x A, of one backward pass
        slopes = torch.nn.functional.normalize(slopes, dim=-1)
        cosines = torch.einsum("jba,kba->jkb", slopes, slopes).mean(-1)  # J x J
        mean = (cosines.sum() - cosines.trace()) / (copies * (copies - 1))
        context.report({"cosine": mean.detach()})
        return self.weight * mean

    def check(self, dynamics: nn.Module, learner: Learner) -> None:
        if isinstance(learner, SAC) and learner.critic_count < 2:
            raise UnsupportedError("Diverse: expected at least 2 critics, which could differ, got 1; raise critics.")
