"""One input of each kind and one kill; `python -m benchmarks.armour` tries many, and its page says what became of them."""

from __future__ import annotations

import csv
import signal
from pathlib import Path

import pytest

from benchmarks.armour import kills
from benchmarks.armour.children import Ended, in_child
from benchmarks.armour.inputs import all_inputs, try_one
from benchmarks.armour.judging import GOOD, VERDICTS, judge
from benchmarks.armour.materials import Materials
from benchmarks.armour.table import PAGE, RESULTS, counted, draw, replaced

# Ctrl-C and what these end don't warn
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

CHOSEN = {
    "checkpoint": "tensors: saved with a payload",
    "dataset": "npz: a huge header",
    "configuration": "text: an object's tag",
    "environment": "check: four values",
    "command line": "collect rows.npz --env_id Pendulum-v1",
    "run folder": "an empty folder",
    "study": "file: study '../x'",
    "predictions": "predictions.npz is a file already",
    "Python": "Dyna(SAC(), GaussianEnsemble())",
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Materials:
    return Materials(tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("kind", CHOSEN)
def test_one_input_of_each_kind(kind: str, whole: Materials, tmp_path: Path) -> None:
    (tried,) = (tried for tried in all_inputs(whole) if (tried.kind, tried.name) == (kind, CHOSEN[kind]))
    verdict, message = try_one(tried, tmp_path)
    assert verdict in GOOD, message


def test_every_kind_is_there_and_no_name_twice(whole: Materials) -> None:
    names = [(tried.kind, tried.name) for tried in all_inputs(whole)]
    assert {kind for kind, _ in names} == set(CHOSEN)
    assert len(set(names)) == len(names) >= 400


def ended(code: int = 2, told: str = "mbrl: expected a, got b; do c.\n", *, hung: bool = False) -> Ended:
    return Ended(code, hung, "", told)


@pytest.mark.parametrize(
    ("verdict", "what", "after"),
    [
        ("sentence", ended(), {"a": "1"}),
        ("sentence", ended(told="usage: mbrl check\nmbrl check: error: unrecognized arguments: -x\n"), {"a": "1"}),
        ("wrongly accepted", ended(0, ""), {"a": "1"}),
        ("traceback", ended(1, "Traceback (most recent call last):\nKeyError: 3\n"), {"a": "1"}),
        ("silent", ended(1, ""), {"a": "1"}),
        ("silent", ended(2, "mbrl: warning: it may rain.\n"), {"a": "1"}),
        ("hang", ended(-9, hung=True), {"a": "1"}),
        ("died", ended(-11), {"a": "1"}),
        ("marker", ended(), {"a": "1", "marker": "0"}),
        ("lost", ended(), {"a": "2"}),
        ("lost", ended(), {}),
    ],
)
def test_verdicts(verdict: str, what: Ended, after: dict[str, str]) -> None:
    assert verdict in VERDICTS
    assert judge(what, {"a": "1"}, after, may=False)[0] == verdict


def test_who_may_be_accepted_still_leaves_others_files() -> None:
    assert judge(ended(0, ""), {"a": "1"}, {"a": "2"}, may=True)[0] == "accepted"
    assert judge(ended(0, ""), {"mine.txt": "1"}, {"mine.txt": "2"}, may=True)[0] == "lost"


def test_a_child_says_how_it_ended(tmp_path: Path) -> None:
    def fails() -> None:
        raise KeyError("arm")

    found = in_child(fails, tmp_path, tmp_path / "notes")
    assert found.code == 1 and found.told.startswith("Traceback (most recent call last):")
    assert in_child(signal.pause, tmp_path, tmp_path / "notes", (signal.SIGKILL, 0.05)).code == -signal.SIGKILL


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, float]:
    root = tmp_path_factory.mktemp("kills")
    return (root, *kills.made(root, "fit of a model alone"))


def test_one_kill(unbroken: tuple[Path, Path, float]) -> None:
    row = kills.kill(unbroken[0], "fit of a model alone", *unbroken[1:], seed=0)
    assert row["verdict"] == "equal", row


def test_a_loss_would_be_seen(unbroken: tuple[Path, Path, float]) -> None:
    _, whole, _ = unbroken
    lines = (whole / "metrics.jsonl").read_text().splitlines(keepends=True)
    lost = whole.with_name("lost")
    lost.mkdir()
    (lost / "metrics.jsonl").write_text("".join(lines[:-1]))
    assert kills.same_model(whole, lost) == ["metrics"]


def test_the_page_is_drawn_from_the_results(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE.read_text())
    draw(RESULTS, page)
    assert page.read_text() == PAGE.read_text(), "python -m benchmarks.armour draw"
    with (RESULTS / "inputs.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) >= 400
    assert counted([{"kind": "a", "verdict": "x"}], "kind", ["x", "y"]).splitlines()[2:] == [
        "| a | 1 | 1 | 0 |",
        "| all | 1 | 1 | 0 |",
    ]
    with pytest.raises(ValueError, match="marks"):
        replaced("a page without marks", "inputs", "")
