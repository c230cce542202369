"""`check_uncertainty_measure`: the conformance suite of measures of uncertainty."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from mbrl.data import Generator, Prediction, RowGenerator, Task
from mbrl.errors import ConfigError
from mbrl.testing.clauses import Clauses, SomeValues, noise, some_actions, some_obs
from mbrl.testing.linear_model import linear_model_of
from mbrl.uncertainty import Sample, UncertaintyMeasure, draw_sample

ROWS, BAD = 6, 4


def check_uncertainty_measure(make: Callable[[], UncertaintyMeasure], task: Task, *, tolerance: float = 1e-5) -> None:
    """Checks that a measure keeps the contract of `mbrl.uncertainty.UncertaintyMeasure`.

    It is asked of predictions of `least_members` members and of four, of which a rollout draws three.

    Args:
        make: makes the measure, the same each time.
        task: whose predictions it is asked of.
        tolerance: relative and absolute, between two ways to compute the same numbers.

    Raises:
        ConformanceError: naming the first clause that doesn't hold.
    """
    suite = _Suite(make, task, tolerance)
    suite.numbers()
    suite.rows()
    suite.draws()


class _Suite(Clauses):
    def __init__(self, make: Callable[[], UncertaintyMeasure], task: Task, tolerance: float) -> None:
        super().__init__(type(make()).__name__)
        self.task = task
        self.tolerance = tolerance
        self.measure = make()
        self.twin = self.rebuilt(make())
        self.hold(type(self.twin) is type(self.measure), "the spec names the measure's own class", type(self.twin).__name__)
        with self.succeeds("a measure takes prediction, drawn, sample and generator"):
            self.measure.check_call()
        self.said = self.prediction(4)
        self.drawn = torch.tensor([3, 0, 2])

    def prediction(self, members: int) -> Prediction:
        model = linear_model_of(self.task, members, spread=0.3, noise=0.2, learn_reward=True)
        with torch.no_grad():
            said = model.predict(some_obs(self.task, ROWS), some_actions(self.task, ROWS))
        scale = 1 + torch.rand(
            members, ROWS, 1, generator=noise("spread")
        )  # members of a linear model differ alike everywhere
        return Prediction(said.mean * scale, said.var * scale, said.reward_mean, torch.full_like(said.mean[..., 0], 0.01))

    def sample(self, said: Prediction, drawn: Tensor, rows: Tensor | None = None) -> Sample:
        sample = draw_sample(said, drawn, noise("sample"))
        if rows is not None:
            whole = draw_sample(self.said, drawn, noise("sample"))
            assert whole.reward is not None and whole.member is not None  # the linear model predicts both
            sample = Sample(whole.next_obs[rows], whole.reward[rows], whole.member[rows])
        obs, action = some_obs(self.task, ROWS), some_actions(self.task, ROWS)
        rows = torch.arange(ROWS) if rows is None else rows
        return sample.valued(SomeValues(), self.task, obs[rows], action[rows])

    def asked(
        self, measure: UncertaintyMeasure, said: Prediction, generator: Generator, rows: Tensor | None = None
    ) -> Tensor:
        with torch.no_grad():
            return measure(said, self.drawn, self.sample(said, self.drawn, rows), generator)

    def numbers(self) -> None:
        """A number of 0 or more for each row, without changing what it is asked about."""
        sample = self.sample(self.said, self.drawn)
        given = {"prediction": self.said, "drawn": self.drawn, "next_obs": sample.next_obs, "reward": sample.reward}
        with self.untouched("a measure", **given), torch.no_grad():
            found = self.measure(self.said, self.drawn, sample, noise())
        self.shaped(found, (ROWS,), "the uncertainty", self.said.mean)
        self.hold((found >= 0).all(), "an uncertainty is 0 or more", found.tolist())
        self.hold(torch.isfinite(found).all(), "the uncertainty of a finite prediction is finite", found.tolist())
        self.equal(
            self.asked(self.measure, self.said, noise()), found, "the same prediction and generator give the same number"
        )
        self.equal(self.asked(self.twin, self.said, noise()), found, "a measure from its spec measures the same")
        least = self.prediction(self.measure.least_members)
        everyone = torch.arange(self.measure.least_members)
        with self.succeeds(f"least_members ({len(everyone)}) are enough to measure"), torch.no_grad():
            few = self.measure(least, everyone, self.sample(least, everyone), noise())
        self.hold((few >= 0).all(), f"least_members ({len(everyone)}) are enough to measure", few.tolist())
        with self.reads_nothing_back("a measure"), torch.no_grad():
            self.measure(self.said, self.drawn, sample, noise())

    def rows(self) -> None:
        """A row's number is its own."""
        whole = self.asked(self.measure, self.said, RowGenerator(noise(), ROWS))
        keep = torch.tensor([0, 2, 5])
        part = self.asked(self.measure, _rows(self.said, keep), RowGenerator(noise(), ROWS).select(keep), keep)
        self.equal(part, whole[keep], "dropping rows leaves the others' numbers as they were", self.tolerance)
        broken = _rows(self.said, torch.arange(ROWS))
        broken.mean[:, BAD] = broken.var[:, BAD] = torch.nan
        found = self.asked(self.measure, broken, RowGenerator(noise(), ROWS))
        others = torch.arange(ROWS) != BAD
        self.equal(found[others], whole[others], "a prediction that is NaN changes no other row's number", self.tolerance)
        self.hold(~torch.isfinite(found[BAD]), "the uncertainty of a prediction that is NaN isn't finite", found[BAD].item())

    def draws(self) -> None:
        """What it needs it says, and what is missing it refuses."""
        sample = self.sample(self.said, self.drawn)
        with torch.no_grad():
            found = self.measure(self.said, self.drawn, sample, noise())
            clause = "without a generator a measure says the same, or refuses with a ConfigError"
            with suppress(ConfigError):
                self.equal(self.measure(self.said, self.drawn, sample), found, clause)
            bare = Sample(sample.next_obs, sample.reward, sample.member)
            try:
                without = self.measure(self.said, self.drawn, bare, noise())
            except ConfigError:
                self.hold(self.measure.needs_value, "a measure that needs critics says needs_value", "a refusal without any")
            else:
                self.hold(not self.measure.needs_value, "a measure that needs critics refuses to do without")
                self.equal(without, found, "a measure that doesn't say needs_value asks no critics")


def _rows(said: Prediction, rows: Tensor) -> Prediction:
    """A copy of some rows of a prediction."""
    parts: dict[str, Any] = {name: None if value is None else value[:, rows] for name, value in vars(said).items()}
    return Prediction(**parts)
