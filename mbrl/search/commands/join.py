"""`mbrl search join`: works on a study that another machine started, with nothing but its name and its storage."""

from __future__ import annotations

from collections.abc import Sequence

from mbrl.search.commands.workers import add_work, check_work, study_parser, work
from mbrl.search.file.export import Parse
from mbrl.search.study.study import join_study
from mbrl.training.output import plain_warnings, quiet


def run(arguments: list[str], allow: Sequence[str], parse: Parse) -> int:
    """Takes the search from the study and works; names in it from outside `mbrl` need `--allow`."""
    parser = study_parser(
        "search join",
        "Works on a study that was started elsewhere. Space, configurations and seeds come from the study; what they name "
        "outside mbrl is refused, unless its module is given: mbrl --allow MODULE search join ….",
        "Exit codes: 0 done, 2 a search that can't be joined, 3 too many errors in a row, 130 and 143 interrupted.",
    )
    add_work(parser)
    given = parser.parse_args(arguments[1:])
    check_work(given)
    with plain_warnings(), quiet("optuna"):
        study, search = join_study(given.study, given.storage, allow)
        return work(study, search, given, allow, ["search", "join", given.study])
