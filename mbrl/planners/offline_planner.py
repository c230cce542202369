"""`OfflinePlanner`: learns from a dataset alone, and counts its updates."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from mbrl.data import ReplayBuffer, Transitions
from mbrl.errors import NotBuiltError, UnsupportedError
from mbrl.planners.base import Planner
from mbrl.planners.capabilities import dynamics_of
from mbrl.policies import Learner


class OfflinePlanner(Planner):
    """Learns from recorded steps, which don't grow, and meets an environment in evaluations only.

    A planner of this kind implements `make_parts`, `act` and `update`, and may do something `before_updates`, such as
    making an `ImaginedLearning` of `real_buffer`. What it fits once it fits in the first `update`, at 0 `updates`, so that a
    resumed run doesn't fit it again. Its `buffers_state` holds what it made itself: rollouts, never the dataset.

    Attributes:
        updates: ticks made, each of one `update`: its clock.
    """

    clock_name = "updates"
    learns_from = "dataset"
    updates: int

    def __init__(self) -> None:
        super().__init__()
        self._real: ReplayBuffer | None = None

    def take(self, rows: Transitions) -> None:
        """Takes the dataset in, and shows it to the `learner` if there is one (`Learner.fit_inputs`).

        It comes before the first tick, and in a resumed run before its state is restored.

        Args:
            rows: all of them, as the library has them (`OfflineData.transitions`); `extras["weight"]` says how often each is
                drawn into batches and as the start of a rollout. Models are fitted to all alike.

        Raises:
            UnsupportedError: if the model or the learner asks for extras that the rows lack.
        """
        task, model = self.built_task, dynamics_of(self)
        of_model = {} if model is None else model.row_extras(task)
        learner = getattr(self, "learner", None)
        of_learner = {} if learner is None else learner.row_extras(task)
        for owner, asked in ((model, of_model), (learner, of_learner)):
            lacking = sorted(set(asked) - set(rows.extras))
            if lacking:
                raise UnsupportedError(
                    f"{type(self).__name__}: expected {lacking} in the dataset, which {type(owner).__name__} asks for, got "
                    f"{sorted(rows.extras)}; give one that has it (mbrl collect), or do without the {type(owner).__name__}."
                )
        double = () if learner is None else learner.float64_extras
        self._real = ReplayBuffer(
            len(rows),
            task.obs_size,
            task.action_size,
            device=self.device,
            extras={**of_learner, **of_model},
            float64=(
                *of_model,
                *(name for name in double if name not in of_model),
            ),  # a simulator's state must lose no digit
            store_episodes="episode" in rows.extras,
        )
        self._real.add(rows)
        if "weight" in rows.extras:
            self._real.weigh(rows.extras["weight"])
        self.before_updates()  # first, since it may refuse, and the learner may have something to say
        if learner is not None:
            learner.fit_inputs(self._real.all())  # which don't grow, so that once is enough

    @property
    def real_buffer(self) -> ReplayBuffer:
        """The dataset, on the planner's device.

        Raises:
            NotBuiltError: before `take`.
        """
        if self._real is None:
            raise NotBuiltError(f"{type(self).__name__} was used without a dataset, which fit gives it; call take(rows).")
        return self._real

    def before_updates(self) -> None:
        """Makes what needs the dataset and the device; called by `take`. By default nothing."""

    def tick(self, experience: Any = None) -> None:
        """One `update`."""
        self.update()
        self.updates += 1

    @abstractmethod
    def update(self) -> None:
        """Makes one update of what acts; when due by `updates`, fits and imagines before it."""

    def on_fit_start(self) -> None:
        """Takes the dataset in, then restores all that a checkpoint holds; says if the learner plans another length."""
        self.take(self.trainer.datamodule.transitions)  # type: ignore[attr-defined]
        super().on_fit_start()
        learner: Learner | None = getattr(self, "learner", None)
        if learner is not None:
            learner.take_length(self.trainer.datamodule.steps)  # type: ignore[attr-defined]
