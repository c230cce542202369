"""Makes a `Task` from an environment id, and environments from a `Task`.

Observations of dm_control tasks (dicts) are flattened into one vector, their entries in alphabetical order of the names,
each entry in row-major order: cartpole's is position, velocity.
"""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from mbrl.arguments import check_argument, check_whole
from mbrl.data import Task
from mbrl.data.task import check_env_names, task_function, with_callables
from mbrl.envs.action_repeat import ActionRepeat
from mbrl.envs.checked_env import checked_env
from mbrl.envs.defaults import DIMS, DISTRACTED, known_functions
from mbrl.envs.names.observation_names import observation_names
from mbrl.errors import ConfigError, TaskError
from mbrl.names import name_of
from mbrl.spec import plain

_ENDLESS = float(np.finfo(np.float32).max) ** 0.5  # the square of a larger action overflows

Function = Callable[..., Any]
Env = gymnasium.Env[np.ndarray, np.ndarray]


def make_task(
    env_id: str,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    reward: str | Function = "auto",
    terminated: str | Function = "auto",
    action_repeat: int = 1,
    names: Sequence[str] | None = None,
    allow: Sequence[str] | None = None,
) -> Task:
    """Makes the environment once, checks that it can be used, and describes it.

    Args:
        env_id: Gymnasium's id, `module:Id` to import `module` first, or a dm_control task such as
            `dm_control/cartpole-swingup-v0`.
        env_kwargs: keyword arguments of `gymnasium.make`, plain data; `{"callable": "module.name"}` stands for a function
            or class.
        reward: `auto` takes the known function (`mbrl.envs.defaults`) and, where there is none, lets the model learn it;
            `learned` always does; else a function `(obs, action, next_obs) -> B` in environment units, by its dotted name
            or itself, if it can be imported.
        terminated: as `reward`, for termination (`B` bool).
        action_repeat: simulator steps in one real step; above 1 the reward is a sum over inner states, so it's learned.
        names: of the observation's numbers, for reports and equations; None takes the environment's, if it names them (see
            `mbrl.envs.names`).
        allow: modules in which names may be looked up, besides the library's own where it is safe (`mbrl.names`); None
            where the user wrote the names. The task keeps it.

    Raises:
        TaskError: if there is no such environment, or its spaces can't be used.
        ConfigError: if a function's name can't be imported, or a reward is named with an action repeat.
        UntrustedNameError: if a name lies outside `mbrl` and `allow`.
    """
    check_argument("make_task(env_id=…)", env_id, str)
    check_argument("make_task(env_kwargs=…)", env_kwargs, Mapping[str, Any] | None)
    check_whole("make_task(action_repeat=…)", action_repeat)
    _refuse_callables(env_id, env_kwargs or {})
    kwargs = plain(dict(env_kwargs or {}), f"{env_id}(env_kwargs=…)")
    known_reward, known_terminated = known_functions(env_id, kwargs)
    if action_repeat > 1:
        known_reward = None
    action_repeat = int(action_repeat)  # of NumPy's kind it would travel into Gymnasium's wrappers, which refuse it
    env = _make(env_id, kwargs, action_repeat, None, allow)
    try:
        obs_size = _obs_size(env_id, env.observation_space)
        low, high = _action_bounds(env_id, env.action_space)
        limit = _time_limit(env, action_repeat)
        found = observation_names(env, obs_size) if names is None else names
    finally:
        env.close()
    return Task(
        env_id=env_id,
        obs_size=obs_size,
        action_size=len(low),
        action_low=low,
        action_high=high,
        env_kwargs=kwargs,
        time_limit=limit,
        action_repeat=action_repeat,
        known_reward=function_name(reward, known_reward, "reward", allow),
        known_terminated=function_name(terminated, known_terminated, "terminated", allow),
        known_obs=obs_size - kwargs.get("dims", DIMS) if env_id == DISTRACTED else None,
        names=found,
        allow=None if allow is None else (allow,) if isinstance(allow, str) else tuple(allow),
    )


