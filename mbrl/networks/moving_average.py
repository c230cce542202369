"""`MovingAverage`: the exponential moving average of a module's weights."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor, nn

from mbrl.arguments import Limits, checked


class MovingAverage(nn.Module):
    """The average θ̄ ← τθ + (1 − τ)θ̄ of all parameters of a module, kept as buffers that a checkpoint holds.

    Args:
        module: whose parameters are followed; the average begins equal to them.
        rate: τ; higher follows faster, and 1 is the parameters themselves.
    """

    @checked
    def __init__(self, module: nn.Module, rate: Annotated[float, Limits(above=0, most=1)] = 0.005) -> None:
        super().__init__()
        self.rate = rate
        self._names = [name for name, _ in module.named_parameters()]
        for name, parameter in module.named_parameters():
            self.register_buffer(name.replace(".", "/"), parameter.detach().clone())

    @torch.no_grad()
    def follow(self, module: nn.Module) -> None:
        """Moves the averages a share τ of the way to the parameters of `module`."""
        torch._foreach_lerp_(list(self.buffers()), list(module.parameters()), self.rate)

    def weights(self) -> dict[str, Tensor]:
        """The averages by the parameters' names, as `torch.func.functional_call` takes them."""
        return dict(zip(self._names, self.buffers(), strict=True))
