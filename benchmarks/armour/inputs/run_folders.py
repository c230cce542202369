"""Run folders: parts that are missing, broken, locked, foreign or links, for everyone who reads one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.armour.judging import Input
from benchmarks.armour.materials import Materials
from tests.training.test_kill_and_resume import fit

KIND = "run folder"
AGAIN = [
    "fit",
    "--config",
    "run/config.yaml",
    "--trainer.folder",
    "run",
    "--data.init_args.steps",
    "40",
    "--ckpt_path",
    "last",
]
COMMANDS: dict[str, list[str]] = {
    "again": AGAIN,
    "test": ["test", "--ckpt_path", "run", "--episodes", "1"],
    "plot": ["plot", "run"],
}

METRICS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda old: b"",
    "half a line": lambda old: old[:-20],
    "no JSON": lambda old: b"metrics\n",
    "no JSON amid": lambda old: old.replace(b"\n", b"\nmetrics\n", 1),
    "a list": lambda old: b"[1]\n" + old,
    "numbers in words": lambda old: old.replace(b'"env_steps": 10', b'"env_steps": "ten"'),
    "no clock": lambda old: old.replace(b"env_steps", b"steps"),
    "NaN": lambda old: b'{"env_steps": NaN, "eval/return": NaN}\n',
    "a nested value": lambda old: b'{"env_steps": 10, "eval/return": {"a": 1}}\n',
    "a negative clock": lambda old: b'{"env_steps": -10, "eval/return": 1}\n',
    "a huge clock": lambda old: b'{"env_steps": 1e400, "eval/return": 1}\n',
    "zeros": lambda old: bytes(100),
    "UTF-16": lambda old: old.decode().encode("utf-16"),
    "no text": lambda old: b"\xff\xfe\xfd",
    "deep": lambda old: b"[" * 100_000,
    "lines in disorder": lambda old: b"\n".join(reversed(old.splitlines())) + b"\n",
    "lines twice": lambda old: old + old,
    "blank lines": lambda old: old.replace(b"\n", b"\n\n"),
    "formulas in a name": lambda old: old.replace(b"eval/return", b"$x_{"),
    "escapes in a name": lambda old: old.replace(b"eval/return", b"\\u001b[2J"),
}
JSON: dict[str, bytes] = {
    "empty": b"", "null": b"null", "a list": b"[]", "no JSON": b"{", "no text": b"\xff\xfe", "an empty object": b"{}",
    "numbers in words": b'{"env_steps": "many"}', "deep": b"[" * 100_000,
}  # fmt: skip
CONFIGS: dict[str, bytes] = {
    "empty": b"", "null": b"null", "a list": b"- 1\n", "no YAML": b"{", "no text": b"\xff\xfe\xfd",
    "UTF-16": "a: 1".encode("utf-16"),
    "a tag": b"a: !!python/object/apply:os.system ['touch marker']\n", "another's": b"name: other\n", "deep": b"[" * 20_000,
    "formulas": b"name: '$\\\\frac{'\n", "model of null": b"model: null\ndata: null\n",
}  # fmt: skip


def whole_or(path: Path, make: Callable[[Path], Any]) -> None:
    """Has something else lie at a path."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    make(path)


