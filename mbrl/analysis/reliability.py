"""`calibration`: whether a model's forecasts are as sure as they may be.

    symbol   code         meaning
    y        real         what happened, `B x S`
    F        -            the forecast's distribution of one dim
    u        u            F(y), uniform in [0, 1] if the forecast is calibrated (Dawid1984)
    m_e, v_e mean, var    of member e, one step ahead
    P        particles    rollouts of a window, more than one step ahead

One step ahead F is the equal mixture of the drawn members' Gaussians, which is what a rollout draws from, and everything is
exact: F(y) = mean_e Φ((y − m_e) / √v_e), and the CRPS in Grimit2006's closed form,

    CRPS = mean_e A(y − m_e, v_e) − ½ mean_e mean_f A(m_e − m_f, v_e + v_f),   A(μ, σ²) = 2 σ φ(μ/σ) + μ (2 Φ(μ/σ) − 1)

More steps ahead F is known by the particles alone:

- u is drawn uniformly from the interval between the ranks of y among the particles, so that it is uniform for a calibrated
  forecast whatever P is (a Gaussian fitted to a few particles would look over-confident). Outcomes beyond all particles
  can't be told from those inside an interval whose level is above (P − 1) / (P + 1), which flatters an over-confident
  model there: 39 particles tell 95 % and, since 0.05, 0.2 and 0.5 are even multiples of 1/40, draw nothing by chance.
- the CRPS is the fair estimate, mean_p |x_p − y| − ½ mean_{p≠q} |x_p − x_q|, whose mean doesn't depend on P (Ferro2014).
- the NLL is that of the Gaussian with the particles' mean and sample variance. With few particles it is too high: of a
  calibrated Gaussian forecast by 0.03 nats a dim at 39 particles, 0.06 at 20.

Dawid1984: "Statistical theory: the prequential approach". Ferro2014: "Fair scores for ensemble forecasts".
Gneiting2007: "Strictly proper scoring rules, prediction, and estimation".
Grimit2006: "The continuous ranked probability score for circular variables and its application to mesoscale forecasts".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.forecasts import (
    ALL,
    NotFinite,
    Progress,
    Windows,
    check_episodes,
    dimension_names,
    generator_on,
    left_out,
    member_predictions,
    number,
    particle_rollouts,
    place_windows,
    root_mean_square,
    scale_of,
)
from mbrl.analysis.result import Result
from mbrl.data import Transitions
from mbrl.errors import ConfigError, DataError, check_at_least
from mbrl.models import DynamicsModel, Exact

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATED, OVER, UNDER, SHAPE = "calibrated", "over-confident", "under-confident", "wrong in shape"

_GRID = tuple(round(0.05 * step, 2) for step in range(1, 20))  # levels of the reliability curve
_ERRORS = 3.0  # standard errors that a coverage may be off by chance
_STYLES = (("-", "o", "C0"), ("--", "s", "C1"), ("-.", "^", "0.3"), (":", "D", "C3"))


@dataclass(frozen=True)
class HorizonCalibration:
    """Forecasts so many steps ahead; dims `S+1` are the observation's and, last, the mean over dims, normalised.

    Attributes:
        horizon: `h` steps ahead.
        windows: forecasts that were judged.
        effective: of these, at most as many as there are windows of `h` steps that don't overlap: what standard errors
            are computed with.
        scale: `S`, the standard deviation of the observation's real change in `h` steps; 0 if it doesn't vary.
        coverage: `L x (S+1)`, share of outcomes in the central interval of each level; NaN where not applicable.
        rmse: `S+1`, of the forecast's mean.
        crps: `S+1`, continuous ranked probability score.
        nll: `S+1`, negative log-likelihood in nats, of the environment's units (the last: of normalised ones).
        sharpness: `S+1`, mean predicted standard deviation.
        aleatoric: `S+1`, root of the members' mean variance, for one step ahead.
        epistemic: `S+1`, root of the mean variance of the members' means, for one step ahead.
    """

    horizon: int
    windows: int
    effective: int
    scale: Tensor
    coverage: Tensor
    rmse: Tensor
    crps: Tensor
    nll: Tensor
    sharpness: Tensor
    aleatoric: Tensor
    epistemic: Tensor

    def standard_error(self, level: float) -> float:
        """Binomial, of the coverage at `level` if the forecasts are calibrated."""
        return math.sqrt(level * (1 - level) / self.effective)


@dataclass(frozen=True)
class Calibration(Result):
    """Coverage, sharpness and scores of forecasts, by dimension and horizon.

    Attributes:
        horizons: what was found at each.
        grid: `L` levels of the reliability curve.
        levels: those of the summary.
        dimensions: names, `S`.
        applicable: whether the model predicts noise, without which coverage, NLL and sharpness mean nothing.
        not_finite: forecasts with a number that isn't finite.
        notes: see `Result`.
    """

    name: ClassVar[str] = "calibration"
    title: ClassVar[str] = "Calibration: how often the truth is where the model says"

    horizons: list[HorizonCalibration]
    grid: tuple[float, ...]
    levels: tuple[float, ...]
    dimensions: list[str]
    applicable: bool
    not_finite: int
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        """A row for each horizon and dimension.

        Without `_normalised` in the name, numbers are in environment units (None for the total, whose dims differ in
        theirs); normalised ones are in units of `scale`, the standard deviation of the real change over that horizon.
        """
        columns: dict[str, list[Any]] = {}
        for found in self.horizons:
            scales = [*found.scale.tolist(), 1.0]
            for dim, (label, scale) in enumerate(zip([*self.dimensions, ALL], scales, strict=True)):
                whole = label == ALL
                cells: dict[str, Any] = {"horizon": found.horizon, "dimension": label, "windows": found.windows}
                for key in ("rmse", "crps", "sharpness", "aleatoric", "epistemic"):
                    size = getattr(found, key)[dim]
                    cells[key] = None if whole else number(size)
                    cells[f"{key}_normalised"] = number(size / scale) if scale else None
                cells["nll"] = None if whole else number(found.nll[dim])
                cells["nll_normalised"] = number(found.nll[dim] - math.log(scale)) if scale else None
                cells["scale"] = None if whole else scale
                cells["verdict"] = self.verdict(found, dim)
                for level, share in zip(self.grid, found.coverage[:, dim], strict=True):
                    cells[f"coverage_{_percent(level)}"] = number(share)
                for level in self.levels:
                    cells[f"standard_error_{_percent(level)}"] = found.standard_error(level)
                for key, cell in cells.items():
                    columns.setdefault(key, []).append(cell)
        return columns

    def verdict(self, found: HorizonCalibration, dim: int = -1) -> str | None:
        """What the coverage at `levels` says of a horizon, in one dim or (the last, by default) their mean.

        Calibrated if none is off by more than three standard errors; else over-confident if intervals hold too little,
        under-confident if too much, wrong in shape if one level holds too little and another too much; None where
        coverage isn't applicable.
        """
        shares = [float(found.coverage[self.grid.index(level), dim]) for level in self.levels]
        if any(math.isnan(share) for share in shares):
            return None
        allowed = [_ERRORS * found.standard_error(level) for level in self.levels]
        low = any(share < level - by for share, level, by in zip(shares, self.levels, allowed, strict=True))
        high = any(share > level + by for share, level, by in zip(shares, self.levels, allowed, strict=True))
        if low and high:
            return SHAPE
        return OVER if low else UNDER if high else CALIBRATED

    def summary(self) -> dict[str, Any]:
        """The verdict of the shortest horizon, and of each the coverages and scores of all dims."""
        verdicts = [[self.verdict(found, dim) for dim in range(len(self.dimensions))] for found in self.horizons]
        first = self.horizons[0]
        both = first.aleatoric[-1].square() + first.epistemic[-1].square()
        return {
            "applicable": self.applicable,
            "verdict": self.verdict(first) if self.applicable else "not applicable: the model predicts no noise",
            "horizons": {
                str(found.horizon): {
                    "verdict": self.verdict(found),
                    "windows": found.windows,
                    "coverage": {
                        _percent(level): number(found.coverage[self.grid.index(level), -1]) for level in self.levels
                    },
                    "standard_error": {_percent(level): found.standard_error(level) for level in self.levels},
                    "rmse_normalised": number(found.rmse[-1]),
                    "sharpness_normalised": number(found.sharpness[-1]),
                    "nll_normalised": number(found.nll[-1]),
                    "crps_normalised": number(found.crps[-1]),
                    "dimensions_over_confident": said.count(OVER),
                    "dimensions_under_confident": said.count(UNDER),
                }
                for found, said in zip(self.horizons, verdicts, strict=True)
            },
            "epistemic_share_of_variance": number(first.epistemic[-1].square() / both) if self.applicable else None,
            "forecasts_not_finite": self.not_finite,
        }

    def plot(self) -> Figure:
        """The reliability curve of each horizon: nominal against real coverage."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(4.8, 4.8), layout="constrained")
        axes = figure.subplots()
        axes.plot([0, 100], [0, 100], color="0.6", linewidth=1, label="calibrated")
        if self.applicable:
            level = torch.linspace(0, 1, 101, dtype=torch.float64)
            fewest = min(found.effective for found in self.horizons)
            chance = _ERRORS * (level * (1 - level) / fewest).sqrt()
            low, high = (100 * (level - chance).clamp_min(0)).tolist(), (100 * (level + chance).clamp_max(1)).tolist()
            axes.fill_between((100 * level).tolist(), low, high, color="0.5", alpha=0.2, linewidth=0, label="chance (3 se)")
            for at, found in enumerate(self.horizons):
                linestyle, marker, color = _STYLES[at % len(_STYLES)]
                nominal, real = [100 * level for level in self.grid], (100 * found.coverage[:, -1]).tolist()
                axes.plot(
                    nominal,
                    real,
                    linestyle,
                    marker=marker,
                    color=color,
                    markersize=4,
                    markevery=2,
                    label=_ahead_text(found.horizon),
                )
            axes.text(97, 3, "over-confident", ha="right", color="0.35", fontsize=9)
            axes.text(3, 97, "under-confident", va="top", color="0.35", fontsize=9)
            figure.legend(loc="outside lower center", ncols=3, frameon=False, fontsize=8)  # inside, curves may lie anywhere
        else:
            axes.text(50, 50, "not applicable:\nthe model predicts no noise", ha="center", va="center", backgroundcolor="w")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_aspect("equal")
        axes.set_xlabel("nominal coverage of the central interval (%)")
        axes.set_ylabel("outcomes in it, mean over dimensions (%)")
        axes.set_title("Reliability of the model's intervals")
        axes.grid(color="0.9")
        return figure


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
    for argument, given in (("most", most), ("particles", particles)):
        check_at_least("calibration", argument, given, 1 if argument == "most" or isinstance(model, Exact) else 2)
    if not horizons or list(horizons) != sorted(set(horizons)) or horizons[0] < 1:
        raise ConfigError(f"calibration: expected horizons from 1 up in rising order, got {list(horizons)}; change them.")
    if not levels or not all(0 < level < 1 for level in levels):
        raise ConfigError(f"calibration: expected levels between 0 and 1, got {list(levels)}; change them.")
    check_episodes("calibration", episodes)
    rows = Transitions.cat(episodes)
    dimensions = dimension_names("calibration", names, rows.obs.shape[-1])
    longest = max(len(episode) for episode in episodes)
    if horizons[0] > longest:
        raise DataError(
            f"calibration: expected an episode of at least {horizons[0]} steps, the shortest horizon, got none longer than "
            f"{longest}; lower the horizons, or give data with longer episodes."
        )
    notes = [
        f"Left out: {_ahead_text(horizon)}, since no episode is that long." for horizon in horizons if horizon > longest
    ]
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
            progress(f"calibration: {_ahead_text(horizon)}")
        at = one_ahead if horizon == 1 else place_windows(episodes, horizon, most, generator)
        if at.places > most:
            notes.append(f"{_ahead_text(horizon)}: {most} windows were drawn from {at.places}.")
        if horizon == 1:
            forecast = _one_ahead(model, at, generator, bad)
        else:
            forecast = _ahead(model, at, particles, generator, bad)
        apart = sum(len(episode) // horizon for episode in episodes)
        scale = scale_of(_changes(episodes, horizon), rows.obs)
        if horizon == horizons[0]:
            notes += left_out(scale, dimensions, f"the change {_ahead_text(horizon)}")
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
        f"{100 * float(found.coverage[result.grid.index(level), -1]):.1f} % of outcomes in {_percent(level)} % intervals "
        f"(± {100 * found.standard_error(level):.1f})"
        for level in result.levels
    )
    verdict = result.verdict(found)
    ahead = _ahead_text(found.horizon)
    if verdict == CALIBRATED:
        return f"Calibrated within sampling error {ahead}: {shares}."
    return f"{str(verdict).capitalize()} {ahead}: {shares}."


