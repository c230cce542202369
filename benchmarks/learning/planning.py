"""Measures what planning reaches and costs: return, and milliseconds per action, of many planner settings as CSV rows.

    python -m benchmarks.learning.planning exact pendulum            # in the task's own equations
    python -m benchmarks.learning.planning learned pendulum RUN      # in the ensemble that a training run has fitted
    python -m benchmarks.learning.planning learned pendulum RUN --time
    python -m benchmarks.learning.planning draw
    python -m benchmarks.learning.planning table

append to `results/planning-exact.csv` and `results/planning-learned.csv`, one row as soon as a setting is measured; a row
that is there is skipped, so an interrupted part goes on where it was. Other work on the machine makes an action slower even
in processor time, so `--time` times the rows that are there once more, in rounds over all of them, for when it is quiet.
`draw` makes `docs/figures/planning_<task>.png`, `table` prints the rows for a page.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import mbrl
from benchmarks.learning import run
from benchmarks.learning.planning_pages import draw, table
from benchmarks.learning.planning_settings import SEEDS, TASKS, Setting, Spec, exact_settings, learned_settings, read_config
from mbrl.data import make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.planners import PETS, Memory, evaluate
from mbrl.spec import from_spec

FIGURES = Path(__file__).parents[2] / "docs" / "figures"
WARM_UP, TIMED = 10, 60  # decisions
ROUNDS = 5


class ColdStart:
    """A planner that begins each decision at nothing, with noise that goes on as it would; it can act, and no more."""

    def __init__(self, planner: PETS) -> None:
        self.planner = planner
        self.device = planner.device

    def memory(self, n: int, generator: torch.Generator) -> Memory:
        """Returns the planner's memory."""
        return self.planner.memory(n, generator)

    def act(self, obs: Tensor, memory: Memory, **options: Any) -> tuple[Tensor, Memory]:
        """Acts as the planner does, from a memory that holds no plan."""
        memory.reset(torch.ones(memory.n, dtype=torch.bool, device=self.device))
        return self.planner.act(obs, memory, **options)


def exact_planner(task: str, setting: Setting) -> PETS:
    """Plans with the task's own equations."""
    preset = read_config(f"mpc/{task}.yaml")
    data = preset["data"]["init_args"]
    arguments = {**setting.planner, "dynamics": preset["model"]["init_args"]["dynamics"], "warmup_steps": 0}
    planner = from_spec({"class_path": "mbrl.planners.PETS", "init_args": arguments})
    planner.build(make_task(data["env_id"], action_repeat=data.get("action_repeat", 1)))
    return planner


def learned_planner(trained: PETS, setting: Setting) -> PETS:
    """Plans with the model that `trained` holds."""
    spec = copy.deepcopy(trained.spec)
    spec["init_args"].update({"propagation": "ts_inf", **setting.planner})
    planner = from_spec(spec)
    planner.build(trained.built_task)
    planner.load_state_dict(trained.state_dict())
    return planner


def milliseconds(planner: PETS | ColdStart, experience: VectorExperience) -> float:
    """Processor time per action for one environment: the median of `TIMED` decisions after `WARM_UP`."""
    memory = planner.memory(1, make_generator(planner.device, 0, "timing"))
    times = []
    for _ in range(WARM_UP + TIMED):
        began = time.process_time()
        action, memory = planner.act(experience.obs, memory, explore=False, snapshot=experience.snapshot)
        times.append(1000 * (time.process_time() - began))
        experience.step(action)
    return statistics.median(times[WARM_UP:])


def measure(planner: PETS, setting: Setting, seed: int) -> Spec:
    """The columns that a setting's episodes and decisions give."""
    acting = planner if setting.warm_start else ColdStart(planner)
    ms = milliseconds(acting, VectorExperience(planner.built_task, 1, seed=seed))
    began = time.process_time()
    # evaluation needs no more of a planner than its memory and its actions
    found = evaluate(acting, VectorExperience(planner.built_task, setting.starts), setting.starts, seed)  # type: ignore[arg-type]
    summary = found.summary()
    return {
        "horizon": planner.horizon,
        "particles": planner.objective.particles,
        "starts": setting.starts,
        "seed": seed,
        "return": round(summary["return"], 2),
        "return_low": round(summary.get("return_low", float("nan")), 2),
        "return_high": round(summary.get("return_high", float("nan")), 2),
        "return_min": round(found.returns.min().item(), 2),
        "return_max": round(found.returns.max().item(), 2),
        "ms": round(ms, 2),
        "timed_decisions": TIMED,
        "timed_rounds": 1,
        "decisions": int(found.lengths.sum()),
        "cpu_s": round(time.process_time() - began, 1),
    }


