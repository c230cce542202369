"""Films: `mbrl play`, and `RecordVideos`, which leaves a run's numbers as they are."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest
import yaml

import mbrl.training.products.films as films
import tests.training.drawn_env  # noqa: F401 - registers its environments
from mbrl.cli import main
from mbrl.envs import OnlineData
from mbrl.errors import ConfigError, MbrlError, UnsupportedError
from mbrl.testing import LinearModel
from mbrl.training import RecordVideos
from tests.training.toy import KillAt, ToyPlanner, in_child, lines, trainer

ALLOW = ["--allow", "tests.training.toy"]


def data(steps: int = 40, env_id: str = "Drawn-v0", **options: Any) -> OnlineData:
    return OnlineData(env_id, steps=steps, eval_episodes=1, test_episodes=2, **options)


def is_film(path: Path, pictures: int) -> bool:
    """Whether a file has so many pictures, or one more, which encoders put at the end, at 20 in a second."""
    counted, seconds = imageio_ffmpeg.count_frames_and_secs(path)
    return counted - pictures in (0, 1) and abs(seconds - counted / 20) < 1e-3


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run") / "seed0"
    trainer(folder).fit(ToyPlanner(), data())
    return folder


# mbrl play ------------------------------------------------------------------------------------------------------------


def test_play_writes_a_film_and_prints_the_return(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ALLOW, "play", str(run), "--video", str(tmp_path / "a.mp4")]) == 0
    first = capsys.readouterr().out
    assert first.startswith("episode 0: return -") and f"in 15 steps, {tmp_path / 'a.mp4'}" in first
    assert is_film(tmp_path / "a.mp4", 16)
    assert [path.name for path in tmp_path.iterdir()] == ["a.mp4"]
    many = ["--video", str(tmp_path / "b.mp4"), "--episodes", "2", "--max_steps", "4"]
    assert main([*ALLOW, "play", str(run), *many]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == 2 and said[0].split(" in ")[0] != said[1].split(" in ")[0].replace("1:", "0:")
    assert {path.name for path in tmp_path.iterdir()} == {"a.mp4", "b-episode-0.mp4", "b-episode-1.mp4"}
    assert is_film(tmp_path / "b-episode-1.mp4", 5)
    assert main([*ALLOW, "play", str(run), *many]) == 2
    assert "b-episode-0.mp4 exists; remove it" in capsys.readouterr().err
    again = ["--video", str(tmp_path / "c.mp4"), "--seed", "1", "--max_steps", "4"]
    assert main([*ALLOW, "play", str(run), *again]) == 0  # the second of two is the first of the next seed
    assert capsys.readouterr().out.split(" in ")[0] == said[1].split(" in ")[0].replace("1:", "0:")


def test_play_opens_a_window_where_there_is_a_screen(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.delenv("SDL_VIDEODRIVER", raising=False)
    assert main([*ALLOW, "play", str(run)]) == 2
    said = capsys.readouterr().err
    assert "expected a display" in said and "--video film.mp4" in said and "MUJOCO_GL=egl or MUJOCO_GL=osmesa" in said
    assert main(["play", "no-such-run"]) == 2
    said = capsys.readouterr().err
    assert "no-such-run" in said and "display" not in said, "the run comes first"
    pytest.importorskip("pygame")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    assert main([*ALLOW, "play", str(run), "--episodes", "2", "--max_steps", "2"]) == 0
    assert [line.split(":")[0] for line in capsys.readouterr().out.splitlines()] == ["episode 0", "episode 1"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--video", "a.gif"], r"a name that ends in \.mp4, got --video a\.gif"),
        (["--video", "nowhere/a.mp4"], "expected a folder nowhere to write a.mp4 into, got none; make it"),
        (["--episodes", "0"], "--episodes: expected a whole number of at least 1, got 0"),
        (["--seed", "-1"], "--seed: expected a whole number from 0 to"),
        (["--max_steps", "0"], "--max_steps: expected a whole number of at least 1, got 0"),
    ],
)
def test_play_refuses(run: Path, arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*ALLOW, "play", str(run), *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_what_can_not_be_drawn_is_refused_by_name(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path / "run").fit(ToyPlanner(), data(10, "Plain-v0"))
    assert main([*ALLOW, "play", str(tmp_path / "run"), "--video", str(tmp_path / "a.mp4")]) == 2
    assert "an environment that draws itself, got Plain-v0, whose render_modes are []" in capsys.readouterr().err
    assert not (tmp_path / "a.mp4").exists()


def test_a_drawing_that_fails_says_what_may_help(tmp_path: Path) -> None:
    planner = ToyPlanner()
    source = data(10, env_kwargs={"broken": True})
    planner.build(source.task, 0)
    with pytest.raises(UnsupportedError, match=r"drawing Drawn-v0 failed \(RuntimeError: no OpenGL\); .*MUJOCO_GL"):
        films.film(planner, source.task, 0, tmp_path / "a.mp4")
    assert not list(tmp_path.iterdir())


def test_an_episode_without_an_end_is_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trainer(tmp_path / "run").fit(ToyPlanner(), data(10, "Endless-Drawn-v0", eval_limit=5))
    assert main([*ALLOW, "play", str(tmp_path / "run"), "--video", str(tmp_path / "a.mp4")]) == 0
    assert "in 1000 steps" in capsys.readouterr().out


def test_without_the_library_it_says_how_to_get_it(run: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "moviepy", None)
    with pytest.raises(ConfigError, match=r"expected moviepy, .* pip install 'mbrl-toolkit\[video\]'"):
        trainer(tmp_path / "a", callbacks=[RecordVideos()]).fit(ToyPlanner(), data())
    assert not (tmp_path / "a" / "config.yaml").exists()


# RecordVideos ---------------------------------------------------------------------------------------------------------


def test_films_change_no_number(run: Path, tmp_path: Path) -> None:
    trainer(tmp_path / "a", callbacks=[RecordVideos(every=20, episodes=2)]).fit(ToyPlanner(), data())
    assert lines(tmp_path / "a") == lines(run)
    names = [f"step-{step}-episode-{number}.mp4" for step in (20, 40) for number in (0, 1)]
    assert sorted(path.name for path in (tmp_path / "a/videos").iterdir()) == names
    assert is_film(tmp_path / "a/videos" / names[-1], 16)


def test_a_killed_and_resumed_run_equals_one_without(run: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"

    def training() -> None:
        trainer(folder, callbacks=[RecordVideos(every=20), KillAt(25)]).fit(ToyPlanner(), data())

    assert in_child(training) == -9
    assert [path.name for path in (folder / "videos").iterdir()] == ["step-20-episode-0.mp4"]
    trainer(folder, callbacks=[RecordVideos(every=20)]).fit(ToyPlanner(), data(), ckpt_path="last")
    assert lines(folder) == lines(run)
    assert sorted(path.name for path in (folder / "videos").iterdir()) == ["step-20-episode-0.mp4", "step-40-episode-0.mp4"]


def test_a_film_that_fails_ends_no_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise UnsupportedError("no more pictures.")

    monkeypatch.setattr("mbrl.training.callbacks.record_videos.film", fail)
    trainer(tmp_path / "a", callbacks=[RecordVideos(every=20)]).fit(ToyPlanner(), data())
    assert lines(tmp_path / "a")[-1]["env_steps"] == 40


def test_it_comes_from_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {
        "model": {"class_path": "tests.training.toy.ToyPlanner"},
        "data": {"class_path": "mbrl.envs.OnlineData", "init_args": {"env_id": "Drawn-v0", "steps": 20, "eval_episodes": 1}},
        "trainer": {
            "folder": str(tmp_path / "run"),
            "progress": False,
            "tensorboard": False,
            "callbacks": [{"class_path": "mbrl.training.RecordVideos", "init_args": {"every": 10}}],
        },
    }
    (tmp_path / "a.yaml").write_text(yaml.safe_dump(settings))
    assert main([*ALLOW, "fit", "--config", str(tmp_path / "a.yaml")]) == 0
    assert len(list((tmp_path / "run/videos").glob("*.mp4"))) == 2
    kept = yaml.safe_load((tmp_path / "run/config.yaml").read_text())
    assert kept["trainer"]["callbacks"] == [
        {"class_path": "mbrl.training.RecordVideos", "init_args": {"every": 10, "episodes": 1}}
    ]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: (ToyPlanner(), data(10, "Plain-v0")), "an environment that draws itself, got Plain-v0"),
        (lambda: (ToyPlanner(), data(10, env_kwargs={"broken": True})), "drawing Drawn-v0 failed"),
    ],
)
def test_a_run_that_can_not_be_filmed_is_refused_at_once(make: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(MbrlError, match=message):
        trainer(tmp_path / "a", callbacks=[RecordVideos()]).fit(*make())
    assert not (tmp_path / "a" / "config.yaml").exists()
    with pytest.raises(ConfigError, match="every"):
        RecordVideos(every=0)


def test_a_model_alone_has_no_episodes() -> None:
    with pytest.raises(UnsupportedError, match=r"RecordVideos: expected a planner, .* got LinearModel; leave it out"):
        RecordVideos().setup(type("Run", (), {"is_global_zero": True})(), LinearModel(), "fit")
