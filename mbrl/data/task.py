"""`Task`: what is known of an environment, as plain data that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from mbrl.arguments import check_shape
from mbrl.errors import ConfigError, NotBuiltError, TaskError
from mbrl.names import check_allowed, import_name
from mbrl.spec import plain

TaskFunction = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Task:
    """Sizes, action scale, time limit, and the functions of the task that are known.

    `known_reward` and `known_terminated` are dotted names of functions `(obs, action, next_obs) -> B` on batched tensors
    that speak environment units; the methods `reward` and `terminated` take the library's actions and convert.

    Attributes:
        env_id: the id under which Gymnasium makes the environment; empty for a dataset whose environment is not named.
        env_kwargs: keyword arguments for `gymnasium.make`, plain data.
        obs_size: `S`.
        action_size: `A`.
        action_low: `A` lower bounds, environment units.
        action_high: `A` upper bounds, environment units.
        time_limit: real steps after which an episode is truncated, or None.
        action_repeat: simulator steps in one real step; above 1 a reward is a sum over inner states, so no known reward.
        known_reward: dotted name, or None where the model must learn the reward.
        known_terminated: dotted name, or None where the model must learn termination.
        known_obs: how many numbers of an observation these two functions are given, the first ones; None for all. Others may
            stand behind them that are no business of the task.
    """

    env_id: str
    obs_size: int
    action_size: int
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    time_limit: int | None = None
    action_repeat: int = 1
    known_reward: str | None = None
    known_terminated: str | None = None
    known_obs: int | None = None

    def __post_init__(self) -> None:
        for name in ("action_low", "action_high"):
            value = tuple(float(bound) for bound in getattr(self, name))
            object.__setattr__(self, name, value)
            check_shape(f"Task({name}=…)", value, (self.action_size,), "give one number per action", TaskError)
        for low, high in zip(self.action_low, self.action_high, strict=True):
            if not (low < high and abs(low) < float("inf") and abs(high) < float("inf")):
                raise TaskError(
                    f"Task: expected finite action bounds with low < high, got [{low}, {high}]; bound them with a wrapper."
                )
        if self.known_reward is not None and self.action_repeat > 1:
            raise ConfigError(
                f"Task: expected no known reward at action_repeat {self.action_repeat}, got {self.known_reward}: the "
                "reward is then a sum over inner states that nobody sees; leave it out, so that the model learns it."
            )
        functions = {
            "reward": None if self.known_reward is None else import_name(self.known_reward, None),
            "terminated": None if self.known_terminated is None else import_name(self.known_terminated, None),
        }
        object.__setattr__(self, "_functions", functions)
        object.__setattr__(self, "_scales", {})

    # plain data ------------------------------------------------------------------------------------------------------

    def to_plain(self) -> dict[str, Any]:
        """All fields as plain data."""
        return plain(asdict(self), "Task")

    @staticmethod
    def from_plain(data: Mapping[str, Any], allow: Sequence[str] = ()) -> Task:
        """The task of `to_plain`.

        Raises:
            UntrustedNameError: if a function, or the environment's id or kwargs, names a module outside `mbrl` and `allow`.
            ConfigError: if a field is missing or unknown.
        """
        for name in (data.get("known_reward"), data.get("known_terminated")):
            if name is not None and not (isinstance(name, str) and callable(import_name(name, allow))):
                raise ConfigError(f"Task.from_plain: expected the dotted name of a function, got {name!r}; name one.")
        for name in names_in(str(data.get("env_id", "")), data.get("env_kwargs")):
            check_allowed(name, allow)
        try:
            return Task(**data)
        except TypeError as error:
            raise ConfigError(f"Task.from_plain: expected the fields of a Task, got {sorted(data)}: {error}.") from None

    # functions -------------------------------------------------------------------------------------------------------

    def reward(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor | None:
        """The known reward of a step, `B`, or None where the model must learn it.

        Args:
            obs: `B x S`, where the step started.
            action: `B x A` in [−1, 1].
            next_obs: `B x S`, where it led.
        """
        return self._known("reward", obs, action, next_obs)

    def terminated(self, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor | None:
        """The known end of the task at a step, `B` bool, or None where the model must learn it; arguments as in `reward`."""
        return self._known("terminated", obs, action, next_obs)

    def _known(self, name: str, obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor | None:
        function = self._functions[name]  # type: ignore[attr-defined]
        if function is None:
            return None
        if self.known_obs is not None:
            obs, next_obs = obs[..., : self.known_obs], next_obs[..., : self.known_obs]
        said: Tensor = function(obs, self.to_env_action(action), next_obs)
        return said

    # action scale ----------------------------------------------------------------------------------------------------

    def to_env_action(self, action: Tensor) -> Tensor:
        """Converts actions `… x A` from [−1, 1] to environment units."""
        scale, offset = self._scale(action)
        return action * scale + offset

    def from_env_action(self, action: Tensor) -> Tensor:
        """Converts actions `… x A` from environment units to [−1, 1]."""
        scale, offset = self._scale(action)
        return (action - offset) / scale

    def _scale(self, like: Tensor) -> tuple[Tensor, Tensor]:
        key = (like.dtype, like.device)
        scales: dict[Any, tuple[Tensor, Tensor]] = self._scales  # type: ignore[attr-defined]
        if key not in scales:  # kept, since a fresh tensor per call would be a copy from the host
            with torch.inference_mode(False):  # else an evaluation's scale could serve no later gradient
                low = torch.tensor(self.action_low, dtype=like.dtype, device=like.device)  # A
                high = torch.tensor(self.action_high, dtype=like.dtype, device=like.device)  # A
                scales[key] = ((high - low) / 2, (high + low) / 2)
        return scales[key]


class TaskBound:
    """Base of what is built for a task: a model, a planner.

    Attributes:
        task: the task, once built.
    """

    task: Task | None = None

    @property
    def built_task(self) -> Task:
        """The task, for methods that need one.

        Raises:
            NotBuiltError: before `build`.
        """
        if self.task is None:
            raise NotBuiltError(f"{type(self).__name__} was used before build(task), which makes its parameters; call it.")
        return self.task


def check_same_task(expected: Task, found: Task | Mapping[str, Any], who: str) -> None:
    """Refuses to go on with parameters or data of another task.

    Args:
        expected: the task to go on with.
        found: the other task, or its plain data. Where either names no environment, only sizes, bounds and action repeat are
            compared.
        who: name of what brought `found`, which begins the message.

    Raises:
        TaskError: naming every field that differs.
    """
    a, b = expected.to_plain(), dict(found) if isinstance(found, Mapping) else found.to_plain()
    names = ["obs_size", "action_size", "action_low", "action_high", "action_repeat"]
    if a["env_id"] and b.get("env_id"):
        names = ["env_id", "env_kwargs", *names]
    differ = [f"{name} {a[name]!r} against {b.get(name)!r}" for name in names if a[name] != b.get(name)]
    if differ:
        raise TaskError(f"{who}: expected the same task, got another: {'; '.join(differ)}; use the task it was made for.")


def names_in(env_id: str, env_kwargs: Mapping[str, Any] | None) -> list[str]:
    """The names that making an environment would import: an id `module:Id`, and `{"callable": name}` in kwargs."""
    names = [env_id] if ":" in env_id else []
    return names + list(_callables(dict(env_kwargs or {})))


def _callables(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        if set(value) == {"callable"}:
            yield value["callable"]
        else:
            for item in value.values():
                yield from _callables(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _callables(item)
