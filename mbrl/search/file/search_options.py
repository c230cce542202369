"""The parts of a search file beside its space: objectives, seeds, budget, pruner, sampler and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar

from mbrl.arguments import Count, Items, Natural, Positive, ShareBelowOne, check_argument, declarations
from mbrl.arguments import Limits as Ends
from mbrl.errors import ConfigError

Kind = TypeVar("Kind")
SeedList = Annotated[tuple[Annotated[int, Ends(0, 2**32 - 1)], ...], Items(1)]


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

    tune: SeedList = tuple(range(10))
    select: SeedList = tuple(range(50, 55))
    test: SeedList = tuple(range(100, 110))
    per_trial: Count = 1


@dataclass(frozen=True)
class Budget:
    """When a search ends: after this many trials or hours, whichever comes first; None sets no limit.

    Attributes:
        trials: that count (a trial lost with its machine doesn't).
        hours: of wall-clock time of one `mbrl search run`; no trial starts after them.
    """

    trials: Count | None = None
    hours: Positive | None = None


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
    warmup_fraction: ShareBelowOne = 1 / 3
    min_trials: Count = 5
    percentile: Annotated[float, Ends(above=0, below=100)] = 25.0


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
    startup: Count = 10
    trust_region: bool = True
    fidelity: bool = False
    seed: Natural = 0


@dataclass(frozen=True)
class Limits:
    """When a run, or a worker, is stopped; None sets no limit.

    Attributes:
        trial_minutes: of wall-clock time of one run.
        stall_minutes: without a new line of metrics.
        retries: of a trial whose worker died.
        errors_in_a_row: trials that end by an error of the program, not by a bad setting, before a worker gives up.
    """

    trial_minutes: Positive | None = 600.0
    stall_minutes: Positive | None = 30.0
    retries: Natural = 2
    errors_in_a_row: Count = 3


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
        objective = _read(Objective, where, entry)
        if not objective.metric:
            raise ConfigError(f"{where}.metric: expected a metric's name, got ''; give one.")
        if not _REDUCE.fullmatch(objective.reduce):
            raise ConfigError(
                f"{where}.reduce: expected last, mean_last_<k>, mean, max or min, got {objective.reduce!r}; name one."
            )
        made.append(objective)
    if len({(entry.metric, entry.reduce) for entry in made}) < len(made):
        raise ConfigError("objectives: expected different ones, got one twice; remove it.")
    return tuple(made)


def read_seeds(written: Any) -> Seeds:
    """Reads `seeds`.

    Raises:
        ConfigError: naming what is wrong.
    """
    seeds = _read(Seeds, "seeds", written)
    for name in ("tune", "select", "test"):
        if len(set(getattr(seeds, name))) < len(getattr(seeds, name)):
            raise ConfigError(f"seeds.{name}: expected different numbers, got one twice; remove it.")
    for one, other in (("tune", "select"), ("tune", "test"), ("select", "test")):
        both = sorted(set(getattr(seeds, one)) & set(getattr(seeds, other)))
        if both:
            raise ConfigError(
                f"seeds: expected {one} and {other} to share none, since a number that was chosen for can't also measure, "
                f"got {both}; change one list."
            )
    if seeds.per_trial > len(seeds.tune):
        raise ConfigError(
            f"seeds.per_trial: expected at most the {len(seeds.tune)} seeds of tune, got {seeds.per_trial}; lower it."
        )
    return seeds


def read_budget(written: Any) -> Budget:
    """Reads `budget`.

    Raises:
        ConfigError: naming what is wrong.
    """
    budget = _read(Budget, "budget", written)
    if budget.trials is None and budget.hours is None:
        raise ConfigError("budget: expected trials, hours or both, got neither; a search needs an end.")
    return budget


def read_pruner(written: Any, objectives: Sequence[Objective]) -> PrunerChoice:
    """Reads `pruner`.

    Raises:
        ConfigError: naming what is wrong.
    """
    choice = _read(PrunerChoice, "pruner", written)
    name = choice.name
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
    _refuse_unused("pruner", name, written, takes)
    return choice


def read_sampler(written: Any, objectives: Sequence[Objective]) -> SamplerChoice:
    """Reads `sampler`.

    Raises:
        ConfigError: naming what is wrong.
    """
    choice = _read(SamplerChoice, "sampler", written)
    name = choice.name
    takes = {"bo": ("startup", "trust_region", "fidelity", "seed"), "random": ("seed",)}.get(name, ("startup", "seed"))
    _refuse_unused("sampler", name, written, takes)
    if choice.fidelity and len(objectives) > 1:
        raise ConfigError(
            f"sampler.fidelity: expected false, since runs report for one objective only, got true with {len(objectives)}; "
            "remove it."
        )
    return choice


def read_limits(written: Any) -> Limits:
    """Reads `limits`.

    Raises:
        ConfigError: naming what is wrong.
    """
    return _read(Limits, "limits", written)


def _read(kind: type[Kind], where: str, written: Any) -> Kind:
    """A dataclass from a mapping of some of its fields, each as the dataclass declares it."""
    declared = declarations(kind)  # type: ignore[arg-type]
    if not isinstance(written, Mapping):
        raise ConfigError(f"{where}: expected a mapping with {', '.join(declared)}, got {written!r}.")
    for key in written:
        if key not in declared:
            raise ConfigError(f"{where}.{key}: expected one of {', '.join(declared)}, got this one; correct or remove it.")
    for one in fields(kind):  # type: ignore[arg-type]
        if one.name in written or one.default is MISSING:
            check_argument(f"{where}.{one.name}", written.get(one.name), declared[one.name])
    return kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in written.items()})


def _refuse_unused(where: str, name: str, entry: Mapping[str, Any], takes: Sequence[str]) -> None:
    for key in entry:
        if key != "name" and key not in takes:
            what = ", ".join(takes) or "no option"
            raise ConfigError(f"{where}.{key}: expected {what} with {where} {name}, got this one; remove it.")
