"""`Calibration`: coverage, sharpness and scores at each horizon, a verdict on them, and the reliability curve."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from mbrl.analysis.axes import legend_beside
from mbrl.analysis.forecasts.normalised_errors import ALL
from mbrl.analysis.result import Result
from mbrl.analysis.written_numbers import number

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CALIBRATED, OVER, UNDER, SHAPE = "calibrated", "over-confident", "under-confident", "wrong in shape"

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
                    cells[f"coverage_{percent(level)}"] = number(share)
                for level in self.levels:
                    cells[f"standard_error_{percent(level)}"] = found.standard_error(level)
                for key, cell in cells.items():
                    columns.setdefault(key, []).append(cell)
        return columns

    def verdict(self, found: HorizonCalibration, dim: int = -1) -> str | None:
        """The verdict of the coverage at `levels` on a horizon, in one dim or (the last, by default) their mean.

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
                        percent(level): number(found.coverage[self.grid.index(level), -1]) for level in self.levels
                    },
                    "standard_error": {percent(level): found.standard_error(level) for level in self.levels},
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

    def in_short(self) -> list[str]:
        """The verdict at each horizon, and the coverages behind it."""
        if not self.applicable:
            return ["Not applicable: the model predicts no noise."]
        sentences = [f"{self.not_finite} forecasts are not finite."] if self.not_finite else []
        for found in self.horizons:
            verdict = self.verdict(found)
            if verdict is not None:
                shares = [(level, float(found.coverage[self.grid.index(level), -1])) for level in self.levels]
                coverage = ", ".join(f"{100 * share:.0f} % in its {percent(level)} %" for level, share in shares)
                sentences.append(f"{ahead_text(found.horizon)}: {verdict} ({coverage}).")
        return sentences or ["Undefined."]

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
                    label=ahead_text(found.horizon),
                )
            axes.text(97, 3, "over-confident", ha="right", color="0.35", fontsize=9)
            axes.text(3, 97, "under-confident", va="top", color="0.35", fontsize=9)
            legend_beside(axes)
        else:
            axes.text(50, 50, "not applicable:\nthe model predicts no noise", ha="center", va="center", backgroundcolor="w")
        axes.set_xlim(0, 100)
        axes.set_ylim(0, 100)
        axes.set_aspect("equal")
        axes.set_xlabel("nominal coverage of the central interval (%)")
        axes.set_ylabel("outcomes in it, mean over dimensions (%)")
        axes.set_title("Reliability of the model's intervals")
        return figure


def ahead_text(horizon: int) -> str:
    """`5 steps ahead`."""
    return "1 step ahead" if horizon == 1 else f"{horizon} steps ahead"


def percent(level: float) -> str:
    """A level of 0.95 as `95`."""
    return f"{100 * level:g}"
