"""The figure at the end of a run: learning curve and model loss over the run's clock."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mbrl.figure_style import in_style
from mbrl.replacing import replacing
from mbrl.training.output import drawn

_PANELS: tuple[tuple[str, tuple[str, ...]], ...] = (  # from top to bottom, and what each shows
    ("return", ("train/return", "eval/return")),
    ("model loss", ("model/loss",)),
    ("model error (log)", ("model/holdout_mse",)),
)


@in_style
def draw_curve(lines: Sequence[Mapping[str, Any]], path: Path, title: str, clock: str = "env_steps") -> bool:
    """Draws returns (training episodes, evaluations with their 95 % interval) and the model's losses.

    Args:
        lines: of `metrics.jsonl`.
        path: a PNG.
        title: of the figure.
        clock: the key of the horizontal axis.

    Returns:
        Whether there was anything to draw.
    """
    from matplotlib.figure import Figure  # slow to import, and only needed here

    panels: list[tuple[str, list[str]]] = []
    for label, names in _PANELS:
        shown = [name for name in names if _series(lines, clock, name)[0]]
        if shown:
            panels.append((label, shown))
    if not panels:
        return False
    figure = Figure(figsize=(6.4, 2.6 * len(panels)), layout="constrained")
    for axes, (label, shown) in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        for name in shown:
            x, y = _series(lines, clock, name)
            (line,) = axes.plot(x, y, "o-" if name.startswith("eval/") else "-", markersize=3, linewidth=1, label=name)
            if name == "eval/return":
                at, low = _series(lines, clock, "eval/return_low")
                high = _series(lines, clock, "eval/return_high")[1]
                axes.fill_between(at, low, high, color=line.get_color(), alpha=0.2, linewidth=0, label="95 % interval")
        if label.endswith("(log)") and min(min(_series(lines, clock, name)[1]) for name in shown) > 0:
            axes.set_yscale("log")
        axes.set_ylabel(label)
        axes.legend()
    figure.axes[0].set_title(drawn(title))
    figure.axes[-1].set_xlabel("real environment steps" if clock == "env_steps" else clock)
    with replacing(path) as file:
        figure.savefig(file, dpi=120, format="png")
    return True


def _series(lines: Sequence[Mapping[str, Any]], clock: str, name: str) -> tuple[list[float], list[float]]:
    points = [(line[clock], line[name]) for line in lines if line.get(name) is not None]
    return [x for x, _ in points], [y for _, y in points]
