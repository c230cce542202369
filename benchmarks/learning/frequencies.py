"""Scores over decision frequencies: soft actor-critic that repeats its action, and SRL (Patel2025), held to one clock.

    python benchmarks/learning/frequencies.py run pendulum --seeds 0 1 2 --workers 2      # about three core-hours
    python benchmarks/learning/frequencies.py run published --arms sac-1 sac-4 --seeds 0 1 2 3 4
    python benchmarks/learning/frequencies.py run inverted_pendulum --seeds 0             # needs about as long
    python benchmarks/learning/frequencies.py compare pendulum --arms srl-16              # ten core-minutes a seed
    python benchmarks/learning/frequencies.py draw pendulum

`sac-J` is SAC without a model in an environment that repeats each action J times, in the protocol of the authors' code: one
update per decision, γ per decision. `srl-J` are the presets of `configs/srl`. `published` has the authors' networks, and its
agents are the best of a run's evaluations, as theirs. All have the same number of primitive steps, and `mbrl test
--frequencies` puts all into the environment without any repeat; `results/frequencies-TASK.frequencies.csv` keeps what it
says, a line per seed and decision length. `arms.py` says what `run` does and keeps beside it. `compare` gives each SRL run's
own model to two planners that learn nothing: `srl-J-rolled` is the policy's first action wherever the model says that it
will be, `srl-J-planned` and `-planned-30` plans of 16 and 30 steps of a cross-entropy search by the task's known reward.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from copy import deepcopy
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms
import run as learning

from mbrl import load
from mbrl.analysis import decision_frequencies, fas
from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS, standard_scale
from mbrl.figure_style import in_style
from mbrl.planners import CEM, PETS, SRL, ModelRolled, Planner

REPEATS, LENGTHS = (1, 2, 4, 8, 16), (4, 16)
RANDOM = "1:16"
COMPARED = {"rolled": None, "planned": 16, "planned-30": 30}  # and the horizon of plans


class Setting(NamedTuple):
    """What all arms of a task share.

    Attributes:
        env_id: the environment.
        steps: primitive steps of a run.
        units: in each of two hidden layers.
        preset: of SRL, in `configs/srl`.
        checkpoint: of a run that is tested.
    """

    env_id: str
    steps: int
    units: int
    preset: str
    checkpoint: str = "last"


TASKS = {
    "pendulum": Setting("Pendulum-v1", 30_000, 128, "pendulum"),
    "published": Setting("Pendulum-v1", 30_000, 256, "pendulum_published", "best"),
    "inverted_pendulum": Setting("InvertedPendulum-v5", 20_000, 128, "inverted_pendulum"),
}


def sac(task: Setting, repeat: int) -> arms.Arm:
    """SAC on decisions of `repeat` primitive steps."""
    data, model, learner = "--data.init_args", "--model.init_args", "--model.init_args.learner.init_args"
    settings = [
        *(f"{data}.env_id={task.env_id}", f"{data}.steps={task.steps // repeat}", f"{data}.action_repeat={repeat}"),
        *(f"{data}.eval_episodes=10", f"{data}.test_episodes=10", f"{model}.warmup_steps={1000 // repeat}"),
        *(f"{learner}.hidden=[{task.units}, {task.units}]", f"{learner}.critic_loss=full"),
        f"--trainer.eval_every={2500 // repeat}",
    ]
    return arms.Arm(["configs/base/mbpo.yaml", "configs/sac.yaml"], [*settings, *_kept(task)])


def srl(task: Setting, length: int) -> arms.Arm:
    """SRL with sequences of `length` actions."""
    sizes = [f"--model.init_args.learner.init_args.length={length}", f"--data.init_args.steps={task.steps}"]
    return arms.Arm(["configs/base/srl.yaml", f"configs/srl/{task.preset}.yaml"], [*sizes, *_kept(task)])


def _kept(task: Setting) -> list[str]:
    return [f"--trainer.keep_best={str(task.checkpoint == 'best').lower()}"]


def arms_of(task: Setting) -> dict[str, arms.Arm]:
    """All arms by name."""
    made = {f"sac-{repeat}": sac(task, repeat) for repeat in REPEATS}
    return made | {f"srl-{length}": srl(task, length) for length in LENGTHS}


def _folders(file: str, task: Setting, names: list[str], seeds: list[int], runs: Path) -> list[tuple[str, int, Path, Path]]:
    """Arm, seed, run folder, and what of it is tested, of the runs that there are."""
    found = []
    for name in names:
        for seed in seeds:
            folder = runs / f"{file}-{name}" / f"seed{seed}"
            if folder.is_dir():
                found.append((name, seed, folder, folder if task.checkpoint == "last" else folder / task.checkpoint))
    return found


def _measured(path: Path) -> set[tuple[str, int]]:
    return {(row["name"], int(row["seed"])) for row in learning.read(path)}


def measure(file: str, task: Setting, names: list[str], seeds: list[int], runs: Path) -> None:
    """Tests what isn't tested yet at all decision lengths, and appends the lines."""
    path = learning.RESULTS / f"{file}.frequencies.csv"
    for name, seed, folder, tested in _folders(file, task, names, seeds, runs):
        if (name, seed) not in _measured(path):
            options = ["test", str(tested), "--frequencies", "--random", RANDOM, "--folder", str(folder)]
            learning.mbrl(options, folder.with_suffix(".log"))
            learning.append(path, [{"name": name, "seed": seed, **row} for row in learning.read(folder / "frequencies.csv")])


