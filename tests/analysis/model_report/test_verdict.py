"""What a report advises: the right thing of models that are good, useless, good in part, or needlessly complicated."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from mbrl.analysis import Skipped
from mbrl.analysis.model_error.reward_and_termination_result import (
    ReturnError,
    RewardAndTermination,
    RewardError,
)
from mbrl.analysis.model_report.verdict import verdict
from tests.analysis.model_report.made_results import (
    growing,
    of,
    one_step,
    open_loop,
    steady,
)


def test_a_perfect_model() -> None:
    found = of(open_loop(steady(1e-9), exact=True))
    assert (found.trust, found.steps) == ("exact", 25)
    assert found.sentences[0] == "Yes: it is exact to rounding in all 25 steps (largest error: 1e-09 standard deviations)."
    assert found.sentences[1:] == (
        "Where not: nowhere in these data.",
        "What to do: plan and roll out with it as far as you like.",
    )


def test_perfect_states_with_a_reward_that_is_off() -> None:
    """What an agent is paid for isn't told by states alone."""
    reward = RewardAndTermination(RewardError("learned", 20, 0.0, 0.9, 1.0, 0.1, 0.0), None, None, False)
    found = of(open_loop(steady(1e-9), exact=True), reward)
    assert found.trust == "exact"
    assert found.sentences[1] == "Where not: the learned reward is off by 0.9 of its standard deviation."
    assert found.sentences[2] == "What to do: name the task's reward, data.init_args.reward, if you know it."


def test_a_good_model() -> None:
    found = of(open_loop(growing(0.01, 0.2)))
    assert (found.trust, found.steps) == ("all", 25)
    assert found.sentences[0] == (
        "Yes, for all 25 steps that were looked at: its median error is 0.01 standard deviations of the observation after 1 "
        "step and 0.2 after 25, that of no change 1.2."
    )
    assert "nothing stands out; the worst dimension after 25 steps is x, with a median error of 0.2" in found.sentences[1]
    assert "roll out and plan up to 25 steps" in found.sentences[2]


def test_a_single_step() -> None:
    found = of(open_loop(steady(0.05, 1), steady(0.1, 1)))
    assert (found.trust, found.steps) == ("all", 1)
    assert found.sentences[0].startswith("Yes, for the 1 step that was looked at: its median error is 0.05 standard")
    assert of(open_loop(steady(1e-9, 1), exact=True)).sentences[0].startswith("Yes: it is exact to rounding after 1 step (")


def test_a_useless_model() -> None:
    found = of(open_loop(growing(0.5, 9.0)))
    assert (found.trust, found.steps) == ("none", 0)
    assert "No: its median error is 0.5 standard deviations of the observation after 1 step" in found.sentences[0]
    assert "where no change has 0.1." in found.sentences[0]
    assert "in none of its 2 dimensions is it better than no change after 1 step" in found.sentences[1]
    assert "neither plan nor roll out with it" in found.sentences[2]


def test_one_bad_dimension_of_a_useless_model_and_of_a_good_one() -> None:
    """It is named, with the others told to be good, and the whole isn't praised for it."""
    spoilt = of(open_loop(steady([0.01, 2.0])))
    assert spoilt.trust == "none"
    assert "no change is as good in theta_dot (2, no change 0.1); the worst of the others is x (0.01)" in spoilt.sentences[1]
    hidden = of(open_loop(steady([0.01, 0.6]), steady([1.0, 0.5])))
    assert hidden.trust == "all"
    assert (
        "after 25 steps no change is as good in theta_dot (0.6, no change 0.5); the worst of the others is x (0.01)"
        in (hidden.sentences[1])
    )
    assert "look at that dimension's own panel" in hidden.sentences[2]
    apart = of(open_loop(steady([0.01, 0.4]), steady(1.0)))
    assert "theta_dot is off by 0.4 standard deviations after 25 steps, 40 times the middle dimension" in apart.sentences[1]


def test_a_dimension_that_hardly_moves_is_no_failure() -> None:
    """Such as a goal that stays: no change is right there, and the model is too, but for rounding."""
    found = of(open_loop(steady([0.05, 1e-6]), torch.stack((growing(0.1, 1.2)[:, 0], torch.zeros(25)), -1)))
    assert found.trust == "all" and "nothing stands out" in found.sentences[1]


