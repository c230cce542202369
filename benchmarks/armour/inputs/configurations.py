"""Configurations: texts that are no YAML, values of other types, unknown keys, wrong parts, odd names."""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from benchmarks.armour.judging import MARKER, Input
from benchmarks.armour.materials import Materials

KIND = "configuration"
ABSENT = object()
MODEL, DATA, TRAINER = "model.init_args.", "data.init_args.", "trainer."
ENSEMBLE, LEARNER = f"{MODEL}dynamics.init_args.", f"{MODEL}learner.init_args."
FIT = ["fit", "--config", "config.yaml"]

TEXTS: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda old: b"",
    "a space": lambda old: b" ",
    "null": lambda old: b"null\n",
    "a list": lambda old: b"- 1\n",
    "a number": lambda old: b"3\n",
    "a word": lambda old: b"model\n",
    "a tab": lambda old: b"model:\n\tclass_path: x\n",
    "half a line": lambda old: b"model: {class_path: ",
    "UTF-16": lambda old: old.decode().encode("utf-16"),
    "UTF-16 without a mark": lambda old: old.decode().encode("utf-16-le"),
    "Latin-1": lambda old: "# größe\n".encode("latin-1") + old,
    "zeros": lambda old: bytes(100),
    "no text": lambda old: b"\x80\x81\xff",
    "an escape": lambda old: b"model: \x1b[2J\n",
    "two documents": lambda old: old + b"---\na: 1\n",
    "a key twice": lambda old: old + b"data:\n  class_path: mbrl.envs.OfflineData\n",
    "a key twice below": lambda old: old.replace(b"    steps: 24\n", b"    steps: 24\n    steps: 48\n"),
    "JSON with a key twice": lambda old: b'{"model": {}, "model": {}}',
    "an object's tag": lambda old: b"model: !!python/object/apply:os.system ['touch marker']\n",
    "a name's tag": lambda old: b"model: !!python/name:os.system\n",
    "an unknown tag": lambda old: b"model: !odd {}\n",
    "an unknown alias": lambda old: b"model: *nowhere\n",
    "a circle": lambda old: b"model: &a {init_args: *a}\n",
    "aliases that multiply": lambda old: b"a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n" + b"".join(
        f"a{k}: &a{k} [{','.join([f'*a{k - 1}'] * 10)}]\n".encode() for k in range(1, 20)
    ),
    "depth": lambda old: b"model: " + b"[" * 20_000,
    "a list for a key": lambda old: b"? [a, b]\n: 1\n",
    "a number for a key": lambda old: b"1: 2\n",
    "a merge of nothing": lambda old: b"<<: 3\n",
    "TOML": lambda old: b'[model]\nclass_path = "x"\n',
    "a byte-order mark": lambda old: b"\xef\xbb\xbf" + old,
    "carriage returns": lambda old: old.replace(b"\n", b"\r\n"),
    "comments alone": lambda old: b"# nothing\n",
}  # fmt: skip
TEXTS_MAY = ("a byte-order mark", "carriage returns")

