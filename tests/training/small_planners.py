"""PETS and SRL at sizes at which a run takes a second, with all that a checkpoint must keep of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from mbrl.models import GaussianEnsemble, NextObsNetwork
from mbrl.planners import ICEM, PETS, SRL, Planner
from mbrl.policies import SAC, SequenceSAC
from mbrl.uncertainty import MeanDisagreement
from tests.training.toy import data, trainer

STEPS = 40


def pets() -> PETS:
    """Small and complete: fits, a learner by the side with its value and its plans, a penalty, warm starts."""
    ensemble = GaussianEnsemble(hidden=[8], members=3, elites=None, weight_decay=0.0, max_epochs=2, batch_size=16)
    return PETS(
        ensemble,
        ICEM(candidates=8, elites=2, policy_candidates=2),
        horizon=3,
        particles=3,
        warmup_steps=10,
        refit_every=10,
        learner=SAC(hidden=[8]),
        terminal_value="mean",
        uncertainty=MeanDisagreement(),
        uncertainty_rate=-0.5,
        batch_size=8,
    )


def srl() -> SRL:
    """Small and complete: an average of a normalised model, sequences longer than a save, seldom updates of the actor."""
    learner = SequenceSAC(3, hidden=[8, 8], normalize_obs=True)
    model = NextObsNetwork([8], delta=True, normalize=True)
    return SRL(model, learner, warmup_steps=10, refit_every=10, batch_size=8, actor_update_every=3)


def fit(make: Callable[[], Planner], folder: Path, ckpt_path: str | None = None, **options: Any) -> Path:
    """Trains in two environments; returns the folder."""
    trainer(folder, log_every=10, eval_every=20, checkpoint_every=10, **options).fit(
        make(), data(STEPS, num_envs=2, eval_episodes=2), ckpt_path=ckpt_path
    )
    return folder
