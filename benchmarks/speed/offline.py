"""Times what methods of offline learning add to an update, and ranks MOBILE's penalties of fewer draws.

    python -m benchmarks.speed.offline --out benchmarks/speed/results/mine-offline.json     # about three minutes

Sizes are Hopper-v5's, as in `cases.py`. Ratios are of one run. MOBILE's penalties are those of a model fitted to 5,000
random steps for ten epochs, with critics after 300 updates on these, at observations of the data and actions of the policy.
"""

from __future__ import annotations

import tempfile
from time import process_time
from typing import Any

import torch
from torch import Tensor

from benchmarks.speed.cases import BATCH, ENV_ID, HIDDEN, MEMBERS, MODEL_ROWS, REAL_ROWS, random_rows, task
from benchmarks.speed.command_line import asked, write_figures
from benchmarks.speed.rounds import Case, measure, ratio
from mbrl.analysis.correlations import spearman
from mbrl.data import Task, Transitions, make_generator
from mbrl.envs import OfflineData, collect, make_task
from mbrl.models import GaussianEnsemble
from mbrl.planners import BatchPenalty
from mbrl.planners.rollouts.hooks import BatchContext
from mbrl.policies import SAC, BoundCriticTerm, Diversity
from mbrl.uncertainty import Sample, ValueSpread

DRAWS = (10, 5, 2, 1)
MEASURED = 2000  # rows whose penalties are ranked
PLAIN, DIVERSE, UPDATE = "update, 10 critics", "update, 10 diverse critics", "update"


def sac(known: Task, **options: Any) -> SAC:
    """A learner of two layers of 256."""
    learner = SAC(hidden=[256, 256], **options)
    learner.build(known, 0)
    learner.make_optimizers()
    return learner


def many_critics(known: Task, name: str, term: Diversity | None) -> Case:
    """One update of ten critics, with the term or without."""
    learner, batch = sac(known, critics=10), random_rows(known, BATCH, torch.device("cpu"))
    noise, terms = make_generator("cpu", "noise"), []
    if term is not None:
        terms.append(BoundCriticTerm(term, slice(0, 0), make_generator("cpu", "term"), lambda metrics: None))
    return Case(name, "updates", lambda: learner.update(batch, noise, terms))


def fitted(steps: int = 5000, epochs: int = 10, updates: int = 300) -> tuple[GaussianEnsemble, SAC, Transitions]:
    """A model and a learner of the dataset, and its rows."""
    with tempfile.TemporaryDirectory() as folder:
        data = OfflineData(collect(make_task(ENV_ID), f"{folder}/hopper.npz", steps=steps))
        rows, known = data.transitions, data.task
    model = GaussianEnsemble(members=MEMBERS, hidden=HIDDEN, max_epochs=epochs)
    model.build(known, 0)
    model.make_optimizers()
    model.refit(rows, make_generator("cpu", "fit"))
    learner, noise = sac(known, backup_entropy=False), make_generator("cpu", "noise")
    for _ in range(updates):
        learner.update(rows.select(torch.randint(len(rows), (BATCH,), generator=noise)), noise)
    return model, learner, rows


def penalised(model: GaussianEnsemble, learner: SAC, rows: Transitions, draws: int | None) -> Case:
    """One update whose batch has 244 model rows, with MOBILE's penalty of so many draws, or without."""
    batch, noise = rows.select(torch.arange(BATCH)), make_generator("cpu", "noise")
    hook = None if draws is None else BatchPenalty(ValueSpread(samples=draws), weight=1.0)
    model_rows = slice(REAL_ROWS, REAL_ROWS + MODEL_ROWS)
    context = BatchContext(learner, model, make_generator("cpu", "hook"), model_rows=model_rows, report=lambda metrics: None)
    name = UPDATE if draws is None else f"update, penalty of {draws} draws"
    return Case(name, "updates", lambda: learner.update(batch if hook is None else hook(batch, context), noise))


@torch.no_grad()
def penalties(model: GaussianEnsemble, learner: SAC, rows: Transitions, draws: int, seed: int) -> Tensor:
    """MOBILE's penalty of so many draws at each row, `B`."""
    sample = Sample(rows.next_obs, rows.reward).valued(learner, model.built_task, rows.obs, rows.action)
    generator = make_generator("cpu", "penalty", draws, seed)
    return ValueSpread(samples=draws)(model.predict_rows(rows), model.drawn_members, sample, generator)


def main() -> None:
    """Prints ratios, rates and rank correlations, and writes them."""
    out, rounds = asked(__doc__)
    known = task()
    critics = [many_critics(known, PLAIN, None), many_critics(known, DIVERSE, Diversity(1.0))]
    measure(critics, rounds, 0.5, torch.device("cpu"), process_time)
    model, learner, rows = fitted()
    seen = rows.select(torch.randperm(len(rows), generator=make_generator("cpu", "seen"))[:MEASURED])
    with torch.no_grad():
        seen.action = learner.policy.sample(seen.obs, make_generator("cpu", "actions"))[0]
    ten = penalties(model, learner, seen, 10, 0)
    ranks = {draws: spearman(ten, penalties(model, learner, seen, draws, 1)) for draws in DRAWS}
    mobile = [penalised(model, learner, rows, draws) for draws in (None, *DRAWS)]
    measure(mobile, rounds, 0.5, torch.device("cpu"), process_time)
    times = {case.name: round(1 / ratio(case, group[0]), 3) for group in (critics, mobile) for case in group[1:]}
    cases = [*critics, *mobile]
    for case in cases:
        print(f"{case.name:28} {case.rate:8.1f} a second, {times.get(case.name, 1):.2f} times the plain one")
    for draws, rank in ranks.items():
        print(f"rank correlation of {draws} draws with ten others: {rank:.3f}")
    seconds = {case.name: case.seconds for case in cases}
    write_figures(out, {"times": times, "rank_correlation_with_ten_others": ranks, "seconds": seconds})


if __name__ == "__main__":
    main()
