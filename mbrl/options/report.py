"""Options of `mbrl report`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbrl.options.parsers import DATASET, add_done, add_older, add_run, read_one_run


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl report`."""
    about = "Tells where, how far ahead and how confidently a trained model is wrong, as one HTML page with its numbers."
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    add_run(parser)
    parser.add_argument("--dataset", required=True, help=f"{DATASET}; best one that the model wasn't fitted to")
    parser.add_argument("--training_data", help="what the model was fitted to: distances are then to these rows")
    parser.add_argument("--folder", type=Path, help="folder for the report (default: report in the run folder)")
    add_older(parser, "--out", "folder")
    parser.add_argument("--overwrite", action="store_true", help="replace a report that is there")
    parser.add_argument("--horizon", type=int, default=25, help="steps of open-loop rollouts and returns (default: 25)")
    parser.add_argument(
        "--measures", nargs="+", metavar="MEASURE",
        help="of uncertainty: names in mbrl.uncertainty, dotted names, or JSON with class_path and init_args (default: all)",
    )  # fmt: skip
    parser.add_argument(
        "--truth", default="auto",
        help="an exact model of the environment: auto (its closed form or simulator), none, or a class by its name in "
        "mbrl.models or its dotted name",
    )  # fmt: skip
    parser.add_argument("--decisions", type=int, help="of the planner to compare with reality (default: 10, or 3 if quick)")
    add_done(parser)
    parser.add_argument("--clip_actions", action="store_true", help="take the dataset's actions beyond the bounds for these")
    parser.add_argument("--quick", action="store_true", help="fewer rows, windows and draws")
    parser.add_argument("--seed", type=int, default=0, help="of everything that is drawn (default: 0)")
    parser.add_argument("--threads", type=int, default=1, help="of torch (default: 1)")
    return read_one_run(parser, command, arguments)
