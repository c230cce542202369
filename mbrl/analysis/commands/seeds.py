"""`mbrl fit --seeds`: several seeds side by side, then the figure and the table of `mbrl plot`."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

from mbrl.analysis.commands import plot
from mbrl.errors import ConfigError, MbrlError, shown
from mbrl.options.plot import parse
from mbrl.options.seeds import OPTION, cores
from mbrl.training.commands.parsed import planned
from mbrl.training.output import say
from mbrl.training.processes.seed_runs import Ended, SeedRuns, exit_code

FIGURE = "seeds.png"  # beside the runs


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Checks the settings once, trains each seed, and draws what came of those that came to their end.

    Raises:
        ConfigError: for settings that no run takes, and a folder in them.
        MbrlError: as a part refuses its settings.
    """
    own = [option for module in allow for option in ("--allow", module)]

    def of_seed(seed: int) -> list[str]:
        return ["fit", *given.arguments, "--seed_everything=null", f"--data.init_args.seed={seed}"]

    first = planned(of_seed(given.seeds[0]), allow)
    if first.chosen:
        raise ConfigError(
            f"{OPTION}: expected no trainer.folder beside it, which is of one run, got {first.folder}; give --name, below "
            "which each seed has a folder."
        )
    folders = {seed: first.folder.with_name(f"seed{seed}") for seed in given.seeds}
    workers = min(given.workers or cores(), len(folders))
    say(f"{len(folders)} seeds, {workers} at a time, into {first.folder.parent}")
    runs = SeedRuns(
        folders,
        lambda seed, folder: [*own, *of_seed(seed), "--ckpt_path=last"],
        workers=workers,
        show=lambda seed, text: say(shown(f"seed {seed}  {text}")),
        metric=first.metric,
    )
    ends = runs.run()
    _summarize(ends, folders, first.metric)
    if runs.signal:
        say("interrupted; the same command goes on.")
    return exit_code(ends, runs.signal)


def _summarize(ends: Mapping[int, Ended], folders: Mapping[int, Path], metric: str) -> None:
    """Draws the runs that came to their end; what can't be drawn costs nothing but the figure."""
    done = [str(folders[seed]) for seed, how in ends.items() if how.outcome == "ok"]
    if not done:
        return
    figure = folders[next(iter(folders))].with_name(FIGURE)
    try:
        plot.run(parse("plot", [*done, "--metric", metric, "--out", str(figure)]), ())
    except MbrlError as error:
        say(f"no figure: {error}")
