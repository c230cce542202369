"""Three ways to run what is hot: as it is, compiled, and as a CUDA graph; and how often the host waits for the GPU."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from benchmarks.gpu.parity import apart
from benchmarks.gpu.section import Row, Setting
from benchmarks.speed import cases
from mbrl.data import make_generator
from mbrl.models import GaussianEnsemble
from mbrl.planners import CEM, PETS, PolicySample
from mbrl.planners.rollouts.imagination import Imagination

CALLS, SECONDS = 3, 1.0  # that are compared with the plain way, and that are timed
_ROWS = 20_000


@dataclass
class Piece:
    """Hot work on fixed inputs.

    Attributes:
        work: does it once, and returns tensors.
        module: whose weights it moves.
        optimizers: that move them.
        generators: that it draws from.
        returned: what the last call returned.
    """

    work: Callable[[], Any]
    module: nn.Module
    optimizers: Sequence[Optimizer] = ()
    generators: Sequence[torch.Generator] = ()
    returned: Any = field(default=None, init=False)

    def __call__(self) -> None:
        """Calls it once."""
        self.returned = self.work()

    def outcome(self) -> dict[str, Tensor]:
        """Copies of weights and of what the last call returned."""
        found = {name: parameter.detach().clone() for name, parameter in self.module.named_parameters()}
        return {**found, **{f"returned {name}": value.detach().clone() for name, value in self.returned.items()}}


def sac_update(setting: Setting) -> Piece:
    """One update of SAC on a batch of 256."""
    known = cases.task()
    learner = cases.sac(known, setting.device)
    batch, noise = cases.random_rows(known, cases.BATCH, setting.device), make_generator(setting.device, "noise")
    return Piece(lambda: learner.update(batch, noise), learner, learner._optimizers or (), [noise])


def _ensemble(setting: Setting) -> GaussianEnsemble:
    model = GaussianEnsemble(members=cases.MEMBERS, hidden=cases.HIDDEN)
    model.build(cases.task(), 0)
    model.to(setting.device)
    model.make_optimizers()
    return model


def ensemble_update(setting: Setting) -> Piece:
    """One update of seven members, 256 rows each."""
    model = _ensemble(setting)
    run = model.begin_fit(cases.random_rows(cases.task(), 2000, setting.device), make_generator(setting.device, "split"))
    batch = next(run.epoch())
    return Piece(lambda: model.update(batch), model, model.make_optimizers())


def prediction(setting: Setting) -> Piece:
    """What all members say of many rows."""
    model, rows = _ensemble(setting), cases.random_rows(cases.task(), _ROWS if setting.measures else 100, setting.device)

    @torch.no_grad()
    def work() -> dict[str, Tensor]:
        said = model.predict(rows.obs, rows.action)
        return {"mean": said.mean, "var": said.var}

    return Piece(work, model)


PIECES: dict[str, Callable[[Setting], Piece]] = {
    "SAC update": sac_update,
    "ensemble update": ensemble_update,
    "prediction of 20,000 rows": prediction,
}


def paths(setting: Setting) -> Iterator[Row]:
    """Calls a second of each piece in each way, whether it does the same, and the host's waits."""
    for name, make in PIECES.items():
        for way in WAYS:
            measured = partial(_measured, name, make, setting, way)
            yield setting.row(f"{name}, {way}", "calls/s", partial(make, setting), measured)
    for name, wait in WAITS.items():
        yield setting.row(f"host waits, {name}", "waits per call", partial(wait, setting), partial(_waited, name))


def _waited(name: str, call: Callable[[], object]) -> Row:
    return Row(f"host waits, {name}", float(waits(call)), "waits per call")


def _measured(name: str, make: Callable[[Setting], Piece], setting: Setting, way: str, piece: Piece) -> Row:
    """How fast a way is; one that does something else than the plain one says so, and gives no rate."""
    what = f"{name}, {way}"
    try:
        call = WAYS[way](piece)
        for _ in range(CALLS):
            call()
    except Exception as error:  # a way that the library doesn't offer may not work
        return Row(what, f"can't: {type(error).__name__}: {' '.join(str(error).split())[:160]}")
    plain = make(setting)
    for _ in range(CALLS):
        plain()
    differences = apart(piece.outcome(), plain.outcome())
    worst = max(differences, key=lambda each: differences[each])
    if differences[worst] > 1e-2:
        return Row(what, f"does something else: {worst} differs by {differences[worst]:.2g}")
    waited = waits(call)
    return Row(what, rate(call, setting.device), f"calls a second, {waited} waits of the host in a call")


