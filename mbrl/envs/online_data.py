"""`OnlineData`: the DataModule of planners that learn while they act."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pytorch_lightning as pl
import torch
from gymnasium.vector import VectorEnv

from mbrl.arguments import Count, Seed
from mbrl.data import Task, derived_seed
from mbrl.envs.check import check_task
from mbrl.envs.experience import Experience, check_steps
from mbrl.envs.handed_over import HandedOverExperience
from mbrl.envs.task import make_task
from mbrl.envs.vector_experience import Resume, VectorExperience
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.spec import Configurable

_EVALUATION_ENVS = 10  # at once: more episodes than these run one after the other


@dataclass
class EvaluationRequest:
    """Episodes that a planner is asked to run.

    Attributes:
        experience: environments of its own, apart from training's.
        episodes: number of whole episodes.
        seed: seed of the episodes' starts and of all that acting draws.
    """

    experience: Experience
    episodes: int
    seed: int


class TickLoader:
    """Counts the ticks of a run; its state is the position, which Lightning keeps in the checkpoint.

    Args:
        ticks: number of ticks.
    """

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self.position = 0

    def __len__(self) -> int:
        return self.ticks

    def __iter__(self) -> Iterator[int]:
        while self.position < self.ticks:
            self.position += 1
            yield self.position - 1

    def state_dict(self) -> dict[str, int]:
        """The ticks handed out so far."""
        return {"position": self.position}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Goes on behind the ticks of `state`."""
        self.position = state["position"]


class _Requests:
    """A loader of one request, made anew each time."""

    def __init__(self, data: OnlineData, purpose: Literal["eval", "test"]) -> None:
        self.data = data
        self.purpose = purpose

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[EvaluationRequest]:
        if self.purpose == "test":
            yield self.data.test_request()
        else:
            yield self.data.evaluation_request(self.data.planner_steps())


