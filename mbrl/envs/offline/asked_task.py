"""`AskedTask`: the task of a dataset, from what the user says of it and what the dataset notes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mbrl.arguments import check_shape
from mbrl.data import OfflineDataset, Task
from mbrl.data.task import names_in
from mbrl.envs.defaults import known_functions
from mbrl.envs.task import function_name, make_task
from mbrl.errors import ConfigError, DataError, UntrustedNameError
from mbrl.names import check_allowed


@dataclass(frozen=True)
class AskedTask:
    """All that the user says of a dataset's task; attributes as in `OfflineData`.

    Attributes:
        trusted: modules in which names that the dataset notes may be looked up, besides those in `allow`.
    """

    env_id: str | None
    env_kwargs: dict[str, Any] | None
    action_repeat: int | None
    action_low: list[float] | None
    action_high: list[float] | None
    reward: str
    terminated: str
    names: Sequence[str] | None
    allow: Sequence[str] | None
    trusted: Sequence[str]

    def of(self, dataset: OfflineDataset) -> Task:
        """The task; of an `env_id`, whose environment is made, else as far as dataset and options tell.

        Raises:
            DataError: if the dataset is of another task.
            ConfigError: if action bounds are missing, or differ from the dataset's.
            UntrustedNameError: if the dataset names what may not be looked up.
        """
        return self._noted(dataset) if self.env_id is None else self._named(dataset, str(self.env_id))

    def _named(self, dataset: OfflineDataset, env_id: str) -> Task:
        facts = dataset.facts
        if facts.env_id and facts.env_id != env_id:
            raise DataError(f"{dataset.source}: expected a dataset of {env_id}, got {facts.env_id}'s; leave env_id out.")
        kwargs = self.env_kwargs
        if kwargs is None:
            kwargs = dict(facts.env_kwargs)
            self._refuse_untrusted(dataset, "", kwargs)
        repeat = facts.action_repeat if self.action_repeat is None else self.action_repeat
        task = make_task(
            env_id, kwargs, reward=self.reward, terminated=self.terminated, action_repeat=repeat, names=self.names,
            allow=self.allow,
        )  # fmt: skip
        for what, found, wanted in (
            ("observations", dataset.obs_size, task.obs_size),
            ("actions", dataset.action_size, task.action_size),
            ("lower action bounds", facts.action_low, task.action_low),
            ("upper action bounds", facts.action_high, task.action_high),
        ):
            if found is not None and found != wanted:
                raise DataError(
                    f"{dataset.source}: expected {what} {wanted}, as {env_id} has, got {found}; check env_id and env_kwargs."
                )
        return task

    def _noted(self, dataset: OfflineDataset) -> Task:
        facts = dataset.facts
        low, high = facts.action_low, facts.action_high
        if self.action_low is not None and self.action_high is not None:
            given = tuple(self.action_low), tuple(self.action_high)
            if low is not None and len(given[0]) == len(low) and given != (low, high):
                raise ConfigError(
                    f"{dataset.source}: expected no action bounds but its own, {list(low)} to {list(high or ())}, got "
                    f"{list(given[0])} to {list(given[1])}; leave action_low and action_high out."
                )
            low, high = given
        if low is None or high is None:
            raise ConfigError(
                f"{dataset.source}: expected the action bounds, got none there; give env_id, or action_low and action_high."
            )
        for name, bounds in (("action_low", low), ("action_high", high)):
            check_shape(f"{dataset.source}: {name}", bounds, (dataset.action_size,), "give one number per action", DataError)
        self._refuse_untrusted(dataset, facts.env_id, facts.env_kwargs)
        repeat = facts.action_repeat if self.action_repeat is None else self.action_repeat
        known_reward, known_terminated = known_functions(facts.env_id, facts.env_kwargs)
        return Task(
            env_id=facts.env_id,
            obs_size=dataset.obs_size,
            action_size=dataset.action_size,
            action_low=low,
            action_high=high,
            env_kwargs=facts.env_kwargs,
            time_limit=facts.time_limit,
            action_repeat=repeat,
            known_reward=function_name(self.reward, known_reward if repeat == 1 else None, "reward", self.allow),
            known_terminated=function_name(self.terminated, known_terminated, "terminated", self.allow),
            names=self.names,
            allow=None if self.allow is None else tuple(self.allow),
        )

    def _refuse_untrusted(self, dataset: OfflineDataset, env_id: str, env_kwargs: Any) -> None:
        """A dataset may come from anywhere; a task that it names could be made into an environment later."""
        for name, ours in names_in(env_id, env_kwargs).items():
            try:
                check_allowed(name, (*(self.allow or ()), *self.trusted), ours)
            except UntrustedNameError as error:
                raise UntrustedNameError(
                    f"{dataset.source}: the dataset says that making its environment imports {name}, and names in a "
                    "file run nothing by themselves; if you trust it, give env_id and env_kwargs yourself, or mbrl --allow "
                    f"{name.partition(':')[0].partition('.')[0]}."
                ) from error
