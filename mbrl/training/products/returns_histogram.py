"""The histogram of the returns of recorded episodes."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor

from mbrl.data import NormalizedScore
from mbrl.errors import ConfigError
from mbrl.figure_style import in_style
from mbrl.replacing import replacing
from mbrl.training.output import drawn


def check_figure(path: Path) -> None:
    """Refuses a place where no figure can be written.

    Raises:
        ConfigError: for another ending than .png, or a folder that isn't there.
    """
    if path.suffix != ".png" or path.is_dir():
        raise ConfigError(f"--figure: expected the name of a file that ends in .png, got {path}; change it.")
    if not path.parent.is_dir():
        raise ConfigError(f"--figure: expected a folder {path.parent} to write {path.name} into, got none; make it.")


@in_style
def draw_returns(returns: Tensor, path: Path, title: str, references: NormalizedScore | None = None) -> None:
    """Draws how many episodes have which return, with the mean, and the references where they are known.

    Args:
        returns: undiscounted, one per episode, environment units.
        path: a PNG, which is replaced once the new one is whole.
        title: of the figure.
        references: the returns that score 0 and 100.
    """
    from matplotlib.figure import Figure  # slow to import, and only needed here

    figure = Figure(figsize=(6.4, 3.2), layout="constrained")
    axes = figure.subplots()
    axes.hist(returns.numpy(), bins="auto" if len(returns) < 1000 else 50, color="0.6")
    marks = [("mean", float(returns.mean()), "-")]
    if references is not None:
        marks += [("score 0", references.low, ":"), ("score 100", references.high, "--")]
    for label, at, style in marks:
        axes.axvline(at, color="black", linestyle=style, linewidth=1, label=f"{label}: {at:.4g}")
    axes.set_xlabel("return of an episode")
    axes.set_ylabel("episodes")
    axes.set_title(drawn(title))
    axes.legend()
    with replacing(path) as file:
        figure.savefig(file, dpi=120, format="png")
