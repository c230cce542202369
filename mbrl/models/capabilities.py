"""Capabilities that a dynamics model may say of itself, and refusals of models that lack what a planner asks for."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from mbrl.data import ModelStep, Prediction
from mbrl.errors import UnsupportedError
from mbrl.models.lipschitz import LipschitzBound


class HasMembers:
    """The model's predictions have several members, whose spread says what it doesn't know.

    Attributes:
        members: `E`.
    """

    members: int


class Differentiable:
    """`predict` is differentiable in obs and action."""


class HasLipschitzBound:
    """The model knows how steep it can be at most."""

    def lipschitz_bound(self, unit: Tensor | None = None) -> LipschitzBound:
        """Upper bounds of slopes, `E` each, by exact singular values: of the network, and of the observation's mean.

        Args:
            unit: `S`, in what the observation's dims are measured; those of 0 are left out. None for environment units.
        """
        raise NotImplementedError


class WantsValueFunction:
    """`refit` always needs a `ValueFunction` (`DynamicsModel.wants_value`)."""


class Exact:
    """The model is the environment itself: it has no uncertainty by definition."""


def require(model: Any, capability: type, who: str, why: str, instead: str) -> None:
    """Refuses `model` in one sentence unless it has `capability`.

    Args:
        model: a dynamics model.
        capability: a marker class, such as `Differentiable`.
        who: name of the part that asks for it, such as a planner's.
        why: reason for which that part needs it, a clause.
        instead: advice, such as "take another model".

    Raises:
        UnsupportedError: naming both parts and the reason.
    """
    if not isinstance(model, capability) or capability in getattr(model, "lacks", ()):
        raise UnsupportedError(f"{who} can't use {type(model).__name__}: {why}; {instead}.")


def require_prediction(step: ModelStep, model: object, who: str) -> Prediction:
    """Returns the all-member prediction that `model` was asked for with `step`.

    Args:
        step: made with `want=("prediction",)`.
        model: the model that made it.
        who: name of the part that asks for it.

    Raises:
        UnsupportedError: if the step leaves it out.
    """
    if step.prediction is None:
        why = "its step leaves out the prediction that it was asked for"
        raise UnsupportedError(f'{who} can\'t use {type(model).__name__}: {why}; have it honour want=("prediction",).')
    return step.prediction
