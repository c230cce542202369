"""What commands print: results on stdout, remarks on stderr."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path


def say(text: str) -> None:
    """A remark, on stderr."""
    sys.stderr.write(f"mbrl: {text}\n")


def show_metrics(command: str, metrics: Mapping[str, float], folder: Path | None = None) -> None:
    """Prints the metrics of an evaluation, the mean return with its interval first."""
    lines = []
    for prefix in ("test/", "eval/"):
        if f"{prefix}return" in metrics:
            low, high = metrics[f"{prefix}return_low"], metrics[f"{prefix}return_high"]
            episodes = int(metrics[f"{prefix}episodes"])
            interval = f", 95 % interval [{low:.1f}, {high:.1f}]" if low == low else ""  # NaN with one episode
            lines.append(f"mean return {metrics[f'{prefix}return']:.1f} over {episodes} episodes{interval}")
    lines += [f"{name} {value:.6g}" for name, value in sorted(metrics.items())]
    if folder is not None:
        lines.append(f"written to {folder / 'test.json'}")
    sys.stdout.write("\n".join([f"{command}:", *(f"  {line}" for line in lines)]) + "\n")
