"""What a user writes outside the package works as docs/extending.md says, and is refused in one sentence where it can't."""

from __future__ import annotations

import dataclasses
import importlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

import mbrl
from mbrl.analysis import REPORT_PARTS, PlanOutcome, Result, Skipped, report
from mbrl.cli import main
from mbrl.data import Prediction, Task, Transitions, make_generator
from mbrl.envs import OnlineData, VectorExperience, make_task
from mbrl.errors import CheckpointError, UnsupportedError, UntrustedNameError
from mbrl.planners import Dyna, Planner, PlanProblem
from mbrl.policies import SAC, BoundCriticTerm
from mbrl.testing import check_dynamics_model, check_planner, check_selector, linear_task
from mbrl.testing.clauses import some_rows

ROOT = Path(__file__).parents[1]
HERE = ROOT / "tests/outsider"
LIFT = {"env_id": "mine.lift:Lift-v0", "reward": "mine.lift.reward", "terminated": "mine.lift.lost"}
SMALL = {"warmup_steps": 40, "refit_every": 20, "plans": 16, "horizon": 6}


@pytest.fixture(autouse=True)
def _in_the_users_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a user stands: beside the package `mine`, which is on the path only if something puts it there."""
    monkeypatch.chdir(HERE)
    monkeypatch.setattr(sys, "path", list(sys.path))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished run of the user's planner and model, of 80 steps."""
    folder = tmp_path_factory.mktemp("outsider") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(HERE)
        patch.setattr(sys, "path", list(sys.path))
        assert main(["--allow", "mine", "fit", "--config", config("shooting", folder, **SMALL)]) == 0
    return folder


def mine(name: str) -> Any:
    """A module of the user's."""
    if str(HERE) not in sys.path:
        sys.path.insert(0, str(HERE))
    return importlib.import_module(f"mine.{name}")


def lift_task() -> Task:
    mine("lift")
    return make_task(LIFT["env_id"], reward=LIFT["reward"], terminated=LIFT["terminated"])


def config(name: str, folder: Path, change: Callable[[dict[str, Any]], None] | None = None, **planner: Any) -> str:
    """The user's configuration `name` with smaller numbers, written beside `folder`."""
    made = yaml.safe_load((HERE / f"{name}.yaml").read_text())
    made["model"]["init_args"].update(planner)
    made["data"]["init_args"].update(steps=80, eval_episodes=1, test_episodes=1)
    made["trainer"].update(folder=str(folder), eval_every=40, log_every=20, checkpoint_every=20, checkpoint_min_ratio=0)
    made["trainer"].update(tensorboard=False, progress=False)
    if change is not None:
        change(made)
    path = folder.parent / f"{folder.name}.yaml"
    path.write_text(yaml.safe_dump(made))
    return str(path)


