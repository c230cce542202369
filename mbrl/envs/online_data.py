"""`OnlineData`: the DataModule of planners that learn while they act."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any

from gymnasium.vector import VectorEnv

from mbrl.arguments import Count, Seed
from mbrl.data import Task, derived_seed
from mbrl.envs.check import check_task
from mbrl.envs.experience import check_steps
from mbrl.envs.handed_over import HandedOverExperience
from mbrl.envs.planner_data import PlannerData, Requests, TickLoader
from mbrl.envs.task import make_task
from mbrl.envs.vector_experience import Resume, VectorExperience
from mbrl.errors import ConfigError, NotBuiltError
from mbrl.spec import Configurable


class OnlineData(Configurable, PlannerData):
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
        names: of the observation's `S` numbers, for reports and equations; None takes the environment's (see `make_task`).
        eval_episodes: whole episodes per evaluation while training.
        test_episodes: whole episodes of `test`.
        eval_limit: real steps after which both cut an episode, where the environment has no time limit of its own; a larger
            one sees more of each, and an episode that doesn't end costs as much.
        resume: `exact`, or `next_episode` for environments that can't be replayed (see `VectorExperience`).

    Attributes:
        task: what the environment is; made when first asked for.
        experience: the training environments, from `setup("fit")` to `teardown("fit")`.
        allow: modules in which names may be looked up if these settings came in a file; None, as at first, if the user wrote
            them.

    Raises:
        ConfigError: if `steps` isn't a multiple of `num_envs`, or a number is out of range.
    """

    former = MappingProxyType({"names": None})
    steps: int

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
        names: Sequence[str] | None = None,
        eval_episodes: Count = 5,
        test_episodes: Count = 10,
        eval_limit: Count = 1000,
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
        self.names = names
        self.eval_episodes = eval_episodes
        self.test_episodes = test_episodes
        self.eval_limit = eval_limit
        self.resume = resume
        self.allow: Sequence[str] | None = None
        self._task: Task | None = None
        self._experience: VectorExperience | HandedOverExperience | None = None
        self._handed_over: VectorEnv[Any, Any, Any] | None = None
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
                names=self.names,
                allow=self.allow,
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
        self.close_evaluation()

    def train_dataloader(self) -> TickLoader:
        """`steps / num_envs` ticks, counted from the start unless Lightning restores the position."""
        return TickLoader(self.steps // self.num_envs)

    def val_dataloader(self) -> Requests:
        """One request for `eval_episodes` episodes."""
        return Requests(self, "eval")

    def test_dataloader(self) -> Requests:
        """One request for `test_episodes` episodes, the same whenever it is made."""
        return Requests(self, "test")

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
