"""Options of `mbrl play`."""

from __future__ import annotations

import argparse
from pathlib import Path

from mbrl.options.parsers import add_run, read_one_run


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl play`."""
    about = "Shows a trained planner in its environment, in a window or as a film, and prints each episode's return."
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    add_run(parser)
    parser.add_argument(
        "--video", type=Path, metavar="FILE",
        help="write a film (.mp4) in place of a window; of several episodes FILE-episode-0.mp4 and so on",
    )  # fmt: skip
    parser.add_argument("--episodes", type=int, default=1, help="how many to play (default: 1)")
    parser.add_argument(
        "--seed", type=int, default=0,
        help="of the first episode, as the environment's reset takes it; the next has one more (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--max_steps", type=int,
        help="real steps after which an episode is cut (default: the task's time limit, or 1000 where it has none)",
    )  # fmt: skip
    return read_one_run(parser, command, arguments)
