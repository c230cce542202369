"""`mbrl search join`: works on a study that another machine started, with nothing but its name and its storage."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from mbrl.search.commands.workers import add_work, check_work, quiet, remarks, work
from mbrl.search.file.export import Parse
from mbrl.search.study.storage import check_url
from mbrl.search.study.study import join_study
from mbrl.search.study.warm_start import previous_trials


def run(arguments: list[str], allow: Sequence[str], parse: Parse) -> int:
    """Takes the search from the study and works; what it names outside `mbrl` needs `--allow`."""
    parser = argparse.ArgumentParser(
        prog="mbrl search join",
        description="Works on a study that was started elsewhere. Space, configurations and seeds come from the study; what "
        "they name outside mbrl is refused, unless its module is given: mbrl --allow MODULE search join ….",
        epilog="Exit codes: 0 done, 2 a search that can't be joined, 3 too many errors in a row, 130 and 143 interrupted.",
    )
    parser.add_argument("study", metavar="STUDY", help="the study's name")
    add_work(parser)
    given = parser.parse_args(arguments[1:])
    check_url(given.storage)
    check_work(given)
    with remarks(), quiet():
        study, search = join_study(given.study, given.storage, allow)
        again = ["search", "join", given.study]
        return work(study, search, given, allow, again, previous_trials(study, search, given.storage))
