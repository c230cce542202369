"""When a fit should end: the same refits to a growing buffer under several rules, judged by the steps that come next.

    python benchmarks/learning/fits.py collect Hopper-v5              # SAC alone, 15,000 steps: what a buffer holds
    python benchmarks/learning/fits.py run Hopper-v5                  # about ten core-minutes
    python benchmarks/learning/fits.py show Hopper-v5

The ensemble is the MBPO authors': 7 members of 4 x 200 units, targets as they are, 5 elites. It is fitted to the first 5,000
rows, and then twice more as 250 come in, from where its weights stand. `next_mse` and `next_nll` (nats per dim) are the
elites' means on the 1,000 rows after those of the fit, which the policy of the time collected: what rollouts meet.
`beyond_3` is the share of all errors above three predicted standard deviations (0.0027 of a right Gaussian).
`results/fits-ENV.csv` keeps a line per fit.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import run as learning

from mbrl import Trainer
from mbrl.data import Transitions, make_generator
from mbrl.envs import OnlineData, make_task
from mbrl.models import GaussianEnsemble
from mbrl.planners import Dyna
from mbrl.policies import SAC

ROWS, NEXT, STEPS = (5000, 5250, 5500), 1000, 15_000
ENSEMBLE: dict[str, Any] = {"hidden": [200] * 4, "members": 7, "elites": 5, "normalize_targets": False}
BY_EPISODE = {"stopping": "mean", "holdout_by": "episode"}
RULES: dict[str, dict[str, Any]] = {
    "authors": {},  # any member's error on single rows
    "mean": {"stopping": "mean"},
    "mean, episodes": BY_EPISODE,
    "likelihood": {"stopping": "mean", "judged_by": "likelihood"},
    "likelihood, episodes": {**BY_EPISODE, "judged_by": "likelihood"},
    "500 updates": {"max_updates": 500},
    "20 √rows": {"max_updates_per_root_row": 20.0},
}


def collect(env_id: str, runs: Path) -> None:
    """Trains SAC alone and keeps all its real rows in `RUNS/rows-ENV.pt`."""
    rate = {f"{part}_lr": 1e-3 for part in ("actor", "critic", "temperature")}
    planner = Dyna(None, SAC(hidden=[128, 128], **rate), updates_per_step=1, real_ratio=1.0, warmup_steps=1000)
    trainer = Trainer(runs / f"rows-{env_id}", eval_every=STEPS, checkpoint_every=STEPS, progress=False)
    trainer.fit(planner, OnlineData(env_id, steps=STEPS, eval_episodes=2))
    rows = planner.real_buffer.all()
    columns = ("obs", "action", "reward", "next_obs", "terminated", "truncated")
    kept = {name: getattr(rows, name) for name in columns} | {"episode": rows.extras["episode"]}
    torch.save(kept, runs / f"rows-{env_id}.pt")


def rows_of(env_id: str, runs: Path) -> Transitions:
    """What `collect` kept."""
    kept = torch.load(runs / f"rows-{env_id}.pt", weights_only=True)
    return Transitions(**{name: kept[name] for name in kept if name != "episode"}, extras={"episode": kept["episode"]})


@torch.no_grad()
def judged(model: GaussianEnsemble, rows: Transitions) -> dict[str, float]:
    """Errors and likelihood of the elites on rows that no fit has seen."""
    elites, found = model.drawn_members, model.predict(rows.obs, rows.action)
    mean, var, real = found.mean[elites], found.var[elites], rows.next_obs  # e x B x S
    if found.reward_mean is not None and found.reward_var is not None:
        mean = torch.cat((mean, found.reward_mean[elites].unsqueeze(-1)), -1)
        var = torch.cat((var, found.reward_var[elites].unsqueeze(-1)), -1)
        real = torch.cat((real, rows.reward.unsqueeze(-1)), -1)
    normal = torch.distributions.Normal(mean, var.sqrt())
    off = (real - mean).abs()
    return {
        "next_mse": off.square().mean().item(),
        "next_nll": -normal.log_prob(real).double().mean().item(),
        "beyond_3": (off > 3 * var.sqrt()).double().mean().item(),
    }


def run(env_id: str, rules: list[str], seeds: list[int], runs: Path) -> None:
    """Fits under each rule and appends what comes of it."""
    path, rows = learning.RESULTS / f"fits-{env_id}.csv", rows_of(env_id, runs)
    there = {(row["rule"], int(row["seed"])) for row in learning.read(path)}
    for seed in seeds:
        for rule in rules:
            if (rule, seed) in there:
                continue
            model = GaussianEnsemble(**ENSEMBLE, **RULES[rule])
            model.build(make_task(env_id), seed)
            generator = make_generator("cpu", seed, "fit")
            lines = []
            for number in ROWS:
                began = time.process_time()
                report = model.refit(rows.select(slice(0, number)), generator)
                spent = time.process_time() - began
                after = judged(model, rows.select(slice(number, number + NEXT)))
                about = {
                    "rule": rule,
                    "seed": seed,
                    "rows": number,
                    "updates": int(report["updates"]),
                    "cpu_s": round(spent, 1),
                }
                lines.append({**about, **{name: f"{value:.6g}" for name, value in after.items()}})
                print(lines[-1], flush=True)
            about = {"commit": learning.commit(), "hardware": learning.hardware(), "versions": learning.versions()}
            learning.append(path, [{**line, **about} for line in lines])


def show(env_id: str) -> None:
    """Prints a line per rule: updates and processor seconds of the fits, and what comes after each, means over seeds."""
    found = learning.read(learning.RESULTS / f"fits-{env_id}.csv")
    for rule in dict.fromkeys(row["rule"] for row in found):
        said = []
        for number in ROWS:
            fits = [row for row in found if row["rule"] == rule and int(row["rows"]) == number]
            names = ("updates", "cpu_s", "next_mse", "next_nll")
            updates, spent, mse, nll = (sum(float(fit[name]) for fit in fits) / len(fits) for name in names)
            said.append(f"{updates:5.0f} updates {spent:4.0f} s, mse {mse:.4f} nll {nll:6.2f}")
        print(f"{rule:>22}: {' | '.join(said)}")


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("collect", "run", "show"))
    parser.add_argument("env_id")
    parser.add_argument("--rules", nargs="+", choices=list(RULES), default=list(RULES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--runs", type=Path, default=Path("runs/benchmark"))
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "collect":
        collect(given.env_id, given.runs)
    elif given.what == "run":
        run(given.env_id, given.rules, given.seeds, given.runs)
    else:
        show(given.env_id)


if __name__ == "__main__":
    main()
