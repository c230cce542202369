"""`ReluStack`: the hidden layers of several ReLU networks of one shape, as stacked weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Literal

import torch
from torch import Tensor, nn

from mbrl.arguments import Count, Items, checked
from mbrl.networks.activations import check_pairs, group_sort
from mbrl.networks.precision import Precision

Initial = Literal["mbpo", "ravl"]  # whose authors' first weights: see `ReluStack`


class ReluStack(nn.Module):
    """The hidden layers of `J` networks: products and ReLU, one batched call per layer.

    The last layer is its owner's, since the fast way to compute it depends on how narrow it is.

    Args:
        copies: `J`, how many networks.
        sizes: input size and units of each hidden layer.
        generator: draws the weights (on the CPU).
        precision: `"bf16"` multiplies in bfloat16, with float32 parameters.
        activation: `"relu"`, or `"groupsort"` for weights that are kept orthogonal.
        initial: first weights: `"mbpo"` draws them Xavier uniform (gain 1), with biases 0, as the MBPO authors' code does;
            `"ravl"` uniformly in ±1 / √in, with biases 0.1, as the codes of EDAC and RAVL do.

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
    ) -> None:
        super().__init__()
        self.copies = copies
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

    def forward(self, x: Tensor, *, frozen: bool = False, weights: Sequence[Tensor] | None = None) -> Tensor:
        """Last hidden layers of all networks.

        Args:
            x: `B x in`, the same inputs for all, or `J x B x in`, each network its own.
            frozen: whether to treat the parameters as constants, so that a gradient reaches only `x` and costs no
                products for the weights.
            weights: what a constraint made of the raw weights, `J x in x out` each; None for the raw ones.

        Returns:
            `J x B x units`, with the dtype of `x`.
        """
        layers: list[tuple[Tensor, Tensor]] = list(zip(weights or self.weights, self.biases, strict=True))
        if frozen:
            layers = [(weight.detach(), bias.detach()) for weight, bias in layers]
        hidden = x.expand(self.copies, *x.shape[-2:])  # J x B x in
        if self.precision == "bf16":
            layers = [(weight.to(torch.bfloat16), bias.to(torch.bfloat16)) for weight, bias in layers]
            hidden = hidden.to(torch.bfloat16)
        for weight, bias in layers:
            hidden = torch.baddbmm(bias, hidden, weight)  # J x B x units
            hidden = hidden.relu_() if self.activation == "relu" else group_sort(hidden)
        return hidden.to(x.dtype)

    def activations(self, x: Tensor, weights: Sequence[Tensor] | None = None) -> list[Tensor]:
        """Outputs of each hidden layer, `J x B x units`, constants, in the dtype that they are computed in.

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
