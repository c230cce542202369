"""What was found is shown even where it can't be written: a full disk, a read-only folder, a video that fails."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

import mbrl.training.products.shown_episodes as shown_episodes
from mbrl.cli import main
from mbrl.envs import collect, make_task
from mbrl.errors import DataError, MbrlError, RunFolderError
from mbrl.training.trainer import Trainer
from tests.training.test_kill_and_resume import dyna
from tests.training.toy import ToyPlanner, data, trainer


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("made")
    trainer(folder / "run").fit(dyna(), data(30, num_envs=2))
    collect(make_task("Pendulum-v1"), str(folder / "rows.npz"), steps=30)
    return folder


@pytest.fixture(params=[errno.ENOSPC, errno.EROFS])
def full(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk on which nothing can be written."""

    @contextmanager
    def nowhere(path: Any, **options: Any) -> Iterator[Any]:
        raise OSError(request.param, "No space left on device", str(path))
        yield

    for module in ("training.files", "data.offline_columns", "training.products.video", "analysis.commands.plot"):
        monkeypatch.setattr(f"mbrl.{module}.replacing", nowhere)


COMMANDS = {
    "test": (["--ckpt_path", "RUN"], "mean return -"),
    "predict": (["--ckpt_path", "RUN", "--dataset", "ROWS"], "rows 30"),
    "collect": (["NEW", "--env_id", "Pendulum-v1", "--steps", "10"], "steps 10"),
    "report": (["--ckpt", "RUN", "--data", "ROWS", "--quick", "--overwrite", "--out", "OUT"], "one-step"),
    "plot": (["RUN", "--out", "FIGURE"], "final iqm"),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.usefixtures("full")
def test_a_full_disk(command: str, made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    places = {"RUN": made / "run", "ROWS": made / "rows.npz", "NEW": tmp_path / "new.npz", "FIGURE": tmp_path / "a.png"}
    given, found = COMMANDS[command]
    assert main([command, *(str(places.get(item, tmp_path if item == "OUT" else item)) for item in given)]) == 2
    told = capsys.readouterr()
    assert found in told.out.lower()
    assert "No space left on device" in told.err and "Traceback" not in told.err


def test_validate_writes_nothing(made: Path, full: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["validate", "--ckpt_path", str(made / "run")]) == 0
    assert "mean return -" in capsys.readouterr().out


def test_a_video_that_fails(made: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    real = shown_episodes.make_env

    def no_screen(task: Any, render_mode: str | None = None) -> Any:
        if render_mode is not None:
            raise RuntimeError("no screen")
        return real(task)

    monkeypatch.setattr(shown_episodes, "make_env", no_screen)
    assert main(["test", "--ckpt_path", str(made / "run"), "--video"]) == 2
    told = capsys.readouterr()
    assert "mean return -" in told.out and "drawing Pendulum-v1 failed (RuntimeError: no screen)" in told.err
    assert (made / "run/test.json").exists()


@pytest.mark.filterwarnings("ignore:this ToyPlanner was never fitted")
def test_from_python_the_error_has_the_results(made: Path, full: None, tmp_path: Path) -> None:
    planner = ToyPlanner()
    planner.build(make_task("Pendulum-v1", {"max_episode_steps": 25}), 0)
    with pytest.raises(RunFolderError, match=r"expected room for .*writing failed") as unwritten:
        Trainer(tmp_path, progress=False, accelerator="cpu").test(planner, data())
    assert unwritten.value.results is not None and unwritten.value.results["test/episodes"] == 2
    with pytest.raises(DataError) as lost:
        collect(make_task("Pendulum-v1"), str(tmp_path / "new.npz"), steps=5)
    assert lost.value.results == {"steps": 5.0, "episodes": 1.0, "return": pytest.approx(lost.value.results["return"])}
    assert MbrlError("other").results is None
