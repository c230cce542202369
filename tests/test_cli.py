"""The `mbrl` command, in this process: what it lists, what it does, and one sentence for each mistake."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from pytorch_lightning.loggers import wandb

import mbrl
from mbrl.cli import COMMANDS, commands_of, main, take_options
from mbrl.training import run_folder, summary
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint, write_checkpoint
from tests.training.toy import lines

CONFIG: dict[str, Any] = {
    "name": "toy",
    "seed_everything": 0,
    "model": {"class_path": "tests.training.toy.ToyPlanner"},
    "data": {
        "class_path": "mbrl.envs.OnlineData",
        "init_args": {"env_id": "Pendulum-v1", "steps": 40, "eval_episodes": 1, "test_episodes": 2},
    },
    "trainer": {"log_every": 10, "eval_every": 20, "checkpoint_every": 20, "progress": False, "tensorboard": False},
}


def write(path: Path, **changes: Any) -> str:
    path.write_text(yaml.safe_dump({**CONFIG, **changes}))
    return str(path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A config, and the folder of its finished run."""
    folder = tmp_path_factory.mktemp("cli")
    config = write(folder / "toy.yaml")
    assert main(["fit", "--config", config, "--trainer.folder", str(folder / "run")]) == 0
    return config, folder / "run"


@pytest.fixture(autouse=True)
def _no_figures(run: tuple[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """The figure at a run's end takes longer than these runs; the first run has drawn it."""
    monkeypatch.setattr(summary, "draw_curve", lambda *arguments: (run[1] / "curve.png").exists())


# the dispatcher ----------------------------------------------------------------------------------------------------------


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  {name} " in text for name in commands_of())
    assert main([]) == 0
    assert capsys.readouterr().out == text


def test_help_and_version_need_no_torch() -> None:
    code = "import sys\nfrom mbrl.cli import main\nmain(['--help'])\nmain(['--version'])\nsys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if command.module])
def test_every_command_of_the_table_says_what_it_takes(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*name.split(), "--help"]) == 0
    usage = capsys.readouterr().out.partition("\n")[0]
    assert usage.startswith("usage: mbrl") and f" {name} " in usage


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == mbrl.__version__


def test_an_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert (
        capsys.readouterr().err == "mbrl: expected a command, got 'trian'; choose one of " + ", ".join(commands_of()) + ".\n"
    )


def test_options_of_every_command() -> None:
    assert take_options(["fit", "--allow", "a", "--x", "1", "--allow=b.c", "--traceback"]) == (
        ["fit", "--x", "1"], ["a", "b.c"], True,
    )  # fmt: skip
    assert main(["fit", "--allow"]) == 2


def test_allow_puts_the_current_folder_on_the_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    main(["--allow", "mine", "--version"])
    assert str(tmp_path) not in sys.path  # nothing ran that could need it
    main(["--allow", "mine", "check"])
    assert sys.path[0] == str(tmp_path)


def test_traceback_shows_where_an_error_came_from() -> None:
    with pytest.raises(mbrl.errors.ConfigError):
        main(["--traceback", "check"])


# the four commands of Lightning ------------------------------------------------------------------------------------------


def test_fit_says_where_everything_is(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: tuple[str, Path]) -> None:
    config, _ = run
    assert main(["fit", "--config", config, "--trainer.folder", str(tmp_path), "--trainer.progress", "true"]) == 0
    said = capsys.readouterr().err
    for name in ("run folder", "checkpoints/ckpt-40", "metrics.jsonl", "curve.png"):
        assert name in said
    assert lines(tmp_path) == lines(run[1])  # and progress changes nothing


def test_configs_merge_in_order_and_options_come_last(tmp_path: Path, run: tuple[str, Path]) -> None:
    later = tmp_path / "later.yaml"
    later.write_text(yaml.safe_dump({"model": {"init_args": {"lr": 0.5}}, "trainer": {"log_every": 5}}))
    options = ["--trainer.folder", str(tmp_path / "run"), "--data.init_args.steps", "20"]
    assert main(["fit", "--config", run[0], "--config", str(later), *options]) == 0
    written = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert written["model"]["init_args"]["lr"] == 0.5
    assert written["data"]["init_args"]["steps"] == 20
    assert written["trainer"]["log_every"] == 5
    assert written["trainer"]["eval_every"] == 20


def test_the_written_config_repeats_the_run(tmp_path: Path, run: tuple[str, Path]) -> None:
    options = ["--trainer.folder", str(tmp_path), "--trainer.progress", "false", "--trainer.tensorboard", "false"]
    assert main(["fit", "--config", str(run[1] / "config.yaml"), *options]) == 0
    assert lines(tmp_path) == lines(run[1])


def test_name_and_seed_make_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: tuple[str, Path]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["fit", "--config", run[0], "--seed_everything", "3", "--name", "mine"]) == 0
    assert (tmp_path / "runs/mine/seed3/metrics.jsonl").exists()
    assert main(["test", "--config", run[0], "--seed_everything", "3", "--name", "mine"]) == 0
    assert (tmp_path / "runs/mine/seed3/test.json").exists()


