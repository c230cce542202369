"""`check_planner` of planners that learn from a dataset, and of broken ones, each of which fails with its clause."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from mbrl.data import Transitions, make_generator
from mbrl.errors import ConfigError
from mbrl.models import GaussianEnsemble
from mbrl.policies import SAC
from mbrl.testing import ConformanceError, check_planner
from tests.planners.exact_models import WALK
from tests.planners.offline import Offline


def rows() -> Transitions:
    """60 steps of the walk s' = s + 0.1·a."""
    noise = make_generator("cpu", "dataset")
    obs, action = (torch.rand(60, 1, generator=noise) * 2 - 1 for _ in range(2))  # B x 1 each
    never = torch.zeros(60, dtype=torch.bool)
    return Transitions(obs, action, -obs[:, 0].square(), obs + 0.1 * action, never, never)


def made(cls: type[Offline] = Offline) -> Callable[[], Offline]:
    def make() -> Offline:
        return cls(GaussianEnsemble(hidden=[8], members=2, elites=1, max_epochs=1), SAC(hidden=[8]), rollout_every=4)

    return make


def test_the_planner_of_the_tests_keeps_the_contract() -> None:
    check_planner(made(), WALK, rows=rows())


def test_a_dataset_is_asked_for() -> None:
    with pytest.raises(ConfigError, match="check_planner: expected rows for a planner that learns from a dataset, got none"):
        check_planner(made(), WALK)


class KeepsTheDataset(Offline):
    """Saves its real rows too."""

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        return {**super().buffers_state(), "real": self.real_buffer.state_dict()}


class CountsTwice(Offline):
    """Counts an update that it doesn't make."""

    def update(self) -> None:
        super().update()
        self.updates += 1


class NeverFits(Offline):
    """Leaves its model as it was built."""

    def update(self) -> None:
        if self.updates % self.rollout_every == 0:
            self.learning.imagine(8, 2, capacity=64, clock=self.updates)
        self.learning.learn(1)


class ForgetsItsClock(Offline):
    """Begins to count anew whenever the dataset is taken in, so that it fits again."""

    def restore(self, *, training: bool = False) -> None:
        super().restore(training=training)
        self.updates = 0


class HidesTheRows(Offline):
    """Has no learner yet when the dataset is taken in."""

    def take(self, rows: Transitions) -> None:
        learner, self.learner = self.learner, None  # type: ignore[assignment]
        super().take(rows)
        self.learner = learner
        super().before_updates()

    def before_updates(self) -> None:
        pass


@pytest.mark.parametrize(
    ("broken", "clause"),
    [
        (KeepsTheDataset, "the dataset stays out of buffers_state"),
        (CountsTwice, "a tick counts as one update"),
        (NeverFits, "a model that learns is fitted"),
        (ForgetsItsClock, "restored from a checkpoint"),
        (HidesTheRows, "a learner is shown the dataset"),
    ],
)
def test_broken_ones_fail(broken: type[Offline], clause: str) -> None:
    with pytest.raises(ConformanceError, match=clause):
        check_planner(made(broken), WALK, rows=rows())


class ElsewhereCounted(Offline):
    """Counts on a clock that no run has."""

    clock_name = "rounds"  # type: ignore[assignment]


def test_a_clock_that_no_run_has_fails() -> None:
    with pytest.raises(ConformanceError, match="clock_name is one of the clocks"):
        check_planner(made(ElsewhereCounted), WALK, rows=rows())
