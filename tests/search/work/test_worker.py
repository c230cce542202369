"""Workers: the budget, leases, retries, late results, replicates and what is stored, on a search within the process."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
from optuna.trial import TrialState

from mbrl.errors import ConfigError
from mbrl.search.study.lease import identity
from mbrl.search.study.outcome import Job, Outcome, enqueue, is_lost, label_of, order_of, root_of, spent
from mbrl.search.work.worker import STOP, Worker
from tests.search.fake_problem import Quadratic, random_sampler


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    yield
    optuna.logging.set_verbosity(before)


def new_study(**options: Any) -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0), **options)


def worker(study: optuna.Study, problem: Quadratic, trials: int | None = 6, **options: Any) -> Worker:
    options = {"beat_s": 0.05, "grace_s": 0.2, "sampler": random_sampler, **options}
    return Worker(study, problem, Path("runs") / "quadratic", trials=trials, **options)


def labels(study: optuna.Study) -> list[str]:
    return [label_of(trial) for trial in study.trials]


def test_the_budget_is_run_and_what_is_known_is_stored() -> None:
    study, problem = new_study(), Quadratic()
    assert worker(study, problem, device="cpu").work() == 0
    assert labels(study) == ["ok"] * 6
    trial = study.trials[3]
    attributes = trial.user_attrs
    assert trial.value == attributes["values"][0] == attributes["result"][0]
    assert attributes["seeds"] == [0] and attributes["root"] == 3 and attributes["tries"] == 0
    assert attributes["run_dir"] == "runs/quadratic/3" and attributes["device"] == "cpu"
    assert attributes["host"] and attributes["outcome"] == "ok"
    assert worker(study, problem).work() == 0 and len(study.trials) == 6, "the same command has nothing left to do"


def test_failures_of_a_configuration_count_and_errors_do_not() -> None:
    words = iter(["diverged", "error", "oom", "error", "timeout", "pruned"])

    def after(job: Job) -> Outcome | None:
        word = next(words, "ok")
        return None if word == "ok" else Outcome(word, detail="why")

    study = new_study()
    assert worker(study, Quadratic(after=after)).work() == 0
    assert labels(study) == ["diverged", "error", "oom", "error", "timeout", "pruned", "ok", "ok"]
    assert [trial.state for trial in study.trials[:3]] == [TrialState.FAIL] * 3
    assert study.trials[0].user_attrs["detail"] == "why" and study.trials[5].state == TrialState.PRUNED
    assert spent(study.trials) == 6


@pytest.mark.parametrize("raises", [True, False])
def test_errors_in_a_row_end_the_worker(raises: bool) -> None:
    outcomes = iter("e.ee.eee")  # only the last three are in a row

    def after(job: Job) -> Outcome | None:
        if next(outcomes) == ".":
            return None
        if raises:
            raise ZeroDivisionError("a bug")
        return Outcome("error", detail="ZeroDivisionError: a bug")

    study = new_study()
    assert worker(study, Quadratic(after=after), trials=50).work() == 3
    assert len(study.trials) == 8
    assert study.trials[-1].user_attrs["detail"] == "ZeroDivisionError: a bug"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_a_diverged_run(value: float) -> None:
    study = new_study()
    assert worker(study, Quadratic(after=lambda job: Outcome("ok", values=(value,))), trials=1).work() == 0
    assert labels(study) == ["diverged"] and study.trials[0].state == TrialState.FAIL


def test_a_wrong_number_of_values_is_an_error() -> None:
    study = new_study()
    worker(study, Quadratic(after=lambda job: Outcome("ok", values=(1.0, 2.0))), errors_in_a_row=1).work()
    assert labels(study) == ["error"] and "expected 1 values, got 2" in study.trials[0].user_attrs["detail"]


def test_seeds_of_a_configuration_that_is_chosen_again_are_the_next_ones() -> None:
    study, problem = new_study(), Quadratic()
    for x in (0.5, 0.25, 0.5, 0.5):
        study.enqueue_trial({"kind": "plain", "x": x})
    worker(study, problem, trials=4, tune_seeds=(7, 8, 9, 10), per_trial=2).work()
    assert [list(job.seeds) for job in problem.jobs] == [[7, 8], [7, 8], [9, 10], [7, 8]]  # used up: from the first again


def test_replicates_are_stored_with_the_variance_of_their_mean() -> None:
    outcome = Outcome("ok", values=(2.0,), seed_values=((1.0,), (3.0,)), variances=(1.0,))
    study = new_study()
    worker(study, Quadratic(after=lambda job: outcome), trials=1, tune_seeds=(0, 1), per_trial=2).work()
    assert study.trials[0].value == 2.0
    assert study.trials[0].user_attrs["values"] == [1.0, 3.0] and study.trials[0].user_attrs["yvar"] == 1.0


def test_stop_lets_the_trial_finish() -> None:
    study = new_study()

    def after(job: Job) -> None:
        if job.number == 1:
            study.set_user_attr(STOP, True)

    assert worker(study, Quadratic(after=after)).work() == 0
    assert labels(study) == ["ok", "ok"]


def test_no_trial_begins_after_the_hours() -> None:
    study = new_study()
    assert worker(study, Quadratic(seconds=0.06), trials=None, hours=0.15 / 3600).work() == 0
    assert 1 <= len(study.trials) <= 4 and set(labels(study)) == {"ok"}


def test_pruning_asks_the_studys_pruner() -> None:
    study = new_study(pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=0))

    def after(job: Job) -> Outcome | None:
        level = [3.0, 2.0, 1.0, 4.0][job.number]
        for step in (10, 20, 30):
            job.report(level + step, step)
            if job.should_prune():
                return Outcome("pruned")
        return Outcome("ok", values=(level + 30,))

    worker(study, Quadratic(after=after), trials=4).work()
    assert labels(study) == ["ok", "ok", "pruned", "ok"]
    assert study.trials[2].value == 11.0, "its last report is its value"
    assert study.trials[3].intermediate_values == {10: 14.0, 20: 24.0, 30: 34.0}


def test_reports_with_several_objectives_are_left_out() -> None:
    study = optuna.create_study(directions=["maximize", "minimize"])

    def after(job: Job) -> Outcome:
        job.report(1.0, 10)
        assert not job.should_prune()
        return Outcome("ok", values=(1.0, 2.0), seed_values=((1.0, 2.0), (1.0, 2.0)), variances=(0.5, 0.25))

    worker(study, Quadratic(after=after), trials=1, sampler=None).work()
    assert study.trials[0].values == [1.0, 2.0]
    assert study.trials[0].user_attrs["yvar"] == [0.5, 0.25]
    assert study.trials[0].user_attrs["values"] == [[1.0, 2.0], [1.0, 2.0]]


# the dead -------------------------------------------------------------------------------------------------------------


def abandon(study: optuna.Study, *, chosen: bool = True, **attributes: Any) -> optuna.Trial:
    """What a worker that was killed leaves: a running trial whose counter stands still."""
    trial = study.ask()
    if chosen:
        Quadratic().suggest(trial)
        attributes = {"root": trial.number, "tries": 0, "seeds": [0], **attributes}
    for name, value in attributes.items():
        trial.set_user_attr(name, value)
    return trial


def test_what_a_dead_worker_left_is_run_under_the_same_root_and_on_the_same_seeds() -> None:
    study, problem = new_study(), Quadratic()
    left = abandon(study, seeds=[4])
    assert worker(study, problem, trials=3, tune_seeds=(0, 4)).work() == 0
    retried = next(trial for trial in study.trials if trial.user_attrs.get("retry_of") == left.number)
    assert is_lost(study.trials[left.number]) and "outcome" not in study.trials[left.number].user_attrs
    assert retried.params == left.params and root_of(retried) == left.number
    assert retried.user_attrs["tries"] == 1 and retried.user_attrs["seeds"] == [4]
    assert problem.jobs[-1].folder == Path("runs/quadratic/0") and problem.jobs[-1].tries == 1
    assert spent(study.trials) == 3 and len({root_of(trial) for trial in study.trials}) == 3


def test_a_worker_whose_budget_is_spent_but_for_a_dead_ones_trial_waits_and_runs_it() -> None:
    """The dead one's trial counts as running until its grace is over: leaving then would leave it for ever."""
    study = new_study()
    abandon(study)
    worker(study, Quadratic(), trials=1).work()
    assert labels(study) == ["lost", "ok"]