def rate(call: Callable[[], object], device: torch.device) -> float:
    """Calls a second."""
    torch.cuda.synchronize(device)
    began = perf_counter()
    for number in itertools.count(1):
        call()
        if number % 10 == 0:
            torch.cuda.synchronize(device)
            if perf_counter() - began > SECONDS:
                return number / (perf_counter() - began)
    raise AssertionError("unreachable")


# the ways ------------------------------------------------------------------------------------------------------------


def _compiled(piece: Piece) -> Callable[[], object]:
    piece.work = torch.compile(piece.work)
    return piece


def _graph(piece: Piece) -> Callable[[], object]:
    """Captures one call; weights, optimisers and generators then stand where they stood before it."""
    before = [parameter.detach().clone() for parameter in piece.module.parameters()]
    for optimizer in piece.optimizers:
        for group in optimizer.param_groups:
            group["capturable"] = True
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(CALLS):
            piece()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    for generator in piece.generators:
        graph.register_generator_state(generator)
    with torch.cuda.graph(graph):
        piece()
    with torch.no_grad():
        for parameter, value in zip(piece.module.parameters(), before, strict=True):
            parameter.copy_(value)
        for optimizer in piece.optimizers:
            for state in optimizer.state.values():
                for tensor in state.values():
                    tensor.zero_()
    for generator in piece.generators:
        generator.manual_seed(generator.initial_seed())
    return graph.replay


WAYS: dict[str, Callable[[Piece], Callable[[], object]]] = {
    "as it is": lambda piece: piece,
    "compiled": _compiled,
    "CUDA graph": _graph,
}


# waits ---------------------------------------------------------------------------------------------------------------


@contextmanager
def _telling() -> Iterator[list[warnings.WarningMessage]]:
    """Has CUDA warn of each operation for which the host waits."""
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as told:
            warnings.simplefilter("always")
            yield told
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waits(call: Callable[[], object]) -> int:
    """How often the host waits for the GPU in one call, once it has run before."""
    call()
    with _telling() as told:
        call()
    return sum("synchronizing CUDA operation" in str(one.message) for one in told)


def _rollouts(setting: Setting) -> Callable[[], object]:
    known = cases.task()
    model, learner = _ensemble(setting), cases.sac(known, setting.device)
    starts = cases.random_rows(known, 8000 if setting.measures else 50, setting.device)
    imagination = Imagination(model, learner.policy, PolicySample(), [], 0, 8000, drop=False)
    return lambda: imagination.run(starts, 5, 0, lambda rows: None)


def _decision(setting: Setting) -> Callable[[], object]:
    sizes = {"candidates": 500, "iterations": 5} if setting.measures else {"candidates": 10, "iterations": 1}
    planner = PETS(_ensemble(setting), CEM(elites=5, epsilon=0.0, **sizes), horizon=15, particles=5)
    planner.build(cases.task(), 0)
    planner.to(setting.device)
    obs = cases.random_rows(cases.task(), 1, setting.device).obs
    memory = planner.memory(1, make_generator(setting.device, "acting"))
    return lambda: planner.plan(obs, memory, explore=True)


def _epoch(setting: Setting) -> Callable[[], object]:
    model = _ensemble(setting)
    rows, draws = cases.random_rows(cases.task(), 2000, setting.device), make_generator(setting.device, "split")
    run = model.begin_fit(rows, draws)

    def epoch() -> None:
        for batch in run.epoch():
            model.update(batch)

    return epoch


WAITS: dict[str, Callable[[Setting], Callable[[], object]]] = {
    "epoch of updates": _epoch,
    "8,000 rollouts of 5 steps": _rollouts,
    "decision of PETS": _decision,
    "Dyna tick, 20 updates": lambda setting: (
        cases.dyna_tick(cases.task(), setting.device, 20 if setting.measures else 1).run
    ),
}
