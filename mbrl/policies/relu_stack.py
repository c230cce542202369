"""`ReluStack`: several ReLU networks of one shape as stacked weights, one batched product a layer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from mbrl.errors import ConfigError

Precision = Literal["fp32", "bf16"]

# Rows a pass without gradients: at 256 units a layer's output then stays in a core's second-level cache, where fresh
# temporaries for a hundred thousand rows would be bound by page faults.
CHUNK = 1024


class ReluStack(nn.Module):
    """`J` multilayer perceptrons with ReLU between the layers, in one batched call a layer.

    Weights are Xavier uniform (gain 1) and biases 0, as in the MBPO authors' code.

    Args:
        copies: `J`, how many networks.
        sizes: input, hidden and output sizes.
        generator: draws the weights (on the CPU).
        precision: `"bf16"` multiplies the hidden layers in bfloat16, with float32 parameters and a float32 last layer.

    Raises:
        ConfigError: if a size is not positive, or the precision is neither of the two.
    """

    def __init__(
        self, copies: int, sizes: Sequence[int], generator: torch.Generator, precision: Precision = "fp32"
    ) -> None:
        super().__init__()
        if copies < 1 or len(sizes) < 2 or any(size < 1 for size in sizes):
            raise ConfigError(
                f"ReluStack: expected at least one network and positive sizes, got {copies} of {list(sizes)}; check "
                "hidden and the task's sizes."
            )
        if precision not in ("fp32", "bf16"):
            raise ConfigError(f"ReluStack: expected precision fp32 or bf16, got {precision!r}; choose one of the two.")
        self.copies = copies
        self.precision = precision
        self.weights = nn.ParameterList()  # J x in x out each
        self.biases = nn.ParameterList()  # J x 1 x out each
        for size_in, size_out in pairwise(sizes):
            bound = math.sqrt(6.0 / (size_in + size_out))
            weight = torch.empty(copies, size_in, size_out).uniform_(-bound, bound, generator=generator)
            self.weights.append(nn.Parameter(weight))
            self.biases.append(nn.Parameter(torch.zeros(copies, 1, size_out)))

    def forward(self, x: Tensor, *, frozen: bool = False) -> Tensor:
        """Outputs of all networks at the same inputs.

        Args:
            x: `B x in`, one leading dim.
            frozen: whether to treat the parameters as constants, so that a gradient reaches only `x` and costs no
                products for the weights.

        Returns:
            `J x B x out`, with the dtype of `x`.
        """
        layers = self._layers(x, frozen)
        rows = x.shape[0]
        if rows <= CHUNK or torch.is_grad_enabled() or x.device.type != "cpu":
            return self._pass(x, layers)
        out = x.new_empty(self.copies, rows, layers[-1][0].shape[-1])  # J x B x out
        for first in range(0, rows, CHUNK):
            out[:, first : first + CHUNK] = self._pass(x[first : first + CHUNK], layers)
        return out

    def _layers(self, x: Tensor, frozen: bool) -> list[tuple[Tensor, Tensor]]:
        layers: list[tuple[Tensor, Tensor]] = list(zip(self.weights, self.biases, strict=True))
        if frozen:
            layers = [(weight.detach(), bias.detach()) for weight, bias in layers]
        if self.precision == "bf16":
            layers[:-1] = [(weight.to(torch.bfloat16), bias.to(torch.bfloat16)) for weight, bias in layers[:-1]]
        return layers

    def _pass(self, x: Tensor, layers: list[tuple[Tensor, Tensor]]) -> Tensor:
        hidden = x.expand(self.copies, *x.shape)  # J x B x in
        if self.precision == "bf16" and len(layers) > 1:
            hidden = hidden.to(torch.bfloat16)
        for weight, bias in layers[:-1]:
            hidden = torch.baddbmm(bias, hidden, weight).relu_()  # J x B x units
        weight, bias = layers[-1]
        return torch.baddbmm(bias, hidden.to(weight.dtype), weight)  # J x B x out
