"""Measures of what a model doesn't know, as functions of its `Prediction`."""

from mbrl.uncertainty.base import UncertaintyMeasure
from mbrl.uncertainty.disagreement import MeanDisagreement

__all__ = ["MeanDisagreement", "UncertaintyMeasure"]
