"""`mbrl test`: with `--frequencies` at several decision lengths, else the test of `mbrl.training`."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence

import torch

from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS
from mbrl.analysis.frequencies.frequencies import LONGEST, decision_frequencies
from mbrl.analysis.png import png
from mbrl.errors import CheckpointError, ConfigError, keeping, reading
from mbrl.options.fit import STANDARD
from mbrl.planners import Planner
from mbrl.training.checkpoint import read_checkpoint
from mbrl.training.commands import fit
from mbrl.training.files import make_writable, write_whole
from mbrl.training.load import module_of
from mbrl.training.output import plain_warnings, say, tell
from mbrl.training.parts import tell_if_never_fitted
from mbrl.training.resume import checkpoint_at
from mbrl.training.run_folder import inside


def run(given: argparse.Namespace, allow: Sequence[str]) -> int:
    """Runs the test that the options ask for."""
    if getattr(given, "frequencies", None) is None:
        return fit.run(given, allow)
    with plain_warnings():
        return _frequencies(given, allow)


def _frequencies(given: argparse.Namespace, allow: Sequence[str]) -> int:
    lengths = list(STANDARD_LENGTHS) if given.frequencies == STANDARD else _lengths(given.frequencies)
    drawn = None if given.random is None else _range(given.random)
    path = checkpoint_at(given.run or given.ckpt_path)
    checkpoint = read_checkpoint(path, buffers=False)
    planner = module_of(checkpoint, path, allow)
    if not isinstance(planner, Planner):
        raise CheckpointError(
            f"--frequencies: expected a planner, which decides, in {path}, got {type(planner).__name__}; give a planner's "
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
            last = _whole(text, parts[place + 1])
            if last <= found[-1]:
                raise ConfigError(
                    f"--frequencies: expected an end above {found[-1]} after '...', got {last}; write 1,2,...,8, say."
                )
            found += range(2 * found[-1] - found[-2], min(last, LONGEST), found[-1] - found[-2])
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
