"""`verdict`: whether a model can be trusted, how far, where not, and what to do, from the numbers of its report.

What a report advises is decided here and nowhere else; its parts only say what they measured.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from mbrl.analysis.model_error.calibration_result import OVER, Calibration
from mbrl.analysis.model_error.one_step_result import POLICY_ACTIONS, POLICY_ROWS, OneStepError
from mbrl.analysis.model_error.open_loop_result import LINEAR, MEAN, NO_CHANGE, SINGLE, OpenLoopError
from mbrl.analysis.model_error.plan_outcome_result import PlanOutcome
from mbrl.analysis.model_error.reward_and_termination_result import RewardAndTermination
from mbrl.analysis.model_report.finding import Finding
from mbrl.analysis.model_report.model_equations import ModelEquations
from mbrl.analysis.model_report.promises import advice_on_ends, of_plans, of_reward
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.written_numbers import in_percent, rounded
from mbrl.counted import counted

Trust = Literal["exact", "all", "some", "none", "unknown"]

# From here on a number is worth a reader's attention. Ratios are of median errors.
_FAR_OFF = 0.5  # standard deviations of the observation: half as far off as a typical state is from the average one
_SEEN = 0.1  # standard deviations: less is no failure of a dimension, whatever no change would have
_LINEAR = 2.0  # times closer
_LEARNED = 10.0  # rows per weight of a linear model, below which closeness to these same rows shows no skill
_OUTSTANDING = 3.0  # times the other dimensions
_FAR = 3.0  # times, far from the data
_POLICY = 2.0  # times, under the policy
_EARLY = 0.05  # share of rollouts
_EXPLAINED = 0.5  # share of an observation's change
_FEW = 10  # windows, below which one more could say something else

_HALF = "more than half as far off as a typical state is from the average one"

_Kind = TypeVar("_Kind", bound=Result)


@dataclass(frozen=True)
class Verdict:
    """A judgement of a model, in three sentences.

    Attributes:
        trust: `exact`, to rounding; for `all` steps that were looked at, or only for `some`; `none`; or `unknown`.
        steps: ahead that it can be trusted for, of those that were looked at.
        sentences: whether and how far, where not, and what to do, each with the numbers that it rests on.
    """

    trust: Trust
    steps: int
    sentences: tuple[str, ...]


def verdict(about: Mapping[str, Any], parts: Sequence[Result | Skipped]) -> Verdict:
    """Judges a model by its report.

    Args:
        about: of the report; `fitted` and `seen` say whether it was fitted, and to these rows.
        parts: of the report; those that are missing, or were left out, say nothing.
    """
    found = _of(OpenLoopError, parts)
    if found is None:
        why = next((part.reason for part in parts if isinstance(part, Skipped) and part.name == OpenLoopError.name), "")
        return Verdict("unknown", 0, (f"Unknown: nothing says how its rollouts compare with reality. {why}".strip(),))
    trust, steps, first = _how_far(found)
    if not about.get("fitted", True):
        trust, steps = "none", 0
        first = Finding("No: it was never fitted, and all that it says is untrained.", "train it")
    weak = _weaknesses(found, parts, steps)
    said = first.said
    if about.get("seen"):
        said = f"On rows that it was fitted to: {said[0].lower()}{said[1:]}"
    where = f"Where not: {'; '.join(one.said for one in weak)}." if weak else _nowhere(found, steps)
    general = [] if weak and trust == "exact" else [first.advice]
    advice = dict.fromkeys((*general, *(one.advice for one in weak)))  # each once
    return Verdict(trust, steps, (said, where, f"What to do: {'; '.join(advice)}."))


def _of(kind: type[_Kind], parts: Sequence[Result | Skipped]) -> _Kind | None:
    return next((part for part in parts if isinstance(part, kind)), None)


def _how_far(found: OpenLoopError) -> tuple[Trust, int, Finding]:
    """The trust, the steps that it reaches, and the sentence that says so."""
    horizon, median = found.horizon, found.curves[MEAN].median.tolist()
    still, linear = found.curves[NO_CHANGE].median.tolist(), _linear(found)
    if found.exact:
        largest, reach = rounded(found.curves[MEAN].largest), "after 1 step" if horizon == 1 else f"in all {horizon} steps"
        said = f"Yes: it is exact to rounding {reach} (largest error: {largest} standard deviations)."
        return "exact", horizon, Finding(said, "plan and roll out with it as far as you like")
    if not math.isfinite(still[0]):
        said = f"Unknown: nothing varies in these {found.windows} windows, so that no error is large or small."
        return "unknown", 0, Finding(said, "give data in which something happens")
    gone = next((step for step in range(horizon) if _gone(found, step)), horizon)
    if gone == 0:
        return "none", 0, Finding(f"No: after 1 step already {_gone(found, 0)}.", "fit it again")
    near = next((step for step, error in enumerate(median) if not error < _FAR_OFF), horizon)
    steps = min(found.better_than(NO_CHANGE), near, gone)
    simpler = "" if linear is None else f"; {linear.said}"
    now = f"{rounded(median[0])} standard deviations of the observation after 1 step"
    end = "" if horizon == 1 else f" and {rounded(median[-1])} after {horizon}"
    if steps == horizon:
        reach = "the 1 step that was" if horizon == 1 else f"all {horizon} steps that were"
        said = f"Yes, for {reach} looked at: its median error is {now}{end}, that of no change"
        advice = f"roll out and plan up to {_steps(horizon)}; a report with a longer --horizon says how far beyond"
        trust: Trust = "all"
        said = f"{said} {rounded(still[-1])}"
    elif steps:
        if steps == gone:
            over = f"after {steps + 1} {_gone(found, steps)}"
        elif steps == near:
            over = f"{rounded(median[steps])} after {steps + 1}, {_HALF}"
        else:
            over = f"{rounded(median[steps])} after {steps + 1}, where no change has {rounded(still[steps])}"
        upto = "" if steps == 1 else f", {rounded(median[steps - 1])} after {steps}"
        said = f"For {_steps(steps)} of {horizon}: its median error is {now}{upto}, and {over}"
        advice = f"keep rollouts and plans to {_steps(steps)}; collect more rows or fit longer to go further"
        trust = "some"
    elif median[-1] < min(still[-1], _FAR_OFF):
        said = (
            f"Not step by step: its median error is {now}, where no change has {rounded(still[0])}, and only later smaller "
            f"({rounded(median[-1])} after {horizon} against {rounded(still[-1])})"
        )
        advice = "fit it longer, or to more rows: a rollout is made of single steps"
        trust = "none"
    else:
        why = _HALF if median[0] < still[0] else f"where no change has {rounded(still[0])}"
        said = f"No: its median error is {now} already, {why}"
        advice = "neither plan nor roll out with it: fit it longer or to more rows, or try another model"
        trust = "none"
    return trust, steps, Finding(f"{said}{simpler}.", advice if linear is None else linear.advice)


def _gone(found: OpenLoopError, step: int) -> str:
    """Says that errors after a step are those of too few rollouts to speak for the others; empty if they aren't."""
    ways = (("are not finite", found.not_finite), ("have left its domain", found.halted))
    how = " or ".join(way for way, number in ways if number)
    single, mean, real = (int(found.curves[of].windows[step, -1]) for of in (SINGLE, MEAN, NO_CHANGE))
    if 2 * single < real:
        return f"most of its rollouts {how}"
    return f"some rollouts of each window {how}" if mean == 0 < real else ""


