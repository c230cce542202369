"""`Confirmation`: the values of a search's recommended configurations on seeds that it never used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna
import torch
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from mbrl.analysis.result import Result
from mbrl.analysis.runs.aggregates import score_statistics
from mbrl.analysis.runs.bootstrap import bootstrap_interval, interquartile_mean
from mbrl.analysis.runs.improvement import probability_of_improvement
from mbrl.analysis.runs.run_scores import Estimate, draw_estimate, estimate, name_rows, plain
from mbrl.counted import counted
from mbrl.search.confirmation.runs import Candidate, Round, key, last_round, missing, settled_runs
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.outcome import label_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SELECT, TEST = "select", "test"
_LEVEL = 0.95


@dataclass(frozen=True)
class Run:
    """One run.

    Attributes:
        stage: `select` or `test`.
        label: of the configuration.
        seed: of the run.
        outcome: `ok`, or how it failed.
        value: None for a failed one.
        counted: the value; for a failed run the worst that any run of the search or its confirmation had.
        folder: of the run.
    """

    stage: str
    label: str
    seed: int
    outcome: str
    value: float | None
    counted: float
    folder: str


@dataclass(frozen=True)
class Confirmation(Result):
    """The runs of a confirmation and their statistics.

    Attributes:
        metric: the objective.
        maximize: whether more of it is better.
        runs: of both stages.
        chosen: the configuration that was kept.
        start: the search's start, if it was measured beside the chosen one.
        estimates: interquartile mean by stage and label, with its bootstrap interval.
        better: probability that a run of the chosen configuration is better than one of the start, on test seeds; None
            without a start.
        gain: interquartile mean of the differences between the two on the same seed, above 0 where the chosen one is better:
            it leaves out what a seed does to both, which may be more than what a configuration does.
    """

    name = "confirmation"
    title = "Confirmed on unseen seeds"

    metric: str
    maximize: bool
    runs: tuple[Run, ...]
    chosen: Candidate
    start: Candidate | None
    estimates: Mapping[tuple[str, str], Estimate]
    better: Estimate | None
    gain: Estimate | None = None
    notes: Sequence[str] = ()

    @property
    def value(self) -> Estimate:
        """The value of the chosen configuration: the interquartile mean of its test runs."""
        return self.estimates[TEST, self.chosen.label]

    def failed(self, stage: str, label: str) -> int:
        """Counts the failed runs of a configuration."""
        return sum(run.value is None for run in self.runs if (run.stage, run.label) == (stage, label))

    def table(self) -> dict[str, list[Any]]:
        names = ("stage", "label", "seed", "outcome", "value", "counted", "folder")
        return {name: [getattr(run, name) for run in self.runs] for name in names}

    def summary(self) -> dict[str, Any]:
        found = {
            f"{stage}: {label}": {
                "runs": sum((run.stage, run.label) == (stage, label) for run in self.runs),
                "failed": self.failed(stage, label),
                **plain(value),
            }
            for (stage, label), value in self.estimates.items()
        }
        return {
            "interquartile mean": found,
            "better than the start": None if self.better is None else plain(self.better),
            "gain on the same seed": None if self.gain is None else plain(self.gain),
        }

    def in_short(self) -> list[str]:
        chosen = self.chosen.label
        said = [f"{chosen} on {_runs_of(self, chosen)}: interquartile mean {_interval(self.value)}."]
        if self.start is not None and self.better is not None:
            start = self.start.label
            said.append(f"{_named_start(self.start)} on the same seeds: {_interval(self.estimates[TEST, start])}.")
            said.append(f"A run of the chosen one is better with probability {_interval(self.better)}.")
        if self.gain is not None:
            said.append(f"On the same seed it gains {_interval(self.gain)}.")
        failures = sum(run.value is None for run in self.runs)
        if failures:
            said.append(f"{failures} of {len(self.runs)} runs failed; each counts as the worst value that any run had.")
        return said

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        rows = list(self.estimates)
        figure = Figure(figsize=(7.0, 1.6 + 0.45 * len(rows)), layout="constrained")
        axes = figure.subplots()
        for row, (stage, label) in enumerate(rows):
            draw_estimate(axes, row, self.estimates[stage, label])
            for run in self.runs:
                if (run.stage, run.label) == (stage, label):
                    shape = "kx" if run.value is None else "ko"
                    axes.plot([run.counted], [row], shape, markerfacecolor="white", markersize=5, markeredgewidth=1)
        kept = {(TEST, self.chosen.label): ", chosen"}
        if self.start is not None and self.start.trial is not None:  # else its label says so
            kept[TEST, self.start.label] = ", the start"
        name_rows(axes, [f"{stage}: {label}{kept.get((stage, label), '')}" for stage, label in rows])
        axes.set_xlabel(f"{self.metric}, {'more' if self.maximize else 'less'} is better")
        axes.set_title("Runs (circles; failed: crosses), interquartile mean (tick), 95 % interval (bar)")
        return figure


def chosen_of(confirmation: optuna.Study, search: SearchFile, tried: optuna.Study) -> Candidate | None:
    """Finds the candidate with the best interquartile mean on select seeds; None before all of them have run.

    Failed runs count as the worst value that any run of the search or on a select seed had: test seeds choose nothing. Among
    equals the model's order decides.
    """
    made = last_round(confirmation)
    if made is None:
        return None
    if made.chosen is not None:
        return made.candidates[made.chosen]
    if len(made.candidates) == 1:
        return made.candidates[0]
    if missing(confirmation, made.candidates, search.seeds.select):
        return None
    known = settled_runs(confirmation)
    worst = _worst(confirmation, tried, search.seeds.select)
    runs = [_runs(known, SELECT, candidate, search.seeds.select, worst) for candidate in made.candidates]
    means = [float(interquartile_mean(torch.tensor(_counted(ones), dtype=torch.float64))) for ones in runs]
    best = max(means) if _maximize(tried) else min(means)
    return made.candidates[means.index(best)]


def read_confirmation(confirmation: optuna.Study, search: SearchFile, tried: optuna.Study) -> Confirmation | None:
    """Reads what a confirmation found; None until all its runs are settled.

    Args:
        confirmation: its study.
        search: the search file.
        tried: the search's study.
    """
    made, chosen = last_round(confirmation), chosen_of(confirmation, search, tried)
    if made is None or chosen is None:
        return None
    tested = tested_candidates(made, chosen)
    if missing(confirmation, tested, search.seeds.test):
        return None
    maximize, known = _maximize(tried), settled_runs(confirmation)
    worst = _worst(confirmation, tried, (*search.seeds.select, *search.seeds.test))
    selected = made.candidates if len(made.candidates) > 1 else ()
    runs: list[Run] = []
    estimates: dict[tuple[str, str], Estimate] = {}
    generator = torch.Generator().manual_seed(0)
    counted: dict[str, dict[str, list[float]]] = {}  # by label, of one stage; the tests come last and stay
    for stage, candidates, seeds in ((SELECT, selected, search.seeds.select), (TEST, tested, search.seeds.test)):
        made_runs = {candidate.label: _runs(known, stage, candidate, seeds, worst) for candidate in candidates}
        counted = {label: {"": _counted(ones)} for label, ones in made_runs.items()}
        found = score_statistics(counted, generator=generator, level=_LEVEL).estimates if counted else {}
        estimates |= {(stage, label): kinds["iqm"] for label, kinds in found.items()}
        runs += [run for ones in made_runs.values() for run in ones]
    better = gain = None
    start = tested[1] if len(tested) > 1 else None
    if start is not None:
        sign = 1.0 if maximize else -1.0
        signed = {label: {"": [sign * value for value in values[""]]} for label, values in counted.items()}
        compared = probability_of_improvement(signed, generator=generator, level=_LEVEL)
        better = compared.estimates[chosen.label, start.label]
        one, other = (torch.tensor(values[""], dtype=torch.float64) for values in signed.values())
        interval = bootstrap_interval(
            lambda strata: interquartile_mean(strata[0]), [one - other], generator=generator, level=_LEVEL
        )
        gain = estimate(interquartile_mean(one - other), interval)
    notes = _notes(confirmation, search)
    return Confirmation(search.objectives[0].metric, maximize, tuple(runs), chosen, start, estimates, better, gain, notes)


def tested_candidates(made: Round, chosen: Candidate) -> tuple[Candidate, ...]:
    """Lists the configurations that run on test seeds: the chosen one, and the start if that is another."""
    if made.start is None or key(made.start.params) == key(chosen.params):
        return (chosen,)
    return (chosen, made.start)


def _notes(confirmation: optuna.Study, search: SearchFile) -> list[str]:
    notes = []
    if len(search.seeds.test) < 10:
        few = counted(len(search.seeds.test), "test seed")
        notes.append(f"Of {few} little can be said: ten or more give intervals that can be trusted.")
    tested = {key(trial.params) for trial in confirmation.get_trials(deepcopy=False) if _is_test(trial, search)}
    start = search.space.start()
    others = tested - ({key(start)} if start is not None else set())
    if len(others) > 1:
        notes.append(
            f"The test seeds measured {len(others)} configurations that were chosen at different times: the best of these "
            "numbers is no longer free of choice."
        )
    return notes


def _is_test(trial: FrozenTrial, search: SearchFile) -> bool:
    return bool(trial.params) and bool(set(trial.user_attrs.get("seeds", ())) & set(search.seeds.test))


def _runs(
    known: Mapping[tuple[str, int], FrozenTrial], stage: str, candidate: Candidate, seeds: Sequence[int], worst: float
) -> list[Run]:
    """The runs of a configuration, one per seed; failed ones count as `worst`."""
    runs = []
    for seed in seeds:
        trial = known[key(candidate.params), seed]
        value = trial.value if trial.state == TrialState.COMPLETE else None
        folder = f"{trial.user_attrs.get('run_dir', '')}/seed{seed}"
        runs.append(Run(stage, candidate.label, seed, label_of(trial), value, worst if value is None else value, folder))
    return runs


def _counted(runs: Sequence[Run]) -> list[float]:
    return [run.counted for run in runs]


def _worst(confirmation: optuna.Study, tried: optuna.Study, seeds: Sequence[int]) -> float:
    """The worst value of any run of a search, or of its confirmation on these seeds; it is what a failed run counts as.

    There is one: a configuration is confirmed only if a trial of it finished with a value.
    """
    trials = [run for run in confirmation.get_trials(deepcopy=False) if set(run.user_attrs.get("seeds", ())) & set(seeds)]
    trials += tried.get_trials(deepcopy=False)
    values = [trial.value for trial in trials if trial.state == TrialState.COMPLETE and trial.value is not None]
    return min(values) if _maximize(tried) else max(values)


def _maximize(study: optuna.Study) -> bool:
    return study.direction == StudyDirection.MAXIMIZE


def _named_start(start: Candidate) -> str:
    return "The start" if start.trial is None else f"The start (trial {start.trial})"


def _runs_of(part: Confirmation, label: str) -> str:
    failed = part.failed(TEST, label)
    count = sum((run.stage, run.label) == (TEST, label) for run in part.runs)
    return counted(count, "test seed") + (f", {failed} of which failed" if failed else "")


def _interval(found: Estimate) -> str:
    if found.low is None or found.high is None:
        return f"{found.value:.4g}"
    return f"{found.value:.4g} (95 % interval {found.low:.4g} to {found.high:.4g})"