def test_good_single_steps_that_diverge() -> None:
    found = of(open_loop(growing(0.001, 50.0)))
    assert found.trust == "some" and 0 < found.steps < 25
    median = growing(0.001, 50.0)[:, 0].tolist()
    assert found.sentences[0].startswith(f"For {found.steps} steps of 25: its median error is 0.001 standard deviations")
    assert f"{median[found.steps - 1]:.3g} after {found.steps}, and {median[found.steps]:.3g} after" in found.sentences[0]
    assert found.sentences[1].startswith(
        f"Where not: beyond {found.steps} steps; else nothing stands out; the worst dimension"
    )
    assert f"keep rollouts and plans to {found.steps} steps" in found.sentences[2]
    assert "same kind of data" not in found.sentences[2], "no advice for a model that fails from the first step on"
    broken = growing(0.001, 0.01).clone()
    broken[7:] = torch.nan
    stopped = of(open_loop(broken, not_finite=60))
    assert (stopped.trust, stopped.steps) == ("some", 7) and "60 of 100 rollouts are not finite" in stopped.sentences[1]
    assert stopped.sentences[0].endswith("after 7, and after 8 most of its rollouts are not finite.")
    nowhere = of(open_loop(steady(torch.nan), not_finite=100))
    assert nowhere.trust == "none" and "after 1 step already most of its rollouts are not finite" in nowhere.sentences[0]


def test_windows_that_are_left_of_all_say_nothing_of_those_that_are_gone() -> None:
    """Errors are of forecasts that are finite, and of rollouts that the model hasn't ended: a few good ones flatter it."""
    good, few = growing(0.01, 0.2), [20] * 6 + [10] + [9] * 18
    gone = of(open_loop(good, means=[20, 20, *[1] * 23], singles=few, not_finite=60))
    assert (gone.trust, gone.steps) == ("some", 7)
    assert gone.sentences[0].endswith("after 7, and after 8 most of its rollouts are not finite.")
    left = of(open_loop(good, singles=few, halted=60))
    assert left.steps == 7 and left.sentences[0].endswith("after 8 most of its rollouts have left its domain.")
    both = of(open_loop(good, singles=few, halted=30, not_finite=30))
    assert both.sentences[0].endswith("after 8 most of its rollouts are not finite or have left its domain.")
    at_once = of(open_loop(good, singles=[9] * 25, not_finite=60))
    assert (at_once.trust, at_once.steps) == ("none", 0)
    assert at_once.sentences[0] == "No: after 1 step already most of its rollouts are not finite."


def test_one_bad_member_is_not_most_rollouts() -> None:
    """It is in each window, of whose particles there is no mean then."""
    found = of(open_loop(steady(torch.nan), singles=[16] * 25, not_finite=20))
    assert found.sentences[0] == "No: after 1 step already some rollouts of each window are not finite."
    assert "20 of 100 rollouts are not finite" in found.sentences[1]


def test_rollouts_that_the_model_itself_ended_are_told() -> None:
    """They flatter it."""
    found = of(open_loop(growing(0.01, 0.2), halted=17))
    assert found.trust == "all" and "17 of 100 rollouts left its domain and don't count" in found.sentences[1]
    assert "widen the domain" in found.sentences[2]
    assert "domain" not in " ".join(of(open_loop(growing(0.01, 0.2), halted=2)).sentences)


def test_nothing_varies() -> None:
    found = of(open_loop(steady(torch.nan), steady(torch.nan)))
    assert found.trust == "unknown" and "nothing varies in these 20 windows" in found.sentences[0]


def test_a_large_error_is_no_forecast_though_no_change_is_worse() -> None:
    found = of(open_loop(growing(0.1, 4.0), steady(9.0)))
    assert found.trust == "some" and "more than half as far off as a typical state is" in found.sentences[0]


@pytest.mark.parametrize(("model", "trust"), [(steady(0.15), "all"), (growing(0.3, 0.9), "none")])
def test_a_linear_model_that_is_750_times_better(model: Tensor, trust: str) -> None:
    """Whether this one is good or not."""
    found = of(open_loop(model, growing(0.2, 1.2), model / 750))
    assert found.trust == trust
    assert "; a linear model of these data is 750 times closer after 25 steps" in found.sentences[0]
    assert found.sentences[2].startswith("What to do: take a linear model instead, such as SINDy(library=Library(degree=1))")
    assert "roll out and plan" not in found.sentences[2], "no advice against the first"


