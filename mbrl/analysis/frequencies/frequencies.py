"""`decision_frequencies`: a planner's returns when it looks once in so many steps, whatever it was trained with."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Annotated

import torch

from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS, standard_scale
from mbrl.analysis.frequencies.frequencies_result import DecisionFrequencies, Frequency
from mbrl.analysis.progress import Progress
from mbrl.arguments import Count, Items, Limits, Positive, Seed, check_argument
from mbrl.data import Task, derived_seed, make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.envs.planner_data import EVALUATION_ENVS
from mbrl.errors import ConfigError
from mbrl.planners import OpenLoop, Planner, evaluate, evaluating
from mbrl.planners.evaluation import snapshot_for

LONGEST = 100_000  # steps that are decided at once
_TIMED = 10  # decisions
_Length = Annotated[int, Limits(1, LONGEST)]


def decision_frequencies(
    planner: Planner,
    lengths: Sequence[int] = STANDARD_LENGTHS,
    *,
    random: Sequence[int] | None = None,
    episodes: int = 10,
    seed: int | None = None,
    limit: int = 1000,
    max_return: float | None = None,
    offset: float | None = None,
    progress: Progress | None = None,
) -> DecisionFrequencies:
    """Evaluates a planner at several decision lengths n: it looks, decides for n steps, and looks again.

    Always in the primitive environment, without any action repeat: a step of a planner that was trained at
    `action_repeat` J is held for J of these. So all planners are held to one clock. Each length sees the same episodes, up
    to 10; of more, an environment plays the next where one ends. Without a repeat, and at the
    length at which the planner itself looks, this is `mbrl test`.

    Args:
        planner: any, built and trained; it is left as it was.
        lengths: n, in steps of the primitive environment; the default is what `fas` is defined on. Longer ones are decided
            less often and more blindly.
        random: `[low, high]`, for one more evaluation, whose every decision draws n uniformly from low to high.
        episodes: whole episodes at each length.
        seed: of the run; None takes the planner's, so that the episodes are those of its test.
        limit: primitive steps after which an episode is cut, where the environment has no time limit of its own.
        max_return: of `fas`; None takes that of the method's authors, for an environment that they have one for.
        offset: of `fas`; None takes the authors', or 0 beside a `max_return`.
        progress: is told each length's return when it is known.

    Raises:
        ConfigError: for a number out of range, two lengths that are alike, an empty range, or a task without an environment.
        NotBuiltError: for a planner that isn't built.
    """
    lengths = [*lengths] if isinstance(lengths, range) else lengths
    _check(planner, lengths, random, episodes, seed, limit)
    scale = _scale(planner.built_task.env_id, max_return, offset)
    task = _primitive(planner.built_task, limit)
    seed = derived_seed(planner.seed if seed is None else seed, "test")
    repeat = planner.built_task.action_repeat
    trained = planner.decision_length * repeat
    found: list[Frequency] = []
    experience = VectorExperience(task, min(episodes, EVALUATION_ENVS), seed=seed, device=planner.device)
    try:
        for low, high in [*((n, n) for n in sorted(lengths)), *([] if random is None else [random])]:
            fixed = min(high, task.time_limit or high) if low == high else None  # more than an episode is never played
            with evaluating(planner):
                actor = OpenLoop(planner, experience, fixed or low, fixed or high, repeat)
                played = evaluate(actor, experience, episodes, seed)
                seconds = None if fixed is None else _seconds(planner, experience, -(-fixed // repeat), seed)
            found.append(Frequency(low, high, played, seconds, high > trained))
            if progress is not None:
                progress(f"steps per decision {found[-1].name}: mean return {played.returns.mean():.6g}")
    finally:
        experience.close()
    return DecisionFrequencies(
        found if random is None else found[:-1],
        None if random is None else found[-1],
        planner=type(planner).__name__,
        env_id=task.env_id,
        trained_length=trained,
        action_repeat=repeat,
        scale=scale,
    )


def _check(
    planner: Planner, lengths: Sequence[int], random: Sequence[int] | None, episodes: int, seed: int | None, limit: int
) -> None:
    where = "decision_frequencies({}=…)".format
    check_argument(where("planner"), planner, Planner)
    check_argument(where("lengths"), lengths, Annotated[Sequence[_Length], Items(1)])
    if len(set(lengths)) < len(lengths):
        raise ConfigError(f"{where('lengths')}: expected no two alike, got {list(lengths)}; name each once.")
    check_argument(where("random"), random, Annotated[Sequence[_Length], Items(2, 2)] | None)
    if random is not None and random[0] > random[1]:
        raise ConfigError(
            f"{where('random')}: expected a shortest and a longest length, got {random[0]} and {random[1]}, between which "
            "there is none; swap them."
        )
    check_argument(where("episodes"), episodes, Count)
    check_argument(where("seed"), seed, Seed | None)
    check_argument(where("limit"), limit, Count)
    if not planner.built_task.env_id:
        raise ConfigError(
            f"{where('planner')}: expected a planner whose task names an environment to act in, got one of a dataset that "
            "names none; name it by env_id when training."
        )


def _scale(env_id: str, max_return: float | None, offset: float | None) -> tuple[float, float] | None:
    check_argument("decision_frequencies(max_return=…)", max_return, Positive | None)
    check_argument("decision_frequencies(offset=…)", offset, float | None)
    standard = standard_scale(env_id)
    if max_return is None:
        if offset is not None and standard is None:
            raise ConfigError(f"decision_frequencies(offset={offset:g}): expected max_return beside it, got none; set both.")
        return None if standard is None else (standard[0], standard[1] if offset is None else offset)
    return max_return, 0.0 if offset is None else offset


def _primitive(task: Task, limit: int) -> Task:
    """The task without its action repeat, all of whose episodes end."""
    if task.action_repeat == 1:
        return task if task.time_limit is not None else replace(task, time_limit=limit)
    own = make_task(task.env_id, task.env_kwargs, reward="learned", terminated="learned", allow=task.allow)
    steps = own.time_limit
    if task.time_limit is not None and (steps is None or steps // task.action_repeat != task.time_limit):
        steps = task.time_limit * task.action_repeat  # a dataset's, which was recorded under another
    return replace(own, time_limit=limit if steps is None else steps)


@torch.no_grad()
def _seconds(planner: Planner, experience: VectorExperience, length: int, seed: int) -> float:
    """Median time of a decision in one environment, until its actions are on the host."""
    experience.reset(seed)
    memory = planner.memory(1, make_generator(planner.device, seed, "timing"))
    snapshot = snapshot_for(planner, experience)
    took = []
    for number in range(1 + _TIMED):
        row = number % experience.num_envs
        state = None if snapshot is None else snapshot[row : row + 1]
        began = perf_counter()
        planner.decide(experience.obs[row : row + 1], memory, length, snapshot=state).cpu()
        took.append(perf_counter() - began)
    return statistics.median(took[1:])  # the first one makes what all share
