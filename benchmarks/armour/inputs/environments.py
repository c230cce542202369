"""Environments that answer as nobody asked, in `check`, `collect` and `fit`."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import yaml
from gymnasium import spaces

from benchmarks.armour.judging import Input
from benchmarks.armour.materials import Materials
from mbrl.cli import main
from tests.envs.test_checked_env import CONVERTED, REFUSED, Drift

KIND = "environment"
ID = "Odd-v0"
COMMANDS = {
    "check": ["check", ID, "--steps", "30"],
    "collect": ["collect", "out.npz", "--env_id", ID, "--steps", "30"],
    "fit": ["fit", "--config", "config.yaml"],
}


_KEPT = np.zeros(2, np.float32)


def kept(obs: np.ndarray) -> np.ndarray:
    """The one array that an environment always answers with."""
    _KEPT[:] = obs
    return _KEPT


class Late(Drift):
    """Does something at its tenth step, or at its second reset."""

    def __init__(self, do: Callable[[], Any], when: str) -> None:
        super().__init__()
        self.do, self.when = do, when
        self.resets = self.all_steps = 0

    def reset(self, **given: Any) -> Any:
        """Begins an episode."""
        self.resets += 1
        answer = super().reset(**given)
        return self.do()[:2] if self.when == "reset" and self.resets == 2 else answer

    def step(self, action: np.ndarray) -> Any:
        """Takes a step."""
        self.all_steps += 1
        answer = super().step(action)
        return self.do() if self.when == "step" and self.all_steps == 10 else answer


def raised(error: BaseException) -> Any:
    """Raises, where an expression is wanted."""
    raise error


LATE: dict[str, Callable[[], Any]] = {
    "raises": lambda: raised(RuntimeError("the arm broke")),
    "raises KeyError": lambda: raised(KeyError("arm")),
    "raises without words": lambda: raised(AssertionError()),
    "raises a text with escapes": lambda: raised(ValueError("\x1b[2J")),
    "raises StopIteration": lambda: raised(StopIteration()),
    "runs out of memory": lambda: raised(MemoryError()),
    "exits": lambda: raised(SystemExit(0)),
    "exits with a text": lambda: raised(SystemExit("bye")),
    "finds its file missing": lambda: raised(FileNotFoundError(2, "No such file", "model.xml")),
    "finds the disk full": lambda: raised(OSError(28, "No space left on device")),
    "answers NaN": lambda: (np.full(2, np.nan, np.float32), 0.0, False, False, {}),
    "answers infinity": lambda: (np.full(2, np.inf, np.float32), 0.0, False, False, {}),
    "answers what overflows": lambda: (np.full(2, 1e39), 0.0, False, False, {}),
    "answers a larger array": lambda: (np.zeros(3, np.float32), 0.0, False, False, {}),
    "answers nothing": lambda: (None, None, None, None, None),
    "answers objects": lambda: (np.array([object(), object()]), 0.0, False, False, {}),
    "answers a reward of NaN": lambda: (np.zeros(2, np.float32), float("nan"), False, False, {}),
    "answers a reward that overflows": lambda: (np.zeros(2, np.float32), 1e39, False, False, {}),
}
AT_RESET_TOO = list(LATE)[:-2]


class Spaces(Drift):
    """Has other spaces than a task may have."""

    def __init__(self, observation: Any, action: Any) -> None:
        super().__init__()
        self.observation_space, self.action_space = observation, action


BOX, ACT = spaces.Box(-np.inf, np.inf, (2,), np.float32), spaces.Box(-1.0, 1.0, (1,), np.float32)
SPACES: dict[str, tuple[Any, Any]] = {
    "no observation space": (None, ACT),
    "no action space": (BOX, None),
    "an observation space of a shape": ((2,), ACT),
    "observations that are discrete": (spaces.Discrete(3), ACT),
    "observations in a dict": (spaces.Dict({"a": BOX}), ACT),
    "observations in a tuple": (spaces.Tuple((BOX, BOX)), ACT),
    "observations of texts": (spaces.Text(3), ACT),
    "observations of rows": (spaces.Box(-1, 1, (2, 2)), ACT),
    "observations of no number": (spaces.Box(-1, 1, (0,)), ACT),
    "observations of no dim": (spaces.Box(-1, 1, ()), ACT),
    "observations of pixels": (spaces.Box(0, 255, (8, 8, 3), np.uint8), ACT),
    "actions that are discrete": (BOX, spaces.Discrete(3)),
    "actions of several choices": (BOX, spaces.MultiDiscrete([2, 2])),
    "actions without bounds": (BOX, spaces.Box(-np.inf, np.inf, (1,))),
    "actions bounded in name": (BOX, spaces.Box(-3e38, 3e38, (1,), np.float32)),
    "actions with one bound": (BOX, spaces.Box(-1.0, np.inf, (1,))),
    "actions of one value": (BOX, spaces.Box(1.0, 1.0, (1,))),
    "actions of no number": (BOX, spaces.Box(-1, 1, (0,))),
    "actions of whole numbers": (BOX, spaces.Box(-3, 3, (1,), np.int64)),
    "actions of rows": (BOX, spaces.Box(-1, 1, (2, 2))),
    "actions in a dict": (BOX, spaces.Dict({"a": ACT})),
}


class Endless(Drift):
    """Sleeps at its third step as if a simulator were far away; then goes on."""

    def step(self, action: np.ndarray) -> Any:
        """Takes a step."""
        time.sleep(0.5 if self.steps == 3 else 0)
        return super().step(action)


class NoSeed(Drift):
    """Takes no seed."""

    def reset(self) -> Any:  # type: ignore[override]
        """Begins an episode."""
        return np.zeros(2, np.float32), {}


class NoStep(gymnasium.Env):
    """Has no methods."""

    observation_space, action_space = BOX, ACT


MAKERS: dict[str, Callable[..., Any]] = {
    "makes nothing": lambda: None,
    "makes a number": lambda: 3,
    "makes a class": lambda: Drift,
    "makes itself wrongly": lambda: raised(RuntimeError("no licence")),
    "exits when made": lambda: raised(SystemExit(3)),
    "needs an argument": lambda licence: Drift(),
    "lacks a package": lambda: raised(ModuleNotFoundError("No module named 'arm'", name="arm")),
    "takes no seed": NoSeed,
    "has no methods": NoStep,
    "pauses": Endless,
    "is no environment": lambda: object(),
    "keeps one array": lambda: Drift({"obs": kept}),
    "answers late": lambda: Drift({"flag": lambda flag: 1 if flag else 0}),
}
MAKERS_MAY = ("pauses", "keeps one array", "answers late")


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""

    def command(entry: Callable[..., Any], limit: int | None, which: str, here: Path) -> Callable[[], int]:
        config = {
            **whole.config,
            "data": {**whole.config["data"], "init_args": {"env_id": ID, "steps": 24, "eval_episodes": 1}},
        }
        (here / "config.yaml").write_text(yaml.safe_dump(config))

        def registered() -> int:
            gymnasium.register(ID, entry_point=entry, max_episode_steps=limit)
            return main(COMMANDS[which])

        return registered

    def late(do: Callable[[], Any], when: str) -> Late:
        return Late(do, when)

    for name, (answers, _) in REFUSED.items():
        for which in ("check", "collect"):
            yield Input(KIND, f"{which}: {name}", partial(command, partial(Drift, answers), 20, which))
    for name, answers in CONVERTED.items():
        yield Input(KIND, f"check: {name}", partial(command, partial(Drift, answers), 20, "check"), may=True)
    for name, do in LATE.items():
        for which in COMMANDS:
            yield Input(KIND, f"{which}: {name} at a step", partial(command, partial(late, do, "step"), 12, which))
        if name in AT_RESET_TOO:
            yield Input(KIND, f"fit: {name} at reset", partial(command, partial(late, do, "reset"), 12, "fit"))
    for name, both in SPACES.items():
        yield Input(KIND, f"check: {name}", partial(command, partial(Spaces, *both), 20, "check"))
    for name, entry in MAKERS.items():
        may = name in MAKERS_MAY
        yield Input(KIND, f"check: {name}", partial(command, entry, 20, "check"), may=may)
        yield Input(KIND, f"fit: {name}", partial(command, entry, 20, "fit"), may=may)
    yield Input(KIND, "fit: an episode without an end", partial(command, Drift, None, "fit"), may=True)
    yield Input(KIND, "check: an episode without an end", partial(command, Drift, None, "check"), may=True)
