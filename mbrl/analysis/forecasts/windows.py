"""What a model forecasts for real windows, and the scales and statistics with which its errors are told."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from mbrl.analysis.episodes import windows
from mbrl.data import Transitions, make_generator
from mbrl.errors import ConfigError, DataError
from mbrl.models import DynamicsModel

Progress = Callable[[str], None]

QUANTILES = (0.1, 0.5, 0.9)  # of every band
ALL = "all (normalised)"  # in place of a dimension's name

_ROWS = 4096  # rollouts at once
_NUMBERS = 1 << 22  # numbers that the rollouts of one chunk may hold


# real data -----------------------------------------------------------------------------------------------------------


@dataclass
class Windows:
    """Stretches of real episodes.

    Attributes:
        rows: `B x H` transitions.
        episode: `B` int64, the number in the list that each is from.
        first: `B` int64, its first step in there.
        places: how many different ones there are.
    """

    rows: Transitions
    episode: Tensor
    first: Tensor
    places: int

    def __len__(self) -> int:
        return len(self.rows)


def place_windows(episodes: list[Transitions], horizon: int, most: int, generator: torch.Generator) -> Windows:
    """`windows`, and where they were.

    Args:
        episodes, horizon, most, generator: as of `windows`.

    Raises:
        DataError: if no episode is as long as the horizon.
    """
    rows = windows(numbered(episodes), horizon, most, generator)
    place = rows.extras.pop(PLACE)[:, 0].cpu()  # B x 2
    places = sum(max(0, len(episode) - horizon + 1) for episode in episodes)
    return Windows(rows, place[:, 0], place[:, 1], places)


PLACE = "place in the episodes"


def numbered(episodes: list[Transitions]) -> list[Transitions]:
    """Episodes whose rows tell where they are: `extras[PLACE]`, `T x 2` int64, the episode's number and the step in it."""
    marked = []
    for number, episode in enumerate(episodes):
        step = torch.arange(len(episode))
        place = torch.stack([torch.full_like(step, number), step], -1).to(episode.obs.device)
        marked.append(replace(episode, extras={**episode.extras, PLACE: place}))
    return marked


def check_episodes(who: str, episodes: list[Transitions]) -> None:
    """Refuses an empty list, and rows with numbers that aren't finite.

    Raises:
        DataError: naming the episode.
    """
    if not episodes:
        raise DataError(f"{who}: expected real episodes, got none; give rows to split_episodes.")
    for number, episode in enumerate(episodes):
        if not all(bool(part.isfinite().all()) for part in (episode.obs, episode.action, episode.next_obs)):
            raise DataError(
                f"{who}: expected finite observations and actions, got others in episode {number}; leave that episode out."
            )


def dimension_names(who: str, names: Sequence[str] | None, size: int) -> list[str]:
    """`names`, or `obs 0`, `obs 1` and so on.

    Raises:
        ConfigError: if there are more or fewer than `size`.
    """
    if names is None:
        return [f"obs {number}" for number in range(size)]
    if len(names) != size:
        raise ConfigError(
            f"{who}: expected {size} names, one a dimension of the observation, got {len(names)}; give as many, or none."
        )
    return list(names)


def scale_of(values: Tensor, obs: Tensor) -> Tensor:
    """The standard deviation of each column, `S` float64 on the CPU; 0 where it is no more than rounding of `obs`.

    Args:
        values: `B x S`, observations or their changes.
        obs: `B x S`, the observations, whose size says what rounding is.
    """
    sd = values.double().std(0, correction=0).cpu()
    return torch.where(sd > 4 * torch.finfo(obs.dtype).eps * obs.abs().amax(0).double().cpu(), sd, 0.0)


def left_out(scale: Tensor, names: Sequence[str], what: str) -> list[str]:
    """A note on the dimensions without a scale, if there are any: they can't count in a normalised total."""
    still = [name for name, size in zip(names, scale.tolist(), strict=True) if size == 0]
    if not still:
        return []
    return [f"Left out of normalised numbers, since {what} doesn't vary in these rows: {', '.join(still)}."]


def total_of(errors: Tensor, scale: Tensor) -> Tensor:
    """The root mean square over dims of errors in units of `scale`, `…`; NaN where a dim is, or where none has a scale.

    Args:
        errors: `… x S`, environment units.
        scale: `S`, 0 for a dim that doesn't count.
    """
    counted = scale > 0
    return (errors[..., counted] / scale[counted]).square().mean(-1).sqrt()


