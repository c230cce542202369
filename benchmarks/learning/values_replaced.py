"""Fits small models to one value function after another: what each loss leaves of the model once its values are replaced.

    python benchmarks/learning/values_replaced.py run --seeds 0 1 2 3 4
    python benchmarks/learning/values_replaced.py draw

Voelcker2022's second figure in small. Soft actor-critic learns Pendulum-v1, and its critics are kept every 200 steps. A
deterministic model of one layer of 16 is fitted to transitions from uniformly drawn states and actions by 1,000 updates for
each of these critics in turn, and goes on from where it was; beside it stands the same model with another loss. After each
fit, 2,000 transitions that no fit sees say how far off it is: the squared error as a share of what the changes vary by, and
the squared error of the value as a share of what the value varies by, for the fit's critics and for those that come next.

`run` appends to `results/values-replaced.csv`, a line per seed, loss and critics; a seed that is there is skipped.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

sys.path.insert(0, str(Path(__file__).parent))  # the script beside this one
import run as learning

from mbrl.analysis.runs.run_scores import LINES
from mbrl.data import Transitions, make_generator
from mbrl.envs import OnlineData, make_task
from mbrl.figure_style import in_style
from mbrl.models import GaussianEnsemble, IterVAML, ModelLoss, Pendulum, SquaredError, VaGraM
from mbrl.planners import Dyna
from mbrl.policies import SAC
from mbrl.training import Trainer

FILE = learning.RESULTS / "values-replaced.csv"
STEPS, EVERY = 2000, 200
ROWS, HELD_OUT, UPDATES = 5000, 2000, 1000
TASK = "Pendulum-v1"


def losses() -> dict[str, ModelLoss]:
    """The losses, each from its first update on."""
    return {
        "squared error": SquaredError(),
        "VaGraM": VaGraM(warm_fits=0),
        "VAML": IterVAML(mse=0.0),
        "VAML with 1 % squared error": IterVAML(),
    }


class KeepsCritics(pl.Callback):
    """Keeps the learner's numbers every so many real steps."""

    def __init__(self) -> None:
        self.kept: list[dict[str, Any]] = []

    def on_train_batch_end(self, trainer: Any, planner: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        if planner.env_steps % EVERY == 0 and len(self.kept) < planner.env_steps // EVERY:
            self.kept.append(copy.deepcopy(planner.learner.state_dict()))


def small_sac() -> SAC:
    """The learner whose critics are kept."""
    return SAC([64, 64], actor_lr=1e-3, critic_lr=1e-3)


def learners(seed: int) -> list[SAC]:
    """Soft actor-critic on the task, as it was every `EVERY` steps of one run."""
    keeper = KeepsCritics()
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(folder=folder, progress=False, tensorboard=False, callbacks=[keeper], eval_every=STEPS)
        planner = Dyna(None, small_sac(), warmup_steps=EVERY // 2, updates_per_step=1, real_ratio=1.0)
        trainer.fit(planner, OnlineData(TASK, steps=STEPS, eval_episodes=1, seed=seed))
    found = []
    for kept in keeper.kept:
        learner = small_sac()
        learner.build(make_task(TASK))
        learner.load_state_dict(kept)
        found.append(learner)
    return found


def transitions(seed: int, what: str, number: int) -> Transitions:
    """Exact transitions from states and actions drawn uniformly."""
    task = make_task(TASK)
    generator = make_generator("cpu", seed, "values replaced", what)
    drawn = torch.rand(number, 3, generator=generator, dtype=torch.float32)
    angle, speed, action = (2 * drawn[:, 0] - 1) * math.pi, (2 * drawn[:, 1] - 1) * 8, 2 * drawn[:, 2:] - 1
    obs = torch.stack([angle.cos(), angle.sin(), speed], -1)
    truth = Pendulum()
    truth.build(task)
    next_obs = truth.predict(obs, action).mean[0]
    reward = task.reward(obs, action, next_obs) if task.reward is not None else torch.zeros(number, dtype=torch.float32)
    ends = torch.zeros(number, dtype=torch.bool)
    extras = {"episode": torch.arange(number), "row": torch.arange(number)}
    return Transitions(obs, action, reward, next_obs, ends, ends.clone(), extras=extras)


@torch.no_grad()
def errors(model: GaussianEnsemble, rows: Transitions, learner: SAC) -> tuple[float, float]:
    """Squared errors as shares of what varies: of the change, and of the value."""
    found = model.predict(rows.obs, rows.action).mean[0]
    off = (found - rows.next_obs).square().mean(0) / (rows.next_obs - rows.obs).var(0)
    true, said = (learner.value(obs, None, "both") for obs in (rows.next_obs, found))  # J x N
    return float(off.mean()), float(((said - true).square().mean(-1) / true.var(-1)).mean())


def one_seed(seed: int) -> list[dict[str, Any]]:
    """All losses on one seed's critics."""
    valued = learners(seed)
    rows, held_out = transitions(seed, "rows", ROWS), transitions(seed, "held out", HELD_OUT)
    found = []
    for name, loss in losses().items():
        model = GaussianEnsemble(
            1, 1, [16], deterministic=True, learn_reward=False, weight_decay=0.0, holdout=0.0, bootstrap="none",
            best_weights="never", max_epochs=None, max_updates=UPDATES, loss=loss,
        )  # fmt: skip
        model.build(make_task(TASK), seed)
        model.make_optimizers()
        for place, learner in enumerate(valued):
            model.refit(rows, make_generator("cpu", seed, "values replaced", "fit", place), learner)
            of_change, of_value = errors(model, held_out, learner)
            after = errors(model, held_out, valued[place + 1])[1] if place + 1 < len(valued) else float("nan")
            found.append(
                {
                    "seed": seed,
                    "loss": name,
                    "critics": (place + 1) * EVERY,
                    "error_of_change": of_change,
                    "error_of_value": of_value,
                    "error_of_next_value": after,
                }
            )
    return found


@in_style
def draw() -> None:
    """Writes the figure and prints the last fits' medians."""
    from matplotlib.figure import Figure

    rows = learning.read(FILE)
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    shown = {"error_of_change": "error of the change", "error_of_value": "error of the value"}
    for axes, (column, label) in zip(figure.subplots(1, 2), shown.items(), strict=True):
        for place, name in enumerate(losses()):
            table = by_critics(rows, name, column)
            steps = sorted(table)
            over_seeds = torch.tensor([table[step] for step in steps], dtype=torch.float64)  # steps x seeds
            low, middle, high = over_seeds.amin(1), over_seeds.quantile(0.5, 1), over_seeds.amax(1)
            axes.plot(steps, middle, LINES[place], color=f"C{place}", marker="o", markersize=3, label=name)
            axes.fill_between(steps, low, high, color=f"C{place}", alpha=0.15, linewidth=0)
            print(f"{label}, {name}: median {middle[0]:.3g} after the first critics, {middle[-1]:.3g} after the last")
        axes.set_yscale("log")
        axes.set_xlabel("steps after which the critics of the fit were kept")
        axes.set_ylabel(f"{label} on held-out rows\n(share of its variance)")
    axes.legend()
    figure.savefig(FILE.with_suffix(".png"), dpi=150)


def by_critics(rows: list[dict[str, str]], name: str, column: str) -> Mapping[int, list[float]]:
    """The seeds' numbers of one loss."""
    found: dict[int, list[float]] = {}
    for row in rows:
        if row["loss"] == name:
            found.setdefault(int(row["critics"]), []).append(float(row[column]))
    return found


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "draw"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    given = parser.parse_args()
    if given.what == "draw":
        draw()
        return
    torch.set_num_threads(1)
    for seed in given.seeds:
        if any(int(row["seed"]) == seed for row in learning.read(FILE)):
            continue
        about = {"commit": learning.commit(), "hardware": learning.hardware(), "versions": learning.versions()}
        learning.append(FILE, [{**row, **about} for row in one_seed(seed)])
        print(f"seed {seed}: recorded", flush=True)


if __name__ == "__main__":
    main()
