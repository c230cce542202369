"""A model report: what all analyses found, and the files that tell it."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mbrl.analysis.model_report.verdict import Verdict, verdict
from mbrl.analysis.page import page
from mbrl.analysis.result import Result, Skipped
from mbrl.analysis.written_numbers import finite
from mbrl.arguments import check_known
from mbrl.errors import RunFolderError
from mbrl.training.files import make_writable, write_whole

PAGE, NUMBERS = "report.html", "report.json"

_PREFACE = (
    "Errors are in standard deviations: of the observation for rollouts of several steps, of the change in one step for "
    "single ones. A dash stands for what is undefined or not applicable; the notes say why."
)


@dataclass(frozen=True)
class Report:
    """The results of all analyses.

    Attributes:
        about: what was looked at, plain data by name.
        parts: a result each, or why there is none.
    """

    about: Mapping[str, Any]
    parts: Sequence[Result | Skipped] = field(repr=False)

    def part(self, name: str) -> Result | Skipped:
        """The part of that name, such as `open_loop`.

        Raises:
            ConfigError: if there is none.
        """
        parts = {part.name: part for part in self.parts}
        check_known("Report.part", name, parts)
        return parts[name]

    @property
    def verdict(self) -> Verdict:
        """The judgement: whether the model can be trusted, how far, where not, and what to do."""
        return verdict(self.about, self.parts)

    def to_json(self) -> dict[str, Any]:
        """The verdict, and all summaries and notes, as plain data, with null for what is undefined."""
        parts = {part.name: {**part.to_json(), "in_short": part.in_short()} for part in self.parts}
        return {"verdict": asdict(self.verdict), "about": finite(self.about), "parts": parts}

    def write(self, folder: str | os.PathLike[str], *, overwrite: bool = False) -> Path:
        """Writes `report.html`, `report.json` and a CSV file for each result, all of them or none.

        Args:
            folder: made if there is none.
            overwrite: whether to replace a report that is there.

        Returns:
            The page.

        Raises:
            RunFolderError: if the folder holds a report already, or is none.
        """
        folder = Path(folder)
        check_folder(folder, [part.name for part in self.parts], overwrite=overwrite)
        about = dict(self.about)
        seen = about.pop("seen", None)
        text = page(
            f"Model report: {self.about.get('model', '')}",
            about,
            self.parts,
            verdict=[*self.verdict.sentences, *([seen] if seen else [])],
            preface=_PREFACE,
        )
        made = _made(folder)
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with tempfile.TemporaryDirectory(prefix=".report-", dir=folder) as beside:
                tables = [part for part in self.parts if isinstance(part, Result)]
                for table in tables:
                    table.to_csv(Path(beside) / f"{table.name}.csv")
                write_whole(Path(beside) / NUMBERS, f"{json.dumps(self.to_json(), indent=1, allow_nan=False)}\n".encode())
                write_whole(Path(beside) / PAGE, text.encode())
                for name in (*(f"{table.name}.csv" for table in tables), NUMBERS, PAGE):
                    os.replace(Path(beside) / name, folder / name)
            for part in self.parts:
                if not isinstance(part, Result):
                    (folder / f"{part.name}.csv").unlink(missing_ok=True)  # of an older report, which this one replaces
        finally:
            _leave_no_empty(made)
        return folder / PAGE


def check_folder(folder: Path, parts: Sequence[str], *, overwrite: bool) -> None:
    """Refuses a folder that holds a report, which took time to make, and one that can't be written, before more time goes.

    Args:
        folder: for the report.
        parts: names of the report's parts.
        overwrite: whether a report that is there may be replaced.

    Raises:
        RunFolderError: naming what is there, or what is wrong.
    """
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"expected a folder for the report, but {folder} is a file; name another.")
    names = [PAGE, NUMBERS, *(f"{part}.csv" for part in parts)]
    there = [name for name in names if (folder / name).exists()]
    if there and not overwrite:
        raise RunFolderError(
            f"expected a folder without a report, but {folder} holds {', '.join(there)}; give --folder another, or "
            "--overwrite."
        )
    made = _made(folder)
    try:
        make_writable(folder, "--out")
    finally:
        _leave_no_empty(made)  # the analyses may still refuse, and then nothing is left behind


def _made(folder: Path) -> list[Path]:
    """The folders that are to be made for `folder`, innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _leave_no_empty(made: Sequence[Path]) -> None:
    for path in made:
        if path.exists() and not any(path.iterdir()):
            path.rmdir()
