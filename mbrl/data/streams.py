"""Random streams: one named generator for each thing that draws.

Whatever draws takes its generator from here, so that planning never moves the exploration noise, evaluation never moves
training, and a checkpoint keeps them all.

Chua2018: "Deep reinforcement learning in a handful of trials using probabilistic dynamics models" (PETS, plans' particles).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from mbrl.errors import ConfigError, ShapeError


def derived_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts: equal parts give equal seeds on every machine and Python."""
    digest = hashlib.sha256("/".join(str(part) for part in parts).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def make_generator(device: torch.device | str, *parts: object) -> torch.Generator:
    """A generator on `device`, seeded from `parts` (see `derived_seed`)."""
    return torch.Generator(device=device).manual_seed(derived_seed(*parts))


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """`generator`, or, if it is on another device, one that is seeded from it."""
    if generator.device.type == device.type:
        return generator
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return make_generator(device, int(seed))


@contextmanager
def float32_by_default() -> Iterator[None]:
    """Has tensors that torch or Lightning make be float32 inside this block, whatever default the user set."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)


@contextmanager
def default_draws(*parts: object) -> Iterator[None]:
    """Has torch's own default draws on the CPU, such as the initial weights of `nn.Linear`, follow a seed from `parts`.

    Torch's layers take no generator. Inside this block they draw the same numbers each time, in float32 whatever the default
    dtype, and afterwards the global generator and the default stand where they stood.
    """
    before = torch.get_rng_state()
    torch.set_rng_state(make_generator("cpu", *parts).get_state())
    try:
        with float32_by_default():
            yield
    finally:
        torch.set_rng_state(before)


def _bits(seed: int, device: torch.device) -> int:
    """What a generator on `device` takes of a seed."""
    return seed % 2**32 if device.type == "cpu" else seed


class Streams:
    """The named generators of one run, each seeded from (seed, name) when first asked for.

    No two draw the same: torch's generator on the CPU takes 32 bits of a seed, and a name whose bits another stream already
    has is seeded anew. With 20 names that happens in one of 2e7 runs. Generators that are made for one decision, chunk of
    rollouts or episode aren't compared: of n of them, n²/2³³ pairs may draw the same, at moments that have nothing to do
    with each other.

    Args:
        seed: the run's seed.
        device: where the generators draw.

    Raises:
        ConfigError: for a name with a slash, which could stand for the parts of another seed.
    """

    def __init__(self, seed: int, device: torch.device | str = "cpu") -> None:
        self.seed = seed
        self.device = torch.device(device)
        self._generators: dict[str, torch.Generator] = {}

    def __getitem__(self, name: str) -> torch.Generator:
        if "/" in name:
            raise ConfigError(f"Streams: expected a name without '/', which joins a seed's parts, got {name!r}; rename it.")
        if name not in self._generators:
            taken = {_bits(generator.initial_seed(), self.device) for generator in self._generators.values()}
            parts: tuple[object, ...] = (self.seed, name)
            while _bits(derived_seed(*parts), self.device) in taken:
                parts = (*parts, "again")
            self._generators[name] = make_generator(self.device, *parts)
        return self._generators[name]

    def state_dict(self) -> dict[str, Any]:
        """The state of every stream that was used, as byte tensors."""
        return {name: generator.get_state() for name, generator in self._generators.items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues every stream where `state` left it; streams not in it start from their seed."""
        self._generators = {}
        for name, value in state.items():
            self[name].set_state(value.cpu())


class InterleavedGenerator:
    """One generator for each of `N` environments whose rows are laid out as blocks: row r draws from generator r mod N.

    So what an environment's rows draw doesn't depend on which other environments stand beside it.

    Args:
        generators: `N`, in the environments' order.
    """

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = tuple(generators)

    def share(self, rows: int) -> int:
        """The number of `rows` that belong to each environment.

        Raises:
            ShapeError: if they aren't whole blocks.
        """
        number = len(self.generators)
        if rows % number:
            raise ShapeError(
                f"InterleavedGenerator: expected whole blocks of {number} environments, got {rows} rows; use RowGenerator."
            )
        return rows // number


class RowGenerator:
    """A generator for the rows still alive of a batch of fixed width.

    Each draw covers the whole width and hands out the living rows' share, so dropping finished rows (CPU) and masking
    them (CUDA) leave every other row's numbers as they were.

    Args:
        generator: the generator that draws.
        width: rows of the batch before any was dropped.
        position: `B` index of each living row in the full batch; None while all live.
    """

    def __init__(
        self, generator: torch.Generator | InterleavedGenerator, width: int, position: Tensor | None = None
    ) -> None:
        self.generator = generator
        self.width = width
        self.position = position

    def select(self, rows: Tensor) -> RowGenerator:
        """The same generator for a part of the living rows (mask or index of distinct rows, `B`; copies are `tile`'s)."""
        if self.position is None:
            position = rows.nonzero()[:, 0] if rows.dtype is torch.bool else rows
        else:
            position = self.position[rows]
        return RowGenerator(self.generator, self.width, position)

    def tile(self, n: int) -> RowGenerator:
        """A generator for `n` blocks of the living rows, each row of each block with numbers of its own."""
        if self.position is None:
            return RowGenerator(self.generator, n * self.width)
        starts = torch.arange(n, device=self.position.device)[:, None] * self.width  # n x 1
        return RowGenerator(self.generator, n * self.width, (starts + self.position).flatten())  # n·B

    def repeat(self, n: int, device: torch.device) -> RowGenerator:
        """A generator for `n` blocks of the living rows, whose i-th rows share their numbers; `device` is the draws'."""
        position = torch.arange(self.width, device=device) if self.position is None else self.position
        return RowGenerator(self.generator, self.width, position.repeat(n))  # n·B


Generator = torch.Generator | RowGenerator | InterleavedGenerator


def draw_normal(generator: Generator, rows: int, size: int, like: Tensor) -> Tensor:
    """Standard normal `rows x size`, with the dtype and device of `like`."""
    if isinstance(generator, RowGenerator):
        full = draw_normal(generator.generator, generator.width, size, like)  # width x size
        return full if generator.position is None else full[generator.position]  # rows x size
    if isinstance(generator, InterleavedGenerator):
        share = generator.share(rows)
        if share == rows:
            return draw_normal(generator.generators[0], rows, size, like)
        return torch.stack([draw_normal(one, share, size, like) for one in generator.generators], 1).flatten(0, 1)
    return torch.randn(rows, size, generator=generator, dtype=like.dtype, device=like.device)


def draw_balanced(generator: Generator, rows: int, choices: Tensor, particles: int = 1) -> Tensor:
    """One of `choices` (`e`) for each row, every choice equally often: `rows`.

    Each row's choice is uniform; the counts differ by at most one over the full width, and which choices get the odd
    rows is drawn too. Equal counts are what lets an ensemble run as one batched product.

    Args:
        generator: the generator that draws.
        rows: number of rows.
        choices: `e` int64.
        particles: rows come in this many blocks, and the i-th rows of all blocks belong together: among these, too, the
            choices' counts differ by at most one (the particles of one plan [Chua2018]).
    """
    if isinstance(generator, RowGenerator):
        full = draw_balanced(generator.generator, generator.width, choices, particles)  # width
        return full if generator.position is None else full[generator.position]  # rows
    if isinstance(generator, InterleavedGenerator):
        share = generator.share(rows)
        parts = [draw_balanced(one, share, choices, particles) for one in generator.generators]
        return torch.stack(parts, 1).flatten()
    number, groups, device = choices.shape[0], rows // particles, choices.device
    order = choices[torch.randperm(number, generator=generator, device=device)]  # e
    first = torch.randperm(groups, generator=generator, device=device)  # groups
    if particles == 1:
        return order[first % number]
    drawn = torch.rand(particles, groups, generator=generator, device=device, dtype=torch.float32)
    rank = drawn.argsort(0)  # particles x groups
    return order[(first * particles + rank) % number].flatten()
