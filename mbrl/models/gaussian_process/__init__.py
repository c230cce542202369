"""Gaussian processes as dynamics models: exact or sparse, with functions drawn from them as members."""

from mbrl.models.gaussian_process.model import GaussianProcess
from mbrl.models.gaussian_process.posterior import PosteriorMoments

__all__ = ["GaussianProcess", "PosteriorMoments"]
