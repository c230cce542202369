"""`OfflineDyna`: Dyna that learns from a dataset alone: fit a model once, imagine rollouts from it, learn from both.

With its defaults it is the loop that MOPO [Yu2020], MOBILE and RAVL [Sims2024] share; what they add are its parts.
`docs/offline.md` lists them.

Yu2020: "MOPO: model-based offline policy optimization" (arXiv 2005.13239).
Sims2024: "The edge-of-reach problem in offline model-based reinforcement learning" (arXiv 2402.12527).
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, Literal

from torch.optim import Optimizer

from mbrl.arguments import Count, Share
from mbrl.data import ReplayBuffer, Task
from mbrl.errors import ConfigError, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.planners.capabilities import HasDynamics, LearnsPolicy
from mbrl.planners.fitting import fit_to
from mbrl.planners.offline_planner import OfflinePlanner
from mbrl.planners.policy_planner import PolicyPlanner
from mbrl.planners.rollouts.check_parts import check_parts, check_without_dynamics
from mbrl.planners.rollouts.hooks import BatchHook, RolloutHook
from mbrl.planners.rollouts.imagined_learning import ImaginedLearning
from mbrl.planners.rollouts.schedule import check_real_ratio, check_schedule, fewest_real_rows, real_rows, rollout_length
from mbrl.planners.rollouts.selectors import ActionSelector, PolicySample
from mbrl.policies import CriticTerm, Learner, Policy

_OF_MODEL = (  # settings of its rollouts
    "rollout_length", "rollout_batch", "rollout_every", "retain", "real_ratio", "rollout_chunk", "finished_rollouts",
    "rollout_selector", "rollout_hooks",
)  # fmt: skip


class OfflineDyna(PolicyPlanner, OfflinePlanner, HasDynamics, LearnsPolicy):
    """Fits its model once to a dataset, and trains a learner on a mix of its rows and the model's rollouts from them.

    Without a model (`dynamics: null`) batches are real throughout, and this is an offline learner alone: SAC-N, EDAC,
    behaviour cloning. What only a model needs is then refused rather than ignored (`real_ratio` may be 1).

    Args:
        dynamics: the model, any `DynamicsModel`; None for none.
        learner: what learns to act; any `Learner`.
        rollout_length: k, steps per rollout, or, as in `Dyna`, `[first epoch, last epoch, k0, k1]`, linear in the epoch, of
            `rollout_every` updates each. Longer ones compound the model's error; of short ones many steps end where no
            value is ever fitted (the edge of reach). No longer than the longest episode of the dataset.
        rollout_batch: rollouts made at a time, from rows of the dataset drawn uniformly, or by its weights. More cost time
            and memory, and repeat fewer rows.
        rollout_every: updates between fresh rollouts. More lets the policy move away from those that it learns from.
        retain: how many of the newest rounds of rollouts are kept; more is more data, of older policies.
        batch_size: rows in an update.
        real_ratio: share of the dataset's rows in it, cut to a whole number of rows; 1 makes no rollouts at all. Or a
            schedule, as in `Dyna`, in the epochs of `rollout_length`. More is safer where the model is poor.
        rollout_selector: how actions are chosen in the model (default: a sample of the policy).
        rollout_hooks: applied in order to each model step.
        batch_hooks: applied in order to each batch.
        critic_terms: added to the critics' loss.
        rollout_chunk: rollouts drawn for at once; another number draws other noise. More takes more memory.
        finished_rollouts: `"drop"` or `"mask"`; `"auto"` drops on CPU and masks on CUDA.

    Raises:
        ConfigError: for a number out of range, or a choice that there isn't; from `take`, for rollouts longer than any
            episode.
        UnsupportedError: from `build`, if a part can't work with the model or the learner; for a part that needs a model
            where there is none.
    """

    dynamics: DynamicsModel | None
    learner: Learner  # never None here

    def __init__(
        self,
        dynamics: DynamicsModel | None,
        learner: Learner,
        *,
        rollout_length: Count | Sequence[int] = 5,
        rollout_batch: Count = 50_000,
        rollout_every: Count = 1000,
        retain: Count = 5,
        batch_size: Count = 256,
        real_ratio: Share | Sequence[float] = 0.05,
        rollout_selector: ActionSelector | None = None,
        rollout_hooks: Sequence[RolloutHook] = (),
        batch_hooks: Sequence[BatchHook] = (),
        critic_terms: Sequence[CriticTerm] = (),
        rollout_chunk: Count = 8000,
        finished_rollouts: Literal["auto", "drop", "mask"] = "auto",
    ) -> None:
        super().__init__()
        constant = (0, 1, rollout_length, rollout_length) if isinstance(rollout_length, int) else rollout_length
        check_schedule(constant)
        check_real_ratio(real_ratio)
        self.dynamics = dynamics
        self.learner = learner
        self.rollout_length = tuple(constant)
        self.rollout_batch = rollout_batch
        self.rollout_every = rollout_every
        self.retain = retain
        self.batch_size = batch_size
        self.real_ratio = real_ratio
        self.rollout_selector = rollout_selector or PolicySample()
        self.rollout_hooks = list(rollout_hooks)
        self.batch_hooks = list(batch_hooks)
        self.critic_terms = list(critic_terms)
        self.rollout_chunk = rollout_chunk
        self.finished_rollouts = finished_rollouts
        if dynamics is None:
            selector = None if rollout_selector is None else type(rollout_selector).__name__
            hooks = tuple(type(hook).__name__ for hook in rollout_hooks)
            given = {**vars(self), "rollout_length": rollout_length, "rollout_selector": selector, "rollout_hooks": hooks}
            defaults = inspect.signature(OfflineDyna.__init__).parameters
            settings = {name: (given[name], defaults[name].default) for name in _OF_MODEL}
            check_without_dynamics("OfflineDyna", settings, self.batch_hooks, [])

    # parts -----------------------------------------------------------------------------------------------------------

    def make_parts(self, task: Task, seed: int) -> None:
        if self.dynamics is not None:
            if self.dynamics.wants_value and not self.learner.has_critics:
                raise UnsupportedError(
                    f"OfflineDyna can't use {type(self.dynamics).__name__}: its fit asks for values, and "
                    f"{type(self.learner).__name__} has no critics to say them; take another learner, such as SAC."
                )
            self.dynamics.build(task, seed)
        self.learner.build(task, seed)
        self._rounds: list[int] = []  # rows of the rollouts that are kept, by round, oldest first
        check_parts(
            "OfflineDyna",
            self.dynamics,
            self.learner,
            rolls_out=self._rolls_out,
            real_ratio=self.real_ratio,
            selectors=[self.rollout_selector],
            rollout_hooks=self.rollout_hooks,
            batch_hooks=self.batch_hooks,
            critic_terms=self.critic_terms,
        )

    @property
    def _rolls_out(self) -> bool:
        """True if some batch holds rows of the model."""
        return self.dynamics is not None and fewest_real_rows(self.real_ratio, self.batch_size) < self.batch_size

    @property
    def acting_policy(self) -> Policy:
        return self.learner.policy

    def make_optimizers(self) -> list[Optimizer]:
        model = [] if self.dynamics is None else self.dynamics.make_optimizers()
        return [*model, *self.learner.make_optimizers()]

    def before_updates(self) -> None:
        self._check_length()
        self.learning = ImaginedLearning(
            self.dynamics,
            self.learner,
            self.real_buffer,
            self.streams,
            self.metrics,
            batch_size=self.batch_size,
            real_rows=self.real_rows,
            selector=self.rollout_selector,
            rollout_hooks=self.rollout_hooks,
            batch_hooks=self.batch_hooks,
            critic_terms=self.critic_terms,
            rollout_chunk=self.rollout_chunk,
            finished_rollouts=self.finished_rollouts,
        )

    def _check_length(self) -> None:
        """Refuses rollouts longer than any episode, of which the dataset could say nothing."""
        episode = self.real_buffer.all().extras.get("episode")
        if episode is None or not self._rolls_out:
            return
        longest = int(episode.unique(return_counts=True)[1].max())
        if max(self.rollout_length[2:]) > longest:
            raise ConfigError(
                f"OfflineDyna: expected rollouts no longer than the dataset's longest episode, {longest} steps, got "
                f"rollout_length {max(self.rollout_length[2:])}; lower it."
            )

    # one update ------------------------------------------------------------------------------------------------------

    @property
    def _epoch(self) -> int:
        return self.updates // self.rollout_every

    @property
    def real_rows(self) -> int:
        """Rows of the dataset in a batch of the present epoch; the others are the model's."""
        return real_rows(self._epoch, self.real_ratio, self.batch_size) if self._rolls_out else self.batch_size

    @property
    def model_buffer(self) -> ReplayBuffer:
        """The rollouts that are kept."""
        return self.learning.model

    def update(self) -> None:
        if self.updates == 0:
            fit_to(self, self.real_buffer.all(), self.learner if self.learner.has_critics else None)
        self.learning.real_rows = self.real_rows
        due = self.updates % self.rollout_every == 0 or len(self.model_buffer) == 0
        if due and self.real_rows < self.batch_size:
            self._imagine()
        self.learning.learn(1)

    def _imagine(self) -> None:
        """Makes a round of rollouts, and forgets all but the newest `retain`, however many of their steps came to be."""
        self._rounds = self._rounds[max(len(self._rounds) + 1 - self.retain, 0) :]
        kept, length = sum(self._rounds), rollout_length(self._epoch, self.rollout_length)
        self.model_buffer.keep_newest(kept)
        added = self.model_buffer.added
        self.learning.imagine(self.rollout_batch, length, kept + self.rollout_batch * length, self.updates)
        self._rounds = [*self._rounds, self.model_buffer.added - added]

    # checkpoint ------------------------------------------------------------------------------------------------------

    def planner_state(self) -> dict[str, Any]:
        return {"rounds": list(self._rounds)}

    def load_planner_state(self, state: dict[str, Any]) -> None:
        self._rounds = [int(rows) for rows in state["rounds"]]

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return self.learning.buffers_state()

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        self.learning.load_buffers_state(state)
