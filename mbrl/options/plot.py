"""Options of `mbrl plot`."""

from __future__ import annotations

import argparse
from pathlib import Path


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl plot`."""
    about = "Draws learning curves of runs with bands over their seeds, as a figure, a CSV file and a table of final scores."
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    parser.add_argument(
        "runs", nargs="+", metavar="RUN",
        help="the folder of a run or of its seeds (runs/NAME), or a CSV file with seed, the clock and the metric; "
        "LABEL=RUN names its group",
    )  # fmt: skip
    parser.add_argument("--metric", default="eval/return", help="as in metrics.jsonl (default: eval/return)")
    parser.add_argument(
        "--x", choices=("env_steps", "updates", "epoch", "time/wall_s"),
        help="horizontal axis (default: the clock of the first run)",
    )  # fmt: skip
    parser.add_argument(
        "--statistic", default="iqm", choices=("iqm", "mean"), help="over the runs of a group (default: iqm)"
    )
    parser.add_argument(
        "--group",
        default="name",
        choices=("name", "run"),
        help="name: one curve for the seeds in one folder; run: one for each run",
    )
    parser.add_argument("--level", type=float, default=0.95, help="of the bootstrap intervals (default: 0.95)")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap (default: 2000)")
    parser.add_argument("--points", type=int, default=200, help="of a curve at most (default: 200)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap (default: 0)")
    parser.add_argument(
        "--out", type=Path, help="figure, .png, .pdf or .svg (default: METRIC.png); an older one is replaced"
    )
    parser.add_argument("--csv", type=Path, help="the curves as numbers (default: beside the figure)")
    return parser.parse_args(arguments)
