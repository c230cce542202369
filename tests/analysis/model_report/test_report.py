"""`mbrl report` from end to end: what applies to which checkpoint, what is said instead, and a page that is safe to open."""

from __future__ import annotations

import base64
import copy
import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from mbrl.analysis import REPORT_PARTS, OneStepError, OpenLoopError, Report, Result, Skipped, report
from mbrl.analysis.data_uri import data_uri
from mbrl.analysis.forecasts.exact_model import find_truth
from mbrl.analysis.model_report.report_files import check_folder
from mbrl.analysis.page import page
from mbrl.cli import main
from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import OfflineData, VectorExperience, collect, make_task
from mbrl.errors import ConfigError, DataError, UnsupportedError
from mbrl.models import Blend, GaussianEnsemble, GaussianProcess, Pendulum, SimulatorModel
from mbrl.planners import OfflineDyna
from mbrl.policies import SAC
from mbrl.testing import LinearModel, linear_task
from mbrl.training import summary
from mbrl.uncertainty import MeanDisagreement
from tests.analysis.faulty_model import exact_model, faulty, linear_episodes
from tests.training.test_kill_and_resume import dyna, same_state
from tests.training.toy import ToyPlanner, data, trainer

PARTS = ["open_loop", "one_step", "calibration", "uncertainty", "reward", "value", "plan"]
PICTURES = ("data:image/svg+xml;base64,", "data:image/png;base64,")
SHORT = {"max_episode_steps": 25}


@pytest.fixture(scope="module", autouse=True)
def _no_curves() -> Iterator[None]:
    """The figure at a run's end takes longer than these runs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(summary, "draw_curve", lambda *arguments: False)
        yield


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pendulum, eight episodes of 25 steps."""
    path = tmp_path_factory.mktemp("data") / "pendulum.npz"
    return Path(collect(make_task("Pendulum-v1", SHORT), str(path), steps=200))


@pytest.fixture(scope="module")
def model_run(dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "run"
    model = GaussianEnsemble(hidden=[8], members=3, elites=2, weight_decay=0.0)
    offline = OfflineData(str(dataset), env_id="Pendulum-v1", env_kwargs=SHORT)
    trainer(folder, max_epochs=1).fit(model, offline)
    return folder


@pytest.fixture(scope="module")
def dyna_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dyna") / "run"
    trainer(folder, checkpoint_every=1000, eval_every=1000).fit(dyna(), data(30))
    return folder


def command(run: Path, dataset: Path, *options: str) -> list[str]:
    return ["report", "--ckpt", str(run), "--data", str(dataset), "--quick", "--horizon", "5", *options]


def elsewhere(tmp_path: Path) -> tuple[str, str]:
    """A folder without a report."""
    return "--out", str(tmp_path / "out")


def numbers(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "report.json").read_text())


def linear_rows(**options: Any) -> Transitions:
    return Transitions.cat(linear_episodes(number=6, length=12, **options))


class Made(Result):
    """A result that holds what it is told."""

    def __init__(self, said: dict[str, Any], name: str = "open_loop", title: str = "T", notes: tuple[str, ...] = ()) -> None:
        self.said, self.name, self.title, self.notes = said, name, title, notes  # type: ignore[misc]

    def table(self) -> dict[str, list[Any]]:
        return {"x": [1]}

    def summary(self) -> dict[str, Any]:
        return self.said

    def plot(self) -> Any:
        from matplotlib.figure import Figure

        return Figure(figsize=(1, 1))


