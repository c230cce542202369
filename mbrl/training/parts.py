"""Checks of what a trainer is given: one of our planners or models, with one of our data modules."""

from __future__ import annotations

import warnings
from typing import Any

import pytorch_lightning as pl

from mbrl.errors import ConfigError, MbrlWarning, UnsupportedError
from mbrl.models import DynamicsModel
from mbrl.planners import Planner
from mbrl.spec import Configurable
from mbrl.training.metrics_file import CLOCKS


def check_parts(model: Any, datamodule: Any) -> None:
    """Refuses other modules, whose specs no checkpoint could hold.

    Raises:
        ConfigError: saying what to pass.
    """
    if not (isinstance(model, Configurable) and isinstance(model, pl.LightningModule)):
        raise ConfigError(
            f"Trainer: expected a Planner or DynamicsModel of mbrl, got {type(model).__name__}; derive yours from one."
        )
    if not (isinstance(datamodule, Configurable) and isinstance(datamodule, pl.LightningDataModule)):
        raise ConfigError(
            f"Trainer: expected a data module of mbrl, got {type(datamodule).__name__}; give OnlineData or OfflineData."
        )


def check_can_fit(model: pl.LightningModule, *, with_value: bool = False) -> None:
    """Refuses a model that has nothing to fit, or isn't fitted without a learner, and a planner that has trained already.

    Args:
        model: a planner or a model.
        with_value: whether there is a value function for a model alone.

    Raises:
        UnsupportedError: for a fixed model, and one that wants a value function.
        ConfigError: for a used planner, whose buffers are lost or another run's.
    """
    if isinstance(model, DynamicsModel) and model.fitting == "fixed":
        raise UnsupportedError(
            f"Trainer.fit: expected a model that learns, got {type(model).__name__}; test it, or give it to a planner."
        )
    if isinstance(model, DynamicsModel) and model.wants_value and not with_value:
        raise UnsupportedError(
            f"Trainer.fit: expected a planner whose learner says values, got {type(model).__name__} alone, whose fit asks "
            "for them; give it to one, or name the run of one as trainer.value_from."
        )
    if isinstance(model, Planner) and model.clock > 0:
        raise ConfigError(
            f"Trainer.fit: expected a fresh {type(model).__name__}, got one after {model.clock} {CLOCKS[model.clock_name]}; "
            "make a new one."
        )


def tell_if_never_fitted(model: pl.LightningModule) -> None:
    """Warns of a planner that acts before it has learned anything."""
    if isinstance(model, Planner) and model.never_fitted:
        done = f"it has taken {model.env_steps} real steps, all of them before its first fit"
        if model.learns_from == "dataset":
            done = "it has made no update"
        warnings.warn(
            f"this {type(model).__name__} was never fitted: {done}, so it acts as an untrained one; train it longer.",
            MbrlWarning,
            4,
        )