def test_one_that_had_not_chosen_is_lost_without_a_retry() -> None:
    study = new_study()
    abandon(study, chosen=False)
    worker(study, Quadratic(), trials=2).work()
    assert labels(study) == ["lost", "ok", "ok"]


def test_a_queued_configuration_survives_a_worker_that_had_not_looked_at_it() -> None:
    study, problem = new_study(), Quadratic()
    study.enqueue_trial({"kind": "tilted", "x": 0.75, "y": 3})
    abandon(study, chosen=False)  # popped from the queue
    worker(study, problem, trials=1).work()
    assert problem.jobs[0].params == {"kind": "tilted", "x": 0.75, "y": 3}
    assert labels(study) == ["lost", "ok"]


def test_retries_end() -> None:
    study = new_study()
    gone = {**identity(), "started": 1}
    abandon(study, worker=gone)
    for tries in (1, 2):
        worker(study, Quadratic(), retries=2).sweep()
        assert labels(study)[-1] == "waiting" and study.trials[-1].user_attrs["tries"] == tries
        abandon(study, root=0, tries=tries, worker=gone)
    worker(study, Quadratic(), retries=2).sweep()
    assert labels(study) == ["lost"] * 3


def test_a_beating_worker_is_left_alone() -> None:
    study = new_study()
    left = abandon(study)
    sweeper = worker(study, Quadratic())
    for count in range(6):
        left.set_user_attr("lease", {"count": count, "at": ""})
        sweeper.sweep()
        time.sleep(0.06)
    assert labels(study) == ["running"]


