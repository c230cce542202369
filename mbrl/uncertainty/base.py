"""The contract of uncertainty measures."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from mbrl.data import Prediction
from mbrl.spec import Configurable


class UncertaintyMeasure(Configurable, ABC):
    """Says in one number a row how uncertain a prediction is.

    Every choice that changes the number is an argument of the measure.

    Attributes:
        least_members: how many members it needs to say anything; a planner refuses a model with fewer.
    """

    least_members: int = 1

    @abstractmethod
    def __call__(self, prediction: Prediction, drawn: Tensor) -> Tensor:
        """The uncertainty, `B`, 0 or more.

        Args:
            prediction: of all members, `E x B x …`.
            drawn: `e` int64, the members that a rollout may draw (`DynamicsModel.drawn_members`).
        """
