"""The edge of reach (Sims2024): what rollout length, the quality of the model and the number of critics do to learning.

    python benchmarks/learning/edge_of_reach.py run length --seeds 0 1 2 --workers 2     # an hour of a core
    python benchmarks/learning/edge_of_reach.py run rows --arms learned-2-1 learned-2-5  # its control
    python benchmarks/learning/edge_of_reach.py run quality --seeds 0 1 2 --workers 2    # some hours of a core
    python benchmarks/learning/edge_of_reach.py run critics --seeds 0 1 2 --workers 2    # an hour
    python benchmarks/learning/edge_of_reach.py draw length

`length`: Pendulum-v1, 2,000 random steps, no penalty, 6,000 updates; 500 rollouts a round, of 1 to 40 steps, of a learned
or the exact model; 2 or 10 critics, which see observations as they are, as the published methods' do. Longer rollouts reach
further, and are more rows: `rows` is the same with rounds of 20,000 steps throughout. The others learn from the medium
dataset of Hopper-v5, which a command of `docs/datasets.md` makes. `quality`: rollouts of 5 steps, 20,000 updates; MOPO,
MOBILE and RAVL with models from untrained by learned to exact (`Blend`). `critics`: rollouts of 1 and 5 steps, 60,000
updates, the least of two critics, the same with layer norm, and RAVL's ten. `arms.py` says what `run` does and keeps.
"""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms
import offline
import run as learning

from mbrl.envs import OfflineData
from mbrl.figure_style import in_style

EXACT = 2.0
ROLLOUTS, ROUND = 500, 20_000  # rollouts or model steps in a round
LENGTHS = (1, 5, 10, 20, 40)
CRITICS = (2, 10)
MODELS = ("learned", "exact")
METHODS = {  # and what their authors set for Hopper's medium dataset
    "mopo": offline.penalty("UncertaintyPenalty", "MaxAleatoric", 5.0, reward="auto"),
    "mobile": [*offline.mobile(1.5), f"{offline.LEARNER}.target_floor=0.0"],
    "ravl": [],
}
LEARNER, DYNAMICS = "--model.init_args.learner.init_args", "--model.init_args.dynamics"
SIZES = [
    f"{LEARNER}.hidden=[128, 128]",
    *(f"{LEARNER}.{rate}_lr=1.0e-3" for rate in ("actor", "critic", "temperature")),
    "--model.init_args.rollout_every=250",
    "--trainer.eval_every=2000",
]
ENSEMBLE = {"hidden": [100, 100], "batch_size": 64, "max_epochs": 100}
Q_MEAN = "learner/q_mean"  # of the last batch before an evaluation: recorded and imagined rows


def spec(name: str, **settings: object) -> dict[str, object]:
    """A dynamics model as a configuration writes it."""
    return {"class_path": f"mbrl.models.{name}", "init_args": settings}


def learned(**settings: object) -> dict[str, object]:
    """The small ensemble of both experiments."""
    return spec("GaussianEnsemble", members=7, elites=5, **{**ENSEMBLE, **settings})


def model(found: dict[str, object]) -> str:
    """The option that sets the dynamics model."""
    return f"{DYNAMICS}={json.dumps(found)}"


def length_arms(equal_rows: bool) -> dict[str, arms.Arm]:
    """Model, critics and rollout length, without any penalty; as many rollouts in each arm, or as many rows."""
    made = {}
    for name, found in zip(MODELS, (learned(), spec("Pendulum")), strict=True):
        for critics in CRITICS:
            for length in LENGTHS:
                settings = [
                    *(*SIZES, f"{LEARNER}.normalize_obs=false", f"{LEARNER}.critics={critics}", model(found)),
                    *(f"--model.init_args.rollout_length={length}", "--data.init_args.steps=6000"),
                    f"--model.init_args.rollout_batch={ROUND // length if equal_rows else ROLLOUTS}",
                ]
                made[f"{name}-{critics}-{length}"] = arms.Arm(["configs/base/offline.yaml"], settings)
    return made


def rollouts_of(length: int) -> list[str]:
    """The rollouts of a round on Hopper."""
    return [f"--model.init_args.rollout_length={length}", f"--model.init_args.rollout_batch={2 * ROLLOUTS}"]


def critics_arms() -> dict[str, arms.Arm]:
    """Critics by rollout length, and nothing else: two, two with layer norm, RAVL's ten that are kept diverse."""
    made = {}
    two = [f"{LEARNER}.critics=2", "--model.init_args.critic_terms=[]"]
    for name, critics in (("two", two), ("norm", [*two, f"{LEARNER}.critic_norm=layer"]), ("ravl", [])):
        for length in (1, 5):
            settings = [*SIZES, *rollouts_of(length), model(learned()), "--data.init_args.steps=60000"]
            settings += [*critics, "--trainer.eval_every=5000"]
            made[f"{name}-{length}"] = arms.Arm(["configs/base/offline.yaml", "configs/offline/ravl.yaml"], settings)
    return made


def qualities() -> dict[float, dict[str, object]]:
    """Models from 0 (untrained, but for the data's units) to 1 (learned), and the exact one at 2.

    None is between learned and exact: Hopper's observations clip velocities, so that a mixture has no simulator's state.
    """
    untrained = learned(max_epochs=1, lr=1e-30)
    mixed = {weight: spec("Blend", first=untrained, second=learned(), weight=weight) for weight in (0.0, 0.33, 0.67, 1.0)}
    return {**mixed, EXACT: spec("SimulatorModel")}


