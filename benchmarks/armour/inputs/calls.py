"""The Python API: constructors and functions that are public, with arguments that are wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mbrl
from benchmarks.armour.judging import Input
from benchmarks.armour.materials import Materials
from mbrl.analysis import interquartile_mean, learning_curves, read_curves, score_statistics, split_episodes, windows
from mbrl.data import ReplayBuffer, Task, Transitions, make_generator, read_offline
from mbrl.envs import OfflineData, OnlineData, VectorExperience, check_environment, collect, make_env, make_task
from mbrl.models import CartPole, GaussianEnsemble, LinearQuadratic, ModelEnv, Pendulum, SimulatorModel
from mbrl.planners import (
    CEM,
    ICEM,
    MPPI,
    PETS,
    UPMPC,
    BatchPenalty,
    ClampToData,
    Dyna,
    GradientShooting,
    RandomShooting,
    UncertaintyPenalty,
)  # fmt: skip
from mbrl.policies import SAC
from mbrl.training import Trainer
from mbrl.uncertainty import MeanDisagreement

KIND = "Python"
NAN, INF = float("nan"), float("inf")
WRONG: dict[str, Any] = {
    "0": 0, "-1": -1, "0.5": 0.5, "NaN": NAN, "a word": "x", "None": None, "a list": [1], "a dict": {},
    "a tensor": torch.ones(2),
    "True": True, "infinity": INF,
}  # fmt: skip


def task(**options: Any) -> Task:
    """A task of three numbers and one action."""
    return Task(**{"env_id": "x", "obs_size": 3, "action_size": 1, "action_low": (-1.0,), "action_high": (1.0,), **options})


def rows(n: int = 8, obs: int = 3) -> Transitions:
    """Rows of zeros."""
    return Transitions.from_obs(torch.zeros(n, obs), 1)


def built(made: Any) -> Any:
    """A model or planner, built for Pendulum."""
    made.build(make_task("Pendulum-v1"), 0)
    return made


def buffer(**options: Any) -> ReplayBuffer:
    """An empty buffer of eight rows."""
    return ReplayBuffer(**{"capacity": 8, "obs_size": 3, "action_size": 1, **options})


# a constructor, and arguments that take none of the wrong values given
ARGUMENTS: list[tuple[str, Callable[..., Any], dict[str, tuple[str, ...]]]] = [
    ("GaussianEnsemble", GaussianEnsemble, {
        "members": ("0", "-1", "0.5", "NaN", "a word", "None", "a list", "True"), "hidden": ("0", "a word", "None",
        "a dict"),
        "lr": ("0", "-1", "NaN", "a word", "None", "a list", "infinity"), "holdout": ("-1", "NaN", "a word",
        "infinity", "None"),
        "elites": ("0", "-1", "0.5", "a word", "a tensor"), "activation": ("0", "a word", "None"), "odd": ("0",),
        "batch_size": ("0", "0.5", "infinity"),
    }),
    ("SAC", SAC, {
        "hidden": ("0", "a word", "None"), "critics": ("0", "-1", "0.5", "None"), "discount": ("-1", "NaN", "a word",
        "infinity"),
        "actor_lr": ("0", "-1", "NaN", "None"), "temperature": ("-1", "a word", "NaN"), "odd": ("0",),
    }),
    ("CEM", CEM, {
        "candidates": ("0", "-1", "0.5", "None"), "iterations": ("0", "a word"), "momentum": ("-1", "NaN", "infinity"),
        "initial_sd": ("0", "-1", "NaN"), "sampling": ("a word", "None"),
    }),
    ("MPPI", MPPI, {"candidates": ("0", "0.5"), "odd": ("0",)}),
    ("ICEM", ICEM, {"candidates": ("0", "-1"), "odd": ("0",)}),
    ("RandomShooting", RandomShooting, {"candidates": ("0", "a word")}),
    ("GradientShooting", GradientShooting, {"candidates": ("0", "None"), "odd": ("0",)}),
    ("UPMPC", UPMPC, {"rate": ("NaN", "a word", "None", "infinity"), "candidates": ("-1",), "uncertainty": ("a word", "0")}),
    ("OnlineData", OnlineData, {"env_id": ("0", "None", "a list"), "steps": ("0", "-1", "0.5", "None", "a word")}),
    ("OfflineData", OfflineData, {"path": ("0", "None", "a list"), "rows": ("0", "-1", "a word")}),
    ("Trainer", Trainer, {
        "eval_every": ("0", "-1", "a word", "NaN"), "threads": ("0", "0.5", "a word"), "name": ("0", "a list"),
        "stop_at": ("a word", "a list"), "folder": ("0", "a list"), "odd": ("0",), "accelerator": ("a word",),
    }),
    ("Task", task, {
        "obs_size": ("0", "-1", "0.5", "a word", "None"), "action_size": ("0", "-1", "None"), "action_low": ("None",
        "a word", "0"),
        "time_limit": ("0", "-1", "a word", "0.5"), "action_repeat": ("0", "None"), "env_id": ("0", "None"),
        "env_kwargs": ("0", "a list", "None"), "known_reward": ("0", "a list", "a word"),
    }),
    ("ReplayBuffer", buffer, {
        "capacity": ("0", "-1", "0.5", "None", "a word"), "obs_size": ("0", "-1", "a word"), "device": ("a word",),
        "extras": ("a list",),
    }),
    ("make_task", make_task, {"env_id": ("0", "None", "a list", "a word")}),
]  # fmt: skip
EXTRA: dict[str, dict[str, Any]] = {
    "OnlineData": {"env_id": "Pendulum-v1", "steps": 10}, "OfflineData": {"path": "rows.npz"}, "UPMPC": {"rate": 1.0},
}  # fmt: skip
MAY = {"UPMPC(rate=infinity)"}

CALLS: dict[str, Callable[[], Any]] = {
    "Dyna(SAC(), GaussianEnsemble())": lambda: Dyna(SAC(), GaussianEnsemble()),  # type: ignore[arg-type]
    "Dyna()": lambda: Dyna(),  # type: ignore[call-arg]
    "Dyna(None, None)": lambda: Dyna(None, None),  # type: ignore[arg-type]
    "Dyna of a class": lambda: Dyna(GaussianEnsemble, SAC()),  # type: ignore[arg-type]
    "Dyna of a word": lambda: Dyna("GaussianEnsemble", SAC()),  # type: ignore[arg-type]
    "Dyna with a hook that is none": lambda: Dyna(GaussianEnsemble(), SAC(), rollout_hooks=[3]),  # type: ignore[list-item]
    "Dyna with a hook of batches": lambda: Dyna(
        GaussianEnsemble(), SAC(), rollout_hooks=[BatchPenalty(MeanDisagreement(), 1.0)]  # type: ignore[list-item]
    ),
    "Dyna with a selector that is none": lambda: Dyna(GaussianEnsemble(), SAC(), rollout_selector=CEM()),  # type: ignore[arg-type]
    "Dyna with a bad length": lambda: Dyna(GaussianEnsemble(), SAC(), rollout_length=[3]),
    "PETS(CEM(), GaussianEnsemble())": lambda: PETS(CEM(), GaussianEnsemble()),  # type: ignore[arg-type]
    "PETS without an optimiser": lambda: PETS(GaussianEnsemble()),  # type: ignore[call-arg]
    "PETS of no horizon": lambda: PETS(GaussianEnsemble(), CEM(), horizon=0),
    "PETS with particles that don't fit": lambda: built(PETS(GaussianEnsemble(members=3, elites=None), CEM(), particles=-2)),
    "PETS with a value and no learner": lambda: built(PETS(GaussianEnsemble(), CEM(), terminal_value="mean")),
    "a penalty of a word": lambda: UncertaintyPenalty("spread", 1.0),  # type: ignore[arg-type]
    "a negative penalty": lambda: UncertaintyPenalty(MeanDisagreement(), -1.0),
    "a penalty of NaN": lambda: UncertaintyPenalty(MeanDisagreement(), NAN),
    "CEM with more elites than candidates": lambda: CEM(candidates=5, elites=6),
    "an ensemble with more elites than members": lambda: GaussianEnsemble(members=2, elites=3),
    "a clamp of a word": lambda: ClampToData("wide"),  # type: ignore[arg-type]
    "LinearQuadratic of a word": lambda: LinearQuadratic("x"),  # type: ignore[call-arg, arg-type]
    "a pendulum that is built for another task": lambda: Pendulum().build(task(obs_size=5), 0),
    "a cart-pole that is built for a pendulum": lambda: built(CartPole()),
    "a simulator of no simulator": lambda: built(SimulatorModel()),
    "a simulator of negative threads": lambda: SimulatorModel(threads=-1),
    "predict before build": lambda: GaussianEnsemble().predict(torch.zeros(2, 3), torch.zeros(2, 1)),
    "act before build": lambda: Dyna(GaussianEnsemble(), SAC()).predict(np.zeros(3)),
    "a prediction of another size": lambda: built(GaussianEnsemble()).predict(torch.zeros(2, 4), torch.zeros(2, 1)),
    "a prediction of other actions": lambda: built(GaussianEnsemble()).predict(torch.zeros(2, 3), torch.zeros(2, 2)),
    "an action for another size": lambda: built(Dyna(GaussianEnsemble(), SAC())).predict(np.zeros(7)),
    "an action for words": lambda: built(Dyna(GaussianEnsemble(), SAC())).predict("left"),
    "an action for NaN": lambda: built(Dyna(GaussianEnsemble(), SAC())).predict(np.full(3, NAN)),
    "an action for nothing": lambda: built(Dyna(GaussianEnsemble(), SAC())).predict(None),
    "build of no task": lambda: GaussianEnsemble().build("Pendulum-v1"),
    "build with a seed of words": lambda: GaussianEnsemble().build(make_task("Pendulum-v1"), "x"),
    "load of nothing": lambda: mbrl.load("nowhere"),
    "load of None": lambda: mbrl.load(None),  # type: ignore[arg-type]
    "load of a number": lambda: mbrl.load(3),  # type: ignore[arg-type]
    "load of an empty path": lambda: mbrl.load(""),
    "load of a URL": lambda: mbrl.load("https://example.org/model.pt"),
    "load that allows a text": lambda: mbrl.load("nowhere", allow="os"),
    "load that allows a number": lambda: mbrl.load("nowhere", allow=3),  # type: ignore[arg-type]
    "load_policy of nothing": lambda: mbrl.load_policy("nowhere"),
    "collect of no task": lambda: collect("Pendulum-v1", "out.npz", steps=5),  # type: ignore[arg-type]
    "collect of no steps": lambda: collect(make_task("Pendulum-v1"), "out.npz", steps=0),
    "collect of half steps": lambda: collect(make_task("Pendulum-v1"), "out.npz", steps=2.5),  # type: ignore[arg-type]
    "collect into a number": lambda: collect(make_task("Pendulum-v1"), 3, steps=5),  # type: ignore[arg-type]
    "collect with a policy of None": lambda: collect(make_task("Pendulum-v1"), "out.npz", steps=5, act=lambda env: None),  # type: ignore[arg-type, return-value]
    "collect with actions of another size": lambda: collect(
        make_task("Pendulum-v1"), "out.npz", steps=5, act=lambda env: torch.zeros(1, 3)
    ),
    "collect with actions of NaN": lambda: collect(
        make_task("Pendulum-v1"), "out.npz", steps=5, act=lambda env: torch.full((1, 1), NAN)
    ),
    "check of no steps": lambda: check_environment("Pendulum-v1", steps=0),
    "an environment of no task": lambda: make_env("Pendulum-v1"),  # type: ignore[arg-type]
    "an environment that isn't there": lambda: make_env(task(env_id="No-v0")),
    "experience of no environments": lambda: VectorExperience(make_task("Pendulum-v1"), 0, seed=0),
    "experience with actions of NaN": lambda: VectorExperience(make_task("Pendulum-v1"), 1, seed=0).step(torch.full((1,
    1), NAN)),
    "experience with actions of another size": lambda: VectorExperience(make_task("Pendulum-v1"), 1,
    seed=0).step(torch.zeros(2, 1)),
    "fit of nothing": lambda: Trainer("new").fit(None, None),  # type: ignore[arg-type]
    "fit of data": lambda: Trainer("new").fit(OnlineData("Pendulum-v1", steps=10)),  # type: ignore[arg-type]
    "fit without data": lambda: Trainer("new").fit(Dyna(GaussianEnsemble(), SAC())),
    "fit of a class": lambda: Trainer("new").fit(Dyna, OnlineData("Pendulum-v1", steps=10)),  # type: ignore[arg-type]
    "fit of a learner": lambda: Trainer("new").fit(SAC(), OnlineData("Pendulum-v1", steps=10)),  # type: ignore[arg-type]
    "fit of a model in an environment": lambda: Trainer("new").fit(GaussianEnsemble(), OnlineData("Pendulum-v1", steps=10)),
    "fit of a planner with rows": lambda: Trainer("new").fit(Dyna(GaussianEnsemble(), SAC()), OfflineData("nowhere.npz")),
    "fit swapped": lambda: Trainer("new").fit(OnlineData("Pendulum-v1", steps=10), Dyna(GaussianEnsemble(), SAC())),  # type: ignore[arg-type]
    "test of nothing": lambda: Trainer("new").test(None, None),  # type: ignore[arg-type]
    "test of what nobody trained": lambda: Trainer("new").test(Dyna(GaussianEnsemble(), SAC()),
    OnlineData("Pendulum-v1", steps=10), ckpt_path="last"),
    "rows of another size": lambda: buffer().add(rows(obs=2)),
    "a sample of an empty buffer": lambda: buffer().sample(4, make_generator("cpu", 0)),
    "a sample of no rows": lambda: buffer().sample(0, make_generator("cpu", 0)),
    "windows of a buffer without episodes": lambda: buffer().sample_windows(2, 2, make_generator("cpu", 0)),
    "a buffer that takes another's state": lambda: buffer().load_state_dict({}),
    "a buffer that shrinks to nothing": lambda: buffer().resize(0),
    "read_offline of nothing": lambda: read_offline("nowhere.npz"),
    "read_offline of None": lambda: read_offline(None),  # type: ignore[arg-type]
    "a task of plain nothing": lambda: Task.from_plain({}),
    "a task of a list": lambda: Task.from_plain([]),  # type: ignore[arg-type]
    "a task whose bounds are the wrong way round": lambda: task(action_low=(1.0,), action_high=(-1.0,)),
    "a task whose bounds are NaN": lambda: task(action_low=(NAN,)),
    "a model as an environment without rows": lambda: ModelEnv(built(Pendulum()), rows(0)),
    "a model as an environment of a word": lambda: ModelEnv(built(Pendulum()), rows(), time_limit="soon"),  # type: ignore[arg-type]
    "an environment of no model": lambda: ModelEnv("Pendulum", rows()),  # type: ignore[arg-type]
    "curves of nothing": lambda: learning_curves({}, generator=make_generator("cpu", 0)),
    "curves of no folders": lambda: read_curves([]),
    "curves of nowhere": lambda: read_curves(["nowhere"]),
    "scores of nothing": lambda: score_statistics({}, generator=make_generator("cpu", 0)),
    "scores of a word": lambda: score_statistics({"a": "x"}, generator=make_generator("cpu", 0)),  # type: ignore[dict-item]
    "a mean of no scores": lambda: interquartile_mean(torch.zeros(0)),
    "episodes of rows without numbers": lambda: split_episodes(rows()),
    "windows that are too long": lambda: windows(split_episodes(rows()), 100, 4, make_generator("cpu", 0)),
}  # fmt: skip
MAY |= {"build with a seed of words", "load that allows a text", "episodes of rows without numbers"}


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""

    def call(function: Callable[[], Any], here: Path) -> Callable[[], None]:
        return lambda: function() and None

    for name, make, arguments in ARGUMENTS:
        for argument, wrong in arguments.items():
            for value in wrong:
                label = f"{name}({argument}={value})"
                given = {**EXTRA.get(name, {}), argument: WRONG[value]}
                yield Input(KIND, label, partial(call, partial(make, **given)), may=label in MAY)
    for name, function in CALLS.items():
        yield Input(KIND, name, partial(call, function), may=name in MAY)
