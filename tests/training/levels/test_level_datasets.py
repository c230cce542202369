"""Datasets of several levels from one run, end to end, and what can't be made of it."""

from __future__ import annotations

import math
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import minari
import numpy as np
import pytest
import torch
from torch import Tensor

from mbrl.cli import main
from mbrl.data import NormalizedScore, Task, make_generator, read_offline
from mbrl.envs import OfflineData, OnlineData, VectorExperience
from mbrl.errors import CheckpointError, ConfigError, DataError
from mbrl.models import SimulatorModel
from mbrl.planners import PETS, Dyna, RandomShooting
from mbrl.policies import SAC
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.levels import LEVELS, level_datasets, make_levels, reference_returns, references
from mbrl.training.levels.references import UniformActions
from tests.training.toy import evaluations_return, trainer

ENV: dict[str, Any] = {"env_id": "Reacher-v5", "env_kwargs": {"max_episode_steps": 10}}
RETURNS = {20: -9.0, 40: -2.0, 60: -1.0}  # what evaluations are made to return


def sac(**options: Any) -> Dyna:
    settings: dict[str, Any] = {"warmup_steps": 10, "updates_per_step": 1, "refit_every": 10, "batch_size": 8}
    return Dyna(None, SAC(hidden=[8]), **{**settings, **options})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reacher") / "seed0"
    with pytest.MonkeyPatch.context() as patch:
        evaluations_return(RETURNS, patch)
        data = OnlineData(**ENV, steps=60, num_envs=2, eval_episodes=1)
        trainer(folder, keep_at={"return": [-8, -4, -1]}).fit(sac(keep_sim_state=True), data)
    return folder


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "datasets"))


@pytest.fixture
def _references(monkeypatch: pytest.MonkeyPatch) -> None:
    """An untrained policy may be no better than uniform actions: references by fiat, −10 and −1, a third of which is −7."""
    made = NormalizedScore(-10.0, -1.0, "our own references")
    monkeypatch.setattr(level_datasets, "reference_returns", lambda *arguments, **options: made)


@pytest.mark.usefixtures("_references")
def test_levels_end_to_end(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["collect", "--levels", "all", str(run), "--namespace", "tiny/reacher", "--steps", "25"]) == 0
    told = capsys.readouterr().err
    assert "return--4 of the run, after 40 steps, whose evaluation returned -2" in told and "5 datasets" in told
    sets = {level: minari.load_dataset(f"tiny/reacher/{level}-v0") for level in LEVELS}
    assert {level: (len(one), one.total_steps) for level, one in sets.items()} == {
        "random": (3, 25), "medium": (3, 25), "medium-replay": (4, 40), "medium-expert": (5, 45), "expert": (3, 25)
    }  # fmt: skip
    for one in sets.values():
        meta = one.storage.metadata
        assert (meta["ref_min_score"], meta["ref_max_score"]) == (-10.0, -1.0)
        assert "Our own references" in meta["description"]
        assert one.env_spec.id == "Reacher-v5" and one.env_spec.max_episode_steps == 10
        assert all(episode.truncations[-1] and not episode.terminations.any() for episode in one.iterate_episodes())
        assert all("sim_state" in episode.infos for episode in one.iterate_episodes())
    descriptions = {level: one.storage.metadata["description"] for level, one in sets.items()}
    assert f"log-density {-2 * math.log(2):.6f}" in descriptions["random"]
    assert "sampled from SAC's policy, return--4" in descriptions["medium"] and "seed 0" in descriptions["medium"]
    assert [sets[level].storage.metadata["algorithm_name"] for level in ("random", "expert")] == ["random", "SAC"]

    both, medium, expert = (read_offline(f"tiny/reacher/{name}-v0") for name in ("medium-expert", "medium", "expert"))
    assert np.array_equal(both.obs, np.concatenate([medium.obs[:20], expert.obs]))
    assert np.array_equal(both.action, np.concatenate([medium.action[:20], expert.action]))
    assert not np.array_equal(medium.obs, expert.obs)

    replay = OfflineData("tiny/reacher/medium-replay-v0").transitions
    buffer = read_checkpoint(run / "checkpoints/return--4", buffers=True)["mbrl_buffers"]["real"]["matrix"]
    order = torch.arange(40).view(2, 10, 2).permute(0, 2, 1).reshape(-1)  # two environments, interleaved in the buffer
    assert torch.equal(replay.obs, buffer[order, : replay.obs.shape[1]])


@pytest.mark.usefixtures("_references")
def test_the_same_again_and_chosen_levels_alone(run: Path) -> None:
    for name in ("aa", "bb"):
        make_levels(run, ["expert", "medium"], namespace=name, steps=12)
    make_levels(run, ["medium"], namespace="cc", steps=12, seed=1)
    first, again, other = (read_offline(f"{name}/medium-v0") for name in ("aa", "bb", "cc"))
    assert np.array_equal(first.action, again.action) and not np.array_equal(first.action, other.action)


