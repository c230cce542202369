from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from mbrl.errors import CheckpointError, ConfigError, MbrlWarning
from mbrl.training.checkpoint import checkpoint_folders, read_checkpoint, read_manifest, write_checkpoint
from mbrl.training.resume import check_same, check_threads, differences, find_checkpoint, flatten
from tests.training.toy import ToyPlanner, data, trainer

SPEC: dict[str, Any] = {
    "model": {"class_path": "mbrl.planners.Dyna", "init_args": {"hidden": [2, 3], "learner": {"class_path": "x.SAC"}}},
    "data": {"class_path": "mbrl.envs.OnlineData", "init_args": {"seed": 0, "steps": 10, "eval_episodes": 5}},
}


def changed(part: str, **arguments: Any) -> dict[str, Any]:
    other = {name: {**value, "init_args": dict(value["init_args"])} for name, value in SPEC.items()}
    other[part]["init_args"].update(arguments)
    return other


def test_flatten() -> None:
    assert flatten({"a": {"b": 1, "c": (2, 3)}, "d": {}}) == {"a.b": 1, "a.c": [2, 3], "d": {}}


@pytest.mark.parametrize("free", [{"steps": 20}, {"eval_episodes": 9}, {"test_episodes": 3}, {"resume": "next_episode"}])
def test_what_a_resume_may_change(free: dict[str, Any]) -> None:
    assert differences(SPEC, changed("data", **free)) == []


def test_every_other_difference_is_listed() -> None:
    found = differences(SPEC, changed("model", hidden=[2, 4], learner={"class_path": "x.TD3"}, new=1))
    assert found == [
        "model.init_args.hidden was [2, 3] and is [2, 4] now",
        "model.init_args.learner.class_path was 'x.SAC' and is 'x.TD3' now",
        "model.init_args.new is 1 now and was not set",
    ]
    assert differences(changed("data", new=1), SPEC) == ["data.init_args.new was 1 and is not set now"]


def test_a_difference_is_refused_unless_overridden() -> None:
    other = changed("data", seed=1)
    with pytest.raises(ConfigError, match=r"data\.init_args\.seed was 0 and is 1 now\..*--override"):
        check_same(SPEC, other, override=False)
    with pytest.warns(MbrlWarning, match=r"data\.init_args\.seed was 0 and is 1 now"):
        assert check_same(SPEC, other, override=True)
    assert not check_same(SPEC, SPEC, override=False)


def test_a_path_is_free_where_the_checkpoint_knows_the_rows() -> None:
    before, after = changed("data", path="a.npz"), changed("data", path="b.npz")
    assert not check_same({**before, "knows_rows": True}, after, override=False)
    assert not check_same({**before, "clock": "updates"}, after, override=False), "as planners' always did"
    with pytest.raises(ConfigError, match=r"path was 'a\.npz' and is 'b\.npz' now"):
        check_same({**before, "clock": "epoch"}, after, override=False)


def test_another_number_of_threads_warns() -> None:
    check_threads({"threads": torch.get_num_threads()})
    with pytest.warns(MbrlWarning, match=r"written with 7 threads .* set trainer\.threads to 7"):
        check_threads({"threads": 7})


@pytest.fixture
def run(tmp_path: Path) -> Path:
    write_checkpoint(tmp_path / "run" / "checkpoints" / "ckpt-10", {"mbrl": {}}, {"position": 10})
    return tmp_path / "run"


def test_paths_to_a_checkpoint(run: Path, tmp_path: Path) -> None:
    folder = run / "checkpoints" / "ckpt-10"
    for path in ("last", run, folder, folder / "model.pt"):
        assert find_checkpoint(path, run) == folder
    assert find_checkpoint("last", tmp_path) is None


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nowhere", r"expected a checkpoint at nowhere, but there is nothing; check the path"),
        ("best", r"but it has kept none; give last, or train with trainer.keep_best"),
        ("https://example.org/model.pt", r"expected a path on this machine, got https"),
    ],
)
def test_bad_paths(run: Path, path: str, message: str) -> None:
    with pytest.raises(CheckpointError, match=message):
        find_checkpoint(path, run)


def test_a_run_without_a_checkpoint_and_a_stray_file(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    with pytest.raises(CheckpointError, match="the run has no whole one"):
        find_checkpoint(tmp_path / "run", tmp_path)
    (tmp_path / "weights.ckpt").touch()
    with pytest.raises(CheckpointError, match=r"got the file .*weights\.ckpt"):
        find_checkpoint(tmp_path / "weights.ckpt", tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda c: c["mbrl"].update(streams=None), "expected the state of ToyPlanner"),
        (lambda c: c["mbrl"].update(metrics=[3]), "expected the state of ToyPlanner"),
        (lambda c: c.update(loops=3), "expected a run of a planner or a model in"),
        (lambda c: c.pop("OnlineData"), "expected a run of a planner or a model in"),
    ],
)
def test_a_state_of_another_kind_is_a_sentence_and_the_run_keeps_what_it_has(change: Any, said: str, tmp_path: Path) -> None:
    trainer(tmp_path).fit(ToyPlanner(), data(20))
    folder = checkpoint_folders(tmp_path)[0]
    checkpoint = read_checkpoint(folder, buffers=True)
    manifest = read_manifest(folder)
    change(checkpoint)
    buffers = checkpoint.pop("mbrl_buffers", {})
    shutil.rmtree(folder)
    write_checkpoint(
        folder, {**checkpoint, "mbrl_buffers": buffers}, {k: v for k, v in manifest.items() if k not in ("format", "files")}
    )
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file() and path.name != ".fitting"}
    assert "summary.json" in before
    with pytest.raises(CheckpointError, match=said):
        trainer(tmp_path).fit(ToyPlanner(), data(40), ckpt_path="last")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.name in before} == before
