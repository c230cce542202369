"""`best.yaml`: the configuration that a search recommends, with what is known of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from mbrl.search.confirmation import TEST, Confirmation
from mbrl.search.confirmation_runs import key
from mbrl.search.expected import in_words
from mbrl.search.export import Parse, best_yaml
from mbrl.search.judged import FEW, best_configurations, valued
from mbrl.search.outcome import is_settled
from mbrl.search.search_file import SearchFile

FILE = "best.yaml"


@dataclass(frozen=True)
class Best:
    """A configuration to take.

    Attributes:
        trial: its first; None of a start that was confirmed and never tried.
        params: what was chosen.
        values: what was observed and is expected of each objective, a sentence each; none of a start that was never tried.
        comment: all that is known of it, a line each.
    """

    trial: int | None
    params: Mapping[str, Any]
    values: Sequence[str]
    comment: Sequence[str]


def best_of(study: optuna.Study, search: SearchFile, confirmed: Confirmation | None = None) -> list[Best]:
    """The confirmed configuration, or that which the model recommends; of several objectives the model's front.

    None of a study without a value.
    """
    several = len(search.objectives) > 1
    found = best_configurations(study, search)
    if confirmed is not None:
        same = [one for one in found if key(one.trial.params) == key(confirmed.chosen.params)]
        found = same[:1]
        if not found:
            comment = [_headline(study, f"{confirmed.chosen.label}, chosen on unseen seeds"), *_confirmed(confirmed)]
            return [Best(confirmed.chosen.trial, confirmed.chosen.params, (), comment)]
    made = []
    for one in found if several else found[:1]:
        how = "one of those that no other beats in all objectives" if several else "which the search's model prefers"
        if confirmed is not None:
            how = "the best of those that were run on unseen seeds"
        values = _values(study, search, one.trial, one.mean, one.sd)
        lines = [_headline(study, f"trial {one.trial.number}, {how}"), *values]
        if confirmed is not None:
            lines += _confirmed(confirmed)
        elif not several:
            lines.append(f"Not measured on unseen seeds yet: mbrl search confirm {study.study_name}")
        lines.append(f"Run it: mbrl {search.command} --config {FILE}")
        made.append(Best(one.trial.number, dict(one.trial.params), values, lines))
    return made


def leave_best(study: optuna.Study, search: SearchFile, folder: Path, parse: Parse) -> None:
    """Writes what a search recommends into its folder and says so; several objectives have no single best.

    Raises:
        MbrlError: if the parser refuses it.
    """
    if len(search.objectives) > 1:
        return
    for best in best_of(study, search):
        write_best(best, search, folder / FILE, parse)
        sys.stdout.write("\n".join([*best.comment[:2], f"It is in {folder / FILE}"]) + "\n")


def write_best(best: Best, search: SearchFile, path: Path, parse: Parse) -> None:
    """Writes it as one configuration that `mbrl fit --config` takes; whole at every moment, as other workers may too.

    Raises:
        MbrlError: if the parser refuses it.
    """
    text = best_yaml(search, best.params, "\n".join(best.comment), parse)
    path.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=path.parent) as beside:
        written = Path(beside) / path.name
        written.write_text(text, encoding="utf-8")
        os.replace(written, path)


def _headline(study: optuna.Study, what: str) -> str:
    settled = sum(is_settled(trial) for trial in study.get_trials(deepcopy=False))
    return f"Study {study.study_name} after {settled} trial{'' if settled == 1 else 's'}: {what}."


def _values(study: optuna.Study, search: SearchFile, trial: FrozenTrial, mean: Any, sd: Any) -> list[str]:
    """Observed and expected values of a configuration, a line an objective."""
    all_valued = valued(study)
    trials = [other for other in all_valued if key(other.params) == key(trial.params)]
    seeds = [seed for other in trials for seed in other.user_attrs.get("seeds", [])]
    runs = (
        f"{len(seeds)} run{'s' if len(seeds) > 1 else ''}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    )
    means, sds = (mean, sd) if isinstance(mean, tuple) else ((mean,), (sd,))
    lines = []
    for number, objective in enumerate(search.objectives):
        values = [(other.values[number], len(other.user_attrs.get("seeds", [None]))) for other in trials]
        observed = sum(value * count for value, count in values) / sum(count for _, count in values)
        what = "median and a standard deviation either way" if objective.log else "mean and standard deviation"
        expected = f", expected {in_words(means[number], sds[number], objective.log)} (the model's {what})"
        lines.append(
            f"{objective.metric} ({objective.reduce}, {objective.direction}): observed {observed:.5g} ({runs})"
            f"{expected if len(all_valued) >= FEW else ''}."
        )
    return lines


def _confirmed(confirmed: Confirmation) -> list[str]:
    found, label = confirmed.value, confirmed.chosen.label
    seeds = [run.seed for run in confirmed.runs if (run.stage, run.label) == (TEST, label)]
    failed = confirmed.failed(TEST, label)
    between = "" if found.low is None else f", 95 % interval {found.low:.5g} to {found.high:.5g}"
    return [
        f"On {len(seeds)} unseen seeds ({', '.join(map(str, seeds))}): interquartile mean {found.value:.5g}{between}, "
        f"{failed or 'none'} failed."
    ]
