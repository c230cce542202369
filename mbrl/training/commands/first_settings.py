"""`first_settings`: those settings of a first run that depend on the environment, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from mbrl.envs.check import Examined
from mbrl.planners import PETS, Dyna, Planner

_NO_LIMIT = 1000  # steps that an episode counts as where nothing ends it
_USUAL_REWARD = (0.1, 100.0)  # mean size of rewards that a temperature of 1 is known to suit
_USUAL_SCALE = (0.2, 5.0)  # standard deviations of observations that networks take as they are


class Setting(NamedTuple):
    """A setting that depends on the environment.

    Attributes:
        name: dotted, as `mbrl fit` takes it.
        value: plain data.
        why: this value, and what another does.
    """

    name: str
    value: Any
    why: str


def first_settings(planner: Planner, found: Examined) -> list[Setting]:
    """Chooses what depends on the environment: length of the run, horizons, what is learned, scales, warm-up, evaluations.

    Args:
        planner: made of the preset's settings, and not built.
        found: the environment.
    """
    length = _length(found)
    searches = isinstance(planner, PETS)
    steps = _rounded(min(max((10 if searches else 20) * length, 1000 if searches else 2500), 10_000), 500)
    taken = planner.spec["init_args"]
    return [
        *_data(found, length, steps),
        *_planner(planner, taken, length, steps),
        *_scales(taken, found),
        Setting(
            "trainer.eval_every",
            steps // (5 if searches else 10),
            "Steps between evaluations, each of data.init_args.eval_episodes whole episodes"
            f"{', in which every step is planned' if searches else ''}. Fewer show more of the curve and take longer.",
        ),
    ]


def _length(found: Examined) -> int:
    """Steps of an episode."""
    if found.task.time_limit is not None:
        return found.task.time_limit
    return max((length for _, length in found.episodes), default=_NO_LIMIT)


def _data(found: Examined, length: int, steps: int) -> Iterator[Setting]:
    task = found.task
    yield Setting("data.init_args.env_id", task.env_id, "")
    if task.env_kwargs:
        yield Setting("data.init_args.env_kwargs", dict(task.env_kwargs), "")
    if task.action_repeat > 1:
        yield Setting("data.init_args.action_repeat", task.action_repeat, "")
    limit = (
        "the time limit" if task.time_limit is not None else "as random actions went" if found.episodes else "no end seen"
    )
    long = (
        " An episode is longer than the run, and an evaluation takes whole ones: register the environment with a smaller "
        "max_episode_steps."
    )
    yield Setting(
        "data.init_args.steps",
        steps,
        f"Real steps: {steps / length:.3g} episodes of {length} steps ({limit}). Enough for small systems; raise it while "
        f"the curve still rises. Walking robots take 100,000 and more.{long if length > steps else ''}",
    )
    for what, known in (("reward", task.known_reward), ("terminated", task.known_terminated)):
        name = f"module.{'reward' if what == 'reward' else 'ended'}(obs, action, next_obs)"
        ends = int(found.rows.terminated.sum())
        seen = "" if what == "reward" else f" {ends} of {len(found.rows)} random steps ended the task."
        yield Setting(
            f"data.init_args.{what}",
            known or "learned",
            f"Known, and agrees with the environment.{seen}"
            if known
            else f"Learned by the model, like the next observation.{seen} If it follows from these, name a function, "
            f"{name}: then it is exact.",
        )
    if task.time_limit is None:
        yield Setting(
            "data.init_args.eval_limit",
            _NO_LIMIT,
            "Steps after which evaluations cut an episode, as there is no time limit. Better register the environment with "
            "max_episode_steps.",
        )
    if not found.resumes:
        yield Setting(
            "data.init_args.resume", "next_episode", "The environment can't be replayed, so that a resume begins an episode."
        )


def _planner(planner: Planner, taken: Mapping[str, Any], length: int, steps: int) -> Iterator[Setting]:
    yield Setting(
        "model.init_args.warmup_steps",
        _rounded(steps // 10, 50),
        "A tenth of the steps is random, before the first fit. More shows the first model more, and leaves less to learn.",
    )
    if isinstance(planner, PETS):
        horizon = min(max(length // 5, 5), 25, length)
        yield Setting(
            "model.init_args.horizon",
            horizon,
            f"Steps that a plan looks ahead, of the {length} of an episode. It has to see what an action leads to; longer "
            "plans cost as much more and rely on a model that errs more.",
        )
    if isinstance(planner, Dyna) and taken["dynamics"] is not None:
        every = _rounded(min(max(steps // 20, 50), 250), 25)
        epoch = max(every, steps // 20)
        reach = min(max(length // 50, 1), 5, length)
        yield Setting(
            "model.init_args.refit_every", every, "Steps between fits of the model. Fewer keep it newer and take longer."
        )
        yield Setting(
            "model.init_args.epoch_steps",
            epoch,
            f"Steps of what rollout_length calls an epoch, of which the run has {steps // epoch}.",
        )
        yield Setting(
            "model.init_args.rollout_length",
            [1, 15, 1, reach],
            f"Steps that the model is rolled ahead: 1 in the first epoch, {reach} from the 15th on; episodes have {length}. "
            "More show the policy more that never happened, and errors add up along the way.",
        )


def _scales(taken: Mapping[str, Any], found: Examined) -> Iterator[Setting]:
    dynamics, learner = ((taken.get(name) or {}).get("init_args", {}) for name in ("dynamics", "learner"))
    rows = found.rows
    if "normalize_targets" in dynamics:
        yield Setting(
            "model.init_args.dynamics.init_args.normalize_targets",
            True,
            "Changes of observations and rewards are fitted in their own standard deviations, so that units don't matter.",
        )
    deviation, mean = rows.obs.double().std(0), rows.obs.double().mean(0)  # S each
    low, high = _USUAL_SCALE
    odd = bool(((deviation < low) | (deviation > high) | (mean.abs() > high)).any())
    if "normalize_obs" in learner:
        spread = (
            f"between {float(deviation.min()):.3g} and {float(deviation.max()):.3g}, around means up to "
            f"{float(mean.abs().max()):.3g} from 0,"
        )
        yield Setting(
            "model.init_args.learner.init_args.normalize_obs",
            odd,
            f"The standard deviations of the observations lie {spread} under random actions, "
            + (
                "so that networks are shown them in these." if odd else "which networks take as they are; true if they grow."
            ),
        )
    if "initial_temperature" in learner:
        sizes = rows.reward.double().abs()
        size, rare = float(sizes.mean()), ""
        if 0 < size < _USUAL_REWARD[0]:  # a rare reward isn't a small one
            size, rare = float(sizes[sizes > 0].mean()), " where they aren't 0"
        usual = size == 0 or _USUAL_REWARD[0] <= size <= _USUAL_REWARD[1]
        temperature = 1.0 if usual else 10.0 ** round(math.log10(size / 10))
        advice = (
            " Critics begin near 0 and take long to such values: divide rewards in the environment." if size > 1000 else ""
        )
        yield Setting(
            "model.init_args.learner.init_args.initial_temperature",
            temperature,
            f"Weight of the actions' entropy against rewards of {size:.3g} on average{rare}, tuned from there on. Higher "
            f"begins with more exploration; far above the rewards, these aren't heard for long.{advice}",
        )


def _rounded(number: int, to: int) -> int:
    """The nearest multiple, at least one."""
    return max(round(number / to), 1) * to
