"""`reward_and_termination`: whether a model knows what is earned, when it is over, and what both make of a return."""

from __future__ import annotations

import torch
from torch import Tensor

from mbrl.analysis.correlations import pearson
from mbrl.analysis.forecasts.normalised_errors import scale_of
from mbrl.analysis.forecasts.one_step_predictions import predict_rows
from mbrl.analysis.forecasts.windows import Windows, check_episodes, place_windows
from mbrl.analysis.model_error.reward_and_termination_result import (
    ReturnError,
    RewardAndTermination,
    RewardError,
    Source,
    TerminationError,
)
from mbrl.analysis.progress import Progress
from mbrl.arguments import Discount, check_argument, check_whole
from mbrl.data import Prediction, Transitions
from mbrl.data.streams import generator_on
from mbrl.models import DynamicsModel, Exact

_ROUNDING = 1e-6  # of the largest: float32
_EXACT, _EXACT_RETURN = 1e-5, 1e-3  # of the largest: what rounding makes of one reward, and of those of many steps
_AT_ONCE = 1 << 16  # rollouts


@torch.no_grad()
def reward_and_termination(
    model: DynamicsModel,
    episodes: list[Transitions],
    *,
    generator: torch.Generator,
    horizon: int = 25,
    discount: float = 1.0,
    most: int = 20_000,
    windows: int = 500,
    particles: int = 10,
    progress: Progress | None = None,
) -> RewardAndTermination:
    """Compares rewards, ends and returns with the real ones.

    One step ahead the members that rollouts draw are asked at their own mean: the reward is the mean of what they say, and
    an end is predicted where more than half of them say so. A return is summed over `H` steps of rollouts on the recorded
    actions, up to a predicted end, whose own reward still counts; windows never cross an episode's end.

    Args:
        model: built and fitted.
        episodes: real ones, from `split_episodes`.
        generator: draws rows, windows, members and noise.
        horizon: `H` steps of a return; longer ones show how errors add up, and fit into fewer episodes.
        discount: γ of one step, in both returns.
        most: rows at most, for the errors one step ahead; drawn uniformly.
        windows: windows at most, for the returns; drawn uniformly.
        particles: `P` rollouts of a window, over which its predicted return is averaged; 1 for an exact model.
        progress: told a sentence now and then.

    Raises:
        DataError: if no episode is as long as the horizon, or there are numbers that aren't finite in them.
        ConfigError: for a number out of range.
    """
    check_argument("reward_and_termination(model=…)", model, DynamicsModel)
    who = "reward_and_termination"
    for argument, given in (("horizon", horizon), ("most", most), ("windows", windows), ("particles", particles)):
        check_whole(f"{who}({argument}=…)", given, 1)
    check_argument(f"{who}(discount=…)", discount, Discount)
    check_episodes(who, episodes)
    found = place_windows(episodes, horizon, windows, generator)  # first, since it refuses
    notes: list[str] = []
    if progress is not None:
        progress("reward and termination: one step ahead")
    rows = place_windows(episodes, 1, most, generator)
    if rows.places > most:
        notes.append(f"{most} rows were drawn from {rows.places}.")
    if found.places > windows:
        notes.append(f"{windows} windows were drawn from {found.places}.")
    reward, termination, exact = _one_step(model, rows, generator, notes)
    returns: ReturnError | None = None
    if reward is None or termination is None:
        missing = "reward" if reward is None else "termination"
        notes.append(f"Returns aren't predicted, since nobody knows the {missing}.")
    else:
        if progress is not None:
            progress(f"reward and termination: returns over {len(found)} windows of {horizon} steps")
        returns = _returns(model, found, 1 if isinstance(model, Exact) else particles, discount, generator, notes)
        exact = exact and bool(returns.fine.all()) and _right(returns.predicted, returns.obtained, _EXACT_RETURN)
        if exact:
            notes.append("Rewards, ends and returns are right to rounding.")
    return RewardAndTermination(reward, termination, returns, exact, tuple(notes))


