"""`PySINDyOptimizer`: pysindy's own ways to find sparse coefficients, in place of ours."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from mbrl.errors import ConfigError, MbrlWarning
from mbrl.spec import Configurable


class PySINDyOptimizer(Configurable):
    """One of pysindy's optimisers (2.1), made anew for each fit and each member.

    It is far slower than thresholded least squares of our own, which equals pysindy's `STLSQ`. pysindy is imported by the
    first fit, which takes seconds.

    Args:
        name: pysindy's class.
        options: its keyword arguments, such as `{"reg_weight_lam": 2e-4}`; with normalised targets they are of shares of a
            target's size, as a threshold would be.

    Raises:
        ConfigError: from a fit, for options that pysindy doesn't take.
    """

    def __init__(
        self,
        name: Literal["STLSQ", "SR3", "SSR", "FROLS"] = "SR3",
        options: Mapping[str, float | int | bool | str] | None = None,
    ) -> None:
        self.name = name
        self.options = dict(options or {})

    def fitted(self, theta: Tensor, y: Tensor) -> Tensor:
        """Coefficients `k x D` of terms `N x k` for targets `N x D`, float64 on the CPU."""
        import pysindy

        try:
            optimizer: Any = getattr(pysindy, self.name)(**self.options)
        except (TypeError, ValueError) as error:
            raise ConfigError(
                f"PySINDyOptimizer(options=…): expected arguments of pysindy.{self.name}, got {self.options} ({error}); "
                "look them up there."
            ) from error
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            optimizer.fit(theta.numpy(), y.numpy())
        for one in {str(each.message) for each in said}:
            warnings.warn(f"pysindy.{self.name}: {one}", MbrlWarning, 2)
        return torch.from_numpy(np.ascontiguousarray(np.asarray(optimizer.coef_).T, dtype=np.float64))