def quality_arms() -> dict[str, arms.Arm]:
    """Method and quality of the model."""
    made = {}
    for method, own in METHODS.items():
        for quality, found in qualities().items():
            settings = [*SIZES, *own, *rollouts_of(5), model(found), "--data.init_args.steps=20000"]
            if quality == EXACT:  # both penalties are 0, and refuse a model of which they know that
                settings += ["--model.init_args.rollout_hooks=[]", "--model.init_args.batch_hooks=[]"]
            made[f"{method}-{quality:g}"] = arms.Arm(
                ["configs/base/offline.yaml", f"configs/offline/{method}.yaml"], settings
            )
    return made


PENDULUM, HOPPER = ("Pendulum-v1", "2,000 random steps"), ("Hopper-v5", "its medium dataset")
TASKS = {"length": PENDULUM, "rows": PENDULUM, "quality": HOPPER, "critics": HOPPER}
MEDIUM = "mbrl/hopper-v5/medium-v0"


def found_of(file: str) -> dict[str, list[tuple[float, float]]]:
    """Return and mean value at the end of each seed's run, by arm."""
    last = {(row["name"], row["seed"]): float(row[Q_MEAN]) for row in learning.read(learning.RESULTS / f"{file}.curve.csv")}
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for row in learning.read(learning.RESULTS / f"{file}.test.csv"):
        found[row["name"]].append((float(row["test_return"]), last[row["name"], row["seed"]]))
    return dict(found)


@in_style
def draw(file: str, task: str) -> None:
    """Writes `results/FILE.png`: returns and mean values against rollout length or quality, and prints them."""
    from matplotlib.figure import Figure

    found, (env_id, data) = found_of(file), TASKS[task]
    if task != "quality":
        places: list[float] = list(range(len(LENGTHS)))
        ticks, label = [str(length) for length in LENGTHS], "steps of a rollout"
        lines = {f"{name} model, {n} critics": [f"{name}-{n}-{k}" for k in LENGTHS] for name in MODELS for n in CRITICS}
    else:
        places = list(qualities())
        ticks, label = ["untrained", "", "", "learned", "exact"], "dynamics model"
        lines = {method.upper(): [f"{method}-{quality:g}" for quality in places] for method in METHODS}
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    panels = figure.subplots(1, 2)
    for i, (name, names) in enumerate(lines.items()):
        style, colour = ("-", "--", "-.", ":")[i], f"C{i}"
        shift = 0.04 * (i - (len(lines) - 1) / 2) * (places[1] - places[0])  # so that equal points stay apart
        shown = [(x + shift, found[arm]) for x, arm in zip(places, names, strict=True) if arm in found]
        for column, panel in enumerate(panels):
            means = [sum(run[column] for run in runs) / len(runs) for _, runs in shown]
            panel.plot([x for x, _ in shown], means, style, color=colour, label=name)
            dots = [(x, run[column]) for x, runs in shown for run in runs]
            panel.plot([x for x, _ in dots], [y for _, y in dots], "o", markersize=3, color=colour)
    most = 0.0 if env_id == "Pendulum-v1" else 100 * float(OfflineData(MEDIUM).transitions.reward.max())
    limits = ((offline.random_return(env_id), "random actions"), (most, f"rewards can't add up to more than {most:.0f}"))
    for panel, (level, said) in zip(panels, limits, strict=True):
        panel.axhline(level, color="0.6", linewidth=0.8)
        panel.annotate(
            said, (1, level), xycoords=("axes fraction", "data"), fontsize=8, color="0.4", ha="right", va="bottom"
        )
        panel.set_xticks(places, ticks)
        panel.set_xlabel(label)
    panels[0].set_ylabel("test return of the last checkpoint")
    panels[1].set_ylabel("mean value of a batch's actions")
    panels[1].set_yscale("symlog", linthresh=100)
    figure.suptitle(f"{env_id}, learned from {data} (lines: means, dots: seeds)")
    figure.legend(*panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(learning.RESULTS / f"{file}.png", dpi=150)
    for arm, runs in found.items():
        print(f"{arm}: return {', '.join(f'{one:.0f}' for one, _ in runs)}; mean Q {', '.join(f'{q:.3g}' for _, q in runs)}")


def main() -> None:
    """Reads the command line."""
    every = {"length": length_arms(False), "rows": length_arms(True), "quality": quality_arms(), "critics": critics_arms()}
    names = dict.fromkeys(name for found in every.values() for name in found)
    given = arms.parser(__doc__, list(names), list(TASKS)).parse_args()
    file = f"edge-of-reach-{given.task}"
    if given.what == "draw" and given.task == "critics":
        arms.draw(file, list(critics_arms()), "Hopper-v5, learned from its medium dataset")
        return
    if given.what == "draw":
        draw(file, given.task)
        return
    data = offline.dataset(given.runs) if TASKS[given.task] == PENDULUM else MEDIUM
    chosen = {
        name: arms.Arm(arm.configs, [f"--data.init_args.path={data}", *arm.overrides])
        for name, arm in every[given.task].items()
        if name in given.arms
    }
    arms.run(file, chosen, given.seeds, given.runs, given.workers, [Q_MEAN])


if __name__ == "__main__":
    main()
