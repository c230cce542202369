"""Episodes of a planner as films (mp4), by Gymnasium's `RecordVideo`."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from mbrl.data import Task
from mbrl.errors import ConfigError
from mbrl.planners import Planner
from mbrl.training.products.shown_episodes import Env, ShownEpisode, drawing, drawn_env, shown_episode

_FRAMES_PER_SECOND = 30  # where the environment says nothing


def check_films(task: Task) -> None:
    """Refuses what can't be filmed, by drawing one picture.

    Raises:
        ConfigError: if the library that writes films isn't installed.
        TaskError: if the environment can't be made.
        UnsupportedError: if it can't be drawn, at all or on this machine.
    """
    _check_library()
    env = drawn_env(task, "rgb_array")
    try:
        env.reset(seed=0)
        with drawing(task):
            env.render()
    finally:
        env.close()


def film(
    planner: Planner, task: Task, reset_seed: int, path: Path, *, stop: Callable[[], bool] | None = None
) -> ShownEpisode:
    """Writes one deterministic episode as a film, in real time; its pictures lie in memory until it is whole.

    Args:
        planner: built.
        task: whose environment is drawn, with a time limit.
        reset_seed: of the episode's start, as the environment's `reset` takes it, and of what planning draws.
        path: the file, an .mp4; one that is there is replaced, and a link isn't followed.
        stop: asked before each step whether to stop.

    Raises:
        ConfigError: if the library that writes films isn't installed.
        EvaluationStopped: if `stop` says so; nothing is written then.
        UnsupportedError: if the environment can't be drawn, at all or on this machine.
        EnvironmentFailedError: if the environment fails.
    """
    _check_library()
    inner = drawn_env(task, "rgb_array")
    with tempfile.TemporaryDirectory(prefix=f".{path.stem[:50]}.", dir=path.parent) as beside:
        recorder = _recorder(inner, task, Path(beside) / "film")
        try:
            shown = shown_episode(planner, task, recorder, reset_seed, stop=stop)
            with drawing(task):
                recorder.close()  # writes it
        except BaseException:
            recorder.recorded_frames.clear()  # or it would complain of them when it is collected
            recorder.recording = False
            recorder.close()
            raise
        (written,) = Path(recorder.video_folder).iterdir()
        os.replace(written, path)
    return shown


def _recorder(inner: Env, task: Task, folder: Path) -> Any:
    from gymnasium.wrappers import RecordVideo

    class Recorder(RecordVideo):
        """Says what failed where a picture can't be drawn, which else would look like a failing environment."""

        def _capture_frame(self) -> None:
            with drawing(task):
                super()._capture_frame()
                if not self.recording:  # it gave up
                    raise TypeError("expected render to return an array, height x width x 3")

    rate = float(inner.metadata.get("render_fps", _FRAMES_PER_SECOND)) / task.action_repeat
    return Recorder(inner, str(folder), episode_trigger=lambda number: number == 0, fps=max(1, round(rate)))


def _check_library() -> None:
    try:
        import moviepy  # noqa: F401
    except ImportError as error:
        raise ConfigError(
            "expected moviepy, by which Gymnasium writes films, got none; run pip install 'mbrl-toolkit[video]'."
        ) from error


def film_names(path: Path, episodes: int) -> Sequence[Path]:
    """The files of so many episodes: the path itself of one, else `<stem>-episode-<k>.mp4` beside it."""
    if episodes == 1:
        return [path]
    return [path.with_name(f"{path.stem}-episode-{number}{path.suffix}") for number in range(episodes)]
