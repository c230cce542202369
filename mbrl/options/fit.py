"""Options of `mbrl fit`, `validate`, `test` and `predict`.

Lightning's command line parses their settings, of which there are as many as classes take, so that here stands what comes
before: presets become files, help that needs no import, and evaluations that need nothing but a checkpoint.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from pathlib import Path

from mbrl.errors import ConfigError
from mbrl.options.described import Described, described
from mbrl.options.parsers import DATASET, add_done, add_run, read_one_run
from mbrl.options.presets import OPTION, with_presets
from mbrl.options.seeds import seeds_among

_FILES = ("-c", "--config", "--model", "--print_config")  # what says that the settings come from elsewhere than a checkpoint
_HELP = ("-h", "--help")
FULL_HELP = "--full_help"
_FREQUENCIES = "--frequencies"
_BESIDE_FREQUENCIES = ("--random", "--max_return", "--offset")
_OVERRIDE = "--override"
STANDARD = "standard"  # the lengths that fas is defined by

_OWN = [  # of the command line itself
    (
        "--preset NAMES",
        "shipped settings by name, with commas before what goes over a preset; mbrl presets lists them",
    ),
    ("--config FILE", "settings, a YAML file; later ones and options override earlier ones"),
    (
        "--ckpt_path PATH",
        "a run or checkpoint folder; last: the newest checkpoint of the run itself; best: its best",
    ),
    ("--name NAME", "of the run; its folder is runs/NAME/seed<k>"),
    ("--variant NAME", "appended to the name"),
    ("--seed_everything K", "the seed, as data.init_args.seed"),
    ("--model CLASS", "planner or dynamics model; its settings are --model.init_args.NAME"),
    ("--data CLASS", "mbrl.envs.OnlineData or OfflineData; its settings are --data.init_args.NAME"),
    ("--model.help CLASS", "what a class takes; --data.help likewise"),
    ("--print_config", "show all settings and end"),
    ("--foreign", "trust a --config no more than a checkpoint"),
    (FULL_HELP, "all of this with Lightning's flags, and types"),
]
_OF_FIT = [
    ("--override", "resume although settings differ from the checkpoint's"),
    (
        "--seeds SEEDS",
        "such as 0..4 or 0,3,7: each in a process and in runs/NAME/seed<k>, where it goes on if it was interrupted; "
        "then a figure and a table of the returns",
    ),
    ("--workers N", "seeds at the same time (default: as many as there are cores)"),
]


def parse(command: str, arguments: list[str]) -> argparse.Namespace:
    """Reads the arguments after the command: `arguments` for Lightning's, or the options beside a checkpoint.

    Raises:
        ConfigError: for a preset that doesn't exist, or lacks its base, and for an option that lacks another.
    """
    arguments = with_presets(arguments)
    if FULL_HELP in arguments:
        return argparse.Namespace(command=command, arguments=["--help"])
    if command == "test" and (chosen := _of_frequencies(arguments)):
        return _frequencies(command, chosen)
    if command != "fit" and not any(argument.split("=")[0] in _FILES for argument in arguments):
        return _beside_checkpoint(command, arguments)
    if any(argument in _HELP for argument in arguments):
        sys.stdout.write(f"{_help(command)}\n")
        raise SystemExit(0)
    if command == "fit":
        return seeds_among(_with_value(_OVERRIDE, arguments))
    return argparse.Namespace(command=command, arguments=arguments)


def _with_value(flag: str, arguments: list[str]) -> list[str]:
    """The arguments with `true` behind a `flag` that stands alone, which Lightning's parser wants a value for."""
    after = [*arguments[1:], "--"]
    alone = [one == flag and other.startswith("--") for one, other in zip(arguments, after, strict=False)]
    return [f"{one}=true" if bare else one for one, bare in zip(arguments, alone, strict=True)]