VALUES: list[tuple[str, Any]] = [
    *[(part, value) for part in ("model", "data") for value in (ABSENT, None, 3, [], {}, "x", "os.system", True)],
    *[("trainer", value) for value in (3, [], "fast", True)],
    *[(f"{part}.class_path", value) for part in ("model", "data") for value in (
        None, 3, "", "Dinah", "os.system", "mbrl.planners.Dinah", "mbrl.planer.Dyna", "nowhere.Dyna", "mbrl.policies.SAC",
        "builtins.dict", "json", "mbrl..Dyna", "payload:Dyna", "mbrl.models.Pendulum",
    )],
    *[(f"{part}.init_args", value) for part in ("model", "data") for value in (None, 3, [1], "x")],
    *[(f"{part}{name}", 1) for part in (MODEL, DATA, TRAINER, ENSEMBLE, LEARNER, "") for name in ("odd",)],
    *[(f"{MODEL}{name}", value) for name, value in (
        ("batch_sise", 3), ("batch_size", 0), ("batch_size", -1), ("batch_size", 2.5), ("batch_size", "many"),
        ("batch_size", None), ("batch_size", []), ("batch_size", True), ("batch_size", float("nan")), ("batch_size", 2**70),
        ("warmup_steps", -1), ("warmup_steps", "all"), ("refit_every", 0), ("rollout_length", []), ("rollout_length", [1]),
        ("rollout_length", [1, 2, 3, "x"]), ("rollout_length", [0, 0, 0, 0]), ("rollout_length", {"a": 1}),
        ("real_ratio", -0.1), ("real_ratio", 1.1), ("real_ratio", "half"), ("real_ratio", float("nan")), ("warmup", "none"),
        ("rollout_hooks", 3), ("rollout_hooks", [3]), ("rollout_hooks", [{"class_path": "mbrl.planners.ClampToDate"}]),
        ("rollout_hooks", [{"class_path": "mbrl.planners.BatchPenalty"}]), ("batch_hooks", {"class_path": "x"}),
        ("critic_terms", [{"class_path": "mbrl.policies.SAC"}]), ("rollout_selector", "PolicyMode2"),
        ("rollout_selector", {"class_path": "mbrl.planners.CEM"}), ("dynamics", None), ("dynamics", 3), ("dynamics", []),
        ("dynamics", {"class_path": "mbrl.policies.SAC"}), ("dynamics", {"class_path": "os.system"}),
        ("dynamics", {"class_path": "mbrl.planners.Dyna"}), ("dynamics", {"class_path": "mbrl.models.CartPole"}),
        ("dynamics", {"class_path": "mbrl.models.ModelEnv"}), ("learner", None), ("learner", "mbrl.models.GaussianEnsemble"),
        ("learner", {"class_path": "mbrl.policies.TanhGaussianPolicy"}), ("learner", {"init_args": {}}),
        ("finished_rollouts", "some"), ("epoch_steps", 0), ("updates_per_step", -1), ("real_capacity", 0),
    )],
    *[(f"{ENSEMBLE}{name}", value) for name, value in (
        ("members", 0), ("members", "3"), ("members", 2.0), ("members", [3]), ("elites", 9), ("elites", 0), ("hidden", 8),
        ("hidden", []), ("hidden", [0]), ("hidden", [-1]), ("hidden", ["a"]), ("hidden", [[8]]), ("activation", "loud"),
        ("log_var_min", 9), ("weight_decay", -1), ("weight_decay", [1, 2]), ("holdout", 1.0), ("holdout", -0.1),
        ("max_epochs", 0), ("lr", 0), ("lr", "fast"), ("lr", float("inf")), ("batch_size", 0), ("precision", "fp8"),
        ("stopping", "never"), ("holdout_by", "hand"), ("chunk_rows", 0), ("hidden", [10**9, 10**9]),
    )],
    *[(f"{LEARNER}{name}", value) for name, value in (
        ("discount", 1.5), ("discount", -0.1), ("discount", "x"), ("critics", 0), ("actor_lr", -1), ("target_rate", 2),
        ("temperature", "hot"), ("log_sigma_range", [2, -20]), ("log_sigma_range", [1]), ("hidden", None),
        ("entropy_target", "high"), ("normalize_obs", "perhaps"),
    )],
    *[(f"{DATA}{name}", value) for name, value in (
        ("steps", 0), ("steps", 25), ("steps", "all"), ("steps", None), ("steps", ABSENT), ("steps", 1.5), ("num_envs", 0),
        ("num_envs", "two"), ("env_id", ABSENT), ("env_id", 3), ("env_id", ""), ("env_id", "Pendulum"), ("env_id", "No-v0"),
        ("env_id", "CartPole-v1"), ("env_id", "nowhere:No-v0"), ("env_id", ":"), ("env_id", "Pendulum-v1:"),
        ("env_id", "dm_control/nothing-here-v0"), ("env_id", "../x"), ("env_id", "Pendulum-v99"), ("env_kwargs", 3),
        ("env_kwargs", [1]), ("env_kwargs", {"odd": 1}), ("env_kwargs", {"g": "heavy"}), ("env_kwargs", {"g": float("nan")}),
        ("env_kwargs", {"max_episode_steps": 0}), ("env_kwargs", {"max_episode_steps": -3}),
        ("env_kwargs", {"max_episode_steps": "x"}), ("env_kwargs", {"g": {"callable": "nowhere.f"}}),
        ("env_kwargs", {"g": {"callable": 3}}), ("action_repeat", 0), ("action_repeat", 1000), ("reward", "nowhere.f"),
        ("reward", 3), ("reward", "json.dumps"), ("reward", ""), ("reward", "mbrl.envs.rewards"), ("terminated", "yes"),
        ("terminated", "mbrl.envs.rewards.pendulum"), ("seed", -1), ("seed", "x"), ("seed", 2**70), ("seed", 1.5),
        ("eval_episodes", 0), ("eval_limit", 0), ("resume", "soon"), ("test_episodes", -1), ("path", "rows.npz"),
    )],
    *[(f"{TRAINER}{name}", value) for name, value in (
        ("eval_every", 0), ("log_every", -1), ("checkpoint_every", "often"), ("stop_at", "good"), ("stop_count", 0),
        ("threads", 0), ("threads", "all"), ("folder", ""), ("folder", 3), ("folder", "mine.txt"), ("folder", "mine.txt/x"),
        ("folder", "/proc/x"), ("folder", "a\0b"), ("folder", "x" * 300), ("name", "../x"), ("variant", "../x"),
        ("accelerator", "gpu"), ("accelerator", "quantum"), ("devices", 0), ("devices", "x"), ("devices", 4),
        ("precision", 3), ("precision", "16"), ("strategy", "odd"), ("max_steps", 3), ("max_epochs", -5), ("logger", "x"),
        ("logger", {"class_path": "CSVLoger"}), ("callbacks", 3), ("callbacks", [3]), ("callbacks", [{"class_path": "x"}]),
        ("profiler", "odd"), ("fast_dev_run", True), ("gradient_clip_val", -1), ("limit_val_batches", 2),
        ("checkpoint_min_ratio", -1), ("num_nodes", 2), ("barebones", True), ("tensorboard", "yes"), ("progress", 7),
        ("default_root_dir", 3), ("plugins", [3]), ("deterministic", "x"), ("benchmark", "x"), ("detect_anomaly", 3),
    )],
    ("seed_everything", "x"), ("seed_everything", -1), ("seed_everything", 2**70), ("seed_everything", []),
    ("name", "../x"), ("name", 3), ("name", []), ("variant", "a\0b"), ("ckpt_path", 3), ("ckpt_path", "nowhere"),
    ("ckpt_path", []), ("override", "perhaps"), ("model.class_pat", "x"), ("optimizer", {"class_path": "Adam"}),
]  # fmt: skip
# Text for a number that it is, null for the default, and what has a meaning of its own
MAY = {
    f"{MODEL}rollout_length [0, 0, 0, 0]", f"{ENSEMBLE}members '3'", f"{ENSEMBLE}members 2.0", f"{DATA}action_repeat 1000",
    f"{TRAINER}profiler 'odd'", f"{TRAINER}max_epochs -5", f"{TRAINER}tensorboard 'yes'", f"{TRAINER}default_root_dir 3",
    f"{TRAINER}folder 3", "name 3", "seed_everything 'x'", f"{ENSEMBLE}hidden []", f"{LEARNER}hidden None",
    f"{MODEL}warmup_steps -1", "trainer True", f"{TRAINER}gradient_clip_val -1", f"{TRAINER}devices 4",
    "data.init_args None",
    f"{TRAINER}barebones True", f"{MODEL}batch_size None", f"{TRAINER}precision '16'",
}  # fmt: skip


