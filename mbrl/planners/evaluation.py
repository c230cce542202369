"""Evaluation: whole episodes of a planner in real environments, deterministic, stepped as one batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from typing import Protocol

import torch
from scipy import stats
from torch import Tensor, nn

from mbrl.activity import doing
from mbrl.data import make_generator
from mbrl.envs.experience import Experience
from mbrl.parts import load_states_of_parts, states_of_parts
from mbrl.planners.capabilities import HasDynamics
from mbrl.planners.memory import Memory


class Actor(Protocol):
    """Anything that acts as planners do; `Planner` says what its methods mean."""

    @property
    def device(self) -> torch.device:
        """The device it acts on."""

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        """Makes a fresh memory for `n` episodes."""

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        """Chooses actions for a batch of states."""


class EvaluationStopped(Exception):
    """An evaluation was asked to stop; its episodes are forgotten."""


@dataclass
class EpisodeReturns:
    """Returns and lengths of whole episodes, `n` each, undiscounted, in environment units and real steps.

    Attributes:
        returns: float64.
        lengths: int64.
        decisions: int64, how often the planner looked at an observation; fewer than `lengths` if it plays sequences.
        starts: int64, which episode it is: its environment, plus as many as there are for each that was played there before.
            Evaluations of one seed and number of environments begin those of one number alike.
    """

    returns: Tensor
    lengths: Tensor
    decisions: Tensor | None = None
    starts: Tensor | None = None

    def summary(self) -> dict[str, float]:
        """Mean return with its 95 % interval (Student's t), and mean length; the interval is absent with one episode."""
        mean, low, high = mean_interval(self.returns)
        interval = {} if low is None or high is None else {"return_low": low, "return_high": high}
        return {
            "return": mean,
            **interval,
            "length": self.lengths.double().mean().item(),
            "episodes": float(len(self.returns)),
        }

    def difference(self, other: EpisodeReturns) -> tuple[float | None, float | None, float | None]:
        """Mean of these returns less `other`'s, episode by episode, with its 95 % interval.

        Both are evaluations of one seed and number of environments. Where what was played differs, since an environment
        begins the next episode when one ends, those of both count; None for none in common.
        """
        if self.starts is None or other.starts is None:
            return None, None, None
        theirs = dict(zip(other.starts.tolist(), other.returns.tolist(), strict=True))
        mine = zip(self.starts.tolist(), self.returns.tolist(), strict=True)
        common = [earned - theirs[start] for start, earned in mine if start in theirs]
        return mean_interval(torch.tensor(common, dtype=torch.float64)) if common else (None, None, None)


def mean_interval(values: Tensor) -> tuple[float, float | None, float | None]:
    """The mean of `n` values with the ends of its 95 % interval (Student's t), which is None with a single value."""
    n, mean = len(values), values.mean().item()
    if n < 2:
        return mean, None, None
    half = float(stats.t.ppf(0.975, n - 1)) * values.std().item() / math.sqrt(n)
    return mean, mean - half, mean + half


def snapshot_for(planner: Actor, experience: Experience) -> Tensor | None:
    """The simulator's states for `act`, unless the planner has no model, or one that starts from observations alone.

    Reading them takes an eighth of a step of HalfCheetah.
    """
    if isinstance(planner, HasDynamics):
        model = planner.dynamics
        if model is None or not model.row_extras(model.built_task):
            return None
    return experience.snapshot


@torch.no_grad()
def evaluate(
    planner: Actor, experience: Experience, episodes: int, seed: int, stop: Callable[[], bool] | None = None
) -> EpisodeReturns:
    """Runs `episodes` whole episodes, one in each environment of `experience` at a time.

    Generators are made anew from `seed`, so evaluation moves no training stream and is the same whenever it is repeated.
    Episodes count in the order of their start, not of their end, which would favour short ones.

    Args:
        planner: what acts; an `OpenLoop` looks once in so many steps.
        experience: the environments; an episode that never ends is theirs to cut (`OnlineData.evaluation_task`).
        episodes: number of episodes.
        seed: seed of their starts and of all that acting draws.
        stop: asked before each step whether to stop, as a signal may want; None never does.

    Raises:
        EvaluationStopped: if `stop` says so.
    """
    experience.reset(seed)
    n = experience.num_envs
    memory = planner.memory(n, make_generator(planner.device, seed, "evaluation"))
    started = min(n, episodes)
    slots = list(range(n))  # the number of the episode that each environment is in
    starts = [*range(n), *[0] * episodes][:episodes]  # and which one of its environment it is
    played = [1] * n
    returns = [0.0] * episodes
    lengths = [0] * episodes
    decisions = [0] * episodes
    finished = 0
    while finished < episodes:
        doing("evaluating, episode {} of {}", finished + 1, episodes)
        if stop is not None and stop():
            raise EvaluationStopped
        action, memory = planner.act(experience.obs, memory, explore=False, snapshot=snapshot_for(planner, experience))
        looked = [True] * n if memory.looked is None else memory.looked.tolist()
        rows = experience.step(action)
        for i, (reward, end) in enumerate(zip(rows.reward.tolist(), experience.ended.tolist(), strict=True)):
            episode = slots[i]
            if episode >= episodes:
                continue
            decisions[episode] += looked[i]
            returns[episode] += reward
            lengths[episode] += 1
            if end:
                finished += 1
                slots[i] = started if started < episodes else episodes
                if started < episodes:
                    starts[started] = i + n * played[i]
                played[i] += 1
                started += 1
        memory.reset(experience.ended)
    doing("")
    counts = (torch.tensor(each, dtype=torch.int64) for each in (lengths, decisions, starts))
    return EpisodeReturns(torch.tensor(returns, dtype=torch.float64), *counts)


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Puts `module` in evaluation mode, and afterwards all that it holds back into the mode and state that it was in."""
    modes = [(part, part.training) for part in module.modules()]
    states = deepcopy(states_of_parts(module))
    module.eval()
    try:
        yield
    finally:
        load_states_of_parts(module, states)
        for part, mode in modes:
            part.training = mode
