"""Kill and resume of what the library's own methods don't show: no model, no environment, a part within a learner."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor

from mbrl.data import Generator, Transitions
from mbrl.models import Blend, GaussianEnsemble, Pendulum
from mbrl.planners import UPMPC, BatchPenalty, Dyna, OfflineDyna, TrustedLength, UncertaintyPenalty
from mbrl.policies import SAC, BoundCriticTerm
from mbrl.spec import Part
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint
from mbrl.uncertainty import MaxAleatoric, ValueSpread
from tests.planners.offline import offline, offline_data, record
from tests.training.test_kill_and_resume import same_state
from tests.training.toy import data, in_child, lines, trainer

STEPS = 60


class RewardScale(Part):
    """Divides rewards by the mean of their sizes so far."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.total, self.count = 0.0, 0

    def __call__(self, reward: Tensor) -> Tensor:
        self.total += float(reward.abs().mean())
        self.count += 1
        return reward * (self.count / (self.total + 1e-6))

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total, "count": self.count}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.total, self.count = float(state["total"]), int(state["count"])


class ScaledSAC(SAC):
    """SAC whose rewards go through a part that keeps a state."""

    def __init__(self, hidden: Sequence[int] = (8, 8)) -> None:
        super().__init__(hidden=hidden)
        self.scale = RewardScale()

    def update(self, batch: Transitions, generator: Generator, terms: Sequence[BoundCriticTerm] = ()) -> dict[str, Tensor]:
        batch.reward = self.scale(batch.reward)
        return super().update(batch, generator, terms)


class KillAtClock(pl.Callback):
    """SIGKILL at the end of a tick, after whatever else happens there but the checkpoint."""

    def __init__(self, clock: int) -> None:
        self.clock = clock

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if pl_module.clock == self.clock:
            os.kill(os.getpid(), signal.SIGKILL)


Fit = Callable[..., None]


def fit_alone(folder: Path, ckpt_path: str | None = None, learner: Any = None, **options: Any) -> None:
    planner = Dyna(None, learner or SAC(hidden=[8, 8]), warmup_steps=20, updates_per_step=2, batch_size=16)
    trainer(folder, **options).fit(planner, data(STEPS, num_envs=2), ckpt_path=ckpt_path)


def fit_part(folder: Path, ckpt_path: str | None = None, **options: Any) -> None:
    fit_alone(folder, ckpt_path, ScaledSAC(), **options)


def fit_options(folder: Path, ckpt_path: str | None = None, **options: Any) -> None:
    settings = {"actor_every": 3, "critics": 3, "critic_norm": "layer", "critic_dropout": 0.1, "target_subset": 2}
    fit_alone(folder, ckpt_path, SAC(hidden=[8, 8], **settings), **options)  # type: ignore[arg-type]


def fit_model_options(folder: Path, ckpt_path: str | None = None, **options: Any) -> None:
    """Dyna with a model whose fits, lengths, candidates and updates follow what has happened so far."""
    fitted = {"judged_by": "likelihood", "max_updates_per_root_row": 2.0, "max_epochs": 2}
    model = GaussianEnsemble(hidden=[8], members=3, elites=2, batch_size=16, **fitted)  # type: ignore[arg-type]
    planner = Dyna(
        model,
        SAC(hidden=[8, 8]),
        warmup_steps=20,
        refit_every=17,
        rollouts_per_step=2,
        rollout_length=TrustedLength(longest=3, error=10.0, windows=32),
        epoch_steps=10,
        updates_per_step=[0, 2, 1, 3],
        batch_size=16,
        rollout_selector=UPMPC(0.0, candidates=2, horizon=2, common_noise=True),
    )
    trainer(folder, **options).fit(planner, data(STEPS, num_envs=2), ckpt_path=ckpt_path)


