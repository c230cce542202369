"""`open_loop_error`: how far a model's rollouts are from what really happened, against the number of steps."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mbrl.analysis.forecasts.linear_baseline import LinearBaseline
from mbrl.analysis.forecasts.nan_statistics import quantiles, root_mean_square
from mbrl.analysis.forecasts.normalised_errors import dimension_names, left_out, scale_of, total_of, within_rounding
from mbrl.analysis.forecasts.not_finite import NotFinite
from mbrl.analysis.forecasts.particle_rollouts import particle_rollouts
from mbrl.analysis.forecasts.windows import check_episodes, place_windows
from mbrl.analysis.model_error.open_loop_result import LINEAR, MEAN, NO_CHANGE, SINGLE, ErrorCurve, OpenLoopError
from mbrl.analysis.progress import Progress
from mbrl.arguments import check_argument, check_whole
from mbrl.data import Transitions
from mbrl.models import DynamicsModel, Exact

_GROWN = 1e-2  # standard deviations: more than that is not rounding any more, whatever it came from


@torch.no_grad()
def open_loop_error(
    model: DynamicsModel,
    episodes: list[Transitions],
    *,
    generator: torch.Generator,
    horizon: int = 50,
    most: int = 500,
    particles: int = 10,
    baseline_rows: Transitions | None = None,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> OpenLoopError:
    """Rolls the model out on recorded actions, from the first state of real windows, and compares each step.

    Each particle keeps its member throughout. The mean of a window's particles is the forecast with the smaller squared
    error; a single particle, the first of each window, is what a planner's rollout is. A window's error in all dims is the
    root mean square of the dims' errors, each in units of the observation's standard deviation in `episodes`: at 1 a
    forecast is as far off as a typical state is from the average one.

    Args:
        model: built and fitted.
        episodes: real ones, from `split_episodes`; windows never cross their ends.
        generator: draws windows, members and noise.
        horizon: `H` steps; longer windows fit into fewer episodes.
        most: windows at most, drawn uniformly; more narrows what chance does to the bands, and costs in proportion.
        particles: `P` rollouts of a window, 1 for an exact model; more makes their mean steadier, and costs in proportion.
        baseline_rows: what the linear baseline is fitted to; None takes the rows of `episodes`, which favours it.
        names: of the observation's dims.
        progress: told a sentence now and then.

    Raises:
        DataError: if no episode is as long as the horizon, or there are numbers that aren't finite in them.
        ConfigError: for a number out of range.
    """
    check_argument("open_loop_error(model=…)", model, DynamicsModel)
    for argument, given in (("horizon", horizon), ("most", most), ("particles", particles)):
        check_whole(f"open_loop_error({argument}=…)", given, 1)
    check_episodes("open_loop_error", episodes)
    found = place_windows(episodes, horizon, most, generator)
    rows = Transitions.cat(episodes)
    dimensions = dimension_names("open_loop_error", names, rows.obs.shape[-1])
    scale = scale_of(rows.obs, rows.obs)
    notes = left_out(scale, dimensions, "the observation")
    if found.places > most:
        notes.append(f"{most} windows were drawn from {found.places}.")
    if isinstance(model, Exact):
        particles = 1
    if baseline_rows is None:
        notes.append(
            "The linear baseline was fitted to the same rows that it is judged by, which favours it beside a model that "
            "was fitted to others."
        )
    real = found.rows.next_obs.double().cpu()  # B x H x S
    off_mean, off_single = torch.empty_like(real), torch.empty_like(real)
    bad = NotFinite("rollouts")
    early = 0
    really_over = found.rows.terminated.cpu()  # B x H

    def report(done: int) -> None:
        if progress is not None:
            progress(f"open-loop error: {done} of {len(found)} windows of {horizon} steps")

    for part, obs, ended, behind in particle_rollouts(model, found, particles, generator, report):
        bad.look(obs, found.episode[part], found.first[part], behind)
        off_mean[part] = obs.mean(0) - real[part]
        off_single[part] = obs[0] - real[part]
        early += int((ended & ~really_over[part]).any(-1).sum())
    first = found.rows.obs[:, 0]  # B x S
    linear = LinearBaseline(rows if baseline_rows is None else baseline_rows).rollout(first, found.rows.action)
    forecasts = {
        MEAN: off_mean,
        SINGLE: off_single,
        NO_CHANGE: first.double().cpu()[:, None] - real,
        LINEAR: linear - real,
    }
    curves = {predictor: _curve(off.abs_(), scale) for predictor, off in forecasts.items()}
    notes += bad.notes(dimensions)
    rounding = not bad.count and within_rounding(off_single[:, 0], found.rows.obs)
    exact = rounding and curves[MEAN].largest <= _GROWN
    if exact:
        notes.append(
            f"Every error is zero to rounding: the largest in {horizon} steps is {curves[MEAN].largest:.1g} standard "
            "deviations."
        )
    elif rounding:
        notes.append(
            f"The first step is exact to rounding, and rounding grows to {curves[MEAN].largest:.1g} standard deviations in "
            f"{horizon} steps."
        )
    return OpenLoopError(
        curves=curves,
        dimensions=dimensions,
        scale=scale,
        windows=len(found),
        particles=particles,
        terminated_early=early / (particles * len(found)),
        not_finite=bad.count,
        exact=exact,
        notes=tuple(notes),
        halted=bad.halted,
        linear_rows=len(rows) / (real.shape[-1] + rows.action.shape[-1] + 1) if baseline_rows is None else None,
    )


def _curve(error: Tensor, scale: Tensor) -> ErrorCurve:
    """Statistics of absolute errors `B x H x S` over the windows."""
    error = torch.where(error.isfinite(), error, torch.nan)
    total = total_of(error, scale)  # B x H
    both = torch.cat((error, total.unsqueeze(-1)), -1)  # B x H x (S+1)
    known = ~total.isnan()
    largest = float(total[known].max()) if bool(known.any()) else float("nan")
    return ErrorCurve(root_mean_square(both), quantiles(both), (~both.isnan()).sum(0), largest)
