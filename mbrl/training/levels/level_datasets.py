"""`make_levels`: datasets of a run's policies and buffer, as D4RL's are made of one training run [Fu2020].

Fu2020: "D4RL: datasets for deep data-driven reinforcement learning" (levels, protocol).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from mbrl.arguments import Count, Seed, check_argument, check_known
from mbrl.data import NormalizedScore, OfflineDataset, Task, check_minari_id, derived_seed, make_generator, write_minari
from mbrl.envs import VectorExperience
from mbrl.envs.collect import record
from mbrl.errors import CheckpointError, ConfigError, reading
from mbrl.planners import LearnsPolicy
from mbrl.planners.online_planner import OnlinePlanner
from mbrl.policies import Learner
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.levels.references import UniformActions, reference_returns
from mbrl.training.load import module_of
from mbrl.training.reached_checkpoints import reached_checkpoints
from mbrl.training.resume import checkpoint_at
from mbrl.training.run_folder import inside

LEVELS = ("random", "medium", "medium-replay", "medium-expert", "expert")
_LIMIT = 1000  # real steps of an episode of an environment without a limit, as in D4RL


def make_levels(
    run: str | os.PathLike[str],
    levels: Sequence[str] = LEVELS,
    *,
    namespace: str | None = None,
    steps: Count = 10_000,
    episodes: Count = 100,
    seed: Seed = 0,
    sim_state: bool = True,
    allow: Sequence[str] = (),
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Makes Minari datasets `<namespace>/<level>-v0` from a finished run of an online planner with a learner, such as SAC.

    `random` has uniform actions; `medium` and `expert` actions that are sampled from the policy of a kept checkpoint and of
    the last one, or of the one that `run` names; `medium-replay` is the real buffer of the first; `medium-expert` is
    `medium` up to the end of its last finished episode, then `expert`. The medium checkpoint is the first that the run kept
    (`trainer.keep_at`) whose evaluation returned a third of the way from random to expert, or more.

    Each says its protocol, and has reference scores of our own: uniform actions' mean return, and that of the last policy's
    deterministic actions (`reference_returns`). They are those of this environment, not D4RL's.

    Args:
        run: the run folder, or a checkpoint of it whose policy is the expert, such as `RUN/best`.
        levels: of `LEVELS`.
        namespace: of the datasets; None takes `mbrl/` and the environment's id in lower case.
        steps: real steps of random, medium and expert; medium-expert has both.
        episodes: episodes of each reference; more measure better.
        seed: seed of starts and actions.
        sim_state: whether to keep the simulator's states of MuJoCo; of medium-replay, if the run has (`keep_sim_state`).
        allow: modules in which names in the run's checkpoints may be looked up.
        say: function that is told what happens, a sentence at a time.

    Returns:
        The datasets' folders.

    Raises:
        ConfigError: for an unknown level, or a last policy that is no better than uniform actions.
        CheckpointError: if there is no run, it is of another kind, it has kept no medium checkpoint, or one that it has kept
            is damaged, and then nothing is stepped.
        DataError: if a dataset of that id exists; nothing is stepped then.
    """
    for name, value, declared in (
        ("steps", steps, Count), ("episodes", episodes, Count), ("seed", seed, Seed), ("levels", levels, Sequence[str]),
    ):  # fmt: skip
        check_argument(f"make_levels({name}=…)", value, declared)
    for level in levels:
        check_known("levels", level, LEVELS)
    if not levels or len(set(levels)) < len(levels):
        raise ConfigError(f"levels: expected one or more, each once, got {list(levels)}; choose of {', '.join(LEVELS)}.")
    source = _Source.of(run, allow)
    named = namespace if namespace is not None else f"mbrl/{source.task.env_id.rpartition(':')[2].replace('/', '-').lower()}"
    if not re.fullmatch(r"[-\w][-\w/]*[-\w]", named):  # what Minari takes
        raise ConfigError(f"namespace: expected two or more letters, digits, -, _ and /, got {named!r}; give another.")
    for level in levels:
        check_minari_id(f"{named}/{level}-v0")
    of_medium = any(level.startswith("medium") for level in levels)
    kept = _kept(source) if of_medium else []  # before hours of episodes
    references = reference_returns(source.planner, source.task, episodes=episodes, seed=seed, allow=source.allow)
    say(references.source)
    if of_medium:
        source = replace(source, medium=_medium(source, kept, references, say))
    settings = _Settings(steps, seed, sim_state)
    folders = []
    for level in levels:
        dataset, about, algorithm = _made(level, source, settings)
        dataset = replace(dataset.with_cuts(), references=references, source=f"{named}/{level}-v0")
        dataset.check()
        text = f"{about} {references.source[0].upper()}{references.source[1:]}."
        folders.append(write_minari(dataset.source, dataset, algorithm=algorithm, description=text))
        say(f"{len(dataset)} steps in {folders[-1]}")
    return folders


@dataclass(frozen=True)
class _Source:
    """A run, its expert, and its medium checkpoint once it is known."""

    run: Path
    expert: str  # its checkpoint, and what to call it
    planner: OnlinePlanner
    task: Task
    allow: Sequence[str]
    medium: tuple[OnlinePlanner, str] | None = None  # with its buffer, and what to call it

    @staticmethod
    def of(run: str | os.PathLike[str], allow: Sequence[str]) -> _Source:
        last = checkpoint_at(run)
        planner = _planner(last, allow, buffers=False)
        task = planner.built_task
        if not task.env_id:
            raise CheckpointError(f"expected a run in an environment with an id, got {last} without; give another run.")
        expert = f"{last.name} of the run, after {planner.env_steps} steps"
        return _Source(inside(last), expert, planner, task if task.time_limit else replace(task, time_limit=_LIMIT), allow)


