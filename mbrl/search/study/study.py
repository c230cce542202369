"""A search as an Optuna study: made or taken up again from a search file, or read from the study alone."""

from __future__ import annotations

import socket
import subprocess
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial

from mbrl import __version__
from mbrl.errors import ConfigError, MbrlWarning
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.storage import is_missing, load_study, open_storage, patiently, redacted
from mbrl.search.work.worker import STOP

if TYPE_CHECKING:
    from mbrl.search.sampler import BOSampler

RUNS = Path("runs")
_READY = "ready"  # set when all else is: a study that was being made when its process died is made to its end
_COMPARED = ("command", "configs", "fixed", "objectives", "space", "seeds")


def exists(name: str, url: str) -> bool:
    """Tells whether a storage has a study of a name."""
    if is_missing(url):
        return False
    return name in [study.study_name for study in open_storage(url).get_all_studies()]


def open_study(search: SearchFile, url: str) -> optuna.Study:
    """Makes the search's study, or takes it up again.

    A new study gets the search file and all that it names as attributes, so that another machine needs the URL and the name
    only, and the known good configuration as its first trial. Budget, limits, sampler and pruner may change later.

    Args:
        search: the search file.
        url: of the storage.

    Raises:
        ConfigError: if the study was made with other settings, which make its trials incomparable, naming them.
    """
    study = optuna.create_study(
        study_name=search.study,
        storage=open_storage(url),
        directions=[objective.direction for objective in search.objectives],
        load_if_exists=True,
    )
    known = patiently(lambda: study.user_attrs)
    if "hash" in known and known["hash"] != search.hash:
        changed = _changes(SearchFile.from_text(known["search"], [tuple(pair) for pair in known["configs"]]), search)
        raise ConfigError(
            f"{search.study}: expected the search of the study in {redacted(url)}, got other {', '.join(changed)}; set them "
            "back, or give the search another name in `study`."
        )
    attributes = {
        "search": search.text,
        "configs": [list(pair) for pair in search.configs],
        "command": search.command,
        "seeds": {name: getattr(search.seeds, name) for name in ("tune", "select", "test", "per_trial")},
        "hash": search.hash,
    }
    if _READY not in known:
        attributes |= {"versions": versions(), "host": socket.gethostname()}
    for name, value in attributes.items():
        if known.get(name) != _plain(value):
            patiently(lambda name=name, value=value: study.set_user_attr(name, value))  # type: ignore[misc]
    if _READY not in known:
        start = search.space.start()
        if start is not None and not study.get_trials(deepcopy=False):
            study.enqueue_trial(start)
        study.set_user_attr(_READY, True)
    return study


def read_search(study: optuna.Study) -> SearchFile:
    """Reads the search file that a study was made with.

    Raises:
        ConfigError: if it isn't a study of `mbrl search`, or this version of the package reads its file in another way.
    """
    known = patiently(lambda: study.user_attrs)
    whole = isinstance(known.get("search"), str) and isinstance(known.get("configs"), list) and "hash" in known
    if _READY not in known or not whole:
        raise ConfigError(
            f"{study.study_name}: expected a study that mbrl search run has made, got one without its search file; use that."
        )
    search = SearchFile.from_text(known["search"], [tuple(pair) for pair in known["configs"]], f"study {study.study_name}")
    if search.hash != known["hash"]:
        raise ConfigError(
            f"{study.study_name}: expected the search with hash {known['hash'][:12]}, got {search.hash[:12]} here; use the "
            "package's version that made the study."
        )
    return replace(search, foreign=True)