def add_rows(
    path: Path,
    about: Spec,
    settings: list[Setting],
    seed: int,
    make: Callable[[Setting], PETS],
    most_starts: int | None = None,
) -> Iterator[Spec]:
    """Measures the settings whose rows aren't in the file yet, appends each at once, and yields it.

    Args:
        path: the CSV file.
        about: task and model, which with setting, starts and seed say which row it is.
        settings: what to measure, in this order.
        seed: of the starts.
        make: the planner of a setting.
        most_starts: never take more than these.
    """
    for setting in settings:
        if most_starts is not None and most_starts < setting.starts:
            setting = Setting(setting.label, setting.planner, setting.warm_start, most_starts)
        key = {**{name: str(value) for name, value in about.items()}, "setting": setting.text, "seed": str(seed)}
        key["starts"] = str(setting.starts)
        if any(all(row[name] == value for name, value in key.items()) for row in run.read(path)):
            continue
        measured = measure(make(setting), setting, seed)
        row = {**about, "label": setting.label, **measured, "setting": setting.text}
        row |= {"commit": run.commit(), "hardware": run.hardware(), "versions": run.versions()}
        run.append(path, [row])
        yield row


def time_again(path: Path, about: Spec, settings: list[Setting], make: Callable[[Setting], PETS]) -> None:
    """Replaces the times of the rows about these settings by medians over `ROUNDS` rounds, each of which times all.

    Args:
        path: the CSV file, replaced at the end.
        about: task and model of the rows.
        settings: what may be in the rows.
        make: the planner of a setting.
    """
    rows = run.read(path)
    chosen = [
        (setting, row)
        for setting in settings
        for row in rows
        if row["setting"] == setting.text and all(row[name] == value for name, value in about.items())
    ]
    times: list[list[float]] = [[] for _ in chosen]
    for _ in range(ROUNDS):
        for found, (setting, row) in zip(times, chosen, strict=True):
            planner = make(setting)
            experience = VectorExperience(planner.built_task, 1, seed=int(row["seed"]))
            found.append(milliseconds(planner if setting.warm_start else ColdStart(planner), experience))
    for found, (_, row) in zip(times, chosen, strict=True):
        row |= {"ms": str(round(statistics.median(found), 2)), "timed_rounds": str(ROUNDS)}
        print(f"{row['label']}: {row['ms']} ms, of {[round(ms, 2) for ms in found]}", flush=True)
    whole = path.with_suffix(".part")
    whole.unlink(missing_ok=True)
    run.append(whole, rows)
    whole.replace(path)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    for part in ("exact", "learned"):
        options = parts.add_parser(part)
        options.add_argument("task", choices=TASKS)
        if part == "learned":
            options.add_argument("run", type=Path, help="folder of a training run")
        options.add_argument("--seed", type=int, default=SEEDS[part], help="of the starts")
        options.add_argument("--only", default="", help="settings whose label contains this")
        options.add_argument("--most-starts", type=int, help="for a busy machine")
        options.add_argument("--time", action="store_true", help="times the rows that are there once more")
    parts.add_parser("draw")
    parts.add_parser("table")
    arguments = parser.parse_args()
    if arguments.part == "draw":
        for task in TASKS:
            draw(task, FIGURES / f"planning_{task}.png")
        return
    if arguments.part == "table":
        print("\n".join(table()))
        return
    torch.set_num_threads(1)
    if arguments.part == "exact":
        settings = exact_settings(arguments.task)
        about = {"task": TASKS[arguments.task], "model": "exact"}

        def make(setting: Setting) -> PETS:
            return exact_planner(arguments.task, setting)
    else:
        settings = learned_settings(arguments.task)
        trained = mbrl.load(arguments.run)
        name = type(trained.dynamics).__name__
        about = {"task": TASKS[arguments.task], "model": f"{name}, seed {trained.seed}, {trained.env_steps} steps"}

        def make(setting: Setting) -> PETS:
            return learned_planner(trained, setting)

    settings = [setting for setting in settings if arguments.only in setting.label]
    path = run.RESULTS / f"planning-{arguments.part}.csv"
    if arguments.time:
        time_again(path, about, settings, make)
        return
    for row in add_rows(path, about, settings, arguments.seed, make, arguments.most_starts):
        interval = f"{row['return_low']} to {row['return_high']}"
        print(f"{row['label']}: {row['return']} ({interval}), {row['ms']} ms, {row['cpu_s']} s", flush=True)


if __name__ == "__main__":
    main()
