"""`ImaginedLearning`: a learner's updates on real rows and on a model's rollouts that begin at them (Janner2019)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any, Literal

from torch import Tensor

from mbrl.data import ReplayBuffer, Streams, Task, Transitions, mixed_batch
from mbrl.data.row_layout import RowLayout
from mbrl.errors import DivergedError, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.planners.metrics import MetricSums
from mbrl.planners.rollouts.data_range import DataRange
from mbrl.planners.rollouts.hooks import BatchContext, BatchHook, RolloutHook
from mbrl.planners.rollouts.imagination import REAL_ROWS, Imagination
from mbrl.planners.rollouts.selectors import ActionSelector, PolicySample
from mbrl.policies import BoundCriticTerm, CriticTerm, Learner


@dataclass
class ImaginedLearning:
    """Imagines rollouts, mixes them with real rows, and updates a learner on the batches.

    Batches carry which step of which rollout a row is: the extras `rollout`, `depth` and `cut` of `Imagination`. Of real
    rows the first two are −1, and `cut` says that their episode was cut: `truncated` and not `terminated`. What a learner
    asks for beside (`Learner.row_extras`) must be in the real rows.

    It collects nothing, fits nothing and keeps no clock: the planner that holds it fills `real`, fits the model, and says
    when to imagine and how often to update. So it serves planners with environments and those that learn from a dataset.

    Attributes:
        dynamics: the model, built for its task; None where all rows are real.
        learner: the learner, built for the same task.
        real: the real rows, which may still grow.
        streams: the run's; draws come from `start_rows`, `replay`, `updates`, `batch hook i` and `critic term i`.
        metrics: takes `rollout/…`, `batch/…`, `learner/…`, `critic_term/…`, `time/rollout_s` and `time/update_s`.
        batch_size: rows per update.
        real_rows: how many of them are real; the others are the model's. It may be set anew at any time.
        selector: chooses the actions of rollouts.
        rollout_hooks: applied in order to each model step.
        batch_hooks: applied in order to each batch.
        critic_terms: added to the critics' loss.
        rollout_chunk: rollouts drawn for at once; another number draws other noise.
        finished_rollouts: `"drop"` or `"mask"`; `"auto"` drops on CPU and masks on CUDA.
        model: the rollouts that are kept.

    Raises:
        UnsupportedError: if batches mix rows, and the learner asks for extras that no model row has.
    """

    dynamics: DynamicsModel | None
    learner: Learner
    real: ReplayBuffer
    streams: Streams
    metrics: MetricSums
    batch_size: int
    real_rows: int
    selector: ActionSelector = field(default_factory=PolicySample)
    rollout_hooks: Sequence[RolloutHook] = ()
    batch_hooks: Sequence[BatchHook] = ()
    critic_terms: Sequence[CriticTerm] = ()
    rollout_chunk: int = 8000
    finished_rollouts: Literal["auto", "drop", "mask"] = "auto"
    model: ReplayBuffer = field(init=False)

    def __post_init__(self) -> None:
        asked: dict[str, int] = {}
        if self.dynamics is not None:
            asked = self.learner.row_extras(self.dynamics.built_task)
            if self.real_rows < self.batch_size:
                check_imaginable(self.learner, self.dynamics.built_task)
        extras = dict.fromkeys(REAL_ROWS, 1) | {name: width for name, width in asked.items() if name == "prev_action"}
        obs_size, action_size = self.real.layout.obs_size, self.real.layout.action_size
        self.model = ReplayBuffer(1, obs_size, action_size, device=self.real.device, extras=extras)  # grows later
        self._range: tuple[int, DataRange] | None = None

    def imagine(self, rollouts: int, length: int, capacity: int, clock: int) -> None:
        """Rolls the model out from real rows, and keeps the steps.

        Args:
            rollouts: how many.
            length: steps per rollout.
            capacity: model rows kept from now on, the newest.
            clock: where the run stands, in the planner's unit; rollouts at another time draw other noise.

        Raises:
            DivergedError: if no rollout holds finite numbers.
            UnsupportedError: without a model.
        """
        if self.dynamics is None:
            raise UnsupportedError("ImaginedLearning.imagine: expected a model to roll out, got none; give it one.")
        began = perf_counter()
        self.model.resize(capacity)
        starts = self.real.sample(rollouts, self.streams["start_rows"])
        imagination = Imagination(
            self.dynamics,
            self.learner.policy,
            self.selector,
            self.rollout_hooks,
            self.streams.seed,
            self.rollout_chunk,
            drop=self.finished_rollouts == "drop" or (self.finished_rollouts == "auto" and self.real.device.type == "cpu"),
            value=self.learner if self.learner.has_critics else None,
            report=partial(self.metrics.add, prefix="rollout/"),
            data=self._data_range(),
        )
        report = imagination.run(starts, length, clock, self.model.add)
        if report["rollout/stored"] == 0:
            raise DivergedError(
                f"expected the model's rollouts to hold finite numbers, but none of {rollouts} did at step {clock}; the "
                "model has diverged: lower its learning rate, or check the data for outliers."
            )
        self.metrics.add(report)
        self.metrics.add({"time/rollout_s": perf_counter() - began})

    def _data_range(self) -> DataRange:
        """The range of the real rows, looked up anew when there are others."""
        if self._range is None or self._range[0] != self.real.added:
            self._range = (self.real.added, DataRange.of(self.real.all()))
        return self._range[1]

    def learn(self, updates: int) -> None:
        """Makes `updates` updates of the learner, each on a batch of its own; of each metric, reports the last."""
        if updates == 0:
            return
        began = perf_counter()
        noise, report = self.streams["updates"], dict[str, Tensor]()
        for _ in range(updates):
            batch, model_rows = self.batch()
            terms = [
                BoundCriticTerm(
                    term, model_rows, self.streams[f"critic term {i}"], partial(self.metrics.add, prefix="critic_term/")
                )
                for i, term in enumerate(self.critic_terms)
            ]
            report.update(self.learner.update(batch, noise, terms))  # some parts don't learn at each
        self.metrics.add(report, prefix="learner/")
        self.metrics.add({"time/update_s": (perf_counter() - began) / updates})

    def batch(self) -> tuple[Transitions, slice]:
        """Draws a batch, its real rows first, and has the batch hooks change it; returns the model's rows in it too."""
        shares = [(self.real, self.real_rows), (self.model, self.batch_size - self.real_rows)]
        batch = mixed_batch(shares, self.streams["replay"], REAL_ROWS)
        real = slice(self.real_rows)
        batch.extras["cut"][real, 0] = (batch.truncated[real] & ~batch.terminated[real]).to(batch.obs.dtype)
        model_rows = slice(self.real_rows, self.batch_size)
        if not self.batch_hooks:
            return batch, model_rows
        context = BatchContext(
            self.learner,
            self.dynamics,
            self.streams["batch hook 0"],
            model_rows=model_rows,
            report=partial(self.metrics.add, prefix="batch/"),
        )
        for i, hook in enumerate(self.batch_hooks):
            context.generator = self.streams[f"batch hook {i}"]
            batch = hook(batch, context)
        return batch, context.model_rows

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        """The kept rollouts, as a planner's `buffers_state`; empty before there are any."""
        return {"model": self.model.state_dict()} if len(self.model) else {}

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        """Continues with the rollouts of `buffers_state`; real rows are the planner's to load."""
        if "model" not in state:
            return
        kept, layout = state["model"], self.model.layout
        if kept["matrix"].shape[-1] == layout.base_width:  # of a version whose rollouts had no numbers
            matrix = kept["matrix"].new_empty(len(kept["matrix"]), layout.width)
            layout.copy(kept["matrix"], RowLayout(layout.obs_size, layout.action_size), matrix, REAL_ROWS)
            kept = {**kept, "matrix": matrix}
        self.model.load_state_dict(kept)


def check_imaginable(learner: Learner, task: Task) -> None:
    """Refuses a learner that can't learn from model rows, or asks for extras that they don't have.

    Raises:
        UnsupportedError: naming them.
    """
    if not learner.learns_from_rollouts:
        raise UnsupportedError(
            f"{type(learner).__name__} can't learn from rollouts, whose actions are its own policy's: it learns "
            "from recorded ones; set dynamics to null, or take another learner."
        )
    unknown = sorted(set(learner.row_extras(task)) - {"prev_action"})
    if unknown:
        raise UnsupportedError(
            f"{type(learner).__name__} can't learn from rollouts: it asks for {unknown} of each row, and rollouts know "
            "prev_action alone; set real_ratio to 1, or take another learner."
        )
