"""A verdict's thresholds are where docs/report.md has them, from both sides."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch

from mbrl.analysis import OpenLoopError
from mbrl.analysis.model_error.calibration_result import Calibration, HorizonCalibration
from tests.analysis.model_report.made_results import (
    GOOD,
    NAMES,
    SCALE,
    STILL,
    constant_reward_of,
    equations_of,
    growing,
    of,
    one_step,
    open_loop,
    plans_of,
    reward_of,
    steady,
)


def worded(text: str) -> str:
    """A text without its numbers."""
    return re.sub(r"[\d.]+", "#", text)


def three(worst: float, middle: float) -> OpenLoopError:
    errors = torch.tensor([worst, middle, 0.01], dtype=torch.float64).expand(25, 3)
    return open_loop(errors, torch.ones_like(errors))


@pytest.mark.parametrize(
    ("below", "above", "said"),
    [
        (open_loop(steady(0.49), STILL), open_loop(steady(0.51), STILL), "No: its median error is 0.51"),
        (open_loop(steady([0.05, 0.099]), steady([1.0, 0.05])), open_loop(steady([0.05, 0.101]), steady([1.0, 0.05])),
         "no change is as good in theta_dot (0.101, no change 0.05)"),
        (open_loop(steady(0.4), STILL, steady(0.21)), open_loop(steady(0.4), STILL, steady(0.19)), "a linear model of"),
        (open_loop(steady([0.1, 0.29]), STILL), open_loop(steady([0.1, 0.31]), STILL), "3.1 times the middle dimension"),
        (open_loop(steady([0.01, 0.099]), STILL), open_loop(steady([0.01, 0.101]), STILL), "10.1 times the middle"),
        (three(0.4, 0.3), three(0.4, 0.1), "x is off by 0.4 standard deviations after 25 steps, 4 times the middle"),
        (one_step(far=0.29, rows=0.1, actions=0.1), one_step(far=0.31, rows=0.1, actions=0.1), "3.1 times that near them"),
        (one_step(far=0.1, rows=0.19, actions=0.1), one_step(far=0.1, rows=0.21, actions=0.1), "2.1 times the dataset's"),
        (one_step(far=0.1, rows=0.1, actions=0.19), one_step(far=0.1, rows=0.1, actions=0.21), "2.1 times the dataset's"),
        (reward_of(0.49), reward_of(0.51), "the learned reward is off by 0.51 of its standard deviation"),
        (constant_reward_of(0.29, -3.0), constant_reward_of(0.31, -3.0),
         "the learned reward is off by 0.31, where the real one is always -3"),
        (constant_reward_of(0.9e-6, 0.0), constant_reward_of(1.1e-6, 0.0), "off by 1.1e-06, where the real one is always 0"),
        (plans_of(49.0), plans_of(51.0), "its plans promise 51 more than they bring over 12 steps, where they differ by"),
        (plans_of(-49.0), plans_of(-51.0), "its plans promise 51 less than they bring over 12 steps, where they differ by"),
        (plans_of(49.0, plans=False), plans_of(51.0, plans=False), "it promises 51 more than the policy brings over 12"),
        (plans_of(2.4, 0.0, brought=25.0), plans_of(2.6, 0.0, brought=25.0), "2.6 more than they bring over 12 steps, where "
         "all are 25"),
        (open_loop(GOOD, STILL, windows=10), open_loop(GOOD, STILL, windows=9),
         "it was looked at in no more than 9 windows of 25 steps"),
        (reward_of(found=50), reward_of(found=49), "it finds 49 % of the steps that end the task"),
        (open_loop(GOOD, STILL, terminated_early=0.049), open_loop(GOOD, STILL, terminated_early=0.051),
         "5 % of its rollouts"),
        (open_loop(GOOD, STILL, halted=4), open_loop(GOOD, STILL, halted=5), "5 of 100 rollouts left its domain"),
        (equations_of(0.51), equations_of(0.49), "its equation explains 49 % of the change of theta_dot"),
        (equations_of(outside=0.049), equations_of(outside=0.051), "5 % of these rows lie outside of its domain"),
    ],
)  # fmt: skip
def test_each_threshold_is_where_the_manual_says(below: Any, above: Any, said: str) -> None:
    for part, told in ((below, False), (above, True)):
        parts = [part] if isinstance(part, OpenLoopError) else [open_loop(GOOD, STILL), part]
        text = " ".join(of(*parts).sentences)
        assert said in text if told else worded(said) not in worded(text)


def test_a_known_reward_is_only_as_good_as_the_states() -> None:
    known, learned = (of(open_loop(GOOD, STILL), reward_of(9.0, source=source)).sentences for source in ("known", "learned"))
    assert "the known reward is off by 9" in known[1] and "only as good as the predicted states" in known[2]
    assert "name the task's reward" in learned[2]
    constant = [
        of(open_loop(GOOD, STILL), constant_reward_of(9.0, 1.0, source)).sentences[2] for source in ("known", "learned")
    ]
    assert "only as good as the predicted states" in constant[0] and "give rows in which the reward differs" in constant[1]


def test_a_termination_that_is_known_need_not_be_named() -> None:
    for source, told in (("known", "mind that a known termination is only as"), ("learned", "name the task's termination")):
        early = of(open_loop(GOOD, STILL, terminated_early=0.9), reward_of(source=source)).sentences[2]
        missed = of(open_loop(GOOD, STILL), reward_of(found=1, source=source)).sentences[2]
        assert told in early and told in missed
    assert "name the task's termination" in of(open_loop(GOOD, STILL, terminated_early=0.9)).sentences[2], "nobody knows"


def test_what_is_done_about_promises_is_their_makers() -> None:
    advice = [
        of(open_loop(GOOD, STILL), plans_of(*given)).sentences[2] for given in ((60.0,), (60.0, 100.0, False), (-60.0,))
    ]
    assert "uncertainty_rate below 0" in advice[0] and "penalise uncertainty in them" in advice[1]
    assert "look at reward and ends" in advice[2]
    exact = dataclasses.replace(plans_of(60.0), exact=True)
    nothing = dataclasses.replace(plans_of(60.0), open_loop=torch.full((4,), torch.nan))
    assert all("promise" not in of(open_loop(GOOD, STILL), part).sentences[1] for part in (exact, nothing))


def test_errors_as_large_as_those_of_no_change_or_as_the_limit_are_too_large() -> None:
    assert of(open_loop(steady(0.3), steady(0.3))).trust == "none"
    apart = of(open_loop(steady(0.5), STILL))
    assert apart.trust == "none" and "already, more than half as far off as a typical state" in apart.sentences[0]
    late = growing(0.3, 0.9)
    assert of(open_loop(late, growing(0.2, 1.2))).sentences[0].startswith("No: "), "better than no change, and no use"


def test_a_linear_model_has_to_have_rows_enough_of_those_that_it_is_judged_by() -> None:
    """With a weight per row it is right in any rows, and wrong in all others."""
    for rows, told in ((9.9, False), (10.0, True), (None, True)):
        found = of(open_loop(steady(0.4), STILL, steady(0.1), linear_rows=rows))
        assert ("linear" in " ".join(found.sentences)) is told


def test_a_linear_model_has_to_be_closer_at_most_steps() -> None:
    for horizon, closer, told in ((25, 12, False), (25, 13, True), (2, 1, False), (2, 2, True), (1, 1, True)):
        linear = torch.cat((steady(0.45, horizon - closer), steady(0.1, closer)))
        found = of(open_loop(steady(0.4, horizon), STILL[:horizon], linear))
        assert ("linear" in found.sentences[0]) is told


def test_a_single_dimension_is_the_whole() -> None:
    """What is said of it is said of the model."""
    alone = open_loop(growing(0.5, 9.0), scale=torch.tensor([10.0, 0.0], dtype=torch.float64))
    said = of(alone).sentences[1]
    assert said.startswith("Where not: nothing stands out; the worst dimension after 25 steps is x, ")


def test_the_worst_three_dimensions_are_named() -> None:
    errors = torch.tensor([0.01, 0.3, 0.5, 0.2, 0.6], dtype=torch.float64).expand(25, 5)
    still = torch.tensor([9.0, 0.3, 0.1, 0.1, 0.1], dtype=torch.float64).expand(25, 5)
    found = of(open_loop(errors, still))
    named = "in x3 (0.6, no change 0.1), x1 (0.5, no change 0.1), theta_dot (0.3, no change 0.3) and 1 more; "
    assert named in found.sentences[1] and "the worst of the others is x (0.01)" in found.sentences[1]


def test_dimensions_are_judged_at_the_first_step_that_is_lost() -> None:
    """At all steps' end the whole is no good, and each dimension with it."""
    errors, still = steady([0.05, 0.05]).clone(), steady([0.3, 0.3])
    errors[1:, 1], errors[2:] = 0.9, 9.0
    found = of(open_loop(errors, still))
    assert found.steps == 1
    assert (
        "after 2 steps no change is as good in theta_dot (0.9, no change 0.3); the worst of the others is x"
        in found.sentences[1]
    )
    errors[1:] = 9.0
    assert "none of its" not in of(open_loop(errors, still)).sentences[1], "all together, which the first sentence says"


@pytest.mark.parametrize(
    ("coverage", "told"), [([0.1, 0.3, 0.42], True), ([0.5, 0.8, 0.95], False), ([0.9, 0.99, 1.0], False)]
)
def test_a_model_that_is_too_sure_of_itself(coverage: list[float], told: bool) -> None:
    both = torch.ones(3, dtype=torch.float64)
    shares = torch.tensor(coverage, dtype=torch.float64).unsqueeze(-1).expand(3, 3)
    one = HorizonCalibration(1, 90, 90, SCALE, shares, both, both, both, both, both, both)
    levels = (0.5, 0.8, 0.95)
    found = of(open_loop(GOOD, STILL), Calibration([one], levels, levels, NAMES, True, 0))
    assert ("too sure of itself: 42 % of the outcomes lie in its 95 % intervals" in found.sentences[1]) is told
    assert ("raise penalties of uncertainty" in found.sentences[2]) is told
