"""Learning from datasets alone: two methods on random steps, four on Hopper, some on datasets of five levels.

    python benchmarks/learning/offline.py run pendulum --seeds 0 1 2 --workers 2     # ten core-minutes
    python benchmarks/learning/offline.py run hopper --seeds 0 --workers 2           # some core-hours
    python benchmarks/learning/offline.py run levels --seeds 0 --workers 2           # some core-hours
    python benchmarks/learning/offline.py run hopper_levels --seeds 0 --workers 2    # not timed but for bc, a minute each
    python benchmarks/learning/offline.py draw pendulum

`pendulum`: 2,000 random steps of Pendulum-v1, rollouts of 40 steps, small networks, 10,000 updates; scores are 0 at the mean
of 100 episodes of random actions and 100 at EXPERT. `hopper`: the medium-replay dataset of Hopper-v5, learners of 2 x 256
units, MOPO for 100,000 updates and others for 50,000 (published: 1 to 3 million), a tenth of the published rollouts.
`levels`: the five datasets of Reacher-v5, small networks, 10,000 updates; `hopper_levels` those of Hopper-v5, 20,000.
`docs/datasets.md` has the commands that make these datasets, which have references of their own. The last checkpoint is
tested. `arms.py` says what `run` does and keeps.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms
import run as learning

from mbrl.data import DatasetQuality, NormalizedScore
from mbrl.envs import OfflineData

STEPS = 2000
EXPERT = -149.0  # mean test return of MBPO online, three seeds: results/mbpo-pendulum.test.csv
DYNAMICS, LEARNER = "--model.init_args.dynamics.init_args", "--model.init_args.learner.init_args"
SMALL_MODEL = [f"{DYNAMICS}.hidden=[100, 100]", f"{DYNAMICS}.batch_size=64", f"{DYNAMICS}.max_epochs=100"]
SMALL = [f"{LEARNER}.hidden=[128, 128]", *(f"{LEARNER}.{rate}_lr=1.0e-3" for rate in ("actor", "critic", "temperature"))]
PENDULUM = [
    *(*SMALL_MODEL, *SMALL),
    *(f"{LEARNER}.normalize_obs=false", f"{LEARNER}.actor_lr_cosine=null"),  # as the preset was when these runs were made
    f"{LEARNER}.critic_loss=half",  # likewise
    *("--model.init_args.rollout_length=40", "--model.init_args.rollout_batch=500", "--model.init_args.rollout_every=250"),
    *("--data.init_args.steps=10000", "--trainer.eval_every=2500"),
]


def penalty(hook: str, measure: str, weight: float, **settings: object) -> list[str]:
    """The option that sets a method's one penalty; lists are replaced whole."""
    spec = {"class_path": f"mbrl.uncertainty.{measure}", "init_args": settings}
    kind = "batch_hooks" if hook == "BatchPenalty" else "rollout_hooks"
    found = [{"class_path": f"mbrl.planners.{hook}", "init_args": {"measure": spec, "weight": weight}}]
    return [f"--model.init_args.{kind}={json.dumps(found)}"]


def mobile(weight: float) -> list[str]:
    """MOBILE's penalty by two common draws for its authors' ten, which would take five times as long: value_draws.py."""
    return penalty("BatchPenalty", "ValueSpread", weight, samples=2, common_noise=True)


HOPPER = {  # method: updates, and what its authors set for such data
    "mopo": (100_000, []),  # a weight of 1
    "mobile": (
        50_000,
        [
            *mobile(0.1),
            f"{LEARNER}.target_floor=0.0",  # no return of Hopper is negative
        ],
    ),
    "ravl": (50_000, []),
    "edac": (50_000, []),  # 10 critics; its authors' 50 would take five times as long
}
LEVELS = ("random", "medium", "medium-replay", "medium-expert", "expert")
METHODS = {
    "levels": ("bc", "mbpo", "mopo", "mobile", "combo", "ravl", "edac"),
    "hopper_levels": ("bc", "mbpo", "mopo", "edac"),
}
UPDATES = {"levels": 10_000, "hopper_levels": 20_000}
MODELS = {
    "levels": SMALL_MODEL,
    "hopper_levels": [f"{DYNAMICS}.hidden=[100, 100]", f"{DYNAMICS}.max_epochs=30"],  # its replay has 120,000 rows
}
WITHOUT_MODEL = ("bc", "edac")


def dataset(runs: Path, env_id: str = "Pendulum-v1", steps: int = STEPS) -> Path:
    """The steps of random actions, recorded once."""
    path = runs / f"{env_id.split('-')[0].lower()}-random.npz"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        options = ["--env_id", env_id, "--steps", str(steps), "--seed", "100"]
        learning.mbrl(["collect", str(path), *options], path.with_suffix(".log"))
    return path


