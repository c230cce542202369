"""`particle_rollouts`: a model's forecasts for real windows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from torch import Tensor

from mbrl.analysis.forecasts.windows import Windows
from mbrl.data import Transitions
from mbrl.data.streams import generator_on
from mbrl.models import DynamicsModel

_ROWS = 4096  # rollouts at once
_NUMBERS = 1 << 22  # numbers that the rollouts of one chunk may hold


def particle_rollouts(
    model: DynamicsModel,
    found: Windows,
    particles: int,
    generator: torch.Generator,
    progress: Callable[[int], None] | None = None,
) -> Iterator[tuple[slice, Tensor, Tensor, Tensor | None]]:
    """The model rolled out on the recorded actions from each window's first state.

    A particle keeps its member throughout (TS∞), and a window's particles ask the members equally often.

    Args:
        model: built and fitted.
        found: `B` windows of `H` steps.
        particles: `P`.
        generator: draws members and noise.
        progress: told the windows that are done.

    Yields:
        Which windows (`b` of them), the observations after each step, `P x b x H x S` float64 on the CPU, whether the
        model took the task for ended in that step, `P x b x H` bool, and which steps lie behind a halt of the model's own,
        `P x b x H` bool, or None if it halts none. Rollouts go on after the former; behind a halt there are only NaN.
    """
    size, horizon = found.rows.obs.shape[-1], found.rows.obs.shape[1]
    at_once = max(1, min(_ROWS, _NUMBERS // (horizon * size)) // particles)
    generator = generator_on(model.device, generator)
    for start in range(0, len(found), at_once):
        part = slice(start, min(start + at_once, len(found)))
        yield part, *_rolled_out(model, found.rows.select(part).to(model.device), particles, generator)
        if progress is not None:
            progress(part.stop)


@contextmanager
def stepping_without_reward(model: DynamicsModel, rows: Transitions) -> Iterator[None]:
    """Lets a model step whose reward neither the task nor the model knows, and whose steps' rewards nobody looks at.

    Args:
        model: built and fitted. One that steps in its own way knows its reward itself.
        rows: `b` or more real ones, of which one is predicted to see whether the model knows it; no draws are made.
    """
    task = model.built_task
    unknown = task.known_reward is None and type(model).step is DynamicsModel.step
    if unknown:
        one = rows.map(lambda tensor: tensor.flatten(0, len(rows.batch_shape) - 1)[:1]).to(model.device)
        with torch.no_grad():
            unknown = model.predict_rows(one).reward_mean is None
    if unknown:
        model.task = replace(task, known_reward=f"{__name__}.{no_reward.__name__}")
    try:
        yield
    finally:
        model.task = task


def no_reward(obs: Tensor, action: Tensor, next_obs: Tensor) -> Tensor:
    """The reward of a step where nobody looks at it, `B`: 0."""
    return torch.zeros_like(next_obs[..., 0])


@torch.no_grad()
def _rolled_out(
    model: DynamicsModel, rows: Transitions, particles: int, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor | None]:
    state = model.start(rows.map(lambda tensor: tensor[:, 0]), generator, follow=True)
    state = model.particles(state, 1, particles, follow=True)  # P·b
    with stepping_without_reward(model, rows):
        steps = model.rollout(state, rows.action.repeat(particles, 1, 1))
    obs = torch.stack([step.next_obs for step in steps], 1)  # P·b x H x S
    ended = torch.stack([step.terminated for step in steps], 1)  # P·b x H
    shape = (particles, *rows.batch_shape)
    obs, ended = obs.reshape(*shape, -1).double().cpu(), ended.reshape(shape).cpu()
    halts = [step.halt for step in steps if step.halt is not None]
    if not halts:
        return obs, ended, None
    halt = torch.stack(halts, 1).reshape(shape).cpu()  # P x b x H: a model that halts says so of each step
    behind = halt.cumsum(-1) - halt.long() > 0  # in an earlier step
    return torch.where(behind[..., None], torch.nan, obs), ended & ~behind, behind