def make_env(task: Task, render_mode: str | None = None, *, allow: Sequence[str] | None = None) -> Env:
    """Makes one environment of `task`: the only place where the library makes one.

    Its episodes are truncated after the task's time limit, if it has one, whatever limit the environment is registered
    with: a dataset's task knows the limit of the environment that it was recorded in.

    Args:
        task: the environment's task.
        render_mode: Gymnasium's, for videos; None draws nothing.
        allow: as in `make_task`; None takes the task's own, which one that came in a file has.

    Raises:
        TaskError: if the environment can't be made, or ends its episodes before the task's time limit.
        UntrustedNameError: if its id or kwargs name a module outside `mbrl` and `allow`.
    """
    check_argument("make_env(task=…)", task, Task)
    if not task.env_id:
        raise TaskError("expected a task with an environment, got one of a dataset that names none; name it by env_id.")
    allow = task.allow if allow is None else allow
    env = _make(task.env_id, task.env_kwargs, task.action_repeat, render_mode, allow)
    wanted = task.time_limit
    if wanted is None or _time_limit(env, task.action_repeat) == wanted:
        return env
    env.close()
    limited = {**task.env_kwargs, "max_episode_steps": int(wanted * task.action_repeat)}
    env = _make(task.env_id, limited, task.action_repeat, render_mode, allow)
    own = _own_limit(env)
    most = wanted if own is None else own // task.action_repeat
    if most < wanted:
        env.close()
        raise TaskError(f"{task.env_id}: expected episodes of {wanted} steps, got {most} at most; lower its time_limit.")
    return env


def _make(
    env_id: str, env_kwargs: Mapping[str, Any], action_repeat: int, render_mode: str | None, allow: Sequence[str] | None
) -> Env:
    if allow is not None:
        check_env_names(env_id, env_kwargs, allow)
    is_dm_control = env_id.startswith("dm_control/")
    if is_dm_control:
        _register_dm_control(env_id)
    kwargs = {key: with_callables(value, allow) for key, value in env_kwargs.items()}
    if render_mode is not None:
        kwargs["render_mode"] = render_mode
    try:
        env = gymnasium.make(env_id, disable_env_checker=True, **kwargs)
    except (gymnasium.error.UnregisteredEnv, ModuleNotFoundError) as error:
        module = env_id.partition(":")[0]
        hint = "write module:Id for one that a module of yours registers"
        if ":" in env_id and isinstance(error, ModuleNotFoundError):
            hint = f"add --allow {module}, which puts the current folder on the path"
        raise TaskError(
            f"expected the id of a registered environment, got {env_id!r} ({_sentence(error)}); check the spelling and the "
            f"version, or {hint}."
        ) from error
    except (Exception, SystemExit) as error:  # whatever an environment's own code does
        raise TaskError(
            f"expected {env_id} to start with arguments {dict(env_kwargs)}, got {type(error).__name__}: {_sentence(error)}; "
            "check env_kwargs and what the environment needs to be installed."
        ) from error
    if is_dm_control and isinstance(env.observation_space, spaces.Dict):
        env = gymnasium.wrappers.FlattenObservation(env)
    env = checked_env(env, env_id)
    return env if action_repeat == 1 else ActionRepeat(_in_whole_steps(env, env_id, action_repeat), action_repeat)