class Page(HTMLParser):
    """Tags, where they lead, and the text of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        assert not any(name.startswith("on") for name, _ in attrs)
        self.links += [str(value) for name, value in attrs if name in ("src", "href", "action", "data", "srcset")]

    def handle_data(self, data: str) -> None:
        self.text += data


# end to end --------------------------------------------------------------------------------------------------------------


def test_of_a_run_that_blends_models(dataset: Path, tmp_path: Path) -> None:
    model = GaussianEnsemble(hidden=[8], members=3, elites=2, weight_decay=0.0, max_epochs=1)
    planner = OfflineDyna(
        Blend(model, Pendulum(), 0.5), SAC(hidden=[8]), rollout_batch=8, rollout_length=2, rollout_every=5, batch_size=16
    )
    offline = OfflineData(str(dataset), env_id="Pendulum-v1", env_kwargs=SHORT, steps=10, eval_episodes=0)
    trainer(tmp_path / "run").fit(planner, offline)
    assert main(command(tmp_path / "run", dataset)) == 0
    found = numbers(tmp_path / "run" / "report")["parts"]
    assert list(found) == PARTS
    assert not any("skipped" in part for part in found.values())


def test_of_a_model_alone(model_run: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command(model_run, dataset, "--training_data", str(dataset))) == 0
    folder = model_run / "report"
    found = numbers(folder)
    assert list(found["parts"]) == PARTS
    assert found["about"]["truth"] == "The truth is Pendulum, which agrees with the dataset."
    for name in PARTS[:5]:
        assert "skipped" not in found["parts"][name]
        assert (folder / f"{name}.csv").read_text().count("\n") > 1
    for name in ("value", "plan"):  # by name
        assert "holds a model alone" in found["parts"][name]["skipped"]
        assert not (folder / f"{name}.csv").exists()
    assert found["parts"]["uncertainty"]["summary"]["model rollouts"]["MeanDisagreement"]["spearman"] is not None
    text = (folder / "report.html").read_text()
    seen = Page(text)  # which needs nothing else
    assert seen.tags.isdisjoint({"script", "link", "iframe", "object", "embed", "form", "base"})
    assert sum(link.startswith(PICTURES) for link in seen.links) == 8
    assert all(link.startswith((*PICTURES, "#")) for link in seen.links)
    assert "default-src 'none'" in text and "@import" not in text and "url(" not in text
    printed = capsys.readouterr()
    assert "What plans promise and what they bring\n  Left out: the checkpoint holds a model alone" in printed.out
    assert str(folder / "report.html") in printed.out
    assert "open-loop error: " in printed.err and " s  reading " in printed.err  # progress, with the time


def test_data_that_the_model_was_fitted_to_are_known_again(
    model_run: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Under whatever name; other data, and those of a planner, aren't."""
    same = tmp_path / "copy.npz"
    same.write_bytes(dataset.read_bytes())
    other = collect(make_task("Pendulum-v1", SHORT), str(tmp_path / "other.npz"), steps=50, seed=5)
    for path, seen in ((same, True), (Path(other), False)):
        assert main(command(model_run, path, "--out", str(tmp_path / "out"), "--overwrite")) == 0
        assert capsys.readouterr().out.startswith("These data are what the model was fitted to") is seen
        found = numbers(tmp_path / "out")
        assert (found["about"]["seen"] is not None) is seen
        assert found["verdict"]["sentences"][0].startswith("On rows that it was fitted to: ") is seen
    assert "These data are what" not in (tmp_path / "out/report.html").read_text()


def test_of_a_planner(dyna_run: Path, dataset: Path, tmp_path: Path) -> None:
    spec = '{"class_path": "MeanDisagreement", "init_args": {"reduce": "rms"}}'
    assert main(command(dyna_run, dataset, "--out", str(tmp_path), "--measures", "MeanDisagreement", spec)) == 0
    found = numbers(tmp_path)
    assert not any("skipped" in part for part in found["parts"].values())
    assert found["about"]["planner"] == "Dyna"
    assert list(found["parts"]["uncertainty"]["summary"]["dataset"]) == [
        "MeanDisagreement(reduce=mean)",
        "MeanDisagreement(reduce=rms)",
    ]
    groups = found["parts"]["one_step"]["summary"]["groups"]
    # 3 decisions, one step apart (a fifth of the horizon), then 5 steps
    assert groups["rows of the policy"]["rows"] == 2 + 5
    assert groups["policy's actions in the dataset's states"]["rows"] == 200
    assert found["parts"]["plan"]["summary"]["decisions"] == 3
    assert found["parts"]["plan"]["summary"]["closed_loop"] is not None


