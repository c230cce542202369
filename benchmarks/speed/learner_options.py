"""Times what SAC's options for updates that are cheaper, or worth more, do to an update.

    python -m benchmarks.speed.learner_options --out benchmarks/speed/results/mine-learner-options.json     # some minutes

Two layers of 256, batches of 256, Hopper-v5's sizes, as in `cases.py`. A call makes twelve updates, so that each holds its
share of the actor's. Ratios are of one run, in processor time.
"""

from __future__ import annotations

from time import process_time
from typing import Any

import torch

from benchmarks.speed.cases import BATCH, random_rows, task
from benchmarks.speed.command_line import asked, write_figures
from benchmarks.speed.offline import sac
from benchmarks.speed.rounds import Case, measure, ratio
from mbrl.data import Task, make_generator

DROQ: dict[str, Any] = {"critic_norm": "layer", "critic_dropout": 0.01}
GROUPS: list[dict[str, dict[str, Any]]] = [  # of each, the first is what the others are compared with
    {
        "update": {},
        "actor every 2": {"actor_every": 2},
        "actor every 4": {"actor_every": 4},
        "layer norm": {"critic_norm": "layer"},
        "layer norm, dropout": DROQ,
        "layer norm, dropout, mean for the actor": {**DROQ, "target_subset": 2},
        "layer norm, actor every 2": {"critic_norm": "layer", "actor_every": 2},
    },
    {"10 critics": {"critics": 10}, "10 critics, subset of 2": {"critics": 10, "target_subset": 2}},
]
UPDATES = 12  # in a call, a multiple of each `actor_every`


def learning(known: Task, name: str, options: dict[str, Any]) -> Case:
    """Updates from one batch, by a learner with these options."""
    learner, batch, noise = sac(known, **options), random_rows(known, BATCH, torch.device("cpu")), make_generator("cpu", 0)

    def updates() -> None:
        for _ in range(UPDATES):
            learner.update(batch, noise)

    return Case(name, "updates", updates, UPDATES)


def main() -> None:
    """Prints the ratios of time, and writes them."""
    out, rounds = asked(__doc__)
    known, times, seconds = task(), {}, {}
    for group in GROUPS:
        cases = [learning(known, name, options) for name, options in group.items()]
        measure(cases, rounds, 0.5, torch.device("cpu"), process_time)
        for case in cases:
            times[case.name], seconds[case.name] = round(1 / ratio(case, cases[0]), 3), case.seconds
            print(f"{case.name:42} {1e3 / case.rate:8.2f} ms, {times[case.name]:.3f} times {cases[0].name}")
    write_figures(out, {"times": times, "seconds": seconds})


if __name__ == "__main__":
    main()
