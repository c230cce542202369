"""Compares models under MBPO: what they are fitted to, and whether one network with smooth values will do.

    python benchmarks/learning/models.py run distractors --seeds 0 1 2 --workers 2
    python benchmarks/learning/models.py draw distractors

`distractors` and `small` ask what a model should be fitted to where it can't fit everything, values' gradients, squared
errors or likelihood: Pendulum-v1 under the preset of `configs/mbpo`, 4,000 steps, a 7-member ensemble with normalised
targets in every arm. In `distractors` each observation has ten numbers more, which move by themselves (`Distracted-v0`, the
paper's dynamics); in `small` a member is one layer of 16.

`cartpole` asks what Zheng2023 did: cart-pole swing-up under its preset, 6,000 decisions, with the preset's probabilistic
ensemble, one probabilistic network, one deterministic one, and the last with `RobustValue` or with constrained critics. The
value-aware error and the value's slopes on the newest 1,000 real steps are looked at every 500 decisions.

`arms.py` says what `run` does and keeps; `draw` makes the figures and prints the tests.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms
import run as learning

from mbrl.analysis.runs.run_scores import LINES
from mbrl.figure_style import in_style

DYNAMICS = "--model.init_args.dynamics.init_args"
LEARNER = "--model.init_args.learner.init_args"
PENDULUM = ["configs/base/mbpo.yaml", "configs/mbpo/pendulum.yaml"]
CARTPOLE = ["configs/base/mbpo.yaml", "configs/mbpo/cartpole_swingup.yaml"]
FITTED_TO = {
    "vagram": arms.Arm(["configs/models/vagram.yaml"]),
    "squared-error": arms.Arm([], [f"{DYNAMICS}.deterministic=true"]),
    "likelihood": arms.Arm([], [f"{DYNAMICS}.deterministic=false"]),
}
ROBUST = '[{"class_path": "mbrl.policies.RobustValue", "init_args": {"weight": 0.01, "eps": 0.03}}]'
CLIPPED = '{"class_path": "mbrl.networks.SpectralClip", "init_args": {"budget": 100}}'
SINGLE = ["configs/models/single.yaml"]
SMOOTHED = {
    "ensemble": arms.Arm([]),
    "probabilistic": arms.Arm(["configs/models/single_probabilistic.yaml"]),
    "deterministic": arms.Arm(SINGLE),
    "robust": arms.Arm(SINGLE, [f"--model.init_args.critic_terms={ROBUST}"]),
    "constrained": arms.Arm(SINGLE, [f"{LEARNER}.critic_constraint={CLIPPED}"]),
}
LIVE = ("one_step_error", "vame_sampled", "vame_mean", "value_sd", "value_slope_mean", "value_slope_q95", "value_slope_pgd")


@dataclass(frozen=True)
class Comparison:
    """One task.

    Attributes:
        title: of its figure.
        preset: files that all arms begin with.
        settings: options of all arms over their files.
        arms: what each adds, by name.
        live: numbers of the model that are looked at during training.
    """

    title: str
    preset: Sequence[str]
    settings: Sequence[str]
    arms: Mapping[str, arms.Arm]
    live: Sequence[str] = ()

    def arm(self, name: str) -> arms.Arm:
        """The whole of an arm."""
        added = self.arms[name]
        return arms.Arm([*self.preset, *added.configs], [*self.settings, *added.overrides])


TASKS = {
    "distractors": Comparison(
        "Pendulum-v1 with 10 distractors",
        PENDULUM,
        [
            "--data.init_args.env_id=mbrl.envs.distractors:Distracted-v0",
            '--data.init_args.env_kwargs={"base_id": "Pendulum-v1", "dims": 10, "dynamics": "paper"}',
        ],
        FITTED_TO,
    ),
    "small": Comparison("Pendulum-v1, models of one layer of 16", PENDULUM, [f"{DYNAMICS}.hidden=[16]"], FITTED_TO),
    "cartpole": Comparison(
        "Cart-pole swing-up",
        CARTPOLE,
        [
            '--trainer.callbacks={"class_path": "mbrl.analysis.LiveModelReport", "init_args": {"every": 500}}',
            "--trainer.tensorboard=false",
        ],
        SMOOTHED,
        LIVE,
    ),
}
NAMES = list(dict.fromkeys(name for task in TASKS.values() for name in task.arms))


def main() -> None:
    """Reads the command line."""
    given = arms.parser(__doc__, NAMES, list(TASKS)).parse_args()
    task = TASKS[given.task]
    file = f"models-{given.task}"
    names = [name for name in given.arms if name in task.arms]
    if given.what == "run":
        arms.run(file, {name: task.arm(name) for name in names}, given.seeds, given.runs, given.workers, live=task.live)
        return
    arms.draw(file, names, task.title)
    if task.live:
        draw_values(file, names)


@in_style
def draw_values(file: str, names: Sequence[str]) -> None:
    """Writes `results/FILE-values.png`: the value-aware error and the value's slope over training, as logarithms."""
    from matplotlib.figure import Figure

    shown = {
        "vame_mean": "log of the value-aware error",
        "value_slope_mean": "log of the value's mean slope\n(per standard deviation of the state)",
    }
    figure = Figure(figsize=(9.6, 3.8), layout="constrained")
    for axes, (metric, label) in zip(figure.subplots(1, 2), shown.items(), strict=True):
        found = arms.curves(file, names, metric=metric, kind="live", to=math.log)
        for place, (name, band) in enumerate(found.groups.items()):
            axes.plot(band.x, band.value, LINES[place % len(LINES)], color=f"C{place}", label=name)
            if band.low is not None and band.high is not None:
                axes.fill_between(band.x, band.low, band.high, color=f"C{place}", alpha=0.15, linewidth=0)
        axes.set_xlabel("decisions")
        axes.set_ylabel(label)
        print(metric, "\n".join(found.lines()), sep="\n")
    axes.legend()
    figure.savefig(learning.RESULTS / f"{file}-values.png", dpi=150)


if __name__ == "__main__":
    main()
