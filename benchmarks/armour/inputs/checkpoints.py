"""Checkpoints: manifests, archives, and what the tensors' file says of model, task and run."""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.armour.judging import MARKER, Input
from benchmarks.armour.materials import Materials
from tests.training.test_kill_and_resume import fit

KIND = "checkpoint"
ABSENT = object()
TEST = ["test", "--ckpt_path", "run", "--episodes", "1"]
RESUME = ["fit", "--config", "run/config.yaml", "--trainer.folder", "run", "--ckpt_path", "last"]
NAN = float("nan")


class Payload:
    """Leaves the marker when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, (f"touch {MARKER}",)


def saved(value: Any) -> bytes:
    """The bytes that torch saves."""
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def zipped(names: dict[str, bytes]) -> bytes:
    """The bytes of an archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in names.items():
            archive.writestr(name, content)
    return file.getvalue()


MANIFESTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda old: b"",
    "a space": lambda old: b" ",
    "null": lambda old: b"null",
    "a list": lambda old: b"[]",
    "a number": lambda old: b"1e999",
    "a word": lambda old: b'"manifest"',
    "an empty object": lambda old: b"{}",
    "zeros": lambda old: bytes(len(old)),
    "UTF-16": lambda old: old.decode().encode("utf-16"),
    "a byte-order mark": lambda old: b"\xef\xbb\xbf" + old,
    "no text": lambda old: b"\xff\xfe\xfd" + old,
    "half": lambda old: old[: len(old) // 2],
    "all but the end": lambda old: old[:-4],
    "deep": lambda old: b'{"a":' * 100_000,
    "twice": lambda old: old + old,
    "YAML": lambda old: b"format: 1\nfiles: {}\n",
}

FIELDS: dict[str, tuple[str, Any]] = {
    "a newer format": ("format", 2),
    "a format in words": ("format", "1"),
    "no format": ("format", ABSENT),
    "a format of a list": ("format", [1]),
    "no files": ("files", ABSENT),
    "a list of files": ("files", ["model.pt"]),
    "files that are null": ("files", None),
    "files without the model": ("files", {}),
    "a file without a hash": ("files", {"model.pt": {}}),
    "a hash that is a number": ("files", {"model.pt": {"sha256": 3}}),
    "a hash that is empty": ("files", {"model.pt": {"sha256": ""}}),
    "a file elsewhere": ("files", {"model.pt": {"sha256": ""}, "../../../mine.txt": {"sha256": ""}}),
    "an absolute file": ("files", {"model.pt": {"sha256": ""}, "/etc/passwd": {"sha256": ""}}),
    "a file with a zero byte": ("files", {"model.pt": {"sha256": ""}, "a\0b": {"sha256": ""}}),
    "a file without a name": ("files", {"model.pt": {"sha256": ""}, "": {"sha256": ""}}),
    "a file of two dots": ("files", {"model.pt": {"sha256": ""}, "..": {"sha256": ""}}),
    "a file with a long name": ("files", {"model.pt": {"sha256": ""}, "x" * 5000: {"sha256": ""}}),
}

POSITIONS: dict[str, tuple[str, Any]] = {
    "no position": ("position", ABSENT),
    "a negative position": ("position", -1),
    "a position in words": ("position", "60"),
    "a position of null": ("position", None),
    "a huge position": ("position", 10**30),
    "no model": ("model", ABSENT),
    "a model of null": ("model", None),
    "a model of a list": ("model", [1]),
    "data of null": ("data", None),
    "no trainer": ("trainer", ABSENT),
    "threads in words": ("threads", "many"),
    "no class": ("class_path", ABSENT),
    "a clock of null": ("clock", None),
}

