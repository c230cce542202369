"""A run that is killed at any moment and resumed equals the run that was not, and the test can tell."""

from __future__ import annotations

import copy
import os
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

import mbrl.training.checkpoint as checkpoint_module
from mbrl.models import GaussianEnsemble
from mbrl.planners import BatchPenalty, Dyna, UncertaintyPenalty
from mbrl.policies import SAC
from mbrl.training.checkpoint import FolderCheckpointIO, checkpoint_folders, read_checkpoint
from mbrl.uncertainty import MeanDisagreement, ValueSpread
from tests.training.toy import KillAt, ToyPlanner, data, in_child, lines, trainer

STEPS = 60


def dyna() -> Dyna:
    """Small and complete: fits, rollouts of growing length, buffers that wrap, tuned penalties, updates."""
    ensemble = GaussianEnsemble(hidden=[8, 8], members=3, elites=2, weight_decay=0.0, max_epochs=2, batch_size=16)
    return Dyna(
        ensemble,
        SAC(hidden=[8, 8]),
        warmup_steps=20,
        refit_every=10,
        rollouts_per_step=4,
        rollout_length=[0, 3, 1, 3],
        epoch_steps=10,
        updates_per_step=2,
        batch_size=16,
        real_ratio=0.25,
        rollout_hooks=[UncertaintyPenalty(MeanDisagreement(), 1.0, target=0.1)],
        batch_hooks=[BatchPenalty(ValueSpread(samples=1), 1.0, target=0.1)],
    )


def fit(folder: Path, ckpt_path: str | None = None, planner: Any = None, **options: Any) -> None:
    trainer(folder, **options).fit(planner or dyna(), data(STEPS, num_envs=2), ckpt_path=ckpt_path)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    torch.set_num_threads(1)
    fit(folder)
    return folder


def same_state(a: Any, b: Any, where: str = "") -> list[str]:
    """Where two checkpoints differ, bit for bit."""
    if isinstance(a, torch.Tensor):
        return [] if isinstance(b, torch.Tensor) and torch.equal(a, b) and a.dtype == b.dtype else [where]
    if isinstance(a, dict):
        if not isinstance(b, dict) or set(a) != set(b):
            return [f"{where} (keys)"]
        return [item for name in a for item in same_state(a[name], b[name], f"{where}.{name}")]
    if isinstance(a, (list, tuple)):
        if len(a) != len(b):
            return [f"{where} (length)"]
        return [item for i, (x, y) in enumerate(zip(a, b, strict=True)) for item in same_state(x, y, f"{where}[{i}]")]
    return [] if a == b or (a != a and b != b) else [where]


def same_run(a: Path, b: Path, clock: str = "env_steps") -> list[str]:
    """Differences of two finished runs: metric lines, and everything in the last checkpoint but wall-clock times."""
    if lines(a, clock) != lines(b, clock):
        return ["metrics"]
    last = [read_checkpoint(checkpoint_folders(folder)[0], buffers=True) for folder in (a, b)]
    return [item for item in same_state(*last) if "RunClock.elapsed" not in item and ".time/" not in item]


@pytest.mark.parametrize("tick", [4, 20, 22, 46, 60])
def test_killed_at_a_tick(unbroken: Path, tmp_path: Path, tick: int) -> None:
    assert in_child(lambda: fit(tmp_path, callbacks=[KillAt(tick)])) == -signal.SIGKILL
    fit(tmp_path, "last")
    assert same_run(unbroken, tmp_path) == []


def kill_in_writer(moment: str) -> None:
    """Makes the third checkpoint die: while its tensors are written, before its manifest, or while the older one goes."""
    calls = {"n": 0}

    def dying(function: Any, which: int, *, after: bool = False) -> Any:
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            calls["n"] += 1
            if calls["n"] == which and after:
                function(*args, **kwargs)
            if calls["n"] == which:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return wrapped

    if moment == "tensors":  # the third checkpoint has two or three files; die amid them
        checkpoint_module._write_tensors = dying(checkpoint_module._write_tensors, 6, after=True)
    elif moment == "manifest":
        checkpoint_module.write_whole = dying(checkpoint_module.write_whole, 3)
    elif moment == "manifest written":
        checkpoint_module.write_whole = dying(checkpoint_module.write_whole, 3, after=True)
    elif moment == "removal":
        FolderCheckpointIO.remove_checkpoint = dying(FolderCheckpointIO.remove_checkpoint, 2)  # type: ignore[method-assign]
    else:
        checkpoint_module.shutil.rmtree = dying(checkpoint_module.shutil.rmtree, 2)  # its manifest is gone, its files aren't


@pytest.mark.parametrize("moment", ["tensors", "manifest", "manifest written", "removal", "half removed"])
@pytest.mark.filterwarnings("ignore:.*not a whole checkpoint and is (removed|ignored):mbrl.errors.MbrlWarning")
def test_killed_inside_the_checkpoint_writer(unbroken: Path, tmp_path: Path, moment: str) -> None:
    def run() -> None:
        kill_in_writer(moment)
        fit(tmp_path)

    assert in_child(run) == -signal.SIGKILL
    fit(tmp_path, "last")
    assert same_run(unbroken, tmp_path) == []
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-60"]