def _in_whole_steps(env: Env, env_id: str, action_repeat: int) -> Env:
    """The environment with a time limit that is a whole number of real steps, if it has one."""
    limit = _limit(env)
    if limit is None or limit % action_repeat == 0:
        return env
    if limit < action_repeat:
        env.close()
        raise TaskError(
            f"{env_id}: expected an action_repeat of at most its {limit} simulator steps, got {action_repeat}; lower it."
        )
    return gymnasium.wrappers.TimeLimit(env, limit // action_repeat * action_repeat)


def _register_dm_control(env_id: str) -> None:
    try:
        importlib.import_module("dm_control")
        importlib.import_module("shimmy")  # registers the ids
    except ImportError as error:
        raise TaskError(
            f"expected dm_control and shimmy for {env_id}, got {_sentence(error)}; run pip install 'mbrl-toolkit[dmc]'."
        ) from error


def _obs_size(env_id: str, space: spaces.Space[Any]) -> int:
    where = f"{env_id}: expected observations in a one-dimensional box of floats, got "
    if isinstance(space, spaces.Dict | spaces.Tuple):
        raise TaskError(f"{where}{space}; flatten it (gymnasium.wrappers.FlattenObservation).")
    if not isinstance(space, spaces.Box):
        raise TaskError(f"{where}{space}; encode it as floats with a wrapper.")
    if len(space.shape) >= 2:
        kind = "images" if space.dtype == np.uint8 else "arrays"
        raise TaskError(f"{where}{kind} of shape {space.shape} ({space.dtype}); flatten or encode them with a wrapper.")
    if len(space.shape) == 0:
        raise TaskError(f"{where}a single number without a dimension; give it the shape (1,) with a wrapper.")
    if not np.issubdtype(space.dtype, np.floating):
        raise TaskError(f"{where}integers ({space.dtype}, shape {space.shape}); encode them as floats with a wrapper.")
    if space.shape[0] == 0:
        raise TaskError(f"{where}an empty one; the environment must show something of its state.")
    return int(space.shape[0])


def _action_bounds(env_id: str, space: spaces.Space[Any]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    where = f"{env_id}: expected actions in a bounded one-dimensional box of floats, got "
    if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        raise TaskError(f"{where}discrete ones ({space}); only continuous actions work: try MountainCarContinuous-v0, say.")
    if not isinstance(space, spaces.Box):
        raise TaskError(f"{where}{space}; flatten it with a wrapper.")
    if len(space.shape) != 1 or space.shape[0] == 0:
        raise TaskError(f"{where}a box of shape {space.shape}; give it one dimension with a wrapper.")
    if not np.issubdtype(space.dtype, np.floating):
        raise TaskError(f"{where}integers ({space.dtype}); only continuous actions are supported: use floats.")
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise TaskError(f"{where}one without bounds ({space}); bound it with a wrapper such as RescaleAction.")
    if max(np.abs(space.low).max(), np.abs(space.high).max()) > _ENDLESS:
        raise TaskError(
            f"{where}one whose bounds are infinite in all but name ({space}); bound it by what the task needs, with a "
            "wrapper such as RescaleAction."
        )
    return tuple(map(float, space.low)), tuple(map(float, space.high))


def _time_limit(env: Env, action_repeat: int) -> int | None:
    """Whole real steps to truncation, or None."""
    limit = _limit(env)
    return None if limit is None else limit // action_repeat


def _limit(env: Env) -> int | None:
    """Simulator steps to truncation, or None: Gymnasium's wrapper, or what a dm_control task keeps to itself."""
    limit = env.spec.max_episode_steps if env.spec is not None else None
    return _own_limit(env) if limit is None else limit


def _own_limit(env: Env) -> int | None:
    """Simulator steps after which a dm_control task, or one that says `time_limit`, ends an episode by itself."""
    limit = getattr(getattr(env.unwrapped, "_env", None), "_step_limit", None) or getattr(env.unwrapped, "time_limit", None)
    limit = math.inf if limit is None else limit
    return math.ceil(limit) if math.isfinite(limit) else None


def function_name(given: str | Function, known: str | None, what: str, allow: Sequence[str] | None = None) -> str | None:
    """The dotted name that `auto`, `learned`, a dotted name or a function stands for; None is for the model to learn.

    Args:
        given: what the user wrote, as in `make_task`.
        known: the known function, which `auto` takes.
        what: `reward` or `terminated`, for messages.
        allow: as in `make_task`.

    Raises:
        ConfigError: if there is no such function.
        UntrustedNameError: if its name lies outside `mbrl` and `allow`.
    """
    if callable(given):
        given = name_of(given, what)
    if given == "auto":
        return known
    if given == "learned":
        return None
    if "." not in given:
        raise ConfigError(f"expected {what} to be 'auto', 'learned' or a dotted name (module.function), got {given!r}.")
    task_function(given, allow, what)
    return given


def _refuse_callables(env_id: str, value: Any) -> None:
    """A function would be kept as its bare name, which the environment would then get in its place."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list | tuple):
        for item in value:
            _refuse_callables(env_id, item)
    elif callable(value):
        raise ConfigError(f'{env_id}: expected plain env_kwargs, got {value!r}; write {{"callable": "module.name"}} for it.')


def _sentence(error: BaseException) -> str:
    return str(error).strip().rstrip(".") or type(error).__name__
