"""Learning from 2,000 random steps of Pendulum-v1, without touching it: MBPO's rollouts as they are, and MOPO's penalty.

    python benchmarks/learning/offline.py run --seeds 0 1 2 --workers 2
    python benchmarks/learning/offline.py draw

Rollouts of 40 steps, 10,000 updates, small networks, the last checkpoint. `arms.py`
says what `run` does and keeps. Scores are 0 at the mean of 100 episodes of random actions and 100 at EXPERT.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import arms
import run as learning

from mbrl.data import NormalizedScore

STEPS = 2000
EXPERT = -149.0  # mean test return of MBPO online, three seeds: results/mbpo-pendulum.test.csv
LEARNER = "--model.init_args.learner.init_args"
SIZES = [
    *("--model.init_args.dynamics.init_args.hidden=[100, 100]", "--model.init_args.dynamics.init_args.batch_size=64"),
    *("--model.init_args.dynamics.init_args.max_epochs=100", f"{LEARNER}.hidden=[128, 128]"),
    *(f"{LEARNER}.normalize_obs=false", f"{LEARNER}.actor_lr_cosine=null"),  # as the preset was when these runs were made
    *(f"{LEARNER}.{rate}_lr=1.0e-3" for rate in ("actor", "critic", "temperature")),
    f"{LEARNER}.critic_loss=half",  # likewise
    *("--model.init_args.rollout_length=40", "--model.init_args.rollout_batch=500", "--model.init_args.rollout_every=250"),
    *("--data.init_args.steps=10000", "--trainer.eval_every=2500"),
]
ARMS = ("mbpo", "mopo")
FILE = "offline-pendulum"


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


def main() -> None:
    """Reads the command line."""
    given = arms.parser(__doc__, ARMS).parse_args()
    if given.what == "run":
        data = [f"--data.init_args.path={dataset(given.runs)}", *SIZES]
        files = {arm: ["configs/base/offline.yaml", f"configs/offline/{arm}.yaml"] for arm in given.arms}
        arms.run(FILE, {arm: arms.Arm(files[arm], data) for arm in given.arms}, given.seeds, given.runs, given.workers)
        return
    score = NormalizedScore(random_return(), EXPERT, "random actions, and MBPO online")
    arms.print_tests(FILE, ARMS)
    for row in learning.read(learning.RESULTS / f"{FILE}.test.csv"):
        found = float(row["test_return"])
        print(f"{row['name']} seed {row['seed']}: return {found:.0f}, score {score.of(found):.1f}")
    print(f"0 is a return of {score.low:.0f}, 100 of {score.high:.0f}")


if __name__ == "__main__":
    main()
