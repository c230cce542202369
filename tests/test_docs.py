"""The documentation is true where a test can tell: links, commands, snippets, settings, and the site's own pages."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
import yaml

from mbrl.cli import COMMANDS, usage
from mbrl.envs import OfflineData
from mbrl.names import import_name

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(
    [
        *ROOT.glob("*.md"),
        *DOCS.rglob("*.md"),
        *ROOT.glob("benchmarks/*/README.md"),
        ROOT / "notebooks/README.md",
    ]
)
OTHERS = {"mine", "policy_runner", "numpy", "torch", "pytorch_lightning"}  # modules of readers, and of other projects


def named(pages: list[Path]) -> list[Any]:
    return [pytest.param(page, id=str(page.relative_to(ROOT))) for page in pages]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The ends of links to a page's headings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    words = (re.sub(r"[`*]|\]\([^)]*\)|\[", "", title).lower() for title in re.findall(r"^#+ (.+)$", text, re.MULTILINE))
    return {re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", title).strip()) for title in words}


def site(name: str) -> ModuleType:
    """A module of the site's, from its file."""
    pytest.importorskip("mkdocs")
    spec = importlib.util.spec_from_file_location(f"site_{name}", DOCS / "site" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", named(PAGES))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for link, anchor in re.findall(r"\]\(([^)\s#:]*)(?:#([^)\s]*))?\)", text):
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), f"{link}#{anchor}"


def commands(page: Path) -> Iterator[str]:
    for block in blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if line.strip().startswith("mbrl ") and "…" not in line:
                yield line.strip()


@pytest.mark.parametrize("page", named([page for page in PAGES if any(commands(page))]))
def test_commands_are_taken(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each by the parser of its command, in a folder that is no clone."""
    monkeypatch.chdir(tmp_path)
    for line in commands(page):
        words = shlex.split(line.partition(" > ")[0], comments=True)[1:]
        while words[0] in ("--allow", "--traceback", "--foreign"):  # options of every command
            words = words[2:] if words[0] == "--allow" else words[1:]
        if words[0].startswith("--"):
            assert words[0] in usage(), line
            continue
        name = next((" ".join(words[:n]) for n in (2, 1) if " ".join(words[:n]) in COMMANDS), "")
        assert name, line
        importlib.import_module(COMMANDS[name].options).parse(name, words[len(name.split()) :])


@pytest.mark.parametrize("page", named(PAGES))
def test_commands_stand_where_they_are_tested(page: Path) -> None:
    """In blocks of bash, but for synopses, whose options stand in brackets."""
    text = re.sub(r"^```bash\n.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    for block in re.findall(r"^```\w*\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        assert not [line for line in block.splitlines() if line.startswith("mbrl ") and "[" not in line]


def test_runs_are_where_presets_put_them() -> None:
    settings = [yaml.safe_load(path.read_text()) for path in (ROOT / "mbrl/configs").rglob("*.yaml")]
    names, variants = ({each[key] for each in settings if key in each} for key in ("name", "variant"))
    known = names | {f"{name}-{variant}" for name in names for variant in variants}
    known |= {"NAME", "mbpo-lift", "dyna-Pendulum-v1"}  # a placeholder, of mbrl init, and of a run without a preset
    for page in PAGES:
        assert set(re.findall(r"runs/([\w.-]+)/seed\d", page.read_text())) <= known, page.name


@pytest.mark.parametrize("page", named([page for page in PAGES if blocks(page, "python")]))
def test_python_compiles_and_its_names_exist(page: Path) -> None:
    for block in blocks(page, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] not in OTHERS:
                module = importlib.import_module(node.module)
                assert all(hasattr(module, alias.name) for alias in node.names), ast.unparse(node)


def class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("class_path"), str):
            yield value["class_path"]
        for item in value.values():
            yield from class_paths(item)
    elif isinstance(value, list):
        for item in value:
            yield from class_paths(item)


@pytest.mark.parametrize("page", named([page for page in PAGES if blocks(page, "yaml")]))
def test_classes_in_yaml_exist(page: Path) -> None:
    for block in blocks(page, "yaml"):
        for name in class_paths(yaml.safe_load(block)):
            if name.split(".")[0] not in OTHERS - {"pytorch_lightning"}:
                import_name(name, allow=None)


def test_a_dataset_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    record, use = blocks(DOCS / "own_dataset.md", "python")
    exec(compile(record, "own_dataset.md", "exec"), {})
    data = OfflineData("oven.npz", action_low=[0.0], action_high=[2000.0])
    data.setup("fit")
    assert data.transitions is not None and len(data.transitions) == 2000
    assert np.load("oven.npz")["action"].max() == 2000.0  # watts
    assert len(OfflineData("other.npz", action_low=[0.0], action_high=[2000.0]).transitions) == 500, "for the report"
    assert "load_policy" in use


def test_a_callback_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (code,) = blocks(DOCS / "callbacks_and_loggers.md", "python")
    for large, small in {
        "GaussianEnsemble()": "GaussianEnsemble(2, 2, [8], max_updates=5, weight_decay=0.0)",
        "SAC()": "SAC(hidden=[8])",
        "warmup_steps=500": "warmup_steps=30, rollouts_per_step=4, batch_size=16",
        "updates_per_step=10": "updates_per_step=1",
        "eval_every=500": "eval_every=20",
        "steps=4000": "steps=60, eval_episodes=1",
    }.items():
        assert code.count(large) == 1, large
        code = code.replace(large, small)
    names: dict[str, Any] = {}
    exec(compile(code, "callbacks_and_loggers.md", "exec"), names)
    assert names["best"].best > float("-inf") and names["best"].at in (20, 40, 60)


# the site --------------------------------------------------------------------------------------------------------------


def menu(entry: Any) -> Iterator[str]:
    if isinstance(entry, str):
        yield entry
    else:
        for item in entry.values() if isinstance(entry, dict) else entry:
            yield from menu(item)


def test_the_menu_has_each_page_once() -> None:
    linked = site("linked_files")
    listed = list(menu(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"]))
    assert len(listed) == len(set(listed))
    assert all((ROOT / linked.in_project(uri)).is_file() for uri in listed)
    assert {str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md")} <= set(listed)


def test_every_package_has_a_page() -> None:
    inner = {"mbrl.configs", "mbrl.options", "mbrl.search"}  # YAML, and what commands do
    packages = {f"mbrl.{path.parent.name}" for path in ROOT.glob("mbrl/*/__init__.py")} - inner
    told = {
        name
        for page in DOCS.glob("reference/api/*.md")
        for name in re.findall(r"^::: (\S+)", page.read_text(), re.MULTILINE)
    }
    assert packages <= told


@pytest.mark.parametrize(
    ("page", "link", "there"),
    [
        ("mpc.md", "model_as_env.md", "model_as_env.md"),
        ("mpc.md", "../benchmarks/learning/README.md#planning", "project/benchmarks/learning/README.md#planning"),
        ("reference/api/models.md", "../../extending.md#a-model", "../../extending.md#a-model"),
        ("index.md", "docs/figures/report.png", "figures/report.png"),
        ("index.md", "benchmarks/learning", "project/benchmarks/learning/README.md"),
        ("project/benchmarks/learning/README.md", "../../docs/mpc.md", "../../../mpc.md"),
        ("project/CONTRIBUTING.md", "README.md#what-it-is-not", "../index.md#what-it-is-not"),
        ("mpc.md", "not_there.md", "not_there.md"),
        ("mpc.md", "https://example.org/a.md", "https://example.org/a.md"),
    ],
)
def test_links_out_of_docs_lead_to_copies(page: str, link: str, there: str) -> None:
    linked = site("linked_files")
    at = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    assert linked.on_page_markdown(f"a [b]({link}) c", at, None, None) == f"a [b]({there}) c"


PACKAGES = re.findall(r"<!-- settings: (\S+) -->", (DOCS / "reference/configuration.md").read_text())


@pytest.mark.parametrize("package", PACKAGES)
def test_every_setting_has_a_meaning(package: str) -> None:
    """So that a table has no empty cell."""
    settings = site("settings")
    kinds = settings.classes(package)
    assert kinds
    empty = [f"{kind.__name__}.{name}" for kind in kinds for name, _, _, text in settings.settings(kind) if not text]
    assert not empty


def test_settings_are_those_of_the_constructor() -> None:
    settings = site("settings")
    from mbrl.models import GaussianEnsemble

    found = {name: rest for name, *rest in settings.settings(GaussianEnsemble)}
    assert found["members"][:2] == ["a whole number of at least 1", "`7`"]
    assert "max_epochs" in found  # of a base, taken by keyword
    table = settings.on_page_markdown("<!-- settings: mbrl.uncertainty -->", None, None, None)
    assert "### MeanDisagreement" in table and "<!--" not in table
    assert all(line.replace("\\|", "").count("|") == 5 for line in table.splitlines() if line.startswith("|"))