@dataclass(frozen=True)
class _Settings:
    steps: int
    seed: int
    sim_state: bool
    recorded: dict[str, OfflineDataset] = field(default_factory=dict)  # medium-expert has the rows of both


def _planner(folder: Path, allow: Sequence[str], *, buffers: bool) -> OnlinePlanner:
    """The planner of a checkpoint, with its real buffer if wanted."""
    checkpoint = read_checkpoint(folder, buffers=buffers)
    planner = module_of(checkpoint, folder, allow)
    if not isinstance(planner, OnlinePlanner) or not isinstance(planner, LearnsPolicy) or planner.learner is None:
        raise CheckpointError(
            f"expected a run of a planner that learns a policy in an environment in {folder}, got "
            f"{type(planner).__name__}; give one such as Dyna's."
        )
    if buffers:
        real = checkpoint["mbrl_buffers"].get("real")
        if real is None:
            raise CheckpointError(f"expected the real buffer in {folder}, got none; copy the whole folder.")
        with reading(f"the real buffer in {folder}"):
            planner.real_buffer.load_state_dict(real)
    return planner


def _learner(planner: OnlinePlanner) -> Learner:
    assert isinstance(planner, LearnsPolicy) and planner.learner is not None  # `_planner` has made sure
    return planner.learner


def _kept(source: _Source) -> list[tuple[Path, float, int]]:
    """What the run kept at returns, each checkpoint read once, so that none turns out damaged when it is needed."""
    kept = reached_checkpoints(source.run)
    for folder, _, _ in kept:
        _planner(folder, source.allow, buffers=True)
    return kept


def _medium(
    source: _Source, kept: Sequence[tuple[Path, float, int]], references: NormalizedScore, say: Callable[[str], None]
) -> tuple[OnlinePlanner, str]:
    wanted = references.low + (references.high - references.low) / 3
    for folder, value, clock in kept:
        if value >= wanted:
            planner = _planner(folder, source.allow, buffers=True)
            if planner.env_steps <= planner.warmup_steps:
                say(f"{folder.name} is passed over: its {value:.6g} was luck, since nothing was learned by step {clock}")
                continue
            about = f"{folder.name} of the run, after {clock} steps, whose evaluation returned {value:.6g}"
            say(f"the medium policy, a third of the way from random to expert or better ({wanted:.6g}): {about}")
            return planner, about
    found = " and ".join(f"{value:.6g}" for _, value, _ in kept)
    raise CheckpointError(
        f"expected a checkpoint of {source.run} kept at a return of {wanted:.6g} or more, a third of the way from random to "
        f"expert, got {found or 'none'}; train again with trainer.keep_at: "
        f"{{return: [{wanted!r}]}}."
    )


def _made(level: str, source: _Source, settings: _Settings) -> tuple[OfflineDataset, str, str]:
    """The dataset of a level, its protocol, and what chose its actions."""
    learner = type(_learner(source.planner)).__name__
    env_id = source.task.env_id
    if level == "random":
        log_prob = UniformActions(source.task).log_prob
        said = f"{settings.steps} steps of {env_id} with uniform actions, log-density {log_prob:.6f} each"
        return _recorded(level, None, source, settings), f"{said}, seed {settings.seed}.", "random"
    if level == "expert":
        said = f"{settings.steps} steps of {env_id} with actions sampled from {learner}'s policy, {source.expert}"
        return _recorded(level, source.planner, source, settings), f"{said}, seed {settings.seed}.", learner
    assert source.medium is not None
    planner, about = source.medium
    if level == "medium":
        said = f"{settings.steps} steps of {env_id} with actions sampled from {learner}'s policy, {about}"
        return _recorded(level, planner, source, settings), f"{said}, seed {settings.seed}.", learner
    if level == "medium-replay":
        rows = planner.real_buffer.all()
        rows = rows.select(torch.argsort(rows.extras["episode"], stable=True))  # of several environments
        if not settings.sim_state:
            rows.extras.pop("sim_state", None)
        dataset = OfflineDataset.from_transitions(rows, source.task, level)
        return dataset, f"the replay buffer of {learner} in {env_id}, {about}.", learner
    medium, expert = (_made(name, source, settings) for name in ("medium", "expert"))
    return medium[0].joined(expert[0]), f"First: {medium[1]} Then: {expert[1]}", learner


def _recorded(level: str, planner: OnlinePlanner | None, source: _Source, settings: _Settings) -> OfflineDataset:
    if level not in settings.recorded:
        seed, allow = derived_seed(settings.seed, level), source.allow  # or two levels would hold the same noise
        act = None if planner is None else _sampling(planner, seed)
        rows, cut = record(source.task, settings.steps, level, act=act, seed=seed, sim_state=settings.sim_state, allow=allow)
        if cut is not None:
            raise cut
        settings.recorded[level] = rows
    return settings.recorded[level]


def _sampling(planner: OnlinePlanner, seed: int) -> Callable[[VectorExperience], Tensor]:
    """Samples of the policy, whatever the planner explores with."""
    policy = _learner(planner).policy
    generator = make_generator(planner.device, seed, "levels", "actions")
    before = torch.zeros(1, planner.built_task.action_size, device=planner.device, dtype=torch.float32)

    def act(experience: VectorExperience) -> Tensor:
        nonlocal before
        before = torch.where(experience.ended.unsqueeze(-1), 0.0, before)
        before, _ = policy.sample(experience.obs, generator, before)
        return before

    return act
