"""`minds_of_values`: what rewards and observations teach that a reader may not expect."""

from __future__ import annotations

import torch

from mbrl.data.minds.reward_size import reward_size
from mbrl.data.transitions import Transitions

_FOR_EVER = 100  # steps, 1 / (1 − γ) at the discount γ = 0.99


def minds_of_values(rows: Transitions) -> list[str]:
    """Sentences on rewards and observations that teach something else than a reader may expect, or nothing.

    Args:
        rows: real steps, `N`, with rewards and observations in environment units.
    """
    said = []
    reward, going_on = rows.reward.double(), ~rows.terminated
    if len(rows) > 1 and bool((reward == reward[0]).all()):
        said.append(
            f"Mind: every reward is {float(reward[0]):.6g}, so that nothing says which action is better"
            f"{' but for how long an episode lasts' if bool(rows.terminated.any()) else ''}."
        )
    if bool(rows.terminated.any()) and bool(going_on.any()) and bool((reward[going_on] < 0).all()):
        on, at_ends = float(reward[going_on].mean()), float(reward[rows.terminated].mean())
        if at_ends > _FOR_EVER * on:
            said.append(
                f"Mind: rewards are negative, {on:.4g} on average where the task goes on, and an end stops them "
                f"({at_ends:.4g} at ends, then 0), so that a policy learns to end the task: right if ends are goals; if "
                "they are failures, add a constant to each reward, or take more off at an end."
            )
    if size := reward_size(reward):
        said.append(f"Mind, with SAC at its defaults: {size}")
    both = torch.cat([rows.obs, rows.next_obs])
    still = (both == both[:1]).all(0).nonzero()[:, 0].tolist()  # columns of the observation
    if still and len(rows) > 1:
        said.append(f"Mind: observation {still} never changes, so that nothing can be learned of what it does.")
    return said