SHAPES: dict[str, Callable[[Path], Any]] = {
    "missing": lambda path: None,
    "a folder": Path.mkdir,
    "a pipe": os.mkfifo,
    "a link to mine": lambda path: path.symlink_to("../mine.txt"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a link to nothing": lambda path: path.symlink_to("nowhere"),
}
PARTS = ("metrics.jsonl", "metrics.csv", "summary.json", "config.yaml", "curve.png", "checkpoints")


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""

    def text(name: str, change: Callable[[bytes], bytes], command: list[str], here: Path) -> list[str]:
        path = whole.copy_of_run(here) / name
        path.write_bytes(change(path.read_bytes()))
        return command

    def shape(name: str, make: Callable[[Path], Any], which: str, here: Path) -> Any:
        whole_or(whole.copy_of_run(here) / name, make)
        return (lambda: fit(Path("run"), "last")) if which == "again" else COMMANDS[which]

    def folder(prepare: Callable[[Path], Any], command: list[str], here: Path) -> list[str]:
        prepare(whole.copy_of_run(here))
        config = {**whole.config, "trainer": {**whole.config["trainer"], "folder": "run"}}
        (here / "config.yaml").write_text(yaml.safe_dump(config))
        return command

    def checkpoint_named(name: str, run: Path) -> None:
        shutil.copytree(whole.checkpoint(run), run / "checkpoints" / name)

    for name, change in METRICS.items():
        for which in ("again", "plot"):
            yield Input(
                KIND, f"{which}: metrics.jsonl of {name}", partial(text, "metrics.jsonl", change, COMMANDS[which]), may=True
            )
    for name, content in JSON.items():
        for which in ("again", "plot", "test"):
            broken = partial(text, "summary.json", lambda old, content=content: content, COMMANDS[which])
            yield Input(KIND, f"{which}: summary.json of {name}", broken, may=True)
    for name, content in CONFIGS.items():
        broken = partial(text, "config.yaml", lambda old, content=content: content, COMMANDS["plot"])
        yield Input(KIND, f"plot: config.yaml of {name}", broken, may=True)
        yield Input(
            KIND, f"again: config.yaml of {name}", partial(text, "config.yaml", lambda old, content=content: content, AGAIN)
        )
    for part in PARTS:
        for name, make in SHAPES.items():
            for which in COMMANDS:
                may = part != "checkpoints" or which == "plot"
                yield Input(KIND, f"{which}: {part} is {name}", partial(shape, part, make, which), may=may)

    def without(kept: tuple[str, ...], run: Path) -> None:
        for part in PARTS:
            if part not in kept:
                whole_or(run / part, lambda path: None)

    def with_strangers_files(run: Path) -> None:
        without((), run)
        (run / "mine.txt").write_text("mine\n")

    run, anew = COMMANDS["test"], ["fit", "--config", "config.yaml"]
    for name, (prepare, command, may) in {
        "begun anew": (lambda run: None, anew, False),
        "begun anew without checkpoints": (lambda run: shutil.rmtree(run / "checkpoints"), anew, False),
        "begun anew with metrics alone": (partial(without, ("metrics.jsonl",)), anew, False),
        "begun anew with a stranger's files": (with_strangers_files, anew, True),
        "a file for the folder": (lambda run: whole_or(run, lambda path: path.write_text("x")), anew, False),
        "a link for the folder": (lambda run: (run.rename(run.with_name("real")), run.symlink_to("real")), run, True),
        "a link to itself": (lambda run: whole_or(run, lambda path: path.symlink_to("run")), anew, False),
        "read only": (lambda run: run.chmod(0o500), run, True),
        "no leave to look": (lambda run: whole.checkpoint(run).chmod(0o000), run, True),
        "a checkpoint of no number": (partial(checkpoint_named, "ckpt-x"), run, True),
        "a checkpoint of a huge number": (partial(checkpoint_named, "ckpt-" + "9" * 40), run, True),
        "a checkpoint of a negative number": (partial(checkpoint_named, "ckpt--5"), run, True),
        "an empty newer checkpoint": (lambda run: (run / "checkpoints" / "ckpt-99").mkdir(), run, True),
        "a file for a newer checkpoint": (lambda run: (run / "checkpoints" / "ckpt-99").write_text("x"), run, True),
        "a folder for the test's result": (lambda run: (run / "test.json").mkdir(), run, True),
        "an empty folder": (lambda run: whole_or(run, Path.mkdir), run, False),
        "runs of seeds that differ": (lambda run: shutil.copytree(run, run.with_name("other")), ["plot", "run",
        "other"], True),
        "one run twice": (lambda run: None, ["plot", "run", "run"], True),
        "a label of formulas": (lambda run: None, ["plot", "$\\frac{=run"], True),
        "a label of escapes": (lambda run: None, ["plot", "\x1b[2J=run"], True),
        "a name of formulas": (lambda run: run.rename(run.with_name("$a_{b")), ["plot", "$a_{b"], True),
    }.items():  # fmt: skip
        yield Input(KIND, name, partial(folder, prepare, command), may=may)
