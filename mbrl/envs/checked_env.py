"""`CheckedEnv`: an environment as it comes, which answers as Gymnasium's API asks or is refused by a sentence.

Every real environment is made with it (`mbrl.envs.make_env`), so that whatever steps one gets the same answers. What is
unambiguous is converted: a list or a tensor is an observation as an array is, and a reward of shape (1,) is a number.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.wrappers import OrderEnforcing, TimeLimit
from gymnasium.wrappers.utils import RunningMeanStd
from torch import Tensor

from mbrl.errors import EnvironmentFailedError, TaskError

_STEP = "observation, reward, terminated, truncated and info"
_RESET = "observation and info"


class CheckedEnv(gymnasium.Wrapper[np.ndarray, np.ndarray, np.ndarray, np.ndarray]):
    """Passes on what an environment answers, as arrays of its own, plain numbers and bools.

    An observation comes as a fresh array of `S` numbers, so that an environment may keep, reuse or change what it returned.
    Whether numbers are finite is for those to say who store them (`refuse_not_finite`), for many environments at once.

    Args:
        env: the environment, whose observations are a box.
        env_id: its name in messages.

    Raises:
        EnvironmentFailedError: from `reset` and `step`, if the environment raises (`SystemExit` too) or answers otherwise.
    """

    def __init__(self, env: gymnasium.Env[np.ndarray, np.ndarray], env_id: str) -> None:
        super().__init__(env)
        self._id = env_id
        self._shape = env.observation_space.shape

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode; `options` are passed on only where there are some, since many environments take none."""
        given: dict[str, Any] = {"seed": seed} if options is None else {"seed": seed, "options": options}
        try:
            answer: Any = self.env.reset(**given)
        except (Exception, SystemExit) as error:
            self._raised("reset", _RESET, error)
        # two numbers of an observation, which the old reset returned alone, are no observation and info
        if not (isinstance(answer, (tuple, list)) and len(answer) == 2 and isinstance(answer[1], (dict, type(None)))):
            self._refuse("reset", _RESET, _seen(answer), "return obs, {}")
        return self._observation("reset", answer[0]), answer[1] or {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Takes a step."""
        try:
            answer: Any = self.env.step(action)
        except (Exception, SystemExit) as error:
            self._raised("step", _STEP, error)
        if not (isinstance(answer, (tuple, list)) and len(answer) == 5):
            advice = "return all five: a time limit truncates, only the task's own end terminates"
            self._refuse("step", _STEP, _seen(answer), advice)
        obs, reward, terminated, truncated, info = answer
        if not isinstance(info, (dict, type(None))):
            self._refuse("step", "a dict as info, its fifth value", _seen(info), "return {} if there is nothing to say")
        return (
            self._observation("step", obs),
            self._number("a number as reward", reward),
            bool(self._number("true or false as terminated", terminated, flag=True)),
            bool(self._number("true or false as truncated", truncated, flag=True)),
            info or {},
        )

    def _observation(self, method: str, value: Any) -> np.ndarray:
        if type(value) is np.ndarray and value.shape == self._shape and value.dtype.kind == "f":
            return value.copy()
        array = _array(value)
        if array is None or array.shape != self._shape or array.dtype.kind not in "fiub":
            wanted = f"an observation of shape {self._shape}, as its observation_space says"
            self._refuse(method, wanted, _seen(value), "return one of that shape, or change the space")
        return np.array(array, dtype=self.env.observation_space.dtype if array.dtype.kind != "f" else array.dtype)

    def _number(self, wanted: str, value: Any, *, flag: bool = False) -> float:
        if isinstance(value, (bool, float)):
            number: Any = value
        else:
            array = _array(value)
            if array is None or array.size != 1 or array.dtype.kind not in "fiub":
                self._refuse("step", wanted, _seen(value), "return a single one")
            number = array.item()
        if flag and number not in (0, 1):
            self._refuse("step", wanted, _seen(value), "return a bool")
        return number if isinstance(number, float) else float(number)

    def _refuse(self, method: str, wanted: str, came: str, advice: str) -> NoReturn:
        raise EnvironmentFailedError(
            f"{self._id}: expected {method} to return {wanted}, got {came}; {advice}, as Gymnasium's API asks."
        )

    def _raised(self, method: str, wanted: str, error: BaseException) -> NoReturn:
        hint = "mend it: mbrl --traceback shows where it came from"
        if isinstance(error, TypeError) and method == "reset" and "argument" in str(error):
            hint = "define reset(self, *, seed=None, options=None), as Gymnasium's API asks"
        raise EnvironmentFailedError(
            f"{self._id}: expected {method} to return {wanted}, got {told(error)}; {hint}."
        ) from error


def checked_env(env: gymnasium.Env[Any, Any], env_id: str) -> gymnasium.Env[Any, Any]:
    """An environment from `gymnasium.make` with a `CheckedEnv` beneath Gymnasium's wrappers, which unpack without a look.

    Raises:
        TaskError: if a wrapper keeps running statistics (`refuse_statistics`).
    """
    refuse_statistics(env, env_id)
    if not isinstance(env.observation_space, spaces.Box):
        return env
    outer = None
    inner = env
    while isinstance(inner, (OrderEnforcing, TimeLimit)):
        outer, inner = inner, inner.env
    answers = CheckedEnv(inner, env_id)
    if outer is None:
        return answers
    outer.env = answers
    return env


def refuse_statistics(env: Any, env_id: str) -> None:
    """Refuses an environment with a wrapper that scales by statistics of what it has seen, such as `NormalizeObservation`.

    They would differ between training and evaluation, be lost with the process, and make stored steps stale. One whose
    statistics no longer move (`update_running_mean` False) scales by constants, and is fine.

    Args:
        env: an environment or a vector of some, with its wrappers.
        env_id: its name in messages.

    Raises:
        TaskError: naming the wrapper.
    """
    while isinstance(env, (gymnasium.Wrapper, gymnasium.vector.VectorWrapper)):
        keeps = any(isinstance(value, RunningMeanStd) for value in vars(env).values())
        if keeps and getattr(env, "update_running_mean", True):
            raise TaskError(
                f"{env_id}: expected an environment that scales nothing by running statistics, got {type(env).__name__}, "
                "whose statistics no checkpoint keeps and no other environment shares; leave it out, since models "
                "normalise by themselves, or set its update_running_mean to False."
            )
        env = env.env
    for one in getattr(env, "envs", ()):  # of a vector that lives in this process
        refuse_statistics(one, env_id)


def told(error: BaseException) -> str:
    """An exception in half a sentence."""
    text = " ".join(str(error).split()).rstrip(".")
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _array(value: Any) -> np.ndarray | None:
    """`value` as an array, if it is made of numbers."""
    if isinstance(value, Tensor):
        return value.detach().cpu().numpy()
    try:
        return np.asarray(value)
    except (TypeError, ValueError):  # rows of several lengths
        return None


def _seen(value: Any) -> str:
    """What came, in short: for a tuple or a mapping how many values, for rows their shape."""
    if isinstance(value, (tuple, Mapping)):
        return f"a {type(value).__name__} of {len(value)}"
    array = None if value is None or isinstance(value, str) else _array(value)
    if array is not None and array.ndim and array.dtype.kind in "fiub":
        return f"{'an array' if isinstance(value, np.ndarray) else f'a {type(value).__name__}'} of shape {array.shape}"
    text = " ".join(repr(value).split())
    return text if len(text) <= 100 else f"{text[:97]}…"
