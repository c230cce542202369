"""The search of offline settings: a trial of it runs, by true return and by a score that takes no real episode."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl.analysis import FittedQScore
from mbrl.cli import dispatch
from mbrl.envs import collect, make_task
from mbrl.errors import UnsupportedError
from mbrl.search.file.search_file import SearchFile
from mbrl.search.work.reduce import reduced
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import data, trainer

ROOT = Path(__file__).parents[2]
TINY: dict[str, Any] = {
    "data.init_args.steps": 4,
    "data.init_args.eval_episodes": 1,
    "model.init_args.dynamics.init_args.hidden": [8],
    "model.init_args.dynamics.init_args.max_epochs": 1,
    "model.init_args.learner.init_args.hidden": [8],
    "model.init_args.rollout_batch": 4,
    "model.init_args.batch_size": 16,
    "trainer.callbacks": [{"class_path": "mbrl.analysis.FittedQScore", "init_args": {"updates": 3}}],
}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SearchFile:
    monkeypatch.chdir(ROOT)
    written = yaml.safe_load((ROOT / "configs/search/offline.yaml").read_text())
    path = collect(make_task("Reacher-v5"), str(tmp_path / "reacher.npz"), steps=100)
    written["fixed"] |= {**TINY, "data.init_args.path": str(path)}
    return SearchFile.from_text(yaml.safe_dump(written, sort_keys=False))


def lines_of(search: SearchFile, chosen: dict[str, Any], seed: int, folder: Path) -> list[dict[str, Any]]:
    dispatch(search.argv(chosen, seed, folder))
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_trial_is_three_seeds_whose_real_episodes_are_counted(small: SearchFile, tmp_path: Path) -> None:
    start, seeds = small.space.start(), small.seeds.tune[: small.seeds.per_trial]
    assert start is not None and len(seeds) == 3
    name = small.objectives[0].metric
    for seed in seeds:
        lines = lines_of(small, start, seed, tmp_path / f"seed{seed}")
        returns = [line[name] for line in lines if name in line]
        assert len(returns) == 1 and reduced(returns, small.objectives[0].reduce) == returns[0]
        assert lines[-1]["eval/env_steps"] == 50
        assert lines[-1]["score/fitted_q"] < 0 and lines[-1]["score/fitted_q_disagreement"] >= 0


def test_every_kind_of_pessimism_at_once(small: SearchFile, tmp_path: Path) -> None:
    prefix = "model.init_args"
    chosen = {
        **(small.space.start() or {}),
        f"{prefix}.rollout_hooks": "pairwise",
        f"{prefix}.batch_hooks": "value_spread",
        f"{prefix}.batch_hooks.0.init_args.weight": 0.5,
        f"{prefix}.critic_terms": "diverse",
        f"{prefix}.critic_terms.0.init_args.eta": 2.0,
    }
    lines = lines_of(small, chosen, 0, tmp_path / "run")
    assert "critic_term/diversity" in lines[-1]


def test_a_score_by_the_dataset_needs_one(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="FittedQScore: expected a planner that learns a policy from a dataset"):
        trainer(tmp_path, callbacks=[FittedQScore()]).fit(dyna(), data(30))
