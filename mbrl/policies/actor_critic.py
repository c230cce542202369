"""`ActorCritic`: what a learner with critics, and with targets that follow them, answers when it is asked for values."""

from __future__ import annotations

from abc import ABC
from typing import get_args

import torch
from torch import Tensor

from mbrl.data import CriticsAsked
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.policies.base import Learner
from mbrl.policies.critics import Critics
from mbrl.policies.tanh_gaussian_policy import TanhGaussianPolicy


class ActorCritic(Learner, ABC):
    """A learner's policy, critics and target critics: their values and slopes, and how targets follow.

    Attributes:
        policy: as of `Learner`.
        critics: `J` of them, which learn.
        target_critics: as many, which follow and are constant otherwise.
        target_rate: τ, the share of the way that these go at a time.
    """

    policy: TanhGaussianPolicy
    critics: Critics
    target_critics: Critics
    target_rate: float

    def __init__(self) -> None:
        super().__init__()
        self._followed: tuple[list[Tensor], list[Tensor]] | None = None

    def _need_build(self) -> None:
        if not hasattr(self, "policy"):
            who = type(self).__name__
            raise NotBuiltError(f"{who} was used before build(task), which makes its parameters; call it first.")

    @torch.no_grad()
    def update_targets(self) -> None:
        """Moves the target critics a share τ of the way to the critics."""
        if self._followed is None or self._followed[0][0] is not self.target_critics.head_weight:
            self._followed = (list(self.target_critics.parameters()), list(self.critics.parameters()))
        torch._foreach_lerp_(*self._followed, self.target_rate)
        self.target_critics.follow()

    def value(self, obs: Tensor, action: Tensor | None = None, critics: CriticsAsked = "online") -> Tensor:
        """Values Q_j(s, a), `J x B`, of `obs` `B x S` and `action` `B x A`, the deterministic tanh μ(s) if None.

        Differentiable in both. Parameters are constants here, so a model that learns through it leaves no gradient in
        critics and policy.

        Args:
            obs: `B x S`, any leading dims.
            action: `B x A` in [−1, 1], or None.
            critics: `"online"`, `"target"` or `"both"`: these are `2J x B`, online first.

        Raises:
            NotBuiltError: before `build`.
            ConfigError: for other critics.
        """
        asked = self._asked(critics)
        if action is None:
            action = torch.tanh(self.policy.distribution(obs, frozen=True)[0])  # B x A
        values = [each(obs, action, frozen=True) for each in asked]
        return values[0] if len(values) == 1 else torch.cat(values)

    def slopes(self, obs: Tensor, action: Tensor, critics: CriticsAsked = "online") -> Tensor:
        """Gradients of each value in `obs` `B x S`, `J x B x S`, at a fixed `action` `B x A`; `critics` as in `value`."""
        return torch.cat([each.slopes(obs, action) for each in self._asked(critics)])

    def _asked(self, critics: CriticsAsked) -> list[Critics]:
        self._need_build()
        if critics not in get_args(CriticsAsked):
            raise ConfigError(f"SAC.value: expected critics to be online, target or both, got {critics!r}; ask for online.")
        both = {"online": self.critics, "target": self.target_critics}
        return list(both.values()) if critics == "both" else [both[critics]]
