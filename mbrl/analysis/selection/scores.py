"""`select_by_scores`: how well scores that take no real step rank policies, against what these really earn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from mbrl.analysis.selection.scores_result import ScoreSelection
from mbrl.errors import DataError, ShapeError

WHO = "select_by_scores"


def select_by_scores(
    scores: Mapping[str, Sequence[float] | Tensor], returns: Sequence[float] | Tensor, names: Sequence[str] | None = None
) -> ScoreSelection:
    """Compares each score of several trained policies with their true returns.

    Ranks are compared, so that neither units nor discounting of a score matter. A score that isn't finite (of a diverged
    model, say) ranks below all others.

    Args:
        scores: by name, a number per policy, the higher the better: `fitted_q_evaluation(…).score`, the mean of
            `model_return`, the critics' own value, a return on few episodes.
        returns: the true mean return of each policy, in the same order.
        names: of the policies; None numbers them.

    Raises:
        DataError: for fewer than two policies, no score, or a return that isn't finite.
        ShapeError: if there isn't a number per policy.
    """
    true = torch.as_tensor(returns, dtype=torch.float64).flatten()
    if len(true) < 2 or not bool(torch.isfinite(true).all()):
        raise DataError(f"{WHO}: expected finite returns of two policies or more, got {true.tolist()[:5]}; test more runs.")
    if not scores:
        raise DataError(f"{WHO}: expected scores by name, got none; give one, such as fitted_q_evaluation's.")
    found = {name: torch.as_tensor(each, dtype=torch.float64).flatten() for name, each in scores.items()}
    labels = [str(number) for number in range(len(true))] if names is None else list(names)
    for name, numbers in {**{f"score {name!r}": len(each) for name, each in found.items()}, "names": len(labels)}.items():
        if numbers != len(true):
            raise ShapeError(f"{WHO}: expected {len(true)} of {name}, one per policy, got {numbers}; give all or none.")
    lost = {name: int((~torch.isfinite(each)).sum()) for name, each in found.items()}
    notes = [
        f"{count} of {len(true)} policies have no finite {name} and rank last in it."
        for name, count in lost.items()
        if count
    ]
    return ScoreSelection(found, true, labels, tuple(notes))
