"""`VaGraM`: errors of the next observation cost what they change the value by.

    symbol   code      shape         meaning
    g_j      slopes    J x N x S     gradient of critic j at the true next state, in normalised targets
    w        weight    N x S         mean_j g_j²

Voelcker2022: "Value gradient weighted model-based reinforcement learning" (ICLR 2022; arXiv 2204.01464 v2, 2023).
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

import torch
from torch import Tensor

from mbrl.arguments import Limits, Natural, NonNegative
from mbrl.data import CriticsAsked, Transitions, ValueFunction
from mbrl.models.losses.base import ModelLoss, Score

WEIGHT = "loss_weight"
_ROWS = 4096  # whose critics' activations are kept at once


class VaGraM(ModelLoss):
    """`Σ_d w_d e_d² / S + e_r²`, with `w = mean_j (∂V_j/∂s'_d)²` at the true next state [Voelcker2022], eq. 6–7.

    e is the error of the mean, e_r that of the reward, where the model predicts it. The weights are constants of a fit. Rows
    that end the task, beyond which no value is defined, have the mean weight in each dim.

    Args:
        critics: whose gradients: of those that learn, of their targets, or of both; each has its own weights, which are
            averaged.
        action: the action in V(s') = Q(s', a'), the policy's deterministic one: `"mean"` holds it fixed, `"total"` follows
            it through the policy too. A value function without a policy is one of observations alone.
        clip: quantile, over the rows, of the norms of each critic's gradients; longer ones are cut to it. 1 cuts none.
        normalize: whether weights are divided by their mean, so that neither the scale of values nor their growth matters.
        floor: added to each weight, in units of the mean where they are normalised; more keeps what the value ignores.
        warm_fits: fits, from the first, to which the mean squared error is added: the first comes before the critics have
            learned anything.
        score: see `ModelLoss`.
    """

    extra_names: ClassVar[tuple[str, ...]] = (WEIGHT,)

    def __init__(
        self,
        critics: CriticsAsked = "both",
        action: Literal["mean", "total"] = "mean",
        clip: Annotated[float, Limits(above=0, most=1)] = 0.95,
        normalize: bool = True,
        floor: NonNegative = 0.0,
        warm_fits: Natural = 4,
        score: Score = "weighted",
    ) -> None:
        super().__init__(score)
        self.critics: CriticsAsked = critics
        self.action = action
        self.clip = clip
        self.normalize = normalize
        self.floor = floor
        self.warm_fits = warm_fits

    def extras(self, rows: Transitions, value: ValueFunction | None, scale: Tensor) -> dict[str, Tensor]:
        assert value is not None  # GradientModel refuses to begin without
        size, width = rows.next_obs.shape[-1], len(scale)
        cost = torch.ones(len(rows), width, device=scale.device, dtype=scale.dtype)  # N x D
        cost[:, :size] = self.weights(rows, value, scale[:size]) / size
        if self.fits < self.warm_fits:
            cost += 1 / width
        return {WEIGHT: cost}

    def weights(self, rows: Transitions, value: ValueFunction, scale: Tensor) -> Tensor:
        """The weights of the squared errors of normalised targets, `N x S`.

        Args:
            rows: `N`.
            value: with critics as they are now.
            scale: `S`, the standard deviations by which changes of the observation are divided.
        """
        slopes = value_slopes(value, rows, self.critics, fixed=self.action == "mean") * scale  # J x N x S
        goes_on = ~rows.terminated  # N
        mean = torch.ones((), device=scale.device, dtype=torch.float64)
        if bool(goes_on.any()):
            slopes = clipped(slopes, self.clip, goes_on)
            mean = slopes[:, goes_on].square().mean(dtype=torch.float64)
        weight = slopes.square().mean(0)  # N x S
        if self.normalize:  # where nothing moves the value, all count alike
            weight = torch.where(mean > 0, weight / mean, 1.0).to(scale.dtype)
            mean = torch.ones_like(mean)
        return torch.where(goes_on.unsqueeze(-1), weight, mean.to(scale.dtype)) + self.floor

    def errors(
        self,
        mean: Tensor,
        target: Tensor,
        rows: Transitions,
        scale: Tensor,
        value: ValueFunction | None,
        sd: Tensor | None = None,
    ) -> Tensor:
        return ((mean - target).square() * rows.extras[WEIGHT]).sum(-1)


def value_slopes(value: ValueFunction, rows: Transitions, critics: CriticsAsked, *, fixed: bool) -> Tensor:
    """The gradient of each critic's value at the true next observations, `J x N x S`, per environment unit; constants.

    Args:
        value: what values observations.
        rows: `N`.
        critics: which of its critics.
        fixed: whether the policy's action is held fixed, where `value` has a policy.
    """
    policy = getattr(value, "policy", None) if fixed else None
    in_one_pass = getattr(value, "slopes", None)
    found = []
    for part in torch.arange(len(rows), device=rows.obs.device).split(_ROWS):
        obs = rows.next_obs[part].detach().requires_grad_()  # B x S
        with torch.no_grad():
            action = None if policy is None else policy.mode(obs.detach(), rows.action[part])
        if action is not None and in_one_pass is not None:
            found.append(in_one_pass(obs, action, critics))
            continue
        with torch.enable_grad():
            values = value.value(obs, action, critics)  # J x B
            found.append(torch.stack([_gradient(each.sum(), obs) for each in values]))
    return torch.cat(found, 1)


def _gradient(value: Tensor, obs: Tensor) -> Tensor:
    """That of a scalar in `obs`; 0 where it doesn't depend on it at all."""
    (found,) = torch.autograd.grad(value, obs, retain_graph=True, allow_unused=True) if value.requires_grad else (None,)
    return torch.zeros_like(obs) if found is None else found


def clipped(slopes: Tensor, quantile: float, among: Tensor) -> Tensor:
    """Gradients `J x N x S` of which none is longer than the quantile of its critic's norms, directions kept.

    Args:
        slopes: the gradients.
        quantile: in (0, 1], with linear interpolation.
        among: `N` bool, the rows whose norms count.
    """
    norms = slopes.norm(dim=-1)  # J x N
    bounds = torch.stack([torch.quantile(each[among], quantile) for each in norms]).unsqueeze(-1)  # J x 1
    return slopes * (bounds / norms.clamp_min(torch.finfo(norms.dtype).tiny)).clamp_max(1.0).unsqueeze(-1)
