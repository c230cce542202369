"""`RunClock`: metric lines and evaluations of a planner's run, counted on the planner's clock."""

from __future__ import annotations

import math
import time
from typing import Any

import pytorch_lightning as pl

from mbrl.errors import ConfigError, DivergedError, EnvironmentFailedError
from mbrl.planners import Planner
from mbrl.planners.evaluation import EvaluationStopped, evaluate, evaluating
from mbrl.planners.rollouts.unmeasured import UNMEASURED
from mbrl.training.callbacks.run import Run
from mbrl.training.metrics_file import CLOCKS


class RunClock(pl.Callback):
    """Writes a metric line every `log_every` steps of the planner's clock and evaluates every `eval_every`.

    Both also happen at the last step. A planner that learns from a dataset is evaluated where the dataset names its
    environment, and the real steps that this takes are counted. Evaluation draws from generators made anew from (seed,
    clock), so how often it happens changes nothing else. One that a signal or an environment cuts is owed: a resume begins
    with it.

    Args:
        log_every: steps of the clock between lines; more smooths the curves and costs less.
        eval_every: steps of the clock between evaluations; fewer costs more episodes.
        stop_at: mean evaluation return that ends the run; None to use all steps.
        stop_count: evaluations in a row that must reach it; more guards against a lucky one.

    Attributes:
        streak: evaluations in a row that reached `stop_at`.
        last_return: mean return of the latest evaluation, NaN before the first.
        evaluated_at: the clock at the latest evaluation; −1 before the first, and after a resume.
        evaluation_steps: real steps of all evaluations so far, counted for planners that take no others.
        evaluation_episodes: their episodes, likewise.
        elapsed: wall-clock seconds of the run, those before a resume included.
    """

    def __init__(self, log_every: int, eval_every: int, stop_at: float | None, stop_count: int) -> None:
        self.log_every = log_every
        self.eval_every = eval_every
        self.stop_at = stop_at
        self.stop_count = stop_count
        self.streak = 0
        self.last_return = math.nan
        self.evaluated_at = -1
        self.evaluation_steps = 0
        self.evaluation_episodes = 0
        self.elapsed = 0.0
        self._owed: dict[str, float] | None = None  # the line of a step whose evaluation was cut, so far
        self._before = 0
        self._began = self._earlier = 0.0
        self._lap = (0.0, 0)  # time and step of the last line

    @property
    def reached(self) -> bool:
        """True if the run has met its goal."""
        return self.stop_at is not None and self.streak >= self.stop_count

    def setup(self, trainer: Run, pl_module: pl.LightningModule, stage: str) -> None:  # type: ignore[override]
        if stage == "fit" and isinstance(pl_module, Planner):
            self._tell_if_blind(trainer)

    def on_train_start(self, trainer: Run, pl_module: pl.LightningModule) -> None:  # type: ignore[override]
        if not isinstance(pl_module, Planner):
            return
        self._began, self._earlier = time.perf_counter(), self.elapsed
        self._lap = (self._began, pl_module.clock)
        if self._owed is not None:
            line, self._owed = self._owed, None
            self._finish_line(trainer, pl_module, pl_module.clock, line, evaluates=True)
            if self._owed is not None:  # stopped again, and its checkpoint still says so
                raise SystemExit(128 + trainer.stop_signal)

    def on_train_batch_start(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        if isinstance(pl_module, Planner):
            self._before = pl_module.clock

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, Planner):
            return
        now = pl_module.clock
        line: dict[str, float] = {}
        if trainer.is_last_batch or self._crossed(now, self.log_every):
            line.update(self._training_means(pl_module, now))
        evaluates = trainer.is_last_batch or self._crossed(now, self.eval_every)
        if line or evaluates:
            self._finish_line(trainer, pl_module, now, line, evaluates=evaluates)

    def _finish_line(self, trainer: Run, planner: Planner, now: int, line: dict[str, float], *, evaluates: bool) -> None:
        """Evaluates if it is due, and writes the line of step `now`."""
        if evaluates:
            try:
                line.update(self._evaluation(trainer, planner, now))
            except (EvaluationStopped, EnvironmentFailedError) as cut:
                self.elapsed = self._earlier + time.perf_counter() - self._began
                if trainer.is_last_batch:  # no resume goes on from here
                    trainer.write_line(now, {**line, "time/wall_s": self.elapsed})
                    trainer.say("the last evaluation was cut: mbrl validate makes it up")
                else:
                    self._owed = line
                if isinstance(cut, EnvironmentFailedError):
                    raise
                return
        line["time/wall_s"] = self.elapsed = self._earlier + time.perf_counter() - self._began
        trainer.write_line(now, line)
        diverged = [
            name for name, value in line.items() if not (math.isfinite(value) or name.startswith(("eval/", "time/")))
        ]
        if diverged:
            wrong = ", ".join(sorted(diverged))
            raise DivergedError(f"expected finite metrics at step {now}, but {wrong} isn't; lower the learning rates.")
        lost = [name for name, value in line.items() if name.endswith(f"/{UNMEASURED}") and value == 1.0]
        if lost:
            raise DivergedError(
                f"expected a measure of uncertainty that is finite somewhere since the last line, got none up to step {now} "
                f"({', '.join(lost)} is 1); lower the model's learning rate, look at the data for outliers, or take another "
                "measure."
            )
        if self.evaluated_at == now:
            trainer.evaluated()
        if self.reached:
            trainer.should_stop = True

    def _tell_if_blind(self, trainer: Run) -> None:
        """Says why there will be no evaluation; refuses a goal that could never be met without one."""
        why = trainer.datamodule.no_evaluation
        if why is None:
            return
        if self.stop_at is not None:
            raise ConfigError(f"trainer.stop_at: expected evaluations to reach it, got none ({why}); leave stop_at out.")
        if keeps := trainer.checkpointing.keeps:
            raise ConfigError(f"trainer.{keeps}: expected evaluations to compare, got none ({why}); leave {keeps} out.")
        trainer.say(f"no evaluation: {why}")

    def _crossed(self, now: int, every: int) -> bool:
        return now // every > self._before // every

    def _training_means(self, planner: Planner, now: int) -> dict[str, float]:
        clock, (then, steps) = time.perf_counter(), self._lap
        self._lap = (clock, now)
        means = planner.metrics.pop()
        means[f"time/{CLOCKS[planner.clock_name]}_per_second"] = (now - steps) / max(clock - then, 1e-9)
        return means

    def _evaluation(self, trainer: Run, planner: Planner, now: int) -> dict[str, float]:
        began = time.perf_counter()
        request = trainer.datamodule.evaluation_request(now)
        if request is None:
            return {}
        with evaluating(planner):
            found = evaluate(
                planner, request.experience, request.episodes, request.seed, stop=lambda: bool(trainer.stop_signal)
            )
        summary = found.summary()
        self.last_return, self.evaluated_at = summary["return"], now
        self.streak = self.streak + 1 if self.stop_at is not None and self.last_return >= self.stop_at else 0
        line = {f"eval/{name}": value for name, value in summary.items() if math.isfinite(value)}
        if planner.learns_from == "dataset":
            self.evaluation_steps += int(found.lengths.sum())
            self.evaluation_episodes += len(found.lengths)
            line["eval/env_steps"] = self.evaluation_steps
            line["eval/total_episodes"] = self.evaluation_episodes
        line["time/eval_s"] = time.perf_counter() - began
        return line

    # checkpoint ------------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        state: dict[str, Any] = {"streak": self.streak, "last_return": self.last_return, "elapsed": self.elapsed}
        if self.stop_at is not None:
            state["stop_at"] = self.stop_at
        if self.evaluation_steps:
            state["evaluation_steps"] = self.evaluation_steps
            state["evaluation_episodes"] = self.evaluation_episodes
        if self._owed is not None:
            state["owed"] = self._owed
        return state

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        # evaluations that reached another goal say nothing of this one; older states have no goal
        self.streak = state_dict["streak"] if state_dict.get("stop_at", self.stop_at) == self.stop_at else 0
        self.last_return, self.evaluated_at = state_dict["last_return"], -1
        self.elapsed = state_dict["elapsed"]
        self.evaluation_steps = state_dict.get("evaluation_steps", 0)
        self.evaluation_episodes = state_dict.get("evaluation_episodes", 0)
        self._owed = state_dict.get("owed")
