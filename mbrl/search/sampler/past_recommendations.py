"""Recommendations that the model would have given at earlier moments of a study."""

from __future__ import annotations

from dataclasses import dataclass

from optuna.study import Study

from mbrl.arguments import check_whole
from mbrl.search.sampler.bo_sampler import BOSampler
from mbrl.search.sampler.recommend import Recommendation, only_one, ranked
from mbrl.search.sampler.surrogate import as_if_alone


@dataclass(frozen=True)
class Moment:
    """A moment of a study.

    Attributes:
        trials: number of finished ones, in order of their numbers.
        recommended: configuration, by the model of these.
    """

    trials: int
    recommended: Recommendation


def history(study: Study, sampler: BOSampler, points: int = 20) -> list[Moment]:
    """Recommends as trials come in, by models that know the trials up to then and no later ones.

    Args:
        study: with one objective.
        sampler: of the study, with its seed and space.
        points: moments at most, evenly spread, the last one now; each costs the fit of a model.

    Raises:
        UnsupportedError: with several objectives.
    """
    check_whole("history(points=…)", points, 1)
    only_one(study)
    trials = sorted(study.get_trials(deepcopy=False), key=lambda trial: trial.number)
    known = {trial.number for trial in sampler.rows(study).trials}
    counted = [trial for trial in trials if trial.number in known]
    moments = []
    for count in sorted({round(len(counted) * (point + 1) / points) for point in range(points)}):
        rows = sampler.read(counted[:count], study.directions).fewer()
        if not rows.informative:
            continue
        with as_if_alone("recommend", sampler.seed):
            moments.append(Moment(count, ranked(sampler, rows, sampler.fitted(study, rows), 1)[0]))
    return moments
