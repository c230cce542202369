"""Every known-answer check is a test, excused with a reason, or belongs to work that is not yet ordered."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

TESTS = Path(__file__).parent

# id: why no test reproduces it.
EXCUSED: dict[str, str] = {
    **dict.fromkeys(
        ("gp-10", "gp-11"),
        "analytic moment matching isn't built: at 7 ms a step (300 rows, 4 outputs) the 97 plans of 20 steps of a decision "
        "at 20 Hz would take 14 s, and particles (`mm`) do its work",
    ),
    "lipschitz-D15": "Björck's iteration isn't built: QR makes weights orthogonal exactly, and in one step",
    "lipschitz-D16": "AOL isn't built: spectral clipping and orthogonal weights leave no slack for it to fill",
    "lipschitz-D17": "element-wise clipping of weights isn't built: its bound is too loose to be of use",
    "srl-9.7": "a comparison of trained models, which a benchmark makes",
    "vagram-K19": "a comparison of trained models, which a benchmark makes",
}

# Families of methods that are not built yet.
_UNORDERED_FAMILIES: tuple[str, ...] = ()
# Checks among these that the parts built so far have to reproduce all the same.
_ORDERED = {
    "coplanner-35",
}
_UNORDERED_COPLANNER = {f"coplanner-{number}" for number in range(32, 40)}


def known_ids() -> list[str]:
    lines = (TESTS / "check_ids.txt").read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def not_yet_ordered(ids: Iterable[str]) -> set[str]:
    return {name for name in ids if name.split("-")[0] in _UNORDERED_FAMILIES} - _ORDERED


def marked_ids(source: str, where: str) -> dict[str, str]:
    """The ids of all `…mark.check("id", …)` in a test file, each with the place of its first use."""
    found: dict[str, str] = {}
    for node in ast.walk(ast.parse(source)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "check"):
            continue
        owner = node.func.value
        if not (
            (isinstance(owner, ast.Attribute) and owner.attr == "mark")
            or (isinstance(owner, ast.Name) and owner.id == "mark")
        ):
            continue
        for argument in node.args:
            if not (isinstance(argument, ast.Constant) and isinstance(argument.value, str)):
                raise AssertionError(f"{where}:{node.lineno}: expected the check's id as a literal string")
            found.setdefault(argument.value, f"{where}:{node.lineno}")
    return found


def faults(ids: list[str], covered: dict[str, str], excused: dict[str, str], unordered: set[str]) -> list[str]:
    messages = [f"{name} is listed twice" for name in sorted(set(ids)) if ids.count(name) > 1]
    messages += [f"{covered[name]}: {name} is no known check" for name in sorted(set(covered) - set(ids))]
    messages += [
        f"{name} is no known check but excused or unordered" for name in sorted((set(excused) | unordered) - set(ids))
    ]
    messages += [f"{name} is excused without a reason" for name, reason in excused.items() if not reason.strip()]
    for name in dict.fromkeys(ids):
        states = [
            state
            for state, holds in (
                ("covered", name in covered),
                ("excused", name in excused),
                ("not yet ordered", name in unordered),
            )
            if holds
        ]
        if len(states) != 1:
            messages.append(f"{name} is {' and '.join(states) or 'neither covered, excused nor unordered'}")
    return messages


def test_every_check_is_accounted_for() -> None:
    ids = known_ids()
    covered: dict[str, str] = {}
    for path in sorted(TESTS.rglob("test_*.py")):
        if path != Path(__file__):
            covered |= marked_ids(path.read_text(), str(path.relative_to(TESTS.parent)))
    found = faults(ids, covered, EXCUSED, not_yet_ordered(ids))
    assert not found, "\n".join(found)


def test_marks_are_found_in_every_form() -> None:
    source = (
        "pytestmark = pytest.mark.check('a-1')\n"
        "@pytest.mark.check('a-2', 'a-3')\n@pytest.mark.check('a-4')\ndef test_x(): ...\n"
        "pytest.param(1, marks=pytest.mark.check('a-5'))\nsuite.check('not-a-mark')\n"
    )
    assert set(marked_ids(source, "x")) == {"a-1", "a-2", "a-3", "a-4", "a-5"}


def test_each_fault_is_named() -> None:
    assert faults(["a-1", "a-2"], {"a-1": "f:1"}, {}, {"a-2"}) == []
    assert "neither" in faults(["a-1"], {}, {}, set())[0]
    assert "no known check" in faults([], {"a-9": "f:1"}, {}, set())[0]
    assert "covered and not yet ordered" in faults(["a-1"], {"a-1": "f:1"}, {}, {"a-1"})[0]
    assert "covered and excused" in faults(["a-1"], {"a-1": "f:1"}, {"a-1": "why"}, set())[0]
    assert "without a reason" in faults(["a-1"], {}, {"a-1": " "}, set())[0]
    assert "twice" in faults(["a-1", "a-1"], {"a-1": "f:1"}, {}, set())[0]
