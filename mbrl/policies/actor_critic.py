"""`ActorCritic`: how a learner's critics, and the targets that follow them, are asked for values.

Chen2021: "Randomized ensembled double Q-learning: learning fast without a model" (REDQ, ICLR 2021).
"""

from __future__ import annotations

from abc import ABC
from typing import get_args

import torch
from torch import Tensor

from mbrl.data import CriticsAsked, make_generator
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.policies.base import Learner
from mbrl.policies.critics import Critics
from mbrl.policies.tanh_gaussian_policy import TanhGaussianPolicy


class ActorCritic(Learner, ABC):
    """A learner's policy, critics and target critics: their values, in updates and for other parts, and how targets follow.

    Attributes:
        policy: as of `Learner`.
        critics: `J` of them, which learn.
        target_critics: as many, which follow and are constant otherwise.
        target_rate: τ, the share of the way that these go at a time.
        target_subset: M, how many of them give an update's target; None for all.
        critic_dropout: probability that a hidden unit is dropped in an update.
        updates: how many there were.
        seed: of what updates draw about the critics.
    """

    policy: TanhGaussianPolicy
    critics: Critics
    target_critics: Critics
    target_rate: float
    target_subset: int | None
    critic_dropout: float

    def __init__(self) -> None:
        super().__init__()
        self.updates = self.seed = 0
        self._followed: tuple[list[Tensor], list[Tensor]] | None = None

    def _need_build(self) -> None:
        if not hasattr(self, "policy"):
            who = type(self).__name__
            raise NotBuiltError(f"{who} was used before build(task), which makes its parameters; call it first.")

    # in updates ------------------------------------------------------------------------------------------------------

    def _masks(self, part: str) -> torch.Generator | None:
        """The generator of dropout's masks in this part of the present update; None without dropout."""
        return None if self.critic_dropout == 0 else self._own_draws(f"dropout {part}")

    def _own_draws(self, name: str) -> torch.Generator:
        """A generator for the present update alone, so that its draws move no others, and a resumed run repeats them."""
        return make_generator(self.target_critics.head_bias.device, self.seed, "sac", name, self.updates)

    def actor_value(self, values: Tensor) -> Tensor:
        """The value that the actor ascends, `B`, of those of all critics, `J x B`."""
        return values.amin(0) if self.target_subset is None else values.mean(0)

    def _target_values(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values by those target critics that give the present update's target, `M x B`, of obs `B x S`, action `B x A`."""
        members, count = None, self.target_critics.count
        if self.target_subset is not None and self.target_subset < count:
            drawn = torch.randperm(count, generator=self._own_draws("subset"), device=action.device)
            members = drawn[: self.target_subset]  # M
        return self.target_critics(obs, action, members=members, masks=self._masks("target"))

    @torch.no_grad()
    def update_targets(self) -> None:
        """Moves the target critics a share τ of the way to the critics."""
        if self._followed is None or self._followed[0][0] is not self.target_critics.head_weight:
            self._followed = (list(self.target_critics.parameters()), list(self.critics.parameters()))
        torch._foreach_lerp_(*self._followed, self.target_rate)
        self.target_critics.follow()

    # for other parts -------------------------------------------------------------------------------------------------

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
