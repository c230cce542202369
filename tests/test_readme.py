"""The README's Python block runs as it stands, with smaller numbers."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from mbrl.cli import COMMANDS
from mbrl.options.presets import searches, with_presets

ROOT = Path(__file__).parents[1]

# What is made smaller; each must be in the block once, so that a change there is seen here.
SMALLER = {
    "steps=5000": "steps=60, eval_episodes=1, test_episodes=2",
    "GaussianEnsemble()": "GaussianEnsemble(hidden=[8], max_updates=5)",
    "SAC(": "SAC(hidden=[8], ",
    "warmup_steps=500": "warmup_steps=30, rollouts_per_step=4, batch_size=16",
    "updates_per_step=10": "updates_per_step=1",
    "eval_every=500": "eval_every=20",
}


def python_block() -> str:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1
    return blocks[0]


def test_python_block_trains_tests_and_loads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = python_block()
    for large, small in SMALLER.items():
        assert code.count(large) == 1, large
        code = code.replace(large, small)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "runs/readme/metrics.jsonl").stat().st_size > 0
    assert names["planner"].env_steps == 60


def test_linked_files_exist() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    missing = [link for link in links if not (ROOT / link).exists() and not link.startswith("docs/figures/")]
    assert not missing


def texts() -> dict[str, str]:
    """The README, the pages of docs, and the shipped settings with their comments."""
    paths = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "mbrl/configs").rglob("*.yaml")]
    return {str(path.relative_to(ROOT)): path.read_text() for path in paths}


def test_presets_and_searches_in_commands_exist() -> None:
    """And none of the commands needs the files of a clone."""
    found = 0
    for name, text in texts().items():
        assert "--config configs/" not in text and "search run configs/" not in text, name
        for asked in re.findall(r"--preset (?:`)?([a-z][\w/,]*)", text):
            assert with_presets(["--preset", asked]), name
            found += 1
        for asked in re.findall(r"mbrl search (?:run|check) +([a-z]\w*)(?!\w*\.yaml)\b", text):
            assert asked in searches(), (name, asked)
    assert found > 30


def test_the_readmes_commands_are_taken() -> None:
    """Each by the parser of its command, from any folder."""
    (block,) = re.findall(r"```bash\n(mbrl presets.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    for line in block.strip().splitlines():
        words = shlex.split(line, comments=True)
        name = next(" ".join(words[1:n]) for n in (3, 2) if " ".join(words[1:n]) in COMMANDS)
        import_module(COMMANDS[name].options).parse(name, words[1 + len(name.split()) :])


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) < 80
