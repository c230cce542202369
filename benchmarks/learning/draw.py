"""Draws learning curves from the CSV files in `results/`: one line per seed, the mean over seeds where there are several.

python benchmarks/learning/draw.py mbpo-pendulum --title "MBPO on Pendulum-v1"
python benchmarks/learning/draw.py mbpo-inverted-pendulum mbpo-inverted-pendulum-fast --title …
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

from mbrl.figure_style import in_style

RESULTS = Path(__file__).parent / "results"
STYLES = (("C0", "-"), ("C1", "--"), ("C2", ":"))
# Published single-seed curve of a PyTorch port (x35f/model_based_rl, its TensorBoard logs of 2022-03): Hopper, rollouts
# of one step throughout, mean of the evaluations in the 5,000 steps before the mark.
PUBLISHED = {"mbpo-hopper": ([15e3, 50e3, 75e3, 100e3, 120e3], [558, 975, 1696, 1999, 2971], "x35f/model_based_rl, 1 seed")}


def curves(name: str) -> dict[int, list[tuple[int, float]]]:
    """Returns (env_steps, return) of each seed."""
    found: dict[int, list[tuple[int, float]]] = defaultdict(list)
    with (RESULTS / f"{name}.curve.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            found[int(row["seed"])].append((int(row["env_steps"]), float(row["return"])))
    return dict(found)


@in_style
def draw(names: list[str], title: str, path: Path) -> None:
    """One figure with the curves of all `names`."""
    figure, axes = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    for name, (colour, style) in zip(names, STYLES, strict=False):
        seeds = curves(name)
        for points in seeds.values():
            axes.plot(
                *zip(*points, strict=True), color=colour, linestyle=style, linewidth=0.8, alpha=0.5 if len(seeds) > 1 else 1
            )
        shared = sorted(set.intersection(*({step for step, _ in points} for points in seeds.values())))
        if len(seeds) > 1:
            means = [sum(dict(points)[step] for points in seeds.values()) / len(seeds) for step in shared]
            axes.plot(shared, means, color=colour, linestyle=style, linewidth=2, label=f"{name}: mean of {len(seeds)} seeds")
        else:
            axes.plot([], [], color=colour, linestyle=style, label=f"{name}: 1 seed")
        if name in PUBLISHED:
            steps, returns, label = PUBLISHED[name]
            axes.plot(steps, returns, "o", color="0.5", markersize=5, label=label)
    axes.set_xlabel("real environment steps")
    axes.set_ylabel("evaluation return (mean of the episodes)")
    axes.set_title(title)
    figure.legend(loc="outside lower center", ncols=2 if len(names) < 3 and max(map(len, names)) < 30 else 1)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+")
    parser.add_argument("--title", required=True)
    parser.add_argument("--out", type=Path, help="default: results/<first name>.png")
    arguments = parser.parse_args()
    draw(arguments.names, arguments.title, arguments.out or RESULTS / f"{arguments.names[0]}.png")


if __name__ == "__main__":
    main()
