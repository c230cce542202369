"""`mbrl search join`: works on a study that another machine started, with nothing but its name and its storage."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from mbrl.search.commands.workers import check_work, work
from mbrl.search.file.export import Parse
from mbrl.search.study.study import join_study
from mbrl.training.output import plain_warnings, quiet


def run(given: Namespace, allow: Sequence[str], parse: Parse) -> int:
    """Takes the search from the study and works; names in it from outside `mbrl` need `--allow`."""
    check_work(given)
    with plain_warnings(), quiet("optuna"):
        study, search = join_study(given.study, given.storage, allow)
        return work(study, search, given, allow, ["search", "join", given.study])
