"""`DecisionFrequencies`: a planner's returns by the steps between two of its decisions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mbrl.analysis.axes import whole_numbers
from mbrl.analysis.frequencies.fas import STANDARD_LENGTHS, fas
from mbrl.analysis.result import Result
from mbrl.analysis.runs.learning_curves_result import short
from mbrl.planners import EpisodeReturns
from mbrl.training.output import drawn

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = (
    "steps_per_decision", "return", "return_low", "return_high", "return_std", "length_steps", "decisions",
    "ms_per_decision", "ms_per_action", "beyond_training", "difference", "difference_low", "difference_high",
)  # fmt: skip


@dataclass(frozen=True)
class Frequency:
    """Episodes at one decision length, or at lengths drawn anew for each decision.

    Attributes:
        shortest: steps per decision.
        longest: likewise; above `shortest` where they are drawn.
        episodes: what was played.
        seconds: median time of a decision in one environment; None where lengths are drawn.
        beyond_training: whether `longest` exceeds what a decision spans in training.
    """

    shortest: int
    longest: int
    episodes: EpisodeReturns
    seconds: float | None
    beyond_training: bool

    @property
    def name(self) -> str:
        """The length, or the range."""
        return str(self.longest) if self.shortest == self.longest else f"{self.shortest}:{self.longest}"

    @property
    def mean_return(self) -> float:
        """Mean over episodes, undiscounted, reward units."""
        return self.episodes.returns.mean().item()

    def row(self, once: Frequency | None) -> list[Any]:
        """Its line of the table, in the order of the columns; `once` looks at each step, and is what it is compared with."""
        gap = (None, None, None) if once is None or once is self else self.episodes.difference(once.episodes)
        found, steps = self.episodes.summary(), self.episodes.returns
        ms = None if self.seconds is None else 1000 * self.seconds
        decisions = None if self.episodes.decisions is None else self.episodes.decisions.double().mean().item()
        return [
            self.longest if self.shortest == self.longest else self.name,
            found["return"],
            found.get("return_low"),
            found.get("return_high"),
            steps.std().item() if len(steps) > 1 else None,
            found["length"],
            decisions,
            ms,
            None if ms is None else ms / self.longest,
            self.beyond_training,
            *gap,
        ]


@dataclass(frozen=True)
class DecisionFrequencies(Result):
    """Returns of a planner that looks once in so many primitive steps.

    Attributes:
        frequencies: by rising length.
        random: at lengths drawn for each decision; None if not asked for.
        planner: name of its class.
        env_id: what it acted in, without action repeat.
        trained_length: primitive steps that one decision spans in training; longer ones are beyond it.
        action_repeat: primitive steps in a step of its training.
        scale: largest return and offset for `fas`; None where nobody says them.
    """

    name = "frequencies"
    title = "Returns by decision length"

    frequencies: Sequence[Frequency]
    random: Frequency | None
    planner: str
    env_id: str
    trained_length: int
    action_repeat: int
    scale: tuple[float, float] | None

    @property
    def notes(self) -> Sequence[str]:  # type: ignore[override]
        """Scores that are missing, and lengths beyond training."""
        found = []
        if len(self.frequencies) < 2:
            found.append("No score: it takes two lengths at least.")
        elif self.scale is None:
            found.append(f"No score: {self.env_id} has no known scale of returns; give max_return and offset.")
        elif self.score() is None:
            found.append("No fas, which is defined at 1, 2, 4, …, 30 steps per decision; fas_span compares other lengths.")
        beyond = [one.name for one in self._all() if one.beyond_training]
        if beyond:
            found.append(
                f"Beyond training: {', '.join(beyond)}; a decision spans {self.trained_length} primitive "
                f"step{'s' * (self.trained_length > 1)} in training."
            )
        return found

    def returns(self) -> dict[int, float]:
        """r(n): mean returns by steps per decision."""
        return {one.longest: one.mean_return for one in self.frequencies}

    def score(self, *, span: bool = False) -> float | None:
        """`fas` of the returns, or with `span` the same over the lengths' own span; None where it isn't defined."""
        r = self.returns()
        if self.scale is None or len(r) < 2 or not (span or tuple(r) == STANDARD_LENGTHS):
            return None
        options: dict[str, Any] = {"divisor": "span"} if span else {}
        score: float = fas(list(r), list(r.values()), *self.scale, **options)
        return score

    def table(self) -> dict[str, list[Any]]:
        rows = self._rows()
        return {name: [row[place] for row in rows] for place, name in enumerate(_COLUMNS)}

    def summary(self) -> dict[str, Any]:
        return {
            "planner": self.planner,
            "env_id": self.env_id,
            "action_repeat": self.action_repeat,
            "trained_length": self.trained_length,
            "episodes": len(self.frequencies[0].episodes.returns),
            "fas": self.score(),
            "fas_span": self.score(span=True),
            "max_return": None if self.scale is None else self.scale[0],
            "offset": None if self.scale is None else self.scale[1],
            "random": None if self.random is None else self.random.name,
            "random_return": None if self.random is None else self.random.mean_return,
        }

    def in_short(self) -> list[str]:
        said = [f"{name} {value:.4f}" for name in ("fas", "fas_span") if (value := self.summary()[name]) is not None]
        if said:
            said = [f"{', '.join(said)} (returns + {self.scale[1]:g} in units of {self.scale[0]:g})" if self.scale else ""]
        if self.random is not None:
            said.append(f"mean return {self.random.mean_return:.6g} at {self.random.name} steps per decision, drawn anew")
        return said

    def lines(self) -> list[str]:
        """The table as text, a line per length, for a terminal of 80 columns; a star marks what lies beyond training."""
        head = ["steps", "return", "95 % interval", "- r(1)", "95 % interval", "decisions", "ms each"]
        rows = [head]
        for one, row in zip(self._all(), self._rows(), strict=True):
            _, mean, low, high, _, _, decisions, ms, _, beyond, gap, *ends = row
            intervals = ["-" if least is None else f"[{short(least)}, {short(most)}]" for least, most in ((low, high), ends)]
            time, less = "-" if ms is None else f"{ms:.3g}", "-" if gap is None else short(gap)
            rows.append([one.name + "*" * beyond, short(mean), intervals[0], less, intervals[1], short(decisions), time])
        widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
        return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(6.4, 4.0), layout="constrained")
        axes = figure.subplots()
        rows = self._rows()[: len(self.frequencies)]
        n = [one.longest for one in self.frequencies]
        mean = [row[1] for row in rows]
        if rows[0][2] is not None:
            low, high = ([row[end] for row in rows] for end in (2, 3))
            axes.fill_between(n, low, high, color="black", alpha=0.15, linewidth=0, label="95 % interval of the mean")
        axes.plot(n, mean, "-", color="black", linewidth=1.5)
        for beyond, filled, label in ((False, "black", "within training"), (True, "white", "beyond training")):
            places = [place for place, one in enumerate(self.frequencies) if one.beyond_training == beyond]
            if places:
                axes.plot(
                    [n[place] for place in places], [mean[place] for place in places], "o", color="black",
                    markerfacecolor=filled, markersize=5, label=f"{label} ({self._spans()})" if beyond else label,
                )  # fmt: skip
        if self.random is not None:
            label = f"{self.random.name} steps, drawn for each decision"
            axes.axhline(self.random.mean_return, color="#0072B2", linestyle="--", linewidth=1.2, label=label)
        axes.set_xlabel("primitive steps per decision")
        axes.set_ylabel("return (reward units)")
        axes.xaxis.set_major_locator(whole_numbers())
        scores = [f"{name} {value:.3f}" for name in ("fas", "fas_span") if (value := self.summary()[name]) is not None]
        axes.set_title(drawn(", ".join([f"{self.planner} in {self.env_id}", *scores])))
        figure.legend(loc="outside lower center", ncols=2)
        return figure

    def _spans(self) -> str:
        return f"more than {self.trained_length} step{'s' * (self.trained_length > 1)}"

    def _rows(self) -> list[list[Any]]:
        once = next((one for one in self.frequencies if one.longest == 1), None)
        return [one.row(once) for one in self._all()]

    def _all(self) -> list[Frequency]:
        return [*self.frequencies, *([] if self.random is None else [self.random])]
