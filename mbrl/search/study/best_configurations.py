"""The best configurations of a study by this library's model, whichever sampler chose them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import optuna
from optuna.trial import FrozenTrial, TrialState

from mbrl.search.file.search_file import SearchFile
from mbrl.search.study.study import bo_sampler

if TYPE_CHECKING:
    from mbrl.search.sampler import Recommendation

FEW = 5  # trials with a value, below which the model's standard deviations mean nothing


def valued(study: optuna.Study) -> list[FrozenTrial]:
    """The trials that finished with a value."""
    return [trial for trial in study.get_trials(deepcopy=False) if trial.state == TrialState.COMPLETE]


def best_configurations(study: optuna.Study, search: SearchFile, many: int | None = None) -> list[Recommendation]:
    """Ranks configurations by the values that the model expects, best first: the best observed run has luck in it.

    With several objectives these are the ones that no other betters in all of them, from the best by the first to the worst.

    Args:
        study: of the search.
        search: its file.
        many: the most to return, None for all; with several objectives they are spread evenly over that front.

    Returns:
        One per configuration; none for a study without a value.
    """
    trials = valued(study)
    if not trials:
        return []
    from mbrl.search.sampler import pareto, ranking  # botorch takes seconds to import

    sampler = bo_sampler(search)
    if len(search.objectives) == 1:
        return ranking(study, sampler, len(trials) if many is None else many)
    return _spread(pareto(study, sampler), many)


def _spread(front: list[Recommendation], many: int | None) -> list[Recommendation]:
    """Both ends of the front and places evenly between them; the first of all if it is to be one."""
    if many is None or many >= len(front):
        return front
    places: Sequence[int] = [round(step * (len(front) - 1) / max(1, many - 1)) for step in range(many)]
    return [front[place] for place in places]
