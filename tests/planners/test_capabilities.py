"""Markers say what a planner has, and a planner that makes plans has to say how."""

from __future__ import annotations

import pytest

from mbrl.planners import PETS, Dyna, HasDynamics, LearnsPolicy, MakesPlans, OnlinePlanner, Planner


def test_ours_are_marked() -> None:
    assert {marker for marker in (HasDynamics, LearnsPolicy, MakesPlans) if issubclass(PETS, marker)} == {
        HasDynamics, LearnsPolicy, MakesPlans,
    }  # fmt: skip
    assert issubclass(Dyna, HasDynamics) and issubclass(Dyna, LearnsPolicy) and not issubclass(Dyna, MakesPlans)
    assert issubclass(OnlinePlanner, HasDynamics) and not issubclass(Planner, HasDynamics)


def test_a_marked_planner_without_plan_is_refused() -> None:
    class Forgetful(Planner, MakesPlans):
        pass

    with pytest.raises(TypeError, match="plan"):
        Forgetful()  # type: ignore[abstract]
