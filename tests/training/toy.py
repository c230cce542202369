"""A planner that learns something small in microseconds, with state of every kind that a checkpoint must keep."""

from __future__ import annotations

import os
import signal
import traceback
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from mbrl.data import ReplayBuffer, Task, make_generator
from mbrl.envs import OnlineData
from mbrl.envs.experience import Experience
from mbrl.planners import Memory, Planner
from mbrl.training import Trainer
from mbrl.training.callbacks.run_clock import RunClock
from mbrl.training.metrics_file import MetricsFile


class ToyPlanner(Planner):
    """A linear policy, moved towards random targets; its buffer, optimiser, streams and counters all show in metrics."""

    def __init__(self, lr: float = 1e-2, nan_at: int = -1, crash_at: int = -1) -> None:
        super().__init__()
        self.lr = lr
        self.nan_at = nan_at
        self.crash_at = crash_at
        self.counter = 0.0
        self.buffer: ReplayBuffer | None = None

    def make_parts(self, task: Task, seed: int) -> None:
        generator = make_generator("cpu", seed, "toy")
        self.policy = nn.Linear(task.obs_size, task.action_size)
        with torch.no_grad():
            for parameter in self.policy.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)
        self.buffer = ReplayBuffer(1000, task.obs_size, task.action_size)

    def make_optimizers(self) -> list[torch.optim.Optimizer]:
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=self.lr)
        return [self.optimizer]

    def act(self, obs: Tensor, memory: Memory, *, explore: bool, snapshot: Tensor | None = None) -> tuple[Tensor, Memory]:
        with torch.no_grad():
            action = torch.tanh(self.policy(obs))
            if explore:
                noise = torch.randn(action.shape, generator=memory.generator)
                memory.tensors["previous"] = 0.9 * memory.tensors["previous"] + noise
                action = (action + 0.3 * memory.tensors["previous"]).clamp(-1, 1)
        return action, memory

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        return Memory(n, generator, previous=torch.zeros(n, self.built_task.action_size))

    def tick(self, experience: Experience) -> None:
        memory = self.collect_memory(experience.num_envs)
        action, memory = self.act(experience.obs, memory, explore=True)
        rows = experience.step(action)
        memory.reset(rows.terminated | rows.truncated)
        assert self.buffer is not None
        self.buffer.add(rows)
        self.env_steps += experience.num_envs
        self.counter = 0.99 * self.counter + 0.01 * self.env_steps
        if self.env_steps == self.crash_at:
            raise RuntimeError("crash")
        batch = self.buffer.sample(8, self.streams["replay"])
        loss = (self.policy(batch.obs) - batch.action).square().mean()
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.env_steps == self.nan_at:
            loss = loss * float("nan")
        self.metrics.add({"learner/loss": loss, "model/loss": batch.reward.mean(), "train/counter": self.counter})
        for total, length in experience.finished():
            self.metrics.add({"train/return": total, "train/episode_length": float(length)})

    def planner_state(self) -> dict[str, Any]:
        return {"counter": self.counter}

    def load_planner_state(self, state: dict[str, Any]) -> None:
        self.counter = state["counter"]

    def buffers_state(self) -> dict[str, dict[str, Any]]:
        assert self.buffer is not None
        return {"real": self.buffer.state_dict()}

    def load_buffers_state(self, state: dict[str, dict[str, Any]]) -> None:
        assert self.buffer is not None
        if "real" in state:
            self.buffer.load_state_dict(state["real"])


def data(steps: int = 60, **options: Any) -> OnlineData:
    """Pendulum in episodes of 25 steps."""
    settings: dict[str, Any] = {"steps": steps, "eval_episodes": 1, "test_episodes": 2}
    return OnlineData("Pendulum-v1", env_kwargs={"max_episode_steps": 25}, **{**settings, **options})


def trainer(folder: Path, **options: Any) -> Trainer:
    """Lines every 10 steps, evaluations every 20, a checkpoint every 10, no files but ours."""
    settings: dict[str, Any] = {
        "log_every": 10, "eval_every": 20, "checkpoint_every": 10, "checkpoint_min_ratio": 0.0, "progress": False,
        "tensorboard": False, "accelerator": "cpu",
    }  # fmt: skip
    return Trainer(folder, **{**settings, **options})


def evaluations_return(returns: Mapping[int, float], monkeypatch: pytest.MonkeyPatch) -> None:
    """Has the evaluation at each of these steps of a run return what is given, whatever it found."""
    real = RunClock._evaluation

    def evaluation(self: RunClock, run: Any, planner: Any, now: int) -> dict[str, float]:
        line = real(self, run, planner, now)
        self.last_return = line["eval/return"] = returns[now]
        return line

    monkeypatch.setattr(RunClock, "_evaluation", evaluation)


def lines(folder: Path, clock: str = "env_steps") -> list[dict[str, Any]]:
    """The metric lines without the wall-clock columns."""
    read = MetricsFile(folder / "metrics.jsonl", clock).read()
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in read]


def in_child(function: Callable[[], None]) -> int:
    """Runs `function` in a forked process, which shares the imports; returns its exit code, negative for a signal."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12 warns of forking beside threads
        child = os.fork()
    if child == 0:
        code = 1
        try:
            function()
            code = 0
        except SystemExit as error:
            code = int(error.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


class KillAt(pl.Callback):
    """SIGKILL at the end of a tick, after whatever else happens there but the checkpoint."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
        if pl_module.env_steps == self.step:
            os.kill(os.getpid(), signal.SIGKILL)
