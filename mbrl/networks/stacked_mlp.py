"""`StackedMLP`: the networks of all members of an ensemble as one batch of weights.

One batched call per layer computes bias and product for every member, so members never run in a Python loop.

Chua2018: "Deep reinforcement learning in a handful of trials using probabilistic dynamics models" (PETS, authors' code:
the initialisation).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated

import torch
from torch import Tensor, nn

from mbrl.arguments import Count, Items, checked
from mbrl.networks.activations import ACTIVATION_SLOPES, ACTIVATIONS, Activation, check_pairs
from mbrl.networks.constraints.base import ConstrainedLayers, LipschitzConstraint
from mbrl.networks.precision import Precision


def truncated_normal(shape: Sequence[int], sd: float, generator: torch.Generator) -> Tensor:
    """Normal numbers of scale `sd` within ±2 `sd`: those outside are drawn again, so their sd is 0.8796 `sd`.

    Args:
        shape: shape of the result.
        sd: standard deviation before truncation.
        generator: what draws; its device is the result's.
    """
    values = torch.randn(*shape, generator=generator, device=generator.device, dtype=torch.float32)
    while True:
        outside = values.abs() > 2
        number = int(outside.sum())
        if number == 0:
            return values * sd
        values[outside] = torch.randn(number, generator=generator, device=generator.device, dtype=torch.float32)


class StackedMLP(nn.Module):
    """`E` multilayer perceptrons of the same sizes, evaluated as one.

    Weights are truncated normal with sd 1 / (2 sqrt(fan_in)), biases 0 [Chua2018].

    Args:
        members: `E`.
        sizes: widths from input to output, at least two.
        activation: a name in `ACTIVATIONS`, between layers only.
        generator: draws the weights.
        constraint: what keeps the weights within a Lipschitz budget; None for nothing.
        columns: outputs that it constrains, the first ones; None for all.

    Raises:
        ConfigError: for a number out of range, an unknown activation, or a constraint that can't work with these layers.
    """

    @checked
    def __init__(
        self,
        members: Count,
        sizes: Annotated[Sequence[Count], Items(2)],
        activation: Activation,
        generator: torch.Generator,
        constraint: LipschitzConstraint | None = None,
        columns: Count | None = None,
    ) -> None:
        super().__init__()
        self.members = members
        self.sizes = tuple(sizes)
        self.precision: Precision = "fp32"
        check_pairs("StackedMLP(sizes=…)", activation, self.sizes[1:-1])
        self.activation: Activation = activation
        pairs = list(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        self.weights = nn.ParameterList(
            nn.Parameter(truncated_normal((members, a, b), 1 / (2 * a**0.5), generator).cpu()) for a, b in pairs
        )  # E x in x out each
        zeros = (torch.zeros(members, 1, b, dtype=torch.float32) for _, b in pairs)
        self.biases = nn.ParameterList(nn.Parameter(zero) for zero in zeros)  # E x 1 x out each
        self.constrained: ConstrainedLayers | None = None
        if constraint is not None:
            self.constrained = constraint.constrain(list(self.weights), activation, columns)

    def used_weights(self) -> list[Tensor]:
        """The weights to compute with, `E x in x out` each: the raw ones, or what the constraint makes of them."""
        raw: list[Tensor] = list(self.weights)
        return raw if self.constrained is None else self.constrained(raw)

    def follow(self) -> None:
        """Has the constraint follow the weights after an update (one step of power iteration); without one nothing."""
        if self.constrained is not None:
            self.constrained.advance(list(self.weights))

    def refresh(self) -> None:
        """Has the constraint follow the weights exactly, so that its bound holds; without one nothing."""
        if self.constrained is not None:
            self.constrained.refresh(list(self.weights))

    def penalty(self, x: Tensor) -> Tensor | None:
        """The constraint's charge for a batch `E x B x in`, a scalar summed over members, or None; the loss takes it in."""
        return None if self.constrained is None else self.constrained.penalty(self, x)

    def lipschitz_bound(self, columns: int | None = None) -> Tensor:
        """Upper bounds of the networks' Lipschitz constants in the L2 norm, `E` float64.

        Args:
            columns: outputs that count, the first ones, where there is no constraint, which says which it bounds; None for
                all.
        """
        raw, layers = list(self.weights), self.constrained
        if layers is None:
            layers = ConstrainedLayers(raw, ACTIVATION_SLOPES[self.activation], columns or self.sizes[-1], None)
        return layers.bound(raw)

    def forward(self, x: Tensor, members: Tensor | None = None) -> Tensor:
        """Outputs `G x B x out` of inputs `G x B x in`, differentiable.

        Args:
            x: one batch per member.
            members: `G` int64, which member each batch is for; None for all in order (`G` = `E`).
        """
        half = self._half(x)
        weights, activation = self.used_weights(), ACTIVATIONS[self.activation]
        last = len(weights) - 1
        h = x.bfloat16() if half else x
        with _no_autocast(x):
            for layer in range(last + 1):
                weight, bias = weights[layer], self.biases[layer]
                if members is not None:
                    weight, bias = weight[members], bias[members]
                if half and layer < last:
                    weight, bias = weight.bfloat16(), bias.bfloat16()
                elif half:  # the output layer is computed in float32: it is small, and its numbers are the answer
                    h = h.float()
                h = torch.baddbmm(bias, h, weight)  # G x B x width
                if layer < last:
                    h = activation(h, False)
        return h

    def infer(self, x: Tensor, members: Tensor | None = None, chunk_rows: int = 400) -> Tensor:
        """The same numbers without a graph; see `inference`.

        Args:
            x: `G x B x in`; the batch dim may be expanded.
            members: as in `forward`.
            chunk_rows: rows per member and chunk.
        """
        return self.inference(members, chunk_rows)(x)

    def inference(self, members: Tensor | None = None, chunk_rows: int = 400) -> Callable[[Tensor], Tensor]:
        """Returns `infer` as a function of `x` alone, with the weights as they are now: many calls prepare them once.

        Activations are computed in place, temporaries are reused from chunk to chunk and call to call. A chunk's
        temporaries stay in cache; those of the whole batch would be bound by page faults.

        Args:
            members: as in `forward`.
            chunk_rows: rows per member and chunk.
        """
        activation = ACTIVATIONS[self.activation]
        scratch: list[Tensor] = []
        products: list[Callable[[Tensor, Tensor], Tensor]] = []

        @torch.no_grad()
        def run(x: Tensor) -> Tensor:
            groups, rows = x.shape[:2]
            half = self._half(x)
            if not products:
                products.extend(self._product(layer, used, members, half) for layer, used in enumerate(self.used_weights()))
            if half:
                x = x.bfloat16()
            chunk = max(1, min(chunk_rows, rows))
            if not scratch or scratch[0].numel() < groups * chunk * max(self.sizes[1:]):
                scratch[:] = [
                    torch.empty(groups * chunk * max(self.sizes[1:]), dtype=x.dtype, device=x.device) for _ in range(2)
                ]
            out = torch.empty(groups, rows, self.sizes[-1], dtype=self.weights[-1].dtype, device=x.device)
            with _no_autocast(x):
                for start in range(0, rows, chunk):
                    h = x[:, start : start + chunk]  # G x n x in
                    n = h.shape[1]
                    for layer, product in enumerate(products[:-1]):
                        size = self.sizes[layer + 1]
                        # contiguous whatever n is: a strided result would leave the batched product's fast path
                        buffer = scratch[layer % 2][: groups * n * size].view(groups, n, size)
                        h = activation(product(h, buffer), True)
                    h = h.to(out.dtype)
                    if n == rows:
                        products[-1](h, out)
                    else:
                        out[:, start : start + n] = products[-1](h, out.new_empty(groups, n, self.sizes[-1]))
            return out

        return run

    def _product(self, layer: int, used: Tensor, members: Tensor | None, half: bool) -> Callable[[Tensor, Tensor], Tensor]:
        """One layer's bias and product, `(G x n x in, G x n x out to write) -> G x n x out`."""
        weight, bias = used.detach(), self.biases[layer].detach()
        if members is not None:
            weight, bias = weight[members], bias[members]
        if half and layer < len(self.weights) - 1:
            weight, bias = weight.bfloat16(), bias.bfloat16()
        return lambda h, out: torch.baddbmm(bias, h, weight, out=out)

    def _half(self, x: Tensor) -> bool:
        return self.precision == "bf16" or _autocast(x)


def _autocast(x: Tensor) -> bool:
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)


def _no_autocast(x: Tensor) -> AbstractContextManager[object]:
    """A Trainer's bf16-mixed selects the recipe of `precision="bf16"`, so autocast must not cast the output layer too."""
    return torch.autocast(x.device.type, enabled=False) if _autocast(x) else nullcontext()