ARCHIVES: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda old: b"",
    **{f"the first {percent} %": lambda old, part=percent: old[: len(old) * part // 100] for percent in (1, 25, 50, 90, 99)},
    "all but a byte": lambda old: old[:-1],
    "a text": lambda old: b"weights",
    "a pickle": lambda old: pickle.dumps({"mbrl": 1}),
    "a pickle with a payload": lambda old: pickle.dumps(Payload()),
    "saved with a payload": lambda old: saved({"mbrl": Payload()}),
    "saved with a class": lambda old: saved({"mbrl": Path("x")}),
    "a number": lambda old: saved(3),
    "a list": lambda old: saved([1]),
    "a tensor": lambda old: saved(torch.zeros(3)),
    "a dict of others": lambda old: saved({"state_dict": {}}),
    "an empty archive": lambda old: zipped({}),
    "an archive of texts": lambda old: zipped({"a": b"x"}),
    "an archive with a way out": lambda old: zipped({"../marker": b"x"}),
    "an archive with a bad pickle": lambda old: zipped({"archive/data.pkl": b"\x80\x02.", "archive/version": b"3\n"}),
    "an archive without data": lambda old: zipped({"archive/data.pkl": pickle.dumps({"a": 1}, 2), "archive/version": b"x"}),
}

FLIPS = [0, 2, 30, 64, 100, 200, 400, 800, 2000, 5000, -2000, -500, -200, -60, -20, -6, -1]

SPEC = ("mbrl", "spec")
TASK = ("mbrl", "task")
CHANGES: dict[str, tuple[tuple[Any, ...], Any]] = {
    **{f"mbrl is {value!r}": (("mbrl",), value) for value in (None, [], 3, {}, "x")},
    **{f"kind is {value!r}": (("mbrl", "kind"), value) for value in (None, "x", 3)},
    **{f"spec is {value!r}": (SPEC, value) for value in (None, [], {}, "mbrl.planners.Dyna", 3)},
    **{
        f"class is {path!r}": ((*SPEC, "class_path"), path)
        for path in (
            None, 3, "", ".", "x", "os.system", "mbrl.spec.os.system", "mbrl.planners.Dinah", "mbrl.planners", "a b.c",
            "mbrl.policies.SAC", "mbrl.models.Pendulum", "payload.Thing", "mbrl.planners.Dyna.__init__", "builtins.eval",
        )
    },
    **{f"arguments are {value!r}": ((*SPEC, "init_args"), value) for value in (None, [], 3, {}, {"x": 1}, {1: 2})},
    **{
        f"{name} is {value!r}": ((*SPEC, "init_args", name), value)
        for name, value in (
            ("dynamics", None), ("dynamics", {}), ("dynamics", {"class_path": "os.system", "init_args": {}}),
            ("dynamics", {"class_path": "mbrl.policies.SAC", "init_args": {}}), ("learner", "SAC"), ("batch_size", 0),
            ("batch_size", "many"), ("batch_size", NAN), ("batch_size", 2**70), ("rollout_length", []), ("warmup_steps", -1),
            ("rollout_length", [1, 2, 3, 4, 5]), ("real_capacity", 0), ("rollout_hooks", [None]), ("rollout_hooks", 3),
            ("critic_terms", [{"class_path": "mbrl.models.Pendulum"}]), ("warmup", "none"), ("real_ratio", 2.0),
        )
    },
    "members of another number": ((*SPEC, "init_args", "dynamics", "init_args", "members"), 4),
    "layers of another size": ((*SPEC, "init_args", "dynamics", "init_args", "hidden"), [9, 8]),
    "layers of a huge size": ((*SPEC, "init_args", "dynamics", "init_args", "hidden"), [10**8, 10**8]),
    "ten million members": ((*SPEC, "init_args", "dynamics", "init_args", "members"), 10**7),
    "a hundred million critics": ((*SPEC, "init_args", "learner", "init_args", "critics"), 10**8),
    **{f"task is {value!r}": (TASK, value) for value in (None, [], {}, 3)},
    **{
        f"task's {name} is {'absent' if value is ABSENT else repr(value)[:40]}": ((*TASK, name), value)
        for name, value in (
            ("obs_size", 0), ("obs_size", -3), ("obs_size", "3"), ("obs_size", 4), ("obs_size", NAN), ("obs_size", ABSENT),
            ("obs_size", 10**12), ("action_size", 2), ("action_size", None), ("action_low", [NAN]), ("action_low", []),
            ("action_low", [3.0]), ("action_low", "low"), ("action_high", [float("inf")]), ("action_high", None),
            ("time_limit", -1), ("time_limit", "x"), ("action_repeat", 0), ("action_repeat", 2.5), ("env_id", None),
            ("env_id", 3), ("env_id", ""), ("env_id", "No-v0"), ("env_id", "payload:No-v0"), ("env_id", "\x1b[2J"),
            ("env_id", "../x"), ("env_kwargs", []), ("env_kwargs", {"x": 1}), ("env_kwargs", {"max_episode_steps": -1}),
            ("env_kwargs", {"render_mode": {"callable": "os.system"}}), ("known_reward", 3), ("known_reward", "os.system"),
            ("known_reward", "mbrl.envs.rewards.none"), ("known_terminated", []), ("odd", 1), ("allow", ["os"]),
        )
    },
    **{f"seed is {value!r}": (("mbrl", "seed"), value) for value in (None, "x", -1, 2**70)},
    **{f"state is {value!r}": (("state_dict",), value) for value in (None, [], {}, {"x": 1})},
    "a weight of another shape": (("state_dict", "dynamics.network.weights.0"), torch.zeros(3, 1, 8)),
    "a weight of words": (("state_dict", "dynamics.network.weights.0"), "heavy"),
    "no weight": (("state_dict", "dynamics.network.weights.0"), ABSENT),
    "elites that aren't there": (("state_dict", "dynamics.elite_members"), torch.tensor([7, 9])),
    "elites below zero": (("state_dict", "dynamics.elite_members"), torch.tensor([-9, 0])),
    "extra state of null": (("state_dict", "dynamics._extra_state"), None),
    "extra state of words": (("state_dict", "dynamics._extra_state"), {"x": "y"}),
    "parts are null": (("mbrl", "parts"), None),
    "parts are others": (("mbrl", "parts"), {"x": {"y": 1}}),
    "a part's state is null": (("mbrl", "parts", "rollout_hooks.0.weight"), None),
    **{f"run is {value!r}": (("mbrl_run",), value) for value in (None, [], {})},
    **{f"run's data is {value!r}": (("mbrl_run", "data"), value) for value in (None, {}, {"class_path": "os.system"}, 3)},
    **{
        f"data's {name} is {value!r}": (("mbrl_run", "data", "init_args", name), value)
        for name, value in (
            ("steps", -1), ("num_envs", 0), ("env_id", "payload:No-v0"), ("env_kwargs", 3), ("reward", "os.system"),
            ("test_episodes", "x"), ("odd", 1), ("seed", -1), ("resume", "never"), ("eval_limit", 0),
        )
    },
}  # fmt: skip

IN_TRAINING: dict[str, tuple[tuple[Any, ...], Any]] = {
    "no streams": (("mbrl", "streams"), ABSENT),
    "streams of null": (("mbrl", "streams"), None),
    "a stream of three bytes": (("mbrl", "streams", "replay"), torch.zeros(3, dtype=torch.uint8)),
    "a stream in words": (("mbrl", "streams", "replay"), "random"),
    "no memory": (("mbrl", "memory"), None),
    "a memory of another size": (("mbrl", "memory", "n"), 7),
    "negative steps": (("mbrl", "env_steps"), -5),
    "steps in words": (("mbrl", "env_steps"), "many"),
    "no metrics": (("mbrl", "metrics"), None),
    "no buffers": (("mbrl_buffers",), {}),
    "no real buffer": (("mbrl_buffers", "real"), ABSENT),
    "a real buffer of null": (("mbrl_buffers", "real"), None),
    "a real buffer of NaN": (("mbrl_buffers", "real", "matrix"), torch.full((30, 9), NAN)),
    "a real buffer of another width": (("mbrl_buffers", "real", "matrix"), torch.zeros(30, 2)),
    "a real buffer that is shorter": (("mbrl_buffers", "real", "matrix"), torch.zeros(3, 9)),
    "a real buffer of a huge capacity": (("mbrl_buffers", "real", "capacity"), 10**14),
    "a real buffer that begins elsewhere": (("mbrl_buffers", "real", "next"), 10**6),
    "no environments": (("OnlineData",), {}),
    "environments of null": (("OnlineData", "experience"), None),
    "environments of another kind": (("OnlineData", "experience", "kind"), "magic"),
    "environments with other actions": (("OnlineData", "experience", "actions"), []),
    "environments with actions of NaN": (
        ("OnlineData", "experience", "actions"), [torch.full((5, 1), NAN), torch.full((5, 1), NAN)],
    ),
    "no loops": (("loops",), ABSENT),
    "loops of null": (("loops",), None),
    "no position of the loader": (("loops", "fit_loop", "state_dict"), {}),
    "no callbacks": (("callbacks",), None),
    "no optimisers": (("optimizer_states",), []),
    "optimisers of null": (("optimizer_states",), None),
    "an optimiser of another": (("optimizer_states",), [{"state": {}, "param_groups": []}] * 4),
    "a model that is 3": (("mbrl_run", "model"), 3),
}  # fmt: skip
MAY = {
    "seed is -1", f"seed is {2**70}", f"batch_size is {2**70}",
    "parts are others", "a part's state is null", "elites below zero", "no metrics", "data's resume is 'never'",
    "data's seed is -1", "task's time_limit is -1", "a model that is 3", "no callbacks", "task's obs_size is 4",
}  # fmt: skip
# Beside these: what a test doesn't read (generators, the seed of training), a number that means the same


def put(whole: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    """Puts a value where a path leads, or takes away what is there."""
    at: Any = whole
    for name in path[:-1]:
        at = at[name]
    if value is ABSENT:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = value


def rehash(folder: Path) -> None:
    """Gives the manifest the hash of what lies there."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["files"]["model.pt"]["sha256"] = hashlib.sha256((folder / "model.pt").read_bytes()).hexdigest()
    path.write_text(json.dumps(manifest))


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""

    def manifest(change: Callable[[bytes], bytes], here: Path) -> list[str]:
        path = whole.checkpoint(whole.copy_of_run(here)) / "manifest.json"
        path.write_bytes(change(path.read_bytes()))
        return TEST

    def field(name: str, value: Any, command: list[str], here: Path) -> list[str]:
        path = whole.checkpoint(whole.copy_of_run(here)) / "manifest.json"
        written = json.loads(path.read_text())
        put(written, (name,), value)
        path.write_text(json.dumps(written))
        return command

    def archive(change: Callable[[bytes], bytes], honest: bool, here: Path) -> list[str]:
        folder = whole.checkpoint(whole.copy_of_run(here))
        path = folder / "model.pt"
        path.write_bytes(change(path.read_bytes()))
        if honest:
            rehash(folder)
        return TEST

    def flip(place: int, old: bytes) -> bytes:
        new = bytearray(old)
        new[place] ^= 0x55
        return bytes(new)

    def content(path: tuple[Any, ...], value: Any, here: Path) -> list[str]:
        (here / "payload.py").write_text(f"open({MARKER!r}, 'w').close()\n")
        whole.tampered(here, lambda checkpoint: put(checkpoint, path, value))
        return TEST

    def training(path: tuple[Any, ...], value: Any, here: Path) -> Callable[[], None]:
        whole.tampered(here, lambda checkpoint: put(checkpoint, path, value))
        return lambda: fit(Path("run"), "last")

    def special(make: Callable[[Path], Any], name: str, here: Path) -> list[str]:
        path = whole.checkpoint(whole.copy_of_run(here)) / name
        path.unlink()
        make(path)
        return TEST

    for name, change in MANIFESTS.items():
        yield Input(KIND, f"manifest: {name}", partial(manifest, change))
    for name, (key, value) in FIELDS.items():
        yield Input(KIND, f"manifest: {name}", partial(field, key, value, TEST))
    for name, (key, value) in POSITIONS.items():
        yield Input(KIND, f"resumed manifest: {name}", partial(field, key, value, RESUME), may=True)
    for name, change in ARCHIVES.items():
        yield Input(KIND, f"tensors: {name}", partial(archive, change, True))
    for place in FLIPS:
        yield Input(KIND, f"tensors: byte {place} flipped", partial(archive, partial(flip, place), False))
        yield Input(KIND, f"tensors: byte {place} flipped, hash too", partial(archive, partial(flip, place), True), may=True)
    for file in ("manifest.json", "model.pt"):
        for name, make in {
            "missing": lambda path: None, "a folder": Path.mkdir, "a pipe": os.mkfifo,
            "a link to nothing": lambda path: path.symlink_to("nowhere"),
            "a link to itself": lambda path: path.symlink_to(path.name),
            "a link to zeros": lambda path: path.symlink_to("/dev/zero"),
            "a link to mine": lambda path: path.symlink_to("../../../mine.txt"),
        }.items():  # fmt: skip
            yield Input(KIND, f"{file}: {name}", partial(special, make, file))
    for name, (path, value) in CHANGES.items():
        yield Input(KIND, f"says: {name}", partial(content, path, value), may=name in MAY)
    for name, (path, value) in IN_TRAINING.items():
        yield Input(KIND, f"resumed: {name}", partial(training, path, value), may=name in MAY)
