"""`OfflineData`: the DataModule of models that are fitted to recorded steps, and of planners that learn from them."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.model_helpers import is_overridden

from mbrl.arguments import Count, Natural, Positive, Seed
from mbrl.data import NormalizedScore, OfflineDataset, Task, Transitions, read_offline, trajectory_weights
from mbrl.data.dataset_description import describe
from mbrl.data.rows_in_order import RowsInOrder
from mbrl.envs.check import check_functions
from mbrl.envs.dataset_identity import check_same_dataset, dataset_identity
from mbrl.envs.offline.asked_task import AskedTask
from mbrl.envs.planner_data import PlannerData, Requests, TickLoader
from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.spec import Configurable

_CHECKED_ROWS = 10_000  # of the dataset, on which known functions must agree
_PREDICT_ROWS = 4096  # in a batch of `predict`


class OfflineData(Configurable, PlannerData):
    """Recorded steps to fit a model to, or for a planner to learn from.

    They are read from a `.npz`, an HDF5 file in D4RL's layout, or a Minari dataset.

    What the task is comes from `env_id`, whose environment is made once and compared with the dataset; without it, from the
    dataset's own note, which makes no environment. Sizes are always the dataset's.

    A planner that learns from it (`Planner.learns_from`) is evaluated in environments that nothing else uses, if the task
    has an id. The dataset stays out of checkpoints: a resumed run reads it again, and refuses another.

    Args:
        path: a `.npz`, `.hdf5` or `.h5` file, or the folder or id of a Minari dataset on this machine.
        env_id: the environment that recorded it, for files that don't say; see `make_task`.
        env_kwargs: its keyword arguments; None takes those that the dataset names, if it names the same environment.
        action_repeat: simulator steps in one real step; None takes what the dataset says, else 1.
        action_low: `A` lower action bounds in environment units, where neither the dataset nor `env_id` tells.
        action_high: `A` upper action bounds, likewise.
        clip_actions: take actions beyond the bounds for the bounds, as an environment does that clips them itself;
            otherwise only rounding is (see `OfflineDataset.transitions`).
        reward: `auto` takes the environment's known function and, where there is none, lets the model learn it; `learned`
            always does; else the dotted name of a function (see `make_task`). A known function must agree with the
            dataset's first 10,000 rows.
        terminated: as `reward`, for termination.
        names: of the observation's `S` numbers, for reports and equations; None takes those of `env_id`'s environment.
        done: `terminated` takes a column `done` for the end of the task, as it is in NeoRL's files; None refuses a file with
            nothing else, since in others it says that a time limit cut the episode too.
        rows: number of rows to use, from the first on; None for all.
        weights: draw the steps of better episodes more often into a planner's batches and as starts of its rollouts, by the
            episodes' `return` or `advantage` (`trajectory_weights`; Hong2023); None draws uniformly. Fits take all alike.
        temperature: of the weights; raising it draws more evenly. None takes 0.1 where there are weights.
        seed: seed of the run: of the parameters, the split, the order of rows, and what a planner draws.
        steps: length of a planner's run on its clock, a tick each; a model fitted alone takes none (`trainer.max_epochs`).
        eval_episodes: whole episodes per evaluation of a planner while it trains; 0 for none, which takes no real step.
        test_episodes: whole episodes of a planner's `test`.
        eval_limit: real steps after which both cut an episode, where the environment has no time limit of its own.

    Attributes:
        dataset: the recorded steps as read, in environment units.
        task: what is known of the environment.
        transitions: all rows as the library has them, on the CPU.
        references: returns between which the dataset normalises scores (Minari's reference scores), or None.
        allow: modules in which names may be looked up if these settings came in a file; None, as at first, if the user wrote
            them. What the dataset names is looked up in no others in either case, but for `trusted`.
        trusted: modules that the user trusts (`--allow`), in which names that the dataset notes may be looked up too.

    Raises:
        DataError: when first used, if there is no such dataset, it can't be used, or it is of another task.
        ConfigError: if options exclude each other, or the action bounds are missing.
        UntrustedNameError: if the dataset names an environment or function outside `mbrl` and `env_id` doesn't.
    """

    former = MappingProxyType({"names": None, "done": None, "weights": None, "temperature": None})

    def __init__(
        self,
        path: str,
        *,
        env_id: str | None = None,
        env_kwargs: dict[str, Any] | None = None,
        action_repeat: Count | None = None,
        action_low: list[float] | None = None,
        action_high: list[float] | None = None,
        clip_actions: bool = False,
        reward: str = "auto",
        terminated: str = "auto",
        names: Sequence[str] | None = None,
        done: Literal["terminated"] | None = None,
        rows: Count | None = None,
        weights: Literal["return", "advantage"] | None = None,
        temperature: Positive | None = None,
        seed: Seed = 0,
        steps: Count | None = None,
        eval_episodes: Natural = 5,
        test_episodes: Count = 10,
        eval_limit: Count = 1000,
    ) -> None:
        super().__init__()
        if env_kwargs is not None and env_id is None:
            raise ConfigError("OfflineData: expected env_id beside env_kwargs, got none; name the environment too.")
        if (action_low is None) != (action_high is None):
            raise ConfigError("OfflineData: expected both action_low and action_high, or neither, got one; give both.")
        if action_low is not None and env_id is not None:
            raise ConfigError("OfflineData: expected env_id or action_low and action_high, got all; leave one side out.")
        if weights is None and temperature is not None:
            raise ConfigError("OfflineData: expected weights beside temperature, got none; give return or advantage.")
        self.path = path
        self.env_id = env_id
        self.env_kwargs = env_kwargs
        self.action_repeat = action_repeat
        self.action_low = action_low
        self.action_high = action_high
        self.clip_actions = clip_actions
        self.reward = reward
        self.terminated = terminated
        self.names = names
        self.done = done
        self.rows = rows
        self.weights = weights
        self.temperature = temperature
        self.seed = seed
        self.steps = steps
        self.eval_episodes = eval_episodes
        self.test_episodes = test_episodes
        self.eval_limit = eval_limit
        self._identity: dict[str, Any] | None = None
        self.allow: Sequence[str] | None = None
        self.trusted: Sequence[str] = ()
        self._dataset: OfflineDataset | None = None
        self._task: Task | None = None
        self._transitions: Transitions | None = None
        self._noted: tuple[Task, NormalizedScore | None] | None = None  # of a run, which does without the dataset

    def without_dataset(self, task: Task, references: NormalizedScore | None) -> None:
        """Serves the evaluations of a planner that has learned already: nothing is read, wherever the dataset is by now.

        Args:
            task: the planner's.
            references: what its scores are normalised by, as its run noted them.
        """
        self._noted = task, references

    # what there is ---------------------------------------------------------------------------------------------------

    @property
    def dataset(self) -> OfflineDataset:
        """The dataset as read, in environment units; read when first asked for."""
        if self._dataset is None:
            dataset = read_offline(self.path, done=self.done)
            self._dataset = dataset if self.rows is None else dataset.head(self.rows)
        return self._dataset

    @property
    def task(self) -> Task:
        """The task, whose known functions agree with the dataset."""
        if self._noted is not None:
            return self._noted[0]
        if self._task is None:
            asked = (self.env_id, self.env_kwargs, self.action_repeat, self.action_low, self.action_high)
            task = AskedTask(*asked, self.reward, self.terminated, self.names, self.allow, self.trusted).of(self.dataset)
            head = self.dataset.head(_CHECKED_ROWS)
            rows = head.transitions(task, clip_actions=self.clip_actions, dtype=torch.float64)
            check_functions(task, rows, f"of {self.dataset.source}")
            self.dataset.check_lost(task)
            self._task = task
        return self._task

    @property
    def transitions(self) -> Transitions:
        """All rows: float32, actions in [−1, 1], extras `episode`, and `sim_state` (float64) and `weight` if any."""
        if self._transitions is None:
            rows = self.dataset.transitions(self.task, clip_actions=self.clip_actions)
            if self.weights is not None:
                rows.extras["weight"] = trajectory_weights(rows, self.weights, self.temperature or 0.1)
            self._transitions = rows
        return self._transitions

    @property
    def references(self) -> NormalizedScore | None:
        return self.dataset.references if self._noted is None else self._noted[1]

    @property
    def precise_transitions(self) -> Transitions:
        """All rows with the digits of the dataset: in float64 if any of its columns is, else `transitions`.

        They are made anew each time that they are asked for, by fits in closed form.
        """
        data = self.dataset
        columns = (data.obs, data.action, data.next_obs, data.reward)
        if all(column is None or column.dtype != np.float64 for column in columns):
            return self.transitions
        return data.transitions(self.task, clip_actions=self.clip_actions, dtype=torch.float64)

    def describe(self) -> list[str]:
        """Describes the dataset before a model is fitted to it, one sentence per fact."""
        return describe(self.dataset, self.task, self.transitions)

    # Lightning -------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Reads and checks the dataset, so that a bad one stops before anything is made.

        Raises:
            ConfigError: in a fit, for a planner without `steps`, or a model alone with them.
            DataError: if the environment that a planner is to be evaluated in isn't what the dataset was recorded in.
        """
        if self._noted is None or stage == "fit":
            _ = self.transitions
        module = None if self.trainer is None else self.trainer.lightning_module
        if stage != "fit" or module is None:
            return
        if self._has_planner() and self.steps is None:
            clock = module.clock_name
            raise ConfigError(
                f"OfflineData: expected the length of the run (in {clock}), got none; set data.init_args.steps."
            )
        if not self._has_planner() and self.weights is not None:
            raise ConfigError(
                f"OfflineData(weights={self.weights}): expected a planner, whose batches they are for, got "
                f"{type(module).__name__} alone, which is fitted to all rows alike; leave weights out."
            )
        if not self._has_planner() and self.steps is not None:
            what = f"expected a planner, whose steps they are, got {type(module).__name__} alone"
            raise ConfigError(f"OfflineData(steps={self.steps}): {what}; set trainer.max_epochs in their place.")
        if self._has_planner() and (request := self.evaluation_request(0)) is not None:
            shown = request.experience.obs.shape[1]
            if shown != self.task.obs_size:
                raise DataError(
                    f"{self.dataset.source}: expected observations of size {self.task.obs_size} in {self.task.env_id}, to "
                    f"evaluate in, got {shown}; give env_id and env_kwargs, or set eval_episodes to 0."
                )

    def teardown(self, stage: str) -> None:
        """Closes the environments of evaluations."""
        self.close_evaluation()

    @property
    def no_evaluation(self) -> str | None:
        if self.eval_episodes == 0:
            return "eval_episodes is 0; raise data.init_args.eval_episodes to have one"
        if not self.task.env_id:
            return f"{self.path} names no environment; set data.init_args.env_id to have one"
        return None

    def train_dataloader(self) -> Any:
        """A planner's ticks, or the batches that the model asks for: it knows its members and its holdout."""
        return TickLoader(self.steps or 0) if self._has_planner() else self._of_model("train_dataloader")

    def val_dataloader(self) -> Any:
        """One request for `eval_episodes` of a planner's episodes, or the model's held-out rows."""
        return Requests(self, "eval") if self._has_planner() else self._of_model("val_dataloader")

    def test_dataloader(self) -> Any:
        """One request for `test_episodes` of a planner's episodes, or all rows, in the model's batches."""
        return Requests(self, "test") if self._has_planner() else self._of_model("test_dataloader")

    def predict_dataloader(self) -> Any:
        """All rows in order."""
        module = None if self.trainer is None else self.trainer.lightning_module
        if module is not None and is_overridden("predict_dataloader", module, pl.LightningModule):
            return module.predict_dataloader()
        return RowsInOrder(self.transitions, _PREDICT_ROWS)

    def state_dict(self) -> dict[str, Any]:
        """The identity of what is learned from; the rows themselves stay in their file."""
        return {"dataset": self._known_identity()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Refuses to go on with other rows than those of `state_dict`.

        Raises:
            CheckpointError: if the dataset isn't the one that the run began with.
        """
        if "dataset" in state_dict:
            check_same_dataset(state_dict["dataset"], self._known_identity(), self.dataset.source)

    def _known_identity(self) -> dict[str, Any]:
        if self._identity is None:  # it takes a while, and every checkpoint asks
            self._identity = dataset_identity(self.transitions)
        return self._identity

    def _has_planner(self) -> bool:
        module = None if self.trainer is None else self.trainer.lightning_module
        return hasattr(module, "clock_name")

    def _of_model(self, loader: str) -> Any:
        module = None if self.trainer is None else self.trainer.lightning_module
        if module is None or not is_overridden(loader, module, pl.LightningModule):
            what = "no Trainer" if module is None else type(module).__name__
            raise UnsupportedError(f"OfflineData: expected a dynamics model or a planner, got {what}; use mbrl's Trainer.")
        return getattr(module, loader)()
