"""Scores of policies that take no real step: fitted-Q evaluation, the model's own return, and how well they rank."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from mbrl.analysis import FittedQ, ScoreSelection, fitted_q_evaluation, model_return, select_by_scores
from mbrl.data import Transitions, make_generator
from mbrl.errors import ConfigError, DataError, ShapeError
from tests.planners.exact_models import WALK, WalkModel

GAMMA = 0.8
SMALL: dict[str, Any] = {"updates": 500, "hidden": (64, 64), "lr": 3e-3, "critics": 2, "discount": GAMMA, "batch_size": 128}


def jumps(number: int = 1000, unit: float = 1.0) -> Transitions:
    """s' = a, which pays −a², in episodes of ten steps from 0."""
    generator = torch.Generator().manual_seed(0)
    action = torch.rand(number, 1, generator=generator) * 2 - 1
    first = torch.arange(number) % 10 == 0
    obs = torch.where(first[:, None], torch.zeros(()), action.roll(1, 0))
    never = torch.zeros(number, dtype=torch.bool)
    last = first.roll(-1)
    reward = -unit * action[:, 0].square()
    return Transitions(obs, action, reward, action, never, last, extras={"episode": torch.arange(number) // 10})


def always(action: float) -> Any:
    return lambda obs: torch.full((len(obs), 1), action)


def scored(policy: Any, rows: Transitions, **options: Any) -> FittedQ:
    return fitted_q_evaluation(policy, rows, generator=make_generator("cpu", 0), **{**SMALL, **options})


def test_a_policy_is_worth_what_its_actions_earn_for_ever() -> None:
    half, still = scored(always(0.5), jumps()), scored(always(0.0), jumps())
    assert half.score == pytest.approx(-0.25 / (1 - GAMMA), rel=0.08)
    assert still.score == pytest.approx(0.0, abs=0.05)
    assert len(half.values) == 100 and half.disagreement is not None and half.disagreement < 0.1
    assert abs(half.drift) < 0.1 and half.table()["updates"][-1] == 500
    assert f"{half.score:.2g}"[:4] in half.in_short()[0]
    assert half.plot().axes[0].get_xlabel() == "updates"


def test_rewards_of_any_unit_give_the_same_score_in_that_unit() -> None:
    rows, large = jumps(), jumps(unit=1e4)
    far = replace(large, obs=large.obs * 1e3, next_obs=large.next_obs * 1e3)  # millimetres
    few = {"updates": 60}
    assert scored(always(0.5), far, **few).score == pytest.approx(1e4 * scored(always(0.5), rows, **few).score, rel=1e-3)


def test_nothing_is_earned_after_a_termination_and_a_truncation_bootstraps() -> None:
    rows = jumps()
    ended = replace(rows, terminated=torch.ones_like(rows.terminated))
    assert scored(always(0.5), ended).score == pytest.approx(-0.25, abs=0.03)
    cut = replace(rows, truncated=torch.ones_like(rows.truncated))
    found = scored(always(0.5), cut, starts=torch.zeros(3, 1))
    assert found.score == pytest.approx(-0.25 / (1 - GAMMA), rel=0.08) and len(found.values) == 3


def test_the_same_seed_scores_the_same_and_moves_no_global_generator() -> None:
    torch.manual_seed(1)
    first, drawn = scored(always(0.1), jumps(), updates=20), torch.rand(())
    torch.manual_seed(1)
    assert torch.equal(drawn, torch.rand(()))
    assert scored(always(0.1), jumps(), updates=20).score == first.score


def test_what_cannot_be_scored_is_refused() -> None:
    rows = jumps(20)
    with pytest.raises(DataError, match="expected recorded rows, got none"):
        scored(always(0.0), rows.select(slice(0, 0)))
    with pytest.raises(DataError, match="got others in reward"):
        scored(always(0.0), replace(rows, reward=rows.reward * torch.nan))
    with pytest.raises(ShapeError, match="starts"):
        scored(always(0.0), rows, starts=torch.zeros(3, 2))
    with pytest.raises(ShapeError, match="policy"):
        scored(lambda obs: obs.expand(-1, 2), rows)
    for name, wrong in (("updates", 0), ("discount", 1.0), ("critics", 0), ("lr", 0.0), ("target_rate", 2.0)):
        with pytest.raises(ConfigError, match=name):
            scored(always(0.0), rows, **{name: wrong})


def walked(model: WalkModel | None = None, **options: Any) -> Tensor:
    made = model or WalkModel()
    made.build(WALK)
    starts = Transitions.from_obs(torch.tensor([[0.0], [0.5], [0.75]]), 1)
    return model_return(made, always(1.0), starts, generator=make_generator("cpu", 0), **{"length": 3, **options})


def test_a_model_pays_along_the_policys_rollout_until_it_ends() -> None:
    """s' = s + 0.1, paying −s'², ended beyond 1."""
    first = -(0.1**2) - 0.2**2 - 0.3**2
    third = -(0.85**2) - 0.95**2 - 1.05**2
    found = walked()
    assert found.tolist() == pytest.approx([first, -(0.6**2) - 0.7**2 - 0.8**2, third], abs=1e-5)
    assert walked(length=10)[2] == pytest.approx(third, abs=1e-5), "ended by its third step"
    discounted = walked(discount=0.5)[0]
    assert float(discounted) == pytest.approx(-(0.1**2) - 0.5 * 0.2**2 - 0.25 * 0.3**2, abs=1e-5)
    bad = walked(WalkModel(bad_above=0.72))
    assert bad.isnan().tolist() == [False, False, True]


def test_scores_are_compared_by_rank() -> None:
    returns = [-10.0, -40.0, -20.0, -30.0]
    found = select_by_scores(
        {
            "right": [1e4, 1.0, 100.0, 10.0],
            "wrong": [0.0, 3.0, 1.0, 2.0],
            "lost": [torch.nan, 1.0, 2.0, 3.0],
            "none": [1.0] * 4,
        },
        returns,
        names=["a", "b", "c", "d"],
    )
    told = found.summary()
    assert [told[name]["rank_correlation"] for name in found.scores] == [
        pytest.approx(1.0), pytest.approx(-1.0), pytest.approx(-0.4), None,
    ]  # fmt: skip
    assert told["right"]["chosen"] == "a" and told["right"]["regret"] == 0
    assert told["wrong"]["return_of_the_chosen"] == -40 and told["wrong"]["regret"] == 30
    assert told["return_of_a_policy_at_random"] == -25
    assert "1 of 4 policies have no finite lost" in found.notes[0]
    assert found.table()["policy"] == ["a", "b", "c", "d"] and len(found.in_short()) == 4
    assert isinstance(found, ScoreSelection) and len(found.plot().axes) == 4


def test_scores_of_other_policies_are_refused() -> None:
    with pytest.raises(ShapeError, match="expected 2 of score 'x', one per policy, got 3"):
        select_by_scores({"x": [1.0, 2.0, 3.0]}, [1.0, 2.0])
    with pytest.raises(DataError, match="two policies or more"):
        select_by_scores({"x": [1.0]}, [1.0])
    with pytest.raises(DataError, match="expected scores by name, got none"):
        select_by_scores({}, [1.0, 2.0])