def test_a_variant_ends_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: tuple[str, Path]) -> None:
    """An overlay names a variant only, so that the same overlay serves every preset beside the preset's own run."""
    monkeypatch.chdir(tmp_path)
    overlay = tmp_path / "overlay.yaml"
    overlay.write_text(yaml.safe_dump({"variant": "twist", "model": {"init_args": {"lr": 0.5}}}))
    options = ["--data.init_args.steps", "10"]
    assert main(["fit", "--config", run[0], *options]) == 0
    assert main(["fit", "--config", run[0], "--config", str(overlay), *options]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["toy", "toy-twist"]
    nameless = write(tmp_path / "nameless.yaml", name=None)
    assert main(["fit", "--config", nameless, "--config", str(overlay), *options]) == 0
    assert (tmp_path / "runs/toyplanner-Pendulum-v1-twist/seed0/metrics.jsonl").exists()


def test_a_variant_is_a_piece_of_a_folders_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], run: tuple[str, Path]
) -> None:
    for wrong in ("a/b", "", "two words"):
        assert main(["fit", "--config", run[0], "--trainer.variant", repr(wrong)]) == 2
        assert "trainer.variant: expected letters, digits, dots and dashes, got" in capsys.readouterr().err
    assert main(["fit", "--config", run[0], "--variant", "a", "--trainer.variant", "b"]) == 2
    assert "variant: expected the value of trainer.variant, which is 'b'" in capsys.readouterr().err


def test_one_seed_only(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: tuple[str, Path]) -> None:
    config = write(tmp_path / "two.yaml", seed_everything=1)
    assert main(["fit", "--config", config, "--data.init_args.seed", "2"]) == 2
    assert "seed_everything: expected the value of data.init_args.seed, which is 2" in capsys.readouterr().err


