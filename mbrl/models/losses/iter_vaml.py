"""`IterVAML`: the squared difference between the values of predicted and true next observations.

Farahmand2018: "Iterative value-aware model learning" (NeurIPS 2018).
Voelcker2025: "Calibrated value-aware model learning with probabilistic environment models" (ICML 2025, arXiv 2505.22772).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import torch
from torch import Tensor

from mbrl.arguments import Limits, NonNegative
from mbrl.data import CriticsAsked, Transitions, ValueFunction, make_generator
from mbrl.models.losses.base import ModelLoss, Score

NEXT, SCALE = "next_value", "value_scale"


class IterVAML(ModelLoss):
    """mean_j (V_j(ŝ) − V_j(s'))² + e_r², and a little of the squared error, without which it diverges [Farahmand2018].

    ŝ is the next observation that the mean leads to; e_r is the error of the reward, where the model predicts it. Rows that
    end the task, beyond which no value is defined, cost their mean squared error instead.

    Args:
        critics: those that learn, their targets, or both; each has its own difference.
        mse: weight of the mean squared error of all targets; more keeps predictions near what was seen.
        samples: None asks the value of the mean. A number k asks those of k samples of a probabilistic model, whose variance
            it then fits too, with the correction var / k for their spread (unbiased for any k; [Voelcker2025], eq. 39–40):
            the calibrated loss.
        normalize: whether differences are divided by the standard deviation of the values of the fit's rows, so that the
            scale of values doesn't matter; the papers don't.
        score: see `ModelLoss`.
    """

    extra_names: ClassVar[tuple[str, ...]] = (NEXT, SCALE)

    def __init__(
        self,
        critics: CriticsAsked = "both",
        mse: NonNegative = 0.01,
        samples: Annotated[int, Limits(2)] | None = None,
        normalize: bool = True,
        score: Score = "weighted",
    ) -> None:
        super().__init__(score)
        self.critics: CriticsAsked = critics
        self.mse = mse
        self.samples = samples
        self.fits_variance = samples is not None
        self.normalize = normalize
        self.draws = 0

    def reset(self) -> None:
        super().reset()
        self.draws = 0

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "draws": self.draws}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.draws = state["draws"]

    @torch.no_grad()
    def extras(self, rows: Transitions, value: ValueFunction | None, scale: Tensor) -> dict[str, Tensor]:
        assert value is not None  # GradientModel refuses to begin without
        values = value.value(rows.next_obs, None, self.critics)  # J x N
        spread = torch.ones((), device=scale.device, dtype=torch.float64)
        if self.normalize:
            known = values[:, ~rows.terminated].double()
            found = known.std(1, correction=0).mean() if known.numel() else spread
            spread = torch.where(found > 0, found, spread)
        return {NEXT: values.mT.contiguous(), SCALE: spread.to(scale.dtype).expand(len(rows)).clone()}

    def errors(
        self,
        mean: Tensor,
        target: Tensor,
        rows: Transitions,
        scale: Tensor,
        value: ValueFunction | None,
        sd: Tensor | None = None,
    ) -> Tensor:
        assert value is not None  # as above
        size = rows.next_obs.shape[-1]
        error = mean - target  # E x B x D
        square = error.square()
        off = error[..., :size] * scale[:size]  # E x B x S, environment units
        real = rows.extras[NEXT].movedim(-1, 0)  # J x (E x) B
        real = real.unsqueeze(1) if real.ndim == 2 else real  # J x (1 or E) x B
        if self.samples is None or sd is None:
            cost = (value.value(rows.next_obs + off, None, self.critics) - real).square()  # J x E x B
        else:
            noise = self._noise((self.samples, *off.shape), off)  # k x E x B x S
            drawn = off + sd[..., :size] * scale[:size] * noise
            gaps = value.value(rows.next_obs + drawn, None, self.critics) - real.unsqueeze(1)  # J x k x E x B
            cost = calibrated(gaps)
        cost = cost.mean(0) / rows.extras[SCALE].square()  # E x B
        cost = torch.where(rows.terminated, square[..., :size].mean(-1), cost)
        return cost + square[..., size:].sum(-1) + self.mse * square.mean(-1)

    def _noise(self, shape: tuple[int, ...], like: Tensor) -> Tensor:
        """Standard normal numbers, from a stream of each update's own; without gradients always the same."""
        learns = torch.is_grad_enabled()
        generator = make_generator(like.device, "iter vaml", self.draws if learns else "score")
        self.draws += int(learns)
        return torch.randn(shape, generator=generator, device=like.device, dtype=like.dtype)


def calibrated(gaps: Tensor) -> Tensor:
    """(mean over k samples)² without what their spread adds to it on average, var / k; unbiased for any k.

    Args:
        gaps: `J x k x …`, differences of value.

    Returns:
        `J x …`; below 0 now and then.
    """
    return gaps.mean(1).square() - gaps.var(1) / gaps.shape[1]
