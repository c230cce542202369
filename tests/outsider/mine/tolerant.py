"""A loss that a model can be given."""

from torch import Tensor

from mbrl.data import Transitions, ValueFunction
from mbrl.models import ModelLoss


class Tolerant(ModelLoss):
    """Squared errors of what lies beyond a tolerance.

    Args:
        tolerance: in standard deviations of the targets.
    """

    wants_value = False

    def __init__(self, tolerance: float = 0.01) -> None:
        super().__init__()
        self.tolerance = tolerance

    def errors(
        self,
        mean: Tensor,
        target: Tensor,
        rows: Transitions,
        scale: Tensor,
        value: ValueFunction | None,
        sd: Tensor | None = None,
    ) -> Tensor:
        return ((mean - target).abs() - self.tolerance).clamp_min(0.0).square().mean(-1)  # E x B
