"""Whether a cheaper or steadier learner reaches the same return: MBPO's presets with options of `SAC` (docs/mbpo.md).

    python benchmarks/learning/learner_options.py run inverted_pendulum --seeds 0 1 2 --workers 2
    python benchmarks/learning/learner_options.py run pendulum --arms default actor-2 --seeds 0 1 2
    python benchmarks/learning/learner_options.py draw pendulum

Each arm is the preset with one change: `actor-2` has an actor update for every second one (Fujimoto2018), `layer` normalised
critics, `layer-dropout` dropout beside them and the mean of both as the actor's aim (DroQ, Hiraoka2022), `subset` five
critics of which two, drawn for each update, give the target (REDQ, Chen2021: two of ten). InvertedPendulum's preset has
`actor-2` by itself, which its other arms take back. Policies of a seed begin alike.
InvertedPendulum's runs end when three evaluations in a row reach 950, so that their processor time is a time to return.
`arms.py` says what `run` does and keeps beside it.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms

TASKS = {"inverted_pendulum": "mbpo/inverted_pendulum_fast", "pendulum": "mbpo/pendulum"}

SETTINGS: dict[str, dict[str, str]] = {
    "default": {},
    "actor-2": {"actor_every": "2"},
    "layer": {"critic_norm": "layer"},
    "layer-dropout": {"critic_norm": "layer", "critic_dropout": "0.01", "target_subset": "2"},
    "subset": {"critics": "5", "target_subset": "2"},
}


def arms_of(task: str) -> dict[str, arms.Arm]:
    """All arms by name."""
    configs, made = ["configs/base/mbpo.yaml", f"configs/{TASKS[task]}.yaml"], {}
    for name, chosen in SETTINGS.items():
        options = {"actor_every": "1", **chosen}
        made[name] = arms.Arm(
            configs, [f"--model.init_args.learner.init_args.{key}={value}" for key, value in options.items()]
        )
    return made


def main() -> None:
    """Reads the command line."""
    given = arms.parser(__doc__, list(SETTINGS), list(TASKS)).parse_args()
    file = f"learner-options-{given.task.replace('_', '-')}"
    if given.what == "draw":
        arms.draw(file, given.arms, f"MBPO's preset {TASKS[given.task]} with options of its learner")
        return
    chosen = {name: arm for name, arm in arms_of(given.task).items() if name in given.arms}
    arms.run(file, chosen, given.seeds, given.runs, given.workers)


if __name__ == "__main__":
    main()
