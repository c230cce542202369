"""`best.yaml`: the configuration that a search recommends, with its observed and expected values as comments."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import optuna

from mbrl.search.confirmation.confirmation import TEST, Confirmation
from mbrl.search.confirmation.runs import key
from mbrl.search.file.export import Parse, best_yaml
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.best_configurations import FEW, best_configurations, valued
from mbrl.search.study.expected_values import in_words, interval
from mbrl.search.study.outcome import is_settled
from mbrl.training.output import tell

if TYPE_CHECKING:
    from mbrl.search.sampler import Recommendation

FILE = "best.yaml"


@dataclass(frozen=True)
class Best:
    """A configuration to take.

    Attributes:
        trial: number of its first trial; None for a start that was confirmed and never tried.
        params: numbers and labels of its parameters.
        comment: lines on it, for people.
        values: a sentence per objective on observed and expected values; none for a start that was never tried.
        brief: the same in a few words.
        expected: per objective the value that the model expects, and a standard deviation below and above it; none where
            trials are too few for a model.
    """

    trial: int | None
    params: Mapping[str, Any]
    comment: Sequence[str]
    values: Sequence[str] = ()
    brief: str = ""
    expected: Sequence[tuple[float, float, float]] = ()


def file_of(search: SearchFile, trial: int | None) -> str:
    """Names the file for the configuration of a trial; with several objectives each on the front has its own."""
    return FILE if len(search.objectives) == 1 else f"best-{trial}.yaml"


def best_of(study: optuna.Study, search: SearchFile, confirmed: Confirmation | None = None) -> list[Best]:
    """Finds the confirmed configuration, or the one that the model recommends; with several objectives the model's front.

    There is none in a study without a value.
    """
    several = len(search.objectives) > 1
    found = best_configurations(study, search)
    count = len(valued(study))
    prefers = "which the search's model prefers"
    if count < FEW:
        prefers = f"the most promising of {count} with a value, too few for the search's model to say what it expects"
    if confirmed is not None:
        same = [one for one in found if key(one.trial.params) == key(confirmed.chosen.params)]
        found = same[:1]
        if not found:
            comment = [_headline(study, f"{confirmed.chosen.label}, chosen on unseen seeds"), *_confirmed(confirmed)]
            return [Best(confirmed.chosen.trial, confirmed.chosen.params, comment)]
    made = []
    for one in found if several else found[:1]:
        how = "one of those that no other beats in all objectives" if several else prefers
        if confirmed is not None:
            how = "the best of those that were run on unseen seeds"
        known = _known(study, search, one)
        values = [value.sentence for value in known]
        lines = [_headline(study, f"trial {one.trial.number}, {how}"), *values]
        if confirmed is not None:
            lines += _confirmed(confirmed)
        elif not several:
            lines.append(f"Not measured on unseen seeds yet: mbrl search confirm {study.study_name}")
        lines.append(f"Run it: mbrl {search.command} --config {file_of(search, one.trial.number)}")
        brief = "; ".join(value.brief for value in known)
        expected = [value.expected for value in known if value.expected is not None]
        made.append(Best(one.trial.number, dict(one.trial.params), lines, values, brief, expected))
    return made


def leave_best(study: optuna.Study, search: SearchFile, folder: Path, parse: Parse) -> None:
    """Writes the configuration that a search recommends into its folder and says so; several objectives have no single one.

    Raises:
        MbrlError: if the parser refuses it.
    """
    if len(search.objectives) > 1:
        return
    for best in best_of(study, search):
        write_best(best, search, folder / FILE, parse)
        tell("\n".join([*best.comment[:2], f"It is in {folder / FILE}"]))


def write_best(best: Best, search: SearchFile, path: Path, parse: Parse) -> None:
    """Writes it as one configuration that `mbrl fit --config` takes.

    Several workers may write the same file at once: it is moved into place whole.

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


@dataclass(frozen=True)
class _Known:
    """Observed and expected value of a configuration in one objective, in a sentence and in brief."""

    sentence: str
    brief: str
    expected: tuple[float, float, float] | None


def _known(study: optuna.Study, search: SearchFile, one: Recommendation) -> list[_Known]:
    """Observed and expected values of a configuration, one entry per objective."""
    all_valued = valued(study)
    trials = [other for other in all_valued if key(other.params) == key(one.trial.params)]
    seeds = [seed for other in trials for seed in other.user_attrs.get("seeds", [])]
    runs = (
        f"{len(seeds)} run{'s' if len(seeds) > 1 else ''}, seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
    )
    means: tuple[float, ...] = one.mean if isinstance(one.mean, tuple) else (one.mean,)
    sds: tuple[float, ...] = one.sd if isinstance(one.sd, tuple) else (one.sd,)
    known = []
    for number, (objective, mean, sd) in enumerate(zip(search.objectives, means, sds, strict=True)):
        values = [(other.values[number], len(other.user_attrs.get("seeds", [None]))) for other in trials]
        observed = sum(value * count for value, count in values) / sum(count for _, count in values)
        sentence = f"{objective.metric} ({objective.reduce}, {objective.direction}): observed {observed:.5g} ({runs})"
        brief, expected = f"{objective.metric} {observed:.5g}", None
        if len(all_valued) >= FEW:
            what = "median and a standard deviation either way" if objective.log else "mean and standard deviation"
            said = in_words(mean, sd, objective.log)
            sentence += f", expected {said} (the model's {what})"
            brief += f", expected {said}"
            expected = (mean, *interval(mean, sd, objective.log))
        known.append(_Known(f"{sentence}.", brief, expected))
    return known


def _confirmed(confirmed: Confirmation) -> list[str]:
    found, label = confirmed.value, confirmed.chosen.label
    seeds = [run.seed for run in confirmed.runs if (run.stage, run.label) == (TEST, label)]
    failed = confirmed.failed(TEST, label)
    between = "" if found.low is None else f", 95 % interval {found.low:.5g} to {found.high:.5g}"
    return [
        f"On {len(seeds)} unseen seeds ({', '.join(map(str, seeds))}): interquartile mean {found.value:.5g}{between}, "
        f"{failed or 'none'} failed."
    ]
