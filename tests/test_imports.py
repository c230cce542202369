"""Imports go one way, so that each folder can be read, tested and replaced without those to its right."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "mbrl"

# Each layer may import those before it and itself; names on one line don't know each other.
LAYERS: list[set[str]] = [
    {"activity", "child_process", "counted", "errors", "figure_style", "handled_signals", "replacing"},
    {"arguments", "names", "options"},
    {"spec"},
    {"parts"},
    {"data"},
    {"networks"},
    {"envs", "uncertainty"},
    {"models", "policies"},
    {"planners"},
    {"training"},
    {"__init__"},  # `import mbrl` gives the short names (load, Trainer)
    {"analysis"},
    {"search"},
    {"cli"},
]
TESTING = "testing"  # may import all, and nobody imports it


def level(part: str) -> int:
    for number, names in enumerate(LAYERS):
        if part in names:
            return number
    raise AssertionError(f"mbrl.{part} belongs to no layer: give it one in {__file__}")


def part_of(path: Path) -> str:
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def base_of(node: ast.ImportFrom, package: tuple[str, ...]) -> str:
    """The module after `from`, in full where it is given by dots."""
    base = node.module or ""
    if node.level:
        base = ".".join((*package[: len(package) - node.level + 1], *([base] if base else [])))
    return base


def imported_parts(tree: ast.AST, package: tuple[str, ...]) -> set[tuple[str, int]]:
    """Which parts of mbrl a module imports (inside functions and `TYPE_CHECKING` too), with line numbers."""
    found: set[tuple[str, int]] = set()
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = base_of(node, package)
            # `from mbrl import data` imports a part, `from mbrl import load` a name of the package itself
            names = [f"{base}.{alias.name}" for alias in node.names] if base == "mbrl" else [base]
        for name in names:
            first, *rest = name.split(".")
            if first != "mbrl":
                continue
            part = rest[0] if rest else "__init__"
            known = part == TESTING or any(part in layer for layer in LAYERS)
            exists = (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").exists()
            found.add((part if known or exists else "__init__", node.lineno))
    return found


def wrong_imports(part: str, tree: ast.AST, package: tuple[str, ...]) -> list[str]:
    if part == TESTING:
        return []
    wrong = []
    for other, line in sorted(imported_parts(tree, package)):
        if other == part or (part == "__init__" and other in ("training", "errors", "spec", "data")):
            continue
        if other == TESTING or level(other) >= level(part):
            wrong.append(f"line {line}: mbrl.{part} imports mbrl.{other}")
    return wrong


def module_files() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def test_every_import_goes_leftwards() -> None:
    wrong = []
    for path in module_files():
        package = ("mbrl", *path.relative_to(PACKAGE).parent.parts)
        found = wrong_imports(part_of(path), ast.parse(path.read_text()), package)
        wrong += [f"{path.relative_to(ROOT)} {message}" for message in found]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("data", "from mbrl.envs import Experience"),
        ("data", "def f():\n    import mbrl.planners.base"),
        ("models", "from mbrl.policies import Policy"),
        ("networks", "from mbrl.models import DynamicsModel"),
        ("errors", "from mbrl.spec import plain"),
        ("planners", "if TYPE_CHECKING:\n    from mbrl.training import Trainer"),
        ("planners", "from mbrl import load"),
        ("planners", "from mbrl.testing import LinearModel"),
        ("envs", "from ..planners import base"),
        ("envs", "from .. import planners"),
    ],
)
def test_a_wrong_import_is_seen(part: str, source: str) -> None:
    assert wrong_imports(part, ast.parse(source), ("mbrl", part))


@pytest.mark.parametrize(
    ("part", "source"),
    [
        ("envs", "from mbrl.data import Task\nfrom mbrl.errors import TaskError\nimport torch"),
        ("envs", "from .experience import Experience\nfrom ..data import Task"),
        ("planners", "from mbrl.models import DynamicsModel\nfrom mbrl.policies import Policy"),
        ("testing", "import mbrl.cli"),
        ("cli", "from mbrl import load, training"),
    ],
)
def test_a_right_import_is_let_through(part: str, source: str) -> None:
    assert not wrong_imports(part, ast.parse(source), ("mbrl", part))


def import_graph(sources: Mapping[str, str]) -> dict[str, set[str]]:
    """Which modules each module imports, inside functions and `TYPE_CHECKING` too.

    A name that a package passes on is followed to the module that has it, and being inside a package imports nothing of it.

    Args:
        sources: source text by dotted name; a package's `__init__` goes by the package's name and `.__init__`.
    """
    packages = {name.removesuffix(".__init__") for name in sources if name.endswith(".__init__")}
    trees = {name: ast.parse(source) for name, source in sources.items()}

    def parent(name: str) -> tuple[str, ...]:
        return tuple(name.split("."))[:-1]

    def home(base: str, name: str) -> str:
        """The module that `from base import name` needs."""
        if f"{base}.{name}" in sources or f"{base}.{name}" in packages:
            base = f"{base}.{name}"
        elif base in packages:
            for node in ast.walk(trees[f"{base}.__init__"]):
                if isinstance(node, ast.ImportFrom) and name in {alias.asname or alias.name for alias in node.names}:
                    names = {alias.asname or alias.name: alias.name for alias in node.names}
                    return home(base_of(node, tuple(base.split("."))), names[name])
        return f"{base}.__init__" if base in packages else base

    graph: dict[str, set[str]] = {name: set() for name in sources}
    for name, tree in trees.items():
        for node in ast.walk(tree):
            found: list[str] = []
            if isinstance(node, ast.Import):
                found = [home(*alias.name.rpartition(".")[::2]) for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                found = [home(base_of(node, parent(name)), alias.name) for alias in node.names]
            graph[name].update(module for module in found if module in sources)
    return graph


def circle_in(graph: Mapping[str, set[str]]) -> list[str]:
    """Modules that import each other in a ring, the first one again at the end; empty if there are none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_no_modules_import_each_other_in_a_circle() -> None:
    sources = {".".join(path.relative_to(ROOT).with_suffix("").parts): path.read_text() for path in module_files()}
    graph = import_graph(sources)
    assert "mbrl.planners.rollouts.imagination" in graph["mbrl.planners.rollouts.imagined_learning"]
    assert "mbrl.models.base" in graph["mbrl.planners.dyna"], "the package passes DynamicsModel on"
    circle = circle_in(graph)
    assert not circle, " → ".join(circle)


