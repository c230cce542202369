"""Compares what a model is fitted to where it can't fit everything: values' gradients, squared errors, likelihood.

    python benchmarks/learning/models.py run distractors --seeds 0 1 2 --workers 2
    python benchmarks/learning/models.py draw distractors

Pendulum-v1 under the preset of `configs/mbpo`, 4,000 steps, a 7-member ensemble with normalised targets in every arm. In
`distractors` each observation has ten numbers more, which move by themselves (`Distracted-v0`, the paper's dynamics); in
`small` a member is one layer of 16. `arms.py` says what `run` does and keeps; `draw` makes the figure and prints the tests.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms
import run as learning

DYNAMICS = "--model.init_args.dynamics.init_args"
PRESET = ["configs/base/mbpo.yaml", "configs/mbpo/pendulum.yaml"]
# Task → its title, and what is set over the preset in every arm.
TASKS: dict[str, tuple[str, list[str]]] = {
    "distractors": (
        "Pendulum-v1 with 10 distractors",
        [
            "--data.init_args.env_id=mbrl.envs.distractors:Distracted-v0",
            '--data.init_args.env_kwargs={"base_id": "Pendulum-v1", "dims": 10, "dynamics": "paper"}',
        ],
    ),
    "small": ("Pendulum-v1, models of one layer of 16", [f"{DYNAMICS}.hidden=[16]"]),
}
# Arm → files over the preset, and what is set over those.
ARMS: dict[str, tuple[list[str], list[str]]] = {
    "vagram": (["configs/models/vagram.yaml"], []),
    "squared-error": ([], [f"{DYNAMICS}.deterministic=true"]),
    "likelihood": ([], [f"{DYNAMICS}.deterministic=false"]),
}


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("run", "draw"))
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    parser.add_argument("--workers", type=int, default=2, help="runs side by side, each on one thread")
    given = parser.parse_args()
    title, settings = TASKS[given.task]
    file = f"models-{given.task}"
    if given.what == "run":
        chosen = {name: arms.Arm([*PRESET, *ARMS[name][0]], [*settings, *ARMS[name][1]]) for name in given.arms}
        arms.run(file, chosen, given.seeds, given.runs, given.workers)
        return
    found = arms.curves(file, list(ARMS))
    figure = found.plot()
    figure.axes[0].set_title(title)
    figure.savefig(learning.RESULTS / f"{file}.png", dpi=150)
    print("\n".join(found.lines()))
    arms.print_tests(file, list(ARMS))


if __name__ == "__main__":
    main()
