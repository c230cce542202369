"""Which members are sound: those whose short rollouts stay near the data, and whose steps are no worse than most members'.

A member that draws rows without some corner of the state space, or was denied a term, can be a badly wrong model.
Zolman2024 (arXiv 2403.09110; authors' code, `validate_ensemble`) screens by the error and the divergence of a rollout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.data import Transitions
from mbrl.data.streams import generator_on
from mbrl.models.base import DynamicsModel

_STARTS = 32  # rollouts of each member
_FAR = 10.0  # widths of the data's range beyond which a rollout has diverged
_WORSE = 10.0  # times the members' median squared error of a step


@torch.no_grad()
def sound_members(model: DynamicsModel, members: int, rows: Transitions, steps: int, generator: torch.Generator) -> Tensor:
    """Which members are sound, `E` bool; all, if none is.

    Args:
        model: fitted.
        members: `E`.
        rows: `N`, those of the fit: rollouts begin at some of them and take actions of others.
        steps: of each rollout.
        generator: draws both.
    """
    device = rows.obs.device
    draws = generator_on(device, generator)
    picked = torch.randint(len(rows), (steps + 1, _STARTS), generator=draws, device=device)  # start, then actions
    error = model.score(rows.select(picked[0]))  # E
    low, high = rows.obs.aminmax(dim=0)  # S
    margin = _FAR * (high - low).clamp(min=torch.finfo(torch.float32).tiny)
    member = torch.arange(members, device=device).repeat_interleave(_STARTS)  # E·starts
    obs = rows.obs[picked[0]].repeat(members, 1)
    stays = torch.ones_like(member, dtype=torch.bool)
    for at in picked[1:]:
        obs = model.project(model.predict(obs, rows.action[at].repeat(members, 1), member).mean)
        stays &= ((obs > low - margin) & (obs < high + margin)).all(-1)  # and no NaN
    sound = stays.view(members, -1).all(1) & (error <= _WORSE * error.nanmedian())
    return torch.where(sound.any(), sound, torch.ones_like(sound))