def _one_step(
    model: DynamicsModel, found: Windows, generator: torch.Generator, notes: list[str]
) -> tuple[RewardError | None, TerminationError | None, bool]:
    """Errors one step ahead, and whether they are no more than rounding."""
    rows = found.rows.map(lambda tensor: tensor[:, 0])
    reward_source, end_source = _sources(model)
    rewards: list[Tensor] = []
    ends: list[Tensor] = []
    wrong: list[Tensor] = []
    for answer in predict_rows(model, rows, generator):
        reward, ended = _said(model, answer.rows, answer.prediction)
        bad = ~answer.members()[0].isfinite().all(-1).all(0)  # b
        if reward is None:
            reward_source = None
        else:
            rewards.append(reward.double().mean(0).cpu())
            bad |= ~rewards[-1].isfinite()
        if ended is None:
            end_source = None
        else:
            ends.append((ended.double().mean(0) > 0.5).cpu())
        wrong.append(bad)
    fine = ~torch.cat(wrong)  # B
    if not bool(fine.all()):
        first = int((~fine).nonzero()[0, 0])
        notes.append(
            f"{int((~fine).sum())} of {len(fine)} predictions one step ahead aren't finite and are left out; the first is "
            f"in episode {int(found.episode[first])}, step {int(found.first[first])}."
        )
    right = bool(fine.all()) and reward_source is not None and end_source is not None  # what nobody knows is nothing right
    reward_error: RewardError | None = None
    if reward_source is None:
        notes.append("The reward is neither known nor learned, so that it has no error.")
    elif fine.any():
        predicted, real = torch.cat(rewards)[fine], rows.reward.double().cpu()[fine]
        off = predicted - real
        right = right and _right(predicted, real, _EXACT)
        reward_error = RewardError(
            reward_source,
            len(off),
            float(off.mean()),
            float(off.square().mean().sqrt()),
            float(scale_of(real.unsqueeze(-1), real.float().unsqueeze(-1))),
            pearson(predicted, real, _ROUNDING),
            float(real.mean()),
        )
        if reward_error.correlation is None:
            notes.append("The real or the predicted reward is constant, so that their correlation is undefined.")
    termination: TerminationError | None = None
    if end_source is None:
        notes.append("Termination is neither known nor learned, so that it has no confusion.")
    elif fine.any():
        said_over, over = torch.cat(ends)[fine], rows.terminated.cpu()[fine]
        counts = [
            int((a & b).sum()) for a, b in ((said_over, over), (said_over, ~over), (~said_over, over), (~said_over, ~over))
        ]
        termination = TerminationError(end_source, *counts)
        right = right and bool((said_over == over).all())
        if termination.recall is None:
            notes.append("No real step ends the task, so that the recall of terminations is undefined.")
        if termination.precision is None:
            notes.append("The model predicts no end, so that the precision of terminations is undefined.")
    return reward_error, termination, right


def _sources(model: DynamicsModel) -> tuple[Source | None, Source | None]:
    """Sources of reward and termination, None where nobody knows them."""
    task = model.built_task
    own: Source = "exact" if isinstance(model, Exact) else "learned"
    return ("known" if task.known_reward is not None else own, "known" if task.known_terminated is not None else own)


def _said(model: DynamicsModel, rows: Transitions, said: Prediction) -> tuple[Tensor | None, Tensor | None]:
    """Reward and end of each drawn member at its own mean, `e x B` each, or None where nobody knows."""
    task, drawn = model.built_task, model.drawn_members
    mean = said.mean[drawn]  # e x B x S
    obs, action = rows.obs.expand_as(mean), rows.action.expand(len(drawn), *rows.action.shape)
    reward = task.reward(obs, action, mean)
    if reward is None and said.reward_mean is not None:
        reward = said.reward_mean[drawn]
    ended = task.terminated(obs, action, mean)
    if ended is None and said.terminated_logit is not None:
        ended = said.terminated_logit[drawn] > 0
    return reward, ended


def _returns(
    model: DynamicsModel,
    found: Windows,
    particles: int,
    discount: float,
    generator: torch.Generator,
    notes: list[str],
) -> ReturnError:
    """Returns of rollouts on the recorded actions of `B` windows, against the obtained ones."""
    horizon = found.rows.obs.shape[1]
    weights = discount ** torch.arange(horizon, dtype=torch.float64)  # H
    obtained = found.rows.reward.double().cpu() @ weights  # B
    generator = generator_on(model.device, generator)
    means, spreads, early = [], [], 0
    per_chunk = max(1, _AT_ONCE // particles)
    for start in range(0, len(found), per_chunk):
        rows = found.rows.select(slice(start, start + per_chunk)).to(model.device)
        state = model.start(rows.map(lambda tensor: tensor[:, 0]), generator, follow=True)
        state = model.particles(state, 1, particles, follow=True)  # P·b
        total = torch.zeros(particles * len(rows), dtype=torch.float64)
        alive = torch.ones_like(total, dtype=torch.bool)
        over = torch.zeros_like(alive)
        for number, step in enumerate(model.rollout(state, rows.action.repeat(particles, 1, 1))):
            total += torch.where(alive, step.reward.double().cpu() * weights[number], 0.0)
            ended = step.terminated.cpu() & alive
            over |= ended & ~rows.terminated[:, number].cpu().repeat(particles)
            alive &= ~step.ended.cpu()
        each = total.view(particles, -1)  # P x b
        means.append(each.mean(0))
        spreads.append(each.std(0, correction=0))
        early += int(over.sum())
    predicted = torch.cat(means)
    wrong = ~predicted.isfinite()
    if wrong.any():
        first = int(wrong.nonzero()[0, 0])
        notes.append(
            f"{int(wrong.sum())} of {len(wrong)} predicted returns aren't finite and are left out; the first is that from "
            f"step {int(found.first[first])} of episode {int(found.episode[first])}."
        )
    predicted = torch.where(wrong, torch.nan, predicted)
    share = early / (particles * len(found))
    if share:
        notes.append(
            f"In {share:.1%} of the rollouts the model takes the task for ended although it really went on; nothing is "
            "earned after that."
        )
    return ReturnError(
        horizon, discount, particles, found.episode, found.first, obtained, predicted, torch.cat(spreads), share
    )


def _right(predicted: Tensor, real: Tensor, rounding: float) -> bool:
    """Says whether numbers agree but for this share of the largest."""
    if not len(predicted):
        return False
    return bool((predicted - real).abs().max() <= rounding * real.abs().max())
