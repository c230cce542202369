"""`LeanAdam`: torch's fused Adam, with a step that looks up its tensors once instead of each time."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.optim import Adam

_ONE = torch.ones((), dtype=torch.float32)


class LeanAdam(Adam):
    """Fused Adam with `advance`, which is `step` without its bookkeeping.

    `step` collects parameters and state anew, and records itself for the profiler; with networks as small as a learner's
    that takes 2 to 3 % of an update. State, defaults and numbers are Adam's, so that checkpoints of either fit the other.
    Arguments are those of `torch.optim.Adam`, of which only `lr` is offered.
    """

    _found: list[tuple[dict[str, Any], list[Tensor], list[Tensor], list[Tensor], list[Tensor]]] | None = None  # no state

    def __init__(self, params: Any, lr: float = 1e-3) -> None:
        super().__init__(params, lr=lr, fused=True)

    @torch.no_grad()
    def advance(self) -> None:
        """One step along the parameters' gradients.

        Raises:
            RuntimeError: if a parameter has none.
        """
        if self._found is None or not self._is_current():
            self._find()
        assert self._found is not None
        for group, parameters, means, squares, counts in self._found:
            gradients = [parameter.grad for parameter in parameters]
            if counts[0].is_cpu:
                torch._foreach_add_(counts, [_ONE] * len(counts))  # a number would be made a tensor for each of them
            else:
                torch._foreach_add_(counts, 1)
            beta1, beta2 = group["betas"]
            torch._fused_adam_(
                parameters,
                gradients,  # type: ignore[arg-type]
                means,
                squares,
                [],
                counts,
                lr=group["lr"],
                beta1=beta1,
                beta2=beta2,
                weight_decay=group["weight_decay"],
                eps=group["eps"],
                amsgrad=False,
                maximize=False,
            )

    def drop_gradients(self) -> None:
        """Forgets the gradients, as `zero_grad()` does, whose records for the profiler cost as much as those of `step`."""
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad = None

    def _is_current(self) -> bool:
        """Says whether the tensors found are still the state's: a checkpoint or another device brings others."""
        assert self._found is not None
        if len(self._found) != len(self.param_groups):
            return False
        for known, group in zip(self._found, self.param_groups, strict=True):
            last = group["params"][-1]
            if known[0] is not group or known[1][-1] is not last or self.state[last]["exp_avg"] is not known[2][-1]:
                return False
        return True

    def _find(self) -> None:
        self._found = []
        for group in self.param_groups:
            parameters: list[Tensor] = []
            means: list[Tensor] = []
            squares: list[Tensor] = []
            counts: list[Tensor] = []
            self._init_group(group, parameters, [], means, squares, [], counts)
            if len(parameters) < len(group["params"]):
                self._found = None
                raise RuntimeError(
                    f"LeanAdam.advance: expected {len(group['params'])} gradients, got {len(parameters)}; call step()."
                )
            self._found.append((group, parameters, means, squares, counts))


__all__ = ["LeanAdam"]
