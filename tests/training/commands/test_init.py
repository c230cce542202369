"""`mbrl init`: settings of a first run in an environment, from what `mbrl check` finds."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mbrl.cli import main
from mbrl.data import Task, Transitions
from mbrl.envs.check import Examined, check_environment
from mbrl.models import GaussianEnsemble, SINDy
from mbrl.planners import ICEM, PETS, Dyna
from mbrl.policies import SAC
from mbrl.training.commands.first_settings import Setting, first_settings
from mbrl.training.commands.init import _comment
from mbrl.training.commands.parsed import parsed
from tests.imported_anew import imported_anew

EXAMPLE = Path(__file__).parents[3] / "examples" / "lift.py"


@pytest.fixture(autouse=True)
def _registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Modules and environments of a test's own, which leave with it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [str(tmp_path), *sys.path])
    modules = dict(sys.modules)
    with imported_anew():
        yield
    loaded = sys.modules
    for name in set(loaded) - set(modules):
        if str(tmp_path) in str(getattr(loaded[name], "__file__", "")):
            del loaded[name]


def found(
    limit: int | None = 200,
    *,
    reward: float = 1.0,
    scale: tuple[float, ...] = (1.0, 1.0),
    resumes: bool = True,
    episodes: tuple[tuple[float, int], ...] = (),
    ends: int = 0,
    **known: Any,
) -> Examined:
    """An environment as a check may find it."""
    task = Task("mine:Lift-v0", 2, 1, (-1.0,), (1.0,), time_limit=limit, **known)
    generator = torch.Generator().manual_seed(0)
    obs = torch.randn(500, 2, generator=generator, dtype=torch.float32) * torch.tensor(scale, dtype=torch.float32)
    rows = Transitions.from_obs(obs, 1)
    rows.reward = torch.full((500,), -reward, dtype=torch.float32)
    rows.terminated = torch.arange(500) < ends
    return Examined(task, ["one."], rows, episodes, resumes)


def chosen(planner: Any, of: Examined) -> dict[str, Setting]:
    """The settings by their names without `init_args`."""
    settings = first_settings(planner, of)
    assert all(setting.why for setting in settings if not setting.name.endswith("env_id"))
    return {setting.name.replace("init_args.", "").removeprefix("model."): setting for setting in settings}


def dyna() -> Dyna:
    return Dyna(GaussianEnsemble(), SAC())


def pets() -> PETS:
    return PETS(GaussianEnsemble(), ICEM())


# what follows from what ------------------------------------------------------------------------------------------------


def test_the_time_limit_sets_steps_warm_up_epochs_rollouts_and_evaluations() -> None:
    for limit, steps, epoch, reach in (
        (4, 2500, 125, 1),
        (100, 2500, 125, 2),
        (200, 4000, 200, 4),
        (237, 4500, 225, 4),
        (1000, 10_000, 500, 5),
    ):
        settings = chosen(dyna(), found(limit))
        assert settings["data.steps"].value == steps and settings["warmup_steps"].value == steps // 10
        assert settings["rollout_length"].value == [1, 15, 1, reach] and settings["epoch_steps"].value == epoch
        assert settings["refit_every"].value == min(epoch, 250) and settings["trainer.eval_every"].value == steps // 10
        assert f"of {limit} steps (the time limit)" in settings["data.steps"].why and "horizon" not in settings


def test_the_time_limit_sets_a_plans_horizon() -> None:
    for limit, horizon in ((3, 3), (20, 5), (100, 20), (1000, 25)):
        settings = chosen(pets(), found(limit))
        assert settings["horizon"].value == horizon and "rollout_length" not in settings
    assert settings["data.steps"].value == 10_000 and settings["trainer.eval_every"].value == 2000
    assert chosen(pets(), found(200))["data.steps"].value == 2000


def test_without_a_time_limit_random_episodes_are_the_measure() -> None:
    settings = chosen(dyna(), found(None, episodes=((0.0, 20), (1.0, 150))))
    assert settings["data.steps"].value == 3000 and "of 150 steps (as random actions went)" in settings["data.steps"].why
    assert settings["data.eval_limit"].value == 1000
    settings = chosen(dyna(), found(None))
    assert settings["data.steps"].value == 10_000 and "no end seen" in settings["data.steps"].why
    assert "data.eval_limit" not in chosen(dyna(), found(100))


def test_reward_and_termination_are_known_or_learned() -> None:
    settings = chosen(dyna(), found(known_reward="mbrl.envs.rewards.pendulum", ends=3))
    assert settings["data.reward"].value == "mbrl.envs.rewards.pendulum" and "Known" in settings["data.reward"].why
    assert (
        settings["data.terminated"].value == "learned" and "3 of 500 random steps ended" in settings["data.terminated"].why
    )


def test_rewards_far_from_the_temperature_move_it() -> None:
    name = "learner.initial_temperature"
    for reward, temperature in ((0.0, 1.0), (0.1, 1.0), (6.0, 1.0), (100.0, 1.0), (1.2e4, 1000.0), (2e-3, 1e-4)):
        setting = chosen(dyna(), found(reward=reward))[name]
        assert setting.value == pytest.approx(temperature), reward
        assert ("divide rewards" in setting.why) == (reward > 1000)
    assert name not in chosen(pets(), found(reward=1e4)), "nothing has a temperature there"


def test_a_rare_reward_is_no_small_one() -> None:
    """The temperature that suits a reward is beside what is paid, however seldom."""
    name, rare = "learner.initial_temperature", found()
    for reward, temperature in ((1.0, 1.0), (1e-3, 1e-4)):
        rare.rows.reward = torch.zeros(500).index_fill(0, torch.tensor([7]), reward)
        setting = chosen(dyna(), rare)[name]
        assert setting.value == pytest.approx(temperature)
        assert f"rewards of {reward:.3g} on average where they aren't 0" in setting.why


def test_an_episode_longer_than_the_run_is_told() -> None:
    said = (
        "longer than the run, and an evaluation takes whole ones: register the environment with a smaller max_episode_steps"
    )
    assert said in chosen(dyna(), found(1_000_000))["data.steps"].why
    assert all(said not in chosen(dyna(), found(limit))["data.steps"].why for limit in (1, 10_000, None))


def test_units_far_from_1_are_normalised() -> None:
    assert chosen(dyna(), found())["learner.normalize_obs"].value is False
    for scale in ((1.0, 300.0), (0.001, 1.0), (1.0, 0.0)):
        assert chosen(dyna(), found(scale=scale))["learner.normalize_obs"].value is True
    kelvin = found()
    kelvin.rows.obs += torch.tensor([0.0, 280.0])
    assert chosen(dyna(), kelvin)["learner.normalize_obs"].value is True, "far from 0, however little they vary"
    assert "around means up to 280 from 0" in chosen(dyna(), kelvin)["learner.normalize_obs"].why
    assert chosen(dyna(), found())["dynamics.normalize_targets"].value is True
    assert "dynamics.normalize_targets" not in chosen(Dyna(SINDy(), SAC()), found()), "a model without it"


def test_what_cannot_be_replayed_resumes_at_the_next_episode() -> None:
    assert chosen(dyna(), found(resumes=False))["data.resume"].value == "next_episode"
    assert "data.resume" not in chosen(dyna(), found())


# the file --------------------------------------------------------------------------------------------------------------


def test_a_file_becomes_settings_that_train(capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy(EXAMPLE, "lift.py")
    assert main(["init", "lift.py"]) == 0
    said = capsys.readouterr().out
    assert "next     mbrl --allow lift fit --config lift.yaml" in said
    text = Path("lift.yaml").read_text()
    assert all(f"# - {line}"[:60] in text for line in check_environment("lift:Lift-v0")), "what the check found"
    assert max(map(len, text.splitlines())) <= 120
    settings = yaml.safe_load(text)
    assert settings["name"] == "mbpo-lift" and settings["data"]["init_args"]["env_id"] == "lift:Lift-v0"
    assert (
        "stop_at" not in settings["trainer"]
        and "entropy_target" not in settings["model"]["init_args"]["learner"]["init_args"]
    )
    for key in ("normalize_targets", "normalize_obs", "initial_temperature", "warmup_steps", "rollout_length", "steps",
                "reward", "terminated", "eval_every"):  # fmt: skip
        assert re.search(rf"^ *# .*\n *{key}: ", text, re.MULTILINE), f"{key} has its reason above"
    small = ["--data.init_args.steps=60", "--model.init_args.warmup_steps=40", "--data.init_args.eval_episodes=1",
             "--model.init_args.updates_per_step=1", "--model.init_args.dynamics.init_args.max_updates=3",
             "--trainer.progress=false", "--trainer.eval_every=60"]  # fmt: skip
    assert main(["--allow", "lift", "fit", "--config", "lift.yaml", *small]) == 0
    assert Path("runs/mbpo-lift/seed0/summary.json").is_file()


@pytest.mark.parametrize(
    "preset",
    ["mbpo", "mbpo_dmc", "pets/pendulum_20hz", "srl", "mbpo,sac", "mbpo,coplanner/both", "sindy/dyna_pendulum"],
)
def test_every_kind_of_preset_gives_settings_that_are_taken(preset: str) -> None:
    options = ["--env_kwargs", '{"g": 9.0}', "--action_repeat", "2", "--output", "mine.yaml"]
    assert main(["init", "Pendulum-v1", "--preset", preset, *options]) == 0
    settings = parsed(["fit", "--config", "mine.yaml"])
    data = settings["data"]["init_args"]
    assert (data["env_kwargs"], data["action_repeat"], data["reward"]) == ({"g": 9.0}, 2, "learned")
    assert settings["trainer"]["name"] == f"{preset.split('/')[0].split(',')[0]}-pendulum"
    steps, warmup = data["steps"], settings["model"]["init_args"]["warmup_steps"]
    assert steps % 500 == 0 and warmup < steps / 5


def test_keyword_arguments_of_any_name_come_back(monkeypatch: pytest.MonkeyPatch) -> None:
    kwargs = {"on": {"c: d": {"1": 2, "#": {}}, "null": {"a.b": 1}}, "text": "a: b\n\u2028  c", "list": [{"z": "p\n q"}]}
    seen = found(env_kwargs=kwargs)
    monkeypatch.setattr("mbrl.training.commands.init.examine", lambda *arguments, **options: seen)
    assert main(["init", "Lift-v0", "--env_kwargs", json.dumps(kwargs)]) == 0
    assert parsed(["fit", "--config", "lift.yaml"])["data"]["init_args"]["env_kwargs"] == kwargs


def test_what_an_environment_says_stays_a_comment() -> None:
    text = "a\nmodel: {}\x85\u2028b: 1 \x1b[31m \x9b \ufeff \x7f"
    (line,) = _comment(text, 0)
    assert line.startswith("# a model: {} b: 1 ") and yaml.safe_load(f"{line}\nx: 1") == {"x": 1}


def test_a_file_is_never_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    Path("pendulum.yaml").write_text("mine")
    Path("link.yaml").symlink_to("nowhere")
    for given in ([], ["--output", "pendulum.yaml"], ["--output", "link.yaml"]):
        assert main(["init", "Pendulum-v1", *given]) == 2
        assert "is there; give another with --output" in capsys.readouterr().err
    assert Path("pendulum.yaml").read_text() == "mine" and not Path("nowhere").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["Pendulum-v1", "--preset", "mbop"], "--preset: expected the name of a preset, got mbop; did you mean mbpo"),
        (["Pendulum-v1", "--preset", "coplanner/both"], "coplanner/both: expected a preset before it"),
        (["Pendulum-v1", "--preset", "offline"], "expected one that learns in an environment, got offline"),
        (
            ["Pendulum-v1", "--preset", "ensemble/dataset"],
            "expected one that learns in an environment, got ensemble/dataset",
        ),
        (["Pendulum-v1", "--preset", "mpc/pendulum"], "expected one that learns in an environment, got mpc/pendulum"),
        (["Pendulum-v1", "--output", "a.txt"], "--output: expected a name that ends in .yaml, got a.txt"),
        (["Pendulum-v1", "--output", "no/a.yaml"], "--output: expected a folder no to write a.yaml into"),
        (["Pendulum-v1", "--env_kwargs", "[1]"], "--env_kwargs: expected a JSON object"),
        (["Pendulum-v1", "--reward", "mbrl.envs.rewards.reacher"], "Pendulum-v1"),
        (["nowhere.py"], "expected the .py file of an environment, got nowhere.py, which is not there"),
        (["../outside.py"], "expected a file below the current folder"),
        (["my-lift.py"], "rename it with letters, digits and underscores"),
        (["none.py"], "expected none.py to register an environment, got none; put gymnasium.register("),
        (
            ["two.py"],
            "expected two.py to register one environment, got A-v0, B-v0; name one, such as mbrl --allow two init two:A-v0",
        ),
        (["broken.py"], "expected broken.py to be imported as broken, got ZeroDivisionError: division by zero; mend it"),
        (["leaves.py"], "expected leaves.py to be imported as leaves, got SystemExit"),
        (["random.py"], "which has the name already; rename the file"),
        ([":Lift-v0"], "expected :Lift-v0 to start"),
        (["..:Lift-v0"], "expected ..:Lift-v0 to start"),
        (["Pendulum-v1", "--output", "a\nmodel: {}\n.yaml"], "--output: expected a name of printable letters"),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.syspath_prepend(str(tmp_path / "here"))
    example = EXAMPLE.read_text()
    Path("../outside.py").write_text(example)
    Path("my-lift.py").write_text(example)
    Path("none.py").write_text(example.rpartition("\n\n\n")[0])
    twice = "\nfor name in ('A-v0', 'B-v0'):\n    gymnasium.register(name, entry_point=Lift)\n"
    Path("two.py").write_text(example.rpartition("\n\n\n")[0] + twice)
    Path("broken.py").write_text("1 / 0\n")
    Path("leaves.py").write_text("raise SystemExit(3)\n")
    Path("random.py").write_text(example)
    before = sorted(Path().iterdir())
    assert main(["init", *arguments]) == 2
    said = capsys.readouterr().err
    assert told in said and said.startswith("mbrl: ") and said.count("\n") == 1, said
    assert [path for path in sorted(Path().iterdir()) if path.name != "__pycache__"] == before


def test_an_environment_that_cannot_be_made_is_told_as_by_check(capsys: pytest.CaptureFixture[str]) -> None:
    for env_id in ("NoSuchEnv-v0", "CartPole-v1", "nomodule:Lift-v0"):
        assert main(["check", env_id]) == 2
        told = capsys.readouterr().err
        assert main(["init", env_id]) == 2 and capsys.readouterr().err == told
    assert not list(Path().iterdir())


def test_a_file_in_a_folder_goes_by_its_dotted_name(capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    shutil.copy(EXAMPLE, "mine/hoist.py")
    assert main(["init", "mine/hoist.py", "--reward", "mine.hoist.reward", "--preset", "pets"]) == 0
    settings = yaml.safe_load(Path("lift.yaml").read_text())
    assert settings["data"]["init_args"]["env_id"] == "mine.hoist:Lift-v0"
    assert settings["data"]["init_args"]["reward"] == "mine.hoist.reward"
    assert "mbrl --allow mine.hoist fit --config lift.yaml" in capsys.readouterr().out
    assert main(["init", "mine.hoist:Lift-v0", "--output", "again.yaml"]) == 0
    assert "mbrl --allow mine.hoist fit --config again.yaml" in capsys.readouterr().out
