"""Times what constraints, value-aware losses and the robust critic term add, in ratios of one run.

    python -m benchmarks.speed.value_aware --out benchmarks/speed/results/mine-value-aware.json     # about three minutes

Sizes are Hopper-v5's, as in `cases.py`. A refit is six epochs over 10,000 rows, which is short: what is computed once per
fit weighs more in it than in most.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from time import process_time
from typing import Any

import torch

from benchmarks.speed.cases import BATCH, HIDDEN, MEMBERS, random_rows, sac, task
from benchmarks.speed.command_line import asked, write_figures
from benchmarks.speed.rounds import Case, measure, ratio
from mbrl.data import Task, make_generator
from mbrl.models import GaussianEnsemble, SquaredError, VaGraM
from mbrl.networks import Orthogonal, SpectralClip
from mbrl.policies import BoundCriticTerm, RobustValue

PAIRS = {  # case: what it is compared with
    "update, clipped": "update",
    "update, orthogonal": "update",
    "inference, clipped": "inference",
    "refit, VaGraM": "refit, squared error",
    "SAC update, robust": "SAC update",
}


def model(known: Task, **options: Any) -> GaussianEnsemble:
    """MBPO's ensemble, deterministic, with statistics of made-up rows."""
    made = GaussianEnsemble(members=MEMBERS, hidden=HIDDEN, deterministic=True, **options)
    made.build(known, 0)
    made.make_optimizers()
    return made


def updates(known: Task, name: str, **options: Any) -> Case:
    """One update of all members, its batch gathered as a fit does."""
    made = model(known, **options)
    run = made.begin_fit(random_rows(known, 20_000, torch.device("cpu")), make_generator("cpu", "split"))
    batches = (batch for _ in itertools.count() for batch in run.epoch() if batch.obs.shape[-2] == BATCH)
    return Case(name, "updates", lambda: made.update(next(batches)))


def inference(known: Task, name: str, **options: Any) -> Case:
    """Predictions of all members for 2,000 rows."""
    made, rows = model(known, **options), random_rows(known, 2000, torch.device("cpu"))

    @torch.no_grad()
    def predict() -> None:
        made.predict(rows.obs, rows.action)

    return Case(name, "rows", predict, len(rows))


def refit(known: Task, name: str, loss: SquaredError | VaGraM) -> Case:
    """A fit of six epochs, with the values of SAC's four critics where they are asked for."""
    made, learner = model(known, loss=loss, max_epochs=6, patience=100), sac(known, torch.device("cpu"))
    rows = random_rows(known, 10_000, torch.device("cpu"))
    return Case(name, "fits", lambda: made.refit(rows, make_generator("cpu", "fit"), learner))


def learning(known: Task, name: str, term: RobustValue | None) -> Case:
    """One update of SAC from a batch of 256, with the term or without."""
    learner, batch = sac(known, torch.device("cpu")), random_rows(known, BATCH, torch.device("cpu"))
    noise, terms = make_generator("cpu", "noise"), []
    if term is not None:
        term.fitted(None, batch)
        terms.append(BoundCriticTerm(term, slice(0, 0), make_generator("cpu", "term"), lambda metrics: None))
    return Case(name, "updates", lambda: learner.update(batch, noise, terms))


def main() -> None:
    """Prints the ratios of time, and writes them."""
    out, rounds = asked(__doc__)
    known = task()
    wide: dict[str, Any] = {"activation": "groupsort", "constraint": Orthogonal(4.0)}
    groups: list[Callable[[], list[Case]]] = [
        lambda: [
            updates(known, "update"),
            updates(known, "update, clipped", constraint=SpectralClip()),
            updates(known, "update, orthogonal", **wide),
        ],
        lambda: [inference(known, "inference"), inference(known, "inference, clipped", constraint=SpectralClip(4.0))],
        lambda: [refit(known, "refit, squared error", SquaredError()), refit(known, "refit, VaGraM", VaGraM())],
        lambda: [learning(known, "SAC update", None), learning(known, "SAC update, robust", RobustValue(0.1))],
    ]
    cases: dict[str, Case] = {}
    for group in groups:
        made = group()
        measure(made, rounds, 0.5, torch.device("cpu"), process_time)
        cases |= {case.name: case for case in made}
    found = {name: round(1 / ratio(cases[name], cases[plain]), 3) for name, plain in PAIRS.items()}
    for name, times in found.items():
        print(f"{name:24} {1e3 / cases[name].rate:10.3f} ms, {times:.3f} times {PAIRS[name]}")
    write_figures(out, {"times": found, "seconds": {name: case.seconds for name, case in cases.items()}})


if __name__ == "__main__":
    main()