def test_a_process_of_this_machine_that_is_gone_is_known_to_be_dead() -> None:
    gone = {**identity(), "started": 1}  # the number was given to another process since
    study = new_study()
    abandon(study, worker=gone)
    worker(study, Quadratic(), grace_s=300.0).sweep()
    assert labels(study) == ["lost", "waiting"]
    study = new_study()
    abandon(study, worker=gone)
    worker(study, Quadratic(), grace_s=300.0, processes=False).sweep()
    assert labels(study) == ["running"]
    study = new_study()
    abandon(study, worker={**gone, "machine": "another"})
    worker(study, Quadratic(), grace_s=300.0).sweep()
    assert labels(study) == ["running"]


def test_an_outcome_that_was_stored_but_not_told_is_told_by_others() -> None:
    study = new_study()
    abandon(study, result=[0.5], outcome="ok")
    abandon(study, outcome="diverged")
    abandon(study, outcome="error")
    worker(study, Quadratic(), trials=2).work()
    assert labels(study)[:3] == ["ok", "diverged", "error"] and study.trials[0].value == 0.5
    assert not any("retry_of" in trial.user_attrs for trial in study.trials)


def test_a_lost_trial_whose_finder_died_before_queuing_it_is_found() -> None:
    study = new_study()
    left = abandon(study)
    study.tell(left.number, state=TrialState.FAIL)
    sweeper = worker(study, Quadratic())
    sweeper.sweep()
    assert labels(study) == ["lost"], "the finder has a grace to queue it"
    time.sleep(0.25)
    sweeper.sweep()
    sweeper.sweep()
    assert labels(study) == ["lost", "waiting"]


def test_of_two_copies_of_a_lost_trial_one_is_run() -> None:
    study, problem = new_study(), Quadratic()
    left = abandon(study)
    study.tell(left.number, state=TrialState.FAIL)
    for _ in range(2):
        assert enqueue(study, study.trials[left.number], 1)
    worker(study, problem, trials=2).work()
    assert labels(study) == ["lost", "ok", "duplicate", "ok"]
    assert [job.params == left.params for job in problem.jobs] == [True, False]


def test_a_late_result_is_kept_unless_the_retry_was_first() -> None:
    """A worker that paused for longer than the grace: its trial was finished as lost and queued again."""
    for retry_first in (False, True):
        study = new_study()

        def after(job: Job, study: optuna.Study = study, retry_first: bool = retry_first) -> None:
            if job.number == 0:  # meanwhile, elsewhere
                study.tell(0, state=TrialState.FAIL)
                enqueue(study, study.trials[0], 1)
                job.report(0.0, 1)
                if retry_first:
                    other = study.ask()
                    Quadratic().suggest(other)
                    study.tell(other.number, 0.125)

        problem = Quadratic(after=after)
        assert worker(study, problem, trials=1).work() == 0
        late = [trial for trial in study.trials if "late" in trial.user_attrs]
        if retry_first:
            assert not late and labels(study) == ["lost", "ok"] and study.trials[1].value == 0.125
        else:
            assert len(late) == 1 and late[0].user_attrs["late"] == 0 and root_of(late[0]) == 0
            assert late[0].params == study.trials[0].params and late[0].value == late[0].user_attrs["result"][0]
            assert spent(study.trials) == 1
            assert worker(study, problem, trials=2).work() == 0  # and the retry is dropped when it comes up
            assert labels(study) == ["lost", "duplicate", "ok", "ok"]


