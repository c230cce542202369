"""`SimState`: where a batch of rollouts stands in the simulator."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mbrl.data import Generator, ModelState
from mbrl.errors import UnsupportedError


@dataclass
class SimState(ModelState):
    """Observations and the simulator's own state.

    Attributes:
        obs: `B x S`.
        generator: carried for the contract's sake: the simulator draws nothing.
        physics: `B x P` float64 on the CPU, MuJoCo's full physics state.
        rest: `B x (W − P)` float64 on the CPU, what else makes the next step exact (`mbrl.envs.SimulatorState`), or None
            where nobody knows it, which the solver takes as 0: from observations, and after a batched step.
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

    def replaced(self, rows: Tensor, other: ModelState) -> SimState:
        if not isinstance(other, SimState) or self.physics.shape[1] != other.physics.shape[1]:
            raise UnsupportedError(
                f"SimState.replaced: expected a state of the same simulator, got {type(other).__name__}; start both alike."
            )
        here = rows.to("cpu")
        rest = self.rest
        if rest is not None or other.rest is not None:
            rest = _known(self, other).index_copy(0, here, _known(other, self))
        physics = self.physics.index_copy(0, here, other.physics)
        return replace(self, obs=self.obs.index_copy(0, rows, other.obs), physics=physics, rest=rest)


def _known(state: SimState, like: SimState) -> Tensor:
    """`state.rest`, or the zeros that it stands for where it is None, as wide as `like.rest`."""
    if state.rest is not None:
        return state.rest
    width = 0 if like.rest is None else like.rest.shape[1]
    return state.physics.new_zeros(len(state.physics), width)
