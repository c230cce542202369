"""`Task`: what is known of an environment, as plain data that a checkpoint can hold."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import torch
from torch import Tensor

from mbrl.arguments import Count, Items, check_argument, check_shape, declarations
from mbrl.errors import ConfigError, NotBuiltError, TaskError, shown
from mbrl.names import CALLABLES, OURS, TASK_FUNCTIONS, check_allowed, import_name
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
        names: of the `S` numbers of an observation, in their order, for people; None where nobody has named them.
        allow: modules, besides the library's own, from which the names above may come; None where the user wrote them. A
            task that came in a file has it, and whoever makes its environment minds it.
    """

    env_id: str
    obs_size: Count
    action_size: Count
    action_low: tuple[float, ...]
    action_high: tuple[float, ...]
    env_kwargs: Mapping[str, Any] = field(default_factory=dict)
    time_limit: Count | None = None
    action_repeat: Count = 1
    known_reward: str | None = None
    known_terminated: str | None = None
    known_obs: int | None = None
    names: Sequence[str] | None = field(default=None, compare=False)
    allow: tuple[str, ...] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name, declared in declarations(Task).items():
            if name not in ("action_low", "action_high", "names"):  # may come as arrays, and have sentences of their own
                check_argument(f"Task({name}=…)", getattr(self, name), declared)
        for name in ("action_low", "action_high"):
            try:
                value = tuple(float(bound) for bound in getattr(self, name))
            except (TypeError, ValueError):
                raise TaskError(
                    f"Task({name}=…): expected numbers, got {getattr(self, name)!r}; give one number per action."
                ) from None
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
        if self.names is not None:
            object.__setattr__(self, "names", checked_names("Task(names=…)", self.names, self.obs_size))
        functions = {
            "reward": None if self.known_reward is None else task_function(self.known_reward, self.allow),
            "terminated": None if self.known_terminated is None else task_function(self.known_terminated, self.allow),
        }
        object.__setattr__(self, "_functions", functions)
        object.__setattr__(self, "_scales", {})

    # plain data ------------------------------------------------------------------------------------------------------

    def to_plain(self) -> dict[str, Any]:
        """All fields as plain data, but for `allow`: who reads them decides whom to trust."""
        fields = asdict(self)
        fields.pop("allow")
        return plain(fields, "Task")

    @staticmethod
    def from_plain(data: Mapping[str, Any], allow: Sequence[str] = ()) -> Task:
        """The task of `to_plain`.

        Raises:
            UntrustedNameError: if a function, or the environment's id or kwargs, names a module outside `mbrl` and `allow`.
            ConfigError: if a field is missing or unknown.
        """
        allow = (allow,) if isinstance(allow, str) else tuple(allow)
        check_argument("Task.from_plain", data, Mapping[str, Any])
        check_env_names(data.get("env_id", ""), data.get("env_kwargs"), allow)
        if "allow" in data:
            raise ConfigError("Task.from_plain: expected the fields of a task, got allow, which no file decides; remove it.")
        try:
            return Task(**data, allow=allow)
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


def is_label(text: str) -> bool:
    """Tells whether a text is one line that holds nothing a terminal would obey, nor what no file can hold."""
    return "\n" not in text and shown(text) == text


def checked_names(who: str, names: Sequence[str], size: int) -> tuple[str, ...]:
    """Names of dimensions, `S`, all different.

    Args:
        who: argument that has them, for messages.
        names: one per dimension.
        size: `S`.

    Raises:
        ConfigError: if they are anything else, or hold what a terminal would obey.
    """
    check_argument(who, names, Annotated[Sequence[str], Items(size, size)])
    if odd := next((name for name in names if not is_label(name)), None):
        raise ConfigError(f"{who}: expected names of letters that can be printed on a line, got {odd!r}; change it.")
    if len(set(names)) < size:
        raise ConfigError(f"{who}: expected a name of its own for each dimension, got {list(names)}; change one.")
    return tuple(names)


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


def task_function(name: Any, allow: Sequence[str] | None, what: str = "known_reward or known_terminated") -> TaskFunction:
    """The reward or termination with a dotted name.

    Args:
        name: of a function `(obs, action, next_obs) -> B`.
        allow: modules, besides those of known functions, in which it may lie; None where the user wrote it.
        what: setting that names it, for messages.

    Raises:
        UntrustedNameError: if it is none of ours and its module isn't allowed.
        ConfigError: if it names no function.
    """
    found = import_name(name, allow, TASK_FUNCTIONS)
    if not callable(found):
        raise ConfigError(f"expected {what} to name a function (obs, action, next_obs) -> B, got {name!r}, which is none.")
    return found


def names_in(env_id: Any, env_kwargs: Any) -> dict[str, tuple[str, ...]]:
    """The names that making an environment would import, each with the modules of ours that it may lie in.

    Every id with a colon names a module, wherever it stands: some environments make another one, whose id is an argument.

    Args:
        env_id: Gymnasium's id, `module:Id`, or empty.
        env_kwargs: keyword arguments, or None.

    Raises:
        ConfigError: if these are something else.
    """
    if not isinstance(env_id, str) or not isinstance(env_kwargs, Mapping | None):
        raise ConfigError(f"expected an environment's id and a mapping of arguments, got {env_id!r} and {env_kwargs!r}.")
    names: dict[str, tuple[str, ...]] = {text: OURS for text in (env_id, *_texts(env_kwargs)) if ":" in text}
    for name in _callables(env_kwargs):
        if not isinstance(name, str):
            raise ConfigError(f"expected callable to name a function or class, got {name!r}; write module.name.")
        names[name] = CALLABLES
    return names


def check_env_names(env_id: Any, env_kwargs: Any, allow: Sequence[str]) -> None:
    """Refuses an environment that came in a file and whose making would import what isn't allowed.

    Args:
        env_id: as in `names_in`.
        env_kwargs: as in `names_in`.
        allow: modules that the user trusts.

    Raises:
        UntrustedNameError: with the flag that would allow it.
        ConfigError: as `names_in`.
    """
    for name, ours in names_in(env_id, env_kwargs).items():
        check_allowed(name, allow, ours)


def with_callables(value: Any, allow: Sequence[str] | None) -> Any:
    """An environment's arguments with the functions and classes that `{"callable": "module.name"}` stands for.

    Args:
        value: keyword arguments, plain data.
        allow: modules that such a name may lie in, none of ours by itself; None where the user wrote it.

    Raises:
        UntrustedNameError: if one is defined elsewhere.
        ConfigError: if there is no such object.
    """
    if _is_callable(value):
        return import_name(value["callable"], allow, CALLABLES)
    if isinstance(value, Mapping):
        return {key: with_callables(item, allow) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [with_callables(item, allow) for item in value]
    return value


def _is_callable(value: Any) -> bool:
    return isinstance(value, Mapping) and set(value) == {"callable"}


def _callables(value: Any) -> Iterator[Any]:
    """The names of all callables in arguments."""
    if _is_callable(value):
        yield value["callable"]
    elif isinstance(value, (Mapping, list, tuple)):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _callables(item)


def _texts(value: Any) -> Iterator[str]:
    """All texts in arguments, keys among them."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, (Mapping, list, tuple)):
        for item in (*value, *value.values()) if isinstance(value, Mapping) else value:
            yield from _texts(item)
