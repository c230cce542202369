"""`mbrl search retry`: queues failed trials again, such as those that ended by an error that was mended since."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from optuna.trial import TrialState

from mbrl.errors import ConfigError
from mbrl.search.file.export import Parse
from mbrl.search.study.outcome import enqueue, label_of
from mbrl.search.study.storage import load_study
from mbrl.training.output import tell


def run(given: Namespace, allow: Sequence[str], parse: Parse) -> int:
    """Queues failed trials, whatever the budget; each goes on in its run folder."""
    study = load_study(given.study, given.storage)
    trials = study.get_trials(deepcopy=False)
    for number in given.numbers:
        if (
            not 0 <= number < len(trials)
            or trials[number].state != TrialState.FAIL
            or "seeds" not in trials[number].user_attrs
        ):
            what = label_of(trials[number]) if 0 <= number < len(trials) else f"one of 0 to {len(trials) - 1} or none"
            raise ConfigError(f"{number}: expected the number of a failed trial that was run, got {what}; leave it out.")
        waiting = [
            trial.number for trial in trials if trial.user_attrs.get("retry_of") == number and "asked" in trial.user_attrs
        ]
        if any(trials[other].state == TrialState.WAITING for other in waiting):
            raise ConfigError(f"{number}: expected a trial that isn't queued, got one that is; leave it out.")
    for number in dict.fromkeys(given.numbers):
        enqueue(study, trials[number], 0, asked=True)
        tell(f"trial {number} ({label_of(trials[number])}) is queued again")
    return 0
