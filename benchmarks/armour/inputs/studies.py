"""Search files, studies and their storages: what is none, what names others' code, what was changed by hand."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import optuna
import yaml

from benchmarks.armour.children import in_child
from benchmarks.armour.judging import MARKER, Input
from benchmarks.armour.materials import Materials
from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.storage import open_storage
from mbrl.search.study.study import open_study

KIND = "study"
NAN = float("nan")
CHECK = ["search", "check", "search.yaml"]
STATUS = ["search", "status", "odd"]

SPACE = "model.init_args.learner.init_args.actor_lr"
KEYS: list[tuple[str, Any]] = [
    ("study", None), ("study", 3), ("study", ""), ("study", "../x"), ("study", []), ("study", "a\0b"), ("odd", 1),
    ("command", "test"), ("command", None), ("config", "config.yaml"), ("config", ["nowhere.yaml"]), ("config", [3]),
    ("config", None), ("config", ["."]), ("fixed", []), ("fixed", {"odd.key": 1}), ("fixed", {"seed_everything": 1}),
    ("fixed", {3: 4}), ("fixed", {"data.init_args.steps": "x"}), ("objectives", []), ("objectives", {}), ("objectives", [3]),
    ("objectives", [{}]), ("objectives", [{"metric": "eval/return"}]),
    ("objectives", [{"metric": "eval/return", "direction": "up"}]), ("objectives", [{"metric": 3, "direction": "maximize"}]),
    ("objectives", [{"metric": "a", "direction": "maximize", "reduce": "odd"}]), ("space", {}), ("space", []), ("space", 3),
    ("space", {SPACE: 3}), ("space", {SPACE: {}}), ("space", {SPACE: {"float": [1]}}), ("space", {SPACE: {"float": [2, 1]}}),
    ("space", {SPACE: {"float": [0, 1], "log": True}}), ("space", {SPACE: {"float": [NAN, 1]}}),
    ("space", {SPACE: {"float": ["a", "b"]}}), ("space", {SPACE: {"int": [1.5, 3]}}), ("space", {SPACE: {"choice": []}}),
    ("space", {SPACE: {"choice": "abc"}}), ("space", {SPACE: {"float": [1e-4, 1e-2], "start": 5}}),
    ("space", {SPACE: {"float": [1e-4, 1e-2], "odd": 5}}), ("space", {"odd.key": {"float": [0.1, 1]}}),
    ("space", {"model.init_args.batch_size": {"float": [0.1, 1]}}), ("space", {"model": {"choice": [1, 2]}}),
    ("space", {"data.init_args.seed": {"int": [1, 2]}}), ("space", {"": {"int": [1, 2]}}), ("space", {3: {"int": [1, 2]}}),
    ("budget", {}), ("budget", 3), ("budget", {"trials": 0}), ("budget", {"trials": "x"}), ("budget", {"hours": -1}),
    ("budget", {"odd": 1}), ("seeds", 3), ("seeds", {"tune": []}), ("seeds", {"tune": [-1]}), ("seeds", {"tune": [0, 0]}),
    ("seeds", {"per_trial": 50}), ("pruner", "odd"), ("pruner", {"name": "odd"}), ("sampler", {"name": "odd"}),
    ("sampler", {"odd": 1}), ("limits", {"trial_minutes": 0}), ("limits", {"odd": 1}), ("limits", []),
]  # fmt: skip
MAY = {"seeds {'tune': [0, 0]}"}

TEXTS: dict[str, bytes] = {
    "empty": b"", "null": b"null", "a list": b"[]", "no YAML": b"study: [", "UTF-16": "study: x".encode("utf-16"),
    "no text": b"\xff\xfe\xfd", "a tag": b"study: !!python/object/apply:os.system ['touch marker']\n",
    "a circle": b"study: &a [*a]\n", "a key twice": b"study: a\nstudy: b\n", "deep": b"study: " + b"[" * 20_000,
}  # fmt: skip

STORAGES: dict[str, bytes] = {
    "empty": b"", "a text": b"study\n", "zeros": bytes(4096), "half": b"SQLite format 3\0" + bytes(50),
    "a header alone": b"SQLite format 3\0", "no text": b"\xff\xfe\xfd" * 100,
}  # fmt: skip
JOURNALS: dict[str, bytes] = {
    "a text": b"study\n", "no end": b'{"op_code": 0', "a list": b"[]\n", "null": b"null\n", "a number": b"3\n",
    "zeros": bytes(100), "no text": b"\xff\xfe\xfd\n", "an unknown operation": b'{"op_code": 99, "worker_id": "x"}\n',
    "an operation without arguments": b'{"op_code": 0, "worker_id": "x"}\n', "deep": b"[" * 100_000 + b"\n",
    "an operation in words": b'{"op_code": "x"}\n', "empty": b"",
}  # fmt: skip

SQL: dict[str, str] = {
    "no search file": "delete from study_user_attributes where key = 'search'",
    "a search file of null": "update study_user_attributes set value_json = 'null' where key = 'search'",
    "a search file of another": "update study_user_attributes set value_json = '\"study: x\"' where key = 'search'",
    "no JSON": "update study_user_attributes set value_json = '{' where key = 'search'",
    "no configurations": "delete from study_user_attributes where key = 'configs'",
    "configurations of a number": "update study_user_attributes set value_json = '3' where key = 'configs'",
    "no hash": "delete from study_user_attributes where key = 'hash'",
    "another hash": "update study_user_attributes set value_json = '\"x\"' where key = 'hash'",
    "no attributes": "delete from study_user_attributes",
    "no directions": "delete from study_directions",
    "a newer version": "update version_info set schema_version = 99",
    "an unknown revision": "update alembic_version set version_num = 'odd'",
    "a budget in words": "insert into study_user_attributes (study_id, key, value_json) values (1, 'trials', '\"many\"')",
    "an odd name": "update studies set study_name = 'x' || char(27) || '[2J'",
    "a trial without a state": "update trials set state = 'ODD'",
}


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""

    def files(here: Path, search: dict[str, Any]) -> None:
        (here / "config.yaml").write_text(yaml.safe_dump(whole.searched))
        (here / "search.yaml").write_text(yaml.safe_dump(search))

    def key(name: str, value: Any, here: Path) -> list[str]:
        files(here, {**whole.search(), name: value})
        return CHECK

    def without(name: str, here: Path) -> list[str]:
        search = whole.search()
        del search[name]
        files(here, search)
        return CHECK

    def text(content: bytes, here: Path) -> list[str]:
        files(here, whole.search())
        (here / "search.yaml").write_bytes(content)
        return CHECK

    def storage(scheme: str, content: bytes, command: list[str], here: Path) -> list[str]:
        files(here, whole.search())
        (here / "store.db").write_bytes(content)
        return [*command, "--storage", f"{scheme}://{'/' if scheme == 'sqlite' else ''}store.db"]

    def study(here: Path, change: Callable[[dict[str, Any]], Any] | None = None) -> None:
        """A study that was made here, with a configuration that `change` has changed."""
        config = whole.searched
        if change is not None:
            change(config)
        text = yaml.safe_dump(config)
        search = SearchFile.from_text(yaml.safe_dump(whole.search()), [("config.yaml", text)])
        ended = in_child(lambda: open_study(search, "sqlite:///study.db") and None, here, whole.root / "notes")
        assert ended.code == 0, ended.told

    def sql(statement: str, command: list[str], here: Path) -> list[str]:
        study(here)
        connection = sqlite3.connect(here / "study.db")
        with connection:
            connection.execute(statement)
        connection.close()
        return command

    def payload(where: str, value: Any, here: Path) -> list[str]:
        (here / "payload.py").write_text(f"open({MARKER!r}, 'w').close()\nclass Dyna: pass\n")

        def change(config: dict[str, Any]) -> None:
            at: Any = config
            *above, last = where.split(".")
            for name in above:
                at = at[name]
            at[last] = value

        study(here, change)
        return ["search", "join", "odd", "--trials", "1"]

    def others(here: Path) -> list[str]:
        url = f"sqlite:///{here}/study.db"

        def make() -> None:
            made = optuna.create_study(study_name="odd", storage=open_storage(url))
            made.optimize(lambda trial: trial.suggest_float("x", 0, 1), 2)

        in_child(make, here, whole.root / "notes")
        return STATUS

    def special(make: Callable[[Path], Any], scheme: str, here: Path) -> list[str]:
        make(here / "study.db")
        return [*STATUS, "--storage", f"{scheme}study.db"]

    for name, value in KEYS:
        label = f"{name} {value!r}"[:100]
        yield Input(KIND, f"file: {label}", partial(key, name, value), may=label in MAY)
    for name in ("study", "objectives", "space", "budget"):
        yield Input(KIND, f"file: no {name}", partial(without, name))
    for name, content in TEXTS.items():
        yield Input(KIND, f"file: {name}", partial(text, content))
    run = ["search", "run", "search.yaml"]
    for scheme, contents in (("sqlite", STORAGES), ("journal", JOURNALS)):
        for name, content in contents.items():
            yield Input(KIND, f"{scheme} file, status: {name}", partial(storage, scheme, content, STATUS))
            if name != "empty":
                yield Input(
                    KIND, f"{scheme} file, run: {name}", partial(storage, scheme, content, run), may=name == "no end"
                )
    for name, statement in SQL.items():
        for which in ("status", "report", "join"):
            command = ["search", which, "odd"] if which != "join" else ["search", "join", "odd", "--trials", "1"]
            may = (which == "status" and name not in ("no attributes",)) or name == "a budget in words"
            yield Input(KIND, f"{which}: {name}", partial(sql, statement, command), may=may)
    for where, value in (
        ("model.class_path", "payload.Dyna"),
        ("data.init_args.env_id", "payload:No-v0"),
        ("data.init_args.env_kwargs", {"render_mode": {"callable": "os.system"}}),
        ("data.init_args.reward", "payload.f"),
        ("trainer.logger", {"class_path": "CSVLogger", "init_args": {"save_dir": "."}}),
        ("trainer.callbacks", [{"class_path": "ModelCheckpoint"}]),
        ("trainer.folder", "mine.txt"),
    ):
        yield Input(KIND, f"join: a study whose {where} is another's", partial(payload, where, value))
    yield Input(KIND, "status: a study of others", others)
    for scheme in ("sqlite:///", "journal://"):
        for name, make in {
            "missing": lambda path: None, "a folder": Path.mkdir,
            "a link to itself": lambda path: path.symlink_to(path.name),
            "a pipe": os.mkfifo, "a link to zeros": lambda path: path.symlink_to("/dev/zero"),
        }.items():  # fmt: skip
            yield Input(KIND, f"status: {scheme} {name}", partial(special, make, scheme))