class OnlineData(Configurable, pl.LightningDataModule):
    """Real environments to train in, and others to evaluate in.

    Args:
        env_id: Gymnasium's id, `module:Id`, or a dm_control task such as `dm_control/cartpole-swingup-v0`.
        steps: real environment steps of the run, warm-up included, evaluation not.
        num_envs: environments stepped at once; `steps` must be a multiple of it.
        seed: seed of the run: of the episodes' starts, and of what the planner draws.
        env_kwargs: keyword arguments for `gymnasium.make`, plain data (see `make_task`).
        action_repeat: simulator steps in one real step; episodes end with the last whole one before the time limit.
        reward: `auto`, `learned`, or the dotted name of a function (see `make_task`).
        terminated: `auto`, `learned`, or the dotted name of a function (see `make_task`).
        eval_episodes: whole episodes per evaluation while training.
        test_episodes: whole episodes of `test`.
        resume: `exact`, or `next_episode` for environments that can't be replayed (see `VectorExperience`).

    Attributes:
        task: what the environment is; made when first asked for.
        experience: the training environments, from `setup("fit")` to `teardown("fit")`.

    Raises:
        ConfigError: if `steps` isn't a multiple of `num_envs`, or a number is out of range.
    """

    def __init__(
        self,
        env_id: str,
        *,
        steps: Count,
        num_envs: Count = 1,
        seed: Seed = 0,
        env_kwargs: dict[str, Any] | None = None,
        action_repeat: Count = 1,
        reward: str = "auto",
        terminated: str = "auto",
        eval_episodes: Count = 5,
        test_episodes: Count = 10,
        resume: Resume = "exact",
    ) -> None:
        super().__init__()
        check_steps("OnlineData", steps, num_envs)
        self.env_id = env_id
        self.steps = steps
        self.num_envs = num_envs
        self.seed = seed
        self.env_kwargs = env_kwargs
        self.action_repeat = action_repeat
        self.reward = reward
        self.terminated = terminated
        self.eval_episodes = eval_episodes
        self.test_episodes = test_episodes
        self.resume = resume
        self._task: Task | None = None
        self._experience: VectorExperience | HandedOverExperience | None = None
        self._handed_over: VectorEnv[Any, Any, Any] | None = None
        self._evaluation: dict[int, VectorExperience] = {}  # by number of environments
        self._pending: dict[str, Any] | None = None  # a state that came before the environments

    @property
    def task(self) -> Task:
        """The task; the environment is made once to see what it is."""
        if self._task is None:
            self._task = make_task(
                self.env_id,
                self.env_kwargs,
                reward=self.reward,
                terminated=self.terminated,
                action_repeat=self.action_repeat,
            )
        return self._task

    @property
    def experience(self) -> VectorExperience | HandedOverExperience:
        """The training environments.

        Raises:
            NotBuiltError: outside `fit`.
        """
        if self._experience is None:
            raise NotBuiltError('OnlineData.experience was used before setup("fit"), which makes the environments; call it.')
        return self._experience

    def hand_over(self, vector_env: VectorEnv[Any, Any, Any]) -> OnlineData:
        """Trains in a vector environment of the user's own (see `HandedOverExperience`); evaluation makes its own.

        Returns:
            This object, so that calls can be chained.

        Raises:
            ConfigError: if it has another number of environments, training has begun, or `resume` isn't `next_episode`:
                a vector environment can't be replayed, and the run would end at its first checkpoint.
        """
        if vector_env.num_envs != self.num_envs:
            raise ConfigError(
                f"OnlineData: expected a vector environment of num_envs={self.num_envs}, got one of {vector_env.num_envs}; "
                "give both the same number."
            )
        if self._experience is not None:
            raise ConfigError("OnlineData: expected hand_over before fit, got it during training; call it earlier.")
        if self.resume != "next_episode":
            raise ConfigError(f"OnlineData: expected resume='next_episode' with hand_over, got {self.resume!r}; set it.")
        self._handed_over = vector_env
        return self

    # Lightning -------------------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Checks the known functions and makes the training environments, if `stage` is `fit`.

        The environments of evaluations are made when first asked for.

        Raises:
            TaskError: if a known function disagrees with the environment (see `check_task`).
        """
        if stage != "fit" or self._experience is not None:
            return
        check_task(self.task, seed=self.seed)
        seed, device = derived_seed(self.seed, "train"), self._device()
        if self._handed_over is None:
            self._experience = VectorExperience(self.task, self.num_envs, seed=seed, device=device, resume=self.resume)
        else:
            self._experience = HandedOverExperience(
                self.task, self._handed_over, seed=seed, device=device, resume=self.resume
            )
        if self._pending is not None:
            self._experience.load_state_dict(self._pending)
            self._pending = None

    def teardown(self, stage: str) -> None:
        """Closes all environments."""
        if stage == "fit" and self._experience is not None:
            self._experience.close()
            self._experience = None
        for experience in self._evaluation.values():
            experience.close()
        self._evaluation = {}

    def train_dataloader(self) -> TickLoader:
        """`steps / num_envs` ticks, counted from the start unless Lightning restores the position."""
        return TickLoader(self.steps // self.num_envs)

    def val_dataloader(self) -> _Requests:
        """One request for `eval_episodes` episodes."""
        return _Requests(self, "eval")

    def test_dataloader(self) -> _Requests:
        """One request for `test_episodes` episodes, the same whenever it is made."""
        return _Requests(self, "test")

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns `batch` as it is: ticks are numbers, and requests hold environments."""
        return batch

    def state_dict(self) -> dict[str, Any]:
        """The training environments' state; the position is the loader's own."""
        if self._experience is None:
            return {} if self._pending is None else {"experience": self._pending}
        return {"experience": self._experience.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continues where `state_dict` was taken; without training environments (`test`), keeps it for `setup("fit")`."""
        if "experience" not in state_dict:
            return
        if self._experience is None:
            self._pending = state_dict["experience"]
        else:
            self._experience.load_state_dict(state_dict["experience"])

    # evaluation ------------------------------------------------------------------------------------------------------

    def evaluation_request(self, env_steps: int) -> EvaluationRequest:
        """An evaluation at `env_steps` real steps: the same one whenever it is asked for, in a resumed run too."""
        return self._request(self.eval_episodes, derived_seed(self.seed, "eval", env_steps))

    def test_request(self) -> EvaluationRequest:
        """The test, whose episodes no evaluation during training has seen."""
        return self._request(self.test_episodes, derived_seed(self.seed, "test"))

    def planner_steps(self) -> int:
        """The clock of the planner that trains with this module; 0 without one."""
        module = None if self.trainer is None else self.trainer.lightning_module
        return int(getattr(module, "env_steps", 0))

    def _request(self, episodes: int, seed: int) -> EvaluationRequest:
        number = min(episodes, _EVALUATION_ENVS)
        if number not in self._evaluation:
            self._evaluation[number] = VectorExperience(self.task, number, seed=seed, device=self._device())
        return EvaluationRequest(self._evaluation[number], episodes, seed)

    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device
