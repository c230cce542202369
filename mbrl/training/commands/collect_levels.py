"""`mbrl collect --levels`: Minari datasets of several levels from one run: its policies, and its buffer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mbrl.training.levels import LEVELS, make_levels
from mbrl.training.output import say

OPTION = "--levels"


def run(arguments: list[str], allow: Sequence[str]) -> int:
    """Makes the datasets that the arguments name and says where they are."""
    parser = argparse.ArgumentParser(prog="mbrl collect", description=__doc__)
    parser.add_argument(OPTION, required=True, help=f"which, with commas between them: {','.join(LEVELS)}, or all")
    parser.add_argument("run", help="a finished run's folder that kept checkpoints (trainer.keep_at), or RUN/best")
    parser.add_argument("--namespace", help="of their ids, NAMESPACE/LEVEL-v0 (default: mbrl/ and the environment's id)")
    parser.add_argument("--steps", type=int, default=10_000, help="real steps of random, medium and expert")
    parser.add_argument("--episodes", type=int, default=100, help="whole episodes of each reference score")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no_sim_state", action="store_true", help="leave the simulator's states out")
    given = parser.parse_args(arguments[1:])
    folders = make_levels(
        given.run,
        LEVELS if given.levels == "all" else [name.strip() for name in given.levels.split(",")],
        namespace=given.namespace,
        steps=given.steps,
        episodes=given.episodes,
        seed=given.seed,
        sim_state=not given.no_sim_state,
        allow=allow,
        say=say,
    )
    say(f"{len(folders)} datasets; mbrl check --dataset ID looks at one")
    return 0
