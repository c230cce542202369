"""`OnlinePlanner`: collects real steps, keeps them, and refits its model on schedule. What Dyna and PETS share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection
from typing import Any, Literal

import torch
from torch import Tensor

from mbrl.arguments import Count, Natural
from mbrl.data import ReplayBuffer, Task, Transitions, ValueFunction, make_generator
from mbrl.envs.experience import Experience
from mbrl.envs.simulator_state import simulator_state_size
from mbrl.errors import CheckpointError, ConfigError, TaskError, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.planners.base import Planner
from mbrl.planners.capabilities import HasDynamics
from mbrl.planners.evaluation import snapshot_for
from mbrl.planners.fitting import fit_to
from mbrl.planners.memory import Memory
from mbrl.planners.rollouts.imagination import REAL_ROWS
from mbrl.policies import Learner


class OnlinePlanner(Planner, HasDynamics):
    """Acts in real environments with `act`, stores what happens, and refits a model as data come in.

    A planner of this kind implements `make_parts`, `act` and `learn`, and may do something `after_refit`. One that
    `LearnsPolicy` has its learner take statistics of the real rows after each fit.

    Attributes:
        dynamics: the model; None for a planner that learns without one, which then refits nothing.
        warmup_steps: real steps before the first fit.
        warmup: how actions are chosen until then, as in `Dyna`.
        refit_every: real steps between fits.
        real_capacity: real rows kept at most.
        updates_per_step: updates of its learner, if there is one, for each real step after the warm-up.
        keep_sim_state: whether the simulator's states are kept with them, as `extras["sim_state"]`.
        float64_extras: names of those of `row_extras` that are kept as float64; the others are float32.
    """

    updates_per_step: int = 0
    float64_extras: Collection[str] = ()

    def __init__(
        self,
        dynamics: DynamicsModel | None,
        *,
        warmup_steps: Natural,
        warmup: Literal["uniform", "held", "policy"],
        refit_every: Count,
        real_capacity: Count,
        keep_sim_state: bool = False,
    ) -> None:
        super().__init__()
        self.dynamics = dynamics
        self.warmup_steps = warmup_steps
        self.warmup = warmup
        self.refit_every = refit_every
        self.real_capacity = real_capacity
        self.keep_sim_state = keep_sim_state
        self._real: ReplayBuffer | None = None
        self._from_memory: tuple[str, ...] = ()  # extras of real rows that come from the memory

    # life ------------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Builds as every planner does, and refuses a run that would end before the planner learns anything.

        Its learner hears how many updates a fit makes (`Learner.take_length`).

        Raises:
            ConfigError: if a fit has no more steps than `warmup_steps`.
            UnsupportedError: if a fit is to keep simulator states of an environment without.
        """
        super().setup(stage)
        if stage == "fit":
            self._state_width()
        steps = getattr(self.trainer.datamodule, "steps", None)  # type: ignore[attr-defined]
        if stage == "fit" and self.learns and steps is not None and steps <= self.warmup_steps:
            raise ConfigError(
                f"{type(self).__name__}: expected more steps than those of the warm-up, in which nothing is learned, got "
                f"data.init_args.steps {steps} and model.init_args.warmup_steps {self.warmup_steps}; raise the first or "
                "lower the second."
            )
        learner: Learner | None = getattr(self, "learner", None)
        if stage == "fit" and steps is not None and learner is not None:
            envs = getattr(self.trainer.datamodule, "num_envs", 1)  # type: ignore[attr-defined]
            warmup = -(-self.warmup_steps // envs) * envs  # in whole ticks, the last of which learns nothing either
            updates = sum(self.updates_at(-(-step // envs) * envs) for step in range(warmup + 1, steps + 1))
            if updates > 0:
                learner.take_length(updates)

    @property
    def never_fitted(self) -> bool:
        return self.learns and self.env_steps < max(self.warmup_steps, 1)

    # parts -----------------------------------------------------------------------------------------------------------

    def build(self, task: Task, seed: int = 0) -> None:
        """As every planner.

        Raises:
            UnsupportedError: if planner or learner ask for extras of real rows that the memory can't fill.
        """
        super().build(task, seed)
        self._from_memory = self._check_memory_extras()

    def row_extras(self, task: Task) -> dict[str, int]:
        """Widths of the extras that this planner keeps with its real rows, beside those that model and learner ask for.

        They are filled from the tensor of that name in its `Memory`, `N x …`, as it was before the action.
        """
        return {}

    def _memory_extras(self) -> tuple[dict[str, int], set[str]]:
        """Extras of real rows that come from the memory: their widths, and the names of those kept as float64."""
        widths: dict[str, int] = {}
        double: set[str] = set()
        for asking in (self, getattr(self, "learner", None)):
            if asking is None:
                continue
            for name, width in asking.row_extras(self.built_task).items():
                if widths.setdefault(name, width) != width:
                    raise UnsupportedError(
                        f"{type(self).__name__}: expected one width of the rows' {name!r}, got {widths[name]} and {width}; "
                        "have planner and learner ask for the same."
                    )
            double |= set(asking.float64_extras)
        return widths, double

    def _check_memory_extras(self) -> tuple[str, ...]:
        """Refuses extras that the memory can't fill; returns the names of the others."""
        widths, _ = self._memory_extras()
        if not widths:
            return ()
        memory = self.memory(1, make_generator(self.device, "row extras"))
        found = {name: tensor[0].numel() for name, tensor in memory.tensors.items()}
        of_model = {} if self.dynamics is None else self.dynamics.row_extras(self.built_task)
        taken = {"episode", "env", *REAL_ROWS, *of_model}
        for name, width in widths.items():
            if name in taken:
                raise UnsupportedError(
                    f"{type(self).__name__}: expected other names of rows' extras than {sorted(taken)}, which are taken, "
                    f"got {name!r}; rename it."
                )
            if found.get(name) != width:
                got = f"width {found[name]}" if name in found else f"only {sorted(found)}"
                raise UnsupportedError(
                    f"{type(self).__name__} can't keep {name!r} of width {width} with its rows: its memory holds {got}; "
                    "remember it there (Planner.memory), or take a learner that does without."
                )
        return tuple(widths)

    @property
    def fit_value(self) -> ValueFunction | None:
        """The value function that value-aware models are fitted with, or None."""
        return None

    def build_dynamics(self, seed: int) -> None:
        """Builds the model, if there is one, for the task, and begins with an empty buffer.

        Raises:
            UnsupportedError: if the model needs something in its rows that no environment gives, or a value function that
                the planner hasn't.
        """
        self._real = None
        if self.dynamics is None:
            return
        if self.dynamics.wants_value and self.fit_value is None:
            raise UnsupportedError(
                f"{type(self).__name__} can't use {type(self.dynamics).__name__}: its fit asks for values, and "
                "there is no learner to say them; set learner."
            )
        self.dynamics.build(self.built_task, seed)
        if self.built_task.allow is not None:  # loaded: the model may have to make its environment to answer
            return
        unknown = sorted(set(self.dynamics.row_extras(self.built_task)) - {"sim_state"})
        if unknown:
            raise UnsupportedError(
                f"{type(self).__name__} can't use {type(self.dynamics).__name__}: environments lack the {unknown} it needs."
            )

    @property
    def real_buffer(self) -> ReplayBuffer:
        """The real steps of this run."""
        if self._real is None:
            task, capacity = self.built_task, self.real_capacity
            data = None if self._trainer is None else self.trainer.datamodule  # type: ignore[attr-defined]
            capacity = min(capacity, getattr(data, "steps", capacity))  # a run never needs more rows than it has steps
            extras = {**self._state_width(), **({} if self.dynamics is None else self.dynamics.row_extras(task))}
            remembered, double = self._memory_extras()
            self._real = ReplayBuffer(
                capacity,
                task.obs_size,
                task.action_size,
                device=self.device,
                extras={**extras, **remembered},
                float64=(*extras, *(name for name in remembered if name in double)),  # a simulator's state loses no digit
                store_episodes=True,
            )
        return self._real

    def _state_width(self) -> dict[str, int]:
        """`sim_state` and its width `W`, if it is kept whatever the model asks for; the environment is made once to see."""
        if not self.keep_sim_state:
            return {}
        try:
            return {"sim_state": simulator_state_size(self.built_task, allow=self.built_task.allow)}
        except TaskError as error:
            raise UnsupportedError(
                f"{type(self).__name__}(keep_sim_state=True): {str(error).rstrip('.')}; leave it out."
            ) from error

    def start_extras(self, snapshot: Tensor | None) -> dict[str, Tensor]:
        """Columns that the model needs besides observations to start from the real environments' present states.

        Args:
            snapshot: the environments' simulator states, `N x W`, or None if they have none.

        Raises:
            UnsupportedError: if the model needs them and there are none.
        """
        if self.dynamics is None or not self.dynamics.row_extras(self.built_task):
            return {}
        if snapshot is None:
            raise UnsupportedError(
                f"{type(self).__name__}: expected environments that show their simulator's state, which "
                f"{type(self.dynamics).__name__} starts from, got none of it; let OnlineData make them."
            )
        return {"sim_state": snapshot}

    def start_rows(self, obs: Tensor, snapshot: Tensor | None) -> Transitions:
        """Rows of the real environments' present states, for the model's `start`; arguments as in `act`.

        Without a snapshot, a model that starts from one is left to say whether observations are enough.
        """
        extras = {} if snapshot is None else self.start_extras(snapshot)
        return Transitions.from_obs(obs, self.built_task.action_size, **extras)

    # one tick --------------------------------------------------------------------------------------------------------

    def tick(self, experience: Experience) -> None:
        """Collects one step in each environment; refits when due; learns."""
        before = self.env_steps
        new = self._collect(experience)
        if self.env_steps < self.warmup_steps:
            return
        if self._refits(self.env_steps) > self._refits(before):
            self.before_refit()
            fit_to(self, self.real_buffer.all(), self.fit_value)
            self.after_refit()
        if before >= self.warmup_steps:  # the tick that ends the warm-up fits the model and leaves the policy alone
            self.learn(new)

    def before_refit(self) -> None:
        """Does what precedes a fit, while the model hasn't seen the newest rows; by default nothing."""

    def after_refit(self) -> None:
        """Does what follows a fit, such as fresh rollouts; by default nothing."""

    def updates_at(self, env_steps: int) -> int:
        """Updates of its learner for each real step of a tick that ends there, after the warm-up."""
        return self.updates_per_step

    @abstractmethod
    def learn(self, new: int) -> None:
        """Does what follows `new` real steps after the warm-up, such as a learner's updates."""

    def warmup_action(self, obs: Tensor, memory: Memory) -> Tensor:
        """Actions before the first fit, `N x A`: uniform. Nothing may plan here, since the model has seen nothing yet."""
        shape = (len(obs), self.built_task.action_size)
        return torch.rand(shape, generator=memory.generator, device=self.device, dtype=torch.float32) * 2 - 1

    def decided_share(self, memory: Memory) -> Tensor | float:
        """The share of the memory's episodes in which the last action was decided when it was taken: all, by default."""
        return 1.0

    def count_actor_updates(self, per_step: float) -> None:
        """Reports updates of the policy that acts, for each real step, as such per step of the environment itself."""
        self.metrics.add({"train/actor_updates_per_step": per_step / self.built_task.action_repeat})

    def _refits(self, env_steps: int) -> int:
        """Counts the fits that should have happened by then."""
        return 0 if env_steps < self.warmup_steps else 1 + (env_steps - self.warmup_steps) // self.refit_every

    @torch.no_grad()
    def _collect(self, experience: Experience) -> int:
        """Steps the environments and stores the rows; returns how many, fewer than `N` where one only reset itself."""
        memory = self.collect_memory(experience.num_envs)
        memory.reset(experience.ended)  # before acting, so that a resume with fresh episodes forgets the old ones
        snapshot = snapshot_for(self, experience)
        extras = self.start_extras(snapshot)
        if self.keep_sim_state:
            state = experience.snapshot
            if state is None:
                raise UnsupportedError(
                    f"{type(self).__name__}(keep_sim_state=True): expected environments that show their simulator's state, "
                    "got none of it; let OnlineData make them, or leave it out."
                )
            extras["sim_state"] = state
        for name in self._from_memory:
            extras[name] = memory.tensors[name].reshape(memory.n, -1).clone()  # acting may change it in place
        if self.env_steps < self.warmup_steps:
            action = self.warmup_action(experience.obs, memory)
        else:
            action, memory = self.act(experience.obs, memory, explore=True, snapshot=snapshot)
            decided = self.decided_share(memory) / self.built_task.action_repeat
            self.metrics.add({"train/decisions_per_step": decided})
        rows = experience.step(action)
        if len(rows) < len(action):  # one that resets itself gave no row
            extras = {name: column[rows.extras["env"].to(column.device)] for name, column in extras.items()}
        rows.extras.update(extras)
        self.real_buffer.add(rows)
        self.env_steps += len(rows)
        for total, length in experience.finished():
            self.metrics.add({"train/return": total, "train/episode_length": float(length)})
        return len(rows)

    # checkpoint ------------------------------------------------------------------------------------------------------

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return {} if self._real is None else {"real": self._real.state_dict()}

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        if "real" not in state and self.env_steps > 0:
            raise CheckpointError(
                f"{type(self).__name__}: expected the run's {self.env_steps} real steps, got none; use another checkpoint."
            )
        if "real" in state:
            wanted = self.real_buffer.capacity
            self.real_buffer.load_state_dict(state["real"])
            # a run that goes on for more steps than it was planned for still forgets none of its own
            self.real_buffer.resize(max(wanted, self.real_buffer.capacity))
