"""`RewardAndTermination`: errors of rewards, the confusion of ends, and returns predicted and obtained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import torch
from torch import Tensor

from mbrl.analysis.axes import legend_beside
from mbrl.analysis.correlations import pearson, spearman
from mbrl.analysis.result import EXACT, Result
from mbrl.analysis.written_numbers import in_percent, rounded

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Source = Literal["known", "learned", "exact"]

_ROUNDING = 1e-6  # of the largest: float32


@dataclass(frozen=True)
class RewardError:
    """Errors of the reward one step ahead, environment units.

    Attributes:
        source: `known` of the task (at the predicted next observation), `learned` by the model, or an `exact` model's own.
        rows: rows that count.
        bias: mean of predicted − real; above 0 the model promises too much.
        rmse: root mean square of it.
        real_sd: standard deviation of the real reward, against which the error is small or large; 0 where it is constant.
        correlation: Pearson's of predicted and real reward; None where one is constant.
        real_mean: mean of the real reward, against which the error is large or small where it is constant.
    """

    source: Source
    rows: int
    bias: float
    rmse: float
    real_sd: float
    correlation: float | None
    real_mean: float


@dataclass(frozen=True)
class TerminationError:
    """The confusion of predicted and real terminations one step ahead.

    Attributes:
        source: as of the reward.
        true_positive: rows that end and are predicted to.
        false_positive: rows that go on and are predicted to end.
        false_negative: rows that end and are predicted to go on.
        true_negative: rows that go on and are predicted to.
    """

    source: Source
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def precision(self) -> float | None:
        """The share of the predicted ends that are real; None if none is predicted."""
        return _share(self.true_positive, self.true_positive + self.false_positive)

    @property
    def recall(self) -> float | None:
        """The share of the real ends that are predicted; None if there is none."""
        return _share(self.true_positive, self.true_positive + self.false_negative)

    @property
    def false_alarms(self) -> float | None:
        """The share of the steps that really go on, but are predicted to end; None if there is none."""
        return _share(self.false_positive, self.false_positive + self.true_negative)


@dataclass(frozen=True)
class ReturnError:
    """Returns predicted along real windows on their recorded actions, against those obtained; `B` float64 each.

    Attributes:
        horizon: `H` steps.
        discount: γ of one step.
        particles: `P`, rollouts over which a predicted return is averaged.
        episode: `B` int64, of each window.
        first: `B` int64, its first step in there.
        obtained: `B`.
        predicted: `B`, NaN where a rollout isn't finite.
        spread: `B`, the standard deviation of a window's particles.
        early: share of rollouts in which the model takes the task for ended although it really went on.
    """

    horizon: int
    discount: float
    particles: int
    episode: Tensor
    first: Tensor
    obtained: Tensor
    predicted: Tensor
    spread: Tensor
    early: float

    @property
    def fine(self) -> Tensor:
        """`B` bool: windows that count."""
        return self.predicted.isfinite()

    @property
    def bias(self) -> float | None:
        """Mean of predicted − obtained; above 0 the model promises too much."""
        off = (self.predicted - self.obtained)[self.fine]
        return float(off.mean()) if len(off) else None

    @property
    def rmse(self) -> float | None:
        """Root mean square of predicted − obtained."""
        off = (self.predicted - self.obtained)[self.fine]
        return float(off.square().mean().sqrt()) if len(off) else None


@dataclass(frozen=True)
class RewardAndTermination(Result):
    """A model's rewards, ends and returns beside the real ones.

    Attributes:
        reward: one step ahead, or None where nobody knows the reward.
        termination: one step ahead, or None where nobody knows it.
        returns: of windows, or None where they can't be predicted.
        exact: whether rewards, ends and returns are known and right to rounding.
        notes: see `Result`.
    """

    name: ClassVar[str] = "reward"
    title: ClassVar[str] = "Reward, termination and return"

    reward: RewardError | None
    termination: TerminationError | None
    returns: ReturnError | None
    exact: bool
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        """A row for each window: where it begins, and the returns obtained and predicted over it."""
        found = self.returns
        columns: dict[str, list[Any]] = {
            name: [] for name in ("episode", "first_step", "steps", "return_obtained", "return_predicted", "return_sd")
        }
        if found is None:
            return columns
        columns["episode"] = found.episode.tolist()
        columns["first_step"] = found.first.tolist()
        columns["steps"] = [found.horizon] * len(found.first)
        columns["return_obtained"] = found.obtained.tolist()
        columns["return_predicted"] = found.predicted.tolist()
        columns["return_sd"] = found.spread.tolist()
        return columns

    def summary(self) -> dict[str, Any]:
        """Errors of the reward, the confusion of ends with precision and recall, bias and correlation of returns."""
        reward, ends, returns = self.reward, self.termination, self.returns
        said: dict[str, Any] = {"exact_to_rounding": self.exact, "reward": None, "termination": None, "returns": None}
        if reward is not None:
            said["reward"] = {
                "source": reward.source,
                "rows": reward.rows,
                "bias": reward.bias,
                "rmse": reward.rmse,
                "rmse_per_sd": None if self.exact or reward.real_sd == 0 else reward.rmse / reward.real_sd,
                "correlation": reward.correlation,
                "real_mean": reward.real_mean,
            }
        if ends is not None:
            said["termination"] = {
                "source": ends.source,
                "true_positive": ends.true_positive,
                "false_positive": ends.false_positive,
                "false_negative": ends.false_negative,
                "true_negative": ends.true_negative,
                "precision": ends.precision,
                "recall": ends.recall,
                "false_alarms": ends.false_alarms,
            }
        if returns is not None:
            obtained, predicted = returns.obtained[returns.fine], returns.predicted[returns.fine]
            said["returns"] = {
                "windows": len(obtained),
                "horizon": returns.horizon,
                "discount": returns.discount,
                "obtained_mean": float(obtained.mean()) if len(obtained) else None,
                "predicted_mean": float(predicted.mean()) if len(obtained) else None,
                "bias": returns.bias,
                "rmse": returns.rmse,
                "pearson": pearson(predicted, obtained, _ROUNDING),
                "spearman": spearman(predicted, obtained, _ROUNDING),
                "share_ended_early": returns.early,
            }
        return said

    def in_short(self) -> list[str]:
        """The reward's error, the ends that are found, and the bias of returns."""
        if self.exact:
            return [EXACT]
        said = self.summary()
        reward, ends, returns = said["reward"], said["termination"], said["returns"]
        sentences = []
        if reward is None:
            sentences.append("The reward is unknown, or none of its predictions is finite.")
        elif reward["rmse_per_sd"] is not None:
            off = rounded(reward["rmse_per_sd"])
            sentences.append(f"The reward ({reward['source']}) is off by {off} of its standard deviation.")
        else:
            always = f"where the real one is always {rounded(reward['real_mean'])}"
            sentences.append(f"The reward ({reward['source']}) is off by {rounded(reward['rmse'])}, {always}.")
        if ends is not None and ends["recall"] is None:
            sentences.append("No step of the dataset ends the task.")
        elif ends is not None:
            sentences.append(
                f"Of the steps that end the task it finds {in_percent(ends['recall'])}, and "
                f"{in_percent(ends['precision'])} of the ends that it predicts are real."
            )
        if returns is not None and returns["bias"] is not None:
            sentences.append(
                f"Returns over {returns['horizon']} steps are predicted {rounded(abs(returns['bias']))} too "
                f"{'high' if returns['bias'] > 0 else 'low'} on average (obtained: {rounded(returns['obtained_mean'])}), "
                f"with a correlation of {rounded(returns['pearson'])}."
            )
        return sentences or ["Undefined: see the notes."]

    def plot(self) -> Figure:
        """The return that the model predicts along real windows against the return that was obtained."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(5.4, 4.8), layout="constrained")
        axes = figure.subplots()
        found = self.returns
        if found is None or not bool(found.fine.any()):
            axes.text(0.5, 0.5, "no return could be predicted", ha="center", va="center", transform=axes.transAxes)
            axes.set_axis_off()
            return figure
        obtained, predicted = found.obtained[found.fine], found.predicted[found.fine]
        ends = [float(torch.cat((obtained, predicted)).min()), float(torch.cat((obtained, predicted)).max())]
        axes.plot(ends, ends, color="0.3", linestyle="--", label="predicted = obtained")
        if found.particles > 1:
            style: dict[str, Any] = {"linestyle": "", "color": "C0", "elinewidth": 0.6, "alpha": 0.35}
            axes.errorbar(obtained, predicted, found.spread[found.fine], **style, label="sd of a window's rollouts")
        axes.plot(obtained, predicted, "o", color="C0", markersize=3, label="a real window")
        axes.set_xlabel(f"return obtained in {found.horizon} steps")
        axes.set_ylabel("return predicted on the same actions")
        bias = found.bias
        less = "less" if bias is not None and bias < 0 else "more"
        told = (
            "right to rounding"
            if self.exact or bias is None
            else f"{abs(bias):.3g} {less} predicted than obtained, on average"
        )
        axes.set_title(f"Returns along real episodes:\n{told}")
        legend_beside(axes)
        return figure


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