def test_print_config(capsys: pytest.CaptureFixture[str], run: tuple[str, Path]) -> None:
    assert main(["fit", "--config", run[0], "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["model"]["init_args"] == {"lr": 0.01, "nan_at": -1, "crash_at": -1}


def test_test_prints_mean_and_interval(capsys: pytest.CaptureFixture[str], run: tuple[str, Path]) -> None:
    config, folder = run
    assert main(["test", "--config", config, "--trainer.folder", str(folder)]) == 0
    with_config = capsys.readouterr().out
    assert "mean return -" in with_config
    assert "over 2 episodes, 95 % interval [" in with_config
    assert main(["--allow", "tests", "test", "--ckpt_path", str(folder)]) == 0  # the checkpoint knows the rest
    assert capsys.readouterr().out == with_config
    assert main(["--allow", "tests", "test", "--ckpt_path", str(folder), "--episodes", "1"]) == 0
    assert "over 1 episode" in capsys.readouterr().out
    assert main(["--allow", "tests", "test", "--ckpt_path", str(folder), "--dataset", "rows.npz"]) == 2
    assert "--dataset: expected a model fitted alone, got ToyPlanner; leave it out" in capsys.readouterr().err
    assert main(["--allow", "tests", "validate", "--ckpt_path", str(folder)]) == 0
    assert "mean return" in capsys.readouterr().out


def test_a_model_alone_is_tested_on_a_dataset_of_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train, other = str(tmp_path / "train.npz"), str(tmp_path / "other.npz")
    for path, seed in ((train, "0"), (other, "1")):
        assert main(["collect", path, "--env_id", "Pendulum-v1", "--steps", "100", "--seed", seed]) == 0
    model = {"hidden": [8], "members": 2, "elites": 1, "weight_decay": 0.0, "max_epochs": 2}
    config = write(
        tmp_path / "model.yaml",
        model={"class_path": "mbrl.models.GaussianEnsemble", "init_args": model},
        data={"class_path": "mbrl.envs.OfflineData", "init_args": {"path": train, "env_id": "Pendulum-v1"}},
        trainer={"folder": str(tmp_path / "run"), "progress": False, "tensorboard": False},
    )
    assert main(["fit", "--config", config]) == 0
    capsys.readouterr()
    tested = {}
    for name, data in (("alone", ["--dataset", other]), ("config", ["--config", config, "--data.init_args.path", other])):
        assert main(["test", "--ckpt_path", str(tmp_path / "run"), *data]) == 0
        found = capsys.readouterr()
        tested[name] = found.out
        assert "test/rows 100" in found.out and "flatters" not in found.err
    assert tested["alone"] == tested["config"]
    assert main(["test", "--ckpt_path", str(tmp_path / "run")]) == 0
    found = capsys.readouterr()
    assert "test/rows 20" in found.out
    assert "is tested on the other 20" in found.err and "--dataset FILE" in found.err


def test_a_checkpoint_alone_names_nothing_untrusted(capsys: pytest.CaptureFixture[str], run: tuple[str, Path]) -> None:
    assert main(["test", "--ckpt_path", str(run[1])]) == 2
    assert "add --allow tests" in capsys.readouterr().err
    assert main(["--allow", "tests", "test", "--ckpt_path", "last"]) == 2
    assert "give RUN/last" in capsys.readouterr().err


def test_collect_check_and_predict(tmp_path: Path, capsys: pytest.CaptureFixture[str], run: tuple[str, Path]) -> None:
    dataset = tmp_path / "data.npz"
    trained = ["--allow", "tests", "collect", str(dataset), "--ckpt_path", str(run[1]), "--steps", "60", "--num_envs", "2"]
    assert main(trained) == 0
    assert "60 steps in" in capsys.readouterr().err
    assert main(["check", "Pendulum-v1", "--dataset", str(dataset)]) == 0
    with np.load(dataset) as recorded:  # without its note, nobody knows the bounds of its actions
        np.savez(tmp_path / "bare.npz", **{name: recorded[name] for name in recorded.files if name != "task"})
    bare = ["check", "--dataset", str(tmp_path / "bare.npz")]
    assert main(bare) == 2
    assert main([*bare, "--action_low", "[-2]", "--action_high", "[2]"]) == 0
    assert "60 steps in 2 episodes" in capsys.readouterr().out
    output = tmp_path / "actions.npz"
    command = ["--allow", "tests", "predict", "--ckpt_path", str(run[1]), "--dataset", str(dataset), "--output", str(output)]
    assert main(command) == 0
    with np.load(output) as predicted, np.load(dataset) as recorded:
        np.testing.assert_allclose(predicted["action"], recorded["action"], atol=1e-5)  # the planner that recorded them
    assert main(command) == 2  # never overwrites


def test_collect_with_random_actions(tmp_path: Path) -> None:
    assert main(["collect", str(tmp_path / "data.npz"), "--env_id", "Pendulum-v1", "--steps", "10"]) == 0


def test_check_an_environment(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "Pendulum-v1", "--steps", "50", "--env_kwargs", '{"g": 9.0}', "--reward", "learned"]) == 0
    said = capsys.readouterr().out
    assert "Pendulum-v1: 3 observations, 1 action within [-2, 2]" in said
    assert "Reward: learned" in said


# mistakes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["check"], "expected an environment's id or --dataset, got neither"),
        (["check", "NoSuchEnv-v0"], "NoSuchEnv"),
        (["check", "Pendulum-v1", "--steps", "0"], "check(steps=…): expected a whole number of at least 1, got 0"),
        (
            ["check", "Pendulum-v1", "--action_repeat", "0"],
            "(action_repeat=…): expected a whole number of at least 1, got 0",
        ),
        (
            ["collect", "x.npz", "--env_id", "Pendulum-v1", "--num_envs", "0"],
            "--num_envs: expected a whole number of at least 1",
        ),
        (["check", "CartPole-v1"], "CartPole-v1"),
        (["check", "Pendulum-v1", "--env_kwargs", "[1]"], "--env_kwargs: expected a JSON object"),
        (["collect", "x.npz"], "expected --env_id or --ckpt_path, got neither"),
        (["collect", "x.npz", "--env_id", "Pendulum-v1", "--explore"], "--explore: expected --ckpt_path beside it"),
        (
            ["collect", "x.npz", "--env_id", "Pendulum-v1", "--ckpt_path", "y"],
            "expected --ckpt_path or an environment, got both",
        ),
        (["collect", "x.npz", "--ckpt_path", "nowhere"], "expected a checkpoint at nowhere"),
        (["fit", "--trainer.progress", "false"], "data, model: expected a value, got none"),
        (
            ["fit", "CONFIG", "--seed_everything", "-1"],
            "data.init_args.seed: expected a whole number from 0 to 4294967295, got -1",
        ),
        (["fit", "CONFIG", "--ckpt_path", "nowhere"], "expected a checkpoint at nowhere, but there is nothing"),
        (["fit", "CONFIG", "--trainer.folder", "RUN"], "holds a run; resume it with --ckpt_path last"),
        (["fit", "CONFIG", "--trainer.folder", "RUN", "--ckpt_path", "last", "--model.init_args.lr", "1"], "--override"),
        (["fit", "CONFIG", "--trainer.max_steps", "5"], "trainer.max_steps: expected it to be left out"),
        (["fit", "CONFIG", "--data.init_args.env_id", "NoSuchEnv-v0", "--trainer.folder", "NEW"], "NoSuchEnv"),
        (["test", "CONFIG", "--trainer.folder", "NEW"], "but there is none; train first"),
        (
            ["test", "CONFIG", "--trainer.folder", "RUN", "--ckpt_path", "https://x.org/m.pt"],
            "expected a path on this machine",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    arguments: list[str], sentence: str, run: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"CONFIG": ["--config", run[0]], "RUN": [str(run[1])], "NEW": [str(tmp_path / "new")]}
    before = (run[1] / "metrics.jsonl").read_bytes()
    assert main([part for argument in arguments for part in named.get(argument, [argument])]) == 2
    said = capsys.readouterr().err
    assert said.startswith("mbrl: ")
    assert sentence in said
    assert said.count("\n") == 1
    assert (run[1] / "metrics.jsonl").read_bytes() == before
    assert not (tmp_path / "new" / "metrics.jsonl").exists()


def test_an_unknown_key_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for changes, name in (
        ({"model": {"class_path": "tests.training.toy.ToyPlanner", "init_args": {"lrr": 1.0}}}, "lrr"),
        ({"trainer": {"log_evry": 10}}, "log_evry"),
        ({"tariner": {"log_every": 10}}, "tariner"),
        ({"tariner": {}}, "tariner: expected a setting that exists"),
        ({"model": {**CONFIG["model"], "init_args": {"lrr": {}}}}, "model.init_args.lrr: expected a setting that exists"),
    ):
        assert main(["fit", "--config", write(tmp_path / "wrong.yaml", **changes)]) == 2
        said = capsys.readouterr().err
        assert name in said
        assert "usage" not in said


def test_a_logger_without_its_package(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(wandb, "_WANDB_AVAILABLE", False)
    logger = {"class_path": "pytorch_lightning.loggers.WandbLogger"}
    config = write(tmp_path / "wandb.yaml", trainer={**CONFIG["trainer"], "logger": logger})
    assert main(["fit", "--config", config, "--trainer.folder", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "pytorch_lightning.loggers.WandbLogger: expected the package that it needs, got" in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"reward": "antigravity.fly"},
        {"terminated": "antigravity.fly"},
        {"env_kwargs": {"make": [{"callable": "antigravity.fly"}]}},
        {"env_id": "antigravity:Fly-v0"},
    ],
)
def test_a_checkpoints_data_names_nothing_untrusted(
    changes: dict[str, Any], run: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = checkpoint_folders(run[1])[0]
    checkpoint = read_checkpoint(folder, buffers=True)
    checkpoint["mbrl_run"]["data"]["init_args"].update(changes)
    write_checkpoint(tmp_path / "run" / "checkpoints" / folder.name, checkpoint, {})
    assert main(["--allow", "tests", "test", "--ckpt_path", str(tmp_path / "run")]) == 2
    assert "add --allow antigravity" in capsys.readouterr().err


def test_a_full_disk_outside_checkpoints_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, run: tuple[str, Path]
) -> None:
    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "config.yaml")

    monkeypatch.setattr(run_folder, "write_config", full)
    assert main(["fit", "--config", run[0], "--trainer.folder", str(tmp_path)]) == 2
    said = capsys.readouterr().err
    assert "expected to read or write config.yaml, but that failed (No space left on device); free space" in said


def test_any_other_module_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = write(tmp_path / "demo.yaml", model={"class_path": "pytorch_lightning.demos.boring_classes.BoringModel"})
    assert main(["fit", "--config", config, "--trainer.folder", str(tmp_path / "run")]) == 2
    assert "expected a Planner or DynamicsModel of mbrl, got BoringModel" in capsys.readouterr().err
