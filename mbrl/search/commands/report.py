"""`mbrl search report`: plots, tables and the best configuration of a study."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Sequence

from mbrl.errors import ConfigError
from mbrl.search.confirmation.confirmation import read_confirmation
from mbrl.search.confirmation.runs import find_confirmation
from mbrl.search.file.export import Parse
from mbrl.search.report.search_report import PAGE, search_report
from mbrl.search.study.storage import load_study, open_storage, redacted
from mbrl.search.study.study import RUNS, read_search
from mbrl.training.output import plain_warnings, quiet, tell


def run(given: Namespace, allow: Sequence[str], parse: Parse) -> int:
    """Writes a study's report and prints its sentences."""
    if given.folder is not None and given.folder.exists() and not given.folder.is_dir():
        raise ConfigError(f"--folder: expected a folder, got {given.folder}, which is a file; give another.")
    with plain_warnings(), quiet("optuna"):
        study = load_study(given.study, given.storage)
        search = read_search(study)
        search.check_names(allow)  # the parser makes the parts that the study names
        other = None
        if given.against is not None:
            other = load_study(given.against, given.storage)
            theirs = read_search(other)
            if theirs.objectives != search.objectives:
                raise ConfigError(
                    f"--against: expected a study with the objectives of {given.study}, got {given.against}'s; name another."
                )
        runs = find_confirmation(study, open_storage(given.storage)) if len(search.objectives) == 1 else None
        confirmed = None if runs is None else read_confirmation(runs, search, study)
        found = search_report(study, search, where=redacted(given.storage), confirmed=confirmed, other=other)
        folder = RUNS / search.study / "report" if given.folder is None else given.folder
        configs = found.write(folder, parse)
    lines = [f"{search.study}: {found.about['trials']}"]
    if len(search.objectives) > 1:
        lines += (
            [f"  {len(found.best)} configurations that none is expected to beat in all objectives:"] if found.best else []
        )
        lines += [f"    trial {best.trial}: {best.brief}" for best in found.best]
    else:
        for best, path in zip(found.best, configs, strict=True):  # from here the file isn't where it says of itself
            lines += [f"  {line}".replace(f"--config {path.name}", f"--config {path}") for line in best.comment]
    lines += [f"  {part.title}: {sentence}" for part in found.parts for sentence in part.in_short()]
    lines += [f"  {path.stem:<8} {path}" for path in configs] or ["  no best.yaml: no trial has finished with a value"]
    tell("\n".join([*lines, f"  report   {folder / PAGE}"]))
    return 0
