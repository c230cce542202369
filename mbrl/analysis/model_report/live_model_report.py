"""`LiveModelReport`: a model's error, what it does to values, disagreement's worth, and the return, during training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray

from mbrl.analysis.axes import legend_beside, log_scale
from mbrl.analysis.episodes import split_episodes
from mbrl.analysis.model_error.open_loop import open_loop_error
from mbrl.analysis.model_error.open_loop_result import MEAN
from mbrl.analysis.model_error.uncertainty_against_error import DATASET, UncertaintyAgainstError, uncertainty_against_error
from mbrl.analysis.model_error.value_error import VALUE, value_error
from mbrl.analysis.model_error.value_error_result import ValueAwareError
from mbrl.analysis.png import png
from mbrl.arguments import Count
from mbrl.data import Transitions, make_generator
from mbrl.errors import MbrlError, UnsupportedError
from mbrl.figure_style import in_style
from mbrl.planners import LearnsPolicy, OnlinePlanner, dynamics_of, evaluating
from mbrl.replacing import replacing
from mbrl.spec import Configurable
from mbrl.training.callbacks.run import Run
from mbrl.training.files import room_for
from mbrl.training.metrics_file import MetricsFile
from mbrl.uncertainty import MeanDisagreement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FOLDER = "live"  # in the run folder
NUMBERS = "numbers.jsonl"  # in that folder, a line a look


class LiveModelReport(Configurable, pl.Callback):
    """Looks at a planner's model on the newest real steps, every so many of them.

    Three figures go to TensorBoard (`live/model_error`, `live/disagreement`, `live/return`), with the numbers behind them as
    curves, or, where there is no TensorBoard logger, to `live/` in the run folder, the newest in place of the one before.
    The numbers of all looks are in `live/numbers.jsonl` of the run folder either way: the model's error, the disagreement of
    members (none of a model of one), and, of a learner with critics, the value-aware error (`vame_sampled`, `vame_mean`),
    the standard deviation of values (`value_sd`), and the value's slopes per standard deviation of the observation
    (`value_slope_mean` and `value_slope_q95` of the gradient, `value_slope_pgd` the largest found); see `value_error`.
    Nothing of the run changes: whatever is drawn comes from generators of the callback's own, made anew from (seed, step),
    and no metric line is written.

    The newest steps are partly rows that the model was fitted to; `mbrl report` looks at others.

    Args:
        every: real steps between looks; fewer cost more time.
        horizon: steps of an open-loop rollout, at most as many as the longest of the newest episodes has.
        rows: the newest real steps to look at.

    Raises:
        ConfigError: for a number out of range.
        UnsupportedError: when a run begins, if it isn't that of a planner with a model.
    """

    def __init__(self, every: Count = 1000, horizon: Count = 10, rows: Count = 1000) -> None:
        self.every = every
        self.horizon = horizon
        self.rows = rows
        self._before = 0

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Refuses a run that has nothing to show.

        Raises:
            UnsupportedError: without a planner that has a model and collects real steps.
        """
        name = type(pl_module).__name__
        if stage == "fit" and not isinstance(pl_module, OnlinePlanner):
            raise UnsupportedError(f"LiveModelReport: expected an OnlinePlanner, got {name}; use mbrl report instead.")
        if stage == "fit" and dynamics_of(pl_module) is None:
            raise UnsupportedError(
                f"LiveModelReport: expected a planner with a model to look at, got {name} without one (dynamics: null); "
                "leave the callback out."
            )

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: Any, batch_idx: int) -> None:
        if isinstance(pl_module, OnlinePlanner):
            self._before = pl_module.env_steps

    def on_train_batch_end(  # type: ignore[override]
        self, trainer: Run, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if not isinstance(pl_module, OnlinePlanner) or not trainer.is_global_zero:
            return
        now = pl_module.env_steps
        if now // self.every == self._before // self.every or now < pl_module.warmup_steps:
            return  # before the warm-up's end the model knows nothing
        try:
            figures, numbers = self.looked_at(pl_module, trainer.metrics_file.read())
        except MbrlError as error:  # a picture that can't be drawn ends no run
            trainer.say(f"live view at step {now}: {error}")
            return
        _show(trainer, now, figures, numbers)

    @torch.no_grad()
    def looked_at(
        self, planner: OnlinePlanner, lines: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Figure], dict[str, float]]:
        """Figures and numbers of a planner in training.

        Args:
            planner: with real steps in its buffer.
            lines: of its `metrics.jsonl` so far, for the return.

        Raises:
            DataError: if the newest steps are too few to look at.
        """
        model, now = planner.dynamics, planner.env_steps
        assert model is not None  # refused by setup
        episodes = newest_episodes(planner, self.rows)
        horizon = min(self.horizon, max(len(episode) for episode in episodes))
        figures: dict[str, Figure] = {}
        numbers: dict[str, float] = {}
        with evaluating(planner):
            ahead = open_loop_error(
                model,
                episodes,
                generator=make_generator("cpu", planner.seed, "live view", now, "open loop"),
                horizon=horizon,
                most=100,
                particles=4,
                names=model.built_task.names,
            )
            figures["model_error"] = ahead.plot()
            figures["model_error"].axes[0].set_title(f"Open-loop error on the newest real steps, step {now}")
            numbers["one_step_error"] = float(ahead.curves[MEAN].median[0])
            numbers[f"error_after_{horizon}_steps"] = float(ahead.curves[MEAN].median[-1])
            if len(model.drawn_members) > 1:
                found = uncertainty_against_error(
                    model,
                    episodes,
                    measures=[MeanDisagreement()],
                    generator=make_generator("cpu", planner.seed, "live view", now, "disagreement"),
                    most=self.rows,
                )
                numbers |= disagreement_of(found)
                if "disagreement" in numbers:
                    figures["disagreement"] = draw_disagreement(found, found.scores[0].measure, now)
            learner = planner.learner if isinstance(planner, LearnsPolicy) else None
            if learner is not None and learner.has_critics:
                valued = value_error(
                    model,
                    learner,
                    Transitions.cat(episodes),
                    generator=make_generator("cpu", planner.seed, "live view", now, "value"),
                    discount=float(getattr(learner, "discount", 0.99)),
                    most=self.rows,
                )
                numbers |= value_numbers(valued)
        returns = draw_returns(lines)
        if returns is not None:
            figures["return"] = returns
        return figures, numbers