def _ahead_text(horizon: int) -> str:
    return "1 step ahead" if horizon == 1 else f"{horizon} steps ahead"


def _percent(level: float) -> str:
    return f"{100 * level:g}"


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
    for _, _, var in member_predictions(model, rows, generator):
        noisy |= (var != 0).any(0).any(0)
    return noisy


def _one_ahead(model: DynamicsModel, at: Windows, generator: torch.Generator, bad: NotFinite) -> _Forecast:
    rows = at.rows.map(lambda tensor: tensor[:, 0])
    real = rows.next_obs.double().cpu()  # B x S
    made = _empty(real)
    for part, mean, var in member_predictions(model, rows, generator):
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
    for part, path, _ in particle_rollouts(model, at, particles, generator):
        bad.look(path, at.episode[part], at.first[part])
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


def _changes(episodes: list[Transitions], horizon: int) -> Tensor:
    """All real changes over `horizon` steps, of the episodes that are as long."""
    long = [episode for episode in episodes if len(episode) >= horizon]
    return torch.cat([one.next_obs[horizon - 1 :] - one.obs[: len(one) - horizon + 1] for one in long])


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


# scores --------------------------------------------------------------------------------------------------------------


def nll_of_mixture(mean: Tensor, var: Tensor, real: Tensor) -> Tensor:
    """Negative log-density of an equal mixture of Gaussians, `…`.

    Args:
        mean, var: `e x …`.
        real: `…`.
    """
    log = -0.5 * ((real - mean).square() / var + var.log() + math.log(2 * math.pi))  # e x …
    return math.log(len(mean)) - log.logsumexp(0)


