"""The contract of planners, which act, and learn while they do.

A planner is a LightningModule with manual optimisation whose `training_step` is one tick. Its parts (a dynamics model, a
learner) get no Lightning hooks. `mbrl.testing.check_planner` is the conformance suite.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.optim import Optimizer

from mbrl.arguments import check_argument, check_whole
from mbrl.data import Streams, Task, check_same_task, default_draws
from mbrl.errors import CheckpointError, ConfigError, EnvironmentFailedError, reading
from mbrl.parts import load_states_of_parts, reset_parts, states_of_parts
from mbrl.planners.evaluation import EvaluationStopped, evaluate, evaluating
from mbrl.planners.memory import Memory
from mbrl.planners.metrics import MetricSums
from mbrl.planners.predicting import Predicting


class Planner(Predicting, ABC):
    """Acts in a task, and learns from what it meets.

    A planner implements `make_parts` (parameters), `act` and `tick`.

    Attributes:
        clock_name: what its clock counts, and the attribute that counts it: `env_steps`, or `updates` where it learns from
            data alone. Metric lines, checkpoints and cadences (`trainer.eval_every`, …) are in this unit.
        learns_from: what it trains with: `environments` (`OnlineData`), or a `dataset` (`OfflineData`).
        task: what it plans for, once built.
        env_steps: real environment steps taken in training, warm-up included.
        streams: named generators of everything that training draws.
        metrics: what the next log line will say.
    """

    clock_name: ClassVar[Literal["env_steps", "updates"]] = "env_steps"
    learns_from: ClassVar[Literal["environments", "dataset"]] = "environments"

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.env_steps = 0
        self.clock = 0
        self.seed = 0
        self.metrics = MetricSums()
        self._memory: Memory | None = None
        self._streams: Streams | None = None
        self._pending: dict[str, Any] | None = None

    # life ------------------------------------------------------------------------------------------------------------

    def build(self, task: Task, seed: int = 0) -> None:
        """Makes all parameters for `task`, and starts from nothing; the same seed gives the same parameters."""
        check_argument(f"{type(self).__name__}.build(task=…)", task, Task)
        self.task, self.seed, self.env_steps, self.clock = task, seed, 0, 0
        self._memory, self._streams, self._pending, self.metrics = None, None, None, MetricSums()
        self.reset()
        reset_parts(self)
        with default_draws(seed, "planner", "default init"):
            self.make_parts(task, seed)

    @abstractmethod
    def make_parts(self, task: Task, seed: int) -> None:
        """Builds the parts that have parameters; torch's layers may draw their initial weights as they do."""

    @abstractmethod
    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        """Chooses actions for a batch of states.

        Args:
            obs: `N x S`.
            memory: from `memory(N, generator)`, one per batch of episodes; all that acting draws or remembers is in it.
            explore: whether the action is for training (noise, optimism) or for evaluation (the best known).
            snapshot: `N x W` simulator states (`Experience.snapshot`), for planners whose model starts from them.

        Returns:
            Actions `N x A` in [−1, 1], and the memory to pass next time.
        """

    @torch.no_grad()
    def decide(self, obs: Tensor, memory: Memory, length: int, *, snapshot: Tensor | None = None) -> Tensor:
        """Chooses the actions of `length` steps in which it won't look, deterministic, as evaluations act.

        The first is that of `act(explore=False)`, and a longer decision begins with the shorter one. By default that action
        is held. A length beyond `decision_length` is allowed: a plan's last action is held, a sequence policy goes on.

        Args:
            obs: `N x S`, where the steps begin.
            memory: as for `act`; afterwards it is that of whoever has taken all these actions, so that a caller who breaks
                off for any other reason than an episode's end asks a planner that remembers what never happened.
            length: steps, at least 1.
            snapshot: as for `act`.

        Returns:
            Actions `N x length x A` in [−1, 1].

        Raises:
            ConfigError: for a length below 1.
        """
        check_whole(f"{type(self).__name__}.decide(length=…)", length)
        action, after = self.act(obs, memory, explore=False, snapshot=snapshot)
        if after is not memory:
            memory.load_state_dict(after.copied_state())
        return action.unsqueeze(1).expand(-1, length, -1)

    @property
    def decision_length(self) -> int:
        """Steps of its task that one decision spans in training: 1, a plan's horizon, or a sequence policy's length."""
        return 1

    @abstractmethod
    def tick(self, experience: Any) -> None:
        """One tick of training, which moves the clock: collect, refit when due, imagine, update.

        Args:
            experience: the `Experience` to collect `num_envs` steps in; None for a planner that learns from a dataset.
        """

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        """A fresh memory for `n` episodes that draws from `generator`."""
        return Memory(n, generator)

    def planner_state(self) -> dict[str, Any]:
        """State that a checkpoint keeps besides parameters, optimisers and buffers: tensors and plain data."""
        return {}

    def load_planner_state(self, state: dict[str, Any]) -> None:
        """Continues from `planner_state`."""
        if state:
            raise CheckpointError(f"{type(self).__name__}: the checkpoint holds a state, and load_planner_state is missing.")

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        """The state of each replay buffer by name; written to files of their own."""
        return {}

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        """Continues with the buffers of `buffers_state`."""
        if state:
            raise CheckpointError(f"{type(self).__name__}: the checkpoint holds buffers, and load_buffers_state is missing.")

    @abstractmethod
    def make_optimizers(self) -> list[Optimizer]:
        """The optimisers of all parts, made once after `build`."""

    # what training and acting share --------------------------------------------------------------------------------

    @property
    def learns(self) -> bool:
        """True if training changes how it acts. A planner that doesn't learn is tested without a checkpoint."""
        return True

    @property
    def never_fitted(self) -> bool:
        """True if it learns and has not begun to."""
        return self.learns and self.clock == 0

    @property
    def clock(self) -> int:
        """The count on the planner's clock: where a run stands."""
        return int(getattr(self, self.clock_name))

    @clock.setter
    def clock(self, count: int) -> None:
        setattr(self, self.clock_name, count)

    @property
    def streams(self) -> Streams:
        """The run's named generators, on the planner's device."""
        if self._streams is None:
            self._streams = Streams(self.seed, self.device)
        return self._streams

    def collect_memory(self, n: int) -> Memory:
        """The memory of the training episodes."""
        if self._memory is None:
            self._memory = self.memory(n, self.streams["exploration"])
        if self._memory.n != n:
            raise CheckpointError(
                f"{type(self).__name__}: expected the memory of {n} environments, got one of {self._memory.n}; resume "
                "with as many as before."
            )
        return self._memory

    @property
    def collects(self) -> int:
        """`N`, the environments in which training acts; 0 before it has acted."""
        return 0 if self._memory is None else self._memory.n

    # Lightning -----------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Builds for the DataModule's task, unless already built for one.

        Raises:
            ConfigError: if a fit's data module is of the kind that the planner doesn't learn from.
        """
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if stage == "fit":
            self._check_source(data)
        if data is None:
            return
        if self.task is None:
            self.build(data.task, data.seed)
        else:
            check_same_task(self.task, data.task, type(self).__name__)

    def _check_source(self, data: Any) -> None:
        who, got = type(self).__name__, type(data).__name__
        if self.learns_from == "environments" and not hasattr(data, "experience"):
            raise ConfigError(
                f"{who}: expected a data module with environments to learn in (mbrl.envs.OnlineData), got {got}; pass "
                "OnlineData(…), or fit a dynamics model alone on a dataset."
            )
        if self.learns_from == "dataset" and not hasattr(data, "transitions"):
            raise ConfigError(
                f"{who}: expected a dataset to learn from (mbrl.envs.OfflineData), got {got}; pass OfflineData(…), or a "
                "planner that learns in environments."
            )

    def configure_optimizers(self) -> list[Optimizer]:
        """Hands the parts' optimisers to Lightning, which saves and restores them."""
        return self.make_optimizers()

    def training_step(self, batch: Any, batch_idx: int) -> None:
        """One tick; the loader's item is its number.

        Raises:
            EnvironmentFailedError: if the environment fails; memory and loader are then as before the tick.
        """
        before = None if self._memory is None else self._memory.copied_state()
        trainer: Any = self.trainer
        try:
            self.tick(trainer.datamodule.experience if self.learns_from == "environments" else None)
        except EnvironmentFailedError:
            if self._memory is not None and before is not None:
                self._memory.load_state_dict(before)
            trainer.train_dataloader.position = batch
            raise

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        """Runs the episodes that the loader asks for and logs `eval/…`."""
        self._logged_evaluation("eval", batch)

    def test_step(self, batch: Any, batch_idx: int) -> None:
        """Runs the episodes that the loader asks for and logs `test/…`."""
        self._logged_evaluation("test", batch)

    def _logged_evaluation(self, prefix: str, request: Any) -> None:
        trainer: Any = self.trainer
        try:
            with evaluating(self):
                returns = evaluate(
                    self, request.experience, request.episodes, request.seed, lambda: bool(trainer.stop_signal)
                )
        except EvaluationStopped:
            raise SystemExit(128 + trainer.stop_signal) from None
        spread = {"return_std": returns.returns.std().item()} if prefix == "test" and request.episodes > 1 else {}
        for name, value in {**returns.summary(), **spread}.items():
            self.log(f"{prefix}/{name}", torch.tensor(value, dtype=torch.float32), batch_size=1)

    # checkpoint ----------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds the spec, the task and all training state, as tensors and plain data."""
        checkpoint["mbrl"] = {
            "kind": "planner",
            "spec": self.spec,
            "task": self.built_task.to_plain(),
            "seed": self.seed,
            self.clock_name: self.clock,
            "threads": torch.get_num_threads(),
            "streams": self.streams.state_dict(),
            "memory": None if self._memory is None else {"n": self._memory.n, **self._memory.state_dict()},
            "metrics": self.metrics.state_dict(),
            "planner": self.planner_state(),
            "parts": states_of_parts(self),
        }
        checkpoint["mbrl_buffers"] = self.buffers_state()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Takes the state in; what lies on the device waits for `restore`, since Lightning moves the module later."""
        state = checkpoint["mbrl"]
        check_same_task(self.built_task, state["task"], "the checkpoint")
        self.clock = state[self.clock_name]
        self._pending = {**state, "buffers": checkpoint.get("mbrl_buffers", {})}

    def restore(self, *, training: bool = False) -> None:
        """Continues from what `on_load_checkpoint` took in, once the device is known; without that it does nothing.

        Args:
            training: whether to restore what only training needs too: streams, memory, metrics and buffers.
        """
        if self._pending is None:
            return
        state, self._pending = self._pending, None
        with reading(f"the state of {type(self).__name__}"):
            if training:
                self.streams.load_state_dict(state["streams"])
                if state["memory"] is not None:
                    self._memory = self.memory(state["memory"]["n"], self.streams["exploration"])
                    self._memory.load_state_dict(state["memory"])
                    if self._trainer is not None and self.learns_from == "environments":
                        self.collect_memory(self.trainer.datamodule.experience.num_envs)  # type: ignore[attr-defined]
                self.metrics.load_state_dict(state["metrics"], self.device)
            self.load_planner_state(state["planner"])
            load_states_of_parts(self, state.get("parts", {}))
            if training:
                self.load_buffers_state(state["buffers"])

    def on_fit_start(self) -> None:
        """Restores all that `on_save_checkpoint` added."""
        self.restore(training=True)

    def on_validation_start(self) -> None:
        """Restores what acting needs of a checkpoint."""
        self.restore()

    on_test_start = on_validation_start
