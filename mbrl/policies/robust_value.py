"""`RobustValue`: critics that change little in a small ball around each state.

Zheng2023: "Is model ensemble necessary? Model-based RL via a single model with Lipschitz regularized value function" (ICLR
2023, from the authors' poster: their code isn't public).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from mbrl.arguments import Count, NonNegative, Positive
from mbrl.data import Transitions
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.policies.base import CriticContext, CriticTerm

Values = Callable[[Tensor], Tensor]  # states J x B x S → values J x B


class RobustValue(CriticTerm):
    """Adds λ Σ_j mean_B max_{|s̃ − s| ≤ ε} (Q_j(s̃, π(s̃)) − Q_j(s, a))² to the critics' loss [Zheng2023].

    Each critic has a perturbed state of its own. The ball is in units of each dimension's standard deviation over the real
    rows of the last fit, so that it means the same in any units; a constant dimension stays. π is the deterministic action,
    and no gradient reaches the actor.

    Args:
        weight: λ; more is smoother, and too much of it flattens what the task needs.
        eps: ε in standard deviations. The poster leaves it open; ours to try are 0.01 to 0.1.
        reference: which action the clean value is of, and the perturbed one: `"batch_action"`, the poster's, compares
            Q(s̃, π(s̃)) with the batch's Q(s, a), so that it also charges for the gap between those actions, at ε = 0 too;
            `"policy_action"` takes π(s) instead of a; `"same_action"` keeps a in both.
        attack: how the maximum is sought: `"fgsm"`, the poster's, one step along the sign of the gradient; it doesn't move
            where the clean value is that of the same action, since the gradient is 0 there; `"fgsm_two_sided"` tries both
            signs and keeps the larger; `"pgd"` goes on from there for `steps` steps and keeps the best.
        steps: of `"pgd"`; each costs a pass through critics and actor.
        norm: of the ball, `"inf"` or `"2"`.
        reduction: `"mean"` over rows, or `"sum"` as the poster prints it, which is B times as much.
        detach_clean: whether Q(s, a) is held constant, so that only the perturbed value moves.
        every: the term is added at every n-th update only, unscaled; more is faster.

    Raises:
        ConfigError: for a number out of range, or an attack that can't leave its starting point.
    """

    def __init__(
        self,
        weight: NonNegative = 0.1,
        eps: Positive = 0.03,
        *,
        reference: Literal["batch_action", "policy_action", "same_action"] = "batch_action",
        attack: Literal["fgsm", "fgsm_two_sided", "pgd"] = "fgsm",
        steps: Count = 5,
        norm: Literal["inf", "2"] = "inf",
        reduction: Literal["mean", "sum"] = "mean",
        detach_clean: bool = False,
        every: Count = 1,
    ) -> None:
        if attack == "fgsm" and reference != "batch_action":
            raise ConfigError(
                f"RobustValue(attack=…): expected fgsm_two_sided or pgd beside reference={reference!r}, got 'fgsm', whose "
                "gradient is 0 at the state itself; take fgsm_two_sided."
            )
        self.weight = weight
        self.eps = eps
        self.reference = reference
        self.attack = attack
        self.steps = steps
        self.norm = norm
        self.reduction = reduction
        self.detach_clean = detach_clean
        self.every = every
        self.reset()

    # state -----------------------------------------------------------------------------------------------------------

    def reset(self) -> None:
        self.calls = 0
        self.sd: Tensor | None = None  # S

    def fitted(self, model: nn.Module | None, rows: Transitions) -> None:
        """Takes the observations' standard deviations."""
        obs = rows.obs.double()
        self.sd = (obs - obs[0]).std(0, correction=0).to(rows.obs.dtype)

    def state_dict(self) -> dict[str, Any]:
        return {"calls": self.calls, "sd": self.sd}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.calls, self.sd = state["calls"], state["sd"]

    # the term --------------------------------------------------------------------------------------------------------

    def __call__(self, batch: Transitions, context: CriticContext) -> Tensor:
        self.calls += 1
        if (self.calls - 1) % self.every:
            return batch.reward.new_zeros(())
        if self.sd is None:
            raise NotBuiltError("RobustValue was called before it saw real rows; call fitted(model, rows) after each refit.")
        radius = self.eps * self.sd.to(batch.obs.device)  # S
        action = batch.action  # B x A
        if self.reference == "policy_action":
            with torch.no_grad():
                action = context.policy.mode(batch.obs)
            clean = context.critics(batch.obs, action)  # J x B
        else:
            clean = context.batch_values(batch)
        obs = batch.obs.expand(len(clean), *batch.obs.shape)  # J x B x S

        def values(states: Tensor, frozen: bool = True) -> Tensor:
            chosen = action.expand(len(clean), *action.shape)
            if self.reference != "same_action":
                with torch.set_grad_enabled(frozen and torch.is_grad_enabled()):  # else the actor's step is none of it
                    chosen = context.policy.mode(states)  # J x B x A
            return context.critics(states, chosen, frozen=frozen, own_rows=True)

        worst = self.worst_states(values, obs, clean.detach(), radius)
        gap = values(worst, frozen=False) - (clean.detach() if self.detach_clean else clean)  # J x B
        charge = gap.square().mean(-1) if self.reduction == "mean" else gap.square().sum(-1)  # J
        context.report({"robust_gap": gap.detach().abs().mean()})
        return self.weight * charge.sum()

    def worst_states(self, values: Values, obs: Tensor, clean: Tensor, radius: Tensor) -> Tensor:
        """States in the ball whose values differ most from `clean`, as far as the attack finds them.

        Args:
            values: values `J x B` of states `J x B x S`, differentiable.
            obs: `J x B x S`, the centres.
            clean: `J x B`.
            radius: `S`, the ball's half-width in each dimension.

        Returns:
            `J x B x S`, without a graph.
        """
        step, start = slopes(values, obs)  # of the values, J x B x S, and the values themselves
        step = radius * self._unit(step * radius)
        if self.attack == "fgsm":
            return obs + torch.sign(start - clean).unsqueeze(-1) * step
        with torch.no_grad():
            up, down = ((values(obs + sign * step) - clean).square() for sign in (1.0, -1.0))  # J x B each
        best, most = obs + torch.where((up >= down).unsqueeze(-1), step, -step), torch.maximum(up, down)
        if self.attack == "fgsm_two_sided":
            return best
        states, stride = best, 2.5 / self.steps
        for _ in range(self.steps):
            slope, said = slopes(values, states)
            slope = torch.sign(said - clean).unsqueeze(-1) * slope * radius
            moved = (states - obs) / radius.where(radius > 0, 1) + stride * self._unit(slope)
            states = obs + radius * self._inside(moved)
            with torch.no_grad():
                gap = (values(states) - clean).square()
            best = torch.where((gap > most).unsqueeze(-1), states, best)
            most = torch.maximum(gap, most)
        return best

    def _unit(self, slope: Tensor) -> Tensor:
        """The steepest step of length 1 in the ball's norm."""
        return torch.sign(slope) if self.norm == "inf" else torch.nn.functional.normalize(slope, dim=-1)

    def _inside(self, moved: Tensor) -> Tensor:
        """The nearest point of the unit ball."""
        if self.norm == "inf":
            return moved.clamp(-1, 1)
        return moved / moved.norm(dim=-1, keepdim=True).clamp_min(1)


def slopes(values: Values, states: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of each value in its own state, `J x B x S`, and the values `J x B`."""
    with torch.enable_grad():
        at = states.detach().requires_grad_()
        said = values(at)
        (slope,) = torch.autograd.grad(said.sum(), at)
    return slope, said.detach()