def _beside_checkpoint(command: str, arguments: list[str]) -> argparse.Namespace:
    """Options of an evaluation or prediction for which a checkpoint says the rest."""
    also = ", and mbrl test --frequencies --help how to test at several decision frequencies" if command == "test" else ""
    parser = argparse.ArgumentParser(
        prog=f"mbrl {command}",
        description=f"Without --config or {OPTION}, everything is taken from the checkpoint; mbrl {command} --config FILE "
        f"--help says what can be set beside it{also}.",
    )
    add_run(parser)
    parser.add_argument("--folder", help="where results go (default: the run folder)")
    if command == "test":
        parser.add_argument("--episodes", type=int, help="episodes (default: as in training's configuration)")
        parser.add_argument("--video", action="store_true", help="write one more episode to test.gif")
        parser.add_argument("--dataset", help="for a model fitted alone: rows to test it on (default: its holdout)")
    if command == "predict":
        parser.add_argument("--dataset", required=True, help=DATASET)
        add_done(parser)
        parser.add_argument("--output", help="a .npz file (default: predictions.npz in the run folder)")
    return _of_one_run(parser, command, arguments)


def _of_frequencies(arguments: list[str]) -> list[str]:
    """The arguments, if they ask for a test at several decision frequencies; else none.

    Raises:
        ConfigError: for options of such a test without the one that asks for it.
    """
    given = [argument.split("=")[0] for argument in arguments]
    if _FREQUENCIES in given:
        return arguments
    alone = [option for option in _BESIDE_FREQUENCIES if option in given]
    if alone:
        raise ConfigError(
            f"mbrl test: expected {_FREQUENCIES} beside {' and '.join(alone)}, got none; add it, with steps per decision "
            "such as 1,2,4,8, or alone for those of fas."
        )
    return []


def _frequencies(command: str, arguments: list[str]) -> argparse.Namespace:
    """Options of a test at several decision frequencies."""
    parser = argparse.ArgumentParser(
        prog=f"mbrl {command} --frequencies",
        description="Evaluates a run's planner when it looks once in so many steps of the primitive environment.",
    )
    add_run(parser)
    parser.add_argument(
        "--frequencies", nargs="?", const=STANDARD, required=True,
        help="steps per decision, such as 1,2,4,8, or 1,2,4,...,30, which goes on by the last step (default: those of fas)",
    )  # fmt: skip
    parser.add_argument("--random", metavar="LOW:HIGH", help="one more evaluation at lengths drawn for each decision")
    parser.add_argument("--episodes", type=int, help="at each length (default: those of the run's test)")
    parser.add_argument("--max_return", type=float, help="that counts as 1 in fas (default: the authors', if they have one)")
    parser.add_argument("--offset", type=float, help="added to returns in fas (default: the authors', or 0)")
    parser.add_argument("--folder", type=Path, help="where results go (default: the run folder)")
    return _of_one_run(parser, command, arguments)


def _of_one_run(parser: argparse.ArgumentParser, command: str, arguments: list[str]) -> argparse.Namespace:
    given = read_one_run(parser, command, arguments)
    given.command, given.arguments = command, None
    return given


def _help(command: str) -> str:
    """The help of a command with settings: own options first, then those of the trainer that are the library's own."""
    width = min(shutil.get_terminal_size().columns, 120) - 2
    own = [*_OWN, *(_OF_FIT if command == "fit" else [])]
    trainer = described("training/trainer.py", "Trainer", ("training/run_trainer.py", "RunTrainer"))
    lines = [f"usage: mbrl {command} [{OPTION} NAMES] [--config FILE] [options]", "", "options:"]
    lines += [line for name, text in own for line in _entry(name, text, width)]
    lines += ["", "trainer (Lightning's other flags too, but for those that a run refuses):"]
    lines += [line for one in trainer for line in _entry(f"--trainer.{one.name}", _text(one), width)]
    return "\n".join([*lines, "", f"mbrl {command} --model.help CLASS says what a planner or a model takes."])


def _text(one: Described) -> str:
    return one.text if one.default in (None, "None") else f"{one.text} (default: {one.default})"


def _entry(name: str, text: str, width: int) -> list[str]:
    indent = " " * 24
    lines = textwrap.wrap(text, max(width, 40), initial_indent=indent, subsequent_indent=indent)
    if len(name) > 20:
        return [f"  {name}", *lines]
    return [f"  {name:<20}  {lines[0].strip()}" if lines else f"  {name}", *lines[1:]]
