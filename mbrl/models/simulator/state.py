"""`SimState`: where a batch of rollouts stands in the simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mbrl.data import Generator, ModelState


@dataclass
class SimState(ModelState):
    """Observations and the simulator's own state.

    Attributes:
        obs: `B x S`.
        generator: carried for the contract's sake: the simulator draws nothing.
        physics: `B x P` float64 on the CPU, MuJoCo's full physics state.
        rest: `B x (W − P)` float64 on the CPU, what else makes the next step exact (`mbrl.envs.SimulatorState`), or None
            where a batched step has not given it back.
    """

    obs: Tensor
    generator: Generator
    physics: Tensor
    rest: Tensor | None

    def select(self, rows: Tensor) -> SimState:
        here = rows.to("cpu")
        rest = None if self.rest is None else self.rest[here]
        return SimState(self.obs[rows], self.generator, self.physics[here], rest)

    def tile(self, n: int) -> SimState:
        rest = None if self.rest is None else self.rest.repeat(n, 1)
        return SimState(self.obs.repeat(n, 1), self.generator, self.physics.repeat(n, 1), rest)

    def fork(self, generator: Generator) -> SimState:
        return replace(self, generator=generator)