def within_rounding(error: Tensor, obs: Tensor) -> bool:
    """Whether one-step errors (`… x S`, environment units) are no more than rounding of the real `obs` (`… x S`) makes."""
    known = error.isfinite()
    if not known.any():
        return False
    return bool((error[known] <= 256 * torch.finfo(obs.dtype).eps * max(float(obs.abs().max()), 1e-30)).all())


def quantiles(values: Tensor, levels: Sequence[float] = QUANTILES) -> Tensor:
    """Quantiles over the first dim without the numbers that are NaN, linear between them: `levels x …`, NaN of nothing.

    `torch.nanquantile` does the same for up to 16 million numbers.
    """
    ordered = values.sort(0).values  # NaN last
    count = (~ordered.isnan()).sum(0)  # …
    found = []
    for level in levels:
        place = level * (count - 1).clamp_min(0).to(values.dtype)
        low = place.floor().long()
        high = torch.minimum(low + 1, (count - 1).clamp_min(0))
        below, above = (ordered.gather(0, at.unsqueeze(0))[0] for at in (low, high))
        found.append(torch.lerp(below, above, place - low))
    return torch.stack(found)


def root_mean_square(values: Tensor) -> Tensor:
    """Over the first dim, without what is NaN."""
    return values.square().nanmean(0).sqrt()


def number(value: Tensor | float) -> float | None:
    """A float, or None if it isn't finite."""
    plain = float(value)
    return plain if -float("inf") < plain < float("inf") else None


# forecasts -----------------------------------------------------------------------------------------------------------


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """`generator`, or, if it is on another device, one that is seeded from it."""
    if generator.device.type == device.type:
        return generator
    seed = torch.randint(2**62, (), generator=generator, device=generator.device)
    return make_generator(device, int(seed))


def particle_rollouts(
    model: DynamicsModel,
    found: Windows,
    particles: int,
    generator: torch.Generator,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """The model rolled out on the recorded actions from each window's first state.

    A particle keeps its member throughout (TS∞), and a window's particles ask the members equally often.

    Args:
        model: built and fitted.
        found: `B` windows of `H` steps.
        particles: `P`.
        generator: draws members and noise.
        progress: told the windows that are done.

    Yields:
        Which windows (`b` of them), the observations after each step, `P x b x H x S` float64 on the CPU, and whether the
        model took the task for ended in that step, `P x b x H` bool. Rollouts go on after that.
    """
    size, horizon = found.rows.obs.shape[-1], found.rows.obs.shape[1]
    at_once = max(1, min(_ROWS, _NUMBERS // (horizon * size)) // particles)
    generator = generator_on(model.device, generator)
    for start in range(0, len(found), at_once):
        part = slice(start, min(start + at_once, len(found)))
        yield part, *_rolled_out(model, found.rows.select(part).to(model.device), particles, generator)
        if progress is not None:
            progress(part.stop)


@torch.no_grad()
def _rolled_out(
    model: DynamicsModel, rows: Transitions, particles: int, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    state = model.start(rows.map(lambda tensor: tensor[:, 0]), generator, follow=True)
    state = model.particles(state, 1, particles, follow=True)  # P·b
    steps = model.rollout(state, rows.action.repeat(particles, 1, 1))
    obs = torch.stack([step.next_obs for step in steps], 1)  # P·b x H x S
    ended = torch.stack([step.terminated for step in steps], 1)  # P·b x H
    shape = (particles, *rows.batch_shape)
    return obs.reshape(*shape, -1).double().cpu(), ended.reshape(shape).cpu()


class NotFinite:
    """Counts forecasts that aren't finite numbers, and keeps the place of the first.

    Args:
        what: they are, in the plural.
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self.count = 0
        self.total = 0
        self._first: tuple[int, int, int] | None = None  # episode, step, dim

    def look(self, forecasts: Tensor, episode: Tensor, step: Tensor) -> None:
        """Looks at one more chunk.

        Args:
            forecasts: `m x b x H x S`, `m` members or particles.
            episode, step: `b` int64, where each begins.
        """
        bad = ~forecasts.isfinite()  # m x b x H x S
        self.total += bad.shape[0] * bad.shape[1]
        if not bad.any():
            return
        self.count += int(bad.flatten(2).any(-1).sum())
        if self._first is None:
            row, after, dim = bad.any(0).nonzero()[0].tolist()
            self._first = (int(episode[row]), int(step[row]) + after, dim)

    def notes(self, names: Sequence[str]) -> list[str]:
        """A sentence with the number and the place of the first, if there are any."""
        if self._first is None:
            return []
        episode, step, dim = self._first
        return [
            f"{self.count} of {self.total} {self.what} gave a number that isn't finite and don't count from there on, which "
            f"flatters the model; the first is {names[dim]} after step {step} of episode {episode}."
        ]
