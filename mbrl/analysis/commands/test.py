"""`mbrl test`: with `--frequencies` at several decision lengths, else the test of `mbrl.training`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

import torch

from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS
from mbrl.analysis.frequencies.frequencies import LONGEST, decision_frequencies
from mbrl.analysis.png import png
from mbrl.errors import CheckpointError, ConfigError, keeping, reading
from mbrl.planners import Planner
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.commands import fit
from mbrl.training.files import make_writable, write_whole
from mbrl.training.load import module_of
from mbrl.training.output import plain_warnings, say, tell
from mbrl.training.parts import tell_if_never_fitted
from mbrl.training.resume import checkpoint_at
from mbrl.training.run_folder import inside

_OPTIONS = ("--frequencies", "--random")


def run(arguments: list[str], allow: Sequence[str]) -> int:
    """Runs the test that the arguments ask for."""
    if not any(argument.split("=")[0] in _OPTIONS for argument in arguments):
        return fit.run(arguments, allow)
    with plain_warnings():
        return _frequencies(arguments[1:], allow)


def _frequencies(arguments: list[str], allow: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="mbrl test --frequencies",
        description="Evaluates a run's planner when it looks once in so many steps of the primitive environment.",
    )
    parser.add_argument("run", nargs="?", help="a run folder, a checkpoint folder, or its model.pt")
    parser.add_argument("--ckpt_path", help="the same, as for other tests")
    parser.add_argument(
        "--frequencies", nargs="?", const=",".join(map(str, STANDARD_LENGTHS)), required=True,
        help="steps per decision, such as 1,2,4,8, or 1,2,4,...,30, which goes on by the last step (default: that one)",
    )  # fmt: skip
    parser.add_argument("--random", metavar="LOW:HIGH", help="one more evaluation at lengths drawn for each decision")
    parser.add_argument("--episodes", type=int, help="at each length (default: those of the run's test)")
    parser.add_argument("--max_return", type=float, help="that counts as 1 in fas (default: the authors', if they have one)")
    parser.add_argument("--offset", type=float, help="added to returns in fas (default: the authors', or 0)")
    parser.add_argument("--folder", type=Path, help="where results go (default: the run folder)")
    given = parser.parse_args(arguments)
    where = [path for path in (given.run, given.ckpt_path) if path is not None]
    if len(where) != 1:
        raise ConfigError("mbrl test --frequencies: expected one run, got none or two; name it first: mbrl test RUN.")
    lengths = _lengths(given.frequencies)
    drawn = None if given.random is None else _range(given.random)
    path = checkpoint_at(where[0])
    checkpoint = read_checkpoint(path, buffers=False)
    planner = module_of(checkpoint, path, allow)
    if not isinstance(planner, Planner):
        raise CheckpointError(
            f"--frequencies: expected a planner, which decides, in {path}, got a {type(planner).__name__}; give a planner's "
            "run."
        )
    with reading("the data of a run in the checkpoint"):
        settings = checkpoint["mbrl_run"]["data"]["init_args"]
        episodes, limit = settings.get("test_episodes", 10), settings.get("eval_limit", 1000)
    folder = given.folder or inside(path)
    make_writable(folder, "--folder")
    tell_if_never_fitted(planner)
    torch.set_num_threads(1)
    result = decision_frequencies(
        planner,
        lengths,
        random=drawn,
        episodes=episodes if given.episodes is None else given.episodes,
        limit=limit,
        max_return=given.max_return,
        offset=given.offset,
        progress=say,
    )
    tell("\n".join([*result.lines(), *result.in_short(), *(f"note: {note}" for note in result.notes)]))
    with keeping({f"return at {n} steps": value for n, value in result.returns().items()}):
        files = [folder / f"{result.name}{ending}" for ending in (".csv", ".png", ".json")]
        result.to_csv(files[0])
        write_whole(files[1], png(result.plot(), dpi=150))
        write_whole(files[2], f"{json.dumps(result.to_json(), indent=1)}\n".encode())
    tell(f"written to {', '.join(map(str, files))}")
    return 0


def _lengths(text: str) -> list[int]:
    """Reads `1,2,4` and `1,2,4,...,30`."""
    found: list[int] = []
    parts = [part.strip() for part in text.replace("…", "...").split(",")]
    for place, part in enumerate(parts):
        if part == "..." and 2 <= place < len(parts) - 1 and found[-1] > found[-2]:
            found += range(2 * found[-1] - found[-2], min(_whole(text, parts[place + 1]), LONGEST), found[-1] - found[-2])
        else:
            found.append(_whole(text, part))
    return found


def _whole(text: str, part: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,9}", part):
        raise ConfigError(f"--frequencies: expected whole numbers between commas, got {text!r}; write 1,2,4,8, say.")
    return int(part)


def _range(text: str) -> list[int]:
    found = re.fullmatch(r"(-?[0-9]{1,9}):(-?[0-9]{1,9})", text)
    if found is None:
        raise ConfigError(f"--random: expected a shortest and a longest length, got {text!r}; write 1:16, say.")
    return [int(found[1]), int(found[2])]
