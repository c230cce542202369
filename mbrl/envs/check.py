"""Checks of a task against its environment, run before training and by `mbrl check`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import torch
from torch import Tensor

from mbrl.arguments import check_whole
from mbrl.counted import counted
from mbrl.data import Task, Transitions, derived_seed, make_generator
from mbrl.data.minds.unseen_ends import mind_of_unseen_ends
from mbrl.data.minds.values import minds_of_values
from mbrl.envs.gymnasium_check import gymnasium_findings
from mbrl.envs.task import make_env, make_task
from mbrl.envs.vector_experience import VectorExperience, refuse_not_finite
from mbrl.errors import MbrlWarning, TaskError

_TOLERANCE = 1e-4  # of max(1, |reward|)


def check_task(task: Task, *, steps: int = 300, seed: int = 0) -> list[str]:
    """Runs the task's known functions in float64 against real transitions under random actions.

    Args:
        task: the task to check.
        steps: real steps; more of them meet rarer states, such as the ends of episodes.
        seed: seed of the episodes and the actions.

    Returns:
        One sentence per known function that agrees, and one if a known termination was compared with no end.

    Raises:
        TaskError: with the first state in which a function disagrees by more than 1e-4·max(1, |reward|), or if it doesn't
            return `B` numbers or bools.
    """
    if task.known_reward is None and task.known_terminated is None:
        return []
    rows = _random_steps(task, steps, seed)
    return check_functions(task, rows, "under random actions")


def check_functions(task: Task, rows: Transitions, where: str) -> list[str]:
    """Runs the task's known functions against recorded transitions; returns and errors as in `check_task`.

    Args:
        task: the task to check.
        rows: real transitions, `B`; float64, since rounding to float32 may move an observation over a bound.
        where: description of the rows, for messages.
    """
    findings = []
    steps = len(rows)
    with torch.no_grad():
        reward, terminated = (_called(task, what, rows) for what in ("reward", "terminated"))
    if reward is not None:
        _check_shape(task, "reward", reward, steps)
        gap = (reward - rows.reward).abs()  # B
        wrong = ~(gap <= _TOLERANCE * rows.reward.abs().clamp_min(1))
        _refuse_first(task, "reward", wrong, reward, rows.reward, rows, where)
        findings.append(
            f"{task.known_reward} agrees on {counted(steps, 'step')}; the largest difference is {float(gap.max()):.1e}."
        )
    if terminated is not None:
        _check_shape(task, "terminated", terminated, steps)
        _refuse_first(task, "terminated", terminated != rows.terminated, terminated, rows.terminated, rows, where)
        ends = int(rows.terminated.sum())
        findings.append(f"{task.known_terminated} agrees on {counted(steps, 'step')}, {ends} of which ended the task.")
        findings += mind_of_unseen_ends(task, rows, "raise steps until some end, or act so that they do")
    return findings


@dataclass(frozen=True)
class Examined:
    """An environment as a check found it.

    Attributes:
        task: what it is.
        lines: what was found, one sentence each.
        rows: steps under random actions, `N` float32.
        episodes: return and length (steps) of each episode that these finished.
        resumes: whether it can be replayed, so that a run resumes exactly.
    """

    task: Task
    lines: Sequence[str]
    rows: Transitions
    episodes: Sequence[tuple[float, int]]
    resumes: bool


def check_environment(
    env_id: str,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    reward: str = "auto",
    terminated: str = "auto",
    action_repeat: int = 1,
    steps: int = 1000,
    seed: int = 0,
) -> list[str]:
    """Describes an environment before training in it; arguments as in `make_task` and `check_task`.

    Returns:
        One sentence for each finding of `examine`.

    Raises:
        TaskError: as `examine`.
        ConfigError: as `examine`.
    """
    options: dict[str, Any] = {"reward": reward, "terminated": terminated, "action_repeat": action_repeat}
    return list(examine(env_id, env_kwargs, **options, steps=steps, seed=seed).lines)


def examine(
    env_id: str,
    env_kwargs: Mapping[str, Any] | None = None,
    *,
    reward: str = "auto",
    terminated: str = "auto",
    action_repeat: int = 1,
    steps: int = 1000,
    seed: int = 0,
) -> Examined:
    """Looks at an environment before training in it; arguments as in `make_task` and `check_task`.

    Returns:
        Findings, in `lines` one sentence each: sizes, bounds, time limit, known functions, what Gymnasium's checker finds,
        whether the functions agree, whether its seeds hold and it can be replayed, the return of random actions, what to
        mind about rewards and observations (`minds_of_values`), whether its episodes end, and whether float32 sees it move.

    Raises:
        TaskError: if the environment can't be used, or a known function disagrees with it.
        ConfigError: for fewer than one step.
    """
    check_whole("check(steps=…)", steps)
    task = make_task(env_id, env_kwargs, reward=reward, terminated=terminated, action_repeat=action_repeat)
    bounds = ", ".join(f"[{low:g}, {high:g}]" for low, high in zip(task.action_low, task.action_high, strict=True))
    limit = "no time limit" if task.time_limit is None else f"a time limit of {counted(task.time_limit, 'step')}"
    sizes = f"{counted(task.obs_size, 'observation')}, {counted(task.action_size, 'action')}"
    lines = [
        f"{env_id}: {sizes} within {bounds}, {limit}.",
        f"Reward: {task.known_reward or 'learned by the model'}.",
        f"Termination: {task.known_terminated or 'learned by the model'}.",
        *gymnasium_findings(task),
        *check_task(task, steps=steps, seed=seed),
    ]
    same_start = seeds_hold(task, seed=seed)
    resumes = same_start and replays(task, seed=seed)
    if not same_start:
        lines.append(
            "Two resets with the same seed begin differently, so no run can be repeated or resumed exactly: let reset draw "
            'from self.np_random alone, after super().reset(seed=seed), or set resume="next_episode".'
        )
    elif resumes:
        lines.append("A reset with the same seed and the same actions lead to the same observations: a run resumes exactly.")
    else:
        lines.append(
            "A reset with the same seed and the same actions lead elsewhere: a run can't resume exactly, so set "
            'resume="next_episode".'
        )
    with catch_warnings(record=True) as found:
        simplefilter("always", MbrlWarning)
        rows, episodes = _random_episodes(task, steps, seed)
    lines += [_random_return(episodes, steps), *minds_of_values(rows)]
    if task.time_limit is None and not episodes:
        lines.append(
            f"There is no time limit and no end within {counted(steps, 'step')}: evaluations cut their episodes "
            "(data.init_args.eval_limit), and training may never begin another; register it with max_episode_steps, or set "
            "that in env_kwargs."
        )
    lines += [str(warning.message) for warning in found]
    return Examined(task, lines, rows, episodes, resumes)


def seeds_hold(task: Task, *, seed: int = 0) -> bool:
    """Says whether an environment begins twice at the same observation, bit for bit, when reset with the same seed."""
    env = make_env(task)
    try:
        start = derived_seed(seed, "second") & 0x7FFF_FFFF
        first, again = (env.reset(seed=start)[0] for _ in range(2))
        return bool(first.tobytes() == again.tobytes())
    finally:
        env.close()


def replays(task: Task, *, steps: int = 50, seed: int = 0) -> bool:
    """Says whether a used and a new environment go the same way, bit for bit, from the same reset seed."""
    used, new = make_env(task), make_env(task)
    try:
        used.reset(seed=derived_seed(seed, "first") & 0x7FFF_FFFF)
        actions = _random_actions(task, steps, seed)  # steps x A
        for command in actions[:5]:
            used.step(command)
        start = derived_seed(seed, "second") & 0x7FFF_FFFF
        obs_used, obs_new = used.reset(seed=start)[0], new.reset(seed=start)[0]
        for command in actions:
            if obs_used.tobytes() != obs_new.tobytes():
                return False
            obs_used, _, terminated, truncated, _ = used.step(command)
            obs_new = new.step(command)[0]
            if terminated or truncated:
                break
        return bool(obs_used.tobytes() == obs_new.tobytes())
    finally:
        used.close()
        new.close()


def _random_actions(task: Task, steps: int, seed: int) -> np.ndarray:
    """`steps x A`, environment units, uniform."""
    unit = torch.rand(steps, task.action_size, generator=make_generator("cpu", seed, "check"), dtype=torch.float64) * 2 - 1
    return task.to_env_action(unit).numpy().astype(np.float32)


def _random_steps(task: Task, steps: int, seed: int) -> Transitions:
    """Real transitions in float64, with the actions that the environment was given."""
    commands = _random_actions(task, steps, seed)  # steps x A
    obs, next_obs = np.empty((steps, task.obs_size)), np.empty((steps, task.obs_size))
    reward, flags = np.empty(steps), np.zeros((2, steps), dtype=np.bool_)
    env = make_env(task)
    try:
        now, episode = None, 0
        for step in range(steps):
            if now is None:
                now, _ = env.reset(seed=derived_seed(seed, "check", episode) & 0x7FFF_FFFF)
                episode += 1
            obs[step] = now
            now, reward[step], flags[0, step], flags[1, step], _ = env.step(commands[step])
            next_obs[step] = now
            refuse_not_finite(task, np.stack([obs[step], next_obs[step]]), reward[[step, step]], [step, step + 1])
            if flags[:, step].any():
                now = None
    finally:
        env.close()
    action = task.from_env_action(torch.from_numpy(commands.astype(np.float64)))
    return Transitions(
        obs=torch.from_numpy(obs),
        action=action,
        reward=torch.from_numpy(reward),
        next_obs=torch.from_numpy(next_obs),
        terminated=torch.from_numpy(flags[0]),
        truncated=torch.from_numpy(flags[1]),
    )


def _called(task: Task, what: str, rows: Transitions) -> Tensor | None:
    try:
        found: Tensor | None = getattr(task, what)(rows.obs, rows.action, rows.next_obs)
    except TypeError as error:
        name = task.known_reward if what == "reward" else task.known_terminated
        raise TaskError(f"{name}: expected a function of obs, action and next_obs, got {error}; give one.") from error
    return found


def _check_shape(task: Task, what: str, value: Tensor, steps: int) -> None:
    is_right = isinstance(value, Tensor) and value.shape == (steps,)
    if not (is_right and (value.is_floating_point() if what == "reward" else value.dtype is torch.bool)):
        got = f"{tuple(value.shape)} ({value.dtype})" if isinstance(value, Tensor) else type(value).__name__
        kind = "number" if what == "reward" else "bool"
        raise TaskError(
            f"{task.env_id}: expected {getattr(task, f'known_{what}')} to return one {kind} per row, a tensor of shape "
            f"({steps},), got {got}; index observations as obs[..., i] and reduce over the last dim only."
        )


def _refuse_first(task: Task, what: str, wrong: Tensor, said: Tensor, real: Tensor, rows: Transitions, where: str) -> None:
    if not bool(wrong.any()):
        return
    first = int(wrong.nonzero()[0, 0])
    command = task.to_env_action(rows.action[first])
    name = getattr(task, f"known_{what}")
    raise TaskError(
        f"{task.env_id}: expected {name} to agree with the environment, got {said[first].item():.9g} "
        f"where the environment gave {real[first].item():.9g} at step {first} {where} (obs "
        f"{_numbers(rows.obs[first])}, action {_numbers(command)}, next_obs {_numbers(rows.next_obs[first])}; "
        f"{int(wrong.sum())} of {len(rows)} steps disagree); correct the function, or set {what}: learned."
    )


def _numbers(values: Tensor) -> str:
    return "[" + ", ".join(f"{value:.6g}" for value in values.tolist()) + "]"


def _random_episodes(task: Task, steps: int, seed: int) -> tuple[Transitions, list[tuple[float, int]]]:
    """Steps under random actions, and return and length of each episode that they finished."""
    experience = VectorExperience(task, seed=derived_seed(seed, "random return"))
    generator = make_generator("cpu", seed, "random return")
    rows = Transitions.cat(
        [
            experience.step(torch.rand(1, task.action_size, generator=generator, dtype=torch.float32) * 2 - 1)
            for _ in range(steps)
        ]
    )
    experience.close()
    return rows, [(float(value), int(length)) for value, length in experience.finished()]


def _random_return(finished: Sequence[tuple[float, int]], steps: int) -> str:
    """The sentence on the return of random actions."""
    if not finished:
        return f"Random actions finished no episode in {counted(steps, 'step')}."
    returns = torch.tensor([value for value, _ in finished], dtype=torch.float64)
    lengths = torch.tensor([float(length) for _, length in finished], dtype=torch.float32)
    spread = f" (standard deviation {float(returns.std()):.4g})" if len(finished) > 1 else ""
    return (
        f"Random actions return {float(returns.mean()):.4g}{spread} over {counted(len(finished), 'episode')} of "
        f"{float(lengths.mean()):.4g} steps."
    )
