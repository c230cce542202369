"""A charge for steep places of a network, between its data.

Gulrajani2017: "Improved training of Wasserstein GANs" (the interpolated points); one-sided, and for any number of outputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from mbrl.arguments import Natural, Positive
from mbrl.data import make_generator
from mbrl.networks.constraints.base import ConstrainedLayers, LipschitzConstraint, Network


class JacobianPenalty(LipschitzConstraint):
    """Adds λ mean_B max(0, |Jᵀv| − K)² to the loss, at points between random pairs of a batch.

    v is a unit vector of the outputs that starts at random and is turned towards the steepest by power iteration. It holds
    on average and near the data only: it guarantees nothing. Any activation will do; an update takes about twice as long.

    Args:
        weight: λ; more holds the budget better, and fits worse.
        budget: see `LipschitzConstraint`.
        power_steps: steps of power iteration; with none v is random, and |Jᵀv|² on average |J|² (Frobenius) / outputs.
    """

    def __init__(
        self, weight: Positive = 1.0, budget: Positive | Literal["auto"] = "auto", power_steps: Natural = 2
    ) -> None:
        super().__init__(budget)
        self.weight = weight
        self.power_steps = power_steps

    def make(self, weights: Sequence[Tensor], slope: float, columns: int) -> ConstrainedLayers:
        return PenalisedLayers(weights, slope, columns, self)


class PenalisedLayers(ConstrainedLayers):
    """Layers that stay as they are, and a charge for the network that they make.

    Args:
        weights: see `ConstrainedLayers`.
        slope: see there.
        columns: see there.
        rule: weight, budget and steps.
    """

    def __init__(self, weights: Sequence[Tensor], slope: float, columns: int, rule: JacobianPenalty) -> None:
        super().__init__(weights, slope, columns, rule.budget)
        self.rule = rule
        self.draws = 0

    def get_extra_state(self) -> dict[str, int]:
        return {"draws": self.draws}

    def set_extra_state(self, state: dict[str, int]) -> None:
        self.draws = state["draws"]

    def penalty(self, network: Network, x: Tensor) -> Tensor | None:
        noise = make_generator(x.device, self.draws, "jacobian penalty")  # a stream per update, so that a resume goes on
        self.draws += 1
        other = x.detach().roll(1, 1)  # rows come in random order
        at = torch.rand(*x.shape[:2], 1, generator=noise, device=x.device, dtype=x.dtype)  # E x B x 1
        points = torch.lerp(x.detach(), other, at).requires_grad_()
        with torch.enable_grad():
            said = network(points)[..., : self.columns]  # E x B x D
            slopes = steepness(said, points, self.rule.power_steps, noise)  # E x B
        return self.rule.weight * (slopes - self.budget).clamp_min(0).square().mean(1).sum()


def steepness(said: Tensor, points: Tensor, power_steps: int, generator: torch.Generator) -> Tensor:
    """|Jᵀv| of each row, `E x B`, differentiable in the network; v a unit vector that power iteration has turned.

    Args:
        said: `E x B x D`, a function of `points`, each row of its own alone.
        points: `E x B x in`, with a graph.
        power_steps: steps of power iteration.
        generator: draws the first v.
    """
    direction = torch.randn(said.shape, generator=generator, device=said.device, dtype=said.dtype)
    direction = torch.nn.functional.normalize(direction, dim=-1)
    for _ in range(power_steps):
        probe = direction.clone().requires_grad_()
        (pulled,) = torch.autograd.grad(said, points, probe, create_graph=True)  # Jᵀv, linear in v: its gradient pushes
        along = torch.nn.functional.normalize(pulled.detach(), dim=-1)
        (pushed,) = torch.autograd.grad(pulled, probe, along, retain_graph=True)  # J Jᵀv / |Jᵀv|
        direction = torch.nn.functional.normalize(pushed, dim=-1).detach()
    (pulled,) = torch.autograd.grad(said, points, direction, create_graph=True)
    # a norm has no gradient at 0, where there is nothing to charge for
    return pulled.square().sum(-1).clamp_min(torch.finfo(pulled.dtype).tiny).sqrt()


__all__: list[Any] = ["JacobianPenalty"]
