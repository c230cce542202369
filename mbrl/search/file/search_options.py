"""The parts of a search file beside its space: objectives, seeds, budget, pruner, sampler and limits."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mbrl.errors import ConfigError


@dataclass(frozen=True)
class Objective:
    """A number to optimise.

    Attributes:
        metric: a name in `metrics.jsonl`, such as `eval/return`.
        direction: `"maximize"` or `"minimize"`.
        reduce: what a run's values of it come to: `last`, `mean_last_<k>`, `mean` (the area under the curve divided by its
            length, if evaluations are evenly spaced), `max` or `min`.
        log: whether the sampler's model sees its logarithm, as fits times and errors; all that is shown is in its own units.
            A value must then be above 0. What a trial is worth doesn't depend on it: it may change while a search goes on.
    """

    metric: str
    direction: Literal["maximize", "minimize"]
    reduce: str = "last"
    log: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Seeds:
    """Seeds of runs; the three lists share none.

    Attributes:
        tune: of trials; a configuration that is tried again takes its next unused one.
        select: with which the best few are compared.
        test: with which the winner is measured.
        per_trial: runs in one trial, their values averaged.
    """

    tune: tuple[int, ...] = tuple(range(10))
    select: tuple[int, ...] = tuple(range(50, 55))
    test: tuple[int, ...] = tuple(range(100, 110))
    per_trial: int = 1


@dataclass(frozen=True)
class Budget:
    """When a search ends: after this many trials or hours, whichever comes first; None sets no limit.

    Attributes:
        trials: that count (a trial lost with its machine doesn't).
        hours: of wall-clock time of one `mbrl search run`; no trial starts after them.
    """

    trials: int | None
    hours: float | None = None


@dataclass(frozen=True)
class PrunerChoice:
    """Which trials end early.

    Attributes:
        name: `"none"`, `"percentile"`, `"median"` or `"halving"`.
        warmup_fraction: share of a run before which none is ended.
        min_trials: trials to finish before any is ended.
        percentile: of the `percentile` pruner: the share, in percent, of trials that go on.
    """

    name: Literal["none", "percentile", "median", "halving"] = "none"
    warmup_fraction: float = 1 / 3
    min_trials: int = 5
    percentile: float = 25.0


@dataclass(frozen=True)
class SamplerChoice:
    """What chooses the next configuration.

    Attributes:
        name: `"bo"` (this library's), or Optuna's `"random"`, `"tpe"` and `"gp"`, to compare with.
        startup: trials before the sampler uses a model.
        trust_region: whether `bo` searches near the best so far, in a box that grows and shrinks.
        fidelity: whether `bo` learns of a run's end from what runs reported on their way, pruned ones above all.
        seed: of the sampler.
    """

    name: Literal["bo", "random", "tpe", "gp"] = "bo"
    startup: int = 10
    trust_region: bool = True
    fidelity: bool = False
    seed: int = 0


@dataclass(frozen=True)
class Limits:
    """When a run, or a worker, is stopped; None sets no limit.

    Attributes:
        trial_minutes: of wall-clock time of one run.
        stall_minutes: without a new line of metrics.
        retries: of a trial whose worker died.
        errors_in_a_row: trials that end by an error of the program, not by a bad setting, before a worker gives up.
    """

    trial_minutes: float | None = 600.0
    stall_minutes: float | None = 30.0
    retries: int = 2
    errors_in_a_row: int = 3


_REDUCE = re.compile(r"last|mean|max|min|mean_last_[1-9]\d*")


def read_objectives(written: Any) -> tuple[Objective, ...]:
    """Reads `objectives`, a list.

    Raises:
        ConfigError: naming what is wrong.
    """
    if not isinstance(written, list) or not written:
        raise ConfigError(
            f"objectives: expected a list such as [{{metric: eval/return, direction: maximize}}], got {written!r}; "
            "correct it."
        )
    made = []
    for number, entry in enumerate(written):
        where = f"objectives.{number}"
        entry = _mapping(where, entry, ("metric", "direction", "reduce", "log"))
        if not isinstance(entry.get("metric"), str) or not entry["metric"]:
            raise ConfigError(f"{where}.metric: expected a metric's name, got {entry.get('metric')!r}; give one.")
        direction = _one_of(f"{where}.direction", entry.get("direction"), ("maximize", "minimize"))
        reduce = entry.get("reduce", "last")
        if not isinstance(reduce, str) or not _REDUCE.fullmatch(reduce):
            raise ConfigError(f"{where}.reduce: expected last, mean_last_<k>, mean, max or min, got {reduce!r}; choose one.")
        made.append(Objective(entry["metric"], direction, reduce, _flag(f"{where}.log", entry.get("log", False))))
    if len({(entry.metric, entry.reduce) for entry in made}) < len(made):
        raise ConfigError("objectives: expected different ones, got one twice; remove it.")
    return tuple(made)


def read_seeds(written: Any) -> Seeds:
    """Reads `seeds`.

    Raises:
        ConfigError: naming what is wrong.
    """
    entry = _mapping("seeds", written, ("tune", "select", "test", "per_trial"))
    default = Seeds()
    lists = {
        name: _seed_list(f"seeds.{name}", entry.get(name, list(getattr(default, name))))
        for name in ("tune", "select", "test")
    }
    for one, other in (("tune", "select"), ("tune", "test"), ("select", "test")):
        both = sorted(set(lists[one]) & set(lists[other]))
        if both:
            raise ConfigError(
                f"seeds: expected {one} and {other} to share none, since a number that was chosen for can't also measure, "
                f"got {both}; change one list."
            )
    per_trial = _whole("seeds.per_trial", entry.get("per_trial", default.per_trial), 1)
    if per_trial > len(lists["tune"]):
        raise ConfigError(
            f"seeds.per_trial: expected at most the {len(lists['tune'])} seeds of tune, got {per_trial}; lower it."
        )
    return Seeds(per_trial=per_trial, **lists)


def read_budget(written: Any) -> Budget:
    """Reads `budget`.

    Raises:
        ConfigError: naming what is wrong.
    """
    entry = _mapping("budget", written, ("trials", "hours"))
    trials, hours = entry.get("trials"), entry.get("hours")
    if trials is None and hours is None:
        raise ConfigError("budget: expected trials, hours or both, got neither; a search needs an end.")
    return Budget(
        None if trials is None else _whole("budget.trials", trials, 1),
        None if hours is None else _positive("budget.hours", hours),
    )


def read_pruner(written: Any, objectives: Sequence[Objective]) -> PrunerChoice:
    """Reads `pruner`.

    Raises:
        ConfigError: naming what is wrong.
    """
    default = PrunerChoice()
    entry = _mapping("pruner", written, ("name", "warmup_fraction", "min_trials", "percentile"))
    name = _one_of("pruner.name", entry.get("name", default.name), ("none", "percentile", "median", "halving"))
    if name != "none" and len(objectives) > 1:
        raise ConfigError(
            f"pruner.name: expected none, since {len(objectives)} objectives can't be pruned by, got {name}; choose none."
        )
    takes = {
        "none": (),
        "percentile": ("warmup_fraction", "min_trials", "percentile"),
        "median": ("warmup_fraction", "min_trials"),
        "halving": ("warmup_fraction",),
    }[name]
    _refuse_unused("pruner", name, entry, takes)
    fraction = entry.get("warmup_fraction", default.warmup_fraction)
    if not _is_number(fraction) or not 0 <= fraction < 1:
        raise ConfigError(f"pruner.warmup_fraction: expected a share from 0 to below 1, got {fraction!r}; correct it.")
    percentile = entry.get("percentile", default.percentile)
    if not _is_number(percentile) or not 0 < percentile < 100:
        raise ConfigError(f"pruner.percentile: expected a number between 0 and 100, got {percentile!r}; correct it.")
    min_trials = _whole("pruner.min_trials", entry.get("min_trials", default.min_trials), 1)
    return PrunerChoice(name, float(fraction), min_trials, float(percentile))


def read_sampler(written: Any, objectives: Sequence[Objective]) -> SamplerChoice:
    """Reads `sampler`.

    Raises:
        ConfigError: naming what is wrong.
    """
    default = SamplerChoice()
    entry = _mapping("sampler", written, ("name", "startup", "trust_region", "fidelity", "seed"))
    name = _one_of("sampler.name", entry.get("name", default.name), ("bo", "random", "tpe", "gp"))
    takes = {"bo": ("startup", "trust_region", "fidelity", "seed"), "random": ("seed",)}.get(name, ("startup", "seed"))
    _refuse_unused("sampler", name, entry, takes)
    fidelity = _flag("sampler.fidelity", entry.get("fidelity", default.fidelity))
    if fidelity and len(objectives) > 1:
        raise ConfigError(
            f"sampler.fidelity: expected false, since runs report for one objective only, got true with {len(objectives)}; "
            "remove it."
        )
    return SamplerChoice(
        name,
        _whole("sampler.startup", entry.get("startup", default.startup), 1),
        _flag("sampler.trust_region", entry.get("trust_region", default.trust_region)),
        fidelity,
        _whole("sampler.seed", entry.get("seed", default.seed), 0),
    )


def read_limits(written: Any) -> Limits:
    """Reads `limits`.

    Raises:
        ConfigError: naming what is wrong.
    """
    default = Limits()
    entry = _mapping("limits", written, ("trial_minutes", "stall_minutes", "retries", "errors_in_a_row"))
    minutes = {name: entry.get(name, getattr(default, name)) for name in ("trial_minutes", "stall_minutes")}
    return Limits(
        **{name: None if value is None else _positive(f"limits.{name}", value) for name, value in minutes.items()},
        retries=_whole("limits.retries", entry.get("retries", default.retries), 0),
        errors_in_a_row=_whole("limits.errors_in_a_row", entry.get("errors_in_a_row", default.errors_in_a_row), 1),
    )


def _mapping(where: str, written: Any, takes: Sequence[str]) -> Mapping[str, Any]:
    if not isinstance(written, Mapping):
        raise ConfigError(f"{where}: expected a mapping with {', '.join(takes)}, got {written!r}; correct it.")
    for key in written:
        if key not in takes:
            raise ConfigError(f"{where}.{key}: expected one of {', '.join(takes)}, got this one; correct or remove it.")
    return written


def _refuse_unused(where: str, name: str, entry: Mapping[str, Any], takes: Sequence[str]) -> None:
    for key in entry:
        if key != "name" and key not in takes:
            what = ", ".join(takes) or "no option"
            raise ConfigError(f"{where}.{key}: expected {what} with {where} {name}, got this one; remove it.")


def _one_of(where: str, written: Any, choices: Sequence[str]) -> Any:
    if written not in choices:
        raise ConfigError(f"{where}: expected one of {', '.join(choices)}, got {written!r}; choose one.")
    return written


def _flag(where: str, written: Any) -> bool:
    if not isinstance(written, bool):
        raise ConfigError(f"{where}: expected true or false, got {written!r}; correct it.")
    return written


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _whole(where: str, written: Any, least: int) -> int:
    if not isinstance(written, int) or isinstance(written, bool) or written < least:
        raise ConfigError(f"{where}: expected a whole number of at least {least}, got {written!r}; correct it.")
    return written


def _positive(where: str, written: Any) -> float:
    if not _is_number(written) or written <= 0:
        raise ConfigError(f"{where}: expected a number above 0, or null for no limit, got {written!r}; correct it.")
    return float(written)


def _seed_list(where: str, written: Any) -> tuple[int, ...]:
    fine = isinstance(written, list) and written and len(set(map(repr, written))) == len(written)
    if not fine or not all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32 for seed in written):
        raise ConfigError(
            f"{where}: expected a list of different whole numbers from 0 to {2**32 - 1}, got {written!r}; correct it."
        )
    return tuple(written)
