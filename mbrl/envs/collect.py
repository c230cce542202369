"""Recording a dataset: steps of real environments, written as a Minari dataset or a `.npz`."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mbrl.arguments import check_argument
from mbrl.data import (
    OfflineDataset,
    Task,
    Transitions,
    check_minari_id,
    derived_seed,
    make_generator,
    write_minari,
    write_npz,
)
from mbrl.envs.experience import check_steps
from mbrl.envs.vector_experience import VectorExperience
from mbrl.errors import DataError, EnvironmentFailedError, keeping

Act = Callable[[VectorExperience], Tensor]


def collect(
    task: Task,
    output: str,
    *,
    steps: int,
    act: Act | None = None,
    num_envs: int = 1,
    seed: int = 0,
    algorithm: str = "random",
    sim_state: bool = True,
    allow: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Path:
    """Steps the environments of `task`, and writes what happened in environment units.

    The steps are float32, the simulator's states beside them float64. An episode that is unfinished when the steps are used
    up is cut there, as by a time limit. Ctrl-C, or an environment that fails, ends the recording early: what was stepped
    until then is written all the same, and the interrupt or the error goes on from there.

    The steps of an episode lie side by side, whichever environments were stepped between them.

    Args:
        task: the task to record.
        output: a file name that ends in `.npz`, or the id of a Minari dataset, such as `pendulum/random-v0`, which is
            written in the folder of `MINARI_DATASETS_PATH` (by default `~/.minari/datasets`).
        steps: real steps in all; a multiple of `num_envs`.
        act: function from the environments, whose `obs` says where they stand and whose `ended` (`N` bool) says which began
            a new episode, to actions `N x A` in [−1, 1]. None draws uniform random actions.
        num_envs: `N`, environments stepped at once.
        seed: seed of the episodes' starts and the random actions.
        algorithm: name of what chose the actions, for the dataset's description.
        sim_state: whether to keep the simulator's state at each step, where the environment is one of MuJoCo: a
            `SimulatorModel` starts from it, and so does `mbrl report` where it looks for the truth. It makes files larger.
        allow: modules in which the environment's names may be looked up; None if the user wrote them.
        progress: function that is told the steps taken so far, after each step of all environments.

    Returns:
        The dataset's path.

    Raises:
        ConfigError: if `steps` isn't a multiple of `num_envs`.
        DataError: if the output can't be written or exists already; nothing is stepped then. If it can't be written in the
            end, as on a full disk, the error's `results` say what was recorded.
        EnvironmentFailedError: if the environment fails; it says how many steps were written, and where.
    """
    check_argument("collect(task=…)", task, Task)
    check_argument("collect(output=…)", output, str)
    check_steps("collect", steps, num_envs)
    as_npz = output.endswith(".npz")
    if as_npz:
        _check_file(Path(output))
    else:
        check_minari_id(output)
    dataset, cut = record(
        task, steps, output, act=act, num_envs=num_envs, seed=seed, sim_state=sim_state, allow=allow, progress=progress
    )
    dataset = dataset.with_cuts()  # the recording ends here, and every episode with it
    with keeping(_in_short(dataset)):
        if as_npz:
            write_npz(output, dataset)
            where = Path(output)
        else:
            about = (
                f"{len(dataset)} steps of {task.env_id} with {algorithm} actions, seed {seed}, in {num_envs} environments."
            )
            where = write_minari(output, dataset, algorithm=algorithm, description=about)
    kept = f"{len(dataset)} of {steps} steps are in {where}"
    if isinstance(cut, EnvironmentFailedError):
        raise EnvironmentFailedError(f"{str(cut).rstrip('.')} ({kept}).") from cut
    if cut is not None:
        raise KeyboardInterrupt(kept) from cut
    return where


def record(
    task: Task,
    steps: int,
    source: str,
    *,
    act: Act | None = None,
    num_envs: int = 1,
    seed: int = 0,
    sim_state: bool = True,
    allow: Sequence[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> tuple[OfflineDataset, KeyboardInterrupt | EnvironmentFailedError | None]:
    """Steps the environments of `task` as `collect` does, and writes nothing.

    Args:
        task: the task to record.
        steps: real steps in all; a multiple of `num_envs`.
        source: name of the dataset, for messages.
        act: as in `collect`, and so are the others.
        num_envs: `N`, environments stepped at once.
        seed: seed of the episodes' starts and the random actions.
        sim_state: whether to keep the simulator's state at each step.
        allow: modules in which the environment's names may be looked up.
        progress: function that is told the steps taken so far.

    Returns:
        The steps in environment units, of which the last of an unfinished episode has no flag, and what ended the recording
        early, if anything did.
    """
    experience = VectorExperience(task, num_envs, seed=derived_seed(seed, "collect"), allow=allow)
    parts: list[Transitions] = []
    cut: KeyboardInterrupt | EnvironmentFailedError | None = None
    try:
        _step(experience, steps, act or _random(task, num_envs, seed), sim_state, progress, parts)
    except (KeyboardInterrupt, EnvironmentFailedError) as early:
        if not parts:
            raise
        cut = early
    finally:
        experience.close()
    rows = Transitions.cat(parts)
    rows = rows.select(torch.argsort(rows.extras["episode"], stable=True))  # of several environments they come interleaved
    return OfflineDataset.from_transitions(rows, task, source), cut


def _step(
    experience: VectorExperience,
    steps: int,
    act: Act,
    sim_state: bool,
    progress: Callable[[int], None] | None,
    parts: list[Transitions],
) -> None:
    """Steps all environments until `steps` are taken, appending each tick's rows to `parts`."""
    for tick in range(steps // experience.num_envs):
        with torch.no_grad():
            action = act(experience)  # N x A
            check_argument("collect(act=…) returned", action, Tensor)
        before = experience.snapshot if sim_state else None  # N x W, what the observations show that the step starts from
        rows = experience.step(action)
        if before is not None:
            rows.extras["sim_state"] = before
        parts.append(rows.to("cpu"))
        if progress is not None:
            progress((tick + 1) * experience.num_envs)


def _in_short(dataset: OfflineDataset) -> dict[str, float]:
    """A recording in numbers: its steps, its episodes, those that were cut counted too, and their mean return."""
    episodes, rewards = len(np.unique(dataset.episode)), np.asarray(dataset.reward)
    return {"steps": float(len(dataset)), "episodes": float(episodes), "return": float(rewards.sum()) / episodes}


def _random(task: Task, num_envs: int, seed: int) -> Act:
    generator = make_generator("cpu", seed, "collect", "actions")
    shape = (num_envs, task.action_size)
    return lambda experience: torch.rand(shape, generator=generator, dtype=torch.float32).to(experience.device) * 2 - 1


def _check_file(path: Path) -> None:
    if path.exists():
        raise DataError(f"{path}: expected a new file, got one that exists; choose another name, or remove it.")
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise DataError(f"{path}: expected a folder that can be written to, got {path.parent}; make it, or choose another.")
