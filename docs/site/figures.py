"""Makes the README's pictures of the report and of kills from committed results.

    python docs/site/figures.py

`report.png` is the first figure of notebook 02, `resume.png` is drawn from `benchmarks/armour/results/kills.csv`.
"""

from __future__ import annotations

import base64
import csv
import json
from pathlib import Path

from matplotlib.figure import Figure

from mbrl.figure_style import in_style

ROOT = Path(__file__).parents[2]
FIGURES = ROOT / "docs/figures"


def report() -> None:
    """Takes the notebook's first picture."""
    cells = json.loads((ROOT / "notebooks/02_model_error.ipynb").read_text())["cells"]
    data = (output.get("data", {}) for cell in cells for output in cell.get("outputs", []))
    picture = next(found["image/png"] for found in data if "image/png" in found)
    (FIGURES / "report.png").write_bytes(base64.b64decode(picture))


@in_style
def resume() -> None:
    """Draws when each run was killed, and whether it then ended like the one that was not."""
    with (ROOT / "benchmarks/armour/results/kills.csv").open(newline="") as file:
        kills = list(csv.DictReader(file))
    kinds = list(dict.fromkeys(kill["what"] for kill in kills))
    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for signal, marker in (("SIGKILL", "x"), ("SIGTERM", "o"), ("SIGINT", "^")):
        for equal, colour in ((True, "C0"), (False, "C2")):
            chosen = [kill for kill in kills if kill["signal"] == signal and (kill["verdict"] == "equal") is equal]
            place = [kinds.index(kill["what"]) + (int(kill["seed"]) % 11 - 5) / 20 for kill in chosen]
            moment = [float(kill["moment_s"]) / float(kill["of_s"]) for kill in chosen]
            label = f"{signal}, {'ends equal' if equal else 'ends otherwise'}" if chosen else None
            axes.plot(moment, place, marker, markersize=5, markerfacecolor="none", color=colour, label=label)
    equal_ones = sum(kill["verdict"] == "equal" for kill in kills)
    figure.suptitle(f"{len(kills)} kills at random moments: {equal_ones} went on and ended equal")
    axes.set_yticks(range(len(kinds)), kinds)
    axes.set_xlabel("moment of the kill (share of the run that nobody killed)")
    figure.legend(loc="outside lower center", frameon=False, ncols=3)
    figure.savefig(FIGURES / "resume.png", dpi=150)


if __name__ == "__main__":
    report()
    resume()
