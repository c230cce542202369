"""The README's film: one planner on the cart-pole swing-up before learning and after 500 real steps.

    MUJOCO_GL=egl python benchmarks/learning/film.py runs/film       # three core-minutes; goes on where it stopped

The run is the preset `sindy/pets_cartpole_swingup`, seed 0, filmed twice from the same start. A real step lasts 0.04 s.
The left half shows random actions, such as the run begins with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

import mbrl
from mbrl.cli import main
from mbrl.envs import make_env

OUT = Path(__file__).parents[2] / "docs/figures/swingup.webp"
COUNTS = (0, 500)  # real steps, rising; the first 250 are random
START = 5  # seed of the episode that is filmed
SIZE, GAP, TITLE = (280, 210), 4, 36  # pixels
EVERY, PAUSE = 2, 1500  # steps a picture; ms of the last one
STEP_MS = 40


def trained(folder: Path, steps: int) -> Any:
    """The planner after so many real steps of the run in `folder`, which begins or goes on."""
    options = [f"--data.init_args.steps={steps}", "--trainer.eval_every=100000", f"--trainer.folder={folder}"]
    if not (folder / f"checkpoints/ckpt-{steps}").is_dir():
        main(["fit", "--preset", "sindy/pets_cartpole_swingup", *options, "--ckpt_path", "last"])
    return mbrl.load_policy(folder)


def episode(task: Any, act: Callable[[np.ndarray], Any]) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of one episode, and what was earned until each."""
    env = make_env(task, render_mode="rgb_array")
    obs, _ = env.reset(seed=START)
    frames, earned, total, ended, step = [small(env.render())], [0.0], 0.0, False, 0
    while not ended:
        obs, reward, terminated, truncated, _ = env.step(np.asarray(act(obs)))
        total, ended, step = total + float(reward), terminated or truncated, step + 1
        if step % EVERY == 0:
            frames.append(small(env.render()))
            earned.append(total)
    env.close()
    return np.stack(frames), np.array(earned)


def small(frame: Any) -> np.ndarray:
    """A picture at its size in the film."""
    return np.asarray(Image.fromarray(np.asarray(frame)).resize(SIZE, Image.Resampling.LANCZOS))


def scene(folder: Path, steps: int) -> tuple[str, np.ndarray, np.ndarray]:
    """Title, pictures and what was earned, of a file that an earlier call has left or of the run."""
    kept = folder / f"film-{steps}.npz"
    title = f"after {steps} real steps ({steps * STEP_MS // 1000} s)" if steps else "random actions"
    if not kept.exists():
        policy = trained(folder, steps or COUNTS[1])
        if steps:
            policy.reset()
            frames, earned = episode(policy.task, policy.predict)
        else:
            space = make_env(policy.task).action_space
            space.seed(START)
            frames, earned = episode(policy.task, lambda obs: space.sample())
        np.savez_compressed(kept, frames=frames, earned=earned)
    found = np.load(kept)
    return title, found["frames"], found["earned"]


def film(scenes: list[tuple[str, np.ndarray, np.ndarray]], path: Path) -> None:
    """Writes the scenes side by side as one animated picture."""
    width = (SIZE[0] + GAP) * len(scenes) - GAP
    pictures = []
    for moment in range(len(scenes[0][2])):
        picture = Image.new("RGB", (width, SIZE[1] + TITLE), "white")
        pen = ImageDraw.Draw(picture)
        for place, (title, frames, earned) in enumerate(scenes):
            left = place * (SIZE[0] + GAP)
            picture.paste(Image.fromarray(frames[moment]), (left, TITLE))
            pen.text((left + SIZE[0] / 2, 10), title, "black", anchor="mm", font_size=14)
            pen.text((left + SIZE[0] / 2, 26), f"return {earned[moment]:.0f}", "black", anchor="mm", font_size=13)
        pictures.append(picture)
    times = [EVERY * STEP_MS] * (len(pictures) - 1) + [PAUSE]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=45, method=6)


def run(folder: Path) -> None:
    """Trains, films and says what each scene earned."""
    scenes = [scene(folder, steps) for steps in COUNTS]
    for title, _, earned in scenes:
        print(f"{title}: return {earned[-1]:.0f}")
    film(scenes, OUT)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
