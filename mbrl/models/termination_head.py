"""`TerminationHead`: networks that say from where a step led whether it ended the task.

Lin2017: Lin et al., "Focal loss for dense object detection" (section 3.3: the first bias of a rare class).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl.networks import Activation, Normalizer, StackedMLP, layout


class TerminationHead(nn.Module):
    """Logits of termination as a function of (s, a, s'), one network a member.

    Where the end of a task depends on the next observation, such as a fall at a height, (s, a) alone tells it no better than
    the noise of the step allows, and an end that is drawn from it doesn't fit the next observation that was drawn.

    Args:
        members: `E`.
        obs_size: `S`.
        action_size: `A`.
        hidden: widths of the hidden layers.
        activation: between them.
        ddof: of the normaliser of [s, a, s'].
        generator: draws the first weights.
        chunk_rows: rows a member that are computed at once without gradients.
    """

    def __init__(
        self,
        members: int,
        obs_size: int,
        action_size: int,
        hidden: Sequence[int],
        activation: Activation,
        ddof: Literal[0, 1],
        generator: torch.Generator,
        chunk_rows: int,
    ) -> None:
        super().__init__()
        size = 2 * obs_size + action_size
        self.members = members
        self.normalizer = Normalizer(size, ddof)
        self.network = StackedMLP(members, (size, *hidden, 1), activation, generator)
        self.chunk_rows = chunk_rows

    def forward(self, obs: Tensor, action: Tensor, next_obs: Tensor, member: Tensor | None = None) -> Tensor:
        """Logits of `B` steps, `E x B`, or `B` with `member`; `B` stands for any number of leading dims.

        Args:
            obs: `B x S`, or of fewer leading dims, which are repeated.
            action: `B x A` in [−1, 1], likewise.
            next_obs: `B x S`; without `member` also `E x B x S`, each member's own.
            member: `B` int64, the member to ask for each row; None asks all.
        """
        lead = (self.members, *obs.shape[:-1]) if member is None else tuple(member.shape)
        parts = [part.expand(*lead, part.shape[-1]) for part in (obs, action, next_obs)]
        if member is None:
            return self.table(*(part.reshape(self.members, -1, part.shape[-1]) for part in parts)).view(lead)
        places = layout(member.reshape(-1), self.members)
        x, u, y = (places.gather(part.reshape(-1, part.shape[-1])) for part in parts)  # G x C x …
        return places.restore(self.table(x, u, y, places.members)).view(lead)

    def table(self, obs: Tensor, action: Tensor, next_obs: Tensor, members: Tensor | None = None) -> Tensor:
        """Logits `G x C` of steps laid out by member, `G x C x …` each (`StackedMLP`)."""
        x = self.normalizer(torch.cat((obs, action, next_obs), -1))  # G x C x (2S+A)
        if torch.is_grad_enabled():
            return self.network(x, members)[..., 0]
        return self.network.infer(x, members, self.chunk_rows)[..., 0]

    def fit_normalizer(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> None:
        """Takes the statistics of `N` steps."""
        self.normalizer.fit(torch.cat((obs, action, next_obs), -1))


def termination_loss(logit: Tensor, terminated: Tensor) -> Tensor:
    """The mean cross-entropy of each member's logits `E x B`, `E`.

    Args:
        logit: of termination, `E x B`.
        terminated: `(E x) B` bool.
    """
    ended = terminated.to(logit.dtype).expand_as(logit)  # E x B
    return F.binary_cross_entropy_with_logits(logit, ended, reduction="none").mean(1)


@torch.no_grad()
def begin_at_rate(bias: Tensor, terminated: Tensor) -> None:
    """Has logits that were never fitted begin at the share of ends in the data, not at ½, as Lin2017 does for rare classes.

    A short first fit, which has moved them little, else ends half of all rollouts at once where ends are rare.

    Args:
        bias: of the logits in the last layer, `E x 1`, changed in place. One that isn't 0 everywhere was fitted, and stays.
        terminated: `N` bool, of all rows; half an end and half a row that goes on are counted beside them, so that data
            without any don't forbid them.
    """
    if not bool(bias.any()):
        share = (terminated.sum(dtype=torch.float64) + 0.5) / (len(terminated) + 1)
        bias.copy_(torch.logit(share))
