"""The sampler's choices: how near the best it stayed, and how many trials were under way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import optuna

from mbrl.analysis.axes import whole_numbers
from mbrl.analysis.result import Result
from mbrl.search.study.outcome import is_lost

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = ("side", "pending", "rows", "acquisition")


@dataclass(frozen=True)
class SearchRegion(Result):
    """The records of each choice that the model made.

    Attributes:
        chosen: by trial: `side` of the trust region in ranges (None without one), number of `pending` configurations under
            way, number of `rows` that the model knew, the `acquisition` value.
    """

    name = "region"
    title = "How the sampler chose"

    chosen: Mapping[int, Mapping[str, Any]]
    notes: Sequence[str] = ()

    def table(self) -> dict[str, list[Any]]:
        columns = {name: [said.get(name) for said in self.chosen.values()] for name in _COLUMNS}
        return {"trial": list(self.chosen), **columns}

    def summary(self) -> dict[str, Any]:
        sides = [said["side"] for said in self.chosen.values() if said.get("side") is not None]
        return {
            "chosen by the model": len(self.chosen),
            "side at the end": sides[-1] if sides else None,
            "most under way": max(said["pending"] for said in self.chosen.values()),
        }

    @property
    def worth_drawing(self) -> bool:
        """Tells whether there was a trust region, or anything under way."""
        return any(said.get("side") is not None or said["pending"] for said in self.chosen.values())

    def in_short(self) -> list[str]:
        found = self.summary()
        side = found["side at the end"]
        where = "" if side is None else f"; the trust region's side was {side:.3g} at the end (0.8 at the beginning)"
        return [f"The model chose {found['chosen by the model']} configurations{where}."]

    def plot(self) -> Figure:
        from matplotlib.figure import Figure

        sides = [(number, said["side"]) for number, said in self.chosen.items() if said.get("side") is not None]
        pending = [said["pending"] for said in self.chosen.values()]
        figure = Figure(figsize=(7.0, 3.8 if sides else 2.4), layout="constrained")
        panels = list(figure.subplots(2 if sides else 1, 1, sharex=True, squeeze=False)[:, 0])
        if sides:
            upper = panels[0]
            upper.plot(*zip(*sides, strict=True), "-o", drawstyle="steps-post", color="black", markersize=3)
            upper.set_yscale("log", base=2)
            upper.set_ylim(2.0**-5.5, 2)  # what it may be
            upper.yaxis.set_major_formatter("{x:g}")
            upper.set_ylabel("side of the trust\nregion (ranges)", fontsize=9)
        lower = panels[-1]
        lower.bar(list(self.chosen), pending, color="0.6", edgecolor="black", linewidth=0.5)
        lower.set_ylim(0, 1.1 * max(1, *pending))
        lower.set_ylabel("under way when\nit chose", fontsize=9)
        lower.set_xlabel("trial")
        for axes in (lower.xaxis, lower.yaxis):
            axes.set_major_locator(whole_numbers())
        where = "How near the best the sampler stayed, and how" if sides else "How"
        figure.suptitle(f"{where} many others ran when it chose")
        return figure


def search_region(study: optuna.Study) -> SearchRegion | None:
    """Reads the records of the sampler's choices; None if there are none, as before its model's first.

    A trial that was lost counts as its retry, which keeps what was stored.
    """
    chosen = {
        trial.number: trial.user_attrs["acq"]
        for trial in study.get_trials(deepcopy=False)
        if "acq" in trial.user_attrs and not is_lost(trial)
    }
    return SearchRegion(chosen) if chosen else None
