"""`TanhGaussianPolicy`: a Gaussian squashed into [−1, 1] by tanh [Haarnoja2018].

    u = μ(s) + σ(s)·ε,  a = tanh(u),  log π(a|s) = Σ_j [log N(u_j; μ_j, σ_j²) − log|da_j/du_j|]

with the exact log|da/du| = 2(ln 2 − u − softplus(−2u)), as in the MBPO authors' code [Janner2019]. The form
log(1 − tanh²u + 1e-6) of several ports is off by more than a nat from |u| ≈ 8 on.

Haarnoja2018: "Soft actor-critic algorithms and applications" (arXiv 1812.05905, appendix C).
Janner2019: "When to trust your model: model-based policy optimization" (MBPO, arXiv 1906.08253 and the authors' code).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mbrl.arguments import Range, Widths, check_shape, checked
from mbrl.data import Generator, draw_normal
from mbrl.networks import Initial, Normalizer, Precision, ReluStack, uniform, xavier_uniform
from mbrl.policies.base import Policy

# Rows per pass without gradients on the CPU: a layer's output then stays in a core's second-level cache, where fresh
# temporaries for a hundred thousand rows would be bound by page faults.
CHUNK = 1024

_HALF_LN_2PI = 0.5 * math.log(2 * math.pi)
_LN_2 = math.log(2.0)


def tanh_gaussian_log_prob(u: Tensor, noise: Tensor, log_sigma: Tensor, scale: float = 1.0) -> Tensor:
    """Log-density of `scale · tanh(u)` where `u = μ + σ · noise` is Gaussian.

    Args:
        u: `B x A`, before the squashing.
        noise: `B x A`, standardised `(u − μ) / σ`.
        log_sigma: `B x A`.
        scale: half-width of the action space; the library's actions are in [−1, 1], so it passes 1. A scale of c shifts
            the log-density by −A·ln c, which is why target entropies of codes with other scales can't be compared.

    Returns:
        `B`, nats, summed over the `A` actions.
    """
    gaussian = noise.square() * -0.5 - log_sigma  # B x A, without its constant
    log_slope = (u + F.softplus(-2.0 * u)) * -2.0  # B x A, likewise
    constant = _HALF_LN_2PI + 2 * _LN_2 + math.log(scale)
    return (gaussian - log_slope).sum(-1) - constant * u.shape[-1]  # B


def squashed_sample(mean: Tensor, log_sigma: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Draws actions tanh(μ + σ·ε), `B x A`, and their log-probabilities `B`, both reparameterised.

    Args:
        mean: `B x A`, any leading dims, before the squashing.
        log_sigma: `B x A`.
        generator: draws ε.
    """
    noise = draw_normal(generator, math.prod(mean.shape[:-1]), mean.shape[-1], mean).view_as(mean)  # B x A
    u = torch.addcmul(mean, log_sigma.exp(), noise)  # B x A
    return torch.tanh(u), tanh_gaussian_log_prob(u, noise, log_sigma)


def squashed_log_prob(mean: Tensor, log_sigma: Tensor, action: Tensor) -> Tensor:
    """The log-probability `B` of actions `B x A` in [−1, 1] that are tanh of a Gaussian, nats, differentiable in all.

    ±1 counts as the next number towards 0, whose u is ±8.7 in float32 and ±18.7 in float64, and has no gradient. Near
    them actions are rounded more coarsely than u, which `squashed_sample` knows: in float32 the two say the same to 1e-5 up
    to |a| = 0.99, at σ around 1.
    """
    edge = 1 - torch.finfo(action.dtype).eps / 2
    u = torch.atanh(action.clamp(-edge, edge))  # B x A
    return tanh_gaussian_log_prob(u, (u - mean) * torch.exp(-log_sigma), log_sigma)


def bounded_log_sigma(raw: Tensor, kind: Literal["clip", "tanh"], ends: tuple[float, float]) -> Tensor:
    """Log σ within its range, of a network's output `raw` of the same shape; `TanhGaussianPolicy` says how."""
    low, high = ends
    if kind == "clip":
        return raw.clamp(low, high)
    return low + 0.5 * (high - low) * (torch.tanh(raw) + 1.0)


