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
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

import mbrl
from benchmarks.learning import run
from mbrl.data import make_generator
from mbrl.envs import VectorExperience, make_task
from mbrl.figure_style import in_style
from mbrl.planners import PETS, Memory, evaluate
from mbrl.spec import from_spec

ROOT = Path(__file__).parents[2]
CONFIGS = ROOT / "configs"
FIGURES = ROOT / "docs" / "figures"
TASKS = {"pendulum": "Pendulum-v1", "cartpole_swingup": "dm_control/cartpole-swingup-v0, action repeat 4"}
HORIZONS = {"pendulum": 20, "cartpole_swingup": 30}  # of the settings that are varied in a learned model
# of the starts: the exact part's settings were chosen on seed 10, and the training runs have those of 0 to 10
SEEDS = {"exact": 0, "learned": 20}
WARM_UP, TIMED = 10, 60  # decisions
ROUNDS = 5

Spec = dict[str, Any]


@dataclass(frozen=True)
class Setting:
    """A way to plan.

    Attributes:
        label: its name in tables.
        planner: those of PETS' arguments that say how to plan.
        warm_start: whether a decision begins at the last one's plan.
        starts: episodes that are enough to say what it reaches.
    """

    label: str
    planner: Spec
    warm_start: bool = True
    starts: int = 10

    @property
    def text(self) -> str:
        """All of it as JSON, the key of its row."""
        return json.dumps({**self.planner, "warm_start": self.warm_start}, sort_keys=True)


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


# settings ----------------------------------------------------------------------------------------------------------------


def optimizer(name: str, **arguments: Any) -> Spec:
    """The spec of one of `mbrl.planners`' optimisers."""
    return {"class_path": f"mbrl.planners.{name}", "init_args": arguments}


def read_config(name: str) -> Spec:
    """A file of `configs/`, by its path there."""
    return yaml.safe_load((CONFIGS / name).read_text())


def fast_preset(task: str) -> Spec:
    """Planner settings of the task's preset at 20 Hz: optimizer, horizon and particles."""
    arguments = read_config(f"pets/{task}_20hz.yaml")["model"]["init_args"]
    return {name: arguments[name] for name in ("optimizer", "horizon", "particles")}


def exact_settings(task: str) -> list[Setting]:
    """The reference, the presets of `configs/mpc`, and what the preset at 20 Hz would do with an exact model."""
    settings = [
        Setting("reference", {"optimizer": optimizer("CEM", candidates=1000, elites=100, iterations=10), "horizon": 60}),
    ]
    base = read_config("base/mpc.yaml")["model"]["init_args"]
    files = {"iCEM": None} | {path.stem: path for path in sorted((CONFIGS / "mpc" / "optimizers").glob("*.yaml"))}
    for label, path in files.items():
        own = {} if path is None else read_config(f"mpc/optimizers/{path.name}")["model"]["init_args"]
        chosen = {**base, **own}
        settings.append(Setting(label, {name: chosen[name] for name in ("optimizer", "horizon")}))
    fast = fast_preset(task)
    settings.append(Setting("20 Hz preset", {name: fast[name] for name in ("optimizer", "horizon")}))
    return settings


