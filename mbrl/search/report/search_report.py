"""`SearchReport`: the report of a study, and the files that it is written to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna

from mbrl.analysis.page import page
from mbrl.analysis.png import png
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.written_numbers import write_csv
from mbrl.errors import DataError
from mbrl.search.confirmation.confirmation import Confirmation
from mbrl.search.file.export import Parse
from mbrl.search.file.search_file import SearchFile
from mbrl.search.report.against import against
from mbrl.search.report.model_check import ModelCheck, ParameterEffects, model_check, parameter_effects
from mbrl.search.report.optuna_pictures import Picture, optuna_pictures
from mbrl.search.report.search_history import SearchHistory, search_history
from mbrl.search.report.search_region import SearchRegion, search_region
from mbrl.search.report.trial_runs import Curves, Timeline, curves, timeline
from mbrl.search.study.best_configurations import FEW, valued
from mbrl.search.study.best_yaml import Best, best_of, file_of, write_best
from mbrl.search.study.outcome import counts_of, is_settled, label_of
from mbrl.search.study.study import bo_sampler
from mbrl.training.files import write_whole

PAGE, SUMMARY, TRIALS = "report.html", "summary.md", "trials.csv"
_PREFACE = (
    "Expected values are those of the search's model, without the noise of single runs; a dash stands for what isn't there. "
    "What was observed in the search chose the configuration, so that only unseen seeds can say what it is worth."
)
_FACTS = ("seeds", "values", "yvar", "tries", "root", "wall_s", "env_steps", "host", "device", "run_dir", "detail")


@dataclass(frozen=True)
class SearchReport:
    """The report of a study.

    Attributes:
        search: the search file.
        study: of the trials.
        about: facts on the study, by name.
        best: configuration to take; several with several objectives, none for a study without a value.
        parts: results, and reasons why others are missing.
        pictures: Optuna's plots.
    """

    search: SearchFile
    study: optuna.Study = field(repr=False)
    about: Mapping[str, Any]
    best: Sequence[Best]
    parts: Sequence[Result | Skipped]
    pictures: Sequence[Picture] = field(repr=False)

    def summary(self) -> str:
        """Writes the report in short, as Markdown."""
        lines = [f"# {self.study.study_name}", ""]
        lines += [f"- {name}: {value}" for name, value in self.about.items()]
        for best in self.best:
            lines += ["", *best.comment, "", *(f"- `{name}`: {value}" for name, value in best.params.items())]
        for part in self.parts:
            lines += ["", f"## {part.title}", "", *part.in_short(), *(f"- {note}" for note in part.notes)]
        left_out = [f"- {picture.title}: {picture.reason}" for picture in self.pictures if picture.image is None]
        lines += ["", "## Plots that were left out", "", *left_out] if left_out else []
        return "\n".join(lines) + "\n"

    def write(self, folder: Path, parse: Parse) -> list[Path]:
        """Writes page, pictures, tables and the best configuration; files of an older report are replaced.

        Args:
            folder: made if there is none.
            parse: the command line's parser.

        Returns:
            The configurations: `best.yaml`, or `best-<trial>.yaml` for each on the front of several objectives.

        Raises:
            MbrlError: if the parser refuses a configuration.
        """
        folder.mkdir(parents=True, exist_ok=True)
        written = []
        for best in self.best:
            name = file_of(self.search, best.trial)
            write_best(best, self.search, folder / name, parse)
            written.append(folder / name)
        write_trials(self.study, folder / TRIALS)
        for part in self.parts:
            if isinstance(part, Result):
                part.to_csv(folder / f"{part.name}.csv")
                for number, figure in enumerate(part.figures()):
                    write_whole(folder / f"{part.name}{number or ''}.png", png(figure))
        drawn = [(picture.title, picture.image, picture.text) for picture in self.pictures if picture.image is not None]
        for picture in self.pictures:
            if picture.image is not None:
                write_whole(folder / f"{picture.name}.png", picture.image)
        write_whole(folder / SUMMARY, self.summary().encode())
        text = page(
            f"Search: {self.study.study_name}",
            self.about,
            self.parts,
            copied=[(f"Recommended settings: {path.name}", path.read_text(encoding="utf-8")) for path in written],
            preface=_PREFACE,
            pictures=drawn,
        )
        write_whole(folder / PAGE, text.encode())
        return written


def search_report(
    study: optuna.Study,
    search: SearchFile,
    *,
    where: str = "",
    confirmed: Confirmation | None = None,
    other: optuna.Study | None = None,
) -> SearchReport:
    """Makes the report of a study.

    Args:
        study: of the search.
        search: its file.
        where: the storage, without secrets.
        confirmed: result of its confirmation.
        other: another study of the same objective to put beside it.

    Raises:
        DataError: if no trial is settled, or `other` can't be compared.
    """
    trials = study.get_trials(deepcopy=False)
    if not any(is_settled(trial) for trial in trials):
        counts = counts_of(trials) or "none"
        raise DataError(f"report: expected a study with a trial that has finished, got {counts}; run some trials.")
    metrics = [objective.metric for objective in search.objectives]
    compared: list[Result | Skipped] = [] if other is None else [against(study, other, metric=metrics[0])]
    best = best_of(study, search, confirmed)
    front = {one.trial: one.expected for one in best if one.trial is not None}
    parts = [*_parts(study, search, metrics[0], confirmed), *compared]
    effects = next((part for part in parts if isinstance(part, ParameterEffects)), None)
    important = () if effects is None else tuple(effects.importance)
    pictures = optuna_pictures(study, metrics, front, important)
    return SearchReport(search, study, _about(study, search, where), best, parts, pictures)


def _parts(study: optuna.Study, search: SearchFile, metric: str, confirmed: Confirmation | None) -> list[Result | Skipped]:
    from mbrl.search.sampler import predictions  # botorch takes seconds to import

    history = effects = check = None
    single = len(search.objectives) == 1
    reason = why_no_effects = _why_no_model(study, search)
    if not reason:
        sampler = bo_sampler(search)
        said = predictions(study, sampler)
        history, check = search_history(study, sampler, metric=metric), model_check(said, metric=metric)
        effects = parameter_effects(study, said, search.space.distributions(), metric=metric)
        effects, why_no_effects = (effects, "") if effects.effects else (None, "no parameter has a range.")
    region = search_region(study)
    why_no_region = "no configuration was chosen by our model: the search is too short, or its sampler another."
    if region is not None and not region.worth_drawing:
        why_no_region = f"the model chose {len(region.chosen)} configurations, without a trust region and one at a time."
        region = None
    why_unconfirmed = "a search with several objectives has no single configuration to confirm."
    if single:
        why_unconfirmed = f"mbrl search confirm {study.study_name} measures the best configurations on unseen seeds."
    parts: list[tuple[type[Result], Result | None, str]] = [
        (SearchHistory, history, reason),
        (ParameterEffects, effects, why_no_effects),
        (ModelCheck, check, reason),
        (SearchRegion, region, why_no_region),
        (Confirmation, confirmed, why_unconfirmed),
        (Curves, curves(study, metric) if single else None, "no trial reported a curve."),
        (Timeline, timeline(study), "no trial says when it began."),
    ]
    return [Skipped(kind.name, kind.title, why) if part is None else part for kind, part, why in parts]


def _why_no_model(study: optuna.Study, search: SearchFile) -> str:
    """The reason why the model has nothing to say; empty if it has."""
    if len(search.objectives) > 1:
        return "the search has several objectives; the front is below."
    values = len(valued(study))
    if not values:
        return "no trial has finished with a value."
    if values < FEW:
        return f"{values} of the trials finished with a value; a model needs {FEW} or more."
    return ""


def _about(study: optuna.Study, search: SearchFile, where: str) -> dict[str, Any]:
    """Facts on the study; the cost counts failed trials too."""
    trials = study.get_trials(deepcopy=False)
    steps = [int(trial.user_attrs["env_steps"]) for trial in trials if trial.user_attrs.get("env_steps") is not None]
    hours = sum(float(trial.user_attrs.get("wall_s", 0.0)) for trial in trials) / 3600
    known = study.user_attrs.get("versions", {})
    return {
        "storage": where,
        "objectives": ", ".join(f"{one.direction} {one.metric} ({one.reduce})" for one in search.objectives),
        "trials": counts_of(trials),
        "sampler": search.sampler.name,
        "real steps in all": sum(steps) if steps else None,
        "hours in all": round(hours, 3),
        "seeds": f"tune {list(search.seeds.tune)}, select {list(search.seeds.select)}, test {list(search.seeds.test)}",
        "search file": search.hash[:12],
        "versions": ", ".join(f"{name} {text}" for name, text in known.items()),
    }


def write_trials(study: optuna.Study, path: Path) -> None:
    """Writes a study's table: one row per trial, parameters under their dotted names, empty cells for missing values."""
    trials = study.get_trials(deepcopy=False)
    names = list(dict.fromkeys(name for trial in trials for name in trial.params))
    many = len(study.directions)
    values = ["value"] if many == 1 else [f"value_{number}" for number in range(many)]
    rows = []
    for trial in trials:
        chosen = trial.user_attrs.get("acq", {})
        row = [trial.number, label_of(trial), *(trial.values or [None] * many), chosen.get("mean"), chosen.get("sd")]
        rows.append([*row, *(trial.user_attrs.get(name) for name in _FACTS), *(trial.params.get(name) for name in names)])
    write_csv(path, ["trial", "outcome", *values, "expected", "sd", *_FACTS, *names], rows)