class TanhGaussianPolicy(Policy):
    """A network with two heads, mean and log standard deviation, and tanh.

    Args:
        obs_size: `S`.
        action_size: `A`.
        generator: draws the weights (on the CPU).
        hidden: units of each hidden layer.
        log_sigma: `"clip"` cuts log σ at the ends of its range (no gradient outside), as MBPO does; `"tanh"` squashes it
            smoothly into the range, as CleanRL does (with [−5, 2]).
        log_sigma_range: smallest and largest log σ. A higher floor keeps more exploration noise.
        precision: see `ReluStack`.
        normalizer: of observations, which it may share with others; None takes them as they are.
        initial: first weights, see `ReluStack`; `"ravl"` draws weights and biases of both heads uniformly in ±1e-3, so that
            all states begin with nearly the same distribution of mean 0 and sd 1.

    Raises:
        ConfigError: if an option is not one of those above.
    """

    @checked
    def __init__(
        self,
        obs_size: int,
        action_size: int,
        generator: torch.Generator,
        hidden: Widths = (256, 256),
        log_sigma: Literal["clip", "tanh"] = "clip",
        log_sigma_range: Range = (-20.0, 2.0),
        precision: Precision = "fp32",
        normalizer: Normalizer | None = None,
        initial: Initial = "mbpo",
    ) -> None:
        super().__init__()
        self.normalizer = normalizer
        self.obs_size = obs_size
        self.action_size = action_size
        self.log_sigma = log_sigma
        self.log_sigma_range = (float(log_sigma_range[0]), float(log_sigma_range[1]))
        self.hidden = ReluStack(1, (obs_size, *hidden), generator, precision, initial=initial)
        heads, units = 2 * action_size, hidden[-1]
        if initial == "mbpo":
            weight, bias = xavier_uniform((heads, units), units + heads, generator), torch.zeros(heads, dtype=torch.float32)
        else:
            weight, bias = uniform((heads, units), 1e-3, generator), uniform((heads,), 1e-3, generator)
        self.head_weight = nn.Parameter(weight)  # 2A x units
        self.head_bias = nn.Parameter(bias)  # 2A

    def distribution(self, obs: Tensor, *, frozen: bool = False) -> tuple[Tensor, Tensor]:
        """The Gaussian before the squashing.

        Args:
            obs: `B x S`, any leading dims; a first one that is `expand`ed costs no more than one of its copies, where no
                gradient in it is asked for.
            frozen: whether to treat the parameters as constants.

        Returns:
            Mean and log standard deviation, `B x A` each.

        Raises:
            ShapeError: if the last dim is not `S`.
        """
        check_shape("TanhGaussianPolicy(obs)", obs, ("B", self.obs_size), "build the policy for the task of obs")
        if obs.ndim > 2 and obs.stride(0) == 0 and not obs.requires_grad:
            # Several samples of each state: the network sees it once. A gradient would reach the first copy alone.
            mean, log_sigma = self.distribution(obs[0], frozen=frozen)
            return mean.expand(obs.shape[0], *mean.shape), log_sigma.expand(obs.shape[0], *mean.shape)
        rows = obs if obs.ndim == 2 else obs.reshape(-1, self.obs_size)  # B x S
        if torch.is_grad_enabled() or rows.device.type != "cpu" or rows.shape[0] <= CHUNK:
            heads = self._heads(rows, frozen)  # B x 2A
        else:
            heads = rows.new_empty(rows.shape[0], 2 * self.action_size)  # B x 2A
            for first in range(0, rows.shape[0], CHUNK):
                heads[first : first + CHUNK] = self._heads(rows[first : first + CHUNK], frozen)
        mean, raw = heads.view(*obs.shape[:-1], -1).split(self.action_size, -1)  # B x A each
        return mean, bounded_log_sigma(raw, self.log_sigma, self.log_sigma_range)

    def _heads(self, rows: Tensor, frozen: bool) -> Tensor:
        weight: Tensor = self.head_weight.detach() if frozen else self.head_weight
        bias: Tensor = self.head_bias.detach() if frozen else self.head_bias
        seen = rows if self.normalizer is None else self.normalizer(rows)
        return F.linear(self.hidden(seen, frozen=frozen)[0], weight, bias)  # B x 2A

    def sample(self, obs: Tensor, generator: Generator, prev_action: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return squashed_sample(*self.distribution(obs), generator)

    def mode(self, obs: Tensor, prev_action: Tensor | None = None) -> Tensor:
        return torch.tanh(self.distribution(obs)[0])

    def log_prob(self, obs: Tensor, action: Tensor, prev_action: Tensor | None = None) -> Tensor:
        """The log-probability `B` of actions `B x A`, nats, differentiable in both; see `squashed_log_prob`."""
        return squashed_log_prob(*self.distribution(obs), action)
