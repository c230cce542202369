"""`mbrl search stop`: lets all workers of a study finish what they run, and leave."""

from __future__ import annotations

from collections.abc import Sequence

from mbrl.search.commands.workers import study_parser
from mbrl.search.file.export import Parse
from mbrl.search.study.storage import load_study
from mbrl.search.study.study import ask_to_stop
from mbrl.training.output import tell


def run(arguments: list[str], allow: Sequence[str], parse: Parse) -> int:
    """Marks the study; `mbrl search run` takes the mark away."""
    parser = study_parser(
        "search stop",
        "Workers of the study, on all machines, finish the trial that they run and leave; mbrl search run goes on.",
    )
    given = parser.parse_args(arguments[1:])
    ask_to_stop(load_study(given.study, given.storage), True)
    tell(f"{given.study}: workers leave after the trial that they run")
    return 0