def join_study(name: str, url: str, allow: Sequence[str]) -> tuple[optuna.Study, SearchFile]:
    """Loads a study and its search, for a machine that has neither files nor reason to trust them.

    Args:
        name: of the study.
        url: of its storage.
        allow: modules from which it may name anything, besides `mbrl`.

    Raises:
        ConfigError: as `load_study` and `read_search`.
        UntrustedNameError: with the flag that would allow what it names.
    """
    study = load_study(name, url)
    search = read_search(study)
    search.check_names(allow)
    if search.study != name:
        raise ConfigError(f"{name}: expected its own search file, got that of {search.study}; start it anew.")
    there, here = patiently(lambda: study.user_attrs)["versions"], versions()
    differ = [f"{part} {there.get(part)} there and {here[part]} here" for part in here if there.get(part) != here[part]]
    if differ:
        warnings.warn(f"the study was started with other versions: {', '.join(differ)}.", MbrlWarning, stacklevel=2)
    return study, search


def sampler_of(search: SearchFile, previous: Sequence[FrozenTrial] = ()) -> Callable[[int], BaseSampler]:
    """Makes the sampler for the configuration of an order, so that what it draws doesn't depend on who asks.

    Args:
        search: the search file.
        previous: trials of an earlier study, for `bo`.
    """
    choice = search.sampler
    if choice.name == "bo":
        sampler = bo_sampler(search, previous)
        return lambda order: sampler
    return lambda order: _library_sampler(choice.name, choice.startup, _seed(choice.seed, order))


def bo_sampler(search: SearchFile, previous: Sequence[FrozenTrial] = ()) -> BOSampler:
    """Makes this library's sampler for a search's space, whose model also predicts the trials' values; see `sampler_of`."""
    from mbrl.search.sampler import BOSampler  # botorch takes seconds to import

    space, choice = search.space, search.sampler
    return BOSampler(
        space.distributions(),
        space.conditions(),
        startup=choice.startup,
        trust_region=choice.trust_region,
        previous=previous,
        fidelity=choice.fidelity,
        log_objectives=[index for index, objective in enumerate(search.objectives) if objective.log],
        seed=choice.seed,
    )


def pruner_of(search: SearchFile) -> BasePruner:
    """Makes Optuna's pruner of the search file; its warm-up is the runner's, which knows how long a run is."""
    choice = search.pruner
    if choice.name == "percentile":
        return optuna.pruners.PercentilePruner(choice.percentile, n_startup_trials=choice.min_trials)
    if choice.name == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=choice.min_trials)
    return optuna.pruners.SuccessiveHalvingPruner() if choice.name == "halving" else optuna.pruners.NopPruner()


def versions() -> dict[str, str | None]:
    """Finds the versions that decide a result: of the package and its commit, and of the libraries that model and search."""
    found: dict[str, str | None] = {"mbrl": __version__, "git": _commit()}
    for package in ("torch", "botorch", "gpytorch", "optuna"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found


def ask_to_stop(study: optuna.Study, stop: bool) -> None:
    """Tells all workers to leave after the trial that they run, or that they may work again."""
    if bool(patiently(lambda: study.user_attrs).get(STOP)) != stop:
        patiently(lambda: study.set_user_attr(STOP, stop))


def _library_sampler(name: str, startup: int, seed: int) -> BaseSampler:
    if name == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if name == "tpe":
        return optuna.samplers.TPESampler(n_startup_trials=startup, seed=seed)
    return optuna.samplers.GPSampler(n_startup_trials=startup, seed=seed)


def _seed(seed: int, order: int) -> int:
    return int(np.random.SeedSequence([seed, order]).generate_state(1)[0])


def _changes(old: SearchFile, new: SearchFile) -> list[str]:
    """The keys of a search file that differ, of those that make trials comparable."""
    changed = [name for name in _COMPARED if name != "space" and getattr(old, name) != getattr(new, name)]
    mine, theirs = ([vars(parameter) for parameter in search.space.parameters] for search in (old, new))
    changed += ["space"] if mine != theirs else []
    return changed or ["settings"]


def _plain(value: object) -> object:
    """The value as it comes back from a storage."""
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def _commit() -> str | None:
    """The commit of the package's checkout; None where it was installed from a package."""
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
