"""A sampler for Optuna: Bayesian optimisation over mixed and conditional spaces, and the predictions of its model."""

from mbrl.search.sampler.bo_sampler import BOSampler
from mbrl.search.sampler.past_recommendations import Moment, history
from mbrl.search.sampler.recommend import (
    Effect,
    LeaveOneOut,
    Predictions,
    Recommendation,
    pareto,
    predictions,
    ranking,
    recommend,
)

__all__ = [
    "BOSampler",
    "Effect",
    "LeaveOneOut",
    "Moment",
    "Predictions",
    "Recommendation",
    "history",
    "pareto",
    "predictions",
    "ranking",
    "recommend",
]