@pytest.mark.check("offline-9.5")
@pytest.mark.parametrize(("size", "log_prob"), [(3, -2.079442), (6, -4.158883)])
def test_the_density_of_uniform_actions(size: int, log_prob: float) -> None:
    """Of Hopper, and of HalfCheetah and Walker2d, whose actions lie in [−1, 1]."""
    task = Task(env_id="", obs_size=1, action_size=size, action_low=(-1.0,) * size, action_high=(1.0,) * size)
    assert UniformActions(task).log_prob == pytest.approx(log_prob, abs=5e-7)


@pytest.mark.usefixtures("_references")
def test_no_two_levels_share_their_draws(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Or a medium-expert dataset would hold the same noise twice."""
    seeds = []
    real = level_datasets._sampling
    monkeypatch.setattr(level_datasets, "_sampling", lambda planner, seed: seeds.append(seed) or real(planner, seed))
    make_levels(run, ["medium", "expert"], namespace="noise", steps=3)
    assert len(set(seeds)) == 2


def test_uniform_actions_have_the_whole_range() -> None:
    task = Task(env_id="", obs_size=1, action_size=2, action_low=(-3.0, 0.0), action_high=(3.0, 1.0))
    actor = UniformActions(task)
    memory = actor.memory(4000, make_generator("cpu", 0))
    action, _ = actor.act(torch.zeros(4000, 1), memory, explore=False)
    assert action.shape == (4000, 2)
    for end, share in ((-1.0, 0.0), (-0.5, 0.25), (0.0, 0.5), (0.5, 0.75), (1.0, 1.0)):
        assert (action < end).float().mean().item() == pytest.approx(share, abs=0.02)


def test_actions_are_samples_of_the_policy(run: Path) -> None:
    source = level_datasets._Source.of(run, ())
    experience = VectorExperience(source.task, 1, seed=0)
    policy = level_datasets._learner(source.planner).policy
    wanted, _ = policy.sample(experience.obs, make_generator("cpu", 3, "levels", "actions"))
    assert torch.equal(level_datasets._sampling(source.planner, 3)(experience), wanted)
    experience.close()


def test_an_episode_without_a_limit_is_cut_after_1000_steps(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = level_datasets._Source.of(run, ()).task
    assert task.time_limit == 10
    endless = SimpleNamespace(built_task=replace(task, time_limit=None), env_steps=60)
    monkeypatch.setattr(level_datasets, "_planner", lambda *arguments, **options: endless)
    assert level_datasets._Source.of(run, ()).task.time_limit == 1000


def test_references_of_uniform_actions_and_the_policy(run: Path) -> None:
    source = level_datasets._Source.of(run, ())

    class Still(UniformActions):
        def act(self, obs: Any, memory: Any, *, explore: bool, snapshot: Any = None) -> Any:
            return torch.zeros(len(obs), 2), memory

    found, again = (
        reference_returns(Still(source.task), source.task, episodes=4, seed=0)  # type: ignore[arg-type]
        for _ in range(2)
    )
    assert found == again and found.low < found.high < 0
    assert "our own references of Reacher-v5" in found.source and "4 episodes, seed 0" in found.source
    with pytest.raises(ConfigError, match="expected a policy that earns more than uniform actions in Reacher-v5"):
        reference_returns(UniformActions(source.task), source.task, episodes=2)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_references")
def test_what_is_refused(run: Path, tmp_path: Path) -> None:
    levels: list[str]
    for levels in (["mediocre"], [], ["random", "random"]):
        with pytest.raises(ConfigError, match="levels"):
            make_levels(run, levels)
    make_levels(run, ["random"], namespace="taken", steps=5)
    with pytest.raises(DataError, match="expected a new id, got one that exists"):
        make_levels(run, ["expert", "random"], namespace="taken", steps=5)
    assert not (tmp_path / "datasets/taken/expert-v0").exists(), "nothing is made then"
    for name in ("a b", "a", "/tmp/..", ""):
        with pytest.raises(ConfigError, match="namespace: expected two or more letters"):
            make_levels(run, ["random"], namespace=name)
    with pytest.raises(CheckpointError, match="there is nothing"):
        make_levels(tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("spoil", "what"), [("model.pt", "damaged"), ("buffer-real.pt", "damaged"), ("manifest.json", "whole")]
)
def test_a_damaged_kept_checkpoint_is_noticed_before_any_step(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spoil: str, what: str
) -> None:
    """Also one that isn't the medium policy in the end."""
    shutil.copytree(run, tmp_path / "run")
    victim = tmp_path / "run/checkpoints/return--1" / spoil
    copy = victim.read_bytes()
    victim.unlink()  # a link to the newest one's
    if spoil != "manifest.json":
        victim.write_bytes(copy[: len(copy) // 2])

    def stepped(*arguments: Any, **options: Any) -> None:
        raise AssertionError("it stepped")

    monkeypatch.setattr(level_datasets, "reference_returns", stepped)
    with pytest.raises(CheckpointError, match=rf"{what}.*return--1|return--1.*{what}"):
        make_levels(tmp_path / "run", ["random", "medium-expert"])
    with pytest.raises(AssertionError, match="it stepped"):
        make_levels(tmp_path / "run", ["random", "expert"])  # which need none of them


def test_the_action_before_is_zero_where_an_episode_begins() -> None:
    before: list[Tensor] = []

    class Remembering:
        def sample(self, obs: Tensor, generator: Any, prev_action: Tensor) -> tuple[Tensor, Tensor]:
            before.append(prev_action.clone())
            return torch.full_like(prev_action, float(len(before))), torch.zeros(len(obs))

    planner = SimpleNamespace(
        learner=SimpleNamespace(policy=Remembering()), device=torch.device("cpu"), built_task=SimpleNamespace(action_size=2)
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(level_datasets, "_learner", lambda planner: planner.learner)
        act = level_datasets._sampling(planner, 0)  # type: ignore[arg-type]
    for ended in (False, False, True, False):
        act(SimpleNamespace(obs=torch.zeros(1, 3), ended=torch.tensor([ended])))  # type: ignore[arg-type]
    assert [one.tolist() for one in before] == [[[0.0, 0.0]], [[1.0, 1.0]], [[0.0, 0.0]], [[3.0, 3.0]]]


@pytest.mark.parametrize(("episodes", "at_once"), [(4, 4), (10, 10), (12, 10)])
def test_references_step_no_more_than_ten_environments_at_once(
    run: Path, monkeypatch: pytest.MonkeyPatch, episodes: int, at_once: int
) -> None:
    task, made = level_datasets._Source.of(run, ()).task, []

    class Counted(VectorExperience):
        def __init__(self, task: Task, num_envs: int, **options: Any) -> None:
            made.append(num_envs)
            super().__init__(task, num_envs, **options)

    class Still(UniformActions):
        def act(self, obs: Any, memory: Any, *, explore: bool, snapshot: Any = None) -> Any:
            return torch.zeros(len(obs), 2), memory

    monkeypatch.setattr(references, "VectorExperience", Counted)
    reference_returns(Still(task), task, episodes=episodes)  # type: ignore[arg-type]
    assert made == [at_once]


@pytest.mark.usefixtures("_references")
def test_without_a_kept_medium_policy_the_return_to_keep_it_at_is_named(tmp_path: Path) -> None:
    trainer(tmp_path / "run").fit(sac(), OnlineData(**ENV, steps=20, eval_episodes=1))
    told = r"kept at a return of -7 or more, .* got none; train again with trainer\.keep_at: \{return: \[-7\.0\]\}"
    with pytest.raises(CheckpointError, match=told):
        make_levels(tmp_path / "run", ["random", "medium-replay"])
    make_levels(tmp_path / "run", ["random"], namespace="alone", steps=5, sim_state=False)
    assert read_offline("alone/random-v0").sim_state is None


def test_a_planner_without_a_policy_is_refused(tmp_path: Path) -> None:
    pets = PETS(SimulatorModel(), RandomShooting(2), horizon=1, warmup_steps=0)
    trainer(tmp_path / "run").fit(pets, OnlineData(**ENV, steps=5, eval_episodes=1))
    with pytest.raises(CheckpointError, match=r"expected a run of a planner that learns a policy .* got PETS"):
        make_levels(tmp_path / "run", ["random"])


def test_a_checkpoint_of_the_warm_up_is_no_medium_policy(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    untrained, trained = SimpleNamespace(env_steps=30, warmup_steps=30), SimpleNamespace(env_steps=60, warmup_steps=30)
    kept = [(Path("return--900"), -100.0, 30), (Path("return--800"), -90.0, 60)]
    planners = {"return--900": untrained, "return--800": trained}
    monkeypatch.setattr(level_datasets, "_planner", lambda folder, allow, buffers: planners[folder.name])
    said: list[str] = []
    source = SimpleNamespace(run=run, allow=())
    found, about = level_datasets._medium(source, kept, NormalizedScore(-1000.0, -10.0, "ours"), said.append)  # type: ignore[arg-type]
    assert found is trained and about.startswith("return--800 of the run, after 60 steps")
    assert said[0] == "return--900 is passed over: its -100 was luck, since nothing was learned by step 30"