def _linear(found: OpenLoopError) -> Finding | None:
    """Says that a linear model is much closer, where it is: at most steps, and at the last at which it is any good."""
    if found.linear_rows is not None and found.linear_rows < _LEARNED:
        return None
    ours, linear, still = (found.curves[of].median for of in (MEAN, LINEAR, NO_CHANGE))
    ours = ours.nan_to_num(nan=math.inf)
    known = ((linear < _FAR_OFF) & (linear < still)).nonzero()[:, 0].tolist()
    if not known or int((linear < ours).sum()) <= found.horizon / 2:
        return None
    last = known[-1]
    off, less = float(ours[last]), float(linear[last])
    if not off >= _LINEAR * less:
        return None
    if math.isinf(off):
        said = f"is off by {rounded(less)} after {_steps(last + 1)}, where this one is no number"
    else:
        times = f"{rounded(off / less)} times closer" if less > 0 else "exact"
        said = f"is {times} after {_steps(last + 1)} ({rounded(less)} against {rounded(off)})"
    return Finding(
        f"a linear model of these data {said}",
        "take a linear model instead, such as SINDy(library=Library(degree=1)), or find out what keeps this one from it",
    )


def _weaknesses(found: OpenLoopError, parts: Sequence[Result | Skipped], steps: int) -> list[Finding]:
    """Where the model is worse than it is elsewhere, the worst kind first."""
    weak = []
    if found.windows < _FEW:
        said = f"it was looked at in no more than {counted(found.windows, 'window')} of {_steps(found.horizon)}"
        weak.append(Finding(said, "give longer episodes, or a shorter --horizon"))
    if found.not_finite:
        of = found.windows * found.particles
        weak.append(
            Finding(f"{found.not_finite} of {of} rollouts are not finite", "bound its states, such as by domain=[Box(…)]")
        )
    if found.halted >= _EARLY * found.windows * found.particles:
        said = f"{found.halted} of {found.windows * found.particles} rollouts left its domain and don't count from there on"
        weak.append(Finding(said, "widen the domain if real states lie there, or keep rollouts shorter"))
    weak += _dimensions(found, steps + 1)
    one, reward, sure = _of(OneStepError, parts), _of(RewardAndTermination, parts), _of(Calibration, parts)
    if one is not None:
        weak += _regions(one)
    equations = _of(ModelEquations, parts)
    if equations is not None:
        weak += _equations(equations)
    early, ends = found.terminated_early, None if reward is None else reward.termination
    if early >= _EARLY:
        said = f"{in_percent(early)} of its rollouts end although the task goes on"
        weak.append(Finding(said, advice_on_ends("learned" if ends is None else ends.source)))
    if reward is not None:
        weak += of_reward(reward)
    plan = _of(PlanOutcome, parts)
    if plan is not None:
        weak += of_plans(plan)
    if sure is not None and sure.applicable and sure.verdict(sure.horizons[0]) == OVER:
        level = max(sure.levels)
        share = float(sure.horizons[0].coverage[sure.grid.index(level), -1])
        said = f"it is too sure of itself: {in_percent(share)} of the outcomes lie in its {in_percent(level)} intervals"
        weak.append(Finding(said, "raise penalties of uncertainty, or give it more members"))
    return weak


