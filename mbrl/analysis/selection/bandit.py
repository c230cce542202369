"""`select_by_bandit`: what choosing among trained policies by a few real episodes is worth, against their number.

The protocol is that of Jackson2025 with three changes: returns are scaled to [0, 1], as the bonus of UCB supposes; a policy
that wasn't pulled is never the one reported, whatever the sign of returns; and a draw of more policies than there are is
refused.

Jackson2025: "A clean slate for offline reinforcement learning" (Unifloral; NeurIPS 2025, arXiv 2504.11453).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.analysis.selection.bandit_result import BanditSelection
from mbrl.arguments import NonNegative, check_argument, check_whole
from mbrl.errors import DataError


def select_by_bandit(
    returns: Sequence[Sequence[float] | Tensor],
    *,
    generator: torch.Generator,
    policies: int | None = None,
    pulls: int = 200,
    repeats: int = 1000,
    bonus: float = 2.0,
) -> BanditSelection:
    """Repeats: draw some policies, pull them by UCB, and report the true mean of the one with the best mean so far.

    A pull is one real episode, drawn with replacement from those recorded of a policy. The next policy is that of the
    largest mean + sqrt(bonus · ln t / n), t counting pulls from 1 and n those of the policy; one that wasn't pulled yet
    comes first, in an order that is drawn. With one pull a policy is picked blindly: the expected score without any choice.

    Args:
        returns: the returns of each trained policy's episodes, any number of each, environment units.
        generator: draws policies, order and episodes, on the CPU.
        policies: `K` that a repeat draws, without replacement; None takes all.
        pulls: episodes that a repeat spends.
        repeats: repeats; more make the interval of the mean narrower.
        bonus: α of UCB on returns in [0, 1]; more spreads pulls over policies, 0 is greedy after one pull each.

    Raises:
        DataError: if a policy has no finite episode, or there are fewer policies than are to be drawn.
        ConfigError: for a number out of range.
    """
    who = "select_by_bandit"
    check_whole(f"{who}(pulls=…)", pulls, 1)
    check_whole(f"{who}(repeats=…)", repeats, 1)
    check_argument(f"{who}(bonus=…)", bonus, NonNegative)
    episodes = [torch.as_tensor(each, dtype=torch.float64).flatten() for each in returns]
    for i, each in enumerate(episodes):
        if not len(each) or not bool(torch.isfinite(each).all()):
            raise DataError(
                f"{who}: expected finite returns of each policy, got {each.tolist()[:5]} of policy {i}; evaluate it, or "
                "leave it out."
            )
    if policies is not None:
        check_whole(f"{who}(policies=…)", policies, 1)
    number = len(episodes) if policies is None else policies
    if not 1 <= number <= len(episodes):
        raise DataError(
            f"{who}: expected {max(number, 1)} policies at least, got {len(episodes)}; give more, or draw fewer (policies)."
        )
    everything = torch.cat(episodes)
    low, width = everything.min(), everything.max() - everything.min()
    means = torch.stack([each.mean() for each in episodes])
    found = torch.empty(repeats, pulls, dtype=torch.float64)
    for repeat in range(repeats):
        chosen = torch.randperm(len(episodes), generator=generator)[:number].tolist()
        luck = torch.rand(pulls, generator=generator, dtype=torch.float64).tolist()
        seen = _pulled([episodes[i] for i in chosen], luck, float(low), float(width), bonus)
        found[repeat] = means[torch.tensor(chosen, dtype=torch.int64)[seen]]
    return BanditSelection(found, means, number, bonus)


def _pulled(arms: list[Tensor], luck: list[float], low: float, width: float, bonus: float) -> Tensor:
    """The arm with the best mean after each pull, `pulls` int64, the earlier of equal ones."""
    scaled = [((arm - low) / width if width > 0 else torch.zeros_like(arm)).tolist() for arm in arms]
    total = torch.zeros(len(arms), dtype=torch.float64)
    count = torch.zeros(len(arms), dtype=torch.float64)
    best = []
    for t, draw in enumerate(luck, 1):
        mean = total / count.clamp_min(1)
        pulled = count > 0
        worth = torch.where(
            pulled, mean + (bonus * torch.tensor(t, dtype=torch.float64).log() / count.clamp_min(1)).sqrt(), torch.inf
        )
        arm = int(worth.argmax())
        total[arm] += scaled[arm][int(draw * len(scaled[arm]))]
        count[arm] += 1
        best.append(int(torch.where(count > 0, total / count.clamp_min(1), -torch.inf).argmax()))
    return torch.tensor(best, dtype=torch.int64)
