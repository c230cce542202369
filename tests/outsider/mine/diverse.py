"""A part of Dyna that adds to the critics' loss."""

import torch
from torch import Tensor, nn

from mbrl.data import Transitions
from mbrl.errors import UnsupportedError
from mbrl.policies import SAC, CriticContext, CriticTerm, Learner


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
