"""`mbrl plot` and what it is made of: aligned curves, bands, groups of run folders, and one sentence for each mistake."""

from __future__ import annotations

import csv
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from mbrl.analysis import Curve, learning_curves, read_curves
from mbrl.cli import main
from mbrl.errors import ConfigError, DataError

ROOT = Path(__file__).parents[3]


def curve(run: str, points: dict[float, float]) -> Curve:
    return Curve(run, *(torch.tensor(list(part), dtype=torch.float64) for part in (points, points.values())))


def curves(groups: dict[str, list[Curve]], **options: Any) -> Any:
    return learning_curves(groups, generator=torch.Generator().manual_seed(0), **{"resamples": 200, **options})


def write_run(
    folder: Path,
    values: dict[int, float | None],
    env_id: str = "Pendulum-v1",
    finished: bool = True,
    model: dict[str, Any] | None = None,
    **data: Any,
) -> Path:
    """A run folder as training leaves it: lines with and without an evaluation."""
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = []
    for step, value in values.items():
        lines.append({"env_steps": step - 5, "train/return": 0.0, "time/wall_s": step / 10 - 0.5})
        lines.append({"env_steps": step, "eval/return": value, "eval/length": 200.0, "time/wall_s": step / 10})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = {"model": model or {}, "data": {"init_args": {"env_id": env_id, "seed": len(folder.name), **data}}}
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    if finished:
        (folder / "summary.json").write_text("{}")
    return folder


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`runs/mbpo` with three seeds and `runs/pets` with two, and the current folder above."""
    for seed in range(3):
        write_run(tmp_path / f"runs/mbpo/seed{seed}", {10: seed, 20: 10.0 + seed, 30: 20.0 + seed})
    for seed in range(2):
        write_run(tmp_path / f"runs/pets/seed{seed}", {10: 5.0, 20: 5.0 + seed, 30: 21.0 + seed})
    monkeypatch.chdir(tmp_path)
    return tmp_path / "runs"


def test_runs_that_went_on_with_other_settings_are_a_group_of_their_own(runs: Path) -> None:
    def model(lr: float) -> dict[str, Any]:
        return {"class_path": "mbrl.planners.Dyna", "init_args": {"lr": lr}}

    for seed in range(3):
        folder = write_run(runs / f"dyna/seed{seed}", {10: 1.0}, model=model(0.2))
        if seed == 2:
            earlier = {"model": model(0.1), "data": {"init_args": {"env_id": "Pendulum-v1"}}}
            (folder / "config.until-5.yaml").write_text(yaml.safe_dump(earlier))
    found = read_curves([str(runs / "dyna")])
    assert {name: len(curves) for name, curves in found.groups.items()} == {
        "dyna (lr not changed at 5)": 2, "dyna (lr 0.1 until 5)": 1,
    }  # fmt: skip
    assert found.notes == ["dyna/seed2 went on with other settings; it had lr 0.1 until 5."]
    (folder / "config.until-5.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match=r"config\.until-5\.yaml"):
        read_curves([str(runs / "dyna")])


# curves ------------------------------------------------------------------------------------------------------------------


def test_a_curve_between_its_points() -> None:
    x, y = np.array([1.0, 2.0, 4.0, 7.0]), np.array([0.5, -1.0, 3.0, 3.5])
    grid = np.concatenate([np.linspace(1, 7, 50), x])
    found = curve("run", dict(zip(x, y, strict=True))).at(torch.tensor(grid))
    np.testing.assert_allclose(found, np.interp(grid, x, y), rtol=1e-12)


def test_a_curve_ends_and_has_gaps() -> None:
    found = curve("run", {1: 1.0, 2: math.nan, 3: 3.0, 4: 5.0}).at(torch.tensor([0.0, 1.0, 1.5, 2.5, 3.0, 3.5, 4.0, 4.1]))
    np.testing.assert_array_equal(found, [np.nan, 1.0, np.nan, np.nan, 3.0, 4.0, 5.0, np.nan])
    assert curve("run", {3: 2.0}).at(torch.tensor([3.0], dtype=torch.float64)).tolist() == [2.0]


def test_a_curves_points_are_in_order() -> None:
    for points in ([2.0, 1.0], [1.0, 1.0], []):
        with pytest.raises(DataError, match="increasing x"):
            Curve("run", torch.tensor(points), torch.zeros(len(points)))


def test_runs_at_the_same_steps_are_not_interpolated() -> None:
    five = [curve(f"seed{k}", {10: float(k), 30: [0.0, 1.0, 2.0, 6.0, 100.0][k]}) for k in range(5)]
    band = curves({"X": five}).groups["X"]
    assert band.x.tolist() == [10, 30]
    assert band.value.tolist() == [2.0, 3.0]  # the middle three of five
    assert band.low[1] >= 0
    assert band.high[1] <= 100
    assert band.low[1] < 3 < band.high[1]
    assert curves({"X": five}, statistic="mean").groups["X"].value[1] == pytest.approx(109 / 5)
    assert band.final.value == 3.0


def test_a_group_covers_what_all_its_runs_cover() -> None:
    early, late = curve("seed0", {10: 0.0, 20: 10.0, 30: 20.0}), curve("seed1", {15: 2.0, 45: 8.0})
    found = curves({"X": [early, late]})
    band = found.groups["X"]
    assert band.x.tolist() == [15, 20, 30]
    assert band.value.tolist() == [(5 + 2) / 2, (10 + 3) / 2, (20 + 5) / 2]
    assert band.final.value == (20 + 8) / 2  # each run's own last
    assert found.summary()["X"]["ends_to"] == 45
    assert "X: the curve ends at env_steps 30, where seed0 ends; the longest run goes on to 45" in found.notes[0]


def test_many_points_become_a_grid() -> None:
    runs = [curve(f"seed{k}", {float(x) + k / 10: 2.0 * x for x in range(100)}) for k in range(2)]
    band = curves({"X": runs}, points=30).groups["X"]
    np.testing.assert_allclose(band.x, np.linspace(0.1, 99, 30))
    assert not band.value.isnan().any()


def test_runs_with_nothing_in_common() -> None:
    runs = [curve("seed0", {10: 0.0, 20: 1.0}), curve("seed1", {30: 0.0, 40: 1.0})]
    with pytest.raises(DataError, match="X to have some env_steps in common, but seed0 ends at 20 and seed1 begins at 30"):
        curves({"X": runs})


def test_what_is_not_finite_is_a_gap_with_its_place() -> None:
    runs = [curve("seed0", {10: 0.0, 20: math.nan, 30: 4.0}), curve("seed1", {10: 2.0, 20: 2.0, 30: 6.0})]
    found = curves({"X": runs})
    np.testing.assert_array_equal(found.groups["X"].value, [1.0, np.nan, 5.0])
    assert found.groups["X"].final.value == 5.0
    assert found.notes[0] == "X: eval/return of seed0 isn't finite at 1 points, first at 20."


def test_a_last_value_that_is_not_finite_leaves_no_final() -> None:
    runs = [curve("seed0", {10: 0.0, 20: math.nan}), curve("seed1", {10: 2.0, 20: 2.0})]
    found = curves({"X": runs})
    assert found.summary()["X"]["final"] is None
    assert "X: no final value, since the last of a run isn't finite." in found.notes
    assert "undefined" in found.lines()[1]


def test_one_run_has_no_band() -> None:
    found = curves({"X": [curve("seed0", {10: 1.0, 20: 3.0})]})
    assert found.groups["X"].low is None
    assert found.table()["high"] == [None, None]
    assert found.notes == ["One run, so no interval: X."]
    assert found.plot().axes[0].get_title() == "Learning curves of eval/return"


@pytest.mark.parametrize(
    ("groups", "options", "sentence"),
    [
        ({}, {}, "at least one group"),
        ({"X": []}, {}, "at least one run of X"),
        ({"X": []}, {"statistic": "max"}, "iqm, mean"),
    ],
)
def test_what_cannot_be_drawn(groups: dict[str, list[Curve]], options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        curves(groups, **options)


# folders and files -------------------------------------------------------------------------------------------------------


def test_seeds_of_a_folder_are_a_group(runs: Path) -> None:
    write_run(runs / "mbpo/seed10", {10: 9.0})
    write_run(runs / "alone", {10: 9.0})
    found = read_curves(["runs/mbpo", "runs/pets/seed1", "runs/alone/metrics.jsonl", "runs/mbpo/seed0"])
    assert {name: [one.run for one in group] for name, group in found.groups.items()} == {
        "mbpo": ["seed0", "seed1", "seed2", "seed10"],  # in order of number, and seed0 once
        "pets": ["seed1"],
        "alone": ["alone"],
    }
    assert found.groups["mbpo"][1].x.tolist() == [10, 20, 30]
    assert found.groups["mbpo"][1].y.tolist() == [1, 11, 21]
    assert found.tasks == dict.fromkeys(found.groups, "Pendulum-v1")
    assert found.notes == []


def test_groups_by_label_and_by_run(runs: Path) -> None:
    found = read_curves(["A=runs/mbpo/seed0", "A=runs/pets/seed0", "B=runs/mbpo"])
    assert {name: len(group) for name, group in found.groups.items()} == {"A": 2, "B": 3}
    found = read_curves(["runs/pets"], grouping="run")
    assert {name: len(group) for name, group in found.groups.items()} == {"pets/seed0": 1, "pets/seed1": 1}


def test_two_folders_of_one_name_stay_apart(runs: Path) -> None:
    write_run(runs / "other/mbpo/seed0", {10: 9.0})
    found = read_curves(["runs/mbpo", "runs/other/mbpo"])
    assert list(found.groups) == [str(runs / "mbpo"), str(runs / "other/mbpo")]


def test_other_metrics_and_clocks(runs: Path) -> None:
    found = read_curves(["runs/mbpo/seed0"], "train/return", "time/wall_s").groups["mbpo"][0]
    assert found.x.tolist() == [0.5, 1.5, 2.5]
    (runs / "model").mkdir()
    lines = [{"epoch": epoch, "model/loss": -1.0 * epoch} for epoch in range(3)]
    (runs / "model/metrics.jsonl").write_text("\n".join(map(json.dumps, lines)) + '\n{"epoch": 3, "model/l')  # killed
    assert read_curves(["runs/model"], "model/loss", "epoch").groups["model"][0].y.tolist() == [0, -1, -2]
    with pytest.raises(DataError, match="got none; draw them over epoch instead"):
        read_curves(["runs/model"], "model/loss")


def test_null_is_not_a_number(runs: Path) -> None:
    write_run(runs / "gone/seed0", {10: 1.0, 20: None})
    assert read_curves(["runs/gone"]).groups["gone"][0].y.isnan().tolist() == [False, True]


def test_seeds_without_the_metric_are_left_out_and_named(runs: Path) -> None:
    (runs / "mbpo/seed3").mkdir()
    write_run(runs / "mbpo/seed4", {})
    (runs / "mbpo/seed4/metrics.jsonl").write_text('{"env_steps": 5, "train/return": 1.0}\n')
    write_run(runs / "mbpo/seed5", {10: 1.0}, finished=False)
    found = read_curves(["runs/mbpo"])
    assert [one.run for one in found.groups["mbpo"]] == ["seed0", "seed1", "seed2", "seed5"]
    assert [note.split(",")[0] for note in found.notes] == [
        f"Left out: expected metrics in {runs}/mbpo/seed3/metrics.jsonl",
        f"Left out: expected the metric eval/return in {runs}/mbpo/seed4/metrics.jsonl",
        "Not finished: mbpo/seed5.",
    ]


def test_tasks_are_not_mixed(runs: Path) -> None:
    write_run(runs / "hopper/seed0", {10: 9.0}, env_id="Hopper-v5")
    found = read_curves(["runs/mbpo", "runs/hopper"])
    assert found.notes == ["The tasks differ, so the values can't be compared: Pendulum-v1 (mbpo), Hopper-v5 (hopper)."]
    with pytest.raises(DataError, match=r"one task in A, got Pendulum-v1 \(mbpo/seed2\) and Hopper-v5 \(hopper/seed0\)"):
        read_curves(["A=runs/mbpo", "A=runs/hopper"])


def planner(kind: str = "mbrl.planners.Dyna", **settings: Any) -> dict[str, Any]:
    return {"class_path": kind, "init_args": {"batch_size": 256, "seed": 3, **settings}}


def test_runs_of_other_settings_are_another_group_that_says_so(runs: Path) -> None:
    for seed in range(4):
        write_run(runs / f"mine/seed{seed}", {10: 9.0}, model=planner(lr=0.1 if seed < 2 else 0.2, hidden=[8, 8]))
    write_run(
        runs / "mine/seed4", {10: 9.0}, model={**planner(lr=0.1, hidden=[8, 8]), "class_path": "mbrl.planners.dyna.Dyna"}
    )
    found = read_curves(["runs/mine"])
    assert {name: len(group) for name, group in found.groups.items()} == {"mine (lr 0.1)": 3, "mine (lr 0.2)": 2}
    assert found.notes == []
    found = read_curves(["A=runs/mine"])  # whoever labels them wants them together, and is told
    assert len(found.groups["A"]) == 5
    assert found.notes == ["The runs of A differ in their settings: lr 0.1; lr 0.2."]


def test_folders_of_one_name_are_told_apart_by_their_settings(runs: Path) -> None:
    write_run(runs / "a/mine/seed0", {10: 9.0}, model=planner(lr=0.1))
    write_run(runs / "b/mine/seed0", {10: 9.0}, model=planner(lr=0.1, hidden=[8]))
    write_run(runs / "c/mine/seed0", {10: 9.0}, model=planner("mbrl.planners.PETS", horizon=3))
    found = read_curves(["runs/a/mine", "runs/b/mine"])
    assert list(found.groups) == ["mine (hidden.0 not set)", "mine (hidden.0 8)"]
    found = read_curves(["runs/a/mine", "runs/c/mine"])
    assert list(found.groups) == ["mine (model Dyna)", "mine (model PETS)"]


def test_a_task_is_its_environment_with_its_arguments(runs: Path) -> None:
    write_run(runs / "heavy/seed0", {10: 9.0}, env_kwargs={"g": 20.0})
    write_run(runs / "slow/seed0", {10: 9.0}, action_repeat=2)
    write_run(runs / "same/seed0", {10: 9.0}, env_kwargs={}, action_repeat=1)
    found = read_curves(["runs/mbpo", "runs/heavy", "runs/slow", "runs/same"])
    assert list(found.tasks.values()) == [
        "Pendulum-v1", "Pendulum-v1 (g=20.0)", "Pendulum-v1 (action_repeat=2)", "Pendulum-v1",
    ]  # fmt: skip
    assert "The tasks differ" in found.notes[0]


def test_csv_files_of_the_benchmarks() -> None:
    found = read_curves([str(ROOT / "benchmarks/learning/results/mbpo-pendulum.curve.csv")], x_name="time/wall_s")
    group = found.groups["mbpo-pendulum"]
    assert [one.run for one in group] == ["seed0", "seed1", "seed2"]
    assert group[0].x[0] == 10.0
    assert group[0].y[0] == -1407.1637702204287


def test_a_csv_of_a_single_run(runs: Path) -> None:
    (runs / "metrics.csv").write_text("env_steps,eval/return,model/loss\n10,1.5,2\n20,,3\n30,2.5,\n")
    assert read_curves(["A=runs/metrics.csv"]).groups["A"][0].x.tolist() == [10, 30]
    (runs / "metrics.csv").write_text("env_steps,return\n10,good\n")
    with pytest.raises(DataError, match=r"numbers in line 2 of runs/metrics.csv, got '10' and 'good'"):
        read_curves(["runs/metrics.csv"])
    (runs / "metrics.csv").write_text("env_steps,return\n")
    with pytest.raises(DataError, match="expected rows with return"):
        read_curves(["runs/metrics.csv"])


# the command -------------------------------------------------------------------------------------------------------------


def test_the_documented_command(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = re.findall(r"```bash\nmbrl (.*?)\n```", (ROOT / "docs/plot.md").read_text())
    assert len(command) == 2
    assert command[0] == "plot runs/mbpo runs/pets"
    assert main(command[0].split()) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0].split() == ["group", "runs", "final", "IQM", "95", "%", "interval", "env_steps"]
    assert said[1].split() == ["mbpo", "3", "21", "[20,", "22]", "30"]
    assert said[2].split() == ["pets", "2", "21.5", "[21,", "22]", "30"]
    assert (
        said[5] == "P(mbpo > pets) = 0.33  [0.00, 0.83]"
    )  # of six pairs one is won and two are ties; all 108 resamples give it
    assert "note: Bootstrap intervals of 2 runs are too narrow: read them as a hint." in said
    assert said[-2:] == ["figure   eval_return.png", "numbers  eval_return.csv"]
    assert Path("eval_return.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in Path().iterdir()) == ["eval_return.csv", "eval_return.png", "runs"]
    with Path("eval_return.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert rows[1] == {
        "group": "mbpo", "env_steps": "20", "eval/return iqm": "11.0", "low": "10.0", "high": "12.0", "runs": "3",
    }  # fmt: skip
    before = Path("eval_return.csv").read_bytes()
    assert main(command[0].split()) == 0  # the same again, in place of the older files
    assert Path("eval_return.csv").read_bytes() == before


def test_the_documented_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    ((command, output),) = re.findall(
        r"```bash\nmbrl ([^`]*?)\n```\n```text\n(.*?)\n```", (ROOT / "docs/plot.md").read_text(), re.DOTALL
    )
    monkeypatch.chdir(ROOT / "benchmarks/learning/results")  # where the files that the page links to lie
    assert main([*command.split(), "--out", str(tmp_path / "curves.png")]) == 0
    assert capsys.readouterr().out.split("\n\nfigure")[0] == output


def test_other_outputs(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--out", "a.svg", "--csv", "b.csv", "--x", "time/wall_s", "--metric", "eval/length", "--statistic", "mean"]
    assert main(["plot", "runs/mbpo/seed0", *options]) == 0
    assert "<svg" in Path("a.svg").read_text()
    assert Path("b.csv").read_text().splitlines()[0] == "group,time/wall_s,eval/length mean,low,high,runs"
    assert "P(" not in capsys.readouterr().out


def test_tasks_that_differ_are_not_compared(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in range(2):
        write_run(runs / f"hopper/seed{seed}", {10: 9.0}, env_id="Hopper-v5")
    assert main(["plot", "runs/mbpo", "runs/hopper"]) == 0
    said = capsys.readouterr().out
    assert "The tasks differ" in said
    assert "P(" not in said
    assert "Groups end at different env_steps" in said


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["runs/nowhere"], "expected a run folder at runs/nowhere, but there is none"),
        (["A=runs/nowhere"], "expected a run folder at runs/nowhere, but there is none"),
        (["runs"], "got neither; it holds others, give those: runs/begun, runs/late, runs/mbpo,"),
        (["runs/empty"], "seed0, seed1, … in runs/empty, got neither; train first"),
        (["runs/begun"], "begun/metrics.jsonl, got none; train first"),
        (["runs/mbpo", "--metric", "eval/retrun"], "choose one of eval/length, eval/return, time/wall_s, train/return."),
        (["runs/mbpo", "--x", "epoch"], "draw them over env_steps or time/wall_s instead"),
        (
            ["A=runs/mbpo/seed0", "A=runs/late"],
            "A to have some env_steps in common, but seed0 ends at 30 and late begins at 40",
        ),
        (["runs/mbpo", "--out", "a.jpg"], "--out: expected a name that ends in .png, .pdf, .svg, got a.jpg"),
        (["runs/mbpo", "--csv", "a.txt"], "--csv: expected a name that ends in .csv, got a.txt"),
        (["runs/mbpo", "--out", "figures/a.png"], "expected a folder figures to write a.png into, but there is none"),
        (
            ["runs/table.csv"],
            "expected a column eval/return or return in runs/table.csv, got none; choose one of env_steps, x.",
        ),
        (["runs/mbpo", "--csv", "runs/table.csv"], "runs/table.csv is another; give another name"),
        (["runs/mbpo", "--level", "95"], "expected a number above 0 and below 1, got 95.0"),
        (["runs/mbpo", "--points", "1"], "expected a whole number of at least 2, got 1"),
        (["runs/torn"], "config.yaml: expected YAML, got"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs / "empty").mkdir()
    (runs / "begun").mkdir()
    (runs / "begun/metrics.jsonl").touch()
    write_run(runs / "late", {40: 1.0})
    write_run(runs / "torn", {40: 1.0})
    (runs / "torn/config.yaml").write_text("a: [")
    (runs / "table.csv").write_text("env_steps,x\n1,2\n")
    assert main(["plot", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mbrl: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert [path.name for path in Path().iterdir()] == ["runs"]
    assert (runs / "table.csv").read_text() == "env_steps,x\n1,2\n"


def test_curves_are_told_apart_in_grey() -> None:
    groups = {f"method {n}": [curve(f"seed{k}", {1: n + k, 2: n - k}) for k in range(6)] for n in range(20)}
    axes = curves(groups, resamples=20).plot().axes[0]
    assert axes.get_xlabel() == "real environment steps"
    assert axes.get_ylabel() == "evaluation return (reward units)"
    styles = {(line.get_color(), line.get_linestyle()) for line in axes.lines}
    assert len(styles) == len(axes.lines) == 20
    assert axes.get_title() == "Interquartile mean over runs, 95 % bootstrap band"


def test_the_documented_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/plot.md").read_text(), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(block, "docs/plot.md", "exec"), names)
    assert "mine > other" in capsys.readouterr().out
    assert names["better"].estimates["mine", "other"].low > 0.5
    assert Path("scores.png").exists()
