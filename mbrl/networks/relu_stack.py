"""`ReluStack`: the hidden layers of several ReLU networks of one shape, as stacked weights.

Hiraoka2022: "Dropout Q-functions for doubly efficient reinforcement learning" (DroQ, ICLR 2022).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from mbrl.arguments import Count, Items, ShareBelowOne, checked
from mbrl.networks.activations import check_pairs, group_sort
from mbrl.networks.dropout_mask import dropout_mask
from mbrl.networks.precision import Precision
from mbrl.networks.stacked_layer_norm import StackedLayerNorm, layer_norm

Initial = Literal["mbpo", "ravl"]  # whose authors' first weights: see `ReluStack`
Norm = Literal["none", "layer"]  # what stands between a hidden layer's product and its activation


class ReluStack(nn.Module):
    """The hidden layers of `J` networks: products and ReLU, one batched call per layer.

    With dropout and `norm` a layer is relu(norm(dropout(x W + b))) [Hiraoka2022].

    The last layer is its owner's, since the fast way to compute it depends on how narrow it is.

    Args:
        copies: `J`, how many networks.
        sizes: input size and units of each hidden layer.
        generator: draws the weights (on the CPU).
        precision: `"bf16"` multiplies in bfloat16, with float32 parameters.
        activation: `"relu"`, or `"groupsort"` for weights that are kept orthogonal.
        initial: first weights: `"mbpo"` draws them Xavier uniform (gain 1), with biases 0, as the MBPO authors' code does;
            `"ravl"` uniformly in ±1 / √in, with biases 0.1, as the codes of EDAC and RAVL do.
        norm: `"layer"` normalises each hidden layer, before its activation, by a `StackedLayerNorm`.
        dropout: probability p that a unit is 0 in a pass whose masks are drawn; the others then count 1 / (1 − p).

    Raises:
        ConfigError: if there is no hidden layer, a size is not positive, or the precision is neither of the two.
    """

    @checked
    def __init__(
        self,
        copies: Count,
        sizes: Annotated[Sequence[Count], Items(2)],
        generator: torch.Generator,
        precision: Precision = "fp32",
        activation: Literal["relu", "groupsort"] = "relu",
        initial: Initial = "mbpo",
        norm: Norm = "none",
        dropout: ShareBelowOne = 0.0,
    ) -> None:
        super().__init__()
        self.copies = copies
        self.dropout = dropout
        self.precision = precision
        check_pairs("ReluStack(sizes=…)", activation, sizes[1:])
        self.activation = activation
        self.weights = nn.ParameterList()  # J x in x out each
        self.biases = nn.ParameterList()  # J x 1 x out each
        for size_in, size_out in pairwise(sizes):
            shape, bias = (copies, size_in, size_out), 0.0
            if initial == "mbpo":
                weight = xavier_uniform(shape, size_in + size_out, generator)
            else:
                weight, bias = uniform(shape, 1 / math.sqrt(size_in), generator), 0.1
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.full((copies, 1, size_out), bias, dtype=torch.float32)))
        self.norm = StackedLayerNorm(copies, sizes[1:]) if norm == "layer" else None

    @property
    def is_linear_in_pieces(self) -> bool:
        """True of ReLU alone, whose slopes `pulled_back` knows."""
        return self.activation == "relu" and self.norm is None

    def forward(
        self,
        x: Tensor,
        *,
        frozen: bool = False,
        weights: Sequence[Tensor] | None = None,
        members: Tensor | None = None,
        masks: torch.Generator | None = None,
    ) -> Tensor:
        """Last hidden layers of all networks.

        Args:
            x: `B x in`, the same inputs for all, or `J x B x in`, each network its own.
            frozen: whether to treat the parameters as constants, so that a gradient reaches only `x` and costs no
                products for the weights.
            weights: what a constraint made of the raw weights, `J x in x out` each; None for the raw ones.
            members: `G` int64, the networks to compute, in this order; None for all (`G` = `J`).
            masks: draws the masks of dropout; None, as everywhere but in training, drops nothing.

        Returns:
            `G x B x units`, with the dtype of `x`.
        """
        layers: list[tuple[Tensor, ...]] = list(zip(weights or self.weights, self.biases, strict=True))
        if self.norm is not None:
            layers = [(*layer, *affine) for layer, affine in zip(layers, self.norm.affine(), strict=True)]
        if frozen:
            layers = [tuple(part.detach() for part in layer) for layer in layers]
        if members is not None:
            layers = [tuple(part[members] for part in layer) for layer in layers]
        hidden = x.expand(len(layers[0][0]), *x.shape[-2:])  # G x B x in
        if self.precision == "bf16":
            layers = [tuple(part.to(torch.bfloat16) for part in layer) for layer in layers]
            hidden = hidden.to(torch.bfloat16)
        for weight, bias, *affine in layers:
            hidden = torch.baddbmm(bias, hidden, weight)  # G x B x units
            if masks is not None and self.dropout > 0:
                hidden = hidden * dropout_mask(hidden, self.dropout, masks)
            if affine:
                hidden = layer_norm(hidden, *affine)
            hidden = hidden.relu_() if self.activation == "relu" else group_sort(hidden)
        return hidden.to(x.dtype)

    def activations(self, x: Tensor, weights: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Outputs of each hidden layer of ReLU alone, `J x B x units`, constants, in the dtype that they are computed in.

        `x` is `B x in`, `weights` as in `forward`.
        """
        dtype = torch.bfloat16 if self.precision == "bf16" else x.dtype
        hidden, found = x.expand(self.copies, *x.shape[-2:]).to(dtype), []  # J x B x in
        with torch.no_grad():
            for weight, bias in zip(weights or self.weights, self.biases, strict=True):
                hidden = torch.baddbmm(bias.to(dtype), hidden, weight.to(dtype)).relu_()  # J x B x units
                found.append(hidden)
        return found

    def pulled_back(self, along: Tensor, hidden: Sequence[Tensor], weights: Sequence[Tensor] | None = None) -> Tensor:
        """The gradient of ⟨`along`, last hidden layer⟩ in the input, `J x B x in`, for ReLU alone.

        It is differentiable in `along` and the weights, and constant in the input, since ReLU has no curvature. Autograd
        doesn't know that: to differentiate its gradient it goes back through the forward pass too, with zeros.

        Args:
            along: `J x B x units`.
            hidden: `activations` at the input.
            weights: as in `forward`.
        """
        for weight, active in zip(reversed(list(weights or self.weights)), reversed(hidden), strict=True):
            along = torch.ops.aten.threshold_backward(along.to(active.dtype), active, 0)
            along = along @ weight.to(active.dtype).mT
        return along


def xavier_uniform(shape: Sequence[int], fans: int, generator: torch.Generator) -> Tensor:
    """Uniform in ±√(6 / fans), where `fans` is the number of inputs and outputs together (gain 1)."""
    return uniform(shape, math.sqrt(6.0 / fans), generator)


def uniform(shape: Sequence[int], bound: float, generator: torch.Generator) -> Tensor:
    """Uniform in ±`bound`."""
    return torch.empty(*shape, dtype=torch.float32).uniform_(-bound, bound, generator=generator)
