"""`Predicting`: a planner used as a policy, observations in and actions out, both in environment units."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor

from mbrl.data import TaskBound, make_generator
from mbrl.envs.vector_experience import in_env_units
from mbrl.errors import DataError, ShapeError, UnsupportedError
from mbrl.planners.capabilities import dynamics_of
from mbrl.planners.evaluation import evaluating
from mbrl.planners.memory import Memory
from mbrl.planners.metrics import MetricSums
from mbrl.spec import Configurable

Rows = TypeVar("Rows", np.ndarray, Tensor)


class Predicting(TaskBound, Configurable, pl.LightningModule):
    """The base of planners for those who want actions alone, without a loop or a memory of their own."""

    # what a planner has, see there
    seed: int
    metrics: MetricSums
    act: Callable[..., tuple[Tensor, Memory]]
    memory: Callable[[int, torch.Generator], Memory]

    _remembered: Memory | None = None  # of the episodes that `predict` is in

    @torch.no_grad()
    def predict(self, obs: Rows, *, deterministic: bool = True, snapshot: Rows | None = None) -> Rows:
        """Chooses the action to take at an observation, or at `N` of as many environments.

        What a planner carries from step to step, such as the rest of a plan, it remembers itself: call `reset` when an
        episode begins. Another number of observations begins anew. The draws follow the run's seed. Nothing that training
        uses moves.

        Args:
            obs: `S` or `N x S`, environment units.
            deterministic: whether to take the best action that is known, as evaluations do; else one as in training.
            snapshot: `W` or `N x W` float64, the simulator's states (`mbrl.envs.snapshot_of`), for a planner whose model
                starts from them and can't from observations.

        Returns:
            `A` or `N x A` float32 in environment units, an array or a tensor as `obs` is.

        Raises:
            NotBuiltError: before `build`.
            ShapeError: if `obs` or `snapshot` has another shape.
            DataError: if `obs` or `snapshot` holds NaN or infinite numbers.
            UnsupportedError: without a `snapshot`, if the model can't start from the observations.
        """
        task = self.built_task
        who = f"{type(self).__name__}.predict"
        rows = _finite_rows(f"{who}(obs=…)", obs, torch.float32)  # S or N x S
        if rows.ndim not in (1, 2) or rows.shape[-1] != task.obs_size or rows.numel() == 0:
            raise ShapeError(
                f"{who}: expected obs of shape {task.obs_size} or N x {task.obs_size}, got {tuple(rows.shape)}; give one "
                "observation, or one per environment."
            )
        batch = rows.view(-1, task.obs_size).to(self.device)  # N x S
        states = None
        if snapshot is not None:
            states = _finite_rows(f"{who}(snapshot=…)", snapshot, torch.float64).cpu()  # W or N x W
            if states.ndim != 2 and rows.ndim == 1:
                states = states.view(1, -1)
            if states.ndim != 2 or len(states) != len(batch):
                raise ShapeError(
                    f"{who}: expected a snapshot per observation, {len(batch)} x W, got {tuple(states.shape)}; take it "
                    "when the observation is taken."
                )
        before, self.metrics = self.metrics, MetricSums()  # what acting reports is no news of the training
        try:
            with evaluating(self):
                action, self._remembered = self.act(
                    batch, self._remembers(len(batch)), explore=not deterministic, snapshot=states
                )
        except (UnsupportedError, DataError) as error:
            model = dynamics_of(self)
            if states is not None or model is None or not model.row_extras(task):
                raise
            raise UnsupportedError(
                f"{who}: expected snapshot, since {type(model).__name__} can't start from these observations alone, "
                "got none; pass mbrl.envs.snapshot_of([env])."
            ) from error
        finally:
            self.metrics = before
        low, high = np.array(task.action_low), np.array(task.action_high)
        found: Any = in_env_units(action.cpu().numpy(), low, high, np.float32).reshape(*rows.shape[:-1], -1)
        return torch.from_numpy(found).to(obs.device) if isinstance(obs, Tensor) else found

    def reset(self, mask: Any = None) -> None:
        """Begins anew: forgets what `predict` remembers of its episodes.

        Args:
            mask: `N` bool, an array or a tensor, the episodes that have ended; None for all, and for the first draws again.

        Raises:
            ShapeError: if `mask` is of another number of episodes than `predict` was asked for.
        """
        if mask is None:
            self._remembered = None
        elif self._remembered is not None:
            ended = torch.as_tensor(mask, dtype=torch.bool, device=self.device)
            if ended.shape != (self._remembered.n,):
                raise ShapeError(
                    f"{type(self).__name__}.reset: expected a mask of {self._remembered.n} episodes, as many as predict was "
                    f"asked for, got shape {tuple(ended.shape)}; leave it out to begin anew everywhere."
                )
            self._remembered.reset(ended)

    def _remembers(self, n: int) -> Memory:
        kept = self._remembered
        if kept is None or kept.n != n or kept.generator.device.type != self.device.type:
            kept = self.memory(n, make_generator(self.device, self.seed, "predict"))
        return kept


def _finite_rows(where: str, given: Any, dtype: torch.dtype) -> Tensor:
    try:
        rows = (given.detach() if isinstance(given, Tensor) else torch.from_numpy(np.array(given))).to(dtype)
    except (TypeError, ValueError) as error:
        raise DataError(f"{where}: expected numbers, got {type(given).__name__} ({error}); give an array.") from error
    if not torch.isfinite(rows).all():
        raise DataError(f"{where}: expected finite numbers, got NaN or infinity; look at where they come from.")
    return rows
