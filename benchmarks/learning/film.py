"""The README's film: one planner on the cart-pole swing-up after 0, 300, 500 and 1,000 real steps, from the same start.

    MUJOCO_GL=egl python benchmarks/learning/film.py runs/film       # two core-minutes; goes on where it was stopped

The run is the preset `sindy/pets_cartpole_swingup`, seed 0: it is stopped at each of these counts, filmed and resumed. A real
step lasts 0.04 s. The first picture shows random actions, such as the run begins with.
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
COUNTS = (0, 300, 500, 1000)  # real steps; the first 250 are random
START = 5  # seed of the episode that is filmed
SIZE, GAP, TITLE = (212, 160), 4, 34  # pixels
EVERY, PAUSE = 2, 1500  # steps a picture; ms of the last one
STEP_MS = 40


def trained(folder: Path, steps: int) -> Any:
    """The planner after so many real steps of the run in `folder`, which begins or goes on."""
    options = [f"--data.init_args.steps={steps}", "--trainer.eval_every=100000", f"--trainer.folder={folder}"]
    main(["fit", "--preset", "sindy/pets_cartpole_swingup", *options, "--ckpt_path", "last"])
    return mbrl.load_policy(folder)


def episode(task: Any, act: Callable[[np.ndarray], Any]) -> tuple[list[np.ndarray], list[float]]:
    """Pictures of one episode, and what was earned until each."""
    env = make_env(task, render_mode="rgb_array")
    obs, _ = env.reset(seed=START)
    frames, earned, total, ended, step = [np.asarray(env.render())], [0.0], 0.0, False, 0
    while not ended:
        obs, reward, terminated, truncated, _ = env.step(np.asarray(act(obs)))
        total, ended, step = total + float(reward), terminated or truncated, step + 1
        if step % EVERY == 0:
            frames.append(np.asarray(env.render()))
            earned.append(total)
    env.close()
    return frames, earned


def film(scenes: list[tuple[str, list[np.ndarray], list[float]]], path: Path) -> None:
    """Writes the scenes side by side as one animated picture."""
    width = (SIZE[0] + GAP) * len(scenes) - GAP
    pictures = []
    for moment in range(len(scenes[0][1])):
        picture = Image.new("RGB", (width, SIZE[1] + TITLE), "white")
        pen = ImageDraw.Draw(picture)
        for place, (title, frames, earned) in enumerate(scenes):
            left = place * (SIZE[0] + GAP)
            picture.paste(Image.fromarray(frames[moment]).resize(SIZE, Image.Resampling.LANCZOS), (left, TITLE))
            pen.text((left + SIZE[0] / 2, 9), title, "black", anchor="mm", font_size=13)
            pen.text((left + SIZE[0] / 2, 25), f"return {earned[moment]:.0f}", "black", anchor="mm", font_size=12)
        pictures.append(picture)
    times = [EVERY * STEP_MS] * (len(pictures) - 1) + [PAUSE]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=times, loop=0, quality=45, method=6)


def run(folder: Path) -> None:
    """Trains, films and says what each scene earned."""
    scenes = []
    for steps in COUNTS:
        policy = trained(folder, steps or COUNTS[1])
        if steps:
            policy.reset()
            frames, earned = episode(policy.task, policy.predict)
            title = f"after {steps} real steps ({steps * STEP_MS // 1000} s)"
        else:
            env = make_env(policy.task)
            env.action_space.seed(START)
            frames, earned = episode(policy.task, lambda obs, space=env.action_space: space.sample())
            title = "random actions"
        print(f"{title}: return {earned[-1]:.0f}")
        scenes.append((title, frames, earned))
    film(scenes, OUT)


if __name__ == "__main__":
    run(Path(sys.argv[1]))
