"""The table of verdicts by kind, drawn from the CSV files into `docs/robustness.md`."""

from __future__ import annotations

import csv
import functools
import subprocess
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
RESULTS = Path(__file__).parent / "results"
PAGE = ROOT / "docs" / "robustness.md"
BEGIN, END = "<!-- {name}: drawn by python -m benchmarks.armour draw -->", "<!-- end of {name} -->"


@functools.cache
def commit() -> str:
    """The commit that is measured, with a + where files differ from it."""
    found = [
        subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()
        for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain", "mbrl"])
    ]
    return found[0] + ("+" if found[1] else "")


def read(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def counted(rows: Sequence[dict[str, str]], by: str, columns: Sequence[str]) -> str:
    """A Markdown table of how often each verdict was reached.

    Args:
        rows: with a verdict each.
        by: the column whose values make the lines.
        columns: verdicts, in order; those that nobody reached stay, as zeros.
    """
    kinds = list(dict.fromkeys(row[by] for row in rows))
    lines = [[by, "tried", *columns], ["---", *["---:"] * (len(columns) + 1)]]
    for kind in [*kinds, ""]:
        verdicts = Counter(row["verdict"] for row in rows if kind in ("", row[by]))
        lines.append([kind or "all", *(str(n) for n in (verdicts.total(), *(verdicts[name] for name in columns)))])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def replaced(page: str, name: str, table: str) -> str:
    """A page with another table between its two marks.

    Raises:
        ValueError: if it has no such marks.
    """
    begin, end = BEGIN.format(name=name), END.format(name=name)
    if begin not in page or end not in page:
        raise ValueError(f"expected the marks {begin} and {end} in the page, got none; put them where the table belongs.")
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n{table}\n{end}{after}"


def draw(results: Path = RESULTS, page: Path = PAGE) -> None:
    """Puts the tables of both CSV files into the page."""
    from benchmarks.armour.judging import VERDICTS

    text = page.read_text(encoding="utf-8")
    inputs = read(results / "inputs.csv")
    text = replaced(text, "inputs", counted(inputs, "kind", VERDICTS))
    kills = read(results / "kills.csv")
    for row in kills:
        row["verdict"] = row["verdict"].partition(":")[0]
    text = replaced(text, "kills", counted(kills, "what", ("equal", "differs", "does not go on")))
    page.write_text(text, encoding="utf-8")
