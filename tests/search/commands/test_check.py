"""The space on the real parser: what `mbrl search check` refuses, and the best configuration as one file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl import cli
from mbrl.errors import ConfigError
from mbrl.search.file.export import best_yaml, check
from mbrl.search.file.search_file import SearchFile
from mbrl.training.commands.parsed import parsed
from mbrl.training.yaml_text import read_mapping

ROOT = Path(__file__).parents[3]
CONFIGS = [(name, (ROOT / name).read_text()) for name in ("configs/base/mbpo.yaml", "configs/mbpo/pendulum.yaml")]
DYNAMICS, HOOKS = "model.init_args.dynamics", "model.init_args.rollout_hooks"
PENALTY = {
    "class_path": "mbrl.planners.UncertaintyPenalty",
    "init_args": {"measure": "mbrl.uncertainty.MaxAleatoric", "weight": 1.0},
}
WRITTEN: dict[str, Any] = {
    "study": "s",
    "config": [name for name, _ in CONFIGS],
    "fixed": {"data.init_args.steps": 1000},
    "objectives": [{"metric": "eval/return", "direction": "maximize"}],
    "space": {
        DYNAMICS: {"choice": ["mbrl.models.GaussianEnsemble", "mbrl.models.Pendulum"]},
        f"{DYNAMICS}.init_args.members": {"int": [5, 7], "when": {DYNAMICS: ["mbrl.models.GaussianEnsemble"]}},
        HOOKS: {"choice": {"none": [], "aleatoric": [PENALTY]}},
        f"{HOOKS}.0.init_args.weight": {"float": [0.1, 10], "log": True, "when": {HOOKS: ["aleatoric"]}},
        "model.init_args.rollout_length.3": {"int": [1, 20]},
        "model.init_args.learner.init_args.actor_lr": {"float": [1e-5, 1e-2], "log": True},
    },
    "budget": {"trials": 3},
}


def search(space: dict[str, Any] | None = None, **changes: Any) -> SearchFile:
    written = {**WRITTEN, **changes, "space": WRITTEN["space"] if space is None else space}
    return SearchFile.from_text(yaml.safe_dump(written, sort_keys=False), CONFIGS)


CHOSEN = {
    DYNAMICS: "mbrl.models.GaussianEnsemble",
    f"{DYNAMICS}.init_args.members": 6,
    HOOKS: "aleatoric",
    f"{HOOKS}.0.init_args.weight": 0.3,
    "model.init_args.rollout_length.3": 9,
    "model.init_args.learner.init_args.actor_lr": 2e-5,
}


def test_the_parser_gets_what_was_chosen(tmp_path: Path) -> None:
    made = search()
    got = parsed(made.argv(CHOSEN, 3, "runs/s/0/seed3", made.write_configs(tmp_path)))
    model = got["model"]["init_args"]
    assert model["dynamics"]["class_path"] == "mbrl.models.GaussianEnsemble"
    assert model["dynamics"]["init_args"]["members"] == 6
    assert model["dynamics"]["init_args"]["hidden"] == [100, 100, 100], "the task's configuration stays below"
    assert model["rollout_hooks"][0]["init_args"]["weight"] == 0.3
    assert model["rollout_length"] == [1, 15, 1, 9]
    assert model["learner"]["init_args"]["actor_lr"] == 2e-5
    assert got["data"]["init_args"]["steps"] == 1000
    assert got["data"]["init_args"]["seed"] == 3
    assert str(got["trainer"]["folder"]) == "runs/s/0/seed3"


def test_a_good_space_is_taken_and_nothing_is_left_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(search(), parsed) == 5
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (
            {"model.init_args.nope": {"int": [1, 2]}},
            r"model\.init_args\.nope, at the lowest .*: nope: expected a setting that",
        ),
        (
            {DYNAMICS: WRITTEN["space"][DYNAMICS], f"{DYNAMICS}.init_args.members": {"int": [5, 7]}},
            rf"{DYNAMICS}\.init_args\.members, at {DYNAMICS}=mbrl\.models\.Pendulum: members: expected a setting that",
        ),
        (
            {"model.init_args.updates_per_step": {"float": [1, 20]}},
            r"init_args\.updates_per_step, at the lowest numbers: updates_per_step: expected a whole number of at least 0, "
            r"or a list, got 1\.0",
        ),
        (
            {DYNAMICS: {"choice": ["mbrl.models.Nope", "mbrl.models.Pendulum"]}},
            rf"{DYNAMICS}, at the lowest .*mbrl\.models\.Nope",
        ),
        # what only the constructors know
        (
            {"model.init_args.real_ratio": {"float": [0.1, 1.5]}},
            r"model\.init_args\.real_ratio, at the highest numbers: Dyna\(real_ratio=…\): expected a number from 0 to 1, or "
            r"a list, each a finite number, got 1\.5\.$",
        ),
        (
            {"model.init_args.learner.init_args.actor_lr": {"float": [0.0, 0.01]}},
            r"actor_lr, at the lowest numbers: SAC\(actor_lr=…\): expected a finite number above 0, got 0\.0\.$",
        ),
        (
            {f"{DYNAMICS}.init_args.members": {"int": [2, 7]}},
            rf"{DYNAMICS}\.init_args\.members, at the lowest numbers: .*elites",
        ),
        ({"trainer.max_steps": {"int": [1, 7]}}, r"trainer\.max_steps, at the lowest numbers: .*max_steps"),
    ],
)
def test_what_the_command_would_refuse_is_refused_before_any_trial(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(search(space), parsed)


def test_what_is_fixed_is_checked_too() -> None:
    with pytest.raises(ConfigError, match=r"data\.init_args\.stepss, at .*: stepss: expected a setting that exists"):
        check(search(fixed={"data.init_args.stepss": 5}), parsed)


@pytest.mark.parametrize("dynamics", ["mbrl.models.GaussianEnsemble", "mbrl.models.Pendulum"])
def test_the_best_is_one_file_that_runs_what_the_trial_ran(dynamics: str, tmp_path: Path) -> None:
    made = search(fixed={"data.init_args.steps": 1000, f"{DYNAMICS}.init_args.g": 9.0} if "Pendulum" in dynamics else {})
    chosen = {**CHOSEN, DYNAMICS: dynamics}
    if "Pendulum" in dynamics:
        del chosen[f"{DYNAMICS}.init_args.members"]
    text = best_yaml(made, chosen, "Trial 7\npredicted -150", parsed)
    assert text.startswith("# Trial 7\n# predicted -150\nname: s-best\n")
    path = tmp_path / "best.yaml"
    path.write_text(text)
    alone = parsed(["fit", "--config", str(path), "--seed_everything=0"])
    trial = parsed(made.argv(chosen, 0, "run", made.write_configs(tmp_path)))
    assert alone["model"] == trial["model"]
    assert alone["data"] == trial["data"]
    assert {**alone["trainer"], "folder": None, "name": None} == {**trial["trainer"], "folder": None, "name": None}
    written = read_mapping(text, "best.yaml")
    assert "seed_everything" not in written
    init_args = written["model"]["init_args"]["dynamics"].get("init_args", {})
    assert init_args == ({"g": 9.0} if "Pendulum" in dynamics else {**init_args, "members": 6, "hidden": [100, 100, 100]})


def test_the_command_prints_a_trial_that_could_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    path = tmp_path / "search.yaml"
    path.write_text(
        yaml.safe_dump({**WRITTEN, "space": {"model.init_args.real_ratio": {"float": [0.1, 0.5], "start": 0.2}}})
    )
    assert cli.main(["search", "check", str(path)]) == 0
    out = capsys.readouterr().out
    assert "1 parameter, 0 of them conditional; mbrl fit takes all of 3 configurations tried" in out
    assert "maximize eval/return (last)" in out
    command = shlex.split(out[out.index("  mbrl fit") :].replace("\\\n", ""))  # as a shell reads it
    assert command[:6] == ["mbrl", "fit", "--config", "configs/base/mbpo.yaml", "--config", "configs/mbpo/pendulum.yaml"]
    assert command[6].startswith("--config={") and '"real_ratio": 0.2' in command[6]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["search", "chek"], "mbrl search: expected a command, got 'chek'; choose one of check"),
        (["search", "check", "none.yaml"], "none.yaml: expected a YAML file from where the command runs"),
    ],
)
def test_a_wrong_command_exits_with_2(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert message in capsys.readouterr().err


def test_help_lists_the_subcommands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["search", "--help"]) == 0
    assert "check" in capsys.readouterr().out