def test_the_same_seed_gives_the_same_numbers() -> None:
    before = torch.get_rng_state()
    rows, options = linear_rows(noise=0.1), {"horizon": 5, "quick": True, "truth": "none"}
    found = [report(faulty(noise=0.1), rows, seed=seed, **options).to_json()["parts"] for seed in (1, 1, 2)]
    assert found[0] == found[1] != found[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_dimensions_are_called_what_the_task_calls_them(model_run: Path, dataset: Path, tmp_path: Path) -> None:
    """Also where a name looks like a formula, or like markup."""
    rows = OfflineData(str(dataset), env_id="Pendulum-v1", env_kwargs=SHORT).transitions
    names = ["$x_{", "<b>y</b>", "theta_dot"]
    model = GaussianEnsemble(hidden=[8], members=2, elites=2)
    model.build(make_task("Pendulum-v1", SHORT, names=names))
    parts = [part for part in REPORT_PARTS if part.result is OpenLoopError]
    found = report(model, rows, horizon=5, quick=True, parts=parts)
    assert list(dict.fromkeys(found.part("open_loop").table()["dimension"])) == [*names, "all (normalised)"]
    text = found.write(tmp_path).read_text()
    assert "<b>" not in text and "theta_dot" in found.write(tmp_path, overwrite=True).with_name("open_loop.csv").read_text()
    other = report(model, rows, horizon=5, quick=True, parts=parts, names=["a", "b", "c"])
    assert other.part("open_loop").table()["dimension"][0] == "a", "who calls it has the last word"
    model.build(replace(make_task("Pendulum-v1", SHORT), names=None))
    bare = report(model, rows, horizon=5, quick=True, parts=parts)
    assert bare.part("open_loop").table()["dimension"][0] == "obs[0]"


# what applies to whom ----------------------------------------------------------------------------------------------------


def test_the_exact_simulator() -> None:
    task = make_task("InvertedPendulum-v5")
    experience, rows = VectorExperience(task, 1, seed=0), []
    generator = make_generator("cpu", 0)
    for _ in range(40):
        snapshot = experience.snapshot
        assert snapshot is not None
        step = experience.step(0.1 * (torch.rand(1, 1, generator=generator) * 2 - 1))
        step.extras["sim_state"] = snapshot
        rows.append(step)
    experience.close()
    model = SimulatorModel(threads=1)
    model.build(task)
    found = report(model, Transitions.cat(rows), horizon=5, quick=True).to_json()
    parts = found["parts"]
    for name in ("open_loop", "one_step", "reward"):
        assert parts[name]["in_short"] == ["Zero to rounding."]
        assert parts[name]["summary"]["exact_to_rounding"] is True
    assert any("zero to rounding" in note for note in parts["open_loop"]["notes"])
    scores = parts["uncertainty"]["summary"]["dataset"].values()
    assert scores and all(score["spearman"] is None and set(score["auc"].values()) <= {None} for score in scores)
    assert parts["uncertainty"]["in_short"] == ["Undefined: see the notes."]
    assert parts["calibration"]["in_short"] == ["Not applicable: the model predicts no noise."]
    assert found["about"]["truth"] == "The model itself is exact."
    assert '"spearman": null' in json.dumps(found, allow_nan=False)


def test_a_deterministic_model() -> None:
    model = LinearModel(members=2, spread=0.1)
    model.build(linear_task(ends=False))
    found = report(model, linear_rows(noise=0.05), horizon=5, quick=True, truth="none")
    calibration = found.part("calibration").to_json()["summary"]
    assert calibration["verdict"] == "not applicable: the model predicts no noise"
    for horizon in calibration["horizons"].values():
        assert set(horizon["coverage"].values()) == {None} and horizon["nll_normalised"] is None
    assert found.part("calibration").in_short() == ["Not applicable: the model predicts no noise."]


def test_a_gaussian_process(dataset: Path, tmp_path: Path) -> None:
    model = GaussianProcess(members=3, max_rows=60)
    trainer(tmp_path / "run", max_epochs=1).fit(model, OfflineData(str(dataset), env_id="Pendulum-v1", env_kwargs=SHORT))
    assert main(command(tmp_path / "run", dataset)) == 0
    parts = numbers(tmp_path / "run/report")["parts"]
    assert [name for name in PARTS if "skipped" in parts[name]] == ["value", "plan"]  # those of a planner
    assert parts["calibration"]["summary"]["verdict"] != "not applicable: the model predicts no noise"
    assert parts["uncertainty"]["summary"]["model rollouts"]["MeanDisagreement"]["spearman"] is not None


def test_a_model_that_gives_nan_is_reported_with_the_place(tmp_path: Path) -> None:
    found = report(faulty(nan_above=0.6), linear_rows(), horizon=5, quick=True, truth="none", names=["place", "speed"])
    open_loop = found.part("open_loop")
    assert open_loop.to_json()["summary"]["rollouts_not_finite"] > 0
    assert any("episode" in note and "step" in note and "place" in note for note in open_loop.to_json()["notes"])
    assert "not finite" in open_loop.in_short()[0]
    found.write(tmp_path)
    json.loads((tmp_path / "report.json").read_text(), parse_constant=lambda text: pytest.fail(text))


def test_a_failing_part_leaves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    import mbrl.analysis.model_report.report_parts as module

    def refusing(*args: Any, **options: Any) -> Any:
        raise DataError("expected other data.")

    monkeypatch.setattr(module, "calibration", refusing)
    found = report(exact_model(), linear_rows(), horizon=5, quick=True)
    part = found.part("calibration")
    assert isinstance(part, Skipped) and part.reason == "expected other data."
    assert isinstance(found.part("reward"), Result)

    def broken(*args: Any, **options: Any) -> Any:
        raise RuntimeError("a bug")

    monkeypatch.setattr(module, "calibration", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        report(exact_model(), linear_rows(), horizon=5, quick=True)


def test_the_planner_is_left_as_it_was(dyna_run: Path, dataset: Path) -> None:
    import mbrl

    planner = mbrl.load(dyna_run)
    planner.train()
    before = copy.deepcopy(planner.state_dict())
    rows = OfflineData(str(dataset), env_id="Pendulum-v1", env_kwargs=SHORT).transitions
    report(planner, rows, horizon=5, quick=True, decisions=1, measures=[MeanDisagreement()])
    assert planner.training and planner.dynamics.training
    assert same_state(planner.state_dict(), before) == []


# the truth ---------------------------------------------------------------------------------------------------------------


def pendulum_rows(dataset: Path) -> tuple[Task, Transitions]:
    offline = OfflineData(str(dataset), env_id="Pendulum-v1", env_kwargs=SHORT)
    return offline.task, offline.transitions


def test_the_truth_agrees_with_the_dataset(dataset: Path) -> None:
    task, rows = pendulum_rows(dataset)
    truth, said = find_truth("auto", task, rows, make_generator("cpu", 0))
    assert isinstance(truth, Pendulum) and "agrees" in said
    assert find_truth("none", task, rows, make_generator("cpu", 0))[0] is None


def test_a_truth_that_disagrees_is_none(dataset: Path) -> None:
    task, rows = pendulum_rows(dataset)
    rows.next_obs = rows.next_obs + 0.05 * torch.randn(rows.obs.shape, generator=make_generator("cpu", 1))
    truth, said = find_truth("auto", task, rows, make_generator("cpu", 0))
    assert truth is None and "Pendulum disagrees with the dataset" in said
    with pytest.raises(DataError, match=r"expected mbrl\.models\.Pendulum to lead where"):
        find_truth("mbrl.models.Pendulum", task, rows, make_generator("cpu", 0))
    with pytest.raises(ConfigError, match=r"expected mbrl\.models\.bla to exist, but mbrl\.models has no bla; check"):
        find_truth("bla", task, rows, make_generator("cpu", 0))
    with pytest.raises(UnsupportedError, match="truth has to be an exact model; name one that is, or give none"):
        find_truth("GaussianEnsemble", task, rows, make_generator("cpu", 0))
    with pytest.raises(ConfigError, match="expected an exact dynamics model"):
        find_truth("mbrl.uncertainty.MeanDisagreement", task, rows, make_generator("cpu", 0))


def test_the_simulator_is_the_truth_where_observations_are_enough(tmp_path: Path) -> None:
    task = make_task("InvertedPendulum-v5")
    offline = OfflineData(str(collect(task, str(tmp_path / "data.npz"), steps=60)))
    truth, said = find_truth("auto", task, offline.transitions, make_generator("cpu", 0))
    assert isinstance(truth, SimulatorModel), said


def test_steps_that_nobody_knows_are_left_out(monkeypatch: pytest.MonkeyPatch, dataset: Path) -> None:
    """A state that the truth can't start from costs that row, not the others."""
    task, rows = pendulum_rows(dataset)
    truth = Pendulum()
    truth.build(task)
    start = truth.start

    def picky(rows: Transitions, generator: Any, **options: Any) -> Any:
        if bool((rows.obs[:, 2].abs() > 2.0).any()):
            raise DataError("too fast.")
        return start(rows, generator, **options)

    monkeypatch.setattr(truth, "start", picky)
    model = GaussianEnsemble(hidden=[8], members=2, elites=2)
    model.build(task)

    class Act:
        """Pushes one way."""

        def __call__(self, obs: Tensor) -> Tensor:
            return torch.ones(len(obs), 1)

    from mbrl.analysis import one_step_error, split_episodes

    found = one_step_error(
        model, split_episodes(rows), generator=make_generator("cpu", 0), policy=Act(), truth=truth
    )  # fmt: skip
    assert isinstance(found, OneStepError)
    slow = int((rows.obs[:, 2].abs() <= 2.0).sum())
    assert 0 < slow < len(rows) and found.groups[-1].rows == slow


def test_a_run_is_named_first_or_by_its_option(model_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from mbrl.options.report import parse

    for named in (["RUN"], ["--ckpt_path", "RUN"]):
        assert parse("report", [*named, "--dataset", "d.npz"]).ckpt_path == "RUN"
    for wrong in ([], ["RUN", "--ckpt_path", "RUN"]):
        with pytest.raises(SystemExit):
            parse("report", [*wrong, "--dataset", "d.npz"])
        assert "expected one run, got none or two; name it first: mbrl report RUN." in capsys.readouterr().err


# refusals ----------------------------------------------------------------------------------------------------------------


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_a_checkpoint_of_another_task(model_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = collect(make_task("MountainCarContinuous-v0"), str(tmp_path / "other.npz"), steps=30)
    said = refused(command(model_run, Path(other), *elsewhere(tmp_path)), capsys)
    assert "other.npz beside the checkpoint: expected the same task, got another: env_id 'Pendulum-v1' against" in said
    kwargs = collect(make_task("Pendulum-v1", {"g": 5.0}), str(tmp_path / "g.npz"), steps=30)
    assert "env_kwargs {} against {'g': 5.0}" in refused(command(model_run, Path(kwargs), *elsewhere(tmp_path)), capsys)


def test_a_dataset_without_a_column(
    model_run: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with np.load(dataset) as file:
        np.savez(tmp_path / "poor.npz", **{name: file[name] for name in file.files if name != "action"})
    assert "poor.npz: expected a column action" in refused(
        command(model_run, tmp_path / "poor.npz", *elsewhere(tmp_path)), capsys
    )


def test_no_episode_as_long_as_the_horizon(model_run: Path, dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = refused([*command(model_run, dataset)[:-1], "26", "--out", str(model_run / "other")], capsys)
    assert "expected an episode of at least 26 steps, the horizon, got none longer than 25" in said
    assert not (model_run / "other").exists()


def test_a_folder_that_holds_a_report(
    model_run: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def hashes() -> dict[str, str]:
        return {item.name: hashlib.sha256(item.read_bytes()).hexdigest() for item in tmp_path.iterdir()}

    page = Report({}, [Made({"x": math.nan}), Skipped("value", "Value", "why.")]).write(tmp_path)
    assert page == tmp_path / "report.html" and sorted(hashes()) == ["open_loop.csv", "report.html", "report.json"]
    assert numbers(tmp_path)["parts"]["open_loop"]["summary"] == {"x": None}
    before = hashes()
    said = refused(command(model_run, dataset, "--out", str(tmp_path)), capsys)
    assert "holds report.html, report.json, open_loop.csv; give --folder" in said and "--overwrite" in said
    assert hashes() == before
    Report({}, [Skipped("open_loop", "Open loop", "why.")]).write(tmp_path, overwrite=True)
    assert "open_loop.csv" not in hashes()  # or it would belong to another report than the rest
    (tmp_path / "file").write_text("")
    assert "file is a file" in refused(command(model_run, dataset, "--out", str(tmp_path / "file"), "--overwrite"), capsys)


def test_a_folder_that_cant_be_written_is_refused_before_any_work(
    model_run: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    inside = tmp_path / "file" / "deep" / "report"
    said = refused(command(model_run, dataset, "--out", str(inside)), capsys)
    assert f"expected a folder that can be written, but {inside} can't be (Not a directory)" in said
    assert "reading" not in said  # neither checkpoint nor data
    check_folder(tmp_path / "new" / "report", PARTS, overwrite=False)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--measures", "Nothing"), "mbrl.uncertainty has no Nothing"),
        (("--measures", "mbrl.policies.SAC"), "expected measures of uncertainty, got mbrl.policies.SAC"),
        (("--measures", "os.system"), "add --allow os"),
        (("--measures", "{nope"), "--measures: expected a JSON object"),
        (("--measures", '{"class_path": "MeanDisagreement", "init_args": {"off": 1}}'), "unexpected keyword argument 'off'"),
        (("--measures", "UncertaintyMeasure"), "got an abstract one; name a subclass"),
        (("--truth", "os.system"), "add --allow os"),
        (("--threads", "0"), "--threads: expected a whole number of at least 1"),
        (("--horizon", "0"), "--horizon: expected a whole number of at least 1"),
        (("--decisions", "0"), "--decisions: expected a whole number of at least 1"),
        (("--data", "nothing.npz"), "nothing.npz: expected a dataset file"),
        (("--ckpt", "nowhere"), "expected a checkpoint at nowhere"),
    ],
)
def test_options_that_cant_be_used(
    model_run: Path,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    sentence: str,
) -> None:
    assert sentence in refused(command(model_run, dataset, *elsewhere(tmp_path), *options), capsys)
    assert not (tmp_path / "out").exists()


def test_a_stop_leaves_all_of_a_report_or_none(
    model_run: Path,
    dataset: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Ctrl-C comes after the tables are written, beside an older report and where there was nothing."""
    old = Report({}, [Made({"x": 1.0})]).write(tmp_path / "old")
    before = {item.name: item.read_bytes() for item in old.parent.iterdir()}

    def stop(path: Path, data: bytes) -> None:
        assert any(item.suffix == ".csv" for item in path.parent.iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr("mbrl.analysis.model_report.report_files.write_whole", stop)
    for folder in (old.parent, tmp_path / "deep" / "new"):
        with pytest.raises(KeyboardInterrupt):
            Report({}, [Made({"x": 2.0})]).write(folder, overwrite=True)
    assert {item.name: item.read_bytes() for item in old.parent.iterdir()} == before
    assert [item.name for item in tmp_path.iterdir()] == ["old"]
    monkeypatch.setattr("mbrl.analysis.commands.report.report", lambda *given, **options: stop(old, b""))
    assert main(command(model_run, dataset, "--out", str(tmp_path / "other"))) == 130
    assert capsys.readouterr().err.endswith("mbrl: stopped by Ctrl-C.\n")


def test_a_planner_without_a_model() -> None:
    planner = ToyPlanner()
    planner.build(linear_task(ends=False))
    with pytest.raises(UnsupportedError, match="expected a planner that inherits HasDynamics, got ToyPlanner"):
        report(planner, linear_rows(), horizon=5)
    with pytest.raises(ConfigError, match="expected one of open_loop"):
        Report({}, [Skipped("open_loop", "Open loop", "why.")]).part("other")


# the page ----------------------------------------------------------------------------------------------------------------


def test_names_cant_become_markup() -> None:
    bad, worse = "<script>alert(1)</script>", '"><img src=http://x onerror=y>'
    made = Made({bad: worse, "nested": {bad: {worse: bad}}}, name=worse, title=bad, notes=(bad, worse))
    text = page(
        bad, {bad: worse, worse: "a&b\"'<c>"}, [made, Skipped("x", worse, f"because of {bad}")], verdict=[bad],
        copied=[(worse, bad)], preface=worse, pictures=[(bad, b"", worse)],
    )  # fmt: skip
    seen = Page(text)
    assert "script" not in seen.tags and seen.text.count(bad) == 14 and seen.text.count(worse) == 10
    assert "a&b\"'<c>" in seen.text
    links = [link for link in seen.links if not link.startswith(PICTURES)]
    assert links == [f"#{worse}", "#picture-1", "#left-out", "#settings"]


def test_numbers_on_the_page() -> None:
    """By the names that the files have, since those are what a reader looks for there."""
    alike = {"a": {"x": 1.5, "y": {"z": None}}, "b": {"x": math.inf, "y": {"z": True}}}
    text = page("t", {}, [Made({"number_of_rows": 12345678, "groups": alike, "empty": {}, "word": "<b>"})])
    assert '<tr><th>number_of_rows</th><td class="number">12345678</td></tr>' in text
    assert "<tr><th></th><th>x</th><th>y z</th></tr>" in text
    assert '<tr><th>a</th><td class="number">1.5</td><td class="number">–</td></tr>' in text
    assert '<tr><th>b</th><td class="number">–</td><td>yes</td></tr>' in text
    assert "<td>&lt;b&gt;</td>" in text


class Told(Made):
    """A result with a sentence."""

    def in_short(self) -> list[str]:
        return ["The only sentence."]


def test_the_verdict_comes_first_the_settings_last_and_each_sentence_once() -> None:
    parts = [Told({"theta_dot": 1.0}), Skipped("value", "Value", "No value function.")]
    text = page("t", {"max_rows": 7}, parts, verdict=["Yes."], copied=[("Take this", "a: 1\nb: 2")], preface="Units.")
    places = [
        text.index(what) for what in ("Yes.", "a: 1\nb: 2", "Contents", "The only sentence.", "Left out</h2>", "max_rows")
    ]
    assert places == sorted(places) and "theta_dot" in text and "theta dot" not in text
    assert all(text.count(sentence) == 1 for sentence in ("Yes.", "The only sentence.", "No value function.", "Units."))
    links = [link[1:] for link in Page(text).links if link.startswith("#")]
    assert links == ["open_loop", "left-out", "settings"] and all(f'id="{link}"' in text for link in links)


def test_the_page_can_be_read_on_any_screen() -> None:
    text = page("t", {"x": 1}, [Made({"x": 1.0})])
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in text
    assert "prefers-color-scheme: dark" in text and "url(" not in text
    assert text.count("<table>") == text.count('<div class="scroll"><table>') == 2


def test_pictures_are_vectors_unless_pixels_are_smaller() -> None:
    from matplotlib.figure import Figure

    def drawn(points: int) -> str:
        figure = Figure()
        figure.subplots().plot(torch.linspace(0, 1, points), torch.linspace(0, 1, points), "o")
        return data_uri(figure)

    few, many = drawn(10), drawn(20_000)
    assert few.startswith(PICTURES[0]) and many.startswith(PICTURES[1]) and few == drawn(10)
    pixels = base64.b64decode(many.partition(",")[2])
    assert int.from_bytes(pixels[16:20], "big") == 200 * 6.4, "twice a screen's"


def test_a_column_done_is_taken_where_it_is_said(
    model_run: Path, dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As by `mbrl check` and `mbrl fit`."""
    with np.load(dataset) as file:
        columns = {name: file[name] for name in file.files if name != "terminated"}
    np.savez(tmp_path / "done.npz", **columns, done=np.zeros(len(columns["reward"]), dtype=bool))
    seen: list[Any] = []

    def looked(module: Any, rows: Transitions, *, training_rows: Transitions, **options: Any) -> Any:
        seen.extend([len(rows), len(training_rows)])
        raise UnsupportedError("that is all")

    monkeypatch.setattr("mbrl.analysis.commands.report.report", looked)
    rows = str(tmp_path / "done.npz")
    asked = ["report", "--ckpt", str(model_run), "--data", rows, "--training_data", rows, *elsewhere(tmp_path)]
    predict = ["predict", "--ckpt_path", str(model_run), "--dataset", rows, "--output", str(tmp_path / "said.npz")]
    for arguments in (asked, predict):
        assert main(arguments) == 2
        assert "say done: terminated if it is the first" in capsys.readouterr().err
    assert main([*asked, "--done", "terminated"]) == 2 and seen == [200, 200]
    assert main([*predict, "--done", "terminated"]) == 0
    with np.load(tmp_path / "said.npz") as said:
        assert len(said[said.files[0]])
