"""`mbrl search report`: what it says of studies of every kind, and what its files hold."""

from __future__ import annotations

import csv
import html
import math
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState

from mbrl.analysis.short_names import short_names
from mbrl.cli import dispatch
from mbrl.errors import ConfigError, DataError
from mbrl.search.confirmation.runs import confirmation_study, new_round, queue, store_round
from mbrl.search.file.search_file import SearchFile
from mbrl.search.report import ParameterEffects, against, model_check, search_history
from mbrl.search.report.optuna_pictures import _front
from mbrl.search.report.search_history import SearchHistory, best_so_far
from mbrl.search.report.search_region import SearchRegion
from mbrl.search.report.search_report import search_report
from mbrl.search.report.trial_runs import Timeline
from mbrl.search.sampler import BOSampler, predictions
from mbrl.search.study import best_yaml as best_module
from mbrl.search.study.best_yaml import best_of, leave_best
from mbrl.search.study.storage import load_study
from mbrl.search.study.study import bo_sampler, open_study

URL = "journal://study.log"
X, KIND, WEIGHT = "model.init_args.x", "model.init_args.kind", "model.init_args.kind.init_args.weight"
WRITTEN: dict[str, Any] = {
    "study": "fake",
    "objectives": [{"metric": "eval/return", "direction": "maximize", "reduce": "mean_last_2"}],
    "space": {
        X: {"float": [0.1, 10], "log": True, "start": 1.0},
        KIND: {"choice": ["plain", "tilted"], "start": "plain"},
        WEIGHT: {"int": [1, 9], "when": {KIND: ["tilted"]}},
    },
    "seeds": {"tune": [0, 1], "select": [50], "test": [100, 101]},
    "budget": {"trials": 8},
}
TWO = [{"metric": "a", "direction": "maximize"}, {"metric": "b", "direction": "minimize"}]
POINTS: list[dict[str, Any]] = [
    {X: 1.0, KIND: "plain"}, {X: 0.3, KIND: "plain"}, {X: 3.0, KIND: "tilted", WEIGHT: 2}, {X: 2.0, KIND: "plain"},
    {X: 8.0, KIND: "tilted", WEIGHT: 7}, {X: 2.5, KIND: "tilted", WEIGHT: 5},
]  # fmt: skip


@pytest.fixture(autouse=True)
def _folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("mbrl.options.search.STORAGE", URL)
    monkeypatch.setattr(os, "fsync", lambda file: None)  # on a busy disk it is most of a test
    monkeypatch.chdir(tmp_path)
    optuna.logging.set_verbosity(optuna.logging.WARNING)


def parse(arguments: list[str]) -> Mapping[str, Any]:
    """In place of the real parser: all that was given was taken."""
    config = next((text.removeprefix("--config=") for text in arguments if text.startswith("--config=")), None)
    if config is None:
        config = Path(arguments[arguments.index("--config") + 1]).read_text()
    return {"model": {}, "data": {}, **yaml.safe_load(config)}


def report(*arguments: str) -> int:
    return dispatch(["search", "report", *arguments], (), parse)


def value(params: Mapping[str, Any]) -> float | None:
    """Diverges at the upper end."""
    return None if params[X] > 7 else -((params[X] - 2.0) ** 2) - 0.1 * params.get(WEIGHT, 0)


def study(
    of: Callable[[Mapping[str, Any]], Any] = value, count: int = len(POINTS), **changes: Any
) -> tuple[optuna.Study, SearchFile]:
    search = SearchFile.from_text(yaml.safe_dump({**WRITTEN, **changes}), [])
    made = open_study(search, URL)
    for params in POINTS[:count]:
        if params != POINTS[0]:
            made.enqueue_trial(params)
        trial = made.ask()
        search.space.suggest(trial)
        found = of(params)
        for name, what in {"seeds": [0], "host": "here", "wall_s": 36.0, "env_steps": 500}.items():
            trial.set_user_attr(name, what)
        trial.set_user_attr("outcome", "diverged" if found is None else "ok")
        if found is None:
            made.tell(trial, state=TrialState.FAIL)
            continue
        if not isinstance(found, list):
            trial.report(found - 1, 10)
            trial.report(found, 20)
        made.tell(trial, found)
    return made, search


