"""`Diversity`: critics whose slopes in the action point different ways.

An2021: "Uncertainty-based offline reinforcement learning with diversified Q-ensemble" (EDAC, NeurIPS 2021).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from mbrl.arguments import NonNegative
from mbrl.data import Transitions
from mbrl.errors import UnsupportedError
from mbrl.policies.base import CriticContext, CriticTerm, Learner
from mbrl.policies.critics import Critics


class Diversity(CriticTerm):
    """Adds η · mean_B Σ_{i≠j} u_i·u_j / (J − 1) to the critics' loss [An2021], with u_j = g_j / (‖g_j‖ + 1e-10).

    g_j = ∇_a Q_j(s, a) at the batch's action, in the learner's coordinates: every action dimension runs over [−1, 1],
    whatever its unit in the environment. The sum is over ordered pairs and lies between −J/(J − 1) and J. It doesn't
    depend on the scale of values; a critic without slope counts as orthogonal to all others.

    Args:
        eta: η, beside the sum of the critics' squared errors, which grows with the square of the reward's unit: choose
            it by the task. Higher spreads the critics further, and makes their minimum more pessimistic; 0 adds nothing.
            Published values stand beside whole squared errors, `SAC(critic_loss="full")`; beside `"half"` of them η counts
            twice.

    Raises:
        ConfigError: for a negative `eta`.
        UnsupportedError: for η > 0 with one critic, or with one action dimension, whose unit slopes are ±1.
    """

    def __init__(self, eta: NonNegative = 1.0) -> None:
        self.eta = eta

    def check(self, dynamics: nn.Module | None, learner: Learner) -> None:
        critics = getattr(learner, "critics", None)
        if isinstance(critics, Critics):
            self._check_sizes(critics.count, critics.action_size)

    def _check_sizes(self, critics: int, action_size: int) -> None:
        if self.eta > 0 and critics < 2:
            raise UnsupportedError(
                f"Diversity: expected at least 2 critics, got {critics}, which has nothing to differ from; raise the "
                "learner's critics, or leave the term out."
            )
        if self.eta > 0 and action_size < 2:
            raise UnsupportedError(
                f"Diversity: expected at least 2 action dimensions, got {action_size}, where each unit slope is ±1 and has "
                "no gradient; leave the term out."
            )

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        if self.eta == 0:
            return batch.reward.new_zeros(())
        self._check_sizes(context.critics.count, batch.action.shape[-1])
        alike = similarity(context.critics.action_slopes(batch.obs, batch.action)).mean()
        context.report({"diversity": alike.detach()})
        return self.eta * alike


def similarity(slopes: Tensor) -> Tensor:
    """The sum of u_i·u_j over ordered pairs i ≠ j, by J − 1: `B`, of slopes `J x B x A`; differentiable."""
    norm = torch.linalg.vector_norm(slopes, dim=-1, keepdim=True)  # J x B x 1
    norm = norm.masked_fill(norm == 0, 1.0)  # else a slope of 0 would meet 1e10 times the gradient of the others
    unit = slopes / (norm + 1e-10)
    return (unit.sum(0).square().sum(-1) - unit.square().sum((0, -1))) / (len(slopes) - 1)
