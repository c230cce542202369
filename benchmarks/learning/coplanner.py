"""Compares MBPO, each half of COPlanner, and COPlanner on the same seeds.

    python benchmarks/learning/coplanner.py run cartpole_swingup --seeds 0 1 2 --workers 2
    python benchmarks/learning/coplanner.py draw cartpole_swingup

`run` trains every arm on every seed through the `mbrl` command, one thread per run and `--workers` runs side by side, tests
each on ten episodes that training never saw, and appends to `results/coplanner-TASK.curve.csv` and `….test.csv`. A run
that was interrupted is resumed; one that has a row in the test file is skipped. `draw` makes the figure and prints a table.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms

# Arm → the overlay that separates it from MBPO, and the selectors that plan.
ARMS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    "mbpo": ([], ()),
    "rollouts-only": (["configs/coplanner/rollouts_only.yaml"], ("rollout",)),
    "exploration-only": (["configs/coplanner/exploration_only.yaml"], ("explore",)),
    "coplanner": (["configs/coplanner/both.yaml"], ("rollout", "explore")),
}
# The disagreement of the members' means, and sums that are divided by their spread over a state's candidates, so that one
# rate serves tasks whose rewards differ in size.
CLEAN = ["uncertainty=mbrl.uncertainty.MeanDisagreement", "normalize=true"]
# Task, a file of configs/mbpo → its title, and what is set of each selector that plans (chosen on seeds 10 and 11).
TASKS: dict[str, tuple[str, dict[str, list[str]]]] = {
    "mountain_car": (
        "MountainCarContinuous-v0",
        {"rollout": CLEAN, "explore": [*CLEAN, "candidates=10", "horizon=10"]},
    ),
    "cartpole_swingup": ("dm_control cartpole-swingup, action repeat 4", {"rollout": CLEAN, "explore": CLEAN}),
    "cartpole_swingup_sparse": (
        "dm_control cartpole-swingup_sparse, action repeat 4",
        {"rollout": CLEAN, "explore": [*CLEAN, "candidates=10", "horizon=10"]},
    ),
    "hopper": ("Hopper-v5", {}),
}
SPREADS = tuple(f"{where}/{what}_spread" for where in ("rollout", "explore") for what in ("reward", "uncertainty"))


def arm_of(task: str, name: str) -> arms.Arm:
    """The configuration files of an arm, and what is set over them."""
    overlays, selectors = ARMS[name]
    _, settings = TASKS[task]
    overrides = [
        f"--model.init_args.{selector}_selector.init_args.{setting}"
        for selector in selectors
        for setting in settings.get(selector, [])
    ]
    return arms.Arm(["configs/base/mbpo.yaml", f"configs/mbpo/{task}.yaml", *overlays], overrides)


def draw(task: str, statistic: str) -> None:
    """Writes the figure and prints each arm's last returns."""
    arms.draw(f"coplanner-{task}", list(ARMS), TASKS[task][0], statistic)


def main() -> None:
    """Reads the command line."""
    parser = arms.parser(__doc__, list(ARMS), list(TASKS))
    parser.add_argument("--statistic", choices=("iqm", "mean"), default="mean")
    given = parser.parse_args()
    if given.what == "run":
        chosen = {name: arm_of(given.task, name) for name in given.arms}
        arms.run(f"coplanner-{given.task}", chosen, given.seeds, given.runs, given.workers, SPREADS)
    else:
        draw(given.task, given.statistic)


if __name__ == "__main__":
    main()
