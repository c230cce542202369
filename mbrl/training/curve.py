"""The figure at the end of a run: learning curve and model loss over real steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


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

    returns = [name for name in ("train/return", "eval/return") if _series(lines, clock, name)[0]]
    losses = [name for name in _names(lines) if name.startswith(("model/", "val", "train_")) and _is_loss(name)][:6]
    panels = [names for names in (returns, losses) if names]
    if not panels:
        return False
    figure = Figure(figsize=(6.4, 3.0 * len(panels)), layout="constrained")
    for axes, names in zip(figure.subplots(len(panels), squeeze=False)[:, 0], panels, strict=True):
        for name in names:
            x, y = _series(lines, clock, name)
            style = "o-" if name.startswith("eval/") else "-"
            (line,) = axes.plot(x, y, style, markersize=3, linewidth=1, label=name)
            if name == "eval/return":
                at, low = _series(lines, clock, "eval/return_low")
                high = _series(lines, clock, "eval/return_high")[1]
                axes.fill_between(at, low, high, color=line.get_color(), alpha=0.2, linewidth=0, label="95 % interval")
        axes.set_ylabel("return" if names is returns else "model loss")
        axes.grid(color="0.9")
        axes.legend(frameon=False, fontsize=8)
    figure.axes[0].set_title(title)
    figure.axes[-1].set_xlabel("real environment steps" if clock == "env_steps" else clock)
    beside = path.with_name(f".{path.name}")
    figure.savefig(beside, dpi=120, format="png")
    beside.replace(path)
    return True


def _names(lines: Sequence[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(name for line in lines for name in line))


def _is_loss(name: str) -> bool:
    return any(word in name for word in ("loss", "nll", "mse"))


def _series(lines: Sequence[Mapping[str, Any]], clock: str, name: str) -> tuple[list[float], list[float]]:
    points = [(line[clock], line[name]) for line in lines if line.get(name) is not None]
    return [x for x, _ in points], [y for _, y in points]
