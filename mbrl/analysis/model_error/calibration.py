"""`calibration`: whether a model's forecasts are as sure as they may be.

    symbol   code         meaning
    y        real         what happened, `B x S`
    F        -            the forecast's distribution of one dim
    u        u            F(y), uniform in [0, 1] if the forecast is calibrated (Dawid1984)
    m_e, v_e mean, var    of member e, one step ahead
    P        particles    rollouts of a window, more than one step ahead

One step ahead F is the equal mixture of the drawn members' Gaussians, which is what a rollout draws from, and everything is
exact: F(y) = mean_e Φ((y − m_e) / √v_e), and NLL and CRPS in closed form (`mbrl.analysis.forecasts.scores`).

More steps ahead F is known by the particles alone:

- u is drawn uniformly from the interval between the ranks of y among the particles, so that it is uniform for a calibrated
  forecast whatever P is (a Gaussian fitted to a few particles would look over-confident). Outcomes beyond all particles
  can't be told from those inside an interval whose level is above (P − 1) / (P + 1), which flatters an over-confident
  model there: 39 particles tell 95 % and, since 0.05, 0.2 and 0.5 are even multiples of 1/40, draw nothing by chance.
- the CRPS is the fair estimate, whose mean doesn't depend on P (Ferro2014).
- the NLL is that of the Gaussian with the particles' mean and sample variance. With few particles it is too high: of a
  calibrated Gaussian forecast by 0.03 nats per dim at 39 particles, 0.06 at 20.

Dawid1984: "Statistical theory: the prequential approach". Ferro2014: "Fair scores for ensemble forecasts".
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import torch
from torch import Tensor

from mbrl.analysis.episodes import check_longest
from mbrl.analysis.forecasts.nan_statistics import root_mean_square
from mbrl.analysis.forecasts.normalised_errors import dimension_names, left_out, scale_of
from mbrl.analysis.forecasts.not_finite import NotFinite
from mbrl.analysis.forecasts.one_step_predictions import predict_rows
from mbrl.analysis.forecasts.particle_rollouts import particle_rollouts
from mbrl.analysis.forecasts.scores import crps_of_mixture, crps_of_particles, nll_of_mixture, rank_between
from mbrl.analysis.forecasts.windows import Windows, check_episodes, place_windows
from mbrl.analysis.model_error.calibration_result import CALIBRATED, Calibration, HorizonCalibration, ahead_text, percent
from mbrl.analysis.progress import Progress
from mbrl.arguments import Count, Items, ShareBetween, check_argument, check_whole
from mbrl.data import Transitions
from mbrl.data.streams import generator_on
from mbrl.models import DynamicsModel, Exact

_GRID = tuple(round(0.05 * step, 2) for step in range(1, 20))  # levels of the reliability curve


@torch.no_grad()
def calibration(
    model: DynamicsModel,
    episodes: list[Transitions],
    *,
    generator: torch.Generator,
    horizons: Sequence[int] = (1, 5, 10, 25),
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    most: int = 1000,
    particles: int = 39,
    names: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Compares forecasts of the next observation, and of later ones, with what happened.

    The module's docstring says what a forecast's distribution is, and how scores are computed. Numbers of several dims
    together are means over the dims that vary, each in units of the standard deviation of its real change over the
    horizon: a forecast whose sharpness is 1 says no more than how much the observation usually changes. Each horizon has
    its own windows, so that short episodes count where they can.

    Args:
        model: built and fitted. One without noise (`var` 0 in every row) has no coverage, NLL or sharpness, whatever its
            members' spread, which says what it doesn't know and not what happens; the CRPS is then that of the members' or
            particles' points.
        episodes: real ones, from `split_episodes`; windows never cross their ends.
        generator: draws windows, members, noise, and places between ranks.
        horizons: steps ahead, in rising order. Those longer than every episode are left out and noted.
        levels: nominal coverages of the summary and the verdict, each between 0 and 1.
        most: forecasts at most at each horizon, drawn uniformly; more narrows the standard errors, and costs in
            proportion.
        particles: `P` rollouts of a window, at horizons above 1; 1 for an exact model. More makes the NLL less biased, and
            the coverage tell higher levels.
        names: of the observation's dims.
        progress: told a sentence now and then.

    Raises:
        DataError: if no episode is as long as the shortest horizon, or there are numbers that aren't finite in them.
        ConfigError: for a number out of range.
    """
    check_argument("calibration(model=…)", model, DynamicsModel)
    for argument, given in (("most", most), ("particles", particles)):
        check_whole(f"calibration({argument}=…)", given, 1 if argument == "most" or isinstance(model, Exact) else 2)
    check_argument("calibration(horizons=…)", list(horizons), Annotated[Sequence[Count], Items(1, rising=True)])
    check_argument("calibration(levels=…)", list(levels), Annotated[Sequence[ShareBetween], Items(1)])
    check_episodes("calibration", episodes)
    rows = Transitions.cat(episodes)
    dimensions = dimension_names("calibration", names, rows.obs.shape[-1])
    longest = check_longest(episodes, horizons[0])
    lengths = torch.tensor([len(episode) for episode in episodes], dtype=torch.int64)
    notes = [f"Left out: {ahead_text(horizon)}, since no episode is that long." for horizon in horizons if horizon > longest]
    if isinstance(model, Exact):
        particles = 1
    grid = tuple(sorted({*_GRID, *levels}))
    bad = NotFinite("forecasts")
    one_ahead = place_windows(episodes, 1, most, generator)
    noisy = _noisy_dims(model, one_ahead, generator)  # S
    found = []
    for horizon in horizons:
        if horizon > longest:
            continue
        if progress is not None:
            progress(f"calibration: {ahead_text(horizon)}")
        at = one_ahead if horizon == 1 else place_windows(episodes, horizon, most, generator)
        if at.places > most:
            notes.append(f"{ahead_text(horizon)}: {most} windows were drawn from {at.places}.")
        if horizon == 1:
            forecast = _one_ahead(model, at, generator, bad)
        else:
            forecast = _ahead(model, at, particles, generator, bad)
        apart = int((lengths // horizon).sum())
        scale = scale_of(_changes(rows, lengths, horizon), rows.obs)
        if horizon == horizons[0]:
            notes += left_out(scale, dimensions, f"the change {ahead_text(horizon)}")
        found.append(_judged(forecast, horizon, min(len(at), apart), scale, grid, noisy))
    applicable = bool(noisy.any())
    notes += bad.notes(dimensions)
    if not applicable:
        notes.append("Coverage, NLL and sharpness are not applicable: the model predicts no noise.")
    else:
        silent = [name for name, noise in zip(dimensions, noisy.tolist(), strict=True) if not noise]
        if silent:
            notes.append(f"Not applicable one step ahead, since no noise is predicted there: {', '.join(silent)}.")
        if any(one.horizon > 1 for one in found):
            notes.append(
                f"More than one step ahead, the NLL is that of a Gaussian fitted to {particles} particles, and aleatoric "
                "and epistemic parts aren't told apart."
            )
    result = Calibration(found, grid, tuple(levels), dimensions, applicable, bad.count, tuple(notes))
    if result.verdict(found[0]) is not None:
        notes.append(_sentence(result, found[0]))
    return Calibration(found, grid, tuple(levels), dimensions, applicable, bad.count, tuple(notes))


def _sentence(result: Calibration, found: HorizonCalibration) -> str:
    shares = ", ".join(
        f"{100 * float(found.coverage[result.grid.index(level), -1]):.1f} % of outcomes in {percent(level)} % intervals "
        f"(± {100 * found.standard_error(level):.1f})"
        for level in result.levels
    )
    verdict = result.verdict(found)
    ahead = ahead_text(found.horizon)
    if verdict == CALIBRATED:
        return f"Calibrated within sampling error {ahead}: {shares}."
    return f"{str(verdict).capitalize()} {ahead}: {shares}."


# forecasts -----------------------------------------------------------------------------------------------------------


@dataclass
class _Forecast:
    """`B x S` each: u, errors of the mean, CRPS, NLL, variance, and its parts one step ahead; NaN where not finite."""

    u: Tensor
    error: Tensor
    crps: Tensor
    nll: Tensor
    var: Tensor
    aleatoric: Tensor
    epistemic: Tensor


def _empty(like: Tensor) -> _Forecast:
    return _Forecast(*(torch.full_like(like, torch.nan) for _ in range(7)))


def _noisy_dims(model: DynamicsModel, at: Windows, generator: torch.Generator) -> Tensor:
    """Dims in which any row's variance isn't 0, `S` bool; one that isn't a number says nothing against noise."""
    rows = at.rows.map(lambda tensor: tensor[:, 0])
    noisy = torch.zeros(rows.obs.shape[-1], dtype=torch.bool)
    for said in predict_rows(model, rows, generator):
        _, var = said.members()
        noisy |= (var != 0).any(0).any(0)
    return noisy


def _one_ahead(model: DynamicsModel, at: Windows, generator: torch.Generator, bad: NotFinite) -> _Forecast:
    rows = at.rows.map(lambda tensor: tensor[:, 0])
    real = rows.next_obs.double().cpu()  # B x S
    made = _empty(real)
    for said in predict_rows(model, rows, generator):
        part = said.part
        mean, var = said.members()
        both = mean + 0.0 * var
        bad.look(both.unsqueeze(2), at.episode[part], at.first[part])
        mean, var = torch.where(both.isfinite(), mean, torch.nan), torch.where(both.isfinite(), var, torch.nan)
        y = real[part]
        z = torch.where(mean == y, 0.0, (y - mean) / var.sqrt())  # e x b x S; without noise ±∞, and 0 at the point itself
        made.u[part] = torch.special.ndtr(z).mean(0)
        made.error[part] = mean.mean(0) - y
        made.crps[part] = crps_of_mixture(mean, var, y)
        made.nll[part] = nll_of_mixture(mean, var, y)
        made.aleatoric[part] = var.mean(0)
        made.epistemic[part] = mean.var(0, correction=0)
    made.var = made.aleatoric + made.epistemic  # of the mixture
    return made


def _ahead(model: DynamicsModel, at: Windows, particles: int, generator: torch.Generator, bad: NotFinite) -> _Forecast:
    real = at.rows.next_obs[:, -1].double().cpu()  # B x S
    made = _empty(real)
    places = generator_on(torch.device("cpu"), generator)
    for part, path, _, behind in particle_rollouts(model, at, particles, generator):
        bad.look(path, at.episode[part], at.first[part], behind)
        x, y = path[:, :, -1], real[part]  # P x b x S, b x S
        known = x.isfinite().all(0)  # b x S
        x = torch.where(known, x, torch.nan)
        var = x.var(0, correction=1 if particles > 1 else 0)  # b x S
        made.u[part] = torch.where(known, rank_between(x, y, places), torch.nan)
        made.error[part] = x.mean(0) - y
        made.crps[part] = crps_of_particles(x, y)
        made.nll[part] = nll_of_mixture(x.mean(0, keepdim=True), var.unsqueeze(0), y)
        made.var[part] = var
    return made


def _changes(rows: Transitions, lengths: Tensor, horizon: int) -> Tensor:
    """All real changes over `horizon` steps within episodes of these `lengths`, which are the `rows` one after the other."""
    left = lengths.cumsum(0).repeat_interleave(lengths) - torch.arange(len(rows))  # B: steps to the episode's end
    begin = (left >= horizon).nonzero()[:, 0].to(rows.obs.device)
    return rows.next_obs[begin + horizon - 1] - rows.obs[begin]


def _judged(
    forecast: _Forecast, horizon: int, effective: int, scale: Tensor, grid: Sequence[float], noisy: Tensor
) -> HorizonCalibration:
    """Means over rows, and over the dims with a scale that is normalised by."""
    if noisy.any():
        applies = noisy if horizon == 1 else (forecast.var > 0).any(0) | forecast.var.isnan().all(0)  # S
    else:
        applies = torch.zeros_like(noisy)
    varies = scale > 0

    def with_total(values: Tensor, counts: Tensor, per: Tensor | None = None, log: bool = False) -> Tensor:
        """`… x (S+1)` of `… x S`: NaN in dims that don't count, and the mean of the others, normalised."""
        values = torch.where(counts, values, torch.nan)
        chosen = counts & varies
        share = values[..., chosen]
        if per is not None:
            share = share - per[chosen].log() if log else share / per[chosen]
        return torch.cat((values, share.mean(-1, keepdim=True)), -1)

    def squares(values: Tensor) -> Tensor:
        """Root mean squares with the root of the normalised mean square as total."""
        root = root_mean_square(values)
        return torch.cat((root, (root[varies] / scale[varies]).square().mean(-1, keepdim=True).sqrt()), -1)

    inside = (2 * forecast.u - 1).abs()  # B x S: the smallest level whose central interval holds y
    held = torch.stack([_share(inside <= level, inside) for level in grid])  # L x S
    everywhere = torch.ones_like(applies)
    parts = (forecast.aleatoric.sqrt(), forecast.epistemic.sqrt())
    return HorizonCalibration(
        horizon=horizon,
        windows=int((~forecast.error.isnan().any(-1)).sum()),
        effective=max(1, effective),
        scale=scale,
        coverage=with_total(held, applies),
        rmse=squares(forecast.error),
        crps=with_total(forecast.crps.nanmean(0), everywhere, scale),
        nll=with_total(forecast.nll.nanmean(0), applies, scale, log=True),
        sharpness=with_total(forecast.var.sqrt().nanmean(0), applies, scale),
        aleatoric=squares(parts[0]),
        epistemic=squares(parts[1]),
    )


def _share(event: Tensor, known: Tensor) -> Tensor:
    """Share of the rows that are known, by dim."""
    return torch.where(known.isnan(), torch.nan, event.double()).nanmean(0)
