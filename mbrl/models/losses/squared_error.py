"""`SquaredError`: every target counts the same."""

from __future__ import annotations

from torch import Tensor

from mbrl.data import Transitions, ValueFunction
from mbrl.models.losses.base import ModelLoss


class SquaredError(ModelLoss):
    """The mean squared error of the normalised targets.

    A deterministic model's own loss is the same; a probabilistic one fits its mean by it, without weighing errors by its
    variance.
    """

    wants_value = False

    def __init__(self) -> None:
        super().__init__(score="plain")

    def errors(
        self,
        mean: Tensor,
        target: Tensor,
        rows: Transitions,
        scale: Tensor,
        value: ValueFunction | None,
        sd: Tensor | None = None,
    ) -> Tensor:
        return (mean - target).square().mean(-1)
