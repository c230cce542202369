"""The contract of losses that a model can be given (`GradientModel(loss=…)`)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from mbrl.data import Transitions, ValueFunction
from mbrl.spec import Part

Score = Literal["weighted", "plain"]


class ModelLoss(Part, ABC):
    """Says what an error of a model's mean costs.

    A probabilistic model's variance is then fitted by the likelihood, with the mean held constant, unless the loss fits it.

    Args:
        score: by what members are judged on held-out rows, for early stopping, best weights and elites: `"weighted"`, by
            this loss, or `"plain"`, by the squared error.

    Attributes:
        wants_value: whether it needs a `ValueFunction`.
        fits_variance: whether it fits a probabilistic model's variance of the next observation too.
        extra_names: names of its `extras`.
        fits: fits that have ended so far, counted by the model.
    """

    wants_value: bool = True
    fits_variance: bool = False
    extra_names: ClassVar[tuple[str, ...]] = ()

    def __init__(self, score: Score = "weighted") -> None:
        self.score: Score = score
        self.fits = 0

    def extras(self, rows: Transitions, value: ValueFunction | None, scale: Tensor) -> dict[str, Tensor]:
        """Numbers that `errors` wants of each row, computed once per fit (`GradientModel.fit_extras`); by default nothing.

        Args:
            rows: all `N` of the fit.
            value: with critics as they are now; None where it isn't wanted.
            scale: `D`, the standard deviations by which targets [Δobs, reward] are divided.

        Returns:
            `N x …` each, constants, by name (`extra_names`).
        """
        return {}

    @abstractmethod
    def errors(
        self,
        mean: Tensor,
        target: Tensor,
        rows: Transitions,
        scale: Tensor,
        value: ValueFunction | None,
        sd: Tensor | None = None,
    ) -> Tensor:
        """The cost of each row, `E x B`, differentiable in `mean`.

        The next observation that a mean leads to is `rows.next_obs + (mean − target) · scale`. Without gradients it is a
        score, which moves no stream.

        Args:
            mean: `E x B x D` normalised, of [Δobs, reward], or of Δobs alone.
            target: `(E x) B x D` normalised.
            rows: `(E x) B`, with the `extras`.
            scale: as in `extras`.
            value: as in `extras`.
            sd: `E x B x D` normalised, a probabilistic model's standard deviations; None of a deterministic one.
        """

    def reset(self) -> None:
        self.fits = 0

    def state_dict(self) -> dict[str, Any]:
        return {"fits": self.fits}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.fits = state["fits"]