def compare(file: str, task: Setting, names: list[str], seeds: list[int], runs: Path) -> None:
    """Tests two planners in each SRL run's own model at all decision lengths, on the episodes of `measure`."""
    path = learning.RESULTS / f"{file}.frequencies.csv"
    low, high = (int(end) for end in RANDOM.split(":"))
    for name, seed, folder, tested in _folders(file, task, names, seeds, runs):
        if not name.startswith("srl"):
            continue
        planner = load(tested)
        assert isinstance(planner, SRL)
        for kind in COMPARED:
            if (f"{name}-{kind}", seed) in _measured(path):
                continue
            found = decision_frequencies(other(kind, planner), random=[low, high], episodes=10)
            found.to_csv(folder / f"{kind}.csv")
            rows = learning.read(folder / f"{kind}.csv")
            learning.append(path, [{"name": f"{name}-{kind}", "seed": seed, **row} for row in rows])
            print(f"{name}-{kind} seed {seed}: FAS {found.score():.3f}", flush=True)


def other(kind: str, planner: SRL) -> Planner:
    """A planner in the model of `planner`: its policy `rolled` there, or plans.

    The search is a small one, since it decides at every step of thousands: 100 plans, three refits.
    """
    model, task = deepcopy(planner.dynamics), planner.built_task
    horizon = COMPARED[kind]
    if horizon is None:
        made: Planner = ModelRolled(model, planner.learner)
    else:
        made = PETS(model, CEM(candidates=100, elites=10, iterations=3), horizon=horizon, propagation="expectation")
    made.build(task, planner.seed)
    model.load_state_dict(planner.dynamics.state_dict())  # PETS begins with a model of its own
    return made


def returns_of(file: str) -> dict[str, dict[str, dict[str, float]]]:
    """Mean returns by arm, seed and decision length; `RANDOM` is one of these."""
    found: dict[str, dict[str, dict[str, float]]] = defaultdict(lambda: defaultdict(dict))
    for row in learning.read(learning.RESULTS / f"{file}.frequencies.csv"):
        found[row["name"]][row["seed"]][row["steps_per_decision"]] = float(row["return"])
    return found


@in_style
def draw(file: str, task: Setting, names: list[str]) -> None:
    """Writes `results/FILE.png`, r(n) of each arm, and prints its score over the seeds."""
    from matplotlib.figure import Figure

    found, scale = returns_of(file), standard_scale(task.env_id)
    assert scale is not None  # the authors have one for each task here
    figure = Figure(figsize=(7.2, 4.2), layout="constrained")
    axes = figure.subplots()
    shown = [name for name in names if name in found and not name.endswith("-planned")]  # which hides behind SAC
    for name in (one for one in names if one in found):
        curves = [[seed[str(n)] for n in STANDARD_LENGTHS] for seed in found[name].values()]
        mean = [sum(column) / len(curves) for column in zip(*curves, strict=True)]
        dashes = "--" if name.startswith("srl") else "-"
        if name in shown:
            colour = f"C{shown.index(name)}"
            axes.plot(STANDARD_LENGTHS, mean, dashes, color=colour, marker=".", label=name)
            for curve in curves if len(curves) > 1 else ():
                axes.plot(STANDARD_LENGTHS, curve, dashes, color=colour, linewidth=0.5, alpha=0.5)
        scores = [fas(STANDARD_LENGTHS, curve, *scale) for curve in curves]
        average = sum(scores) / len(scores)
        spread = math.sqrt(sum((score - average) ** 2 for score in scores) / len(scores))  # the authors', over the seeds
        drawn = ", ".join(f"{seed[RANDOM]:.0f}" for seed in found[name].values())
        each = ", ".join(f"{score:.3f}" for score in scores)
        print(f"{name}: FAS {average:.3f} ± {spread:.3f} ({each}); returns at {RANDOM} steps {drawn}")
    axes.set_xlabel("primitive steps per decision")
    axes.set_ylabel("return (reward units)")
    axes.set_title(f"{task.env_id}, {task.steps:,} primitive steps (thin lines: seeds)", fontsize=10)
    axes.grid(color="0.9")
    figure.legend(loc="outside lower center", ncols=4, frameon=False, fontsize=8)
    figure.savefig(learning.RESULTS / f"{file}.png", dpi=150)


def main() -> None:
    """Reads the command line."""
    names = list(arms_of(TASKS["pendulum"]))
    given = arms.parser(__doc__, names, list(TASKS), ["compare"]).parse_args()
    task, file = TASKS[given.task], f"frequencies-{given.task.replace('_', '-')}"
    if given.what == "draw":
        draw(file, task, [one for name in given.arms for one in (name, *(f"{name}-{kind}" for kind in COMPARED))])
        return
    if given.what == "compare":
        compare(file, task, given.arms, given.seeds, given.runs)
        return
    chosen = {name: arm for name, arm in arms_of(task).items() if name in given.arms}
    arms.run(file, chosen, given.seeds, given.runs, given.workers)
    measure(file, task, given.arms, given.seeds, given.runs)


if __name__ == "__main__":
    main()
