"""`mbrl collect --levels`: Minari datasets of several levels from one run: its policies, and its buffer."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mbrl.training.levels import LEVELS, make_levels
from mbrl.training.output import say


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Makes the datasets that the options name and says where they are."""
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
