"""Options of `mbrl distill`."""

from __future__ import annotations

import argparse

from mbrl.options.parsers import RUN


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl distill`."""
    about = "Turns the policy of a run into a sparse sum that can be read, saved as a run of its own."
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    parser.add_argument("run", help=f"{RUN}, of a planner with a learner and a model")
    parser.add_argument(
        "--folder", required=True, help="the run folder of the distilled policy; mbrl test and collect take it"
    )
    parser.add_argument(
        "--reward", help="the dotted name of a function to choose by (default: the run's, else what the model has learned)"
    )
    parser.add_argument("--terminated", help="likewise of one that says when the task ends")
    parser.add_argument("--degree", type=int, default=3, help="of the library's monomials (default: 3)")
    parser.add_argument("--steps", type=int, default=200, help="steps of the rollouts in the model (default: 200)")
    return parser.parse_args(arguments)
