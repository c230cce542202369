"""What commands take is known at once: help imports neither torch nor Lightning, and says what the library takes."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import pytest

from mbrl.analysis.forecasts.exact_model import AUTO, NONE
from mbrl.analysis.runs.learning_curves import STATISTICS
from mbrl.analysis.runs.run_curves import GROUPINGS, X_NAMES
from mbrl.cli import COMMANDS, main
from mbrl.options import check, collect, plot, report, search
from mbrl.options.described import described
from mbrl.options.fit import parse
from mbrl.training import Trainer
from mbrl.training.levels import LEVELS

ALL = [name for name, command in COMMANDS.items() if command.module]


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(list(arguments)) == 0
    return " ".join(capsys.readouterr().out.split())


def test_no_help_imports_what_takes_long() -> None:
    """Nor does a mistake in an option."""
    code = (
        "import contextlib, io, sys, time\nfrom mbrl.cli import main\n"
        f"for name in {ALL!r}:\n"
        "    for option in ('--help', '--no_such_option'):\n"
        "        if name == 'fit' and option != '--help':\n"
        "            continue  # Lightning's parser knows what there is\n"
        "        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):\n"
        "            main([*name.split(), option])\n"
        "slow = {'torch', 'pytorch_lightning', 'numpy', 'optuna', 'matplotlib'} & set(sys.modules)\n"
        "assert not slow, slow\nassert time.process_time() < 2, time.process_time()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["fit", "test"])
def test_the_help_of_settings_has_the_librarys_own_with_their_sentences(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """And none of the flags that a planner's run refuses."""
    text = shown(capsys, command, "--config", "any.yaml", "--help")
    for name, parameter in inspect.signature(Trainer).parameters.items():
        if parameter.kind is not parameter.VAR_KEYWORD:
            assert f"--trainer.{name} " in text, name
    assert "steps of the planner's clock between evaluations. (default: 1000)" in text
    assert "--preset NAMES" in text and "--trainer.max_steps" not in text and "gradient_clip_val" not in text
    assert ("--override" in text) == (command == "fit")


def test_an_argument_without_a_sentence_would_show() -> None:
    trainer = described("training/trainer.py", "Trainer", ("training/run_trainer.py", "RunTrainer"))
    assert all(one.text for one in trainer)
    sac = {one.name: one for one in described("policies/sac.py", "SAC")}
    assert sac["discount"].default == "0.99" and sac["discount"].text == "γ of one real step."


def test_the_full_help_is_lightnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert parse("fit", ["--full_help"]).arguments == ["--help"]


def test_choices_are_those_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    for option, known in (("--x", X_NAMES), ("--statistic", STATISTICS), ("--group", GROUPINGS)):
        for choice in known:
            assert vars(plot.parse("plot", ["runs/a", option, choice]))[option[2:]] == choice
        with pytest.raises(SystemExit):
            plot.parse("plot", ["runs/a", option, "another"])
        found = re.search(rf"{option} \{{(.*?)\}}", shown(capsys, "plot", "--help"))
        assert found is not None and found[1].split(",") == list(known)
    for asked in (["collect", "--levels", "--help"], ["collect", "--levels", "all", "--help"]):
        assert f"{','.join(LEVELS)},orall" in shown(capsys, *asked).replace(" ", "")
    assert report.parse("report", ["--ckpt_path", "a", "--dataset", "b"]).truth == AUTO
    assert f"{AUTO} (its closed form or simulator), {NONE}," in shown(capsys, "report", "--help")


def test_names_of_earlier_versions_are_taken_and_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    older = report.parse("report", ["--ckpt", "run", "--data", "rows.npz", "--out", "page"])
    today = report.parse("report", ["--ckpt_path", "run", "--dataset", "rows.npz", "--folder", "page"])
    assert vars(older) == vars(today)
    older, today = (search.parse("search report", ["study", option, "page"]) for option in ("--out", "--folder"))
    assert vars(older) == vars(today)
    for command in ("report", "search report"):
        assert "--out" not in shown(capsys, *command.split(), "--help")


def test_what_commands_share_has_one_name() -> None:
    assert check.parse("check", ["--dataset", "x", "--done", "terminated"]).done == "terminated"
    assert parse("predict", ["--ckpt_path", "r", "--dataset", "x", "--done", "terminated"]).done == "terminated"
    for parsed in (
        parse("test", ["--ckpt_path", "r", "--dataset", "x", "--folder", "f"]),
        report.parse("report", ["--ckpt_path", "r", "--dataset", "x", "--folder", "f"]),
    ):
        assert {"ckpt_path", "dataset", "folder"} <= set(vars(parsed))
    assert collect.parse("collect", ["out.npz"]).levels is None
