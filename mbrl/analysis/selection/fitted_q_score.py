"""`FittedQScore`: a run's policy scored by its dataset alone, a metric that a search can optimise without real steps."""

from __future__ import annotations

from typing import Any

import pytorch_lightning as pl
import torch

from mbrl.analysis.selection.fitted_q import fitted_q_evaluation
from mbrl.arguments import Count
from mbrl.data import make_generator
from mbrl.errors import UnsupportedError
from mbrl.planners import LearnsPolicy, OfflinePlanner, evaluating
from mbrl.spec import Configurable
from mbrl.training.callbacks.run import Run


class FittedQScore(Configurable, pl.Callback):
    """Scores the policy of a planner that learns from a dataset by `fitted_q_evaluation` at the end of its run.

    The metrics `score/fitted_q` (units of return, discounted as the learner discounts) and `score/fitted_q_disagreement`
    (the standard deviation over its critics) stand in the line of that step, for curves and for searches whose objective
    takes no real episode. Nothing else of the run changes: what is drawn comes from generators made anew from (seed, step).

    Args:
        every: updates between scores, besides the one at the end; fewer cost more time. None scores at the end alone.
        updates: gradient steps of a score; more come nearer to the fixed point.
        critics: `J` networks of a score; at least two say how far they are apart.

    Raises:
        ConfigError: for a number out of range.
        UnsupportedError: when a run begins, if it isn't that of a planner that learns a policy from a dataset.
    """

    def __init__(self, every: Count | None = None, updates: Count = 5000, critics: Count = 2) -> None:
        self.every = every
        self.updates = updates
        self.critics = critics

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses a run without a dataset or a policy.

        Raises:
            UnsupportedError: naming what runs.
        """
        fits = isinstance(pl_module, OfflinePlanner) and isinstance(pl_module, LearnsPolicy)
        if stage == "fit" and not fits:
            raise UnsupportedError(
                f"FittedQScore: expected a planner that learns a policy from a dataset, such as OfflineDyna, got "
                f"{type(pl_module).__name__}; leave the callback out."
            )

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, OfflinePlanner) or not isinstance(pl_module, LearnsPolicy):
            return
        now, learner = pl_module.clock, pl_module.learner
        due = self.every is not None and now % self.every == 0
        if learner is None or not (due or trainer.is_last_batch):
            return
        with evaluating(pl_module), torch.enable_grad():
            found = fitted_q_evaluation(
                learner.policy.mode,
                pl_module.real_buffer.all(),
                generator=make_generator("cpu", pl_module.seed, "fitted-q score", now),
                discount=float(getattr(learner, "discount", 0.99)),
                updates=self.updates,
                critics=self.critics,
            )
        said = {"score/fitted_q": found.score}
        if found.disagreement is not None:
            said["score/fitted_q_disagreement"] = found.disagreement
        pl_module.metrics.add(said)
