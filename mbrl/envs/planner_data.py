"""`PlannerData`: what planners need of a data module, whatever they learn from: ticks, and episodes to be evaluated in."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

import pytorch_lightning as pl
import torch

from mbrl.data import NormalizedScore, Task, derived_seed
from mbrl.envs.experience import Experience
from mbrl.envs.vector_experience import VectorExperience
from mbrl.errors import ConfigError

EVALUATION_ENVS = 10  # at once: more episodes than these run one after the other


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


class Requests:
    """A loader of one request, made anew each time.

    Args:
        data: asked for it.
        purpose: `eval`, as in training, or `test`.
    """

    def __init__(self, data: PlannerData, purpose: Literal["eval", "test"]) -> None:
        self.data = data
        self.purpose = purpose

    def __len__(self) -> int:
        return 1

    def __iter__(self) -> Iterator[EvaluationRequest]:
        request = self.data.test_request()
        if self.purpose == "eval":
            request = self.data.evaluation_request(self.data.planner_clock())
        if request is None:
            raise ConfigError(
                f"{type(self.data).__name__}: expected an environment to act in, got {self.data.no_evaluation}."
            )
        yield request


class PlannerData(pl.LightningDataModule):
    """The base of data modules that planners train with.

    Attributes:
        seed: seed of the run.
        steps: length of a planner's run, on its clock.
        eval_episodes: whole episodes per evaluation while training.
        test_episodes: whole episodes of `test`.
        eval_limit: real steps after which both cut an episode, where the environment has no time limit of its own.
    """

    seed: int
    steps: int | None
    eval_episodes: int
    test_episodes: int
    eval_limit: int

    def __init__(self) -> None:
        super().__init__()
        self._evaluation: dict[int, VectorExperience] = {}  # by number of environments

    @property
    @abstractmethod
    def task(self) -> Task:
        """The task of its environments, or of what was recorded in them."""

    @property
    def evaluation_task(self) -> Task:
        """The task with an end to every episode: its own time limit, or `eval_limit`."""
        return self.task if self.task.time_limit is not None else replace(self.task, time_limit=self.eval_limit)

    @property
    def no_evaluation(self) -> str | None:
        """The reason why a run has no evaluation, and what to do about it; None where it has."""
        return None

    @property
    def references(self) -> NormalizedScore | None:
        """The returns between which scores of this task are normalised; None where nobody says them."""
        return None

    def evaluation_request(self, clock: int) -> EvaluationRequest | None:
        """An evaluation of a planner: the same one whenever it is asked for, in a resumed run too.

        Args:
            clock: where the run stands, on the planner's clock.

        Returns:
            The request, or None where there is `no_evaluation`.
        """
        if self.no_evaluation is not None:
            return None
        return self._request(self.eval_episodes, derived_seed(self.seed, "eval", clock))

    def test_request(self) -> EvaluationRequest | None:
        """The test, whose episodes no evaluation during training has seen; None where there is no environment."""
        return self._request(self.test_episodes, derived_seed(self.seed, "test")) if self.task.env_id else None

    def planner_clock(self) -> int:
        """The clock of the planner that trains with this module; 0 without one."""
        module = None if self.trainer is None else self.trainer.lightning_module
        return int(getattr(module, getattr(module, "clock_name", "env_steps"), 0))

    def close_evaluation(self) -> None:
        """Closes the environments of evaluations; the next one makes them anew."""
        for experience in self._evaluation.values():
            experience.close()
        self._evaluation = {}

    def _request(self, episodes: int, seed: int) -> EvaluationRequest:
        number = min(episodes, EVALUATION_ENVS)
        if number not in self._evaluation:
            self._evaluation[number] = VectorExperience(self.evaluation_task, number, seed=seed, device=self._device())
        return EvaluationRequest(self._evaluation[number], episodes, seed)

    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    def transfer_batch_to_device(self, batch: Any, device: torch.device, dataloader_idx: int) -> Any:
        """Returns ticks and requests, which hold environments, as they are."""
        if isinstance(batch, (int, EvaluationRequest)):
            return batch
        return super().transfer_batch_to_device(batch, device, dataloader_idx)