def test_killed_before_the_first_checkpoint(unbroken: Path, tmp_path: Path) -> None:
    assert in_child(lambda: fit(tmp_path, checkpoint_every=50, callbacks=[KillAt(42)])) == -signal.SIGKILL
    assert lines(tmp_path)
    fit(tmp_path, "last")
    assert same_run(unbroken, tmp_path) == []


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_run_after_its_tick(unbroken: Path, tmp_path: Path, number: int, code: int) -> None:
    class SignalAt(KillAt):
        def on_train_batch_end(self, trainer: Any, pl_module: Any, *rest: Any) -> None:
            if pl_module.env_steps == self.step:
                os.kill(os.getpid(), number)
                time.sleep(0.01)  # Python runs handlers between two instructions

    assert in_child(lambda: fit(tmp_path, checkpoint_every=1000, callbacks=[SignalAt(34)])) == code
    assert [folder.name for folder in checkpoint_folders(tmp_path)] == ["ckpt-34"]
    fit(tmp_path, "last")
    assert same_run(unbroken, tmp_path) == []


# the test of the test: a checkpoint that lacks any one item must be noticed ---------------------------------------------


def toy_fit(folder: Path, ckpt_path: str | None = None, **options: Any) -> None:
    # Every evaluation reaches the goal, so the run ends early, after a number of them that a resume must remember
    options = {"checkpoint_every": 35, "eval_every": 6, "stop_at": -1e9, "stop_count": 8, **options}
    fit(folder, ckpt_path, ToyPlanner(), **options)


def stateful(kind: str) -> tuple[Any, int]:
    return (fit, 36) if kind == "dyna" else (toy_fit, 36)


@pytest.fixture(scope="module")
def broken_off(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """For each planner: the unbroken run, and one that stands at a checkpoint between two lines."""
    torch.set_num_threads(1)
    found = {}
    for kind in ("dyna", "toy"):
        run, tick = stateful(kind)
        whole, part = (tmp_path_factory.mktemp(f"{kind}-{name}") for name in ("whole", "part"))
        run(whole)
        options = {"checkpoint_every": tick, "callbacks": [KillAt(tick + 2)]}
        assert in_child(lambda run=run, part=part, options=options: run(part, **options)) == -signal.SIGKILL
        found[kind] = (whole, part)
    return found


Path_ = tuple[Any, ...]


def items(state: dict[str, Any], kind: str) -> dict[str, list[Path_]]:
    """The training state by owner: the places in a checkpoint that hold each item."""
    found: dict[str, list[Path_]] = {}
    for name in state["state_dict"]:
        found.setdefault(".".join(name.split(".")[:2]), []).append(("state_dict", name))
    for i in range(len(state["optimizer_states"])):
        found[f"optimizer {i}"] = [("optimizer_states", i)]
    for name in state["mbrl"]["streams"]:
        found[f"stream {name}"] = [("mbrl", "streams", name)]
    for name in state["mbrl_buffers"]:
        found[f"buffer {name}"] = [("mbrl_buffers", name)]
    for name in state["mbrl"]["parts"]:
        found[f"state of {name}"] = [("mbrl", "parts", name)]
    for name in ("env_steps", "metrics"):
        found[name] = [("mbrl", name)]
    found["stream exploration"].append(("mbrl", "memory"))  # which draws from that stream and keeps it too
    found["environments"] = [("OnlineData", "experience")]
    found["position of the loader"] = [("loops", "fit_loop", "state_dict", "combined_loader")]
    if kind == "toy":
        found["memory"] = [("mbrl", "memory")]
        found["planner state"] = [("mbrl", "planner")]
        found["callbacks"] = [("callbacks", "RunClock")]
    return found


def without(state: dict[str, Any], path: Path_) -> None:
    """Takes the item at `path` away, or puts it back at what a fresh run has where the format needs something there."""
    at: Any = state
    for name in path[:-1]:
        at = at[name]
    last = path[-1]
    if path[0] == "state_dict":
        at[last] = torch.zeros_like(at[last]) if isinstance(at[last], torch.Tensor) else None
    elif path[0] == "optimizer_states":
        at[last] = {**at[last], "state": {}}
    elif last == "env_steps":
        at[last] = 0
    elif last == "memory":
        at[last] = None
    elif last == "metrics":
        at[last] = {"sums": {}, "counts": {}}
    elif path[:2] == ("mbrl", "planner"):
        at[last] = {"counter": 0.0}
    else:
        del at[last]


def resumed_without(folder: Path, run: Any, state: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> str:
    """What a resume from `state` ends in: an error's name, or nothing."""
    monkeypatch.setattr(FolderCheckpointIO, "load_checkpoint", lambda self, path, **options: copy.deepcopy(state))
    try:
        run(folder, "last")
    except Exception as error:
        return type(error).__name__
    return ""


@pytest.mark.parametrize("kind", ["dyna", "toy"])
@pytest.mark.filterwarnings("ignore")
def test_a_checkpoint_without_any_one_item_is_noticed(
    broken_off: dict[str, tuple[Path, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    whole, part = broken_off[kind]
    run, _ = stateful(kind)
    state = FolderCheckpointIO().load_checkpoint(checkpoint_folders(part)[0])
    shutil.copytree(part, tmp_path / "control")
    assert resumed_without(tmp_path / "control", run, state, monkeypatch) == ""
    assert same_run(whole, tmp_path / "control") == []  # with every item the run goes on as if nothing had happened
    unnoticed = set()
    for item, places in items(state, kind).items():
        folder = tmp_path / item
        shutil.copytree(part, folder)
        lacking = copy.deepcopy(state)
        for place in places:
            without(lacking, place)
        if not resumed_without(folder, run, lacking, monkeypatch) and not same_run(whole, folder):
            unnoticed.add(item)
    assert unnoticed == set()
