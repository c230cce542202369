"""Evaluation: whole episodes of a planner in real environments, deterministic, stepped as one batch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from mbrl.data import make_generator
from mbrl.envs.experience import Experience

if TYPE_CHECKING:
    from mbrl.planners.base import Planner

# 97.5 % points of Student's t for 1 to 30 degrees of freedom.
_T975 = (
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
)  # fmt: skip


def _t975(degrees: int) -> float:
    """The 97.5 % point of Student's t; beyond the table by its expansion around the normal's, good to 1e-4 there."""
    if degrees <= len(_T975):
        return _T975[degrees - 1]
    z = 1.959964  # the normal's
    return z + (z**3 + z) / (4 * degrees) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * degrees**2)


@dataclass
class EpisodeReturns:
    """Returns and lengths of whole episodes, `n` each, undiscounted, in environment units and real steps."""

    returns: Tensor
    lengths: Tensor

    def summary(self) -> dict[str, float]:
        """Mean return with its 95 % interval (Student's t), and mean length; one episode has no interval (NaN)."""
        n = len(self.returns)
        mean = self.returns.mean().item()
        half = math.nan
        if n > 1:
            half = _t975(n - 1) * self.returns.std().item() / math.sqrt(n)
        return {
            "return": mean,
            "return_low": mean - half,
            "return_high": mean + half,
            "length": self.lengths.double().mean().item(),
            "episodes": float(n),
        }


@torch.no_grad()
def evaluate(planner: Planner, experience: Experience, episodes: int, seed: int) -> EpisodeReturns:
    """Runs `episodes` whole episodes, one in each environment of `experience` at a time.

    Generators are made anew from `seed`, so evaluation moves no training stream and is the same whenever it is repeated.
    Episodes count in the order of their start, not of their end, which would favour short ones.
    """
    experience.reset(seed)
    n = experience.num_envs
    memory = planner.memory(n, make_generator(planner.device, seed, "evaluation"))
    started = min(n, episodes)
    slots = list(range(n))  # the number of the episode that each environment is in
    returns = [0.0] * episodes
    lengths = [0] * episodes
    finished = 0
    while finished < episodes:
        action, memory = planner.act(experience.obs, memory, explore=False, snapshot=experience.snapshot)
        rows = experience.step(action)
        for i, (reward, end) in enumerate(zip(rows.reward.tolist(), experience.ended.tolist(), strict=True)):
            episode = slots[i]
            if episode >= episodes:
                continue
            returns[episode] += reward
            lengths[episode] += 1
            if end:
                finished += 1
                slots[i] = started if started < episodes else episodes
                started += 1
        memory.reset(experience.ended)
    return EpisodeReturns(torch.tensor(returns, dtype=torch.float64), torch.tensor(lengths))
