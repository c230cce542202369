"""`LineRemarks`: what a metric line says in words, each told when it begins to hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from mbrl.planners.rollouts.unmeasured import UNMEASURED


class LineRemarks:
    """Sentences on the lines of one run; one that holds line after line is told at the first."""

    def __init__(self) -> None:
        self._held: set[str] = set()

    def of(self, line: Mapping[str, float], where: str) -> list[str]:
        """Sentences that hold of a line and didn't of the line before that had their metric.

        Args:
            line: metrics by name.
            where: the clock and its count.
        """
        new = []
        for key, sentence in _remarks(line, where):
            if sentence is None:
                self._held.discard(key)
            elif key not in self._held:
                self._held.add(key)
                new.append(sentence)
        return new


def _remarks(line: Mapping[str, float], where: str) -> Iterator[tuple[str, str | None]]:
    """Each metric that has a sentence and is in the line, with that sentence where it holds."""
    ends, explained = line.get("model/ends"), line.get("model/explained")
    if ends is not None:
        yield (
            "ends",
            "no episode ended in the data: the model learns that none ever does. If the task can end, collect longer, or "
            "name the function with data.init_args.terminated."
            if ends == 0.0
            else None,
        )
    if explained is not None:
        yield (
            "explained",
            f"the model explains none of the change of held-out observations (model/explained {explained:.2g} at {where}): "
            "predicting no change would do as well. More data, longer fits or a look at the data may help."
            if explained <= 0.0
            else None,
        )
    for name, share in line.items():
        if name.endswith(f"/{UNMEASURED}") and share > 0.0:  # once in a run: it comes and goes with single rows
            what = "model rows of batches" if name.startswith("batch/") else "steps of rollouts"
            yield (
                name,
                f"a measure of uncertainty isn't finite on {100 * share:.2g} % of {what} ({name} at {where}); they count as "
                "the most unsure of their batch. Look at the data for outliers, or lower the model's learning rate.",
            )
