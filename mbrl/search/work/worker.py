"""`Worker`: asks a study for configurations and runs them, so that nothing is lost when it or another worker dies."""

from __future__ import annotations

import math
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Annotated, Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from mbrl.arguments import Count, Limits, Natural, Positive, check_argument, check_whole, checked
from mbrl.handled_signals import handled
from mbrl.search.study.lease import Lease, Watch, identity
from mbrl.search.study.ledger import Ledger, is_asked, store
from mbrl.search.study.outcome import INTERRUPTED, Job, Outcome, Problem, is_settled, order_of, root_of, spent
from mbrl.search.study.storage import patiently

STOP = "stop"  # study attribute: workers finish what they run and leave

DONE, TOO_MANY_ERRORS = 0, 3  # exit codes, besides 130 and 143


class Worker:
    """Runs trials of a study until its budget is spent; several may do so at once, on one machine or many.

    Each trial holds a lease. Whoever finds one whose counter stood still finishes that trial as lost and queues its
    configuration again under the same root, up to `retries` times. A worker that was taken for dead adds its result late.

    Args:
        study: of any storage.
        problem: chooses configurations and runs them.
        folder: run folders go below, one per root.
        trials: budget of configurations that are settled or running (lost ones and errors don't count); None for no limit;
            with 0 it runs what is queued on request and chooses nothing.
        tune_seeds: of runs; a configuration that is chosen again runs on the next ones.
        per_trial: seeds per configuration; more costs that many runs and steadies its value.
        hours: after which no further trial is begun; None for no limit.
        retries: times that a configuration is run again after its worker died.
        errors_in_a_row: number of errors that ends the worker: a bug must not eat the budget.
        beat_s: seconds between beats of the lease.
        grace_s: seconds without a beat after which a worker counts as dead; more forgives longer pauses.
        device: given to every run.
        sampler: makes the sampler for the configuration of this order; None keeps the study's own.
        show: told of every trial that this worker finished, and what became of it.
        processes: whether a worker of this machine whose process is gone counts as dead at once.

    Raises:
        ConfigError: for numbers out of range.
    """

    @checked
    def __init__(
        self,
        study: optuna.Study,
        problem: Problem,
        folder: Path,
        *,
        trials: Natural | None,
        tune_seeds: Sequence[int] = (0,),
        per_trial: int = 1,
        hours: Positive | None = None,
        retries: Natural = 2,
        errors_in_a_row: Count = 3,
        beat_s: Positive = 60.0,
        grace_s: float = 300.0,
        device: str | None = None,
        sampler: Callable[[int], BaseSampler] | None = None,
        show: Callable[[FrozenTrial, Outcome], None] | None = None,
        processes: bool = True,
    ) -> None:
        check_argument("Worker(grace_s=…)", grace_s, Annotated[float, Limits(2 * beat_s)])
        check_whole("Worker(per_trial=…)", per_trial, 1, len(tune_seeds))
        self.study = study
        self.problem = problem
        self.folder = folder
        self.tune_seeds = tuple(tune_seeds)
        self.per_trial = per_trial
        self.hours = hours
        self.errors_in_a_row = errors_in_a_row
        self.beat_s = beat_s
        self.device = device
        self.sampler = sampler
        self.show = show
        self._watch = Watch(grace_s, processes=processes)
        self._ledger = Ledger(study, self._watch, trials=math.inf if trials is None else trials, retries=retries)
        self._mine: int | None = None
        self._errors = 0
        self._signal = 0
        self._wake = threading.Event()

    def work(self) -> int:
        """Runs trials until the budget is spent, `stop` is asked for, or errors come in a row.

        Returns:
            0, 3 after too many errors in a row, or 130 or 143 when a signal ended it; its trial is then queued again.
        """
        until = math.inf if self.hours is None else time.monotonic() + 3600 * self.hours
        ending = False
        with self._signals():
            while True:
                trials = self.sweep()
                if self._signal:
                    return 128 + self._signal
                if time.monotonic() >= until or self._asked_to_stop():
                    return DONE
                if self._errors >= self.errors_in_a_row:
                    return TOO_MANY_ERRORS
                if spent(trials) < self._ledger.trials or any(is_asked(trial) for trial in trials):
                    self._one()
                    ending = False
                elif not ending:
                    ending = True
                    self._watch.forget_alive()  # that one was alive an hour ago is no news
                elif any(trial.state == TrialState.RUNNING and not self._watch.is_known_alive(trial) for trial in trials):
                    # one that a dead worker left counts until that shows: leaving now would leave it for ever
                    self._wake.wait(min(self.beat_s, self._watch.grace_s / 4))
                else:
                    return DONE

    def sweep(self) -> list[FrozenTrial]:
        """Finishes and queues again what dead workers left; returns all trials as they are then."""
        return self._ledger.sweep(self._mine)

    # one trial -------------------------------------------------------------------------------------------------------

    def _one(self) -> None:
        trial = patiently(self.study.ask)
        self._mine = trial.number
        lease = Lease(trial, self.beat_s)
        began = time.monotonic()
        try:
            try:
                store(trial, {"worker": identity()})
                lease.start()
                if self._ledger.drops(trial):
                    return
                outcome = self._run(trial)
            except UpdateFinishedTrialError:  # taken for dead before it had begun: nothing to add
                return
            except KeyboardInterrupt:
                self._signal = self._signal or signal.SIGINT
                outcome = Outcome(INTERRUPTED)
            except Exception as error:  # a bug in a sampler or a runner is one trial's error, not the search's
                outcome = Outcome("error", wall_s=time.monotonic() - began, detail=_one_line(error))
        finally:
            lease.end()
        self._finish(trial, outcome)
        self._mine = None

    def _run(self, trial: optuna.Trial) -> Outcome:
        if self.sampler is not None:
            order = order_of(self._ledger.all(), trial.number)
            store(trial, {"order": order})  # before it thinks, so that no one who chooses meanwhile takes the same
            self.study.sampler = self.sampler(order)
        params = dict(self.problem.suggest(trial))
        root = int(trial.user_attrs.get("root", trial.number))
        seeds = [int(seed) for seed in trial.user_attrs.get("seeds") or self._seeds(trial, root)]
        tries = int(trial.user_attrs.get("tries", 0))
        where: dict[str, Any] = {"root": root, "tries": tries, "host": socket.gethostname()}
        where["run_dir"] = str(self.folder / str(root))
        if self.device is not None:
            where["device"] = self.device
        store(trial, {**where, "seeds": seeds})  # the seeds last: they say that it may be queued again
        if self._signal:
            return Outcome(INTERRUPTED)
        single = len(self.study.directions) == 1  # Optuna can't prune by several objectives

        def report(value: float, step: int) -> None:
            if single and math.isfinite(value):
                with suppress(UpdateFinishedTrialError):  # taken for dead; the run goes on, and its result comes late
                    patiently(lambda: trial.report(value, step))

        job = Job(
            number=trial.number,
            params=params,
            seeds=seeds,
            folder=self.folder / str(root),
            tries=tries,
            device=self.device,
            report=report,
            should_prune=lambda: single and patiently(trial.should_prune),
            should_stop=lambda: self._signal != 0,
        )
        return _checked(self.problem.run(job), len(self.study.directions))

    def _seeds(self, trial: optuna.Trial, root: int) -> list[int]:
        """The tuning seeds that no earlier trial of the same configuration ran on; from the first again when all did."""
        same = [
            other
            for other in self._ledger.all()
            if other.number < trial.number
            and other.params == trial.params
            and root_of(other) != root
            and (is_settled(other) or other.state == TrialState.RUNNING)
        ]
        used = len({root_of(other) for other in same}) * self.per_trial
        return [self.tune_seeds[(used + k) % len(self.tune_seeds)] for k in range(self.per_trial)]

    # the end of one --------------------------------------------------------------------------------------------------

    def _finish(self, trial: optuna.Trial, outcome: Outcome) -> None:
        self._errors = self._errors + 1 if outcome.outcome == "error" else 0
        if outcome.outcome == INTERRUPTED:
            self._ledger.give_back(trial.number)
            return
        self._ledger.finish(trial, outcome)
        if self.show is not None:
            self.show(self._ledger.frozen(trial.number), outcome)

    def _asked_to_stop(self) -> bool:
        return bool(patiently(lambda: self.study.user_attrs).get(STOP))

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM lets the run write its checkpoint and gives the trial back; a second one is abrupt."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def take(number: int, frame: Any) -> None:
            if self._signal:
                raise KeyboardInterrupt
            self._signal = number
            self._wake.set()

        with handled(take):
            yield


def _checked(outcome: Outcome, objectives: int) -> Outcome:
    """An outcome that isn't finite is a diverged one."""
    if outcome.outcome != "ok":
        return outcome
    if len(outcome.values) != objectives:
        return Outcome("error", detail=f"expected {objectives} values, got {len(outcome.values)}", wall_s=outcome.wall_s)
    if all(math.isfinite(value) for value in outcome.values):
        return outcome
    return Outcome("diverged", wall_s=outcome.wall_s, env_steps=outcome.env_steps, detail="not finite", argv=outcome.argv)


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:500]
