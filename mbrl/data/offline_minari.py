"""Minari datasets: read by folder or id, written by id [Younis2024].

Reading makes no environment and imports no module that a dataset names: what it says of its environment is kept as data.

Younis2024: "Minari" (the format, and the library that reads and writes it).
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from gymnasium import spaces
from gymnasium.envs.registration import EnvSpec, registry

from mbrl.data.episodes import episode_ends
from mbrl.data.file_sizes import SPOILED, check_hdf5
from mbrl.data.normalized_score import NormalizedScore
from mbrl.data.offline_dataset import Array, OfflineDataset
from mbrl.data.task_facts import TaskFacts
from mbrl.errors import ConfigError, DataError, MbrlError, MbrlWarning

_COLUMNS = ("obs", "action", "reward", "next_obs", "terminated", "truncated", "episode")
_NOTE = "mbrl_task"  # the metadata entry of `TaskFacts`
_REFERENCES = "mbrl_references"  # that of whose `ref_min_score` and `ref_max_score` are
_STATE = "sim_state"  # the entry of an episode's infos
# wrappers that change nothing that a dataset holds, or what reading a dataset does itself
_HARMLESS = (
    "TimeLimit",
    "OrderEnforcing",
    "PassiveEnvChecker",
    "RecordEpisodeStatistics",
    "RecordVideo",
    "FlattenObservation",
)


def minari_folder(path: str | os.PathLike[str]) -> Path | None:
    """The data folder of a Minari dataset, found by its folder or by its id under `MINARI_DATASETS_PATH`; None if none."""
    import minari.storage

    for folder in (Path(path), minari.storage.get_dataset_path(os.fspath(path))):
        for data in (folder, folder / "data"):
            if (data / "metadata.json").is_file():
                return data
    return None


def read_minari(path: str | os.PathLike[str]) -> OfflineDataset:
    """Reads a Minari dataset of box observations (or dicts of them, flattened in the space's order) and box actions.

    Args:
        path: its folder, or its id if it was downloaded or made on this machine.

    Raises:
        DataError: if there is none, or it can't be used.
    """
    from minari.dataset.minari_storage import MinariStorage

    source = os.fspath(path)
    folder = minari_folder(path)
    if folder is None:
        raise DataError(f"{source}: expected a Minari dataset, got neither folder nor id; {_hint(source)}.")
    try:
        return _read(source, folder, MinariStorage.read_raw_metadata(folder))
    except MbrlError:
        raise
    except SPOILED as error:
        raise DataError(f"{source}: expected a readable Minari dataset, got {error}; download or create it anew.") from error


def _read(source: str, folder: Path, metadata: Mapping[str, Any]) -> OfflineDataset:
    import minari

    for name in ("observation_space", "action_space"):
        if name not in metadata:  # Minari would make the environment that the file names to find out
            raise DataError(f"{source}: expected a Minari dataset that holds its {name}, got none; create it anew with one.")
    _check_sizes(source, folder, metadata)
    dataset = minari.MinariDataset(folder)
    obs_space, action_space = dataset.observation_space, dataset.action_space
    if not (isinstance(action_space, spaces.Box) and len(action_space.shape) == 1):
        raise DataError(f"{source}: expected actions in a one-dimensional box, got {action_space}; others aren't supported.")
    if not _is_boxes(obs_space):
        raise DataError(f"{source}: expected observations in a box or a dict of boxes, got {obs_space}; flatten them first.")
    facts = _facts(source, dataset, metadata)
    columns: dict[str, list[Array]] = {name: [] for name in _COLUMNS}
    for number, recorded in enumerate(dataset.iterate_episodes()):
        obs = _flat(recorded.observations, obs_space)  # (T+1) x S
        length = len(recorded.rewards)
        if len(obs) != length + 1 or len(recorded.actions) != length:
            raise DataError(
                f"{source}: expected {length + 1} observations and {length} actions in episode {number}, got {len(obs)} and "
                f"{len(recorded.actions)}; download or create it anew."
            )
        columns["obs"].append(obs[:-1])
        columns["next_obs"].append(obs[1:])
        columns["action"].append(recorded.actions)
        columns["reward"].append(np.asarray(recorded.rewards, dtype=np.float64))
        columns["terminated"].append(np.asarray(recorded.terminations, dtype=np.bool_))
        columns["truncated"].append(np.asarray(recorded.truncations, dtype=np.bool_))
        columns["episode"].append(np.full(length, number, dtype=np.int64))
        state = (recorded.infos or {}).get(_STATE)  # T or T+1 rows, the last of which no step starts from
        if state is not None:
            columns.setdefault(_STATE, []).append(np.asarray(state)[:length])
    episodes, states = len(columns["episode"]), len(columns.get(_STATE, columns["episode"]))
    if not episodes:
        raise DataError(f"{source}: expected at least one episode, got none; record some.")
    if states != episodes:
        raise DataError(
            f"{source}: expected {_STATE} in the infos of all {episodes} episodes or none, got it in {states}; make it anew."
        )
    joined: dict[str, Any] = {name: np.concatenate(parts) for name, parts in columns.items()}
    found = OfflineDataset(source=source, facts=facts, references=_references(source, metadata), **joined)
    found.check()
    return found


def _references(source: str, metadata: Mapping[str, Any]) -> NormalizedScore | None:
    low, high = (metadata.get(f"ref_{end}_score") for end in ("min", "max"))
    if low is None or high is None:
        return None
    whose = metadata.get(_REFERENCES)
    try:
        return NormalizedScore(float(low), float(high), whose if isinstance(whose, str) else f"ref scores of {source}")
    except (ConfigError, TypeError, ValueError):
        warnings.warn(
            f"{source}: expected its ref_min_score below its ref_max_score, got {low!r} and {high!r}, so scores aren't "
            "normalised; correct them in its metadata.json.",
            MbrlWarning,
            5,
        )
        return None


def _hint(source: str) -> str:
    """What to do where there is nothing."""
    for ending in (".npz", ".hdf5", ".h5"):
        if Path(f"{source}{ending}").is_file():
            return f"did you mean {source}{ending}"
    return f"try: minari download {source}"


def _check_sizes(source: str, folder: Path, metadata: Mapping[str, Any]) -> None:
    """Refuses counts and arrays that are larger than what is there, and data that lies elsewhere."""
    there = len([item for item in folder.iterdir() if item.is_dir()])  # of the kinds that keep an episode per folder
    for path in folder.glob("*.hdf5"):
        try:
            with h5py.File(path, "r") as file:
                check_hdf5(source, file)
                there += len(file)
        except OSError as error:
            raise DataError(
                f"{source}: expected an HDF5 file {path.name}, got {error}; download or create it anew."
            ) from error
    episodes = metadata.get("total_episodes")
    if not isinstance(episodes, int) or not 0 <= episodes <= there:
        raise DataError(
            f"{source}: expected total_episodes of its metadata to be the {there} that are there at most, got {episodes!r}; "
            "download or create it anew."
        )


def check_minari_id(dataset_id: str) -> None:
    """Refuses an id under which no dataset can be written.

    Raises:
        DataError: if it is malformed or taken.
    """
    import minari.storage
    from minari.dataset.minari_dataset import parse_dataset_id

    try:
        parse_dataset_id(dataset_id)
    except (ValueError, TypeError):  # without a version it has none to make a number of
        raise DataError(
            f"{dataset_id}: expected a file that ends in .npz, or the id of a Minari dataset such as namespace/name-v0, got "
            "neither; add the ending or the version."
        ) from None
    folder = minari.storage.get_dataset_path(dataset_id)
    if folder.exists():
        raise DataError(f"{dataset_id}: expected a new id, got one that exists; choose another name or version.")


def write_minari(dataset_id: str, dataset: OfflineDataset, *, algorithm: str, description: str) -> Path:
    """Writes `dataset` as a Minari dataset in the folder of `MINARI_DATASETS_PATH`, and returns its own folder.

    Args:
        dataset_id: `namespace/name-v0`; the namespace may be left out.
        dataset: steps whose episodes are whole, or cut at their end; its `references` become Minari's reference scores.
        algorithm: what chose the actions.
        description: a sentence for whoever finds the dataset.

    Raises:
        DataError: if the id can't be used, or is taken.
    """
    import minari
    from minari.data_collector import EpisodeBuffer

    if dataset.reward is None:
        raise DataError(f"{dataset_id}: expected rewards, which all of Minari's datasets have, got none; add them.")
    rewards, buffers = dataset.reward, []
    for number, rows in enumerate(_episodes(dataset)):
        buffers.append(
            EpisodeBuffer(
                id=number,
                observations=np.concatenate([dataset.obs[rows], dataset.next_obs[rows][-1:]]),
                actions=dataset.action[rows],
                rewards=rewards[rows],
                terminations=dataset.terminated[rows],
                truncations=dataset.truncated[rows],
                infos={} if dataset.sim_state is None else {_STATE: _with_end(dataset.sim_state[rows])},
            )
        )
    low, high = (np.array(bound, dtype=np.float32) for bound in (dataset.facts.action_low, dataset.facts.action_high))  # A
    check_minari_id(dataset_id)
    with warnings.catch_warnings():  # it warns of each of author, email and code link that isn't given
        warnings.filterwarnings("ignore", message="`.*` is set to None", category=UserWarning)
        warnings.filterwarnings("ignore", message="env_spec is None", category=UserWarning)
        made = minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            algorithm_name=algorithm,
            description=description,
            observation_space=spaces.Box(-np.inf, np.inf, dataset.obs.shape[1:], dataset.obs.dtype),
            action_space=spaces.Box(low, high, dtype=np.float32),
            env=_spec(dataset),
        )
    notes: dict[str, Any] = {_NOTE: dataset.facts.to_json()}
    if (scores := dataset.references) is not None:  # Minari itself drops them where it knows no environment's spec
        notes |= {"ref_min_score": scores.low, "ref_max_score": scores.high, _REFERENCES: scores.source}
    made.storage.update_metadata(notes)
    return Path(made.storage.data_path).parent


def _facts(source: str, dataset: Any, metadata: Mapping[str, Any]) -> TaskFacts:
    if _NOTE in metadata:
        return TaskFacts.from_json(metadata[_NOTE], source)
    low, high = dataset.action_space.low, dataset.action_space.high  # A each
    bounded = bool(np.isfinite(low).all() and np.isfinite(high).all())
    spec = dataset.env_spec
    wrappers = [] if spec is None else [item.name for item in spec.additional_wrappers if item.name not in _HARMLESS]
    if wrappers:
        warnings.warn(
            f"{source}: it was recorded in {spec.id} behind {', '.join(wrappers)}, which show other observations, actions "
            "or rewards than the environment itself, so its environment counts as one without a name; register one with "
            "these wrappers, and give its env_id to evaluate in it.",
            MbrlWarning,
            4,
        )
        spec = None
    return TaskFacts(
        action_low=tuple(map(float, low)) if bounded else None,
        action_high=tuple(map(float, high)) if bounded else None,
        env_id="" if spec is None else spec.id,
        env_kwargs={} if spec is None else dict(spec.kwargs),
        time_limit=None if spec is None else spec.max_episode_steps,
    )


def _spec(dataset: OfflineDataset) -> EnvSpec | None:
    """How Gymnasium makes the environment, so that other libraries can; None where it would make another one."""
    facts = dataset.facts
    if facts.action_repeat != 1 or facts.env_id.rpartition(":")[2] not in registry:
        return None
    spec = copy.deepcopy(registry[facts.env_id.rpartition(":")[2]])
    kwargs = {**spec.kwargs, **facts.env_kwargs}
    spec.max_episode_steps = kwargs.pop("max_episode_steps", facts.time_limit)  # of `gymnasium.make`, not the environment's
    spec.kwargs = kwargs
    try:
        spec.to_json()
    except (TypeError, ValueError):  # it is made by a function, which no file holds
        return None
    return spec


def _with_end(state: Array) -> Array:
    """Infos have a row for the episode's end too; nobody recorded that state, so it is NaN: `(T+1) x W`."""
    return np.concatenate([state, np.full_like(state[:1], np.nan)])


def _is_boxes(space: spaces.Space[Any]) -> bool:
    return isinstance(space, spaces.Box) or (isinstance(space, spaces.Dict) and all(map(_is_boxes, space.values())))


def _flat(observations: Any, space: spaces.Space[Any]) -> Array:
    """Observations `T …` as rows; those in dicts, also in dicts within, one after the other in the space's order.

    That is how Gymnasium's FlattenObservation lays them out.
    """
    if not isinstance(space, spaces.Dict):
        return np.asarray(observations)
    parts = [_flat(observations[name], part) for name, part in space.items()]
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)


def _episodes(dataset: OfflineDataset) -> list[Array]:
    """The rows of each episode, in the order of their first: never across a gap, whatever numbers the rows carry."""
    _, first, which = np.unique(dataset.episode, return_index=True, return_inverse=True)
    order = np.argsort(first[which], kind="stable")  # of several environments they may come interleaved
    parts = (dataset.obs, dataset.next_obs, dataset.terminated, dataset.truncated, dataset.episode)
    last = episode_ends(*(part[order] for part in parts))
    return np.split(order, np.flatnonzero(last)[:-1] + 1)
