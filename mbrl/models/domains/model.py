"""`DomainModel`: the half of a dynamics model that says where its states can be, and where rollouts end without the task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.data import Transitions
from mbrl.models.domains.base import Domain
from mbrl.models.model_module import ModelModule


class DomainModel(ModelModule):
    """A model with a `domain`, whose default `project`, `halted` and `leaving` ask the sets in it."""

    former = {"domain": []}  # noqa: RUF012 - nobody changes it

    def __init__(self, domain: Sequence[Domain] = ()) -> None:
        super().__init__()
        self.domain = list(domain)

    def project(self, next_obs: Tensor) -> Tensor:
        """Puts sampled next observations (`B x S`, any leading dims) where states can be, such as onto the unit circle.

        It is applied once to what is sampled, before reward and termination. By default it is what `domain` does; a model
        that overrides it calls this one too.
        """
        for part in self.domain:
            next_obs = part.project(next_obs)
        return next_obs

    def halted(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor | None:
        """Says which rollouts end behind this step without a termination, as by a time limit; None: none.

        By default it is what `domain` says; a model that overrides it, for where it isn't to be trusted, calls this one
        too. Whoever steps the model stops there: a halted rollout is stored as truncated, and a plan earns nothing more.

        Args:
            obs: `B x S`; `B` stands for any number of leading dims.
            action: `B x A` in [−1, 1].
            next_obs: `B x S`, projected.

        Returns:
            `B` bool.
        """
        return _any_of([halt for part in self.domain if (halt := part.halted(obs, next_obs)) is not None])

    def outside(self, obs: Tensor) -> Tensor | None:
        """Says which states (`B x S`) lie outside of `domain`, `B` bool; None: none can."""
        return _any_of([outside for part in self.domain if (outside := part.outside(obs)) is not None])

    def inside(self, rows: Transitions) -> Tensor | None:
        """Which rows begin and end in `domain`, `N` bool; None: it has no outside."""
        began, ended = self.outside(rows.obs), self.outside(rows.next_obs)
        return None if began is None or ended is None else ~(began | ended)

    def leaving(self, obs: Tensor, next_obs: Tensor, reward: Tensor, terminated: Tensor) -> tuple[Tensor, Tensor]:
        """Reward and termination `B` of a step `obs` to `next_obs` (`B x S`, projected), with what `domain` says of it."""
        for part in self.domain:
            if (ended := part.ended(obs, next_obs)) is not None:
                reward = torch.where(ended, reward - part.penalty, reward) if part.penalty else reward
                terminated = terminated | ended
        return reward, terminated


def _any_of(masks: list[Tensor]) -> Tensor | None:
    """Where any of several masks holds, or None without one."""
    return None if not masks else masks[0] if len(masks) == 1 else torch.stack(masks).any(0)