@pytest.fixture(scope="module")
def fits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Fit]:
    dataset = record(tmp_path_factory.mktemp("data") / "pendulum.npz")

    def fit_offline(folder: Path, ckpt_path: str | None = None, **options: Any) -> None:
        trainer(folder, **options).fit(offline(), offline_data(dataset, STEPS), ckpt_path=ckpt_path)

    def fit_offline_dyna(folder: Path, ckpt_path: str | None = None, **options: Any) -> None:
        model = GaussianEnsemble(hidden=[8], members=3, elites=2, weight_decay=0.0, max_epochs=2, batch_size=16)
        sizes = {"rollout_batch": 8, "rollout_length": [0, 4, 1, 3], "rollout_every": 10, "retain": 2, "batch_size": 16}
        penalty = UncertaintyPenalty(MaxAleatoric(), weight=1.0, target=0.5)
        planner = OfflineDyna(model, SAC(hidden=[8, 8]), rollout_hooks=[penalty], **sizes)
        trainer(folder, **options).fit(planner, offline_data(dataset, STEPS), ckpt_path=ckpt_path)

    def fit_blend(folder: Path, ckpt_path: str | None = None, **options: Any) -> None:
        model = GaussianEnsemble(hidden=[8], members=3, elites=2, weight_decay=0.0, max_epochs=2, batch_size=16)
        sizes = {"rollout_batch": 8, "rollout_length": 3, "rollout_every": 10, "retain": 2, "batch_size": 16}
        learner = SAC(hidden=[8, 8], initial="ravl", actor_lr_cosine=STEPS)
        hooks = [BatchPenalty(ValueSpread(samples=2), weight=1.0)]
        planner = OfflineDyna(Blend(model, Pendulum(), 0.5), learner, batch_hooks=hooks, **sizes)
        trainer(folder, **options).fit(planner, offline_data(dataset, STEPS), ckpt_path=ckpt_path)

    return {
        "no model": fit_alone,
        "part in a learner": fit_part,
        "learner's options": fit_options,
        "model's options": fit_model_options,
        "offline": fit_offline,
        "OfflineDyna": fit_offline_dyna,
        "Blend": fit_blend,
    }


CLOCKS = {"offline": "updates", "OfflineDyna": "updates", "Blend": "updates"}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, fits: dict[str, Fit]) -> dict[str, Path]:
    torch.set_num_threads(1)
    folders = {kind: tmp_path_factory.mktemp("unbroken") for kind in fits}
    for kind, fit in fits.items():
        fit(folders[kind])
    return folders


@pytest.mark.parametrize(
    "kind", ["no model", "part in a learner", "learner's options", "model's options", "offline", "OfflineDyna", "Blend"]
)
@pytest.mark.parametrize("at", [4, 34, 60])
def test_killed_and_resumed_equals_unbroken(
    fits: dict[str, Fit], unbroken: dict[str, Path], tmp_path: Path, kind: str, at: int
) -> None:
    fit, whole, clock = fits[kind], unbroken[kind], CLOCKS.get(kind, "env_steps")
    assert in_child(lambda: fit(tmp_path, callbacks=[KillAtClock(at)])) == -signal.SIGKILL
    fit(tmp_path, "last")
    assert lines(whole, clock) and lines(whole, clock) == lines(tmp_path, clock)
    last = [read_checkpoint(checkpoint_folders(folder)[0], buffers=True) for folder in (whole, tmp_path)]
    found = [item for item in same_state(*last) if "RunClock.elapsed" not in item and ".time/" not in item]
    assert found == []


def test_the_rows_that_a_length_was_measured_on_are_saved(unbroken: dict[str, Path]) -> None:
    state = read_checkpoint(checkpoint_folders(unbroken["model's options"])[0], buffers=True)
    assert state["mbrl"]["parts"]["rollout_length"]["seen"] == 54, "fits are due at 20, 37 and 54, of two environments"


def test_the_state_of_the_part_is_saved(unbroken: dict[str, Path]) -> None:
    state = read_checkpoint(checkpoint_folders(unbroken["part in a learner"])[0], buffers=True)
    assert state["mbrl"]["parts"]["learner.scale"]["count"] == 2 * 40, "two updates for each step after the warm-up"
