"""`mbrl search check`: tells whether a search can start, before any trial."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from mbrl.counted import counted
from mbrl.search.file.export import Parse, check, example_command
from mbrl.search.file.search_file import read_search_file
from mbrl.training.output import tell


def run(given: Namespace, allow: Sequence[str], parse: Parse) -> int:
    """Checks a search file and prints its settings, and one of its command lines."""
    search = read_search_file(given.search)
    tried = check(search, parse)
    space, seeds = search.space, search.seeds
    budget = [counted(search.budget.trials, "trial")] if search.budget.trials is not None else []
    budget += [f"{search.budget.hours:g} h"] if search.budget.hours is not None else []
    objectives = ", ".join(f"{entry.direction} {entry.metric} ({entry.reduce})" for entry in search.objectives)
    lines = [
        f"{search.study}: {counted(len(space.parameters), 'parameter')}, {len(space.conditions())} of them conditional; "
        f"mbrl {search.command} takes all of {counted(tried, 'configuration')} tried",
        f"  objectives  {objectives}",
        f"  budget      {', '.join(budget)}",
        f"  seeds       {len(seeds.tune)} to tune, {len(seeds.select)} to select, {len(seeds.test)} to test with",
        f"  sampler     {search.sampler.name}, pruner {search.pruner.name}",
        "  the first trial:" if space.start() else "  a trial:",
        f"  {example_command(search)}",
    ]
    tell("\n".join(lines))
    return 0
