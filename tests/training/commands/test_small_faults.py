"""What users write by mistake is told in one sentence that names it, and the help reads as one would say it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from mbrl.cli import main
from mbrl.training.commands.help_text import with_plain_limits

CONFIG: dict[str, Any] = {
    "model": {
        "class_path": "mbrl.planners.PETS",
        "init_args": {"dynamics": {"class_path": "mbrl.models.Pendulum"}, "optimizer": {"class_path": "mbrl.planners.CEM"}},
    },
    "data": {"class_path": "mbrl.envs.OnlineData", "init_args": {"env_id": "Pendulum-v1", "steps": 300}},
}


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    try:
        code = main(list(arguments))
    except SystemExit as ended:
        code = ended.code  # type: ignore[assignment]
    assert code == 2
    return capsys.readouterr().err


def written(folder: Path, **changes: Any) -> str:
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return str(path)


@pytest.mark.parametrize(
    "command",
    [
        ["collect", "new.npz", "--env_id", "Pendulum-v1"],
        ["check", "Pendulum-v1"],
        ["report", "--ckpt", "nowhere", "--data", "nothing"],
        ["plot", "nowhere"],
    ],
    ids=lambda command: command[0],
)
@pytest.mark.parametrize("seed", ["-1", str(2**32)])
def test_a_seed_out_of_range(command: list[str], seed: str, capsys: pytest.CaptureFixture[str]) -> None:
    error = told(capsys, *command, "--seed", seed)
    assert f"--seed: expected a whole number from 0 to 4294967295, got {seed}" in error


@pytest.mark.parametrize("folder", ["", " "])
def test_an_empty_folder_is_not_the_current_one(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    error = told(capsys, "fit", "--config", written(tmp_path, trainer={"folder": folder}))
    assert (
        "trainer.folder: expected the path of a folder, got an empty one; leave it out, or give . for the current" in error
    )
    assert [item.name for item in tmp_path.iterdir()] == ["run.yaml"]


@pytest.mark.parametrize("folder", [[1, 2], 5, {"a": 1}, True, 0.5])
def test_a_folder_that_is_no_text(folder: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = told(capsys, "fit", "--config", written(tmp_path, trainer={"folder": folder}))
    assert f"trainer.folder: expected a path, which is text, got {folder}; put it in quotes if it is one." in error


@pytest.mark.parametrize("given", ["--config", "-c", "--config="])
def test_a_doubled_key_names_its_file(given: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "twice.yaml"
    path.write_text("model:\n  class_path: mbrl.planners.Dyna\n  class_path: mbrl.planners.PETS\n")
    arguments = [f"{given}{path}"] if given.endswith("=") else [given, str(path)]
    error = told(capsys, "fit", *arguments)
    assert f"class_path: expected each key once, got it again in line 3 of {path}; leave one out." in error


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("tests.outsider.mine.ridge.Rigde", "tests.outsider.mine.ridge.Ridge"),
        ("tests.outsider.mine.rigde.Ridge", "tests.outsider.mine.ridge.Ridge"),
        ("mbrl.models.GausianEnsemble", "mbrl.models.GaussianEnsemble"),
    ],
)
def test_a_class_that_is_spelt_wrongly(name: str, near: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = told(capsys, "fit", "--config", written(tmp_path, model={"class_path": name}))
    assert f"got {name} (" in error and f"; did you mean {near}?" in error
    error = told(capsys, "fit", "--config", written(tmp_path, model={"class_path": "mbrl.models.Zzz"}))
    assert "check the spelling" in error and "did you mean" not in error


def test_help_says_limits_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["fit", "--full_help"], ["fit", "--model.help", "mbrl.models.GaussianEnsemble"]):
        with contextlib.suppress(SystemExit):
            main(arguments)
        shown = re.sub(r"\s+", " ", capsys.readouterr().out)
        assert "(type: int of at least 1, default:" in shown and "Annotated" not in shown
    assert with_plain_limits("Optional[Annotated[int, of at least 1]]") == "Optional[int of at least 1]"
    nested = "Annotated[Sequence[Annotated[int, of at least 1]], of at least 2, rising]"
    assert with_plain_limits(nested) == "Sequence[int of at least 1] of at least 2, rising"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            ["Pendulum-v1", "--clip_actions"],
            "expected --clip_actions where the check asks a dataset (--dataset), got",
        ),
        (
            ["Pendulum-v1", "--action_low", "[-1]", "--action_high", "[1]"],
            "expected --action_low and --action_high where",
        ),
        (
            ["--dataset", "a.npz", "--steps", "0"],
            "expected --steps where the check takes steps in an environment, alone",
        ),
        (["Pendulum-v1", "--dataset", "a.npz", "--seed", "0"], "expected --seed where the check takes steps in an env"),
        (["--dataset", "a.npz", "--action_low", "a,b"], "expected numbers such as [-1, -1], got a,b; give one per action"),
    ],
)
def test_check_takes_no_option_that_it_would_not_use(
    options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert expected in " ".join(told(capsys, "check", *options).split())
