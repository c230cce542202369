"""`Ledger`: finishing and requeuing of trials, so that each configuration gets one result, whichever worker dies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import FrozenTrial, TrialState, create_trial

from mbrl.search.study.lease import Watch
from mbrl.search.study.outcome import VISIBLE, Outcome, enqueue, is_lost, is_settled, root_of, spent
from mbrl.search.study.storage import patiently


class Ledger:
    """Finishes trials: a worker's own, those of dead workers, and those that needn't run.

    Args:
        study: of any storage.
        watch: tells which workers died.
        trials: the budget; infinite for none.
        retries: times that a configuration is queued again after its worker died.
    """

    def __init__(self, study: optuna.Study, watch: Watch, *, trials: float, retries: int) -> None:
        self.study = study
        self.watch = watch
        self.trials = trials
        self.retries = retries

    def all(self) -> list[FrozenTrial]:
        """Reads all trials, by number."""
        return patiently(lambda: self.study.get_trials(deepcopy=False))

    def frozen(self, number: int) -> FrozenTrial:
        """Reads the trial of this number, as it is stored now."""
        return self.all()[number]

    # dead workers ----------------------------------------------------------------------------------------------------

    def sweep(self, mine: int | None = None) -> list[FrozenTrial]:
        """Finishes and queues again what dead workers left; returns all trials as they are then.

        No two workers can finish the same trial. One that dies between finishing and queuing leaves a lost trial without a
        successor, which another queues after its grace; should two do so, the later copy is dropped when it comes up.

        Args:
            mine: the trial that the caller itself runs.
        """
        trials = self.all()
        changed = False
        for trial in trials:
            if trial.state == TrialState.RUNNING and trial.number != mine:
                changed |= self.watch.is_dead(trial) and self._bury(trial)
            elif is_lost(trial) and not _has_successor(trial, trials) and self.watch.stood_still(trial):
                changed |= self._queue_again(trial)
        return self.all() if changed else trials

    def _bury(self, trial: FrozenTrial) -> bool:
        """Finishes a dead worker's trial, as it was about to where its outcome is stored; queues a lost one again."""
        attributes = trial.user_attrs
        outcome = Outcome(str(attributes.get("outcome", "lost")), values=tuple(attributes.get("result", ())))
        if not self._tell(trial.number, outcome):
            return False
        if outcome.outcome == "lost":
            self._queue_again(trial)
        return True

    def _queue_again(self, trial: FrozenTrial, *, counts: bool = True) -> bool:
        tries = int(trial.user_attrs.get("tries", 0)) + int(counts)
        return tries <= self.retries and patiently(lambda: enqueue(self.study, trial, tries))

    # one's own trials ------------------------------------------------------------------------------------------------

    def drops(self, trial: optuna.Trial) -> bool:
        """Finishes a trial that needn't run: it is over the budget, or its configuration was settled in the meantime."""
        before = [other for other in self.all() if other.number != trial.number]
        lower = [other for other in before if other.number < trial.number]
        attributes = trial.user_attrs
        asked = "asked" in attributes
        if "retry_of" in attributes and not asked and _is_needless(attributes, before, lower):
            reason = "duplicate"
        elif not asked and spent(lower) >= self.trials:
            # others may have asked since this worker counted; the lower number wins, so that exactly the budget is run
            reason = "surplus"
        else:
            return False
        store(trial, {"outcome": reason})
        self._tell(trial.number, Outcome(reason))
        if reason == "surplus":
            self._queue_again(self.frozen(trial.number), counts=False)  # what was queued stays queued
        return True

    def give_back(self, number: int) -> None:
        """Ends a trial whose worker was told to end, and queues it again; being stopped is not its fault."""
        if self._tell(number, Outcome("lost")):
            self._queue_again(self.frozen(number), counts=False)

    def finish(self, trial: optuna.Trial, outcome: Outcome) -> None:
        """Stores a trial's outcome; as a late result where the trial was taken for lost."""
        attributes = _attributes(outcome)
        try:
            store(trial, attributes)
            told = self._tell(trial.number, outcome)
        except UpdateFinishedTrialError:
            told = False
        if not told:
            self._add_late(self.frozen(trial.number), outcome, attributes)

    def _tell(self, number: int, outcome: Outcome) -> bool:
        """Tells Optuna the outcome; False if someone else had finished the trial."""
        try:
            if outcome.outcome == "ok":
                patiently(lambda: self.study.tell(number, list(outcome.values)))
            else:
                state = TrialState.PRUNED if outcome.outcome == "pruned" else TrialState.FAIL
                patiently(lambda: self.study.tell(number, state=state))
        except (ValueError, UpdateFinishedTrialError):
            if not self.frozen(number).state.is_finished():
                raise
            return False
        return True

    def _add_late(self, trial: FrozenTrial, outcome: Outcome, attributes: Mapping[str, Any]) -> None:
        """Keeps the result of a trial that was taken for lost, unless the retry was settled first."""
        if outcome.outcome not in ("ok", *VISIBLE):
            return
        if any(root_of(other) == root_of(trial) and is_settled(other) for other in self.all()):
            return
        late = create_trial(
            state=TrialState.COMPLETE if outcome.outcome == "ok" else TrialState.FAIL,
            values=list(outcome.values) if outcome.outcome == "ok" else None,
            params=trial.params,
            distributions=trial.distributions,
            user_attrs={**trial.user_attrs, **attributes, "root": root_of(trial), "late": trial.number},
        )
        patiently(lambda: self.study.add_trial(late))


def is_asked(trial: FrozenTrial) -> bool:
    """Tells whether a user asked for this waiting trial to be run again, whatever the budget."""
    return trial.state == TrialState.WAITING and "asked" in trial.user_attrs


def store(trial: optuna.Trial, attributes: Mapping[str, Any]) -> None:
    """Stores attributes of a running trial, in order.

    Raises:
        UpdateFinishedTrialError: if someone took this worker for dead.
    """
    for name, value in attributes.items():
        patiently(lambda name=name, value=value: trial.set_user_attr(name, value))  # type: ignore[misc]


def _has_successor(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> bool:
    return any(
        other.user_attrs.get("retry_of") == trial.number or (root_of(other) == root_of(trial) and is_settled(other))
        for other in trials
    )


def _is_needless(attributes: Mapping[str, Any], before: Sequence[FrozenTrial], lower: Sequence[FrozenTrial]) -> bool:
    """Tells whether a retry's configuration is settled, or another copy of the same retry has a lower number."""
    twins = [other for other in lower if other.user_attrs.get("retry_of") == attributes["retry_of"] and not is_lost(other)]
    return bool(twins) or any(root_of(other) == attributes["root"] and is_settled(other) for other in before)


def _attributes(outcome: Outcome) -> dict[str, Any]:
    """The attributes that are stored for an outcome; its name comes last, since with it the trial counts as finished."""
    several = len(outcome.values) > 1
    stored: dict[str, Any] = {"wall_s": round(outcome.wall_s, 3)}
    if outcome.seed_values:
        stored["values"] = [list(row) if several else row[0] for row in outcome.seed_values]
    if outcome.variances:
        stored["yvar"] = list(outcome.variances) if several else outcome.variances[0]
    if outcome.env_steps is not None:
        stored["env_steps"] = outcome.env_steps
    if outcome.detail:
        stored["detail"] = outcome.detail
    if outcome.argv:
        stored["argv"] = list(outcome.argv)
    if outcome.outcome == "ok":
        stored["result"] = list(outcome.values)
    return {**stored, "outcome": outcome.outcome}
