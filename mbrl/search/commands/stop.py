"""`mbrl search stop`: lets all workers of a study finish what they run, and leave."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from mbrl.search.file.export import Parse
from mbrl.search.study.storage import load_study
from mbrl.search.study.study import ask_to_stop
from mbrl.training.output import tell


def run(given: Namespace, allow: Sequence[str], parse: Parse) -> int:
    """Marks the study; `mbrl search run` takes the mark away."""
    ask_to_stop(load_study(given.study, given.storage), True)
    tell(f"{given.study}: workers leave after the trial that they run")
    return 0