def test_names_are_as_short_as_they_can_be() -> None:
    names = ["model.init_args.dynamics.init_args.members", "model.init_args.rollout_length.1", "a.b.size", "a.c.size", "x"]
    assert list(short_names(names).values()) == ["members", "rollout_length.1", "b.size", "c.size", "x"]


def test_the_whole_report(capsys: pytest.CaptureFixture[str]) -> None:
    from matplotlib import pyplot as plt
    from matplotlib import rcParams

    before = plt.get_fignums(), rcParams["axes.facecolor"]
    made, search = study()
    study(lambda params: -params[X], study="rival", sampler={"name": "random"})
    runs = confirmation_study(search, URL)
    chosen = new_round(made, search, 1)
    store_round(runs, chosen)
    assert chosen.start is not None
    queue(runs, [chosen.candidates[0], chosen.start], [100, 101])
    for number in range(4):
        trial = runs.ask()
        search.space.suggest(trial)
        runs.tell(trial, 10.0 + number)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert report("fake", "--against", "rival") == 0
    folder = Path("runs/fake/report")
    text = capsys.readouterr().out
    assert "fake: 5 ok, 1 diverged" in text and f"best     {folder}/best.yaml" in text
    assert f"Run it: mbrl fit --config {folder}/best.yaml\n" in text, "from where the command stands"
    assert chosen.candidates[0].trial == 3, "x = 2 is the best"
    written = (folder / "best.yaml").read_text()
    assert "# Study fake after 6 trials: trial 3, the best of those that were run on unseen seeds." in written
    assert (
        "observed 0 (1 run, seed 0), expected" in written.replace("-0 (", "0 (")
        and "the model's mean and standard" in written
    )
    assert "On 2 unseen seeds (100, 101): interquartile mean 10.5, 95 % interval 10 to 11, none failed." in written
    assert yaml.safe_load(written)["model"]["init_args"] == {"x": 2.0, "kind": "plain"}
    with (folder / "trials.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["outcome"] for row in rows] == ["ok"] * 4 + ["diverged", "ok"]
    assert rows[4]["value"] == "" and rows[2][WEIGHT] == "2" and rows[0][WEIGHT] == "" and rows[0]["env_steps"] == "500"
    pictures = {path.stem for path in folder.glob("*.png")}
    assert pictures >= {"history", "effects", "model_check", "confirmation", "against", "curves", "timeline", "effects1"}
    assert pictures >= {"contour", "parallel"} and not pictures & {"region", "importances"}
    page = (folder / "report.html").read_text()
    assert page.count("data:image/") == len(pictures) and "http" not in page.replace("http-equiv", "")
    assert "no configuration was chosen by our model" in page and "real steps in all</th>" in page
    first, rest = page.partition("<nav")[::2]
    assert f'<pre class="copied">{written}</pre>' in html.unescape(first), "it can be copied as it stands"
    assert "Recommended settings: best.yaml" in first and "best.yaml</h2>" not in rest
    assert rest.count("The importance of a parameter is how far the expected value moves") == 1 and "PED-ANOVA" not in page
    summary = (folder / "summary.md").read_text()
    assert "- real steps in all: 3000" in summary and f"- `{X}`: 2.0" in summary
    with (folder / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert history[-1]["recommended_trial"] == "3" and history[0]["best_observed"] == "-1.0" == history[1]["best_observed"]
    assert (plt.get_fignums(), rcParams["axes.facecolor"]) == before


def test_several_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    study(lambda params: [params[X], params[X] ** 2 if KIND else 0.0], objectives=TWO)
    assert report("fake", "--out", "here") == 0
    page = Path("here/report.html").read_text()
    assert page.count('<pre class="copied">') == 6 and page.count("bars add up to 1 (PED-ANOVA, Watanabe2023)") == 2
    assert {"pareto_front.png", "hypervolume.png", "slice_0.png", "importances_1.png"} <= set(os.listdir("here"))
    assert {path.name for path in Path("here").glob("best*.yaml")} == {f"best-{number}.yaml" for number in range(6)}
    text = capsys.readouterr().out
    assert "has several objectives" in text and "6 configurations that none is expected to beat" in text
    assert text.count("; b ") == 6 and "best-0  " in text
    Path("file").touch()
    with pytest.raises(ConfigError, match="--folder: expected a folder, got file, which is a file"):
        report("fake", "--out", "file")


def test_the_front_is_drawn_where_it_is_expected() -> None:
    from matplotlib import pyplot as plt

    trials = [optuna.trial.create_trial(values=[float(x), 2.0 * x]) for x in range(3)]
    for number, trial in enumerate(trials):
        trial.number = number
    for expected, at in (([(0.5, 0.25, 0.75), (3.0, 2.0, 4.5)], (0.5, 3.0)), ([], (1.0, 2.0))):
        axes = _front(trials, ["a", "b"], {1: expected})
        observed, across, up, square = axes.get_lines()
        assert list(observed.get_xdata()) == [0.0, 1.0, 2.0] and (square.get_xdata()[0], square.get_ydata()[0]) == at
        assert [text.get_text() for text in axes.texts] == ["1"]
        if expected:
            assert list(across.get_xdata()) == [0.25, 0.75] and list(up.get_ydata()) == [2.0, 4.5]
        plt.close(axes.figure)


def test_the_region_is_drawn_where_there_is_something_to_see() -> None:
    with_side = SearchRegion({3: {"side": 0.8, "pending": 0}, 4: {"side": 0.4, "pending": 2}})
    busy, alone = SearchRegion({3: {"side": None, "pending": 2}}), SearchRegion({3: {"side": None, "pending": 0}})
    assert with_side.worth_drawing and busy.worth_drawing and not alone.worth_drawing
    assert len(with_side.plot().axes) == 2 and len(busy.plot().axes) == 1


@pytest.mark.parametrize(("hours", "label", "end"), [(1.5, "minutes", 90.0), (3.0, "hours", 3.0)])
def test_the_timeline_has_a_unit_that_fits(hours: float, label: str, end: float) -> None:
    found = Timeline([(0, "ok", "here", 0.0, hours)])
    assert found.in_short() == [f"{end:g} {label} of trials in {end:g} {label} on 1 machine."]
    axes = found.plot().axes[0]
    assert axes.get_xlabel() == f"{label} since the first began"
    assert axes.patches[0].get_width() == pytest.approx(end)


@pytest.mark.parametrize("count", [1, 3])
def test_few_trials(count: int, capsys: pytest.CaptureFixture[str]) -> None:
    study(count=count)
    assert report("fake") == 0
    text = capsys.readouterr().out
    assert f"{count} of the trials finished with a value; a model needs 5" in text and "expected " not in text
    assert f"the most promising of {count} with a value" in text and "prefers" not in text
    assert Path("runs/fake/report/best.yaml").exists()


def test_all_failed(capsys: pytest.CaptureFixture[str]) -> None:
    made, search = study(lambda params: None)
    assert report("fake") == 0 and best_of(made, search) == []
    assert "no best.yaml: no trial has finished with a value" in capsys.readouterr().out
    assert not Path("runs/fake/report/best.yaml").exists() and Path("runs/fake/report/trials.csv").exists()


def test_nothing_to_report_and_nothing_to_compare() -> None:
    study(count=0)
    with pytest.raises(DataError, match="expected a study with a trial that has finished, got 1 waiting"):
        report("fake")
    one, _ = study(study="one", count=2)
    study(lambda params: [1.0, 2.0], study="two", count=2, objectives=TWO)
    none, _ = study(lambda params: None, study="none", count=2)
    with pytest.raises(ConfigError, match="--against: expected a study with the objectives of one"):
        report("one", "--against", "two")
    with pytest.raises(DataError, match="got none, which has none"):
        against(one, none)
    with pytest.raises(DataError, match="got one twice"):
        against(one, load_study("one", URL))


def test_the_other_search_counts_failures_as_worse_than_all() -> None:
    one, _ = study()
    other, _ = study(lambda params: -params[X], study="other", count=4)
    found = against(one, other, metric="return")
    assert found.summary()["fake"]["failed"] == 1 and found.summary()["other"]["median"] == pytest.approx(-1.5)
    left = found.plot().axes[0]
    assert left.get_lines()[0].get_ydata()[0] == pytest.approx(1 / 6), "below all values lies the failed one"
    assert any("6 and 4 trials" in note for note in found.notes)


@pytest.mark.parametrize("direction", ["maximize", "minimize"])
def test_a_report_knows_which_values_are_good(direction: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Effects call the lesser value the best of a cost, and Optuna's plots, which colour by it, are given the direction."""
    from optuna.visualization import matplotlib as plots

    given: list[tuple[str, Any]] = []
    for name in ("plot_parallel_coordinate", "plot_contour"):
        drawn = getattr(plots, name)

        def watched(of: optuna.Study, *rest: Any, drawn: Any = drawn, **options: Any) -> Any:
            given.append((of.direction.name.lower(), options.get("target")))
            return drawn(of, *rest, **options)

        monkeypatch.setattr(plots, name, watched)
    objectives = [{**WRITTEN["objectives"][0], "direction": direction}]
    made, search = study(lambda params: None if params[X] > 7 else (params[X] - 2.0) ** 2, objectives=objectives)
    found = search_report(made, search)
    (effects,) = (part for part in found.parts if isinstance(part, ParameterEffects))
    (history,) = (part for part in found.parts if isinstance(part, SearchHistory))
    failed = next(line for line in history.plot().axes[0].get_lines() if line.get_label() == "failed")
    assert bool(failed.get_ydata()[0] < 0.5) is (direction == "maximize"), "by the worst values"
    assert given == [(direction, None)] * 2
    for said in effects.summary().values():
        better = said["expected at best"] - said["expected at worst"]
        assert better >= 0 if direction == "maximize" else better <= 0


def test_the_model_tells_which_values_it_does_not_take_as_they_are() -> None:
    made, search = study(lambda params: None if params[X] > 7 else -1e4 if params[X] == 1 else -params[X])
    said = predictions(made, bo_sampler(search))
    cut, failed = sum(said.leave_one_out.cut), sum(said.leave_one_out.failed)
    assert (cut, failed) == (1, 1)
    assert any("Of 6 trials the model takes 1 for less bad" in note and "1 that failed" in note
               for note in model_check(said).notes)  # fmt: skip


def test_best_so_far() -> None:
    trials = [optuna.trial.create_trial(value=v) if v is not None else optuna.trial.create_trial(state=TrialState.FAIL)
              for v in (None, 3.0, 1.0, 5.0)]  # fmt: skip
    assert best_so_far(trials, optuna.study.StudyDirection.MAXIMIZE) == [None, 3.0, 3.0, 5.0]
    assert best_so_far(trials, optuna.study.StudyDirection.MINIMIZE) == [None, 3.0, 1.0, 1.0]


def test_history_knows_no_later_trials() -> None:
    made, search = study()
    found = search_history(made, bo_sampler(search), points=3)
    assert [moment.trials for moment in found.moments] == [2, 4, 6]
    assert found.moments[0].recommended.trial.number in (0, 1) and found.moments[1].recommended.trial.number == 3


def test_history_of_a_study_whose_every_failure_counts() -> None:
    """As of an Optuna user's objective that returns NaN."""
    sampler = BOSampler({"x": FloatDistribution(0, 1)}, failures=("all",))
    made = optuna.create_study(direction="maximize", sampler=sampler)
    made.optimize(lambda trial: math.nan if trial.suggest_float("x", 0, 1) > 0.5 else trial.params["x"], n_trials=5)
    found = search_history(made, sampler, points=2)
    assert len(found.trials) == 5 == found.moments[-1].trials and found.summary()["failed"] > 0
    assert len(found.plot().axes) == 1


def test_a_search_leaves_its_best(capsys: pytest.CaptureFixture[str]) -> None:
    made, search = study()
    leave_best(made, search, Path("runs/fake"), parse)
    assert "It is in runs/fake/best.yaml" in capsys.readouterr().out
    assert yaml.safe_load(Path("runs/fake/best.yaml").read_text())["model"]["init_args"]["x"] == 2.0
    assert list(Path("runs/fake").iterdir()) == [Path("runs/fake/best.yaml")], "nothing else is left behind"
    two, of_two = study(lambda params: [1.0, 2.0], study="two", count=1, objectives=TWO)
    leave_best(two, of_two, Path("runs/two"), parse)
    assert not Path("runs/two").exists() and best_module.FEW == 5
