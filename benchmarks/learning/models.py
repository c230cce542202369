"""Compares what a model is fitted to where it can't fit everything: values' gradients, squared errors, likelihood.

    python benchmarks/learning/models.py run distractors --seeds 0 1 2 --workers 2
    python benchmarks/learning/models.py draw distractors

Pendulum-v1 under the preset of `configs/mbpo`, 4,000 steps, a 7-member ensemble with normalised targets in every arm. In
`distractors` each observation has ten numbers more, which move by themselves (`Distracted-v0`, the paper's dynamics); in
`small` a member is one layer of 16. `arms.py` says what `run` does and keeps; `draw` makes the figure and prints the tests.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms

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
    given = arms.parser(__doc__, list(ARMS), list(TASKS)).parse_args()
    title, settings = TASKS[given.task]
    file = f"models-{given.task}"
    if given.what == "run":
        chosen = {name: arms.Arm([*PRESET, *ARMS[name][0]], [*settings, *ARMS[name][1]]) for name in given.arms}
        arms.run(file, chosen, given.seeds, given.runs, given.workers)
    else:
        arms.draw(file, list(ARMS), title)


if __name__ == "__main__":
    main()
