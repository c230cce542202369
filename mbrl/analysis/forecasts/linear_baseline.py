"""`LinearBaseline`: the linear dynamics that a model has to beat."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from mbrl.arguments import Limits, checked
from mbrl.data import Transitions
from mbrl.errors import DataError


class LinearBaseline:
    """s' = s + W [s, a, 1], by ridge regression of the change on standardised inputs, in float64 on the CPU.

    Args:
        rows: `B` real rows to fit it to.
        ridge: penalty on the squared weights of the standardised inputs, relative to the number of rows; the constant has
            none. More shrinks them; the default only decides where inputs are collinear.

    Raises:
        DataError: without rows.
        ConfigError: if `ridge` is below 1e-12.
    """

    @checked
    def __init__(self, rows: Transitions, ridge: Annotated[float, Limits(1e-12)] = 1e-6) -> None:
        if not len(rows):
            raise DataError("LinearBaseline: expected rows to fit a linear model to, got none; give some.")
        x = _inputs(rows.obs, rows.action)  # B x (S+A)
        change = rows.next_obs.double().cpu() - rows.obs.double().cpu()  # B x S
        self.mean = x.mean(0)  # S+A
        sd = x.std(0, correction=0)
        self.sd = torch.where(sd > 0, sd, 1.0)  # a constant input has nothing to explain, and its column is 0
        x = (x - self.mean) / self.sd
        self.offset = change.mean(0)  # S, since the inputs' mean is 0
        square = x.T @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=torch.float64)
        self.weight = torch.cholesky_solve(x.T @ (change - self.offset) / len(x), torch.linalg.cholesky(square))

    def predict(self, obs: Tensor, action: Tensor) -> Tensor:
        """The next observation, `B x S` float64, after `obs` (`B x S`) and `action` (`B x A` in [−1, 1])."""
        x = (_inputs(obs, action) - self.mean) / self.sd
        return obs.double().cpu() + x @ self.weight + self.offset

    def rollout(self, obs: Tensor, actions: Tensor) -> Tensor:
        """Observations after each step, `B x H x S` float64, from `obs` (`B x S`) on `actions` (`B x H x A`)."""
        found = []
        for action in actions.unbind(-2):  # H of B x A
            obs = self.predict(obs, action)
            found.append(obs)
        return torch.stack(found, -2)


def _inputs(obs: Tensor, action: Tensor) -> Tensor:
    return torch.cat((obs.double(), action.double()), -1).cpu()