def _dimensions(found: OpenLoopError, step: int) -> list[Finding]:
    """The dimensions in which no change is as good at a step, or else at the last, or one far worse than the others."""
    ahead = min(step, found.horizon)
    counted = [dim for dim, scale in enumerate(found.scale.tolist()) if scale > 0]
    off, still = ({dim: float(found.curves[of].bands[1, ahead - 1, dim] / found.scale[dim]) for dim in counted}
                  for of in (MEAN, NO_CHANGE))  # fmt: skip
    ordered = sorted(counted, key=lambda dim: -math.inf if math.isnan(off[dim]) else -off[dim])
    lost = [dim for dim in ordered if not (off[dim] < still[dim] or off[dim] < _SEEN)]
    if len(counted) < 2:
        return []
    if len(lost) == len(counted):
        if ahead > 1:  # all fail together, as the first sentence says
            return []
        return [Finding(f"in none of its {len(lost)} dimensions is it better than no change after {_steps(ahead)}",
                         "look whether it was fitted to the same kind of data")]  # fmt: skip
    if lost:
        named = ", ".join(
            f"{found.dimensions[dim]} ({rounded(off[dim])}, no change {rounded(still[dim])})" for dim in lost[:3]
        )
        more = f" and {len(lost) - 3} more" if len(lost) > 3 else ""
        best = next(dim for dim in ordered if dim not in lost)
        rest = f"the worst of the others is {found.dimensions[best]} ({rounded(off[best])})"
        return [Finding(f"after {_steps(ahead)} no change is as good in {named}{more}; {rest}", _LOOK)]
    worst, middle = ordered[0], off[ordered[len(ordered) // 2]]
    if off[worst] >= max(_OUTSTANDING * middle, _SEEN):
        said = f"{found.dimensions[worst]} is off by {rounded(off[worst])} standard deviations after {_steps(ahead)}, " \
               f"{rounded(off[worst] / middle) if middle else 'many'} times the middle dimension"  # fmt: skip
        return [Finding(said, _LOOK)]
    return []


_LOOK = "look at that dimension's own panel: noise, an impact or something unobserved needs rows, or another model, there"


def _regions(one: OneStepError) -> list[Finding]:
    """Rows far from the data, and those of the policy."""
    if one.exact:
        return []
    said, found = one.summary(), []
    farther = said["farthest_relative_to_nearest"]
    if farther is not None and farther >= _FAR:
        found.append(
            Finding(
                f"far from {one.distance_to} its one-step error is {rounded(farther)} times that near them",
                "collect rows there, or keep rollouts near the data by a penalty or short lengths",
            )
        )
    ratios = [said["groups"].get(label, {}).get("error_relative_to_dataset") for label in (POLICY_ROWS, POLICY_ACTIONS)]
    worst = max((ratio for ratio in ratios if ratio is not None), default=0.0)
    if worst >= _POLICY:
        found.append(
            Finding(
                f"under the present policy its one-step error is {rounded(worst)} times the dataset's",
                "collect rows with the policy and fit it again",
            )
        )
    return found


def _equations(part: ModelEquations) -> list[Finding]:
    """An observation that its equation doesn't explain, and rows outside of the domain."""
    found, least = [], part.explained_least
    if least is not None and least[1] < _EXPLAINED:
        said = f"its equation explains {in_percent(least[1])} of the change of {least[0]}"
        found.append(Finding(said, "give the library the terms that it lacks, or a Box that leaves out a wall"))
    if (part.outside or 0.0) >= _EARLY:
        said = f"{in_percent(part.outside)} of these rows lie outside of its domain"
        found.append(Finding(said, "widen the domain, if these rows matter"))
    return found


def _nowhere(found: OpenLoopError, steps: int) -> str:
    """A sentence for a model that fails nowhere more than elsewhere."""
    if found.exact:
        return "Where not: nowhere in these data."
    beyond = f"beyond {_steps(steps)}; else " if 0 < steps < found.horizon else ""
    worst = found.summary()["worst_dimension_at_the_end"]
    if worst is None:
        return f"Where not: {beyond}nothing stands out."
    dim = found.dimensions.index(worst)
    off = float(found.curves[MEAN].bands[1, -1, dim] / found.scale[dim])
    return (
        f"Where not: {beyond}nothing stands out; the worst dimension after {_steps(found.horizon)} is {worst}, with a "
        f"median error of {rounded(off)} standard deviations."
    )


def _steps(number: int) -> str:
    return counted(number, "step")