@pytest.mark.parametrize(
    ("sources", "circle"),
    [
        ({"mbrl.p.a": "import mbrl.p.b", "mbrl.p.b": "def f():\n    from mbrl.p.a import A"}, True),
        ({"mbrl.p.a": "from . import b", "mbrl.p.b": "if TYPE_CHECKING:\n    from .a import A"}, True),
        (
            {"mbrl.p.a": "from mbrl.p.b import B", "mbrl.p.b": "from mbrl.p.c import C", "mbrl.p.c": "from mbrl.p import A"},
            True,
        ),
        ({"mbrl.p.a": "from mbrl.p import b", "mbrl.p.b": "from mbrl.q import run", "mbrl.q": "import mbrl.p.a"}, True),
        ({"mbrl.p.a": "from mbrl.p.b import B", "mbrl.p.b": "import torch\nfrom mbrl import errors"}, False),
        ({"mbrl.p.a": "", "mbrl.p.b": "from mbrl.p import A"}, False),  # what a package passes on is its module's
    ],
)
def test_a_circle_is_seen(sources: dict[str, str], circle: bool) -> None:
    package = {"mbrl.__init__": "", "mbrl.p.__init__": "from mbrl.p.a import A\nfrom mbrl.p.b import B"}
    assert bool(circle_in(import_graph({**package, **sources}))) is circle


def test_root_links_lead_into_the_package() -> None:
    for name in ("models", "planners"):
        link = ROOT / name
        assert link.is_symlink(), f"{name} at the root is the link to mbrl/{name}"
        assert os.readlink(link) == f"mbrl/{name}"


def test_importing_the_package_is_light() -> None:
    """`import mbrl` alone loads no torch: the command's help and errors come at once."""
    code = "import sys, mbrl; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
