"""`read_curves`: the learning curves of run folders and of CSV files, in groups of seeds."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch

from mbrl.analysis.runs.learning_curves_result import Curve
from mbrl.analysis.runs.run_settings import RunSettings, differences, read_settings
from mbrl.arguments import check_known
from mbrl.errors import DataError, RunFolderError
from mbrl.training.metrics_file import CLOCKS, MetricsFile
from mbrl.training.run_folder import METRICS, SUMMARY, inside

X_NAMES = (*CLOCKS, "time/wall_s")  # what a curve can be drawn over
GROUPINGS = ("name", "run")
Group: TypeAlias = tuple[str, str, str]  # what makes it ("label", a folder, a file), its name, its settings in one text


@dataclass(frozen=True)
class RunCurves:
    """Curves as they were read.

    Attributes:
        groups: curves by the group's name, in the order given.
        tasks: the environment by group, with its keyword arguments and action repeat, where a run's configuration says it.
        notes: what was left out, which runs aren't finished, and whether tasks, or the settings of a labelled group, differ.
    """

    groups: Mapping[str, Sequence[Curve]]
    tasks: Mapping[str, str]
    notes: Sequence[str]


def read_curves(
    runs: Sequence[str], metric: str = "eval/return", x_name: str = "env_steps", grouping: str = "name"
) -> RunCurves:
    """Reads a metric of runs and puts them into groups: those of one folder whose settings are the same but for the seed.

    Groups of one name are told apart by the settings in which they differ.

    Args:
        runs: each the folder of a run, a folder that holds runs as `seed0`, `seed1`, …, or a CSV file with a column for x
            and one for the metric (either may leave out what is before its slash, as in `return`) and, if it holds several
            runs, `seed`. `LABEL=RUN` names its group; those of one label are one group,
            whatever their settings.
        metric: as in the runs' metric lines.
        x_name: one of `X_NAMES`; lines without it are left out.
        grouping: `name` makes one group of the `seed…` folders in one folder that have the same settings, `run` one of
            each run.

    Raises:
        RunFolderError: if there is no such folder, or it holds no runs or metrics.
        DataError: if no run has the metric (the message names those there are), or a group's tasks differ.
        ConfigError: if a run's `config.yaml` can't be read.
    """
    check_known("read_curves(x_name=…)", x_name, X_NAMES, DataError)
    check_known("read_curves(grouping=…)", grouping, GROUPINGS, DataError)
    if not runs:
        raise DataError("read_curves: expected the folders of runs, got none; name one at least.")
    found: dict[Group, list[Curve]] = {}
    tasks: dict[Group, dict[str, str]] = {}
    settings: dict[Group, dict[str, RunSettings]] = {}  # of each group those that aren't alike
    notes: list[str] = []
    unfinished: list[str] = []
    seen: set[tuple[str, str, Path]] = set()
    for text in runs:
        label, path = _split_label(text)
        if path.is_file() and path.suffix == ".csv":
            name = path.name.removesuffix(".csv").removesuffix(".curve")
            for curve in _csv_curves(path, metric, x_name):
                own = f"{name}/{curve.run}" if grouping == "run" and label is None else (label or name)
                found.setdefault(("label" if label else str(path.resolve()), own, ""), []).append(curve)
            continue
        folders = _run_folders(path)
        failed: list[RunFolderError | DataError] = []
        for folder in folders:
            place, name = _group(folder, label, grouping)
            if (place, name, folder) in seen:  # a run that is named twice is still one run
                continue
            seen.add((place, name, folder))
            try:
                curve = _run_curve(folder, metric, x_name)
            except (RunFolderError, DataError) as error:
                failed.append(error)
                continue
            said = read_settings(folder)
            if said.until:
                notes.append(f"{folder.parent.name}/{folder.name} went on with other settings; it had {said.changes()}.")
            group = place, name, "" if place == "label" else said.key
            found.setdefault(group, []).append(curve)
            settings.setdefault(group, {}).setdefault(said.key, said)
            if said.task is not None:
                tasks.setdefault(group, {})[said.task] = f"{folder.parent.name}/{folder.name}"
            if not (folder / SUMMARY).exists():
                unfinished.append(f"{folder.parent.name}/{folder.name}")
        if failed and len(failed) == len(folders):
            raise failed[0]
        notes += [f"Left out: {error}" for error in failed]
    for group, known in tasks.items():
        if len(known) > 1:
            which = " and ".join(f"{task} ({run})" for task, run in known.items())
            raise DataError(f"expected runs of one task in {group[1]}, got {which}; label them apart, as in LABEL=RUN.")
    notes += [
        f"The runs of {name} differ in their settings: {'; '.join(differences(list(known.values())))}."
        for (_, name, _), known in settings.items()
        if len(known) > 1
    ]
    names = _names(list(found), {group: next(iter(known.values())) for group, known in settings.items()})
    of_groups = {names[group]: next(iter(known)) for group, known in tasks.items()}
    if len(set(of_groups.values())) > 1:
        told = [
            f"{task} ({', '.join(n for n, t in of_groups.items() if t == task)})"
            for task in dict.fromkeys(of_groups.values())
        ]
        notes.append(f"The tasks differ, so the values can't be compared: {', '.join(told)}.")
    if unfinished:
        notes.append(f"Not finished: {', '.join(unfinished)}.")
    return RunCurves({names[group]: curves for group, curves in found.items()}, of_groups, notes)


def own_clock(runs: Sequence[str]) -> str:
    """The clock that the first of the runs is counted on, `env_steps` where none says; arguments as in `read_curves`."""
    for text in runs:
        _, path = _split_label(text)
        if path.is_file() and path.suffix == ".csv":
            with path.open(newline="", encoding="utf-8") as file:
                known = set(next(csv.reader(file), []))
        else:
            try:
                folders = _run_folders(path)
            except RunFolderError:  # `read_curves` says so
                continue
            known = {clock for folder in folders for clock in CLOCKS if MetricsFile(folder / METRICS, clock).read()}
        for clock in CLOCKS:
            if clock in known:
                return clock
    return "env_steps"


# folders -----------------------------------------------------------------------------------------------------------------


def _split_label(text: str) -> tuple[str | None, Path]:
    label, equals, rest = text.partition("=")
    if equals and label and rest and not Path(text).exists():
        return label, Path(rest)
    return None, Path(text)


def _run_folders(path: Path) -> list[Path]:
    if path.name == METRICS:
        path = path.parent
    path = inside(path)
    if not path.is_dir():
        raise RunFolderError(f"expected a run folder at {path}, but there is none; give that of a run, or of its seeds.")
    if (path / METRICS).exists():
        return [path.resolve()]
    seeds = [folder.resolve() for folder in path.glob("seed*") if folder.is_dir()]
    if seeds:
        return sorted(seeds, key=_natural)
    files = [*path.glob(f"*/{METRICS}"), *path.glob(f"*/seed*/{METRICS}")]
    below = sorted({str(path / file.relative_to(path).parts[0]) for file in files})
    hint = f"; it holds others, give those: {', '.join(below[:8])}" if below else "; train first, or give another folder"
    raise RunFolderError(f"expected {METRICS} or folders seed0, seed1, … in {path}, got neither{hint}.")


def _natural(path: Path) -> tuple[int, str]:
    digits = re.search(r"\d+", path.name)
    return (int(digits.group()) if digits else -1, path.name)


def _group(folder: Path, label: str | None, grouping: str) -> tuple[str, str]:
    if label is not None:
        return "label", label
    seed = re.fullmatch(r"seed\d+", folder.name) is not None
    if grouping == "name" and seed:
        return str(folder.parent), folder.parent.name
    return str(folder), f"{folder.parent.name}/{folder.name}" if seed else folder.name


def _names(groups: Sequence[Group], settings: Mapping[Group, RunSettings]) -> dict[Group, str]:
    """The label of each group; of several with one name also the settings in which they differ, or else the path."""
    names = {}
    for label in dict.fromkeys(label for _, label, _ in groups):
        same = [group for group in groups if group[1] == label]
        differing = differences([settings.get(group, RunSettings()) for group in same])
        told = [f"{label} ({differs})" if differs else label for differs in differing]
        for group, name, differs in zip(same, told, differing, strict=True):
            apart = told.count(name) == 1 or group[0] == "label"
            names[group] = name if apart else group[0] + (f" ({differs})" if differs else "")
    return names


def _run_curve(folder: Path, metric: str, x_name: str) -> Curve:
    path = folder / METRICS
    lines = MetricsFile(path, x_name).read()
    if not lines:
        others = " or ".join(name for name in X_NAMES if MetricsFile(path, name).read())
        if not others:
            raise RunFolderError(f"expected metrics in {path}, got none; train first, or give another folder.")
        raise DataError(f"expected lines with {x_name} in {path}, got none; draw them over {others} instead.")
    known = [line for line in lines if metric in line]
    if not known:
        names = sorted({name for line in lines for name in line} - {x_name})
        raise DataError(f"expected the metric {metric} in {path}, got none of it; choose one of {', '.join(names)}.")
    return _curve(folder.name, [(line[x_name], line[metric]) for line in known])


def _curve(run: str, points: Sequence[tuple[float | None, float | None]]) -> Curve:
    # in the order of x, and of two at one x the later; None is what JSON has in place of NaN
    known = {x: math.nan if y is None else y for x, y in points if x is not None}
    ordered = sorted(known)
    as_tensor = [torch.tensor(values, dtype=torch.float64) for values in (ordered, [known[x] for x in ordered])]
    return Curve(run, *as_tensor)


# CSV files ---------------------------------------------------------------------------------------------------------------


def _csv_curves(path: Path, metric: str, x_name: str) -> list[Curve]:
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        rows, columns = list(reader), list(reader.fieldnames or ())
    wanted = []
    for name in (x_name, metric):
        short = name.rpartition("/")[2]
        column = next((known for known in (name, short) if known in columns), None)
        if column is None:
            either = name if name == short else f"{name} or {short}"
            have = ", ".join(columns) or "no columns"
            raise DataError(f"expected a column {either} in {path}, got none; choose one of {have}.")
        wanted.append(column)
    seeds: dict[str, list[tuple[float | None, float | None]]] = {}
    for number, row in enumerate(rows, 2):
        x, y = (row[column] for column in wanted)
        if not y:  # a metric that did not occur in this row
            continue
        try:
            point = (float(x), float(y))
        except (TypeError, ValueError):
            raise DataError(f"expected numbers in line {number} of {path}, got {x!r} and {y!r}.") from None
        seeds.setdefault(f"seed{row['seed']}" if "seed" in row else path.stem, []).append(point)
    if not seeds:
        raise DataError(f"expected rows with {wanted[1]} in {path}, got none; give another file.")
    return [_curve(run, points) for run, points in seeds.items()]
