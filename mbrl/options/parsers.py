"""Parts that the commands' parsers share."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace

RUN = "a run folder, a checkpoint folder, or its model.pt"
DATASET = "a .npz, an HDF5 file in D4RL's layout, or a Minari dataset"


def add_run(parser: ArgumentParser) -> None:
    """Adds a run, which is named first or by `--ckpt_path`."""
    parser.add_argument("run", metavar="RUN", nargs="?", help=RUN)
    parser.add_argument("--ckpt_path", help="the same")


def read_one_run(parser: ArgumentParser, command: str, arguments: list[str]) -> Namespace:
    """Reads the arguments, among which a run stands once (`add_run`); where, doesn't matter to `ckpt_path`."""
    given = parser.parse_args(arguments)
    if (given.run is None) == (given.ckpt_path is None):
        parser.error(f"expected one run, got none or two; name it first: mbrl {command} RUN.")
    given.ckpt_path = given.ckpt_path or given.run
    return given


def add_done(parser: ArgumentParser) -> None:
    """Adds `--done`."""
    parser.add_argument("--done", choices=["terminated"], help="take a dataset's column done for the end of the task")


def add_older(parser: ArgumentParser, name: str, now: str) -> None:
    """Has an option taken by its name in earlier versions too, of which the help says nothing.

    Args:
        parser: that has the option already.
        name: the older one.
        now: today's, without dashes.
    """
    kind = next(action.type for action in parser._actions if action.dest == now)
    parser.add_argument(name, dest=now, type=kind or str, help=SUPPRESS, default=SUPPRESS)
