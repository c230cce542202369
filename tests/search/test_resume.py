"""A search whose worker is killed, at whatever moment, ends with the table of one that went through in one go."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler
from optuna.trial import TrialState

from mbrl.search.report.search_region import search_region
from mbrl.search.sampler import BOSampler
from mbrl.search.study.lease import identity
from mbrl.search.study.ledger import Ledger
from mbrl.search.study.outcome import Job, Outcome, is_lost, is_settled, order_of
from mbrl.search.work.worker import Worker
from tests.search.fake_problem import Quadratic, random_sampler

SPACE = {
    "kind": CategoricalDistribution(("plain", "tilted")),
    "x": FloatDistribution(0.0, 1.0),
    "y": IntDistribution(1, 20),
}


class Killed(BaseException):
    """What nobody catches."""


class Mortal(Quadratic):
    """Dies once at each of `deaths`, by which configuration it is, counted from 0."""

    def __init__(self, deaths: Mapping[int, str]) -> None:
        super().__init__()
        self.deaths = dict(deaths)

    def die(self, study: optuna.Study, number: int, when: str) -> None:
        order = order_of(study.trials, number)
        if self.deaths.get(order) == when:
            del self.deaths[order]
            raise Killed

    def suggest(self, trial: optuna.Trial) -> Mapping[str, Any]:
        self.study = trial.study
        self.die(self.study, trial.number, "before it chose")
        chosen = super().suggest(trial)
        self.die(self.study, trial.number, "when it had chosen")
        return chosen

    def run(self, job: Job) -> Outcome:
        self.die(self.study, job.number, "running")
        return super().run(job)


def bo(order: int) -> BaseSampler:
    """A new one for each configuration, as each process has its own."""
    return BOSampler(SPACE, {"y": {"kind": ("tilted",)}}, startup=8, seed=3)


def searched(
    deaths: Mapping[int, str],
    monkeypatch: pytest.MonkeyPatch,
    trials: int = 12,
    sampler: Callable[[int], BaseSampler] = bo,
    queued: Sequence[Mapping[str, Any]] = (),
) -> optuna.Study:
    """A search that is begun again after each death."""
    study, problem = optuna.create_study(direction="maximize"), Mortal(deaths)
    for params in queued:
        study.enqueue_trial(dict(params))
    told = Ledger._tell

    def tell(self: Ledger, number: int, outcome: Outcome) -> bool:
        if outcome.outcome == "ok":
            problem.die(study, number, "telling")
        return told(self, number, outcome)

    def work() -> int:
        return Worker(study, problem, Path("runs"), trials=trials, tune_seeds=(0, 1), sampler=sampler).work()

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_tell", tell)
        patch.setattr("mbrl.search.work.worker.identity", lambda: {**identity(), "started": 1})  # a process that is gone
        for _ in range(len(deaths)):
            with pytest.raises(Killed):
                work()
        assert work() == 0
    assert not problem.deaths
    return study


def table(study: optuna.Study) -> list[tuple[Any, ...]]:
    """What counts, in order, to the last bit."""
    settled = [trial for trial in study.trials if is_settled(trial)]
    facts = ("order", "seeds", "values", "acq", "outcome")
    return [(trial.params, trial.values, *(trial.user_attrs.get(name) for name in facts)) for trial in settled]


def test_the_table_is_the_same_wherever_the_worker_was_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    startup = {0: "before it chose", 1: "when it had chosen", 2: "running", 3: "telling"}
    by_model = {8: "before it chose", 9: "when it had chosen", 10: "running", 11: "telling"}
    whole, broken = searched({}, monkeypatch), searched(startup | by_model, monkeypatch)
    assert table(broken) == table(whole)
    assert len(table(whole)) == 12 and sum("acq" in trial.user_attrs for trial in whole.trials) == 4
    known = [search_region(study) for study in (whole, broken)]
    assert [None if one is None else list(one.chosen.values()) for one in known] == [
        [row[5] for row in table(whole)[8:]]
    ] * 2
    assert sum(is_lost(trial) for trial in broken.trials) == 6, "what was stored of those two was told"


@pytest.mark.parametrize("stored", [True, False])
def test_two_that_choose_at_once_never_take_the_same_place(stored: bool) -> None:
    """One dies while it thinks: the other, who counted it, keeps its own place, and the next one takes that of the dead."""
    study = optuna.create_study()

    def begin(chosen: bool = True, place: bool = True) -> int:
        trial = study.ask()
        number = trial.number
        found = order_of(study.trials, number)
        known = ({"order": found} if place else {}) | ({"root": number, "seeds": [0]} if chosen else {})
        for name, what in {"worker": {}, **known}.items():
            trial.set_user_attr(name, what)
        return found

    assert begin() == 0
    assert begin(chosen=False, place=stored) == 1
    assert begin() == 2
    study.tell(1, state=TrialState.FAIL)
    assert is_lost(study.trials[1])
    assert [begin() for _ in range(3)] == [1, 3, 4]
    study.tell(4, state=TrialState.FAIL)
    assert begin() == 5, "one that was lost after it had chosen keeps its place"


def test_a_queued_configuration_that_was_lost_keeps_its_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what its queue entry left open is chosen as it would have been."""
    queued = [{"x": 0.25}, {"x": 0.5}]
    whole = searched({}, monkeypatch, 3, random_sampler, queued)
    for when in ("before it chose", "when it had chosen", "running"):
        broken = searched({0: when}, monkeypatch, 3, random_sampler, queued)
        assert [trial.user_attrs["order"] for trial in broken.trials if is_settled(trial)] == [1, 0, 2]
        assert sorted(table(broken), key=str) == sorted(table(whole), key=str)
