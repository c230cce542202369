"""`ObsState`: the state of rollouts in a model whose state is the observation."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from mbrl.data import Generator, ModelState, RowGenerator
from mbrl.errors import UnsupportedError


@dataclass
class ObsState(ModelState):
    """Observation, noise and, under TS∞, the member that each rollout follows.

    Attributes:
        obs: `B x S`.
        generator: draws members and noise.
        member: `B` int64, or None where members are drawn anew at every step.
        particles: rows come in this many blocks, and the i-th rows of all blocks are the particles of one plan, over
            which members are drawn equally often. A tiled state has 1 again.
    """

    obs: Tensor
    generator: Generator
    member: Tensor | None = None
    particles: int = 1

    def select(self, rows: Tensor) -> ObsState:
        generator = self.generator
        if not isinstance(generator, RowGenerator):
            generator = RowGenerator(generator, self.obs.shape[0])
        member = None if self.member is None else self.member[rows]
        return ObsState(self.obs[rows], generator.select(rows), member, self.particles)

    def tile(self, n: int) -> ObsState:
        generator = self.generator.tile(n) if isinstance(self.generator, RowGenerator) else self.generator
        member = None if self.member is None else self.member.repeat(n)  # n·B
        return ObsState(self.obs.repeat(n, 1), generator, member)  # n·B x S

    def fork(self, generator: Generator) -> ObsState:
        return ObsState(self.obs, generator, self.member, self.particles)

    def moved(self, obs: Tensor) -> ObsState:
        return replace(self, obs=obs)

    def replaced(self, rows: Tensor, other: ModelState) -> ObsState:
        if not isinstance(other, ObsState) or (self.member is None) != (other.member is None):
            raise UnsupportedError(
                f"ObsState.replaced: expected a state started with the same follow, got a {type(other).__name__}."
            )
        member = self.member
        if member is not None and other.member is not None:
            member = member.index_copy(0, rows, other.member)
        return replace(self, obs=self.obs.index_copy(0, rows, other.obs), member=member)
