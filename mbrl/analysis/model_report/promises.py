"""Rewards, ends and returns that a model promises and that don't come, as findings of a verdict."""

from __future__ import annotations

from torch import Tensor

from mbrl.analysis.forecasts.normalised_errors import scale_of
from mbrl.analysis.model_error.plan_outcome_result import PlanOutcome
from mbrl.analysis.model_error.reward_and_termination_result import (
    ReturnError,
    RewardAndTermination,
    RewardError,
    Source,
)
from mbrl.analysis.model_report.finding import Finding
from mbrl.analysis.written_numbers import in_percent, rounded
from mbrl.counted import counted

# From here on a number is worth a reader's attention.
_VARIED = 0.5  # of the standard deviation of what is promised
_CONSTANT = 0.1  # of its size, where it is always the same
_ROUNDING = 1e-6  # where it is always 0
_FOUND = 0.5  # share of ends

_ADDED = "look at reward and ends, which add up in a return"


def of_reward(part: RewardAndTermination) -> list[Finding]:
    """A reward that is off, ends that aren't found, and returns along real episodes that don't come."""
    found = [] if part.reward is None or part.exact else _one_step(part.reward)
    ends = part.termination
    if ends is not None and ends.recall is not None and ends.recall < _FOUND:
        found.append(
            Finding(f"it finds {in_percent(ends.recall)} of the steps that end the task", advice_on_ends(ends.source))
        )
    return found + ([] if part.returns is None else _returns(part.returns))


def of_plans(part: PlanOutcome) -> list[Finding]:
    """Returns of plans, executed as they are, or of the policy's actions, that don't come."""
    obtained = part.open_loop if part.plans else part.closed_loop
    fine = part.promised.isfinite() & obtained.isfinite()
    if part.exact or not bool(fine.any()):
        return []
    bias = float((part.promised - obtained)[fine].mean())
    beside = _beside(bias, obtained[fine])
    if beside is None:
        return []
    more = f"{rounded(abs(bias))} {'more' if bias > 0 else 'less'}"
    if part.plans:
        said = f"its plans promise {more} than they bring"
        advice = "plan fewer steps ahead, with more particles or uncertainty_rate below 0: the search finds its faults"
    else:
        said = f"it promises {more} than the policy brings"
        advice = "keep rollouts shorter, or penalise uncertainty in them: the policy has learned the model's faults"
    return [Finding(f"{said} over {counted(part.horizon, 'step')}, {beside}", advice if bias > 0 else _ADDED)]


def advice_on_ends(source: Source) -> str:
    """Advice on ends that are wrong, by where they come from."""
    if source == "learned":
        return "name the task's termination, data.init_args.terminated, if you know it"
    return "mind that a known termination is only as good as the predicted states"


def _one_step(reward: RewardError) -> list[Finding]:
    learned = reward.source == "learned"
    named = "name the task's reward, data.init_args.reward, if you know it"
    advice = named if learned else "mind that a known reward is only as good as the predicted states"
    who = f"the {reward.source} reward is off by"
    if reward.real_sd > 0:
        off = reward.rmse / reward.real_sd
        return [Finding(f"{who} {rounded(off)} of its standard deviation", advice)] if off >= _VARIED else []
    if reward.rmse < _least(reward.real_mean):
        return []
    advice = f"give rows in which the reward differs, or {named}" if learned else advice
    return [Finding(f"{who} {rounded(reward.rmse)}, where the real one is always {rounded(reward.real_mean)}", advice)]


def _returns(returns: ReturnError) -> list[Finding]:
    bias = returns.bias
    beside = None if bias is None else _beside(bias, returns.obtained[returns.fine])
    if bias is None or beside is None:
        return []
    off = f"{rounded(abs(bias))} too {'high' if bias > 0 else 'low'}"
    said = f"returns over {counted(returns.horizon, 'step')} are predicted {off}, {beside}"
    return [Finding(said, f"plan fewer steps ahead, or {_ADDED}")]


def _beside(bias: float, obtained: Tensor) -> str | None:
    """Words for what a bias is large beside: what returns (`B`) differ by, or else what they are; None if it isn't."""
    values = obtained.unsqueeze(-1)
    sd, mean = float(scale_of(values, values.float())), float(obtained.mean())
    if abs(bias) < (_VARIED * sd if sd > 0 else _least(mean)):
        return None
    return f"where they differ by {rounded(sd)} from each other" if sd > 0 else f"where all are {rounded(mean)}"


def _least(mean: float) -> float:
    """The least error that counts beside what is always the same."""
    return max(_CONSTANT * abs(mean), _ROUNDING)
