"""What is found: a table, a few numbers, a sentence and a figure."""

from dataclasses import dataclass
from typing import Any, ClassVar

from matplotlib.figure import Figure

from mbrl.analysis import Result


@dataclass(frozen=True)
class Bias(Result):
    """The model's mean one-step error in each dim, environment units.

    Attributes:
        mean: of predicted − real, `S`.
    """

    name: ClassVar[str] = "bias"
    title: ClassVar[str] = "Is the model off to one side?"

    mean: list[float]

    def table(self) -> dict[str, list[Any]]:
        return {"dimension": list(range(len(self.mean))), "bias": self.mean}

    def summary(self) -> dict[str, Any]:
        return {"largest_bias": max(self.mean, key=abs)}

    def in_short(self) -> list[str]:
        return [f"The largest mean error of a dimension is {max(self.mean, key=abs):.3g}."]

    def plot(self) -> Figure:
        figure = Figure(layout="constrained")
        axes = figure.subplots()
        axes.bar(range(len(self.mean)), self.mean)
        axes.set_xlabel("dimension of the observation")
        axes.set_ylabel("mean of predicted − real (environment units)")
        return figure
