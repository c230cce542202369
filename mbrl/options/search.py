"""Options of `mbrl search …`."""

from __future__ import annotations

from argparse import SUPPRESS, ArgumentParser, Namespace
from pathlib import Path

from mbrl.options.parsers import add_older
from mbrl.options.presets import search_file, searches

STORAGE = "sqlite:///study.db"  # where a study lies if nobody says
TOP = 3  # configurations that a confirmation selects among

_ABOUT = {  # what a command does, and what its help ends with
    "check": ("Tells whether a search can start, before any trial.", None),
    "run": (
        "Starts a search, or goes on with it: the same command after a kill continues. Run folders are in "
        "runs/<study>/<trial>/seed<k>; runs/<study>/best.yaml is what it recommends at the end.",
        "Exit codes: 0 done, 2 a search that can't start, 3 too many errors in a row, 130 and 143 interrupted.",
    ),
    "join": (
        "Works on a study that was started elsewhere. Space, configurations and seeds come from the study; what they name "
        "outside mbrl is refused, unless its module is given: mbrl --allow MODULE search join ….",
        "Exit codes: 0 done, 2 a search that can't be joined, 3 too many errors in a row, 130 and 143 interrupted.",
    ),
    "status": ("Says how far a study is, who works on it, and its best configuration.", None),
    "confirm": (
        "Runs the configurations that a search recommends most on its select seeds, keeps the best of them, and runs that "
        "one and the search's start on its test seeds. The same command after a kill goes on.",
        "Exit codes: 0 done, 2 a study that can't be confirmed, 3 runs that ended by an error, 130 and 143 interrupted.",
    ),
    "report": (
        "Writes plots, tables and the best configuration of a study: report.html, its pictures as PNG and its tables as "
        "CSV, trials.csv, summary.md, and best.yaml, which mbrl fit --config takes. What an older report left there is "
        "replaced.",
        None,
    ),
    "retry": (
        "Queues failed trials again, with the same configuration, seeds and run folder, where they go on from the last "
        "checkpoint; mbrl search run, or a worker that is at work, runs them, whatever the budget.",
        None,
    ),
    "stop": (
        "Workers of the study, on all machines, finish the trial that they run and leave; mbrl search run goes on.",
        None,
    ),
}


def parse(command: str, arguments: list[str]) -> Namespace:
    """Reads the arguments after `mbrl search COMMAND`."""
    name = command.split()[-1]
    about, ends = _ABOUT[name]
    parser = ArgumentParser(prog=f"mbrl {command}", description=about, epilog=ends)
    if name in ("check", "run"):
        shipped = ", ".join(searches())
        parser.add_argument("search", metavar="SEARCH", help=f"the search file, or the name of a shipped one: {shipped}")
    else:
        parser.add_argument("study", metavar="STUDY", help="the study's name")
    if name != "check":
        parser.add_argument(
            "--storage",
            metavar="URL",
            default=STORAGE,
            help=f"where the study lies (default: {STORAGE}): sqlite:///FILE for one machine; journal://FILE for several on "
            "one shared file system, where SQLite may break; postgresql://USER@HOST/DATABASE or mysql://… for several "
            "anywhere, with the password in PGPASSWORD (MYSQL_PWD) or a pgpass file",
        )
    if name in ("run", "join"):
        parser.add_argument("--trials", type=int, help="trials of the whole study (default: budget.trials)")
        parser.add_argument("--hours", type=float, help="begin no trial after so many hours (default: budget.hours)")
    if name in ("run", "join", "confirm"):
        parser.add_argument("--workers", type=int, default=1, help="runs at the same time (default: 1)")
        parser.add_argument("--device", help="a worker's device: cpu, or a list such as cuda:0,cuda:1 that they share out")
    if (more := _MORE.get(name)) is not None:
        more(parser)
    given = parser.parse_args(arguments)
    if name in ("check", "run"):
        given.search = search_file(given.search)
    return given


def _run(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--from",
        dest="earlier",
        metavar="STUDY[:k]",
        help="begin a new search with the k best configurations (default: 3) of an earlier study of the same storage",
    )
    parser.add_argument("--dry-run", action="store_true", help="check all, show what would be done, and write nothing")


def _confirm(parser: ArgumentParser) -> None:
    parser.add_argument("--top", type=int, help=f"configurations to select among (default: {TOP})")
    parser.add_argument("--again", action="store_true", help="take the best configurations anew, after more trials")
    parser.add_argument("--queued", action="store_true", help=SUPPRESS)  # what is queued, as one of several workers
    parser.set_defaults(trials=None, hours=None)  # all that is queued


def _report(parser: ArgumentParser) -> None:
    parser.add_argument("--folder", type=Path, help="folder for it (default: runs/STUDY/report)")
    add_older(parser, "--out", "folder")
    parser.add_argument(
        "--against", metavar="STUDY", help="put another study of the same storage beside it, such as a random one"
    )


def _retry(parser: ArgumentParser) -> None:
    parser.add_argument("numbers", metavar="N", type=int, nargs="+", help="numbers of trials")


_MORE = {"run": _run, "confirm": _confirm, "report": _report, "retry": _retry}  # options of one command alone