def changed(config: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy in which a dotted key holds something else."""
    made = copy.deepcopy(config)
    at: Any = made
    *above, last = key.split(".")
    for name in above:
        at = at[name]
    if value is ABSENT:
        del at[last]
    else:
        at[last] = value
    return made


def inputs(whole: Materials) -> Iterator[Input]:
    """The inputs of this kind."""

    def text(change: Callable[[bytes], bytes], here: Path) -> list[str]:
        (here / "config.yaml").write_bytes(change(yaml.safe_dump(whole.config).encode()))
        return FIT

    def value(key: str, wrong: Any, here: Path) -> list[str]:
        (here / "config.yaml").write_text(yaml.safe_dump(changed(whole.config, key, wrong)))
        (here / "payload.py").write_text(f"open({MARKER!r}, 'w').close()\n")
        return FIT

    def several(order: list[str], here: Path) -> list[str]:
        (here / "config.yaml").write_text(yaml.safe_dump(whole.config))
        (here / "broken.yaml").write_text("model: [")
        (here / "empty.yaml").write_text("")
        return ["fit", *[part for name in order for part in ("--config", name)]]

    def special(make: Callable[[Path], Any], here: Path) -> list[str]:
        make(here / "config.yaml")
        return FIT

    def foreign(wrong: Any, here: Path) -> list[str]:
        (here / "config.yaml").write_text(yaml.safe_dump(changed(whole.config, *wrong)))
        (here / "payload.py").write_text(f"open({MARKER!r}, 'w').close()\nclass Dyna: pass\n")
        return ["fit", "--foreign", "--config", "config.yaml"]

    for name, change in TEXTS.items():
        yield Input(KIND, f"text: {name}", partial(text, change), may=name in TEXTS_MAY)
    for key, wrong in VALUES:
        name = f"{key} {'absent' if wrong is ABSENT else repr(wrong)[:60]}"
        yield Input(KIND, name, partial(value, key, wrong), may=name in MAY)
    for order in (["broken.yaml", "config.yaml"], ["config.yaml", "broken.yaml"], ["nowhere.yaml"], ["."]):
        yield Input(KIND, f"files: {', '.join(order)}", partial(several, order))
    yield Input(KIND, "files: config.yaml, empty.yaml", partial(several, ["config.yaml", "empty.yaml"]), may=True)
    for name, make in {
        "a folder": Path.mkdir, "a pipe": os.mkfifo, "a link to itself": lambda path: path.symlink_to(path.name),
        "a link to zeros": lambda path: path.symlink_to("/dev/zero"), "missing": lambda path: None,
    }.items():  # fmt: skip
        yield Input(KIND, f"file: {name}", partial(special, make))
    for key, wrong in (
        ("model.class_path", "payload.Dyna"),
        (f"{MODEL}dynamics", {"class_path": "payload.Dyna"}),
        (f"{DATA}env_id", "payload:No-v0"),
        (f"{DATA}env_kwargs", {"render_mode": {"callable": "os.system"}}),
        (f"{DATA}reward", "payload.f"),
        (f"{TRAINER}logger", {"class_path": "CSVLogger", "init_args": {"save_dir": "."}}),
        (f"{TRAINER}callbacks", [{"class_path": "ModelCheckpoint"}]),
        (f"{TRAINER}folder", "mine.txt"),
    ):
        yield Input(KIND, f"from elsewhere: {key}", partial(foreign, (key, wrong)))
