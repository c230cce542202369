"""The contract of Lipschitz constraints of stacked networks, and what all of them share.

A constraint is plain data (`LipschitzConstraint`). A network asks it for `ConstrainedLayers`, which turn the network's raw
weights into those that it computes with. Torch's own parametrisations are no use here: on `E x in x out` weights they
normalise all members together, and modules with them refuse to be pickled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from mbrl.arguments import Positive
from mbrl.errors import ConfigError
from mbrl.networks.activations import ACTIVATION_SLOPES, Activation, check_pairs
from mbrl.spec import Configurable

Network = Callable[[Tensor], Tensor]  # E x B x in → E x B x out, differentiable


class ConstrainedLayers(nn.Module):
    """Turns the raw weights of one network's `L` layers, `E x in x out` each, into those that it computes with.

    Biases stay free. A layer that is followed by an activation of largest slope c gets the budget K^(1/L) / c, the last one
    K^(1/L), so that the product over all is K.

    Args:
        weights: the raw weights.
        slope: c.
        columns: outputs of the last layer that are constrained, the first ones; the others stay free.
        budget: K in the L2 norm, or None until `set_budget`.

    Attributes:
        budget: K, a scalar; infinite while it isn't known.
    """

    budget: Tensor

    def __init__(self, weights: Sequence[Tensor], slope: float, columns: int, budget: float | None) -> None:
        super().__init__()
        self.layers = len(weights)
        self.slope = slope
        self.columns = columns
        self.register_buffer("budget", torch.tensor(torch.inf if budget is None else float(budget), dtype=torch.float32))

    def set_budget(self, budget: float) -> None:
        """Takes K from now on."""
        self.budget.fill_(budget)

    def forward(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The weights to compute with, of the raw ones; differentiable."""
        share = self.budget ** (1 / self.layers)
        made = [self.layer(i, weight, share / self.slope) for i, weight in enumerate(weights[:-1])]
        last = weights[-1]
        bound = self.layer(self.layers - 1, last[..., : self.columns], share)
        return [*made, bound if self.columns == last.shape[-1] else torch.cat((bound, last[..., self.columns :]), -1)]

    def constrained(self, weights: Sequence[Tensor]) -> list[Tensor]:
        """The part of each raw weight that is constrained."""
        return [*weights[:-1], weights[-1][..., : self.columns]]

    def layer(self, index: int, weight: Tensor, limit: Tensor) -> Tensor:
        """One layer's weight to compute with, `E x in x out`, of the raw one and its share of the budget."""
        return weight

    def advance(self, weights: Sequence[Tensor]) -> None:
        """Follows the raw weights after an update of theirs, at little cost; by default nothing."""

    def refresh(self, weights: Sequence[Tensor]) -> None:
        """Follows the raw weights exactly: before the network is used for more than an update. By default nothing."""

    def penalty(self, network: Network, x: Tensor) -> Tensor | None:
        """The charge that is added to the loss of a batch `E x B x in`, a scalar summed over members; None without one."""
        return None

    @torch.no_grad()
    def bound(self, weights: Sequence[Tensor]) -> Tensor:
        """Upper bounds of the networks' Lipschitz constants in the L2 norm, `E`: Π σ(W_l) c, by exact singular values."""
        made = self.constrained(self(weights))
        norms = torch.stack([torch.linalg.matrix_norm(weight.double(), 2) for weight in made])  # L x E
        return norms.prod(0) * self.slope ** (self.layers - 1)


class LipschitzConstraint(Configurable, ABC):
    """How the layers of a network are kept within a budget of its Lipschitz constant.

    Args:
        budget: K, the largest change of the outputs for a unit change of the inputs, both in the L2 norm and in the
            network's own coordinates (normalised ones, where inputs and targets are). `"auto"` takes it from the data at
            each fit, by slopes between neighbours. Less is smoother; less than the data's own slope can't fit them.

    Attributes:
        activation: the only activation that it works with, None for any.
        has_budget: whether it has one to keep, or learns its limits.
    """

    activation: ClassVar[Activation | None] = None
    has_budget: ClassVar[bool] = True

    def __init__(self, budget: Positive | Literal["auto"] = "auto") -> None:
        self.budget: float | None = None if budget == "auto" else float(budget)

    def constrain(self, weights: Sequence[Tensor], activation: Activation, columns: int | None = None) -> ConstrainedLayers:
        """Makes the layers for a network.

        Args:
            weights: its raw weights, `E x in x out` each.
            activation: what stands between layers.
            columns: outputs that are constrained, the first ones; None for all.

        Raises:
            ConfigError: for an activation, or widths, that the constraint can't work with.
        """
        self.check(activation, [weight.shape[-1] for weight in weights[:-1]])
        return self.make(weights, ACTIVATION_SLOPES[activation], weights[-1].shape[-1] if columns is None else columns)

    def check(self, activation: Activation, hidden: Sequence[int]) -> None:
        """Refuses an activation, or widths of hidden layers, that it can't work with (`ConfigError`)."""
        check_pairs(type(self).__name__, activation, hidden)
        if self.activation not in (None, activation):
            raise ConfigError(
                f"{type(self).__name__}: expected the activation {self.activation} between layers, got {activation}; set "
                f"activation to {self.activation}."
            )

    @abstractmethod
    def make(self, weights: Sequence[Tensor], slope: float, columns: int) -> ConstrainedLayers:
        """The layers for a network; arguments as of `ConstrainedLayers`."""
