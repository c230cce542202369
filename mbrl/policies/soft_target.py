"""`soft_target`: what soft critics are fitted to [Haarnoja2018].

Haarnoja2018: "Soft actor-critic algorithms and applications" (arXiv 1812.05905, equations 2 and 3).
"""

from __future__ import annotations

import torch
from torch import Tensor


def soft_target(
    reward: Tensor, terminated: Tensor, next_value: Tensor, log_prob: Tensor, temperature: Tensor, discount: float
) -> Tensor:
    """The target r + γ(1 − d)(Q̄ − α log π), `B`, of arguments `B` each (`temperature` a scalar tensor)."""
    soft = torch.addcmul(next_value, temperature, log_prob, value=-1.0)  # B
    return torch.where(terminated, reward, torch.add(reward, soft, alpha=discount))