def test_a_linear_model_holds_where_this_one_is_no_number() -> None:
    broken = growing(0.01, 0.02).clone()
    broken[7:] = torch.nan
    found = of(open_loop(broken, linear=growing(0.02, 0.2), not_finite=100))
    assert (found.trust, found.steps) == ("some", 7)
    assert "; a linear model of these data is off by 0.2 after 25 steps, where this one is no number" in found.sentences[0]
    assert found.sentences[2].startswith("What to do: take a linear model instead")
    broken[7:20] = 0.02
    found = of(open_loop(broken, linear=growing(0.02, 0.2), not_finite=100))
    assert "linear" not in found.sentences[0], "only in the last few steps"


def test_a_linear_model_is_no_rival_where_it_is_useless_too() -> None:
    found = of(open_loop(growing(0.5, 90.0), linear=steady(1.1)))
    assert "linear" not in " ".join(found.sentences)
    found = of(open_loop(growing(0.01, 0.2), linear=growing(0.011, 0.15)))
    assert "linear" not in " ".join(found.sentences), "a third less is no other class"


def test_a_model_worse_than_no_change_at_first_and_better_later() -> None:
    found = of(open_loop(steady(0.15)))
    assert (found.trust, found.steps) == ("none", 0)
    assert (
        "Not step by step" in found.sentences[0] and "only later smaller (0.15 after 25 against 1.2)" in found.sentences[0]
    )


def test_what_was_never_fitted_or_was_fitted_to_these_rows() -> None:
    good = open_loop(growing(0.01, 0.2))
    fresh = of(good, fitted=False)
    assert (
        fresh.trust == "none"
        and fresh.sentences[0].startswith("No: it was never fitted")
        and "train it" in fresh.sentences[2]
    )
    assert of(good, seen="These data are …").sentences[0].startswith("On rows that it was fitted to: yes, for all 25 steps")


def test_far_from_the_data_and_under_the_policy() -> None:
    found = of(open_loop(growing(0.01, 0.2)), one_step(rows=0.45, actions=0.1, far=0.6))
    assert "far from training data its one-step error is 6 times that near them" in found.sentences[1]
    assert "under the present policy its one-step error is 4.5 times the dataset's" in found.sentences[1]
    assert "collect rows with the policy and fit it again" in found.sentences[2]


@pytest.mark.parametrize(("scale", "told"), [(0.9, False), (-3.0, True), (3.0, True)])
def test_returns_that_are_promised_and_dont_come(scale: float, told: bool) -> None:
    """Beside what real ones differ by, in whatever units."""
    obtained = 1e4 * torch.tensor([-1.0, 1.0, -1.0, 1.0], dtype=torch.float64) - 1e6
    none = torch.zeros(4, dtype=torch.int64)
    returns = ReturnError(12, 0.99, 5, none, none, obtained, obtained + 5e3 * scale, torch.zeros(4), 0.0)
    found = of(open_loop(growing(0.01, 0.2)), RewardAndTermination(None, None, returns, False))
    way = "high" if scale > 0 else "low"
    sentence = f"returns over 12 steps are predicted 15,000 too {way}, where they differ by 10,000 from each other"
    assert (sentence in found.sentences[1]) is told and ("plan fewer steps ahead" in found.sentences[2]) is told


def test_returns_that_differ_by_rounding_alone_are_no_measure() -> None:
    obtained = 7.7 + 1e-15 * torch.tensor([0.0, 1.0, 2.0, 3.0], dtype=torch.float64)
    none = torch.zeros(4, dtype=torch.int64)
    returns = ReturnError(12, 0.99, 5, none, none, obtained, obtained + 1e-5, torch.zeros(4), 0.0)
    assert "returns" not in of(open_loop(growing(0.01, 0.2)), RewardAndTermination(None, None, returns, False)).sentences[1]


def test_no_return_could_be_predicted() -> None:
    some, none = torch.zeros(2, dtype=torch.float64), torch.zeros(2, dtype=torch.int64)
    returns = ReturnError(12, 0.99, 5, none, none, some, some * torch.nan, some, 0.0)
    assert "returns" not in of(open_loop(growing(0.01, 0.2)), RewardAndTermination(None, None, returns, False)).sentences[1]


def test_a_report_without_rollouts_says_so() -> None:
    skipped = Skipped("open_loop", "Open loop", "expected other data.")
    assert verdict({}, [skipped]).sentences == (
        "Unknown: nothing says how its rollouts compare with reality. expected other data.",
    )
    assert verdict({}, []).trust == "unknown"
