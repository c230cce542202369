"""`mbrl plot`: learning curves of runs with bands over their seeds, as a figure, a CSV file and a table of final scores."""

from __future__ import annotations

import argparse
import csv
from collections.abc import Sequence
from pathlib import Path

from mbrl.analysis.runs.improvement import Improvement, false_findings, probability_of_improvement
from mbrl.analysis.runs.learning_curves import learning_curves
from mbrl.analysis.runs.learning_curves_result import LearningCurves
from mbrl.analysis.runs.run_curves import RunCurves, own_clock, read_curves
from mbrl.arguments import Seed, check_argument
from mbrl.data.streams import make_generator
from mbrl.errors import ConfigError
from mbrl.replacing import replacing
from mbrl.training.output import tell

_FORMATS = (".png", ".pdf", ".svg")


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Draws what the options name and prints the table of final scores."""
    check_argument("--seed", given.seed, Seed)
    figure = given.out or Path(given.metric.replace("/", "_") + ".png")
    numbers = given.csv or figure.with_suffix(".csv")
    _check_outputs(figure, numbers)
    x_name = given.x or own_clock(given.runs)
    read = read_curves(given.runs, given.metric, x_name, given.group)
    generator = make_generator("cpu", given.seed, "bootstrap")
    curves = learning_curves(
        read.groups, generator=generator, metric=given.metric, x_name=x_name, statistic=given.statistic,
        points=given.points, resamples=given.resamples, level=given.level,
    )  # fmt: skip
    _check_replaced(numbers, list(curves.table()))
    lines = curves.lines()
    better = _improvement(curves, read, given.resamples, given.level, given.seed)
    if better is not None:
        lines += ["", *_improvement_lines(better, given.metric)]
        lines += [f"note: {note}" for note in false_findings(len(band.curves) for band in curves.groups.values())]
    lines += ["", *(f"note: {note}" for note in (*read.notes, *curves.notes))] if read.notes or curves.notes else []
    tell("\n".join(lines))  # before the files, which a full disk may refuse
    with replacing(figure) as file:  # the older figure stays until the new one is whole
        curves.plot().savefig(file, dpi=150, format=figure.suffix[1:])
    curves.to_csv(numbers)
    tell(f"\nfigure   {figure}\nnumbers  {numbers}")
    return 0


def _improvement(curves: LearningCurves, read: RunCurves, resamples: int, level: float, seed: int) -> Improvement | None:
    """P(X > Y) of the runs' last values, where they can be compared and some have an interval."""
    finals = {name: {"": band.last} for name, band in curves.groups.items() if band.final is not None}
    if len(finals) < 2 or len(set(read.tasks.values())) > 1:
        return None
    generator = make_generator("cpu", seed, "improvement")
    found = probability_of_improvement(finals, generator=generator, resamples=resamples, level=level)
    return found if any(pair.low is not None for pair in found.estimates.values()) else None


def _improvement_lines(better: Improvement, metric: str) -> list[str]:
    lines = [f"probability that a run of X ends with a higher {metric} than one of Y"]
    for (first, second), found in better.estimates.items():
        if found.low is not None:  # of single runs it would be 0 or 1
            lines.append(f"P({first} > {second}) = {found.value:.2f}  [{found.low:.2f}, {found.high:.2f}]")
    return lines


def _check_outputs(figure: Path, numbers: Path) -> None:
    if figure.suffix not in _FORMATS:
        raise ConfigError(f"--out: expected a name that ends in {', '.join(_FORMATS)}, got {figure}; change the ending.")
    if numbers.suffix != ".csv":
        raise ConfigError(f"--csv: expected a name that ends in .csv, got {numbers}; change the ending.")
    for path in (figure, numbers):
        if not path.parent.is_dir():
            raise ConfigError(f"expected a folder {path.parent} to write {path.name} into, but there is none; make it.")


def _check_replaced(numbers: Path, columns: list[str]) -> None:
    """Only a table of this command's own kind is replaced, not a run's metrics or what was read."""
    if not numbers.exists():
        return
    with numbers.open(newline="", encoding="utf-8") as file:
        header = next(csv.reader(file), [])
    if header[:1] != columns[:1] or header[3:] != columns[3:]:
        raise ConfigError(f"--csv: expected a new file or mbrl plot's own, but {numbers} is another; give another name.")
