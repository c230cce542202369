"""Lightning's Trainer flags and their meaning here: honoured, or refused with its replacement named.

A planner's run counts on a clock of its own, so flags that count Lightning's steps, epochs or batches would be ignored
or mean something else than they say. A dynamics model fitted alone keeps Lightning's clock and all of its flags but
those that our run folder replaces, and where one computation fits it to all rows, those that take it in pieces.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from mbrl.arguments import check_known
from mbrl.errors import ConfigError

PRECISIONS = (None, 32, "32", "32-true")


@dataclass(frozen=True)
class Flag:
    """The effect of a Trainer flag in a planner's run and in the fit of a model alone.

    Attributes:
        online: None if a planner's run honours it, else what to use instead.
        alone: the same for a dynamics model fitted alone.
        allowed: values besides the default that are accepted all the same.
    """

    online: str | None = None
    alone: str | None = None
    allowed: tuple[Any, ...] = ()


_HONOURED = Flag()
_STEPS = "give the length of the run, on the planner's clock, as data.init_args.steps"
_UPDATES = "set it on the learner or the model (init_args), which step their own optimisers"
_EVALUATION = "set trainer.eval_every (steps of the clock between evaluations) and data.init_args.eval_episodes"
_FOLDER = "the run folder keeps its own checkpoints: set trainer.checkpoint_every"
_PRECISION = "use 32, or bf16-mixed for bf16 products in the parts that offer them"
_TIME = "stop the run with SIGTERM (timeout 2h mbrl …): it ends its step and writes a checkpoint to resume from"
_ONE_DEVICE = "a planner trains on one device; run one process per seed instead"

# Every flag of pl.Trainer, in the order of its signature; a test fails when Lightning adds one.
FLAGS: dict[str, Flag] = {
    "accelerator": _HONOURED,
    "strategy": Flag(online=_ONE_DEVICE, allowed=("auto", "single_device")),
    "devices": Flag(online=_ONE_DEVICE, allowed=("auto", 1, "1")),
    "num_nodes": Flag(online=_ONE_DEVICE),
    "precision": Flag(_PRECISION, _PRECISION, (*PRECISIONS, "bf16-mixed")),
    "logger": _HONOURED,
    "callbacks": _HONOURED,
    "fast_dev_run": Flag(*2 * ("use configs/debug.yaml, which shrinks any run",)),
    "max_epochs": Flag(online=_STEPS, allowed=(1,)),
    "min_epochs": Flag(online=_STEPS),
    "max_steps": Flag(online=_STEPS),
    "min_steps": Flag(online=_STEPS),
    "max_time": Flag(online=_TIME),
    "limit_train_batches": Flag(online=_STEPS),
    "limit_val_batches": Flag(online=_EVALUATION),
    "limit_test_batches": Flag(online="set data.init_args.test_episodes"),
    "limit_predict_batches": Flag(*2 * ("set data.init_args.rows",)),
    "overfit_batches": Flag(online=_STEPS),
    "val_check_interval": Flag(online=_EVALUATION),
    "check_val_every_n_epoch": Flag(online=_EVALUATION),
    "num_sanity_val_steps": Flag(online=_EVALUATION, allowed=(0,)),
    "log_every_n_steps": Flag("set trainer.log_every (steps of the clock between lines)", "its metrics come once an epoch"),
    "enable_checkpointing": Flag(*2 * (_FOLDER,)),
    "enable_progress_bar": Flag(*2 * ("set trainer.progress",)),
    "enable_model_summary": _HONOURED,
    "accumulate_grad_batches": Flag(online=_UPDATES),
    "gradient_clip_val": Flag(online=_UPDATES),
    "gradient_clip_algorithm": Flag(online=_UPDATES),
    "deterministic": _HONOURED,
    "benchmark": _HONOURED,
    "inference_mode": _HONOURED,
    "use_distributed_sampler": Flag(online=_ONE_DEVICE),
    "profiler": _HONOURED,
    "detect_anomaly": _HONOURED,
    "barebones": Flag(*2 * ("set trainer.progress and trainer.tensorboard to false, which is what costs time",)),
    "plugins": Flag(online=_ONE_DEVICE + "; checkpoints are written by the run folder"),
    "sync_batchnorm": Flag(online=_ONE_DEVICE),
    "reload_dataloaders_every_n_epochs": Flag(online=_STEPS),
    "default_root_dir": Flag(*2 * ("name the run folder with trainer.folder",)),
    "enable_autolog_hparams": _HONOURED,
    "model_registry": Flag(*2 * ("checkpoints are read from the run folder only",)),
}

# Flags that change what is computed, so that a resumed run must have the same; a planner's run refuses them all.
COMPUTING = (
    "accumulate_grad_batches",
    "gradient_clip_val",
    "gradient_clip_algorithm",
    "limit_train_batches",
    "overfit_batches",
)

# Flags that a model fitted by one computation can't honour: they split its rows, or repeat or distribute the fit.
MINIBATCHES = (
    "strategy",
    "devices",
    "num_nodes",
    "min_epochs",
    "max_steps",
    "min_steps",
    *COMPUTING,
)


def trainer_defaults() -> dict[str, Any]:
    """Lightning's Trainer flags and their defaults."""
    parameters = inspect.signature(pl.Trainer.__init__).parameters
    return {name: item.default for name, item in parameters.items() if name != "self"}


def check_flags(flags: Mapping[str, Any], *, online: bool, at_once: bool = False) -> None:
    """Refuses flags that this kind of run would not honour.

    Args:
        flags: values by name; those at Lightning's default are not looked at.
        online: whether a planner trains (else a dynamics model alone).
        at_once: whether that model is fitted by one computation on all rows, without minibatches.

    Raises:
        ConfigError: naming the replacement.
    """
    defaults = trainer_defaults()
    for name, value in flags.items():
        check_known(f"trainer.{name}", name, FLAGS)
        flag = FLAGS[name]
        replacement = flag.online if online else flag.alone
        if at_once and name in MINIBATCHES:
            replacement = "it is fitted to all rows at once, on one device (data.init_args.rows takes fewer)"
        if replacement is None or _same(value, defaults[name]) or any(_same(value, item) for item in flag.allowed):
            continue
        what = "a planner's run" if online else "the fit of a model"
        raise ConfigError(f"trainer.{name}: expected it to be left out, since {what} can't honour {value!r}; {replacement}.")


@contextmanager
def plainly(flags: Mapping[str, Any]) -> Iterator[None]:
    """Says in one sentence what Lightning has against flags that are ours to pass on.

    Raises:
        ConfigError: in place of Lightning's errors.
    """
    try:
        yield
    except (MisconfigurationException, ValueError, RuntimeError, ModuleNotFoundError) as error:
        accelerator, reason = flags.get("accelerator", "auto"), " ".join(str(error).split()).rstrip(".")
        if accelerator not in ("auto", "cpu") and re.search("accelerator|backend|not met|found", reason):
            raise ConfigError(
                f"trainer.accelerator: expected a device that this machine has, got {accelerator!r}, of which PyTorch finds "
                "none; leave it out, give cpu, or install a PyTorch that knows the device."
            ) from error
        raise ConfigError(
            f"Trainer: expected flags that Lightning takes, got: {reason}; mend or leave out that flag."
        ) from error


def _same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and value == other