def crps_of_mixture(mean: Tensor, var: Tensor, real: Tensor) -> Tensor:
    """Continuous ranked probability score of an equal mixture of Gaussians in closed form (Grimit2006), `…`.

    Args:
        mean, var: `e x …`; a variance of 0 is a point.
        real: `…`.
    """
    members = len(mean)
    apart = torch.zeros_like(real)
    for first in range(members):
        apart += _expected_distance(torch.zeros_like(real), 2 * var[first])
        for second in range(first):
            apart += 2 * _expected_distance(mean[first] - mean[second], var[first] + var[second])
    return _expected_distance(real - mean, var).mean(0) - apart / (2 * members**2)


def _expected_distance(mean: Tensor, var: Tensor) -> Tensor:
    """E|X| of a Gaussian."""
    sd = var.sqrt()
    z = mean / torch.where(sd > 0, sd, 1.0)
    density = torch.exp(-0.5 * z.square()) / math.sqrt(2 * math.pi)
    return torch.where(sd == 0, mean.abs(), 2 * sd * density + mean * (2 * torch.special.ndtr(z) - 1))


def crps_of_particles(particles: Tensor, real: Tensor) -> Tensor:
    """The fair estimate of the continuous ranked probability score from `P` draws (Ferro2014), `…`.

    Args:
        particles: `P x …`; of one, or of equal ones, the score is the distance.
        real: `…`.
    """
    size = len(particles)
    distance = (particles - real).abs().mean(0)
    if size == 1:
        return distance
    rank = 2 * torch.arange(1, size + 1, dtype=particles.dtype) - size - 1  # P; Σ_{p<q} (x_q − x_p) = Σ rank · sorted
    between = (rank.view(-1, *[1] * real.ndim) * particles.sort(0).values).sum(0)
    return distance - between / (size * (size - 1))


def rank_between(particles: Tensor, real: Tensor, generator: torch.Generator) -> Tensor:
    """The value u of `P` draws, `…`: uniform in [0, 1] if `real` is one more draw, whatever `P` and however many are equal.

    Args:
        particles: `P x …`.
        real: `…`.
        generator: on the CPU; draws the place between the ranks.
    """
    below, equal = (particles < real).sum(0), (particles == real).sum(0)
    place = torch.rand(real.shape, generator=generator, dtype=real.dtype)
    return (below + place * (equal + 1)) / (len(particles) + 1)