def test_order_counts_configurations_whatever_was_lost() -> None:
    """So that draws seeded with it, and the table, are those of a study whose workers never died."""
    whole, broken = new_study(), new_study()
    worker(whole, Quadratic(), trials=8).work()
    worker(broken, Quadratic(), trials=3).work()
    broken.sampler = random_sampler(order_of(broken.trials, 3))
    gone = {**identity(), "started": 1}
    abandon(broken, worker=gone)
    abandon(broken, chosen=False, worker=gone)
    worker(broken, Quadratic(), trials=8).work()
    assert labels(broken).count("lost") == 2
    table = {str(trial.params): trial.values for trial in broken.trials if trial.state == TrialState.COMPLETE}
    assert table == {str(trial.params): trial.values for trial in whole.trials}


def test_a_signal_gives_the_trial_back() -> None:
    study = new_study()

    def after(job: Job) -> Outcome | None:
        if job.number != 1:
            return None
        os.kill(os.getpid(), signal.SIGTERM)
        assert job.should_stop()
        return Outcome("interrupted")

    problem = Quadratic(after=after)
    handler = signal.getsignal(signal.SIGTERM)
    assert worker(study, problem, trials=3).work() == 128 + signal.SIGTERM
    assert signal.getsignal(signal.SIGTERM) is handler
    assert labels(study) == ["ok", "lost", "waiting"]
    assert study.trials[2].user_attrs["tries"] == 0, "being stopped is not the configuration's fault"
    assert worker(study, problem, trials=3).work() == 0
    assert labels(study) == ["ok", "lost", "ok", "ok"] and study.trials[2].params == study.trials[1].params


def test_what_was_queued_in_part_and_chosen_in_part_is_run_again_as_it_was() -> None:
    """Its folder has a checkpoint of that configuration, so that what was chosen counts as much as what was queued."""
    study = new_study()
    study.enqueue_trial({"kind": "plain"}, user_attrs={"warm": "earlier"})
    given_back, again = worker(study, Quadratic(after=lambda job: Outcome("interrupted")), trials=1), Quadratic()
    given_back._one()
    study.sampler = optuna.samplers.RandomSampler(seed=77)  # what is known by then may make another choice
    worker(study, again, trials=1, sampler=None).work()
    assert labels(study) == ["lost", "ok"] and again.jobs[0].folder.name == "0"
    assert study.trials[1].params == study.trials[0].params and set(study.trials[0].params) == {"kind", "x"}


def test_workers_together_run_the_budget_exactly() -> None:
    study = new_study()
    work = [worker(study, Quadratic(0.01), trials=9, beat_s=1.0, grace_s=30.0).work for _ in range(3)]
    threads = [threading.Thread(target=one) for one in work]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert spent(study.trials) == 9 and set(labels(study)) <= {"ok", "surplus"}


def test_surplus_trials_are_dropped_by_the_lower_number() -> None:
    """Two workers counted at the same moment and both asked: the later one gives way."""
    study, problem = new_study(), Quadratic()
    first = worker(study, problem, trials=1)
    ask = study.ask

    def raced(*arguments: Any, **options: Any) -> optuna.Trial:
        study.ask = ask  # type: ignore[method-assign]
        abandon(study, worker=identity())
        return ask(*arguments, **options)

    study.ask = raced  # type: ignore[method-assign]
    first.work()
    assert labels(study) == ["running", "surplus"] and not problem.jobs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"trials": -1}, r"trials.*at least 0, or None, got -1"),
        ({"retries": -1}, r"retries.*at least 0"),
        ({"errors_in_a_row": 0}, r"errors_in_a_row"),
        ({"beat_s": 1.0, "grace_s": 1.5}, r"grace_s.*at least 2, got 1.5"),
        ({"per_trial": 2}, r"per_trial.*1 to 1.*got 2"),
    ],
)
def test_numbers_out_of_range_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        worker(new_study(), Quadratic(), **options)
