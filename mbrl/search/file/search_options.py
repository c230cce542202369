"""The parts of a search file beside its space: objectives, seeds, budget, pruner, sampler and limits."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from itertools import combinations
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from mbrl.arguments import Count, Items, Limits, Natural, Positive, ShareBelowOne, check_argument, check_known, declarations
from mbrl.errors import ConfigError

Part = TypeVar("Part")
SeedList = Annotated[tuple[Natural, ...], Items(1)]

_REDUCE = re.compile(r"last|mean|max|min|mean_last_[1-9]\d*")
_END_OF_SEEDS = 2**32


@dataclass(frozen=True)
class Objective:
    """A number to optimise.

    Attributes:
        metric: a name in `metrics.jsonl`, such as `eval/return`.
        direction: `"maximize"` or `"minimize"`.
        reduce: the number that a run's values of it become: `last`, `mean_last_<k>`, `mean` (the area under the curve
            divided by its length, if evaluations are evenly spaced), `max` or `min`.
        log: whether the sampler's model sees its logarithm, as fits times and errors; all that is shown is in its own units.
            A value must then be above 0. What a trial is worth doesn't depend on it: it may change while a search goes on.
    """

    metric: Annotated[str, Items(1)]
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

    def __post_init__(self) -> None:
        lists = {name: getattr(self, name) for name in ("tune", "select", "test")}
        for name, seeds in lists.items():
            if len(set(seeds)) < len(seeds) or max(seeds) >= _END_OF_SEEDS:
                raise ConfigError(f"seeds.{name}: expected different numbers below {_END_OF_SEEDS}, got {list(seeds)}.")
        for one, other in combinations(lists, 2):
            if both := sorted(set(lists[one]) & set(lists[other])):
                raise ConfigError(f"seeds: expected {one} and {other} to share none, got {both}; change one list.")
        if self.per_trial > len(self.tune):
            raise ConfigError(f"seeds.per_trial: expected at most the {len(self.tune)} seeds of tune, got {self.per_trial}.")


@dataclass(frozen=True)
class Budget:
    """The end of a search: after this many trials or hours, whichever comes first; None sets no limit.

    Attributes:
        trials: that count (a trial lost with its machine doesn't).
        hours: of wall-clock time of one `mbrl search run`; no trial starts after them.
    """

    trials: Count | None = None
    hours: Positive | None = None

    def __post_init__(self) -> None:
        if self.trials is None and self.hours is None:
            raise ConfigError("budget: expected trials, hours or both, got neither; a search needs an end.")


@dataclass(frozen=True)
class PrunerChoice:
    """Choice of the pruner, which ends trials early.

    Attributes:
        name: `"none"`, `"percentile"`, `"median"` or `"halving"`.
        warmup_fraction: share of a run before which none is ended.
        min_trials: trials to finish before any is ended.
        percentile: of the `percentile` pruner: the share, in percent, of trials that go on.
    """

    name: Literal["none", "percentile", "median", "halving"] = "none"
    warmup_fraction: ShareBelowOne = 1 / 3
    min_trials: Count = 5
    percentile: Annotated[float, Limits(above=0, below=100)] = 25.0

    TAKES: ClassVar[Mapping[str, Sequence[str]]] = {
        "none": (),
        "percentile": ("warmup_fraction", "min_trials", "percentile"),
        "median": ("warmup_fraction", "min_trials"),
        "halving": ("warmup_fraction",),
    }


@dataclass(frozen=True)
class SamplerChoice:
    """Choice of the sampler, which chooses the next configuration.

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

    TAKES: ClassVar[Mapping[str, Sequence[str]]] = {
        "bo": ("startup", "trust_region", "fidelity", "seed"),
        "random": ("seed",),
        "tpe": ("startup", "seed"),
        "gp": ("startup", "seed"),
    }


@dataclass(frozen=True)
class RunLimits:
    """Limits beyond which a run, or a worker, is stopped; None sets no limit.

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


def read_part(kind: type[Part], where: str, written: Any) -> Part:
    """Reads a part of a search file whose keys and values are declared by the fields of a dataclass.

    Args:
        kind: the dataclass; of one with `TAKES` only the options of what is chosen may be given.
        where: the part's key, for messages.
        written: the part, as YAML has it.

    Raises:
        ConfigError: naming what is wrong.
    """
    declared = {one.name: declarations(kind)[one.name] for one in fields(kind)}  # type: ignore[arg-type]
    if not isinstance(written, Mapping):
        raise ConfigError(f"{where}: expected a mapping with {', '.join(declared)}, got {written!r}.")
    for key in written:
        check_known(f"{where}.{key}", key, declared)
    for key, limits in declared.items():
        if key in written or not hasattr(kind, key):  # a dataclass has the default of a field as its attribute
            check_argument(f"{where}.{key}", written.get(key), limits)
    made: Any = kind(**{key: tuple(value) if isinstance(value, list) else value for key, value in written.items()})
    takes = made.TAKES[made.name] if hasattr(kind, "TAKES") else declared
    for key in written:
        if key != "name" and key not in takes:
            options = ", ".join(takes) or "no option"
            raise ConfigError(f"{where}.{key}: expected {options} with {where} {made.name}, got this one; remove it.")
    return made


def read_objectives(written: Any) -> tuple[Objective, ...]:
    """Reads `objectives`, a list.

    Raises:
        ConfigError: naming what is wrong.
    """
    if not isinstance(written, list) or not written:
        raise ConfigError(f"objectives: expected a list, [{{metric: eval/return, direction: maximize}}], got {written!r}.")
    made = tuple(read_part(Objective, f"objectives.{number}", entry) for number, entry in enumerate(written))
    for number, entry in enumerate(made):
        if not _REDUCE.fullmatch(entry.reduce):
            raise ConfigError(
                f"objectives.{number}.reduce: expected last, mean_last_<k>, mean, max or min, got {entry.reduce!r}."
            )
    if len({(entry.metric, entry.reduce) for entry in made}) < len(made):
        raise ConfigError("objectives: expected different ones, got one twice; remove it.")
    return made


def check_several(objectives: Sequence[Objective], pruner: PrunerChoice, sampler: SamplerChoice) -> None:
    """Refuses a pruner or a sampler that can't do with several objectives.

    Raises:
        ConfigError: naming the setting.
    """
    if len(objectives) == 1:
        return
    if pruner.name != "none":
        raise ConfigError(f"pruner.name: expected none with {len(objectives)} objectives, got {pruner.name}.")
    if sampler.fidelity:
        raise ConfigError(f"sampler.fidelity: expected false with {len(objectives)} objectives, got true; remove it.")
