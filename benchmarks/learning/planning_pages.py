"""What a page shows of the rows that `planning.py` measures: a figure for each task, and a table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from benchmarks.learning import run
from benchmarks.learning.planning_settings import SEEDS, TASKS, Spec
from mbrl.figure_style import in_style


@in_style
def draw(task: str, path: Path) -> None:
    """Return against milliseconds of the settings in a learned model, numbered, beside what the exact model gives."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FixedLocator, NullLocator, ScalarFormatter

    rows = [row for row in run.read(run.RESULTS / "planning-learned.csv") if row["task"] == TASKS[task]]
    rows.sort(key=lambda row: float(row["ms"]))
    exact = [
        float(row["return"])
        for row in run.read(run.RESULTS / "planning-exact.csv")
        if row["task"] == TASKS[task] and row["label"] == "20 Hz preset" and row["seed"] == str(SEEDS["learned"])
    ]
    markers = {"ICEM": "^", "CEM": "o", "MPPI": "s"}
    figure, axes = plt.subplots(figsize=(8.5, 4.2), layout="constrained")
    for number, row in enumerate(rows, 1):
        chosen = json.loads(row["setting"])
        marker = markers[chosen["optimizer"]["class_path"].rpartition(".")[2]]
        x, y = float(row["ms"]), float(row["return"])
        axes.errorbar(
            x, y, [[y - float(row["return_low"])], [float(row["return_high"]) - y]], color="0.6", elinewidth=0.8, capsize=2
        )
        face = "black" if chosen["warm_start"] else "white"
        label = f"{number}  {row['label']}"
        axes.plot(x, y, marker, color="black", markerfacecolor=face, markersize=6, linestyle="none", label=label)
        axes.annotate(str(number), (x, y), xytext=(4, 4), textcoords="offset points", fontsize=8)
    axes.axvline(50, color="0.4", linestyle=":", linewidth=1)
    place: Spec = {"xycoords": ("data", "axes fraction"), "xytext": (3, 0), "textcoords": "offset points"}
    axes.annotate("20 Hz", (50, 0.02), fontsize=8, **place)
    for value in exact:
        axes.axhline(value, color="0.4", linestyle="--", linewidth=1, label="exact model, 20 Hz preset")
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds an action, one thread")
    axes.set_ylabel("mean return, 95 % interval over starts")
    axes.xaxis.set_major_locator(FixedLocator([10, 20, 30, 50, 100, 200, 500, 1000, 2000]))
    axes.xaxis.set_major_formatter(ScalarFormatter())
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_title(f"Planning in one learned model\n{TASKS[task]}", fontsize=10, loc="left")
    figure.legend(loc="outside right upper", frameon=False, fontsize=7)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def table() -> Iterator[str]:
    """The rows of both files as lines of Markdown, those of a task, a model and a choice of starts together."""
    for part in SEEDS:
        rows = run.read(run.RESULTS / f"planning-{part}.csv")
        for heading in dict.fromkeys((row["task"], row["model"], row["seed"]) for row in rows):
            yield from ("", f"{heading[0]}, {heading[1]}, starts of seed {heading[2]}", "")
            yield from ("| setting | steps | particles | starts | mean return (95 %) | worst | ms |", "|---" * 7 + "|")
            for row in rows:
                if (row["task"], row["model"], row["seed"]) == heading:
                    low, mean, high, worst = (
                        f"{float(row[name]):.0f}".replace("-", "−")
                        for name in ("return_low", "return", "return_high", "return_min")
                    )
                    cells = [row["label"], row["horizon"], row["particles"], row["starts"], f"{mean} ({low} to {high})"]
                    yield "| " + " | ".join([*cells, worst, f"{float(row['ms']):.3g}"]) + " |"
