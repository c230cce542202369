"""`OraclePatch`: targets at the edge of reach with the true value of the state that they ask for (Sims2024's study)."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from mbrl.arguments import check_shape
from mbrl.data import Transitions
from mbrl.errors import UnsupportedError
from mbrl.planners.rollouts.hooks import BatchContext, BatchHook


class OraclePatch(BatchHook):
    """Puts r + γ V*(s') in the place of the critics' target wherever a model row leads to the edge of reach.

    It tells errors of values at the edge from all others: if learning fails without it and not with it, those were to blame.
    Subclass it with the values that you know. Such a row becomes one that ends the task and pays all at once, so that every
    learner takes it as it is, without entropy, and what comes after this hook sees it so; place it last.

    A subclass's `oracle` gives V*(s') as `B` numbers of observations `B x S`; `at_edge` may say more exactly than
    `cut` where the edge is. The share of patched targets is the metric `batch/patched`.

    Raises:
        UnsupportedError: when called, for a learner without a discount.
        ShapeError: for an oracle that doesn't give a number per row.
    """

    needs_model_rows = True

    @abstractmethod
    def oracle(self, obs: Tensor) -> Tensor:
        """The true values, `B`, of `obs` `B x S` in environment units, discounted as the learner discounts."""

    def at_edge(self, rows: Transitions) -> Tensor:
        """Tells which of the model's rows `B` lead to the edge of reach, `B` bool; by default the ends of rollouts."""
        return rows.extras["cut"][:, 0].bool()

    @torch.no_grad()
    def __call__(self, batch: Transitions, context: BatchContext) -> Transitions:
        rows = batch.select(context.model_rows)  # M of B
        discount = getattr(context.learner, "discount", None)
        if discount is None:
            raise UnsupportedError(
                f"OraclePatch: expected a learner with a discount, got {type(context.learner).__name__}; take one whose "
                "targets bootstrap, such as SAC."
            )
        value = self.oracle(rows.next_obs)
        check_shape(f"{type(self).__name__}.oracle", value, rows.reward.shape, "give a number per row")
        edge = self.at_edge(rows) & ~rows.terminated  # M
        context.report({"patched": edge.sum() / (~rows.terminated).sum().clamp_min(1)})
        reward, terminated = batch.reward.clone(), batch.terminated.clone()
        whole = rows.reward + discount * value.to(rows.reward.dtype)
        reward[context.model_rows] = torch.where(edge, whole, rows.reward)
        terminated[context.model_rows] = rows.terminated | edge
        return replace(batch, reward=reward, terminated=terminated)