def random_return(env_id: str = "Pendulum-v1", episodes: int = 100) -> float:
    """Mean return of uniform actions."""
    import gymnasium

    env, total = gymnasium.make(env_id), 0.0
    env.action_space.seed(0)
    for episode in range(episodes):
        env.reset(seed=episode)
        ended = False
        while not ended:
            _, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            total, ended = total + float(reward), terminated or truncated
    env.close()
    return total / episodes


def made(method: str, source: str, overrides: list[str]) -> arms.Arm:
    """A method's preset, on a dataset."""
    return arms.Arm(
        ["configs/base/offline.yaml", f"configs/offline/{method}.yaml"], [f"--data.init_args.path={source}", *overrides]
    )


def source_of(task: str, name: str) -> str:
    """The dataset that an arm learns from, but for Pendulum's."""
    if task == "hopper":
        return "mbrl/hopper-v5/medium-replay-v0"
    return f"mbrl/{'reacher' if task == 'levels' else 'hopper'}-v5/{name.rpartition('-')[0]}-v0"


def hopper_arms() -> dict[str, arms.Arm]:
    """The four methods."""
    found = {}
    for method, (updates, settings) in HOPPER.items():
        sizes = [f"{LEARNER}.hidden=[256, 256]", f"--data.init_args.steps={updates}"]
        if method not in WITHOUT_MODEL:
            sizes += [f"{DYNAMICS}.max_epochs=30", "--model.init_args.rollout_batch=5000"]
        found[method] = made(method, source_of("hopper", method), [*sizes, *settings])
    return found


def level_arms(task: str) -> dict[str, arms.Arm]:
    """Level and method, rollouts of 5 steps."""
    found = {}
    for name in (f"{level}-{method}" for level in LEVELS for method in METHODS[task]):
        method = name.rpartition("-")[2]
        sizes = [f"--data.init_args.steps={UPDATES[task]}"]
        # large steps suit Reacher alone: on Hopper's medium data values then run away (edge_of_reach.py critics)
        sizes += SMALL if method != "bc" and task == "levels" else [f"{LEARNER}.hidden=[128, 128]"]
        if method not in WITHOUT_MODEL:
            sizes += [*MODELS[task], "--model.init_args.rollout_batch=1000", "--model.init_args.rollout_every=250"]
        if method == "mobile":
            sizes += mobile(1.0)
        found[name] = made(method, source_of(task, name), sizes)
    return found


def show(task: str, names: list[str]) -> None:
    """Prints what each run returned and scored, and what its dataset is like."""
    file = f"offline-{task.replace('_', '-')}"
    known: dict[str, NormalizedScore] = {}
    for row in learning.read(learning.RESULTS / f"{file}.test.csv"):
        if task == "pendulum":
            score = known.setdefault("", NormalizedScore(random_return(), EXPERT, "random actions, and MBPO online"))
        else:
            source = source_of(task, row["name"])
            if source not in known:
                data = OfflineData(source)
                assert data.references is not None  # `mbrl collect --levels` writes them
                known[source], quality = data.references, DatasetQuality.of(data.transitions)
                behaviour = data.references.of(quality.mean)
                print(f"{source}: its own steps score {behaviour:.1f}, TQ {quality.tq:.3f}, SACo {quality.saco:.3f}")
            score = known[source]
        found = float(row["test_return"])
        took = f"{float(row['cpu_s']) / 60:.1f} core-minutes" if row["cpu_s"] else "interrupted on the way"
        print(f"{row['name']} seed {row['seed']}: return {found:.1f}, score {score.of(found):.1f}, {took}")
    for score in set(known.values()):
        print(f"0 is a return of {score.low:.1f}, 100 of {score.high:.1f} ({score.source})")
    if task == "hopper":
        arms.draw(file, names, "Hopper-v5, learned from the medium-replay dataset")


def main() -> None:
    """Reads the command line."""
    names = {"pendulum": ["mbpo", "mopo"], "hopper": list(HOPPER), **{task: list(level_arms(task)) for task in METHODS}}
    every = list(dict.fromkeys(name for found in names.values() for name in found))
    given = arms.parser(__doc__, every, list(names)).parse_args()
    chosen = [name for name in names[given.task] if name in given.arms]
    if given.what == "draw":
        show(given.task, chosen)
        return
    if given.task == "pendulum":
        data = str(dataset(given.runs))
        found = {name: made(name, data, PENDULUM) for name in chosen}
    else:
        found = hopper_arms() if given.task == "hopper" else level_arms(given.task)
    file, found = f"offline-{given.task.replace('_', '-')}", {name: found[name] for name in chosen}
    arms.run(file, found, given.seeds, given.runs, given.workers)


if __name__ == "__main__":
    main()