def disagreement_of(found: UncertaintyAgainstError) -> dict[str, float]:
    """The mean disagreement and its rank correlation with the error, as far as they are defined."""
    (score,) = found.scores
    numbers = {} if score.spearman is None else {"disagreement_rank_correlation": score.spearman}
    if score.measure in found.uncertainty.get(DATASET, {}):
        numbers["disagreement"] = float(found.uncertainty[DATASET][score.measure].mean())
    return numbers


def value_numbers(found: ValueAwareError) -> dict[str, float]:
    """Numbers of what the model's error does to the value, and of how steep the value is."""
    numbers = {
        "vame_sampled": found.vame_sampled,
        "vame_mean": found.vame_mean,
        "value_sd": float(found.real.std(correction=0)),
    }
    slopes = found.lipschitz[VALUE]
    if slopes is not None:
        rows = slopes.rows()
        named = {
            "value_slope_mean": rows["gradient"]["mean"],
            "value_slope_q95": rows["gradient"]["q95"],
            "value_slope_pgd": rows["pgd"]["max"],
        }
        numbers |= {name: slope for name, slope in named.items() if slope is not None}
    return numbers


def newest_episodes(planner: OnlinePlanner, rows: int) -> list[Transitions]:
    """The newest `rows` real steps of a planner as episodes; those of several environments are told apart."""
    buffer = planner.real_buffer
    first = max(0, len(buffer) - rows)
    some = buffer.gather(torch.arange(first, len(buffer), device=buffer.device))
    order = torch.argsort(some.extras["episode"], stable=True)
    return split_episodes(some.select(order))


@in_style
def draw_disagreement(found: UncertaintyAgainstError, measure: str, now: int) -> Figure:
    """The error of real steps against the members' disagreement there."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4, 4.4), layout="constrained")
    axes = figure.subplots()
    spread, error = found.uncertainty[DATASET][measure], found.error[DATASET]
    axes.plot(spread, error, "o", color="C0", markersize=2.5, alpha=0.5)
    if len(spread) and bool((spread > 0).all()) and bool((error > 0).all()):
        log_scale(axes)
        log_scale(axes, x=True)
    score = found.score(measure)
    told = "undefined" if score is None or score.spearman is None else f"{score.spearman:.2f}"
    axes.set_xlabel("disagreement of the members (environment units)")
    axes.set_ylabel("one-step error\n(standard deviations of the change)")
    axes.set_title(f"Disagreement and error on the newest real steps, step {now}:\nrank correlation {told}")
    return figure


@in_style
def draw_returns(lines: Sequence[Mapping[str, Any]]) -> Figure | None:
    """Returns of training episodes and evaluations over real steps; None before there is one."""
    from matplotlib.figure import Figure

    styles: dict[str, dict[str, Any]] = {
        "train/return": {"linestyle": ":", "color": "0.4", "label": "training episodes"},
        "eval/return": {"linestyle": "-", "color": "C0", "marker": "o", "markersize": 4, "label": "evaluation"},
    }
    figure = Figure(figsize=(6.0, 3.6), layout="constrained")
    axes = figure.subplots()
    for name, style in styles.items():
        points = [(line["env_steps"], line[name]) for line in lines if line.get(name) is not None]
        if points:
            axes.plot(*zip(*points, strict=True), **style)
    if not axes.lines:
        return None
    axes.set_xlabel("real environment steps")
    axes.set_ylabel("return of an episode")
    axes.set_title("The return so far")
    legend_beside(axes)
    return figure


def _show(trainer: Run, now: int, figures: Mapping[str, Figure], numbers: Mapping[str, float]) -> None:
    from pytorch_lightning.loggers import TensorBoardLogger

    boards = [logger for logger in trainer.loggers if isinstance(logger, TensorBoardLogger)]
    for board in boards:
        for name, figure in figures.items():
            board.experiment.add_image(f"live/{name}", pixels(figure), now, dataformats="HWC")
        for name, value in numbers.items():
            board.experiment.add_scalar(f"live/{name}", value, now)
    folder = trainer.run_folder / FOLDER
    with room_for(f"the live view in {folder}"):
        folder.mkdir(exist_ok=True)
        lines = MetricsFile(folder / NUMBERS)
        lines.cut(now - 1)  # those of a run that was resumed from before it, which are made anew
        lines.append({"env_steps": now, **numbers})
        if not boards:
            for name, figure in figures.items():
                _replace(folder / f"{name}.png", png(figure))


def _replace(path: Path, data: bytes) -> None:
    """Replaces a file at once, so that nobody sees half a picture; it isn't flushed to disk, since the next comes soon."""
    with replacing(path, flushed=False) as file:
        file.write(data)


def pixels(figure: Figure) -> NDArray[np.uint8]:
    """A figure as an image, `height x width x 3`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3]