def setting(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(made: dict[str, Any]) -> None:
        *path, last = name.split(".")
        for part in path:
            made = made.setdefault(part, {})
        made[last] = value

    return change


def lines(folder: Path) -> list[dict[str, float]]:
    """The metric lines without wall-clock times."""
    found = (json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines())
    return [{name: value for name, value in line.items() if not name.startswith("time/")} for line in found]


# contracts -----------------------------------------------------------------------------------------------------------


def test_models_keep_their_contract() -> None:
    task = lift_task()
    check_dynamics_model(mine("ridge").Ridge, task)
    check_dynamics_model(lambda: mine("residual").Residual(hidden=8, max_epochs=2), task)


def test_planner_keeps_its_contract() -> None:
    task = lift_task()

    def planner() -> Any:
        return mine("shooting").Shooting(mine("ridge").Ridge(), plans=8, horizon=3, warmup_steps=4, refit_every=4)

    check_planner(planner, task)


def test_selector_keeps_its_contract() -> None:
    mine("parts")
    check_selector(mine("parts").NoisyMode, linear_task())


@pytest.mark.parametrize("check", ["test_models", "test_planner", "test_parts_of_dyna", "test_measure"])
def test_the_users_own_tests_pass(check: str) -> None:
    mine("lift")
    getattr(mine("contracts"), check)()


def test_a_delayed_model_finds_the_delay() -> None:
    """Fitted to s' = s + the action before, it rolls that out, and stops beyond its limit."""
    action, before = torch.ones(12, 1), torch.ones(12, 1)
    action[::2] = 0.5
    before[1:], before[0], before[6] = action[:-1], 0.0, 0.0
    obs = torch.linspace(-1, 1, 12)[:, None].repeat(1, 2)
    rows = Transitions.from_obs(obs, 1, episode=torch.arange(12) // 6)
    rows = dataclasses.replace(rows, action=action, next_obs=obs + before)
    model = mine("delayed").Delayed(limit=2.0, decay=1e-9)
    model.build(linear_task(ends=False))
    model.refit(rows, make_generator("cpu", 0))
    state = model.start(Transitions.from_obs(torch.zeros(1, 2), 1), make_generator("cpu", 0))
    plan = torch.tensor([[[1.0], [1.0], [0.5], [0.0]]])
    steps = model.rollout(state, plan)
    torch.testing.assert_close(
        torch.cat([step.next_obs[:, 0] for step in steps]), torch.tensor([0.0, 1.0, 2.0, 2.5]), atol=1e-3, rtol=0
    )
    assert bool(steps[3].halt) and not bool(steps[1].halt)


def test_a_critic_term_is_descended_and_refuses_a_learner() -> None:
    rows, cosines = some_rows(Task("", 3, 2, (-1, -1), (1, 1))), []
    learner = SAC(hidden=[16], critics=3)
    learner.build(Task("", 3, 2, (-1, -1), (1, 1)))
    learner.make_optimizers()
    term, noise = mine("diverse").Diverse(weight=10.0), make_generator("cpu", "noise")
    bound = BoundCriticTerm(term, slice(0, 0), noise, lambda said: cosines.append(said["cosine"].item()))
    for _ in range(100):
        learner.update(rows, noise, [bound])
    assert min(cosines) > -0.51 and cosines[-1] < cosines[0] - 0.1
    planner = Dyna(mine("residual").Residual(), SAC(hidden=[8], critics=1), real_ratio=1.0, critic_terms=[term])
    with pytest.raises(UnsupportedError, match="Diverse: expected at least 2 critics, which could differ, got 1"):
        planner.build(linear_task())


def test_default_weights_follow_the_seed_alone() -> None:
    def weights(seed: int) -> torch.Tensor:
        model = mine("residual").Residual()
        model.build(linear_task(), seed)
        return model.net[0].weight.detach()

    first = weights(0)
    torch.rand(1)  # wherever the global generator stands
    assert torch.equal(weights(0), first) and not torch.equal(weights(1), first)


def test_the_ridge_finds_the_lift() -> None:
    task = lift_task()
    experience, model = VectorExperience(task, 1, seed=0), mine("ridge").Ridge(decay=1e-9)
    model.build(task)
    rows = [experience.step(torch.rand(1, 1, generator=torch.Generator().manual_seed(i)) * 2 - 1) for i in range(20)]
    model.refit(type(rows[0]).cat(rows), torch.Generator())
    # action a in [−1, 1] is a thrust of a + 1, gravity is 1: speed + 0.1 a, height + 0.1 of the new speed
    expected = torch.tensor([[0.0, 0.0], [0.0, 0.0], [0.1, 0.0], [0.01, 0.1]])
    torch.testing.assert_close(model.weight, expected, atol=1e-4, rtol=0)


# from YAML -----------------------------------------------------------------------------------------------------------


def test_planner_and_model_train_and_resume(tmp_path: Path, run: Path) -> None:
    cut = tmp_path / "cut"
    shorter = config("shooting", cut, setting("data.init_args.steps", 60), **SMALL)
    assert main(["--allow", "mine", "fit", "--config", shorter]) == 0
    longer = config("shooting", cut, **SMALL)
    assert main(["--allow", "mine", "fit", "--config", longer, "--ckpt_path", "last"]) == 0
    assert lines(cut)[-1] == lines(run)[-1] and lines(run)[-1]["env_steps"] == 80
    assert lines(run)[-1]["model/loss"] < 1e-6  # the lift is linear


def test_a_checkpoint_names_the_users_modules(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--allow", "mine", "test", "--ckpt_path", str(run)]) == 0
    assert "mean return" in capsys.readouterr().out
    assert main(["test", "--ckpt_path", str(run)]) == 2
    assert "--allow mine" in capsys.readouterr().err
    with pytest.raises(UntrustedNameError, match=r"allow=\['mine'\]"):
        mbrl.load(run)
    planner = mbrl.load(run, allow=["mine"])
    assert type(planner).__name__ == "Shooting" and planner.env_steps == 80
    action, _ = planner.act(torch.zeros(3, 2), planner.memory(3, torch.Generator()), explore=False)
    assert action.shape == (3, 1)
    with pytest.raises(CheckpointError, match=r"expected the folder of one run, .* which holds several; give run"):
        mbrl.load(run.parent)


def test_model_selector_and_hook_train_in_dyna(tmp_path: Path) -> None:
    small = {"warmup_steps": 40, "refit_every": 20, "rollouts_per_step": 2, "batch_size": 16}
    assert main(["--allow", "mine", "fit", "--config", config("dyna", tmp_path / "run", **small)]) == 0
    last = lines(tmp_path / "run")[-1]
    assert last["env_steps"] == 80 and last["rollout/stored"] > 0 and "model/holdout_mse" in last


@pytest.mark.parametrize("name", ["ridge", "residual"])
def test_a_model_is_fitted_alone_tested_asked_and_reported_on(name: str, tmp_path: Path) -> None:
    data, folder = tmp_path / "rows.npz", tmp_path / "run"
    assert main(["--allow", "mine", "collect", str(data), "--env_id", LIFT["env_id"], "--steps", "120"]) == 0
    other = tmp_path / "others.npz"
    assert main(["--allow", "mine", "collect", str(other), "--env_id", LIFT["env_id"], "--steps", "60", "--seed", "1"]) == 0
    made = {
        "model": {"class_path": f"mine.{name}.{name.capitalize()}"},
        "data": {"class_path": "mbrl.envs.OfflineData", "init_args": {**LIFT, "path": str(data)}},
        "trainer": {"folder": str(folder), "max_epochs": 3, "tensorboard": False, "progress": False},
    }
    path = tmp_path / "fit.yaml"
    path.write_text(yaml.safe_dump(made))
    assert main(["--allow", "mine", "fit", "--config", str(path)]) == 0
    written = lines(folder)
    assert [line["epoch"] for line in written] == ([0] if name == "ridge" else [0, 1, 2])
    assert written[-1]["model/loss"] < (1e-6 if name == "ridge" else written[0]["model/loss"])
    saved = ["--ckpt_path", str(folder)]
    assert main(["--allow", "mine", "test", *saved, "--dataset", str(other)]) == 0
    tested = json.loads((folder / "test.json").read_text())
    assert tested["test/mse"] == tested["test/best_member_mse"]
    assert main(["--allow", "mine", "validate", *saved]) == 0
    assert main(["--allow", "mine", "predict", *saved, "--dataset", str(other)]) == 0
    model = mbrl.load(folder, allow=["mine"])
    with np.load(folder / "predictions.npz") as arrays:
        rows = mbrl.envs.OfflineData(str(other), **LIFT).transitions
        error = torch.as_tensor(arrays["mean"]) - rows.next_obs
        assert torch.equal(torch.as_tensor(arrays["mean"]), model.predict(rows.obs, rows.action).mean)
    assert tested["test/mse"] == pytest.approx(error.square().mean().item(), rel=1e-4)
    small = ["--horizon", "3", "--quick", "--decisions", "1"]
    assert main(["--allow", "mine", "report", "--ckpt", str(folder), "--data", str(data), *small]) == 0
    assert (folder / "report").is_dir()


def test_measure_and_optimizer_of_plans_train_in_pets(tmp_path: Path) -> None:
    ensemble = {"hidden": [8], "members": 3, "elites": 2, "max_epochs": 2, "weight_decay": 0.0}
    small = {"warmup_steps": 40, "refit_every": 20, "horizon": 3, "particles": 2}

    def smaller(made: dict[str, Any]) -> None:
        made["model"]["init_args"]["dynamics"]["init_args"] = ensemble
        made["model"]["init_args"]["optimizer"]["init_args"] = {"rounds": 2, "neighbours": 8}

    assert main(["--allow", "mine", "fit", "--config", config("pets", tmp_path / "run", smaller, **small)]) == 0
    assert lines(tmp_path / "run")[-1]["env_steps"] == 80
    planner = mbrl.load(tmp_path / "run", allow=["mine"])
    assert type(planner.objective.uncertainty).__name__ == "Range"


def test_a_range_is_the_widest_distance_of_members() -> None:
    mean = torch.tensor([[[0.0, 1.0]], [[3.0, 5.0]], [[1.0, -50.0]]])  # E x B x S; the last is no elite
    said = Prediction(mean, torch.zeros_like(mean))
    assert mine("unsure").Range()(said, torch.tensor([0, 1])).tolist() == [4.0]


@pytest.mark.parametrize("seed", range(3))
def test_a_climb_ends_higher_than_it_began_and_goes_on_from_there(seed: int) -> None:
    """Returns are highest at actions of 0.5."""
    climb = mine("climb").Climb(neighbours=16, rounds=30, scale=0.1)
    generators = [torch.Generator().manual_seed(10 * seed + i) for i in range(2)]
    problem = PlanProblem(4, 1, generators, lambda plans: -(plans - 0.5).square().sum((-1, -2)), torch.zeros(0))
    warm = climb.warm_start(2, 4, 1, torch.zeros(0))
    plan = climb.optimize(problem, warm)
    assert (warm["plan"] == 0).all() and (plan.actions - 0.5).abs().max() < 0.1
    assert torch.allclose(plan.value, -(plan.actions - 0.5).square().sum((-1, -2)))
    assert torch.equal(plan.warm["plan"][:, :-1], plan.actions[:, 1:])


# the report ----------------------------------------------------------------------------------------------------------


def lift_rows(task: Task, number: int = 40) -> Transitions:
    experience, generator = VectorExperience(task, 1, seed=0), torch.Generator().manual_seed(0)
    rows = [experience.step(torch.rand(1, 1, generator=generator) * 2 - 1) for _ in range(number)]
    experience.close()
    return Transitions.cat(rows)


def test_the_report_compares_plans_of_the_users_planner(run: Path) -> None:
    planner = mbrl.load(run, allow=["mine"])
    found = report(planner, lift_rows(planner.built_task), horizon=5, quick=True, truth="none", allow=["mine"], decisions=2)
    plan = found.part("plan")
    assert isinstance(plan, PlanOutcome) and plan.plans and plan.horizon == SMALL["horizon"]
    assert torch.allclose(plan.promised, plan.open_loop, atol=1e-3)  # the lift is linear, so that the ridge knows it
    assert bool(plan.closed_loop.isfinite().all())
    one_step = found.part("one_step")
    assert isinstance(one_step, Result) and "rows of the policy" in one_step.summary()["groups"]
    skipped = {part.name: part.reason for part in found.parts if isinstance(part, Skipped)}
    assert skipped == {"value": "Shooting has no learner, so that there is no value function."}


def test_a_part_of_the_users_own_is_one_line_in_the_table(run: Path, tmp_path: Path) -> None:
    planner, parts = mbrl.load(run, allow=["mine"]), mine("bias").PARTS
    found = report(planner, lift_rows(planner.built_task), horizon=5, quick=True, truth="none", parts=parts[-1:])
    assert [part.name for part in found.parts] == ["bias"] and len(parts) == len(REPORT_PARTS) + 1
    text = found.write(tmp_path).read_text()
    assert '<h2 id="bias">Is the model off to one side?</h2>' in text and "The largest mean error of a dimension is" in text
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bias.csv", "report.html", "report.json"]
    numbers = json.loads((tmp_path / "report.json").read_text())["parts"]["bias"]
    assert abs(numbers["summary"]["largest_bias"]) < 1e-3


# what a stranger gets wrong --------------------------------------------------------------------------------------------

PENDULUM = {"env_id": "Pendulum-v1", "env_kwargs": None, "reward": "auto", "terminated": "auto"}
CART = {**PENDULUM, "env_id": "CartPole-v1"}
WRONG: dict[str, tuple[Callable[[dict[str, Any]], None], str]] = {
    "planner's setting": (setting("model.init_args.horizont", 3), "horizont: .* did you mean horizon"),
    "model's setting": (setting("model.init_args.dynamics.init_args", {"decai": 1}), "decai: .* did you mean decay"),
    "class": (setting("model.class_path", "mine.shooting.Shoting"), "the dotted name of a class, got mine.shooting.Shoting"),
    "kind of class": (
        setting("model.init_args.dynamics.class_path", "mine.shooting.Shooting"),
        "expected a class derived from DynamicsModel, got mine.shooting.Shooting",
    ),
    "no model for the planner": (setting("model.init_args", {}), "dynamics: expected a value, got none"),
    "kind of actions": (lambda made: made["data"]["init_args"].update(CART), "only continuous actions"),
    "unknown environment": (setting("data.init_args.env_id", "mine.lift:Lyft-v0"), "registered environment.*Did you mean"),
    "unknown module": (setting("data.init_args.env_id", "yours.lift:Lift-v0"), "add --allow yours"),
    "environment's argument": (setting("data.init_args.env_kwargs", {"gravty": 1}), "check env_kwargs"),
    "disagreeing function": (setting("data.init_args.terminated", "mbrl.envs.terminations.never"), "to agree with"),
    "kind of function": (setting("data.init_args.reward", "mine.lift.lost"), "mine.lift.lost to return one number per row"),
    "missing function": (setting("data.init_args.reward", "mine.lift.rewrd"), "mine.lift has no rewrd"),
    "model alone, environment": (
        setting("model", {"class_path": "mine.residual.Residual"}),
        r"recorded rows \(mbrl.envs.OfflineData\), got OnlineData",
    ),
    "closed form alone, environment": (
        setting("model", {"class_path": "mine.ridge.Ridge"}),
        r"recorded rows \(mbrl.envs.OfflineData\), got OnlineData",
    ),
    "nothing to fit": (
        setting("model", {"class_path": "mbrl.models.Pendulum"}),
        "expected a model that learns, got Pendulum; test it, or give it to a planner",
    ),
}


@pytest.mark.parametrize("name", list(WRONG))
def test_one_sentence_for_a_wrong(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change, expected = WRONG[name]
    code = main(["--allow", "mine", "fit", "--config", config("shooting", tmp_path / "run", change, **SMALL)])
    said = capsys.readouterr().err
    assert code == 2 and re.search(expected, said) and said.count("\n") == 1
    assert not (tmp_path / "run/metrics.jsonl").exists()


def test_without_allow_the_flag_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "mine"]:
        monkeypatch.delitem(sys.modules, name)
    assert main(["fit", "--config", config("shooting", tmp_path / "run")]) == 2
    assert "No module named 'mine'); check the spelling; for a module of your own add --allow" in capsys.readouterr().err


def test_checkpoint_of_another_planner_or_task(tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (run / "metrics.jsonl").read_bytes()

    def refused(path: str, *more: str, command: str = "fit") -> str:
        capsys.readouterr()
        assert main(["--allow", "mine", command, "--config", path, *more]) == 2
        return capsys.readouterr().err

    again = config("shooting", run, **SMALL)
    assert "holds a run; resume it with --ckpt_path last" in refused(again)
    other = refused(config("dyna", tmp_path / "dyna"), "--ckpt_path", str(run))
    assert "model.class_path was 'mine.shooting.Shooting' and is 'mbrl.planners.Dyna' now" in other
    assert "plans" not in other  # another class's settings say nothing
    pendulum = config("shooting", tmp_path / "p", lambda made: made["data"]["init_args"].update(PENDULUM), **SMALL)
    assert "env_id 'Pendulum-v1' against 'mine.lift:Lift-v0'" in refused(pendulum, "--ckpt_path", str(run), command="test")
    assert (run / "metrics.jsonl").read_bytes() == before


def test_unknown_reward_is_refused_before_the_first_step() -> None:
    def planners() -> list[Planner]:
        model = mine("residual").Residual
        return [mine("shooting").Shooting(model()), Dyna(model(), SAC(hidden=[8]))]

    data = OnlineData(LIFT["env_id"], steps=80, terminated=LIFT["terminated"])
    for planner in planners():
        with pytest.raises(UnsupportedError, match=r"^Residual predicts no reward .* with data.init_args.reward, or let"):
            planner.build(data.task)
    data = OnlineData(LIFT["env_id"], steps=80, reward=LIFT["reward"])
    for planner in planners():
        with pytest.raises(UnsupportedError, match=r"no termination .*_args.terminated \(mbrl.envs.terminations.never"):
            planner.build(data.task)
    Dyna(mine("residual").Residual(), SAC(hidden=[8]), real_ratio=1.0).build(data.task)  # steps no model


# the page ------------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_files_that_are_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = (ROOT / "docs/extending.md").read_text()
    paths = [*HERE.glob("mine/*.py"), *HERE.glob("*.yaml")]
    files = {str(path.relative_to(HERE)): path.read_text() for path in paths if path.stem != "__init__"}
    blocks = re.findall(r"```(python|yaml)\n(.*?)```", page, re.DOTALL)
    scripts = [text for language, text in blocks if language == "python" and text.startswith("import mbrl\n")]
    shown = [text.removeprefix("# ").split("\n", 1) for _, text in blocks if text not in scripts]
    assert dict(shown) == files and len(shown) == len(files), "whole files, and each once"
    (script,) = scripts
    smaller = {"steps=400": "steps=60, eval_episodes=1, test_episodes=1", "warmup_steps=50": "warmup_steps=20, plans=8"}
    for large, small in smaller.items():
        assert script.count(large) == 1, large
        script = script.replace(large, small)
    mine("lift")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(compile(script, "docs/extending.md", "exec"), names)
    assert names["planner"].env_steps == 60
