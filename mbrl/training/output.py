"""Output of commands: results on stdout, remarks on stderr, and what of libraries' remarks reaches the user."""

from __future__ import annotations

import logging
import re
import sys
import textwrap
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytorch_lightning.utilities.warnings import PossibleUserWarning

from mbrl.counted import counted
from mbrl.data import NormalizedScore
from mbrl.errors import MbrlWarning, shown, wrapped

_WIDTH = 76  # columns of what may be long, beside an indent of two


def say(text: str) -> None:
    """Writes a remark to stderr."""
    sys.stderr.write(wrapped(shown(f"mbrl: {text}\n"), sys.stderr))


def tell(text: str) -> None:
    """Writes results to stdout, a line or several; what a terminal would obey in them is shown instead."""
    sys.stdout.write(wrapped(shown(f"{text}\n"), sys.stdout))


def drawn(text: str) -> str:
    """A name for a figure: its dollars are dollars, and not the ends of a formula, which may fail to be one.

    What a terminal would obey is shown here too: an SVG with it is none.
    """
    return shown(text).replace("$", r"\$")


@contextmanager
def quiet(library: str, level: int = logging.WARNING) -> Iterator[None]:
    """Keeps a library's remarks from the user, to whom they would say the wrong thing; its warnings still come.

    Only what it is told of its own future, such as torch's word to Lightning in every fit, is kept too: no user can mend it.

    Args:
        library: the name of its logger, such as `pytorch_lightning` or `optuna`.
        level: from which on they come.
    """
    logger = logging.getLogger(library)
    before = logger.level
    logger.setLevel(max(before, level))
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", category=FutureWarning, module=rf"{re.escape(library)}(\.|$)")
            yield
    finally:
        logger.setLevel(before)


@contextmanager
def plain_warnings() -> Iterator[None]:
    """Shows our warnings as one line each, every time, and leaves out what libraries say of their future."""
    show = warnings.showwarning

    def showwarning(message: Any, category: Any, *rest: Any, **options: Any) -> None:
        if issubclass(category, MbrlWarning):
            say(f"warning: {message}")
        elif not issubclass(category, (DeprecationWarning, FutureWarning, PossibleUserWarning)):
            show(message, category, *rest, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("always", MbrlWarning)
        warnings.showwarning = showwarning
        yield


def show_metrics(
    command: str, metrics: Mapping[str, float], folder: Path | None = None, references: NormalizedScore | None = None
) -> None:
    """Prints the metrics of an evaluation, the mean return with its interval first, then its score and whose it is."""
    lines = []
    for prefix in ("test/", "eval/"):
        if f"{prefix}return" in metrics:
            episodes = int(metrics[f"{prefix}episodes"])
            interval = ""
            if f"{prefix}return_low" in metrics:
                interval = f", 95 % interval [{metrics[f'{prefix}return_low']:.1f}, {metrics[f'{prefix}return_high']:.1f}]"
            lines.append(f"mean return {metrics[f'{prefix}return']:.1f} over {counted(episodes, 'episode')}{interval}")
    if references is not None and "test/normalized_score" in metrics:
        std = metrics.get("test/normalized_score_std")
        lines += [
            f"normalised score {metrics['test/normalized_score']:.1f}{'' if std is None else f' (sd {std:.1f})'}, 0 at "
            f"{references.low:.6g} and 100 at {references.high:.6g}",
            *textwrap.wrap(references.source, _WIDTH, initial_indent="  ", subsequent_indent="  ", break_on_hyphens=False),
        ]
    lines += [f"{name} {value:.6g}" for name, value in sorted(metrics.items())]
    if folder is not None:
        lines.append(f"written to {folder / 'test.json'}")
    tell("\n".join([f"{command}:", *(f"  {line}" for line in lines)]))
