"""`OfflineDataset`: recorded steps as they were read, in environment units, with what is known of their task."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mbrl.arguments import check_shape
from mbrl.data.episodes import episode_ends
from mbrl.data.normalized_score import NormalizedScore
from mbrl.data.task import Task
from mbrl.data.task_facts import TaskFacts
from mbrl.data.transitions import Transitions
from mbrl.errors import DataError, MbrlWarning

Array = NDArray[Any]

# How far beyond a bound, in [−1, 1] units, an action may lie and still be that bound, rounded to float32.
ACTION_TOLERANCE = 1e-4


_COLUMNS = ("obs", "action", "reward", "next_obs", "terminated", "truncated", "episode", "sim_state", "row")


@dataclass
class OfflineDataset:
    """`N` steps in the order of recording.

    Attributes:
        source: the file, folder or id they come from, for messages.
        obs: `N x S`, where each step started.
        action: `N x A`, environment units.
        reward: `N`, or None if the source has none; `transitions` then asks the task.
        next_obs: `N x S`, where each step led.
        terminated: `N` bool, the task ended.
        truncated: `N` bool, the episode was cut.
        episode: `N` int64, the number of each row's episode; equal numbers are steps in a row.
        sim_state: `N x W` float64, the simulator's states that `obs` shows (`mbrl.envs.SimulatorState`), or None.
        row: `N` int64, the place of each row in the source, for messages; None if it is the row's own.
        facts: what the source says of the task.
        references: the returns between which the source normalises scores, or None if it has none.
        dropped: rows of the source left out, since it doesn't say where they led.
        dropped_ends: those among them on which the task ended.
        dropped_reward: the sum of their rewards.
    """

    source: str
    obs: Array
    action: Array
    reward: Array | None
    next_obs: Array
    terminated: Array
    truncated: Array
    episode: Array
    sim_state: Array | None = None
    row: Array | None = None
    facts: TaskFacts = field(default_factory=TaskFacts)
    references: NormalizedScore | None = None
    dropped: int = 0
    dropped_ends: int = 0
    dropped_reward: float = 0.0

    def __len__(self) -> int:
        return len(self.obs)

    @property
    def obs_size(self) -> int:
        """`S`."""
        return int(self.obs.shape[1])

    @property
    def action_size(self) -> int:
        """`A`."""
        return int(self.action.shape[1])

    def check(self) -> None:
        """Refuses a dataset that can't be used: empty, of wrong sizes, or with values that aren't finite.

        Raises:
            DataError: naming the column, and the row where there is one.
        """
        n = len(self.obs)
        if n == 0:
            dropped = f" ({self.dropped} were left out, since it doesn't say where they led)" if self.dropped else ""
            raise DataError(f"{self.source}: expected at least one step, got none{dropped}; record some, or check the path.")
        shapes: dict[str, tuple[int | str, ...]] = dict.fromkeys(_COLUMNS, (n,))
        shapes |= {"obs": ("N", "S"), "action": (n, "A"), "next_obs": self.obs.shape, "sim_state": (n, "W")}
        for name, shape in shapes.items():
            if (column := getattr(self, name)) is not None:
                check_shape(f"{self.source}: {name}", column, shape, "save one row per step", DataError)
        for name in ("obs", "action", "next_obs", "reward"):
            column = getattr(self, name)
            if column is not None and not np.issubdtype(column.dtype, np.floating):
                raise DataError(f"{self.source}: expected {name} to be floats, got {column.dtype}; save them as floats.")
        if self.sim_state is not None and self.sim_state.dtype != np.float64:
            raise DataError(
                f"{self.source}: expected float64 sim_state, got {self.sim_state.dtype}, which loses digits; record it anew."
            )
        for name in ("obs", "action", "reward", "next_obs", "sim_state"):
            if getattr(self, name) is not None:
                self._check_finite(name)

    def check_lost(self, task: Task) -> None:
        """Tells what the rows that were left out took with them.

        Args:
            task: what will be learned from the others.

        Raises:
            DataError: if ends are to be learned, and some were among them.
        """
        if not self.dropped:
            return
        lost = f"{self.dropped} rows without a next observation were left out"
        if self.dropped_ends and task.known_terminated is None:
            raise DataError(
                f"{self.source}: expected steps on which the task ended, to learn from, but {lost}, all {self.dropped_ends} "
                "ends among them; give a file with next_obs, or name a function (terminated: my_module.my_termination)."
            )
        if self.dropped_ends or self.dropped_reward:
            warnings.warn(
                f"{self.source}: {lost}, {self.dropped_ends} of which ended the task, with rewards that sum to "
                f"{self.dropped_reward:g}; a file with next_obs loses nothing.",
                MbrlWarning,
                4,
            )

    def _check_finite(self, name: str) -> None:
        column = getattr(self, name)
        good = np.isfinite(column).reshape(len(column), -1).all(1)  # N
        if not good.all():
            row, bad = int(np.argmin(good)), int((~good).sum())
            raise DataError(
                f"{self.source}: expected finite numbers, got {column[row].tolist()} as {name} of row "
                f"{self.source_row(row)} ({bad} such rows); remove those episodes, since a model can't be fitted to them."
            )

    def source_row(self, row: int) -> int:
        """The place in the source of a row of this dataset."""
        return row if self.row is None else int(self.row[row])

    def head(self, rows: int) -> OfflineDataset:
        """The first `rows` steps."""
        columns = {name: column for name in _COLUMNS if (column := getattr(self, name)) is not None}
        return OfflineDataset(**{**self.__dict__, **{name: column[:rows] for name, column in columns.items()}})

    def with_cuts(self) -> OfflineDataset:
        """The same steps, the last of each episode that no flag ends truncated."""
        ended = self.terminated | self.truncated
        last = episode_ends(self.obs, None, ended, None, self.episode)  # N
        return replace(self, truncated=self.truncated | (last & ~ended))

    def joined(self, other: OfflineDataset) -> OfflineDataset:
        """These steps up to the end of their last finished episode, and then those of `other`, in episodes of their own.

        It is how D4RL's medium-expert datasets are made. The name is that of these; extras that only one has are left out.

        Raises:
            DataError: if no episode of these was finished.
        """
        finished = np.flatnonzero(self.terminated | self.truncated)
        if not len(finished):
            raise DataError(f"{self.source}: expected an episode that ended, got none in {len(self)} steps; record more.")
        first = self.head(int(finished[-1]) + 1)
        second = replace(other, episode=other.episode - other.episode.min() + first.episode.max() + 1)
        joined: dict[str, Any] = {"row": None}
        for name in _COLUMNS[:-1]:
            parts = getattr(first, name), getattr(second, name)
            joined[name] = None if any(part is None for part in parts) else np.concatenate(parts)
        return replace(first, **joined)

    def transitions(self, task: Task, *, clip_actions: bool = False, dtype: torch.dtype = torch.float32) -> Transitions:
        """The steps as the library has them: actions in [−1, 1], extras `episode`, and `sim_state` if it was recorded.

        Actions up to `ACTION_TOLERANCE` beyond a bound are taken for that bound, rounded.

        Args:
            task: the task whose bounds scale the actions.
            clip_actions: take actions further out for the bound too, as an environment does that clips them itself.
            dtype: that of observations, actions and rewards; simulator states are float64.

        Raises:
            DataError: if the sizes aren't the task's, an action lies outside the bounds, or nobody knows the rewards.
        """
        advice = f"give a dataset of {task.env_id or 'the task'}"
        check_shape(f"{self.source}: obs", self.obs, ("N", task.obs_size), advice, DataError)
        check_shape(f"{self.source}: action", self.action, ("N", task.action_size), advice, DataError)
        action = task.from_env_action(torch.from_numpy(self.action.astype(np.float64)))  # N x A
        beyond = (action.abs() - 1).amax(-1)  # N
        if not clip_actions and bool((beyond > ACTION_TOLERANCE).any()):
            row = int(beyond.argmax())
            raise DataError(
                f"{self.source}: expected actions within {list(task.action_low)} and {list(task.action_high)}, got "
                f"{self.action[row].tolist()} in row {self.source_row(row)}; give the bounds of the environment that "
                "recorded them (action_low, action_high), or clip_actions: true if it clips actions itself."
            )
        obs, next_obs = torch.tensor(self.obs, dtype=dtype), torch.tensor(self.next_obs, dtype=dtype)
        if self.reward is None:
            reward = task.reward(obs, action.clamp(-1, 1).to(dtype), next_obs)  # N
            if reward is None:
                raise DataError(
                    f"{self.source}: expected a column reward, got none; add it, or name a function (reward: module.name)."
                )
        else:
            reward = torch.tensor(self.reward, dtype=dtype)
        extras = {"episode": torch.from_numpy(self.episode.astype(np.int64))}
        if self.sim_state is not None:
            extras["sim_state"] = torch.from_numpy(self.sim_state.copy())
        return Transitions(
            obs=obs,
            action=action.clamp(-1, 1).to(dtype),
            reward=reward,
            next_obs=next_obs,
            terminated=torch.from_numpy(self.terminated.copy()),
            truncated=torch.from_numpy(self.truncated.copy()),
            extras=extras,
        )

    @staticmethod
    def from_transitions(rows: Transitions, task: Task, source: str = "transitions") -> OfflineDataset:
        """Steps of the library as a dataset in environment units; `rows.extras["episode"]` numbers the episodes.

        `rows.extras["sim_state"]` is kept if it is there.
        """
        state = rows.extras.get("sim_state")
        action = task.to_env_action(rows.action.double()).float()  # N x A
        return OfflineDataset(
            source=source,
            obs=rows.obs.cpu().numpy(),
            action=action.cpu().numpy(),
            reward=rows.reward.cpu().numpy(),
            next_obs=rows.next_obs.cpu().numpy(),
            terminated=rows.terminated.cpu().numpy(),
            truncated=rows.truncated.cpu().numpy(),
            episode=rows.extras["episode"].cpu().numpy(),
            sim_state=None if state is None else state.cpu().numpy(),
            facts=TaskFacts.of(task),
        )