def learned_settings(task: str) -> list[Setting]:
    """Settings from PETS' own down to the cheapest; each differs from one above it in one respect."""
    cem = optimizer("CEM", candidates=400, elites=40, iterations=5)
    small_cem = optimizer("CEM", candidates=100, elites=10, iterations=3)
    long, noise = HORIZONS[task], 2.0

    def icem(candidates: int, iterations: int, exponent: float) -> Spec:
        elites = min(10, candidates // 2)
        return optimizer("ICEM", candidates=candidates, elites=elites, iterations=iterations, exponent=exponent)

    def planned(search: Spec, horizon: int, particles: int, **more: Any) -> Spec:
        return {"optimizer": search, "horizon": horizon, "particles": particles, **more}

    usual = icem(40, 3, noise)
    return [
        Setting("iCEM 40 x 3, 5 particles", planned(usual, long, 5)),
        Setting("iCEM 40 x 3, 5 particles, no warm start", planned(usual, long, 5), warm_start=False),
        Setting("iCEM 40 x 3, 1 particle", planned(usual, long, 1)),
        Setting("iCEM 40 x 3, expectation", planned(usual, long, 1, propagation="expectation")),
        Setting("iCEM 40 x 3, 5 particles, quick noise", planned(icem(40, 3, 0.25), long, 5)),
        Setting("iCEM 40 x 2, 5 particles", planned(icem(40, 2, noise), long, 5)),
        Setting("iCEM 20 x 2, 5 particles", planned(icem(20, 2, noise), long, 5)),
        *(
            Setting(f"iCEM 40 x 3, 5 particles, {horizon} steps", planned(usual, horizon, 5))
            for horizon in (30, 20, 15, 10)
            if horizon != long
        ),
        Setting("MPPI 100 x 1, 5 particles", planned(optimizer("MPPI", candidates=100, iterations=1), long, 5)),
        Setting("MPPI 60 x 3, 5 particles", planned(optimizer("MPPI", candidates=60, iterations=3), long, 5)),
        Setting("iCEM 40 x 3, 20 particles", planned(usual, long, 20)),
        Setting("CEM 100 x 3, 5 particles", planned(small_cem, 25, 5)),
        Setting("CEM 100 x 3, 5 particles, no warm start", planned(small_cem, 25, 5), warm_start=False),
        Setting("CEM 400 x 5, 5 particles", planned(cem, 25, 5), starts=5),
        Setting("CEM 400 x 5, 20 particles (PETS)", planned(cem, 25, 20), starts=5),
    ]


# measuring ---------------------------------------------------------------------------------------------------------------


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


# drawing -----------------------------------------------------------------------------------------------------------------


@in_style
def draw(task: str, path: Path) -> None:
    """Return against milliseconds of the settings in a learned model, numbered, beside what the exact model gives."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    rows = [row for row in run.read(run.RESULTS / "planning-learned.csv") if row["task"] == TASKS[task]]
    rows.sort(key=lambda row: float(row["ms"]))
    exact = [
        float(row["return"])
        for row in run.read(run.RESULTS / "planning-exact.csv")
        if row["task"] == TASKS[task] and row["label"] == "20 Hz preset" and row["seed"] == str(SEEDS["learned"])
    ]
    markers = {"ICEM": "^", "CEM": "o", "MPPI": "s"}
    figure, axes = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
    for number, row in enumerate(rows, 1):
        chosen = json.loads(row["setting"])
        marker = markers[chosen["optimizer"]["class_path"].rpartition(".")[2]]
        x, y = float(row["ms"]), float(row["return"])
        axes.errorbar(
            x, y, [[y - float(row["return_low"])], [float(row["return_high"]) - y]], color="0.6", elinewidth=0.8, capsize=2
        )
        face = "black" if chosen["warm_start"] else "white"
        label = f"{number}  {row['label']}"
        axes.plot(x, y, marker, color="black", markerfacecolor=face, markersize=6, linestyle="none", label=label)
        axes.annotate(str(number), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.axvline(50, color="0.4", linestyle=":", linewidth=1)
    place: Spec = {"xycoords": ("data", "axes fraction"), "xytext": (3, 0), "textcoords": "offset points"}
    axes.annotate("20 Hz", (50, 0.02), fontsize=8, **place)
    for value in exact:
        axes.axhline(value, color="0.4", linestyle="--", linewidth=1, label="exact model, 20 Hz preset")
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds an action, one thread")
    axes.set_ylabel("mean return, 95 % interval over starts")
    axes.xaxis.set_major_locator(FixedLocator([10, 20, 30, 50, 100, 200, 500, 1000, 2000]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(f"Planning in one learned model\n{TASKS[task]}", fontsize=10, loc="left")
    figure.legend(loc="outside right upper", frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def table() -> Iterator[str]:
    """The rows of both files as lines of Markdown, those of a task, a model and a choice of starts together."""
    for part in SEEDS:
        rows = run.read(run.RESULTS / f"planning-{part}.csv")
        for heading in dict.fromkeys((row["task"], row["model"], row["seed"]) for row in rows):
            yield from ("", f"{heading[0]}, {heading[1]}, starts of seed {heading[2]}", "")
            yield from ("| setting | steps | particles | starts | mean return (95 %) | worst | ms |", "|---" * 7 + "|")
            for row in rows:
                if (row["task"], row["model"], row["seed"]) == heading:
                    low, mean, high, worst = (
                        f"{float(row[name]):.0f}".replace("-", "−")
                        for name in ("return_low", "return", "return_high", "return_min")
                    )
                    cells = [row["label"], row["horizon"], row["particles"], row["starts"], f"{mean} ({low} to {high})"]
                    yield "| " + " | ".join([*cells, worst, f"{float(row['ms']):.3g}"]) + " |"


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
