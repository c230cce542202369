"""Command lines: each command with wrong flags, missing files, folders for files, numbers that are none."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml

from benchmarks.armour.judging import Input
from benchmarks.armour.materials import Materials
from mbrl.cli import COMMANDS

KIND = "command line"

# each command as it works in a folder with everything
WHOLE: dict[str, list[str]] = {
    "fit": ["--config", "config.yaml"],
    "validate": ["--ckpt_path", "run"],
    "test": ["--ckpt_path", "run"],
    "predict": ["--ckpt_path", "run", "--dataset", "rows.npz"],
    "collect": ["out.npz", "--env_id", "Pendulum-v1", "--steps", "20"],
    "check": ["Pendulum-v1", "--steps", "20"],
    "report": ["--ckpt", "run", "--data", "rows.npz", "--quick"],
    "plot": ["run"],
    "search check": ["search.yaml"],
    "search run": ["search.yaml"],
    "search join": ["odd"],
    "search status": ["odd"],
    "search confirm": ["odd"],
    "search report": ["odd"],
    "search retry": ["odd"],
    "search stop": ["odd"],
}
SEEDED = ("collect", "check", "report", "plot")

TRIED: list[list[str]] = [
    [""], ["fitt"], ["-x"], ["--config", "config.yaml"], ["--allow"], ["--allow", "", "fit"], ["\x1b[2J"], ["search", "x"],
    ["search", ""], ["fit", "fit"], ["--allow", "nowhere", "test", "--ckpt_path", "nowhere"], ["search", "fit"],
    ["fit"], ["fit", "--config"], ["fit", "--config", ""], ["fit", "--config", "config.yaml", "--model.init_args.odd=1"],
    ["fit", "--config", "config.yaml", "--model.init_args.batch_size=x"], ["fit", "--config", "config.yaml", "extra"],
    ["fit", "--config", "config.yaml", "--trainer.folder", "run"], ["fit", "--config", "config.yaml", "--ckpt_path",
    "nowhere"],
    ["fit", "--config", "config.yaml", "--ckpt_path", ""], ["fit", "--config", "config.yaml", "--ckpt_path", "rows.npz"],
    ["fit", "--config", "config.yaml", "--ckpt_path", "https://example.org/x"], ["fit", "--model", "nowhere.Dyna"],
    ["fit", "--model", "mbrl.planners.Dyna"], ["fit", "--model", "Dyna", "--data", "OnlineData"],
    ["fit", "--config", "config.yaml", "--data.init_args.steps=-5"], ["fit", "--config", "config.yaml",
    "--seed_everything=-1"],
    ["fit", "--config", "config.yaml", "--model.init_args.rollout_length=[1,2"], ["fit", "--config", "rows.npz"],
    ["test"], ["test", "--ckpt_path"], ["test", "--ckpt_path", ""], ["test", "--ckpt_path", "rows.npz"],
    ["test", "--ckpt_path", "run/config.yaml"], ["test", "--ckpt_path", "run/checkpoints"],
    ["test", "--ckpt_path", "a\0b"], ["test", "--ckpt_path", "x" * 5000], ["test", "--ckpt_path", "run", "--episodes", "0"],
    ["test", "--ckpt_path", "run", "--episodes", "-1"], ["test", "--ckpt_path", "run", "--episodes", "two"],
    ["test", "--ckpt_path", "run", "--dataset", "rows.npz"], ["test", "--ckpt_path", "run", "--folder", "mine.txt"],
    ["test", "--ckpt_path", "run", "--folder", ""], ["test", "--ckpt_path", "last"], ["test", "--ckpt_path", "best"],
    ["validate", "--ckpt_path", "run", "--folder", "mine.txt/x"], ["test", "--config", "config.yaml"],
    ["predict", "--ckpt_path", "run"], ["predict", "--ckpt_path", "run", "--dataset", "config.yaml"],
    ["collect"], ["collect", "out.npz"], ["collect", "rows.npz", "--env_id", "Pendulum-v1"],
    ["collect", "out.txt", "--env_id", "Pendulum-v1", "--steps", "5"], ["collect", "", "--env_id", "Pendulum-v1"],
    ["collect", "nowhere/out.npz", "--env_id", "Pendulum-v1"], ["collect", "mine.txt/out.npz", "--env_id", "Pendulum-v1"],
    ["collect", "out.npz", "--env_id", "No-v0"], ["collect", "out.npz", "--env_id", "CartPole-v1"],
    ["collect", "out.npz", "--env_id", ""], ["collect", "out.npz", "--env_id", "Pendulum-v1", "--ckpt_path", "run"],
    ["collect", "out.npz", "--ckpt_path", "nowhere"], ["collect", "out.npz", "--env_id", "Pendulum-v1", "--explore"],
    *[["collect", "out.npz", "--env_id", "Pendulum-v1", *more] for more in (
        ["--steps", "0"], ["--steps", "-5"], ["--steps", "many"], ["--num_envs", "0"], ["--num_envs", "3", "--steps", "10"],
        ["--env_kwargs", "{"], ["--env_kwargs", "[]"], ["--env_kwargs", '{"odd": 1}'], ["--action_repeat", "0"],
        ["--seed", str(2**70)], ["--num_envs", "-1"], ["--env_kwargs", '{"g": NaN}'], ["--env_kwargs", "null"],
    )],
    ["collect", "x" * 300 + ".npz", "--env_id", "Pendulum-v1", "--steps", "5"],
    ["check"], ["check", ""], ["check", "No-v0"], ["check", "Pendulum"], ["check", "CartPole-v1"], ["check", "a:b:c"],
    ["check", "dm_control/x"], ["check", "nowhere:X-v0"], ["check", "rows.npz"], ["check", "../x"], ["check", "a\0b"],
    *[["check", "Pendulum-v1", *more] for more in (
        ["--steps", "0"], ["--steps", "-1"], ["--steps", "x"], ["--reward", "nowhere.f"], ["--reward", "os.system"],
        ["--reward", ""], ["--terminated", "mbrl.envs.rewards.pendulum"], ["--action_repeat", "-1"],
        ["--env_kwargs", '{"render_mode": "odd"}'], ["--env_kwargs", "x"], ["--dataset", ""], ["--dataset", "nowhere"],
        ["--dataset", "run"], ["--dataset", "config.yaml"], ["--action_low", "x"], ["--action_low", "[[1]]"],
        ["--dataset", "rows.npz", "--action_low", "[-1]"], ["--action_repeat", "0"],
    )],
    ["check", "--dataset", "rows.npz", "--action_low", "[NaN]", "--action_high", "[1]"],
    ["check", "--dataset", "rows.npz", "--action_low", "{}", "--action_high", "[1]"],
    ["check", "--dataset", "rows.npz", "--action_low", "3,,", "--action_high", "[1]"],
    ["check", "--dataset", "rows.npz", "--env_kwargs", "{}"], ["check", "--dataset", "rows.npz", "--reward", "nowhere.f"],
    ["report"], ["report", "--ckpt", "run"], ["report", "--ckpt", "nowhere", "--data", "rows.npz"],
    *[["report", "--ckpt", "run", "--data", "rows.npz", "--quick", *more] for more in (
        ["--horizon", "0"], ["--horizon", "1000"], ["--measures", "Odd"], ["--measures", "{"], ["--measures"],
        ["--measures", '{"class_path": 3}'], ["--measures", "os.system"], ["--truth", "Odd"], ["--truth", "os.system"],
        ["--decisions", "0"], ["--threads", "0"], ["--out", "mine.txt"], ["--out", "mine.txt/x"],
        ["--training_data", "nowhere.npz"], ["--measures", '{"init_args": {}}'], ["--measures", "mbrl.models.Pendulum"],
    )],
    ["report", "--ckpt", "run", "--data", "nowhere.npz"], ["report", "--ckpt", "rows.npz", "--data", "rows.npz"],
    ["plot"], ["plot", "nowhere"], ["plot", "mine.txt"], ["plot", "rows.npz"], ["plot", "."], ["plot", ""], ["plot", "=run"],
    *[["plot", "run", *more] for more in (
        ["--metric", "odd"], ["--metric", ""], ["--x", "odd"], ["--statistic", "odd"], ["--level", "2"], ["--level", "x"],
        ["--level", "nan"], ["--resamples", "0"], ["--points", "0"], ["--points", "1"], ["--out", "x.doc"], ["--out", "x"],
        ["--out", "nowhere/x.png"], ["--out", "mine.txt/x.png"], ["--csv", "mine.txt"], ["--csv", "run/metrics.csv"],
        ["--group", "odd"], ["--out", ""], ["--csv", ""],
    )],
    *[["search", command] for command in ("check", "run", "join", "status", "confirm", "report", "retry", "stop")],
    *[["search", "run", "search.yaml", *more] for more in (
        ["--trials", "0"], ["--trials", "-1"], ["--workers", "0"], ["--hours", "-1"], ["--hours", "nan"], ["--device",
        "odd"],
        ["--storage", ""], ["--storage", "odd"], ["--storage", "sqlite://"], ["--storage", "journal://"],
        ["--storage", "sqlite:///mine.txt"], ["--storage", "sqlite:///run"],
        ["--storage", "postgresql://u:p@nowhere/x"], ["--storage", "http://nowhere/x"], ["--from", "nowhere"],
        ["--from", "odd:x"], ["--from", ":"],
    )],
]  # fmt: skip
MAY = {
    "check Pendulum-v1 --reward  ",
    "plot .",
    "plot run --csv ",
    "plot run --out ",
    "search",
    "fit --config config.yaml --seed_everything=-1",
}


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""

    def line(arguments: list[str], here: Path) -> list[str]:
        text = " ".join(arguments)
        if "run" in text:
            whole.copy_of_run(here)
        if "rows.npz" in text:
            shutil.copy(whole.npz, here / "rows.npz")
        if "yaml" in text:
            of_a_search = "search" in text
            (here / "config.yaml").write_text(yaml.safe_dump(whole.searched if of_a_search else whole.config))
            (here / "search.yaml").write_text(yaml.safe_dump(whole.search()))
        return arguments

    for arguments in TRIED:
        name = " ".join(argument[:60] for argument in arguments) or "an empty word"
        yield Input(KIND, ascii(name)[1:-1], partial(line, arguments), may=name in MAY)
    for command, rest in WHOLE.items():
        assert command in COMMANDS
        words = command.split()
        yield Input(KIND, f"{command}: an unknown flag", partial(line, [*words, *rest, "--odd_flag", "1"]))
        yield Input(KIND, f"{command}: a word too many", partial(line, [*words, *rest, "one", "two", "three"]))
        yield Input(
            KIND,
            f"{command}: missing files",
            partial(
                line,
                [
                    *words,
                    *(part.replace("run", "nowhere").replace(".yaml", ".yml").replace(".npz", ".npy") for part in rest),
                    *(["--bad"] if command in ("collect", "check") else []),
                ],
            ),
        )
        if command in SEEDED:
            for seed in ("-1", "x", "1.5"):
                yield Input(KIND, f"{command}: seed {seed}", partial(line, [*words, *rest, "--seed", seed]))
