"""`fitted_q_evaluation`: what a policy is worth by recorded steps alone, without environment and model [Le2019].

Repeats: Q(s, a) ← r + γ(1 − d) Q̄(s', π(s')) over the recorded steps, where Q̄ is an earlier Q; the score is the mean of
Q(s, π(s)) over the states in which episodes begin.

Le2019: "Batch policy learning under constraints" (ICML 2019, arXiv 1903.08738), section 4.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from torch import Tensor

from mbrl.analysis.episodes import check_rows, first_states
from mbrl.analysis.progress import Progress
from mbrl.analysis.selection.fitted_q_result import FittedQ
from mbrl.arguments import Positive, Share, ShareBelowOne, Widths, check_argument, check_shape, check_whole
from mbrl.data import Transitions
from mbrl.errors import DataError, DivergedError
from mbrl.networks import LeanAdam, Normalizer
from mbrl.policies.critics import Critics

WHO = "fitted_q_evaluation"
_POINTS = 50  # of the curve
_CHUNK = 8192  # rows whose actions are asked for at once


def fitted_q_evaluation(
    policy: Callable[[Tensor], Tensor],
    rows: Transitions,
    *,
    generator: torch.Generator,
    starts: Tensor | None = None,
    discount: float = 0.99,
    updates: int = 10_000,
    critics: int = 4,
    hidden: Widths = (256, 256),
    lr: float = 1e-3,
    target_rate: float = 0.05,
    batch_size: int = 256,
    progress: Progress | None = None,
) -> FittedQ:
    """Fits values of `policy` to recorded steps, and averages them over the states in which episodes begin.

    Nothing depends on units: observations are normalised, and rewards divided by their root mean square times 1/(1 − γ),
    so that values are about 1. Targets are kept between the least and the most that the recorded rewards can add up to.
    A truncated step bootstraps, a terminated one doesn't.

    The score is a discounted return without an entropy term. It compares policies on one dataset; it says nothing of actions
    that no recorded step resembles, whose values are extrapolated, so look at `disagreement` beside it.

    Args:
        policy: gives actions (`B x A` in [−1, 1]) in observations (`B x S`), such as `planner.learner.policy.mode`.
        rows: the recorded steps, in order (`OfflineData.transitions`).
        generator: draws initial weights and batches, on the CPU.
        starts: `B x S`, states to average over; None takes the first of each recorded episode.
        discount: γ of one step.
        updates: gradient steps; more come nearer to the fixed point, which the result's curve shows.
        critics: `J` networks, each fitted to its own targets; more make the mean steadier and say how far to trust it.
        hidden: units of each hidden layer.
        lr: Adam's step size.
        target_rate: share of the way that Q̄ follows Q per update; higher converges sooner, and may diverge.
        batch_size: rows per update.
        progress: told a sentence now and then.

    Returns:
        The score, its curve over the updates, and a figure of it.

    Raises:
        DataError: if there are no rows or no starts, or one isn't finite.
        ShapeError: for starts of another size, or a policy that doesn't give an action per row.
        DivergedError: if values grow beyond all numbers.
        ConfigError: for a number out of range.
    """
    for name, given in (("updates", updates), ("critics", critics), ("batch_size", batch_size)):
        check_whole(f"{WHO}({name}=…)", given, 1)
    check_argument(f"{WHO}(discount=…)", discount, ShareBelowOne)
    check_argument(f"{WHO}(hidden=…)", hidden, Widths)
    check_argument(f"{WHO}(lr=…)", lr, Positive)
    check_argument(f"{WHO}(target_rate=…)", target_rate, Share)
    check_rows(WHO, rows)
    size, width = rows.obs.shape[-1], rows.action.shape[-1]
    first = first_states(rows) if starts is None else starts
    check_shape(f"{WHO}(starts=…)", first, ("N", size), "give observations in the environment's units")
    if not len(first) or not bool(torch.isfinite(first).all()):
        raise DataError(f"{WHO}: expected finite states to begin in, got {len(first)} of which some aren't; give others.")

    device = rows.obs.device
    obs, action, next_obs = (each.float() for each in (rows.obs, rows.action, rows.next_obs))
    first = first.to(device, torch.float32)
    next_action, first_action = (_acted(policy, each, width) for each in (next_obs, first))
    root = float(rows.reward.double().square().mean().sqrt())
    unit = (root if root > 0 else 1.0) / (1 - discount)  # of values
    reward = (rows.reward.double() / unit).float()
    ends = bool(rows.terminated.any())
    low, high = (float(each) / (1 - discount) for each in (reward.min(), reward.max()))
    low, high = (min(low, 0.0), max(high, 0.0)) if ends else (low, high)
    normalizer = Normalizer(size)
    normalizer.fit(obs)
    net = Critics(size, width, generator, hidden, critics, normalizer=normalizer.to(device)).to(device)
    slow = copy.deepcopy(net).requires_grad_(False)
    optimizer = LeanAdam(net.parameters(), lr=lr)
    followed: tuple[list[Tensor], list[Tensor]] = (list(slow.parameters()), list(net.parameters()))
    every, curve, at = max(1, updates // _POINTS), [], []
    error = torch.zeros((), dtype=torch.float64, device=device)
    goes_on = (~rows.terminated).float() * discount  # B
    for update in range(1, updates + 1):
        drawn = torch.randint(len(obs), (batch_size,), generator=generator).to(device)
        with torch.no_grad():
            later = slow(next_obs[drawn], next_action[drawn])  # J x B
            target = (reward[drawn] + goes_on[drawn] * later).clamp(low, high)
        off = net(obs[drawn], action[drawn]) - target
        optimizer.drop_gradients()
        off.square().mean(-1).sum().backward()
        optimizer.advance()
        with torch.no_grad():
            torch._foreach_lerp_(*followed, target_rate)
            if update > updates - every:
                error += off.detach().double().square().mean() / min(every, updates)
            if update % every == 0 or update == updates:
                value = net(first, first_action).double() * unit  # J x N
                curve.append(value.mean(-1).cpu())
                at.append(update)
                if not bool(torch.isfinite(value).all()):
                    raise DivergedError(
                        f"{WHO}: expected finite values, got others after {update} updates; lower lr or target_rate."
                    )
                if progress is not None:
                    progress(f"fitted-Q evaluation: {update} of {updates} updates")
    return FittedQ(
        values=value.mean(0).cpu(),
        curve=torch.stack(curve),
        updates=torch.tensor(at, dtype=torch.int64),
        error=float(error.sqrt()) * unit,
        discount=discount,
    )


@torch.no_grad()
def _acted(policy: Callable[[Tensor], Tensor], obs: Tensor, width: int) -> Tensor:
    """The policy's actions, `B x A`."""
    action = torch.cat([policy(part) for part in obs.split(_CHUNK)]).to(obs)
    check_shape(f"{WHO}(policy=…)", action, (len(obs), width), "give one action in [−1, 1] per observation")
    return action
