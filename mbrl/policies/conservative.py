"""`Conservative`: critics that value what the policy does no higher than what the data do.

Yu2021: "COMBO: conservative offline model-based policy optimization" (NeurIPS 2021).
Kumar2020: "Conservative Q-learning for offline reinforcement learning" (CQL, NeurIPS 2020).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn

from mbrl.arguments import Count, NonNegative, Positive
from mbrl.data import Transitions, draw_normal
from mbrl.errors import UnsupportedError
from mbrl.policies.base import CriticContext, CriticTerm, Learner


class Conservative(CriticTerm):
    """Adds w Σ_j (mean τ log Σ_k exp(Q_j(s_k, a_k)/τ − log μ(a_k)) − mean_real Q_j(s, a)) to the critics' loss [Yu2021].

    Each row has 3n actions a_k: n of π(·|s) at s, n of π(·|s') at s', and n uniform over [−1, 1]^A at s; μ is the density
    that each was drawn from, so that the sum estimates 3n ∫ exp(Q/τ) [Kumar2020]. At terminal s' it values as
    elsewhere. The second mean is over the batch's real rows alone. No gradient reaches the actor.

    Args:
        weight: w, against squared errors of values: with rewards c times as large, c times the weight does the same.
            Higher is more pessimistic off the data. Beside `SAC(critic_loss="half")` it counts twice.
        temperature: τ in units of values; lower comes nearer to the largest value alone.
        actions: n; more is a better estimate, and costs three values of every critic each.
        states: `"mix"` takes all rows of the batch for the first mean, `"model"` the model's alone.

    Raises:
        ConfigError: for a number out of range.
        UnsupportedError: for a batch without real rows, or without model rows where `states` is `"model"`, and for a policy
            that doesn't know the density of its actions.
    """

    def __init__(
        self,
        weight: NonNegative = 1.0,
        temperature: Positive = 1.0,
        actions: Count = 10,
        states: Literal["mix", "model"] = "mix",
    ) -> None:
        self.weight, self.temperature, self.actions, self.states = weight, temperature, actions, states

    def check(self, dynamics: nn.Module | None, learner: Learner) -> None:
        if dynamics is None and self.states == "model":
            raise UnsupportedError(
                "Conservative(states='model'): expected a planner with a dynamics model, got one without, whose rows are "
                "all real; take states: mix."
            )

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        rows = len(batch.reward)
        start, stop, _ = context.model_rows.indices(rows)
        stop = max(start, stop)
        if stop - start == rows:
            raise UnsupportedError(
                "Conservative: expected real rows in the batch, got the model's alone, so that nothing would hold values "
                "up; raise real_ratio."
            )
        if self.states == "model" and start == stop:
            raise UnsupportedError(
                "Conservative(states='model'): expected rows of the model in the batch, got none; lower real_ratio, or take "
                "states: mix."
            )
        where = slice(None) if self.states == "mix" else slice(start, stop)
        obs, next_obs = batch.obs[where], batch.next_obs[where]  # B x S
        with torch.no_grad():
            here, there = (each.expand(self.actions, *each.shape) for each in (obs, next_obs))  # n x B x S
            now, log_now = context.policy.sample(here, context.generator)  # n x B x A, n x B
            later, log_later = context.policy.sample(there, context.generator)
            normal = draw_normal(context.generator, math.prod(now.shape[:-1]), now.shape[-1], now).view_as(now)
            uniform = torch.erf(normal / math.sqrt(2))  # Φ of a normal draw is uniform
            log_uniform = torch.full_like(log_now, -now.shape[-1] * math.log(2))
            log_density = torch.cat((log_now, log_later, log_uniform))  # 3n x B
        tried = context.critics(torch.cat((here, there, here)), torch.cat((now, later, uniform)))  # J x 3n x B
        soft = self.temperature * torch.logsumexp(tried / self.temperature - log_density, 1).mean(-1)  # J
        values = context.batch_values(batch)  # J x B
        real = torch.cat((values[:, :start], values[:, stop:]), 1).mean(-1)  # J
        context.report({"conservative_gap": (soft - real).detach().mean()})
        return self.weight * (soft - real).sum()
