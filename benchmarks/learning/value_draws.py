"""How many next observations of each member MOBILE's penalty needs, of its own or by common noise, beside its authors' ten.

    python benchmarks/learning/value_draws.py runs/benchmark/offline-hopper-mobile/seed0 mbrl/hopper-v5/medium-replay-v0

Takes model and critics of a trained run with an ensemble, whichever penalty it had, and fresh rollouts of 5 steps. Of each
number of draws `results/value-draws.csv` says how alike it ranks 2,000 imagined rows as ten other draws of the authors' kind
and as TRUTH does (Spearman's, the mean of REPEATS), its mean over the rows beside TRUTH's (few draws count the noise that
members predict as their disagreement), and the processor time of a batch of 256 rows beside that of ten.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import process_time

import torch

sys.path.insert(0, str(Path(__file__).parent))  # the scripts beside this one
import run as learning

from mbrl import load
from mbrl.analysis.correlations import spearman
from mbrl.data import Transitions, make_generator
from mbrl.envs import OfflineData
from mbrl.planners import OfflineDyna, PolicySample
from mbrl.planners.rollouts.imagination import Imagination
from mbrl.uncertainty import Sample, ValueSpread

WAYS = [ValueSpread(draws, common_noise=common) for common in (False, True) for draws in (1, 2, 3, 5, 10)]
TEN, TRUTH = ValueSpread(10), ValueSpread(200, common_noise=True)
ROWS, BATCH, REPEATS, TIMED = 2000, 256, 5, 20
FILE = learning.RESULTS / "value-draws.csv"


@torch.no_grad()
def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("dataset", help="what the run learned from")
    given = parser.parse_args()
    torch.set_num_threads(1)
    planner, recorded = load(given.run), OfflineData(given.dataset).transitions
    assert isinstance(planner, OfflineDyna) and planner.dynamics is not None, "expected a run of OfflineDyna with a model"
    model, noise, imagined = planner.dynamics, make_generator("cpu", 0), list[Transitions]()
    starts = recorded.select(torch.randint(len(recorded), (ROWS,), generator=noise))
    rolls = Imagination(model, planner.learner.policy, PolicySample(), (), 0, ROWS, drop=True, value=planner.learner)
    rolls.run(starts, 5, 0, imagined.append)
    every = Transitions.cat(imagined)
    rows = every.select(torch.randperm(len(every), generator=noise)[:ROWS])
    said = model.predict_rows(rows)
    sample = Sample(rows.next_obs, rows.reward).valued(planner.learner, model.built_task, rows.obs, rows.action)

    def spread(measure: ValueSpread) -> torch.Tensor:
        return measure(said, model.drawn_members, sample, noise)  # rows

    few = rows.select(slice(0, BATCH))
    asked = model.predict_rows(few)
    valued = Sample(few.next_obs, few.reward).valued(planner.learner, model.built_task, few.obs, few.action)
    seconds = []
    for measure in (TEN, TEN, *WAYS):  # the first time warms up
        began = process_time()
        for _ in range(TIMED):
            measure(asked, model.drawn_members, valued, noise)
        seconds.append(process_time() - began)
    tens, truth = [spread(TEN) for _ in range(REPEATS)], spread(TRUTH)
    lines = []
    for measure, took in zip(WAYS, seconds[2:], strict=True):
        found = [spread(measure) for _ in range(REPEATS)]
        alike = [spearman(one, other) or 0.0 for one, other in zip(found, tens, strict=True)]
        true = [spearman(one, truth) or 0.0 for one in found]
        line = {
            "run": given.run.parent.name,
            "draws": measure.samples,
            "common_noise": measure.common_noise,
            "rank_correlation_with_ten": round(sum(alike) / REPEATS, 4),
            "rank_correlation_with_many": round(sum(true) / REPEATS, 4),
            "mean_over_that_of_many": round(float(torch.stack(found).mean() / truth.mean()), 4),
            "time_over_that_of_ten": round(took / seconds[1], 3),
        }
        print(line)
        lines.append({**line, "commit": learning.commit(), "hardware": learning.hardware(), "versions": learning.versions()})
    learning.append(FILE, lines)


if __name__ == "__main__":
    main()
