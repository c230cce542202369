"""Options of `mbrl check`."""

from __future__ import annotations

import argparse
import json

from mbrl.options.parsers import DATASET, add_done


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after `mbrl check`."""
    about = "Looks at an environment and its task functions, or at a dataset, before any training."
    parser = argparse.ArgumentParser(prog=f"mbrl {command}", description=about)
    parser.add_argument("env_id", nargs="?", help="Gymnasium's id, module:Id, or dm_control/domain-task-v0")
    parser.add_argument("--dataset", help=DATASET)
    parser.add_argument("--env_kwargs", help="keyword arguments of the environment, as JSON")
    parser.add_argument("--reward", default="auto", help="auto, learned, or the dotted name of a function")
    parser.add_argument("--terminated", default="auto", help="auto, learned, or the dotted name of a function")
    add_done(parser)
    parser.add_argument("--action_repeat", type=int, help="simulator steps in one real step (default: 1)")
    parser.add_argument("--action_low", type=_numbers, help="lower bounds, such as [-1, -1], of a dataset without")
    parser.add_argument("--action_high", type=_numbers, help="upper bounds, likewise")
    parser.add_argument("--clip_actions", action="store_true", help="take a dataset's actions beyond the bounds for these")
    parser.add_argument("--steps", type=int, help="real steps to take in the environment (default: 1000)")
    parser.add_argument("--seed", type=int, help="of the environment and its random actions (default: 0)")
    parser.add_argument("--figure", help="a .png for the histogram of a dataset's returns")
    return parser.parse_args(arguments)


def _numbers(text: str) -> list[float]:
    try:
        found = json.loads(text if text.lstrip().startswith("[") else f"[{text}]")
        return [float(number) for number in found]
    except (TypeError, ValueError):
        raise argparse.ArgumentTypeError(f"expected numbers such as [-1, -1], got {text}; give one per action") from None
